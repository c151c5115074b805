package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// ObjectRules is what a Touchpoint with metrics, or a Journey with KPIs or entries,
// comes to.
type ObjectRules struct {
	// Groups record the object's own counts; none if it asks for none.
	Groups []monitoringv1.RuleGroup
	// Diagnosis records Complaints. It belongs into a rule object of its own, so that
	// whatever befalls it the counts go on.
	Diagnosis []monitoringv1.RuleGroup
	// Problems are in the order of the spec.
	Problems []Problem
}

// ForTouchpoint makes the rules that count a Touchpoint's own metrics: two for its
// requests and for each of its pairs, two for each latency threshold that is promised
// there, and for a survey one for its answers and two for each form of a promise. One more
// finds out what is wrong with them. The visits of a blackbox_exporter are counted by two
// rules and two for each latency threshold.
//
// slos are the ExperienceSLOs that cover the touchpoint; others do no harm but cost
// rules.
func ForTouchpoint(touchpoint *v1alpha1.Touchpoint, slos []*v1alpha1.ExperienceSLO, options Options) ObjectRules {
	metrics := touchpoint.Spec.Metrics
	if metrics == nil {
		metrics = &v1alpha1.Metrics{}
	}
	c := touchpointCounts{
		reader:     reader{namespace: touchpoint.Namespace, enforce: options.EnforceNamespaceLabel},
		touchpoint: touchpoint,
		diagnosis:  diagnosis{},
	}
	if metrics.Requests != nil {
		c.requests(metrics.Requests)
	}
	if visitedByBlackbox(touchpoint) {
		c.blackbox(touchpoint.Spec.Probe, promisesAt(touchpoint, v1alpha1.SourceProbe, slos))
	}
	promises := promisesAt(touchpoint, v1alpha1.SourceMetric, slos)
	if metrics.Latency != nil {
		c.latency(metrics.Latency, promises)
	}
	for i := range metrics.Surveys {
		c.survey(&metrics.Surveys[i], promises)
	}
	for i := range metrics.Events {
		c.pair(&metrics.Events[i])
	}
	name := "sojourn-touchpoint-" + touchpoint.Name
	return ObjectRules{
		Groups:    append(grouped(name, tile, c.sets...), grouped(name+".experience", ExperienceInterval, c.quantiles)...),
		Diagnosis: c.diagnosis.group(touchpoint),
		Problems:  c.problems,
	}
}

// DependsOnPromises tells whether the rules of a Touchpoint depend on what is promised of
// it: a histogram, answers and the visits of a blackbox_exporter are counted for each
// promise, requests and pairs as they are.
func DependsOnPromises(touchpoint *v1alpha1.Touchpoint) bool {
	metrics := touchpoint.Spec.Metrics
	return visitedByBlackbox(touchpoint) || metrics != nil && (metrics.Latency != nil || len(metrics.Surveys) > 0)
}

// Meanings lists what of an ExperienceSLO the rules of such Touchpoints depend on, in the
// order of its objectives. They are to be made anew when it changes.
func Meanings(slo *v1alpha1.ExperienceSLO) []string {
	var meanings []string
	for i := range slo.Spec.Objectives {
		m, err := understand(&slo.Spec.Objectives[i])
		if err == nil && (m.kind == "latency" || m.family == budget.Survey) {
			meanings = append(meanings, m.def(m.source))
		}
	}
	return meanings
}

// promisesAt lists what is promised of what a touchpoint measures in one way, each meaning
// once, in the order of their defs.
func promisesAt(touchpoint *v1alpha1.Touchpoint, from v1alpha1.Source, slos []*v1alpha1.ExperienceSLO) []meaning {
	byDef := map[string]meaning{}
	for _, slo := range slos {
		for i := range slo.Spec.Objectives {
			// A target that leaves no budget has a meaning, but nothing to count for.
			if m, err := understand(&slo.Spec.Objectives[i]); err == nil {
				if source, _ := m.sourceAt(touchpoint); source == from {
					byDef[m.def(source)] = m
				}
			}
		}
	}
	var promises []meaning
	for _, def := range slices.Sorted(maps.Keys(byDef)) {
		promises = append(promises, byDef[def])
	}
	return promises
}

// touchpointCounts collects the rules of one touchpoint.
type touchpointCounts struct {
	reader
	touchpoint *v1alpha1.Touchpoint
	sets       [][]monitoringv1.Rule
	// quantiles are rules that people read, and alerts do not.
	quantiles []monitoringv1.Rule
	diagnosis diagnosis
}

// The paths of the queries.
const (
	totalField  = "spec.metrics.requests.total"
	errorsField = "spec.metrics.requests.errors"
)

func responsesField(survey *v1alpha1.SurveyMetrics) string {
	return fmt.Sprintf("spec.metrics.surveys[%s].responses", survey.Type)
}

func goodField(pair *v1alpha1.EventMetrics) string {
	return fmt.Sprintf("spec.metrics.events[%s].good", pair.Name)
}

func eventsField(pair *v1alpha1.EventMetrics) string {
	return fmt.Sprintf("spec.metrics.events[%s].total", pair.Name)
}

// scoreLabel is the label that holds the score.
func scoreLabel(survey *v1alpha1.SurveyMetrics) string { return cmp.Or(survey.ScoreLabel, "score") }

// counter reads a selector of counters, and has it watched for being none.
func (c *touchpointCounts) counter(field string, query v1alpha1.Query) *parser.VectorSelector {
	vector := c.reader.counter(field, query)
	if vector != nil {
		c.diagnosis.falls(field, query, vector.String())
	}
	return vector
}

// add adds a set of rules, which get the labels of the touchpoint.
func (c *touchpointCounts) add(rules []monitoringv1.Rule) {
	c.sets = append(c.sets, c.labelled(rules))
}

func (c *touchpointCounts) labelled(rules []monitoringv1.Rule) []monitoringv1.Rule {
	for _, rule := range rules {
		rule.Labels["namespace"], rule.Labels["touchpoint"] = c.touchpoint.Namespace, c.touchpoint.Name
	}
	return rules
}

// counted reads the events that the rule before has recorded, without labels.
func (c *touchpointCounts) counted(def string) string {
	return fmt.Sprintf("sum(%s)", justCounted(c.touchpoint.Namespace, def, equals("touchpoint", c.touchpoint.Name)))
}

// rest is what of the events a counter of good ones did not see.
func (c *touchpointCounts) rest(def, good string) string {
	return fmt.Sprintf("clamp_min(%s - %s, 0)", c.counted(def), good)
}

func (c *touchpointCounts) requests(requests *v1alpha1.RequestMetrics) {
	total := c.counter(totalField, requests.Total)
	failed := c.counter(errorsField, requests.Errors)
	if total == nil || failed == nil {
		return
	}
	m := meaning{kind: "availability"}
	def := m.def(v1alpha1.SourceMetric)
	// A counter of errors often has no series before the first one.
	c.add(counts(def, gained("", total.String()), fmt.Sprintf("%s or 0 * %s", gained("", failed.String()), c.counted(def))))
}

func (c *touchpointCounts) latency(latency *v1alpha1.LatencyMetrics, promises []meaning) {
	histogram := c.histogram(histogramField, latency.Histogram)
	if histogram == nil {
		return
	}
	classic := strings.HasSuffix(metricName(histogram), "_bucket")
	all := with(histogram, labels.MustNewMatcher(labels.MatchEqual, labels.BucketLabel, "+Inf"))
	var edges []string
	for _, m := range promises {
		if m.kind != "latency" {
			continue
		}
		def, le := m.def(v1alpha1.SourceMetric), edge(m.threshold)
		if classic {
			edges = append(edges, le)
			within := with(histogram, leMatcher(le))
			// Without a bucket at the threshold nothing is known.
			c.add(counts(def, fmt.Sprintf("%s and on () %s", gained("", all), latest(within)), c.rest(def, gained("", within))))
			continue
		}
		// The fraction of nothing is NaN, which no comparison lets through. A product of
		// floats that fell by a rounding must not look like a restart.
		count := func(last string) string { return fmt.Sprintf("histogram_count(%s)", last) }
		within := func(last string) string {
			return fmt.Sprintf("(round(histogram_fraction(0, %s, %s) * %s, 0.000001) >= 0 or 0 * %s)", le, last, count(last), count(last))
		}
		now, before := latest(histogram.String()), latestBefore(histogram.String())
		c.add(counts(def, gainedOf("", count(now), count(before)), c.rest(def, gainedOf("", within(now), within(before)))))
	}
	metric := map[string]string{"source": "metric"}
	if !classic {
		c.quantiles = c.labelled(quantiles(fmt.Sprintf("sum(increase(%s[%s]))", histogram, promDuration(TrafficSpan)), metric))
		return
	}
	c.diagnosis.falls(histogramField, latency.Histogram, all)
	c.diagnosis.edges(latency.Histogram, histogram, edges)
	every := *histogram
	every.LabelMatchers = without(histogram.LabelMatchers, labels.BucketLabel)
	c.quantiles = c.labelled([]monitoringv1.Rule{record(LatencyGains, gainedWithin(labels.BucketLabel, every.String()), metric)})
}

func (c *touchpointCounts) survey(survey *v1alpha1.SurveyMetrics, promises []meaning) {
	responses := c.counter(responsesField(survey), survey.Responses)
	if responses == nil {
		return
	}
	label := scoreLabel(survey)
	c.diagnosis.unlabelled(responsesField(survey), survey.Responses, responses, label)
	instrument := strings.ToLower(string(survey.Type))
	// Some tools write 5 as 5.0.
	rules := []monitoringv1.Rule{record(touchpointResponses,
		fmt.Sprintf(`sum by (score) (label_replace(%s, "score", "$1", %q, "([0-9]+)(?:\\.0)?"))`, gained(label, responses.String()), label),
		map[string]string{"instrument": instrument})}
	// A tool's counters fall when it is restarted: what they gained is added up.
	answered := selector(touchpointResponses, equals("namespace", c.touchpoint.Namespace), equals("touchpoint", c.touchpoint.Name), equals("instrument", instrument))
	totals := selector(answerTotals, equals("namespace", c.touchpoint.Namespace), equals("touchpoint", c.touchpoint.Name), equals("instrument", instrument), equals("source", "metric"))
	rules = append(rules, record(answerTotals, fmt.Sprintf("sum by (score) (last_over_time(%s[%s])) + sum by (score) (%s) or sum by (score) (%s)", totals, latelyLong, answered, answered),
		map[string]string{"instrument": instrument, "source": "metric"}))
	for _, m := range promises {
		if m.instrument != survey.Type {
			continue
		}
		answers := func(scores string) string {
			return fmt.Sprintf("sum(%s)", selector(touchpointResponses, equals("namespace", c.touchpoint.Namespace),
				equals("touchpoint", c.touchpoint.Name), equals("instrument", instrument), scores))
		}
		// Whatever is no score of the scale is no answer. A tool that is not ours may show
		// a score only once somebody gave it.
		var scale []string
		for _, score := range m.scale.Scores() {
			scale = append(scale, strconv.Itoa(score))
		}
		def := m.def(v1alpha1.SourceMetric)
		rules = append(rules, counts(def, answers(oneOf("score", scale)), m.weighed(answers, "or 0 * "+c.counted(def)))...)
	}
	c.add(rules)
}

func (c *touchpointCounts) pair(pair *v1alpha1.EventMetrics) {
	good, total := c.counter(goodField(pair), pair.Good), c.counter(eventsField(pair), pair.Total)
	if good == nil || total == nil {
		return
	}
	m := meaning{kind: "events", pair: string(pair.Name)}
	def, went := m.def(v1alpha1.SourceMetric), gained("", good.String())
	c.add(counts(def, fmt.Sprintf("%s and on () %s", gained("", total.String()), latest(good.String())), c.rest(def, went)))
}

func sum(expr string) string { return fmt.Sprintf("sum(%s)", expr) }
