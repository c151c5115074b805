package backtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sojourn-dev/sojourn/controllers/replay"
)

// query reads a part of the time by instant queries of ranges, which everything that speaks
// PromQL answers with the samples as they are stored.
func (p *Prometheus) query(ctx context.Context, readings []replay.Reading, part replay.Span, into *samples) error {
	for _, reading := range readings {
		selector := parser.VectorSelector{LabelMatchers: reading.Matchers}
		length := part.Until.Sub(part.From).Round(time.Millisecond)
		form := url.Values{
			"query": {fmt.Sprintf("%s[%dms]", selector.String(), length.Milliseconds())},
			"time":  {part.Until.UTC().Format("2006-01-02T15:04:05.000Z07:00")},
		}
		response, err := p.post(ctx, "/api/v1/query", form.Encode(), map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
		if err != nil {
			return err
		}
		err = into.readAnswer(response.Body, part)
		response.Body.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// readAnswer takes the samples of an answer as they come: all of it can be gigabytes.
func (s *samples) readAnswer(body io.Reader, part replay.Span) error {
	d := jsontext.NewDecoder(body)
	err := eachMember(d, func(name string) error {
		switch name {
		case "data":
			return eachMember(d, func(name string) error {
				if name != "result" {
					return d.SkipValue()
				}
				return eachElement(d, func() error { return s.readSeries(d, part) })
			})
		case "warnings":
			var warnings []string
			err := json.UnmarshalDecode(d, &warnings)
			s.warnings = append(s.warnings, warnings...)
			return err
		default:
			return d.SkipValue()
		}
	})
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return troubleError{smaller: true, text: fmt.Sprintf("the answer of Prometheus breaks off or is no JSON (%v): see --prometheus-url; a shorter --since asks for less", err)}
	}
	return err
}

func (s *samples) readSeries(d *jsontext.Decoder, part replay.Span) error {
	var series *rawSeries
	return eachMember(d, func(name string) error {
		switch name {
		case "metric":
			metric := map[string]string{}
			if err := json.UnmarshalDecode(d, &metric); err != nil {
				return err
			}
			series = s.seriesOf(labels.FromMap(metric))
			return nil
		case "values", "histograms":
			if series == nil {
				return errors.New("the answer of Prometheus has values before their labels")
			}
		default:
			return d.SkipValue()
		}
		if name == "values" {
			return eachElement(d, func() error {
				at, err := readTime(d)
				if err != nil {
					return err
				}
				token, err := d.ReadToken()
				if err != nil {
					return err
				}
				v, err := strconv.ParseFloat(token.String(), 64)
				if err != nil {
					return err
				}
				if _, err := d.ReadToken(); err != nil { // the end of the pair
					return err
				}
				return s.addFloat(series, at, v, part)
			})
		}
		return eachElement(d, func() error {
			at, err := readTime(d)
			if err != nil {
				return err
			}
			var shown model.SampleHistogram
			value, err := d.ReadValue()
			if err != nil {
				return err
			}
			if err := json.Unmarshal(value, &shown); err != nil {
				return err
			}
			if _, err := d.ReadToken(); err != nil {
				return err
			}
			return s.addHistogram(series, at, nil, histogramOf(&shown), part)
		})
	})
}

// readTime reads the beginning of a pair, in milliseconds.
func readTime(d *jsontext.Decoder) (int64, error) {
	if _, err := d.ReadToken(); err != nil {
		return 0, err
	}
	token, err := d.ReadToken()
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseFloat(token.String(), 64)
	return int64(math.Round(seconds * 1000)), err
}

// eachMember calls use at the value of each member of an object.
func eachMember(d *jsontext.Decoder, use func(name string) error) error {
	return each(d, '{', func() error {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		return use(name.String())
	})
}

func eachElement(d *jsontext.Decoder, use func() error) error { return each(d, '[', use) }

func each(d *jsontext.Decoder, opening jsontext.Kind, use func() error) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != opening {
		return fmt.Errorf("the answer of Prometheus has %v where there should be %v", token.Kind(), opening)
	}
	for d.PeekKind() != opening+2 { // the closing bracket, in ASCII
		if err := use(); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// histogramOf makes a native histogram of what the API shows of it, which are the edges of
// its buckets. Where they are powers of 2 to the 2 to the minus a schema, as they are unless
// somebody chose them, it is the same histogram again.
func histogramOf(shown *model.SampleHistogram) *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{Count: float64(shown.Count), Sum: float64(shown.Sum)}
	var exponential []*model.HistogramBucket
	for _, bucket := range shown.Buckets {
		if bucket.Lower == -bucket.Upper && !math.IsInf(float64(bucket.Upper), 0) || bucket.Lower == 0 && bucket.Boundaries == zeroBucket {
			h.ZeroThreshold, h.ZeroCount = float64(bucket.Upper), float64(bucket.Count)
			continue
		}
		exponential = append(exponential, bucket)
	}
	if len(exponential) == 0 {
		return h
	}
	first := exponential[0]
	h.Schema = schemaOf(float64(first.Lower), float64(first.Upper))
	var positive, negative []indexed
	for _, bucket := range exponential {
		low, high := float64(bucket.Lower), float64(bucket.Upper)
		if schemaOf(low, high) != h.Schema || low*high <= 0 {
			return customHistogram(shown)
		}
		// The index of a bucket is that of its upper edge, of its lower one below 0.
		index := func(edge float64) int32 { return int32(math.Round(math.Log2(edge) * math.Exp2(float64(h.Schema)))) }
		if low > 0 {
			positive = append(positive, indexed{index(high), float64(bucket.Count)})
		} else {
			negative = append([]indexed{{index(-low), float64(bucket.Count)}}, negative...)
		}
	}
	h.PositiveSpans, h.PositiveBuckets = spansOf(positive)
	h.NegativeSpans, h.NegativeBuckets = spansOf(negative)
	return h
}

// zeroBucket is how the API marks a bucket that has both of its edges.
const zeroBucket = 3

type indexed struct {
	index int32
	count float64
}

// schemaOf is that of a bucket, if it has one that makes sense.
func schemaOf(low, high float64) int32 {
	return int32(math.Round(-math.Log2(math.Abs(math.Log2(math.Abs(high / low))))))
}

func spansOf(buckets []indexed) (spans []histogram.Span, counts []float64) {
	next := int32(0)
	for i, bucket := range buckets {
		if i == 0 || bucket.index != next {
			spans = append(spans, histogram.Span{Offset: bucket.index - next})
		}
		spans[len(spans)-1].Length++
		counts = append(counts, bucket.count)
		next = bucket.index + 1
	}
	return spans, counts
}

// customHistogram keeps the edges as they are.
func customHistogram(shown *model.SampleHistogram) *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{Schema: histogram.CustomBucketsSchema, Count: float64(shown.Count), Sum: float64(shown.Sum)}
	edge := func(v float64) {
		if n := len(h.CustomValues); !math.IsInf(v, 0) && (n == 0 || h.CustomValues[n-1] < v) {
			h.CustomValues = append(h.CustomValues, v)
		}
	}
	for _, bucket := range shown.Buckets {
		edge(float64(bucket.Lower))
		edge(float64(bucket.Upper))
	}
	var buckets []indexed
	for _, bucket := range shown.Buckets {
		at := int32(len(h.CustomValues))
		for i, v := range h.CustomValues {
			if v == float64(bucket.Upper) {
				at = int32(i)
			}
		}
		buckets = append(buckets, indexed{at, float64(bucket.Count)})
	}
	h.PositiveSpans, h.PositiveBuckets = spansOf(buckets)
	return h
}
