package targets

import (
	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Locations lists where Sojourn's own probers are to visit a touchpoint; none if
// they are not to. Nobody is visited who has not agreed, nor anybody who is about to
// go.
func Locations(touchpoint *v1alpha1.Touchpoint) []v1alpha1.Name {
	probe := touchpoint.Spec.Probe
	if probe == nil || probe.Backend == v1alpha1.ProbeBackendBlackbox || touchpoint.DeletionTimestamp != nil || !mayBeProbed(touchpoint) {
		return nil
	}
	if len(probe.Locations) == 0 {
		return []v1alpha1.Name{v1alpha1.DefaultLocation}
	}
	return probe.Locations
}

// mayBeProbed says whether those who control a touchpoint have a say in who visits
// it.
func mayBeProbed(touchpoint *v1alpha1.Touchpoint) bool {
	switch touchpoint.Spec.Ownership {
	case "", v1alpha1.OwnershipBrand, v1alpha1.OwnershipPartner:
		return true
	}
	return false
}
