package backtest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/hack/history"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const (
	// long is how long the made-up past is, and looked how much of it is looked at.
	long   = 9 * time.Hour
	looked = 8 * time.Hour
	scrape = 30 * time.Second
)

// past is a shop whose checkout fails for half an hour, whose customers then find it hard,
// and whose search was never measured.
type past struct {
	start, end time.Time
	objects    *atlas.Objects
	history    *history.History
	server     *localstack.Prometheus
	dir        string
}

var shop = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: shop}
spec:
  channel: Web
  class: Critical
  kano: Performance
  probe: {interval: 30s, http: {url: "http://shop.shop.svc/checkout"}}
  survey: {instruments: [{type: CES}]}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: payment, namespace: shop}
spec:
  channel: Web
  class: Standard
  kano: Performance
  metrics:
    requests: {total: 'pay_requests_total{app="pay"}', errors: 'pay_requests_total{app="pay",code=~"5.."}'}
    latency: {histogram: 'pay_seconds{app="pay"}'}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: shop}
spec:
  channel: Web
  class: Critical
  kano: Performance
  probe: {interval: 30s, http: {url: "http://shop.shop.svc/search"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: promises, namespace: shop}
spec:
  targets: {touchpoints: [checkout, payment, search]}
  window: 28d
  objectives:
  - {name: up, availability: {target: "99%"}}
  - {name: fast, latency: {threshold: 300ms, target: "95%"}}
  - {name: effort, ces: {easeShare: "80%"}}
`

// decided is what the operator would make of objects.
func decided(objects *atlas.Objects) []*controllers.Decision {
	decisions, err := controllers.Plan(context.Background(), controllers.Objects{
		Journeys: slices.Collect(maps.Values(objects.Journeys)), Touchpoints: slices.Collect(maps.Values(objects.Touchpoints)),
		ExperienceSLOs: slices.Collect(maps.Values(objects.ExperienceSLOs)),
	}, controllers.Options{}, publish.PrometheusRules)
	if err != nil {
		panic(err)
	}
	return decisions
}

func objectsOf(t testing.TB, text string) *atlas.Objects {
	t.Helper()
	objects := atlas.NewObjects()
	for document := range strings.SplitSeq(text, "\n---\n") {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		read := func(object any) {
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				t.Fatal(err)
			}
		}
		switch kind.Kind {
		case "Touchpoint":
			object := &v1alpha1.Touchpoint{}
			read(object)
			objects.Touchpoints[atlas.Key{Namespace: object.Namespace, Name: object.Name}] = object
		case "ExperienceSLO":
			object := &v1alpha1.ExperienceSLO{}
			read(object)
			objects.ExperienceSLOs[atlas.Key{Namespace: object.Namespace, Name: object.Name}] = object
		}
	}
	return objects
}

// made is shared by the tests, which do not change it.
var made *past

func TestMain(m *testing.M) {
	code := m.Run()
	if made != nil {
		made.server.Stop()
		made.history.Close()
		os.RemoveAll(made.dir)
	}
	os.Exit(code)
}

// somePast makes the past once, and a real Prometheus that has its raw series.
func somePast(t *testing.T) *past {
	t.Helper()
	if made != nil {
		return made
	}
	// Long windows are added up every half an hour, by a Prometheus some minutes after it, by a
	// backtest at once. Soon after it, the one would be half an hour behind the other.
	const phase = 20 * time.Minute
	p := &past{end: time.Now().Add(-time.Minute - phase).Truncate(30 * time.Minute).Add(phase), objects: objectsOf(t, shop)}
	p.start = p.end.Add(-long)
	var err error
	if p.history, err = history.Open(p.start, p.end); err != nil {
		t.Fatal(err)
	}
	outage := func(at time.Time) bool {
		since := at.Sub(p.start)
		return since > 4*time.Hour && since <= 4*time.Hour+30*time.Minute
	}
	restarted := p.start.Add(6 * time.Hour)
	silent := func(at time.Time) bool {
		since := at.Sub(p.start)
		return since > 7*time.Hour && since <= 7*time.Hour+30*time.Minute
	}
	add := func(counter func(at time.Time) float64, pairs ...string) {
		t.Helper()
		total := 0.0
		err := p.history.AddSeries(labels.FromStrings(pairs...), scrape, func(at time.Time) float64 {
			if at.Equal(restarted) && pairs[1] != "sojourn_survey_responses_total" {
				total = 0
			}
			if silent(at) && strings.HasPrefix(pairs[1], "sojourn_probe_") {
				return math.NaN() // not scraped
			}
			total += counter(at)
			return total
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	when := func(holds func(time.Time) bool, yes, no float64) func(time.Time) float64 {
		return func(at time.Time) float64 {
			if holds(at) {
				return yes
			}
			return no
		}
	}
	probe := []string{"namespace", "shop", "touchpoint", "checkout", "location", "default"}
	for outcome, counter := range map[string]func(time.Time) float64{
		"success": when(outage, 0, 1), "failure": when(outage, 1, 0), "error": func(time.Time) float64 { return 0 },
	} {
		add(counter, append([]string{"__name__", "sojourn_probe_runs_total", "outcome", outcome}, probe...)...)
	}
	for _, le := range []string{"0.3", "1.0", "+Inf"} {
		add(when(outage, 0, 1), append([]string{"__name__", "sojourn_probe_duration_seconds_bucket", "le", le}, probe...)...)
	}
	// Another touchpoint of the namespace, which the files do not name.
	add(func(time.Time) float64 { return 1 }, "__name__", "sojourn_probe_runs_total", "outcome", "success", "namespace", "shop", "touchpoint", "another", "location", "default")
	for _, code := range []string{"200", "500"} {
		add(func(at time.Time) float64 {
			if (code == "500") == outage(at) {
				return 60
			}
			return 0
		}, "__name__", "pay_requests_total", "app", "pay", "code", code)
	}
	// Two gateways show the totals of one database; answers come every three minutes, and
	// are bad from the fifth hour on.
	for _, instance := range []string{"one", "two"} {
		for score := 1; score <= 7; score++ {
			n := 0
			add(func(at time.Time) float64 {
				if n++; n%6 != 0 {
					return 0
				}
				if bad := at.Sub(p.start) > 5*time.Hour; score == 2 && bad || score == 6 && !bad {
					return 1
				}
				return 0
			}, "__name__", "sojourn_survey_responses_total", "instance", instance, "namespace", "shop", "touchpoint", "checkout", "instrument", "ces", "score", fmt.Sprint(score))
		}
	}
	p.nativeHistogram(t, outage)
	dir, err := os.MkdirTemp("", "sojourn-backtest-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.history.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if p.server, err = localstack.StartPrometheus(context.Background(), localstack.PrometheusOptions{StorageDir: dir}); err != nil {
		t.Fatal(err)
	}
	p.dir, made = dir, p
	return p
}

// nativeHistogram adds visits that take 0.1 s, and 0.5 s while holds, as a native histogram.
func (p *past) nativeHistogram(t *testing.T, slow func(time.Time) bool) {
	t.Helper()
	writer := p.history.NewWriter()
	var ref storage.SeriesRef
	series := labels.FromStrings("__name__", "pay_seconds", "app", "pay")
	fast, all := 0.0, 0.0
	for at := p.start; !at.After(p.end); at = at.Add(scrape) {
		all += 60
		if !slow(at) {
			fast += 60
		}
		h := &histogram.FloatHistogram{
			Schema: 3, Count: all, Sum: 0.1*fast + 0.5*(all-fast),
			// (0.096, 0.105] and (0.459, 0.5]
			PositiveSpans: []histogram.Span{{Offset: -26, Length: 1}, {Offset: 17, Length: 1}}, PositiveBuckets: []float64{fast, all - fast},
		}
		if err := writer.AppendHistogram(&ref, series, at.UnixMilli(), nil, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
}

func (p *past) options(queriesOnly bool) Options {
	return Options{
		Decisions: decided(p.objects), Since: looked, Until: p.end, MostSamples: 10_000_000,
		Prometheus: &Prometheus{URL: p.server.URL, Client: http.DefaultClient, QueriesOnly: queriesOnly},
	}
}

// firing is one alert from its beginning to its end, zero if it fires on.
type firing struct{ start, end time.Time }

// live evaluates the rules as a Prometheus does that runs all the while: its own rule groups,
// each at its own time of the minute. It returns the alerts by severity, tier and budget, and
// leaves in the history what the rules recorded.
func (p *past) live(t *testing.T) map[string][]firing {
	t.Helper()
	db := p.history.DB()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		Parser: files{}.parser(), NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() }})
	file, err := yaml.Marshal(map[string]any{"groups": planOf(decided(p.objects)).groups})
	if err != nil {
		t.Fatal(err)
	}
	manager := promrules.NewManager(&promrules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation, ExternalURL: &url.URL{},
		QueryFunc: promrules.EngineQueryFunc(engine, db), NotifyFunc: func(context.Context, string, ...*promrules.Alert) {},
		Context: t.Context(), Appendable: db, Queryable: db, Logger: slog.New(slog.DiscardHandler),
		Parser: files{}.parser(), GroupLoader: files{"shop.yaml": file},
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, "shop.yaml")
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	type due struct {
		*promrules.Group
		next time.Time
	}
	var all []*due
	for _, group := range groups {
		group.RestoreForState(p.start)
		all = append(all, &due{group, group.EvalTimestamp(p.start.UnixNano()).Add(group.Interval())})
	}
	fired := map[string][]firing{}
	for {
		next := slices.MinFunc(all, func(a, b *due) int { return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.Name(), b.Name())) })
		if next.next.After(p.end) {
			return fired
		}
		at := next.next
		next.next = at.Add(next.Interval())
		next.Eval(t.Context(), at)
		for _, rule := range next.Rules() {
			if err := rule.LastError(); err != nil {
				t.Fatalf("%s at %v: %v", rule.Name(), at.Sub(p.start), err)
			}
			alerting, is := rule.(*promrules.AlertingRule)
			if !is {
				continue
			}
			now := map[string]bool{}
			tier := alerting.Name() + " " + alerting.Labels().Get("severity") + " " + alerting.Labels().Get("tier")
			alerting.ForEachActiveAlert(func(alert *promrules.Alert) {
				if alert.State == promrules.StateFiring {
					key := fmt.Sprintf("%s %s/%s at %s", tier, alert.Labels.Get("slo"), alert.Labels.Get("objective"), alert.Labels.Get("touchpoint"))
					now[key] = true
					if n := len(fired[key]); n == 0 || !fired[key][n-1].end.IsZero() {
						fired[key] = append(fired[key], firing{start: at})
					}
				}
			})
			for key, list := range fired {
				if strings.HasPrefix(key, tier+" ") && !now[key] && list[len(list)-1].end.IsZero() {
					list[len(list)-1].end = at
				}
			}
		}
	}
}

// files are rule files that are on no disk.
type files map[string][]byte

func (files) parser() parser.Parser { return parser.NewParser(parser.Options{}) }

func (f files) Load(name string, ignoreUnknownFields bool, names model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	return rulefmt.Parse(f[name], ignoreUnknownFields, names, f.parser(), slog.New(slog.DiscardHandler))
}

func (f files) Parse(query string) (parser.Expr, error) { return f.parser().ParseExpr(query) }

// A backtest finds the alerts and the budgets that a Prometheus shows which evaluated the
// same rules all the while, whichever way it gets the samples.
func TestBacktestShowsWhatPrometheusWouldHave(t *testing.T) {
	p := somePast(t)
	reports := map[string]*Report{}
	for way, queriesOnly := range map[string]bool{"remote read": false, "queries": true} {
		report, err := Run(t.Context(), p.options(queriesOnly))
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		reports[way] = report
	}
	fired := p.live(t)
	for way, report := range reports {
		t.Run(way, func(t *testing.T) { p.compare(t, report, fired) })
	}
	if a, b := reports["remote read"], reports["queries"]; a.Samples != b.Samples {
		t.Errorf("remote read got %d samples, queries %d", a.Samples, b.Samples)
	}
	for _, severity := range []string{"page", "ticket"} {
		if !slices.ContainsFunc(reports["queries"].Alerts, func(a *Alert) bool { return a.Severity == severity }) {
			t.Errorf("there is no %s, so the test shows little", severity)
		}
	}
}

func (p *past) compare(t *testing.T, report *Report, fired map[string][]firing) {
	got := map[string][]firing{}
	for _, a := range report.Alerts {
		key := fmt.Sprintf("%s %s %s %s/%s at %s", a.Alert, a.Severity, a.Tier, a.SLO, a.Objective, a.Touchpoint)
		one := firing{start: a.Start}
		if a.End != nil {
			one.end = *a.End
		}
		got[key] = append(got[key], one)
	}
	for key, want := range fired {
		if strings.HasSuffix(key, "at search") {
			continue // never measured: a note, not an alert
		}
		// Live, each group waits for its own time of the interval: a minute for what is
		// counted and watched each minute, a quarter of an hour where that is added up.
		slack := 11 * time.Minute
		switch {
		case strings.Contains(key, " 3d "):
			slack = 26 * time.Minute
		case strings.Contains(key, " 1h ") || strings.Contains(key, " missing "):
			slack = 3 * time.Minute
		}
		if len(got[key]) != len(want) {
			t.Errorf("%s fires %d times, live %d times, first at %v and %v", key, len(got[key]), len(want), got[key], want[:1])
			continue
		}
		for i, live := range want {
			mine := got[key][i]
			if late := mine.start.Sub(live.start); late.Abs() > slack {
				t.Errorf("%s begins %v after live", key, late)
			}
			if mine.end.IsZero() != live.end.IsZero() || mine.end.Sub(live.end).Abs() > slack {
				t.Errorf("%s ends at %v, live at %v", key, mine.end, live.end)
			}
		}
	}
	for key := range got {
		if fired[key] == nil {
			t.Errorf("%s does not fire live", key)
		}
	}
	for _, b := range report.Budgets {
		for series, got := range map[string]float64{rules.Remaining: b.Remaining / 100, rules.SampleSize: float64(b.Events)} {
			matrix, err := p.history.Range(t.Context(), fmt.Sprintf("last_over_time(%s{objective=%q,touchpoint=%q}[61m])", series, b.Objective, b.Touchpoint), p.end, p.end, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if b.Touchpoint == "search" {
				if len(matrix) != 0 || b.State != "NoData" {
					t.Errorf("search is %s", b.State)
				}
				continue
			}
			if len(matrix) != 1 {
				t.Fatalf("%s of %s: %v", series, b.name(), matrix)
			}
			want := matrix[0].Floats[0].F
			if math.Abs(got-want) > 0.02*math.Max(1, math.Abs(want)) {
				t.Errorf("%s of %s is %v, live %v", series, b.name(), got, want)
			}
		}
	}
}
