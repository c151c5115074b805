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
	// Events and Losses are the counts of one budget in a minute.
	Events = "sojourn:slo_events:count1m"
	Losses = "sojourn:slo_losses:count1m"
	// Budget is the mean loss that a budget allows. Its series are the roster of all
	// budgets: they exist whether or not there is data.
	Budget = "sojourn:slo_budget:ratio"

	// Floor is how many events, or for traffic losses, a budget's alerts want at least.
	Floor = "sojourn:slo_floor:count"

	// TouchpointInfo carries what alerts and tables say of a touchpoint, in labels.
	TouchpointInfo = "sojourn:touchpoint:info"

	// MeanLoss, LossLower and LossUpper are what was observed over the budget's window
	// and, for surveys, its confidence bounds; Remaining is the part of the budget left.
	MeanLoss  = "sojourn:slo_loss:ratio"
	LossLower = "sojourn:slo_loss_lower:ratio"
	LossUpper = "sojourn:slo_loss_upper:ratio"
	Remaining = "sojourn:slo_budget_remaining:ratio"
	// SampleSize is the number of events in the budget's window.
	SampleSize = "sojourn:slo_events:window"
	// Coverage is the part of the budget's window for which hourly counts exist.
	Coverage = "sojourn:slo_coverage:ratio"

	touchpointRequests  = "sojourn:touchpoint_requests:count1m"
	touchpointErrors    = "sojourn:touchpoint_errors:count1m"
	touchpointDurations = "sojourn:touchpoint_durations:count1m"
	touchpointWithin    = "sojourn:touchpoint_durations_within:count1m"
	touchpointResponses = "sojourn:touchpoint_responses:count1m"
	touchpointEvents    = "sojourn:touchpoint_events:count1m"
	touchpointGood      = "sojourn:touchpoint_events_good:count1m"

	journeyEntries = "sojourn:journey_stage_entries:count1m"
	journeyKPI     = "sojourn:journey_kpi:value"
)

// budgetKey are the labels that tell one budget from all others. Every join is on
// these, and every side that must be unique is reduced to them.
const budgetKey = "namespace, slo, objective, touchpoint, def"

// touchpointKey are the labels that tell one touchpoint from all others.
const touchpointKey = "namespace, touchpoint"

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

// grouped cuts rules into groups of bounded size, named base.1, base.2 and so on. Rules
// that read what an earlier one of the same evaluation wrote must fit into one group:
// size tells how many belong together.
func grouped(base string, interval time.Duration, size int, rules []monitoringv1.Rule) []monitoringv1.RuleGroup {
	if len(rules) == 0 {
		return nil
	}
	most := perGroup / size * size
	every := monitoringv1.Duration(promDuration(interval))
	var groups []monitoringv1.RuleGroup
	for chunk := range slices.Chunk(rules, most) {
		groups = append(groups, monitoringv1.RuleGroup{
			Name:     fmt.Sprintf("%s.%d", base, len(groups)+1),
			Interval: &every,
			Rules:    chunk,
		})
	}
	return groups
}
