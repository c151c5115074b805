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

// Answer answers a request with the families that stream tells, compressed if that is
// accepted. Parts of one family follow each other.
func Answer(w http.ResponseWriter, r *http.Request, stream func(tell func(*dto.MetricFamily) error) error, openMetrics bool) error {
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
		if err := write(compressor, stream, openMetrics); err != nil {
			return err
		}
		return compressor.Close()
	}
	return write(w, stream, openMetrics)
}

func write(out io.Writer, stream func(tell func(*dto.MetricFamily) error) error, openMetrics bool) error {
	encoder := New(out, openMetrics)
	if err := stream(encoder.Encode); err != nil {
		return err
	}
	return encoder.Close()
}
