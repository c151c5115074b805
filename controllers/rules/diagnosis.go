package rules

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Complaints is recorded for what only the data shows to be wrong with a Touchpoint's
// own metrics; all is well where there is none. Users' PromQL runs as rules and never
// with the manager's own rights, so that this series is all the manager reads of it.
//
// Its labels are namespace, touchpoint, complaint, field, query (see QueryID) and, of
// ComplaintEdge, le: one series for each edge that the histogram has.
const Complaints = "sojourn:touchpoint_complaint:info"

// DiagnosisInterval is how often Complaints is written.
const DiagnosisInterval = fiveTile

// What Complaints can say, in its label complaint.
const (
	// ComplaintEdge: some promised threshold is no edge of the classic histogram.
	ComplaintEdge = "edge"
	// ComplaintFalls: what should be a counter falls again and again.
	ComplaintFalls = "falls"
	// ComplaintUnlabelled: survey responses lack the label with the score.
	ComplaintUnlabelled = "unlabelled"
)

const (
	// Who falls so often within fallsWithin is no counter that restarts now and then. A
	// gauge that wavers falls at every second scrape, seven times at a scrape a minute.
	mostFalls   = 5
	fallsWithin = 15 * time.Minute
	// mostEdges bounds the series of one histogram, whatever it has in its label le.
	mostEdges = 100

	histogramField = "spec.metrics.latency.histogram"
)

// Complaint is what Complaints says of one field of a Touchpoint.
type Complaint struct {
	// Kind is ComplaintEdge, ComplaintFalls or ComplaintUnlabelled.
	Kind string
	// Field is the path of the query complained of, such as spec.metrics.requests.total.
	Field string
	// Query is the QueryID of what the field, and with it scoreLabel, said when the
	// complaint was made.
	Query string
	// Edges are the edges that the histogram has, in seconds, ascending and without +Inf.
	// Only of ComplaintEdge.
	Edges []float64
}

// QueryID is a short name of a query, by which a complaint about a field that was edited
// since is known to be out of date.
func QueryID(query v1alpha1.Query) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(query)) // never fails
	return fmt.Sprintf("%08x", hash.Sum32())
}

// diagnosis collects the parts of the rule for Complaints, by complaint.
type diagnosis map[string][]string

func (d diagnosis) add(complaint, field string, query v1alpha1.Query, expr string) {
	d[complaint] = append(d[complaint], labelled(labelled(expr, "field", field), "query", QueryID(query)))
}

// group is the one rule, in a group of its own.
func (d diagnosis) group(touchpoint *v1alpha1.Touchpoint) []monitoringv1.RuleGroup {
	var parts []string
	for _, complaint := range []string{ComplaintEdge, ComplaintFalls, ComplaintUnlabelled} {
		if found := d[complaint]; len(found) > 0 {
			parts = append(parts, labelled(strings.Join(found, " or "), "complaint", complaint))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	rule := record(Complaints, strings.Join(parts, " or "), map[string]string{"namespace": touchpoint.Namespace, "touchpoint": touchpoint.Name})
	return grouped("sojourn-diagnosis-"+touchpoint.Name, DiagnosisInterval, []monitoringv1.Rule{rule})
}

func labelled(expr, label, value string) string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, label, value)
}

// falls looks at a counter.
func (d diagnosis) falls(field string, query v1alpha1.Query, counter string) {
	d.add(ComplaintFalls, field, query, fmt.Sprintf("max(resets(%s[%s])) >= %d", counter, promDuration(fallsWithin), mostFalls))
}

// edges looks at a classic histogram of which some thresholds are promised.
func (d diagnosis) edges(query v1alpha1.Query, histogram *parser.VectorSelector, promised []string) {
	if len(promised) == 0 {
		return
	}
	every := *histogram
	every.LabelMatchers = without(histogram.LabelMatchers, labels.BucketLabel)
	var has []string
	for _, edge := range promised {
		has = append(has, latest(with(histogram, leMatcher(edge))))
	}
	d.add(ComplaintEdge, histogramField, query, fmt.Sprintf("topk(%d, count by (le) (%s)) unless on () (%s)",
		mostEdges, latest(every.String()), strings.Join(has, " and on () ")))
}

// unlabelled looks at the answers of a survey. A matcher that the query has on the label
// stays: who leaves out answers without a score knows of them.
func (d diagnosis) unlabelled(field string, query v1alpha1.Query, responses *parser.VectorSelector, label string) {
	lacking := *responses
	lacking.LabelMatchers = append(slices.Clone(responses.LabelMatchers), labels.MustNewMatcher(labels.MatchEqual, label, ""))
	d.add(ComplaintUnlabelled, field, byLabel(query, label), fmt.Sprintf("count(%s)", latest(lacking.String())))
}

// byLabel is a query whose series are told apart by a label.
func byLabel(query v1alpha1.Query, label string) v1alpha1.Query {
	return query + v1alpha1.Query(" by "+label)
}

// counter reads a selector of counters. It returns nil, and keeps a problem, for one that
// its very name shows to be none.
func (r *reader) counter(field string, query v1alpha1.Query) *parser.VectorSelector {
	vector := r.series(field, query)
	if vector == nil {
		return nil
	}
	name := metricName(vector)
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
	}
	switch {
	case strings.Contains(name, ":rate"), strings.Contains(name, ":irate"), strings.Contains(name, ":ratio"), ends("_ratio"):
		r.problem(field, fmt.Sprintf("%s is by its name a rate or a share, not a counter: name the counter that it is made from, such as http_requests_total", name))
		return nil
	case ends("_info", "_created"):
		r.problem(field, fmt.Sprintf("%s is by its name no counter of events: name one, such as http_requests_total", name))
		return nil
	}
	return vector
}

// histogram reads a selector of a histogram.
func (r *reader) histogram(field string, query v1alpha1.Query) *parser.VectorSelector {
	vector := r.counter(field, query)
	if vector == nil {
		return nil
	}
	for _, suffix := range []string{"_sum", "_count"} {
		if name, is := strings.CutSuffix(metricName(vector), suffix); is {
			r.problem(field, fmt.Sprintf("%s%s is only a part of a histogram: name its buckets, %s_bucket, or a native histogram, %s", name, suffix, name, name))
			return nil
		}
	}
	return vector
}

// MetricProblems says of a Touchpoint what is complained of it. Complaints about what it
// does not say, or says no longer, are none.
func MetricProblems(touchpoint *v1alpha1.Touchpoint, complaints []Complaint) []Problem {
	var problems []Problem
	eachCounter(touchpoint, func(field string, query v1alpha1.Query, label string) {
		if complained(complaints, ComplaintFalls, field, query) != nil {
			problems = append(problems, Problem{
				Field: field, Reason: v1alpha1.ReasonNotACounter, Stalled: true,
				Message: "a series that it selects falls again and again, as no counter does: it is a gauge, or its service restarts all the time, or one address answers for several processes in turn; select counters, each by its own process",
			})
		}
		if label != "" && complained(complaints, ComplaintUnlabelled, field, byLabel(query, label)) != nil {
			problems = append(problems, Problem{
				Field: field, Reason: v1alpha1.ReasonMissingLabel, Stalled: true,
				Message: fmt.Sprintf("a series that it selects has no label %s, so that nobody knows what was answered: set scoreLabel to the label that holds the score, or select only series that have it", label),
			})
		}
	})
	return problems
}

// eachCounter goes through the queries of a Touchpoint that must be counters, in the order
// of the spec. label is where a score must be, if one must.
func eachCounter(touchpoint *v1alpha1.Touchpoint, do func(field string, query v1alpha1.Query, label string)) {
	metrics := touchpoint.Spec.Metrics
	if metrics == nil {
		return
	}
	if requests := metrics.Requests; requests != nil {
		do(totalField, requests.Total, "")
		do(errorsField, requests.Errors, "")
	}
	if latency := metrics.Latency; latency != nil {
		do(histogramField, latency.Histogram, "")
	}
	for i := range metrics.Surveys {
		do(responsesField(&metrics.Surveys[i]), metrics.Surveys[i].Responses, scoreLabel(&metrics.Surveys[i]))
	}
	for i := range metrics.Events {
		do(goodField(&metrics.Events[i]), metrics.Events[i].Good, "")
		do(eventsField(&metrics.Events[i]), metrics.Events[i].Total, "")
	}
}

func complained(complaints []Complaint, kind, field string, query v1alpha1.Query) *Complaint {
	at := slices.IndexFunc(complaints, func(c Complaint) bool {
		return c.Kind == kind && c.Field == field && c.Query == QueryID(query)
	})
	if at < 0 {
		return nil
	}
	return &complaints[at]
}

// EdgeProblems says of an ExperienceSLO which of its latency thresholds are no edge of the
// histogram that should measure them. watched are the Touchpoints it covers, and
// complaintsOf what is complained of each.
func EdgeProblems(slo *v1alpha1.ExperienceSLO, watched []*v1alpha1.Touchpoint, complaintsOf func(*v1alpha1.Touchpoint) []Complaint) []Problem {
	var problems []Problem
	for i := range slo.Spec.Objectives {
		m, err := understand(&slo.Spec.Objectives[i])
		if err != nil || m.kind != "latency" {
			continue
		}
		for _, touchpoint := range watched {
			if source, _ := m.sourceAt(touchpoint); source != v1alpha1.SourceMetric {
				continue
			}
			complaint := complained(complaintsOf(touchpoint), ComplaintEdge, histogramField, touchpoint.Spec.Metrics.Latency.Histogram)
			if complaint == nil || slices.ContainsFunc(complaint.Edges, func(e float64) bool { return budget.Format(e) == edge(m.threshold) }) {
				continue
			}
			problems = append(problems, Problem{
				Field:  fmt.Sprintf("spec.objectives[%s].latency.threshold", m.name),
				Reason: v1alpha1.ReasonNotAnEdge,
				Message: fmt.Sprintf("%s is no bucket edge of the histogram of %s, %s",
					promDuration(m.threshold), touchpoint.Name, nearest(complaint.Edges, m.threshold)),
			})
		}
	}
	return problems
}

// nearest tells which edges next to a threshold could be promised instead: those of whole
// milliseconds.
func nearest(edges []float64, threshold time.Duration) string {
	below, above := time.Duration(0), time.Duration(0)
	for _, edge := range edges {
		thousandths := math.Round(edge * 1000)
		if !(thousandths >= 1 && thousandths <= 1e9) || math.Abs(edge*1000-thousandths) > 1e-6 {
			continue
		}
		switch length := time.Duration(thousandths) * time.Millisecond; {
		case length < threshold:
			below = max(below, length)
		case length > threshold && (above == 0 || length < above):
			above = length
		}
	}
	switch {
	case below > 0 && above > 0:
		return fmt.Sprintf("whose nearest are %s and %s: promise one of these, or add the edge to the histogram", promDuration(below), promDuration(above))
	case below+above > 0:
		return fmt.Sprintf("whose nearest is %s: promise that, or add the edge to the histogram", promDuration(below+above))
	default:
		return "which has none that could be promised: add the edge to the histogram"
	}
}
