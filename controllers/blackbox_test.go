package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
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
	eventually(t, "the kind Probe is gone", soon, func(ctx context.Context) error {
		if err := api.List(ctx, &monitoringv1.ProbeList{}); !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
			return fmt.Errorf("listing says: %v", err)
		}
		return nil
	})
	m := startManager(t)
	namespace := newNamespace(t, "blackbox", nil)
	apply(t, namespace, blackboxTouchpoint)
	eventually(t, "the missing kind is told", soon, hasReadiness("Touchpoint", namespace, "checkout",
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
	eventually(t, "the Probe", soon, asks("15s", "http://shop.shop.svc/checkout"))
	eventually(t, "its rules", soon, exists(&monitoringv1.PrometheusRule{}, namespace, name))

	whole := func(p *monitoringv1.Probe) bool {
		source, ours := publish.SourceOf(p)
		return ours && source == publish.Source{Kind: "Touchpoint", Namespace: namespace, Name: "checkout"}
	}
	for damage, do := range map[string]func(*monitoringv1.Probe){
		"the target is changed": func(p *monitoringv1.Probe) {
			p.Spec.Targets.StaticConfig.Targets = []string{"http://elsewhere.example"}
		},
		"a target is added": func(p *monitoringv1.Probe) {
			p.Spec.Targets.StaticConfig.Targets = append(p.Spec.Targets.StaticConfig.Targets, "http://elsewhere.example")
		},
		"its content is removed": func(p *monitoringv1.Probe) { p.Spec = monitoringv1.ProbeSpec{} },
		"labels are stripped":    func(p *monitoringv1.Probe) { p.Labels = nil },
		"a label is changed":     func(p *monitoringv1.Probe) { p.Labels["sojourn.dev/name"] = "other" },
		"owners are stripped":    func(p *monitoringv1.Probe) { p.OwnerReferences = nil },
		"it is deleted":          nil,
	} {
		t.Run(damage, func(t *testing.T) {
			live := get[monitoringv1.Probe](t, namespace, name)
			if do == nil {
				remove(t, live)
			} else if do(live); api.Update(t.Context(), live) != nil {
				t.Fatal("it cannot be damaged")
			}
			eventually(t, "repaired", soon, asks("15s", "http://shop.shop.svc/checkout"))
			eventually(t, "found again", soon, probe(whole))
		})
	}
	// A second owner is somebody else's business.
	live := get[monitoringv1.Probe](t, namespace, name)
	live.OwnerReferences = append([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Namespace", Name: namespace, UID: get[corev1.Namespace](t, "", namespace).UID}}, live.OwnerReferences...)
	if err := api.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	before := m.settle(t, time.Second)
	apply(t, namespace, strings.Replace(blackboxTouchpoint, "spec:", "spec:\n  description: no news", 1))
	for _, write := range m.settle(t, time.Second)[len(before):] {
		if strings.Contains(write, "/probes/") {
			t.Errorf("written for nothing: %s", write)
		}
	}

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
	eventually(t, "an edit is followed", soon, asks("20s", "http://shop.shop.svc/pay"))
	m.settle(t, time.Second)
	edit(func(p *v1alpha1.Probe) { p.Backend, p.Blackbox = v1alpha1.ProbeBackendProber, nil })
	eventually(t, "no Probe without the backend", soon, func(ctx context.Context) error {
		if err := api.Get(ctx, key, &monitoringv1.Probe{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading it says %v", err)
		}
		return nil
	})
}
