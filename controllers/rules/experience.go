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

// What customers experience at a touchpoint, whether or not it is promised. Alerts do not
// read it. Each series has the labels namespace, touchpoint and source, and those of answers
// an instrument besides.
const (
	// ExperiencePrefix begins the names of all of them, and of no other series.
	ExperiencePrefix = "sojourn:experience_"

	// ExperienceVisits and ExperienceFailures count the visits of TrafficSpan, and those of
	// them that failed.
	ExperienceVisits   = ExperiencePrefix + "visits:sum1h"
	ExperienceFailures = ExperiencePrefix + "failures:sum1h"
	// ExperienceP50 and ExperienceP95 are quantiles of the time that successful visits took
	// within TrafficSpan, in seconds.
	ExperienceP50 = ExperiencePrefix + "latency_seconds:p50"
	ExperienceP95 = ExperiencePrefix + "latency_seconds:p95"
	// ExperienceAnswers, ExperienceGood and ExperienceBad count the answers of AnswersSpan,
	// and those of content customers and of those let down (budget.Scale).
	// ExperiencePoints is the sum of the scores of those to CES and CES1.
	ExperienceAnswers = ExperiencePrefix + "answers:sum7d"
	ExperienceGood    = ExperiencePrefix + "good:sum7d"
	ExperienceBad     = ExperiencePrefix + "bad:sum7d"
	ExperiencePoints  = ExperiencePrefix + "points:sum7d"
	// AnswersByScore counts the answers of AnswersSpan, with the label score besides.
	AnswersByScore = "sojourn:touchpoint_answers:sum7d"

	// ExperienceInterval is how often they are written.
	ExperienceInterval = fiveTile
	// TrafficSpan and AnswersSpan are the rolling times that they look back: visits come
	// every minute, answers a few dozen a day.
	TrafficSpan = time.Hour
	AnswersSpan = 7 * day

	// totals are the answers there ever were, by score, and since those when they were
	// first heard of.
	answerTotals = "sojourn:touchpoint_answers:total"
	answerSince  = "sojourn:touchpoint_answers:since"
	// LatencyGains is what the buckets of a histogram gained within TrafficSpan, with le.
	LatencyGains = "sojourn:touchpoint_latency_seconds_bucket:sum1h"
)

// ExperienceSeries are all that begin with ExperiencePrefix.
var ExperienceSeries = []string{
	ExperienceVisits, ExperienceFailures, ExperienceP50, ExperienceP95,
	ExperienceAnswers, ExperienceGood, ExperienceBad, ExperiencePoints,
}

const answerKey = touchpointKey + ", instrument, source"

// instruments are all there are, with their scales.
var instruments = []struct {
	kind  v1alpha1.InstrumentType
	scale budget.Scale
}{
	{v1alpha1.InstrumentCES, budget.CES}, {v1alpha1.InstrumentCES1, budget.CES1},
	{v1alpha1.InstrumentCSAT, budget.CSAT}, {v1alpha1.InstrumentNPS, budget.NPS},
}

// experienceGroups records what customers experience at all touchpoints of a namespace: a
// fixed number of rules.
func experienceGroups(namespace string) []monitoringv1.RuleGroup {
	here := equals("namespace", namespace)
	from := func(source v1alpha1.Source) map[string]string {
		return map[string]string{"source": strings.ToLower(string(source))}
	}
	// Where it is promised, and for blackbox_exporters nowhere else, each visit is counted.
	counted := func(what string, source v1alpha1.Source) string {
		return fmt.Sprintf("max by (%s) (%s)", touchpointKey,
			windowOfDef(what, TrafficSpan, namespace, strings.ToLower(string(source))+"/availability"))
	}
	visited := func(outcomes string) string {
		return gainedWithin(touchpointKey, selector(probeRuns, here, outcomes))
	}
	traffic := []monitoringv1.Rule{
		record(ExperienceVisits, counted(events, v1alpha1.SourceProbe)+" or "+visited(`outcome=~"success|failure"`), from(v1alpha1.SourceProbe)),
		record(ExperienceFailures, counted(losses, v1alpha1.SourceProbe)+" or "+visited(`outcome="failure"`), from(v1alpha1.SourceProbe)),
		record(ExperienceVisits, counted(events, v1alpha1.SourceMetric), from(v1alpha1.SourceMetric)),
		record(ExperienceFailures, counted(losses, v1alpha1.SourceMetric), from(v1alpha1.SourceMetric)),
		record(LatencyGains, gainedWithin(touchpointKey+", le", selector(probeDuration, here)), from(v1alpha1.SourceProbe)),
	}
	traffic = append(traffic, quantiles(selector(LatencyGains, here), nil)...)

	total := fmt.Sprintf("max by (%s, instrument, score) (%s)", touchpointKey, latest(selector(surveyResponses, here)))
	known := selector(answerTotals, here)
	// Without a value of seven days ago, all answers are younger, except those that there
	// were before anybody asked.
	before := fmt.Sprintf("(last_over_time(%s[3h] offset %s) or last_over_time(%s[%s]))",
		known, promDuration(AnswersSpan), selector(answerSince, here), latelyQuarter)
	answers := []monitoringv1.Rule{
		record(answerTotals, total, from(v1alpha1.SourceSurvey)),
		record(answerSince, fmt.Sprintf("last_over_time(%s[%s]) or %s", selector(answerSince, here), latelyQuarter, known), nil),
		record(AnswersByScore, fmt.Sprintf("(%s - %s) >= 0 or %s", known, before, known), nil),
	}
	answers = append(answers, answerFigures(here)...)
	return grouped("sojourn-experience", ExperienceInterval, traffic, answers)
}

// windowOfDef is windowOf for one meaning.
func windowOfDef(what string, window time.Duration, namespace, def string) string {
	return selector(what+"sum"+promDuration(window), equals("namespace", namespace), equals("def", def))
}

// gainedWithin is what counters gained within TrafficSpan, added up per key. It reads them at
// both ends only: what a counter gained before it vanished is forgotten, and one that is
// younger, or was restarted, gained what it holds.
func gainedWithin(key, counter string) string {
	now, before := latest(counter), fmt.Sprintf("last_over_time(%s[5m] offset %s)", counter, promDuration(TrafficSpan))
	return fmt.Sprintf("sum by (%s) ((%s - %s) >= 0 or %s)", key, now, before, now)
}

// quantiles makes the rules for quantiles of what a histogram gained.
func quantiles(gained string, labels map[string]string) []monitoringv1.Rule {
	return []monitoringv1.Rule{
		// The quantile of nothing is NaN, which no comparison lets through.
		record(ExperienceP50, fmt.Sprintf("histogram_quantile(0.5, %s) >= 0", gained), maps.Clone(labels)),
		record(ExperienceP95, fmt.Sprintf("histogram_quantile(0.95, %s) >= 0", gained), maps.Clone(labels)),
	}
}

// answerFigures sums answers up by what they say.
func answerFigures(here string) []monitoringv1.Rule {
	sumOf := func(weigh func(scale budget.Scale, score int) float64) string {
		var terms []string
		for _, each := range instruments {
			byWeight := map[float64][]string{}
			for _, score := range each.scale.Scores() {
				if weight := weigh(each.scale, score); weight != 0 {
					byWeight[weight] = append(byWeight[weight], strconv.Itoa(score))
				}
			}
			for _, weight := range slices.Sorted(maps.Keys(byWeight)) {
				term := selector(AnswersByScore, here, equals("instrument", strings.ToLower(string(each.kind))), oneOf("score", byWeight[weight]))
				if weight != 1 {
					term = budget.Format(weight) + " * " + term
				}
				terms = append(terms, term)
			}
		}
		return fmt.Sprintf("sum by (%s) (%s)", answerKey, strings.Join(terms, " or "))
	}
	one := func(holds bool) float64 {
		if holds {
			return 1
		}
		return 0
	}
	// Whatever is no score of the scale is no answer. Where nobody is let down, nought is
	// a figure too.
	all := sumOf(func(budget.Scale, int) float64 { return 1 })
	none := " or 0 * " + selector(ExperienceAnswers, here)
	return []monitoringv1.Rule{
		record(ExperienceAnswers, all, nil),
		record(ExperienceGood, sumOf(func(scale budget.Scale, score int) float64 { return one(scale.IsGood(score)) })+none, nil),
		record(ExperienceBad, sumOf(func(scale budget.Scale, score int) float64 { return one(scale.IsBad(score)) })+none, nil),
		record(ExperiencePoints, sumOf(func(scale budget.Scale, score int) float64 {
			if scale != budget.CES && scale != budget.CES1 {
				return 0 // nobody asks for a mean of these
			}
			return float64(score)
		}), nil),
	}
}
