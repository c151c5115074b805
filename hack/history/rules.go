package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"
)

// defaultInterval is Prometheus's own, for groups that name none.
const defaultInterval = time.Minute

// Progress tells how far Evaluate has come.
type Progress struct {
	// Level counts from 1: rules of level 1 read raw series only.
	Level int
	// Done and Total count recording rules.
	Done, Total int
	// Record is the series that was recorded last.
	Record string
}

// Evaluate adds what the recording rules of the groups would have recorded over the
// whole history. Rules may stand in any order: each is evaluated when everything it
// reads is there, all at once as a range query whose steps are multiples of its
// group's interval. Rules that read, directly or through others, what they
// themselves record are evaluated step by step. Alerting rules are skipped.
//
// progress, if not nil, is told after every rule; calls do not overlap.
func (h *History) Evaluate(ctx context.Context, groups []monitoringv1.RuleGroup, progress func(Progress)) error {
	rules, err := h.recordingRules(groups)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	state := Progress{Total: len(rules)}
	done := func(rule *rule) {
		state.Done++
		state.Record = rule.record
		if progress != nil {
			progress(state)
		}
	}
	for len(rules) > 0 {
		state.Level++
		level, rest, cyclic := nextLevel(rules)
		rules = rest
		if cyclic {
			err = h.evaluateTogether(ctx, level)
		} else {
			err = h.evaluateLevel(ctx, level, done)
		}
		if err != nil {
			return fmt.Errorf("history: %w", err)
		}
		if cyclic {
			for _, rule := range level {
				done(rule)
			}
		}
	}
	return nil
}

// rule is a recording rule, ready to be evaluated.
type rule struct {
	group, record, expr string
	labels              map[string]string
	interval, offset    time.Duration
	names               []*labels.Matcher // the matchers of metric names; nil entries match all
}

// reads tells whether the rule reads a recorded series.
func (r *rule) reads(name string) bool {
	return slices.ContainsFunc(r.names, func(m *labels.Matcher) bool { return m == nil || m.Matches(name) })
}

func (r *rule) failed(err error) error {
	return fmt.Errorf("group %s, record %s: %w", r.group, r.record, err)
}

func (h *History) recordingRules(groups []monitoringv1.RuleGroup) ([]*rule, error) {
	var rules []*rule
	for _, group := range groups {
		interval, err := duration(group.Interval, defaultInterval)
		if err != nil {
			return nil, fmt.Errorf("group %s: interval: %w", group.Name, err)
		}
		offset, err := duration(group.QueryOffset, 0)
		if err != nil {
			return nil, fmt.Errorf("group %s: query_offset: %w", group.Name, err)
		}
		for _, source := range group.Rules {
			if source.Record == "" {
				continue
			}
			r := &rule{
				group: group.Name, record: source.Record, expr: source.Expr.String(),
				labels: map[string]string{}, interval: interval, offset: offset,
			}
			maps.Copy(r.labels, group.Labels)
			maps.Copy(r.labels, source.Labels)
			expr, err := h.parser.ParseExpr(r.expr)
			if err != nil {
				return nil, r.failed(err)
			}
			parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
				if selector, ok := node.(*parser.VectorSelector); ok {
					r.names = append(r.names, nameMatcher(selector))
				}
				return nil
			})
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func duration(text *monitoringv1.Duration, fallback time.Duration) (time.Duration, error) {
	if text == nil || *text == "" {
		return fallback, nil
	}
	d, err := model.ParseDuration(string(*text))
	return time.Duration(d), err
}

func nameMatcher(selector *parser.VectorSelector) *labels.Matcher {
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name == model.MetricNameLabel {
			return matcher
		}
	}
	return nil
}

// nextLevel takes the rules that read nothing which the others, or they themselves,
// still have to record. If there are none, it takes those that wait for one another,
// and says so.
func nextLevel(rules []*rule) (level, rest []*rule, cyclic bool) {
	for _, r := range rules {
		if slices.ContainsFunc(rules, func(other *rule) bool { return r.reads(other.record) }) {
			rest = append(rest, r)
		} else {
			level = append(level, r)
		}
	}
	if len(level) > 0 {
		return level, rest, false
	}
	// What no other remaining rule reads is no part of a cycle: it comes later.
	level, rest = rules, nil
	for {
		var circle []*rule
		for _, r := range level {
			if slices.ContainsFunc(level, func(other *rule) bool { return other.reads(r.record) }) {
				circle = append(circle, r)
			} else {
				rest = append(rest, r)
			}
		}
		if len(circle) == len(level) {
			return level, rest, true
		}
		level = circle
	}
}

// steps returns the evaluation times of a rule: the multiples of its interval.
func (h *History) steps(r *rule) (first, last time.Time) {
	first, last = h.start.Truncate(r.interval), h.end.Truncate(r.interval)
	if first.Before(h.start) {
		first = first.Add(r.interval)
	}
	return first, last
}

func (h *History) evaluateLevel(ctx context.Context, level []*rule, done func(*rule)) error {
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	finished := make(chan *rule)
	told := make(chan struct{})
	go func() {
		defer close(told)
		for r := range finished {
			done(r)
		}
	}()
	for _, r := range level {
		workers.Go(func() error {
			if err := h.evaluateRule(ctx, r); err != nil {
				return r.failed(err)
			}
			finished <- r
			return nil
		})
	}
	err := workers.Wait()
	close(finished)
	<-told
	return err
}

// stepsPerQuery bounds the memory of one query: it holds every step of every series
// at once.
const stepsPerQuery = 1440

func (h *History) evaluateRule(ctx context.Context, r *rule) error {
	recorder := h.newRecorder(r)
	first, last := h.steps(r)
	for from := first; !from.After(last); from = from.Add(stepsPerQuery * r.interval) {
		until := from.Add((stepsPerQuery - 1) * r.interval)
		if until.After(last) {
			until = last
		}
		err := h.queryRange(ctx, r.expr, from.Add(-r.offset), until.Add(-r.offset), r.interval, recorder.record)
		if err != nil {
			return err
		}
	}
	return recorder.finish(last)
}

// evaluateTogether evaluates rules that read what they record: each at every one of
// its steps, in the rules' order, as Prometheus does.
func (h *History) evaluateTogether(ctx context.Context, rules []*rule) error {
	recorders := make([]*recorder, len(rules))
	next := make([]time.Time, len(rules))
	last := make([]time.Time, len(rules))
	for i, r := range rules {
		recorders[i] = h.newRecorder(r)
		next[i], last[i] = h.steps(r)
	}
	for {
		now := slices.MinFunc(next, time.Time.Compare)
		if now.After(h.end) {
			break
		}
		for i, r := range rules {
			if !next[i].Equal(now) {
				continue
			}
			at := now.Add(-r.offset)
			if err := h.queryRange(ctx, r.expr, at, at, r.interval, recorders[i].record); err != nil {
				return r.failed(err)
			}
			if err := recorders[i].flush(now); err != nil {
				return r.failed(err)
			}
			next[i] = now.Add(r.interval)
		}
	}
	for i, r := range rules {
		if err := recorders[i].finish(last[i]); err != nil {
			return r.failed(err)
		}
	}
	return nil
}

// recorder writes the results of a rule, in the order of time.
type recorder struct {
	*rule
	history *History
	batch   *batch
	series  map[string]*recordedSeries
}

// recordedSeries is one result of a rule.
type recordedSeries struct {
	labels labels.Labels
	ref    storage.SeriesRef
	last   int64 // time of its last sample, 0 before the first; a staleness marker does not count
	stale  bool
}

func (h *History) newRecorder(r *rule) *recorder {
	return &recorder{rule: r, history: h, batch: newBatch(h.db), series: map[string]*recordedSeries{}}
}

// errDuplicate is what Prometheus says, too.
var errDuplicate = errors.New("vector contains metrics with the same labelset after applying rule labels")

func (r *recorder) record(matrix promql.Matrix) error {
	builder := labels.NewBuilder(labels.EmptyLabels())
	points := make(map[*recordedSeries][]promql.FPoint, len(matrix))
	for _, result := range matrix {
		if len(result.Histograms) > 0 {
			return errors.New("records native histograms, which a history does not hold")
		}
		builder.Reset(result.Metric)
		for name, content := range r.labels {
			builder.Set(name, content)
		}
		builder.Set(model.MetricNameLabel, r.rule.record)
		lset := builder.Labels()
		key := string(lset.Bytes(nil))
		series, known := r.series[key]
		if !known {
			series = &recordedSeries{labels: lset}
			r.series[key] = series
		}
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
			if err := r.batch.append(&series.ref, series.labels, series.last+step, staleMarker); err != nil {
				return err
			}
		}
		if err := r.batch.append(&series.ref, series.labels, at, point.F); err != nil {
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
	if err := r.batch.commit(); err != nil {
		return err
	}
	r.batch = newBatch(r.history.db)
	return nil
}

// finish ends the recording at the rule's last step.
func (r *recorder) finish(last time.Time) error {
	if err := r.markStale(last); err != nil {
		return err
	}
	return r.batch.commit()
}

func (r *recorder) markStale(now time.Time) error {
	for _, series := range r.series {
		if series.stale || series.last >= timestamp.FromTime(now) {
			continue
		}
		if err := r.batch.append(&series.ref, series.labels, series.last+r.interval.Milliseconds(), staleMarker); err != nil {
			return err
		}
		series.stale = true
	}
	return nil
}

var staleMarker = math.Float64frombits(value.StaleNaN)
