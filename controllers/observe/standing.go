package observe

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// Moment is when a status is worked out, and by what.
type Moment struct {
	Health     Health
	Generation int64
	Now        metav1.Time
}

// stands tells whether what a status says of customers stays as it is: Prometheus has
// not told anything yet, or does not any more.
func (m Moment) stands() bool { return !m.Health.Known || m.Health.Reason != "" }

// conditions makes the conditions of a status that speak of customers: those given, or, if
// they stand, those there were. Their times are kept where their status is.
func (m Moment) conditions(previous []metav1.Condition, found ...metav1.Condition) []metav1.Condition {
	if !m.Health.Known {
		found = nil
		for _, condition := range previous {
			if speaksOfCustomers(condition.Type) {
				found = append(found, condition)
			}
		}
		return found
	}
	var kept []metav1.Condition
	if m.Health.Reason != "" {
		for _, condition := range previous {
			// A manager that started in the meantime knows no more than the one before it.
			if speaksOfCustomers(condition.Type) && (condition.Type != v1alpha1.ConditionObserved || condition.Status == metav1.ConditionFalse) {
				kept = append(kept, condition)
			}
		}
		found = slices.DeleteFunc(found, func(c metav1.Condition) bool { return meta.FindStatusCondition(kept, c.Type) != nil })
		for i := range found {
			found[i].Status, found[i].Reason, found[i].Message = metav1.ConditionUnknown, v1alpha1.ReasonNoData, "Prometheus has told nothing yet"
		}
	}
	if meta.FindStatusCondition(kept, v1alpha1.ConditionObserved) == nil {
		found = append(found, m.observed())
	}
	for i := range found {
		found[i].ObservedGeneration = m.Generation
		found[i].LastTransitionTime = m.Now
		if before := meta.FindStatusCondition(previous, found[i].Type); before != nil && before.Status == found[i].Status {
			found[i].LastTransitionTime = before.LastTransitionTime
		}
	}
	return inOrder(append(kept, found...))
}

// inOrder puts conditions in the order in which a status lists them.
func inOrder(conditions []metav1.Condition) []metav1.Condition {
	slices.SortStableFunc(conditions, func(a, b metav1.Condition) int {
		return slices.Index(ofCustomers, a.Type) - slices.Index(ofCustomers, b.Type)
	})
	return conditions
}

// ofCustomers are the conditions of this package.
var ofCustomers = []string{
	v1alpha1.ConditionMet, v1alpha1.ConditionHealthy, v1alpha1.ConditionRulesLoaded, v1alpha1.ConditionWindowCovered, v1alpha1.ConditionObserved,
}

func speaksOfCustomers(condition string) bool { return slices.Contains(ofCustomers, condition) }

// observed tells whether Prometheus answers.
func (m Moment) observed() metav1.Condition {
	condition := metav1.Condition{
		Type: v1alpha1.ConditionObserved, Status: metav1.ConditionTrue,
		Reason: v1alpha1.ReasonAnswering, Message: "Prometheus answers",
	}
	if reason := m.Health.Reason; reason != "" {
		condition.Status, condition.Reason = metav1.ConditionFalse, conditionReason(reason)
		condition.Message = "Prometheus " + explained(reason) + "; it has told nothing since the manager started. See --prometheus-url and the manager's log"
		if since := m.Health.Since; !since.IsZero() {
			condition.Message = fmt.Sprintf("Prometheus %s; the figures are as of %s. See --prometheus-url and the manager's log",
				explained(reason), since.UTC().Format(time.RFC3339))
		}
	}
	return condition
}

// conditionReason writes the reason of a failure as a condition's: server_error becomes
// PrometheusServerError.
func conditionReason(reason string) string {
	text := "Prometheus"
	for word := range strings.SplitSeq(reason, "_") {
		text += strings.ToUpper(word[:1]) + word[1:]
	}
	return text
}

func explained(reason string) string {
	switch reason {
	case reasonUnreachable:
		return "cannot be reached"
	case reasonTimeout:
		return "takes too long to answer"
	case reasonRefused:
		return "refuses to answer"
	case reasonServerError:
		return "answers with an error"
	case reasonTooLarge:
		return "answers with too much"
	case reasonPartial:
		return "answers only in part"
	default:
		return "answers with what is no answer"
	}
}

// judged makes the condition that speaks of budgets. names says what each is called.
func judged(condition string, budgets []*Budget, name func(*Budget) string) metav1.Condition {
	byState := map[budget.State][]string{}
	for _, b := range budgets {
		byState[b.State()] = append(byState[b.State()], name(b))
	}
	made := metav1.Condition{Type: condition, Status: metav1.ConditionUnknown}
	say := func(reason string, state budget.State, what string) metav1.Condition {
		made.Reason, made.Message = reason, what+": "+rules.Some(byState[state])
		return made
	}
	switch {
	case len(budgets) == 0:
		made.Reason, made.Message = v1alpha1.ReasonNothingPromised, "there is no budget to judge"
		return made
	case len(byState[budget.Breached]) > 0:
		made.Status = metav1.ConditionFalse
		return say(v1alpha1.ReasonBreached, budget.Breached, "the budget is spent, and not by chance")
	case len(byState[budget.Inconclusive]) > 0:
		return say(v1alpha1.ReasonInconclusive, budget.Inconclusive, "the budget looks spent, which may be chance")
	case len(byState[budget.InsufficientData]) > 0:
		return say(v1alpha1.ReasonInsufficientData, budget.InsufficientData, "too few answers to judge by")
	case len(byState[budget.NoData]) > 0:
		return say(v1alpha1.ReasonNoData, budget.NoData, "nothing was measured within the window")
	}
	made.Status = metav1.ConditionTrue
	if len(byState[budget.AtRisk]) > 0 {
		return say(v1alpha1.ReasonAtRisk, budget.AtRisk, "kept so far, but an alert fires")
	}
	made.Reason, made.Message = v1alpha1.ReasonKept, "every budget is kept"
	return made
}

// mostFigure is the largest number that a Figure has room for.
const mostFigure = 999_999_999_999_999

// decimal writes a number with at most some digits behind the point.
func decimal(value float64, digits int) v1alpha1.Figure {
	value = min(max(value, -mostFigure), mostFigure)
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return v1alpha1.Figure(text)
}

// significant writes a number with some significant digits.
func significant(value float64, digits int) v1alpha1.Figure {
	if value == 0 {
		return "0"
	}
	behind := digits - 1 - int(math.Floor(math.Log10(math.Abs(value))))
	if behind < 0 {
		step := math.Pow10(-behind)
		return decimal(math.Round(value/step)*step, 0)
	}
	return decimal(value, min(behind, 6))
}

// whole rounds a count to two significant digits.
func whole(count float64) int64 {
	number, err := strconv.ParseFloat(string(significant(math.Round(count), 2)), 64)
	if err != nil {
		return 0
	}
	return int64(number)
}

// valueOf reads a figure; NaN if there is none.
func valueOf(figure v1alpha1.Figure) float64 {
	value, err := strconv.ParseFloat(string(figure), 64)
	if err != nil {
		return math.NaN()
	}
	return value
}

// figureMoved tells whether a figure of a status is another now, by more than a step or a
// part of what it was.
func figureMoved(before v1alpha1.Figure, now, step, part float64) bool {
	return Moved(valueOf(before), now, step, part)
}

// countMoved tells the same of a count.
func countMoved(before int64, now float64) bool { return Moved(float64(before), now, 0, tenth) }
