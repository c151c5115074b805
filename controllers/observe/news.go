package observe

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Topic is what there can be news of.
type Topic int

// Topics, by the kind of the object that news of them name.
const (
	// MetricsOfTouchpoint: something else is complained of its metrics now.
	MetricsOfTouchpoint Topic = iota
	// EdgesOfTouchpoint: the edges of its histogram are complained of anew, otherwise, or
	// no more.
	EdgesOfTouchpoint
	// BudgetsOfSLO: how some budget of an ExperienceSLO stands has changed.
	BudgetsOfSLO
	// FiguresOfTouchpoint: what customers experience at a Touchpoint, or how some budget
	// there stands, has changed.
	FiguresOfTouchpoint
	// FiguresOfJourney: what is recorded of a Journey has changed.
	FiguresOfJourney
	topics
)

// News returns a channel that gets the name of each object of whom there is news. It is to
// be asked for before the Observer starts.
func (o *Observer) News(topic Topic) <-chan event.GenericEvent {
	news := make(chan event.GenericEvent)
	o.subscribers[topic] = append(o.subscribers[topic], news)
	return news
}

func (o *Observer) wake(ctx context.Context, topic Topic, whom types.NamespacedName) {
	// Only the name matters; those who listen know the kind.
	object := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: whom.Namespace, Name: whom.Name}}
	for _, subscriber := range o.subscribers[topic] {
		select {
		case subscriber <- event.GenericEvent{Object: object}:
		case <-ctx.Done():
			return
		}
	}
}

// wokenBy remembers by which figures somebody was woken last, so that what moves to and
// fro by less than its rounding wakes nobody, and what creeps does in the end.
type wokenBy struct {
	budgets     map[budgetKey]*Budget
	experiences map[types.NamespacedName]*Experience
	journeys    map[types.NamespacedName]*Journey
}

func newWokenBy() wokenBy {
	return wokenBy{map[budgetKey]*Budget{}, map[types.NamespacedName]*Experience{}, map[types.NamespacedName]*Journey{}}
}

// wakeMoved wakes those whose figures have moved.
func (o *Observer) wakeMoved(ctx context.Context) {
	found := o.shown // nobody else writes to it
	slos, touchpoints, journeys := map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}
	concern := func(key budgetKey) {
		slos[types.NamespacedName{Namespace: key.namespace, Name: key.slo}] = true
		touchpoints[types.NamespacedName{Namespace: key.namespace, Name: key.touchpoint}] = true
	}
	for key, b := range found.byKey {
		if before := o.woken.budgets[key]; before == nil || budgetMoved(before, b) {
			o.woken.budgets[key] = b
			concern(key)
		}
	}
	for key := range o.woken.budgets {
		if found.byKey[key] == nil {
			delete(o.woken.budgets, key)
			concern(key)
		}
	}
	compare(o.woken.experiences, found.experiences, experienceMoved, touchpoints)
	compare(o.woken.journeys, found.journeys, journeyMoved, journeys)
	for topic, concerned := range map[Topic]map[types.NamespacedName]bool{
		BudgetsOfSLO: slos, FiguresOfTouchpoint: touchpoints, FiguresOfJourney: journeys,
	} {
		for name := range concerned {
			o.wake(ctx, topic, name)
		}
	}
}

// compare notes who is concerned by a change, and what they are woken by.
func compare[F any](woken, found map[types.NamespacedName]*F, moved func(a, b *F) bool, concerned map[types.NamespacedName]bool) {
	for name, figures := range found {
		if before := woken[name]; before == nil || moved(before, figures) {
			woken[name] = figures
			concerned[name] = true
		}
	}
	for name := range woken {
		if found[name] == nil {
			delete(woken, name)
			concerned[name] = true
		}
	}
}

// wakingsPerSecond is how fast all objects are woken when Prometheus goes or comes back:
// each of them is written once.
const wakingsPerSecond = 100

// wakeAll wakes everybody, slowly: those too of whom Prometheus never showed anything.
func (o *Observer) wakeAll(ctx context.Context) {
	if o.options.Everybody == nil {
		return
	}
	ticker := time.NewTicker(time.Second / wakingsPerSecond)
	defer ticker.Stop()
	for _, topic := range []Topic{BudgetsOfSLO, FiguresOfTouchpoint, FiguresOfJourney} {
		names, err := o.options.Everybody(ctx, topic)
		if err != nil {
			if ctx.Err() == nil {
				o.log.Error(err, "cannot tell everybody how Prometheus is")
			}
			return
		}
		for _, name := range names {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				o.wake(ctx, topic, name)
			}
		}
	}
}

// Half of the steps by which figures in a status move.
const (
	halfPoint = 0.005 // of a part, that is half a percentage point
	tenth     = 0.1   // of a count, a burn rate or a time
)

// Moved tells whether a figure is another by more than a step, or by more than a part of
// what it was.
func Moved(before, now, step, part float64) bool {
	if math.IsNaN(before) || math.IsNaN(now) {
		return math.IsNaN(before) != math.IsNaN(now)
	}
	return math.Abs(now-before) > max(step, part*math.Abs(before))
}

func budgetMoved(before, now *Budget) bool {
	return before.State() != now.State() || !slices.Equal(before.Firing, now.Firing) ||
		before.Allowed != now.Allowed || before.Window != now.Window || before.Floor != now.Floor ||
		Moved(before.Loss, now.Loss, halfPoint*now.Allowed, 0) ||
		Moved(before.Events, now.Events, 0, tenth/2) ||
		Moved(max(1, before.BurnRate()), max(1, now.BurnRate()), 0, tenth) ||
		Moved(before.Coverage, now.Coverage, halfPoint, 0)
}

func experienceMoved(before, now *Experience) bool {
	if Moved(before.Failures/before.Visits, now.Failures/now.Visits, halfPoint/10, 0) || Moved(before.Visits, now.Visits, 0, tenth/2) ||
		Moved(before.P50, now.P50, 0, tenth) || Moved(before.P95, now.P95, 0, tenth) {
		return true
	}
	return !maps.EqualFunc(before.Answers, now.Answers, func(a, b Answers) bool {
		return !Moved(a.All, b.All, 0, tenth/2) && !Moved(a.Good/a.All, b.Good/b.All, halfPoint/2, 0) &&
			!Moved(a.Bad/a.All, b.Bad/b.All, halfPoint/2, 0) && !Moved(a.Points/a.All, b.Points/b.All, halfPoint, 0)
	})
}

func journeyMoved(before, now *Journey) bool {
	steady := func(a, b float64) bool { return !Moved(a, b, 0, halfPoint) }
	entered := func(a, b float64) bool { return !Moved(a, b, 0, tenth/2) }
	return !maps.EqualFunc(before.KPIs, now.KPIs, steady) || !maps.EqualFunc(before.Entries, now.Entries, entered)
}
