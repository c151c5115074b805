package rules

import (
	"fmt"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Counts of one minute are added up to tiles of five minutes and of a quarter of an hour:
// a longer window then reads few samples. What is written more seldom than Prometheus
// looks back for a single sample is read through ranges only.
const (
	tile        = time.Minute
	fiveTile    = 5 * time.Minute
	quarterTile = 15 * time.Minute
	// longTile is how often windows of a week and more are added up.
	longTile = 30 * time.Minute
	// rosterTile is how often labels, targets and thresholds are written: they seldom
	// change, and with one evaluation missed they are still looked back for.
	rosterTile = 2 * time.Minute

	// lately is a range that holds the last sample of what is written every five
	// minutes even if one evaluation was missed.
	lately = "11m"
	// latelyQuarter and latelyLong are the same for what is written every quarter of an
	// hour and every half.
	latelyQuarter = "31m"
	latelyLong    = "61m"
)

// both makes a rule for events and the same for losses.
func both(namespace, suffix string, expr func(read func(suffix string) string) string) []monitoringv1.Rule {
	var rules []monitoringv1.Rule
	for _, what := range []string{events, losses} {
		rules = append(rules, record(what+suffix, expr(func(from string) string {
			return selector(what+from, equals("namespace", namespace))
		}), nil))
	}
	return rules
}

// addedUp sums tiles over a window.
func addedUp(namespace, from string, window time.Duration) []monitoringv1.Rule {
	return both(namespace, "sum"+promDuration(window), func(read func(string) string) string {
		return fmt.Sprintf("sum_over_time(%s[%s])", read(from), span(window))
	})
}

// tiles says, of each namespace, that tiles of five minutes or of a quarter of an hour
// were written.
const tiles = "sojourn:tiles:"

// written tells whether tiles were written lately, but not now.
func written(namespace, which, within string) string {
	return fmt.Sprintf("on (namespace) last_over_time(%s[%s] offset 30s)", selector(tiles+which, equals("namespace", namespace)), within)
}

// fiveMinutes makes the tiles of five minutes. If the evaluation before was missed, they
// make up for it. Counts have a minute's grace to arrive.
func fiveMinutes(namespace string) []monitoringv1.Rule {
	rules := both(namespace, "count5m", func(read func(string) string) string {
		last := fmt.Sprintf("sum_over_time(%s[%s] offset 1m)", read("count1m"), span(fiveTile))
		missed := fmt.Sprintf("sum_over_time(%s[%s] offset 6m) unless %s", read("count1m"), span(fiveTile), written(namespace, "count5m", "7m"))
		return fmt.Sprintf("%s + (%s) or %s", last, missed, last)
	})
	return append(rules, record(tiles+"count5m", "vector(1)", map[string]string{"namespace": namespace}))
}

// quarters makes the tiles of the quarters of every hour. The steps of a subquery lie on
// whole quarters, whenever the group is evaluated: of the three evaluations in a quarter
// one finds its end among the last five minutes, and the others find nothing. So even a
// rule object that is made anew, and evaluated at another time of the minute, counts
// every quarter once; and if that evaluation is missed, the next tile makes up for it.
// Counts have a minute's grace to arrive.
func quarters(namespace string) []monitoringv1.Rule {
	ended := func(expr, ago string) string { return fmt.Sprintf("last_over_time(%s[5m:15m] offset %s)", expr, ago) }
	rules := both(namespace, "count15m", func(read func(string) string) string {
		quarter := fmt.Sprintf("sum_over_time(%s[%s])", read("count1m"), span(quarterTile))
		// The tile before is 10 to 20 minutes old; this one, if it was written already, at
		// most five.
		return fmt.Sprintf("(%s + (%s unless %s) or %s) unless %s",
			ended(quarter, "1m"), ended(quarter, "16m"), written(namespace, "count15m", "22m"), ended(quarter, "1m"), written(namespace, "count15m", "7m"))
	})
	return append(rules, record(tiles+"count15m", ended("vector(1)", "1m"), map[string]string{"namespace": namespace}))
}

// minuteGroups makes what pages need every minute: sums over five minutes and an hour, the
// alerts on them, and those on silence.
func minuteGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	rules := slices.Concat(
		addedUp(namespace, "count1m", fiveTile),
		addedUp(namespace, "count1m", time.Hour),
	)
	for _, tier := range tiersOf(r, budget.Traffic) {
		if isQuick(tier.Long) {
			rules = append(rules, trafficAlert(namespace, tier))
		}
	}
	return grouped("sojourn-minutes", tile, append(rules, silenceAlerts(namespace, r)...))
}

// isQuick tells whether a window is added up every minute.
func isQuick(window time.Duration) bool { return window <= time.Hour && window != 30*time.Minute }

// steadyGroups makes the tiles, the sums over the windows of all other alerts of up to a
// day, and these alerts.
func steadyGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	tiles := slices.Concat(fiveMinutes(namespace), quarters(namespace))
	surveys := tiersOf(r, budget.Survey)
	surveyed := tiles
	if len(surveys) > 0 {
		surveyed = append(surveyed, addedUp(namespace, "count5m", day)...)
	}
	for _, tier := range surveys {
		surveyed = append(surveyed, surveyOver(namespace, tier), surveyAlert(namespace, tier))
	}
	var traffic []monitoringv1.Rule
	if tiers := tiersOf(r, budget.Traffic); len(tiers) > 0 {
		traffic = addedUp(namespace, "count1m", 30*time.Minute)
		for _, window := range []time.Duration{2 * time.Hour, 6 * time.Hour, day} {
			if window != day || len(surveys) == 0 {
				traffic = append(traffic, addedUp(namespace, "count5m", window)...)
			}
		}
		for _, tier := range tiers {
			if !isQuick(tier.Long) {
				traffic = append(traffic, trafficAlert(namespace, tier))
			}
		}
	}
	return grouped("sojourn-steady", fiveTile, surveyed, traffic)
}

const day = 24 * time.Hour

// settled is the suffix of what the long windows hold of the last hour.
const settled = "settled1h"

// longGroups adds up the windows of more than a day, and says how much of a budget's
// window is known.
func longGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	windows := r.windows("")
	lengths := slices.Clone(windows)
	for _, family := range []budget.Family{budget.Traffic, budget.Survey} {
		for _, tier := range tiersOf(r, family) {
			if tier.Long > day {
				lengths = append(lengths, tier.Long)
			}
		}
	}
	slices.Sort(lengths)
	var quarterly []monitoringv1.Rule
	long := both(namespace, settled, func(read func(string) string) string {
		return fmt.Sprintf("sum_over_time(%s[%s])", read("count15m"), span(time.Hour))
	})
	for _, length := range slices.Compact(lengths) {
		sums := addedUp(namespace, "count15m", length)
		if length < 7*day {
			quarterly = append(quarterly, sums...)
			continue
		}
		long = append(long, sums...)
		if slices.Contains(windows, length) {
			known := fmt.Sprintf("count_over_time(%s[%s]) / %d", selector(events+"count15m", equals("namespace", namespace)), span(length), length/quarterTile)
			long = append(long, record(Coverage, spread(known, namespace, length), map[string]string{"window": promDuration(length)}))
		}
	}
	return append(grouped("sojourn-quarters", quarterTile, quarterly), grouped("sojourn-long", longTile, long)...)
}

// windowOf reads the sum over a window.
func windowOf(what string, window time.Duration, namespace string) string {
	x := selector(what+"sum"+promDuration(window), equals("namespace", namespace))
	switch {
	case isQuick(window):
		return x
	case window <= day:
		return fmt.Sprintf("last_over_time(%s[%s])", x, lately)
	case window < 7*day:
		return fmt.Sprintf("last_over_time(%s[%s])", x, latelyQuarter)
	default:
		return fmt.Sprintf("last_over_time(%s[%s])", x, latelyLong)
	}
}

// spread gives what is known of a touchpoint's counts to each of the budgets on them whose
// window has some length.
func spread(expr, namespace string, window time.Duration) string {
	return fmt.Sprintf("%s + on (%s) group_right () 0 * %s", expr, countKey,
		selector(Floor, equals("namespace", namespace), equals("window", promDuration(window))))
}
