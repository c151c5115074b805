package debug

import (
	"strings"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

func TestPage(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failed := probe.Result{
		Start: now.Add(-75 * time.Second), Outcome: probe.OutcomeFailure, Reason: probe.ReasonAssertion, FailedStep: "pay",
		Detail: "not true: 金额 <b>", Duration: 1234567 * time.Microsecond,
		Steps: []probe.StepResult{
			{Name: "login", Made: true, Status: 200, Duration: 40 * time.Millisecond, Phases: probe.Phases{10 * time.Millisecond, 0, 0, 30 * time.Millisecond, 0}},
			{Name: "pay", Made: true, Status: 200, Reason: probe.ReasonAssertion, Detail: "not true: 金额 <b>"},
			{Name: "ship"},
		},
	}
	misconfigured := probe.Result{Start: now, Outcome: probe.OutcomeError, Reason: probe.ReasonConfig, Detail: "key a of Secret b cannot be read"}
	success := probe.Result{Start: now, Outcome: probe.OutcomeSuccess, Steps: []probe.StepResult{{Name: "login", Made: true}}}
	for name, test := range map[string]struct {
		probing bool
		runs    []probe.Result
		want    []string
		not     []string
	}{
		"no visit yet": {true, nil, []string{"There was no visit yet"}, []string{"another one of the location"}},
		"another's":    {false, nil, []string{"another one of the location default does"}, []string{"no visit yet", "any more"}},
		"handed over":  {false, []probe.Result{success}, []string{"any more", "<details"}, nil},
		"a failure": {true, []probe.Result{success, success, failed, failed}, []string{
			"结账", "failure: assertion in pay", "not true: 金额 &lt;b&gt;", "1m15s ago", "1.23s", "left out", `class="dns" style="width: 25%"`, `id="visit-2" open`,
		}, []string{"<b>.", `id="visit-1" open`, `id="visit-3" open`}},
		"an error": {true, []probe.Result{misconfigured}, []string{"error: config", "key a of Secret b cannot be read"}, []string{"<table"}},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			if err := form.Execute(&text, page{Touchpoint: "shop/checkout", DisplayName: "结账", Location: "default", Now: now, Probing: test.probing, Runs: tell(test.runs, now)}); err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("%q is missing in\n%s", want, text.String())
				}
			}
			for _, not := range test.not {
				if strings.Contains(text.String(), not) {
					t.Errorf("%q is in\n%s", not, text.String())
				}
			}
		})
	}
}
