package main

import (
	"math"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// step is how often survey alerts are evaluated.
const step = 5 * time.Minute

const minutesPerStep = int(step / time.Minute)

// tiles are the answers of one touchpoint, added up: element k of each is what came by
// the minute k, its end included.
type tiles struct {
	events, losses []int32
}

// last is the last step.
func (t tiles) last() int { return (len(t.events) - 1) / minutesPerStep }

// tiled adds up answers. A counter that is scraped at the time of an answer has it
// already, so that it falls into the minute which ends then.
func tiled(answers []answer, length time.Duration) tiles {
	n := int(length/time.Minute) + 1
	t := tiles{make([]int32, n), make([]int32, n)}
	next := 0
	var events, losses int32
	for k := range n {
		for next < len(answers) && answers[next].at <= time.Duration(k)*time.Minute {
			events++
			if answers[next].bad {
				losses++
			}
			next++
		}
		t.events[k], t.losses[k] = events, losses
	}
	return t
}

// between adds up what came after one minute and until another. Before the first nothing
// came, and after the last nothing is known.
func (t tiles) between(from, until int) (events, losses float64) {
	last := len(t.events) - 1
	from, until = min(max(0, from), last), min(max(0, until), last)
	return float64(t.events[until] - t.events[from]), float64(t.losses[until] - t.losses[from])
}

// timetable says in which minute of their intervals the generated rule groups are
// evaluated. (Prometheus derives it from their names.) Groups that are due at once are
// evaluated in the order in which they are written: steady, quarters, long.
type timetable struct {
	steady, quarters, long int
}

// slowest is when a quarter of an hour takes longest to reach an alert.
var slowest = timetable{}

const (
	quarter  = 15
	halfHour = 30
)

// now is the minute of a step.
func (t timetable) now(k int) int { return k*minutesPerStep + t.steady }

// dueBefore is the last time before a minute at which a group was evaluated.
func dueBefore(minute, every, offset int) int { return floorTo(minute-1-offset, every) + offset }

// floorTo rounds down to a multiple, negative numbers too.
func floorTo(x, every int) int { return x - (x%every+every)%every }

// settled is the end of the last quarter of an hour of which the tile is there: it is
// written at the first step that is at least a minute later.
func (t timetable) settled(minute int) int {
	late := t.steady
	if late == 0 {
		late = minutesPerStep
	}
	return floorTo(minute-late, quarter)
}

// window is a length of time over which answers are added up.
type window struct {
	minutes int
	// end tells with which minute the window ends that is read at a step.
	end func(k int) int
}

// sums are the answers, and the bad ones among them, of the window as it is read at a step.
func (w window) sums(t tiles, k int) (events, losses float64) {
	end := w.end(k)
	return t.between(end-w.minutes, end)
}

// upToNow is a window that ends now.
func upToNow(length time.Duration) window {
	return window{int(length / time.Minute), func(k int) int { return k * minutesPerStep }}
}

// added is a window as the generated rules add it up. Up to a day it consists of tiles of
// five minutes, which have a minute's grace. Longer ones consist of quarters of an hour and
// are added up every quarter, those of a week and more every half hour.
func (t timetable) added(length time.Duration) window {
	w := window{minutes: int(length / time.Minute)}
	switch {
	case length <= day:
		w.end = func(k int) int { return t.now(k) - 1 }
	case length < week:
		w.end = func(k int) int { return t.settled(dueBefore(t.now(k), quarter, t.quarters)) }
	default:
		w.end = func(k int) int { return t.settled(dueBefore(t.now(k), halfHour, t.long)) }
	}
	return w
}

// standing is what the state of a budget goes by: the sample size of its window, and the
// mean loss, to which is added what the last hour has more than the last hour of the window.
func standing(t tiles, k int, length time.Duration) (n, mean float64) {
	now := slowest.now(k)
	end := slowest.settled(dueBefore(now+1, halfHour, slowest.long)) // long windows come before states
	n, losses := t.between(end-int(length/time.Minute), end)
	newEvents, newLosses := t.between(now-60, now)
	oldEvents, oldLosses := t.between(end-60, end)
	return n, (losses + max(0, newLosses-oldLosses)) / (n + max(0, newEvents-oldEvents))
}

// condition is what an alert asks at every evaluation.
type condition interface {
	burns(t tiles, k int) bool
}

// surveyTier is a tier of the survey family: the lower confidence bound of enough
// answers is above the threshold.
type surveyTier struct {
	window
	z, threshold, floor float64
}

func newSurveyTier(tier budget.Tier, allowed float64, floor int, when timetable) surveyTier {
	threshold := math.Inf(1)
	if factor, _ := tier.InForce(allowed, floor); factor > 0 {
		threshold = min(tier.Factor*allowed, tier.Ceiling(floor))
	}
	return surveyTier{when.added(tier.Long), tier.Z, threshold, float64(floor)}
}

func (s surveyTier) burns(t tiles, k int) bool {
	n, lost := s.sums(t, k)
	if n < s.floor || lost <= s.threshold*n { // the bound is below the mean
		return false
	}
	lower, _ := budget.Bounds(lost, n, s.z)
	return lower > s.threshold
}

// meanAbove asks for the mean loss of a window, taken at its word.
type meanAbove struct {
	window
	threshold float64
}

func (m meanAbove) burns(t tiles, k int) bool {
	n, lost := m.sums(t, k)
	return n > 0 && lost/n > m.threshold
}

// both and anyOf join conditions.
type (
	both  []condition
	anyOf []condition
)

func (all both) burns(t tiles, k int) bool {
	for _, c := range all {
		if !c.burns(t, k) {
			return false
		}
	}
	return true
}

func (some anyOf) burns(t tiles, k int) bool {
	for _, c := range some {
		if c.burns(t, k) {
			return true
		}
	}
	return false
}

// alert is a condition with what Prometheus makes of it.
type alert struct {
	name string
	page bool
	condition
	// wait is how long it must burn before it fires (for).
	wait time.Duration
	// held, if any, is a condition that must have been false for some time, calm, before
	// the alert ends. It is true whenever the alert begins.
	held condition
	ending
}

// ending says how an alert ends that does not end when its condition does.
type ending struct {
	// calm is how long the mean must not have been above the threshold.
	calm time.Duration
	// memory is how far the rule looks back for itself firing.
	memory time.Duration
}

// firing is a time during which an alert fires: from one step until before another.
type firing struct{ from, until int }

// firings lists the times an alert fires. The last ends after the last tile if the alert
// fires then.
func (a alert) firings(t tiles) []firing {
	const never = math.MinInt / 2
	wait, calm, memory := int(a.wait/step), int(a.calm/step), int(a.memory/step)
	var firings []firing
	burning := 0                 // steps in a row
	fired, above := never, never // the last steps at which it fired, and was held
	for k := 1; k <= t.last(); k++ {
		burns := false
		if a.held != nil && k-fired <= memory {
			if a.held.burns(t, k) {
				above = k
			}
			burns = k-above < calm
		}
		if !burns && a.burns(t, k) {
			burns, above = true, k
		}
		if !burns {
			burning = 0
			continue
		}
		if burning++; burning <= wait {
			continue
		}
		if fired != k-1 {
			firings = append(firings, firing{from: k})
		}
		fired = k
		firings[len(firings)-1].until = k + 1
	}
	return firings
}
