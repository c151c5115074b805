package controllers

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Indexes by which a change finds those that refer to what changed.
const (
	// Journeys by the touchpoints they contain, as namespace/name.
	indexJourneyTouchpoint = "touchpoint"
	// Journeys by the namespaces of the touchpoints they contain.
	indexJourneyNamespace = "touchpointNamespace"
	// ExperienceSLOs by the touchpoints they name.
	indexSLOTouchpoint = "touchpoint"
	// ExperienceSLOs by the journey they name.
	indexSLOJourney = "journey"
	// ExperienceSLOs that choose by a selector: all have the value selects.
	indexSLOSelector = "selector"
	selects          = "yes"
	// Touchpoints by what a selector can ask for: key=value of each label, and class.
	indexTouchpointTrait = "trait"
)

func indexFields(ctx context.Context, indexer client.FieldIndexer) error {
	return errors.Join(
		indexer.IndexField(ctx, &v1alpha1.Journey{}, indexJourneyTouchpoint, func(object client.Object) []string {
			var keys []string
			for _, reference := range targets.References(object.(*v1alpha1.Journey)) {
				keys = append(keys, reference.Namespace+"/"+reference.Name)
			}
			return keys
		}),
		indexer.IndexField(ctx, &v1alpha1.Journey{}, indexJourneyNamespace, func(object client.Object) []string {
			return referencedNamespaces(object.(*v1alpha1.Journey))
		}),
		indexer.IndexField(ctx, &v1alpha1.Touchpoint{}, indexTouchpointWorkload, func(object client.Object) []string {
			var keys []string
			for _, workload := range workloadsOf(object.(*v1alpha1.Touchpoint)) {
				keys = append(keys, workload.Kind+"/"+workload.Name)
			}
			return keys
		}),
		indexer.IndexField(ctx, &v1alpha1.Touchpoint{}, indexTouchpointTrait, func(object client.Object) []string {
			traits := []string{string(object.(*v1alpha1.Touchpoint).Spec.Class)}
			for key, value := range object.GetLabels() {
				traits = append(traits, key+"="+value)
			}
			return traits
		}),
		indexer.IndexField(ctx, &v1alpha1.ExperienceSLO{}, indexSLOTouchpoint, func(object client.Object) []string {
			var keys []string
			for _, name := range object.(*v1alpha1.ExperienceSLO).Spec.Targets.Touchpoints {
				keys = append(keys, string(name))
			}
			return keys
		}),
		indexer.IndexField(ctx, &v1alpha1.ExperienceSLO{}, indexSLOJourney, func(object client.Object) []string {
			if name := object.(*v1alpha1.ExperienceSLO).Spec.Targets.Journey; name != "" {
				return []string{string(name)}
			}
			return nil
		}),
		indexer.IndexField(ctx, &v1alpha1.ExperienceSLO{}, indexSLOSelector, func(object client.Object) []string {
			if object.(*v1alpha1.ExperienceSLO).Spec.Targets.Selector != nil {
				return []string{selects}
			}
			return nil
		}),
	)
}

// referencedNamespaces lists the namespaces of a journey's touchpoints, none twice.
func referencedNamespaces(journey *v1alpha1.Journey) []string {
	var namespaces []string
	seen := map[string]bool{}
	for _, reference := range targets.References(journey) {
		if !seen[reference.Namespace] {
			seen[reference.Namespace] = true
			namespaces = append(namespaces, reference.Namespace)
		}
	}
	return namespaces
}

// catalogue reads the three kinds from the cache. What it returns is shared with the
// cache: nothing may write to it.
type catalogue struct {
	client.Reader
	// namespaces are those the cache holds; none: all.
	namespaces []string
}

// watched tells whether the cache holds the objects of a namespace.
func (c catalogue) watched(namespace string) bool {
	if len(c.namespaces) == 0 {
		return true
	}
	for _, watched := range c.namespaces {
		if watched == namespace {
			return true
		}
	}
	return false
}

func (c catalogue) touchpoint(ctx context.Context, namespace, name string) (*v1alpha1.Touchpoint, error) {
	if !c.watched(namespace) {
		return nil, nil
	}
	return load[v1alpha1.Touchpoint](ctx, c, client.ObjectKey{Namespace: namespace, Name: name})
}

func (c catalogue) journey(ctx context.Context, namespace, name string) (*v1alpha1.Journey, error) {
	return load[v1alpha1.Journey](ctx, c, client.ObjectKey{Namespace: namespace, Name: name})
}

func (c catalogue) touchpoints(ctx context.Context, namespace string, options ...client.ListOption) (map[string]*v1alpha1.Touchpoint, error) {
	var found v1alpha1.TouchpointList
	if err := c.List(ctx, &found, append(options, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, err
	}
	byName := make(map[string]*v1alpha1.Touchpoint, len(found.Items))
	for i := range found.Items {
		byName[found.Items[i].Name] = &found.Items[i]
	}
	return byName, nil
}

func (c catalogue) journeys(ctx context.Context, options ...client.ListOption) ([]*v1alpha1.Journey, error) {
	var found v1alpha1.JourneyList
	if err := c.List(ctx, &found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, err
	}
	journeys := make([]*v1alpha1.Journey, len(found.Items))
	for i := range found.Items {
		journeys[i] = &found.Items[i]
	}
	return journeys, nil
}

// slos lists ExperienceSLOs without those that are being deleted: their promises
// have ended, whatever keeps the objects.
func (c catalogue) slos(ctx context.Context, options ...client.ListOption) ([]*v1alpha1.ExperienceSLO, error) {
	var found v1alpha1.ExperienceSLOList
	if err := c.List(ctx, &found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, err
	}
	var slos []*v1alpha1.ExperienceSLO
	for i := range found.Items {
		if found.Items[i].DeletionTimestamp == nil {
			slos = append(slos, &found.Items[i])
		}
	}
	return slos, nil
}

// selectable loads the touchpoints of a namespace that have one of the traits that a
// selector asks for.
func (c catalogue) selectable(ctx context.Context, namespace string, selector *v1alpha1.TouchpointSelector) (map[string]*v1alpha1.Touchpoint, error) {
	var trait string
	if len(selector.Classes) == 1 {
		trait = string(selector.Classes[0])
	}
	for key, value := range selector.MatchLabels {
		trait = key + "=" + string(value)
	}
	if trait != "" {
		return c.touchpoints(ctx, namespace, client.MatchingFields{indexTouchpointTrait: trait})
	}
	return c.touchpoints(ctx, namespace)
}

// reach loads what the targets of an ExperienceSLO can come to, and little more: the
// touchpoints it names, those of its journey, or those that its selector may match.
func (c catalogue) reach(ctx context.Context, slo *v1alpha1.ExperienceSLO) (targets.Namespace, error) {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
	names := slo.Spec.Targets.Touchpoints
	if name := string(slo.Spec.Targets.Journey); name != "" {
		journey, err := c.journey(ctx, slo.Namespace, name)
		if err != nil {
			return in, err
		}
		if journey != nil {
			in.Journeys[name] = journey
			for _, reference := range targets.References(journey) {
				if reference.Namespace == slo.Namespace {
					names = append(names[:len(names):len(names)], v1alpha1.Name(reference.Name))
				}
			}
		}
	}
	if slo.Spec.Targets.Selector != nil {
		selectable, err := c.selectable(ctx, slo.Namespace, slo.Spec.Targets.Selector)
		in.Touchpoints = selectable
		return in, err
	}
	for _, name := range names {
		touchpoint, err := c.touchpoint(ctx, slo.Namespace, string(name))
		if err != nil {
			return in, err
		}
		if touchpoint != nil {
			in.Touchpoints[string(name)] = touchpoint
		}
	}
	return in, nil
}

// promising finds the ExperienceSLOs that a touchpoint concerns: those that name it,
// that name a journey which contains it, or whose selector matches it.
func (c catalogue) promising(ctx context.Context, touchpoint *v1alpha1.Touchpoint) ([]*v1alpha1.ExperienceSLO, error) {
	here := client.InNamespace(touchpoint.Namespace)
	found, err := c.slos(ctx, here, client.MatchingFields{indexSLOTouchpoint: touchpoint.Name})
	if err != nil {
		return nil, err
	}
	journeys, err := c.journeys(ctx, here, client.MatchingFields{indexJourneyTouchpoint: touchpoint.Namespace + "/" + touchpoint.Name})
	if err != nil {
		return nil, err
	}
	for _, journey := range journeys {
		targeting, err := c.slos(ctx, here, client.MatchingFields{indexSLOJourney: journey.Name})
		if err != nil {
			return nil, err
		}
		found = append(found, targeting...)
	}
	selecting, err := c.slos(ctx, here, client.MatchingFields{indexSLOSelector: selects})
	if err != nil {
		return nil, err
	}
	alone := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{touchpoint.Name: touchpoint}}
	for _, slo := range selecting {
		if len(targets.Resolve(slo, alone).Touchpoints) > 0 {
			found = append(found, slo)
		}
	}
	return found, nil
}

// targetedJourneys loads the journeys that ExperienceSLOs name as their targets.
func (c catalogue) targetedJourneys(ctx context.Context, slos []*v1alpha1.ExperienceSLO) (map[string]*v1alpha1.Journey, error) {
	byName := map[string]*v1alpha1.Journey{}
	for _, slo := range slos {
		name := string(slo.Spec.Targets.Journey)
		if name == "" || byName[name] != nil {
			continue
		}
		journey, err := c.journey(ctx, slo.Namespace, name)
		if err != nil {
			return nil, err
		}
		if journey != nil {
			byName[name] = journey
		}
	}
	return byName, nil
}

// allowed tells whether a touchpoint may be part of the journeys of a namespace:
// of its own always, of others as its allowedJourneys say.
func (c catalogue) allowed(ctx context.Context, touchpoint *v1alpha1.Touchpoint, journeyNamespace string) (bool, error) {
	if touchpoint.Namespace == journeyNamespace {
		return true, nil
	}
	allowed := touchpoint.Spec.AllowedJourneys
	if allowed == nil || allowed.Namespaces == nil {
		return false, nil
	}
	switch allowed.Namespaces.From {
	case v1alpha1.NamespacesFromAll:
		return true, nil
	case v1alpha1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Namespaces.Selector)
		if err != nil {
			return false, nil // the touchpoint's own status tells
		}
		namespace := namespaceMetadata()
		if err := c.Get(ctx, client.ObjectKey{Name: journeyNamespace}, namespace, client.UnsafeDisableDeepCopy); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return selector.Matches(labels.Set(namespace.Labels)), nil
	default:
		return false, nil
	}
}

// journeysOf lists the journeys that contain a touchpoint and may, as namespace/name.
func (c catalogue) journeysOf(ctx context.Context, touchpoint *v1alpha1.Touchpoint) ([]string, error) {
	journeys, err := c.journeys(ctx, client.MatchingFields{indexJourneyTouchpoint: touchpoint.Namespace + "/" + touchpoint.Name})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, journey := range journeys {
		allowed, err := c.allowed(ctx, touchpoint, journey.Namespace)
		if err != nil {
			return nil, err
		}
		if allowed {
			names = append(names, journey.Namespace+"/"+journey.Name)
		}
	}
	return names, nil
}

func namespaceMetadata() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}
