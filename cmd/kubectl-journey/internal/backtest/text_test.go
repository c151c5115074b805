package backtest

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestText(t *testing.T) {
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.UTC) }
	number := func(v float64) *float64 { return &v }
	ended, known := at(12, 10, 4), at(9, 0, 0)
	up := &Budget{
		Namespace: "shop", SLO: "promises", Objective: "up", Touchpoint: "checkout", Promise: "99.9% of visits succeed", Window: "28d",
		Events: 80640, Value: number(99.95), Remaining: 50, Covered: 100, Known: 100, Keeps: number(99.95),
		key:    budgetKey{"shop", "promises", "up", "checkout", "probe/availability"},
		family: budget.Traffic, allowed: 0.001, loss: 0.0005, n: 80640, first: at(1, 0, 0),
	}
	effort := &Budget{
		Namespace: "shop", SLO: "promises", Objective: "effort", Touchpoint: "checkout", Promise: "80% of customers find it easy", Window: "28d",
		Events: 240, Value: number(62.5), Lower: number(55.1), Upper: number(69.4), Remaining: -87.5, Covered: 75, Known: 70, KnownSince: &known, Keeps: number(62),
		key:    budgetKey{"shop", "promises", "effort", "checkout", "survey/ces/share"},
		family: budget.Survey, floor: 30, allowed: 0.2, loss: 0.375, n: 240, first: known,
	}
	silent := &Budget{
		Namespace: "shop", SLO: "promises", Objective: "up", Touchpoint: "search", Promise: "99.9% of visits succeed", Window: "28d",
		key: budgetKey{"shop", "promises", "up", "search", "probe/availability"}, family: budget.Traffic, allowed: 0.001,
	}
	report := &Report{
		From: at(1, 9, 0), Until: at(31, 9, 0), Samples: 1234567, Budgets: []*Budget{effort, up, silent},
		Alerts: []*Alert{
			{Alert: rules.AlertBudgetBurn, Severity: "ticket", Tier: "3d", Namespace: "shop", SLO: "promises", Objective: "up", Touchpoint: "checkout", Start: at(1, 3, 0), End: &ended, BeganBefore: true, Minutes: 15904, BurnRate: 1.2, Loss: 0.0012, Events: 8640, budget: up},
			{Alert: rules.AlertBudgetBurn, Severity: "page", Tier: "1h", Namespace: "shop", SLO: "promises", Objective: "up", Touchpoint: "checkout", Start: at(12, 9, 58), End: &ended, Minutes: 6, BurnRate: 14.2, Loss: 0.0142, Events: 120, budget: up},
			{Alert: rules.AlertDataMissing, Severity: "page", Tier: "missing", Namespace: "shop", SLO: "promises", Objective: "up", Touchpoint: "checkout", Start: at(12, 9, 58), End: &ended, Minutes: 6, budget: up},
			{Alert: rules.AlertSurveyBurn, Severity: "ticket", Tier: "7d", Namespace: "shop", SLO: "promises", Objective: "effort", Touchpoint: "checkout", Start: at(30, 9, 5), Minutes: 1435, BurnRate: 1.9, Loss: 0.38, Events: 60, budget: effort},
		},
		Problems: []string{"ExperienceSLO shop/promises: the files have no Touchpoint cart"},
	}
	before := *report
	was := *up
	was.Promise, was.Remaining = "99% of visits succeed", 95
	before.Alerts, before.Budgets = nil, []*Budget{effort, &was}
	before.count()
	// These two share a budget, which is counted last.
	effort.Pages, effort.Tickets = 0, 0
	report.count()
	report.explain()
	report.Before = &before
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the text is now\n%s", text.String())
	}
}

func TestKeptPromisesAreRoundedToTheSafeSide(t *testing.T) {
	for loss, want := range map[float64]float64{0.000658: 0.00066, 0.00066: 0.00066, 0.1234: 0.13, 0.995: 1, 0: 0, 0.0301: 0.031} {
		if got := roundedUp(loss); got != want {
			t.Errorf("%v becomes %v, want %v", loss, got, want)
		}
	}
}
