package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

const (
	// warmup fills the longest windows before anything is counted.
	warmup = 28 * day
	// patience is how long a degradation may go undetected before it counts as missed.
	patience = 28 * day
	// illness is how long customers are unhappy where it is measured when alerts end.
	illness = 7 * day
)

// repeated does something for each repetition on all processors and returns the results
// in order.
func repeated[T any](ctx context.Context, repetitions int, once func(repetition int) T) ([]T, error) {
	results := make([]T, repetitions)
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for repetition := range repetitions {
		workers.Go(func() error {
			if ctx.Err() == nil {
				results[repetition] = once(repetition)
			}
			return ctx.Err()
		})
	}
	return results, workers.Wait()
}

// noise is how often alerts fire although nothing changes.
type noise struct {
	// years are those watched, all touchpoints together.
	years          float64
	pages, tickets int
}

func (n noise) aMonth(fired int) float64 {
	return float64(fired) / n.years / (year.Hours() / month.Hours())
}

// measureNoise watches touchpoints for a year each, with one share of bad answers
// throughout, and counts each time that one of the alerts begins to fire.
func measureNoise(ctx context.Context, rulesets []ruleset, perDay, bad float64, years int, seed uint64) ([]noise, error) {
	what := fmt.Sprintf("noise %v %v", perDay, bad)
	each, err := repeated(ctx, years, func(repetition int) []noise {
		const length = warmup + year
		t := tiled(answers(seeded(seed, what, repetition), perDay, always(bad), length), length)
		found := make([]noise, len(rulesets))
		for i, rules := range rulesets {
			for _, a := range rules.alerts {
				fired := len(since(a.firings(t), warmup))
				if a.page {
					found[i].pages += fired
				} else {
					found[i].tickets += fired
				}
			}
		}
		return found
	})
	all := make([]noise, len(rulesets))
	for _, once := range each {
		for i, n := range once {
			all[i] = noise{all[i].years + 1, all[i].pages + n.pages, all[i].tickets + n.tickets}
		}
	}
	return all, err
}

// since leaves out what began before, or at, a time since the epoch.
func since(firings []firing, start time.Duration) []firing {
	at := slices.IndexFunc(firings, func(f firing) bool { return time.Duration(f.from)*step > start })
	if at < 0 {
		return nil
	}
	return firings[at:]
}

// detection is what alerts make of a degradation, all repetitions together, in hours.
type detection struct {
	// found is the time from the change to the first alert, and paged to the first
	// page, sorted; +Inf where nothing fired.
	found, paged []float64
	// refires are alerts that fired again after their first time, within weeks from
	// the first alert on.
	refires int
	weeks   float64
	// cleared is the time from recovery until no alert fires that fired then, and
	// stoodDown the same for pages, sorted.
	cleared, stoodDown []float64
}

// refiresAWeek adds up all alerts of a budget.
func (d detection) refiresAWeek() float64 { return float64(d.refires) / d.weeks }

// measureDetection lets a tenth of answers, and from a random moment on more of them, be
// bad; once for good, and once until recovery.
func measureDetection(ctx context.Context, rulesets []ruleset, perDay, healthy, degraded float64, repetitions int, seed uint64) ([]detection, error) {
	what := fmt.Sprintf("detection %v %v", perDay, degraded)
	each, err := repeated(ctx, repetitions, func(repetition int) []detection {
		random := seeded(seed, what, repetition)
		change := warmup + time.Duration(random.Float64()*float64(week))
		recovery, end := change+illness, change+patience
		lasting := tiled(answers(random, perDay, spell(healthy, degraded, change, end), end), end)
		passing := tiled(answers(random, perDay, spell(healthy, degraded, change, recovery), end), end)
		found := make([]detection, len(rulesets))
		for i, rules := range rulesets {
			found[i] = detected(rules, lasting, change)
			found[i].cleared, found[i].stoodDown = cleared(rules, passing, recovery)
		}
		return found
	})
	all := make([]detection, len(rulesets))
	for _, once := range each {
		for i, d := range once {
			all[i].found = append(all[i].found, d.found...)
			all[i].paged = append(all[i].paged, d.paged...)
			all[i].cleared = append(all[i].cleared, d.cleared...)
			all[i].stoodDown = append(all[i].stoodDown, d.stoodDown...)
			all[i].refires += d.refires
			all[i].weeks += d.weeks
		}
	}
	for _, d := range all {
		for _, hours := range [][]float64{d.found, d.paged, d.cleared, d.stoodDown} {
			slices.Sort(hours)
		}
	}
	return all, err
}

// detected looks at what began to fire after the change.
func detected(rules ruleset, t tiles, change time.Duration) detection {
	found, paged := math.Inf(1), math.Inf(1)
	var d detection
	for _, a := range rules.alerts {
		firings := since(a.firings(t), change)
		if len(firings) == 0 {
			continue
		}
		took := (time.Duration(firings[0].from)*step - change).Hours()
		found = min(found, took)
		if a.page {
			paged = min(paged, took)
		}
		d.refires += len(firings) - 1
	}
	if !math.IsInf(found, 1) {
		d.weeks = (patience.Hours() - found) / week.Hours()
	}
	d.found, d.paged = []float64{found}, []float64{paged}
	return d
}

// cleared looks at what fires at the recovery: nothing if nothing does.
func cleared(rules ruleset, t tiles, recovery time.Duration) (all, pages []float64) {
	at, last, lastPage := int(recovery/step), 0, 0
	for _, a := range rules.alerts {
		for _, f := range a.firings(t) {
			if f.from <= at && f.until > at {
				last = max(last, f.until)
				if a.page {
					lastPage = max(lastPage, f.until)
				}
			}
		}
	}
	took := func(until int) []float64 {
		if until == 0 {
			return nil
		}
		return []float64{(time.Duration(until)*step - recovery).Hours()}
	}
	return took(last), took(lastPage)
}

// measureStates judges the budget of a touchpoint with one answer a day over 28 days, at
// every step of a year: with exactly one each day, and with one on average.
func measureStates(ctx context.Context, allowed, bad float64, floor, years int, seed uint64) (exact, average map[budget.State]float64, err error) {
	type counts map[budget.State]int
	judge := func(arrivals func(repetition int) []answer) (map[budget.State]float64, error) {
		each, err := repeated(ctx, years, func(repetition int) counts {
			const length = warmup + year
			t := tiled(arrivals(repetition), length)
			found := counts{}
			for k := int(warmup/step) + 12; k <= t.last(); k++ { // the window is full an hour later
				n, mean := standing(t, k, 28*day)
				found[budget.Judge(budget.Survey, mean*n, n, allowed, float64(floor), false)]++
			}
			return found
		})
		shares, total := map[budget.State]float64{}, 0.0
		for _, found := range each {
			for state, n := range found {
				shares[state] += float64(n)
				total += float64(n)
			}
		}
		for state := range shares {
			shares[state] /= total
		}
		return shares, err
	}
	if exact, err = judge(func(repetition int) []answer {
		return daily(seeded(seed, "daily", repetition), bad, warmup+year)
	}); err != nil {
		return nil, nil, err
	}
	average, err = judge(func(repetition int) []answer {
		return answers(seeded(seed, "average", repetition), 1, always(bad), warmup+year)
	})
	return exact, average, err
}

// quantile of sorted numbers: the smallest that at least this part of them does not exceed.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// share is the part that is finite.
func share(sorted []float64) float64 {
	finite, _ := slices.BinarySearch(sorted, math.Inf(1))
	return float64(finite) / float64(len(sorted))
}
