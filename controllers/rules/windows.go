package rules

import (
	"fmt"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Tiles of one minute are added up to tiles of five minutes and to hourly sums: a longer
// window then reads few samples. Both are written every five minutes, as long as
// Prometheus looks back for a single sample, so they are read through ranges only.
const (
	tile     = time.Minute
	fiveTile = 5 * time.Minute
	// lately is a range that holds the last sample of what is written every five
	// minutes even if one evaluation was missed.
	lately = "10m"
	// latelyLong is the same for what is written every quarter of an hour.
	latelyLong = "35m"
)

// both makes a rule for events and the same for losses.
func both(namespace, suffix string, expr func(selector func(suffix string) string) string) []monitoringv1.Rule {
	var rules []monitoringv1.Rule
	for _, what := range []string{"sojourn:slo_events:", "sojourn:slo_losses:"} {
		rules = append(rules, record(what+suffix, expr(func(from string) string {
			return selector(what+from, equals("namespace", namespace))
		}), nil))
	}
	return rules
}

func addedUp(from string, window time.Duration) func(func(string) string) string {
	return func(x func(string) string) string {
		return fmt.Sprintf("sum_over_time(%s[%s])", x(from), span(window))
	}
}

// addedHours adds up hourly sums at whole hours, each looked for in ten minutes, so that a
// missed evaluation loses nothing. The window ends now, not at the last whole hour: of
// the present hour it takes the part that has passed since, and of the oldest hour it
// leaves the same part out. Before there is an oldest hour, or any whole one, it takes
// what there is.
func addedHours(window time.Duration) func(func(string) string) string {
	return func(x func(string) string) string {
		hour := func(offset string) string {
			return fmt.Sprintf("last_over_time(%s[%s]%s)", x("count1h"), lately, offset)
		}
		whole := fmt.Sprintf("sum_over_time(%s[%s:1h])", hour(""), span(window))
		const passed = "time() % 3600 / 3600"
		return fmt.Sprintf("%s + %s * (%s - %s) or %s + %s * %s or %s",
			whole, passed, hour(""), hour(" offset "+promDuration(window)),
			whole, passed, hour(""),
			hour(""))
	}
}

// windowGroups makes the tiles, and the sums over every window that some budget of the
// namespace needs, but for those of quickWindows.
func windowGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	steady := slices.Concat(
		both(namespace, "count5m", addedUp("count1m", fiveTile)),
		both(namespace, "count1h", addedUp("count1m", time.Hour)),
	)
	steadily := steadyWindows(r)
	for _, window := range steadily {
		sum := addedUp("count5m", window)
		if window > 24*time.Hour {
			sum = addedHours(window)
		}
		steady = append(steady, both(namespace, "sum"+promDuration(window), sum)...)
	}
	var long []monitoringv1.Rule
	for _, window := range r.windows("") {
		length, err := v1alpha1.Duration(window).Value()
		if err != nil {
			continue // the schema admits no such window
		}
		if !slices.Contains(steadily, length) {
			long = append(long, both(namespace, "sum"+string(window), addedHours(length))...)
		}
		long = append(long, record(Coverage, fmt.Sprintf("count_over_time(last_over_time(%s[%s])[%s:1h]) / %d and on (%s) %s",
			selector("sojourn:slo_events:count1h", equals("namespace", namespace)), lately, span(length), int(length.Hours()),
			budgetKey, selector(Budget, equals("namespace", namespace), equals("window", string(window)))),
			map[string]string{"window": string(window)}))
	}
	return slices.Concat(
		grouped("sojourn-steady", fiveTile, 1, steady),
		grouped("sojourn-long", 15*time.Minute, 1, long),
	)
}

// steadyWindows are the windows of alert tiers that are added up every five minutes.
func steadyWindows(r roster) []time.Duration {
	var windows []time.Duration
	for _, family := range []budget.Family{budget.Traffic, budget.Survey} {
		for _, window := range r.windows(family) {
			length, err := v1alpha1.Duration(window).Value()
			if err != nil {
				continue
			}
			for _, tier := range budget.Tiers(family, length) {
				for _, w := range []time.Duration{tier.Long, tier.Short} {
					if w > 0 && !isQuick(w) {
						windows = append(windows, w)
					}
				}
			}
		}
	}
	slices.Sort(windows)
	return slices.Compact(windows)
}

// quickWindows makes the sums that are added up every minute. They share a group with the
// pages, which then wait for nothing else.
func quickWindows(namespace string) []monitoringv1.Rule {
	return slices.Concat(
		both(namespace, "sum5m", addedUp("count1m", 5*time.Minute)),
		both(namespace, "sum1h", addedUp("count1m", time.Hour)),
	)
}

// isQuick tells whether a window is added up every minute.
func isQuick(window time.Duration) bool { return window == 5*time.Minute || window == time.Hour }

// windowOf reads the sum over an alert's window as an instant vector.
func windowOf(what string, window time.Duration, namespace string) string {
	x := selector(what+"sum"+promDuration(window), equals("namespace", namespace))
	if isQuick(window) {
		return x
	}
	return fmt.Sprintf("last_over_time(%s[%s])", x, lately)
}

// stateGroups records how each budget stands over its window, for people, tables and
// dashboards. Alerts do not read it.
func stateGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	var rules []monitoringv1.Rule
	for _, window := range r.windows("") {
		roster := func(matchers ...string) string {
			return selector(Budget, append([]string{equals("namespace", namespace), equals("window", string(window))}, matchers...)...)
		}
		over := func(what string) string {
			x := selector(what+"sum"+string(window), equals("namespace", namespace))
			return fmt.Sprintf("last_over_time(%s[%s])", x, latelyLong)
		}
		n, lost := over("sojourn:slo_events:"), over("sojourn:slo_losses:")
		label := map[string]string{"window": string(window)}
		mean := fmt.Sprintf("%s / (%s > 0)", lost, n)
		surveyed := func(sign string) string {
			return fmt.Sprintf("(%s and on (%s) %s) or %s", wilson(lost, "("+n+" > 0)", sign, budget.ZTicket), budgetKey, roster(equals("family", string(budget.Survey))), mean)
		}
		here := func(expr string) string { return fmt.Sprintf("(%s) and on (%s) %s", expr, budgetKey, roster()) }
		rules = append(rules,
			record(SampleSize, here(n), label),
			record(MeanLoss, here(mean), label),
			record(LossLower, here(surveyed("-")), label),
			record(LossUpper, here(surveyed("+")), label),
			record(Remaining, fmt.Sprintf("1 - %s / on (%s) max by (%s) (%s)", mean, budgetKey, budgetKey, roster()), label),
		)
	}
	return grouped("sojourn-state", tile, 5, rules)
}

// wilson writes budget.Bounds in PromQL: sign "-" for the lower bound, "+" for the upper.
func wilson(losses, n, sign string, z float64) string {
	zz := budget.Format(z * z)
	return fmt.Sprintf("(%s + %s %s %s * sqrt(%s * (%s - %s) / %s + %s)) / (%s + %s)",
		losses, budget.Format(z*z/2), sign, budget.Format(z), losses, n, losses, n, budget.Format(z*z/4), n, zz)
}
