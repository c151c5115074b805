package observe

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// Budget is what Prometheus shows of one budget. What it does not show is NaN.
type Budget struct {
	// SLO and Objective name the promise, Touchpoint where it is made; all of them are in
	// one namespace. Def is the meaning of a loss.
	SLO, Objective, Touchpoint, Def string
	Family                          budget.Family
	Window                          time.Duration
	// Floor is the least number of events, or for traffic of losses, of alerts.
	Floor int
	// Allowed is the mean loss that is allowed, and Loss that of the window; Recent is the
	// lesser of those of the last hour and the last five minutes. All are per event.
	Allowed, Loss, Recent float64
	// Events is how many the window holds.
	Events float64
	// Coverage is the part of the window of which the counts are known, 0 to 1.
	Coverage float64
	// Firing are the alerts, such as "page 1h", in alphabetical order.
	Firing []string
}

// State judges the budget.
func (b *Budget) State() budget.State {
	if math.IsNaN(b.Loss) || math.IsNaN(b.Events) {
		return budget.NoData
	}
	return budget.Judge(b.Family, b.Loss*b.Events, b.Events, b.Allowed, float64(b.Floor), len(b.Firing) > 0)
}

// Remaining is the part of the budget that is left, at most 1; NaN if nothing is known.
func (b *Budget) Remaining() float64 { return budget.Remaining(b.Loss, b.Allowed) }

// BurnRate is how many times as fast as it may the budget burns just now; of surveys, of
// which there are too few for that, over the window. NaN if nothing is known.
func (b *Budget) BurnRate() float64 {
	if b.Family == budget.Survey {
		return budget.BurnRate(b.Loss, b.Allowed)
	}
	return budget.BurnRate(b.Recent, b.Allowed)
}

// Kept tells how well the budget is kept just now, 0 to 1 (budget.Kept); NaN if nothing is
// known.
func (b *Budget) Kept() float64 {
	burn := b.BurnRate()
	if math.IsNaN(burn) {
		return burn
	}
	return budget.Kept(burn, budget.AlarmingBurn(b.Family, budget.Tiers(b.Family, b.Window), b.Allowed, b.Floor))
}

// Answers are those to one instrument.
type Answers struct {
	All, Good, Bad float64
	// Points is the sum of the scores, of CES and CES1.
	Points float64
}

// Experience is what Prometheus shows of a touchpoint. What it does not show is NaN.
type Experience struct {
	Visits, Failures float64
	// P50 and P95 are in seconds.
	P50, P95 float64
	// Answers are by instrument.
	Answers map[v1alpha1.InstrumentType]Answers
}

// Journey is what Prometheus shows of a journey: of KPIs by name their value, and of
// stages the entries of a day.
type Journey struct{ KPIs, Entries map[string]float64 }

// figures is what a round of questions found out. It does not change any more once it is
// shown.
type figures struct {
	bySLO        map[types.NamespacedName][]*Budget
	byTouchpoint map[types.NamespacedName][]*Budget
	experiences  map[types.NamespacedName]*Experience
	journeys     map[types.NamespacedName]*Journey
	// coverage is by budget.
	coverage map[budgetKey]float64
	byKey    map[budgetKey]*Budget
}

// budgetKey tells a budget from all others.
type budgetKey struct{ namespace, slo, objective, touchpoint, def string }

func newFigures() figures {
	return figures{
		bySLO: map[types.NamespacedName][]*Budget{}, byTouchpoint: map[types.NamespacedName][]*Budget{},
		experiences: map[types.NamespacedName]*Experience{}, journeys: map[types.NamespacedName]*Journey{},
		coverage: map[budgetKey]float64{}, byKey: map[budgetKey]*Budget{},
	}
}

// keepSlow takes over what was not asked for.
func (f *figures) keepSlow(from figures) {
	f.experiences, f.journeys, f.coverage = from.experiences, from.journeys, from.coverage
}

// question is one that is asked for all objects at once.
type question struct {
	expr string
	read func(*figures, model.Vector)
}

// within is a range that holds the last sample of what is written every five minutes, every
// quarter of an hour, or every half, even if one evaluation was missed.
const within, withinQuarter, withinLong = "11m", "31m", "61m"

const budgetLabels = "namespace, slo, objective, touchpoint, def"

// The series of what touchpoints lost, and of all their events, but for the window.
const lossesOver, eventsOver = "sojourn:touchpoint_losses:sum", "sojourn:touchpoint_events:sum"

// lately is what a series of budgets was when it was last written within a span.
func (o *Observer) lately(series, span string) string {
	return fmt.Sprintf("max by (%s) (last_over_time(%s[%s]))", budgetLabels, o.selector(series), span)
}

// questions are asked in this order: the first tells which budgets there are.
func (o *Observer) questions() []question {
	mean := func(span string) string {
		traffic := `def!~"survey/.*|metric/(ces|ces1|csat|nps)/.*"`
		return fmt.Sprintf("(%s / (%s > 0))", o.selector(lossesOver+span, traffic), o.selector(eventsOver+span, traffic))
	}
	alerts := fmt.Sprintf("alertname=~%q", rules.AlertBudgetBurn+"|"+rules.AlertSurveyBurn)
	return []question{
		{fmt.Sprintf("max by (%s, family, window, floor) (%s)", budgetLabels, o.selector(rules.Budget)), readRoster},
		{o.lately(rules.SampleSize, within), readBudgets(func(b *Budget, value float64) { b.Events = value })},
		{o.lately(rules.MeanLoss, within), readBudgets(func(b *Budget, value float64) { b.Loss = value })},
		{fmt.Sprintf("%s < %s or %s", mean("5m"), mean("1h"), mean("1h")), readByCounts(func(b *Budget, value float64) { b.Recent = value })},
		{fmt.Sprintf("max by (namespace, slo, objective, touchpoint, severity, tier) (%s)", o.selector("ALERTS", `alertstate="firing"`, alerts)), readFiring},
	}
}

// newQuestions are asked of budgets that are new, whose namespaces are these. How they stand
// over their window is recorded every five minutes; until then the last hour, added up here of
// what is counted every minute, is all there is of the window. It is not where the same is
// counted for longer, because of another promise: an hour must not be taken for a month.
func (o *Observer) newQuestions(namespaces []string) []question {
	const counts = "namespace, touchpoint, def"
	here := fmt.Sprintf("namespace=~%q", oneOf(namespaces))
	hour := func(series string) string { return fmt.Sprintf("sum_over_time(%s[1h])", o.selector(series, here)) }
	lost, all := hour("sojourn:touchpoint_losses:count1m"), hour("sojourn:touchpoint_events:count1m")
	long := o.selector("", fmt.Sprintf(`__name__=~"%s[0-9]+d"`, eventsOver))
	young := func(expr string) string {
		return fmt.Sprintf("%s unless on (%s) last_over_time(%s[%s])", expr, counts, long, withinLong)
	}
	return []question{
		{young(all), readByCounts(func(b *Budget, value float64) { b.Events = value })},
		{young(fmt.Sprintf("(%s / (%s > 0))", lost, all)), readByCounts(func(b *Budget, value float64) { b.Loss = value })},
	}
}

// slowQuestions ask for what changes slowly.
func (o *Observer) slowQuestions() []question {
	asked := []question{
		{o.lately(rules.Coverage, withinLong), readCoverage},
		{fmt.Sprintf("last_over_time(%s[%s])", o.selector("", fmt.Sprintf("__name__=~%q", rules.JourneyKPI+"|"+rules.JourneyEntries)), withinQuarter), readJourneys},
	}
	// One by one: ten thousand touchpoints make two megabytes of each answer.
	for _, series := range rules.ExperienceSeries {
		asked = append(asked, question{fmt.Sprintf("last_over_time(%s[%s])", o.selector(series), within), readExperience})
	}
	return asked
}

// intern keeps one copy of each name.
func intern(sample *model.Sample, name model.LabelName) string {
	return unique.Make(string(sample.Metric[name])).Value()
}

func keyOf(sample *model.Sample) budgetKey {
	return budgetKey{
		namespace: intern(sample, "namespace"), slo: intern(sample, "slo"), objective: intern(sample, "objective"),
		touchpoint: intern(sample, "touchpoint"), def: intern(sample, "def"),
	}
}

func touchpointOf(sample *model.Sample) types.NamespacedName {
	return types.NamespacedName{Namespace: intern(sample, "namespace"), Name: intern(sample, "touchpoint")}
}

// readRoster reads which budgets there are. What lacks a label is none of ours.
func readRoster(f *figures, answer model.Vector) {
	for _, sample := range answer {
		key := keyOf(sample)
		window, err := model.ParseDuration(label(sample, "window"))
		floor, noFloor := strconv.Atoi(label(sample, "floor"))
		family := budget.Family(intern(sample, "family"))
		allowed := float64(sample.Value)
		if slices.Contains([]string{key.namespace, key.slo, key.objective, key.touchpoint, key.def}, "") || err != nil || noFloor != nil ||
			family != budget.Traffic && family != budget.Survey || !(allowed > 0 && allowed < 1) {
			continue
		}
		// After an edit of the window or the floor, both stand side by side for minutes.
		if f.byKey[key] != nil {
			continue
		}
		nan := math.NaN()
		f.byKey[key] = &Budget{
			SLO: key.slo, Objective: key.objective, Touchpoint: key.touchpoint, Def: key.def,
			Family: family, Window: time.Duration(window), Floor: floor,
			Allowed: allowed, Loss: nan, Recent: nan, Events: nan, Coverage: nan,
		}
	}
}

func readBudgets(set func(*Budget, float64)) func(*figures, model.Vector) {
	return func(f *figures, answer model.Vector) {
		for _, sample := range answer {
			if b := f.byKey[keyOf(sample)]; b != nil {
				set(b, float64(sample.Value))
			}
		}
	}
}

// readByCounts reads what is known of touchpoints' counts; all budgets with that meaning
// share it.
func readByCounts(set func(*Budget, float64)) func(*figures, model.Vector) {
	type countKey struct{ namespace, touchpoint, def string }
	return func(f *figures, answer model.Vector) {
		counts := make(map[countKey]float64, len(answer))
		for _, sample := range answer {
			counts[countKey{label(sample, "namespace"), label(sample, "touchpoint"), label(sample, "def")}] = float64(sample.Value)
		}
		for key, b := range f.byKey {
			if value, known := counts[countKey{key.namespace, key.touchpoint, key.def}]; known {
				set(b, value)
			}
		}
	}
}

func readFiring(f *figures, answer model.Vector) {
	firing := map[budgetKey][]string{}
	for _, sample := range answer {
		key := keyOf(sample)
		firing[key] = append(firing[key], label(sample, "severity")+" "+label(sample, "tier"))
	}
	for key, b := range f.byKey {
		key.def = "" // alerts do not show it
		b.Firing = firing[key]
		slices.Sort(b.Firing)
	}
}

func readCoverage(f *figures, answer model.Vector) {
	for _, sample := range answer {
		f.coverage[keyOf(sample)] = float64(sample.Value)
	}
}

// readExperience prefers the touchpoint's own metrics to what a probe or a survey says.
func readExperience(f *figures, answer model.Vector) {
	slices.SortStableFunc(answer, func(a, b *model.Sample) int {
		// metric comes last, and so stands.
		rank := func(s *model.Sample) int {
			if label(s, "source") == "metric" {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for _, sample := range answer {
		touchpoint := touchpointOf(sample)
		value := float64(sample.Value)
		if touchpoint.Namespace == "" || touchpoint.Name == "" || math.IsNaN(value) || math.IsInf(value, 0) || value < 0 {
			continue
		}
		e := f.experiences[touchpoint]
		if e == nil {
			nan := math.NaN()
			e = &Experience{Visits: nan, Failures: nan, P50: nan, P95: nan, Answers: map[v1alpha1.InstrumentType]Answers{}}
			f.experiences[touchpoint] = e
		}
		instrument := v1alpha1.InstrumentType(strings.ToUpper(intern(sample, "instrument")))
		answers := e.Answers[instrument]
		switch label(sample, model.MetricNameLabel) {
		case rules.ExperienceVisits:
			e.Visits = value
		case rules.ExperienceFailures:
			e.Failures = value
		case rules.ExperienceP50:
			e.P50 = value
		case rules.ExperienceP95:
			e.P95 = value
		case rules.ExperienceAnswers:
			answers.All = value
		case rules.ExperienceGood:
			answers.Good = value
		case rules.ExperienceBad:
			answers.Bad = value
		case rules.ExperiencePoints:
			answers.Points = value
		}
		if instrument != "" {
			e.Answers[instrument] = answers
		}
	}
}

func readJourneys(f *figures, answer model.Vector) {
	for _, sample := range answer {
		name := types.NamespacedName{Namespace: intern(sample, "namespace"), Name: intern(sample, "journey")}
		value := float64(sample.Value)
		if name.Namespace == "" || name.Name == "" || math.IsNaN(value) || math.IsInf(value, 0) {
			continue
		}
		journey := f.journeys[name]
		if journey == nil {
			journey = &Journey{KPIs: map[string]float64{}, Entries: map[string]float64{}}
			f.journeys[name] = journey
		}
		switch label(sample, model.MetricNameLabel) {
		case rules.JourneyKPI:
			journey.KPIs[intern(sample, "kpi")] = value
		case rules.JourneyEntries:
			journey.Entries[intern(sample, "stage")] = value
		}
	}
}

// namespaces are those of all budgets.
func (f *figures) namespaces() []string {
	var names []string
	for key := range f.byKey {
		names = append(names, key.namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// knowsExperienceOf tells whether something is known of what customers experience at the
// touchpoints of all these budgets.
func (f *figures) knowsExperienceOf(budgets map[budgetKey]time.Time) bool {
	for key := range budgets {
		if f.experiences[types.NamespacedName{Namespace: key.namespace, Name: key.touchpoint}] == nil {
			return false
		}
	}
	return true
}

// arrange sorts budgets by those who ask for them.
func (f *figures) arrange() {
	for key, b := range f.byKey {
		if coverage, known := f.coverage[key]; known {
			b.Coverage = coverage
		}
		slo := types.NamespacedName{Namespace: key.namespace, Name: key.slo}
		touchpoint := types.NamespacedName{Namespace: key.namespace, Name: key.touchpoint}
		f.bySLO[slo] = append(f.bySLO[slo], b)
		f.byTouchpoint[touchpoint] = append(f.byTouchpoint[touchpoint], b)
	}
	for _, sets := range []map[types.NamespacedName][]*Budget{f.bySLO, f.byTouchpoint} {
		for _, budgets := range sets {
			slices.SortFunc(budgets, compareNames)
		}
	}
}

func compareNames(a, b *Budget) int {
	if c := strings.Compare(a.SLO, b.SLO); c != 0 {
		return c
	}
	if c := strings.Compare(a.Objective, b.Objective); c != 0 {
		return c
	}
	if c := strings.Compare(a.Touchpoint, b.Touchpoint); c != 0 {
		return c
	}
	return strings.Compare(a.Def, b.Def)
}

// keepDoubtful takes over what is missing but may only be late.
func (f *figures) keepDoubtful(from figures) {
	for key, before := range from.byKey {
		now := f.byKey[key]
		if now == nil || math.IsNaN(now.Loss) && !math.IsNaN(before.Loss) {
			kept := *before // others read that one
			f.byKey[key] = &kept
		}
	}
	for touchpoint, before := range from.experiences {
		if f.experiences[touchpoint] == nil {
			f.experiences[touchpoint] = before
		}
	}
	for journey, before := range from.journeys {
		if f.journeys[journey] == nil {
			f.journeys[journey] = before
		}
	}
}

// takeFigures keeps what was found.
func (o *Observer) takeFigures(found figures) {
	if o.doubts() {
		found.keepDoubtful(o.shown)
	}
	found.arrange()
	countStates(found)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown = found
}

// latest is what Prometheus showed last; nothing, if there is none to ask.
func (o *Observer) latest() figures {
	if o == nil {
		return figures{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shown
}

// BudgetsOf lists what Prometheus shows of the budgets of an ExperienceSLO; nothing may
// write to it.
func (o *Observer) BudgetsOf(slo types.NamespacedName) []*Budget {
	return o.latest().bySLO[slo]
}

// BudgetsAt lists what Prometheus shows of the budgets at a Touchpoint, whoever promised
// them; nothing may write to it.
func (o *Observer) BudgetsAt(touchpoint types.NamespacedName) []*Budget {
	return o.latest().byTouchpoint[touchpoint]
}

// ExperienceAt returns what customers experience at a Touchpoint; nil if nothing is known.
func (o *Observer) ExperienceAt(touchpoint types.NamespacedName) *Experience {
	return o.latest().experiences[touchpoint]
}

// FiguresOf returns what is recorded of a Journey; nil if nothing is.
func (o *Observer) FiguresOf(journey types.NamespacedName) *Journey {
	return o.latest().journeys[journey]
}
