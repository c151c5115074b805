package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// report writes tables of at most 100 columns.
type report struct{ io.Writer }

func (r report) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r report) heading(o options, mine ruleset) {
	r.line("Alerts on surveys that promise %s, a budget of %v. Healthy: %v%% bad. Seed %d, %s/%s, %d CPUs",
		target, allowed, 100*healthy, o.seed, runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	var tiers []string
	for _, tier := range o.tiers {
		tiers = append(tiers, fmt.Sprintf("%s %s %vx z=%v", tier.Severity(), tier.Name, tier.Factor, tier.Z))
	}
	half := (len(tiers) + 1) / 2
	r.line("Sojourn: %s,\n         %s;", strings.Join(tiers[:half], ", "), strings.Join(tiers[half:], ", "))
	ending := "end when the bound is no longer above"
	if o.ending.calm > 0 {
		ending = fmt.Sprintf("end when the mean has not been above for %v", model.Duration(o.ending.calm))
	}
	r.line("         minResponses %d; %d alerts, which begin when the lower bound is above factor x budget\n         and %s.", floor, len(mine.alerts), ending)
	r.line("Sloth and Pyrra: their multi-window burn-rate alerts for 28 days.")
}

// columns are one block of cells for each rule set.
func (r report) columns(left string, rulesets []ruleset, width int, heads string) {
	var names, under strings.Builder
	for _, rules := range rulesets {
		fmt.Fprintf(&names, " | %-*s", width, rules.name)
		fmt.Fprintf(&under, " | %*s", width, heads)
	}
	r.line("%s", strings.TrimRight(fmt.Sprintf("%-13s%s", "", names.String()), " "))
	r.line("%-13s%s", left, under.String())
	r.line("%s", strings.Repeat("-", 13+len(rulesets)*(width+3)))
}

func (r report) noises(rulesets []ruleset, well, atTarget [][]noise) {
	r.line("\nFalse alerts a month at one touchpoint, each alert counted (%v touchpoints, a year each)", well[0][0].years)
	r.columns("answers a day", rulesets, 16, "tickets    pages")
	for _, part := range []struct {
		name  string
		rates [][]noise
	}{{"10% bad: well", well}, {"15% bad: just on target", atTarget}} {
		r.line("%s", part.name)
		for i, each := range part.rates {
			var cells strings.Builder
			for _, n := range each {
				fmt.Fprintf(&cells, " | %7.3f %8.3f", n.aMonth(n.tickets), n.aMonth(n.pages))
			}
			r.line("%13v%s", rates[i], cells.String())
		}
	}
}

func (r report) detections(rulesets []ruleset, found map[float64][][]detection) {
	r.line("\nTime from degradation to the first alert, be it by chance, within %v days; re-fires a week, of\nall alerts together", patience.Hours()/24)
	r.columns("answers a day", rulesets, 25, "found median    90% again")
	for _, bad := range degradations {
		r.line("%v%% bad", 100*bad)
		for i, each := range found[bad] {
			var cells strings.Builder
			for _, d := range each {
				fmt.Fprintf(&cells, " | %4.0f%% %6s %6s %5.2f", 100*share(d.found), took(quantile(d.found, 0.5)), took(quantile(d.found, 0.9)), d.refiresAWeek())
			}
			r.line("%13v%s", rates[i], cells.String())
		}
	}
}

func (r report) endings(rulesets []ruleset, found map[float64][][]detection) {
	r.line("\nMedian time from degradation to the first page, and, after %v bad days, from recovery until\nno alert, no page fires", illness.Hours()/24)
	r.columns("answers a day", rulesets, 25, "paged median alerts pages")
	for _, bad := range degradations {
		r.line("%v%% bad", 100*bad)
		for i, each := range found[bad] {
			var cells strings.Builder
			for _, d := range each {
				fmt.Fprintf(&cells, " | %4.0f%% %6s %6s %5s", 100*share(d.paged), took(quantile(d.paged, 0.5)), took(quantile(d.cleared, 0.5)), took(quantile(d.stoodDown, 0.5)))
			}
			r.line("%13v%s", rates[i], cells.String())
		}
	}
}

// took writes hours as people say them: 31h, 4.2d.
func took(hours float64) string {
	switch {
	case math.IsInf(hours, 1) || math.IsNaN(hours):
		return "-"
	case hours < 10:
		return fmt.Sprintf("%.1fh", hours)
	case hours < 72:
		return fmt.Sprintf("%.0fh", hours)
	default:
		return fmt.Sprintf("%.1fd", hours/24)
	}
}

var allStates = []budget.State{budget.Met, budget.Inconclusive, budget.Breached, budget.InsufficientData, budget.NoData}

func (r report) states(exact, average map[budget.State]float64) {
	r.line("\nState of a budget over 28 days, healthy, at every five minutes of a year")
	for _, row := range []struct {
		name   string
		shares map[budget.State]float64
	}{{"one answer on each day", exact}, {"one a day on average", average}} {
		var cells []string
		for _, state := range allStates {
			if row.shares[state] > 0 {
				cells = append(cells, fmt.Sprintf("%s %s", state, percent(row.shares[state])))
			}
		}
		r.line("  %-24s %s", row.name, strings.Join(cells, ", "))
	}
}

// percent writes a share with three digits that matter, also where little is missing.
func percent(share float64) string {
	if missing := 1 - share; missing > 0 && missing < 0.01 {
		return fmt.Sprintf("%.*f%%", int(math.Ceil(-math.Log10(missing))), 100*share)
	}
	return fmt.Sprintf("%.3g%%", 100*share)
}

func (r report) goals(well [][]noise, found map[float64][][]detection, exact, average map[budget.State]float64) {
	r.line("\nGoals")
	goal := func(met bool, format string, args ...any) {
		verdict := "met    "
		if !met {
			verdict = "NOT MET"
		}
		r.line("  %s  "+format, append([]any{verdict}, args...)...)
	}
	for i, perDay := range rates {
		switch perDay {
		case 5:
			n := well[i][0]
			goal(n.pages == 0, "5 a day: %d false pages in %v years (none in one)", n.pages, n.years)
		case 30:
			n := well[i][0]
			alerts := n.aMonth(n.tickets + n.pages)
			goal(alerts <= 0.1, "30 a day: %.3f false alerts a month (at most 0.1)", alerts)
			for _, g := range []struct{ bad, hours float64 }{{0.3, 36}, {0.2, 7 * 24}} {
				median := quantile(found[g.bad][i][0].found, 0.5)
				goal(median <= g.hours, "30 a day: %v%% bad is found within %s (median; at most %s)", 100*g.bad, took(median), took(g.hours))
			}
			r.line("  no goal  30 a day: 30%% bad pages within %s (median)", took(quantile(found[0.3][i][0].paged, 0.5)))
		}
	}
	worst, where := 0.0, ""
	for _, bad := range degradations {
		for i, perDay := range rates {
			if again := found[bad][i][0].refiresAWeek(); again > worst {
				worst, where = again, fmt.Sprintf(" at %v a day, %v%% bad", perDay, 100*bad)
			}
		}
	}
	goal(worst <= 1, "every rate: at most %.2f re-fires a week%s (at most 1)", worst, where)
	goal(exact[budget.InsufficientData] == 1, "1 on each day: %s InsufficientData over 28 days (always), %s Met (never)",
		percent(exact[budget.InsufficientData]), percent(exact[budget.Met]))
	r.line("  no goal  1 a day on average (Poisson): 30 and more come within 28 days at times: %s Met", percent(average[budget.Met]))
}

func (r report) agreements(mine, others agreement) {
	r.line("\nThe real rules, evaluated by Prometheus's rule manager, against the simulation")
	for _, row := range []struct {
		name string
		agreement
	}{{"Sojourn's generated rules", mine}, {"Sloth's and Pyrra's rules", others}} {
		r.line("  %-27s %d evaluations, %d of them firing: %d differ (%.3f%%)", row.name, row.evaluations, row.firing,
			row.differing, 100*float64(row.differing)/float64(row.evaluations))
	}
}
