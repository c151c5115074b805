package ledger

import (
	"sync"
	"sync/atomic"

	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Totals mirrors the counters of a database in memory. Totals never fall.
type Totals struct {
	lock sync.RWMutex
	// byQuestion holds one counter for each score, the lowest score first.
	byQuestion map[Question][]atomic.Uint64
}

// Each calls show with every score of a question's instrument, lowest first, and
// the responses that gave it; zero where there were none.
func (t *Totals) Each(question Question, show func(score int, responses uint64)) {
	scale, known := ScaleOf(question.Instrument)
	if !known {
		return
	}
	t.lock.RLock()
	counters := t.byQuestion[question]
	t.lock.RUnlock()
	for score := scale.Low; score <= scale.High; score++ {
		responses := uint64(0)
		if counters != nil {
			responses = counters[score-scale.Low].Load()
		}
		show(score, responses)
	}
}

// raise takes over totals from the database. Only the writing goroutine calls it.
func (t *Totals) raise(totals map[Series]uint64) {
	for series, total := range totals {
		scale, known := ScaleOf(series.Instrument)
		if !known || series.Score < scale.Low || series.Score > scale.High {
			continue // written by a version that knew more instruments
		}
		counter := &t.counters(series.Question, scale)[series.Score-scale.Low]
		if total > counter.Load() {
			counter.Store(total)
		}
	}
}

func (t *Totals) counters(question Question, scale budget.Scale) []atomic.Uint64 {
	if counters, exist := t.byQuestion[question]; exist {
		return counters
	}
	counters := make([]atomic.Uint64, scale.High-scale.Low+1)
	t.lock.Lock()
	defer t.lock.Unlock()
	if t.byQuestion == nil {
		t.byQuestion = map[Question][]atomic.Uint64{}
	}
	t.byQuestion[question] = counters
	return counters
}
