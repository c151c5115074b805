package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// asPlanned wants that a manager decided about a namespace, and wrote, exactly what Plan says
// of its objects.
func asPlanned(t *testing.T, namespace string, options controllers.Options, form publish.Form) {
	t.Helper()
	eventually(t, "what is written is what was planned", soon, func(ctx context.Context) error {
		var journeys v1alpha1.JourneyList
		var touchpoints v1alpha1.TouchpointList
		var slos v1alpha1.ExperienceSLOList
		for _, list := range []client.ObjectList{&journeys, &touchpoints, &slos} {
			if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return err
			}
		}
		var objects controllers.Objects
		for i := range journeys.Items {
			objects.Journeys = append(objects.Journeys, &journeys.Items[i])
		}
		for i := range touchpoints.Items {
			objects.Touchpoints = append(objects.Touchpoints, &touchpoints.Items[i])
		}
		for i := range slos.Items {
			objects.ExperienceSLOs = append(objects.ExperienceSLOs, &slos.Items[i])
		}
		decisions, err := controllers.Plan(ctx, objects, options, form)
		if err != nil {
			return err
		}
		planned := 0
		for _, decision := range decisions {
			for _, object := range decision.Rules {
				planned++
				wanted, err := options.Format().Text(form, decision.Source, object)
				if err != nil {
					return err
				}
				if err := isWritten(ctx, wanted); err != nil {
					return err
				}
			}
			if decision.Object == nil {
				continue
			}
			kind := decision.Source.Kind
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
			if err := api.Get(ctx, client.ObjectKeyFromObject(decision.Object), live); err != nil {
				return err
			}
			ready, err := readyOf(live)
			if err != nil {
				return err
			}
			if ready.Status != decision.Ready.Status || ready.Reason != decision.Ready.Reason || ready.Message != decision.Ready.Message {
				return fmt.Errorf("%v is %+v, and planned to be %+v", decision.Source, ready, decision.Ready)
			}
		}
		written, err := countWritten(ctx, namespace, options, form)
		if err == nil && written != planned || planned == 0 {
			err = fmt.Errorf("%d rule objects are planned, %d written", planned, written)
		}
		return err
	})
}

// isWritten wants that the API server has what is wanted of an object. What it and others
// add to the metadata is none of the manager's.
func isWritten(ctx context.Context, wanted []byte) error {
	want, live := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	if err := want.UnmarshalJSON(wanted); err != nil {
		return err
	}
	live.SetGroupVersionKind(want.GroupVersionKind())
	if err := api.Get(ctx, client.ObjectKeyFromObject(want), live); err != nil {
		return err
	}
	metadata := map[string]any{"name": live.GetName(), "namespace": live.GetNamespace(), "labels": live.Object["metadata"].(map[string]any)["labels"]}
	live.Object["metadata"] = metadata
	a, err := json.Marshal(want.Object)
	if err != nil {
		return err
	}
	b, err := json.Marshal(live.Object)
	if err == nil && string(a) != string(b) {
		err = fmt.Errorf("planned is\n%s\nwritten is\n%s", a, b)
	}
	return err
}

func countWritten(ctx context.Context, namespace string, options controllers.Options, form publish.Form) (int, error) {
	labels := client.MatchingLabels{publish.LabelManagedBy: publish.ManagedBy, publish.LabelNamespace: namespace}
	if form == publish.PrometheusRules {
		var found monitoringv1.PrometheusRuleList
		err := api.List(ctx, &found, client.InNamespace(namespace), labels)
		return len(found.Items), err
	}
	var found corev1.ConfigMapList
	err := api.List(ctx, &found, client.InNamespace(options.RulesNamespace), labels)
	return len(found.Items), err
}

// TestPlan looks at what no manager is needed for.
func TestPlan(t *testing.T) {
	touchpoint := func(name string) *v1alpha1.Touchpoint {
		made := &v1alpha1.Touchpoint{Spec: v1alpha1.TouchpointSpec{Channel: "Web", Survey: &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCSAT}}}}}
		made.Namespace, made.Name = "shop", name
		return made
	}
	slo := &v1alpha1.ExperienceSLO{Spec: v1alpha1.ExperienceSLOSpec{
		Targets: v1alpha1.Targets{Touchpoints: []v1alpha1.Name{"basket", "gone"}}, Window: "28d",
		Objectives: []v1alpha1.Objective{{Name: "content", CSAT: &v1alpha1.CSATObjective{Target: "80%"}}},
	}}
	slo.Namespace, slo.Name = "shop", "basket"
	objects := controllers.Objects{Touchpoints: []*v1alpha1.Touchpoint{touchpoint("search"), touchpoint("basket")}, ExperienceSLOs: []*v1alpha1.ExperienceSLO{slo}}
	before := slo.DeepCopy()

	names := func(options controllers.Options) (sources []string, ready *controllers.Decision) {
		decisions, err := controllers.Plan(t.Context(), objects, options, publish.PrometheusRules)
		if err != nil {
			t.Fatal(err)
		}
		for _, decision := range decisions {
			sources = append(sources, decision.Source.String())
			if decision.SLO != nil {
				ready = decision
			}
		}
		return sources, ready
	}
	sources, decision := names(controllers.Options{})
	if want := []string{"ExperienceSLO/shop/basket", "Namespace/shop/shop", "Touchpoint/shop/basket", "Touchpoint/shop/search"}; !slices.Equal(sources, want) {
		t.Errorf("decided is about %v", sources)
	}
	if decision.Ready.Status != "False" || decision.Ready.Reason != v1alpha1.ReasonReferenceNotFound || decision.SLO.Budgets != 1 || len(decision.Rules) != 1 {
		t.Errorf("the decision is %+v", decision)
	}
	if !equality.Semantic.DeepEqual(slo, before) {
		t.Errorf("the ExperienceSLO was changed to %+v", slo)
	}
	if sources, _ := names(controllers.Options{Namespaces: []string{"market"}}); len(sources) > 0 {
		t.Errorf("of namespaces that are not watched it is decided about %v", sources)
	}
	decisions, err := controllers.Plan(t.Context(), controllers.Objects{}, controllers.Options{}, publish.ConfigMaps)
	if err != nil || len(decisions) > 0 {
		t.Errorf("nothing comes to %v, %v", decisions, err)
	}
}
