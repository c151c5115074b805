package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// measured is a shop whose own metrics are not what its Touchpoints say of them.
const measured = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  channel: Web
  metrics:
    requests: {total: 'visits_total', errors: 'visits_total{code="500"}'}
    latency: {histogram: 'visit_seconds_bucket{page="checkout"}'}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: search, namespace: NAMESPACE}
spec:
  channel: Web
  metrics:
    requests: {total: 'visitors', errors: 'visits_total{code="500"}'}
---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: parcel, namespace: NAMESPACE}
spec:
  channel: Mail
  metrics:
    surveys: [{type: CSAT, responses: 'csat_total'}]
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: up, availability: {target: "99.9%"}}
  - {name: fast, latency: {threshold: 300ms, target: "95%"}}
  - {name: bearable, latency: {threshold: 500ms, target: "99%"}}
---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: unconcerned, namespace: NAMESPACE}
spec:
  targets: {touchpoints: [checkout]}
  objectives:
  - {name: bearable, latency: {threshold: 500ms, target: "99%"}}
`

// ruleFolder keeps a Prometheus's rules those of a namespace. Groups are evaluated every
// second: nobody waits five minutes for a test.
func ruleFolder(t *testing.T, prometheus *localstack.Prometheus, namespace string) (sync func(context.Context) error) {
	written := map[string]string{}
	return func(ctx context.Context) error {
		var found monitoringv1.PrometheusRuleList
		if err := api.List(ctx, &found, client.InNamespace(namespace)); err != nil {
			return err
		}
		news := false
		for _, object := range found.Items {
			for i := range object.Spec.Groups {
				object.Spec.Groups[i].Interval = new(monitoringv1.Duration("1s"))
			}
			text, err := yaml.Marshal(object.Spec)
			if err != nil {
				return err
			}
			if written[object.Name] != string(text) {
				news = true
				written[object.Name] = string(text)
				if err := os.WriteFile(filepath.Join(prometheus.RuleDir, object.Name+".yaml"), text, 0o644); err != nil {
					return err
				}
			}
		}
		if !news {
			return nil
		}
		return prometheus.Reload(ctx)
	}
}

// besidesStatus leaves out writes of a status.
func besidesStatus(writes []string) []string {
	return slices.DeleteFunc(writes, func(write string) bool { return strings.Contains(write, "/status") })
}

func TestWhatOnlyDataShows(t *testing.T) {
	prometheusRules(t, true)
	// What the shop exposes.
	var scrapes atomic.Int32
	var edges atomic.Value
	edges.Store([]string{"0.25", "0.5", "+Inf"})
	begin := time.Now()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		count := int(time.Since(begin).Seconds() * 10)
		fmt.Fprintf(w, "# TYPE visits_total counter\nvisits_total{code=\"200\"} %d\nvisits_total{code=\"500\"} %d\n", count, count/100)
		fmt.Fprintf(w, "# TYPE visitors gauge\nvisitors %d\n", 10+scrapes.Add(1)%2)
		fmt.Fprintf(w, "# TYPE csat_total counter\ncsat_total{stars=\"5\"} %d\n", count)
		fmt.Fprint(w, "# TYPE visit_seconds histogram\n")
		for _, le := range edges.Load().([]string) {
			fmt.Fprintf(w, "visit_seconds_bucket{page=\"checkout\",le=%q} %d\n", le, count)
		}
		fmt.Fprintf(w, "visit_seconds_count{page=\"checkout\"} %d\nvisit_seconds_sum{page=\"checkout\"} %d\n", count, count)
	}))
	defer shop.Close()
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{
		ScrapeJobs: []localstack.ScrapeJob{{Name: "shop", Targets: []string{strings.TrimPrefix(shop.URL, "http://")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prometheus.Stop()
	observing := func(o *controllers.Options) {
		o.Prometheus.URL, o.Prometheus.Interval, o.Prometheus.Standing = prometheus.URL, time.Second, 5*time.Second
	}
	m := startManager(t, observing)
	namespace := newNamespace(t, "measured", nil)
	sync := ruleFolder(t, prometheus, namespace)
	// synced brings rules to Prometheus before it looks.
	synced := func(condition func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := sync(ctx); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
			return condition(ctx)
		}
	}
	says := func(kind, name string, parts ...string) {
		t.Helper()
		text := message(t, kind, namespace, name)
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s %s does not say %q: %s", kind, name, part, text)
			}
		}
	}
	apply(t, namespace, measured)
	const patience = 60 * time.Second

	notAnEdge := hasReadiness("ExperienceSLO", namespace, "checkout", metav1.ConditionFalse, v1alpha1.ReasonNotAnEdge, status.InProgressStatus)
	eventually(t, "the threshold is no edge", patience, synced(notAnEdge))
	says("ExperienceSLO", "checkout", "spec.objectives[fast].latency.threshold: 300ms is no bucket edge of the histogram of checkout, whose nearest are 250ms and 500ms")
	if text := message(t, "ExperienceSLO", namespace, "checkout"); strings.Contains(text, "bearable") {
		t.Errorf("500ms is an edge: %s", text)
	}
	eventually(t, "the gauge is no counter", patience, synced(
		hasReadiness("Touchpoint", namespace, "search", metav1.ConditionFalse, v1alpha1.ReasonNotACounter, status.FailedStatus)))
	says("Touchpoint", "search", "spec.metrics.requests.total: ", "falls again and again")
	eventually(t, "answers have no score", patience, synced(
		hasReadiness("Touchpoint", namespace, "parcel", metav1.ConditionFalse, v1alpha1.ReasonMissingLabel, status.FailedStatus)))
	says("Touchpoint", "parcel", "spec.metrics.surveys[CSAT].responses: ", "no label score")

	// The rest is not disturbed.
	if slo := get[v1alpha1.ExperienceSLO](t, namespace, "checkout"); slo.Status.Budgets != 3 {
		t.Errorf("%d budgets", slo.Status.Budgets)
	}
	for kind, name := range map[string]string{"Touchpoint": "checkout", "ExperienceSLO": "unconcerned"} {
		if err := isReady(kind, namespace, name)(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := prometheus.RulesHealth(t.Context()); err != nil {
		t.Error(err)
	}
	// Figures of customers grow all the time here; nothing else is written.
	before := besidesStatus(m.writes(t))
	time.Sleep(3 * time.Second)
	if after := besidesStatus(m.writes(t)); len(after) != len(before) {
		t.Errorf("written at rest: %v", after[len(before):])
	}
	// A restart is no news.
	m.stop(t)
	m = startManager(t, observing)
	time.Sleep(4 * time.Second)
	if writes := besidesStatus(m.writes(t)); len(writes) != 0 {
		t.Errorf("written after a restart: %v", writes)
	}

	// All is mended: the histogram by its owner, the rest by an edit.
	edges.Store([]string{"0.25", "0.3", "0.5", "+Inf"})
	eventually(t, "the threshold is an edge", patience, synced(isReady("ExperienceSLO", namespace, "checkout")))
	apply(t, namespace, strings.NewReplacer("visitors", "visits_total", "'csat_total'", "'csat_total', scoreLabel: stars").Replace(measured))
	for _, name := range []string{"search", "parcel"} {
		// What was complained of is not written there any more.
		eventually(t, name+" is mended", patience, isReady("Touchpoint", namespace, name))
		eventually(t, "Prometheus agrees", patience, synced(func(ctx context.Context) error {
			value, err := prometheus.Query(ctx, fmt.Sprintf("sojourn:touchpoint_complaint:info{touchpoint=%q}", name), time.Time{})
			if err == nil && value.String() != "" {
				err = fmt.Errorf("it complains of %s", value)
			}
			return err
		}))
	}

	// What was said last stands while Prometheus is gone, whoever asks.
	edges.Store([]string{"0.25", "0.5", "+Inf"})
	apply(t, namespace, strings.NewReplacer("visitors", "visits_total", "'csat_total'", "'csat_total', scoreLabel: stars", "300ms", "400ms").Replace(measured))
	eventually(t, "another threshold is no edge", patience, synced(notAnEdge))
	prometheus.Stop()
	m.settle(t, 3*time.Second)
	if err := notAnEdge(t.Context()); err != nil {
		t.Errorf("without Prometheus: %v", err)
	}
	m.stop(t)
	m = startManager(t, observing)
	time.Sleep(3 * time.Second)
	if writes := m.writes(t); len(writes) != 0 {
		t.Errorf("written after a restart without Prometheus: %v", writes)
	}
	// Who observes nothing complains of nothing.
	m.stop(t)
	startManager(t)
	eventually(t, "nothing is observed", patience, isReady("ExperienceSLO", namespace, "checkout"))
}
