package rules

import (
	"fmt"
	"maps"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// ObjectRules is what a Touchpoint with metrics, or a Journey with KPIs or entries,
// comes to.
type ObjectRules struct {
	// Groups record the object's own counts; none if it asks for none.
	Groups []monitoringv1.RuleGroup
	// Problems are in the order of the spec.
	Problems []Problem
}

// ForTouchpoint makes the rules that record a Touchpoint's own metrics: two for each
// metric, and for its histogram one more for each latency threshold that some objective
// promises there. The visits of a blackbox_exporter are recorded as such metrics.
func ForTouchpoint(touchpoint *v1alpha1.Touchpoint, thresholds []time.Duration, options Options) ObjectRules {
	rules := blackboxRules(touchpoint, thresholds)
	metrics := touchpoint.Spec.Metrics
	if metrics == nil {
		metrics = &v1alpha1.Metrics{}
	}
	read := &reader{namespace: touchpoint.Namespace, enforce: options.EnforceNamespaceLabel}
	identity := map[string]string{"namespace": touchpoint.Namespace, "touchpoint": touchpoint.Name}
	add := func(name, expr string, more ...string) {
		labels := maps.Clone(identity)
		for i := 0; i < len(more); i += 2 {
			labels[more[i]] = more[i+1]
		}
		rules = append(rules, record(name, expr, labels))
	}
	if requests := metrics.Requests; requests != nil {
		total := read.series("spec.metrics.requests.total", requests.Total)
		failed := read.series("spec.metrics.requests.errors", requests.Errors)
		if total != nil && failed != nil {
			all := sum(gained(total.String()))
			add(touchpointRequests, all)
			// A counter of errors often has no series before the first one.
			add(touchpointErrors, fmt.Sprintf("%s or 0 * %s", sum(gained(failed.String())), all))
		}
	}
	if latency := metrics.Latency; latency != nil {
		if histogram := read.series("spec.metrics.latency.histogram", latency.Histogram); histogram != nil {
			if strings.HasSuffix(metricName(histogram), "_bucket") {
				add(touchpointDurations, sum(gained(with(histogram, labels.MustNewMatcher(labels.MatchEqual, labels.BucketLabel, "+Inf")))))
				for _, threshold := range thresholds {
					add(touchpointWithin, sum(gained(with(histogram, leMatcher(edge(threshold))))), "le", edge(threshold))
				}
			} else {
				add(touchpointDurations, sum(gainedNative(histogram.String(), "")))
				for _, threshold := range thresholds {
					add(touchpointWithin, sum(gainedNative(histogram.String(), edge(threshold))), "le", edge(threshold))
				}
			}
		}
	}
	for _, survey := range metrics.Surveys {
		field := fmt.Sprintf("spec.metrics.surveys[%s].responses", survey.Type)
		if responses := read.series(field, survey.Responses); responses != nil {
			label := survey.ScoreLabel
			if label == "" {
				label = "score"
			}
			// Some tools write 5 as 5.0.
			byScore := fmt.Sprintf(`sum by (score) (label_replace(%s, "score", "$1", %q, "([0-9]+)(?:\\.0)?"))`,
				sumBy(label, gained(responses.String())), label)
			add(touchpointResponses, byScore, "instrument", strings.ToLower(string(survey.Type)))
		}
	}
	for _, pair := range metrics.Events {
		field := fmt.Sprintf("spec.metrics.events[%s].", pair.Name)
		good, total := read.series(field+"good", pair.Good), read.series(field+"total", pair.Total)
		if good != nil && total != nil {
			add(touchpointEvents, sum(gained(total.String())), "metric", string(pair.Name))
			add(touchpointGood, sum(gained(good.String())), "metric", string(pair.Name))
		}
	}
	return ObjectRules{Groups: grouped("sojourn-touchpoint-"+touchpoint.Name, time.Minute, 1, rules), Problems: read.problems}
}

func sum(expr string) string { return fmt.Sprintf("sum(%s)", expr) }

// gainedNative is gained for a native histogram: the number of its observations, or of
// those up to an edge. Both are made floats first, because the difference of histograms
// with another layout of buckets is none.
func gainedNative(histogram, edge string) string {
	count := func(offset string) string {
		last := fmt.Sprintf("last_over_time(%s[5m]%s)", histogram, offset)
		if edge == "" {
			return fmt.Sprintf("histogram_count(%s)", last)
		}
		// The fraction of nothing is NaN, which no comparison lets through.
		return fmt.Sprintf("(histogram_fraction(0, %s, %s) * histogram_count(%s) >= 0 or 0 * histogram_count(%s))", edge, last, last, last)
	}
	return difference(count(""), count(" offset 1m"))
}
