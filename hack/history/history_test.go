package history

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

func group(name, interval string, rules ...monitoringv1.Rule) monitoringv1.RuleGroup {
	d := monitoringv1.Duration(interval)
	return monitoringv1.RuleGroup{Name: name, Interval: &d, Rules: rules}
}

func record(name, expr string, pairs ...string) monitoringv1.Rule {
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(expr), Labels: labels.FromStrings(pairs...).Map()}
}

func open(t *testing.T, start, end time.Time) *History {
	t.Helper()
	h, err := Open(start, end)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// at returns the value of the only series of an expression at a moment, NaN if there
// is none.
func at(t *testing.T, h *History, expr string, moment time.Time) float64 {
	t.Helper()
	matrix, err := h.Range(t.Context(), expr, moment, moment, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	switch len(matrix) {
	case 0:
		return math.NaN()
	case 1:
		return matrix[0].Floats[0].F
	}
	t.Fatalf("%s: %d series", expr, len(matrix))
	return 0
}

func want(t *testing.T, h *History, expr string, moment time.Time, expected float64) {
	t.Helper()
	got := at(t, h, expr, moment)
	if math.Abs(got-expected) > 1e-9 || math.IsNaN(got) != math.IsNaN(expected) {
		t.Errorf("%s at %s is %v, want %v", expr, moment.Format(time.TimeOnly), got, expected)
	}
}

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// counter grows by one at every step.
func counter() func(time.Time) float64 {
	n := -1.0
	return func(time.Time) float64 { n++; return n }
}

func TestEvaluateOrdersRulesByWhatTheyRead(t *testing.T) {
	h := open(t, day, day.Add(6*time.Hour))
	if err := h.AddSeries(labels.FromStrings("__name__", "visits_total", "page", "home"), 30*time.Second, counter()); err != nil {
		t.Fatal(err)
	}
	alert := monitoringv1.Rule{Alert: "TooMany", Expr: intstr.FromString("visits:count1h > 1")}
	groups := []monitoringv1.RuleGroup{
		group("late", "5m", record("visits:count1h", `sum_over_time(visits:count1m[1h])`), alert),
		group("early", "1m",
			record("visits:twice", `2 * {__name__=~"visits:count.+", __name__!="visits:count1h"}`),
			record("visits:count1m", "visits_total - visits_total offset 1m", "page", "front", "tier", "web")),
	}
	var seen []Progress
	if err := h.Evaluate(t.Context(), groups, func(p Progress) { seen = append(seen, p) }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen[0].Record != "visits:count1m" || seen[2].Done != 3 || seen[2].Level < 2 {
		t.Errorf("progress was %+v", seen)
	}
	noon := day.Add(5 * time.Hour)
	want(t, h, `visits:count1m{page="front", tier="web"}`, noon, 2)
	want(t, h, `visits:count1h{page="front", tier="web"}`, noon, 120)
	want(t, h, `visits:twice`, noon, 4)
	// Recorded every 5 minutes, at multiples of them.
	want(t, h, `count_over_time(visits:count1h[1h])`, noon.Add(-time.Minute), 12)
}

func TestGapsBecomeStale(t *testing.T) {
	h := open(t, day, day.Add(3*time.Hour))
	n := 0.0
	err := h.AddSeries(labels.FromStrings("__name__", "visits_total"), 30*time.Second, func(now time.Time) float64 {
		if n++; now.After(day.Add(time.Hour)) && now.Before(day.Add(2*time.Hour)) {
			return math.NaN()
		}
		return n
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Evaluate(t.Context(), []monitoringv1.RuleGroup{group("g", "1m", record("visits:sum", "sum(visits_total)"))}, nil); err != nil {
		t.Fatal(err)
	}
	// The counter is seen for five minutes after its last sample, what is recorded
	// from it not a step longer.
	want(t, h, "visits:sum", day.Add(time.Hour+4*time.Minute), 121)
	want(t, h, "visits:sum", day.Add(time.Hour+5*time.Minute+30*time.Second), math.NaN())
	want(t, h, "visits:sum", day.Add(2*time.Hour+time.Minute), 243)
}

func TestRulesThatReadThemselves(t *testing.T) {
	h := open(t, day, day.Add(time.Hour))
	if err := h.AddSeries(labels.FromStrings("__name__", "visits_total"), 30*time.Second, counter()); err != nil {
		t.Fatal(err)
	}
	groups := []monitoringv1.RuleGroup{group("g", "1m",
		record("ticks", "(ticks offset 1m) + 1 or vector(0)"),
		record("ticks:twice", "2 * ticks"),
	)}
	if err := h.Evaluate(t.Context(), groups, nil); err != nil {
		t.Fatal(err)
	}
	want(t, h, "ticks", day.Add(time.Hour), 60)
	want(t, h, "ticks:twice", day.Add(30*time.Minute), 60)
}

func TestErrorsNameTheRule(t *testing.T) {
	h := open(t, day, day.Add(time.Hour))
	for _, page := range []string{"a", "b"} {
		if err := h.AddSeries(labels.FromStrings("__name__", "visits_total", "page", page), 30*time.Second, counter()); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ expr, message string }{
		{"sum(", "unclosed left parenthesis"},
		{`visits_total * on () visits_total`, "many-to-many"},
		{`sum by (page) (visits_total)`, "same labelset"},
	} {
		err := h.Evaluate(t.Context(), []monitoringv1.RuleGroup{group("shop", "1m", record("bad", test.expr, "page", "one"))}, nil)
		if err == nil || !strings.Contains(err.Error(), "group shop, record bad: ") || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: error is %v", test.expr, err)
		}
	}
}

func TestBlockSpans(t *testing.T) {
	hour := time.Hour.Milliseconds()
	got := fmt.Sprint(blockSpans(17*hour, 45*hour))
	wanted := fmt.Sprint([]span{{17 * hour, 18 * hour}, {18 * hour, 36 * hour}, {36 * hour, 42 * hour}, {42 * hour, 44 * hour}, {44 * hour, 45 * hour}})
	if got != wanted {
		t.Errorf("spans are %s, want %s", got, wanted)
	}
}

// TestPrometheusReadsTheHistory starts a real Prometheus on what was written and
// compares its answers with those of the history, then has it go on by itself.
func TestPrometheusReadsTheHistory(t *testing.T) {
	end := time.Now()
	h := open(t, end.Add(-50*time.Hour), end)
	if err := h.AddSeries(labels.FromStrings("__name__", "visits_total"), 15*time.Second, counter()); err != nil {
		t.Fatal(err)
	}
	groups := []monitoringv1.RuleGroup{group("g", "1m",
		record("visits:count1h", "sum_over_time(visits:count1m[1h])"),
		record("visits:count1m", "visits_total - visits_total offset 1m"),
	)}
	if err := h.Evaluate(t.Context(), groups, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := h.Write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := h.Write(t.Context(), dir); err == nil {
		t.Error("a second history went into the same folder")
	}
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{StorageDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer prometheus.Stop()
	for _, expr := range []string{
		"visits_total", "visits:count1m", "visits:count1h", "count_over_time(visits_total[50h])", "sum_over_time(visits:count1m[49h])",
	} {
		for _, ago := range []time.Duration{0, time.Hour, 20 * time.Hour, 47 * time.Hour} {
			moment := end.Add(-ago)
			value, err := prometheus.Query(t.Context(), expr, moment)
			if err != nil {
				t.Fatal(err)
			}
			vector := value.(model.Vector)
			if len(vector) != 1 {
				t.Fatalf("%s %v ago: %v", expr, ago, vector)
			}
			want(t, h, expr, moment, float64(vector[0].Value))
		}
	}
}
