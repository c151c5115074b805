package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Series that our processes expose.
const (
	probeRuns       = "sojourn_probe_runs_total"
	probeDuration   = "sojourn_probe_duration_seconds_bucket"
	surveyResponses = "sojourn_survey_responses_total"
)

// Recorded series. A count is what happened in a tile of time, tiles never overlap; a
// sum is over a window that ends now.
const (
	// Events and Losses are what a touchpoint saw in a minute, and how bad it was, by the
	// meaning of a loss (def): a number of events, and the sum of their losses. All budgets
	// with that meaning share them.
	Events = events + "count1m"
	Losses = losses + "count1m"

	events = "sojourn:touchpoint_events:"
	losses = "sojourn:touchpoint_losses:"

	// TouchpointInfo carries what alerts and tables say of a touchpoint, in labels. Its
	// value is always 1.
	TouchpointInfo = "sojourn:touchpoint:info"

	// Budget is the mean loss that a budget allows, per event, between 0 and 1. Its series
	// are the roster of all budgets: they exist whether or not there is data.
	Budget = "sojourn:slo_budget:ratio"
	// Floor is how many events, or for traffic losses, a budget's alerts want at least.
	// Its labels are those that tell budgets apart, its window and its family.
	Floor = "sojourn:slo_floor:count"

	// SampleSize is the number of events in the budget's window.
	SampleSize = "sojourn:slo_events:window"
	// MeanLoss is the mean loss over the budget's window, per event, between 0 and 1;
	// Remaining is the part of the budget that is left, at most 1 (budget.Remaining).
	MeanLoss  = "sojourn:slo_loss:ratio"
	Remaining = "sojourn:slo_budget_remaining:ratio"
	// LossLower and LossUpper are the confidence bounds of the mean loss of surveys, per
	// event (budget.Bounds, after Wilson, at budget.ZTicket).
	LossLower = "sojourn:slo_loss_lower:ratio"
	LossUpper = "sojourn:slo_loss_upper:ratio"
	// Coverage is the part of the budget's window of which the counts are known, between 0
	// and 1.
	Coverage = "sojourn:slo_coverage:ratio"

	touchpointResponses = "sojourn:touchpoint_responses:count1m"

	journeyEntries = "sojourn:journey_stage_entries:count1m"
	// JourneyEntries is how many customers entered a stage within a day, and JourneyKPI
	// the value of a figure of the business.
	JourneyEntries = "sojourn:journey_stage_entries:sum1d"
	JourneyKPI     = "sojourn:journey_kpi:value"
)

// Labels that tell one from all others. Joins are on these, and the side of a join that
// must be unique has them and no more.
const (
	touchpointKey = "namespace, touchpoint"
	countKey      = "namespace, touchpoint, def"
	budgetKey     = "namespace, slo, objective, touchpoint, def"
)

// perGroup is how many rules a group may hold: the limit of Mimir's default tenant.
const perGroup = 20

// selector writes a series selector: name{matchers…}.
func selector(name string, matchers ...string) string {
	return name + "{" + strings.Join(matchers, ",") + "}"
}

func equals(label, value string) string { return fmt.Sprintf("%s=%q", label, value) }

// oneOf matches a label with any of some values; names of objects hold nothing that a
// regular expression or a PromQL string would take for something else, but quote anyway.
func oneOf(label string, values []string) string {
	if len(values) == 1 {
		return equals(label, values[0])
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = regexp.QuoteMeta(value)
	}
	return fmt.Sprintf("%s=~%q", label, strings.Join(quoted, "|"))
}

// span writes a range that holds exactly the tiles of a window. Prometheus 2 includes
// both ends of a range and Prometheus 3 only the later one; a millisecond less makes
// both read the same tiles.
func span(window time.Duration) string { return promDuration(window - time.Millisecond) }

// promDuration writes a duration in PromQL: 4m59s999ms.
func promDuration(d time.Duration) string {
	var text strings.Builder
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / unit.length; n > 0 {
			fmt.Fprintf(&text, "%d%s", n, unit.name)
			d -= n * unit.length
		}
	}
	return text.String()
}

func record(name, expr string, labels map[string]string) monitoringv1.Rule {
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(expr), Labels: labels}
}

// grouped puts sets of rules into as few groups as it can in their order, named base.1,
// base.2 and so on. The rules of a set stay in one group: they may read what an earlier
// one has just written.
func grouped(base string, interval time.Duration, sets ...[]monitoringv1.Rule) []monitoringv1.RuleGroup {
	every := monitoringv1.Duration(promDuration(interval))
	var groups []monitoringv1.RuleGroup
	for _, set := range sets {
		if len(set) == 0 {
			continue
		}
		last := len(groups) - 1
		if last < 0 || len(groups[last].Rules)+len(set) > perGroup {
			groups = append(groups, monitoringv1.RuleGroup{Name: fmt.Sprintf("%s.%d", base, len(groups)+1), Interval: &every})
			last++
		}
		groups[last].Rules = append(groups[last].Rules, set...)
	}
	return groups
}

// each makes a set of its own of each rule.
func each(rules []monitoringv1.Rule) [][]monitoringv1.Rule {
	return slices.Collect(slices.Chunk(rules, 1))
}
