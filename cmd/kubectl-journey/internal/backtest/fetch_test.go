package backtest

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/jsonutil"

	jsoniter "github.com/json-iterator/go"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/replay"
)

func readingOf(t *testing.T, selector string) replay.Reading {
	t.Helper()
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	return replay.Reading{Matchers: matchers, Span: replay.Span{From: now.Add(-time.Hour), Until: now}}
}

func TestReadingsAreFoldedAndNarrowed(t *testing.T) {
	var readings []replay.Reading
	for _, selector := range []string{
		`sojourn_probe_runs_total{namespace="shop",outcome="failure"}`,
		`sojourn_probe_runs_total{namespace="shop",outcome=~"success|failure"}`,
		`sojourn_survey_responses_total{namespace="shop",instrument="ces"}`,
		`sojourn_survey_responses_total{namespace="shop",instrument="ces",score=~"1|2|3|4"}`,
		`http_requests_total{code=~"5.."}`,
		`http_requests_total`,
		`sojourn_probe_runs_total{namespace="other",outcome=~"success|failure"}`,
	} {
		readings = append(readings, readingOf(t, selector))
	}
	readings[0].From = readings[0].From.Add(-time.Hour)
	var got []string
	for _, reading := range folded(readings, map[string][]string{"shop": {"cart", "checkout"}}) {
		got = append(got, (&parser.VectorSelector{LabelMatchers: reading.Matchers}).String())
		if metricOf(reading) == "sojourn_probe_runs_total" && !reading.From.Equal(readings[0].From) {
			t.Errorf("%s is read from %v, not from when the other begins", got[len(got)-1], reading.From)
		}
	}
	want := []string{
		`{__name__="sojourn_probe_runs_total",namespace="shop",outcome=~"success|failure",touchpoint=~"cart|checkout"}`,
		`{__name__="sojourn_survey_responses_total",instrument="ces",namespace="shop",touchpoint=~"cart|checkout"}`,
		`{__name__="http_requests_total"}`,
		`{__name__="sojourn_probe_runs_total",namespace="other",outcome=~"success|failure"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("reads\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What the API shows of a native histogram is enough to have it again.
func TestHistogramsComeThroughTheAPI(t *testing.T) {
	for name, h := range map[string]*histogram.FloatHistogram{
		"positive": {Schema: 3, Count: 12, Sum: 4, ZeroThreshold: 0.001, ZeroCount: 2,
			PositiveSpans: []histogram.Span{{Offset: -26, Length: 2}, {Offset: 3, Length: 1}}, PositiveBuckets: []float64{4, 1, 5}},
		"negative": {Schema: 0, Count: 6, Sum: -1,
			PositiveSpans: []histogram.Span{{Offset: 2, Length: 1}}, PositiveBuckets: []float64{1},
			NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}, {Offset: 1, Length: 1}}, NegativeBuckets: []float64{2, 3}},
		"coarse": {Schema: -2, Count: 3, Sum: 100, PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []float64{1, 2}},
		"empty":  {},
		"custom": {Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 2, CustomValues: []float64{0.1, 0.3, 1},
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 4}}, PositiveBuckets: []float64{1, 2, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			stream := jsoniter.NewStream(jsoniter.ConfigDefault, nil, 0)
			jsonutil.MarshalHistogram(h, stream)
			var shown model.SampleHistogram
			if err := json.Unmarshal(stream.Buffer(), &shown); err != nil {
				t.Fatalf("%v in %s", err, stream.Buffer())
			}
			got := histogramOf(&shown)
			if err := got.Validate(); err != nil {
				t.Fatal(err)
			}
			if !got.Equals(h) {
				t.Errorf("%s became %s", h.TestExpression(), got.TestExpression())
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	objects := objectsOf(t, shop)
	try := func(address string, timeout time.Duration, most int64) error {
		_, err := Run(t.Context(), Options{Decisions: decided(objects), Since: 2 * time.Hour, Until: time.Now(), MostSamples: most,
			Prometheus: &Prometheus{URL: address, Client: http.DefaultClient, Timeout: timeout}})
		return err
	}
	for name, test := range map[string]struct {
		status int
		body   string
		want   []string
	}{
		"nobody":      {401, "Unauthorized", []string{"401", "Unauthorized", "--prometheus-bearer-token-file"}},
		"not allowed": {403, "", []string{"403", "does not let you read", "--prometheus-tenant"}},
		"elsewhere":   {404, "<html>not here</html>", []string{"404 Not Found; is --prometheus-url complete"}},
		"too much": {422, `{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}`,
			[]string{"too many samples", "shorter --since"}},
		"no JSON":   {200, "<html>Welcome</html>", []string{"no JSON", "--prometheus-url"}},
		"broke off": {200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,`, []string{"breaks off"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			err := try(server.URL, 0, 1000)
			for _, part := range test.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
		})
	}
	if err := try("http://"+closed.Addr().String(), 0, 1000); err == nil || !strings.Contains(err.Error(), "cannot be reached") || !strings.Contains(err.Error(), "port-forward") {
		t.Errorf("nobody listens: %v", err)
	}
	stuck := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client leaves
		<-r.Context().Done()
	}))
	defer stuck.Close()
	if err := try(stuck.URL, 20*time.Millisecond, 1000); err == nil || !strings.Contains(err.Error(), "longer than 20ms") || !strings.Contains(err.Error(), "--since") {
		t.Errorf("nobody answers: %v", err)
	}
	if err := try(somePast(t).server.URL, 0, 100); err == nil || !strings.Contains(err.Error(), "more than 100 samples") || !strings.Contains(err.Error(), "--max-samples") {
		t.Errorf("too many: %v", err)
	}
	if _, err := Run(t.Context(), Options{Decisions: decided(atlas.NewObjects()), Since: time.Hour, Until: time.Now()}); !errors.Is(err, ErrNoBudgets) {
		t.Errorf("no objects: %v", err)
	}
}

// Where a large part of the time is too much for Prometheus, smaller ones are asked for.
func TestPartsGetSmaller(t *testing.T) {
	p := somePast(t)
	refused := 0
	picky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		query := r.Form.Get("query")
		length, err := time.ParseDuration(query[strings.LastIndex(query, "[")+1 : len(query)-1])
		if err == nil && length > 3*time.Hour {
			refused++
			http.Error(w, "query timed out", http.StatusServiceUnavailable)
			return
		}
		response, err := http.Post(p.server.URL+r.URL.Path, "application/x-www-form-urlencoded", strings.NewReader(r.Form.Encode()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	defer picky.Close()
	readings := []replay.Reading{readingOf(t, `{namespace="shop",__name__="sojourn_survey_responses_total"}`)}
	readings[0].Span = replay.Span{From: p.start, Until: p.end}
	count := func(address string) int64 {
		r, err := replay.Open(p.start, p.end)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		kept, err := (&Prometheus{URL: address, Client: http.DefaultClient, QueriesOnly: true}).fetch(t.Context(), readings, []*replay.Replay{r}, math.MaxInt64, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		return kept.count
	}
	if whole, parts := count(p.server.URL), count(picky.URL); refused == 0 || whole != parts || whole != 14*(int64(long/scrape)+1) {
		t.Errorf("%d samples in parts, %d at once, %d refused", parts, whole, refused)
	}
}
