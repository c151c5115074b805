package observe

import (
	"fmt"
	"math"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// fewestAnswers is how many answers it takes for a share of them to make part of a score:
// as many as an objective wants by default.
const fewestAnswers = 30

// Score is how customers fare at a touchpoint, and what of them it is made of. What is not
// known is NaN.
type Score struct {
	// Value is from 0 to 100 (budget.TouchpointScore); the others are from 0 to 1.
	Value, Ease, Satisfied, Kept float64
}

// ScoreOf works out the score of a touchpoint. experience may be nil.
func ScoreOf(experience *Experience, budgets []*Budget) Score {
	nan := math.NaN()
	score := Score{Ease: nan, Satisfied: nan, Kept: nan}
	if experience != nil {
		if _, answers := experience.effort(); answers.All >= fewestAnswers {
			score.Ease = answers.Good / answers.All
		}
		if csat := experience.Answers[v1alpha1.InstrumentCSAT]; csat.All >= fewestAnswers {
			score.Satisfied = csat.Good / csat.All
		} else if nps := experience.Answers[v1alpha1.InstrumentNPS]; nps.All >= fewestAnswers {
			score.Satisfied = 1 - nps.loss()
		}
	}
	for _, b := range budgets {
		// What surveys promise speaks for itself above.
		if kept := b.Kept(); b.Family == budget.Traffic && !math.IsNaN(kept) && !(score.Kept <= kept) {
			score.Kept = kept
		}
	}
	score.Value = budget.TouchpointScore(score.Ease, score.Satisfied, score.Kept)
	return score
}

// effort are the answers to CES, or where there are none to CES1.
func (e *Experience) effort() (v1alpha1.CESInstrument, Answers) {
	if answers := e.Answers[v1alpha1.InstrumentCES]; answers.All > 0 {
		return v1alpha1.CESInstrument(v1alpha1.InstrumentCES), answers
	}
	return v1alpha1.CESInstrument(v1alpha1.InstrumentCES1), e.Answers[v1alpha1.InstrumentCES1]
}

// loss is the mean loss where the neutral lose half (budget.Scale.NetLoss).
func (a Answers) loss() float64 { return (a.Bad + (a.All-a.Good-a.Bad)/2) / a.All }

// OfTouchpoint writes into a status what customers experience at a touchpoint. It returns
// the conditions that speak of customers.
func OfTouchpoint(status *v1alpha1.TouchpointStatus, spec *v1alpha1.TouchpointSpec, experience *Experience, budgets []*Budget, m Moment) []metav1.Condition {
	if !m.Health.Asked {
		status.Score, status.Experience, status.Satisfaction = "", nil, nil
		status.Gaps = gaps(nil, spec, status, nil, m)
		return nil
	}
	previous := *status
	if !m.stands() {
		status.Score = scoreFigure(previous.Score, ScoreOf(experience, budgets).Value)
		status.Experience = experienceStatus(previous.Experience, experience)
		status.Satisfaction = satisfaction(status.Experience, spec.Expectation)
	}
	status.Gaps = gaps(previous.Gaps, spec, status, budgets, m)
	health := judged(v1alpha1.ConditionHealthy, budgets, (*Budget).fullName)
	if behind := troubled(status.Workloads); behind != "" && health.Status == metav1.ConditionFalse {
		health.Message += "; behind it: " + behind
	}
	return m.conditions(previous.Conditions, health)
}

// troubled names the parts of the blueprint that do not do well.
func troubled(workloads []v1alpha1.WorkloadStatus) string {
	var parts []string
	for _, workload := range workloads {
		if workload.Health != "Healthy" {
			parts = append(parts, fmt.Sprintf("%s %s (%s)", workload.Kind, workload.Name, workload.Message))
		}
	}
	return rules.Some(parts)
}

// fullName names a budget among those of a touchpoint.
func (b *Budget) fullName() string { return b.SLO + "/" + b.Objective }

func scoreFigure(previous v1alpha1.Figure, now float64) v1alpha1.Figure {
	if math.IsNaN(now) {
		return ""
	}
	if !figureMoved(previous, now, 1, 0) {
		return previous
	}
	return decimal(now, 0)
}

func experienceStatus(previous *v1alpha1.Experience, seen *Experience) *v1alpha1.Experience {
	if seen == nil {
		return nil
	}
	if previous == nil {
		previous = &v1alpha1.Experience{}
	}
	now := &v1alpha1.Experience{Latency: latency(previous.Latency, seen)}
	if seen.Visits >= 1 {
		now.Availability = share(previous.Availability, seen.Visits-seen.Failures, seen.Visits)
	}
	if instrument, answers := seen.effort(); answers.All >= 1 {
		now.CES = effort(previous.CES, instrument, answers)
	}
	if csat := seen.Answers[v1alpha1.InstrumentCSAT]; csat.All >= 1 {
		now.CSAT = share(previous.CSAT, csat.Good, csat.All)
	}
	if nps := seen.Answers[v1alpha1.InstrumentNPS]; nps.All >= 1 {
		now.NPS = net(previous.NPS, nps)
	}
	var all Answers
	for _, answers := range seen.Answers {
		all.All, all.Good, all.Bad = all.All+answers.All, all.Good+answers.Good, all.Bad+answers.Bad
	}
	if all.All >= 1 {
		now.Net = net(previous.Net, all)
	}
	if *now == (v1alpha1.Experience{}) {
		return nil
	}
	return now
}

// bounds are those of the share of good among some events, in percent.
func bounds(good, all float64) (lower, upper float64) {
	low, high := budget.Bounds(all-good, all, budget.ZTicket)
	return 100 * (1 - high), 100 * (1 - low)
}

// step is by how much a figure must move to be written anew: by its rounding, and by enough
// of the width of its bounds for the move to say something.
func step(rounding float64, lower, upper v1alpha1.Figure) float64 {
	return max(rounding, (valueOf(upper)-valueOf(lower))/8)
}

func share(previous *v1alpha1.ShareFigure, good, all float64) *v1alpha1.ShareFigure {
	if math.IsNaN(good) || math.IsNaN(all) {
		return nil
	}
	percent := 100 * good / all
	if previous != nil && !figureMoved(previous.Percent, percent, step(0.1, previous.Lower, previous.Upper), 0) && !countMoved(previous.Events, all) {
		return previous
	}
	lower, upper := bounds(good, all)
	return &v1alpha1.ShareFigure{Percent: decimal(percent, 2), Lower: decimal(lower, 1), Upper: decimal(upper, 1), Events: whole(all)}
}

func net(previous *v1alpha1.NetFigure, answers Answers) *v1alpha1.NetFigure {
	loss := answers.loss()
	points := 100 * (1 - 2*loss)
	if previous != nil && !figureMoved(previous.Points, points, step(1, previous.Lower, previous.Upper), 0) && !countMoved(previous.Events, answers.All) {
		return previous
	}
	low, high := budget.Bounds(loss*answers.All, answers.All, budget.ZTicket)
	return &v1alpha1.NetFigure{
		Points: decimal(points, 1), Lower: decimal(100*(1-2*high), 1), Upper: decimal(100*(1-2*low), 1), Events: whole(answers.All),
	}
}

func effort(previous *v1alpha1.EffortFigure, instrument v1alpha1.CESInstrument, answers Answers) *v1alpha1.EffortFigure {
	mean, ease := answers.Points/answers.All, 100*answers.Good/answers.All
	if previous != nil && previous.Instrument == instrument && !figureMoved(previous.EasePercent, ease, step(0.5, previous.Lower, previous.Upper), 0) &&
		!figureMoved(previous.Mean, mean, 0.05, 0) && !countMoved(previous.Events, answers.All) {
		return previous
	}
	lower, upper := bounds(answers.Good, answers.All)
	return &v1alpha1.EffortFigure{
		Instrument: instrument, Mean: decimal(mean, 2), EasePercent: decimal(ease, 1),
		Lower: decimal(lower, 1), Upper: decimal(upper, 1),
		Net: decimal(100*(answers.Good-answers.Bad)/answers.All, 1), Events: whole(answers.All),
	}
}

func latency(previous *v1alpha1.LatencyFigure, seen *Experience) *v1alpha1.LatencyFigure {
	if math.IsNaN(seen.P50) || math.IsNaN(seen.P95) {
		return nil
	}
	if previous != nil && !figureMoved(previous.P50Seconds, seen.P50, 0, tenth) && !figureMoved(previous.P95Seconds, seen.P95, 0, tenth) {
		return previous
	}
	return &v1alpha1.LatencyFigure{P50Seconds: significant(seen.P50, 2), P95Seconds: significant(seen.P95, 2)}
}

// satisfaction is what is experienced less what was expected: the Delta law. It has a sign
// only if the difference is not chance.
func satisfaction(experience *v1alpha1.Experience, expectation *v1alpha1.Expectation) *v1alpha1.Satisfaction {
	if experience == nil || experience.Net == nil || expectation == nil || expectation.Net == "" {
		return nil
	}
	expected, err := expectation.Net.Value()
	if err != nil {
		return nil // the schema admits no such figure
	}
	expected *= 100
	found := &v1alpha1.Satisfaction{Points: decimal(valueOf(experience.Net.Points)-expected, 1), Sign: "="}
	if valueOf(experience.Net.Lower) > expected {
		found.Sign = "+"
	}
	if valueOf(experience.Net.Upper) < expected {
		found.Sign = "-"
	}
	return found
}

// gaps fills in the gap model of service quality: 1, 2 and 4 as they are declared; 3, the
// standard against the delivery, of the budget that has least left; 5, what is expected
// against what is perceived.
func gaps(previous []v1alpha1.GapStatus, spec *v1alpha1.TouchpointSpec, status *v1alpha1.TouchpointStatus, budgets []*Budget, m Moment) []v1alpha1.GapStatus {
	declaredGaps := spec.Gaps
	if declaredGaps == nil {
		declaredGaps = &v1alpha1.DeclaredGaps{}
	}
	var found []v1alpha1.GapStatus
	declared := func(gap string, points v1alpha1.SignedPercentage) {
		if value, err := points.Value(); err == nil {
			found = append(found, v1alpha1.GapStatus{Gap: gap, Points: decimal(100*value, 4), Source: "Declared"})
		}
	}
	declared("1-Listening", declaredGaps.Listening)
	declared("2-Design", declaredGaps.Design)
	if performance := performanceGap(previous, budgets, m); performance != nil {
		found = append(found, *performance)
	}
	declared("4-Communication", declaredGaps.Communication)
	if s := status.Satisfaction; s != nil {
		found = append(found, v1alpha1.GapStatus{
			Gap: "5-Customer", Points: s.Points, Source: "Computed",
			From: fmt.Sprintf("net experience expected %s, perceived %s", spec.Expectation.Net, status.Experience.Net.Points+"%"),
		})
	}
	return found
}

const performance = "3-Performance"

func performanceGap(previous []v1alpha1.GapStatus, budgets []*Budget, m Moment) *v1alpha1.GapStatus {
	var before *v1alpha1.GapStatus
	for i := range previous {
		if previous[i].Gap == performance {
			before = &previous[i]
		}
	}
	if m.stands() {
		return before
	}
	from := func(b *Budget) string {
		return fmt.Sprintf("%s: promised %s%% good, delivered ", b.fullName(), decimal(100*(1-b.Allowed), 4))
	}
	told := func(b *Budget) bool { return before != nil && strings.HasPrefix(before.From, from(b)) }
	const step = float64(remainingStep) / 100
	var worst *Budget
	for _, b := range budgets {
		if state := b.State(); state == budget.NoData || state == budget.InsufficientData {
			continue
		}
		// Another with less left by less than a rounding changes nothing.
		if worst == nil || b.Remaining() < worst.Remaining()-step || b.Remaining() < worst.Remaining()+step && told(b) {
			worst = b
		}
	}
	if worst == nil {
		return nil
	}
	digits := valueDigits(worst.Allowed)
	points := 100 * (worst.Allowed - worst.Loss)
	if told(worst) && !figureMoved(before.Points, points, math.Pow10(-digits), 0) {
		return before
	}
	return &v1alpha1.GapStatus{
		Gap: performance, Points: decimal(points, digits), Source: "Computed",
		From: from(worst) + string(decimal(100*(1-worst.Loss), digits)) + "%",
	}
}
