// Package schedule runs many jobs, each at its own interval and at its own moment
// within it, with a limit on how many run at once, in all and against one host.
//
// One goroutine sleeps until the next job is due, and a few others make the runs. A goroutine and a ticker per job would be as short to
// write, but a ticker knows only the time since the job became known: after a
// restart all jobs would run together. The heap also shows at one place which jobs
// wait, which is what skipping, overload and lateness are told from.
package schedule

import (
	"container/heap"
	"container/list"
	"context"
	"hash/fnv"
	"sync"
	"time"
)

// maxIdle is how many goroutines are kept for the next runs. In a second of three
// hundred visits of ten milliseconds, three go on at a time.
const maxIdle = 64

// A process that wakes up for a single visit spends more on waking, with cold caches,
// than on the visit. So whenever a run is due, up to together runs begin, those that
// are due within ahead too. More would make them wait for each other, and be seen in
// the durations that they measure.
const (
	together = 4
	ahead    = 50 * time.Millisecond
)

// Job is what a Scheduler runs. Allowed, Overlapped and Starved are called while
// the Scheduler is locked: they must return at once and not call it.
type Job interface {
	// Allowed is asked when the job is due. If it says no, the job is asked again
	// one interval later, and nothing is missed by that.
	Allowed(now time.Time) bool
	// Run does the work. It must return soon after ctx ends.
	Run(ctx context.Context)
	// Overlapped reports that the job was due while its predecessor still ran, and
	// is therefore skipped.
	Overlapped()
	// Starved reports that a run waited a whole interval for a slot; it will not
	// happen, and the next one takes its place in the queue. It is told whether the
	// slots of its host were taken, or all slots.
	Starved(ofHost bool)
}

// Limits says how many runs may go on at once.
type Limits struct {
	// All is for all runs together, at least 1.
	All int
	// PerHost is for runs against the same host; 0 means no limit besides All.
	PerHost int
}

// Scheduler runs jobs. Its methods may be called at any time, before Run as well.
type Scheduler struct {
	limits Limits
	late   func(time.Duration)

	mu      sync.Mutex
	ctx     context.Context // nil before Run
	jobs    map[string]*entry
	hosts   map[string]*host
	due     dueHeap
	waiting list.List // of *entry, the longest waiting first
	running int
	idle    []chan run // of workers that wait for work
	runs    sync.WaitGroup
	wake    chan struct{}
}

// entry is a job with its place in time.
type entry struct {
	job      Job
	host     *host
	phase    time.Duration
	interval time.Duration
	next     time.Time
	index    int // in the heap

	queue  *list.List    // where it waits for a slot: the common queue or its host's
	place  *list.Element // in that queue
	since  time.Time     // when the waiting run was due
	cancel func()        // while running
}

// host is what several jobs ask. It is forgotten with the last of them.
type host struct {
	name    string
	jobs    int // those known and those still running
	running int
	// waiting holds, in order, the entries that would exceed the host's limit. They
	// wait apart, so that one slow host does not hold up those behind it.
	waiting list.List
}

// New returns a Scheduler. It tells late, for each run, how long after its due time
// the run began.
func New(limits Limits, late func(time.Duration)) *Scheduler {
	return &Scheduler{
		limits: limits, late: late,
		jobs: map[string]*entry{}, hosts: map[string]*host{}, wake: make(chan struct{}, 1),
	}
}

// Set adds a job, or replaces the one of the same key: a run of that one is called
// off. The identity decides at which moment of the interval the job runs; the host
// is what the limit per host counts by.
func (s *Scheduler) Set(key, identity, host string, interval time.Duration, job Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
	e := &entry{job: job, host: s.know(host), interval: interval, phase: Phase(identity, interval)}
	e.next = nextSlot(time.Now(), 0, e.phase, interval)
	s.jobs[key] = e
	heap.Push(&s.due, e)
	if e.index == 0 {
		s.wakeUp()
	}
}

// Remove forgets a job and calls off its run.
func (s *Scheduler) Remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(key)
}

// Len counts the jobs.
func (s *Scheduler) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)
}

// Running counts the runs that are going on.
func (s *Scheduler) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// Run runs the jobs until ctx ends, calls off those that are under way, and
// returns once all of them have ended.
func (s *Scheduler) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.dismiss()
			s.runs.Wait()
			return
		case <-timer.C:
		case <-s.wake:
		}
		timer.Reset(s.step())
	}
}

// step queues what is due, starts what has a slot, and returns the time until
// something is due again.
func (s *Scheduler) step() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	until := now
	for taken := 0; len(s.due) > 0 && !s.due[0].next.After(until); {
		e := s.due[0]
		due := e.next
		if taken++; taken < together {
			until = now.Add(ahead)
		} else {
			until = now
		}
		// Half an interval ahead of now: a wall clock that is set back a little must
		// not make a slot come twice.
		e.next = nextSlot(now, e.interval/2, e.phase, e.interval)
		heap.Fix(&s.due, 0)
		switch {
		case e.cancel != nil:
			e.job.Overlapped()
		case e.place != nil:
			e.job.Starved(e.queue == &e.host.waiting)
			e.since = due
		case e.job.Allowed(now):
			e.since = due
			e.wait(&s.waiting, false)
		}
	}
	s.start()
	if len(s.due) == 0 {
		return time.Hour
	}
	return time.Until(s.due[0].next)
}

// start gives the free slots to those that wait longest.
func (s *Scheduler) start() {
	for s.running < s.limits.All && s.waiting.Len() > 0 && s.ctx.Err() == nil {
		e := s.waiting.Front().Value.(*entry)
		e.leave()
		if s.limits.PerHost > 0 && e.host.running >= s.limits.PerHost {
			e.wait(&e.host.waiting, false)
			continue
		}
		ctx, cancel := context.WithCancel(s.ctx)
		e.cancel = cancel
		s.running++
		e.host.running++
		e.host.jobs++
		s.late(max(0, time.Since(e.since)))
		s.give(run{e, ctx})
	}
}

// run is an entry's job on its way to a worker.
type run struct {
	*entry
	ctx context.Context
}

// give has a worker make a run: an idle one, for the stack of a new one would have to
// grow first, which costs as much as a tenth of a visit.
func (s *Scheduler) give(r run) {
	if last := len(s.idle) - 1; last >= 0 {
		s.idle[last] <- r
		s.idle = s.idle[:last]
		return
	}
	s.runs.Go(func() { s.work(r) })
}

// work makes runs until there are enough idle workers, or the end.
func (s *Scheduler) work(r run) {
	next := make(chan run, 1)
	for more := true; more; {
		r.job.Run(r.ctx)
		if !s.done(r, next) {
			return
		}
		r, more = <-next
	}
}

// dismiss sends the idle workers home. Since ctx has ended, there will be no others.
func (s *Scheduler) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, next := range s.idle {
		close(next)
	}
	s.idle = nil
}

// done ends a run, and tells whether its worker shall wait for another.
func (s *Scheduler) done(r run, next chan run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.cancel()
	r.entry.cancel = nil
	s.running--
	r.host.running--
	if first := r.host.waiting.Front(); first != nil {
		// It has waited longer than whoever waits for any slot.
		waits := first.Value.(*entry)
		waits.leave()
		waits.wait(&s.waiting, true)
	}
	s.forget(r.host)
	keep := len(s.idle) < maxIdle && s.ctx.Err() == nil
	if keep {
		s.idle = append(s.idle, next)
	}
	s.start()
	return keep
}

// wait puts an entry at the end of a queue, or first.
func (e *entry) wait(queue *list.List, first bool) {
	e.queue = queue
	if first {
		e.place = queue.PushFront(e)
	} else {
		e.place = queue.PushBack(e)
	}
}

// leave takes an entry out of the queue that it waits in.
func (e *entry) leave() {
	e.queue.Remove(e.place)
	e.queue, e.place = nil, nil
}

func (s *Scheduler) remove(key string) {
	e := s.jobs[key]
	if e == nil {
		return
	}
	delete(s.jobs, key)
	heap.Remove(&s.due, e.index)
	if e.place != nil {
		e.leave()
	}
	if e.cancel != nil {
		e.cancel()
	}
	s.forget(e.host)
}

// know returns a host, with one more job.
func (s *Scheduler) know(name string) *host {
	h := s.hosts[name]
	if h == nil {
		h = &host{name: name}
		s.hosts[name] = h
	}
	h.jobs++
	return h
}

// forget takes one job from a host.
func (s *Scheduler) forget(h *host) {
	if h.jobs--; h.jobs == 0 {
		delete(s.hosts, h.name)
	}
}

func (s *Scheduler) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Phase is the moment within an interval at which an identity has its turn: the
// same in every process and after every restart, and evenly spread over many.
func Phase(identity string, interval time.Duration) time.Duration {
	sum := fnv.New64a()
	sum.Write([]byte(identity))
	return time.Duration(sum.Sum64() % uint64(interval))
}

// nextSlot returns the first time more than ahead after now at which the wall clock
// stands at the phase of the interval. The result keeps now's monotonic reading:
// a wall clock that is set anew moves the slots, but never leaves a job asleep.
func nextSlot(now time.Time, ahead, phase, interval time.Duration) time.Time {
	earliest := now.Add(ahead)
	into := (earliest.UnixNano() - int64(phase)) % int64(interval)
	if into < 0 {
		into += int64(interval)
	}
	return earliest.Add(interval - time.Duration(into))
}

// dueHeap orders entries by the time at which they are due.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is called by package heap.
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is called by package heap.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
