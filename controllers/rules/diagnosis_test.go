package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// complaints lists what is complained of now, as "kind field edges…".
func (w *world) complaints() []string {
	w.t.Helper()
	found := map[string][]string{}
	for _, sample := range w.ask(fmt.Sprintf("last_over_time(%s[6m])", Complaints)) {
		what := sample.Metric.Get("complaint") + " " + strings.TrimPrefix(sample.Metric.Get("field"), "spec.metrics.")
		found[what] = append(found[what], sample.Metric.Get("le"))
	}
	var all []string
	for _, what := range sortedKeys(found) {
		slices.Sort(found[what])
		all = append(all, strings.TrimSpace(what+" "+strings.Join(found[what], " ")))
	}
	return all
}

func (w *world) complains(when string, want ...string) {
	w.t.Helper()
	if got := w.complaints(); !slices.Equal(got, want) {
		w.t.Errorf("%s: complained of %q, want %q", when, got, want)
	}
}

// diagnosed is a world with all rules of everyShape.
func diagnosed(t *testing.T) *world {
	w := newWorld(t)
	w.load(ruleFile(t, everything(readObjects(t, everyShape))))
	return w
}

// from makes a series that is there from a moment on, and until another.
func from(start, end time.Duration, value func(time.Time) float64) func(time.Time) float64 {
	return func(at time.Time) float64 {
		if since := at.Sub(epoch); since < start || since >= end {
			return math.NaN()
		}
		return value(at)
	}
}

const forever = 1000 * time.Hour

func TestNothingToComplainOf(t *testing.T) {
	t.Parallel()
	w := diagnosed(t)
	w.complains("without data")
	// A restart now and then is no fault.
	restarted := func(at time.Time) float64 { return math.Floor(math.Mod(at.Sub(epoch).Minutes(), 4) * 100) }
	w.scrape(restarted, "__name__", "http_requests_total", "app", "own", "code", "200")
	w.scrape(steady(1), "__name__", "http_requests_total", "app", "own", "code", "500")
	for _, le := range []string{"0.5", "1", "+Inf"} {
		w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", le)
	}
	w.scrape(steady(1), "__name__", "csat_total", "app", "own", "stars", "5")
	w.scrape(steady(1), "__name__", "orders_total", "result", "ok")
	for range 8 {
		w.run(5 * time.Minute)
		w.complains(w.now.Sub(epoch).String())
	}
	w.healthy()
}

func TestThresholdIsNoEdge(t *testing.T) {
	t.Parallel()
	w := diagnosed(t)
	for _, le := range []string{"0.5", "2.5", "+Inf"} {
		w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", le)
	}
	w.scrape(from(30*time.Minute, time.Hour, steady(5)), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "1.0")
	w.scrape(from(2*time.Hour, forever, steady(5)), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "1")
	w.run(29 * time.Minute)
	w.complains("without the edge", "edge latency.histogram +Inf 0.5 2.5")
	w.run(13 * time.Minute)
	w.complains("with the edge 1.0")
	w.run(40 * time.Minute)
	w.complains("without it again", "edge latency.histogram +Inf 0.5 2.5")
	w.run(50 * time.Minute)
	w.complains("with the edge 1")
	w.healthy()
}

// Of several thresholds each must be an edge.
func TestEveryThresholdIsAnEdge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: own, namespace: shop}
spec: {channel: Web, metrics: {latency: {histogram: 'd_bucket{le!="7"}'}}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: own, namespace: shop}
spec:
  targets: {touchpoints: [own]}
  objectives:
  - {name: fast, latency: {threshold: 250ms, target: "90%"}}
  - {name: bearable, latency: {threshold: 1s, target: "99%"}}
`
	w.load(ruleFile(t, everything(parseObjects(t, text))))
	for _, le := range []string{"0.25", "+Inf"} {
		w.scrape(steady(5), "__name__", "d_bucket", "le", le)
	}
	w.scrape(from(time.Hour, forever, steady(5)), "__name__", "d_bucket", "le", "1")
	w.run(30 * time.Minute)
	w.complains("with one of two", "edge latency.histogram +Inf 0.25")
	w.run(time.Hour)
	w.complains("with both")
	w.healthy()
}

func TestGaugeForACounter(t *testing.T) {
	t.Parallel()
	wavering := func(at time.Time) float64 { return 10 + 5*math.Sin(at.Sub(epoch).Seconds()) }
	for field, series := range map[string][]string{
		"requests.total":          {"__name__", "http_requests_total", "app", "own", "code", "200"},
		"latency.histogram":       {"__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "+Inf"},
		"surveys[CSAT].responses": {"__name__", "csat_total", "app", "own", "stars", "5"},
		"events[orders].total":    {"__name__", "orders_total", "result", "bad"},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			w := diagnosed(t)
			// Other pods count well.
			w.scrape(steady(5), append([]string{"pod", "a"}, series...)...)
			w.scrape(from(time.Hour, 2*time.Hour, wavering), append([]string{"pod", "b"}, series...)...)
			if field == "latency.histogram" {
				w.scrape(steady(5), "__name__", "http_request_duration_seconds_bucket", "app", "own", "le", "1")
			}
			w.run(59 * time.Minute)
			w.complains("before")
			w.run(30 * time.Minute)
			w.complains("with a gauge", "falls "+field)
			w.run(time.Hour)
			w.complains("after")
			w.healthy()
		})
	}
}

func TestAnswersWithoutAScore(t *testing.T) {
	t.Parallel()
	w := diagnosed(t)
	w.scrape(steady(1), "__name__", "csat_total", "app", "own", "stars", "5")
	w.scrape(from(30*time.Minute, time.Hour, steady(1)), "__name__", "csat_total", "app", "own", "score", "5")
	w.run(29 * time.Minute)
	w.complains("before")
	w.run(20 * time.Minute)
	w.complains("with a series without stars", "unlabelled surveys[CSAT].responses")
	w.run(35 * time.Minute)
	w.complains("after")
	w.healthy()
}

// What the query leaves out itself is nothing to complain of.
func TestAnswersLeftOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: own, namespace: shop}
spec: {channel: Web, metrics: {surveys: [{type: CSAT, responses: 'csat_total{score!=""}'}]}}
`
	w.load(ruleFile(t, everything(parseObjects(t, text))))
	w.scrape(steady(1), "__name__", "csat_total", "score", "5")
	w.scrape(steady(1), "__name__", "csat_total")
	w.run(30 * time.Minute)
	w.complains("the rest is left out")
	w.healthy()
}

// The rule is the users' own PromQL: it reads no other namespace, and it parses fast.
func TestDiagnosisIsOneSmallRule(t *testing.T) {
	t.Parallel()
	found := readObjects(t, everyShape)
	made := ForTouchpoint(found.touchpoints[0], found.slos, Options{EnforceNamespaceLabel: "tenant"})
	if len(made.Diagnosis) != 1 || len(made.Diagnosis[0].Rules) != 1 || *made.Diagnosis[0].Interval != monitoringv1.Duration("5m") {
		t.Fatalf("%+v", made.Diagnosis)
	}
	expr, err := userPromQL.ParseExpr(made.Diagnosis[0].Rules[0].Expr.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, matchers := range parser.ExtractSelectors(expr) {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return m.Name == "tenant" && m.Value == "shop" }) {
			t.Errorf("a selector reaches out: %v", matchers)
		}
	}
	found.touchpoints[0].Spec.Metrics = nil
	if made := ForTouchpoint(found.touchpoints[0], found.slos, Options{}); len(made.Diagnosis) > 0 {
		t.Errorf("without metrics: %v", made.Diagnosis)
	}
}

func TestNamesThatAreNoCounters(t *testing.T) {
	t.Parallel()
	for query, want := range map[v1alpha1.Query]string{
		"shop:http_requests:rate5m":     "a rate or a share",
		"shop:http_requests:irate1m":    "a rate or a share",
		"shop:errors:ratio":             "a rate or a share",
		"cache_hit_ratio":               "a rate or a share",
		"build_info":                    "no counter of events",
		"http_requests_created":         "no counter of events",
		"http_requests_total":           "",
		"http_request_duration_s_count": "",
		"http_request_duration_s_sum":   "",
	} {
		read := &reader{namespace: "shop"}
		vector := read.counter("spec.metrics.requests.total", query)
		if want == "" {
			if vector == nil || len(read.problems) > 0 {
				t.Errorf("%s: %v", query, read.problems)
			}
			continue
		}
		if vector != nil || len(read.problems) != 1 || !strings.Contains(read.problems[0].Message, want) || !read.problems[0].Stalled {
			t.Errorf("%s: %v, want one that says %q", query, read.problems, want)
		}
	}
	for query, want := range map[v1alpha1.Query]string{
		`d_seconds_sum{app="a"}`: "d_seconds_bucket, or a native histogram, d_seconds",
		"d_seconds_count":        "d_seconds_bucket, or a native histogram, d_seconds",
		"d_seconds:rate5m":       "a rate or a share",
		"d_seconds_bucket":       "",
		"d_seconds":              "",
	} {
		read := &reader{namespace: "shop"}
		read.histogram(histogramField, query)
		if text := fmt.Sprint(read.problems); (want == "") != (len(read.problems) == 0) || !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %q", query, text, want)
		}
	}
}

func TestComplaintsBecomeProblems(t *testing.T) {
	t.Parallel()
	found := readObjects(t, everyShape)
	touchpoint, metrics := found.touchpoints[0], found.touchpoints[0].Spec.Metrics
	made := []Complaint{
		{Kind: ComplaintUnlabelled, Field: "spec.metrics.surveys[CSAT].responses", Query: QueryID(byLabel(metrics.Surveys[0].Responses, "stars"))},
		{Kind: ComplaintFalls, Field: "spec.metrics.requests.errors", Query: QueryID(metrics.Requests.Errors)},
		{Kind: ComplaintFalls, Field: "spec.metrics.events[orders].good", Query: QueryID("what it was before an edit")},
		{Kind: ComplaintFalls, Field: "spec.metrics.events[none].good", Query: QueryID(metrics.Events[0].Good)},
		{Kind: ComplaintUnlabelled, Field: "spec.metrics.requests.total", Query: QueryID(metrics.Requests.Total)},
	}
	var got []string
	for _, problem := range MetricProblems(touchpoint, made) {
		got = append(got, problem.Field+" "+problem.Reason)
		if !problem.Stalled {
			t.Errorf("%s is not stalled", problem.Field)
		}
	}
	want := []string{"spec.metrics.requests.errors NotACounter", "spec.metrics.surveys[CSAT].responses MissingLabel"}
	if !slices.Equal(got, want) {
		t.Errorf("problems %q, want %q", got, want)
	}

	edges := func(edges ...float64) func(*v1alpha1.Touchpoint) []Complaint {
		return func(*v1alpha1.Touchpoint) []Complaint {
			return []Complaint{{Kind: ComplaintEdge, Field: histogramField, Query: QueryID(metrics.Latency.Histogram), Edges: edges}}
		}
	}
	for _, test := range []struct {
		edges []float64
		want  string
	}{
		{[]float64{0.25, 0.5, 2.5, 10}, "1s is no bucket edge of the histogram of own, whose nearest are 500ms and 2s500ms: promise one of these, or add the edge to the histogram"},
		{[]float64{0.25, 0.5}, "whose nearest is 500ms: promise that"},
		{[]float64{60}, "whose nearest is 1m: promise that"},
		{[]float64{-1, 0, 0.0001, math.NaN(), 1e300}, "which has none that could be promised"},
		{[]float64{0.5, 1}, ""},
	} {
		problems := EdgeProblems(found.slos[0], found.touchpoints[:1], edges(test.edges...))
		if test.want == "" {
			if len(problems) > 0 {
				t.Errorf("%v: %v", test.edges, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Field != "spec.objectives[fast].latency.threshold" || problems[0].Reason != v1alpha1.ReasonNotAnEdge ||
			!strings.Contains(problems[0].Message, test.want) {
			t.Errorf("%v: %+v, want one that says %q", test.edges, problems, test.want)
		}
	}
	before := edges(0.5)(touchpoint)
	touchpoint.Spec.Metrics.Latency.Histogram = "edited_since_bucket"
	if problems := EdgeProblems(found.slos[0], found.touchpoints[:1], func(*v1alpha1.Touchpoint) []Complaint { return before }); len(problems) > 0 {
		t.Errorf("a complaint about the histogram before an edit: %v", problems)
	}
}
