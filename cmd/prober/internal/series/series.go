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

// Set holds the series of all touchpoints. It is a prometheus.Gatherer.
type Set struct {
	location string
	shown    func(since, now time.Time) bool

	// words holds the label pairs of what many touchpoints have in common: locations,
	// namespaces, outcomes, reasons, steps, phases.
	words sync.Map // of *dto.LabelPair by [2]string
	// Those of the outcomes, in the order of probe.Outcomes, and of the phases.
	outcomes [outcomes]*dto.LabelPair
	phases   [len(probe.PhaseNames)]*dto.LabelPair

	mu          sync.Mutex
	touchpoints map[name]*Touchpoint
	native      bool
}

type name struct{ namespace, touchpoint string }

// outcomes is how many outcomes there are.
const outcomes = 3

// New returns an empty set. The location becomes a label of every series. Shown tells
// whether everybody who scrapes has done so twice since a time.
func New(location string, shown func(since, now time.Time) bool) *Set {
	s := &Set{location: location, shown: shown, touchpoints: map[name]*Touchpoint{}}
	for i, outcome := range probe.Outcomes {
		s.outcomes[i] = s.word("outcome", string(outcome))
	}
	for i, phase := range probe.PhaseNames {
		s.phases[i] = s.word("phase", phase)
	}
	return s
}

// Touchpoint holds the series of one touchpoint. There are thousands of them, so it
// holds no label sets but those that each needs of its own.
type Touchpoint struct {
	set                  *Set
	name                 name
	location, ns, itself *dto.LabelPair

	// One lock for all, so that no scrape sees a run without its duration: rules
	// would take it for a slow one.
	mu         sync.Mutex
	created    time.Time
	runs       [outcomes]uint64 // in the order of probe.Outcomes
	duration   histogram
	thresholds []float64
	lastRun    time.Time
	failures   []failures // of the reasons that occurred
	steps      []step
}

// with are the touchpoint's labels and more; those stand between the namespace and the
// touchpoint in alphabetical order, as the formats want them.
func (t *Touchpoint) with(more ...*dto.LabelPair) []*dto.LabelPair {
	labels := make([]*dto.LabelPair, 0, 3+len(more))
	labels = append(labels, t.location, t.ns)
	labels = append(labels, more...)
	return append(labels, t.itself)
}

// failures counts those of one reason. Nine more series for each touchpoint, nearly
// all of them at zero for ever, would be half of what a scrape has to say: the series
// of a reason begins when it first occurs. It stays at zero until that was seen, for
// Prometheus sees no increase of a counter born at 1.
type failures struct {
	reason probe.Reason
	label  *dto.LabelPair
	count  uint64
	first  time.Time
	open   bool
}

// step is what the last visit that made a step told of it.
type step struct {
	name     string
	label    *dto.LabelPair
	made     bool
	duration time.Duration
	phases   probe.Phases
	expiry   time.Time // of the certificate; zero: there was none
}

// Add shows a touchpoint's series, all at zero. Adding it anew starts them anew.
func (s *Set) Add(namespace, touchpoint string, thresholds []float64) *Touchpoint {
	t := &Touchpoint{
		set:      s,
		name:     name{namespace, touchpoint},
		location: s.word("location", s.location), ns: s.word("namespace", namespace), itself: label("touchpoint", touchpoint),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.thresholds = edges(thresholds)
	t.restart(s.native)
	s.touchpoints[t.name] = t
	return t
}

// Native adds native histograms to the classic ones, from now on: they take a fifth of
// a prober's memory, and only a Prometheus that asks for the protobuf format reads
// them. All counts start at zero once more; it asks first before the first visit.
func (s *Set) Native() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.native {
		return
	}
	s.native = true
	for _, t := range s.touchpoints {
		t.mu.Lock()
		t.restart(true)
		t.mu.Unlock()
	}
}

// word returns the label pair that all touchpoints share.
func (s *Set) word(name, value string) *dto.LabelPair {
	key := [2]string{name, value}
	if shared, known := s.words.Load(key); known {
		return shared.(*dto.LabelPair)
	}
	shared, _ := s.words.LoadOrStore(key, label(name, value))
	return shared.(*dto.LabelPair)
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
	thresholds = edges(thresholds)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Equal(t.thresholds, thresholds) {
		t.thresholds = thresholds
		t.restart(t.duration.native != nil)
	}
}

func edges(thresholds []float64) []float64 {
	return slices.Compact(slices.Sorted(slices.Values(thresholds)))
}

// restart makes the histogram and the runs start at zero.
func (t *Touchpoint) restart(native bool) {
	t.runs = [outcomes]uint64{}
	t.created = time.Now()
	t.duration = newHistogram(t.thresholds, native)
}

// Observe counts a run. Only the duration of a success is kept: a refused
// connection is fast, and must not look good.
func (t *Touchpoint) Observe(result probe.Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs[slices.Index(probe.Outcomes, result.Outcome)]++
	switch result.Outcome {
	case probe.OutcomeSuccess:
		t.duration.observe(Seconds(result.Duration))
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
		t.failures = append(t.failures, failures{reason: reason, label: t.set.word("reason", string(reason)), first: time.Now()})
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
			t.steps[i] = step{name: result.Name, label: t.set.word("step", result.Name)}
		}
	}
	for i, result := range results {
		if result.Made {
			s := &t.steps[i]
			s.made, s.duration, s.phases, s.expiry = true, result.Duration, result.Phases, result.CertificateExpiry
		}
	}
}

// chunk is how many touchpoints are gathered at a time.
const chunk = 250

// Gather returns the families of all touchpoints.
func (s *Set) Gather() ([]*dto.MetricFamily, error) {
	var families []*dto.MetricFamily
	err := s.Stream(func(part *dto.MetricFamily) error {
		if last := len(families) - 1; last >= 0 && families[last].GetName() == part.GetName() {
			families[last].Metric = append(families[last].Metric, part.Metric...)
		} else {
			families = append(families, part)
		}
		return nil
	})
	return families, err
}

// Stream tells the families of all touchpoints in parts: those of the same family
// follow each other. All of them at once would take as much memory again as
// everything else, for as long as a scrape takes.
func (s *Set) Stream(tell func(*dto.MetricFamily) error) error {
	s.mu.Lock()
	touchpoints := make([]*Touchpoint, 0, len(s.touchpoints))
	for _, t := range s.touchpoints {
		touchpoints = append(touchpoints, t)
	}
	s.mu.Unlock()
	slices.SortFunc(touchpoints, func(a, b *Touchpoint) int {
		if byNamespace := strings.Compare(a.name.namespace, b.name.namespace); byNamespace != 0 {
			return byNamespace
		}
		return strings.Compare(a.name.touchpoint, b.name.touchpoint)
	})
	now := time.Now()
	shown := func(since time.Time) bool { return s.shown(since, now) || now.Sub(since) > zerosFor }
	// The runs as they were when the durations were told: rules take a run without its
	// duration for a slow one.
	runs := make([][outcomes]uint64, len(touchpoints))
	for _, f := range []struct {
		name   string
		kind   dto.MetricType
		help   string
		gather func(t *Touchpoint, i int, to *dto.MetricFamily) error
	}{{
		CertificateEnd, dto.MetricType_GAUGE,
		"When the first certificate of a chain ends that a step was last shown, as seconds since 1970.",
		func(t *Touchpoint, _ int, to *dto.MetricFamily) error { return t.gatherCertificates(to) },
	}, {
		DurationSeconds, dto.MetricType_HISTOGRAM,
		"Duration of successful visits, from the start to the last byte of the body. Every latency threshold promised for the touchpoint is a bucket edge.",
		func(t *Touchpoint, i int, to *dto.MetricFamily) error { return t.gatherDuration(to, &runs[i]) },
	}, {
		FailuresTotal, dto.MetricType_COUNTER,
		"Visits that failed, by reason.",
		func(t *Touchpoint, _ int, to *dto.MetricFamily) error { return t.gatherFailures(to, shown) },
	}, {
		LastRunTimestamp, dto.MetricType_GAUGE,
		"When the last visit ended, as seconds since 1970. Absent before the first one.",
		func(t *Touchpoint, _ int, to *dto.MetricFamily) error { return t.gatherLastRun(to) },
	}, {
		PhaseSeconds, dto.MetricType_GAUGE,
		"Duration of a phase of a step when it was last made: dns, connect, tls, first_byte or transfer.",
		func(t *Touchpoint, _ int, to *dto.MetricFamily) error { return t.gatherPhases(to) },
	}, {
		RunsTotal, dto.MetricType_COUNTER,
		"Visits by what they came to: success, failure (as a customer feels it) or error (the prober's own, no budget counts it).",
		func(t *Touchpoint, i int, to *dto.MetricFamily) error { return t.gatherRuns(to, &runs[i]) },
	}, {
		StepSeconds, dto.MetricType_GAUGE,
		"Duration of a step when it was last made, whether or not it succeeded.",
		func(t *Touchpoint, _ int, to *dto.MetricFamily) error { return t.gatherSteps(to) },
	}} {
		for from := 0; from < len(touchpoints); from += chunk {
			part := &dto.MetricFamily{Name: &f.name, Type: &f.kind, Help: &f.help}
			for i := from; i < min(from+chunk, len(touchpoints)); i++ {
				if err := touchpoints[i].locked(func(t *Touchpoint) error { return f.gather(t, i, part) }); err != nil {
					return err
				}
			}
			if len(part.Metric) == 0 {
				continue
			}
			if err := tell(part); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Touchpoint) locked(do func(*Touchpoint) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return do(t)
}

func (t *Touchpoint) gatherFailures(to *dto.MetricFamily, shown func(since time.Time) bool) error {
	for i := range t.failures {
		f := &t.failures[i]
		f.open = f.open || shown(f.first)
		value := 0.0
		if f.open {
			value = float64(f.count)
		}
		to.Metric = append(to.Metric, &dto.Metric{Label: t.with(f.label), Counter: &dto.Counter{Value: &value}})
	}
	return nil
}

func (t *Touchpoint) gatherSteps(to *dto.MetricFamily) error {
	for i := range t.steps {
		if s := &t.steps[i]; s.made {
			to.Metric = append(to.Metric, gauge(t.with(s.label), Seconds(s.duration)))
		}
	}
	return nil
}

func (t *Touchpoint) gatherPhases(to *dto.MetricFamily) error {
	for i := range t.steps {
		s := &t.steps[i]
		for phase, took := range s.phases {
			if took != 0 {
				to.Metric = append(to.Metric, gauge(t.with(t.set.phases[phase], s.label), Seconds(took)))
			}
		}
	}
	return nil
}

func (t *Touchpoint) gatherCertificates(to *dto.MetricFamily) error {
	for i := range t.steps {
		if s := &t.steps[i]; !s.expiry.IsZero() {
			to.Metric = append(to.Metric, gauge(t.with(s.label), float64(s.expiry.Unix())))
		}
	}
	return nil
}

func gauge(labels []*dto.LabelPair, value float64) *dto.Metric {
	return &dto.Metric{Label: labels, Gauge: &dto.Gauge{Value: &value}}
}

func (t *Touchpoint) gatherDuration(to *dto.MetricFamily, runs *[outcomes]uint64) error {
	*runs = t.runs
	metric := &dto.Metric{}
	if err := t.duration.write(metric); err != nil {
		return err
	}
	metric.Label = t.with()
	to.Metric = append(to.Metric, metric)
	return nil
}

func (t *Touchpoint) gatherRuns(to *dto.MetricFamily, runs *[outcomes]uint64) error {
	created := timestamppb.New(t.created)
	for i, count := range runs {
		to.Metric = append(to.Metric, &dto.Metric{Label: t.with(t.set.outcomes[i]), Counter: &dto.Counter{
			Value: proto.Float64(float64(count)), CreatedTimestamp: created,
		}})
	}
	return nil
}

func (t *Touchpoint) gatherLastRun(to *dto.MetricFamily) error {
	if !t.lastRun.IsZero() {
		to.Metric = append(to.Metric, gauge(t.with(), float64(t.lastRun.UnixMilli())/1e3))
	}
	return nil
}

// Seconds returns the float nearest to a duration, so that 300ms is written 0.3.
// Duration.Seconds rounds twice and is not always that near.
func Seconds(d time.Duration) float64 { return float64(d) / 1e9 }

func label(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }
