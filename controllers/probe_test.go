package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	ac "github.com/sojourn-dev/sojourn/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

// A mistake in an expression is told where it stands, before the first visit.
func TestProbeThatCannotWork(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	namespace := newNamespace(t, "mistaken", nil)
	const touchpoint = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec: {channel: Web, probe: {steps: [{name: pay, http: {url: "http://shop/"}, assertions: [{expression: EXPRESSION}]}]}}
`
	apply(t, namespace, strings.ReplaceAll(touchpoint, "EXPRESSION", `"status == 200 && jsn.ok"`))
	eventually(t, "the touchpoint is stalled", soon,
		hasReadiness("Touchpoint", namespace, "checkout", metav1.ConditionFalse, v1alpha1.ReasonInvalidProbe, status.FailedStatus))
	const want = "spec.probe.steps[pay].assertions[0].expression: line 1, column 18: undeclared reference to 'jsn'"
	if text := message(t, "Touchpoint", namespace, "checkout"); text != want {
		t.Errorf("message %q, want %q", text, want)
	}
	apply(t, namespace, strings.ReplaceAll(touchpoint, "EXPRESSION", `"status == 200 && json.ok"`))
	eventually(t, "the touchpoint is ready", soon, isReady("Touchpoint", namespace, "checkout"))
}

// What probers told of locations that nobody asks for any more goes away, even if it
// is told late.
func TestLocationsArePruned(t *testing.T) {
	prometheusRules(t, true)
	startManager(t)
	namespace := newNamespace(t, "pruned", nil)
	locations := func(list string) {
		t.Helper()
		apply(t, namespace, `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec: {channel: Web, probe: {locations: `+list+`, http: {url: "http://shop/"}}}
`)
	}
	tell := func(location v1alpha1.Name) {
		t.Helper()
		entry := ac.LocationStatus().WithLocation(location).WithOutcome(v1alpha1.ProbeSuccess).WithSince(metav1.Now().Rfc3339Copy())
		touchpoint := ac.Touchpoint("checkout", namespace).WithStatus(ac.TouchpointStatus().WithProbes(entry))
		if err := api.Status().Apply(t.Context(), touchpoint, client.FieldOwner(v1alpha1.ProbeFieldOwner(location)), client.ForceOwnership); err != nil {
			t.Fatal(err)
		}
	}
	told := func(want string) func(context.Context) error {
		return func(context.Context) error {
			var now []v1alpha1.Name
			for _, entry := range get[v1alpha1.Touchpoint](t, namespace, "checkout").Status.Probes {
				now = append(now, entry.Location)
			}
			if got := fmt.Sprint(now); got != want {
				return fmt.Errorf("locations %s, want %s", got, want)
			}
			return nil
		}
	}
	locations("[east, west]")
	eventually(t, "ready", soon, isReady("Touchpoint", namespace, "checkout"))
	tell("east")
	tell("west")
	eventually(t, "both have told", soon, told("[east west]"))
	locations("[east]")
	eventually(t, "only the east is left", soon, told("[east]"))
	tell("west")
	eventually(t, "even after a late word from the west", soon, told("[east]"))
	eventually(t, "still ready", soon, isReady("Touchpoint", namespace, "checkout"))
	for _, entry := range get[v1alpha1.Touchpoint](t, namespace, "checkout").ManagedFields {
		if entry.Manager == v1alpha1.ProbeFieldOwner("west") {
			t.Errorf("the west still owns %s", entry.FieldsV1)
		}
	}
}
