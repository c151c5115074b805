package story

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/history"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

func readSamples(t *testing.T) *Samples {
	t.Helper()
	checkout, err := Checkout()
	if err != nil {
		t.Fatal(err)
	}
	samples, err := ReadSamples(filepath.Join(checkout, "config", "samples"), "http://127.0.0.1:4711")
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

func TestSamplesAreAWholeJourney(t *testing.T) {
	samples := readSamples(t)
	channels := map[v1alpha1.Channel]bool{}
	for _, touchpoint := range samples.Decoded.Touchpoints {
		channels[touchpoint.Spec.Channel] = true
		if probe := touchpoint.Spec.Probe; probe != nil && probe.HTTP != nil && probe.HTTP.URL[:len("http://127.0.0.1:4711")] != "http://127.0.0.1:4711" {
			t.Errorf("the probe of %s still goes to %s", touchpoint.Name, probe.HTTP.URL)
		}
	}
	stages := len(samples.Decoded.Journeys["online-purchase"].Spec.Stages)
	if n := len(samples.Decoded.Touchpoints); n < 9 || len(channels) < 4 || stages < 5 {
		t.Errorf("%d touchpoints on %d channels in %d stages", n, len(channels), stages)
	}
	kinds := map[string]bool{}
	for _, slo := range samples.SLOs {
		for _, objective := range slo.Spec.Objectives {
			kinds[kindOf(objective)] = true
		}
	}
	for _, kind := range []string{"availability", "latency", "ces", "csat", "nps", "events"} {
		if !kinds[kind] {
			t.Errorf("no sample promises %s", kind)
		}
	}
}

// TestAPIServerTakesTheSamples applies them, and the shortest description after
// them, to a real API server.
func TestAPIServerTakesTheSamples(t *testing.T) {
	samples := readSamples(t)
	checkout, err := Checkout()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	if err := cluster.InstallCRDs(t.Context(), filepath.Join(checkout, "config", "crd")); err != nil {
		t.Fatal(err)
	}
	if err := samples.Apply(t.Context(), cluster.RESTConfig()); err != nil {
		t.Fatal(err)
	}
	shortest := &Samples{Decoded: samples.Decoded}
	if err := shortest.read(filepath.Join(checkout, "config", "samples"), "shortest.yaml", ClusterShopURL); err != nil {
		t.Fatal(err)
	}
	if len(shortest.Objects) != 3 {
		t.Fatalf("the shortest description has %d objects", len(shortest.Objects))
	}
	if err := shortest.Apply(t.Context(), cluster.RESTConfig()); err != nil {
		t.Fatal(err)
	}
}

func TestCustomersAreContentUntilTheyAreNot(t *testing.T) {
	samples := readSamples(t)
	end := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	past := NewCustomers(samples, 5, "a").Past(end.Add(-100*24*time.Hour), end)
	again := NewCustomers(samples, 5, "a").Past(end.Add(-100*24*time.Hour), end)
	if len(past) != len(again) || past[len(past)-1] != again[len(again)-1] {
		t.Error("the same seed gives other answers")
	}
	answers, difficult := 0.0, 0.0
	for i, response := range past {
		if i > 0 && response.Time.Before(past[i-1].Time) {
			t.Fatal("the past is not in order")
		}
		if response.Touchpoint == "checkout" && response.Instrument == "ces" {
			answers++
			if response.Score < 5 {
				difficult++
			}
		}
	}
	if math.Abs(answers/100-40) > 3 {
		t.Errorf("%.1f answers a day, want about 40", answers/100)
	}
	if share := difficult / answers; share < 0.08 || share > 0.12 {
		t.Errorf("%.3f found it not easy, want about 0.1", share)
	}
	customers := NewCustomers(samples, 5, "b")
	for range 100 {
		if r := customers.Laborious("shop", "checkout", end); r.Score < 1 || r.Score > 3 || r.Instrument != "ces" {
			t.Fatalf("a struggling customer answers %+v", r)
		}
	}
}

// TestPastAgreesWithTheGateway: the gateway's series must go on where the past ends.
func TestPastAgreesWithTheGateway(t *testing.T) {
	samples := readSamples(t)
	end := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	past := &Past{Start: end.Add(-12 * time.Hour), End: end, Samples: samples, Seed: 2}
	past.Responses = NewCustomers(samples, 2, "c").Past(past.Start, past.End)
	h, err := history.Open(past.Start, past.End)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := past.AddCounters(h, map[string]string{ProberJob: "a:1", GatewayJob: "b:2", ShopJob: "c:3"}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		expr        string
		least, most float64
	}{
		{"sum(sojourn_survey_responses_total)", float64(len(past.Responses)), float64(len(past.Responses))},
		{`sojourn_probe_duration_seconds_bucket{touchpoint="checkout", le="0.8"} / ignoring(le, outcome) sojourn_probe_runs_total{outcome="success"}`, 0.999, 1},
		{`sum by (touchpoint) (sojourn_probe_runs_total{touchpoint="basket"})`, 1441, 1441},
		{`shop_requests_total{page="search", code="200"}`, 20_000, 40_000},
		{`sojourn_probe_duration_seconds_bucket{touchpoint="advert", le="1.0"}`, 1430, 1441},
	} {
		matrix, err := h.Range(t.Context(), test.expr, end, end, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(matrix) != 1 || outside(matrix[0].Floats[0], test.least, test.most) {
			t.Errorf("%s is %v, want %v to %v", test.expr, matrix, test.least, test.most)
		}
	}
}

func outside(point promql.FPoint, least, most float64) bool { return point.F < least || point.F > most }
