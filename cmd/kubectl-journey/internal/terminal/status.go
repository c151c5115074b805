package terminal

import (
	"fmt"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/triage"
)

// headings are how levels are called out.
var headings = map[triage.Level]verdict{
	triage.Page:   {"✗", "PAGE", bad},
	triage.Blind:  {"✗", "BLIND", bad},
	triage.Ticket: {"!", "TICKET", warned},
	triage.Broken: {"✗", "BROKEN", bad},
	triage.Setup:  {"!", "SETUP", warned},
	triage.Chance: {"?", "WATCH", plain},
	triage.Note:   {"·", "NOTE", faint},
}

// Status says what is not right, a paragraph each, the worst first, and then how the rest
// does.
func Status(r *triage.Report, now time.Time, o Options) string {
	var b strings.Builder
	for _, p := range r.Problems {
		problem(&b, p, now, o)
		b.WriteByte('\n')
	}
	rest(&b, r, o)
	return b.String()
}

func problem(b *strings.Builder, p *triage.Problem, now time.Time, o Options) {
	h := headings[p.Level]
	what := fmt.Sprintf("%s (%s %s/%s) %s", clean(p.Title), strings.ToLower(p.Kind), p.Namespace, p.Name, p.What)
	if !p.Since.IsZero() {
		what += " since " + since(p.Since, now)
	}
	mark := fmt.Sprintf("%s %s  ", h.symbol, h.word)
	for i, line := range wrap(what+".", o.width()-width(mark), 0) {
		if i == 0 {
			b.WriteString(o.paint(h.how, mark) + o.paint(strong, line) + "\n")
		} else {
			b.WriteString(strings.Repeat(" ", width(mark)) + o.paint(strong, line) + "\n")
		}
	}
	say := func(name, text string) {
		const indent, names = 2, 11
		for _, line := range wrap(clean(text), o.width()-indent-names, 0) {
			b.WriteString(strings.Repeat(" ", indent) + o.paint(faint, pad(name, names)) + line + "\n")
			name = ""
		}
	}
	for i := range p.Budgets {
		say(standing[p.Budgets[i].State], account(&p.Budgets[i], firing(p, &p.Budgets[i], now)))
	}
	for _, location := range p.Probes {
		text := fmt.Sprintf("fails from %s", location.Name)
		if location.Outcome != string(v1alpha1.ProbeFailure) {
			text = "cannot be made from " + location.Name
		}
		if location.Reason != "" {
			text += ": " + location.Reason
		}
		if location.Step != "" {
			text += " at step " + location.Step
		}
		if !location.Since.IsZero() {
			text += ", since " + since(location.Since, now)
		}
		say("Probe", text)
	}
	for _, part := range p.Behind {
		say("Behind it", strings.TrimSpace(part.Workload+" is "+strings.ToLower(part.Health)+": "+part.Message))
	}
	for _, comment := range p.Comments {
		say("Customers", fmt.Sprintf("“%s” (%s %d, %s)", clean(comment.Text), comment.Instrument, comment.Score, ago(comment.Received, now)))
	}
	for i, text := range p.Says {
		name := "Reason"
		if i > 0 {
			name = ""
		}
		say(name, text)
	}
	if p.Owner != "" {
		say("Owner", p.Owner)
	}
	if len(p.Journeys) > 0 {
		say("Journeys", strings.Join(p.Journeys, ", "))
	}
	if p.Runbook != "" {
		say("Runbook", p.Runbook)
	}
	if p.Next != "" {
		// Whole, so that it can be copied.
		b.WriteString("  " + o.paint(faint, pad("Next", 11)) + o.paint(strong, clean(p.Next)) + "\n")
	}
}

// standing are the words for how a promise stands.
var standing = map[string]string{"Breached": "Broken", "AtRisk": "Failing", "Inconclusive": "Doubtful"}

// account says of a promise what came of it, and what that rests on.
func account(b *atlas.Budget, alerts string) string {
	of := fmt.Sprintf("%s of experienceslo/%s", b.Objective, b.SLO)
	if b.Promise != "" {
		of = fmt.Sprintf("“%s” (%s)", b.Promise, of)
	}
	text := of + ": " + measured(b)
	if alerts != "" {
		text += " Alerts: " + alerts + "."
	}
	return text
}

func measured(b *atlas.Budget) string {
	within := ""
	if b.Window != "" {
		within = " within " + b.Window
	}
	if b.Value == nil {
		return "nothing was measured" + within + "."
	}
	unit, events := "", "events"
	if strings.Contains(b.Promise, "%") {
		unit = "%"
	}
	switch {
	case b.Lower != nil:
		events = "answers"
	case strings.Contains(b.Promise, "visits"):
		events = "visits"
	}
	text := fmt.Sprintf("%s%s of %s %s%s", number(*b.Value, 4), unit, count(b.Events), events, within)
	if b.Lower != nil && b.Upper != nil {
		text += fmt.Sprintf(", by 98 %% between %s%s and %s%s", number(*b.Lower, 4), unit, number(*b.Upper, 4), unit)
	}
	if b.State == "Inconclusive" {
		text += ", which may be chance"
	}
	if b.Left != nil && *b.Left < 0 {
		text += fmt.Sprintf("; budget overspent by %s%%", number(-*b.Left, 0))
	} else if b.Left != nil {
		text += fmt.Sprintf("; %s%% of the budget is left", number(*b.Left, 0))
	}
	if b.BurnRate != nil && *b.BurnRate > 1 {
		text += fmt.Sprintf(", going %s times as fast as it may", number(*b.BurnRate, 1))
	}
	return text + "."
}

// firing names the alerts of a budget.
func firing(p *triage.Problem, b *atlas.Budget, now time.Time) string {
	var parts []string
	for _, alert := range p.Alerts {
		if alert.SLO != b.SLO || alert.Objective != b.Objective {
			continue
		}
		text := alert.Tier
		if !alert.Since.IsZero() {
			text += " since " + since(alert.Since, now)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// since is a time as those who are woken by it think of it, and as logs write it.
func since(at, now time.Time) string {
	at = at.UTC()
	if now.Sub(at) < 24*time.Hour && at.Day() == now.UTC().Day() {
		return fmt.Sprintf("%s UTC (%s)", at.Format("15:04"), ago(at, now))
	}
	return fmt.Sprintf("%s UTC (%s)", at.Format("Jan 2 15:04"), ago(at, now))
}

func ago(at, now time.Time) string {
	switch passed := now.Sub(at); {
	case passed < 2*time.Minute:
		return "just now"
	case passed < 2*time.Hour:
		return fmt.Sprintf("%d minutes ago", int(passed.Minutes()))
	case passed < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(passed.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(passed.Hours()/24))
	}
}

// rest says how what is no problem does.
func rest(b *strings.Builder, r *triage.Report, o Options) {
	wrong := 0
	for _, p := range r.Problems {
		if p.Level != triage.Note {
			wrong++
		}
	}
	var text string
	how := plain
	switch {
	case wrong == 0 && r.Budgets == 0:
		text = "Nothing is wrong, but nothing is promised either: no ExperienceSLO watches what was asked for."
	case wrong == 0 && r.Kept == r.Budgets:
		text, how = fmt.Sprintf("✓ All is well: all %d budgets are kept.", r.Budgets), good
	case wrong == 0:
		text = fmt.Sprintf("✓ Nothing is wrong that can be judged: of %d budgets %d are kept.", r.Budgets, r.Kept)
	case r.Budgets == 0:
		text = problems(wrong) + ". Nothing is promised: no ExperienceSLO watches what was asked for."
	default:
		text = fmt.Sprintf("%s. Of %d budgets %d are kept.", problems(wrong), r.Budgets, r.Kept)
	}
	if len(r.Unjudged) > 0 {
		text += " Not judged yet: " + strings.Join(r.Unjudged, "; ") + "."
	}
	for _, line := range wrap(text, o.width(), 0) {
		b.WriteString(o.paint(how, line) + "\n")
	}
	for _, sentence := range r.Missing {
		for _, line := range wrap(clean(sentence), o.width(), 0) {
			b.WriteString(o.paint(faint, line) + "\n")
		}
	}
}

func problems(n int) string {
	if n == 1 {
		return "One problem"
	}
	return fmt.Sprintf("%d problems", n)
}
