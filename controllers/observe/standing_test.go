package observe

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

var (
	nan   = math.NaN()
	begin = metav1.NewTime(time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC))
)

func momentAt(now metav1.Time) Moment {
	return Moment{Health: Health{Asked: true, Known: true}, Generation: 1, Now: now}
}

// visits is a budget of traffic of which 1 % may be lost.
func visits(objective, touchpoint string, loss float64) *Budget {
	return &Budget{
		SLO: "checkout", Objective: objective, Touchpoint: touchpoint, Def: "probe/availability",
		Family: budget.Traffic, Window: 28 * 24 * time.Hour, Floor: 3,
		Allowed: 0.01, Loss: loss, Recent: loss, Events: 10000, Coverage: 1,
	}
}

// answers is a budget of a survey of which a fifth may be lost.
func answers(loss, n float64) *Budget {
	return &Budget{
		SLO: "checkout", Objective: "effort", Touchpoint: "checkout", Def: "survey/ces/share",
		Family: budget.Survey, Window: 28 * 24 * time.Hour, Floor: 30,
		Allowed: 0.2, Loss: loss, Recent: nan, Events: n, Coverage: 1,
	}
}

func silent(objective, touchpoint string) *Budget {
	b := visits(objective, touchpoint, nan)
	b.Events, b.Coverage = nan, nan
	return b
}

func atRisk(b *Budget) *Budget {
	b.Firing = []string{"page 1h"}
	return b
}

func TestJudged(t *testing.T) {
	for want, budgets := range map[string][]*Budget{
		"Unknown NothingPromised there is no budget to judge":                            {},
		"True Kept every budget is kept":                                                 {visits("up", "checkout", 0.002), answers(0.1, 200)},
		"True AtRisk kept so far, but an alert fires: up at search":                      {visits("up", "checkout", 0.002), atRisk(visits("up", "search", 0.009))},
		"False Breached the budget is spent, and not by chance: up at checkout":          {visits("up", "checkout", 0.02), answers(0.25, 40)},
		"Unknown Inconclusive the budget looks spent, which may be chance: effort":       {visits("up", "search", 0), answers(0.25, 40)},
		"Unknown InsufficientData too few answers to judge by: effort":                   {silent("up", "search"), answers(0.9, 29)},
		"Unknown NoData nothing was measured within the window: up at checkout":          {silent("up", "checkout"), answers(0.1, 200)},
		"False Breached the budget is spent, and not by chance: a at x, b at x, c at x,": {visits("a", "x", 1), visits("b", "x", 1), visits("c", "x", 1), visits("d", "x", 1), visits("e", "x", 1), visits("f", "x", 1)},
	} {
		got := judged(v1alpha1.ConditionMet, budgets, func(b *Budget) string { return b.Objective + " at " + b.Touchpoint })
		if text := string(got.Status) + " " + got.Reason + " " + got.Message; !strings.HasPrefix(text, want) {
			t.Errorf("%s, want %s", text, want)
		}
	}
}

func watch(objective, def string, allowed float64, touchpoints ...string) rules.Watch {
	return rules.Watch{
		Objective: objective, Def: def, Family: budget.Traffic, Touchpoints: touchpoints, Allowed: allowed,
		Value: func(loss float64) float64 { return 100 * (1 - loss) },
	}
}

func TestOfSLO(t *testing.T) {
	watched := []rules.Watch{watch("up", "probe/availability", 0.01, "checkout", "search"), watch("effort", "survey/ces/share", 0.2, "checkout")}
	seen := []*Budget{visits("up", "checkout", 0.0234), visits("up", "search", 0.0012), answers(0.1, 203)}
	var status v1alpha1.ExperienceSLOStatus
	status.Conditions = OfSLO(&status, watched, seen, "28d", momentAt(begin))
	if got := status.States; got == nil || *got != (v1alpha1.BudgetStates{Met: 2, Breached: 1}) || status.Remaining != "-134" {
		t.Errorf("states %+v, remaining %s", got, status.Remaining)
	}
	want := []v1alpha1.BudgetStatus{
		{Objective: "up", Touchpoint: "checkout", State: "Breached", Value: "97.7", Events: 10000, Remaining: "-134", BurnRate: "2.3"},
		{Objective: "effort", Touchpoint: "checkout", State: "Met", Value: "90", Lower: "84", Upper: "93.9", Events: 200, Remaining: "50"},
		{Objective: "up", Touchpoint: "search", State: "Met", Value: "99.9", Events: 10000, Remaining: "88"},
	}
	if !equality.Semantic.DeepEqual(status.Worst, want) {
		t.Errorf("worst %+v\nwant %+v", status.Worst, want)
	}
	for condition, want := range map[string]metav1.ConditionStatus{"Met": "False", "RulesLoaded": "True", "WindowCovered": "True", "Observed": "True"} {
		if !meta.IsStatusConditionPresentAndEqual(status.Conditions, condition, want) {
			t.Errorf("%s is not %s: %+v", condition, want, status.Conditions)
		}
	}

	// What moves by less than its rounding is not written.
	later := momentAt(metav1.NewTime(begin.Add(time.Hour)))
	moved := status.DeepCopy()
	moved.Conditions = OfSLO(moved, watched, []*Budget{visits("up", "checkout", 0.02345), visits("up", "search", 0.00125), answers(0.101, 207)}, "28d", later)
	if !equality.Semantic.DeepEqual(*moved, status) {
		t.Errorf("%+v\nbefore: %+v", moved, status)
	}
	moved.Conditions = OfSLO(moved, watched, []*Budget{visits("up", "checkout", 0.0234), visits("up", "search", 0.0015), answers(0.1, 203)}, "28d", later)
	if moved.Worst[2].Remaining != "85" || moved.Worst[0].Remaining != "-134" {
		t.Errorf("%+v", moved.Worst)
	}

	// Nothing is known before Prometheus has answered, and what was known stays.
	before := status.DeepCopy()
	before.Conditions = OfSLO(before, watched, nil, "28d", Moment{Health: Health{Asked: true}, Generation: 1, Now: later.Now})
	if !equality.Semantic.DeepEqual(*before, status) {
		t.Errorf("%+v\nbefore: %+v", before, status)
	}
	gone := Moment{Health: Health{Asked: true, Known: true, Reason: reasonTimeout, Since: begin.Time}, Generation: 1, Now: later.Now}
	before.Conditions = OfSLO(before, watched, nil, "28d", gone)
	observed := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionObserved)
	if observed == nil || observed.Status != metav1.ConditionFalse || observed.Reason != "PrometheusTimeout" || !strings.Contains(observed.Message, "as of 2026-11-22T03:00:00Z") {
		t.Errorf("%+v", observed)
	}
	if !equality.Semantic.DeepEqual(before.Worst, status.Worst) || !meta.IsStatusConditionFalse(before.Conditions, "Met") {
		t.Errorf("the last figures are lost: %+v", before)
	}
	// Without a Prometheus nothing is said.
	if conditions := OfSLO(before, watched, seen, "28d", Moment{}); conditions != nil || before.States != nil || before.Worst != nil || before.Remaining != "" {
		t.Errorf("%+v, %+v", conditions, before)
	}
}

func TestOnlyTheWorstAreListed(t *testing.T) {
	var names []string
	var seen []*Budget
	for i := range 1000 {
		name := "t" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		names = append(names, name)
		seen = append(seen, visits("up", name, float64(i)/1e5))
	}
	var status v1alpha1.ExperienceSLOStatus
	status.Conditions = OfSLO(&status, []rules.Watch{watch("up", "probe/availability", 0.01, names...)}, seen, "28d", momentAt(begin))
	if len(status.Worst) != 20 || status.Worst[0].Remaining != "0" || status.States.Met != 1000 {
		t.Errorf("%+v %+v", status.States, status.Worst)
	}
}

func TestLoaded(t *testing.T) {
	watched := []rules.Watch{watch("up", "probe/availability", 0.01, "checkout", "search")}
	var status v1alpha1.ExperienceSLOStatus
	for _, step := range []struct {
		after time.Duration
		seen  []*Budget
		want  string
	}{
		{0, nil, "Unknown Loading"},
		{LoadingTime - time.Second, nil, "Unknown Loading"},
		{LoadingTime, nil, "False NotLoaded"},
		{LoadingTime, []*Budget{visits("up", "checkout", 0)}, "False NotLoaded"},
		{LoadingTime, []*Budget{visits("up", "checkout", 0), visits("up", "search", 0)}, "True Loaded"},
		{2 * LoadingTime, []*Budget{visits("up", "checkout", 0)}, "Unknown Loading"},
		{3 * LoadingTime, []*Budget{visits("up", "checkout", 0)}, "False NotLoaded"},
	} {
		status.Conditions = OfSLO(&status, watched, step.seen, "28d", momentAt(metav1.NewTime(begin.Add(step.after))))
		loaded := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRulesLoaded)
		if got := string(loaded.Status) + " " + loaded.Reason; got != step.want {
			t.Errorf("after %v: %s, want %s", step.after, got, step.want)
		}
		if len(step.seen) == 0 && loaded.Reason == v1alpha1.ReasonNotLoaded && !strings.Contains(loaded.Message, "ruleSelector") {
			t.Error(loaded.Message)
		}
	}
	// The meaning of a loss has changed, and what is shown is the old one.
	old := visits("up", "checkout", 0)
	old.Def = "metric/availability"
	status = v1alpha1.ExperienceSLOStatus{}
	status.Conditions = OfSLO(&status, watched, []*Budget{old}, "28d", momentAt(begin))
	if status.States.NoData != 2 {
		t.Errorf("%+v", status.States)
	}
}

func TestWindowCovered(t *testing.T) {
	for coverage, want := range map[float64]string{1: "whole window", 0.995: "whole window", 0.5: "of 14 days, not of the window's 28d", 0.001: "less than a day", 0.04: "of a day,"} {
		b := visits("up", "checkout", 0)
		b.Coverage = coverage
		condition, known := windowCovered([]*Budget{b, visits("up", "search", 0)}, "28d")
		if !known || !strings.Contains(condition.Message, want) || (condition.Status == metav1.ConditionTrue) != (coverage > 0.99) {
			t.Errorf("%v: %+v", coverage, condition)
		}
	}
	if _, known := windowCovered([]*Budget{silent("up", "checkout")}, "28d"); known {
		t.Error("something is known of nothing")
	}
}

func experience() *Experience {
	return &Experience{Visits: 1200, Failures: 12, P50: 0.0821, P95: 0.412, Answers: map[v1alpha1.InstrumentType]Answers{
		v1alpha1.InstrumentCES: {All: 200, Good: 160, Bad: 20, Points: 1100}, v1alpha1.InstrumentNPS: {All: 100, Good: 50, Bad: 20},
	}}
}

func TestOfTouchpoint(t *testing.T) {
	spec := &v1alpha1.TouchpointSpec{
		Expectation: &v1alpha1.Expectation{Net: "60%"},
		Gaps:        &v1alpha1.DeclaredGaps{Listening: "-5%", Communication: "-2.5%"},
	}
	var status v1alpha1.TouchpointStatus
	budgets := []*Budget{visits("up", "checkout", 0.02), visits("fast", "checkout", 0.001)}
	status.Conditions = OfTouchpoint(&status, spec, experience(), budgets, momentAt(begin))
	want := v1alpha1.TouchpointStatus{
		// Four in five find it easy; NPS 30 is a loss of 0.35; the budget that is kept worst
		// burns at 2, where 13.44 would page.
		Score: "79",
		Experience: &v1alpha1.Experience{
			Availability: &v1alpha1.ShareFigure{Percent: "99", Lower: "98.1", Upper: "99.5", Events: 1200},
			Latency:      &v1alpha1.LatencyFigure{P50Seconds: "0.082", P95Seconds: "0.41"},
			CES:          &v1alpha1.EffortFigure{Instrument: "CES", Mean: "5.5", EasePercent: "80", Lower: "72.7", Upper: "85.7", Net: "70", Events: 200},
			NPS:          &v1alpha1.NetFigure{Points: "30", Lower: "6.8", Upper: "50.1", Events: 100},
			Net:          &v1alpha1.NetFigure{Points: "56.7", Lower: "44.7", Upper: "66.7", Events: 300},
		},
		Satisfaction: &v1alpha1.Satisfaction{Points: "-3.3", Sign: "="},
		Gaps: []v1alpha1.GapStatus{
			{Gap: "1-Listening", Points: "-5", Source: "Declared"},
			{Gap: "3-Performance", Points: "-1", Source: "Computed", From: "checkout/up: promised 99% good, delivered 98%"},
			{Gap: "4-Communication", Points: "-2.5", Source: "Declared"},
			{Gap: "5-Customer", Points: "-3.3", Source: "Computed", From: "net experience expected 60%, perceived 56.7%"},
		},
		Conditions: status.Conditions,
	}
	if !equality.Semantic.DeepEqual(status, want) {
		t.Errorf("%+v %+v\nwant %+v %+v", status, status.Experience, want, want.Experience)
	}
	if !meta.IsStatusConditionFalse(status.Conditions, v1alpha1.ConditionHealthy) {
		t.Errorf("%+v", status.Conditions)
	}

	// A few more customers of the same mind change nothing.
	later := momentAt(metav1.NewTime(begin.Add(time.Hour)))
	more := experience()
	more.Visits, more.Failures, more.P95 = 1210, 12.5, 0.42
	more.Answers[v1alpha1.InstrumentCES] = Answers{All: 204, Good: 163, Bad: 20, Points: 1124}
	steady := status.DeepCopy()
	steady.Conditions = OfTouchpoint(steady, spec, more, budgets, later)
	if !equality.Semantic.DeepEqual(*steady, status) {
		t.Errorf("%+v %+v\nbefore: %+v %+v", steady, steady.Experience, status, status.Experience)
	}
	// Declared gaps need no Prometheus.
	OfTouchpoint(steady, spec, nil, nil, Moment{})
	if len(steady.Gaps) != 2 || steady.Experience != nil || steady.Score != "" {
		t.Errorf("%+v", steady)
	}
}

func TestSatisfaction(t *testing.T) {
	for _, c := range []struct{ points, lower, upper, sign, want string }{
		{"70", "65", "75", "+", "10"}, {"50", "45", "55", "-", "-10"}, {"70", "55", "80", "=", "10"},
	} {
		net := &v1alpha1.NetFigure{Points: v1alpha1.Figure(c.points), Lower: v1alpha1.Figure(c.lower), Upper: v1alpha1.Figure(c.upper)}
		got := satisfaction(&v1alpha1.Experience{Net: net}, &v1alpha1.Expectation{Net: "60%"})
		if got == nil || got.Sign != c.sign || string(got.Points) != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if satisfaction(nil, &v1alpha1.Expectation{Net: "60%"}) != nil || satisfaction(&v1alpha1.Experience{}, &v1alpha1.Expectation{Description: "x"}) != nil {
		t.Error("satisfied by nothing")
	}
}

func TestSmallSamplesMakeNoScore(t *testing.T) {
	few := &Experience{Visits: nan, Answers: map[v1alpha1.InstrumentType]Answers{v1alpha1.InstrumentCES: {All: 29, Bad: 29}, v1alpha1.InstrumentCSAT: {All: 29}}}
	if got := ScoreOf(few, []*Budget{answers(0.9, 29), silent("up", "checkout")}); !math.IsNaN(got.Value) {
		t.Errorf("%+v", got)
	}
	if got := ScoreOf(nil, nil); !math.IsNaN(got.Value) {
		t.Errorf("%+v", got)
	}
	if got := ScoreOf(nil, []*Budget{visits("up", "checkout", 0.5)}); got.Value != 0 {
		t.Errorf("%+v", got)
	}
}

func TestOfJourney(t *testing.T) {
	spec := &v1alpha1.JourneySpec{
		Scoring: "PeakEnd",
		Stages: []v1alpha1.Stage{
			{Name: "find", Entries: "found_total"}, {Name: "buy", Entries: "bought_total"}, {Name: "empty"},
		},
		KPIs: []v1alpha1.KPI{{Name: "revenue", Target: ">= 100"}, {Name: "wait", Target: "<= 5"}, {Name: "lost"}},
	}
	stop := func(name string, score float64, budgets ...*Budget) Stop {
		return Stop{Name: name, Weight: 1, Score: Score{Value: score, Kept: score / 100, Ease: nan, Satisfied: nan}, Budgets: budgets}
	}
	bad := visits("up", "pay", 0.5)
	stages := [][]Stop{
		{stop("search", 90, visits("up", "search", 0)), stop("page", nan, silent("up", "page"))},
		{stop("bank/pay", 20, bad), stop("search", 90), stop("thanks", 80, atRisk(visits("up", "thanks", 0)))},
		nil,
	}
	recorded := &Journey{KPIs: map[string]float64{"revenue": 123.456, "wait": 7}, Entries: map[string]float64{"find": 1234, "buy": 432, "empty": 5}}
	var status v1alpha1.JourneyStatus
	status.Conditions = OfJourney(&status, spec, stages, recorded, momentAt(begin))
	yes, no, found, bought := true, false, int64(1200), int64(430)
	want := v1alpha1.JourneyStatus{
		Score:   "50",
		Weakest: &v1alpha1.WeakestTouchpoint{Name: "bank/pay", Score: "20", Why: "checkout/up is Breached"},
		Budgets: &v1alpha1.JourneyBudgets{Met: 2, Breached: 1, Unknown: 1},
		Stages: []v1alpha1.StageStatus{
			{Name: "find", Score: "90", Budgets: &v1alpha1.JourneyBudgets{Met: 1, Unknown: 1}, Entries: &found},
			{Name: "buy", Score: "63", Budgets: &v1alpha1.JourneyBudgets{Met: 1, Breached: 1}, Entries: &bought, ConversionPercent: "35", DropOffPercent: "65"},
			{Name: "empty"},
		},
		KPIs: []v1alpha1.KPIStatus{
			{Name: "revenue", Value: "123", Target: ">= 100", Reached: &yes},
			{Name: "wait", Value: "7", Target: "<= 5", Reached: &no},
		},
		Conditions: status.Conditions,
	}
	if !equality.Semantic.DeepEqual(status, want) {
		t.Errorf("%+v %+v\nwant %+v %+v", status, status.Weakest, want, want.Weakest)
	}
	healthy := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionHealthy)
	if healthy == nil || healthy.Message != "the budget is spent, and not by chance: checkout/up at bank/pay" {
		t.Errorf("%+v", healthy)
	}

	// One that is lower by a hair does not become the weakest.
	stages[0] = append(stages[0], stop("hair", 19.8))
	recorded = &Journey{KPIs: map[string]float64{"revenue": 123.9, "wait": 7}, Entries: map[string]float64{"find": 1240, "buy": 434}}
	steady := status.DeepCopy()
	steady.Conditions = OfJourney(steady, spec, stages, recorded, momentAt(metav1.NewTime(begin.Add(time.Hour))))
	steady.Stages[0].Score = status.Stages[0].Score
	if !equality.Semantic.DeepEqual(*steady, status) {
		t.Errorf("%+v %+v\nbefore: %+v", steady, steady.Weakest, status)
	}
}

func TestFigures(t *testing.T) {
	for want, got := range map[v1alpha1.Figure]v1alpha1.Figure{
		"0": significant(0, 2), "1200": significant(1234, 2), "0.012": significant(0.01234, 2), "-13": significant(-12.6, 2),
		"99.95": decimal(99.9499, 2), "1": decimal(1.0, 3), "999999999999999": decimal(1e30, 0), "0.000001": significant(0.000001, 2),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if decimal(-0.0001, 2) != "0" {
		t.Error("minus nought")
	}
	for _, reason := range reasons {
		text := conditionReason(reason)
		if strings.ContainsAny(text, "_ ") || slices.Contains(reasons, text) {
			t.Error(text)
		}
	}
}
