// Package membership shares the touchpoints of one location among its probers.
//
// Every prober renews a Lease of its own and looks at those of the others. One that
// has not renewed its Lease for a while is lost, and the others take its
// touchpoints. A prober that comes does so in two steps: it is Joining until its
// series have been scraped at zero, and the others go on meanwhile; then it takes up
// its part, and a moment later is a full member, for whom the others let go.
//
// Nothing is concluded from silence while the API server itself is silent: then the
// last membership stays. Probing twice beats not probing.
package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationac "k8s.io/client-go/applyconfigurations/coordination/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// Times of the protocol. A lost prober is missed after at most 9 s (its Lease's
// duration, and a look before and after), so that its touchpoints are probed again
// within two of the shortest intervals of 10 s.
const (
	// LeaseDuration is how long a prober counts that has not renewed its Lease.
	LeaseDuration = 7 * time.Second
	renewEvery    = 2 * time.Second
	lookEvery     = time.Second
	patience      = 3 * time.Second // with one request
	// aloneAfter is how long a prober that has never seen the Leases waits for them.
	aloneAfter = 15 * time.Second
	// sweepAfter is how long the Lease of a lost prober is left lying about.
	sweepAfter = time.Hour
)

// Labels and annotations of the Leases.
const (
	labelName      = "app.kubernetes.io/name"
	labelComponent = "app.kubernetes.io/component"
	labelLocation  = "sojourn.dev/location"
	annotationName = "sojourn.dev/prober"
	annotationStep = "sojourn.dev/membership"

	joining = "Joining"
	full    = "Full"
)

// Options shapes a Membership.
type Options struct {
	// Leases of the namespace in which all probers of the location keep theirs.
	Leases coordination.LeaseInterface
	// Location is what the probers have in common.
	Location string
	// Name tells this prober from the others. One that is started again under the
	// same name takes the same part.
	Name string
	// Changed is called when Role may answer otherwise than before.
	Changed func()
	Log     *slog.Logger
}

// Membership is a prober's view of who shares its location.
type Membership struct {
	Options
	// holder tells this process from an earlier or a second one of the same name.
	holder string
	share  atomic.Pointer[share]
	joined chan struct{} // closed by Join
	join   sync.Once
	full   bool // owns its part, whatever its Lease says yet; Run's own

	mu      sync.Mutex
	seen    map[string]sighting // by name of the Lease
	renewed time.Time           // when our own was
	looked  time.Time           // when the Leases were last read
	trouble error
	owners  []string
}

// sighting is the last time that a Lease was found renewed, by our own clock: those
// of other machines may be wrong.
type sighting struct {
	version string
	at      time.Time
	lost    bool // not renewed in time, nor since
}

// New returns a Membership that does not know anybody yet.
func New(options Options) *Membership {
	return &Membership{
		Options: options,
		holder:  options.Name + "_" + string(uuid.NewUUID()),
		joined:  make(chan struct{}),
		seen:    map[string]sighting{},
	}
}

// Role of this prober for the touchpoint of a UID.
func (m *Membership) Role(uid string) Role { return m.share.Load().role(uid) }

// Members counts those who own touchpoints.
func (m *Membership) Members() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.owners)
}

// Join makes this prober a full member: its series have been seen at zero.
func (m *Membership) Join() { m.join.Do(func() { close(m.joined) }) }

// Run keeps the Lease and the view until ctx ends. Then it takes leave, so that the
// others need not wait for the Lease to expire, and returns when they have seen that.
func (m *Membership) Run(ctx context.Context) {
	began := time.Now()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	var attempted time.Time
	joined := m.joined
	for {
		now := time.Now()
		var failed error
		if now.Sub(attempted) >= renewEvery {
			attempted = now
			failed = m.renew(ctx)
		}
		failed = errors.Join(failed, m.look(ctx))
		if ctx.Err() != nil {
			m.leave(context.WithoutCancel(ctx))
			return
		}
		m.tell(failed)
		if m.share.Load() == nil && time.Since(began) >= aloneAfter {
			m.Log.Error("cannot see with whom to share the touchpoints; probing all of them", "error", failed)
			m.decide([]string{m.Name})
		}
		select {
		case <-ctx.Done():
		case <-ticks.C:
		case <-joined:
			// This prober takes up its part at the look that follows, and writes so
			// into its Lease only then: told before, the others would let go of
			// visits that nobody makes.
			joined, m.full = nil, true
			attempted = time.Now().Add(lookEvery - renewEvery)
			ticks.Reset(lookEvery)
		}
	}
}

// tell logs a trouble when it begins, and its end.
func (m *Membership) tell(failed error) {
	m.mu.Lock()
	before := m.trouble
	m.trouble = failed
	m.mu.Unlock()
	switch {
	case failed != nil && before == nil:
		m.Log.Warn("cannot keep up the Leases; the last membership stays", "error", failed)
	case failed == nil && before != nil:
		m.Log.Info("the Leases can be kept up again")
	}
}

// Ready returns nil once touchpoints are shared, and before that why they are not.
func (m *Membership) Ready() error {
	if m.share.Load() != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trouble != nil {
		return fmt.Errorf("the Leases of the probers cannot be kept up: %w", m.trouble)
	}
	return errors.New("the Leases of the probers have not been read yet")
}

// Joining tells whether the others probe what will be this prober's: it is not a full member
// yet, and somebody else is.
func (m *Membership) Joining() bool {
	known := m.share.Load()
	return known != nil && known.joining
}

func (m *Membership) leaseName() string { return "sojourn-prober-" + m.Location + "-" + m.Name }

// renew writes our own Lease.
func (m *Membership) renew(ctx context.Context) error {
	step := joining
	if m.full && !m.Joining() {
		step = full
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lease := coordinationac.Lease(m.leaseName(), "").
		WithLabels(m.labels()).
		WithAnnotations(map[string]string{annotationName: m.Name, annotationStep: step}).
		WithSpec(coordinationac.LeaseSpec().
			WithHolderIdentity(m.holder).
			WithLeaseDurationSeconds(int32(LeaseDuration / time.Second)).
			WithRenewTime(metav1.NowMicro()))
	if _, err := m.Leases.Apply(ctx, lease, metav1.ApplyOptions{FieldManager: "sojourn-prober", Force: true}); err != nil {
		return fmt.Errorf("renewing Lease %s: %w", m.leaseName(), err)
	}
	m.mu.Lock()
	m.renewed = time.Now()
	m.mu.Unlock()
	return nil
}

func (m *Membership) labels() map[string]string {
	return map[string]string{labelName: "sojourn", labelComponent: "prober", labelLocation: m.Location}
}

// look reads all Leases of the location and decides who owns.
func (m *Membership) look(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := m.Leases.List(asked, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(m.labels()).String()})
	if err != nil {
		return fmt.Errorf("reading the Leases: %w", err)
	}
	if owners, known := m.judge(list.Items, time.Now()); known {
		m.decide(owners)
	}
	m.sweep(ctx, list.Items)
	return m.rival(list.Items)
}

// rival finds out whether another process renews our own Lease: both would take the
// same part of the touchpoints.
func (m *Membership) rival(leases []coordinationv1.Lease) error {
	for _, lease := range leases {
		holder := lease.Spec.HolderIdentity
		if lease.Name == m.leaseName() && holder != nil && *holder != m.holder && m.hasRenewed() {
			return fmt.Errorf("another prober renews Lease %s too: give each its own --name", lease.Name)
		}
	}
	return nil
}

func (m *Membership) hasRenewed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.renewed.IsZero()
}

// judge finds who owns, from all Leases as they are now. It does not know as long as
// our own is not among them.
func (m *Membership) judge(leases []coordinationv1.Lease, now time.Time) (owners []string, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// If we could not write or read for a while, then perhaps nobody could: the
	// silence of the others says nothing, and their time begins anew.
	deaf := now.Sub(m.looked) > patience+lookEvery || now.Sub(m.renewed) > patience+renewEvery
	m.looked = now
	var newcomers []string
	seen := make(map[string]sighting, len(leases))
	for i := range leases {
		lease := &leases[i]
		name := lease.Annotations[annotationName]
		if name == "" {
			continue // not one of ours, whatever its labels say
		}
		last, met := m.seen[lease.Name]
		if !met || last.version != lease.ResourceVersion || deaf && !last.lost {
			last = sighting{version: lease.ResourceVersion, at: now}
		}
		own := lease.Name == m.leaseName()
		last.lost = !own && now.Sub(last.at) > LeaseDuration
		seen[lease.Name] = last
		known = known || own
		switch {
		case last.lost:
		case own && m.full, lease.Annotations[annotationStep] == full:
			owners = append(owners, name)
		default:
			newcomers = append(newcomers, name)
		}
	}
	m.seen = seen
	if len(owners) == 0 {
		// All have only just begun: somebody must probe.
		owners = newcomers
	}
	slices.Sort(owners)
	return owners, known
}

// decide makes known who owns, if that is news.
func (m *Membership) decide(owners []string) {
	m.mu.Lock()
	news := m.share.Load() == nil || !slices.Equal(m.owners, owners)
	m.owners = owners
	m.mu.Unlock()
	if !news {
		return
	}
	m.share.Store(newShare(m.Name, owners))
	m.Log.Info("touchpoints are shared anew", "probers", owners)
	m.Changed()
}

// sweep deletes the Leases of those who were lost long ago.
func (m *Membership) sweep(ctx context.Context, leases []coordinationv1.Lease) {
	m.mu.Lock()
	seen := maps.Clone(m.seen)
	m.mu.Unlock()
	for i := range leases {
		if at, met := seen[leases[i].Name]; !met || time.Since(at.at) < sweepAfter {
			continue
		}
		err := m.Leases.Delete(ctx, leases[i].Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
			UID: &leases[i].UID, ResourceVersion: &leases[i].ResourceVersion,
		}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			m.Log.Warn("cannot delete the Lease of a lost prober", "lease", leases[i].Name, "error", err)
		}
	}
}

// leave deletes our own Lease.
func (m *Membership) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.Leases.Delete(ctx, m.leaseName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		m.Log.Warn("cannot take leave of the other probers; they will miss this one", "after", LeaseDuration, "error", err)
		return
	}
	if m.Members() > 1 {
		// The longest that a look may take, after the longest wait for it.
		time.Sleep(lookEvery + patience)
	}
}
