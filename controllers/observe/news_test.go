package observe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
)

// listening lists whom an Observer wakes, in alphabetical order, since it was asked last.
func listening(t *testing.T, o *Observer) (woken func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var mu sync.Mutex
	var all []string
	for topic, kind := range map[Topic]string{BudgetsOfSLO: "slo", FiguresOfTouchpoint: "touchpoint", FiguresOfJourney: "journey"} {
		news := o.News(topic)
		go func() {
			for {
				select {
				case e := <-news:
					mu.Lock()
					all = append(all, kind+" "+e.Object.GetName())
					mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return func() string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(all)
		text := strings.Join(all, ", ")
		all = nil
		return text
	}
}

// shows has an Observer show budgets, experiences and journeys, and wake by them.
func (o *Observer) shows(ctx context.Context, budgets []*Budget, experiences map[types.NamespacedName]*Experience, journeys map[types.NamespacedName]*Journey) {
	f := newFigures()
	for _, b := range budgets {
		f.byKey[budgetKey{"shop", b.SLO, b.Objective, b.Touchpoint, b.Def}] = b
	}
	if experiences != nil {
		f.experiences = experiences
	}
	if journeys != nil {
		f.journeys = journeys
	}
	o.takeFigures(f)
	o.wakeMoved(ctx)
}

func TestOnlyWhoMovedIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObserver(t, Options{URL: "http://127.0.0.1:1"}, logr.Discard())
		woken := listening(t, o)
		expect := func(want string) {
			t.Helper()
			if got := woken(); got != want {
				t.Errorf("woken: %s; want %s", got, want)
			}
		}
		steady := visits("up", "search", 0.001)
		o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.001), steady}, nil, nil)
		expect("slo checkout, touchpoint checkout, touchpoint search")
		o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.001), steady}, nil, nil)
		expect("")
		// By less than its rounding, to and fro.
		for range 5 {
			o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.00103), steady}, nil, nil)
			expect("")
			o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.00097), steady}, nil, nil)
			expect("")
		}
		o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.002), steady}, nil, nil)
		expect("slo checkout, touchpoint checkout")
		o.shows(t.Context(), []*Budget{atRisk(visits("up", "checkout", 0.002)), steady}, nil, nil)
		expect("slo checkout, touchpoint checkout")
		o.shows(t.Context(), []*Budget{steady}, nil, nil)
		expect("slo checkout, touchpoint checkout")
		o.shows(t.Context(), []*Budget{steady}, nil, nil)
		expect("")

		felt := map[types.NamespacedName]*Experience{named("search"): experience()}
		told := map[types.NamespacedName]*Journey{named("purchase"): {KPIs: map[string]float64{"orders": 100}}}
		o.shows(t.Context(), []*Budget{steady}, felt, told)
		expect("journey purchase, touchpoint search")
		jitter := experience()
		jitter.P95, jitter.Visits = 1.05*jitter.P95, 1.02*jitter.Visits
		jitter.Failures *= 1.02
		o.shows(t.Context(), []*Budget{steady}, map[types.NamespacedName]*Experience{named("search"): jitter},
			map[types.NamespacedName]*Journey{named("purchase"): {KPIs: map[string]float64{"orders": 100.2}}})
		expect("")
		o.shows(t.Context(), []*Budget{steady}, nil, nil)
		expect("journey purchase, touchpoint search")
	})
}

// What creeps wakes in the end, and not at every step.
func TestCreepingWakesInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObserver(t, Options{URL: "http://127.0.0.1:1"}, logr.Discard())
		woken := listening(t, o)
		times := 0
		for i := range 101 {
			o.shows(t.Context(), []*Budget{visits("up", "checkout", 0.001+0.00001*float64(i))}, nil, nil)
			if woken() != "" {
				times++
			}
		}
		// From 90 % to 80 % of the budget left: at every half point, at most.
		if times < 5 || times > 21 {
			t.Errorf("woken %d times", times)
		}
	})
}

func TestMoved(t *testing.T) {
	for _, c := range []struct {
		before, now, step, part float64
		want                    bool
	}{
		{1, 1.4, 0.5, 0, false}, {1, 1.6, 0.5, 0, true}, {100, 109, 0, 0.1, false}, {100, 111, 0, 0.1, true}, {-100, -111, 0, 0.1, true},
		{nan, nan, 1, 1, false}, {nan, 1, 9, 9, true}, {1, nan, 9, 9, true}, {0, 0, 0, 0, false}, {0, 1e-9, 0, 0.1, true},
		{1, math.Inf(1), 1, 1, true},
	} {
		if got := Moved(c.before, c.now, c.step, c.part); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestEverybodyIsToldOnce: when Prometheus goes for longer than patience, and when it comes
// back, and not for another reason in between.
func TestEverybodyIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObserver(t, Options{URL: "http://127.0.0.1:1", Patience: time.Minute, Everybody: func(_ context.Context, topic Topic) ([]types.NamespacedName, error) {
			return []types.NamespacedName{named(fmt.Sprint("of-topic-", int(topic)))}, nil
		}}, logr.Discard())
		begin := o.now()
		answer := func(reason string, after time.Duration) (news bool, health Health) {
			time.Sleep(after)
			if reason == "" {
				o.judge(nil)
			} else {
				o.judge(failure{reason, errors.New("no")})
			}
			return o.tell(begin), o.Health()
		}
		var lastAnswer time.Time
		for i, step := range []struct {
			reason string
			after  time.Duration
			news   bool
			want   string
		}{
			{"", 0, true, ""}, // the first answer
			{"", 10 * time.Second, false, ""},
			{reasonTimeout, 10 * time.Second, false, ""},
			{"", 40 * time.Second, false, ""}, // away for less than patience
			{reasonTimeout, 30 * time.Second, false, ""},
			{reasonTimeout, 29 * time.Second, false, ""},
			{reasonTimeout, time.Second, true, reasonTimeout},
			{reasonRefused, time.Hour, false, reasonTimeout}, // the first reason stands
			{"", time.Second, true, ""},
			{"", time.Second, false, ""},
		} {
			news, health := answer(step.reason, step.after)
			if news != step.news || health.Reason != step.want || !health.Known {
				t.Errorf("step %d: news %v, %+v", i, news, health)
			}
			if step.reason == "" {
				lastAnswer = o.now()
			}
			if !health.Since.Equal(lastAnswer) {
				t.Errorf("step %d: it answered last at %v, not %v", i, lastAnswer, health.Since)
			}
		}
		woken := listening(t, o)
		o.wakeAll(t.Context())
		if got, want := woken(), fmt.Sprintf("journey of-topic-%d, slo of-topic-%d, touchpoint of-topic-%d", FiguresOfJourney, BudgetsOfSLO, FiguresOfTouchpoint); got != want {
			t.Errorf("woken: %s; want %s", got, want)
		}
	})
	// Nothing is known before it has answered, or been away for as long as patience.
	synctest.Test(t, func(t *testing.T) {
		o := newObserver(t, Options{URL: "http://127.0.0.1:1", Patience: time.Minute}, logr.Discard())
		begin := o.now()
		o.judge(failure{reasonUnreachable, errors.New("no")})
		if news := o.tell(begin); news || o.Health().Known {
			t.Error("told at once")
		}
		time.Sleep(time.Minute)
		if news := o.tell(begin); !news || o.Health().Reason != reasonUnreachable || !o.Health().Since.IsZero() {
			t.Errorf("%+v", o.Health())
		}
	})
}

// Those who are told that Prometheus went or came are told slowly, and an end of the manager
// ends it.
func TestEverybodyIsToldSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []types.NamespacedName
		for i := range 10 * wakingsPerSecond {
			names = append(names, named(fmt.Sprint(i)))
		}
		o := newObserver(t, Options{URL: "http://127.0.0.1:1", Everybody: func(_ context.Context, topic Topic) ([]types.NamespacedName, error) {
			if topic != FiguresOfTouchpoint {
				return nil, nil
			}
			return names, nil
		}}, logr.Discard())
		woken := listening(t, o)
		start := time.Now()
		o.wakeAll(t.Context())
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("a thousand were told within %v", took)
		}
		if n := strings.Count(woken(), "touchpoint"); n != len(names) {
			t.Errorf("%d were told", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		start = time.Now()
		o.wakeAll(ctx)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it went on for %v", took)
		}
		o.options.Everybody = func(context.Context, Topic) ([]types.NamespacedName, error) { return nil, errors.New("no cache") }
		o.wakeAll(t.Context())
	})
}
