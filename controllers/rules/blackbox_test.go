package rules

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestBlackboxIsCountedExactly has a real Prometheus scrape a real blackbox_exporter,
// and compares what the rules counted with what was scraped.
func TestBlackboxIsCountedExactly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes three minutes")
	}
	t.Parallel()
	ctx := t.Context()
	blackbox, err := localstack.StartBlackbox(ctx, localstack.BlackboxOptions{})
	if errors.Is(err, localstack.ErrNoBlackbox) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(blackbox.Stop)
	var visits atomic.Int64
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch visits.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
		case 1:
			time.Sleep(500 * time.Millisecond)
		}
	}))
	t.Cleanup(shop.Close)

	touchpoint := &v1alpha1.Touchpoint{Spec: v1alpha1.TouchpointSpec{Probe: &v1alpha1.Probe{
		Interval: "10s", Timeout: "5s", Backend: v1alpha1.ProbeBackendBlackbox,
		Blackbox: &v1alpha1.BlackboxBackend{Module: "http_2xx", Address: v1alpha1.HostPort(blackbox.Address)},
		HTTP:     &v1alpha1.HTTPProbe{URL: v1alpha1.URL(shop.URL)},
	}}}
	touchpoint.Namespace, touchpoint.Name = "shop", "checkout"
	dir := t.TempDir()
	promise := &v1alpha1.ExperienceSLO{Spec: v1alpha1.ExperienceSLOSpec{Objectives: []v1alpha1.Objective{
		{Name: "speed", Latency: &v1alpha1.LatencyObjective{Threshold: "300ms", Target: "99%"}},
	}}}
	made := ForTouchpoint(touchpoint, []*v1alpha1.ExperienceSLO{promise}, Options{})
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), ruleFile(t, made.Groups), 0o644); err != nil {
		t.Fatal(err)
	}
	// As the Prometheus Operator configures it for a Probe.
	prometheus, err := localstack.StartPrometheus(ctx, localstack.PrometheusOptions{RuleDir: dir, ConfigYAML: fmt.Sprintf(`
rule_files: [%s/*.yaml]
scrape_configs:
- job_name: probe/shop/sojourn-touchpoint-checkout
  scrape_interval: 10s
  scrape_timeout: 5500ms
  metrics_path: /probe
  params: {module: [http_2xx]}
  static_configs: [{targets: [%q], labels: {namespace: shop, touchpoint: checkout}}]
  relabel_configs:
  - {source_labels: [__address__], target_label: __param_target}
  - {source_labels: [__param_target], target_label: instance}
  - {target_label: __address__, replacement: %q}
`, dir, shop.URL, blackbox.Address)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Stop)

	samples := func(series string) []model.SamplePair {
		t.Helper()
		value, err := prometheus.Query(ctx, series+"[15m]", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		matrix := value.(model.Matrix)
		if len(matrix) > 1 {
			t.Fatalf("%s has %d series", series, len(matrix))
		}
		if len(matrix) == 0 {
			return nil
		}
		return matrix[0].Values
	}
	deadline := time.Now().Add(8 * time.Minute)
	const up, fast = `{def="probe/availability"}`, `{def="probe/latency/0.3"}`
	for len(samples(Events+fast)) < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("the rules record nothing: %v", prometheus.RulesHealth(ctx))
		}
		time.Sleep(5 * time.Second)
	}
	if err := prometheus.RulesHealth(ctx); err != nil {
		t.Error(err)
	}
	total := func(series string, times []model.SamplePair) (sum float64) {
		t.Helper()
		values := map[model.Time]float64{}
		for _, sample := range samples(series) {
			values[sample.Timestamp] = float64(sample.Value)
		}
		for _, at := range times {
			value, there := values[at.Timestamp]
			if !there {
				t.Errorf("%s has no count at %s", series, at.Timestamp.Time())
			}
			sum += value
		}
		return sum
	}
	// What was scraped in the minutes counted, which ended ten seconds before each
	// count.
	tiles := samples(Events + fast)[:3]
	from, to := tiles[0].Timestamp.Add(-70*time.Second), tiles[2].Timestamp.Add(-10*time.Second)
	durations := map[model.Time]float64{}
	for _, sample := range samples(blackboxDuration) {
		durations[sample.Timestamp] = float64(sample.Value)
	}
	var all, failed, quick float64
	for _, sample := range samples(blackboxSuccess) {
		// The steps of ten seconds see a scrape up to ten seconds late.
		step := (int64(sample.Timestamp) + 9999) / 10000 * 10000
		if model.Time(step) <= from || model.Time(step) > to {
			continue
		}
		all++
		if sample.Value == 0 {
			failed++
		} else if durations[sample.Timestamp] <= 0.3 {
			quick++
		}
	}
	if failed == 0 || quick == 0 || failed+quick == all {
		t.Fatalf("of %g visits %g failed and %g were quick: nothing to tell apart", all, failed, quick)
	}
	for series, want := range map[string]float64{
		Events + up: all, Losses + up: failed, Events + fast: all, Losses + fast: all - quick,
	} {
		if got := total(series, tiles); got != want {
			t.Errorf("%s adds up to %g, scraped were %g", series, got, want)
		}
	}
}
