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

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// TestBlackboxIsCountedExactly has a real Prometheus scrape a real blackbox_exporter,
// and compares what the rules counted with what was scraped.
func TestBlackboxIsCountedExactly(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute and a half")
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
	for i := range made.Groups {
		// Each count is of a whole minute; to look twelve times as often shows as many of
		// them, at moments early and late between two scrapes.
		made.Groups[i].Interval = new(monitoringv1.Duration("5s"))
	}
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
	const up, fast = `{def="probe/availability"}`, `{def="probe/latency/0.3"}`
	// The first minutes began before anything was scraped: the last counts have both ends
	// of their minute among scrapes.
	const partial, whole = 12, 3
	for deadline := time.Now().Add(8 * time.Minute); len(samples(Losses+fast)) < partial+whole; {
		if time.Now().After(deadline) {
			t.Fatalf("the rules record nothing: %v", prometheus.RulesHealth(ctx))
		}
		time.Sleep(time.Second)
	}
	if err := prometheus.RulesHealth(ctx); err != nil {
		t.Error(err)
	}
	counted := map[string]map[model.Time]float64{}
	for _, series := range []string{Events + up, Losses + up, Events + fast, Losses + fast} {
		counted[series] = map[model.Time]float64{}
		for _, sample := range samples(series) {
			counted[series][sample.Timestamp] = float64(sample.Value)
		}
	}
	visitsAt, durations := samples(blackboxSuccess), map[model.Time]float64{}
	for _, sample := range samples(blackboxDuration) {
		durations[sample.Timestamp] = float64(sample.Value)
	}
	var allFailed, allSlow float64
	tiles := samples(Losses + fast)
	for i, tile := range tiles[:partial+whole] {
		// What was scraped in the minute counted, which ended ten seconds before.
		from, to := tile.Timestamp.Add(-70*time.Second), tile.Timestamp.Add(-10*time.Second)
		var all, failed, quick float64
		for _, sample := range visitsAt {
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
		allFailed, allSlow = allFailed+failed, allSlow+all-failed-quick
		if i >= partial && visitsAt[0].Timestamp > from {
			t.Errorf("the minute before %s began before the first scrape", tile.Timestamp.Time())
		}
		for series, want := range map[string]float64{
			Events + up: all, Losses + up: failed, Events + fast: all, Losses + fast: all - quick,
		} {
			if got, there := counted[series][tile.Timestamp]; !there || got != want {
				t.Errorf("%s at %s is %g, scraped were %g", series, tile.Timestamp.Time(), got, want)
			}
		}
	}
	if allFailed == 0 || allSlow == 0 {
		t.Fatalf("%g visits failed and %g were slow: nothing to tell apart", allFailed, allSlow)
	}
}
