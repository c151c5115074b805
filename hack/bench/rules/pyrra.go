package main

import (
	"context"
	"fmt"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// pyrraForm names the form of Pyrra's rules that is written out here: that of its main
// branch in 2026, for objectives of 30 days without grouping, alerts and absence alerts
// in force, generic rules off, as are its defaults.
const pyrraForm = "form of 2026"

// pyrraRules writes the rules that Pyrra makes for shapeMetrics. Its windows are those of
// 28 days, stretched to 30: 5 m with 1 h, 30 m with 6 h, 2 h with 1 d, 6 h with 4 d. Burn
// rates and alerts are evaluated every 30 s over raw counters; the increase over the
// whole window every 2 m 30 s. In performance mode that increase is added up from
// increases over five minutes instead of read from raw counters.
func pyrraRules(performance bool) func(context.Context, int) ([]byte, error) {
	return func(_ context.Context, slos int) ([]byte, error) {
		var groups []monitoringv1.RuleGroup
		for i := range slos {
			groups = append(groups, pyrraGroups(i, performance)...)
		}
		return ruleFile(groups)
	}
}

// pyrraTiers are Pyrra's alerts over 30 days.
var pyrraTiers = []struct {
	long, short, pending, severity string
	factor                         int
}{
	{"1h4m", "5m", "2m", "critical", 14},
	{"6h26m", "32m", "16m", "critical", 7},
	{"1d1h43m", "2h9m", "1h4m", "warning", 2},
	{"4d6h51m", "6h26m", "3h13m", "warning", 1},
}

var pyrraWindows = []string{"5m", "32m", "1h4m", "2h9m", "6h26m", "1d1h43m", "4d6h51m"}

func pyrraGroups(i int, performance bool) []monitoringv1.RuleGroup {
	namespace, service := place(i, 1)
	identity := map[string]string{"slo": service, "namespace": namespace, "service": service}
	same := promised(i)
	base, target := "http_requests", "0.999"
	// counted are the selectors whose increase is recorded; parts is how it is grouped.
	counted, parts := []string{"http_requests_total" + same}, "sum by (code) "
	burn := func(window string) string {
		return fmt.Sprintf(`sum(rate(http_requests_total%s[%s])) / sum(rate(http_requests_total%s[%s]))`, promised(i, `code=~"5.."`), window, same, window)
	}
	if !promisesAvailability(i) {
		base, target, parts = "http_request_duration_seconds", "0.99", "sum"
		total, within := base+"_count"+same, base+"_bucket"+promised(i, `le="`+threshold+`"`)
		counted = []string{total, within}
		burn = func(window string) string {
			return fmt.Sprintf(`(sum(rate(%s[%s])) - sum(rate(%s[%s]))) / sum(rate(%s[%s]))`, total, window, within, window, total, window)
		}
	}

	var increase []monitoringv1.Rule
	for n, selector := range counted {
		labels, le := identity, `le=""`
		if n > 0 {
			labels, le = withLabel(identity, "le", threshold), `le="`+threshold+`"`
		}
		if performance {
			increase = append(increase,
				recorded(base+":increase5m", fmt.Sprintf("%s(increase(%s[5m]))", parts, selector), labels),
				recorded(base+":increase30d", fmt.Sprintf("%s(sum_over_time(%s:increase5m%s[30d:5m]))", parts, base, promised(i, le)), labels))
		} else {
			increase = append(increase, recorded(base+":increase30d", fmt.Sprintf("%s(increase(%s[30d]))", parts, selector), labels))
		}
		increase = append(increase, alerting("SLOMetricAbsent", fmt.Sprintf("absent(%s) == 1", selector), "2m", withLabel(labels, "severity", "critical")))
	}

	var burning []monitoringv1.Rule
	for _, window := range pyrraWindows {
		burning = append(burning, recorded(base+":burnrate"+window, burn(window), identity))
	}
	mine := promised(i, fmt.Sprintf("slo=%q", service))
	for _, tier := range pyrraTiers {
		above := func(window string) string {
			return fmt.Sprintf("%s:burnrate%s%s > (%d * (1-%s))", base, window, mine, tier.factor, target)
		}
		labels := withLabel(withLabel(withLabel(identity, "severity", tier.severity), "long", tier.long), "short", tier.short)
		burning = append(burning, alerting("ErrorBudgetBurn", above(tier.short)+" and "+above(tier.long), tier.pending, labels))
	}
	return []monitoringv1.RuleGroup{
		{Name: service + "-increase", Interval: every("2m30s"), Rules: increase},
		{Name: service, Interval: every("30s"), Rules: burning},
	}
}

func recorded(name, expr string, labels map[string]string) monitoringv1.Rule {
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(strings.TrimSpace(expr)), Labels: labels}
}

func alerting(name, expr, pending string, labels map[string]string) monitoringv1.Rule {
	return monitoringv1.Rule{Alert: name, Expr: intstr.FromString(expr), For: every(pending), Labels: labels}
}

func withLabel(labels map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for n, v := range labels {
		all[n] = v
	}
	return all
}

func every(interval string) *monitoringv1.Duration {
	d := monitoringv1.Duration(interval)
	return &d
}
