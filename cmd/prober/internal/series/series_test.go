package series

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
)

// scrape reads a set as Prometheus would.
func scrape(t testing.TB, gatherer prometheus.Gatherer, accept string) string {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", accept)
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	return recorder.Body.String()
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	all := strings.Split(text, "\n")
	for _, line := range lines {
		if !slices.Contains(all, line) {
			t.Errorf("no line %s in:\n%s", line, text)
		}
	}
}

// never is for a set that nobody reads regularly.
func never(time.Time, time.Time) bool { return false }

const plainText = "text/plain;version=0.0.4"

func TestZerosBeforeTheFirstRun(t *testing.T) {
	set := New("default", never)
	if text := scrape(t, set, plainText); text != "" {
		t.Errorf("an empty set shows %q", text)
	}
	set.Add("shop", "checkout", []float64{Seconds(300 * time.Millisecond)})
	text := scrape(t, set, plainText)
	wantLines(t, text,
		`sojourn_probe_runs_total{location="default",namespace="shop",outcome="success",touchpoint="checkout"} 0`,
		`sojourn_probe_runs_total{location="default",namespace="shop",outcome="failure",touchpoint="checkout"} 0`,
		`sojourn_probe_runs_total{location="default",namespace="shop",outcome="error",touchpoint="checkout"} 0`,
		`sojourn_probe_duration_seconds_bucket{location="default",namespace="shop",touchpoint="checkout",le="0.3"} 0`,
		`sojourn_probe_duration_seconds_count{location="default",namespace="shop",touchpoint="checkout"} 0`,
	)
	if strings.Contains(text, LastRunTimestamp) {
		t.Error("a last run before the first")
	}
}

func TestObserve(t *testing.T) {
	set := New("eu-west", never)
	touchpoint := set.Add("shop", "checkout", []float64{0.3})
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeError, Duration: 0})
	if strings.Contains(scrape(t, set, plainText), LastRunTimestamp) {
		t.Error("what never left the prober is shown as a visit")
	}
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: 300 * time.Millisecond}) // on the edge: within
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: 301 * time.Millisecond})
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeFailure, Duration: time.Millisecond}) // fast, but no success
	text := scrape(t, set, plainText)
	const of = `{location="eu-west",namespace="shop",`
	wantLines(t, text,
		RunsTotal+of+`outcome="success",touchpoint="checkout"} 2`,
		RunsTotal+of+`outcome="failure",touchpoint="checkout"} 1`,
		RunsTotal+of+`outcome="error",touchpoint="checkout"} 1`,
		DurationSeconds+`_bucket`+of+`touchpoint="checkout",le="0.25"} 0`,
		DurationSeconds+`_bucket`+of+`touchpoint="checkout",le="0.3"} 1`,
		DurationSeconds+`_bucket`+of+`touchpoint="checkout",le="+Inf"} 2`,
	)
	if !strings.Contains(text, LastRunTimestamp+of+`touchpoint="checkout"} 1.`) {
		t.Error("no last run")
	}
	openMetrics := scrape(t, set, "application/openmetrics-text;version=1.0.0")
	if !strings.Contains(openMetrics, `le="0.3"} 1`) || !strings.HasSuffix(openMetrics, "# EOF\n") {
		t.Errorf("not OpenMetrics:\n%s", openMetrics)
	}
}

func TestNativeHistogramInProtobuf(t *testing.T) {
	set := New("default", never)
	touchpoint := set.Add("shop", "checkout", []float64{0.3})
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: 120 * time.Millisecond})
	set.Native() // starts anew
	set.Native() // changes nothing
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: 120 * time.Millisecond})
	body := scrape(t, set, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(strings.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err == io.EOF {
			t.Fatal("no histogram")
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetName() != DurationSeconds {
			continue
		}
		histogram := family.Metric[0].GetHistogram()
		if histogram.GetSampleCount() != 1 || len(histogram.PositiveSpan) == 0 || histogram.GetSchema() != 3 || len(histogram.Bucket) < 12 {
			t.Errorf("not both native and classic: %v", histogram)
		}
		return
	}
}

func TestThresholds(t *testing.T) {
	set := New("default", never)
	touchpoint := set.Add("shop", "checkout", []float64{0.3, 0.1, 0.3})
	count := func() string {
		text := scrape(t, set, plainText)
		_, rest, _ := strings.Cut(text, DurationSeconds+`_count{location="default",namespace="shop",touchpoint="checkout"} `)
		number, _, _ := strings.Cut(rest, "\n")
		return number
	}
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Millisecond})
	touchpoint.SetThresholds([]float64{0.1, 0.3})
	if count() != "1" {
		t.Error("the same thresholds in another order start the histogram anew")
	}
	touchpoint.SetThresholds([]float64{0.3, 0.45})
	text := scrape(t, set, plainText)
	for _, edge := range []string{"0.3", "0.45", "0.1", "10"} {
		if !strings.Contains(text, `le="`+edge+`"} 0`) {
			t.Errorf("edge %s is missing or not at zero", edge)
		}
	}
	if strings.Count(text, `le="0.1"`) != 1 {
		t.Error("an edge twice")
	}
	// A run that is counted without its duration would be taken for a slow one.
	wantLines(t, text, RunsTotal+`{location="default",namespace="shop",outcome="success",touchpoint="checkout"} 0`)
}

// Whatever threshold admission lets through is written as people write it.
func TestEdgesAreExact(t *testing.T) {
	for text, edge := range map[v1alpha1.Duration]string{
		"1ms": "0.001", "7ms": "0.007", "300ms": "0.3", "1s100ms": "1.1", "2m3s300ms": "123.3",
		"59m59s999ms": "3599.999", "1h": "3600", "16m40s1ms": "1000.001",
	} {
		value, err := text.Value()
		if err != nil {
			t.Fatal(err)
		}
		set := New("default", never)
		set.Add("shop", "checkout", []float64{Seconds(value)})
		if got := scrape(t, set, plainText); !strings.Contains(got, `le="`+edge+`"}`) {
			t.Errorf("%s is not shown as %s", text, edge)
		}
	}
}

func TestRemove(t *testing.T) {
	set := New("default", never)
	old := set.Add("shop", "checkout", nil)
	set.Add("shop", "basket", nil)
	anew := set.Add("shop", "checkout", nil)
	set.Remove(old) // too late: it has a successor
	if set.Len() != 2 {
		t.Errorf("%d touchpoints", set.Len())
	}
	set.Remove(anew)
	text := scrape(t, set, plainText)
	if strings.Contains(text, "checkout") || !strings.Contains(text, "basket") {
		t.Errorf("after removal:\n%s", text)
	}
	anew.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Second}) // a visit that ends late harms nobody
}

// A scrape never sees a success without its duration: rules would call it slow.
func TestScrapesAreConsistent(t *testing.T) {
	set := New("default", never)
	touchpoint := set.Add("shop", "checkout", nil)
	var busy sync.WaitGroup
	defer busy.Wait()
	stop := make(chan struct{})
	defer close(stop)
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Millisecond})
			}
		}
	})
	for range 1000 {
		families, err := set.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var runs, durations float64
		for _, family := range families {
			switch family.GetName() {
			case RunsTotal:
				runs = family.Metric[0].GetCounter().GetValue()
			case DurationSeconds:
				durations = float64(family.Metric[0].GetHistogram().GetSampleCount())
			}
		}
		if runs != durations {
			t.Fatalf("%g successes, %g durations", runs, durations)
		}
	}
}

func BenchmarkScrape(b *testing.B) {
	for name, format := range map[string]expfmt.Format{"text": expfmt.NewFormat(expfmt.TypeTextPlain), "protobuf": expfmt.NewFormat(expfmt.TypeProtoDelim)} {
		b.Run(name, func(b *testing.B) {
			set := New("default", never)
			for i := range 10_000 {
				touchpoint := set.Add("shop", fmt.Sprint("touchpoint-", i), []float64{0.3})
				for j := range 20 {
					touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Duration: time.Duration(j+1) * 7 * time.Millisecond})
				}
			}
			var out bytes.Buffer
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				families, err := set.Gather()
				if err != nil {
					b.Fatal(err)
				}
				encoder := expfmt.NewEncoder(&out, format)
				for _, family := range families {
					if err := encoder.Encode(family); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(out.Len())/1e6, "MB/scrape")
		})
	}
}

// A reason begins at zero and stays there until that was seen.
func TestFailures(t *testing.T) {
	seen := false
	set := New("default", func(time.Time, time.Time) bool { return seen })
	touchpoint := set.Add("shop", "checkout", nil)
	const of = `{location="default",namespace="shop",reason=%q,touchpoint="checkout"} %d`
	fail := func(reason probe.Reason) {
		touchpoint.Observe(probe.Result{Outcome: probe.OutcomeFailure, Reason: reason})
	}
	fail(probe.ReasonTimeout)
	wantLines(t, scrape(t, set, plainText), FailuresTotal+fmt.Sprintf(of, "timeout", 0))
	fail(probe.ReasonTimeout)
	seen = true
	wantLines(t, scrape(t, set, plainText), FailuresTotal+fmt.Sprintf(of, "timeout", 2))
	seen = false
	fail(probe.ReasonTLS)
	wantLines(t, scrape(t, set, plainText), FailuresTotal+fmt.Sprintf(of, "timeout", 2), FailuresTotal+fmt.Sprintf(of, "tls", 0))
}

func TestSteps(t *testing.T) {
	set := New("default", never)
	touchpoint := set.Add("shop", "checkout", nil)
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Steps: []probe.StepResult{
		{Name: "login", Made: true, Duration: 30 * time.Millisecond, Phases: probe.Phases{probe.PhaseTLS: 10 * time.Millisecond}, CertificateExpiry: time.Unix(1893456000, 0)},
		{Name: "pay", Made: true, Duration: 20 * time.Millisecond},
	}})
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeFailure, Reason: probe.ReasonStatus, Steps: []probe.StepResult{
		{Name: "login", Made: true, Duration: 40 * time.Millisecond}, {Name: "pay"},
	}})
	const of = `{location="default",namespace="shop",`
	text := scrape(t, set, plainText)
	wantLines(t, text,
		StepSeconds+of+`step="login",touchpoint="checkout"} 0.04`,
		StepSeconds+of+`step="pay",touchpoint="checkout"} 0.02`, // of when it was last made
	)
	if strings.Contains(text, PhaseSeconds+of) || strings.Contains(text, CertificateEnd+of) {
		t.Errorf("phases of a visit before the last:\n%s", text)
	}
	touchpoint.Observe(probe.Result{Outcome: probe.OutcomeSuccess, Steps: []probe.StepResult{
		{Name: "http", Made: true, Phases: probe.Phases{probe.PhaseTLS: 10 * time.Millisecond}, CertificateExpiry: time.Unix(1893456000, 0)},
	}})
	text = scrape(t, set, plainText)
	wantLines(t, text, PhaseSeconds+of+`phase="tls",step="http",touchpoint="checkout"} 0.01`, CertificateEnd+of+`step="http",touchpoint="checkout"} 1.893456e+09`)
	if strings.Contains(text, "login") {
		t.Errorf("steps of the probe before the edit:\n%s", text)
	}
}
