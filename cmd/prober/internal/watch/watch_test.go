package watch

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

func touchpoint(name string, change func(*v1alpha1.Touchpoint)) v1alpha1.Touchpoint {
	t := v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1},
		Spec: v1alpha1.TouchpointSpec{
			Channel: "Web", Class: v1alpha1.ClassStandard, Ownership: v1alpha1.OwnershipBrand,
			Probe: &v1alpha1.Probe{HTTP: &v1alpha1.HTTPProbe{URL: "http://shop.example"}},
		},
	}
	if change != nil {
		change(&t)
	}
	return t
}

func promise(targets v1alpha1.Targets, thresholds ...v1alpha1.Duration) v1alpha1.ExperienceSLO {
	slo := v1alpha1.ExperienceSLO{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: v1alpha1.ExperienceSLOSpec{Targets: targets}}
	for _, threshold := range thresholds {
		slo.Spec.Objectives = append(slo.Spec.Objectives, v1alpha1.Objective{Latency: &v1alpha1.LatencyObjective{Threshold: threshold}})
	}
	slo.Spec.Objectives = append(slo.Spec.Objectives, v1alpha1.Objective{Availability: &v1alpha1.AvailabilityObjective{Target: "99%"}})
	return slo
}

func TestChoose(t *testing.T) {
	wanted := choose("default",
		[]v1alpha1.Touchpoint{
			touchpoint("checkout", func(t *v1alpha1.Touchpoint) { t.Spec.Class = v1alpha1.ClassCritical }),
			touchpoint("partner", func(t *v1alpha1.Touchpoint) { t.Spec.Ownership = v1alpha1.OwnershipPartner }),
			touchpoint("old", func(t *v1alpha1.Touchpoint) { t.Spec.Ownership = "" }),
			touchpoint("customer", func(t *v1alpha1.Touchpoint) { t.Spec.Ownership = v1alpha1.OwnershipCustomer }),
			touchpoint("external", func(t *v1alpha1.Touchpoint) { t.Spec.Ownership = v1alpha1.OwnershipExternal }),
			touchpoint("phone", func(t *v1alpha1.Touchpoint) { t.Spec.Probe = nil }),
			touchpoint("leaving", func(t *v1alpha1.Touchpoint) { t.DeletionTimestamp = &metav1.Time{Time: time.Now()} }),
		},
		[]v1alpha1.ExperienceSLO{
			promise(v1alpha1.Targets{Touchpoints: []v1alpha1.Name{"checkout", "phone", "missing"}}, "300ms", "2s"),
			promise(v1alpha1.Targets{Journey: "purchase"}, "450ms"),
			promise(v1alpha1.Targets{Journey: "missing"}, "7s"),
			promise(v1alpha1.Targets{Selector: &v1alpha1.TouchpointSelector{Classes: []v1alpha1.Class{v1alpha1.ClassCritical}}}, "1m"),
			promise(v1alpha1.Targets{Touchpoints: []v1alpha1.Name{"checkout"}}, "soon", "0s"), // never admitted
		},
		[]v1alpha1.Journey{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "purchase"},
			Spec: v1alpha1.JourneySpec{Stages: []v1alpha1.Stage{{Touchpoints: []v1alpha1.TouchpointReference{
				{Name: "partner"}, {Name: "old", Namespace: "elsewhere"},
			}}}},
		}},
	)
	want := map[string][]float64{"checkout": {0.3, 2, 60}, "partner": {0.45}, "old": nil}
	if len(wanted) != len(want) {
		t.Errorf("%d touchpoints, want %d", len(wanted), len(want))
	}
	for name, thresholds := range want {
		got, found := wanted[name]
		if !found || got.Probe == nil {
			t.Errorf("%s is not probed", name)
		}
		slices.Sort(got.Thresholds)
		if !slices.Equal(got.Thresholds, thresholds) {
			t.Errorf("%s: thresholds %v, want %v", name, got.Thresholds, thresholds)
		}
	}
}

func TestMatters(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.Touchpoint)
		want   bool
	}{
		"resync":     {func(*v1alpha1.Touchpoint) {}, false},
		"status":     {func(t *v1alpha1.Touchpoint) { t.ResourceVersion = "2"; t.Status.ObservedGeneration = 1 }, false},
		"annotation": {func(t *v1alpha1.Touchpoint) { t.Annotations = map[string]string{"a": "b"} }, false},
		"spec":       {func(t *v1alpha1.Touchpoint) { t.Generation = 2 }, true},
		"label":      {func(t *v1alpha1.Touchpoint) { t.Labels = map[string]string{"tier": "gold"} }, true},
		"successor":  {func(t *v1alpha1.Touchpoint) { t.UID = "other" }, true},
	} {
		before, after := touchpoint("checkout", nil), touchpoint("checkout", test.change)
		if got := matters(&before, &after); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestStripKeepsWhatIsRead(t *testing.T) {
	object := touchpoint("checkout", func(t *v1alpha1.Touchpoint) {
		t.Labels = map[string]string{"tier": "gold"}
		t.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
		t.Spec.Map = &v1alpha1.MapElements{Action: "pays"}
		t.Status.ObservedGeneration = 1
	})
	if _, err := (&Watcher{}).strip(&object); err != nil {
		t.Fatal(err)
	}
	if object.ManagedFields != nil || object.Spec.Map != nil || object.Status.ObservedGeneration != 0 {
		t.Errorf("kept: %+v", object)
	}
	if object.Labels["tier"] != "gold" || object.Spec.Probe == nil || object.Spec.Class == "" {
		t.Errorf("lost: %+v", object)
	}
}
