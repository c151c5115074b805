package observe

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

const (
	// mostWorst is how many budgets a status has room for.
	mostWorst = 20
	// LoadingTime is how long Prometheus may take to show a budget: its operator writes
	// rules within a minute, and they are evaluated every other.
	LoadingTime = 5 * time.Minute
	// covered is the part of a window from which on it counts as whole.
	covered = 0.99
	// remainingStep is by how many percentage points of a budget what remains of it has to
	// move to be written.
	remainingStep = 1
	// burnsAgain and burnsNoMore are the burn rates from which on one is written, and below
	// which it is not any more.
	burnsAgain, burnsNoMore = 1, 0.8
)

// OfSLO writes into a status how the budgets of an ExperienceSLO stand. watched are the
// budgets there ought to be, and seen those that Prometheus shows. It returns the
// conditions that speak of customers.
func OfSLO(status *v1alpha1.ExperienceSLOStatus, watched []rules.Watch, seen []*Budget, window v1alpha1.Window, m Moment) []metav1.Condition {
	if !m.Health.Asked {
		status.States, status.Remaining, status.Worst = nil, "", nil
		return nil
	}
	previous := *status
	budgets, missing := matched(watched, seen, window)
	if !m.stands() {
		status.States, status.Worst, status.Remaining = nil, nil, ""
		if len(budgets) > 0 {
			status.States = statesOf(budgets)
			status.Worst = worstOf(previous.Worst, budgets)
			status.Remaining = least(previous.Remaining, budgets)
		}
	}
	plain := make([]*Budget, len(budgets))
	for i := range budgets {
		plain[i] = budgets[i].Budget
	}
	conditions := []metav1.Condition{judged(v1alpha1.ConditionMet, plain, func(b *Budget) string { return b.Objective + " at " + b.Touchpoint })}
	if len(budgets) > 0 {
		conditions = append(conditions, loaded(previous.Conditions, missing, len(budgets), m))
		if condition, known := windowCovered(plain, window); known {
			conditions = append(conditions, condition)
		}
	}
	return m.conditions(previous.Conditions, conditions...)
}

// promised is a budget, and how its value is written.
type promised struct {
	*Budget
	value func(loss float64) float64
}

// matched puts what there ought to be beside what there is. Of what is missing nothing is
// known. For a while after an edit Prometheus shows the promise of before: a mean loss can be
// judged by the new target at once, but not one of another window.
func matched(watched []rules.Watch, seen []*Budget, window v1alpha1.Window) (budgets []promised, missing int) {
	length, err := v1alpha1.Duration(window).Value()
	type key struct{ objective, touchpoint, def string }
	known := make(map[key]*Budget, len(seen))
	for _, b := range seen {
		known[key{b.Objective, b.Touchpoint, b.Def}] = b
	}
	for _, watch := range watched {
		for _, touchpoint := range watch.Touchpoints {
			b := known[key{watch.Objective, touchpoint, watch.Def}]
			if b != nil && b.Allowed != watch.Allowed {
				judged := *b // others read that one
				judged.Allowed = watch.Allowed
				b = &judged
			}
			if b == nil || err == nil && b.Window != length {
				missing++
				nan := math.NaN()
				b = &Budget{
					Objective: watch.Objective, Touchpoint: touchpoint, Def: watch.Def, Family: watch.Family,
					Allowed: watch.Allowed, Loss: nan, Events: nan, Recent: nan, Coverage: nan,
				}
			}
			budgets = append(budgets, promised{b, watch.Value})
		}
	}
	return budgets, missing
}

func statesOf(budgets []promised) *v1alpha1.BudgetStates {
	states := &v1alpha1.BudgetStates{}
	for _, b := range budgets {
		switch b.State() {
		case budget.Met:
			states.Met++
		case budget.AtRisk:
			states.AtRisk++
		case budget.Inconclusive:
			states.Inconclusive++
		case budget.Breached:
			states.Breached++
		case budget.InsufficientData:
			states.InsufficientData++
		case budget.NoData:
			states.NoData++
		}
	}
	return states
}

// least is what is left of the budget that has least left, in percent.
func least(previous v1alpha1.Figure, budgets []promised) v1alpha1.Figure {
	lowest := math.NaN()
	for _, b := range budgets {
		if left := 100 * b.Remaining(); !math.IsNaN(left) && !(lowest <= left) {
			lowest = left
		}
	}
	if math.IsNaN(lowest) {
		return ""
	}
	if !figureMoved(previous, lowest, remainingStep, 0) {
		return previous
	}
	return decimal(lowest, 0)
}

// worstOf lists the budgets that stand worst.
func worstOf(previous []v1alpha1.BudgetStatus, budgets []promised) []v1alpha1.BudgetStatus {
	type place struct{ objective, touchpoint v1alpha1.Name }
	before := map[place]v1alpha1.BudgetStatus{}
	for _, entry := range previous {
		before[place{entry.Objective, entry.Touchpoint}] = entry
	}
	type candidate struct {
		v1alpha1.BudgetStatus
		state     int
		remaining float64
	}
	candidates := make([]candidate, 0, len(budgets))
	for _, b := range budgets {
		was, listed := before[place{v1alpha1.Name(b.Objective), v1alpha1.Name(b.Touchpoint)}]
		now := budgetStatus(was, b)
		c := candidate{now, slices.Index(budget.States, budget.State(now.State)), valueOf(now.Remaining)}
		if listed {
			// What is listed stays, unless another stands clearly worse.
			c.remaining -= 2 * remainingStep
		}
		candidates = append(candidates, c)
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(-cmp.Compare(a.state, b.state), cmp.Compare(a.remaining, b.remaining),
			cmp.Compare(a.Objective, b.Objective), cmp.Compare(a.Touchpoint, b.Touchpoint))
	})
	worst := candidates[:min(len(candidates), mostWorst)]
	slices.SortStableFunc(worst, func(a, b candidate) int {
		return cmp.Or(-cmp.Compare(a.state, b.state), cmp.Compare(valueOf(a.Remaining), valueOf(b.Remaining)),
			cmp.Compare(a.Objective, b.Objective), cmp.Compare(a.Touchpoint, b.Touchpoint))
	})
	entries := make([]v1alpha1.BudgetStatus, len(worst))
	for i := range worst {
		entries[i] = worst[i].BudgetStatus
	}
	return entries
}

// budgetStatus writes how a budget stands, as it was written before if nothing has moved
// by more than its rounding.
func budgetStatus(before v1alpha1.BudgetStatus, b promised) v1alpha1.BudgetStatus {
	now := v1alpha1.BudgetStatus{
		Objective: v1alpha1.Name(b.Objective), Touchpoint: v1alpha1.Name(b.Touchpoint),
		State: v1alpha1.BudgetState(b.State()), Alerts: b.Firing,
	}
	if math.IsNaN(b.Loss) || math.IsNaN(b.Events) {
		return now
	}
	burn := b.BurnRate()
	burns := burn > burnsAgain || before.BurnRate != "" && burn > burnsNoMore
	if before.State == now.State && slices.Equal(before.Alerts, now.Alerts) && !countMoved(before.Events, b.Events) &&
		!figureMoved(before.Remaining, 100*b.Remaining(), remainingStep, 0) &&
		burns == (before.BurnRate != "") && (!burns || !figureMoved(before.BurnRate, burn, 0, 2*tenth)) {
		return before
	}
	digits := valueDigits(b.Allowed)
	now.Value = decimal(b.value(b.Loss), digits)
	if b.Family == budget.Survey {
		low, high := budget.Bounds(b.Loss*b.Events, b.Events, budget.ZTicket)
		ends := []float64{b.value(low), b.value(high)}
		slices.Sort(ends)
		now.Lower, now.Upper = decimal(ends[0], digits), decimal(ends[1], digits)
	}
	now.Events = whole(b.Events)
	now.Remaining = decimal(100*b.Remaining(), 0)
	if burns {
		now.BurnRate = significant(burn, 2)
	}
	return now
}

// valueDigits is how many digits behind the point of a percentage show a tenth of what is
// allowed.
func valueDigits(allowed float64) int {
	return min(max(1, 1-int(math.Floor(math.Log10(100*allowed)))), 4)
}

// loaded tells whether Prometheus evaluates the rules: it shows every budget, whether or
// not there is data. It may take a while.
func loaded(previous []metav1.Condition, missing, all int, m Moment) metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionRulesLoaded, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonLoaded, Message: "Prometheus evaluates the rules of all budgets",
	}
	if missing == 0 {
		return condition
	}
	condition.Status, condition.Reason = metav1.ConditionUnknown, v1alpha1.ReasonLoading
	condition.Message = fmt.Sprintf("Prometheus does not show all budgets yet; that can take %v", LoadingTime)
	before := meta.FindStatusCondition(previous, v1alpha1.ConditionRulesLoaded)
	if before == nil || before.Status == metav1.ConditionTrue || before.Status == metav1.ConditionUnknown && m.Now.Sub(before.LastTransitionTime.Time) < LoadingTime {
		return condition
	}
	condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonNotLoaded
	condition.Message = "Prometheus shows only some of the budgets: look at its rule files for errors, and whether it loads all of this namespace's"
	if missing == all {
		condition.Message = "Prometheus shows none of the budgets, so no alert can fire: see that it selects the rule objects of this namespace (ruleSelector, ruleNamespaceSelector; --rule-labels of the manager), and that --prometheus-url is that Prometheus"
	}
	return condition
}

// windowCovered tells whether the counts of the whole window are known.
func windowCovered(budgets []*Budget, window v1alpha1.Window) (condition metav1.Condition, known bool) {
	lowest := math.NaN()
	for _, b := range budgets {
		if !math.IsNaN(b.Coverage) && !(lowest <= b.Coverage) {
			lowest = b.Coverage
		}
	}
	if math.IsNaN(lowest) {
		return condition, false
	}
	condition = metav1.Condition{
		Type: v1alpha1.ConditionWindowCovered, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonCovered, Message: "the counts of the whole window are known",
	}
	if lowest >= covered {
		return condition, true
	}
	length, err := v1alpha1.Duration(window).Value()
	if err != nil {
		return condition, false
	}
	span := fmt.Sprintf("%d days", int(lowest*length.Hours()/24))
	if hours := lowest * length.Hours(); hours < 24 {
		span = "less than a day"
	} else if hours < 48 {
		span = "a day"
	}
	condition.Status, condition.Reason = metav1.ConditionFalse, v1alpha1.ReasonPartlyCovered
	condition.Message = fmt.Sprintf("the figures are of %s, not of the window's %s: counting began then, or Prometheus keeps no more (--storage.tsdb.retention.time)", span, window)
	return condition, true
}
