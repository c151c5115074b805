package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/dashboards"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
	"github.com/sojourn-dev/sojourn/hack/demo/story"
	"github.com/sojourn-dev/sojourn/hack/history"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const root = "../.."

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins() // so that options of panels and queries are read strictly too
	os.Exit(m.Run())
}

// samples are those of config/samples, with what the API server would fill in.
func samples(t *testing.T) *story.Samples {
	t.Helper()
	read, err := story.ReadSamples(filepath.Join(root, "config", "samples"), story.ClusterShopURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, touchpoint := range read.Decoded.Touchpoints {
		if touchpoint.Spec.Kano == "" {
			touchpoint.Spec.Kano = v1alpha1.KanoPerformance
		}
	}
	for _, slo := range read.SLOs {
		if slo.Spec.Window == "" {
			slo.Spec.Window = "28d"
		}
	}
	return read
}

// all are the dashboards that everybody has, and those of the sample journey: with what is
// known of its touchpoints, and without.
func all(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	read := samples(t)
	journey := read.Decoded.Journeys["online-purchase"]
	touchpoints := map[types.NamespacedName]*v1alpha1.Touchpoint{}
	for name, touchpoint := range read.Decoded.Touchpoints {
		touchpoints[types.NamespacedName{Namespace: read.Namespace, Name: name}] = touchpoint
	}
	made := map[string]dashboard.Dashboard{}
	for name, make := range map[string]func() (dashboard.Dashboard, error){
		"overview": dashboards.Overview,
		"journey":  dashboards.AnyJourney,
		"online-purchase": func() (dashboard.Dashboard, error) {
			return dashboards.ForJourney(journey, touchpoints)
		},
	} {
		var err error
		if made[name], err = make(); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

// TestWritten: what lies in config and the chart is what the code makes.
func TestWritten(t *testing.T) {
	made, err := everybodys()
	if err != nil {
		t.Fatal(err)
	}
	again, err := everybodys()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range made {
		if !bytes.Equal(text, again[name]) {
			t.Errorf("%s comes out otherwise each time", name)
		}
		for _, folder := range folders {
			written, err := os.ReadFile(filepath.Join(root, folder, name))
			if err != nil || !bytes.Equal(written, text) {
				t.Errorf("%s/%s is not what the code makes: make generate (%v)", folder, name, err)
			}
		}
	}
}

// TestSchema reads each dashboard by Grafana's own schema, which knows every field of
// every panel, and looks at what no schema can say.
func TestSchema(t *testing.T) {
	for name, made := range all(t) {
		text, err := dashboards.JSON(made)
		if err != nil {
			t.Fatal(err)
		}
		var read dashboard.Dashboard
		// It returns a list of errors, empty if there are none.
		if err := read.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", name, err)
		}
		wrong := bytes.Replace(text, []byte(`"graphMode": "none"`), []byte(`"graphMode": 7`), 1)
		if err := new(dashboard.Dashboard).UnmarshalJSONStrict(wrong); err == nil || !strings.Contains(err.Error(), "graphMode") {
			t.Errorf("%s: the schema takes anything: %v", name, err)
		}
		if err := read.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(*made.Uid) > 40 {
			t.Errorf("%s: uid %s is longer than Grafana takes", name, *made.Uid)
		}
		ids, taken := map[uint32]bool{}, map[[2]uint32]string{}
		for _, panel := range panelsOf(made) {
			if panel.Id == nil || *panel.Id == 0 || ids[*panel.Id] {
				t.Errorf("%s: %s has no id of its own", name, *panel.Title)
				continue
			}
			ids[*panel.Id] = true
			if panel.Description == nil || *panel.Description == "" {
				t.Errorf("%s: %s does not say what it shows", name, *panel.Title)
			}
			for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
				for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
					if other := taken[[2]uint32{x, y}]; other != "" || x > 23 {
						t.Fatalf("%s: %s lies on %s or beside the page", name, *panel.Title, other)
					}
					taken[[2]uint32{x, y}] = *panel.Title
				}
			}
			refs := map[string]bool{}
			for _, query := range queriesOf(panel) {
				if ref := *query.RefId; refs[ref] {
					t.Errorf("%s: %s has two queries %s", name, *panel.Title, ref)
				} else {
					refs[ref] = true
				}
			}
		}
	}
}

// panelsOf lists all panels, those of closed rows too.
func panelsOf(made dashboard.Dashboard) []dashboard.Panel {
	var found []dashboard.Panel
	for _, each := range made.Panels {
		if each.Panel != nil {
			found = append(found, *each.Panel)
		}
		if each.RowPanel != nil {
			found = append(found, each.RowPanel.Panels...)
		}
	}
	return found
}

func queriesOf(panel dashboard.Panel) []prometheus.Dataquery {
	var found []prometheus.Dataquery
	for _, target := range panel.Targets {
		switch query := target.(type) {
		case prometheus.Dataquery:
			found = append(found, query)
		case *prometheus.Dataquery:
			found = append(found, *query)
		}
	}
	return found
}

// filledIn writes values for variables, as Grafana does before it asks.
func filledIn(expr, touchpoint string) string {
	return strings.NewReplacer("$namespace", ".+", "$journey", "shop/online-purchase", "$touchpoint", touchpoint, "$__rate_interval", "4m").Replace(expr)
}

// TestSeries: every query can be read, and every series of a program that is asked for is one
// that docs/series.md promises.
func TestSeries(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "series.md"))
	if err != nil {
		t.Fatal(err)
	}
	promql := parser.NewParser(parser.Options{})
	for name, made := range all(t) {
		for _, panel := range panelsOf(made) {
			if len(panel.Targets) == 0 {
				t.Errorf("%s: %s asks nothing", name, *panel.Title)
			}
			for _, query := range queriesOf(panel) {
				parsed, err := promql.ParseExpr(filledIn(query.Expr, "checkout"))
				if err != nil {
					t.Errorf("%s: %s: %v in %s", name, *panel.Title, err, query.Expr)
					continue
				}
				parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
					selector, is := node.(*parser.VectorSelector)
					if !is || selector.Name == "ALERTS" {
						return nil
					}
					// What is recorded is there because the rules are; see TestPrometheusAnswers.
					if !strings.Contains(selector.Name, ":") && !strings.Contains(string(text), "`"+selector.Name+"`") {
						t.Errorf("%s: %s: docs/series.md does not know %s", name, *panel.Title, selector.Name)
					}
					return nil
				})
			}
		}
	}
}

// TestPrometheusAnswers asks a real Prometheus, with a past of the sample journey in it, what
// each panel asks, at the time of the last sample and over the last hours.
func TestPrometheusAnswers(t *testing.T) {
	read := samples(t)
	// At another time of the day other customers answer, or none do where few are asked.
	end := time.Now().Truncate(24 * time.Hour)
	past := &story.Past{Start: end.Add(-8 * time.Hour), End: end, Samples: read, Seed: 4}
	past.Responses = story.NewCustomers(read, 4, "past").Past(past.Start, past.End)
	h, err := history.Open(past.Start, past.End)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := past.AddCounters(h, map[string]string{story.ProberJob: "a:1", story.GatewayJob: "b:2", story.ShopJob: "c:3"}); err != nil {
		t.Fatal(err)
	}
	addOthers(t, h, read)
	if err := h.Evaluate(t.Context(), rulesOf(read), nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := h.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	server, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{StorageDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)

	asked := 0
	for name, made := range all(t) {
		for _, panel := range panelsOf(made) {
			for _, query := range queriesOf(panel) {
				asked++
				// A repeated panel is of one touchpoint: of some one, it has an answer.
				var answered, last string
				for _, touchpoint := range []string{"checkout", "search"} {
					last = filledIn(query.Expr, touchpoint)
					n, err := answers(t.Context(), server.API(), query, last, end)
					if err != nil {
						t.Fatalf("%s: %s: %v in %s", name, *panel.Title, err, last)
					}
					if n > 0 {
						answered = touchpoint
						break
					}
				}
				if answered == "" {
					t.Errorf("%s: %s: no data: %s", name, *panel.Title, last)
				}
			}
		}
		for _, variable := range made.Templating.List {
			if variable.Type != "query" {
				continue
			}
			asked := variable.Query.Map["query"].(string)
			found := regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`).FindStringSubmatch(asked)
			if found == nil {
				t.Fatalf("%s: $%s asks %s", name, variable.Name, asked)
			}
			values, _, _, err := server.API().LabelValues(t.Context(), found[2], []string{filledIn(found[1], "")}, past.Start, end)
			if err != nil || len(values) == 0 {
				t.Errorf("%s: $%s has no values: %v", name, variable.Name, err)
			}
			if variable.Name == "journey" && !slices.Contains(values, "shop/online-purchase") {
				t.Errorf("%s: $%s is one of %v", name, variable.Name, values)
			}
		}
	}
	if asked < 150 {
		t.Errorf("only %d queries were asked", asked)
	}
	figures(t, server, end)
	rising(t, server, end)
}

// rising: buckets of several touchpoints, each with edges of its own, add up to ones that rise.
func rising(t *testing.T, server *localstack.Prometheus, end time.Time) {
	t.Helper()
	for name, made := range all(t) {
		for _, panel := range panelsOf(made) {
			if panel.Type != "heatmap" {
				continue
			}
			value, err := server.Query(t.Context(), filledIn(queriesOf(panel)[0].Expr, "checkout"), end)
			if err != nil {
				t.Fatal(err)
			}
			counts := map[float64]float64{}
			for _, sample := range value.(model.Vector) {
				edge, err := strconv.ParseFloat(string(sample.Metric["le"]), 64)
				if err != nil {
					t.Fatal(err)
				}
				counts[edge] = float64(sample.Value)
			}
			edges := slices.Sorted(maps.Keys(counts))
			if name == "overview" && len(edges) != len(promclient.DefBuckets)+1 {
				t.Errorf("%s: %s has the edges %v", name, *panel.Title, edges)
			}
			for i := 1; i < len(edges); i++ {
				if counts[edges[i]] < counts[edges[i-1]] {
					t.Errorf("%s: %s: fewer visits within %v s than within %v s", name, *panel.Title, edges[i], edges[i-1])
				}
			}
		}
	}
}

// figures looks at some answers: they are what the rules say.
func figures(t *testing.T, server *localstack.Prometheus, end time.Time) {
	t.Helper()
	made := all(t)
	for _, test := range []struct{ dashboard, panel, ref, want string }{
		{"online-purchase", "Found it easy", "A", `sum(last_over_time(sojourn:experience_good:sum7d{instrument="ces"}[11m])) / sum(last_over_time(sojourn:experience_answers:sum7d{instrument="ces"}[11m]))`},
		{"journey", "Least budget left", "A", "min(last_over_time(sojourn:slo_budget_remaining:ratio[11m]))"},
		{"overview", "Alerts firing", "A", "vector(1)"},
		{"overview", "Alerts firing", "B", "vector(0)"},
		// One comes every half minute, for eight hours, at each touchpoint that asks.
		{"overview", "Comments", "A", `960 * count(count by (touchpoint) (sojourn_feedback_comments_total))`},
		{"journey", "Comments", "A", `960 * count(count by (touchpoint) (sojourn_feedback_comments_total))`},
		{"online-purchase", "Conversion", "S0", `sum(last_over_time(sojourn:journey_stage_entries:sum1d{stage="purchase"}[31m])) / sum(last_over_time(sojourn:journey_stage_entries:sum1d{stage="consideration"}[31m]))`},
		// The bounds are those of budgets on the same answers, over a time as long as there was.
		{"journey", "Content customers, with bounds", "B", `1 - last_over_time(sojourn:slo_loss_upper:ratio{slo="online-purchase",touchpoint="search"}[11m])`},
		{"journey", "Content customers, with bounds", "C", `1 - last_over_time(sojourn:slo_loss_lower:ratio{slo="online-purchase",touchpoint="search"}[11m])`},
	} {
		asked := ""
		for _, panel := range panelsOf(made[test.dashboard]) {
			for _, query := range queriesOf(panel) {
				if *panel.Title == test.panel && *query.RefId == test.ref && asked == "" {
					asked = filledIn(query.Expr, "search")
				}
			}
		}
		ask := func(expr string) float64 {
			value, err := server.Query(t.Context(), expr, end)
			if err != nil {
				t.Fatal(err)
			}
			if vector := value.(model.Vector); len(vector) == 1 {
				return float64(vector[0].Value)
			}
			t.Fatalf("%s: %v", expr, value)
			return 0
		}
		if got, want := ask(asked), ask(test.want); got-want > 1e-9 || want-got > 1e-9 {
			t.Errorf("%s: %s %s is %v, want %v: %s", test.dashboard, test.panel, test.ref, got, want, asked)
		}
	}
}

// answers counts the series that a query returns.
func answers(ctx context.Context, api promv1.API, query prometheus.Dataquery, expr string, end time.Time) (int, error) {
	if query.Instant != nil && *query.Instant {
		value, warnings, _, err := api.Query(ctx, expr, end)
		if err != nil || len(warnings) > 0 {
			return 0, fmt.Errorf("%w %v", err, warnings)
		}
		return len(value.(model.Vector)), nil
	}
	value, warnings, _, err := api.QueryRange(ctx, expr, promv1.Range{Start: end.Add(-2 * time.Hour), End: end, Step: 5 * time.Minute})
	if err != nil || len(warnings) > 0 {
		return 0, fmt.Errorf("%w %v", err, warnings)
	}
	return len(value.(model.Matrix)), nil
}

// addOthers adds what programs show of themselves, when the last visits were, and an alert.
func addOthers(t *testing.T, h *history.History, read *story.Samples) {
	t.Helper()
	add := func(value func(time.Time) float64, pairs ...string) {
		t.Helper()
		if err := h.AddSeries(labels.FromStrings(pairs...), 30*time.Second, value); err != nil {
			t.Fatal(err)
		}
	}
	constant := func(value float64) func(time.Time) float64 { return func(time.Time) float64 { return value } }
	clock := func(at time.Time) float64 { return float64(at.Unix()) }
	count := 0.0
	add(constant(1), "__name__", "sojourn_build_info", "program", "manager", "version", "1")
	add(constant(12), "__name__", "sojourn_rules", "kind", "PrometheusRule")
	add(constant(3), "__name__", "sojourn_observed_budgets", "state", "Met")
	add(clock, "__name__", "sojourn_observe_last_success_timestamp_seconds")
	add(func(time.Time) float64 { count++; return count }, "__name__", "sojourn_survey_rejected_total", "reason", "malformed")
	for name, touchpoint := range read.Decoded.Touchpoints {
		if touchpoint.Spec.Survey != nil {
			comments := 0.0
			for _, gateway := range []string{"b:2", "b:3"} { // both show the same
				add(func(time.Time) float64 { comments++; return comments }, "__name__", "sojourn_feedback_comments_total",
					"instance", gateway, "namespace", read.Namespace, "touchpoint", name, "sentiment", "negative")
				comments = 0
			}
		}
		if touchpoint.Spec.Probe != nil {
			add(clock, "__name__", "sojourn_probe_last_run_timestamp_seconds", "namespace", read.Namespace, "touchpoint", name, "location", "default")
		}
	}
	add(constant(1), "__name__", "ALERTS", "alertname", rules.AlertBudgetBurn, "alertstate", "firing", "severity", "page", "tier", "1h",
		"namespace", read.Namespace, "slo", "checkout", "objective", "speed", "touchpoint", "checkout", "team", "payments")
}

// rulesOf are all that the manager would write.
func rulesOf(read *story.Samples) []monitoringv1.RuleGroup {
	in := read.Decoded
	var groups []monitoringv1.RuleGroup
	journeysOf := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(in.Journeys)) {
		journey := in.Journeys[name]
		groups = append(groups, rules.ForJourney(journey, rules.Options{}).Groups...)
		for _, reference := range targets.References(journey) {
			if list := journeysOf[reference.Name]; !slices.Contains(list, read.Namespace+"/"+name) {
				journeysOf[reference.Name] = append(list, read.Namespace+"/"+name)
			}
		}
	}
	for _, slo := range read.SLOs {
		for _, object := range rules.ForSLO(slo, in).Objects {
			groups = append(groups, object.Groups...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Touchpoints)) {
		var covering []*v1alpha1.ExperienceSLO
		for _, slo := range read.SLOs {
			if slices.Contains(targets.Resolve(slo, in).Touchpoints, name) {
				covering = append(covering, slo)
			}
		}
		groups = append(groups, rules.ForTouchpoint(in.Touchpoints[name], covering, rules.Options{}).Groups...)
	}
	for _, object := range rules.ForNamespace(read.Namespace, read.SLOs, in, journeysOf) {
		groups = append(groups, object.Groups...)
	}
	return groups
}

// TestHostileNames: whatever people call things, the JSON is JSON and the PromQL PromQL.
func TestHostileNames(t *testing.T) {
	journey := &v1alpha1.Journey{}
	journey.Namespace, journey.Name = "shop", strings.Repeat("x", 60)
	journey.Spec.DisplayName = `"}}</script>$journey {{x}} 网上购物`
	journey.Spec.Stages = []v1alpha1.Stage{{
		Name: "buy", DisplayName: `$touchpoint "`, Entries: "x_total",
		Touchpoints: []v1alpha1.TouchpointReference{{Name: "a"}, {Name: "b", Namespace: "bank"}, {Name: "a"}},
	}}
	made, err := dashboards.ForJourney(journey, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := dashboards.JSON(made)
	if err != nil || !json.Valid(text) {
		t.Fatal(err)
	}
	promql, rows := parser.NewParser(parser.Options{}), 0
	for _, each := range made.Panels {
		if each.RowPanel != nil && each.RowPanel.Collapsed {
			rows++
		}
	}
	if rows != 2 {
		t.Errorf("%d touchpoints, want 2: one of them comes twice", rows)
	}
	for _, panel := range panelsOf(made) {
		for _, query := range queriesOf(panel) {
			if _, err := promql.ParseExpr(query.Expr); err != nil {
				t.Errorf("%v in %s", err, query.Expr)
			}
		}
	}
}
