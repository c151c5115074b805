// Package exposition writes metric families as text, in the format of Prometheus
// and in OpenMetrics.
//
// The encoder of prometheus/common checks and escapes every name and label of every
// sample anew, and flushes through several layers: with ten thousand touchpoints a
// scrape by it costs as much as a thousand probes. This one trusts the names, which
// are ours, and appends to one buffer; its output is the same to the byte.
package exposition

import (
	"io"
	"math"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// chunk is how much text is gathered before it is written.
const chunk = 64 << 10

// Encoder writes families.
type Encoder struct {
	out         io.Writer
	openMetrics bool
	last        string // the family before
	text        []byte
	err         error
}

// New returns an encoder that writes OpenMetrics 1.0, or else Prometheus's text
// format 0.0.4.
func New(out io.Writer, openMetrics bool) *Encoder {
	return &Encoder{out: out, openMetrics: openMetrics, text: make([]byte, 0, chunk+4<<10)}
}

// Encode writes a family, or more of the family before.
func (e *Encoder) Encode(family *dto.MetricFamily) error {
	name := family.GetName()
	if name != e.last {
		e.last = name
		e.head(family)
	}
	suffix := ""
	if e.openMetrics && !strings.HasSuffix(name, "_total") {
		suffix = "_total"
	}
	for _, metric := range family.Metric {
		switch {
		case metric.Counter != nil:
			e.sample(name, suffix, metric.Label, "", 0, metric.Counter.GetValue())
		case metric.Gauge != nil:
			e.sample(name, "", metric.Label, "", 0, metric.Gauge.GetValue())
		case metric.Untyped != nil:
			e.sample(name, "", metric.Label, "", 0, metric.Untyped.GetValue())
		case metric.Histogram != nil:
			e.histogram(name, metric)
		case metric.Summary != nil:
			for _, quantile := range metric.Summary.Quantile {
				e.sample(name, "", metric.Label, "quantile", quantile.GetQuantile(), quantile.GetValue())
			}
			e.sample(name, "_sum", metric.Label, "", 0, metric.Summary.GetSampleSum())
			e.count(name, "_count", metric.Label, "", 0, metric.Summary.GetSampleCount())
		}
		if len(e.text) >= chunk {
			e.flush()
		}
	}
	return e.err
}

// head introduces a family.
func (e *Encoder) head(family *dto.MetricFamily) {
	name := family.GetName()
	head := name
	if e.openMetrics && family.GetType() == dto.MetricType_COUNTER {
		head = strings.TrimSuffix(name, "_total")
	}
	if family.Help != nil {
		e.text = append(e.text, "# HELP "...)
		e.text = append(e.text, head...)
		e.text = append(e.text, ' ')
		e.escaped(family.GetHelp(), e.openMetrics)
		e.text = append(e.text, '\n')
	}
	e.text = append(e.text, "# TYPE "...)
	e.text = append(e.text, head...)
	e.text = append(e.text, ' ')
	e.text = append(e.text, e.kind(family.GetType())...)
	e.text = append(e.text, '\n')
	if e.openMetrics && family.Unit != nil {
		e.text = append(e.text, "# UNIT "...)
		e.text = append(e.text, head...)
		e.text = append(e.text, ' ')
		e.text = append(e.text, family.GetUnit()...)
		e.text = append(e.text, '\n')
	}
}

// Close ends the text.
func (e *Encoder) Close() error {
	if e.openMetrics {
		e.text = append(e.text, "# EOF\n"...)
	}
	e.flush()
	return e.err
}

func (e *Encoder) flush() {
	if e.err == nil {
		_, e.err = e.out.Write(e.text)
	}
	e.text = e.text[:0]
}

func (e *Encoder) kind(kind dto.MetricType) string {
	switch {
	case kind == dto.MetricType_UNTYPED && e.openMetrics:
		return "unknown"
	case kind == dto.MetricType_GAUGE_HISTOGRAM:
		return "gaugehistogram"
	}
	return strings.ToLower(kind.String())
}

func (e *Encoder) histogram(name string, metric *dto.Metric) {
	infinite := false
	for _, bucket := range metric.Histogram.Bucket {
		e.count(name, "_bucket", metric.Label, "le", bucket.GetUpperBound(), bucket.GetCumulativeCount())
		infinite = infinite || math.IsInf(bucket.GetUpperBound(), 1)
	}
	if !infinite {
		e.count(name, "_bucket", metric.Label, "le", math.Inf(1), metric.Histogram.GetSampleCount())
	}
	e.sample(name, "_sum", metric.Label, "", 0, metric.Histogram.GetSampleSum())
	e.count(name, "_count", metric.Label, "", 0, metric.Histogram.GetSampleCount())
}

// sample writes a line, count one whose value is a whole number.
func (e *Encoder) sample(name, suffix string, labels []*dto.LabelPair, edge string, bound, value float64) {
	e.series(name, suffix, labels, edge, bound)
	e.number(value, e.openMetrics)
	e.text = append(e.text, '\n')
}

func (e *Encoder) count(name, suffix string, labels []*dto.LabelPair, edge string, bound float64, value uint64) {
	e.series(name, suffix, labels, edge, bound)
	e.text = strconv.AppendUint(e.text, value, 10)
	e.text = append(e.text, '\n')
}

func (e *Encoder) series(name, suffix string, labels []*dto.LabelPair, edge string, bound float64) {
	e.text = append(e.text, name...)
	e.text = append(e.text, suffix...)
	separator := byte('{')
	for _, label := range labels {
		e.text = append(e.text, separator)
		e.text = append(e.text, label.GetName()...)
		e.text = append(e.text, '=', '"')
		e.escaped(label.GetValue(), true)
		e.text = append(e.text, '"')
		separator = ','
	}
	if edge != "" {
		e.text = append(e.text, separator)
		e.text = append(e.text, edge...)
		e.text = append(e.text, '=', '"')
		e.number(bound, e.openMetrics)
		e.text = append(e.text, '"')
		separator = ','
	}
	if separator == ',' {
		e.text = append(e.text, '}')
	}
	e.text = append(e.text, ' ')
}

// number writes a float; OpenMetrics wants to see that it is one.
func (e *Encoder) number(value float64, point bool) {
	switch {
	case math.IsInf(value, 1):
		e.text = append(e.text, "+Inf"...)
		return
	case math.IsInf(value, -1):
		e.text = append(e.text, "-Inf"...)
		return
	case math.IsNaN(value):
		e.text = append(e.text, "NaN"...)
		return
	case value == math.Trunc(value) && math.Abs(value) < 1e6:
		e.text = strconv.AppendInt(e.text, int64(value), 10)
		if point {
			e.text = append(e.text, '.', '0')
		}
		return
	}
	from := len(e.text)
	e.text = strconv.AppendFloat(e.text, value, 'g', -1, 64)
	if point && !strings.ContainsAny(string(e.text[from:]), ".e") {
		e.text = append(e.text, '.', '0')
	}
}

// escaped writes a text with what would break the line escaped.
func (e *Encoder) escaped(text string, quotes bool) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\':
			e.text = append(e.text, '\\', '\\')
		case c == '\n':
			e.text = append(e.text, '\\', 'n')
		case c == '"' && quotes:
			e.text = append(e.text, '\\', '"')
		default:
			e.text = append(e.text, c)
		}
	}
}
