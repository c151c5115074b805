package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/prober/internal/probe"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// loopback lets probes visit the servers of tests.
var loopback = probe.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if name := os.Getenv(proberVariable); name != "" {
		version = name
		main()
		return
	}
	os.Exit(m.Run())
}

// get reads a page of the prober.
func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// within waits until a check is content and says how long that took.
func within(t *testing.T, limit time.Duration, what string, check func() bool) {
	t.Helper()
	begin := time.Now()
	for !check() {
		if time.Since(begin) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("after %4d ms: %s", time.Since(begin).Milliseconds(), what)
}

// TestAgainstAPIServer lives through what a prober meets: no API server's kinds,
// then touchpoints that come, change, fail and go, then no API server at all.
func TestAgainstAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an API server")
	}
	t.Parallel()
	ctx := t.Context()
	cluster, err := localstack.StartControlPlane(ctx, localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	var visits atomic.Int64
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits.Add(1)
		if r.URL.Path != "/checkout" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(shop.Close)

	p, err := newProber(options{
		Config: cluster.RESTConfig(), Location: "default", MaxConcurrent: 10, FirstRunDelay: time.Hour,
		MetricsAddress: "127.0.0.1:0", HealthAddress: "127.0.0.1:0", Version: "test", Guard: loopback,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	health := p.health.Addr().String()
	value := func(series string) (float64, bool) {
		_, text := get(t, p.metrics.Addr().String(), "/metrics")
		for line := range strings.Lines(text) {
			if rest, found := strings.CutPrefix(line, series+" "); found {
				number, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				if err != nil {
					t.Fatal(err)
				}
				return number, true
			}
		}
		return 0, false
	}
	runs := func(outcome string) string {
		return fmt.Sprintf(`sojourn_probe_runs_total{location="default",namespace="shop",outcome=%q,touchpoint="checkout"}`, outcome)
	}
	edge := func(le string) string {
		return fmt.Sprintf(`sojourn_probe_duration_seconds_bucket{location="default",namespace="shop",touchpoint="checkout",le=%q}`, le)
	}
	has := func(series string) func() bool {
		return func() bool { _, found := value(series); return found }
	}
	above := func(series string, floor float64) func() bool {
		return func() bool { now, _ := value(series); return now > floor }
	}

	within(t, time.Minute, "the missing kinds are the reason for not being ready", func() bool {
		status, text := get(t, health, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "could not find the requested resource")
	})
	if status, _ := get(t, health, "/healthz"); status != http.StatusOK {
		t.Error("not alive without the kinds")
	}
	if err := localstack.InstallCRDs(ctx, cluster.RESTConfig(), "../../config/crd"); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "ready once the kinds are there", func() bool {
		status, _ := get(t, health, "/readyz")
		return status == http.StatusOK
	})

	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(cluster.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	touchpoint := &v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
		Spec: v1alpha1.TouchpointSpec{Channel: "Web", Probe: &v1alpha1.Probe{
			Interval: "10s", HTTP: &v1alpha1.HTTPProbe{URL: v1alpha1.URL(shop.URL + "/checkout")},
		}},
	}
	slo := &v1alpha1.ExperienceSLO{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fast"},
		Spec: v1alpha1.ExperienceSLOSpec{
			Targets:    v1alpha1.Targets{Touchpoints: []v1alpha1.Name{"checkout"}},
			Objectives: []v1alpha1.Objective{{Name: "speed", Latency: &v1alpha1.LatencyObjective{Threshold: "300ms", Target: "99%"}}},
		},
	}
	unprobed := &v1alpha1.Touchpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "phone"},
		Spec:       v1alpha1.TouchpointSpec{Channel: "Phone"},
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, slo, touchpoint, unprobed,
	} {
		if err := api.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}

	within(t, time.Minute, "the exact edge", has(edge("0.3")))
	for _, series := range []string{runs("success"), runs("failure"), runs("error"), edge("0.3")} {
		if now, found := value(series); !found || now != 0 && visits.Load() == 0 {
			t.Errorf("%s is %g, found: %t", series, now, found)
		}
	}
	within(t, time.Minute, "a success within the threshold", above(edge("0.3"), 0))
	if has(`sojourn_probe_duration_seconds_count{location="default",namespace="shop",touchpoint="phone"}`)() {
		t.Error("a touchpoint without a probe has series")
	}

	slo.Spec.Objectives[0].Latency.Threshold = "450ms"
	if err := api.Update(ctx, slo); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "the edge of the edited promise", has(edge("0.45")))
	if has(edge("0.3"))() {
		t.Error("the edge of the promise before is still there")
	}

	// A patch: the prober has written the status since.
	before := touchpoint.DeepCopy()
	touchpoint.Spec.Probe.HTTP.URL = v1alpha1.URL(shop.URL + "/broken")
	if err := api.Patch(ctx, touchpoint, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "a failure at the edited address", above(runs("failure"), 0))

	cluster.StopAPIServer()
	failed, _ := value(runs("failure"))
	within(t, time.Minute, "probing goes on without an API server", above(runs("failure"), failed))
	if status, text := get(t, health, "/readyz"); status != http.StatusOK {
		t.Errorf("no longer ready without an API server: %s", text)
	}
	if err := cluster.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}

	if err := api.Delete(ctx, touchpoint); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "no series after deletion, as soon as the watch is back", func() bool { return !has(runs("failure"))() })
	if err := api.Create(ctx, &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}, Spec: touchpoint.Spec}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "the series of a namesake begin at zero", has(runs("failure")))
	if err := api.Delete(ctx, &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "no series after deletion", func() bool { return !has(runs("failure"))() })

	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("does not end")
	}
}

// Without an API server the prober waits, says why, and still ends when told to.
func TestStartWithoutAPIServer(t *testing.T) {
	p, err := newProber(options{
		Config: &rest.Config{Host: "http://127.0.0.1:1"}, Location: "default", MaxConcurrent: 1,
		MetricsAddress: "127.0.0.1:0", HealthAddress: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	within(t, time.Minute, "the reason for not being ready", func() bool {
		status, text := get(t, p.health.Addr().String(), "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "connection refused")
	})
	if status, text := get(t, p.metrics.Addr().String(), "/metrics"); status != http.StatusOK || !strings.Contains(text, "sojourn_prober_touchpoints 0") {
		t.Errorf("metrics answer %d: %s", status, text)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("does not end")
	}
}

func TestUnusableOptions(t *testing.T) {
	for _, args := range [][]string{
		{"--max-concurrent", "0"},
		{"--location", ""},
		{"--metrics-bind-address", "nowhere:http:80"},
		{"--log-format", "xml"},
		{"--allow-cidrs", "127.0.0.1"},
		{"--kubeconfig", "/no/such/file"},
		{"surplus"},
	} {
		c := command()
		c.SetArgs(append([]string{"--health-probe-bind-address=127.0.0.1:0"}, args...))
		c.SetErr(io.Discard)
		t.Setenv("KUBECONFIG", "testdata/kubeconfig.yaml")
		if err := c.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
