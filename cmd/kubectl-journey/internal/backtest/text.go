package backtest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// WriteText writes a report for people. Times are in UTC.
func (r *Report) WriteText(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s to %s UTC, %d samples\n\n", moment(r.From), moment(r.Until), r.Samples)
	if len(r.Alerts) > 0 {
		table(&text, "START\tEND\tLASTED\tSEVERITY\tTIER\tSLO/OBJECTIVE\tTOUCHPOINT\tBURN\tLOSS\tN", func(row func(...string)) {
			for _, a := range r.Alerts {
				row(a.start(), a.end(), lasted(a.Minutes), a.Severity, a.Tier, a.SLO+"/"+a.Objective, r.place(a.Namespace, a.Touchpoint), a.burn(), a.loss(), a.events())
			}
		})
		text.WriteString("\n")
	}
	table(&text, "SLO/OBJECTIVE\tTOUCHPOINT\tPROMISE\tMEASURED\tN\tLEFT\tSTATE\tPAGES\tTICKETS\tFIRING\tKNOWN\tCOVERED\tKEEPS", func(row func(...string)) {
		for _, b := range r.Budgets {
			row(b.SLO+"/"+b.Objective, r.place(b.Namespace, b.Touchpoint), b.Promise, b.measured(), strconv.FormatInt(b.Events, 10), b.left(), string(b.State),
				strconv.Itoa(b.Pages), strconv.Itoa(b.Tickets), lasted(b.Minutes), percent(b.Known), percent(b.Covered), b.keeps())
		}
	})
	if r.Before != nil {
		text.WriteString("\n")
		r.writeComparison(&text)
	}
	if len(r.Notes)+len(r.Problems) > 0 {
		text.WriteString("\n")
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&text, "problem: %s\n", problem)
	}
	fmt.Fprintf(&text, "\n%s\n", r.Summary())
	_, err := io.WriteString(out, text.String())
	return err
}

// Summary is the report in a sentence.
func (r *Report) Summary() string {
	text := fmt.Sprintf("%s, %s in %s", count(r.Pages, "page"), count(r.Tickets, "ticket"), days(r.Until.Sub(r.From)))
	if r.Before != nil {
		text += fmt.Sprintf("; before: %s, %s", count(r.Before.Pages, "page"), count(r.Before.Tickets, "ticket"))
	}
	return text
}

func (r *Report) writeComparison(text *strings.Builder) {
	text.WriteString("Compared with before:\n")
	table(text, "SLO/OBJECTIVE\tTOUCHPOINT\tPROMISE\tLEFT\tPAGES\tTICKETS\tFIRING", func(row func(...string)) {
		for _, p := range r.pairs() {
			beside := func(show func(*Budget) string) string {
				if p.now == nil {
					return show(p.before) + " → none"
				}
				if p.before == nil {
					return "none → " + show(p.now)
				}
				if was, is := show(p.before), show(p.now); was != is {
					return was + " → " + is
				}
				return show(p.now)
			}
			b := p.any()
			row(b.SLO+"/"+b.Objective, r.place(b.Namespace, b.Touchpoint), beside(func(b *Budget) string { return b.Promise }), beside((*Budget).left),
				beside(func(b *Budget) string { return strconv.Itoa(b.Pages) }), beside(func(b *Budget) string { return strconv.Itoa(b.Tickets) }),
				beside(func(b *Budget) string { return lasted(b.Minutes) }))
		}
	})
}

// place names a touchpoint, with its namespace only where there are several.
func (r *Report) place(namespace, touchpoint string) string {
	for _, b := range r.Budgets {
		if b.Namespace != namespace {
			return namespace + "/" + touchpoint
		}
	}
	return touchpoint
}

func table(text *strings.Builder, head string, fill func(row func(...string))) {
	columns := tabwriter.NewWriter(text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, head)
	fill(func(cells ...string) { fmt.Fprintln(columns, strings.Join(cells, "\t")) })
	_ = columns.Flush() // into memory
}

func (a *Alert) start() string {
	if a.BeganBefore {
		return moment(a.Start) + " (before)"
	}
	return moment(a.Start)
}

func (a *Alert) end() string {
	if a.End == nil {
		return "still firing"
	}
	return moment(*a.End)
}

func (a *Alert) burn() string {
	if a.Alert == rules.AlertDataMissing {
		return "-"
	}
	return budget.Format(a.BurnRate) + "x"
}

func (a *Alert) loss() string {
	if a.Alert == rules.AlertDataMissing {
		return "no data"
	}
	return budget.Format(significant(100*a.Loss)) + "%"
}

func (a *Alert) events() string {
	if a.Alert == rules.AlertDataMissing {
		return "-"
	}
	return strconv.FormatInt(a.Events, 10)
}

func (b *Budget) measured() string {
	if b.Value == nil {
		return "-"
	}
	text := budget.Format(*b.Value)
	if b.Lower != nil {
		text += fmt.Sprintf(" (%s to %s)", budget.Format(*b.Lower), budget.Format(*b.Upper))
	}
	return text
}

func (b *Budget) left() string {
	if b.Value == nil {
		return "-"
	}
	return percent(b.Remaining)
}

func (b *Budget) keeps() string {
	switch {
	case b.Keeps != nil:
		return budget.Format(*b.Keeps)
	case b.Value != nil && b.loss == 0:
		return "no loss"
	default:
		return "-"
	}
}

func percent(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) + "%" }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// lasted writes minutes for people.
func lasted(minutes float64) string {
	switch d := time.Duration(minutes * float64(time.Minute)); {
	case d == 0:
		return "-"
	case d < time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}
