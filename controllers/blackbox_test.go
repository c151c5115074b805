package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

const blackboxTouchpoint = `
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: checkout, namespace: NAMESPACE}
spec:
  channel: Web
  probe:
    interval: 15s
    timeout: 5s
    backend: Blackbox
    blackbox: {module: http_2xx, address: "blackbox.monitoring.svc:9115"}
    http: {url: "http://shop.shop.svc/checkout"}
`

// TestBlackbox: a Touchpoint that a blackbox_exporter visits has a Probe, which is
// repaired, follows the spec and goes with it.
func TestBlackbox(t *testing.T) {
	prometheusRules(t, true)
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "probes.monitoring.coreos.com"}}
	if err := client.IgnoreNotFound(api.Delete(t.Context(), crd)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kind Probe is gone", 30*time.Second, func(ctx context.Context) error {
		if err := api.List(ctx, &monitoringv1.ProbeList{}); !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return fmt.Errorf("listing says: %v", err)
		}
		return nil
	})
	m := startManager(t)
	namespace := newNamespace(t, "blackbox", nil)
	apply(t, namespace, blackboxTouchpoint)
	eventually(t, "the missing kind is told", 10*time.Second, hasReadiness("Touchpoint", namespace, "checkout",
		metav1.ConditionFalse, v1alpha1.ReasonKindMissing, status.InProgressStatus))

	files, err := localstack.PrometheusOperatorCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.InstallCRDs(t.Context(), files...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Ready once the kind is there", time.Minute, isReady("Touchpoint", namespace, "checkout"))
	const name = "sojourn-touchpoint-checkout"
	key := client.ObjectKey{Namespace: namespace, Name: name}
	probe := func(check func(*monitoringv1.Probe) bool) func(context.Context) error {
		return func(ctx context.Context) error {
			found := &monitoringv1.Probe{}
			if err := api.Get(ctx, key, found); err != nil {
				return err
			}
			if !check(found) {
				return fmt.Errorf("it is %+v", found)
			}
			return nil
		}
	}
	asks := func(interval, target string) func(context.Context) error {
		return probe(func(p *monitoringv1.Probe) bool {
			s := p.Spec
			return s.ProberSpec.URL == "blackbox.monitoring.svc:9115" && s.Module == "http_2xx" &&
				string(s.Interval) == interval && s.ScrapeTimeout == "5500ms" &&
				slices.Equal(s.Targets.StaticConfig.Targets, []string{target}) &&
				s.Targets.StaticConfig.Labels["touchpoint"] == "checkout" && s.Targets.StaticConfig.Labels["namespace"] == namespace &&
				metav1.GetControllerOf(p) != nil
		})
	}
	eventually(t, "the Probe", 10*time.Second, asks("15s", "http://shop.shop.svc/checkout"))
	eventually(t, "its rules", 10*time.Second, exists(&monitoringv1.PrometheusRule{}, namespace, name))

	live := &monitoringv1.Probe{}
	if err := api.Get(t.Context(), key, live); err != nil {
		t.Fatal(err)
	}
	live.Spec.Targets.StaticConfig.Targets = []string{"http://elsewhere.example"}
	if err := api.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what others changed is repaired", 10*time.Second, asks("15s", "http://shop.shop.svc/checkout"))

	touchpoint := &v1alpha1.Touchpoint{}
	edit := func(change func(*v1alpha1.Probe)) {
		t.Helper()
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "checkout"}, touchpoint); err != nil {
			t.Fatal(err)
		}
		change(touchpoint.Spec.Probe)
		if err := api.Update(t.Context(), touchpoint); err != nil {
			t.Fatal(err)
		}
	}
	edit(func(p *v1alpha1.Probe) { p.Interval, p.HTTP.URL = "20s", "http://shop.shop.svc/pay" })
	eventually(t, "an edit is followed", 10*time.Second, asks("20s", "http://shop.shop.svc/pay"))
	m.settle(t, time.Second)
	edit(func(p *v1alpha1.Probe) { p.Backend, p.Blackbox = v1alpha1.ProbeBackendProber, nil })
	eventually(t, "no Probe without the backend", 10*time.Second, func(ctx context.Context) error {
		if err := api.Get(ctx, key, &monitoringv1.Probe{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading it says %v", err)
		}
		return nil
	})
}
