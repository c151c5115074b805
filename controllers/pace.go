package controllers

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// pace spaces the work on one object: the first change is answered at once, and what
// follows is gathered. A thousand touchpoints applied together would otherwise have
// the rules that cover all of them made and written a thousand times. The larger the
// work, the longer the rest, so that it never takes more than a tenth of the time.
//
// Work that failed is not paced: the back-off of the queue is the pace then, and a
// rest would make the queue forget it.
type pace struct {
	now      func() time.Time
	shortest time.Duration

	mu   sync.Mutex
	next map[reconcile.Request]time.Time
}

const (
	longestRest = 30 * time.Second
	restPerWork = 9
)

func newPace(now func() time.Time, shortest time.Duration) *pace {
	return &pace{now: now, shortest: shortest, next: map[reconcile.Request]time.Time{}}
}

// rest is how long to wait before the next work on an object.
func (p *pace) rest(request reconcile.Request) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, has := p.next[request]
	if !has {
		return 0
	}
	rest := next.Sub(p.now())
	if rest <= 0 {
		delete(p.next, request)
	}
	return rest
}

// begin starts work on an object. The function it returns ends it.
func (p *pace) begin(request reconcile.Request) (done func()) {
	started := p.now()
	return func() {
		ended := p.now()
		rest := min(max(p.shortest, restPerWork*ended.Sub(started)), longestRest)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.next[request] = ended.Add(rest)
	}
}
