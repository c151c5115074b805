package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// The promise that is watched: 85 % of customers are satisfied.
const (
	namespace = "shop"
	target    = "85%"
	allowed   = 0.15
	// floor is the default of minResponses.
	floor = 30
)

var promql = parser.NewParser(parser.Options{})

// generatedRules are the rule groups that Sojourn makes for one ExperienceSLO over some
// touchpoints, reduced to what its survey alerts need.
func generatedRules(touchpoints []string) ([]monitoringv1.RuleGroup, error) {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}}
	slo := &v1alpha1.ExperienceSLO{
		ObjectMeta: metav1.ObjectMeta{Name: "happy", Namespace: namespace},
		Spec: v1alpha1.ExperienceSLOSpec{Window: "28d", Objectives: []v1alpha1.Objective{{
			Name: "satisfied", CSAT: &v1alpha1.CSATObjective{Target: target},
		}}},
	}
	for _, name := range touchpoints {
		touchpoint := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
		touchpoint.Spec.Class, touchpoint.Spec.Kano = v1alpha1.ClassCritical, v1alpha1.KanoPerformance
		touchpoint.Spec.Survey = &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCSAT}}}
		in.Touchpoints[name] = touchpoint
		slo.Spec.Targets.Touchpoints = append(slo.Spec.Targets.Touchpoints, v1alpha1.Name(name))
	}
	made := rules.ForSLO(slo, in)
	if made.Budgets != len(touchpoints) {
		return nil, fmt.Errorf("%d of %d budgets are watched: %v", made.Budgets, len(touchpoints), made.Problems)
	}
	var groups []monitoringv1.RuleGroup
	for _, object := range append(made.Objects, rules.ForNamespace(namespace, []*v1alpha1.ExperienceSLO{slo}, in, nil)...) {
		groups = append(groups, object.Groups...)
	}
	return needed(groups, rules.AlertSurveyBurn)
}

// needed leaves out the rules that an alert does not depend on.
func needed(groups []monitoringv1.RuleGroup, alert string) ([]monitoringv1.RuleGroup, error) {
	reads := map[string]bool{}
	keep := func(rule monitoringv1.Rule) bool { return rule.Alert == alert || reads[rule.Record] }
	for known := -1; known < len(reads); {
		known = len(reads)
		for _, group := range groups {
			for _, rule := range group.Rules {
				if !keep(rule) {
					continue
				}
				expr, err := promql.ParseExpr(rule.Expr.String())
				if err != nil {
					return nil, fmt.Errorf("%s%s: %w", rule.Record, rule.Alert, err)
				}
				for _, matchers := range parser.ExtractSelectors(expr) {
					for _, matcher := range matchers {
						if matcher.Name == model.MetricNameLabel {
							reads[matcher.Value] = true
						}
					}
				}
			}
		}
	}
	var kept []monitoringv1.RuleGroup
	for _, group := range groups {
		group.Rules = slices.DeleteFunc(slices.Clone(group.Rules), func(rule monitoringv1.Rule) bool { return !keep(rule) })
		if len(group.Rules) > 0 {
			kept = append(kept, group)
		}
	}
	return kept, nil
}

// endingOf reads from the generated alerts how they end.
func endingOf(groups []monitoringv1.RuleGroup) (ending, error) {
	found := map[ending]bool{}
	for _, group := range groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			if rule.For != nil || rule.KeepFiringFor != nil {
				return ending{}, fmt.Errorf("%s: the simulation knows neither for nor keep_firing_for", rule.Alert)
			}
			expr, err := promql.ParseExpr(rule.Expr.String())
			if err != nil {
				return ending{}, fmt.Errorf("%s: %w", rule.Alert, err)
			}
			var e ending
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				if matrix, is := node.(*parser.MatrixSelector); is {
					switch name := matrix.VectorSelector.(*parser.VectorSelector).Name; {
					case name == "ALERTS":
						e.memory = matrix.Range
					case strings.HasPrefix(name, "sojourn:slo_over:"):
						e.calm = matrix.Range
					}
				}
				return nil
			})
			found[e] = true
		}
	}
	all := slices.Collect(maps.Keys(found))
	if len(all) != 1 {
		return ending{}, fmt.Errorf("survey alerts end in %d ways, expected one", len(all))
	}
	return all[0], nil
}

// peerRules writes the alerts of another generator as rules: a recorded ratio for each
// window, and alerts that compare it.
func peerRules(name string, peers []peer) monitoringv1.RuleGroup {
	const counter = "sojourn_survey_responses_total"
	group := monitoringv1.RuleGroup{Name: name}
	recorded := map[time.Duration]string{}
	ratio := func(length time.Duration) string {
		span := model.Duration(length).String()
		if recorded[length] == "" {
			recorded[length] = fmt.Sprintf("%s:error:ratio_rate%s", name, span)
			group.Rules = append(group.Rules, monitoringv1.Rule{Record: recorded[length], Expr: intstr.FromString(fmt.Sprintf(
				`sum by (touchpoint) (rate(%s{score=~"1|2|3"}[%s])) / sum by (touchpoint) (rate(%s[%s]))`, counter, span, counter, span))})
		}
		return recorded[length]
	}
	var alerts []monitoringv1.Rule
	for _, p := range peers {
		var pairs []string
		for _, w := range p.pairs {
			pairs = append(pairs, fmt.Sprintf("(%[1]s > (%[3]v * %[4]v) and %[2]s > (%[3]v * %[4]v))", ratio(w.short), ratio(w.long), w.factor, allowed))
		}
		rule := monitoringv1.Rule{Alert: name, Expr: intstr.FromString(strings.Join(pairs, " or ")), Labels: map[string]string{"rule": p.name}}
		if p.wait > 0 {
			wait := monitoringv1.Duration(model.Duration(p.wait).String())
			rule.For = &wait
		}
		alerts = append(alerts, rule)
	}
	group.Rules = append(group.Rules, alerts...)
	return group
}
