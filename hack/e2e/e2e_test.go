// Package e2e tests the whole chain on real parts: YAML in, alerts out.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sojourn-dev/sojourn/hack/demo/story"
)

// TestChain tells the demo's story (samples applied, customers come, the checkout breaks,
// Alertmanager hears of it and of nothing else) and then looks closely at what runs.
func TestChain(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	options := story.DefaultOptions()
	options.Once = true
	options.Dir = t.TempDir()
	options.Rush = 10 * time.Second // rules do not mind; people like to watch
	options.AtEnd = func(ctx context.Context, d *story.Demo) error {
		return errors.Join(
			inPrometheus(ctx, d),
			labelsOfAlerts(ctx, d),
			seenByPeople(ctx, d),
			deletedRulesComeBack(ctx, d),
		)
	}
	if err := story.Run(t.Context(), story.NewNarrator(testOutput{t}), options); err != nil {
		t.Fatal(err)
	}
}

type testOutput struct{ t *testing.T }

func (o testOutput) Write(text []byte) (int, error) {
	o.t.Log(strings.TrimRight(string(text), "\n"))
	return len(text), nil
}

// inPrometheus asks for what only the whole chain can have put there.
func inPrometheus(ctx context.Context, d *story.Demo) error {
	var errs []error
	for _, wanted := range []struct{ what, expr string }{
		{"honor_labels keeps the touchpoint's namespace although every target has one of its own",
			`count({__name__=~"sojourn_(probe|survey)_.+", touchpoint!="", namespace!="shop"}) or vector(0) == 0`},
		{"the promised threshold is an edge of the prober's histogram",
			`sojourn_probe_duration_seconds_bucket{touchpoint="checkout", le="0.8"} >= 0`},
		{"a native histogram stands beside the classic one",
			`histogram_count(sojourn_probe_duration_seconds{touchpoint="basket"}) > 0`},
		{"every score of every instrument exists",
			`count(sojourn_survey_responses_total{touchpoint="checkout", instrument="ces"}) == 7`},
		{"the slow checkout lost in its probes, and search did not",
			`sum(sojourn:touchpoint_losses:sum1h{touchpoint="checkout", def=~"probe/latency/.+"}) > 3 unless on () sum(sojourn:touchpoint_losses:sum5m{touchpoint="search", def=~"probe/latency/.+"}) > 3`},
		{"every budget has its roster, and none stands there twice",
			`max(count by (namespace, slo, objective, touchpoint) (sojourn:slo_budget:ratio)) == 1`},
		{"no recorded figure is NaN",
			`count({__name__=~"sojourn:.+"}) == count({__name__=~"sojourn:.+"} >= -Inf)`},
	} {
		if _, known, err := d.Stack.Number(ctx, wanted.expr); err != nil || !known {
			errs = append(errs, errors.Join(err, fmt.Errorf("not so: %s: %s", wanted.what, wanted.expr)))
		}
	}
	return errors.Join(errs...)
}

// labelsOfAlerts holds alerts to the labels they may have.
func labelsOfAlerts(ctx context.Context, d *story.Demo) error {
	allowed := map[string]bool{"alertname": true, "namespace": true, "slo": true, "objective": true, "touchpoint": true, "severity": true, "tier": true, "team": true}
	alerts, err := d.Stack.Alertmanager.Alerts(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, alert := range alerts {
		for label := range alert.Labels {
			if !allowed[label] {
				errs = append(errs, fmt.Errorf("alert %v has the label %s", alert.Labels, label))
			}
		}
		for _, annotation := range []string{"summary", "description", "runbook_url"} {
			if text := alert.Annotations[annotation]; text == "" || strings.Contains(text, "error") && strings.Contains(text, "template") {
				errs = append(errs, fmt.Errorf("alert %v has no good %s: %q", alert.Labels, annotation, text))
			}
		}
	}
	return errors.Join(errs...)
}

// deletedRulesComeBack deletes what the operator wrote.
func deletedRulesComeBack(ctx context.Context, d *story.Demo) error {
	cluster, err := kubernetes.NewForConfig(d.Stack.Cluster.RESTConfig())
	if err != nil {
		return err
	}
	configMaps := cluster.CoreV1().ConfigMaps(story.SystemNamespace)
	for _, name := range []string{"shop.sojourn-slo-checkout", "shop.sojourn-windows"} {
		before, err := configMaps.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if err := configMaps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		deadline := time.Now().Add(time.Minute)
		for {
			after, err := configMaps.Get(ctx, name, metav1.GetOptions{})
			if err == nil && after.UID != before.UID {
				break
			}
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s did not come back within a minute", name)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}
