package observe

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// valued is a sample with a value.
func valued(value float64, labels ...string) *model.Sample {
	s := sample(labels...)
	s.Value = model.SampleValue(value)
	return s
}

// ofBudget is a sample of a budget of the namespace shop.
func ofBudget(value float64, slo, objective, touchpoint string, more ...string) *model.Sample {
	return valued(value, append([]string{"namespace", "shop", "slo", slo, "objective", objective, "touchpoint", touchpoint, "def", "probe/availability"}, more...)...)
}

// inRoster is a sample of the roster of budgets.
func inRoster(allowed float64, slo, objective, touchpoint string) *model.Sample {
	return ofBudget(allowed, slo, objective, touchpoint, "family", "traffic", "window", "4w", "floor", "3")
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

func TestBudgetsAreRead(t *testing.T) {
	f := newFigures()
	good := inRoster(0.01, "checkout", "up", "checkout")
	bad := func(value float64, label model.LabelName, content model.LabelValue) *model.Sample {
		broken := inRoster(value, "checkout", "up", "broken")
		broken.Metric[label] = content
		return broken
	}
	readRoster(&f, model.Vector{
		good, inRoster(0.02, "checkout", "up", "checkout"), inRoster(0.01, "checkout", "up", "search"),
		bad(0.01, "window", "soon"), bad(0.01, "floor", "some"), bad(0.01, "family", "other"), bad(0.01, "slo", ""), bad(0.01, "def", ""),
		bad(0, "slo", "x"), bad(1, "slo", "x"), bad(math.NaN(), "slo", "x"), bad(math.Inf(1), "slo", "x"), bad(-1, "slo", "x"), sample(),
	})
	if len(f.byKey) != 2 {
		t.Fatalf("%d budgets: %+v", len(f.byKey), f.byKey)
	}
	readBudgets(func(b *Budget, value float64) { b.Events = value })(&f, model.Vector{
		ofBudget(1000, "checkout", "up", "checkout"), ofBudget(1000, "unknown", "up", "checkout"), sample(),
	})
	readBudgets(func(b *Budget, value float64) { b.Loss = value })(&f, model.Vector{ofBudget(0.002, "checkout", "up", "checkout")})
	readByCounts(func(b *Budget, value float64) { b.Recent = value })(&f, model.Vector{valued(0.03, "namespace", "shop", "touchpoint", "checkout", "def", "probe/availability"), sample()})
	readFiring(&f, model.Vector{
		valued(1, "namespace", "shop", "slo", "checkout", "objective", "up", "touchpoint", "checkout", "severity", "ticket", "tier", "6h"),
		valued(1, "namespace", "shop", "slo", "checkout", "objective", "up", "touchpoint", "checkout", "severity", "page", "tier", "1h"),
		valued(1, "namespace", "bank", "slo", "checkout", "objective", "up", "touchpoint", "search", "severity", "page", "tier", "1h"),
	})
	readCoverage(&f, model.Vector{ofBudget(0.5, "checkout", "up", "checkout")})
	f.arrange()
	seen := f.bySLO[named("checkout")]
	if len(seen) != 2 || len(f.byTouchpoint[named("checkout")]) != 1 || f.byTouchpoint[named("search")][0] != seen[1] {
		t.Fatalf("%+v", f)
	}
	got := *seen[0]
	want := "{checkout up checkout probe/availability traffic 672h0m0s 3 0.01 0.002 0.03 1000 0.5 [page 1h ticket 6h]}"
	if text := fmt.Sprint(got); text != want || got.State() != budget.AtRisk {
		t.Errorf("%s, want %s; %s", text, want, got.State())
	}
	if silent := seen[1]; silent.State() != budget.NoData || !math.IsNaN(silent.Remaining()) || !math.IsNaN(silent.BurnRate()) || len(silent.Firing) > 0 {
		t.Errorf("%+v", silent)
	}
}

func TestExperienceIsRead(t *testing.T) {
	f := newFigures()
	of := func(value float64, series, source string, more ...string) *model.Sample {
		return valued(value, append([]string{"__name__", series, "namespace", "shop", "touchpoint", "checkout", "source", source}, more...)...)
	}
	readExperience(&f, model.Vector{
		// The team's own metrics win over a probe, whatever comes first.
		of(7, rules.ExperienceVisits, "metric"), of(60, rules.ExperienceVisits, "probe"), of(1, rules.ExperienceFailures, "metric"),
		of(0.1, rules.ExperienceP50, "probe"), of(math.NaN(), rules.ExperienceP95, "probe"), of(math.Inf(1), rules.ExperienceP95, "probe"), of(-1, rules.ExperienceP95, "probe"),
		of(40, rules.ExperienceAnswers, "survey", "instrument", "ces"), of(30, rules.ExperienceGood, "survey", "instrument", "ces"),
		of(4, rules.ExperienceBad, "survey", "instrument", "ces"), of(200, rules.ExperiencePoints, "survey", "instrument", "ces"),
		valued(1, "__name__", rules.ExperienceVisits, "namespace", "shop"), sample(),
	})
	if len(f.experiences) != 1 {
		t.Fatalf("%+v", f.experiences)
	}
	e := f.experiences[named("checkout")]
	if e.Visits != 7 || e.Failures != 1 || e.P50 != 0.1 || !math.IsNaN(e.P95) || len(e.Answers) != 1 {
		t.Errorf("%+v", e)
	}
	if got := e.Answers[v1alpha1.InstrumentCES]; got != (Answers{All: 40, Good: 30, Bad: 4, Points: 200}) {
		t.Errorf("%+v", got)
	}
}

func TestJourneysAreRead(t *testing.T) {
	f := newFigures()
	readJourneys(&f, model.Vector{
		valued(-3.5, "__name__", rules.JourneyKPI, "namespace", "shop", "journey", "purchase", "kpi", "margin"),
		valued(12, "__name__", rules.JourneyEntries, "namespace", "shop", "journey", "purchase", "stage", "find"),
		valued(math.NaN(), "__name__", rules.JourneyKPI, "namespace", "shop", "journey", "purchase", "kpi", "nothing"),
		valued(1, "__name__", rules.JourneyKPI, "namespace", "shop"), sample(),
	})
	if got, want := fmt.Sprint(*f.journeys[named("purchase")]), "{map[margin:-3.5] map[find:12]}"; got != want || len(f.journeys) != 1 {
		t.Errorf("%s, want %s: %v", got, want, f.journeys)
	}
}

// A Prometheus that was away has missed evaluations: what it does not show may only be late.
func TestSilenceSaysNothingForAWhile(t *testing.T) {
	o := newObserver(t, Options{URL: "http://127.0.0.1:1"}, logr.Discard())
	now := time.Now()
	o.now = func() time.Time { return now }
	take := func(samples ...*model.Sample) {
		f := newFigures()
		readRoster(&f, samples)
		for _, s := range samples {
			if value, has := s.Metric["loss"]; has && value != "" {
				f.byKey[keyOf(s)].Loss, f.byKey[keyOf(s)].Events = 0.5, 100
			}
		}
		o.takeFigures(f)
	}
	whole, empty := inRoster(0.01, "checkout", "up", "checkout"), inRoster(0.01, "checkout", "up", "checkout")
	whole.Metric["loss"] = "yes"
	other := inRoster(0.01, "checkout", "up", "search")
	take(whole, other)
	o.judge(failure{reasonTimeout, fmt.Errorf("slow")})
	o.judge(nil)
	take(empty)
	if seen := o.BudgetsOf(named("checkout")); len(seen) != 2 || seen[0].Loss != 0.5 {
		t.Errorf("forgotten at once: %+v", seen)
	}
	if len(o.BudgetsAt(named("search"))) != 1 {
		t.Error("search is forgotten")
	}
	now = now.Add(o.options.Standing + time.Second)
	take(empty)
	if seen := o.BudgetsOf(named("checkout")); len(seen) != 1 || !math.IsNaN(seen[0].Loss) {
		t.Errorf("never forgotten: %+v", seen)
	}
}

func TestWhatIsAskedSeldomIsKept(t *testing.T) {
	before, now := newFigures(), newFigures()
	before.experiences[named("checkout")], before.journeys[named("purchase")] = experience(), &Journey{}
	before.coverage[keyOf(inRoster(0.01, "checkout", "up", "checkout"))] = 0.7
	readRoster(&now, model.Vector{inRoster(0.01, "checkout", "up", "checkout")})
	now.keepSlow(before)
	now.arrange()
	if now.experiences[named("checkout")] == nil || now.journeys[named("purchase")] == nil || now.bySLO[named("checkout")][0].Coverage != 0.7 {
		t.Errorf("%+v", now)
	}
}
