package fleet

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// What is kept is what was told, to the microsecond, the latest first.
func TestHistory(t *testing.T) {
	start := time.Unix(1_800_000_000, 123456789)
	var h history
	if outcome, reason, step := h.latest(); outcome != "" || reason != "" || step != "" {
		t.Errorf("before the first run: %s, %s, %s", outcome, reason, step)
	}
	var told []probe.Result
	for i := range runsKept + 3 {
		result := probe.Result{
			Outcome: probe.OutcomeSuccess, Start: start.Add(time.Duration(i) * time.Minute), Duration: time.Duration(i) * time.Millisecond,
			Steps: []probe.StepResult{
				{
					Name: "pay", Made: true, Status: 200, Duration: 17 * time.Second,
					Phases: probe.Phases{time.Microsecond, 2, 3 * time.Second}, CertificateExpiry: time.Unix(1_900_000_000, 0),
				},
			},
		}
		if i > 4 { // the flow was edited
			result.Steps = append(result.Steps, probe.StepResult{Name: "leave"})
		}
		switch i % 3 {
		case 1:
			result.Outcome, result.Reason, result.Detail, result.FailedStep = probe.OutcomeFailure, probe.ReasonStatus, fmt.Sprint("status ", i), "pay"
			result.Steps[0].Reason, result.Steps[0].Detail = result.Reason, result.Detail
		case 2:
			result = probe.Result{Outcome: probe.OutcomeError, Reason: probe.ReasonOverload, Detail: "no slot", Start: result.Start}
		}
		h.add(result)
		if outcome, reason, step := h.latest(); outcome != result.Outcome || reason != result.Reason || step != result.FailedStep {
			t.Errorf("run %d: %s, %s, %s", i, outcome, reason, step)
		}
		for step := range result.Steps {
			for phase, took := range result.Steps[step].Phases {
				result.Steps[step].Phases[phase] = took.Round(time.Microsecond)
			}
		}
		told = append([]probe.Result{result}, told...)
		told = told[:min(len(told), runsKept)]
		if got := h.results(); !reflect.DeepEqual(got, told) {
			t.Fatalf("after %d runs:\n%+v, want\n%+v", i+1, got, told)
		}
	}
}
