package controllers

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

func TestReadiness(t *testing.T) {
	earlier, now := metav1.NewTime(time.Unix(1000, 0)), metav1.NewTime(time.Unix(2000, 0))
	condition := func(name string, status metav1.ConditionStatus, reason, message string, since metav1.Time) metav1.Condition {
		return metav1.Condition{
			Type: name, Status: status, Reason: reason, Message: message,
			LastTransitionTime: since, ObservedGeneration: 7,
		}
	}
	wellDone := finding{reason: v1alpha1.ReasonSucceeded, message: "all there"}
	missing := rules.Problem{Field: "spec.targets", Reason: v1alpha1.ReasonReferenceNotFound, Message: "there is no Touchpoint a"}
	impossible := rules.Problem{
		Field: "spec.objectives[x].target", Reason: v1alpha1.ReasonImpossibleTarget, Message: "100% leaves no budget", Stalled: true,
	}
	badQuery := rules.Problem{Field: "spec.kpis[k].query", Reason: v1alpha1.ReasonInvalidQuery, Message: "unexpected }", Stalled: true}

	for _, test := range []struct {
		name     string
		previous []metav1.Condition
		found    finding
		want     []metav1.Condition
	}{{
		name:  "a new object that works",
		found: wellDone,
		want:  []metav1.Condition{condition("Ready", "True", "Succeeded", "all there", now)},
	}, {
		name:     "the default status gives way",
		previous: []metav1.Condition{condition("Ready", "Unknown", "Pending", "waiting for the controller", metav1.NewTime(time.Unix(0, 0)))},
		found:    wellDone,
		want:     []metav1.Condition{condition("Ready", "True", "Succeeded", "all there", now)},
	}, {
		name:     "the time of a status that stays is kept, whatever the reason",
		previous: []metav1.Condition{condition("Ready", "True", "Succeeded", "all there", earlier)},
		found:    finding{reason: v1alpha1.ReasonNoTargets, message: "the targets match no touchpoint"},
		want:     []metav1.Condition{condition("Ready", "True", "NoTargets", "the targets match no touchpoint", earlier)},
	}, {
		name:     "what is missing may come: reconciling, not stalled",
		previous: []metav1.Condition{condition("Ready", "True", "Succeeded", "all there", earlier)},
		found:    finding{problems: []rules.Problem{missing}},
		want: []metav1.Condition{
			condition("Ready", "False", "ReferenceNotFound", "spec.targets: there is no Touchpoint a", now),
			condition("Reconciling", "True", "ReferenceNotFound", "spec.targets: there is no Touchpoint a", now),
		},
	}, {
		name: "still missing",
		previous: []metav1.Condition{
			condition("Ready", "False", "ReferenceNotFound", "spec.targets: there is no Touchpoint a, b", earlier),
			condition("Reconciling", "True", "ReferenceNotFound", "spec.targets: there is no Touchpoint a, b", earlier),
		},
		found: finding{problems: []rules.Problem{missing}},
		want: []metav1.Condition{
			condition("Ready", "False", "ReferenceNotFound", "spec.targets: there is no Touchpoint a", earlier),
			condition("Reconciling", "True", "ReferenceNotFound", "spec.targets: there is no Touchpoint a", earlier),
		},
	}, {
		name: "what only an edit mends comes first, and excludes reconciling",
		previous: []metav1.Condition{
			condition("Ready", "False", "ReferenceNotFound", "", earlier),
			condition("Reconciling", "True", "ReferenceNotFound", "", earlier),
		},
		found: finding{problems: []rules.Problem{missing, impossible, badQuery}},
		want: []metav1.Condition{
			condition("Ready", "False", "ImpossibleTarget",
				"spec.objectives[x].target: 100% leaves no budget; spec.kpis[k].query: unexpected }; spec.targets: there is no Touchpoint a", earlier),
			condition("Stalled", "True", "ImpossibleTarget",
				"spec.objectives[x].target: 100% leaves no budget; spec.kpis[k].query: unexpected }; spec.targets: there is no Touchpoint a", now),
		},
	}, {
		name: "mended",
		previous: []metav1.Condition{
			condition("Ready", "False", "InvalidQuery", "", earlier), condition("Stalled", "True", "InvalidQuery", "", earlier),
		},
		found: wellDone,
		want:  []metav1.Condition{condition("Ready", "True", "Succeeded", "all there", now)},
	}, {
		name:  "a problem without a field",
		found: finding{problems: []rules.Problem{{Reason: v1alpha1.ReasonWriteFailed, Message: "no"}}},
		want: []metav1.Condition{
			condition("Ready", "False", "WriteFailed", "no", now), condition("Reconciling", "True", "WriteFailed", "no", now),
		},
	}} {
		t.Run(test.name, func(t *testing.T) {
			got := readiness(test.previous, 7, test.found, now)
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for i := range got {
				if got[i] != test.want[i] {
					t.Errorf("got  %+v\nwant %+v", got[i], test.want[i])
				}
			}
		})
	}
}

// What Prometheus showed to the manager before stands until it answers this one.
func TestReadinessBeforeTheFirstObservation(t *testing.T) {
	now := metav1.Now()
	was := readiness(nil, 7, finding{problems: []rules.Problem{{Reason: v1alpha1.ReasonNotACounter, Message: "it falls", Stalled: true}}}, now)
	unknown := finding{reason: v1alpha1.ReasonSucceeded, message: "all there", unobserved: true}
	known, worse := unknown, unknown
	known.unobserved = false
	worse.problems = []rules.Problem{{Reason: v1alpha1.ReasonWriteFailed}}
	for _, test := range []struct {
		name       string
		found      finding
		generation int64
		want       string
	}{
		{"nothing is known yet", unknown, 7, v1alpha1.ReasonNotACounter},
		{"the object was edited", unknown, 8, v1alpha1.ReasonSucceeded},
		{"something else is wrong", worse, 7, v1alpha1.ReasonWriteFailed},
		{"all is known to be well", known, 7, v1alpha1.ReasonSucceeded},
	} {
		if got := readiness(was, test.generation, test.found, now); got[0].Reason != test.want {
			t.Errorf("%s: %v, want %s", test.name, got, test.want)
		}
	}
	if got := readiness(nil, 7, unknown, now); got[0].Reason != v1alpha1.ReasonSucceeded {
		t.Errorf("a new object: %v", got)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	long := rules.Problem{Field: "spec", Message: strings.Repeat("长", 200)}
	var problems []rules.Problem
	for range 50 {
		problems = append(problems, long)
	}
	for _, problems := range [][]rules.Problem{problems, {{Message: strings.Repeat("长", 5000)}}} {
		message := problemMessage(problems)
		if len(message) > maxMessage || !utf8.ValidString(message) {
			t.Errorf("%d bytes, valid UTF-8: %v", len(message), utf8.ValidString(message))
		}
	}
	if message := problemMessage(problems); !strings.HasSuffix(message, "; and 49 more") {
		t.Errorf("the rest is not counted: …%s", message[len(message)-40:])
	}
}
