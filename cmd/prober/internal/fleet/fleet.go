// Package fleet keeps one scheduled probe for each touchpoint that wants one, and
// its series with it.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/schedule"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/series"
)

// The API server fills these in; they serve objects that it has not seen.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 10 * time.Second
)

// zerosToShow is how many scrapes must have seen a touchpoint's series at zero
// before its first run: Prometheus sees no increase of a counter born at 1.
const zerosToShow = 2

// Wanted is a touchpoint that is to be probed.
type Wanted struct {
	// UID decides when in its interval the probe runs.
	UID types.UID
	// Probe is what to do. It is only read.
	Probe *v1alpha1.Probe
	// Thresholds are the promised latencies, in seconds.
	Thresholds []float64
}

// Options shapes a Fleet.
type Options struct {
	Client   *probe.Client
	Schedule *schedule.Scheduler
	Series   *series.Set
	// FirstRunDelay is how long a touchpoint's first run waits at most for its
	// series to be scraped at zero.
	FirstRunDelay time.Duration
	// Skipped is told of every run skipped because its predecessor still runs.
	Skipped func()
	Log     *slog.Logger
}

// Fleet is all touchpoints that this prober probes.
type Fleet struct {
	Options

	mu      sync.Mutex
	members map[string]map[string]*member // by namespace and name
}

// New returns an empty fleet.
func New(options Options) *Fleet {
	return &Fleet{Options: options, members: map[string]map[string]*member{}}
}

// Apply makes the fleet probe exactly the wanted touchpoints of a namespace, by
// name. What did not change goes on undisturbed.
func (f *Fleet) Apply(namespace string, wanted map[string]Wanted) {
	f.mu.Lock()
	defer f.mu.Unlock()
	members := f.members[namespace]
	for name, m := range members {
		// A touchpoint of the same name with another UID is another touchpoint.
		if want, still := wanted[name]; !still || want.UID != m.wanted.UID {
			f.Schedule.Remove(m.key)
			f.Series.Remove(m.series)
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
			key := namespace + "/" + name
			m = &member{
				fleet: f, key: key, known: time.Now(),
				series: f.Series.Add(namespace, name, want.Thresholds),
				log:    f.Log.With("touchpoint", key),
			}
			members[name] = m
		} else {
			m.series.SetThresholds(want.Thresholds)
			if m.wanted.Probe == want.Probe || reflect.DeepEqual(m.wanted.Probe, want.Probe) {
				m.wanted = want
				continue
			}
		}
		m.wanted = want
		interval, checked, err := f.compile(want.Probe)
		f.Schedule.Set(m.key, string(want.UID), interval, &job{member: m, probe: checked, invalid: err})
	}
	if len(members) == 0 {
		delete(f.members, namespace)
	}
}

// compile turns a probe as it is written into one that runs. The interval is
// usable even if there is an error.
func (f *Fleet) compile(p *v1alpha1.Probe) (time.Duration, *probe.Probe, error) {
	interval, err := length(p.Interval, defaultInterval)
	if err != nil {
		return defaultInterval, nil, fmt.Errorf("interval: %w", err)
	}
	timeout, err := length(p.Timeout, defaultTimeout)
	if err != nil {
		return interval, nil, fmt.Errorf("timeout: %w", err)
	}
	if p.HTTP == nil {
		return interval, nil, fmt.Errorf("the probe does not say what to visit")
	}
	spec := probe.Spec{
		URL: string(p.HTTP.URL), Method: p.HTTP.Method,
		ExpectedStatuses: p.HTTP.ExpectedStatuses, Timeout: min(timeout, interval),
	}
	for _, header := range p.HTTP.Headers {
		spec.Headers = append(spec.Headers, probe.Header{Name: header.Name, Value: header.Value})
	}
	checked, err := f.Client.New(spec)
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

// member is one touchpoint of the fleet.
type member struct {
	fleet  *Fleet
	key    string
	series *series.Touchpoint
	known  time.Time
	log    *slog.Logger
	wanted Wanted // guarded by the fleet's lock

	mu   sync.Mutex
	open bool // the first run need not wait any longer
	last probe.Result
}

// job is a member's probe in its present form.
type job struct {
	*member
	probe   *probe.Probe
	invalid error
}

// Allowed holds the first run back until the series have been shown at zero.
func (j *job) Allowed(now time.Time) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = j.open || j.series.Collected() >= zerosToShow || now.Sub(j.known) >= j.fleet.FirstRunDelay
	return j.open
}

// Run makes one visit and counts it.
func (j *job) Run(ctx context.Context) {
	if j.invalid != nil {
		j.record(probe.Result{Outcome: probe.OutcomeError, Reason: probe.ReasonConfig, Detail: j.invalid.Error()})
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
func (j *job) Starved() {
	j.record(probe.Result{Outcome: probe.OutcomeError, Reason: probe.ReasonOverload,
		Detail: "no free slot for a whole interval; raise --max-concurrent or run more probers"})
}

// record counts a result, and logs it if it is other than the one before: a
// touchpoint that fails all night is told once.
func (m *member) record(result probe.Result) {
	m.series.Observe(result.Outcome, result.Duration)
	m.mu.Lock()
	before := m.last
	m.last = result
	m.mu.Unlock()
	if result.Outcome == before.Outcome && result.Reason == before.Reason {
		return
	}
	level := slog.LevelInfo
	if before.Outcome == "" && result.Outcome == probe.OutcomeSuccess {
		// All is well from the start, for thousands of touchpoints.
		level = slog.LevelDebug
	}
	m.log.Log(context.Background(), level, "outcome changed", "outcome", result.Outcome, "reason", result.Reason,
		"detail", result.Detail, "duration", result.Duration, "before", before.Outcome)
}
