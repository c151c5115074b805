package series

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// Limits of a native histogram: latencies of one touchpoint rarely need more than
// thirty buckets at this resolution, and a wild one must not grow without end.
const (
	nativeFactor     = 1.1
	nativeMaxBuckets = 160
	nativeMinReset   = time.Hour
)

// histogram has the edges of client_golang's default buckets, and more. One of
// client_golang takes a kilobyte, mostly for being written to without a lock, which
// its touchpoint has; only its native buckets are not done anew here.
type histogram struct {
	edges  []float64
	counts []uint64 // of each bucket alone; the last is for what exceeds all edges
	sum    float64
	native prometheus.Histogram // nil: classic buckets only. Otherwise it counts all.
}

// newHistogram returns one with sorted edges beside the default ones.
func newHistogram(more []float64, native bool) histogram {
	h := histogram{edges: prometheus.DefBuckets}
	if len(more) > 0 {
		h.edges = slices.Concat(prometheus.DefBuckets, more)
		slices.Sort(h.edges)
		h.edges = slices.Compact(h.edges)
	}
	if !native {
		h.counts = make([]uint64, len(h.edges)+1)
		return h
	}
	h.native = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: DurationSeconds, Buckets: h.edges, NativeHistogramBucketFactor: nativeFactor,
		NativeHistogramMaxBucketNumber: nativeMaxBuckets, NativeHistogramMinResetDuration: nativeMinReset,
	})
	return h
}

func (h *histogram) observe(seconds float64) {
	if h.native != nil {
		h.native.Observe(seconds)
		return
	}
	bucket, _ := slices.BinarySearch(h.edges, seconds)
	h.counts[bucket]++
	h.sum += seconds
}

func (h *histogram) write(to *dto.Metric) error {
	if h.native != nil {
		return h.native.Write(to)
	}
	told := &dto.Histogram{SampleSum: proto.Float64(h.sum), Bucket: make([]*dto.Bucket, len(h.edges))}
	// All at once, for a scrape tells a hundred thousand of them.
	buckets, cumulative, total := make([]dto.Bucket, len(h.edges)), make([]uint64, len(h.edges)), uint64(0)
	for i := range h.edges {
		total += h.counts[i]
		cumulative[i] = total
		buckets[i].UpperBound, buckets[i].CumulativeCount = &h.edges[i], &cumulative[i]
		told.Bucket[i] = &buckets[i]
	}
	told.SampleCount = proto.Uint64(total + h.counts[len(h.edges)])
	to.Histogram = told
	return nil
}
