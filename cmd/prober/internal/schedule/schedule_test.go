package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// work is a Job that notes what happens to it.
type work struct {
	takes   time.Duration
	barred  atomic.Bool
	overlap atomic.Int64
	starved atomic.Int64
	ofHost  atomic.Bool
	done    atomic.Int64
	off     atomic.Int64

	mu     sync.Mutex
	begins []time.Time
}

func (w *work) Allowed(time.Time) bool { return !w.barred.Load() }
func (w *work) Overlapped()            { w.overlap.Add(1) }
func (w *work) Starved(ofHost bool) {
	w.starved.Add(1)
	w.ofHost.Store(ofHost)
}
func (w *work) Run(ctx context.Context) {
	w.mu.Lock()
	w.begins = append(w.begins, time.Now())
	w.mu.Unlock()
	select {
	case <-time.After(w.takes):
		w.done.Add(1)
	case <-ctx.Done():
		w.off.Add(1)
	}
}

func (w *work) begun() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Time(nil), w.begins...)
}

// within runs a scheduler in a bubble of fake time.
func within(t *testing.T, limit int, test func(t *testing.T, s *Scheduler, late *time.Duration)) {
	t.Helper()
	withinLimits(t, Limits{All: limit}, test)
}

func withinLimits(t *testing.T, limits Limits, test func(t *testing.T, s *Scheduler, late *time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var latest time.Duration
		s := New(limits, func(d time.Duration) { latest = max(latest, d) })
		var ended sync.WaitGroup
		ended.Go(func() { s.Run(ctx) })
		test(t, s, &latest)
		cancel()
		ended.Wait()
		if s.Running() != 0 {
			t.Errorf("%d still running after the end", s.Running())
		}
	})
}

func TestOncePerIntervalAtThePhase(t *testing.T) {
	within(t, 1, func(t *testing.T, s *Scheduler, late *time.Duration) {
		const interval = 30 * time.Second
		w := &work{takes: time.Second}
		s.Set("shop/checkout", "uid", "host", interval, w)
		time.Sleep(10 * interval)
		synctest.Wait()
		begins := w.begun()
		if len(begins) != 10 {
			t.Fatalf("%d runs in ten intervals", len(begins))
		}
		for _, begin := range begins {
			if at := time.Duration(begin.UnixNano() % int64(interval)); at != Phase("uid", interval) {
				t.Errorf("ran at %s of the interval, want %s", at, Phase("uid", interval))
			}
		}
		if *late != 0 {
			t.Errorf("late by %s", *late)
		}
	})
}

// uid looks like the UID of an object.
func uid(random *rand.Rand) string {
	a, b := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48, b&(1<<48-1))
}

// Thousand touchpoints at 30 s: one every 30 ms on average. No herd, whether they
// all become known at once, as after a restart, or one by one.
func TestPhaseSpread(t *testing.T) {
	within(t, 1000, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		const jobs, interval = 1000, 30 * time.Second
		random := rand.New(rand.NewPCG(1, 2))
		works := make([]*work, jobs)
		for i := range works {
			works[i] = &work{takes: time.Millisecond}
			s.Set(fmt.Sprint(i), uid(random), "host", interval, works[i])
		}
		time.Sleep(interval)
		synctest.Wait()
		perMoment := map[int64]int{}
		perSecond := map[int64]int{}
		for i, w := range works {
			begins := w.begun()
			// The next run may begin a moment early, before the interval ends.
			if len(begins) == 0 || len(begins) > 1 && begins[1].Sub(begins[0]) < interval-ahead {
				t.Fatalf("job %d ran at %s in one interval", i, begins)
			}
			perMoment[begins[0].UnixMilli()/10]++
			perSecond[begins[0].Unix()]++
		}
		for _, n := range perMoment {
			if n > 6 {
				t.Errorf("%d runs within 10 ms", n)
			}
		}
		for _, n := range perSecond {
			if n > 70 { // 33 expected, standard deviation 6
				t.Errorf("%d runs within a second", n)
			}
		}
	})
}

// Visits that are due within a moment begin together, but not all of a crowd: each
// keeps its interval to that moment.
func TestFewBeginTogether(t *testing.T) {
	within(t, 100, func(t *testing.T, s *Scheduler, late *time.Duration) {
		const jobs, interval = 60, 10 * time.Second
		works := make([]*work, jobs)
		for i := range works {
			works[i] = &work{takes: time.Microsecond}
			s.Set(fmt.Sprint(i), fmt.Sprint("uid", i), "host", interval, works[i])
		}
		time.Sleep(20*interval + time.Second)
		synctest.Wait()
		at := map[time.Time]int{}
		for i, w := range works {
			begins := w.begun()
			if len(begins) < 20 {
				t.Errorf("job %d ran %d times in twenty intervals", i, len(begins))
			}
			for _, begin := range begins {
				at[begin]++
				early := (Phase(fmt.Sprint("uid", i), interval) - time.Duration(begin.UnixNano()%int64(interval)) + interval) % interval
				if early > ahead {
					t.Errorf("job %d ran %s before its phase", i, early)
				}
			}
		}
		most := 0
		for _, n := range at {
			most = max(most, n)
		}
		if most < 2 || most > together {
			t.Errorf("at most %d ran at a time, want 2 to %d", most, together)
		}
		if *late != 0 {
			t.Errorf("late by %s", *late)
		}
	})
}

func TestOverlapIsSkippedAndCounted(t *testing.T) {
	within(t, 10, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		w := &work{takes: 25 * time.Second}
		s.Set("a", "uid", "host", 10*time.Second, w)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		// Slots 1 and 4 run, 2, 3, 5 and 6 fall into a run; a seventh may not come.
		if runs, skips := len(w.begun()), w.overlap.Load(); runs != 2 || skips < 3 || skips > 4 || w.starved.Load() != 0 {
			t.Errorf("%d runs, %d skipped, %d starved", runs, skips, w.starved.Load())
		}
	})
}

func TestWaitingAWholeIntervalIsReported(t *testing.T) {
	within(t, 1, func(t *testing.T, s *Scheduler, late *time.Duration) {
		hog := &work{takes: time.Hour}
		s.Set("hog", "uid", "host", 10*time.Second, hog)
		time.Sleep(11 * time.Second)
		poor := &work{takes: time.Millisecond}
		s.Set("poor", "other", "host", 10*time.Second, poor)
		time.Sleep(95 * time.Second)
		synctest.Wait()
		if runs, starved := len(poor.begun()), poor.starved.Load(); runs != 0 || starved != 8 && starved != 9 {
			t.Errorf("%d runs, starved %d times", runs, starved)
		}
		// As soon as there is a slot, the run that is due now begins, once.
		s.Remove("hog")
		synctest.Wait()
		if runs := len(poor.begun()); runs != 1 || hog.off.Load() != 1 {
			t.Errorf("%d runs after the slot became free, hog called off %d times", runs, hog.off.Load())
		}
		if *late <= 0 || *late > 10*time.Second {
			t.Errorf("lateness %s, want at most the interval", *late)
		}
	})
}

func TestLimit(t *testing.T) {
	within(t, 3, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		works := make([]*work, 20)
		for i := range works {
			works[i] = &work{takes: 4 * time.Second}
			s.Set(fmt.Sprint(i), fmt.Sprint("uid", i), "host", 30*time.Second, works[i])
		}
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if n := s.Running(); n > 3 {
				t.Fatalf("%d at once", n)
			}
		}
		for i, w := range works {
			if w.done.Load() == 0 {
				t.Errorf("job %d never ran", i)
			}
		}
	})
}

// Of two hosts, the one that hangs holds up nobody but its own visitors.
func TestLimitPerHost(t *testing.T) {
	withinLimits(t, Limits{All: 10, PerHost: 2}, func(t *testing.T, s *Scheduler, late *time.Duration) {
		const interval = 10 * time.Second
		slow, quick := make([]*work, 6), make([]*work, 6)
		for i := range slow {
			slow[i], quick[i] = &work{takes: 25 * time.Second}, &work{takes: time.Millisecond}
			s.Set(fmt.Sprint("slow", i), fmt.Sprint("slow", i), "slow", interval, slow[i])
			s.Set(fmt.Sprint("quick", i), fmt.Sprint("quick", i), "quick", interval, quick[i])
		}
		for range 2000 {
			time.Sleep(100 * time.Millisecond)
			if n := s.Running(); n > 4 {
				t.Fatalf("%d at once", n)
			}
		}
		synctest.Wait()
		runs, starved := 0, 0
		for i := range slow {
			if n := len(quick[i].begun()); n != 20 || quick[i].starved.Load() != 0 {
				t.Errorf("quick %d ran %d times in 20 intervals, starved %d", i, n, quick[i].starved.Load())
			}
			runs += len(slow[i].begun())
			starved += int(slow[i].starved.Load())
			if len(slow[i].begun()) == 0 || !slow[i].ofHost.Load() {
				t.Errorf("slow %d ran %d times, starved by its host: %t", i, len(slow[i].begun()), slow[i].ofHost.Load())
			}
		}
		// Two at once, each 25 s long, in 200 s.
		if runs < 14 || runs > 16 || starved < 30 {
			t.Errorf("slow ones ran %d times and starved %d times", runs, starved)
		}
		for i := range slow {
			s.Remove(fmt.Sprint("slow", i))
		}
		synctest.Wait()
		if len(s.hosts) != 1 || s.Running() != 0 {
			t.Errorf("%d hosts known, %d running, after all jobs of one were removed", len(s.hosts), s.Running())
		}
	})
}

func TestChangeCallsOffAndKeepsThePhase(t *testing.T) {
	within(t, 10, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		const interval = 30 * time.Second
		before, after := &work{takes: 20 * time.Second}, &work{takes: time.Millisecond}
		s.Set("a", "uid", "host", interval, before)
		for len(before.begun()) == 0 {
			time.Sleep(time.Second)
		}
		s.Set("a", "uid", "host", interval, after)
		synctest.Wait()
		if before.off.Load() != 1 {
			t.Error("the run of what was replaced goes on")
		}
		time.Sleep(interval)
		synctest.Wait()
		if len(after.begun()) != 1 || len(before.begun()) != 1 {
			t.Fatalf("%d runs of the new, %d of the old", len(after.begun()), len(before.begun()))
		}
		if gap := after.begun()[0].Sub(before.begun()[0]); gap != interval {
			t.Errorf("%s between the last old and the first new run", gap)
		}
		// A shorter interval does not wait for the end of the longer one.
		s.Set("a", "uid", "host", 10*time.Second, after)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(after.begun()) != 2 {
			t.Errorf("%d runs after the interval was shortened", len(after.begun()))
		}
	})
}

func TestRemove(t *testing.T) {
	within(t, 1, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		running, waiting, idle := &work{takes: time.Hour}, &work{}, &work{}
		s.Set("running", "a", "host", 10*time.Second, running)
		time.Sleep(10 * time.Second)
		s.Set("waiting", "b", "host", 10*time.Second, waiting)
		time.Sleep(10 * time.Second)
		s.Set("idle", "c", "host", 10*time.Second, idle)
		for _, key := range []string{"idle", "waiting", "running", "unknown"} {
			s.Remove(key)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if running.off.Load() != 1 || len(waiting.begun())+len(idle.begun()) != 0 {
			t.Errorf("called off %d, then %d and %d runs", running.off.Load(), len(waiting.begun()), len(idle.begun()))
		}
	})
}

func TestNotAllowedYet(t *testing.T) {
	within(t, 1, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		w := &work{}
		w.barred.Store(true)
		s.Set("a", "uid", "host", 10*time.Second, w)
		time.Sleep(35 * time.Second)
		w.barred.Store(false)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(w.begun()) != 2 || w.overlap.Load()+w.starved.Load() != 0 {
			t.Errorf("%d runs, %d skipped, %d starved", len(w.begun()), w.overlap.Load(), w.starved.Load())
		}
	})
}

func TestEndCallsOffWhatRuns(t *testing.T) {
	w := &work{takes: time.Hour}
	within(t, 1, func(t *testing.T, s *Scheduler, _ *time.Duration) {
		s.Set("a", "uid", "host", 10*time.Second, w)
		time.Sleep(10 * time.Second)
	})
	if w.off.Load() != 1 || len(w.begun()) != 1 {
		t.Errorf("called off %d of %d runs", w.off.Load(), len(w.begun()))
	}
}

func TestNextSlot(t *testing.T) {
	const interval = 30 * time.Second
	start := time.Unix(1_800_000_000, 0) // a multiple of 30 s
	for _, test := range []struct{ into, ahead, phase, want time.Duration }{
		{0, 0, 0, 30 * time.Second},
		{0, 0, 10 * time.Second, 10 * time.Second},
		{10 * time.Second, 0, 10 * time.Second, 40 * time.Second},
		{11 * time.Second, 0, 10 * time.Second, 40 * time.Second},
		// A clock set back by a millisecond after the run does not repeat it.
		{10*time.Second - time.Millisecond, interval / 2, 10 * time.Second, 40 * time.Second},
		{11 * time.Second, interval / 2, 10 * time.Second, 40 * time.Second},
	} {
		if got := nextSlot(start.Add(test.into), test.ahead, test.phase, interval).Sub(start); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
	// A clock far behind, before 1970, is no reason to hang.
	if got := nextSlot(time.Unix(-7, 0), 0, time.Second, interval); got.UnixNano() <= time.Unix(-7, 0).UnixNano() || got.Sub(time.Unix(-7, 0)) > interval {
		t.Errorf("before 1970: %s", got)
	}
}

// jumped is a time as time.Now gives it after the wall clock was set anew: its monotonic
// reading goes on as if nothing had happened.
func jumped(t *testing.T, now time.Time, by time.Duration) time.Time {
	t.Helper()
	// The first word of a Time holds the seconds of the wall clock above its 30 bits of
	// nanoseconds; Go has no other way to set one clock without the other.
	*(*uint64)(unsafe.Pointer(&now)) += uint64(by/time.Second) << 30
	return now
}

// However the wall clock is set, a job waits neither longer than an interval and a half,
// nor does it run twice at once.
func TestClockJumps(t *testing.T) {
	const interval, phase = 30 * time.Second, 7 * time.Second
	now := time.Now()
	for _, by := range []time.Duration{-24 * 365 * time.Hour, -3 * time.Hour, -31 * time.Second, -time.Second, time.Second, 29 * time.Second, 3 * time.Hour, 24 * 365 * time.Hour} {
		after := jumped(t, now, by)
		if after.Sub(now) != 0 || after.Round(0).Sub(now.Round(0)) != by {
			t.Fatalf("a jump by %s is one by %s, and of the monotonic clock by %s", by, after.Round(0).Sub(now.Round(0)), after.Sub(now))
		}
		// Counted by the clock that does not jump, as timers do.
		next := nextSlot(after, interval/2, phase, interval)
		if wait := next.Sub(now); wait <= interval/2 || wait > interval*3/2 {
			t.Errorf("a jump by %s: the next run is in %s", by, wait)
		}
		if into := time.Duration(next.UnixNano() % int64(interval)); into != phase {
			t.Errorf("a jump by %s: the next run is %s into the interval", by, into)
		}
		// What was due before the jump is due when it was.
		if due := now.Add(10 * time.Second); due.Sub(after) != 10*time.Second || due.After(after.Add(11*time.Second)) {
			t.Errorf("a jump by %s moves what is due by %s", by, due.Sub(after))
		}
	}
}

func BenchmarkStep(b *testing.B) {
	s := New(Limits{All: 1}, func(time.Duration) {})
	s.ctx = b.Context()
	for i := range 10_000 {
		s.Set(fmt.Sprint(i), fmt.Sprint(i), "host", 30*time.Second, &work{})
	}
	b.ReportAllocs()
	for b.Loop() {
		e := s.due[0]
		e.next = e.next.Add(e.interval)
		s.step()
	}
}
