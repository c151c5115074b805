package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// unruly is a store in memory that fails, waits or loses its answer on demand:
// what real disks do too rarely to test.
type unruly struct {
	lock sync.Mutex
	// fail is returned by everything; answer is returned by Add after it stored.
	fail, answer error
	gate         chan struct{} // if not nil, Add takes one before it works
	stored       map[string]bool
	totals       map[Series]Count
	sizes        []int
	closed       bool
}

func newUnruly() *unruly {
	return &unruly{stored: map[string]bool{}, totals: map[Series]Count{}}
}

func (u *unruly) Add(_ context.Context, responses []Response) ([]Outcome, map[Series]Count, error) {
	if u.gate != nil {
		<-u.gate
	}
	u.lock.Lock()
	defer u.lock.Unlock()
	if u.fail != nil {
		return nil, nil, u.fail
	}
	u.sizes = append(u.sizes, len(responses))
	outcomes := make([]Outcome, len(responses))
	for i, r := range responses {
		if u.stored[r.ID] {
			outcomes[i] = Duplicate
			continue
		}
		u.stored[r.ID] = true
		r.CountIn(u.totals)
	}
	if u.answer != nil {
		return nil, nil, u.answer
	}
	return outcomes, maps.Clone(u.totals), nil
}

func (u *unruly) Shared() bool { return false }

func (u *unruly) Erase(context.Context, Choice, int) (int, error) {
	u.lock.Lock()
	defer u.lock.Unlock()
	return len(u.stored), u.fail
}

func (u *unruly) Records(context.Context, Choice, int64, int) ([]Record, error) { return nil, u.fail }

func (u *unruly) Comments(context.Context, string, string, time.Time, bool, int) ([]Record, error) {
	return nil, u.fail
}

func (u *unruly) Totals(context.Context) (map[Series]Count, error) {
	u.lock.Lock()
	defer u.lock.Unlock()
	return maps.Clone(u.totals), u.fail
}

func (u *unruly) CheckWritable(context.Context) error {
	u.lock.Lock()
	defer u.lock.Unlock()
	return u.fail
}

func (u *unruly) Close() error {
	u.closed = true
	return nil
}

func (u *unruly) set(fail, answer error) {
	u.lock.Lock()
	defer u.lock.Unlock()
	u.fail, u.answer = fail, answer
}

var question = Question{Namespace: "shop", Touchpoint: "checkout", Instrument: "nps"}

func response(id string) Response {
	return Response{Series: Series{Question: question, Score: 9}, ID: id}
}

func (t *Totals) of(score int) (total uint64) {
	t.Each(question, "", func(s int, count Count) {
		if s == score {
			total = count.Responses
		}
	})
	return total
}

func openLedger(t *testing.T, store Store, options Options) *Ledger {
	t.Helper()
	options.Log = slog.New(slog.DiscardHandler)
	l, err := Open(t.Context(), store, options)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestThoseWhoWaitShareATransaction(t *testing.T) {
	store := newUnruly()
	store.gate = make(chan struct{})
	l := openLedger(t, store, Options{QueueLength: 10, MaxTransaction: 4})
	var group sync.WaitGroup
	submit := func(id string) {
		group.Go(func() {
			if outcomes, err := l.Submit([]Response{response(id)}); err != nil || outcomes[0] != Accepted {
				t.Errorf("%s: %v, %v", id, outcomes, err)
			}
		})
	}
	submit("first")
	eventually(t, "nobody took the first", func() bool {
		l.health.Lock()
		defer l.health.Unlock()
		return !l.writers[0].busy.IsZero()
	})
	for i := range 10 {
		submit(fmt.Sprint("waiting-", i))
	}
	eventually(t, "not all wait", func() bool { return len(l.queue) == 10 })

	if _, err := l.Submit([]Response{response("one too many")}); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a full queue: %v", err)
	}
	if got := l.of(9); got != 0 {
		t.Errorf("%d counted before the commit", got)
	}
	close(store.gate)
	group.Wait()
	if got := fmt.Sprint(store.sizes); got != "[1 4 4 2]" {
		t.Errorf("transactions of %s responses", got)
	}
	if got := l.of(9); got != 11 {
		t.Errorf("%d counted, want 11", got)
	}
	if err := l.Close(); err != nil || !store.closed {
		t.Errorf("Close: %v", err)
	}
	if _, err := l.Submit([]Response{response("late")}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// One who sends a single response does not wait for those who came before with many, and
// those still get on.
func TestSinglesGoBeforeImports(t *testing.T) {
	store := newUnruly()
	store.gate = make(chan struct{})
	l := openLedger(t, store, Options{MaxTransaction: 40})
	defer l.Close()
	defer close(store.gate)
	submit := func(name string, size int) <-chan error {
		responses := make([]Response, size)
		for i := range responses {
			responses[i] = response(fmt.Sprint(name, i))
		}
		done := make(chan error, 1)
		go func() {
			_, err := l.Submit(responses)
			done <- err
		}()
		return done
	}
	first := submit("first", 1)
	eventually(t, "nobody took the first", func() bool {
		l.health.Lock()
		defer l.health.Unlock()
		return !l.writers[0].busy.IsZero()
	})
	for i := range 10 {
		submit(fmt.Sprint("import-", i, "-"), 20)
	}
	eventually(t, "not all imports wait", func() bool { return len(l.bulk) == 10 })
	for i := range 50 {
		submit(fmt.Sprint("crowd-", i, "-"), 1)
	}
	eventually(t, "not all singles wait", func() bool { return len(l.queue) == 50 })
	for range 4 {
		store.gate <- struct{}{}
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	eventually(t, "the fourth transaction does not end", func() bool {
		store.lock.Lock()
		defer store.lock.Unlock()
		return len(store.sizes) == 4
	})
	store.lock.Lock()
	defer store.lock.Unlock()
	singles, imported := 0, 0
	for id := range store.stored {
		if strings.HasPrefix(id, "crowd-") {
			singles++
		} else if strings.HasPrefix(id, "import-") {
			imported++
		}
	}
	if singles != 50 {
		t.Errorf("%d of 50 singles are stored after three transactions of at least 40", singles)
	}
	if imported < 3*20 || imported == 10*20 {
		t.Errorf("%d of imports are stored, want one import of 20 in each transaction, and not all", imported)
	}
}

func TestCloseStoresWhatWaits(t *testing.T) {
	store := newUnruly()
	store.gate = make(chan struct{})
	l := openLedger(t, store, Options{MaxTransaction: 1})
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := l.Submit([]Response{response(fmt.Sprint(i))}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "not all wait", func() bool { return len(l.queue) == 19 })
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	close(store.gate)
	group.Wait()
	if err := <-closed; err != nil || len(store.stored) != 20 {
		t.Errorf("%d stored, error %v", len(store.stored), err)
	}
}

func TestStoreThatFailsIsTriedAgain(t *testing.T) {
	store := newUnruly()
	l := openLedger(t, store, Options{RetryInterval: time.Millisecond})
	defer l.Close()
	store.set(errors.New("disk full"), nil)
	if _, err := l.Submit([]Response{response("a")}); err == nil {
		t.Fatal("no error")
	}
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("Healthy says %v", err)
	}
	store.set(nil, nil)
	eventually(t, "it stays ill without anybody submitting", func() bool { return l.Healthy() == nil })
	if outcomes, err := l.Submit([]Response{response("a")}); err != nil || outcomes[0] != Accepted {
		t.Errorf("after recovery: %v, %v", outcomes, err)
	}
}

// A commit can take effect although its answer is an error. The client sends
// again, and the total must show the response once.
func TestCommitWithALostAnswer(t *testing.T) {
	store := newUnruly()
	l := openLedger(t, store, Options{RetryInterval: time.Hour})
	defer l.Close()
	store.set(nil, errors.New("interrupted"))
	if _, err := l.Submit([]Response{response("a")}); err == nil {
		t.Fatal("no error")
	}
	store.set(nil, nil)
	if outcomes, err := l.Submit([]Response{response("a")}); err != nil || outcomes[0] != Duplicate {
		t.Errorf("sent again: %v, %v", outcomes, err)
	}
	if got := l.of(9); got != 1 {
		t.Errorf("counted %d times", got)
	}
}

func TestTotalsAreRestoredAndNeverFall(t *testing.T) {
	store := newUnruly()
	store.totals[Series{Question: question, Score: 0}] = Count{Responses: 7}
	store.totals[Series{Question: question, Score: 10}] = Count{Responses: 3}
	store.totals[Series{Question: question, Score: 11}] = Count{Responses: 1}                                  // off the scale
	store.totals[Series{Question: Question{Instrument: "of a later version"}, Score: 1}] = Count{Responses: 1} // unknown
	l := openLedger(t, store, Options{})
	defer l.Close()
	var got []string
	l.Each(question, "", func(score int, count Count) { got = append(got, fmt.Sprint(score, ":", count.Responses)) })
	if want := "0:7 1:0 2:0 3:0 4:0 5:0 6:0 7:0 8:0 9:0 10:3"; strings.Join(got, " ") != want {
		t.Errorf("totals %v, want %s", got, want)
	}
	l.raise(map[Series]Count{{Question: question}: {Responses: 5}})
	if got := l.of(0); got != 7 {
		t.Errorf("fell to %d", got)
	}
}

func TestOpenRefusesAStoreThatCannotBeWritten(t *testing.T) {
	store := newUnruly()
	store.fail = errors.New("read-only volume")
	_, err := Open(t.Context(), store, Options{})
	if err == nil || !strings.Contains(err.Error(), "database not writable: read-only volume") || !store.closed {
		t.Errorf("error %v, closed %v", err, store.closed)
	}
}
