package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// likeAFreshOne wants of some namespaces what a fresh manager makes of fresh copies of the
// same objects: the same children, no more and no fewer, and the same statuses but for
// their times.
func likeAFreshOne(t *testing.T, plane *localstack.ControlPlane, access client.Client, namespaces ...string) {
	t.Helper()
	copies := make([]string, len(namespaces))
	for i, name := range namespaces {
		copies[i] = fmt.Sprintf("%s-fresh-%d", name, managers.Load())
	}
	for i, name := range namespaces {
		original := &corev1.Namespace{}
		if err := access.Get(t.Context(), client.ObjectKey{Name: name}, original); err != nil {
			t.Fatal(err)
		}
		delete(original.Labels, corev1.LabelMetadataName)
		if err := access.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: copies[i], Labels: original.Labels}}); err != nil {
			t.Fatal(err)
		}
		for _, list := range kinds() {
			if err := access.List(t.Context(), list, client.InNamespace(name)); err != nil {
				t.Fatal(err)
			}
			if err := meta.EachListItem(list, func(item runtime.Object) error {
				object := item.(client.Object)
				blank(object)
				object.SetNamespace(copies[i])
				if journey, is := object.(*v1alpha1.Journey); is {
					for s := range journey.Spec.Stages {
						for p := range journey.Spec.Stages[s].Touchpoints {
							reference := &journey.Spec.Stages[s].Touchpoints[p]
							if at := slices.Index(namespaces, string(reference.Namespace)); at >= 0 {
								reference.Namespace = v1alpha1.Name(copies[at])
							}
						}
					}
				}
				return access.Create(t.Context(), object)
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fresh := startManagerOf(t, plane, nil, watching(copies...))
	for _, name := range copies {
		eventually(t, "a fresh manager is done", soon, func(ctx context.Context) error { return reconciled(ctx, access, name) })
	}
	fresh.settle(t, time.Second)
	fresh.stop(t)
	want, err := childrenOf(t.Context(), access, copies)
	if err != nil {
		t.Fatal(err)
	}
	// Retries are up to half a minute apart.
	eventually(t, "as a fresh manager makes it", soon, func(ctx context.Context) error {
		got, err := childrenOf(ctx, access, namespaces)
		if err != nil {
			return err
		}
		return difference(got, want)
	})
}

// kinds are lists of the three kinds, in the order in which they are least work.
func kinds() []client.ObjectList {
	return []client.ObjectList{&v1alpha1.TouchpointList{}, &v1alpha1.JourneyList{}, &v1alpha1.ExperienceSLOList{}}
}

// blank leaves of an object what its user wrote.
func blank(object client.Object) {
	object.SetResourceVersion("")
	object.SetUID("")
	object.SetManagedFields(nil)
	object.SetCreationTimestamp(metav1.Time{})
	object.SetGeneration(0)
	object.SetOwnerReferences(nil)
}

// reconciled wants a word on the latest spec of all objects of a namespace.
func reconciled(ctx context.Context, access client.Client, namespace string) error {
	for _, list := range kinds() {
		if err := access.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				return err
			}
			status, _ := content["status"].(map[string]any)
			if observed, _ := status["observedGeneration"].(int64); observed != object.GetGeneration() {
				return fmt.Errorf("%T %s is at generation %d, its status at %d", object, object.GetName(), object.GetGeneration(), observed)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

var times = regexp.MustCompile(`(?m)^\s*"(lastTransitionTime|observedGeneration)": .*\n`)

// childrenOf writes what a manager made of some namespaces: each object as text, without what
// is of one moment or one object only. Of statuses the generations are left out: the original
// was edited more often than the copy.
func childrenOf(ctx context.Context, access client.Client, namespaces []string) (map[string]string, error) {
	var names []string
	for i, namespace := range namespaces {
		names = append(names, namespace, fmt.Sprint("NAMESPACE-", i))
	}
	blanked := strings.NewReplacer(names...).Replace
	found := map[string]string{}
	for _, namespace := range namespaces {
		if err := addChildren(ctx, access, namespace, blanked, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func addChildren(ctx context.Context, access client.Client, namespace string, blanked func(string) string, found map[string]string) error {
	owners := map[types.UID]string{}
	add := func(kind string, object client.Object, content any) error {
		type owner struct {
			Of         string
			Controller bool
		}
		var ownedBy []owner
		for _, reference := range object.GetOwnerReferences() {
			of, alive := owners[reference.UID]
			if !alive || of != reference.Kind+" "+reference.Name {
				of = fmt.Sprintf("nobody: %s %s %s", reference.Kind, reference.Name, reference.UID)
			}
			ownedBy = append(ownedBy, owner{of, reference.Controller != nil && *reference.Controller})
		}
		text, err := json.MarshalIndent(map[string]any{"labels": object.GetLabels(), "owners": ownedBy, "content": content}, "", " ")
		if err != nil {
			return err
		}
		found[blanked(kind+" "+object.GetNamespace()+"/"+object.GetName())] = times.ReplaceAllString(blanked(string(text)), "")
		return nil
	}
	for _, list := range kinds() {
		if err := access.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
			if err != nil {
				return err
			}
			kind := strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1alpha1.")
			owners[object.GetUID()] = kind + " " + object.GetName()
			return add(kind, object, content["status"])
		}); err != nil {
			return err
		}
	}
	ours := client.MatchingLabels{"sojourn.dev/namespace": namespace}
	var configMaps corev1.ConfigMapList
	if err := access.List(ctx, &configMaps, ours); err != nil {
		return err
	}
	for _, object := range configMaps.Items {
		// How YAML breaks lines depends on the length of names.
		content := map[string]any{"binary": object.BinaryData}
		for key, text := range object.Data {
			var rules any
			if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
				return fmt.Errorf("ConfigMap %s: %w", object.Name, err)
			}
			content[key] = rules
		}
		if err := add("ConfigMap", &object, content); err != nil {
			return err
		}
	}
	var ruleObjects monitoringv1.PrometheusRuleList
	if err := access.List(ctx, &ruleObjects, ours); err == nil {
		for _, object := range ruleObjects.Items {
			// The API server keeps an order of its own, which means nothing.
			slices.SortFunc(object.Spec.Groups, func(a, b monitoringv1.RuleGroup) int { return strings.Compare(a.Name, b.Name) })
			if err := add("PrometheusRule", &object, object.Spec); err != nil {
				return err
			}
		}
	} else if !meta.IsNoMatchError(err) {
		return err
	}
	var probes monitoringv1.ProbeList
	if err := access.List(ctx, &probes, ours); err == nil {
		for _, object := range probes.Items {
			if err := add("Probe", &object, object.Spec); err != nil {
				return err
			}
		}
	} else if !meta.IsNoMatchError(err) {
		return err
	}
	return nil
}

// difference tells the first thing in which two sets of objects differ.
func difference(got, want map[string]string) error {
	if equality.Semantic.DeepEqual(got, want) {
		return nil
	}
	var missing, strange, other []string
	for name, text := range want {
		switch now, has := got[name]; {
		case !has:
			missing = append(missing, name)
		case now != text:
			other = append(other, name+":\n"+cmp.Diff(text, now))
		}
	}
	for name := range got {
		if _, has := want[name]; !has {
			strange = append(strange, name)
		}
	}
	slices.Sort(other)
	return fmt.Errorf("missing: %v; not wanted: %v; %d others, such as %v", missing, strange, len(other), other[:min(len(other), 2)])
}
