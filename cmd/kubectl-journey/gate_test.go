package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestWithCluster does what takes a real API server.
func TestWithCluster(t *testing.T) {
	plane, api := cluster(t, "shop")
	t.Run("gate", func(t *testing.T) { gateAt(t, plane, api) })
	t.Run("snippets", func(t *testing.T) { checkSnippets(t, plane) })
	t.Run("tutorial", func(t *testing.T) { followTutorial(t, plane) })
}

// gateAt gates objects whose status is written here as the manager would.
func gateAt(t *testing.T, plane *localstack.ControlPlane, kubernetes client.Client) {
	slo := &v1alpha1.ExperienceSLO{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
		Spec: v1alpha1.ExperienceSLOSpec{
			Targets:    v1alpha1.Targets{Touchpoints: []v1alpha1.Name{"checkout"}},
			Objectives: []v1alpha1.Objective{{Name: "up", Availability: &v1alpha1.AvailabilityObjective{Target: "99%"}}},
		},
	}
	journey := &v1alpha1.Journey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "purchase"},
		Spec:       v1alpha1.JourneySpec{Stages: []v1alpha1.Stage{{Name: "purchase", Touchpoints: []v1alpha1.TouchpointReference{{Name: "checkout"}}}}},
	}
	for _, object := range []client.Object{
		slo, journey,
		&v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}, Spec: v1alpha1.TouchpointSpec{Channel: "Web"}},
	} {
		if err := kubernetes.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	conditions := func(kinds ...string) (made []metav1.Condition) {
		for _, kind := range kinds {
			made = append(made, metav1.Condition{Type: kind, Status: "True", Reason: "Well", LastTransitionTime: metav1.Now()})
		}
		return made
	}
	journey.Status = v1alpha1.JourneyStatus{ObservedGeneration: 1, Conditions: conditions("Ready", "Observed")}
	if err := kubernetes.Status().Update(t.Context(), journey); err != nil {
		t.Fatal(err)
	}
	stands := func(state v1alpha1.BudgetState, left v1alpha1.Figure) {
		t.Helper()
		slo.Status = v1alpha1.ExperienceSLOStatus{
			ObservedGeneration: 1, Conditions: conditions("Ready", "Observed", "RulesLoaded"), Budgets: 1, Remaining: left,
			States: &v1alpha1.BudgetStates{}, Worst: []v1alpha1.BudgetStatus{{Objective: "up", Touchpoint: "checkout", State: state, Remaining: left}},
		}
		if err := kubernetes.Status().Update(t.Context(), slo); err != nil {
			t.Error(err)
		}
	}
	type result struct {
		out string
		err error
	}
	gating := func(args ...string) chan result {
		done := make(chan result, 1)
		go func() {
			out, _, err := run(t, "", append([]string{"gate", "--kubeconfig", plane.Kubeconfig(), "-n", "shop"}, args...)...)
			done <- result{out, err}
		}()
		return done
	}
	gate := func(args ...string) (string, error) {
		r := <-gating(args...)
		return r.out, r.err
	}

	out, err := gate("xslo/checkout")
	if exitCode(err) != exitFindings || !strings.Contains(out, "its status speaks of generation 0 of its spec, which is now at 1") {
		t.Error(err, out)
	}
	stands("Met", "30")
	for _, of := range []string{"xslo/checkout", "journey/purchase"} {
		out, err := gate(of, "--min-budget", "20%")
		if err != nil || out != of+": the one budget allows a release, at least 30% of each left\n" {
			t.Error(err, out)
		}
		out, err = gate(of, "--min-budget", "40", "-o", "json")
		var said struct {
			Allowed bool
			Blocks  []struct{ Object, Objective, Touchpoint, State, Message string }
		}
		if json.Unmarshal([]byte(out), &said) != nil || exitCode(err) != exitFindings || said.Allowed || len(said.Blocks) != 1 || said.Blocks[0].Touchpoint != "checkout" {
			t.Error(err, out)
		}
	}
	// Waits until it has recovered, told by the watch.
	waits := gating("journey/purchase", "--min-budget", "40%", "--timeout", "2m")
	select {
	case r := <-waits:
		t.Error("did not wait", r.out, r.err)
	case <-time.After(300 * time.Millisecond):
	}
	stands("Met", "60")
	if r := <-waits; r.err != nil || !strings.Contains(r.out, "60% of each left") {
		t.Error(r.err, r.out)
	}
	// Ends at once when it breaks, long before the time is up.
	holds := gating("xslo/checkout", "--for", "10m")
	select {
	case r := <-holds:
		t.Error("did not hold", r.out, r.err)
	case <-time.After(300 * time.Millisecond):
	}
	stands("Breached", "-5")
	if r := <-holds; exitCode(r.err) != exitFindings || r.out != "ExperienceSLO shop/checkout: up at checkout: it is spent (-5% left)\n" {
		t.Error(r.err, r.out)
	}
	// What has not come right when the time is up is a finding; what cannot be found out is not.
	if out, err := gate("xslo/checkout", "--timeout", "200ms"); exitCode(err) != exitFindings || !strings.Contains(out, "it is spent") {
		t.Error(err, out)
	}
	for _, args := range [][]string{{"xslo/none"}, {"checkout"}, {"pod/x"}, {"xslo/checkout", "--min-budget", "many"}, {"xslo/checkout", "--for", "1h", "--timeout", "1m"}, {"xslo/checkout", "-o", "xml"}, {"xslo/checkout", "--as", "nobody"}} {
		if out, err := gate(args...); err == nil || exitCode(err) != exitTrouble || out != "" {
			t.Error(args, err, out)
		}
	}
	// Names complete, of the namespace that the command line means, and with the caller's rights.
	for typed, wanted := range map[string]string{
		"gate ": "journey/\nxslo/\n:6\n", "gate xslo/": "xslo/checkout\n:4\n", "gate journey/p": "journey/purchase\n:4\n", "gate pod/": ":4\n", "gate xslo/ --as nobody": ":4\n",
		"export mermaid ": "purchase\n:4\n", "import mermaid x -o ": "yaml\njson\nname\n:4\n", "export mermaid -n elsewhere ": ":4\n",
	} {
		words := strings.Split(typed, " ")
		word := words[len(words)-1]
		if strings.HasSuffix(typed, "nobody") {
			words, word = []string{"gate", "--as", "nobody", "xslo/"}, "xslo/"
		}
		args := append([]string{"__completeNoDesc"}, words[:len(words)-1]...)
		if words[0] != "import" {
			args = append(args, "--kubeconfig", plane.Kubeconfig())
			if !strings.Contains(typed, "-n ") {
				args = append(args, "-n", "shop")
			}
		}
		out, _, err := run(t, "", append(args, word)...)
		if err != nil || out != wanted {
			t.Errorf("%q: %v\n%s\nwanted\n%s", typed, err, out, wanted)
		}
	}
}
