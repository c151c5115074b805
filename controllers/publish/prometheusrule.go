package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// prometheusRule is the PrometheusRule that holds a rule object, without an owner.
func (f Format) prometheusRule(source Source, object rules.Object) *monitoringv1.PrometheusRule {
	return &monitoringv1.PrometheusRule{
		ObjectMeta: metav1.ObjectMeta{Name: object.Name, Namespace: source.Namespace, Labels: f.labels(source, nil)},
		Spec:       monitoringv1.PrometheusRuleSpec{Groups: object.Groups},
	}
}

// prometheusRuleJSON is what is applied of a PrometheusRule.
func prometheusRuleJSON(want *monitoringv1.PrometheusRule) ([]byte, error) {
	metadata := map[string]any{
		"name": want.Name, "namespace": want.Namespace, "labels": want.Labels,
	}
	if len(want.OwnerReferences) > 0 {
		metadata["ownerReferences"] = want.OwnerReferences
	}
	text, err := json.Marshal(map[string]any{
		"apiVersion": monitoringv1.SchemeGroupVersion.String(), "kind": monitoringv1.PrometheusRuleKind,
		"metadata": metadata, "spec": want.Spec,
	})
	if err == nil && len(text) > MaxBytes {
		err = &TooLargeError{Name: want.Name, Bytes: len(text)}
	}
	return text, err
}

func (p *Publisher) writePrometheusRule(ctx context.Context, source Source, owner client.Object, object rules.Object) error {
	want := p.prometheusRule(source, object)
	if owner != nil {
		// Blocking the owner's deletion would take a right over owners, and nothing
		// is lost if an owner goes before its rules.
		if err := controllerutil.SetControllerReference(owner, want, p.Client.Scheme(), controllerutil.WithBlockOwnerDeletion(false)); err != nil {
			return err
		}
	}
	live := &monitoringv1.PrometheusRule{}
	err := p.Client.Get(ctx, client.ObjectKeyFromObject(want), live, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		// Perhaps it exists and lost the label by which the cache selects. Then
		// applying restores the label, and the event that follows shows the rest.
		return p.applyPrometheusRule(ctx, want)
	case err != nil:
		return err
	case samePrometheusRule(live, want):
		return nil
	}
	if err := p.removeForeignGroups(ctx, live, want); err != nil {
		return err
	}
	return p.applyPrometheusRule(ctx, want)
}

// samePrometheusRule tells whether there is nothing to write. The order of groups
// means nothing to Prometheus, and the API server keeps one of its own.
func samePrometheusRule(live, want *monitoringv1.PrometheusRule) bool {
	if !contains(live.Labels, want.Labels) || !owned(live, want) || len(live.Spec.Groups) != len(want.Spec.Groups) {
		return false
	}
	groups := make(map[string]*monitoringv1.RuleGroup, len(live.Spec.Groups))
	for i := range live.Spec.Groups {
		groups[live.Spec.Groups[i].Name] = &live.Spec.Groups[i]
	}
	for i := range want.Spec.Groups {
		group, has := groups[want.Spec.Groups[i].Name]
		if !has || !equality.Semantic.DeepEqual(*group, want.Spec.Groups[i]) {
			return false
		}
	}
	return true
}

// owned tells whether an object has the owners that it should have, whoever else owns it.
func owned(live, want client.Object) bool {
	for _, reference := range want.GetOwnerReferences() {
		if !slices.ContainsFunc(live.GetOwnerReferences(), func(actual metav1.OwnerReference) bool {
			return equality.Semantic.DeepEqual(actual, reference)
		}) {
			return false
		}
	}
	return true
}

func (p *Publisher) applyPrometheusRule(ctx context.Context, want *monitoringv1.PrometheusRule) error {
	text, err := prometheusRuleJSON(want)
	if err != nil {
		return err
	}
	// The API types come without apply configurations. Nothing here has a zero
	// value that would mean something else than its absence.
	configuration := &unstructured.Unstructured{}
	if err := configuration.UnmarshalJSON(text); err != nil {
		return err
	}
	err = p.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(configuration), FieldOwner, client.ForceOwnership)
	return tooLarge(err, want.Name, len(text))
}

// tooLarge tells the refusal of an object for its size from failures that pass.
func tooLarge(err error, name string, size int) error {
	if apierrors.IsRequestEntityTooLargeError(err) {
		return &TooLargeError{Name: name, Bytes: size}
	}
	return err
}

// removeForeignGroups removes what applying leaves behind: groups, and fields of
// our groups, that others own. Removing them makes nobody the owner of anything,
// as an update would; so a group that we drop later is still ours alone to drop.
func (p *Publisher) removeForeignGroups(ctx context.Context, live, want *monitoringv1.PrometheusRule) error {
	ours := map[string]map[string]any{}
	for i := range want.Spec.Groups {
		fields, err := fieldsOf(&want.Spec.Groups[i])
		if err != nil {
			return err
		}
		ours[want.Spec.Groups[i].Name] = fields
	}
	var operations []patchOperation
	// From the last, so that the places of the others stay.
	for i := len(live.Spec.Groups) - 1; i >= 0; i-- {
		place := strconv.Itoa(i)
		wanted, has := ours[live.Spec.Groups[i].Name]
		if !has {
			operations = append(operations, patchOperation{Op: "remove", Path: pointer("spec", "groups", place)})
			continue
		}
		fields, err := fieldsOf(&live.Spec.Groups[i])
		if err != nil {
			return err
		}
		for field := range fields {
			if _, ours := wanted[field]; !ours {
				operations = append(operations, patchOperation{Op: "remove", Path: pointer("spec", "groups", place, field)})
			}
		}
	}
	if len(operations) == 0 {
		return nil
	}
	return p.patch(ctx, live.DeepCopy(), operations)
}

func fieldsOf(group *monitoringv1.RuleGroup) (map[string]any, error) {
	text, err := json.Marshal(group)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	return fields, json.Unmarshal(text, &fields)
}

// patch changes an object if it is still the one that was looked at.
func (p *Publisher) patch(ctx context.Context, live client.Object, operations []patchOperation) error {
	operations = append([]patchOperation{{
		Op: "replace", Path: pointer("metadata", "resourceVersion"), Value: live.GetResourceVersion(),
	}}, operations...)
	text, err := json.Marshal(operations)
	if err != nil {
		return err
	}
	if err := p.Client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, text), FieldOwner); err != nil {
		return fmt.Errorf("removing what others put into %s: %w", live.GetName(), err)
	}
	return nil
}
