package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// gained is what counters gained in the last minute, added up per key; all of them if the
// key is empty.
//
// The last value of five minutes is compared with the same a minute earlier. Plain
// increase(x[1m]) sees one of two increments at a 30-second scrape; increase(x[5m])
// extrapolates bursts; and a bare difference loses two minutes at every failed scrape,
// which happens just when a service is overloaded. Evaluated every minute, the differences
// add up to exactly what the counter gained. A counter that fell was restarted: what it
// holds is what it gained. One that was not there a minute ago says nothing yet.
//
// (A subquery of two steps under irate reads the counter once instead of four times, for a
// fifth less CPU over all; but its steps lie on whole minutes, and pages came a minute
// later.)
func gained(key, counter string) string {
	return gainedOf(key, latest(counter), latestBefore(counter))
}

// gainedOf is gained for what is worked out from the last values of counters, now and the
// same a minute ago, such as the observations of native histograms: floats, because the
// difference of histograms with another layout of buckets is none.
func gainedOf(key, now, before string) string {
	sum := "sum"
	if key != "" {
		sum = fmt.Sprintf("sum by (%s) ", key)
	}
	return fmt.Sprintf("%s((%s - %s) >= 0 or %s < %s)", sum, now, before, now, before)
}

// latest is the last value of five minutes, and latestBefore the same a minute earlier.
func latest(counter string) string { return fmt.Sprintf("last_over_time(%s[5m])", counter) }
func latestBefore(counter string) string {
	return fmt.Sprintf("last_over_time(%s[5m] offset 1m)", counter)
}

// surveyGained is what the gateway's totals of a touchpoint gained in the last minute. Every
// replica of the gateway shows the totals of the one database: the highest is the latest.
// They never fall, so that a lower value is a replica that lags, never a restart.
func surveyGained(matchers ...string) string {
	totals := selector(surveyResponses, matchers...)
	highest := func(last string) string {
		return fmt.Sprintf("max by (%s, instrument, score) (%s)", touchpointKey, last)
	}
	return fmt.Sprintf("sum by (%s) (clamp_min(%s - %s, 0))", touchpointKey, highest(latest(totals)), highest(latestBefore(totals)))
}

// leOf matches a bucket's upper edge. Prometheus 2 stores le="1" as written, Prometheus
// 3 as le="1.0".
func leOf(edge string) string {
	if strings.ContainsAny(edge, ".e") {
		return equals("le", edge)
	}
	return fmt.Sprintf(`le=~"%s|%s\\.0"`, edge, edge)
}

// edge is a threshold as the upper edge of a bucket, in seconds.
func edge(threshold time.Duration) string { return budget.Format(threshold.Seconds()) }

// countGroups counts what our own processes expose: for each meaning that some budget of
// the namespace has, the events and the losses of all touchpoints that promise it.
// (What touchpoints expose themselves is counted by their own rules.)
func countGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	var sets [][]monitoringv1.Rule
	for _, def := range slices.Sorted(maps.Keys(r.counted)) {
		var rules []monitoringv1.Rule
		switch c := r.counted[def]; c.source {
		case v1alpha1.SourceProbe:
			rules = probeCounts(namespace, def, c.meaning)
		case v1alpha1.SourceSurvey:
			rules = surveyCounts(namespace, def, c.meaning)
		}
		sets = append(sets, rules)
	}
	return grouped("sojourn-counts", tile, sets...)
}

// counts makes the rules for the events and the losses of a meaning.
func counts(def, events, losses string) []monitoringv1.Rule {
	labels := map[string]string{"def": def}
	return []monitoringv1.Rule{record(Events, events, labels), record(Losses, losses, labels)}
}

// wherePromised leaves of touchpoints those that promise something.
func wherePromised(namespace, def, expr string) string {
	return fmt.Sprintf("%s and on (%s) %s", expr, touchpointKey, selector(Budget, equals("namespace", namespace), equals("def", def)))
}

func probeCounts(namespace, def string, m meaning) []monitoringv1.Rule {
	here := equals("namespace", namespace)
	ran := gained(touchpointKey, selector(probeRuns, here, `outcome=~"success|failure"`))
	if m.kind == "availability" {
		failed := gained(touchpointKey, selector(probeRuns, here, `outcome="failure"`))
		return counts(def, wherePromised(namespace, def, ran), wherePromised(namespace, def, failed))
	}
	// The histogram holds successful runs only. Where the bucket is missing nothing is
	// known, which is not the same as nothing lost.
	bucket := selector(probeDuration, here, leOf(edge(m.threshold)))
	lost := fmt.Sprintf("clamp_min(%s - on (%s) %s, 0)", justCounted(namespace, def), touchpointKey, gained(touchpointKey, bucket))
	return counts(def, wherePromised(namespace, def, fmt.Sprintf("%s and on (%s) %s", ran, touchpointKey, latest(bucket))), lost)
}

// justCounted reads the events that the rule before has recorded.
func justCounted(namespace, def string, more ...string) string {
	return selector(Events, append([]string{equals("namespace", namespace), equals("def", def)}, more...)...)
}

func surveyCounts(namespace, def string, m meaning) []monitoringv1.Rule {
	matchers := []string{equals("namespace", namespace), equals("instrument", m.instrumentLabel())}
	lost := m.weighed(func(scores string) string { return surveyGained(append(matchers, scores)...) }, "")
	return counts(def, wherePromised(namespace, def, surveyGained(matchers...)), wherePromised(namespace, def, "("+lost+")"))
}

// weighed adds up the answers by their loss: each term is the loss times the number of
// answers with it. fill, if any, stands in for a term without series.
func (m *meaning) weighed(count func(scores string) string, fill string) string {
	byLoss := map[float64][]string{}
	for _, score := range m.scale.Scores() {
		if loss := m.loss(score); loss > 0 {
			byLoss[loss] = append(byLoss[loss], strconv.Itoa(score))
		}
	}
	var terms []string
	for _, loss := range slices.Backward(slices.Sorted(maps.Keys(byLoss))) {
		term := count(oneOf("score", byLoss[loss]))
		if loss != 1 {
			term = budget.Format(loss) + " * " + term
		}
		if fill != "" {
			term = "(" + term + " " + fill + ")"
		}
		terms = append(terms, term)
	}
	return strings.Join(terms, " + ")
}
