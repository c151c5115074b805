// Package ledger keeps the responses and their totals: each response durably and
// exactly once, each total equal to what the database holds.
//
// A durable commit costs one wait for the disk however many responses it
// carries. One goroutine therefore takes whatever is waiting, writes it in one
// transaction and answers everybody: under load the transactions grow, at rest
// nobody waits for company. A database for several gateways gets a second goroutine,
// as from a second gateway.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Store is the database behind a Ledger. Add, Erase and CheckWritable are called by
// one goroutine at a time, everything else by any; where the store is Shared, a second
// goroutine calls Add.
type Store interface {
	// Add stores the responses that are new, and increases their counters, in one
	// durable transaction. It returns one outcome for each response, in order, and
	// the new totals of the counters that changed. A later response of the same
	// call may be a duplicate of an earlier one. After an error the caller cannot
	// know whether the transaction took effect.
	Add(ctx context.Context, responses []Response) ([]Outcome, map[Series]Count, error)
	// Totals returns every counter.
	Totals(ctx context.Context) (map[Series]Count, error)
	// Shared tells whether other gateways may write to the database too, so that
	// Totals may say more than what Add returned.
	Shared() bool
	// CheckWritable makes one durable write that changes no response and no counter.
	CheckWritable(ctx context.Context) error
	// Erase deletes what is kept of the responses chosen, at most limit of them, and
	// returns how many there were. Counters stay as they are, and a response that was
	// erased is a Duplicate when it comes again.
	Erase(ctx context.Context, choice Choice, limit int) (int, error)
	// Records returns the records chosen whose numbers are greater than after, in
	// order, at most limit of them.
	Records(ctx context.Context, choice Choice, after int64, limit int) ([]Record, error)
	// Comments returns records of a touchpoint that have a comment and came at or
	// after since: the latest first, or the worst scores first.
	Comments(ctx context.Context, namespace, touchpoint string, since time.Time, worst bool, limit int) ([]Record, error)
	// Close makes the database ready for the next start.
	Close() error
}

// Choice chooses responses: those of which everything is true that is not empty.
type Choice struct {
	// Namespace is always set when responses are chosen by ID, Subject or Touchpoint.
	Namespace, Touchpoint string
	// ID is that of the response, or of the submission that it came in.
	ID      string
	Subject string
	// Numbers are those of the records.
	Numbers []int64
	// Since and Until bound the time of arrival: Since <= Received < Until.
	Since, Until time.Time
}

// Errors that Submit returns.
var (
	// ErrOverloaded says that too many submissions wait already; nothing was stored.
	ErrOverloaded = errors.New("too many responses are waiting to be stored")
	// ErrClosed says that the gateway is stopping; nothing was stored.
	ErrClosed = errors.New("the gateway is stopping")
	// ErrSlow says that the database has not answered yet; the responses may be stored
	// later.
	ErrSlow = errors.New("the database has not answered in time")
)

// Options are the limits of a Ledger. Zero values stand for the defaults.
type Options struct {
	// QueueLength is how many submissions of few responses, and how many of many, may wait.
	// Default: 4096.
	QueueLength int
	// QueueBytes is how much memory those that wait may take. Default: 64 MiB.
	QueueBytes int64
	// Patience is how long Submit waits for the database. Default: 20s.
	Patience time.Duration
	// MaxTransaction is how many responses a transaction takes before it takes no
	// further submission. Default: 2000.
	MaxTransaction int
	// RetryInterval is how often a store that failed is tried again. Default: 2s.
	RetryInterval time.Duration
	// Log receives failures of the store. Default: slog.Default().
	Log *slog.Logger
}

// Ledger writes responses through one goroutine and mirrors their totals.
type Ledger struct {
	Totals

	store   Store
	options Options

	// closing guards both queues: nobody sends after Close closed them.
	closing sync.RWMutex
	closed  bool
	// queue is of customers who wait, bulk of submissions that hold many responses.
	queue, bulk chan *submission
	queued      atomic.Int64 // bytes, in both
	erasing     chan *erasure
	stopped     chan struct{}
	writers     [2]writer

	// health guards ill, which is why the store does not work, nil while it does.
	health sync.Mutex
	ill    error
}

// writer is a goroutine that writes to the store.
type writer struct {
	*Ledger
	// busy is when the transaction that runs now began, zero between two; health guards
	// it.
	busy time.Time
	// together is room for a transaction's responses.
	together []Response
}

type submission struct {
	responses []Response
	weight    int64
	outcomes  []Outcome
	err       error
	done      chan struct{}
}

type erasure struct {
	ctx    context.Context
	choice Choice
	limit  int
	erased int
	err    error
	done   chan struct{}
}

// Open loads the totals of a store and starts writing to it. The ledger owns the
// store from now on, and closes it when Open fails.
func Open(ctx context.Context, store Store, options Options) (*Ledger, error) {
	if options.QueueLength == 0 {
		options.QueueLength = 4096
	}
	if options.MaxTransaction == 0 {
		options.MaxTransaction = 2000
	}
	if options.QueueBytes == 0 {
		options.QueueBytes = 64 << 20
	}
	if options.Patience == 0 {
		options.Patience = 20 * time.Second
	}
	if options.RetryInterval == 0 {
		options.RetryInterval = 2 * time.Second
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	l := &Ledger{
		store:   store,
		options: options,
		queue:   make(chan *submission, options.QueueLength),
		bulk:    make(chan *submission, options.QueueLength),
		erasing: make(chan *erasure),
		stopped: make(chan struct{}),
	}
	if err := l.revive(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	var running sync.WaitGroup
	for i := range l.writers {
		l.writers[i].Ledger = l
	}
	running.Go(l.writers[0].write)
	if store.Shared() {
		// One transaction goes to the database while the other waits for its disk, and
		// customers get past imports.
		running.Go(l.writers[1].writeBulk)
	}
	go func() {
		running.Wait()
		close(l.stopped)
	}()
	return l, nil
}

// Submit stores responses and returns what became of each, in order. It returns
// only after the commit is durable and the totals show it; all responses of one
// call share one transaction. An error other than ErrOverloaded and ErrClosed
// leaves open whether they were stored: submit them again, the ids make it safe.
//
// It takes no context: once queued, responses are stored whether or not anybody
// still waits.
func (l *Ledger) Submit(responses []Response) ([]Outcome, error) {
	s := &submission{responses: responses, done: make(chan struct{})}
	for i := range responses {
		s.weight += responses[i].weight()
	}
	if err := l.enqueue(s); err != nil {
		return nil, err
	}
	patience := time.NewTimer(l.options.Patience)
	defer patience.Stop()
	select {
	case <-s.done:
		return s.outcomes, s.err
	case <-patience.C:
		return nil, ErrSlow
	}
}

// bulkSize is how many responses a submission may hold that goes before those with more.
const bulkSize = 10

func (l *Ledger) enqueue(s *submission) error {
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed {
		return ErrClosed
	}
	// A single submission is always let in, however heavy.
	if queued := l.queued.Add(s.weight); queued > l.options.QueueBytes && queued > s.weight {
		l.queued.Add(-s.weight)
		return ErrOverloaded
	}
	queue := l.queue
	if len(s.responses) > bulkSize {
		queue = l.bulk
	}
	select {
	case queue <- s:
		return nil
	default:
		l.queued.Add(-s.weight)
		return ErrOverloaded
	}
}

// Erase deletes what is kept of the responses chosen, and returns how many there
// were.
func (l *Ledger) Erase(ctx context.Context, choice Choice) (int, error) {
	// In pieces: those who deliver responses wait while one is erased.
	const piece = 500
	total := 0
	for {
		e := &erasure{ctx: ctx, choice: choice, limit: piece, done: make(chan struct{})}
		select {
		case l.erasing <- e:
			<-e.done
		case <-l.stopped:
			e.err = ErrClosed
		case <-ctx.Done():
			e.err = ctx.Err()
		}
		total += e.erased
		if e.err != nil || e.erased < piece {
			return total, e.err
		}
	}
}

// Records returns the records chosen whose numbers are greater than after, in order.
func (l *Ledger) Records(ctx context.Context, choice Choice, after int64, limit int) ([]Record, error) {
	return l.store.Records(ctx, choice, after, limit)
}

// Comments returns records of a touchpoint that have a comment.
func (l *Ledger) Comments(ctx context.Context, namespace, touchpoint string, since time.Time, worst bool, limit int) ([]Record, error) {
	return l.store.Comments(ctx, namespace, touchpoint, since, worst, limit)
}

// Refresh reads the totals that other gateways on the same database may have raised.
// On an error the totals are those known before.
func (l *Ledger) Refresh(ctx context.Context) error {
	if !l.store.Shared() {
		return nil
	}
	totals, err := l.store.Totals(ctx)
	if err != nil {
		return fmt.Errorf("reading totals: %w", err)
	}
	l.raise(totals)
	return nil
}

// maxTransactionTime is how long a transaction may take before the store counts
// as stuck.
const maxTransactionTime = 10 * time.Second

// Healthy returns nil while responses can be stored, and otherwise why not.
func (l *Ledger) Healthy() error {
	l.health.Lock()
	defer l.health.Unlock()
	for i := range l.writers {
		if busy := l.writers[i].busy; l.ill == nil && !busy.IsZero() && time.Since(busy) > maxTransactionTime {
			return fmt.Errorf("the database has not answered for %s", time.Since(busy).Round(time.Second))
		}
	}
	return l.ill
}

// Close stores what waits, refuses what comes, and closes the store.
func (l *Ledger) Close() error {
	l.closing.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
		close(l.bulk)
	}
	l.closing.Unlock()
	<-l.stopped
	return l.store.Close()
}

// write takes from both queues, erases, and tries again what failed.
func (w *writer) write() {
	retry := time.NewTicker(w.options.RetryInterval)
	defer retry.Stop()
	queue, bulk := w.queue, w.bulk
	for queue != nil || bulk != nil {
		select {
		case first, open := <-queue:
			if open {
				w.commit(w.gather(first))
			} else {
				queue = nil
			}
		case first, open := <-bulk:
			if open {
				w.commit(w.gather(first))
			} else {
				bulk = nil
			}
		case e := <-w.erasing:
			e.erased, e.err = w.store.Erase(e.ctx, e.choice, e.limit)
			close(e.done)
		case <-retry.C:
			// Nobody sends responses to a gateway that is not ready: without an attempt
			// of its own it would stay so for ever.
			if w.ailing() {
				w.setHealth(w.revive(context.Background()))
			}
		}
	}
}

// writeBulk is for submissions of many responses only.
func (w *writer) writeBulk() {
	for first := range w.bulk {
		w.commit(w.gather(first))
	}
}

// gather adds to the first submission those that wait already: those of few responses
// before those of many, so that no customer waits for an import to end, and one of many at
// least, so that imports end.
func (l *Ledger) gather(first *submission) []*submission {
	group, size := []*submission{first}, len(first.responses)
	take := func(queue <-chan *submission) bool {
		select {
		case next, open := <-queue:
			if open {
				group, size = append(group, next), size+len(next.responses)
			}
			return open
		default:
			return false
		}
	}
	for size < l.options.MaxTransaction && take(l.queue) {
	}
	if len(first.responses) <= bulkSize {
		if l.store.Shared() {
			return group // the other writer sees to those of many
		}
		take(l.bulk)
	}
	for size < l.options.MaxTransaction && take(l.bulk) {
	}
	return group
}

// commit stores a group in one transaction. The order is what makes the totals
// honest: the disk first, then the mirror, then the answers.
func (w *writer) commit(group []*submission) {
	w.health.Lock()
	w.busy = time.Now()
	w.health.Unlock()
	responses := group[0].responses
	if len(group) > 1 {
		responses = w.together[:0]
		for _, s := range group {
			responses = append(responses, s.responses...)
		}
		w.together = responses
		defer clear(responses) // comments are not kept in memory until the next burst
	}
	outcomes, err := w.add(responses)
	w.setHealth(err)
	for _, s := range group {
		if err != nil {
			s.err = err
		} else {
			s.outcomes, outcomes = outcomes[:len(s.responses):len(s.responses)], outcomes[len(s.responses):]
		}
		w.queued.Add(-s.weight)
		close(s.done)
	}
}

func (l *Ledger) add(responses []Response) ([]Outcome, error) {
	// The context is nobody's: a client that hangs up must not undo the
	// transaction of all others.
	ctx := context.Background()
	if l.ailing() {
		if err := l.revive(ctx); err != nil {
			return nil, err
		}
	}
	outcomes, totals, err := l.store.Add(ctx, responses)
	if err != nil {
		return nil, fmt.Errorf("storing responses: %w", err)
	}
	l.raise(totals)
	return outcomes, nil
}

// revive checks that the store takes writes, and reads its totals. After a failed
// commit that is more than a formality: the commit may have taken effect.
func (l *Ledger) revive(ctx context.Context) error {
	if err := l.store.CheckWritable(ctx); err != nil {
		return fmt.Errorf("database not writable: %w", err)
	}
	totals, err := l.store.Totals(ctx)
	if err != nil {
		return fmt.Errorf("reading totals: %w", err)
	}
	l.raise(totals)
	return nil
}

// ailing tells whether the last use of the store failed.
func (l *Ledger) ailing() bool {
	l.health.Lock()
	defer l.health.Unlock()
	return l.ill != nil
}

func (w *writer) setHealth(err error) {
	w.health.Lock()
	before := w.ill
	w.ill, w.busy = err, time.Time{}
	w.health.Unlock()
	switch {
	case err != nil && before == nil:
		w.options.Log.Error("responses cannot be stored; refusing them until this is mended", "error", err)
	case err == nil && before != nil:
		w.options.Log.Info("responses can be stored again")
	}
}
