package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Names of the alerts.
const (
	// AlertBudgetBurn says that a budget of traffic is being spent too fast, by the windows
	// and burn rates of the SRE Workbook, chapter 5, "Alerting on SLOs". Its value is the
	// burn rate.
	AlertBudgetBurn = "ExperienceBudgetBurn"
	// AlertSurveyBurn says that customers' answers spend a budget too fast, and that
	// this is not chance, by Wilson's lower bound (budget.Bounds). Its value is the burn
	// rate.
	AlertSurveyBurn = "ExperienceSurveyBurn"
	// AlertDataMissing says that what measures a touchpoint has fallen silent, not
	// that no customer came. Its value says nothing.
	AlertDataMissing = "ExperienceDataMissing"
)

// rosterLabels are the labels of a budget that alerts do not show: what may change
// without the alert being another one.
const rosterLabels = "def, window, type, source, family, instrument, floor, silence, promise, runbook, page, ticket"

// tiersOf are the tiers of a family, pages first, if any budget of it is watched. Only
// their factors depend on the window.
func tiersOf(r roster, family budget.Family) []budget.Tier {
	windows := r.windows(family)
	if len(windows) == 0 {
		return nil
	}
	return budget.Tiers(family, windows[0])
}

// tierName tells a tier from all others: page1h, survey_ticket3d.
func tierName(family budget.Family, tier budget.Tier) string {
	name := tier.Severity() + tier.Name
	if family == budget.Survey {
		name = "survey_" + name
	}
	return name
}

// threshold is the series of the mean losses above which a tier burns, one for each budget
// that has the tier.
func threshold(family budget.Family, tier budget.Tier) string {
	return "sojourn:slo_threshold:" + tierName(family, tier)
}

// over is the series of the mean losses that exceed a survey tier's threshold.
func over(tier budget.Tier) string { return "sojourn:slo_over:" + tierName(budget.Survey, tier) }

// thresholdGroups makes numbers of what a budget's labels say: its floor, and what each
// tier makes of its target. As data, any number of different windows, targets and floors
// costs the alerts nothing.
func thresholdGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	here := equals("namespace", namespace)
	var floors []string
	for _, floor := range r.floors("") {
		floors = append(floors, fmt.Sprintf("0 * %s + %d", selector(Budget, here, equals("floor", strconv.Itoa(floor))), floor))
	}
	rules := []monitoringv1.Rule{record(Floor, fmt.Sprintf("max by (%s, window, family) (%s)", budgetKey, strings.Join(floors, " or ")), nil)}
	for _, family := range []budget.Family{budget.Traffic, budget.Survey} {
		for i, tier := range tiersOf(r, family) {
			// A budget above the tier's ceiling has no such tier; a lower one has it at a
			// burn rate that it can reach.
			allowed := func(factor, ceiling float64, matcher string) string {
				roster := selector(Budget, here, equals("family", string(family)), equals(tier.Severity(), "true"), matcher)
				text := fmt.Sprintf("(max by (%s) (%s) <= %s)", budgetKey, roster, budget.Format(ceiling))
				if factor != 1 {
					text = budget.Format(factor) + " * " + text
				}
				return fmt.Sprintf("clamp_max(%s, %s)", text, budget.Format(ceiling))
			}
			var exprs []string
			if family == budget.Survey { // its factors are the same for every window
				for _, floor := range r.floors(family) {
					exprs = append(exprs, allowed(tier.Factor, tier.Ceiling(floor), equals("floor", strconv.Itoa(floor))))
				}
			} else {
				for _, window := range r.windows(family) {
					exprs = append(exprs, allowed(budget.Tiers(family, window)[i].Factor, tier.Ceiling(0), equals("window", promDuration(window))))
				}
			}
			rules = append(rules, record(threshold(family, tier), strings.Join(exprs, " or "), nil))
		}
	}
	return grouped("sojourn-thresholds", rosterTile, rules)
}

// above leaves, of what is known of touchpoints' counts, what exceeds the threshold of their
// budgets, and gives it to these.
func above(expr, namespace, threshold string) string {
	return fmt.Sprintf("(%s > on (%s) group_right () %s)", expr, countKey, selector(threshold, equals("namespace", namespace)))
}

// enough leaves the counts that reach the floor of their budgets, and gives them to these.
func enough(count, namespace string, family budget.Family) string {
	floor := selector(Floor, equals("namespace", namespace), equals("family", string(family)))
	return fmt.Sprintf("(%s >= on (%s) group_right () %s)", count, countKey, floor)
}

// trafficAlert is a tier of traffic: the mean loss of the long window and of the short one
// exceeds the threshold, and there are enough losses for a single one not to matter.
func trafficAlert(namespace string, tier budget.Tier) monitoringv1.Rule {
	mean := func(window time.Duration) string {
		return fmt.Sprintf("%s / (%s > 0)", windowOf(losses, window, namespace), windowOf(events, window, namespace))
	}
	limit := threshold(budget.Traffic, tier)
	burning := fmt.Sprintf("%s and on (%s) %s and on (%s) %s",
		above(mean(tier.Long), namespace, limit),
		budgetKey, above(mean(tier.Short), namespace, limit),
		budgetKey, enough(windowOf(losses, tier.Long, namespace), namespace, budget.Traffic))
	return burnAlert(namespace, budget.Traffic, tier, "("+burning+")")
}

// surveyOver records where the mean loss itself exceeds the threshold, which may be chance.
func surveyOver(namespace string, tier budget.Tier) monitoringv1.Rule {
	mean := fmt.Sprintf("%s / (%s > 0)", windowOf(losses, tier.Long, namespace), windowOf(events, tier.Long, namespace))
	return record(over(tier), above(mean, namespace, threshold(budget.Survey, tier)), nil)
}

// calm is how long the mean loss must have been below the threshold for a survey's alert to
// end.
const calm = "6h"

// surveyAlert is a tier of surveys: it begins when the lower confidence bound of enough
// answers exceeds the threshold. One more answer can carry a small sample over the bound
// and back, and answers come slowly: what fires goes on until the mean itself has been
// below for some hours. (keep_firing_for would also keep the alerts of promises that are
// switched off or deleted.)
func surveyAlert(namespace string, tier budget.Tier) monitoringv1.Rule {
	lost, n := windowOf(losses, tier.Long, namespace), windowOf(events, tier.Long, namespace)
	firing := selector("ALERTS", equals("alertname", AlertSurveyBurn), `alertstate="firing"`, equals("namespace", namespace),
		equals("severity", tier.Severity()), equals("tier", tier.Name))
	burning := fmt.Sprintf("(last_over_time(%s[%s]) and on (namespace, slo, objective, touchpoint) (%s and on (%s) %s or last_over_time(%s[%s])))",
		selector(over(tier), equals("namespace", namespace)), calm,
		above(WilsonBound(lost, n, "-", tier.Z), namespace, threshold(budget.Survey, tier)),
		budgetKey, enough(n, namespace, budget.Survey),
		firing, lately)
	return burnAlert(namespace, budget.Survey, tier, burning)
}

// burnAlert is an alert on mean losses of budgets. Its value is the burn rate; the budgets'
// own series lend it their labels. Two of them stand side by side after an edit.
func burnAlert(namespace string, family budget.Family, tier budget.Tier, burning string) monitoringv1.Rule {
	return monitoringv1.Rule{
		Alert: alertName(family),
		Expr: intstr.FromString(shown(fmt.Sprintf("%s / on (%s) group_right () %s", burning, budgetKey,
			selector(Budget, equals("namespace", namespace), equals(tier.Severity(), "true"))))),
		Labels:      map[string]string{"severity": tier.Severity(), "tier": tier.Name},
		Annotations: burnAnnotations(family, tier),
	}
}

func alertName(family budget.Family) string {
	if family == budget.Survey {
		return AlertSurveyBurn
	}
	return AlertBudgetBurn
}

// shown drops the labels that alerts do not show.
func shown(expr string) string { return fmt.Sprintf("max without (%s) (%s)", rosterLabels, expr) }

// silenceAlerts tell silence from quiet. A prober always runs, so no run that succeeded
// or failed is a fault; a counter that is there and does not move is a quiet night.
func silenceAlerts(namespace string, r roster) []monitoringv1.Rule {
	silent := func(severity ...string) string {
		var exprs []string
		for _, source := range []v1alpha1.Source{v1alpha1.SourceMetric, v1alpha1.SourceProbe, v1alpha1.SourceSurvey} {
			for _, silence := range distinct(r, func(s shape) bool { return s.source == source }, func(s shape) time.Duration { return s.silence }) {
				heard := windowOf(events, fiveTile, namespace)
				if silence > 5*time.Minute {
					heard = fmt.Sprintf("sum_over_time(%s[%s])", selector(Events, equals("namespace", namespace)), span(silence))
				}
				if source == v1alpha1.SourceProbe {
					heard += " > 0"
				}
				roster := selector(Budget, append([]string{equals("namespace", namespace),
					equals("source", strings.ToLower(string(source))), equals("silence", promDuration(silence))}, severity...)...)
				exprs = append(exprs, fmt.Sprintf("(%s unless on (%s) (%s))", roster, countKey, heard))
			}
		}
		return shown(strings.Join(exprs, " or "))
	}
	alert := func(severity, expr string) monitoringv1.Rule {
		wait := monitoringv1.Duration("5m")
		return monitoringv1.Rule{
			Alert:       AlertDataMissing,
			Expr:        intstr.FromString(expr),
			For:         &wait,
			Labels:      map[string]string{"severity": severity, "tier": "missing"},
			Annotations: silenceAnnotations(),
		}
	}
	return []monitoringv1.Rule{
		alert("page", silent(equals("page", "true"))),
		alert("ticket", silent(equals("page", "false"), equals("ticket", "true"))),
	}
}
