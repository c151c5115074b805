// Package series keeps what Prometheus reads of the probes of each touchpoint.
//
// It gathers its series itself instead of registering vectors of client_golang:
// every touchpoint has bucket edges of its own, which a HistogramVec cannot have,
// and a scrape of ten thousand touchpoints shares the label pairs of each and
// skips the registry's check of every single series.
package series

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// Names of the series.
const (
	RunsTotal        = "sojourn_probe_runs_total"
	DurationSeconds  = "sojourn_probe_duration_seconds"
	LastRunTimestamp = "sojourn_probe_last_run_timestamp_seconds"
	FailuresTotal    = "sojourn_probe_failures_total"
	StepSeconds      = "sojourn_probe_step_duration_seconds"
	PhaseSeconds     = "sojourn_probe_phase_duration_seconds"
	CertificateEnd   = "sojourn_probe_certificate_expiry_timestamp_seconds"
)

// zerosFor is how long a reason's series stays at zero at most when it first occurs.
const zerosFor = 5 * time.Minute

// Limits of a native histogram: latencies of one touchpoint rarely need more than
// thirty buckets at this resolution, and a wild one must not grow without end.
const (
	nativeFactor     = 1.1
	nativeMaxBuckets = 160
	nativeMinReset   = time.Hour
)

// Set holds the series of all touchpoints. It is a prometheus.Gatherer.
type Set struct {
	location string
	shown    func(since, now time.Time) bool

	mu          sync.Mutex
	touchpoints map[name]*Touchpoint
}

type name struct{ namespace, touchpoint string }

// New returns an empty set. The location becomes a label of every series. Shown tells
// whether everybody who scrapes has done so twice since a time.
func New(location string, shown func(since, now time.Time) bool) *Set {
	return &Set{location: location, shown: shown, touchpoints: map[name]*Touchpoint{}}
}

// Touchpoint holds the series of one touchpoint.
type Touchpoint struct {
	name      name
	labels    []*dto.LabelPair
	runLabels [][]*dto.LabelPair // in the order of probe.Outcomes
	created   *timestamppb.Timestamp

	// One lock for all, so that no scrape sees a run without its duration: rules
	// would take it for a slow one.
	mu         sync.Mutex
	runs       []uint64 // in the order of probe.Outcomes
	duration   prometheus.Histogram
	thresholds []float64
	lastRun    time.Time
	failures   []failures // of the reasons that occurred
	steps      []step
}

// failures counts those of one reason. Nine more series for each touchpoint, nearly
// all of them at zero for ever, would be half of what a scrape has to say: the series
// of a reason begins when it first occurs. It stays at zero until that was seen, for
// Prometheus sees no increase of a counter born at 1.
type failures struct {
	reason probe.Reason
	labels []*dto.LabelPair
	count  uint64
	first  time.Time
	open   bool
}

// step is what the last visit that made a step told of it.
type step struct {
	name        string
	labels      []*dto.LabelPair
	phaseLabels [len(probe.PhaseNames)][]*dto.LabelPair
	last        probe.StepResult
}

// Add shows a touchpoint's series, all at zero. Adding it anew starts them anew.
func (s *Set) Add(namespace, touchpoint string, thresholds []float64) *Touchpoint {
	// In alphabetical order, as the formats want them.
	location, ns, tp := label("location", s.location), label("namespace", namespace), label("touchpoint", touchpoint)
	t := &Touchpoint{
		name:    name{namespace, touchpoint},
		labels:  []*dto.LabelPair{location, ns, tp},
		created: timestamppb.Now(),
		runs:    make([]uint64, len(probe.Outcomes)),
	}
	for _, outcome := range probe.Outcomes {
		t.runLabels = append(t.runLabels, []*dto.LabelPair{location, ns, label("outcome", string(outcome)), tp})
	}
	t.SetThresholds(thresholds)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touchpoints[t.name] = t
	return t
}

// Remove hides a touchpoint's series at once.
func (s *Set) Remove(t *Touchpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.touchpoints[t.name] == t {
		delete(s.touchpoints, t.name)
	}
}

// Len counts the touchpoints.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.touchpoints)
}

// SetThresholds makes each threshold, in seconds, an exact edge of the classic
// buckets. Other edges than before make a new histogram, which starts at zero: a
// counter reset, as after a restart. The runs start at zero with it: rules take a run
// without a duration for a slow one. The same edges change nothing.
func (t *Touchpoint) SetThresholds(thresholds []float64) {
	thresholds = slices.Sorted(slices.Values(thresholds))
	thresholds = slices.Compact(thresholds)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.duration != nil && slices.Equal(t.thresholds, thresholds) {
		return
	}
	if t.duration != nil {
		clear(t.runs)
		t.created = timestamppb.Now()
	}
	edges := slices.Concat(prometheus.DefBuckets, thresholds)
	slices.Sort(edges)
	t.thresholds = thresholds
	t.duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:                            DurationSeconds,
		Buckets:                         slices.Compact(edges),
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  nativeMaxBuckets,
		NativeHistogramMinResetDuration: nativeMinReset,
	})
}

// Observe counts a run. Only the duration of a success is kept: a refused
// connection is fast, and must not look good.
func (t *Touchpoint) Observe(result probe.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs[slices.Index(probe.Outcomes, result.Outcome)]++
	switch result.Outcome {
	case probe.OutcomeSuccess:
		t.duration.Observe(Seconds(result.Duration))
	case probe.OutcomeFailure:
		t.fail(result.Reason)
	}
	if result.Outcome != probe.OutcomeError {
		t.lastRun = time.Now()
	}
	if len(result.Steps) > 0 {
		t.observeSteps(result.Steps)
	}
}

func (t *Touchpoint) fail(reason probe.Reason) {
	i := slices.IndexFunc(t.failures, func(f failures) bool { return f.reason == reason })
	if i < 0 {
		labels := []*dto.LabelPair{t.labels[0], t.labels[1], label("reason", string(reason)), t.labels[2]}
		t.failures = append(t.failures, failures{reason: reason, labels: labels, first: time.Now()})
		i = len(t.failures) - 1
	}
	t.failures[i].count++
}

// observeSteps keeps what each step took, of the last visit in which it was made.
func (t *Touchpoint) observeSteps(results []probe.StepResult) {
	same := slices.EqualFunc(t.steps, results, func(s step, r probe.StepResult) bool { return s.name == r.Name })
	if !same {
		t.steps = make([]step, len(results))
		for i, result := range results {
			t.steps[i] = step{name: result.Name, labels: []*dto.LabelPair{t.labels[0], t.labels[1], label("step", result.Name), t.labels[2]}}
		}
	}
	for i, result := range results {
		if result.Made {
			t.steps[i].last = result
		}
	}
}

// Gather returns the families of all touchpoints.
func (s *Set) Gather() ([]*dto.MetricFamily, error) {
	s.mu.Lock()
	touchpoints := make([]*Touchpoint, 0, len(s.touchpoints))
	for _, t := range s.touchpoints {
		touchpoints = append(touchpoints, t)
	}
	s.mu.Unlock()
	if len(touchpoints) == 0 {
		return nil, nil
	}
	slices.SortFunc(touchpoints, func(a, b *Touchpoint) int {
		if byNamespace := strings.Compare(a.name.namespace, b.name.namespace); byNamespace != 0 {
			return byNamespace
		}
		return strings.Compare(a.name.touchpoint, b.name.touchpoint)
	})

	duration := family(DurationSeconds, dto.MetricType_HISTOGRAM,
		"Duration of successful visits, from the start to the last byte of the body. Every latency threshold promised for the touchpoint is a bucket edge.", len(touchpoints))
	lastRun := family(LastRunTimestamp, dto.MetricType_GAUGE,
		"When the last visit ended, as seconds since 1970. Absent before the first one.", len(touchpoints))
	runs := family(RunsTotal, dto.MetricType_COUNTER,
		"Visits by what they came to: success, failure (as a customer feels it) or error (the prober's own, no budget counts it).", len(touchpoints)*len(probe.Outcomes))
	failures := family(FailuresTotal, dto.MetricType_COUNTER,
		"Visits that failed, by reason.", 0)
	steps := family(StepSeconds, dto.MetricType_GAUGE,
		"Duration of a step when it was last made, whether or not it succeeded.", len(touchpoints))
	phases := family(PhaseSeconds, dto.MetricType_GAUGE,
		"Duration of a phase of a step when it was last made: dns, connect, tls, first_byte or transfer.", 3*len(touchpoints))
	certificates := family(CertificateEnd, dto.MetricType_GAUGE,
		"When the first certificate of a chain ends that a step was last shown, as seconds since 1970.", 0)
	now := time.Now()
	for _, t := range touchpoints {
		if err := t.gather(duration, lastRun, runs); err != nil {
			return nil, err
		}
		t.gatherFailures(failures, func(since time.Time) bool { return s.shown(since, now) || now.Sub(since) > zerosFor })
		t.gatherSteps(steps, phases, certificates)
	}
	families := []*dto.MetricFamily{certificates, duration, failures, lastRun, phases, runs, steps}
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 }), nil
}

func (t *Touchpoint) gatherFailures(to *dto.MetricFamily, shown func(since time.Time) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.failures {
		f := &t.failures[i]
		f.open = f.open || shown(f.first)
		value := 0.0
		if f.open {
			value = float64(f.count)
		}
		to.Metric = append(to.Metric, &dto.Metric{Label: f.labels, Counter: &dto.Counter{Value: &value}})
	}
}

func (t *Touchpoint) gatherSteps(steps, phases, certificates *dto.MetricFamily) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.steps {
		s := &t.steps[i]
		if !s.last.Made {
			continue
		}
		steps.Metric = append(steps.Metric, gauge(s.labels, Seconds(s.last.Duration)))
		for phase, took := range s.last.Phases {
			if took == 0 {
				continue
			}
			if s.phaseLabels[phase] == nil {
				s.phaseLabels[phase] = []*dto.LabelPair{s.labels[0], s.labels[1], label("phase", probe.PhaseNames[phase]), s.labels[2], s.labels[3]}
			}
			phases.Metric = append(phases.Metric, gauge(s.phaseLabels[phase], Seconds(took)))
		}
		if end := s.last.CertificateExpiry; !end.IsZero() {
			certificates.Metric = append(certificates.Metric, gauge(s.labels, float64(end.Unix())))
		}
	}
}

func gauge(labels []*dto.LabelPair, value float64) *dto.Metric {
	return &dto.Metric{Label: labels, Gauge: &dto.Gauge{Value: &value}}
}

func (t *Touchpoint) gather(duration, lastRun, runs *dto.MetricFamily) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	histogram := &dto.Metric{}
	if err := t.duration.Write(histogram); err != nil {
		return err
	}
	histogram.Label = t.labels
	duration.Metric = append(duration.Metric, histogram)
	for i, count := range t.runs {
		runs.Metric = append(runs.Metric, &dto.Metric{Label: t.runLabels[i], Counter: &dto.Counter{
			Value: proto.Float64(float64(count)), CreatedTimestamp: t.created,
		}})
	}
	if !t.lastRun.IsZero() {
		lastRun.Metric = append(lastRun.Metric, gauge(t.labels, float64(t.lastRun.UnixMilli())/1e3))
	}
	return nil
}

// Seconds returns the float nearest to a duration, so that 300ms is written 0.3.
// Duration.Seconds rounds twice and is not always that near.
func Seconds(d time.Duration) float64 { return float64(d) / 1e9 }

func family(name string, kind dto.MetricType, help string, size int) *dto.MetricFamily {
	return &dto.MetricFamily{Name: &name, Type: &kind, Help: &help, Metric: make([]*dto.Metric, 0, size)}
}

func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }
