// Package history gives a Prometheus a past: counters as if they had been scraped,
// and recorded series as if its rules had been evaluated all along.
//
// Burn rates look back over days. Whoever wants to see an alert fire, or to measure
// what its rules cost, cannot wait for them. A history is computed with Prometheus's
// own storage and query engine, level by level (a rule is evaluated when everything
// it reads is there), and written as blocks into a folder on which a Prometheus then
// starts:
//
//	h, err := history.Open(start, end)
//	defer h.Close()
//	err = h.AddSeries(labels.FromStrings("__name__", "visits_total"), 15*time.Second, visits)
//	err = h.Evaluate(ctx, groups, nil)
//	err = h.Write(ctx, prometheusDataDir)
package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// History is a past in the making. Its methods may be called from one goroutine at a
// time.
type History struct {
	start, end time.Time
	scratch    string
	db         *tsdb.DB
	engine     *promql.Engine
	parser     parser.Parser
}

// Open begins a history of the time from start to end, both included. Samples are
// kept in memory, about a byte and a half each where values change evenly.
func Open(start, end time.Time) (*History, error) {
	if !start.Before(end) {
		return nil, fmt.Errorf("history: start %v is not before end %v", start, end)
	}
	h := &History{start: start.Truncate(time.Millisecond), end: end.Truncate(time.Millisecond), parser: parser.NewParser(parser.Options{})}
	h.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples:               math.MaxInt32,
		Timeout:                  time.Hour,
		NoStepSubqueryIntervalFn: func(int64) int64 { return defaultInterval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   h.parser,
	})
	var err error
	if h.scratch, err = os.MkdirTemp("", "sojourn-history-"); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	// The head of a storage takes samples that are up to half its block's length
	// older than the newest: series are added one after the other, each over the
	// whole period.
	length := 2*end.Sub(start).Milliseconds() + blockRange
	options := tsdb.DefaultOptions()
	options.MinBlockDuration, options.MaxBlockDuration = length, length
	options.RetentionDuration = 0
	options.WALSegmentSize = -1 // none: nothing here outlives a crash
	options.NoLockfile = true
	options.IsolationDisabled = true
	if h.db, err = tsdb.Open(h.scratch, nil, nil, options, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("history: %w", err), os.RemoveAll(h.scratch))
	}
	h.db.DisableCompactions()
	return h, nil
}

// Close frees memory and the scratch folder. It may be called more than once, and on
// nil.
func (h *History) Close() error {
	if h == nil || h.db == nil {
		return nil
	}
	err := errors.Join(h.db.Close(), os.RemoveAll(h.scratch))
	h.db = nil
	return err
}

// AddSeries adds one series, sampled from the history's start at every step, as a
// scrape would. Where valueAt returns NaN no sample is written, as when a scrape
// failed; a staleness marker (value.StaleNaN) is written as it is.
//
// valueAt is asked in the order of time, so it may be a closure that counts.
func (h *History) AddSeries(series labels.Labels, step time.Duration, valueAt func(time.Time) float64) error {
	if step <= 0 {
		return fmt.Errorf("history: series %s: step %v is not positive", series, step)
	}
	batch := newBatch(h.db)
	var ref storage.SeriesRef
	for t := h.start; !t.After(h.end); t = t.Add(step) {
		v := valueAt(t)
		if math.IsNaN(v) && !value.IsStaleNaN(v) {
			continue
		}
		if err := batch.append(&ref, series, timestamp.FromTime(t), v); err != nil {
			return fmt.Errorf("history: series %s at %v: %w", series, t, err)
		}
	}
	if err := batch.commit(); err != nil {
		return fmt.Errorf("history: series %s: %w", series, err)
	}
	return nil
}

// Range evaluates an expression over a part of the history, as Prometheus's range
// query does. The result stays valid after later calls.
func (h *History) Range(ctx context.Context, expr string, start, end time.Time, step time.Duration) (promql.Matrix, error) {
	var result promql.Matrix
	err := h.queryRange(ctx, expr, start, end, step, func(matrix promql.Matrix) error {
		for _, series := range matrix {
			copied := promql.Series{Metric: series.Metric.Copy()}
			copied.Floats = append(copied.Floats, series.Floats...)
			for _, point := range series.Histograms {
				copied.Histograms = append(copied.Histograms, promql.HPoint{T: point.T, H: point.H.Copy()})
			}
			result = append(result, copied)
		}
		return nil
	})
	return result, err
}

// queryRange hands the result to use while it is valid.
func (h *History) queryRange(ctx context.Context, expr string, start, end time.Time, step time.Duration, use func(promql.Matrix) error) error {
	query, err := h.engine.NewRangeQuery(ctx, h.db, nil, expr, start, end, step)
	if err != nil {
		return err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return result.Err
	}
	matrix, err := result.Matrix()
	if err != nil {
		return err
	}
	return use(matrix)
}

// blockRange is the length of the blocks into which Prometheus cuts its head.
var blockRange = (2 * time.Hour).Milliseconds()

// Write writes the history as blocks into the storage folder of a Prometheus that is
// not running. The blocks are cut as Prometheus would have compacted them by now, so
// that it does not begin its life by doing so.
func (h *History) Write(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if present, err := filepath.Glob(filepath.Join(dir, "*", "meta.json")); err != nil || len(present) > 0 {
		return errors.Join(err, fmt.Errorf("history: %s already holds blocks; they may overlap", dir))
	}
	compactor, err := tsdb.NewLeveledCompactor(ctx, nil, nil, []int64{blockRange}, chunkenc.NewPool(), nil)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	for _, span := range blockSpans(timestamp.FromTime(h.start), timestamp.FromTime(h.end)+1) {
		head := tsdb.NewRangeHeadWithIsolationDisabled(h.db.Head(), span.from, span.until-1)
		if _, err := compactor.Write(dir, head, span.from, span.until, nil); err != nil {
			return fmt.Errorf("history: writing a block: %w", err)
		}
	}
	return nil
}

// span is half-open, as the times of blocks are.
type span struct{ from, until int64 }

// blockSpans cuts a time into aligned blocks of 18, 6 or 2 hours, the largest that
// are full first: the lengths to which Prometheus compacts at its default retention.
func blockSpans(from, until int64) []span {
	var spans []span
	for from < until {
		end := (from/blockRange + 1) * blockRange
		for _, factor := range []int64{9, 3} {
			if length := factor * blockRange; from%length == 0 && from+length <= until {
				end = from + length
				break
			}
		}
		spans = append(spans, span{from, min(end, until)})
		from = end
	}
	return spans
}

// batch appends samples and commits now and then, to bound the memory of what is
// pending.
type batch struct {
	db       *tsdb.DB
	appender storage.Appender
	pending  int
}

func newBatch(db *tsdb.DB) *batch {
	return &batch{db: db, appender: db.Appender(context.Background())}
}

func (b *batch) append(ref *storage.SeriesRef, series labels.Labels, at int64, v float64) (err error) {
	if *ref, err = b.appender.Append(*ref, series, at, v); err != nil {
		return errors.Join(err, b.appender.Rollback())
	}
	if b.pending++; b.pending < 10_000 {
		return nil
	}
	if err := b.commit(); err != nil {
		return err
	}
	b.appender, b.pending = b.db.Appender(context.Background()), 0
	return nil
}

func (b *batch) commit() error { return b.appender.Commit() }
