package backtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/storage"

	"github.com/sojourn-dev/sojourn/controllers/replay"
)

// readAtOnce is how much of the time one request asks for, and leastAtOnce the least before
// giving up.
const (
	readAtOnce  = 24 * time.Hour
	leastAtOnce = 15 * time.Minute
)

// fetch copies the samples of all readings into the replays.
func (p *Prometheus) fetch(ctx context.Context, readings []replay.Reading, into []*replay.Replay, most int64, tell func(string)) (*samples, error) {
	kept := newSamples(into, most)
	if len(readings) == 0 {
		return kept, nil
	}
	from, until := readings[0].From, readings[0].Until
	for _, reading := range readings {
		if reading.From.Before(from) {
			from = reading.From
		}
		if reading.Until.After(until) {
			until = reading.Until
		}
	}
	queries, length := p.QueriesOnly, readAtOnce
	// The first sample may be as old as the range, which is open to the left.
	for at := from.Add(-time.Millisecond); at.Before(until); {
		part := replay.Span{From: at, Until: at.Add(length)}
		if part.Until.After(until) {
			part.Until = until
		}
		tell(fmt.Sprintf("reading %s of %s, %d samples", days(part.From.Sub(from)), days(until.Sub(from)), kept.count))
		asking, cancel := context.WithTimeout(ctx, p.timeout())
		read := p.readChunks
		if queries {
			read = p.query
		}
		err := read(asking, overlapping(readings, part), part, kept)
		if err != nil && asking.Err() != nil {
			err = p.unsent(asking, asking.Err())
		}
		cancel()
		var trouble troubleError
		switch {
		case err == nil:
			at = part.Until
		case ctx.Err() != nil:
			return kept, ctx.Err()
		case !errors.As(err, &trouble):
			return kept, err
		case trouble.elsewhere && !queries:
			queries = true
		case trouble.smaller && length > leastAtOnce:
			length = max(length/4, leastAtOnce)
		default:
			return kept, err
		}
	}
	return kept, kept.close()
}

func overlapping(readings []replay.Reading, part replay.Span) []replay.Reading {
	var found []replay.Reading
	for _, reading := range readings {
		if !reading.Until.Before(part.From) && !reading.From.After(part.Until) {
			found = append(found, reading)
		}
	}
	return found
}

// samples takes what is read, into one or several replays.
type samples struct {
	writers []*replay.Writer
	series  map[string]*rawSeries
	// count is how many were taken, most how many may be.
	count, most int64
	// warnings are what Prometheus said about its answers.
	warnings []string
}

// rawSeries is where the next sample of a series goes.
type rawSeries struct {
	labels labels.Labels
	refs   []storage.SeriesRef
	last   int64
}

func newSamples(into []*replay.Replay, most int64) *samples {
	s := &samples{series: map[string]*rawSeries{}, most: most}
	for _, each := range into {
		s.writers = append(s.writers, each.NewWriter())
	}
	return s
}

func (s *samples) close() error {
	var errs []error
	for _, writer := range s.writers {
		errs = append(errs, writer.Close())
	}
	return errors.Join(errs...)
}

func (s *samples) seriesOf(lset labels.Labels) *rawSeries {
	key := string(lset.Bytes(nil))
	series := s.series[key]
	if series == nil {
		series = &rawSeries{labels: lset, refs: make([]storage.SeriesRef, len(s.writers)), last: math.MinInt64}
		s.series[key] = series
	}
	return series
}

// isNew tells whether a sample is to be taken: parts meet, and selectors overlap.
func (s *samples) isNew(series *rawSeries, at int64, part replay.Span) (bool, error) {
	if at <= series.last || at <= timestamp.FromTime(part.From) || at > timestamp.FromTime(part.Until) {
		return false, nil
	}
	if s.count++; s.count > s.most {
		return false, fmt.Errorf("the rules read more than %d samples: ask for a shorter --since or give files with fewer touchpoints; --max-samples allows more, at about two bytes of the temporary folder each", s.most)
	}
	series.last = at
	return true, nil
}

func (s *samples) addFloat(series *rawSeries, at int64, v float64, part replay.Span) error {
	if take, err := s.isNew(series, at, part); !take {
		return err
	}
	for i, writer := range s.writers {
		if err := writer.Append(&series.refs[i], series.labels, at, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *samples) addHistogram(series *rawSeries, at int64, h *histogram.Histogram, fh *histogram.FloatHistogram, part replay.Span) error {
	if take, err := s.isNew(series, at, part); !take {
		return err
	}
	for i, writer := range s.writers {
		if err := writer.AppendHistogram(&series.refs[i], series.labels, at, h, fh); err != nil {
			return err
		}
	}
	return nil
}

// folded leaves out readings that another one contains, has all that read one metric do so
// over the same time, since the samples of a series are to come in order, and narrows those
// of our own processes to the touchpoints that matter.
func folded(readings []replay.Reading, touchpoints map[string][]string) []replay.Reading {
	byMetric := map[string]replay.Span{}
	for _, reading := range readings {
		byMetric[metricOf(reading)] = byMetric[metricOf(reading)].With(reading.Span)
	}
	var kept []replay.Reading
	for i, reading := range readings {
		contained := slices.ContainsFunc(readings[:i], func(other replay.Reading) bool { return contains(other, reading) }) ||
			slices.ContainsFunc(readings[i+1:], func(other replay.Reading) bool { return contains(other, reading) && !contains(reading, other) })
		if contained {
			continue
		}
		reading.Span = byMetric[metricOf(reading)]
		kept = append(kept, narrowed(reading, touchpoints))
	}
	return kept
}

func metricOf(reading replay.Reading) string { return valueOf(reading, model.MetricNameLabel) }

// valueOf is what a label has to be; empty if it may be several things.
func valueOf(reading replay.Reading, label string) string {
	for _, matcher := range reading.Matchers {
		if matcher.Name == label && matcher.Type == labels.MatchEqual {
			return matcher.Value
		}
	}
	return ""
}

// contains tells whether every series of one reading is one of another's.
func contains(outer, inner replay.Reading) bool {
	for _, wide := range outer.Matchers {
		if !slices.ContainsFunc(inner.Matchers, func(narrow *labels.Matcher) bool { return implies(narrow, wide) }) {
			return false
		}
	}
	return true
}

// implies tells whether what one matcher lets through another one does, too, as far as
// that can be seen.
func implies(narrow, wide *labels.Matcher) bool {
	if narrow.Name != wide.Name {
		return false
	}
	if narrow.Type == wide.Type && narrow.Value == wide.Value {
		return true
	}
	var values []string
	switch narrow.Type {
	case labels.MatchEqual:
		values = []string{narrow.Value}
	case labels.MatchRegexp:
		values = narrow.SetMatches()
	}
	return len(values) > 0 && !slices.ContainsFunc(values, func(value string) bool { return !wide.Matches(value) })
}

// narrowed has a reading of our own processes' series name the touchpoints: the rules of a
// namespace read all of them.
func narrowed(reading replay.Reading, touchpoints map[string][]string) replay.Reading {
	metric := metricOf(reading)
	names := touchpoints[valueOf(reading, "namespace")]
	if !strings.HasPrefix(metric, "sojourn_probe_") && !strings.HasPrefix(metric, "sojourn_survey_") || len(names) == 0 || valueOf(reading, "touchpoint") != "" {
		return reading
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	only := labels.MustNewMatcher(labels.MatchRegexp, "touchpoint", strings.Join(quoted, "|"))
	reading.Matchers = append(slices.Clone(reading.Matchers), only)
	return reading
}

// days writes a length of time for people.
func days(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	default:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
}
