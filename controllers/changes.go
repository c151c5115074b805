package controllers

import (
	"context"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
)

// later passes what comes after the start. What is there at the start concerns nobody who
// is not there too, and whoever is there is worked on anyway.
var later = predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList }}

// touchpointMatters passes changes of a Touchpoint that others can notice: not those
// of its documentation, and not those of its status.
var touchpointMatters = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.Touchpoint), e.ObjectNew.(*v1alpha1.Touchpoint)
	if !equality.Semantic.DeepEqual(before.Labels, after.Labels) {
		return true
	}
	if before.Generation == after.Generation {
		return false
	}
	return !equality.Semantic.DeepEqual(undocumented(before.Spec), undocumented(after.Spec))
}}

// undocumented is a spec without the fields that are documentation only.
func undocumented(spec v1alpha1.TouchpointSpec) v1alpha1.TouchpointSpec {
	spec.Description, spec.Expectation, spec.Themes, spec.Gaps = "", nil, nil, nil
	spec.Map, spec.Management, spec.Blueprint = nil, nil, nil
	return spec
}

// sloTargetsChange passes changes of which touchpoints an ExperienceSLO covers.
var sloTargetsChange = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.ExperienceSLO), e.ObjectNew.(*v1alpha1.ExperienceSLO)
	return !equality.Semantic.DeepEqual(before.Spec.Targets, after.Spec.Targets) ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
}}

// generationChanges passes what an edit of a spec, or the start of a deletion, does.
var generationChanges = predicate.GenerationChangedPredicate{}

// labelsChange passes changes of labels.
var labelsChange = predicate.LabelChangedPredicate{}

// ruleObjectChanges passes what can be a repair of a rule object's business. The API
// server counts generations of PrometheusRules but not of ConfigMaps.
var ruleObjectChanges = predicate.Or[client.Object](
	predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}, ownersChange,
	predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.ConfigMap)
		if !ok {
			return false
		}
		after := e.ObjectNew.(*corev1.ConfigMap)
		return !equality.Semantic.DeepEqual(before.Data, after.Data) ||
			!equality.Semantic.DeepEqual(before.BinaryData, after.BinaryData) ||
			!equality.Semantic.DeepEqual(before.Immutable, after.Immutable)
	}},
)

var ownersChange = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return !equality.Semantic.DeepEqual(e.ObjectOld.GetOwnerReferences(), e.ObjectNew.GetOwnerReferences())
}}

// watchRuleObjects wakes a reconciler when a rule object of one of its sources
// appears, changes or goes. The labels lead to the source, and not the owner
// reference: they are there on shared objects and on ConfigMaps too, an object that
// lost its source while nobody looked is found at start, and after an edit of the
// labels the state before still leads here.
func (c catalogue) watchRuleObjects(b *builder.Builder, form publish.Form, kind string, request func(publish.Source) reconcile.Request) {
	toSource := handler.EnqueueRequestsFromMapFunc(c.requestOfSource(kind, request))
	b.Watches(&corev1.ConfigMap{}, toSource, builder.WithPredicates(ruleObjectChanges))
	if form == publish.PrometheusRules {
		b.Watches(&monitoringv1.PrometheusRule{}, toSource, builder.WithPredicates(ruleObjectChanges))
	}
}

// requestOfSource finds what an object of ours was made from. ConfigMaps of namespaces that
// are not watched lie beside the others: they are another manager's business.
func (c catalogue) requestOfSource(kind string, request func(publish.Source) reconcile.Request) handler.MapFunc {
	return func(_ context.Context, object client.Object) []reconcile.Request {
		source, ok := publish.SourceOf(object)
		if !ok || source.Kind != kind || !c.watched(source.Namespace) {
			return nil
		}
		return []reconcile.Request{request(source)}
	}
}

func bySource(source publish.Source) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: source.Namespace, Name: source.Name}}
}

// requestsFor makes requests for objects.
func requestsFor[T client.Object](objects []T) []reconcile.Request {
	requests := make([]reconcile.Request, len(objects))
	for i, object := range objects {
		requests[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)}
	}
	return requests
}

// ofJourneysIn finds what the journeys of a namespace concern, whose labels decide where
// they may pass.
func (c catalogue) ofJourneysIn(ctx context.Context, namespace client.Object, concerned func(*v1alpha1.Journey) []reconcile.Request) []reconcile.Request {
	if !c.watched(namespace.GetName()) {
		return nil
	}
	journeys, err := c.journeys(ctx, client.InNamespace(namespace.GetName()))
	if err != nil {
		return failedToMap(ctx, err)
	}
	var requests []reconcile.Request
	for _, journey := range journeys {
		requests = append(requests, concerned(journey)...)
	}
	return requests
}
