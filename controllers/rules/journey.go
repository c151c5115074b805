package rules

import (
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// ForJourney makes the rules that record a Journey's KPIs, each in a unit of its own, and
// the entries of its stages, in customers a minute and a day.
func ForJourney(journey *v1alpha1.Journey, options Options) ObjectRules {
	read := &reader{namespace: journey.Namespace, enforce: options.EnforceNamespaceLabel}
	var rules, sums []monitoringv1.Rule
	for _, stage := range journey.Spec.Stages {
		if stage.Entries == "" {
			continue
		}
		if entries := read.counter(fmt.Sprintf("spec.stages[%s].entries", stage.Name), stage.Entries); entries != nil {
			rules = append(rules, record(journeyEntries, gained("", entries.String()),
				map[string]string{"namespace": journey.Namespace, "journey": journey.Name, "stage": string(stage.Name)}))
			sums = []monitoringv1.Rule{record(JourneyEntries, fmt.Sprintf("sum_over_time(%s[%s])",
				selector(journeyEntries, equals("namespace", journey.Namespace), equals("journey", journey.Name)), span(day)), nil)}
		}
	}
	for _, kpi := range journey.Spec.KPIs {
		if expr := read.expression(fmt.Sprintf("spec.kpis[%s].query", kpi.Name), kpi.Query); expr != nil {
			text := expr.String()
			if expr.Type() == parser.ValueTypeScalar {
				text = "vector(" + text + ")"
			}
			rules = append(rules, record(JourneyKPI, sum(text),
				map[string]string{"namespace": journey.Namespace, "journey": journey.Name, "kpi": string(kpi.Name)}))
		}
	}
	name := "sojourn-journey-" + journey.Name
	groups := append(grouped(name, tile, each(rules)...), grouped(name+".days", quarterTile, sums)...)
	return ObjectRules{Groups: groups, Problems: read.problems}
}
