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
	bySegment map[segment][]counter
}

// counter mirrors a Count.
type counter struct{ responses, comments atomic.Uint64 }

// segment is a question asked of one segment of customers, of all where its name is
// empty.
type segment struct {
	Question
	name string
}

// Each calls show with every score of a question's instrument, lowest first, and
// the responses that gave it; zero where there were none. A name of a segment has
// it show that segment's responses only.
func (t *Totals) Each(question Question, name string, show func(score int, count Count)) {
	scale, known := ScaleOf(question.Instrument)
	if !known {
		return
	}
	t.lock.RLock()
	counters := t.bySegment[segment{question, name}]
	t.lock.RUnlock()
	for score := scale.Low; score <= scale.High; score++ {
		var count Count
		if counters != nil {
			of := &counters[score-scale.Low]
			count = Count{Responses: of.responses.Load(), Comments: of.comments.Load()}
		}
		show(score, count)
	}
}

// CommentsBySentiment returns how many comments came with answers of each sentiment at a touchpoint,
// whatever was asked there: an instrument that it no longer has took them as well.
func (t *Totals) CommentsBySentiment(namespace, touchpoint string) map[Sentiment]uint64 {
	comments := make(map[Sentiment]uint64, len(Sentiments))
	for instrument, scale := range scales {
		t.Each(Question{Namespace: namespace, Touchpoint: touchpoint, Instrument: instrument}, "", func(score int, count Count) {
			comments[sentimentOf(scale, score)] += count.Comments
		})
	}
	return comments
}

// raise takes over totals from the database.
func (t *Totals) raise(totals map[Series]Count) {
	for series, total := range totals {
		scale, known := ScaleOf(series.Instrument)
		if !known || series.Score < scale.Low || series.Score > scale.High {
			continue // written by a version that knew more instruments
		}
		counter := &t.counters(segment{series.Question, series.Segment}, scale)[series.Score-scale.Low]
		raise(&counter.responses, total.Responses)
		raise(&counter.comments, total.Comments)
	}
}

// raise has a counter show a total. What was read earlier may come later: totals never
// fall.
func raise(counter *atomic.Uint64, total uint64) {
	for known := counter.Load(); total > known && !counter.CompareAndSwap(known, total); {
		known = counter.Load()
	}
}

func (t *Totals) counters(of segment, scale budget.Scale) []counter {
	t.lock.Lock()
	defer t.lock.Unlock()
	if counters, exist := t.bySegment[of]; exist {
		return counters
	}
	counters := make([]counter, scale.High-scale.Low+1)
	if t.bySegment == nil {
		t.bySegment = map[segment][]counter{}
	}
	t.bySegment[of] = counters
	return counters
}
