package exposition

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	dto "github.com/prometheus/client_model/go"
)

// Our text repeats itself so much that the fastest level is nearly as small as the
// best.
var compressors = sync.Pool{New: func() any {
	compressor, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return compressor
}}

// Answer answers a request with families, compressed if that is accepted.
func Answer(w http.ResponseWriter, r *http.Request, families []*dto.MetricFamily, openMetrics bool) error {
	kind := "text/plain; version=0.0.4; charset=utf-8"
	if openMetrics {
		kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		compressor := compressors.Get().(*gzip.Writer)
		defer compressors.Put(compressor)
		compressor.Reset(w)
		if err := write(compressor, families, openMetrics); err != nil {
			return err
		}
		return compressor.Close()
	}
	return write(w, families, openMetrics)
}

func write(out io.Writer, families []*dto.MetricFamily, openMetrics bool) error {
	encoder := New(out, openMetrics)
	for i, family := range families {
		if err := encoder.Encode(family); err != nil {
			return err
		}
		families[i] = nil // what is written need not stay in memory
	}
	return encoder.Close()
}
