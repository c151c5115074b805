package controllers_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

var updateObjects = flag.Bool("update-objects", false, "write hack/gitops/testdata/objects.yaml anew")

// TestObjectsForGitOps: what hack/gitops shows to Argo CD's Lua and Flux's CEL is what a
// manager writes.
func TestObjectsForGitOps(t *testing.T) {
	prometheusRules(t, true)
	namespace := newNamespace(t, "gitops", nil)
	manager := startManager(t, watching(namespace))
	const slo, journey, touchpoint = `---
apiVersion: sojourn.dev/v1alpha1
kind: ExperienceSLO
metadata: {name: %s, namespace: NAMESPACE}
spec: {targets: {%s}, objectives: [{name: up, availability: {target: "%s"}}]}
`, `---
apiVersion: sojourn.dev/v1alpha1
kind: Journey
metadata: {name: %s, namespace: NAMESPACE}
spec: {stages: [{name: only, touchpoints: [{name: %s}]}], kpis: [{name: orders, query: "%s"}]}
`, `---
apiVersion: sojourn.dev/v1alpha1
kind: Touchpoint
metadata: {name: %s, namespace: NAMESPACE}
spec: {channel: Web, probe: {http: {url: "http://shop/"}}, metrics: {requests: {total: '%s', errors: 'errors_total'}}}
`
	apply(t, namespace, fmt.Sprintf(slo, "well", "touchpoints: [well]", "99%")+
		fmt.Sprintf(slo, "edited", "touchpoints: [well]", "99%")+
		fmt.Sprintf(slo, "waits", "touchpoints: [nowhere]", "99%")+
		fmt.Sprintf(slo, "untargeted", "selector: {matchLabels: {tier: gold}}", "99%")+
		fmt.Sprintf(slo, "broken", "touchpoints: [well]", "100%")+
		fmt.Sprintf(journey, "well", "well", "sum(orders_total)")+
		fmt.Sprintf(journey, "waits", "nowhere", "sum(orders_total)")+
		fmt.Sprintf(journey, "broken", "well", "sum(")+
		fmt.Sprintf(touchpoint, "well", "requests_total")+
		fmt.Sprintf(touchpoint, "broken", "requests_total{"))
	for _, object := range []struct {
		kind, name string
		current    status.Status
	}{
		{"Touchpoint", "well", status.CurrentStatus}, {"Touchpoint", "broken", status.FailedStatus},
		{"Journey", "well", status.CurrentStatus}, {"Journey", "waits", status.InProgressStatus}, {"Journey", "broken", status.FailedStatus},
		{"ExperienceSLO", "well", status.CurrentStatus}, {"ExperienceSLO", "edited", status.CurrentStatus}, {"ExperienceSLO", "untargeted", status.CurrentStatus},
		{"ExperienceSLO", "waits", status.InProgressStatus}, {"ExperienceSLO", "broken", status.FailedStatus},
	} {
		ready := metav1.ConditionFalse
		if object.current == status.CurrentStatus {
			ready = metav1.ConditionTrue
		}
		eventually(t, object.kind+" "+object.name, soon, hasReadiness(object.kind, namespace, object.name, ready, "", object.current))
	}
	manager.settle(t, time.Second)
	manager.stop(t)
	// What nobody has looked at.
	apply(t, namespace, fmt.Sprintf(slo, "edited", "touchpoints: [well]", "98%")+
		fmt.Sprintf(slo, "new", "touchpoints: [well]", "99%")+fmt.Sprintf(journey, "new", "well", "sum(orders_total)")+fmt.Sprintf(touchpoint, "new", "requests_total"))

	got := written(t, namespace)
	const path = "../hack/gitops/testdata/objects.yaml"
	if *updateObjects {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what a manager writes now; -update-objects writes it anew:\n%s", path, got)
	}
}

// written are the objects of a namespace, without what is different each time.
func written(t *testing.T, namespace string) []byte {
	t.Helper()
	var text bytes.Buffer
	for _, kind := range []string{"ExperienceSLO", "Journey", "Touchpoint"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
		if err := api.List(context.Background(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for _, object := range list.Items {
			for _, field := range []string{"uid", "resourceVersion", "managedFields", "creationTimestamp"} {
				unstructured.RemoveNestedField(object.Object, "metadata", field)
			}
			conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
			if err != nil {
				t.Fatal(err)
			}
			for _, condition := range conditions {
				condition.(map[string]any)["lastTransitionTime"] = "2026-01-01T00:00:00Z"
			}
			if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
				t.Fatal(err)
			}
			document, err := yaml.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "---\n%s", document)
		}
	}
	return text.Bytes()
}
