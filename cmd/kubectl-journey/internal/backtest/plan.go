package backtest

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
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

// planOf makes the rules of objects.
func planOf(objects *atlas.Objects, options rules.Options) plan {
	p := plan{values: map[watchKey]func(float64) float64{}, touchpoints: map[string][]string{}}
	namespaces := map[string]targets.Namespace{}
	at := func(name string) targets.Namespace {
		if _, known := namespaces[name]; !known {
			namespaces[name] = targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
		}
		return namespaces[name]
	}
	slos := map[string][]*v1alpha1.ExperienceSLO{}
	for key, touchpoint := range objects.Touchpoints {
		at(key.Namespace).Touchpoints[key.Name] = touchpoint
	}
	for key, journey := range objects.Journeys {
		at(key.Namespace).Journeys[key.Name] = journey
	}
	for key, slo := range objects.ExperienceSLOs {
		at(key.Namespace)
		slos[key.Namespace] = append(slos[key.Namespace], slo)
	}
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		slices.SortFunc(slos[name], func(a, b *v1alpha1.ExperienceSLO) int { return cmp.Compare(a.Name, b.Name) })
		p.addNamespace(name, slos[name], namespaces[name], options)
	}
	return p
}

func (p *plan) addNamespace(name string, slos []*v1alpha1.ExperienceSLO, in targets.Namespace, options rules.Options) {
	covering := map[string][]*v1alpha1.ExperienceSLO{}
	for _, slo := range slos {
		made := rules.ForSLO(slo, in)
		p.budgets += made.Budgets
		p.add(made.Objects)
		p.complain("ExperienceSLO "+name+"/"+slo.Name, made.Problems)
		if missing := made.Resolution.Missing; len(missing) > 0 {
			p.problems = append(p.problems, "ExperienceSLO "+name+"/"+slo.Name+": the files have no Touchpoint "+rules.Some(missing))
		}
		if missing := made.Resolution.MissingJourney; missing != "" {
			p.problems = append(p.problems, "ExperienceSLO "+name+"/"+slo.Name+": the files have no Journey "+missing)
		}
		for _, touchpoint := range made.Resolution.Touchpoints {
			covering[touchpoint] = append(covering[touchpoint], slo)
		}
		for _, watch := range made.Watched {
			p.values[watchKey{name, slo.Name, watch.Objective, watch.Def}] = watch.Value
			p.touchpoints[name] = append(p.touchpoints[name], watch.Touchpoints...)
		}
	}
	slices.Sort(p.touchpoints[name])
	p.touchpoints[name] = slices.Compact(p.touchpoints[name])
	for _, touchpoint := range slices.Sorted(maps.Keys(covering)) {
		made := rules.ForTouchpoint(in.Touchpoints[touchpoint], covering[touchpoint], options)
		p.groups = append(p.groups, made.Groups...)
		p.complain("Touchpoint "+name+"/"+touchpoint, made.Problems)
	}
	p.add(rules.ForNamespace(name, slos, in, nil))
}

func (p *plan) add(objects []rules.Object) {
	for _, object := range objects {
		p.groups = append(p.groups, object.Groups...)
	}
}

func (p *plan) complain(of string, problems []rules.Problem) {
	for _, problem := range problems {
		p.problems = append(p.problems, strings.Join([]string{of, problem.Field, problem.Message}, ": "))
	}
}
