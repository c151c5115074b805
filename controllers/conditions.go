package controllers

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// maxMessage bounds the message of a condition, so that a status never outgrows its
// object. The API server takes 32 KiB; nobody reads that much.
const maxMessage = 1024

// finding is what a reconciliation found out about the configuration of an object.
type finding struct {
	// problems are what keeps the object from being Ready. None: it is Ready.
	problems []rules.Problem
	// reason and message are those of Ready if nothing is wrong.
	reason, message string
	// unobserved: Prometheus has not been asked yet, and could tell of more problems.
	unobserved bool
}

// observedReasons are those of problems that only Prometheus shows.
var observedReasons = []string{v1alpha1.ReasonNotACounter, v1alpha1.ReasonMissingLabel, v1alpha1.ReasonNotAnEdge}

// standing tells whether what Prometheus showed to a manager before this one stands until
// it is asked again: a restart is no news.
func (f finding) standing(previous []metav1.Condition, generation int64) bool {
	ready := meta.FindStatusCondition(previous, v1alpha1.ConditionReady)
	return f.unobserved && len(f.problems) == 0 && ready != nil && ready.Status == metav1.ConditionFalse &&
		ready.ObservedGeneration == generation && slices.Contains(observedReasons, ready.Reason)
}

// ownedConditions are those that readiness, and package observe, decide about. Whatever is
// not in their results is absent from the status.
var ownedConditions = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled,
	v1alpha1.ConditionMet, v1alpha1.ConditionHealthy, v1alpha1.ConditionRulesLoaded, v1alpha1.ConditionWindowCovered, v1alpha1.ConditionObserved,
}

// readiness computes Ready and its companions: it is the only place that does.
//
//   - Ready is always there: True without problems, else False with the reason of
//     the first one.
//   - Stalled is there, and True, if only an edit of the object helps with one of
//     its problems.
//   - Reconciling is there, and True, if the object is not Ready and not Stalled:
//     tools that wait take the two for opposites.
//
// The time of a condition whose status stays is kept.
func readiness(previous []metav1.Condition, generation int64, found finding, now metav1.Time) []metav1.Condition {
	if found.standing(previous, generation) {
		return readinessOf(previous)
	}
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue,
		Reason: found.reason, Message: shorten(found.message),
	}
	companion := ""
	if len(found.problems) > 0 {
		problems := slices.Clone(found.problems)
		// What only an edit can mend comes first: the rest waits for it anyway.
		slices.SortStableFunc(problems, func(a, b rules.Problem) int {
			switch {
			case a.Stalled == b.Stalled:
				return 0
			case a.Stalled:
				return -1
			default:
				return 1
			}
		})
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, problems[0].Reason, problemMessage(problems)
		companion = v1alpha1.ConditionReconciling
		if problems[0].Stalled {
			companion = v1alpha1.ConditionStalled
		}
	}
	conditions := []metav1.Condition{ready}
	if companion != "" {
		conditions = append(conditions, metav1.Condition{
			Type: companion, Status: metav1.ConditionTrue, Reason: ready.Reason, Message: ready.Message,
		})
	}
	for i := range conditions {
		conditions[i].ObservedGeneration = generation
		conditions[i].LastTransitionTime = now
		if before := meta.FindStatusCondition(previous, conditions[i].Type); before != nil && before.Status == conditions[i].Status {
			conditions[i].LastTransitionTime = before.LastTransitionTime
		}
	}
	return conditions
}

// readinessOf picks what readiness decided before.
func readinessOf(conditions []metav1.Condition) []metav1.Condition {
	return slices.DeleteFunc(owned(conditions), func(condition metav1.Condition) bool {
		return !slices.Contains([]string{v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled}, condition.Type)
	})
}

// problemMessage joins problems to one message, as many as have room, and counts the
// rest.
func problemMessage(problems []rules.Problem) string {
	var b strings.Builder
	for i, problem := range problems {
		sentence := problem.Message
		if problem.Field != "" {
			sentence = problem.Field + ": " + problem.Message
		}
		separator := ""
		if i > 0 {
			separator = "; "
		}
		rest := fmt.Sprintf("; and %d more", len(problems)-i)
		if i > 0 && b.Len()+len(separator)+len(sentence)+len(rest) > maxMessage {
			b.WriteString(rest)
			break
		}
		b.WriteString(separator + sentence)
	}
	return shorten(b.String())
}

// shorten cuts a message at the limit, between two characters.
func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	const ellipsis = "…"
	end := maxMessage - len(ellipsis)
	for end > 0 && message[end]&0xC0 == 0x80 { // inside a character of UTF-8
		end--
	}
	return message[:end] + ellipsis
}

// list names at most ten things and counts the rest.
func list(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
