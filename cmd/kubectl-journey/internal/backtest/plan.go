package backtest

import (
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/controllers"
)

// plan is what the operator would make of objects.
type plan struct {
	groups []monitoringv1.RuleGroup
	// values turn mean losses into the unit of a promise.
	values map[watchKey]func(loss float64) float64
	// touchpoints are those at which something is promised, by namespace.
	touchpoints map[string][]string
	budgets     int
	// problems are those of ExperienceSLOs and Touchpoints.
	problems []string
}

type watchKey struct{ namespace, slo, objective, def string }

// planOf takes from decisions what a backtest needs: all rules but those of journeys, which
// make no budgets.
func planOf(decisions []*controllers.Decision) plan {
	p := plan{values: map[watchKey]func(float64) float64{}, touchpoints: map[string][]string{}}
	for _, decision := range decisions {
		source := decision.Source
		if source.Kind == "Journey" {
			continue
		}
		for _, object := range decision.Rules {
			p.groups = append(p.groups, object.Groups...)
		}
		for _, problem := range decision.Problems {
			p.problems = append(p.problems, source.Kind+" "+source.Namespace+"/"+source.Name+": "+problem.Field+": "+problem.Message)
		}
		if decision.SLO == nil {
			continue
		}
		p.budgets += decision.SLO.Budgets
		for _, watch := range decision.SLO.Watched {
			p.values[watchKey{source.Namespace, source.Name, watch.Objective, watch.Def}] = watch.Value
			p.touchpoints[source.Namespace] = append(p.touchpoints[source.Namespace], watch.Touchpoints...)
		}
	}
	for namespace, names := range p.touchpoints {
		slices.Sort(names)
		p.touchpoints[namespace] = slices.Compact(names)
	}
	return p
}
