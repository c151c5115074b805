package exposition

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Compressed or not, once or again with a compressor that served somebody else, the text
// is the same.
func TestAnswer(t *testing.T) {
	all := families(t)
	stream := func(tell func(*dto.MetricFamily) error) error {
		for _, family := range all {
			if err := tell(family); err != nil {
				return err
			}
		}
		return nil
	}
	for _, openMetrics := range []bool{false, true} {
		var want bytes.Buffer
		encoder := New(&want, openMetrics)
		for _, family := range all {
			encoder.Encode(family)
		}
		encoder.Close()
		for _, accepted := range []string{"", "gzip", "deflate, gzip;q=1.0", "gzip"} {
			request := httptest.NewRequest("GET", "/metrics", nil)
			request.Header.Set("Accept-Encoding", accepted)
			answer := httptest.NewRecorder()
			if err := Answer(answer, request, stream, openMetrics); err != nil {
				t.Fatal(err)
			}
			from := io.Reader(answer.Body)
			if compressed := strings.Contains(accepted, "gzip"); compressed != (answer.Header().Get("Content-Encoding") == "gzip") {
				t.Errorf("%q is accepted, %v is sent", accepted, answer.Header())
			} else if compressed {
				unpacked, err := gzip.NewReader(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				from = unpacked
			}
			got, err := io.ReadAll(from)
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%q, OpenMetrics %t: %d bytes, want %d (%v)", accepted, openMetrics, len(got), want.Len(), err)
			}
			format := expfmt.Format(answer.Header().Get("Content-Type"))
			if want := map[bool]expfmt.FormatType{false: expfmt.TypeTextPlain, true: expfmt.TypeOpenMetrics}[openMetrics]; format.FormatType() != want {
				t.Errorf("the type of the content is %s", format)
			}
		}
	}
}

// What breaks off must not look whole to whoever reads it.
func TestAnswerThatBreaksOff(t *testing.T) {
	broken := errors.New("broken")
	stream := func(tell func(*dto.MetricFamily) error) error {
		return errors.Join(tell(families(t)[0]), broken)
	}
	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Header.Set("Accept-Encoding", "gzip")
	answer := httptest.NewRecorder()
	if err := Answer(answer, request, stream, true); !errors.Is(err, broken) {
		t.Error(err)
	}
	if unpacked, err := gzip.NewReader(answer.Body); err == nil {
		if _, err := io.ReadAll(unpacked); err == nil {
			t.Error("half an answer is read as a whole one")
		}
	}
}
