package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Health of a part of the blueprint.
const (
	healthy   = "Healthy"
	degraded  = "Degraded"
	unhealthy = "Unhealthy"
	missing   = "Missing"
)

// indexTouchpointWorkload finds Touchpoints by the workloads of their blueprint, as
// kind/name.
const indexTouchpointWorkload = "workload"

func workloadsOf(touchpoint *v1alpha1.Touchpoint) []v1alpha1.WorkloadStatus {
	blueprint := touchpoint.Spec.Blueprint
	if blueprint == nil {
		return nil
	}
	var found []v1alpha1.WorkloadStatus
	for _, lane := range []struct {
		name  string
		parts []v1alpha1.BlueprintPart
	}{{"Backstage", blueprint.Backstage}, {"Support", blueprint.Support}} {
		for _, part := range lane.parts {
			if part.Workload != nil {
				found = append(found, v1alpha1.WorkloadStatus{Lane: lane.name, Kind: part.Workload.Kind, Name: part.Workload.Name})
			}
		}
	}
	return found
}

// inspect finds out how the workloads of the blueprint do.
func (r *touchpointReconciler) inspect(ctx context.Context, s *touchpointScope) error {
	if !r.workloads {
		return nil
	}
	s.workloads = workloadsOf(s.touchpoint)
	for i := range s.workloads {
		workload := &s.workloads[i]
		var err error
		workload.Health, workload.Message, err = healthOf(ctx, r.client, workload.Kind, client.ObjectKey{Namespace: s.key.Namespace, Name: workload.Name})
		if err != nil {
			return err
		}
	}
	return nil
}

// healthOf tells how a workload does from the customers' side: whether what there should be
// of it can serve them. (kstatus tells whether a rollout has come to its end, which is
// another question: it takes a Deployment that lost all of its Pods for progressing.)
func healthOf(ctx context.Context, reader client.Reader, kind string, key client.ObjectKey) (health, message string, err error) {
	var available, wanted int32
	switch kind {
	case "Deployment":
		found, err := load[appsv1.Deployment](ctx, reader, key)
		if found == nil {
			return missing, "there is no such Deployment", err
		}
		available, wanted = found.Status.AvailableReplicas, replicas(found.Spec.Replicas)
	case "StatefulSet":
		found, err := load[appsv1.StatefulSet](ctx, reader, key)
		if found == nil {
			return missing, "there is no such StatefulSet", err
		}
		available, wanted = found.Status.AvailableReplicas, replicas(found.Spec.Replicas)
	case "DaemonSet":
		found, err := load[appsv1.DaemonSet](ctx, reader, key)
		if found == nil {
			return missing, "there is no such DaemonSet", err
		}
		available, wanted = found.Status.NumberAvailable, found.Status.DesiredNumberScheduled
	case "Service":
		return serviceHealth(ctx, reader, key)
	}
	switch {
	case wanted == 0:
		return unhealthy, "scaled to no replica", nil
	case available == 0:
		return unhealthy, fmt.Sprintf("none of %d replicas is available", wanted), nil
	case available < wanted:
		return degraded, fmt.Sprintf("%d of %d replicas are available", available, wanted), nil
	default:
		return healthy, "", nil
	}
}

func replicas(wanted *int32) int32 {
	if wanted == nil {
		return 1 // the default of the API
	}
	return *wanted
}

// serviceHealth: a Service does well if some endpoint is ready.
func serviceHealth(ctx context.Context, reader client.Reader, key client.ObjectKey) (health, message string, err error) {
	service, err := load[corev1.Service](ctx, reader, key)
	if service == nil {
		return missing, "there is no such Service", err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return healthy, "", nil // somebody else's
	}
	var slices discoveryv1.EndpointSliceList
	if err := reader.List(ctx, &slices, client.InNamespace(key.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: key.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return "", "", err
	}
	for i := range slices.Items {
		if len(slices.Items[i].Endpoints) > 0 { // see onlyReady
			return healthy, "", nil
		}
	}
	return unhealthy, "no endpoint is ready", nil
}

// workloadCaches keep of other people's objects what healthOf reads, and no more.
func workloadCaches(cached map[client.Object]cache.ByObject) {
	cached[&appsv1.Deployment{}] = cache.ByObject{Transform: func(object any) (any, error) {
		if d, is := object.(*appsv1.Deployment); is {
			return &appsv1.Deployment{ObjectMeta: named(d.ObjectMeta), Spec: appsv1.DeploymentSpec{Replicas: d.Spec.Replicas},
				Status: appsv1.DeploymentStatus{AvailableReplicas: d.Status.AvailableReplicas}}, nil
		}
		return object, nil
	}}
	cached[&appsv1.StatefulSet{}] = cache.ByObject{Transform: func(object any) (any, error) {
		if s, is := object.(*appsv1.StatefulSet); is {
			return &appsv1.StatefulSet{ObjectMeta: named(s.ObjectMeta), Spec: appsv1.StatefulSetSpec{Replicas: s.Spec.Replicas},
				Status: appsv1.StatefulSetStatus{AvailableReplicas: s.Status.AvailableReplicas}}, nil
		}
		return object, nil
	}}
	cached[&appsv1.DaemonSet{}] = cache.ByObject{Transform: func(object any) (any, error) {
		if d, is := object.(*appsv1.DaemonSet); is {
			return &appsv1.DaemonSet{ObjectMeta: named(d.ObjectMeta), Status: appsv1.DaemonSetStatus{
				NumberAvailable: d.Status.NumberAvailable, DesiredNumberScheduled: d.Status.DesiredNumberScheduled}}, nil
		}
		return object, nil
	}}
	cached[&corev1.Service{}] = cache.ByObject{Transform: func(object any) (any, error) {
		if s, is := object.(*corev1.Service); is {
			return &corev1.Service{ObjectMeta: named(s.ObjectMeta), Spec: corev1.ServiceSpec{Type: s.Spec.Type}}, nil
		}
		return object, nil
	}}
	cached[&discoveryv1.EndpointSlice{}] = cache.ByObject{Transform: onlyReady}
}

// named keeps what tells an object from others.
func named(meta metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: meta.Namespace, Name: meta.Name, UID: meta.UID, ResourceVersion: meta.ResourceVersion, Labels: serviceName(meta.Labels)}
}

func serviceName(labels map[string]string) map[string]string {
	if name, has := labels[discoveryv1.LabelServiceName]; has {
		return map[string]string{discoveryv1.LabelServiceName: name}
	}
	return nil
}

// onlyReady keeps of an EndpointSlice one endpoint if any is ready, and none of the
// addresses.
func onlyReady(object any) (any, error) {
	slice, is := object.(*discoveryv1.EndpointSlice)
	if !is {
		return object, nil
	}
	kept := &discoveryv1.EndpointSlice{ObjectMeta: named(slice.ObjectMeta), AddressType: slice.AddressType}
	for _, endpoint := range slice.Endpoints {
		// Unknown is to be taken for ready, says the API.
		if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
			kept.Endpoints = []discoveryv1.Endpoint{{}}
			break
		}
	}
	return kept, nil
}

// watchWorkloads wakes the Touchpoints of whose blueprint a workload is part.
func (r *touchpointReconciler) watchWorkloads(b *builder.Builder) {
	if !r.workloads {
		return
	}
	for kind, object := range map[string]client.Object{
		"Deployment": &appsv1.Deployment{}, "StatefulSet": &appsv1.StatefulSet{}, "DaemonSet": &appsv1.DaemonSet{}, "Service": &corev1.Service{},
	} {
		b.Watches(object, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, changed client.Object) []reconcile.Request {
			return r.ofWorkload(ctx, kind, changed.GetNamespace(), changed.GetName())
		}))
	}
	b.Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, changed client.Object) []reconcile.Request {
		return r.ofWorkload(ctx, "Service", changed.GetNamespace(), changed.GetLabels()[discoveryv1.LabelServiceName])
	}))
}

func (r *touchpointReconciler) ofWorkload(ctx context.Context, kind, namespace, name string) []reconcile.Request {
	var found v1alpha1.TouchpointList
	err := r.client.List(ctx, &found, client.InNamespace(namespace), client.MatchingFields{indexTouchpointWorkload: kind + "/" + name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return failedToMap(ctx, err)
	}
	touchpoints := make([]*v1alpha1.Touchpoint, len(found.Items))
	for i := range found.Items {
		touchpoints[i] = &found.Items[i]
	}
	return requestsFor(touchpoints)
}
