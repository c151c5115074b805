package dashboards

import (
	"fmt"
	"math"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// worstBudgets is how many budgets the overview lists.
const worstBudgets = 50

// Overview is of everything in some namespaces, and of Sojourn itself.
func Overview() (dashboard.Dashboard, error) {
	s := scope{matchers: []string{`namespace=~"$namespace"`}}
	b := begin("Sojourn: what customers feel", OverviewUID, "All budgets, answers and alerts of some namespaces, and how Sojourn itself fares.").
		WithVariable(several(choice("namespace", "Namespace", rules.Budget, "namespace")).AllValue(".+")).
		Annotation(alertMarks(s))
	for _, section := range []section{
		{title: "Now", panels: numbersNow(s)},
		{title: "Budgets", panels: append([]panel{budgetTable(s, worstBudgets), alertLine(s)},
			graph("Least budget left, by touchpoint", "What is left of each touchpoint's worst budget; the twenty touchpoints that stand worst.", "percentunit", half,
				query("A", fmt.Sprintf("bottomk(20, min by (namespace, touchpoint) (%s))", s.lately(rules.Remaining, lately)), "{{touchpoint}} ({{namespace}})")).Max(1),
			limited(graph("Fastest burn, by touchpoint", "How many times as fast as it may the budget burns that burns fastest, over the last hour; the twenty fastest.", "x", half,
				query("A", fmt.Sprintf("topk(20, max by (namespace, touchpoint) (%s))", recentBurn(s, "1h")), "{{touchpoint}} ({{namespace}})")), steps("transparent", from(1, "red"))).Min(0))},
		{title: "What customers say", panels: allAnswers(s)},
		{title: "On the way", panels: []panel{
			latencies("Latency of probed touchpoints", "How long successful visits by probes took, those of the hour before each moment, at all touchpoints together.", half,
				s.lately(rules.LatencyGains, lately, `source="probe"`, customaryEdges())),
			bars("Funnels", "Customers that entered each stage of a journey within a day; the thirty widest stages.", "short", half,
				now("A", fmt.Sprintf("sort_desc(topk(30, sum by (namespace, journey, stage) (%s)))", s.lately(rules.JourneyEntries, latelyQuarter)), "{{journey}} ({{namespace}}): {{stage}}")),
		}},
		{title: "Sojourn itself", closed: true, panels: itself(s)},
	} {
		section.addTo(b)
	}
	return finish(b)
}

// customaryEdges choose the buckets that every probed touchpoint has. Edges that are promised
// at some only would make the sum over all fall where it must rise.
func customaryEdges() string {
	edges := []string{"+Inf"}
	for _, edge := range prometheus.DefBuckets {
		text := strconv.FormatFloat(edge, 'f', -1, 64)
		if edges = append(edges, text); edge == math.Trunc(edge) {
			edges = append(edges, text+".0") // Prometheus 3 writes it so
		}
	}
	return oneOf("le", edges)
}

// itself shows how Sojourn's own programs fare.
func itself(s scope) []panel {
	return []panel{
		bars("Programs", "How many of each are scraped, by version.", "short", third,
			now("A", "count by (program, version) (sojourn_build_info)", "{{program}} {{version}}")),
		graph("Visits by outcome", "Visits of probes, a minute. Those with the outcome error are the prober's own trouble, and outside every budget.", "short", third,
			query("A", fmt.Sprintf("sum by (outcome) (60 * rate(%s[$__rate_interval]))", s.of("sojourn_probe_runs_total")), "{{outcome}}")).Min(0),
		graph("Answers refused", "Answers that the gateway refused, an hour, by reason.", "short", third,
			query("A", "sum by (reason) (3600 * rate(sojourn_survey_rejected_total[$__rate_interval])) > 0", "{{reason}}")).Min(0),
		graph("Rules", "How many rules the manager has written, by the kind of object that holds them.", "short", third, query("A", "max by (kind) (sojourn_rules)", "{{kind}}")).Min(0),
		graph("Since the manager last heard from Prometheus", "The figures in the statuses of objects are as old as this.", "s", third,
			query("A", "time() - max(sojourn_observe_last_success_timestamp_seconds > 0)", "age")).Min(0),
		bars("Budgets by state", "As the statuses of ExperienceSLOs say, in all namespaces.", "short", third,
			now("A", "max by (state) (sojourn_observed_budgets)", "{{state}}")),
	}
}
