package rules

import (
	"fmt"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// stateGroups records how each budget stands over its window, for people, tables and
// dashboards. Alerts do not read it.
func stateGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	here := equals("namespace", namespace)
	surveyed := r.windows(budget.Survey)
	var sets [][]monitoringv1.Rule
	for _, length := range r.windows("") {
		window := equals("window", promDuration(length))
		// The series have this label anyway; it keeps the rules of several windows apart.
		label := map[string]string{"window": promDuration(length)}
		// A long window ends with a quarter of an hour that may be most of an hour old. What
		// came since, and was more than before, is added to the mean: an outage is to be
		// seen while it lasts. The sample size stays that of the window, since it decides
		// whether there is enough to judge by. Until there is a long window, the last hour
		// is all there is.
		over := func(what string) string {
			hour := windowOf(what, time.Hour, namespace)
			return fmt.Sprintf("(%s + clamp_min(%s - last_over_time(%s[%s]), 0) or %s)",
				windowOf(what, length, namespace), hour, selector(what+settled, here), latelyLong, hour)
		}
		mean := fmt.Sprintf("%s / (%s > 0)", over(losses), over(events))
		size := fmt.Sprintf("(%s or %s)", windowOf(events, length, namespace), windowOf(events, time.Hour, namespace))
		recorded := func(name string, more ...string) string {
			return selector(name, append([]string{here, window}, more...)...)
		}
		set := []monitoringv1.Rule{
			record(SampleSize, spread(size, namespace, length), label),
			record(MeanLoss, spread(mean, namespace, length), label),
			record(Remaining, fmt.Sprintf("1 - %s / on (%s) group_left () max by (%s) (%s)",
				recorded(MeanLoss), budgetKey, budgetKey, recorded(Budget)), label),
		}
		for _, bound := range []struct{ series, sign string }{{LossLower, "-"}, {LossUpper, "+"}} {
			family := equals("family", string(budget.Survey))
			if slices.Contains(surveyed, length) {
				set = append(set, record(bound.series, wilson(recorded(MeanLoss, family), recorded(SampleSize, family), bound.sign, budget.ZTicket), label))
			}
		}
		sets = append(sets, set)
	}
	return grouped("sojourn-state", fiveTile, sets...)
}

// wilson writes budget.Bounds in PromQL, of the mean loss of n events: sign "-" for the
// lower bound, "+" for the upper.
func wilson(mean, n, sign string, z float64) string {
	return WilsonBound(mean+" * "+n, n, sign, z)
}

// WilsonBound writes budget.Bounds in PromQL, of the sum of the losses of n events: sign "-"
// for the lower bound, "+" for the upper, z as there.
func WilsonBound(lost, n, sign string, z float64) string {
	return fmt.Sprintf("(%s + %s %s %s * sqrt(%s * (1 - %s / %s) + %s)) / (%s + %s)",
		lost, budget.Format(z*z/2), sign, budget.Format(z), lost, lost, n, budget.Format(z*z/4), n, budget.Format(z*z))
}
