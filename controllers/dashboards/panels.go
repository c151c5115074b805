package dashboards

import (
	"fmt"
	"maps"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// lately, latelyQuarter and latelyLong hold the last sample of what is written every five
// minutes, every quarter of an hour and every half, even if one evaluation was missed.
const lately, latelyQuarter, latelyLong = "11m", "31m", "61m"

// budgetKey tells budgets apart.
const budgetKey = "namespace, slo, objective, touchpoint, def"

// The grid is 24 units wide.
const (
	whole  = 24
	half   = 12
	third  = 8
	sixth  = 4
	low    = 4 // heights
	medium = 8
	high   = 10
)

type panel = cog.Builder[dashboard.Panel]

// query asks for a graph.
func query(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(ref).Datasource(source()).Expr(expr).LegendFormat(legend).Range()
}

// now asks for the figures of this moment.
func now(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(ref).Datasource(source()).Expr(expr).LegendFormat(legend).Instant()
}

// column asks for the figures of a column of a table.
func column(ref, expr string) *prometheus.DataqueryBuilder {
	return now(ref, expr, "").Format(prometheus.PromQueryFormatTable)
}

// steps are colours: the first from the lowest value on, the next each from a value on.
func steps(first string, next ...dashboard.Threshold) *dashboard.ThresholdsConfigBuilder {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).
		Steps(append([]dashboard.Threshold{{Color: first}}, next...))
}

func from(value float64, colour string) dashboard.Threshold {
	return dashboard.Threshold{Value: &value, Color: colour}
}

// leftSteps are the colours of what is left of a budget.
func leftSteps() *dashboard.ThresholdsConfigBuilder {
	return steps("red", from(0, "orange"), from(0.25, "green"))
}

// figure is a number in large letters.
func figure(title, about, unit string, colours *dashboard.ThresholdsConfigBuilder, queries ...*prometheus.DataqueryBuilder) panel {
	p := stat.NewPanelBuilder().Title(title).Description(about).Datasource(source()).Span(sixth).Height(low).Unit(unit).
		Thresholds(colours).GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeValue).NoValue("no data").
		Orientation(common.VizOrientationAuto).ReduceOptions(lastValue())
	if len(queries) > 1 {
		p.TextMode(common.BigValueTextModeValueAndName)
	}
	for i, q := range queries {
		p.WithTarget(q)
		if i > 0 && unit != "short" { // beside a share its sample size
			p.OverrideByQuery("B", []dashboard.DynamicConfigValue{
				{Id: "unit", Value: "short"}, {Id: "decimals", Value: 0},
				{Id: "color", Value: map[string]any{"mode": "fixed", "fixedColor": "text"}},
			})
		}
	}
	return p
}

func lastValue() *common.ReduceDataOptionsBuilder {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

// graph is lines over time.
func graph(title, about, unit string, width uint32, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(about).Datasource(source()).Span(width).Height(medium).Unit(unit).
		LineWidth(1).FillOpacity(0).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeTable).
			Placement(common.LegendPlacementBottom).Calcs([]string{"lastNotNull"}))
	for _, q := range queries {
		p.WithTarget(q)
	}
	return p
}

// limited draws a line at a value that matters.
func limited(p *timeseries.PanelBuilder, colours *dashboard.ThresholdsConfigBuilder) *timeseries.PanelBuilder {
	return p.Thresholds(colours).ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
}

// bars are figures of this moment side by side.
func bars(title, about, unit string, width uint32, queries ...*prometheus.DataqueryBuilder) *bargauge.PanelBuilder {
	p := bargauge.NewPanelBuilder().Title(title).Description(about).Datasource(source()).Span(width).Height(medium).Unit(unit).
		Orientation(common.VizOrientationHorizontal).DisplayMode(common.BarGaugeDisplayModeBasic).NoValue("no data").Min(0).
		ReduceOptions(lastValue())
	for _, q := range queries {
		p.WithTarget(q)
	}
	return p
}

// numbersNow are what matters at one look.
func numbersNow(s scope) []panel {
	share := func(title, about, instrument string) panel {
		matcher := fmt.Sprintf("instrument=%q", instrument)
		answers := "sum(" + s.lately(rules.ExperienceAnswers, lately, matcher) + ")"
		return figure(title, about, "percentunit", steps("red", from(0.6, "orange"), from(0.75, "green")),
			now("A", fmt.Sprintf("sum(%s) / (%s > 0)", s.lately(rules.ExperienceGood, lately, matcher), answers), "share"), now("B", answers, "n"))
	}
	count := func(expr string) string { return fmt.Sprintf("count(%s) or vector(0)", expr) }
	worst := steps("green", from(1, "red"))
	return []panel{
		figure("Least budget left", "What is left of the error budget that has least left; negative once overspent.", "percentunit", leftSteps(),
			now("A", "min("+s.lately(rules.Remaining, lately)+")", "")),
		figure("Budgets overspent", "Budgets of which nothing is left, and how many there are.", "short", worst,
			now("A", count(s.lately(rules.Remaining, lately)+" < 0"), "overspent"), now("B", count(s.of(rules.Budget)), "all")),
		figure("Alerts firing", "Alerts on what customers feel.", "short", worst,
			now("A", count(s.firing(`severity="page"`)), "pages"), now("B", count(s.firing(`severity="ticket"`)), "tickets")),
		share("Found it easy", "Customer Effort Score 2.0: the share of answers 5 to 7 in the last 7 days, and how many answered.", "ces"),
		share("Satisfied", "CSAT: the share of answers 4 and 5 in the last 7 days, and how many answered.", "csat"),
		figure("Visits that failed", "Of all visits of the last hour, by probes and by the touchpoints' own metrics, and how many there were.", "percentunit",
			steps("green", from(0.001, "orange"), from(0.01, "red")),
			now("A", fmt.Sprintf("sum(%s) / (sum(%s) > 0)", s.lately(rules.ExperienceFailures, lately), s.lately(rules.ExperienceVisits, lately)), "share"),
			now("B", "sum("+s.lately(rules.ExperienceVisits, lately)+")", "n")),
	}
}

// recentBurn is how fast budgets of traffic burn over a window, in multiples of what they
// may: answers come too slowly for that.
func recentBurn(s scope, window string) string {
	const of = "sojourn:touchpoint_"
	return fmt.Sprintf("(%s / (%s > 0)) / on (namespace, touchpoint, def) group_right () %s",
		s.of(of+"losses:sum"+window), s.of(of+"events:sum"+window), s.of(rules.Budget, `family="traffic"`))
}

// meanBurn is how fast all budgets have burnt over their windows.
func meanBurn(s scope) string {
	return fmt.Sprintf("%s / on (%s) group_left () max by (%s) (%s)", s.lately(rules.MeanLoss, lately), budgetKey, budgetKey, s.of(rules.Budget))
}

// budgetTable lists budgets, the worst first.
func budgetTable(s scope, most int) panel {
	by := func(expr string) string { return fmt.Sprintf("max by (%s) (%s)", budgetKey, expr) }
	columns := []struct{ title, expr, unit string }{
		{"Left", by(s.lately(rules.Remaining, lately)), "percentunit"},
		{"Burn, 1 h", by(recentBurn(s, "1h")), "x"},
		{"Allowed loss", by(s.of(rules.Budget)), "percentunit"},
		{"Mean loss", by(s.lately(rules.MeanLoss, lately)), "percentunit"},
		{"at least", by(s.lately(rules.LossLower, lately)), "percentunit"},
		{"at most", by(s.lately(rules.LossUpper, lately)), "percentunit"},
		{"n", by(s.lately(rules.SampleSize, lately)), "short"},
		{"Window covered", by(s.lately(rules.Coverage, latelyLong)), "percentunit"},
	}
	if most > 0 {
		columns[0].expr = fmt.Sprintf("bottomk(%d, %s)", most, columns[0].expr)
	}
	p := table.NewPanelBuilder().Title("Budgets").Datasource(source()).Span(whole).Height(high).
		Description("What is promised, what customers lost, and what is left. The bounds are those of surveys: 98 % lie between them.").
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})).
		SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName("Left")})
	renamed := map[string]any{"slo": "SLO", "objective": "Objective", "touchpoint": "Touchpoint", "namespace": "Namespace"}
	order := map[string]any{"namespace": 0, "touchpoint": 1, "slo": 2, "objective": 3}
	for i, c := range columns {
		ref := string(rune('A' + i))
		p.WithTarget(column(ref, c.expr))
		renamed["Value #"+ref], order["Value #"+ref] = c.title, 4+i
		properties := []dashboard.DynamicConfigValue{{Id: "unit", Value: c.unit}, {Id: "decimals", Value: 1}}
		switch c.title {
		case "Left":
			properties = append(properties,
				dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: map[string]any{"type": "color-text"}},
				dashboard.DynamicConfigValue{Id: "thresholds", Value: thresholds(leftSteps())})
		case "n":
			properties[1].Value = 0
		case "Allowed loss", "Mean loss", "at least", "at most":
			properties[1].Value = 2
		}
		p.OverrideByName(c.title, properties)
	}
	p.WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}})
	p.WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": map[string]any{"Time": true, "def": true}, "renameByName": renamed, "indexByName": order,
	}})
	if most > 0 { // rows that only have the other columns
		p.WithTransformation(dashboard.DataTransformerConfig{Id: "filterByValue", Options: map[string]any{
			"type": "exclude", "match": "all", "filters": []any{map[string]any{"fieldName": "Left", "config": map[string]any{"id": "isNull", "options": map[string]any{}}}},
		}})
	}
	return p
}

func thresholds(b *dashboard.ThresholdsConfigBuilder) dashboard.ThresholdsConfig {
	made, _ := b.Build() // its schema has no rules that these could break
	return made
}

// budgetGraphs show where budgets come from and go to.
func budgetGraphs(s scope) []panel {
	const legend = "{{objective}} at {{touchpoint}} ({{slo}})"
	return []panel{
		limited(graph("Budget left", "Over each budget's own window; negative once overspent.", "percentunit", half,
			query("A", s.lately(rules.Remaining, lately), legend)), steps("red", from(0, "transparent"))).Max(1),
		limited(graph("Burn rate", "How many times as fast as it may each budget burns: those of visits and events over the last hour, those of surveys over their window. Above 1 it will not last.", "x", half,
			query("A", recentBurn(s, "1h"), legend),
			query("B", meanBurn(s)+" and on ("+budgetKey+") "+s.of(rules.Budget, `family="survey"`), legend)), steps("transparent", from(1, "red"))).Min(0),
	}
}

// allAnswers show what customers say at all touchpoints together.
func allAnswers(s scope) []panel {
	of := func(series string) string {
		return fmt.Sprintf("sum by (instrument) (%s)", s.lately(series, lately))
	}
	return []panel{
		bounded("Content customers, all together", "The share of answers of the last 7 days that are good: easy (CES), little effort (CES 1.0), satisfied (CSAT), promoters (NPS).",
			third, of(rules.ExperienceGood), of(rules.ExperienceAnswers), "{{instrument}}"),
		graph("Answers, all together (n)", "How many answers of the last 7 days these shares are of.", "short", third,
			query("A", of(rules.ExperienceAnswers), "{{instrument}}")).Min(0),
		comments(s, third),
	}
}

// answersByTouchpoint show what customers say where.
func answersByTouchpoint(s scope) []panel {
	const legend = "{{instrument}} at {{touchpoint}}"
	return []panel{
		graph("Content customers, by touchpoint", "The share of answers of the last 7 days that are good. The rows of the touchpoints show its bounds.", "percentunit", half,
			query("A", fmt.Sprintf("%s / (%s > 0)", s.lately(rules.ExperienceGood, lately), s.lately(rules.ExperienceAnswers, lately)), legend)).Max(1),
		graph("Answers, by touchpoint (n)", "How many answers of the last 7 days these shares are of.", "short", half,
			query("A", s.lately(rules.ExperienceAnswers, lately), legend)).Min(0),
	}
}

// bounded is a share of n with its bounds. Queries that make bounds
// read good and n more than once.
func bounded(title, about string, width uint32, good, n, legend string) panel {
	dashes := []dashboard.DynamicConfigValue{{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []any{4, 6}}}}
	n = "(" + n + " > 0)"
	return graph(title, about+" 98 % lie between the bounds: a change within them may be chance.", "percentunit", width,
		query("A", fmt.Sprintf("%s / %s", good, n), legend),
		query("B", rules.WilsonBound(good, n, "-", budget.ZTicket), legend+", at least"),
		query("C", rules.WilsonBound(good, n, "+", budget.ZTicket), legend+", at most"),
	).Min(0).Max(1).OverrideByQuery("B", dashes).OverrideByQuery("C", dashes)
}

// comments are counted by what the scores that they came with say. A total of a database
// never falls, whoever shows it: the highest less the lowest is what came.
func comments(s scope, width uint32) panel {
	const key = "namespace, touchpoint, sentiment"
	gained := s.each(func(own string) string {
		total := selector("sojourn_feedback_comments_total", own, nil)
		return fmt.Sprintf("max by (%s) (max_over_time(%s[1d:15m])) - min by (%s) (min_over_time(%s[1d:15m]))", key, total, key, total)
	})
	return graph("Comments", "How many comments came within a day, by what their answers say: content, let down, neither. What they say is on the journey's page (kubectl journey ui).", "short", width,
		query("A", fmt.Sprintf("sum by (sentiment) (%s)", gained), "{{sentiment}}")).Min(0)
}

// latencies are a heat map of what buckets gained.
func latencies(title, about string, width uint32, gains string) panel {
	return heatmap.NewPanelBuilder().Title(title).Description(about).Datasource(source()).Span(width).Height(medium).Calculate(false).ShowLegend().
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Steps(64)).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit("s")).
		WithTarget(query("A", fmt.Sprintf("sum by (le) (%s)", gains), "{{le}}").Format(prometheus.PromQueryFormatHeatmap))
}

// alertLine shows when which alert fired.
func alertLine(s scope) panel {
	return statetimeline.NewPanelBuilder().Title("Alerts").Description("Which alerts fired when. Empty is good.").Datasource(source()).Span(whole).Height(medium).
		ShowValue(common.VisibilityModeNever).MergeValues(true).NoValue("none").
		Thresholds(steps("transparent", from(1, "orange"), from(2, "red"))).
		Mappings([]dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: map[string]dashboard.ValueMappingResult{
			"1": {Text: new("ticket")}, "2": {Text: new("page")},
		}}}}).
		WithTarget(query("A", fmt.Sprintf("2 * max by (alertname, slo, objective, touchpoint) (%s) or max by (alertname, slo, objective, touchpoint) (%s)",
			s.firing(`severity="page"`), s.firing(`severity="ticket"`)), "{{alertname}}: {{objective}} at {{touchpoint}} ({{slo}})"))
}

// knownPanels say how far the figures can be relied upon.
func knownPanels(s scope) []panel {
	return []panel{
		bars("Window covered", "The part of each budget's window of which the counts are known. What was before Sojourn, or before what Prometheus keeps, is not.", "percentunit", half,
			now("A", fmt.Sprintf("min by (slo, objective) (%s)", s.lately(rules.Coverage, latelyLong)), "{{objective}} of {{slo}}")).Max(1).
			Thresholds(steps("orange", from(0.9, "green"))),
		graph("Since the last visit", "Age of the last probe of each touchpoint. Much more than its interval: the prober is gone, stuck or overloaded.", "s", half,
			query("A", fmt.Sprintf("time() - max by (namespace, touchpoint) (%s)", s.of("sojourn_probe_last_run_timestamp_seconds")), "{{touchpoint}}")).Min(0),
	}
}

// measured says what is known of a touchpoint.
type measured struct{ visits, buckets, answers bool }

// touchpointPanels are all about one touchpoint.
func touchpointPanels(s scope, has measured) []panel {
	var panels []panel
	if has.visits {
		if has.buckets {
			panels = append(panels, latencies("Latency", "How long successful visits took, those of the hour before each moment. Bucket edges are the promised thresholds and the customary ones.",
				third, s.lately(rules.LatencyGains, lately)))
		}
		panels = append(panels,
			graph("Latency of one in two, and of the slowest in twenty", "Quantiles of the last hour.", "s", third,
				query("A", s.lately(rules.ExperienceP50, lately), "half, {{source}}"), query("B", s.lately(rules.ExperienceP95, lately), "95 %, {{source}}")).Min(0),
			graph("Visits of the last hour", "By probes, and by the touchpoint's own metrics.", "short", third,
				query("A", s.lately(rules.ExperienceVisits, lately), "all, {{source}}"), query("B", s.lately(rules.ExperienceFailures, lately), "failed, {{source}}")).Min(0))
	}
	if has.answers {
		good, n := s.lately(rules.ExperienceGood, lately), s.lately(rules.ExperienceAnswers, lately)
		panels = append(panels,
			bounded("Content customers, with bounds", "The share of good answers of the last 7 days.", third, good, n, "{{instrument}}"),
			graph("Answers (n)", "How many answers of the last 7 days, and how many of them are of customers let down.", "short", third,
				query("A", n, "{{instrument}}"), query("B", s.lately(rules.ExperienceBad, lately), "{{instrument}}, let down")).Min(0),
			comments(s, third))
	}
	return append(panels, graph("Budget left", "Over each budget's own window; negative once overspent.", "percentunit", whole,
		query("A", s.lately(rules.Remaining, lately), "{{objective}} ({{slo}})")).Max(1))
}

// sorted lists the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
