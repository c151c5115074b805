package openslo

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/slug"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// dataSourceName is that of the one data source of what is exported.
const dataSourceName = "prometheus"

// Exported are OpenSLO documents, each to be written as YAML or JSON.
type Exported struct {
	Documents []any
	Findings  []Finding
}

type exporter struct {
	in       targets.Namespace
	only     func(touchpoint string) bool
	made     *Exported
	services map[string]bool
	names    *slug.Names
}

// Export says in OpenSLO what ExperienceSLOs of one namespace promise: an SLO for each
// objective at each touchpoint for which only, if not nil, is true.
func Export(slos []*v1alpha1.ExperienceSLO, in targets.Namespace, only func(touchpoint string) bool) *Exported {
	e := &exporter{in: in, only: only, made: &Exported{}, services: map[string]bool{}, names: slug.NewNames("slo")}
	source := dataSource{document: document{APIVersion: version, Kind: "DataSource", Metadata: metadata{Name: dataSourceName}}}
	source.Spec.Type = "Prometheus"
	source.Spec.Description = "The Prometheus that scrapes Sojourn's prober and the touchpoints. Fill in connectionDetails."
	source.Spec.ConnectionDetails = json.RawMessage(`{"url":"http://prometheus:9090"}`)
	e.made.Documents = append(e.made.Documents, source)
	for _, slo := range slos {
		e.promise(slo)
	}
	if len(e.made.Documents) == 1 {
		e.made.Documents = nil
	}
	return e.made
}

func (e *exporter) finding(slo *v1alpha1.ExperienceSLO, field string, leftOut bool, message string, arguments ...any) {
	e.made.Findings = append(e.made.Findings, Finding{Object: "ExperienceSLO/" + slo.Name, Field: field, LeftOut: leftOut, Message: fmt.Sprintf(message, arguments...)})
}

func (e *exporter) promise(slo *v1alpha1.ExperienceSLO) {
	resolved := targets.Resolve(slo, e.in)
	for _, name := range resolved.Missing {
		e.finding(slo, "spec.targets", true, "there is no Touchpoint %s", name)
	}
	if resolved.MissingJourney != "" {
		e.finding(slo, "spec.targets.journey", true, "there is no Journey %s", resolved.MissingJourney)
	}
	if slo.Spec.Alerting != nil {
		e.finding(slo, "spec.alerting", false, "its tiers, severities and labels have no counterpart: an AlertCondition knows one window and one burn rate")
	}
	for i := range slo.Spec.Objectives {
		objective := &slo.Spec.Objectives[i]
		field := fmt.Sprintf("spec.objectives[%s]", objective.Name)
		if objective.MinLosses > 0 {
			e.finding(slo, field+".minLosses", false, "OpenSLO knows no least number of losses")
		}
		var target v1alpha1.Percentage
		switch {
		case objective.Availability != nil:
			target = objective.Availability.Target
		case objective.Latency != nil:
			target = objective.Latency.Target
		case objective.Events != nil:
			target = objective.Events.Target
		default:
			e.finding(slo, field, true, "%s: OpenSLO knows neither answers with a loss between good and bad, nor sample floors, nor confidence bounds", rules.Promise(objective))
			continue
		}
		share := strings.TrimSuffix(string(target), "%")
		if value, err := target.Value(); err != nil || value <= 0 || value >= 1 {
			e.finding(slo, field, true, "its target of %s leaves no budget, or all", target)
			continue
		}
		for _, name := range resolved.Touchpoints {
			if e.only == nil || e.only(name) {
				e.budget(slo, objective, field, share, e.in.Touchpoints[name])
			}
		}
	}
}

// budget writes one SLO: an objective at a touchpoint.
func (e *exporter) budget(of *v1alpha1.ExperienceSLO, promised *v1alpha1.Objective, field, share string, touchpoint *v1alpha1.Touchpoint) {
	source, lacking := rules.SourceAt(promised, touchpoint)
	if source == "" {
		e.finding(of, field, true, "Touchpoint %s has no %s to measure it by", touchpoint.Name, lacking)
		return
	}
	ratio, why := ratioOf(promised, source, touchpoint)
	if why != "" {
		e.finding(of, field, true, "at Touchpoint %s: %s", touchpoint.Name, why)
		return
	}
	if !e.services[touchpoint.Name] {
		e.services[touchpoint.Name] = true
		made := service{document: document{APIVersion: version, Kind: "Service", Metadata: metadata{Name: touchpoint.Name, DisplayName: touchpoint.Spec.DisplayName}}}
		made.Spec.Description = string(touchpoint.Spec.Description)
		e.made.Documents = append(e.made.Documents, made)
	}
	name := e.names.Of(fmt.Sprintf("%s %s %s", of.Name, promised.Name, touchpoint.Name))
	e.made.Documents = append(e.made.Documents, slo{
		document: document{APIVersion: version, Kind: "SLO", Metadata: metadata{Name: name, DisplayName: of.Spec.DisplayName}},
		Spec: sloSpec{
			Description:     strings.TrimSpace(string(of.Spec.Description) + " " + rules.Promise(promised) + "."),
			Service:         touchpoint.Name,
			Indicator:       &sli{Metadata: metadata{Name: name}, Spec: sliSpec{RatioMetric: ratio}},
			TimeWindow:      []timeWindow{{Duration: string(cmp.Or(of.Spec.Window, "28d")), IsRolling: true}},
			BudgetingMethod: "Occurrences",
			Objectives:      []objective{{DisplayName: string(promised.Name), TargetPercent: json.Number(share)}},
		},
	})
}

// series names the counters that the prober shows.
const (
	runs    = "sojourn_probe_runs_total"
	buckets = "sojourn_probe_duration_seconds_bucket"
)

// ratioOf is how an objective is counted at a touchpoint; or why that cannot be said.
func ratioOf(objective *v1alpha1.Objective, source v1alpha1.Source, touchpoint *v1alpha1.Touchpoint) (*ratioMetric, string) {
	here := []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "namespace", touchpoint.Namespace),
		labels.MustNewMatcher(labels.MatchEqual, "touchpoint", touchpoint.Name),
	}
	visits := prometheusMetric(selector(runs, append(here, labels.MustNewMatcher(labels.MatchRegexp, "outcome", "success|failure"))...))
	switch metrics := touchpoint.Spec.Metrics; {
	case objective.Events != nil:
		for _, pair := range metrics.Events {
			if pair.Name == objective.Events.Metric {
				return &ratioMetric{Counter: true, Good: prometheusMetric(string(pair.Good)), Total: prometheusMetric(string(pair.Total))}, ""
			}
		}
		return nil, "it has no such pair of counters"
	case objective.Availability != nil && source == v1alpha1.SourceMetric:
		return &ratioMetric{Counter: true, Bad: prometheusMetric(string(metrics.Requests.Errors)), Total: prometheusMetric(string(metrics.Requests.Total))}, ""
	case objective.Availability != nil:
		failed := selector(runs, append(here, labels.MustNewMatcher(labels.MatchEqual, "outcome", "failure"))...)
		return &ratioMetric{Counter: true, Bad: prometheusMetric(failed), Total: visits}, ""
	}
	threshold, err := objective.Latency.Threshold.Value()
	if err != nil {
		return nil, err.Error()
	}
	if source == v1alpha1.SourceProbe {
		return &ratioMetric{Counter: true, Good: prometheusMetric(selector(buckets, append(here, edge(threshold))...)), Total: visits}, ""
	}
	expr, err := promQL.ParseExpr(string(touchpoint.Spec.Metrics.Latency.Histogram))
	vector, plain := expr.(*parser.VectorSelector)
	if err != nil || !plain {
		return nil, "its metrics.latency.histogram is no selector"
	}
	if !strings.HasSuffix(vector.Name, "_bucket") {
		return nil, "its histogram is a native one, of which no counter tells how many were fast enough"
	}
	within := func(matcher *labels.Matcher) *metric {
		var kept []*labels.Matcher
		for _, each := range vector.LabelMatchers {
			if each.Name != labels.BucketLabel && each.Name != model.MetricNameLabel {
				kept = append(kept, each)
			}
		}
		return prometheusMetric(selector(vector.Name, append(kept, matcher)...))
	}
	return &ratioMetric{Counter: true, Good: within(edge(threshold)), Total: within(labels.MustNewMatcher(labels.MatchEqual, labels.BucketLabel, "+Inf"))}, ""
}

// edge matches the bucket of a threshold. Prometheus 2 and 3 write whole numbers differently.
func edge(threshold time.Duration) *labels.Matcher {
	text := budget.Format(threshold.Seconds())
	if strings.ContainsAny(text, ".e") {
		return labels.MustNewMatcher(labels.MatchEqual, labels.BucketLabel, text)
	}
	return labels.MustNewMatcher(labels.MatchRegexp, labels.BucketLabel, text+`|`+text+`\.0`)
}

func selector(name string, matchers ...*labels.Matcher) string {
	named := append([]*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name)}, matchers...)
	return (&parser.VectorSelector{Name: name, LabelMatchers: named}).String()
}

func prometheusMetric(query string) *metric {
	return &metric{MetricSource: metricSource{MetricSourceRef: dataSourceName, Type: "Prometheus", Spec: map[string]any{"query": query}}}
}
