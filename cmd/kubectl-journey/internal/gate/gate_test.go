package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

func condition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "as " + reason}
}

func budgetAt(touchpoint v1alpha1.Name, state v1alpha1.BudgetState, left v1alpha1.Figure) v1alpha1.BudgetStatus {
	return v1alpha1.BudgetStatus{Objective: "speed", Touchpoint: touchpoint, State: state, Remaining: left}
}

// well is an ExperienceSLO that allows a release: two budgets, 45 % left.
func well() *v1alpha1.ExperienceSLO {
	slo := &v1alpha1.ExperienceSLO{}
	slo.Namespace, slo.Name, slo.Generation = "shop", "checkout", 2
	slo.Spec.Targets.Touchpoints = []v1alpha1.Name{"checkout", "basket"}
	slo.Status = v1alpha1.ExperienceSLOStatus{
		ObservedGeneration: 2, Budgets: 2, Remaining: "45",
		Conditions: []metav1.Condition{condition("Ready", "True", "Succeeded"), condition("Observed", "True", "Answering"), condition("RulesLoaded", "True", "Loaded")},
		States:     &v1alpha1.BudgetStates{Met: 2},
		Worst:      []v1alpha1.BudgetStatus{budgetAt("checkout", "Met", "45"), budgetAt("basket", "Met", "90")},
	}
	return slo
}

// TestOfSLO changes one thing at a time of what allows a release.
func TestOfSLO(t *testing.T) {
	only := func(b v1alpha1.BudgetStatus, states v1alpha1.BudgetStates) func(*v1alpha1.ExperienceSLO) {
		return func(slo *v1alpha1.ExperienceSLO) {
			slo.Status.Worst[0], slo.Status.States, slo.Status.Remaining = b, &states, b.Remaining
		}
	}
	many := func(remaining v1alpha1.Figure, last v1alpha1.BudgetStatus, states v1alpha1.BudgetStates) func(*v1alpha1.ExperienceSLO) {
		return func(slo *v1alpha1.ExperienceSLO) {
			slo.Status.Budgets, slo.Status.Remaining, slo.Status.States = 50, remaining, &states
			slo.Status.Worst = nil
			for range 19 {
				slo.Status.Worst = append(slo.Status.Worst, last)
			}
			slo.Status.Worst = append(slo.Status.Worst, last)
		}
	}
	for name, each := range map[string]struct {
		change func(*v1alpha1.ExperienceSLO)
		terms  Terms
		wanted string // the beginning of the first reason, after the object; empty: allowed
	}{
		"well":                    {terms: Terms{MinBudget: 45}},
		"less left than asked":    {terms: Terms{MinBudget: 46}, wanted: "speed at checkout: less is left of it than 46% (45% left)"},
		"overspent":               {change: only(budgetAt("checkout", "Breached", "-30"), v1alpha1.BudgetStates{Met: 1, Breached: 1}), wanted: "speed at checkout: it is spent (-30% left)"},
		"an alert fires":          {change: only(budgetAt("checkout", "AtRisk", "80"), v1alpha1.BudgetStates{Met: 1, AtRisk: 1}), wanted: "speed at checkout: an alert fires for it (80% left)"},
		"inconclusive":            {change: only(budgetAt("checkout", "Inconclusive", "-3"), v1alpha1.BudgetStates{Met: 1, Inconclusive: 1}), terms: Terms{AllowUnknown: true}, wanted: "speed at checkout: it looks spent"},
		"no data":                 {change: only(budgetAt("checkout", "NoData", ""), v1alpha1.BudgetStates{Met: 1, NoData: 1}), wanted: "speed at checkout: nothing is known of it"},
		"no data is allowed":      {change: only(budgetAt("checkout", "NoData", ""), v1alpha1.BudgetStates{Met: 1, NoData: 1}), terms: Terms{AllowUnknown: true}},
		"few answers":             {change: only(budgetAt("checkout", "InsufficientData", "-200"), v1alpha1.BudgetStates{Met: 1, InsufficientData: 1}), wanted: "speed at checkout: it has too few answers"},
		"few answers are allowed": {change: only(budgetAt("checkout", "InsufficientData", "-200"), v1alpha1.BudgetStates{Met: 1, InsufficientData: 1}), terms: Terms{AllowUnknown: true, MinBudget: 20}},
		"a state of the future":   {change: only(budgetAt("checkout", "Odd", "80"), v1alpha1.BudgetStates{Met: 1}), wanted: "speed at checkout: its state is not known here"},
		"an old status":           {change: func(s *v1alpha1.ExperienceSLO) { s.Generation = 3 }, wanted: "its status speaks of generation 2 of its spec, which is now at 3"},
		"old figures": {change: func(s *v1alpha1.ExperienceSLO) {
			s.Status.Conditions[1] = condition("Observed", "False", "PrometheusTimeout")
		}, wanted: "its figures are old: as PrometheusTimeout"},
		"nobody asks Prometheus": {change: func(s *v1alpha1.ExperienceSLO) { s.Status.Conditions = s.Status.Conditions[:1] }, wanted: "the manager asks no Prometheus"},
		"stalled":                {change: func(s *v1alpha1.ExperienceSLO) { s.Status.Conditions[0] = condition("Ready", "False", "InvalidQuery") }, wanted: "its configuration is not Ready: as InvalidQuery"},
		"rules not loaded": {change: func(s *v1alpha1.ExperienceSLO) {
			s.Status.Conditions[2] = condition("RulesLoaded", "False", "NotLoaded")
		}, wanted: "Prometheus does not evaluate its rules: as NotLoaded"},
		"nothing is watched":    {change: func(s *v1alpha1.ExperienceSLO) { s.Status.States, s.Status.Worst, s.Status.Budgets = nil, nil, 0 }, wanted: "it has no budget that is watched"},
		"many, all with enough": {change: many("45", budgetAt("checkout", "Met", "45"), v1alpha1.BudgetStates{Met: 50}), terms: Terms{MinBudget: 45}},
		"many, some not listed": {change: many("-1", budgetAt("checkout", "Breached", "-1"), v1alpha1.BudgetStates{Breached: 30, Met: 20}), wanted: "speed at checkout: it is spent"},
		"many, hidden behind few answers": {
			change: many("-50", budgetAt("checkout", "InsufficientData", "-50"), v1alpha1.BudgetStates{InsufficientData: 20, Met: 30}), terms: Terms{AllowUnknown: true, MinBudget: 20},
			wanted: "of 30 more of its budgets the status has no room to say whether 20% is left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			slo := well()
			if each.change != nil {
				each.change(slo)
			}
			verdict := each.terms.OfSLO(slo)
			if each.wanted == "" {
				if !verdict.Allowed() || verdict.Budgets != slo.Status.Budgets {
					t.Errorf("%+v", verdict)
				}
				return
			}
			if verdict.Allowed() || !strings.HasPrefix(verdict.Blocks[0].String(), "ExperienceSLO shop/checkout: "+each.wanted) {
				t.Errorf("%v\nwanted %s", verdict.Blocks, each.wanted)
			}
		})
	}
	slo := well()
	many("-1", budgetAt("checkout", "Breached", "-1"), v1alpha1.BudgetStates{Breached: 30, Met: 20})(slo)
	if verdict := (Terms{}).OfSLO(slo); len(verdict.Blocks) != 21 || verdict.Blocks[20].Message != "10 more of its budgets: it is spent" {
		t.Errorf("%+v", verdict.Blocks)
	}
}

// TestOfJourney judges what is promised at a journey's touchpoints, and nothing else.
func TestOfJourney(t *testing.T) {
	journey := &v1alpha1.Journey{}
	journey.Namespace, journey.Name, journey.Generation = "shop", "purchase", 1
	journey.Spec.Stages = []v1alpha1.Stage{{Name: "purchase", Touchpoints: []v1alpha1.TouchpointReference{{Name: "checkout"}, {Name: "hotline", Namespace: "service"}}}}
	journey.Status.ObservedGeneration = 1
	journey.Status.Conditions = []metav1.Condition{condition("Ready", "True", "Succeeded"), condition("Observed", "True", "Answering")}
	key := func(namespace, name string) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: name}
	}
	touchpoint := func(namespace, name string) *v1alpha1.Touchpoint {
		return &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	in := func(slos ...*v1alpha1.ExperienceSLO) Objects {
		objects := Objects{
			Journeys: map[types.NamespacedName]*v1alpha1.Journey{key("shop", "purchase"): journey},
			Touchpoints: map[types.NamespacedName]*v1alpha1.Touchpoint{
				key("shop", "checkout"): touchpoint("shop", "checkout"), key("shop", "basket"): touchpoint("shop", "basket"), key("service", "hotline"): touchpoint("service", "hotline"),
			},
			ExperienceSLOs: map[types.NamespacedName]*v1alpha1.ExperienceSLO{},
		}
		for _, slo := range slos {
			objects.ExperienceSLOs[key(slo.Namespace, slo.Name)] = slo
		}
		return objects
	}
	if verdict := (Terms{}).OfJourney(journey, in()); verdict.Allowed() || verdict.Blocks[0].State != "NothingPromised" {
		t.Errorf("%+v", verdict)
	}
	if verdict := (Terms{AllowUnknown: true}).OfJourney(journey, in()); !verdict.Allowed() {
		t.Errorf("%+v", verdict)
	}
	// The basket is not on the journey.
	elsewhere := well()
	elsewhere.Status.Worst = []v1alpha1.BudgetStatus{budgetAt("basket", "Breached", "-9"), budgetAt("checkout", "Met", "45")}
	elsewhere.Status.States, elsewhere.Status.Remaining = &v1alpha1.BudgetStates{Breached: 1, Met: 1}, "-9"
	if verdict := (Terms{MinBudget: 20}).OfJourney(journey, in(elsewhere)); !verdict.Allowed() || verdict.Budgets != 1 || *verdict.Least != 45 {
		t.Errorf("%+v", verdict)
	}
	// The hotline is, although in another namespace.
	hotline := well()
	hotline.Namespace, hotline.Name = "service", "hotline"
	hotline.Spec.Targets.Touchpoints = []v1alpha1.Name{"hotline"}
	hotline.Status.Worst, hotline.Status.Budgets = []v1alpha1.BudgetStatus{budgetAt("hotline", "AtRisk", "60")}, 1
	hotline.Status.States = &v1alpha1.BudgetStates{AtRisk: 1}
	verdict := (Terms{}).OfJourney(journey, in(elsewhere, hotline))
	if len(verdict.Blocks) != 1 || verdict.Blocks[0].String() != "ExperienceSLO service/hotline: speed at hotline: an alert fires for it (60% left)" {
		t.Errorf("%+v", verdict)
	}
	// What the status has no room for may be on the journey.
	elsewhere.Status.Budgets, elsewhere.Status.States.Breached = 60, 30
	verdict = Terms{}.OfJourney(journey, in(elsewhere))
	if len(verdict.Blocks) != 1 || !strings.HasSuffix(verdict.Blocks[0].Message, "gate xslo/checkout") {
		t.Errorf("%+v", verdict)
	}
	journey.Generation = 2
	if verdict := (Terms{}).OfJourney(journey, in(well())); verdict.Allowed() {
		t.Errorf("%+v", verdict)
	}
}

// TestWait tells stories of budgets in a bubble where time passes at once.
func TestWait(t *testing.T) {
	const bad, good = false, true
	type turn struct {
		after time.Duration
		to    bool
	}
	trouble := errors.New("trouble")
	for name, each := range map[string]struct {
		patience      Patience
		turns         []turn // what it is at first, and what it becomes
		cached        bool   // the watch tells nothing of the last turn
		allowed, late bool
		ends, held    time.Duration
		err           error
	}{
		"once, allowed":                         {turns: []turn{{0, good}}, allowed: true},
		"once, not allowed":                     {turns: []turn{{0, bad}}},
		"held":                                  {patience: Patience{For: 10 * time.Minute}, turns: []turn{{0, good}}, allowed: true, ends: 10 * time.Minute, held: 10 * time.Minute},
		"not held":                              {patience: Patience{For: 10 * time.Minute}, turns: []turn{{0, good}, {4 * time.Minute, bad}, {time.Minute, good}}, ends: 4 * time.Minute},
		"waited for":                            {patience: Patience{Timeout: time.Hour}, turns: []turn{{0, bad}, {20 * time.Minute, good}}, allowed: true, ends: 20 * time.Minute},
		"waited for in vain":                    {patience: Patience{Timeout: time.Hour}, turns: []turn{{0, bad}}, late: true, ends: time.Hour},
		"waited for, then held from anew":       {patience: Patience{For: 10 * time.Minute, Timeout: time.Hour}, turns: []turn{{0, good}, {9 * time.Minute, bad}, {time.Minute, good}}, allowed: true, ends: 20 * time.Minute, held: 10 * time.Minute},
		"held too short when the time was up":   {patience: Patience{For: 10 * time.Minute, Timeout: 15 * time.Minute}, turns: []turn{{0, bad}, {12 * time.Minute, good}}, allowed: true, late: true, ends: 15 * time.Minute, held: 3 * time.Minute},
		"a watch that has not told all the end": {patience: Patience{For: 10 * time.Minute}, turns: []turn{{0, good}, {4 * time.Minute, bad}}, cached: true, ends: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := make(chan struct{}, 1)
				var now, seen atomic.Bool
				now.Store(each.turns[0].to)
				seen.Store(each.turns[0].to)
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for i, next := range each.turns[1:] {
						time.Sleep(next.after)
						now.Store(next.to)
						if each.cached && i == len(each.turns)-2 {
							return
						}
						seen.Store(next.to)
						select {
						case changes <- struct{}{}:
						default:
						}
					}
				}()
				begin := time.Now()
				verdict, held, late, err := each.patience.Wait(t.Context(), changes, func(_ context.Context, anew bool) (Verdict, error) {
					state := seen.Load()
					if anew {
						state = now.Load()
					}
					if state == good {
						return Verdict{}, nil
					}
					return Verdict{Blocks: []Block{{}}}, nil
				}, func(Progress) {})
				if err != nil || verdict.Allowed() != each.allowed || late != each.late || held != each.held || time.Since(begin) != each.ends {
					t.Error(err, verdict.Allowed(), late, held, time.Since(begin))
				}
				<-ended
			})
		})
	}
	_, _, _, err := (Patience{}).Wait(t.Context(), nil, func(context.Context, bool) (Verdict, error) { return Verdict{}, trouble }, func(Progress) {})
	if !errors.Is(err, trouble) {
		t.Error(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(fmt.Errorf("enough"))
	_, _, _, err = (Patience{Timeout: time.Hour}).Wait(ctx, nil, func(context.Context, bool) (Verdict, error) { return Verdict{Blocks: []Block{{}}}, nil }, func(Progress) {})
	if err == nil || err.Error() != "enough" {
		t.Error(err)
	}
}
