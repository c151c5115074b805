package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// ClusterShopURL is where the samples' probes find the shop in a cluster.
const ClusterShopURL = "http://shop.shop.svc:8080"

// Samples are the objects of config/samples.
type Samples struct {
	// Namespace of all of them.
	Namespace string
	// Objects in the order of their files.
	Objects []*unstructured.Unstructured
	// Decoded holds what the programs see of them, by name, with the API's defaults
	// where the demo needs them.
	Decoded targets.Namespace
	SLOs    []*v1alpha1.ExperienceSLO
}

// ReadSamples reads the objects that the kustomization in a folder lists, and
// replaces the address of the shop in the probes by shopURL.
func ReadSamples(dir, shopURL string) (*Samples, error) {
	content, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(content, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: kustomization.yaml: %w", dir, err)
	}
	samples := &Samples{Decoded: targets.Namespace{
		Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{},
	}}
	for _, file := range kustomization.Resources {
		if err := samples.read(dir, file, shopURL); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return samples, nil
}

func (s *Samples) read(dir, file, shopURL string) error {
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return err
	}
	content = bytes.ReplaceAll(content, []byte(ClusterShopURL), []byte(shopURL))
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(object.Object) == 0 {
			continue
		}
		s.Objects = append(s.Objects, object)
		if err := s.decode(object); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (s *Samples) decode(object *unstructured.Unstructured) error {
	convert := runtime.DefaultUnstructuredConverter.FromUnstructured
	switch object.GetKind() {
	case "Namespace":
		s.Namespace = object.GetName()
	case "Journey":
		journey := &v1alpha1.Journey{}
		s.Decoded.Journeys[object.GetName()] = journey
		return convert(object.Object, journey)
	case "Touchpoint":
		touchpoint := &v1alpha1.Touchpoint{}
		s.Decoded.Touchpoints[object.GetName()] = touchpoint
		if err := convert(object.Object, touchpoint); err != nil {
			return err
		}
		if touchpoint.Spec.Class == "" {
			touchpoint.Spec.Class = v1alpha1.ClassStandard
		}
	case "ExperienceSLO":
		slo := &v1alpha1.ExperienceSLO{}
		s.SLOs = append(s.SLOs, slo)
		return convert(object.Object, slo)
	}
	return nil
}

// Objective returns a promise by the labels that alerts carry.
func (s *Samples) Objective(slo, objective string) (v1alpha1.Objective, bool) {
	for _, each := range s.SLOs {
		for _, promise := range each.Spec.Objectives {
			if each.Name == slo && string(promise.Name) == objective {
				return promise, true
			}
		}
	}
	return v1alpha1.Objective{}, false
}

// resources are the plurals of the kinds in the samples.
var resources = map[string]string{
	"Namespace": "namespaces", "Journey": "journeys", "Touchpoint": "touchpoints", "ExperienceSLO": "experienceslos",
}

func resourceOf(object *unstructured.Unstructured) schema.GroupVersionResource {
	return object.GroupVersionKind().GroupVersion().WithResource(resources[object.GetKind()])
}

// Apply applies the samples as kubectl apply --server-side does.
func (s *Samples) Apply(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: "sojourn-demo", Force: true}
	for _, object := range s.Objects {
		if _, err := client.Resource(resourceOf(object)).Namespace(object.GetNamespace()).Apply(ctx, object.GetName(), object, options); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// AwaitReady waits until every sample of ours is Ready in its present generation.
func (s *Samples) AwaitReady(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	var waiting []string
	err = poll(ctx, time.Minute, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		var still []string
		for _, object := range s.Objects {
			if object.GroupVersionKind().Group != v1alpha1.GroupVersion.Group {
				continue
			}
			live, err := client.Resource(resourceOf(object)).Namespace(object.GetNamespace()).Get(ctx, object.GetName(), metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			if why := unready(live); why != "" {
				still = append(still, fmt.Sprintf("%s %s: %s", live.GetKind(), live.GetName(), why))
			}
		}
		waiting = still
		return len(waiting) == 0, nil
	})
	if err != nil && len(waiting) > 0 {
		return fmt.Errorf("not everything is Ready: %w\n%s", err, strings.Join(waiting, "\n"))
	}
	return err
}

// unready says why an object is not Ready, or nothing.
func unready(object *unstructured.Unstructured) string {
	observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, each := range conditions {
		condition, _ := each.(map[string]any)
		if condition["type"] != v1alpha1.ConditionReady {
			continue
		}
		switch {
		case condition["status"] != string(metav1.ConditionTrue):
			return fmt.Sprintf("%v: %v", condition["reason"], condition["message"])
		case observed != object.GetGeneration():
			return "the status is of an earlier generation"
		}
		return ""
	}
	return "no condition Ready"
}

// GeneratedRules waits until the operator has written the rules of the samples, the
// namespace's alerts among them, and returns their groups when nothing has changed
// for a second.
func GeneratedRules(ctx context.Context, config *rest.Config, rulesNamespace string) ([]monitoringv1.RuleGroup, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var groups []monitoringv1.RuleGroup
	var before map[string]string
	var since time.Time
	err = poll(ctx, time.Minute, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().ConfigMaps(rulesNamespace).List(ctx, metav1.ListOptions{LabelSelector: RulesSelector})
		if err != nil {
			return false, err
		}
		now := map[string]string{}
		for _, item := range list.Items {
			for key, content := range item.Data {
				now[item.Name+"/"+key] = content
			}
		}
		if !maps.Equal(now, before) {
			before, since = now, time.Now()
			return false, nil
		}
		if time.Since(since) < time.Second {
			return false, nil
		}
		groups, err = parseGroups(now)
		return slices.ContainsFunc(groups, func(group monitoringv1.RuleGroup) bool {
			return slices.ContainsFunc(group.Rules, func(rule monitoringv1.Rule) bool { return rule.Alert != "" })
		}), err
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the generated rules in namespace %s: %w", rulesNamespace, err)
	}
	return groups, nil
}

func parseGroups(files map[string]string) ([]monitoringv1.RuleGroup, error) {
	var groups []monitoringv1.RuleGroup
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var file monitoringv1.PrometheusRuleSpec
		if err := yaml.Unmarshal([]byte(files[name]), &file); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		groups = append(groups, file.Groups...)
	}
	return groups, nil
}

// poll asks until the answer is yes, an error, or too late.
func poll(ctx context.Context, within, every time.Duration, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		done, err := ask(ctx)
		if ctx.Err() != nil {
			return ctx.Err() // rather than the request that it cut short
		}
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}
