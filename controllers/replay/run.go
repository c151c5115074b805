package replay

import (
	"cmp"
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"
)

// Progress tells how far Run has come.
type Progress struct {
	// Level counts from 1: rules of level 1 read raw series only.
	Level int
	// Done and Total count rules.
	Done, Total int
	// Record is the series that was recorded last, or the alert.
	Record string
}

// Run evaluates the rules of a program, all at once as range queries whose steps are
// multiples of their groups' intervals. Rules that read, directly or through others, what
// they themselves record are evaluated step by step. It returns the alerts that fired, in
// the order in which they began.
//
// progress, if not nil, is told after every rule; calls do not overlap.
func (r *Replay) Run(ctx context.Context, p *Program, progress func(Progress)) ([]Alert, error) {
	state := Progress{Total: len(p.rules)}
	var alerts []Alert
	done := func(rule *rule, fired []Alert) {
		alerts = append(alerts, fired...)
		state.Done++
		state.Record = rule.name()
		if progress != nil {
			progress(state)
		}
	}
	for rules := p.rules; len(rules) > 0; {
		state.Level++
		level, rest, cyclic := nextLevel(rules)
		rules = rest
		if !cyclic {
			if err := r.evaluateLevel(ctx, level, done); err != nil {
				return nil, err
			}
			continue
		}
		if err := r.evaluateTogether(ctx, level...); err != nil {
			return nil, err
		}
		for _, rule := range level {
			done(rule, nil)
		}
	}
	slices.SortStableFunc(alerts, func(a, b Alert) int {
		return cmp.Or(a.FiredAt.Compare(b.FiredAt), labels.Compare(a.Labels, b.Labels))
	})
	return alerts, nil
}

// steps returns the times at which a rule is evaluated: the multiples of its interval.
func (r *Replay) steps(rule *rule) (first, last time.Time) {
	from, until := laterOf(rule.wanted.From, r.start), rule.wanted.Until
	if until.After(r.end) {
		until = r.end
	}
	first, last = from.Truncate(rule.interval), until.Truncate(rule.interval)
	if first.Before(from) {
		first = first.Add(rule.interval)
	}
	return first, last
}

func (r *Replay) evaluateLevel(ctx context.Context, level []*rule, done func(*rule, []Alert)) error {
	type outcome struct {
		*rule
		fired []Alert
	}
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	finished := make(chan outcome)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for each := range finished {
			done(each.rule, each.fired)
		}
	}()
	for _, rule := range level {
		workers.Go(func() error {
			fired, err := r.evaluate(ctx, rule)
			if err != nil {
				return rule.failed(err)
			}
			finished <- outcome{rule, fired}
			return nil
		})
	}
	err := workers.Wait()
	close(finished)
	<-told
	return err
}

func (r *Replay) evaluate(ctx context.Context, rule *rule) ([]Alert, error) {
	switch {
	case rule.isAlert():
		return r.evaluateAlert(ctx, rule)
	case rule.readsItself():
		return nil, r.evaluateTogether(ctx, rule)
	}
	recorder := r.newRecorder(rule)
	if err := r.inParts(ctx, rule, recorder.record); err != nil {
		return nil, err
	}
	_, last := r.steps(rule)
	return nil, recorder.finish(last)
}

// stepsPerQuery bounds the memory of one query: it holds every step of every series
// at once.
const stepsPerQuery = 1440

// inParts evaluates a rule over its whole time, some steps after the other.
func (r *Replay) inParts(ctx context.Context, rule *rule, use func(promql.Matrix) error) error {
	first, last := r.steps(rule)
	for from := first; !from.After(last); from = from.Add(stepsPerQuery * rule.interval) {
		until := from.Add((stepsPerQuery - 1) * rule.interval)
		if until.After(last) {
			until = last
		}
		if err := r.queryRange(ctx, rule.expr, from.Add(-rule.offset), until.Add(-rule.offset), rule.interval, use); err != nil {
			return err
		}
	}
	return nil
}

// evaluateTogether evaluates rules that read what they record: each at every one of
// its steps, in the rules' order, as Prometheus does.
func (r *Replay) evaluateTogether(ctx context.Context, rules ...*rule) error {
	recorders := make([]*recorder, len(rules))
	next := make([]time.Time, len(rules))
	last := make([]time.Time, len(rules))
	for i, rule := range rules {
		if rule.isAlert() {
			return rule.failed(errors.New("reads what is recorded from it: such a circle is not replayed"))
		}
		recorders[i] = r.newRecorder(rule)
		next[i], last[i] = r.steps(rule)
	}
	for {
		now := slices.MinFunc(next, time.Time.Compare)
		if now.After(slices.MaxFunc(last, time.Time.Compare)) {
			break
		}
		for i, rule := range rules {
			if !next[i].Equal(now) {
				continue
			}
			at := now.Add(-rule.offset)
			if err := r.queryRange(ctx, rule.expr, at, at, rule.interval, recorders[i].record); err != nil {
				return rule.failed(err)
			}
			if err := recorders[i].flush(now); err != nil {
				return rule.failed(err)
			}
			next[i] = now.Add(rule.interval)
		}
	}
	for i, rule := range rules {
		if err := recorders[i].finish(last[i]); err != nil {
			return rule.failed(err)
		}
	}
	return nil
}

// recorder writes the results of a rule, in the order of time.
type recorder struct {
	*rule
	writer *Writer
	series map[string]*recordedSeries
}

// recordedSeries is one result of a rule.
type recordedSeries struct {
	labels labels.Labels
	ref    storage.SeriesRef
	last   int64 // time of its last sample, 0 before the first; a staleness marker does not count
	stale  bool
}

func (r *Replay) newRecorder(rule *rule) *recorder {
	return &recorder{rule: rule, writer: r.NewWriter(), series: map[string]*recordedSeries{}}
}

// errDuplicate is what Prometheus says, too.
var errDuplicate = errors.New("vector contains metrics with the same labelset after applying rule labels")

func (r *recorder) record(matrix promql.Matrix) error {
	points := make(map[*recordedSeries][]promql.FPoint, len(matrix))
	for _, result := range matrix {
		if len(result.Histograms) > 0 {
			return errors.New("records native histograms, which are not replayed")
		}
		series := r.seriesOf(result.Metric)
		if earlier := points[series]; earlier != nil {
			// Different results may become one series, though not at one time.
			points[series] = append(slices.Clone(earlier), result.Floats...)
			slices.SortFunc(points[series], func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
		} else {
			points[series] = result.Floats
		}
	}
	for series, points := range points {
		if err := r.write(series, points); err != nil {
			return err
		}
	}
	return nil
}

// seriesOf finds the series that a result becomes.
func (r *recorder) seriesOf(result labels.Labels) *recordedSeries {
	lset := r.labelled(result, model.MetricNameLabel, r.rule.record)
	key := string(lset.Bytes(nil))
	series, known := r.series[key]
	if !known {
		series = &recordedSeries{labels: lset}
		r.series[key] = series
	}
	return series
}

// labelled gives a result the labels of the rule, and some more.
func (r *rule) labelled(result labels.Labels, pairs ...string) labels.Labels {
	builder := labels.NewBuilder(result)
	builder.Del(model.MetricNameLabel)
	for name, content := range r.labels {
		builder.Set(name, content)
	}
	for i := 0; i < len(pairs); i += 2 {
		builder.Set(pairs[i], pairs[i+1])
	}
	return builder.Labels()
}

// write appends points, and a staleness marker where some are missing: Prometheus
// marks a series that a rule no longer returns, or readers would see its last value
// for five minutes more.
func (r *recorder) write(series *recordedSeries, points []promql.FPoint) error {
	step := r.interval.Milliseconds()
	for _, point := range points {
		at := point.T + r.offset.Milliseconds()
		if series.last > 0 && at == series.last {
			return errDuplicate
		}
		if series.last > 0 && !series.stale && at-series.last > step {
			if err := r.writer.Append(&series.ref, series.labels, series.last+step, staleMarker); err != nil {
				return err
			}
		}
		if err := r.writer.Append(&series.ref, series.labels, at, point.F); err != nil {
			return err
		}
		series.last, series.stale = at, false
	}
	return nil
}

// flush makes what was recorded visible, and marks stale what was not at this step.
func (r *recorder) flush(now time.Time) error {
	if err := r.markStale(now); err != nil {
		return err
	}
	return r.writer.Flush()
}

// finish ends the recording at the rule's last step.
func (r *recorder) finish(last time.Time) error {
	if err := r.markStale(last); err != nil {
		return err
	}
	return r.writer.Close()
}

func (r *recorder) markStale(now time.Time) error {
	for _, series := range r.series {
		if series.stale || series.last >= timestamp.FromTime(now) {
			continue
		}
		if err := r.writer.Append(&series.ref, series.labels, series.last+r.interval.Milliseconds(), staleMarker); err != nil {
			return err
		}
		series.stale = true
	}
	return nil
}

var staleMarker = math.Float64frombits(value.StaleNaN)
