package exposition

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// families holds all types, and values and labels of every kind.
func families(t testing.TB) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	numbers := []float64{0, 1, -1, 0.3, 1e6, 1234567, 123456789012, 1e-9, 1.5e300, math.Inf(1), math.Inf(-1), math.NaN()}
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a_gauge", Help: "With \"quotes\", a \\ and\na line."}, []string{"a", "b"})
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a_counter_total", Help: "Counts."}, []string{"n"})
	untyped := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "an_untyped"}, func() float64 { return 7 })
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "a_summary", Help: "Sums.", Objectives: map[float64]float64{0.5: 0.1, 1: 0}})
	histogram := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "a_histogram", Help: "Durations.", Buckets: []float64{0.005, 0.3, 1, 10, 1e6, 1e7}}, []string{"le2"})
	registry.MustRegister(gauge, counter, untyped, summary, histogram, collectors.NewGoCollector())
	for i, number := range numbers {
		gauge.WithLabelValues(string(rune('a'+i)), "x\"y\\z\nä").Set(number)
		if number >= 0 {
			counter.WithLabelValues(string(rune('a' + i))).Add(number)
		}
	}
	for _, seconds := range []float64{0.1, 0.3, 0.300001, 12, 1e9} {
		histogram.WithLabelValues("").Observe(seconds)
		summary.Observe(seconds)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return gathered
}

// TestSameAsCommon compares with the encoder that everybody uses.
func TestSameAsCommon(t *testing.T) {
	all := families(t)
	for format, openMetrics := range map[expfmt.Format]bool{
		expfmt.NewFormat(expfmt.TypeTextPlain):   false,
		expfmt.NewFormat(expfmt.TypeOpenMetrics): true,
	} {
		var want, got bytes.Buffer
		common, ours := expfmt.NewEncoder(&want, format), New(&got, openMetrics)
		for _, family := range all {
			// Times of creation are shown by neither.
			if err := common.Encode(family); err != nil {
				t.Fatal(err)
			}
			// In parts, as the prober's come.
			for part := range slices.Chunk(family.Metric, 2) {
				of := &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit, Metric: part}
				if err := ours.Encode(of); err != nil {
					t.Fatal(err)
				}
			}
		}
		if closer, ok := common.(expfmt.Closer); ok {
			closer.Close()
		}
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
		wanted, have := bytes.Split(want.Bytes(), []byte("\n")), bytes.Split(got.Bytes(), []byte("\n"))
		for i := range min(len(wanted), len(have)) {
			if !bytes.Equal(wanted[i], have[i]) {
				t.Errorf("%s, line %d: %s, want %s", format, i, have[i], wanted[i])
			}
		}
		if len(wanted) != len(have) {
			t.Errorf("%s: %d lines, want %d", format, len(have), len(wanted))
		}
	}
}
