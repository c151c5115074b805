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
	// AlertBudgetBurn says that a budget of traffic is being spent too fast.
	AlertBudgetBurn = "ExperienceBudgetBurn"
	// AlertSurveyBurn says that customers' answers spend a budget too fast, and that
	// this is not chance.
	AlertSurveyBurn = "ExperienceSurveyBurn"
	// AlertDataMissing says that what measures a touchpoint has fallen silent, not
	// that no customer came.
	AlertDataMissing = "ExperienceDataMissing"
)

// rosterLabels are the labels of a budget that alerts do not show: what may change
// without the alert being another one.
const rosterLabels = "def, window, type, source, family, instrument, floor, silence, promise, runbook, page, ticket"

// alertGroups makes the alerts of a namespace: pages are evaluated every minute, tickets
// every five. There is one rule for each tier, whatever the windows of the budgets it
// watches.
func alertGroups(namespace string, r roster) []monitoringv1.RuleGroup {
	pages := append(quickWindows(namespace), floorRule(namespace, r))
	var tickets []monitoringv1.Rule
	for _, family := range []budget.Family{budget.Traffic, budget.Survey} {
		burning := map[tierName][]string{}
		for _, window := range r.windows(family) {
			length, err := v1alpha1.Duration(window).Value()
			if err != nil {
				continue // the schema admits no such window
			}
			for _, tier := range budget.Tiers(family, length) {
				name := tierName{tier.Page, tier.Name}
				burning[name] = append(burning[name], burns(namespace, family, window, tier))
			}
		}
		for _, tier := range budget.Tiers(family, 28*24*time.Hour) { // the names are the same for every window
			exprs := burning[tierName{tier.Page, tier.Name}]
			if len(exprs) == 0 {
				continue
			}
			if tier.Page {
				pages = append(pages, burnAlert(family, tier, exprs))
			} else {
				tickets = append(tickets, burnAlert(family, tier, exprs))
			}
		}
	}
	pages = append(pages, silenceAlerts(namespace, r)...)
	return append(
		grouped("sojourn-pages", tile, 1, pages),
		grouped("sojourn-tickets", fiveTile, 1, tickets)...)
}

// floorRule makes a number of the label that holds each budget's floor. As data, any
// number of different floors costs the alerts nothing.
func floorRule(namespace string, r roster) monitoringv1.Rule {
	var exprs []string
	for _, floor := range distinct(r, func(shape) bool { return true }, func(s shape) int { return s.floor }) {
		exprs = append(exprs, fmt.Sprintf("0 * %s + %d", selector(Budget, equals("namespace", namespace), equals("floor", strconv.Itoa(floor))), floor))
	}
	return record(Floor, fmt.Sprintf("max by (%s) (%s)", budgetKey, strings.Join(exprs, " or ")), nil)
}

type tierName struct {
	page bool
	name string
}

func burnAlert(family budget.Family, tier budget.Tier, exprs []string) monitoringv1.Rule {
	return monitoringv1.Rule{
		Alert:       alertName(family),
		Expr:        intstr.FromString(shown(exprs)),
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

// shown joins expressions that are about different budgets, and drops the labels that
// alerts do not show.
func shown(exprs []string) string {
	return fmt.Sprintf("max without (%s) (%s)", rosterLabels, strings.Join(exprs, " or "))
}

// burns is the condition of one tier for all budgets of one family and window. Its value
// is the burn rate over the long window.
func burns(namespace string, family budget.Family, window v1alpha1.Window, tier budget.Tier) string {
	const events, losses = "sojourn:slo_events:", "sojourn:slo_losses:"
	here := equals("namespace", namespace)
	roster := selector(Budget, here, equals("window", string(window)), equals("family", string(family)), equals(tier.Severity(), "true"))
	floor := selector(Floor, here)
	n, lost := windowOf(events, tier.Long, namespace), windowOf(losses, tier.Long, namespace)
	mean := fmt.Sprintf("%s / (%s > 0)", lost, n)
	all := fmt.Sprintf("max by (%s) (%s)", budgetKey, roster)

	// A budget above the tier's ceiling has no such tier; a lower one has it at a burn
	// rate it can reach.
	var allowed, threshold, burning string
	above := func(what string) string { return fmt.Sprintf("%s > on (%s) (%s)", what, budgetKey, threshold) }
	factor := budget.Format(tier.Factor)
	if family == budget.Survey {
		ceiling := fmt.Sprintf("0.5 * %s / (%s + %s)", floor, floor, budget.Format(tier.Z*tier.Z))
		allowed = fmt.Sprintf("(%s <= on (%s) (%s))", all, budgetKey, ceiling)
		threshold = fmt.Sprintf("%s * %s <= on (%s) (%s) or %s and on (%s) %s", factor, allowed, budgetKey, ceiling, ceiling, budgetKey, allowed)
		enough := fmt.Sprintf("(%s >= on (%s) %s)", n, budgetKey, floor)
		// One more answer can carry a small sample over the bound and back: once it
		// fires, the alert stays for as long as the mean is above.
		firing := fmt.Sprintf("last_over_time(ALERTS{%s}[%s])", strings.Join([]string{equals("alertname", alertName(family)), `alertstate="firing"`,
			here, equals("severity", tier.Severity()), equals("tier", tier.Name)}, ","), lately)
		burning = fmt.Sprintf("%s and on (%s) (%s or %s and on (namespace, slo, objective, touchpoint) %s)",
			mean, budgetKey, above(wilson(lost, enough, "-", tier.Z)), above(mean), firing)
	} else {
		ceiling := budget.Format(tier.Ceiling(0))
		allowed = fmt.Sprintf("(%s <= %s)", all, ceiling)
		threshold = fmt.Sprintf("clamp_max(%s * %s, %s)", factor, allowed, ceiling)
		shortly := fmt.Sprintf("%s / (%s > 0)", windowOf(losses, tier.Short, namespace), windowOf(events, tier.Short, namespace))
		burning = fmt.Sprintf("(%s) and on (%s) (%s) and on (%s) (%s >= on (%s) %s)", above(mean), budgetKey, above(shortly), budgetKey, lost, budgetKey, floor)
	}
	// The budget's own series, one of them even while two stand side by side after an
	// edit, lends the alert its labels.
	return fmt.Sprintf("(%s) / on (%s) %s * on (%s) group_right () topk by (%s) (1, %s) ^ 0",
		burning, budgetKey, all, budgetKey, budgetKey, roster)
}

// silenceAlerts tell silence from quiet. A prober always runs, so no run that succeeded
// or failed is a fault; a counter that is there and does not move is a quiet night.
func silenceAlerts(namespace string, r roster) []monitoringv1.Rule {
	silent := func(severity ...string) string {
		var exprs []string
		for _, source := range []v1alpha1.Source{v1alpha1.SourceMetric, v1alpha1.SourceProbe, v1alpha1.SourceSurvey} {
			for _, silence := range distinct(r, func(s shape) bool { return s.source == source }, func(s shape) time.Duration { return s.silence }) {
				heard := selector("sojourn:slo_events:sum5m", equals("namespace", namespace))
				if silence > 5*time.Minute {
					heard = fmt.Sprintf("sum_over_time(%s[%s])", selector(Events, equals("namespace", namespace)), span(silence))
				}
				if source == v1alpha1.SourceProbe {
					heard += " > 0"
				}
				roster := selector(Budget, append([]string{equals("namespace", namespace),
					equals("source", strings.ToLower(string(source))), equals("silence", promDuration(silence))}, severity...)...)
				exprs = append(exprs, fmt.Sprintf("(topk by (%s) (1, %s) ^ 0 unless on (%s) (%s))", budgetKey, roster, budgetKey, heard))
			}
		}
		return shown(exprs)
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
