package chart_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestRestricted: whatever the values, Pods keep the standard restricted, by the code of
// Kubernetes' own admission.
func TestRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for name, set := range map[string]values{
		"defaults":   nil,
		"PostgreSQL": {"gateway": values{"databaseSecret": "database", "replicas": 2}},
		"access to Prometheus": {"prometheus": values{"url": "https://mimir", "secret": "access", "caKey": "ca.crt"},
			"image": values{"pullSecrets": []any{"pull"}}, "nodeSelector": values{"disk": "fast"}},
		"web pages": {"ui": values{"enabled": true}},
	} {
		got, _, err := template(t, set)
		if err != nil {
			t.Fatal(err)
		}
		pods := 0
		for key, object := range got {
			made, has := at(object, "spec", "template").(values)
			if !has {
				continue
			}
			pods++
			var pod corev1.PodTemplateSpec
			if err := json.Unmarshal([]byte(text(t, made)), &pod); err != nil {
				t.Fatal(err)
			}
			for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s: %s", name, key, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			// The check itself can fail.
			pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true)
			if forbidden(evaluator, restricted, &pod.ObjectMeta, &pod.Spec) == 0 {
				t.Error("the standard allows anything")
			}
		}
		want := 3
		if at(set, "ui", "enabled") == true {
			want++
		}
		if pods != want {
			t.Errorf("%s: %d kinds of Pods", name, pods)
		}
	}
}

func forbidden(evaluator policy.Evaluator, level api.LevelVersion, meta *metav1.ObjectMeta, spec *corev1.PodSpec) int {
	n := 0
	for _, result := range evaluator.EvaluatePod(level, meta, spec) {
		if !result.Allowed {
			n++
		}
	}
	return n
}

// TestEveryValueIsKnown: what the schema takes stands in values.yaml, with its default, and so
// in the README.
func TestEveryValueIsKnown(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema values
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	defaults := readYAML(t, filepath.Join(chart, "values.yaml"))
	readme, err := os.ReadFile(filepath.Join(chart, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var compare func(path string, schema, defaults values)
	compare = func(path string, schema, defaults values) {
		properties, _ := schema["properties"].(values)
		for name, each := range properties {
			if path+name == "global" {
				continue // of those who use this chart as a part of theirs
			}
			value, has := defaults[name]
			if !has {
				t.Errorf("values.yaml lacks %s", path+name)
				continue
			}
			if _, parts := each.(values)["properties"]; parts {
				compare(path+name+".", each.(values), value.(values))
			} else if !strings.Contains(string(readme), "| `"+path+name+"` |") && !strings.Contains(string(readme), "| `"+path+name+".") {
				t.Errorf("README.md lacks %s: make generate", path+name)
			}
		}
		for name := range defaults {
			if properties[name] == nil {
				t.Errorf("the schema lacks %s", path+name)
			}
		}
	}
	compare("", schema, defaults)
}
