package main

import (
	"math"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// step is how often windows are added up and tickets evaluated. Pages are evaluated
// every minute, but nothing that those of surveys read changes more often than this.
const step = 5 * time.Minute

const stepsPerHour = int(time.Hour / step)

// tiles are the answers of one touchpoint, added up: element k of each is what came by
// the time k × step, its end included.
type tiles struct {
	events, losses []int32
}

func (t tiles) last() int { return len(t.events) - 1 }

// tiled adds up answers. A counter that is scraped at the time of an answer has it
// already, so that it falls into the tile which ends then.
func tiled(answers []answer, length time.Duration) tiles {
	n := int(length/step) + 1
	t := tiles{make([]int32, n), make([]int32, n)}
	next := 0
	var events, losses int32
	for k := range n {
		for next < len(answers) && answers[next].at <= time.Duration(k)*step {
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

// window is a length of time over which answers are added up.
type window struct {
	steps int
	// hours tells that hours are added up, as the generated rules do for windows of more
	// than a day: those that ended with the last whole hour, and of the last sixty
	// minutes, less those before the window, the part that has passed since.
	hours bool
}

// sums are the answers, and the bad ones among them, of the window that ends at a step.
func (w window) sums(t tiles, k int) (events, losses float64) {
	if !w.hours {
		return t.between(k-w.steps, k)
	}
	past := k % stepsPerHour
	events, losses = t.between(k-past-w.steps, k-past)
	if past > 0 {
		newEvents, newLosses := t.between(k-stepsPerHour, k)
		oldEvents, oldLosses := t.between(k-w.steps-stepsPerHour, k-w.steps)
		passed := float64(past) / float64(stepsPerHour)
		events += passed * (newEvents - oldEvents)
		losses += passed * (newLosses - oldLosses)
	}
	return events, losses
}

// between adds up what came after one step and until another.
func (t tiles) between(from, until int) (events, losses float64) {
	from, until = max(0, from), max(0, until)
	return float64(t.events[until] - t.events[from]), float64(t.losses[until] - t.losses[from])
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

func newSurveyTier(tier budget.Tier, allowed float64, floor int) surveyTier {
	threshold := math.Inf(1)
	if factor, _ := tier.InForce(allowed, floor); factor > 0 {
		threshold = min(tier.Factor*allowed, tier.Ceiling(floor))
	}
	return surveyTier{window{int(tier.Long / step), tier.Long > day}, tier.Z, threshold, float64(floor)}
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
	// hold, if any, is asked in place of the condition while the alert fires.
	hold condition
	// wait is how long it must burn before it fires (for), keep how long it fires on
	// after it burned last (keep_firing_for).
	wait, keep time.Duration
}

// firing is a time during which an alert fires: from one step until before another.
type firing struct{ from, until int }

// firings lists the times an alert fires. The last ends after the last tile if the alert
// fires then.
func (a alert) firings(t tiles) []firing {
	wait, keep := int(a.wait/step), int(a.keep/step)
	var firings []firing
	fires, burning, burned := false, 0, 0
	for k := 1; k <= t.last(); k++ {
		switch {
		case a.burns(t, k) || (fires && a.hold != nil && a.hold.burns(t, k)):
			burning, burned = burning+1, k
			if !fires && burning > wait {
				fires = true
				firings = append(firings, firing{k, t.last() + 1})
			}
		case fires && k-burned <= keep:
			burning = 0
		default:
			if fires {
				firings[len(firings)-1].until = k
			}
			fires, burning = false, 0
		}
	}
	return firings
}
