package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// ruleset is the alerts that watch one budget.
type ruleset struct {
	name   string
	alerts []alert
}

// ours are the survey tiers, as the generated rules ask for them. Without calm, an alert
// ends as soon as the lower bound is no longer above.
func ours(tiers []budget.Tier, rule ending, allowed float64, floor int, when timetable) ruleset {
	rules := ruleset{name: "Sojourn"}
	for _, tier := range tiers {
		begins := newSurveyTier(tier, allowed, floor, when)
		a := alert{name: tier.Severity() + " " + tier.Name, page: tier.Page, condition: begins}
		if rule.calm > 0 {
			a.held, a.ending = meanAbove{begins.window, begins.threshold}, rule
		}
		rules.alerts = append(rules.alerts, a)
	}
	return rules
}

// peer is an alert of another generator: pairs of windows, any of which is enough.
type peer struct {
	name  string
	page  bool
	wait  time.Duration
	pairs []peerPair
}

type peerPair struct {
	long, short time.Duration
	factor      float64
}

// sloth are the alerts that Sloth makes for an SLO of 28 days (its google-28d windows):
// one page and one ticket, each of two pairs of windows. They fire at 2 % of the budget
// in an hour, 5 % in six, 10 % in a day or in three.
var sloth = []peer{
	{name: "page", page: true, pairs: []peerPair{
		{time.Hour, 5 * time.Minute, 0.02 * 28 * 24},
		{6 * time.Hour, 30 * time.Minute, 0.05 * 28 * 4},
	}},
	{name: "ticket", pairs: []peerPair{
		{day, 2 * time.Hour, 0.1 * 28},
		{3 * day, 6 * time.Hour, 0.1 * 28 / 3},
	}},
}

// pyrra are the alerts that Pyrra makes for an SLO of 4 weeks: two critical, two
// warnings.
var pyrra = []peer{
	{name: "critical 1h", page: true, wait: 2 * time.Minute, pairs: []peerPair{{time.Hour, 5 * time.Minute, 14}}},
	{name: "critical 6h", page: true, wait: 15 * time.Minute, pairs: []peerPair{{6 * time.Hour, 30 * time.Minute, 7}}},
	{name: "warning 1d", wait: time.Hour, pairs: []peerPair{{day, 2 * time.Hour, 2}}},
	{name: "warning 4d", wait: 3 * time.Hour, pairs: []peerPair{{4 * day, 6 * time.Hour, 1}}},
}

func theirs(name string, peers []peer, allowed float64) ruleset {
	rules := ruleset{name: name}
	above := func(length time.Duration, factor float64) meanAbove {
		return meanAbove{upToNow(length), factor * allowed}
	}
	for _, p := range peers {
		var pairs anyOf
		for _, w := range p.pairs {
			if w.factor*allowed < 1 { // else nothing is bad enough
				pairs = append(pairs, both{above(w.short, w.factor), above(w.long, w.factor)})
			}
		}
		rules.alerts = append(rules.alerts, alert{name: p.name, page: p.page, condition: pairs, wait: p.wait})
	}
	return rules
}

// parseTier reads a tier as people write it: page:1d:2:3.09 is a page over one day, when
// the lower bound at z = 3.09 exceeds twice the budget.
func parseTier(text string) (budget.Tier, error) {
	fields := strings.Split(text, ":")
	if len(fields) != 4 || (fields[0] != "page" && fields[0] != "ticket") {
		return budget.Tier{}, fmt.Errorf("write severity:window:factor:z, such as page:1d:2:3.09")
	}
	long, err := model.ParseDuration(fields[1])
	if err != nil || time.Duration(long) < time.Hour || time.Duration(long)%time.Hour != 0 {
		return budget.Tier{}, fmt.Errorf("the window %q is not one of whole hours, such as 3d", fields[1])
	}
	factor, err := strconv.ParseFloat(fields[2], 64)
	if err != nil || !(factor >= 1) {
		return budget.Tier{}, fmt.Errorf("the factor %q is not a number of at least 1", fields[2])
	}
	z, err := strconv.ParseFloat(fields[3], 64)
	if err != nil || !(z > 0) {
		return budget.Tier{}, fmt.Errorf("z %q is not a positive number", fields[3])
	}
	return budget.Tier{Page: fields[0] == "page", Name: fields[1], Long: time.Duration(long), Factor: factor, Z: z}, nil
}
