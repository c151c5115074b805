package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/util/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// shown is what was last seen of the cluster: one look serves all viewers.
type shown struct {
	lock sync.Mutex
	last *snapshot
	// stale: something has changed since.
	stale bool
	// failed says why the latest look was in vain; empty: it was not.
	failed string
	// blind says why changes are not followed; empty: they are.
	blind string
	// changed is closed when something changed.
	changed chan struct{}
}

// snapshot is the cluster at a time. Nobody writes to it.
type snapshot struct {
	at      time.Time
	objects *atlas.Objects
	// marks tell by namespace what was seen: another mark, another sight.
	marks map[string][32]byte
	views *cache.LRUExpireCache
}

const mostViews = 64

// flights have those who want the same wait for the same answer.
type flights struct{ group singleflight.Group }

// do runs a function once for all who ask for it meanwhile. It goes on when those who
// asked have left.
func (f *flights) do(ctx context.Context, key string, run func(context.Context) (any, error)) (any, error) {
	landed := f.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return run(ctx)
	})
	select {
	case result := <-landed:
		return result.Val, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run follows the cluster until the context ends: while somebody watches, what they see is
// looked at anew as soon as it changes.
func (s *Server) Run(ctx context.Context) {
	signal := make(chan struct{}, 1)
	for _, namespace := range s.namespaces() {
		go s.follow(ctx, namespace, signal)
	}
	ticker := time.NewTicker(s.Beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-signal:
			s.shown.lock.Lock()
			s.shown.stale = true
			s.shown.lock.Unlock()
			if !pause(ctx, s.Rest) {
				return
			}
		case <-ticker.C:
			s.shown.lock.Lock()
			if s.shown.blind != "" || s.shown.failed != "" {
				s.shown.stale = true
			}
			s.shown.lock.Unlock()
		}
		if s.streams.count() > 0 {
			_, _ = s.look(ctx) // what went wrong is shown
		}
	}
}

// follow passes on signals of changes. While they cannot be had, it says why and tries
// again.
func (s *Server) follow(ctx context.Context, namespace string, signal chan<- struct{}) {
	for {
		changes, err := s.Source.Changes(ctx, namespace)
		s.shown.lock.Lock()
		s.shown.blind = ""
		if err != nil {
			s.shown.blind = err.Error()
		}
		s.shown.lock.Unlock()
		if err != nil {
			if !pause(ctx, 30*time.Second) {
				return
			}
			continue
		}
		for {
			select {
			case <-ctx.Done():
				return
			case _, more := <-changes:
				select {
				case signal <- struct{}{}:
				default: // one is waiting already
				}
				if !more {
					changes = nil
				}
			}
			if changes == nil {
				break
			}
		}
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// pause waits; false: the context has ended.
func pause(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) namespaces() []string {
	if len(s.Namespaces) == 0 {
		return []string{""}
	}
	return s.Namespaces
}

// look returns what is to be shown. Where the cluster does not answer that is what was
// seen last.
func (s *Server) look(ctx context.Context) (*snapshot, error) {
	s.shown.lock.Lock()
	last := s.shown.last
	fresh := last != nil && s.Now().Sub(last.at) < old && (!s.shown.stale || s.Now().Sub(last.at) < s.Rest)
	s.shown.lock.Unlock()
	if fresh {
		return last, nil
	}
	_, err := s.flights.do(ctx, "objects", func(ctx context.Context) (any, error) { return nil, s.load(ctx) })
	s.shown.lock.Lock()
	defer s.shown.lock.Unlock()
	if s.shown.last != nil {
		return s.shown.last, nil
	}
	return nil, err
}

// Ready says why the server cannot show anything yet; nil: it can.
func (s *Server) Ready(ctx context.Context) error {
	s.shown.lock.Lock()
	seen := s.shown.last != nil
	s.shown.lock.Unlock()
	if seen {
		return nil
	}
	_, err := s.look(ctx)
	return err
}

// load looks at the cluster.
func (s *Server) load(ctx context.Context) error {
	s.shown.lock.Lock()
	s.shown.stale = false // what changes from here on may be missed by this look
	s.shown.lock.Unlock()
	found := atlas.NewObjects()
	var err error
	for _, namespace := range s.namespaces() {
		var part *atlas.Objects
		if part, err = s.Source.Objects(ctx, namespace); err != nil {
			break
		}
		maps.Copy(found.Journeys, part.Journeys)
		maps.Copy(found.Touchpoints, part.Touchpoints)
		maps.Copy(found.ExperienceSLOs, part.ExperienceSLOs)
		maps.Copy(found.NamespaceLabels, part.NamespaceLabels)
		maps.Copy(found.Unreadable, part.Unreadable)
	}
	s.shown.lock.Lock()
	defer s.shown.lock.Unlock()
	failed := ""
	if err != nil {
		s.shown.stale = true
		failed = "The cluster does not answer: " + err.Error() + "."
	}
	news := failed != s.shown.failed
	s.shown.failed = failed
	if err == nil {
		next := &snapshot{at: s.Now(), objects: found, marks: marksOf(found), views: cache.NewLRUExpireCache(mostViews)}
		if last := s.shown.last; last != nil && maps.Equal(last.marks, next.marks) {
			next.objects, next.views = last.objects, last.views
		} else {
			news = true
		}
		s.shown.last = next
	}
	if news {
		close(s.shown.changed)
		s.shown.changed = make(chan struct{})
	}
	return err
}

// marksOf tells what there is in each namespace.
func marksOf(objects *atlas.Objects) map[string][32]byte {
	lines := map[string][]string{}
	add := func(kind string, o client.Object) {
		lines[o.GetNamespace()] = append(lines[o.GetNamespace()], kind+" "+o.GetName()+" "+string(o.GetUID())+" "+o.GetResourceVersion())
	}
	for _, o := range objects.Journeys {
		add("journey", o)
	}
	for _, o := range objects.Touchpoints {
		add("touchpoint", o)
	}
	for _, o := range objects.ExperienceSLOs {
		add("slo", o)
	}
	for namespace, reason := range objects.Unreadable {
		lines[namespace] = append(lines[namespace], "unreadable "+reason)
	}
	marks := map[string][32]byte{}
	for namespace, seen := range lines {
		slices.Sort(seen)
		marks[namespace] = sha256.Sum256([]byte(strings.Join(seen, "\n")))
	}
	return marks
}

// view is what somebody may see of a snapshot. Those with the same rights share one.
type view struct {
	*snapshot
	viewer  Viewer
	objects *atlas.Objects
	// rights names what may be seen, and mark what is seen.
	rights, mark string
	maps         func() []*atlas.Map
	// notices are what the reader should know of the page as a whole.
	notices []string
}

// reviewsAtOnce bounds the questions to the API server of one request.
const reviewsAtOnce = 16

// viewOf is what somebody may see now.
func (s *Server) viewOf(ctx context.Context, viewer Viewer) (*view, error) {
	seen, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	s.shown.lock.Lock()
	var notices []string
	if s.shown.failed != "" {
		notices = append(notices, s.shown.failed+" What is shown is of "+seen.at.UTC().Format("15:04:05 UTC")+".")
	}
	if s.shown.blind != "" {
		notices = append(notices, sentence(s.shown.blind)+" It is looked at every "+s.Beat.String()+".")
	}
	s.shown.lock.Unlock()

	journeys, err := allowed(ctx, viewer, Journeys, namespacesOf(seen.objects.Journeys))
	if err != nil {
		return nil, err
	}
	mayBe := namespacesOf(seen.objects.Touchpoints)
	for key, journey := range seen.objects.Journeys {
		if journeys.has(key.Namespace) {
			for _, reference := range targets.References(journey) {
				mayBe[reference.Namespace] = true
			}
		}
	}
	touchpoints, err := allowed(ctx, viewer, Touchpoints, mayBe)
	if err != nil {
		return nil, err
	}
	promises, err := allowed(ctx, viewer, Promises, namespacesOf(seen.objects.ExperienceSLOs))
	if err != nil {
		return nil, err
	}
	rights := journeys.name() + ";" + touchpoints.name() + ";" + promises.name()
	shared, made := seen.views.Get(rights)
	if !made {
		objects := seen.objects
		if !journeys.all || !touchpoints.all || !promises.all {
			objects = filtered(seen.objects, journeys, touchpoints, promises, mayBe)
		}
		drawn := &view{objects: objects, rights: rights, maps: sync.OnceValue(objects.Maps)}
		var marks []string
		for namespace, mark := range seen.marks {
			if journeys.has(namespace) || touchpoints.has(namespace) || promises.has(namespace) {
				marks = append(marks, namespace+string(mark[:]))
			}
		}
		slices.Sort(marks)
		sum := sha256.Sum256([]byte(rights + strings.Join(marks, "\n")))
		drawn.mark = hex.EncodeToString(sum[:8])
		seen.views.Add(rights, drawn, 10*old)
		shared = drawn
	}
	mine := *shared.(*view)
	mine.snapshot, mine.viewer, mine.notices = seen, viewer, notices
	if len(notices) > 0 {
		mine.mark += "-" + notices[0][:min(12, len(notices[0]))]
	}
	return &mine, nil
}

// spaces are namespaces in which somebody has a right.
type spaces struct {
	all bool
	in  map[string]bool
}

func (n spaces) has(namespace string) bool { return n.all || n.in[namespace] }

func (n spaces) name() string {
	if n.all {
		return "*"
	}
	return strings.Join(slices.Sorted(maps.Keys(n.in)), ",")
}

// allowed asks in which namespaces somebody has a right: in all, or else one by one.
func allowed(ctx context.Context, viewer Viewer, right Right, among map[string]bool) (spaces, error) {
	all, err := viewer.May(ctx, right, "")
	if err != nil || all {
		return spaces{all: all}, err
	}
	found := spaces{in: map[string]bool{}}
	var lock sync.Mutex
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(reviewsAtOnce)
	for namespace := range among {
		asking.Go(func() error {
			may, err := viewer.May(ctx, right, namespace)
			if may {
				lock.Lock()
				found.in[namespace] = true
				lock.Unlock()
			}
			return err
		})
	}
	return found, asking.Wait()
}

func namespacesOf[T any](objects map[atlas.Key]T) map[string]bool {
	found := map[string]bool{}
	for key := range objects {
		found[key.Namespace] = true
	}
	return found
}

// filtered is what there is in some namespaces. Of others it does not even say whether they
// exist.
func filtered(from *atlas.Objects, journeys, touchpoints, promises spaces, named map[string]bool) *atlas.Objects {
	kept := atlas.NewObjects()
	kept.NamespaceLabels = from.NamespaceLabels
	for key, o := range from.Journeys {
		if journeys.has(key.Namespace) {
			kept.Journeys[key] = o
		}
	}
	for key, o := range from.Touchpoints {
		if touchpoints.has(key.Namespace) {
			kept.Touchpoints[key] = o
		}
	}
	for key, o := range from.ExperienceSLOs {
		if promises.has(key.Namespace) {
			kept.ExperienceSLOs[key] = o
		}
	}
	for namespace := range named {
		if !touchpoints.has(namespace) {
			kept.Unreadable[namespace] = "you may not read its Touchpoints"
		} else if reason := from.Unreadable[namespace]; reason != "" {
			kept.Unreadable[namespace] = reason
		}
	}
	return kept
}

// drawn is a journey with its trends.
type drawn struct {
	m       *atlas.Map
	mark    string
	at      time.Time
	missing []string
}

// mapOf draws a journey with what was left of its budgets over time; nil if it is not in
// the view.
func (s *Server) mapOf(ctx context.Context, v *view, key atlas.Key) (*atlas.Map, error) {
	if v.objects.Journeys[key] == nil {
		return nil, nil
	}
	name := "map " + v.rights + " " + key.String()
	before, _ := s.trends.Get(name)
	earlier, _ := before.(*drawn)
	if earlier != nil && earlier.mark == v.mark {
		return earlier.m, nil
	}
	made, err := s.flights.do(ctx, name+v.mark, func(ctx context.Context) (any, error) {
		d := &drawn{m: v.objects.Map(key), mark: v.mark, at: s.Now()}
		if earlier != nil {
			d.at, d.missing = earlier.at, earlier.missing
			carry(earlier.m, d.m)
		} else {
			d.missing = s.Source.Trends(ctx, d.m)
		}
		d.m.Missing = append(slices.Clone(d.m.Missing), d.missing...)
		if left := trendsKept - s.Now().Sub(d.at); left > 0 {
			s.trends.Add(name, d, left)
		}
		return d.m, nil
	})
	if err != nil {
		return nil, err
	}
	return made.(*atlas.Map), nil
}

// carry takes over the trends of a map drawn before.
func carry(from, to *atlas.Map) {
	type promise struct {
		touchpoint     atlas.Key
		slo, objective string
	}
	trends, burns := map[atlas.Key]atlas.Series{}, map[promise]atlas.Series{}
	each := func(m *atlas.Map, do func(*atlas.Stop, atlas.Key)) {
		for i := range m.Stages {
			for j := range m.Stages[i].Stops {
				stop := &m.Stages[i].Stops[j]
				do(stop, atlas.Key{Namespace: stop.Namespace, Name: stop.Name})
			}
		}
	}
	each(from, func(stop *atlas.Stop, key atlas.Key) {
		trends[key] = stop.Trend
		for _, b := range stop.Promised {
			burns[promise{key, b.SLO, b.Objective}] = b.BurnDown
		}
	})
	each(to, func(stop *atlas.Stop, key atlas.Key) {
		stop.Trend = trends[key]
		for i := range stop.Promised {
			b := &stop.Promised[i]
			b.BurnDown = burns[promise{key, b.SLO, b.Objective}]
		}
	})
}

// detailOf gathers all of a touchpoint that the viewer may see; nil if it is not in the
// view.
func (s *Server) detailOf(ctx context.Context, v *view, key atlas.Key) (*atlas.Detail, error) {
	if v.objects.Touchpoints[key] == nil {
		return nil, nil
	}
	mark := v.marks[key.Namespace]
	name := fmt.Sprintf("detail %s %s %x", v.rights, key, mark[:8])
	found, known := s.details.Get(name)
	if !known {
		var err error
		found, err = s.flights.do(ctx, name, func(ctx context.Context) (any, error) {
			d := s.Source.Detail(ctx, v.objects, key)
			s.details.Add(name, d, detailsKept)
			return d, nil
		})
		if err != nil {
			return nil, err
		}
	}
	d := found.(*atlas.Detail)
	if d == nil {
		return nil, nil
	}
	mine := *d
	mine.Journeys = slices.DeleteFunc(slices.Clone(d.Journeys), func(name string) bool {
		namespace, name, _ := strings.Cut(name, "/")
		return v.objects.Journeys[atlas.Key{Namespace: namespace, Name: name}] == nil
	})
	mine.Missing = slices.Clone(d.Missing)
	comments, err := v.viewer.May(ctx, Comments, key.Namespace)
	if err != nil {
		return nil, err
	}
	if !comments {
		mine.Latest, mine.Worst = nil, nil
		mine.Missing = slices.DeleteFunc(mine.Missing, func(text string) bool { return strings.Contains(text, "comments") })
		mine.Missing = append(mine.Missing, "Comments are for those who may get touchpoints/comments in namespace "+key.Namespace+".")
	}
	events, err := v.viewer.May(ctx, Events, key.Namespace)
	if err != nil {
		return nil, err
	}
	if !events {
		mine.Events = nil
		mine.Missing = append(mine.Missing, "Events are for those who may list them in namespace "+key.Namespace+".")
	}
	return &mine, nil
}
