package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
)

const alertingRules = `groups:
- name: shop
  rules:
  - record: shop:visits:total
    expr: sum(shop_visits_total)
  - alert: ShopHasVisitors
    expr: shop:visits:total > 0
    labels: {severity: page}
    annotations: {summary: "{{ $value }} visits"}
`

// TestPrometheusAndAlertmanager follows one number all the way: scraped,
// recorded, alerted on, received, notified.
func TestPrometheusAndAlertmanager(t *testing.T) {
	ctx := t.Context()
	notified := make(chan string, 100)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct {
			Alerts []struct{ Labels map[string]string }
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
		}
		for _, alert := range message.Alerts {
			notified <- alert.Labels["alertname"]
		}
	}))
	defer webhook.Close()
	alertmanager, err := StartAlertmanager(ctx, AlertmanagerOptions{WebhookURL: webhook.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer alertmanager.Stop()

	p := startPrometheus(t, PrometheusOptions{
		AlertmanagerURLs: []string{alertmanager.URL},
		ScrapeJobs:       []ScrapeJob{{Name: "shop", Targets: []string{startShop(t)}, HonorLabels: true}},
	})
	if err := os.WriteFile(filepath.Join(p.RuleDir, "shop.yaml"), []byte(alertingRules), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(ctx); err != nil {
		t.Fatal(err)
	}

	wantValue := func(expr string, want float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s = %v", expr, want), func(ctx context.Context) error {
			value, err := p.Query(ctx, expr, time.Time{})
			if err != nil {
				return err
			}
			vector, ok := value.(model.Vector)
			if !ok || len(vector) != 1 || float64(vector[0].Value) != want {
				return fmt.Errorf("it is %v", value)
			}
			return nil
		})
	}
	wantValue("shop:visits:total", 3)
	wantValue(`shop_latency_seconds_bucket{le="0.3"}`, 1) // the classic histogram
	wantValue("histogram_count(shop_latency_seconds)", 1) // the native one beside it
	wantValue(`shop_visits_total{job="checkout"}`, 3)     // the target's own label, not the scrape job's name
	if err := p.RulesHealth(ctx); err != nil {
		t.Error(err)
	}

	eventually(t, "the alert is in Alertmanager", func(ctx context.Context) error {
		alerts, err := alertmanager.Alerts(ctx)
		if err != nil {
			return err
		}
		for _, a := range alerts {
			if a.Labels["alertname"] == "ShopHasVisitors" && a.Labels["severity"] == "page" &&
				a.Annotations["summary"] == "3 visits" && !a.StartsAt.IsZero() && a.Fingerprint != "" {
				return nil
			}
		}
		return fmt.Errorf("there are %v", alerts)
	})
	select {
	case name := <-notified:
		if name != "ShopHasVisitors" {
			t.Errorf("notified of %q", name)
		}
	case <-time.After(15 * time.Second):
		t.Error("the webhook was not called")
	}

	t.Run("a rule that fails is named", func(t *testing.T) {
		rules := `groups:
- name: broken
  rules:
  - {record: many_to_many, expr: "label_replace(vector(1), 'a', 'b', '', '') * on() (vector(1) or label_replace(vector(1), 'a', 'b', '', ''))"}
`
		file := filepath.Join(p.RuleDir, "broken.yaml")
		if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := p.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the failing rule is reported", func(ctx context.Context) error {
			err := p.RulesHealth(ctx)
			if err == nil || !strings.Contains(err.Error(), "broken.yaml, group broken, rule many_to_many: ") {
				return errors.Join(errors.New("not reported"), err)
			}
			return nil
		})
	})

	t.Run("a reload that fails says why", func(t *testing.T) {
		file := filepath.Join(p.RuleDir, "bad.yaml")
		if err := os.WriteFile(file, []byte("groups: [{name: x, rules: [{record: r, expr: 'sum('}]}]"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := p.Reload(ctx); err == nil || !strings.Contains(err.Error(), "bad.yaml") {
			t.Errorf("want an error that names bad.yaml, got %v", err)
		}
	})
}

// TestPrometheusConfigYAML: a configuration of the caller's own is used as it is.
func TestPrometheusConfigYAML(t *testing.T) {
	rules := t.TempDir()
	if err := os.WriteFile(filepath.Join(rules, "own.yaml"),
		[]byte("groups: [{name: own, rules: [{record: own, expr: '42'}]}]"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startPrometheus(t, PrometheusOptions{
		RuleDir:    rules,
		ExtraFlags: []string{"--query.lookback-delta=1m"},
		ConfigYAML: fmt.Sprintf("global: {evaluation_interval: 500ms}\nrule_files: [%q]\n", filepath.Join(rules, "*.yaml")),
	})
	eventually(t, "the rule is evaluated", func(ctx context.Context) error {
		value, err := p.Query(ctx, "own == 42", time.Time{})
		if err == nil && len(value.(model.Vector)) != 1 {
			err = fmt.Errorf("it is %v", value)
		}
		return err
	})
	flags, err := p.API().Flags(t.Context())
	if err != nil || flags["query.lookback-delta"] != "1m" {
		t.Errorf("the extra flag did not arrive: %v, %v", flags["query.lookback-delta"], err)
	}

	_, err = StartPrometheus(t.Context(), PrometheusOptions{ConfigYAML: "nonsense: true"})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("want an error with Prometheus's own words, got %v", err)
	}
}

// TestPrometheusConfigFor2 compares what is left out for Prometheus 2.
func TestPrometheusConfigFor2(t *testing.T) {
	options := PrometheusOptions{
		ScrapeInterval: 30 * time.Second,
		ScrapeJobs:     []ScrapeJob{{Name: "shop", Targets: []string{"a:1"}, Labels: map[string]string{"replica": "0"}}},
	}
	for native, want := range map[bool]bool{true: true, false: false} {
		config, err := prometheusConfig(options, "/rules", native)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(config), "native_histograms"); got != want {
			t.Errorf("native %v: got\n%s", native, config)
		}
		if !strings.Contains(string(config), "scrape_timeout: 10s") {
			t.Errorf("want a timeout below the interval, got\n%s", config)
		}
	}
	if _, err := prometheusConfig(PrometheusOptions{AlertmanagerURLs: []string{"127.0.0.1:9093"}}, "", true); err == nil {
		t.Error("an Alertmanager URL without a scheme is accepted")
	}
}

// startShop serves metrics as our programs do, and returns its address.
func startShop(t *testing.T) string {
	registry := prometheus.NewRegistry()
	visits := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_visits_total"}, []string{"job"})
	visits.WithLabelValues("checkout").Add(3)
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shop_latency_seconds", Buckets: []float64{0.3, 1}, NativeHistogramBucketFactor: 1.1,
	})
	latency.Observe(0.2)
	registry.MustRegister(visits, latency)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
