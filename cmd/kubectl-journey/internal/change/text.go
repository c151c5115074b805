package change

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

var signs = map[string]string{Added: "+", Removed: "-", Changed: "~"}

// WriteText writes changes for people: what is promised first, then what would not work,
// then rules.
func (c *Changes) WriteText(out io.Writer) error {
	var b strings.Builder
	for _, alike := range c.alike() {
		alike.write(&b)
	}
	for _, problem := range c.Problems {
		field := ""
		if problem.Field != "" {
			field = problem.Field + ": "
		}
		fmt.Fprintf(&b, "! %s %s/%s would not be Ready: %s%s\n", problem.Kind, problem.Namespace, problem.Name, field, problem.Message)
	}
	for _, object := range c.Objects {
		fmt.Fprintf(&b, "%s rules %s/%s\n", signs[object.Change], object.Namespace, object.Name)
	}
	if len(c.Objects) > 0 {
		fmt.Fprintf(&b, "rules in all: %d → %d\n", c.RulesBefore, c.RulesAfter)
	}
	for _, object := range c.Objects {
		b.WriteString(object.Diff)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// alike are budgets of one objective to which the same happens.
type alike struct {
	Budget
	touchpoints []string
}

// alike puts together what is said of several touchpoints in the same words.
func (c *Changes) alike() []*alike {
	var found []*alike
	known := map[string]*alike{}
	for _, budget := range c.Budgets {
		words := strings.Join([]string{
			budget.Change, budget.Namespace, budget.SLO, budget.Objective, budget.Before.words(budget.Change), budget.After.words(budget.Change), fmt.Sprint(budget.HistoryLost),
		}, "\x00")
		if known[words] == nil {
			known[words] = &alike{Budget: budget}
			found = append(found, known[words])
		}
		known[words].touchpoints = append(known[words].touchpoints, budget.Touchpoint)
	}
	return found
}

// words are those that are said of a promise where something happens to it.
func (p *Promise) words(change string) string {
	switch {
	case p == nil:
		return ""
	case change == Changed:
		return strings.Join([]string{p.Text, p.Window, p.Allowed, p.Meaning, p.alerts()}, "\x00")
	case change == Removed:
		return p.Text + p.Window
	}
	return strings.Join([]string{p.Text, p.Window, p.alerts()}, "\x00")
}

func (p *Promise) alerts() string {
	return cmp.Or(strings.Join(p.Alerts, ", "), "no alert")
}

func (a *alike) write(b *strings.Builder) {
	what := fmt.Sprintf("budget %s/%s/%s at %s", a.Namespace, a.SLO, a.Objective, rules.Some(a.touchpoints))
	switch a.Change {
	case Added:
		fmt.Fprintf(b, "+ %s: %s over %s; %s\n", what, a.After.Text, a.After.Window, a.After.alerts())
		return
	case Removed:
		fmt.Fprintf(b, "- %s: %s over %s\n", what, a.Before.Text, a.Before.Window)
		return
	}
	fmt.Fprintf(b, "~ %s: %s\n", what, turn(a.Before.Text, a.After.Text))
	line := func(name, before, after string) {
		if before != after {
			fmt.Fprintf(b, "    %s: %s\n", name, turn(before, after))
		}
	}
	line("window", a.Before.Window, a.After.Window)
	line("budget", a.Before.Allowed, a.After.Allowed)
	line("measured as", a.Before.Meaning, a.After.Meaning)
	for _, alert := range a.Before.Alerts {
		if !slices.Contains(a.After.Alerts, alert) {
			fmt.Fprintf(b, "    - %s\n", alert)
		}
	}
	for _, alert := range a.After.Alerts {
		if !slices.Contains(a.Before.Alerts, alert) {
			fmt.Fprintf(b, "    + %s\n", alert)
		}
	}
	if a.HistoryLost {
		b.WriteString("    ! a loss means something else now: the history of this budget begins anew\n")
	}
}

func turn(before, after string) string {
	if before == after {
		return after
	}
	return before + " → " + after
}
