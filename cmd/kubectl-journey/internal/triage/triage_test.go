package triage_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/triage"
)

func titles(r *triage.Report) []string {
	var found []string
	for _, p := range r.Problems {
		found = append(found, string(p.Level)+" "+p.Kind+"/"+p.Name)
	}
	return found
}

func TestWorstComesFirst(t *testing.T) {
	o := atlastest.Objects()
	r := triage.Find(o, triage.All(o, "shop"))
	if len(r.Problems) == 0 || r.Problems[0].Name != "checkout" || r.Problems[0].Level != triage.Page {
		t.Fatalf("the checkout that pages is not first: %v", titles(r))
	}
	p := r.Problems[0]
	if len(p.Behind) != 1 || p.Behind[0].Workload != "Deployment/payments" || p.Next != "kubectl -n shop describe deployment/payments" {
		t.Errorf("what is behind it: %+v, next %q", p.Behind, p.Next)
	}
	if !slices.Contains(titles(r), "setup Journey/silent") {
		t.Errorf("a journey with a missing touchpoint is no problem: %v", titles(r))
	}
	if len(r.Unjudged) == 0 || r.Kept >= r.Budgets {
		t.Errorf("budgets %d, kept %d, unjudged %v", r.Budgets, r.Kept, r.Unjudged)
	}
}

func TestConditions(t *testing.T) {
	for _, test := range []struct {
		condition string
		level     triage.Level
	}{
		{v1alpha1.ConditionReady, triage.Setup}, {v1alpha1.ConditionRulesLoaded, triage.Blind},
		{v1alpha1.ConditionObserved, triage.Blind}, {v1alpha1.ConditionWindowCovered, triage.Note},
	} {
		o := atlastest.Objects()
		slo := o.ExperienceSLOs[atlas.Key{Namespace: "shop", Name: "basket"}]
		set := func(status metav1.ConditionStatus) {
			meta.SetStatusCondition(&slo.Status.Conditions, metav1.Condition{Type: test.condition, Status: status, Reason: "Test", Message: "something of its own"})
		}
		says := func() (level triage.Level, found bool) {
			chosen, err := triage.Named(o, "shop", []string{"xslo/basket"})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range triage.Find(o, chosen).Problems {
				if slices.Contains(p.Says, "Something of its own.") {
					return p.Level, true
				}
			}
			return "", false
		}
		if set(metav1.ConditionTrue); true {
			if _, found := says(); found {
				t.Errorf("%s is a problem though it is true", test.condition)
			}
		}
		set(metav1.ConditionFalse)
		if level, found := says(); !found || level != test.level {
			t.Errorf("%s false: found %t, level %q", test.condition, found, level)
		}
	}
}

func TestSameComplaintOnce(t *testing.T) {
	o := atlastest.Objects()
	for _, touchpoint := range o.Touchpoints {
		meta.SetStatusCondition(&touchpoint.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionObserved, Status: metav1.ConditionFalse, Reason: "PrometheusUnreachable", Message: "Prometheus cannot be reached",
		})
	}
	n := 0
	for _, p := range triage.Find(o, triage.All(o, "")).Problems {
		if slices.Contains(p.Says, "Prometheus cannot be reached.") {
			n++
			if !strings.HasPrefix(p.Says[1], "The same is true of ") {
				t.Errorf("nothing says of how many it is true: %q", p.Says)
			}
		}
	}
	if n != 1 {
		t.Errorf("one reason is told %d times", n)
	}
}

func TestNamed(t *testing.T) {
	o := atlastest.Objects()
	for typed, want := range map[string]string{
		"online-purchase": "checkout", "journey/online-purchase": "checkout", "tp/checkout": "checkout", "xslo/checkout": "checkout",
		"touchpoint.sojourn.dev/basket": "", "single": "", "xslo/basket": "",
	} {
		chosen, err := triage.Named(o, "shop", []string{typed})
		if err != nil {
			t.Errorf("%s: %v", typed, err)
			continue
		}
		got := ""
		for _, p := range triage.Find(o, chosen).Problems {
			if p.Kind == "Touchpoint" {
				got += p.Name
			}
		}
		if got != want {
			t.Errorf("%s: problems at %q, want %q", typed, got, want)
		}
	}
	for typed, want := range map[string]string{"pod/x": "kind pod", "tp/none": "there is no tp/none", "none": "there is no none"} {
		if _, err := triage.Named(o, "shop", []string{typed}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", typed, err)
		}
	}
	// Of a touchpoint, only what the ExperienceSLO that was named promises.
	chosen, err := triage.Named(o, "shop", []string{"xslo/checkout"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range triage.Find(o, chosen).Problems {
		for i := range p.Budgets {
			if p.Budgets[i].SLO != "checkout" {
				t.Errorf("xslo/checkout shows a budget of %s", p.Budgets[i].SLO)
			}
		}
	}
}

func TestMoreThanListed(t *testing.T) {
	o := atlastest.Objects()
	slo := o.ExperienceSLOs[atlas.Key{Namespace: "shop", Name: "basket"}]
	slo.Status.States = &v1alpha1.BudgetStates{Breached: 70}
	chosen, err := triage.Named(o, "shop", []string{"xslo/basket"})
	if err != nil {
		t.Fatal(err)
	}
	r := triage.Find(o, chosen)
	if !slices.ContainsFunc(r.Problems, func(p *triage.Problem) bool { return strings.Contains(p.What, "70 more broken promises") }) {
		t.Errorf("nothing tells of 70 breached budgets that are not listed: %v", titles(r))
	}
}

func TestSilence(t *testing.T) {
	o := atlastest.Objects()
	chosen, err := triage.Named(o, "shop", []string{"tp/basket"})
	if err != nil {
		t.Fatal(err)
	}
	r := triage.Find(o, chosen)
	before := len(r.Problems)
	r.Silent(chosen, atlas.Key{Namespace: "shop", Name: "search"}, "discovery", "speed", time.Unix(1, 0))
	if len(r.Problems) != before {
		t.Error("what was not asked for is told")
	}
	r.Silent(chosen, atlas.Key{Namespace: "shop", Name: "basket"}, "basket", "speed", time.Unix(1, 0))
	if len(r.Problems) != before+1 {
		t.Error("silence is not told")
	}
}

// A touchpoint that was deleted, or may not be read, takes nothing broken along.
func TestNothingBrokenGoesUnsaid(t *testing.T) {
	o := atlastest.Objects()
	delete(o.Touchpoints, atlas.Key{Namespace: "shop", Name: "checkout"})
	for _, typed := range [][]string{nil, {"online-purchase"}, {"xslo/checkout"}} {
		chosen := triage.All(o, "shop")
		if typed != nil {
			var err error
			if chosen, err = triage.Named(o, "shop", typed); err != nil {
				t.Fatal(err)
			}
		}
		r := triage.Find(o, chosen)
		if !slices.Contains(titles(r), "broken ExperienceSLO/checkout") {
			t.Errorf("%v: nothing tells of the broken promises: %v", typed, titles(r))
		}
	}
}
