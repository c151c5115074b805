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

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/sojourn-dev/sojourn/controllers/replay"
)

// History is a past in the making. Its methods may be called from one goroutine at a
// time.
type History struct {
	*replay.Replay
	start, end time.Time
}

// Progress tells how far Evaluate has come.
type Progress = replay.Progress

// Open begins a history of the time from start to end, both included.
func Open(start, end time.Time) (*History, error) {
	made, err := replay.Open(start, end)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &History{made, start.Truncate(time.Millisecond), end.Truncate(time.Millisecond)}, nil
}

// Close frees memory and the scratch folder. It may be called more than once, and on
// nil.
func (h *History) Close() error {
	if h == nil {
		return nil
	}
	return h.Replay.Close()
}

// Evaluate adds what the recording rules of the groups would have recorded over the whole
// history. Alerting rules are skipped. progress, if not nil, is told after every rule; calls
// do not overlap.
func (h *History) Evaluate(ctx context.Context, groups []monitoringv1.RuleGroup, progress func(Progress)) error {
	program, err := replay.Compile(groups, h.start, func(rule *monitoringv1.Rule) replay.Span {
		if rule.Alert != "" {
			return replay.Span{}
		}
		return replay.Span{From: h.start, Until: h.end}
	})
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if _, err := h.Run(ctx, program, progress); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
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
	writer := h.NewWriter()
	var ref storage.SeriesRef
	for t := h.start; !t.After(h.end); t = t.Add(step) {
		v := valueAt(t)
		if math.IsNaN(v) && !value.IsStaleNaN(v) {
			continue
		}
		if err := writer.Append(&ref, series, timestamp.FromTime(t), v); err != nil {
			return fmt.Errorf("history: series %s at %v: %w", series, t, err)
		}
	}
	if err := writer.Close(); err != nil {
		return fmt.Errorf("history: series %s: %w", series, err)
	}
	return nil
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
		head := tsdb.NewRangeHeadWithIsolationDisabled(h.DB().Head(), span.from, span.until-1)
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
