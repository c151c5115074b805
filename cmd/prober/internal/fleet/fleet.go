// Package fleet keeps one scheduled probe for each touchpoint that is this prober's
// to probe, and the series of these and of those that it may have to take over.
package fleet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/membership"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// The API server fills these in; they serve objects that it has not seen.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 10 * time.Second
)

// Wanted is a touchpoint that is to be probed.
type Wanted struct {
	// UID decides when in its interval the probe runs.
	UID types.UID
	// Probe is what to do. It is only read.
	Probe *v1alpha1.Probe
	// Values are what the Secrets and ConfigMaps hold that the probe names.
	Values probe.Values
	// Thresholds are the promised latencies, in seconds.
	Thresholds []float64
}

// Options shapes a Fleet.
type Options struct {
	Client   *probe.Client
	Schedule *schedule.Scheduler
	Series   *series.Set
	// Location is where this prober stands.
	Location string
	// Role tells what this prober is to the touchpoint of a UID. Whoever changes the
	// answer calls Reassign.
	Role func(uid types.UID) membership.Role
	// Shown tells whether everybody who scrapes has done so twice since a time.
	Shown func(since, now time.Time) bool
	// FirstRunDelay is how long a touchpoint's first run waits at most for its
	// series to be scraped twice at zero: Prometheus sees no increase of a counter
	// born at 1.
	FirstRunDelay time.Duration
	// Skipped is told of every run skipped because its predecessor still runs.
	Skipped func()
	// Report is told what every visit came to, and Forget which touchpoint is not this
	// prober's any more.
	Report func(touchpoint types.NamespacedName, result probe.Result)
	Forget func(touchpoint types.NamespacedName)
	Log    *slog.Logger
}

// Fleet is all touchpoints of this prober's location.
type Fleet struct {
	Options

	mu      sync.Mutex
	members map[string]map[string]*member // by namespace and name
	leaving int                           // members whose series are about to be hidden
}

// New returns an empty fleet.
func New(options Options) *Fleet {
	return &Fleet{Options: options, members: map[string]map[string]*member{}}
}

// Apply makes the fleet know exactly the wanted touchpoints of a namespace, by
// name. What did not change goes on undisturbed.
func (f *Fleet) Apply(namespace string, wanted map[string]Wanted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := f.members[namespace]
	for name, m := range members {
		// A touchpoint of the same name with another UID is another touchpoint.
		if want, still := wanted[name]; !still || want.UID != m.wanted.UID {
			m.stop()
			m.hide()
			delete(members, name)
		}
	}
	for name, want := range wanted {
		m := members[name]
		if m == nil {
			if members == nil {
				members = map[string]*member{}
				f.members[namespace] = members
			}
			m = &member{fleet: f, namespace: namespace, name: name, key: namespace + "/" + name}
			members[name] = m
		}
		before := m.wanted
		m.wanted = want
		if m.series != nil {
			m.series.SetThresholds(want.Thresholds)
		}
		if m.probing && (!maps.Equal(before.Values, want.Values) || before.Probe != want.Probe && !reflect.DeepEqual(before.Probe, want.Probe)) {
			m.stop()
		}
		m.assign(f.Role(want.UID))
	}
	if len(members) == 0 {
		delete(f.members, namespace)
	}
}

// Reassign takes and gives touchpoints as the roles now say.
func (f *Fleet) Reassign() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, members := range f.members {
		for _, m := range members {
			m.assign(f.Role(m.wanted.UID))
		}
	}
}

// Scraped is called after each scrape. It hides the series of touchpoints that were
// handed over, once their last counts have been seen twice.
func (f *Fleet) Scraped(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving == 0 {
		return
	}
	for _, members := range f.members {
		for _, m := range members {
			if !m.left.IsZero() && f.Shown(m.left, now) {
				m.hide()
			}
		}
	}
}

// compile turns a probe as it is written into one that runs. The interval is
// usable even if there is an error.
func (f *Fleet) compile(p *v1alpha1.Probe, values probe.Values) (time.Duration, *probe.Probe, error) {
	interval, err := length(p.Interval, defaultInterval)
	if err != nil {
		return defaultInterval, nil, fmt.Errorf("interval: %w", err)
	}
	timeout, err := length(p.Timeout, defaultTimeout)
	if err != nil {
		return interval, nil, fmt.Errorf("timeout: %w", err)
	}
	flow, problems := flows.Compile(p)
	if len(problems) > 0 {
		return interval, nil, problems[0]
	}
	checked, err := f.Client.New(flow, values, min(timeout, interval))
	return interval, checked, err
}

func length(text v1alpha1.Duration, fallback time.Duration) (time.Duration, error) {
	if text == "" {
		return fallback, nil
	}
	value, err := text.Value()
	if err == nil && value <= 0 {
		err = fmt.Errorf("%s is not positive", text)
	}
	return value, err
}

// member is one touchpoint of the fleet. What is below the first line is guarded by
// the fleet's lock.
type member struct {
	fleet                *Fleet
	namespace, name, key string

	wanted  Wanted
	series  *series.Touchpoint // nil: not shown
	shown   time.Time          // since when, if they are shown
	left    time.Time          // when it became nobody's concern here, if they still are
	probing bool

	mu   sync.Mutex
	open bool // the first run need not wait any longer
	runs history
}

// assign does what the role asks for.
func (m *member) assign(role membership.Role) {
	if role != membership.Owner {
		m.stop()
	}
	if role == membership.None {
		if m.series != nil && m.left.IsZero() {
			m.left = time.Now()
			m.fleet.leaving++
		}
		return
	}
	m.show()
	if role == membership.Owner && !m.probing {
		m.start()
	}
}

// show makes the series seen, at zero if they were not seen before.
func (m *member) show() {
	if !m.left.IsZero() {
		m.left = time.Time{}
		m.fleet.leaving--
	}
	if m.series == nil {
		m.series = m.fleet.Series.Add(m.namespace, m.name, m.wanted.Thresholds)
		m.shown = time.Now()
	}
}

func (m *member) hide() {
	if m.series == nil {
		return
	}
	m.fleet.Series.Remove(m.series)
	m.series = nil
	m.mu.Lock()
	m.open = false
	m.mu.Unlock()
	if !m.left.IsZero() {
		m.left = time.Time{}
		m.fleet.leaving--
	}
}

// start schedules the probe as it is wanted now.
func (m *member) start() {
	m.probing = true
	interval, checked, err := m.fleet.compile(m.wanted.Probe, m.wanted.Values)
	j := &job{member: m, series: m.series, shown: m.shown, probe: checked, invalid: err}
	// At every location at another moment.
	identity := string(m.wanted.UID) + "/" + m.fleet.Location
	// Where the host is known only in the run, nobody shares its limit.
	m.fleet.Schedule.Set(m.key, identity, cmp.Or(host(m.wanted.Probe), m.key), interval, j)
}

// stop takes the probe from the schedule and calls off its run.
func (m *member) stop() {
	if m.probing {
		m.fleet.Schedule.Remove(m.key)
		m.fleet.Forget(m.touchpoint())
		m.probing = false
	}
}

func (m *member) touchpoint() types.NamespacedName {
	return types.NamespacedName{Namespace: m.namespace, Name: m.name}
}

// Runs returns the last runs of a touchpoint, the latest first, whether it is this
// prober that makes them, and whether the fleet knows the touchpoint at all.
func (f *Fleet) Runs(touchpoint types.NamespacedName) (runs []probe.Result, probing, known bool) {
	f.mu.Lock()
	m := f.members[touchpoint.Namespace][touchpoint.Name]
	probing = m != nil && m.probing
	f.mu.Unlock()
	if m == nil {
		return nil, false, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs.results(), probing, true
}

// host is whom a probe visits first, for the limit per host; empty if that is known
// only in the run.
func host(p *v1alpha1.Probe) string {
	first := v1alpha1.ProbeStep{HTTP: p.HTTP}
	if p.HTTP == nil && len(p.Steps) > 0 {
		first = p.Steps[0]
	}
	switch {
	case first.HTTP != nil:
		if target, err := url.Parse(string(first.HTTP.URL)); err == nil {
			return target.Host
		}
	case first.TCP != nil:
		return string(first.TCP.Address)
	case first.GRPC != nil:
		return string(first.GRPC.Address)
	case first.TLS != nil:
		return string(first.TLS.Address)
	case first.DNS != nil:
		return string(first.DNS.Server)
	case first.ICMP != nil:
		return string(first.ICMP.Host)
	}
	return ""
}

// job is a member's probe in its present form.
type job struct {
	*member
	series  *series.Touchpoint
	shown   time.Time
	probe   *probe.Probe
	invalid error
}

// Allowed holds the first run back until the series have been shown at zero.
func (j *job) Allowed(now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = j.open || now.Sub(j.shown) >= j.fleet.FirstRunDelay || j.fleet.Shown(j.shown, now)
	return j.open
}

// Run makes one visit and counts it.
func (j *job) Run(ctx context.Context) {
	if j.invalid != nil {
		j.record(probe.Result{Start: time.Now(), Outcome: probe.OutcomeError, Reason: probe.ReasonConfig, Detail: j.invalid.Error()})
		return
	}
	result := j.probe.Run(ctx)
	// Whoever called the visit off, by an edit or by ending the prober, does not
	// want to know any more.
	if ctx.Err() == nil {
		j.record(result)
	}
}

// Overlapped counts a skipped run.
func (j *job) Overlapped() { j.fleet.Skipped() }

// Starved counts a run that found no slot. That is our fault, not the customer's
// experience.
func (j *job) Starved(ofHost bool) {
	detail := "no free slot for a whole interval; raise --max-concurrent or run more probers"
	if ofHost {
		detail = "no free slot for this host for a whole interval; raise --max-concurrent-per-host or run more probers"
	}
	j.record(probe.Result{Start: time.Now(), Outcome: probe.OutcomeError, Reason: probe.ReasonOverload, Detail: detail})
}

// record counts a result, and logs it if it is other than the one before: a
// touchpoint that fails all night is told once.
func (j *job) record(result probe.Result) {
	m := j.member
	j.series.Observe(result)
	m.mu.Lock()
	before, reason, step := m.runs.latest()
	m.runs.add(result)
	m.mu.Unlock()
	m.fleet.Report(m.touchpoint(), result)
	if result.Outcome == before && result.Reason == reason && result.FailedStep == step {
		return
	}
	level := slog.LevelInfo
	if before == "" && result.Outcome == probe.OutcomeSuccess {
		// All is well from the start, for thousands of touchpoints.
		level = slog.LevelDebug
	}
	m.fleet.Log.Log(context.Background(), level, "outcome changed", "touchpoint", m.key, "outcome", result.Outcome, "reason", result.Reason,
		"step", result.FailedStep, "detail", result.Detail, "duration", result.Duration, "before", before)
}
