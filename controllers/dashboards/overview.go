package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

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
			graph("Least budget left, by touchpoint", "The twenty touchpoints that stand worst.", "percentunit", half,
				query("A", fmt.Sprintf("bottomk(20, min by (namespace, touchpoint) (%s))", s.lately(rules.Remaining, lately)), "{{touchpoint}} ({{namespace}})")).Max(1),
			limited(graph("Fastest burn, by touchpoint", "How many times as fast as it may the budget burns that burns fastest, over the last hour; the twenty fastest.", "x", half,
				query("A", fmt.Sprintf("topk(20, max by (namespace, touchpoint) (%s))", recentBurn(s, "1h")), "{{touchpoint}} ({{namespace}})")), steps("transparent", from(1, "red"))).Min(0))},
		{title: "What customers say", panels: []panel{
			graph("Content customers", "The share of good answers of the last 7 days at all touchpoints.", "percentunit", half,
				query("A", fmt.Sprintf("sum by (instrument) (%s) / (sum by (instrument) (%s) > 0)", s.lately(rules.ExperienceGood, lately), s.lately(rules.ExperienceAnswers, lately)), "{{instrument}}")).Max(1),
			graph("Answers (n)", "How many answers of the last 7 days these shares are of.", "short", half,
				query("A", fmt.Sprintf("sum by (instrument) (%s)", s.lately(rules.ExperienceAnswers, lately)), "{{instrument}}")).Min(0),
		}},
		{title: "Sojourn itself", closed: true, panels: itself(s)},
	} {
		section.addTo(b)
	}
	return finish(b)
}

// itself shows how Sojourn's own programs fare.
func itself(s scope) []panel {
	return []panel{
		bars("Programs", "How many of each are scraped, by version.", "short", third,
			now("A", "count by (program, version) (sojourn_build_info)", "{{program}} {{version}}")),
		graph("Visits by outcome", "A minute. Those with the outcome error are the prober's own trouble, and outside every budget.", "short", third,
			query("A", fmt.Sprintf("sum by (outcome) (60 * rate(%s[$__rate_interval]))", s.of("sojourn_probe_runs_total")), "{{outcome}}")).Min(0),
		graph("Answers refused", "By the gateway, an hour.", "short", third,
			query("A", "sum by (reason) (3600 * rate(sojourn_survey_rejected_total[$__rate_interval])) > 0", "{{reason}}")).Min(0),
		graph("Rules", "Written by the manager.", "short", third, query("A", "max by (kind) (sojourn_rules)", "{{kind}}")).Min(0),
		graph("Since the manager last heard from Prometheus", "Statuses are as old as this.", "s", third,
			query("A", "time() - max(sojourn_observe_last_success_timestamp_seconds > 0)", "age")).Min(0),
		bars("Budgets by state", "As the statuses of ExperienceSLOs say, in all namespaces.", "short", third,
			now("A", "max by (state) (sojourn_observed_budgets)", "{{state}}")),
	}
}
