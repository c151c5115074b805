package controllers

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// memory is a client.Reader of objects in memory, with the indexes of the manager's cache.
// Like the cache it hands out shallow copies: nothing may write to what they refer to.
type memory struct {
	journeys    *shelf[v1alpha1.Journey, *v1alpha1.Journey]
	touchpoints *shelf[v1alpha1.Touchpoint, *v1alpha1.Touchpoint]
	slos        *shelf[v1alpha1.ExperienceSLO, *v1alpha1.ExperienceSLO]
	// namespaces are the labels of namespaces.
	namespaces map[string]map[string]string
}

func newMemory(ctx context.Context, objects Objects) (*memory, error) {
	m := &memory{
		journeys: newShelf(objects.Journeys), touchpoints: newShelf(objects.Touchpoints), slos: newShelf(objects.ExperienceSLOs),
		namespaces: objects.NamespaceLabels,
	}
	return m, indexFields(ctx, m)
}

// IndexField makes an index of what is there.
func (m *memory) IndexField(_ context.Context, object client.Object, field string, keys client.IndexerFunc) error {
	switch object.(type) {
	case *v1alpha1.Journey:
		m.journeys.index(field, keys)
	case *v1alpha1.Touchpoint:
		m.touchpoints.index(field, keys)
	case *v1alpha1.ExperienceSLO:
		m.slos.index(field, keys)
	}
	return nil
}

// Get reads one object.
func (m *memory) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	found := false
	switch object := object.(type) {
	case *v1alpha1.Journey:
		found = m.journeys.get(key, object)
	case *v1alpha1.Touchpoint:
		found = m.touchpoints.get(key, object)
	case *v1alpha1.ExperienceSLO:
		found = m.slos.get(key, object)
	case *metav1.PartialObjectMetadata:
		var labels map[string]string
		if labels, found = m.namespaces[key.Name]; found {
			object.Name, object.Labels = key.Name, labels
		}
	}
	if !found {
		return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: fmt.Sprintf("%T", object)}, key.String())
	}
	return nil
}

// List reads the objects of a namespace, or of an index.
func (m *memory) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	var wanted client.ListOptions
	wanted.ApplyOptions(options)
	switch list := list.(type) {
	case *v1alpha1.JourneyList:
		list.Items = m.journeys.list(&wanted)
	case *v1alpha1.TouchpointList:
		list.Items = m.touchpoints.list(&wanted)
	case *v1alpha1.ExperienceSLOList:
		list.Items = m.slos.list(&wanted)
	default:
		return fmt.Errorf("nothing is known of a %T", list)
	}
	return nil
}

// shelf holds the objects of one kind.
type shelf[T any, P interface {
	*T
	client.Object
}] struct {
	all         []P
	byKey       map[client.ObjectKey]P
	byNamespace map[string][]P
	// byField are the objects by field, and by one of the keys they have there.
	byField map[string]map[string][]P
}

func newShelf[T any, P interface {
	*T
	client.Object
}](objects []P) *shelf[T, P] {
	s := &shelf[T, P]{all: objects, byKey: map[client.ObjectKey]P{}, byNamespace: map[string][]P{}, byField: map[string]map[string][]P{}}
	for _, object := range objects {
		s.byKey[client.ObjectKeyFromObject(object)] = object
		s.byNamespace[object.GetNamespace()] = append(s.byNamespace[object.GetNamespace()], object)
	}
	return s
}

func (s *shelf[T, P]) index(field string, keys client.IndexerFunc) {
	s.byField[field] = map[string][]P{}
	for _, object := range s.all {
		for _, key := range keys(object) {
			s.byField[field][key] = append(s.byField[field][key], object)
		}
	}
}

func (s *shelf[T, P]) get(key client.ObjectKey, into P) bool {
	object, has := s.byKey[key]
	if has {
		*into = *object
	}
	return has
}

func (s *shelf[T, P]) list(wanted *client.ListOptions) []T {
	objects := s.all
	if wanted.Namespace != "" {
		objects = s.byNamespace[wanted.Namespace]
	}
	if wanted.FieldSelector != nil {
		for _, requirement := range wanted.FieldSelector.Requirements() {
			objects = slices.DeleteFunc(slices.Clone(s.byField[requirement.Field][requirement.Value]), func(object P) bool {
				return wanted.Namespace != "" && object.GetNamespace() != wanted.Namespace
			})
		}
	}
	items := make([]T, len(objects))
	for i, object := range objects {
		items[i] = *object
	}
	return items
}
