package controllers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

const kindNamespace = "Namespace"

// namespaceReconciler writes the rules that all objects of a namespace share. Its
// requests carry the name of a namespace.
type namespaceReconciler struct {
	client    client.Client
	catalogue catalogue
	publisher *publish.Publisher
	shared    *sharedRules
	pace      *pace
}

// namespaceScope carries what one reconciliation loaded and made.
type namespaceScope struct {
	name       string
	slos       []*v1alpha1.ExperienceSLO
	in         targets.Namespace
	journeysOf map[string][]string
	objects    []rules.Object
}

func (r *namespaceReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	s := &namespaceScope{name: request.Name}
	if rest := r.pace.rest(request); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	done := r.pace.begin(request)
	if err := r.load(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if err := r.loadJourneys(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	r.generate(s)
	if err := r.publish(ctx, s); err != nil {
		return result(nil, err) // the queue's back-off sets the pace now
	}
	if len(s.objects) > 0 {
		done()
	} else {
		r.pace.forget(request)
	}
	return reconcile.Result{}, nil
}

func (r *namespaceReconciler) load(ctx context.Context, s *namespaceScope) (err error) {
	// Without promises there is nothing to share, and nothing more to read.
	if s.slos, err = r.catalogue.slos(ctx, client.InNamespace(s.name)); err != nil || len(s.slos) == 0 {
		return err
	}
	s.in.Touchpoints, err = r.catalogue.touchpoints(ctx, s.name)
	return err
}

// loadJourneys finds the journeys of this namespace, and for each touchpoint those
// that contain it, wherever they are.
func (r *namespaceReconciler) loadJourneys(ctx context.Context, s *namespaceScope) error {
	s.in.Journeys, s.journeysOf = map[string]*v1alpha1.Journey{}, map[string][]string{}
	if len(s.slos) == 0 {
		return nil
	}
	local, err := r.catalogue.journeys(ctx, client.InNamespace(s.name))
	if err != nil {
		return err
	}
	for _, journey := range local {
		s.in.Journeys[journey.Name] = journey
	}
	referring, err := r.catalogue.journeys(ctx, client.MatchingFields{indexJourneyNamespace: s.name})
	if err != nil {
		return err
	}
	for _, journey := range referring {
		for _, reference := range targets.References(journey) {
			touchpoint, exists := s.in.Touchpoints[reference.Name]
			if reference.Namespace != s.name || !exists {
				continue
			}
			allowed, err := r.catalogue.allowed(ctx, touchpoint, journey.Namespace)
			if err != nil {
				return err
			}
			if allowed {
				s.journeysOf[reference.Name] = append(s.journeysOf[reference.Name], journey.Namespace+"/"+journey.Name)
			}
		}
	}
	for _, journeys := range s.journeysOf {
		slices.Sort(journeys)
	}
	return nil
}

func (r *namespaceReconciler) generate(s *namespaceScope) {
	if len(s.slos) == 0 {
		return
	}
	// The cache lists in no order, and equal objects shall give equal rules.
	slices.SortFunc(s.slos, func(a, b *v1alpha1.ExperienceSLO) int { return strings.Compare(a.Name, b.Name) })
	s.objects = rules.ForNamespace(s.name, s.slos, s.in, s.journeysOf)
}

func (r *namespaceReconciler) publish(ctx context.Context, s *namespaceScope) error {
	source := publish.Source{Kind: kindNamespace, Namespace: s.name, Name: s.name}
	err := r.publisher.Sync(ctx, source, nil, s.objects)
	if apierrors.IsConflict(err) {
		return err // somebody was faster: that is no failure yet
	}
	r.shared.set(ctx, s.name, err)
	var tooLarge *publish.TooLargeError
	if errors.As(err, &tooLarge) {
		// Trying again would change nothing; the next change of the namespace does.
		return nil
	}
	return err
}

func (r *namespaceReconciler) setup(mgr ctrl.Manager, options controller.Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("namespace").
		Watches(&v1alpha1.ExperienceSLO{}, handler.EnqueueRequestsFromMapFunc(ofOwnNamespace), builder.WithPredicates(generationChanges)).
		Watches(&v1alpha1.Touchpoint{}, handler.EnqueueRequestsFromMapFunc(ofOwnNamespace), builder.WithPredicates(later, touchpointMatters)).
		Watches(&v1alpha1.Journey{}, handler.EnqueueRequestsFromMapFunc(ofJourneyNamespaces), builder.WithPredicates(later, generationChanges)).
		WatchesMetadata(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(later, labelsChange)).
		WithOptions(options)
	r.catalogue.watchRuleObjects(b, r.publisher.Form, kindNamespace, func(source publish.Source) reconcile.Request {
		return requestForNamespace(source.Namespace)
	})
	return b.Complete(r)
}

func requestForNamespace(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
}

func ofOwnNamespace(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{requestForNamespace(object.GetNamespace())}
}

// ofJourneyNamespaces finds the namespaces that a journey passes through, and its own.
func ofJourneyNamespaces(_ context.Context, object client.Object) []reconcile.Request {
	names := map[string]bool{object.GetNamespace(): true}
	for _, name := range referencedNamespaces(object.(*v1alpha1.Journey)) {
		names[name] = true
	}
	var requests []reconcile.Request
	for name := range maps.Keys(names) {
		requests = append(requests, requestForNamespace(name))
	}
	return requests
}

// ofNamespace finds the namespaces through which the journeys of a namespace pass,
// because its labels decide whether they may.
func (r *namespaceReconciler) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.catalogue.ofJourneysIn(ctx, namespace, func(journey *v1alpha1.Journey) []reconcile.Request {
		return ofJourneyNamespaces(ctx, journey)
	})
}
