// Alerts measures how honest alerts on surveys are: how often they fire without reason,
// how soon they find what is wrong, and whether they flap.
//
// Months of answers at 5 to 1,000 a day are simulated for many touchpoints. Three rule
// sets see the same answers: Sojourn's survey tiers and the multi-window burn-rate alerts
// that Sloth and Pyrra make for the same promise, which take every mean at its word. A
// fast simulation of the three does the counting, and real Prometheus rule groups are
// evaluated beside it on a part of the answers to show that it fires when they do.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// healthy is the share of bad answers of customers who are well: two thirds of the budget.
const healthy = 0.1

var (
	rates        = []float64{5, 10, 30, 100, 1000}
	degradations = []float64{0.2, 0.3, 0.5}
)

const usage = `Alerts compares the alerts on surveys that Sojourn, Sloth and Pyrra make for a promise of
85 %% satisfied customers: false alerts a month, time to detect, re-fires a week.

Usage of %s:
  go run ./hack/bench/alerts [flags]

Examples:
  # The whole benchmark: three to five minutes on two cores.
  go run ./hack/bench/alerts

  # A quick look.
  go run ./hack/bench/alerts --years 20 --repetitions 50 --check=false

  # What if there were other tiers? Severity, window, factor and z of each.
  go run ./hack/bench/alerts --tier page:1d:1.5:3.09 --tier ticket:2d:1:2 --tier ticket:7d:1:2

  # What if alerts went on until the mean has been below the threshold for a day?
  go run ./hack/bench/alerts --calm 24h

  # What if an alert ended as soon as the lower bound is below its threshold?
  go run ./hack/bench/alerts --calm 0

Flags:
`

type options struct {
	seed        uint64
	years       int
	repetitions int
	check       bool
	tiers       []budget.Tier
	// ending is how alerts end: as generated, or with another calm if that is to be tried.
	ending  ending
	tryCalm bool
	// asWritten tells that the generated rules are simulated, not others.
	asWritten bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	var o options
	flags := flag.NewFlagSet("alerts", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), usage, flags.Name())
		flags.PrintDefaults()
	}
	flags.Uint64Var(&o.seed, "seed", 1, "what decides all chance")
	flags.IntVar(&o.years, "years", 200, "touchpoints to watch for a year at each rate, to count false alerts")
	flags.IntVar(&o.repetitions, "repetitions", 400, "degradations to simulate at each rate and share of bad answers")
	flags.BoolVar(&o.check, "check", true, "evaluate the real rules, too; not possible for others than the generated ones")
	flags.Func("tier", "`severity:window:factor:z` of a tier to try in place of the generated ones; may be repeated", func(text string) error {
		tier, err := parseTier(text)
		o.tiers = append(o.tiers, tier)
		return err
	})
	flags.DurationVar(&o.ending.calm, "calm", 0, "`duration` for which the mean must have been below its threshold for an alert to end, to try in place of the generated one; 0 to end as soon as the lower bound is below")
	switch err := flags.Parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2)
	}
	flags.Visit(func(f *flag.Flag) { o.tryCalm = o.tryCalm || f.Name == "calm" })
	if flags.NArg() > 0 || o.years < 1 || o.repetitions < 1 || o.ending.calm < 0 || o.ending.calm%step != 0 {
		fmt.Fprintln(os.Stderr, "alerts: takes no arguments, at least one year and repetition, and a calm of whole five minutes; see --help")
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	err := run(ctx, o, report{out})
	if err = errors.Join(err, out.Flush()); err != nil {
		fmt.Fprintln(os.Stderr, "alerts:", err)
		os.Exit(1)
	}
}

// generatedSet is what the generated rules come to in the simulation.
func generatedSet(groups []monitoringv1.RuleGroup, when timetable) (ruleset, error) {
	ending, err := endingOf(groups)
	if err != nil {
		return ruleset{}, err
	}
	return ours(budget.Tiers(budget.Survey, 28*day), ending, allowed, floor, when), nil
}

// candidate is the generated rule set, or the one to try.
func candidate(o *options) (ruleset, error) {
	groups, err := generatedRules([]string{"any"})
	if err != nil {
		return ruleset{}, err
	}
	generated, err := endingOf(groups)
	if err != nil {
		return ruleset{}, err
	}
	o.asWritten = o.tiers == nil && !o.tryCalm
	if o.tiers == nil {
		o.tiers = budget.Tiers(budget.Survey, 28*day)
	}
	o.ending.memory = generated.memory
	if !o.tryCalm {
		o.ending = generated
	}
	return ours(o.tiers, o.ending, allowed, floor, slowest), nil
}

func run(ctx context.Context, o options, out report) error {
	started := time.Now()
	tell := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0fs  "+format+"\n", append([]any{time.Since(started).Seconds()}, args...)...)
	}
	mine, err := candidate(&o)
	if err != nil {
		return err
	}
	rulesets := []ruleset{mine, theirs("Sloth", sloth, allowed), theirs("Pyrra", pyrra, allowed)}
	out.heading(o, mine)

	var well, atTarget [][]noise
	for _, perDay := range rates {
		tell("%v answers a day: false alerts", perDay)
		for _, at := range []struct {
			bad  float64
			into *[][]noise
		}{{healthy, &well}, {allowed, &atTarget}} {
			found, err := measureNoise(ctx, rulesets, perDay, at.bad, o.years, o.seed)
			if err != nil {
				return err
			}
			*at.into = append(*at.into, found)
		}
	}
	out.noises(rulesets, well, atTarget)

	found := map[float64][][]detection{} // by share of bad answers, then by rate
	for _, perDay := range rates {
		tell("%v answers a day: degradations", perDay)
		for _, bad := range degradations {
			each, err := measureDetection(ctx, rulesets, perDay, healthy, bad, o.repetitions, o.seed)
			if err != nil {
				return err
			}
			found[bad] = append(found[bad], each)
		}
	}
	out.detections(rulesets, found)
	out.endings(rulesets, found)

	tell("one answer a day: states")
	exact, average, err := measureStates(ctx, allowed, healthy, floor, o.years, o.seed)
	if err != nil {
		return err
	}
	out.states(exact, average)
	out.goals(well, found, exact, average)

	switch {
	case !o.check:
		return nil
	case !o.asWritten:
		out.line("No rules were evaluated: these tiers are not the generated ones.")
		return nil
	}
	same, alike, err := crosscheck(ctx, o.seed, tell)
	if err != nil {
		return err
	}
	out.agreements(same, alike)
	tell("done")
	if same.differing > 0 {
		return fmt.Errorf("the generated rules and the simulation differ: %s", same.first)
	}
	return nil
}
