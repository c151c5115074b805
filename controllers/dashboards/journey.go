package dashboards

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// AnyJourney is of the journey that people choose. It knows a touchpoint's journeys by the
// label that Prometheus has, which names five of them.
func AnyJourney() (dashboard.Dashboard, error) {
	// The label holds "shop/online-purchase, shop/returns and 3 more".
	chosen := fmt.Sprintf(`%s{journeys=~"(.+, )?$journey((,| and ).+)?"}`, rules.TouchpointInfo)
	s := scope{matchers: []string{""}, among: chosen}
	own := func(series string) string {
		// namespace/name, taken apart.
		key := `label_replace(vector(1), "key", "$journey", "", "")`
		key = fmt.Sprintf(`label_replace(%s, "namespace", "$1", "key", "(.+)/.+")`, key)
		key = fmt.Sprintf(`label_replace(%s, "journey", "$1", "key", ".+/(.+)")`, key)
		return fmt.Sprintf("(last_over_time(%s[%s]) and on (namespace, journey) %s)", series, latelyQuarter, key)
	}
	b := begin("Sojourn: a journey", AnyJourneyUID, "Budgets, answers, latencies and entries of one journey. A Journey can have such a page with its own stages, too.").
		WithVariable(choice("journey", "Journey", rules.TouchpointInfo+`{journeys!=""}`, "journeys").Regex(`/([^, ]+\/[^, ]+)/g`)).
		WithVariable(several(choice("touchpoint", "Touchpoint", chosen, "touchpoint"))).
		Annotation(alertMarks(s))
	for _, section := range []section{
		{title: "Now", panels: numbersNow(s)},
		{title: "Budgets", panels: append([]panel{budgetTable(s, 0)}, append(budgetGraphs(s), alertLine(s))...)},
		{title: "On the way", panels: []panel{
			bars("Funnel", "Customers that entered each stage within a day; the widest first.", "short", half,
				now("A", fmt.Sprintf("sort_desc(sum by (stage) (%s))", own(rules.JourneyEntries)), "{{stage}}")),
			graph("Figures of the business", "The journey's KPIs, each in a unit of its own.", "short", half,
				query("A", fmt.Sprintf("sum by (kpi) (%s)", own(rules.JourneyKPI)), "{{kpi}}")),
		}},
		{title: "What customers say", panels: append(allAnswers(s), answersByTouchpoint(s)...)},
		{title: "How much is known", panels: knownPanels(s)},
		{title: "$touchpoint", repeat: "touchpoint", closed: true, panels: touchpointPanels(s.at(`touchpoint="$touchpoint"`), measured{true, true, true})},
	} {
		section.addTo(b)
	}
	return finish(b)
}

// ForJourney is of one Journey: its stages in their order, its touchpoints by the names that
// people gave them, and of each what is measured there. What touchpoints does not hold is
// taken to be measured in every way.
func ForJourney(journey *v1alpha1.Journey, touchpoints map[types.NamespacedName]*v1alpha1.Touchpoint) (dashboard.Dashboard, error) {
	byNamespace := map[string][]string{}
	for _, reference := range targets.References(journey) {
		byNamespace[reference.Namespace] = append(byNamespace[reference.Namespace], reference.Name)
	}
	var s scope
	for _, namespace := range sorted(byNamespace) {
		names := byNamespace[namespace]
		slices.Sort(names)
		s.matchers = append(s.matchers, fmt.Sprintf("namespace=%q,%s", namespace, oneOf("touchpoint", slices.Compact(names))))
	}
	title := cmp.Or(string(journey.Spec.DisplayName), journey.Name)
	b := begin("Journey: "+title, uidOf(journey.Namespace, journey.Name), strings.TrimSpace(fmt.Sprintf("Journey %s of namespace %s. %s", journey.Name, journey.Namespace, journey.Spec.Goal))).
		Annotation(alertMarks(s))
	sections := []section{
		{title: "Now", panels: numbersNow(s)},
		{title: "Budgets", panels: append([]panel{budgetTable(s, 0)}, append(budgetGraphs(s), alertLine(s))...)},
	}
	if way := onTheWay(journey); len(way) > 0 {
		sections = append(sections, section{title: "On the way", panels: way})
	}
	sections = append(sections,
		section{title: "What customers say", panels: append(allAnswers(s), answersByTouchpoint(s)...)},
		section{title: "How much is known", panels: knownPanels(s)})
	shown := map[types.NamespacedName]bool{}
	for i, stage := range journey.Spec.Stages {
		for _, reference := range stage.Touchpoints {
			key := types.NamespacedName{Namespace: cmp.Or(string(reference.Namespace), journey.Namespace), Name: string(reference.Name)}
			if shown[key] {
				continue // a journey may loop
			}
			shown[key] = true
			name, has := key.Name, measured{true, true, true}
			if touchpoint := touchpoints[key]; touchpoint != nil {
				name, has = cmp.Or(string(touchpoint.Spec.DisplayName), key.Name), measuredAt(touchpoint)
			}
			if reference.MomentOfTruth {
				name += " ★"
			}
			sections = append(sections, section{
				title: fmt.Sprintf("%d. %s: %s", i+1, cmp.Or(string(stage.DisplayName), string(stage.Name)), name), closed: true,
				panels: touchpointPanels(scope{matchers: []string{fmt.Sprintf("namespace=%q,touchpoint=%q", key.Namespace, key.Name)}}, has),
			})
		}
	}
	for _, section := range sections {
		section.addTo(b)
	}
	return finish(b)
}

// measuredAt tells what is known of a touchpoint.
func measuredAt(touchpoint *v1alpha1.Touchpoint) measured {
	probed, metrics := touchpoint.Spec.Probe != nil, touchpoint.Spec.Metrics
	has := measured{visits: probed, buckets: probed, answers: touchpoint.Spec.Survey != nil}
	if metrics != nil {
		has.visits = has.visits || metrics.Requests != nil || metrics.Latency != nil
		has.buckets = has.buckets || metrics.Latency != nil
		has.answers = has.answers || len(metrics.Surveys) > 0
	}
	return has
}

// onTheWay shows how many customers come how far, and the figures of the business.
func onTheWay(journey *v1alpha1.Journey) []panel {
	own := func(series, matcher string) string {
		return fmt.Sprintf("sum(last_over_time(%s{namespace=%q,journey=%q,%s}[%s]))", series, journey.Namespace, journey.Name, matcher, latelyQuarter)
	}
	funnel := bars("Funnel", "Customers that entered each stage within a day.", "short", third)
	conversion := bars("Conversion", "Of those that entered the stage before, the share that entered this one; more than 100 % where customers come from elsewhere.", "percentunit", third).Max(1)
	var before string
	entered, converted := 0, 0
	for _, stage := range journey.Spec.Stages {
		if stage.Entries == "" {
			continue
		}
		entries, title := own(rules.JourneyEntries, fmt.Sprintf("stage=%q", stage.Name)), cmp.Or(string(stage.DisplayName), string(stage.Name))
		ref := func(n int) string { return fmt.Sprintf("S%d", n) }
		funnel.WithTarget(now(ref(entered), entries, title))
		if entered++; before != "" {
			conversion.WithTarget(now(ref(converted), fmt.Sprintf("%s / (%s > 0)", entries, before), title))
			converted++
		}
		before = entries
	}
	var panels []panel
	if entered > 0 {
		panels = append(panels, funnel)
	}
	if converted > 0 {
		panels = append(panels, conversion)
	}
	for _, kpi := range journey.Spec.KPIs {
		about := "A figure of the business"
		if kpi.Target != "" {
			about += ", with the target " + string(kpi.Target)
		}
		panels = append(panels, graph(string(kpi.Name), about+".", "short", third, query("A", own(rules.JourneyKPI, fmt.Sprintf("kpi=%q", kpi.Name)), string(kpi.Name))))
	}
	return panels
}
