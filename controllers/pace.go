package controllers

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// pace spaces the work on one object: the first change is answered at once, and what
// follows is gathered. A thousand touchpoints applied together would otherwise have
// the rules that cover all of them made and written a thousand times. The larger the
// work, the longer the rest, so that it takes about a tenth of the time while changes
// come without end. A rest ends early once no more of them come.
//
// Work that failed is not paced: the back-off of the queue is the pace then, and a
// rest would make the queue forget it.
type pace struct {
	now      func() time.Time
	shortest time.Duration

	mu    sync.Mutex
	rests map[reconcile.Request]*pause
}

// pause is a rest between two times of work on an object.
type pause struct {
	// until is when it ends at the latest, and stillness how long no change must come
	// for it to end before.
	until     time.Time
	stillness time.Duration
	// wake is when whoever asked was told to ask again. Who asks sooner brings a change.
	wake time.Time
	over bool
}

const (
	longestRest = 10 * time.Second
	restPerWork = 9
	// longestStillness keeps a single edit from waiting where the work before it was slow,
	// as it is while a manager starts.
	longestStillness = 500 * time.Millisecond
	// newcomerRest is how long what belongs to a new object may take to arrive, and
	// newcomerStillness how long nothing may come for it to be taken for complete.
	newcomerRest, newcomerStillness = 2 * time.Second, 300 * time.Millisecond
)

func newPace(now func() time.Time, shortest time.Duration) *pace {
	return &pace{now: now, shortest: shortest, rests: map[reconcile.Request]*pause{}}
}

// rest is how long to wait before the next work on an object.
func (p *pace) rest(request reconcile.Request) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, has := p.rests[request]
	if !has || r.over {
		return 0
	}
	now := p.now()
	if !now.Before(r.until) || !r.wake.IsZero() && !now.Before(r.wake) {
		r.over = true
		return 0
	}
	r.wake = now.Add(min(r.stillness, r.until.Sub(now)))
	return r.wake.Sub(now)
}

// welcome is how long to wait before the first work on a new object, so that what is
// applied together with it is there by then: until no more of it comes, or, where it is
// known to lack something, until that is there.
func (p *pace) welcome(request reconcile.Request, lacks bool) time.Duration {
	p.mu.Lock()
	r, has := p.rests[request]
	if !has {
		r = &pause{until: p.now().Add(newcomerRest), stillness: newcomerStillness}
		p.rests[request] = r
	}
	if lacks {
		// Whoever asks again looks whether it is there.
		defer p.mu.Unlock()
		r.over = true
		return r.until.Sub(p.now())
	}
	p.mu.Unlock()
	return p.rest(request)
}

// forget ends the account of an object that is gone.
func (p *pace) forget(request reconcile.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rests, request)
}

// begin starts work on an object. The function it returns ends it.
func (p *pace) begin(request reconcile.Request) (done func()) {
	started := p.now()
	return func() {
		ended := p.now()
		work := ended.Sub(started)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rests[request] = &pause{
			until:     ended.Add(min(max(p.shortest, restPerWork*work), longestRest)),
			stillness: max(p.shortest, min(work, longestStillness)),
		}
	}
}
