package observe

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// What stands as badly as others, give or take a rounding, does not take turns with them.
func TestSteadyFiguresAreNotWritten(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(about, by float64) float64 { return about + by*(2*random.Float64()-1) }
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("t-%02d", i))
	}
	watched := []rules.Watch{watch("up", "probe/availability", 0.01, names...), watch("spent", "probe/availability", 0.01, names[:10]...)}
	seen := func() (budgets []*Budget) {
		for i, name := range names {
			// Half of the budget is left, give or take less than half a point of it; some burn
			// about as fast as they may.
			b := visits("up", name, noise(0.00495, 0.00004))
			b.Recent = noise(0.0095, 0.0009)
			budgets = append(budgets, b)
			if i < 10 {
				b := visits("spent", name, noise(0.02, 0.00004))
				b.Recent = noise(0.0095, 0.0009)
				budgets = append(budgets, b)
			}
		}
		return budgets
	}
	spec := &v1alpha1.TouchpointSpec{}
	journey := &v1alpha1.JourneySpec{Scoring: "PeakEnd", Stages: []v1alpha1.Stage{{Name: "only"}}}
	var slo v1alpha1.ExperienceSLOStatus
	var touchpoint v1alpha1.TouchpointStatus
	var path v1alpha1.JourneyStatus
	written := 0
	for i := range 200 {
		moment := momentAt(metav1.NewTime(begin.Add(time.Duration(i) * time.Minute)))
		before, tpBefore, pathBefore := slo.DeepCopy(), touchpoint.DeepCopy(), path.DeepCopy()
		budgets := seen()
		slo.Conditions = OfSLO(&slo, watched, budgets, "28d", moment)
		first := []*Budget{visits("up", "a", noise(0.00495, 0.00004)), visits("fast", "a", noise(0.005, 0.00004))}
		touchpoint.Conditions = OfTouchpoint(&touchpoint, spec, experience(), first, moment)
		stop := Stop{Name: "a", Weight: 1, Score: Score{Value: noise(80, 0.2), Kept: 1, Ease: noise(0.8, 0.002), Satisfied: noise(0.8, 0.002)}}
		other := stop
		other.Name, other.Score.Value = "b", noise(80, 0.2)
		path.Conditions = OfJourney(&path, journey, [][]Stop{{stop, other}}, nil, moment)
		if i > 0 && (!equality.Semantic.DeepEqual(*before, slo) || !equality.Semantic.DeepEqual(*tpBefore, touchpoint) || !equality.Semantic.DeepEqual(*pathBefore, path)) {
			written++
		}
	}
	// A burn rate crosses 1 upwards once, and from then on is written.
	if written > 15 {
		t.Errorf("written in %d of 200 rounds", written)
	}
	if slo.Worst[0].Objective != "spent" || slo.Worst[0].State != "Breached" {
		t.Errorf("%+v", slo.Worst[0])
	}
	// What stands clearly worse is listed at once.
	budgets := seen()
	for _, b := range budgets {
		if b.Touchpoint == "t-99" {
			b.Loss = 0.0055
		}
	}
	slo.Conditions = OfSLO(&slo, watched, budgets, "28d", momentAt(begin))
	if got := slo.Worst[10]; got.Touchpoint != "t-99" || got.Remaining != "45" {
		t.Errorf("%+v", got)
	}
}

// After an edit Prometheus shows the promise of before for a while.
func TestJudgedByTheNewTarget(t *testing.T) {
	seen := []*Budget{visits("up", "checkout", 0.02)}
	var status v1alpha1.ExperienceSLOStatus
	for _, step := range []struct {
		allowed float64
		window  v1alpha1.Window
		want    string
	}{
		{0.01, "28d", "False Breached, loaded True"},
		{0.05, "28d", "True Kept, loaded True"},
		{0.05, "7d", "Unknown NoData, loaded Unknown"},
		{0.01, "28d", "False Breached, loaded True"},
	} {
		status.Conditions = OfSLO(&status, []rules.Watch{watch("up", "probe/availability", step.allowed, "checkout")}, seen, step.window, momentAt(begin))
		met, loaded := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionMet), meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRulesLoaded)
		if got := fmt.Sprintf("%s %s, loaded %s", met.Status, met.Reason, loaded.Status); got != step.want {
			t.Errorf("%+v: %s", step, got)
		}
	}
	if seen[0].Allowed != 0.01 {
		t.Error("what others read was written to")
	}
}

// While Prometheus is away, what it said last stands, whatever happens to object and manager.
func TestTheLastFiguresStand(t *testing.T) {
	watched := []rules.Watch{watch("up", "probe/availability", 0.01, "checkout")}
	var status v1alpha1.ExperienceSLOStatus
	status.Conditions = OfSLO(&status, watched, []*Budget{visits("up", "checkout", 0.002)}, "28d", momentAt(begin))
	away := func(reason string, since time.Time, generation int64) {
		m := Moment{Health: Health{Asked: true, Known: true, Reason: reason, Since: since}, Generation: generation, Now: metav1.NewTime(begin.Add(time.Hour))}
		status.Conditions = OfSLO(&status, watched, nil, "28d", m)
	}
	away(reasonTimeout, begin.Time, 1)
	told := status.DeepCopy()
	observed := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionObserved)
	if observed.Status != metav1.ConditionFalse || !strings.Contains(observed.Message, "as of 2026-11-22T03:00:00Z") {
		t.Errorf("%+v", observed)
	}
	for _, kept := range []string{v1alpha1.ConditionMet, v1alpha1.ConditionRulesLoaded, v1alpha1.ConditionWindowCovered} {
		if !meta.IsStatusConditionTrue(status.Conditions, kept) {
			t.Errorf("%s is lost: %+v", kept, status.Conditions)
		}
	}
	// Another manager has never heard of Prometheus.
	away(reasonUnreachable, time.Time{}, 1)
	if !equality.Semantic.DeepEqual(status, *told) {
		t.Errorf("%+v, not %+v", status.Conditions, told.Conditions)
	}
	// An edit is not judged by what was said of the spec before.
	away(reasonUnreachable, time.Time{}, 2)
	if met := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionMet); met.ObservedGeneration != 1 {
		t.Errorf("judged without being seen: %+v", met)
	}
	// It comes back.
	status.Conditions = OfSLO(&status, watched, []*Budget{visits("up", "checkout", 0.002)}, "28d", momentAt(metav1.NewTime(begin.Add(2*time.Hour))))
	observed = meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionObserved)
	if observed.Status != metav1.ConditionTrue || !observed.LastTransitionTime.Time.Equal(begin.Add(2*time.Hour)) {
		t.Errorf("%+v", observed)
	}
}
