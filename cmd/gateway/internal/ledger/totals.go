package ledger

import (
	"sync"
	"sync/atomic"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Totals mirrors the counters of a database in memory. Totals never fall.
type Totals struct {
	lock sync.RWMutex
	// bySegment holds one counter for each score, the lowest score first.
	bySegment map[segment][]atomic.Uint64
}

// segment is a question asked of one segment of customers, of all where its name is
// empty.
type segment struct {
	Question
	name string
}

// Each calls show with every score of a question's instrument, lowest first, and
// the responses that gave it; zero where there were none. A name of a segment has
// it show that segment's responses only.
func (t *Totals) Each(question Question, name string, show func(score int, responses uint64)) {
	scale, known := ScaleOf(question.Instrument)
	if !known {
		return
	}
	t.lock.RLock()
	counters := t.bySegment[segment{question, name}]
	t.lock.RUnlock()
	for score := scale.Low; score <= scale.High; score++ {
		responses := uint64(0)
		if counters != nil {
			responses = counters[score-scale.Low].Load()
		}
		show(score, responses)
	}
}

// raise takes over totals from the database.
func (t *Totals) raise(totals map[Series]uint64) {
	for series, total := range totals {
		scale, known := ScaleOf(series.Instrument)
		if !known || series.Score < scale.Low || series.Score > scale.High {
			continue // written by a version that knew more instruments
		}
		counter := &t.counters(segment{series.Question, series.Segment}, scale)[series.Score-scale.Low]
		// What was read earlier may come later: totals never fall.
		for known := counter.Load(); total > known && !counter.CompareAndSwap(known, total); {
			known = counter.Load()
		}
	}
}

func (t *Totals) counters(of segment, scale budget.Scale) []atomic.Uint64 {
	t.lock.Lock()
	defer t.lock.Unlock()
	if counters, exist := t.bySegment[of]; exist {
		return counters
	}
	counters := make([]atomic.Uint64, scale.High-scale.Low+1)
	if t.bySegment == nil {
		t.bySegment = map[segment][]atomic.Uint64{}
	}
	t.bySegment[of] = counters
	return counters
}
