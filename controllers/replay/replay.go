// Package replay works out what Prometheus rules would have recorded, and which alerts would
// have fired, over a time that is past, with Prometheus's own storage and query engine. It
// does so rule by rule instead of minute by minute: a rule is evaluated, over all of its
// time at once, when everything it reads is there.
//
//	program, err := replay.Compile(groups, start, want)
//	r, err := replay.Open(start, end)
//	defer r.Close()
//	… samples of program.Readings() go into r.NewWriter() …
//	alerts, err := r.Run(ctx, program, nil)
//	matrix, err := r.Range(ctx, "sojourn:slo_loss:ratio", end, end, time.Minute)
package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Replay is a past in the making. Its methods may be called from one goroutine at a time.
type Replay struct {
	start, end time.Time
	scratch    string
	db         *tsdb.DB
	engine     *promql.Engine
}

var promQL = parser.NewParser(parser.Options{})

// blockRange is the length of the blocks into which Prometheus cuts its head.
const blockRange = 2 * time.Hour

// Open begins a replay of the time from start to end, both included. Samples take about a
// byte and a half each where values change evenly, in a scratch folder of the system's.
func Open(start, end time.Time) (*Replay, error) {
	if !start.Before(end) {
		return nil, fmt.Errorf("start %v is not before end %v", start, end)
	}
	r := &Replay{start: start.Truncate(time.Millisecond), end: end.Truncate(time.Millisecond)}
	r.engine = promql.NewEngine(promql.EngineOpts{
		MaxSamples:               math.MaxInt32,
		Timeout:                  time.Hour,
		NoStepSubqueryIntervalFn: func(int64) int64 { return defaultInterval.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		LookbackDelta:            lookBack,
		Parser:                   promQL,
	})
	var err error
	if r.scratch, err = os.MkdirTemp("", "sojourn-replay-"); err != nil {
		return nil, err
	}
	// The head of a storage takes samples that are up to half its block's length
	// older than the newest: series are added one after the other, each over the
	// whole period.
	length := (2*end.Sub(start) + blockRange).Milliseconds()
	options := tsdb.DefaultOptions()
	options.MinBlockDuration, options.MaxBlockDuration = length, length
	options.RetentionDuration = 0
	options.WALSegmentSize = -1 // none: nothing here outlives a crash
	options.NoLockfile = true
	options.IsolationDisabled = true
	if r.db, err = tsdb.Open(r.scratch, nil, nil, options, nil); err != nil {
		return nil, errors.Join(err, os.RemoveAll(r.scratch))
	}
	r.db.DisableCompactions()
	return r, nil
}

// Close frees memory and the scratch folder. It may be called more than once, and on
// nil.
func (r *Replay) Close() error {
	if r == nil || r.db == nil {
		return nil
	}
	err := errors.Join(r.db.Close(), os.RemoveAll(r.scratch))
	r.db = nil
	return err
}

// Start is when the time begins.
func (r *Replay) Start() time.Time { return r.start }

// DB is where all of it is stored.
func (r *Replay) DB() *tsdb.DB { return r.db }

// Range evaluates an expression over a part of the time, as Prometheus's range query does.
// The result stays valid after later calls.
func (r *Replay) Range(ctx context.Context, expr string, start, end time.Time, step time.Duration) (promql.Matrix, error) {
	var result promql.Matrix
	err := r.queryRange(ctx, expr, start, end, step, func(matrix promql.Matrix) error {
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
func (r *Replay) queryRange(ctx context.Context, expr string, start, end time.Time, step time.Duration, use func(promql.Matrix) error) error {
	query, err := r.engine.NewRangeQuery(ctx, r.db, nil, expr, start, end, step)
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

// Writer adds samples and commits now and then, to bound the memory of what is pending.
// The samples of one series come in the order of time.
type Writer struct {
	db       *tsdb.DB
	appender storage.Appender
	pending  int
}

// NewWriter begins to add samples.
func (r *Replay) NewWriter() *Writer {
	return &Writer{db: r.db, appender: r.db.Appender(context.Background())}
}

// Append adds a sample. ref is kept by the caller from one sample of a series to the next; 0
// before the first.
func (w *Writer) Append(ref *storage.SeriesRef, series labels.Labels, at int64, v float64) (err error) {
	if *ref, err = w.appender.Append(*ref, series, at, v); err != nil {
		return errors.Join(err, w.appender.Rollback())
	}
	return w.added()
}

// AppendHistogram adds a sample of a native histogram, of integers or of floats.
func (w *Writer) AppendHistogram(ref *storage.SeriesRef, series labels.Labels, at int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (err error) {
	if *ref, err = w.appender.AppendHistogram(*ref, series, at, h, fh); err != nil {
		return errors.Join(err, w.appender.Rollback())
	}
	return w.added()
}

func (w *Writer) added() error {
	if w.pending++; w.pending < 10_000 {
		return nil
	}
	return w.Flush()
}

// Flush makes what was added visible.
func (w *Writer) Flush() error {
	err := w.appender.Commit()
	w.appender, w.pending = w.db.Appender(context.Background()), 0
	return err
}

// Close ends the writing; what was added is visible.
func (w *Writer) Close() error { return w.appender.Commit() }
