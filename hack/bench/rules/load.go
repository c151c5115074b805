package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/sojourn-dev/sojourn/hack/history"
)

// The calendar. Blocks end at headStart, as Prometheus cuts them every two hours; what
// is younger lies in the head. Rules are evaluated from now on.
var (
	epoch     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	headStart = time.Date(2026, 4, 2, 12, 0, 0, 0, time.UTC)
	loadedTo  = headStart.Add(90 * time.Minute)
)

const (
	// pattern is what of the recorded series is computed and then repeated back in
	// time; warmUp is computed before it so that the sums over an hour are full.
	pattern = time.Hour
	warmUp  = 75 * time.Minute
)

// stored is a series of which samples are loaded, and how far back.
type stored struct {
	labels labels.Labels
	step   time.Duration
	depth  time.Duration
	value  func(time.Time) float64
	ref    storage.SeriesRef
}

// loaded is a storage with a past.
type loaded struct {
	db      *tsdb.DB
	dir     string
	sources []*stored
	scraped time.Time
}

func (l *loaded) close() {
	_ = l.db.Close()
	_ = os.RemoveAll(l.dir)
}

// load builds the storage that the rules would find after 30 days.
func load(ctx context.Context, groups []monitoringv1.RuleGroup, sources []source, tell func(string, ...any)) (*loaded, error) {
	reads, err := readsOf(groups)
	if err != nil {
		return nil, err
	}
	records, err := recordsOf(groups)
	if err != nil {
		return nil, err
	}
	deep := indexed(reads)
	all := make([]*stored, 0, len(sources))
	for _, s := range sources {
		// What nothing reads is there all the same, if only lately.
		all = append(all, &stored{labels: s.labels, step: scrapeInterval, depth: max(deep.depth(s.labels), lookback), value: s.value})
	}
	raw := len(all)
	tell("computing the pattern of %d recorded series", len(records))
	recorded, err := patterns(ctx, groups, records, sources)
	if err != nil {
		return nil, err
	}
	for _, r := range recorded {
		r.depth = max(deep.depth(r.labels), lookback)
		all = append(all, r)
	}
	dir, err := os.MkdirTemp("", "sojourn-bench-storage-")
	if err != nil {
		return nil, err
	}
	l := &loaded{dir: dir, sources: all[:raw], scraped: loadedTo}
	samples := 0
	for _, s := range all {
		samples += int(s.depth / s.step)
	}
	tell("loading %d counters and %d recorded series, %.1f million samples", raw, len(recorded), float64(samples)/1e6)
	if err := writeBlocks(ctx, dir, all); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	options := tsdb.DefaultOptions()
	options.RetentionDuration = (365 * 24 * time.Hour).Milliseconds()
	if l.db, err = tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, options, nil); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	l.db.DisableCompactions() // what they cost is not the rules' doing
	for from := headStart; from.Before(loadedTo); from = from.Add(15 * time.Minute) {
		until := from.Add(15 * time.Minute)
		if until.Equal(loadedTo) {
			until = until.Add(time.Millisecond) // the very last instant, too
		}
		if err := l.write(ctx, all, from, until); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// patterns computes what the rules record, and repeats the last hour of it back in time.
func patterns(ctx context.Context, groups []monitoringv1.RuleGroup, records map[string]time.Duration, sources []source) ([]*stored, error) {
	past, err := history.Open(loadedTo.Add(-pattern-warmUp), loadedTo)
	if err != nil {
		return nil, err
	}
	defer past.Close()
	for _, s := range sources {
		if err := past.AddSeries(s.labels, scrapeInterval, s.value); err != nil {
			return nil, err
		}
	}
	if err := past.Evaluate(ctx, groups, nil); err != nil {
		return nil, err
	}
	var all []*stored
	for name, step := range records {
		last := loadedTo.Truncate(step)
		length := int(max(pattern/step, 1))
		first := last.Add(-time.Duration(length-1) * step)
		matrix, err := past.Range(ctx, fmt.Sprintf("{__name__=%q}", name), first, last, step)
		if err != nil {
			return nil, err
		}
		for _, series := range matrix {
			values := make([]float64, length)
			for i := range values {
				values[i] = math.NaN()
			}
			for _, point := range series.Floats {
				values[int(timestamp.Time(point.T).Sub(first)/step)] = point.F
			}
			// Where a series pauses, Prometheus writes a staleness marker.
			for i := range values {
				if before := values[(i+length-1)%length]; math.IsNaN(values[i]) && !math.IsNaN(before) {
					values[i] = math.Float64frombits(value.StaleNaN)
				}
			}
			all = append(all, &stored{labels: series.Metric, step: step, value: func(at time.Time) float64 {
				n := int(at.Sub(first)/step) % length
				if n < 0 {
					n += length
				}
				return values[n]
			}})
		}
	}
	slices.SortFunc(all, func(a, b *stored) int { return labels.Compare(a.labels, b.labels) })
	return all, nil
}

// writeBlocks writes what is older than the head.
func writeBlocks(ctx context.Context, dir string, all []*stored) error {
	deepest := time.Duration(0)
	for _, s := range all {
		deepest = max(deepest, s.depth)
	}
	start := loadedTo.Add(-deepest).Truncate(time.Hour)
	if !start.Before(headStart) {
		return nil
	}
	past, err := history.Open(start, headStart.Add(-time.Millisecond))
	if err != nil {
		return err
	}
	defer past.Close()
	for _, s := range all {
		from := loadedTo.Add(-s.depth)
		if !from.Before(headStart) {
			continue
		}
		err := past.AddSeries(s.labels, s.step, func(at time.Time) float64 {
			if at.Before(from) {
				return math.NaN()
			}
			return s.value(at)
		})
		if err != nil {
			return err
		}
	}
	return past.Write(ctx, dir)
}

// write appends what the series hold from one time (included) until another (not).
func (l *loaded) write(ctx context.Context, all []*stored, from, until time.Time) error {
	app := l.db.Appender(ctx)
	for _, s := range all {
		at := from.Truncate(s.step)
		if at.Before(from) {
			at = at.Add(s.step)
		}
		for ; at.Before(until); at = at.Add(s.step) {
			if at.Before(loadedTo.Add(-s.depth)) {
				continue
			}
			if v := s.value(at); !math.IsNaN(v) || value.IsStaleNaN(v) {
				var err error
				if s.ref, err = app.Append(s.ref, s.labels, timestamp.FromTime(at), v); err != nil {
					return fmt.Errorf("%s at %s: %w", s.labels, at, err)
				}
			}
		}
	}
	return app.Commit()
}

// scrape appends the counters' samples until a time.
func (l *loaded) scrape(ctx context.Context, until time.Time) error {
	from := l.scraped.Add(time.Millisecond)
	l.scraped = until
	return l.write(ctx, l.sources, from, until.Add(time.Millisecond))
}
