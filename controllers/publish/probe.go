package publish

import (
	"context"
	"encoding/json"
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// SyncProbe makes the Probe of a source, which has the name given, as it is wanted; a
// nil spec means that there shall be none. It is the owner's, and carries the labels
// that rule objects carry: a Prometheus often selects both alike. It may be called
// only where the kind is installed.
func (p *Publisher) SyncProbe(ctx context.Context, source Source, owner client.Object, name string, spec *monitoringv1.ProbeSpec) error {
	live := &monitoringv1.Probe{}
	err := p.Client.Get(ctx, client.ObjectKey{Namespace: source.Namespace, Name: name}, live, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	there := err == nil
	if spec == nil || owner == nil {
		from, ours := SourceOf(live)
		// The garbage collector takes what still has its owner reference.
		collected := owner == nil && metav1.GetControllerOf(live) != nil
		if there && ours && from == source && !collected {
			return p.delete(ctx, live)
		}
		return nil
	}
	want := &monitoringv1.Probe{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: source.Namespace, Labels: p.labels(source, nil)},
		Spec:       *spec,
	}
	if err := controllerutil.SetControllerReference(owner, want, p.Client.Scheme(), controllerutil.WithBlockOwnerDeletion(false)); err != nil {
		return err
	}
	// What others added, such as a relabelling, is theirs and stays; another target is a
	// visit in our name.
	if there && contains(live.Labels, want.Labels) && owned(live, want) && equality.Semantic.DeepDerivative(want.Spec, live.Spec) &&
		sameTargets(live.Spec.Targets.StaticConfig, want.Spec.Targets.StaticConfig) {
		return nil
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": monitoringv1.SchemeGroupVersion.String(), "kind": monitoringv1.ProbesKind,
		"metadata": map[string]any{
			"name": want.Name, "namespace": want.Namespace, "labels": want.Labels, "ownerReferences": want.OwnerReferences,
		},
		"spec": want.Spec,
	})
	if err != nil {
		return err
	}
	configuration := &unstructured.Unstructured{}
	if err := configuration.UnmarshalJSON(text); err != nil {
		return err
	}
	err = p.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(configuration), FieldOwner, client.ForceOwnership)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

func sameTargets(live, want *monitoringv1.ProbeTargetStaticConfig) bool {
	return want == nil || live != nil && slices.Equal(live.Targets, want.Targets)
}
