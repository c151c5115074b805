package observe

import (
	"math"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Stop is a touchpoint on a journey, and what Prometheus shows of it.
type Stop struct {
	// Name is as the journey writes it: with its namespace only if that is another.
	Name          string
	Weight        int32
	MomentOfTruth bool
	Score         Score
	Budgets       []*Budget
}

// OfJourney writes into a status how customers fare on a journey. stages holds for each of
// the spec's stages its stops; a touchpoint that is not there has none. It returns the
// conditions that speak of customers.
func OfJourney(status *v1alpha1.JourneyStatus, spec *v1alpha1.JourneySpec, stages [][]Stop, recorded *Journey, m Moment) []metav1.Condition {
	if !m.Health.Asked {
		status.Score, status.Weakest, status.Budgets, status.Stages, status.KPIs = "", nil, nil, nil, nil
		return nil
	}
	previous := *status
	stops := slices.Concat(stages...)
	if recorded == nil {
		recorded = &Journey{}
	}
	if !m.stands() {
		status.Score = scoreFigure(previous.Score, budget.JourneyScore(budget.Scoring(spec.Scoring), scored(stops)))
		status.Weakest = weakest(previous.Weakest, stops)
		status.Budgets = countBudgets(stops)
		status.Stages = stageStatuses(previous.Stages, spec.Stages, stages, recorded.Entries)
		status.KPIs = kpiStatuses(previous.KPIs, spec.KPIs, recorded.KPIs)
	}
	budgets, names := allBudgets(stops)
	healthy := judged(v1alpha1.ConditionHealthy, budgets, func(b *Budget) string { return b.fullName() + " at " + names[b] })
	return m.conditions(previous.Conditions, healthy)
}

// scored leaves of stops what makes a score.
func scored(stops []Stop) []budget.Stop {
	made := make([]budget.Stop, len(stops))
	for i, stop := range stops {
		made[i] = budget.Stop{Score: stop.Score.Value, Weight: float64(max(1, stop.Weight)), MomentOfTruth: stop.MomentOfTruth}
	}
	return made
}

// allBudgets lists each budget once, in a journey that loops too.
func allBudgets(stops []Stop) (budgets []*Budget, names map[*Budget]string) {
	names = map[*Budget]string{}
	for _, stop := range stops {
		for _, b := range stop.Budgets {
			if names[b] == "" {
				names[b] = stop.Name
				budgets = append(budgets, b)
			}
		}
	}
	return budgets, names
}

// countBudgets returns nil if there is none.
func countBudgets(stops []Stop) *v1alpha1.JourneyBudgets {
	budgets, _ := allBudgets(stops)
	if len(budgets) == 0 {
		return nil
	}
	counts := &v1alpha1.JourneyBudgets{}
	for _, b := range budgets {
		switch b.State() {
		case budget.Met, budget.AtRisk:
			counts.Met++
		case budget.Breached:
			counts.Breached++
		default:
			counts.Unknown++
		}
	}
	return counts
}

// weakest is the stop with the lowest score: the first of several.
func weakest(previous *v1alpha1.WeakestTouchpoint, stops []Stop) *v1alpha1.WeakestTouchpoint {
	var low *Stop
	for i := range stops {
		score := stops[i].Score.Value
		// Another that is lower by less than a rounding changes nothing.
		if !math.IsNaN(score) && (low == nil || score < low.Score.Value-0.5 ||
			score < low.Score.Value+0.5 && previous != nil && previous.Name == stops[i].Name) {
			low = &stops[i]
		}
	}
	if low == nil {
		return nil
	}
	var before v1alpha1.WeakestTouchpoint
	if previous != nil && previous.Name == low.Name {
		before = *previous
	}
	return &v1alpha1.WeakestTouchpoint{
		Name: low.Name, Why: low.why(before.Why), Score: scoreFigure(before.Score, low.Score.Value),
	}
}

// why says what brings the score of a stop down, without figures, which move, and as it was
// said before if that is as true.
func (s Stop) why(before string) string {
	for _, state := range []budget.State{budget.Breached, budget.AtRisk} {
		for _, b := range s.Budgets {
			if b.State() != state {
				continue
			}
			if state == budget.Breached {
				return b.fullName() + " is Breached"
			}
			return b.fullName() + " is AtRisk: " + b.Firing[0] + " fires"
		}
	}
	lowest, why := 1.0, ""
	for _, part := range []struct {
		share float64
		why   string
	}{
		{s.Score.Kept, "its budgets burn faster than they may"},
		{s.Score.Ease, "the share of customers that find it easy"},
		{s.Score.Satisfied, "the share of customers that are satisfied"},
	} {
		if part.share < lowest-halfPoint || part.why == before && part.share < lowest+halfPoint {
			lowest, why = part.share, part.why
		}
	}
	return why
}

func stageStatuses(previous []v1alpha1.StageStatus, spec []v1alpha1.Stage, stages [][]Stop, entries map[string]float64) []v1alpha1.StageStatus {
	before := map[v1alpha1.Name]v1alpha1.StageStatus{}
	for _, stage := range previous {
		before[stage.Name] = stage
	}
	found := make([]v1alpha1.StageStatus, len(spec))
	for i := range spec {
		name, was := spec[i].Name, before[spec[i].Name]
		stage := v1alpha1.StageStatus{
			Name: name, Budgets: countBudgets(stages[i]),
			Score: scoreFigure(was.Score, budget.JourneyScore(budget.WeightedMean, scored(stages[i]))),
		}
		if entered, known := entries[string(name)]; known && spec[i].Entries != "" {
			count := whole(entered)
			if was.Entries != nil && !countMoved(*was.Entries, entered) {
				count = *was.Entries
			}
			stage.Entries = &count
			if i > 0 && spec[i-1].Entries != "" && entries[string(spec[i-1].Name)] > 0 {
				converted := 100 * entered / entries[string(spec[i-1].Name)]
				stage.ConversionPercent, stage.DropOffPercent = was.ConversionPercent, was.DropOffPercent
				if figureMoved(was.ConversionPercent, converted, 1, 0) {
					stage.ConversionPercent, stage.DropOffPercent = decimal(converted, 1), decimal(100-converted, 1)
				}
			}
		}
		found[i] = stage
	}
	return found
}

func kpiStatuses(previous []v1alpha1.KPIStatus, spec []v1alpha1.KPI, values map[string]float64) []v1alpha1.KPIStatus {
	var found []v1alpha1.KPIStatus
	for _, kpi := range spec {
		value, known := values[string(kpi.Name)]
		if !known {
			continue
		}
		status := v1alpha1.KPIStatus{Name: kpi.Name, Value: significant(value, 3), Target: kpi.Target}
		for _, was := range previous {
			if was.Name == kpi.Name && !figureMoved(was.Value, value, 0, 2*halfPoint) {
				status.Value = was.Value
			}
		}
		if kpi.Target != "" {
			if reached, err := kpi.Target.Reached(value); err == nil {
				status.Reached = &reached
			}
		}
		found = append(found, status)
	}
	return found
}
