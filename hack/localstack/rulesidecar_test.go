package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

func ruleFile(name string) string {
	return fmt.Sprintf("groups:\n- name: %s\n  rules:\n  - {record: %s, expr: vector(1)}\n", name, name)
}

// TestSyncRules follows rules from the cluster into Prometheus, through every
// kind of change.
func TestSyncRules(t *testing.T) {
	ctx := t.Context()
	cp := startControlPlane(t, ControlPlaneOptions{})
	p := startPrometheus(t, PrometheusOptions{})
	client := kubernetes.NewForConfigOrDie(cp.RESTConfig())
	configMaps := client.CoreV1().ConfigMaps("default")

	create := func(name string, labels map[string]string, data map[string]string) {
		t.Helper()
		_, err := configMaps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: data,
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	wantGroups := func(what string, want ...string) {
		t.Helper()
		eventually(t, what, func(ctx context.Context) error {
			result, err := p.API().Rules(ctx, nil)
			if err != nil {
				return err
			}
			var got []string
			for _, g := range result.Groups {
				got = append(got, g.Name)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("Prometheus runs %v, want %v", got, want)
			}
			return nil
		})
	}
	rules := map[string]string{"rules": "yes"}
	if err := os.WriteFile(filepath.Join(p.RuleDir, "own.yaml"), []byte(ruleFile("own")), 0o644); err != nil {
		t.Fatal(err)
	}
	create("first", rules, map[string]string{"a": ruleFile("first_a"), "a.yaml": ruleFile("first_b")})
	create("other", nil, map[string]string{"a": ruleFile("other")})

	s, err := SyncRules(ctx, cp.RESTConfig(), p, RuleSyncOptions{
		ConfigMapNamespace: "default", ConfigMapSelector: "rules=yes", PrometheusRules: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	wantGroups("what was there at the start is loaded, what is not selected is not", "first_a", "first_b", "own")

	long := strings.Repeat("long-", 45) + "name"
	create(long, rules, map[string]string{"a-key-that-makes-it-longer-than-a-file-name-may-be": ruleFile("long")})
	create("second", rules, map[string]string{
		"bad.yaml":  "groups: [{name: bad, rules: [{record: x, expr: 'sum('}]}]",
		"good.yaml": ruleFile("second"),
	})
	wantGroups("a bad file does not stop a good one", "first_a", "first_b", "own", "second")
	const bad = "configmap_default_second_bad.yaml.yaml"
	if err := s.Rejected()[bad]; err == nil || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("want %s rejected with a reason, got %v", bad, s.Rejected())
	}

	if rejected := s.Rejected(); len(rejected) != 2 {
		t.Errorf("want the bad file and the one with too long a name rejected, got %v", rejected)
	}

	if _, err := configMaps.Update(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "first", Labels: rules}, Data: map[string]string{"a": ruleFile("changed")},
	}, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantGroups("a change is loaded, and a key that went is unloaded", "changed", "own", "second")

	crds, err := PrometheusOperatorCRDs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := cp.InstallCRDs(ctx, crds...); err != nil {
		t.Fatal(err)
	}
	objects := dynamic.NewForConfigOrDie(cp.RESTConfig()).Resource(prometheusRuleResource).Namespace("default")
	if _, err := objects.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "monitoring.coreos.com/v1",
		"kind":       "PrometheusRule",
		"metadata":   map[string]any{"name": "third"},
		"spec": map[string]any{"groups": []any{map[string]any{
			"name": "third", "partial_response_strategy": "warn",
			"rules": []any{map[string]any{"record": "third", "expr": int64(3)}},
		}}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	wantGroups("a kind that is installed later is read", "changed", "own", "second", "third")

	for _, name := range []string{"first", "second", long} {
		if err := configMaps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wantGroups("what is deleted is unloaded, and a file of the caller's own stays", "own", "third")
	if rejected := s.Rejected(); len(rejected) > 0 {
		t.Errorf("still rejected: %v", rejected)
	}

	if err := objects.Delete(ctx, "third", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantGroups("the PrometheusRule is unloaded", "own")
	s.Stop()
	create("late", rules, map[string]string{"a": ruleFile("late")})
	time.Sleep(2 * s.options.Debounce)
	if _, err := os.Stat(filepath.Join(p.RuleDir, "configmap_default_late_a.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stopped sidecar still writes: %v", err)
	}
}
