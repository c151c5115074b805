package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	ac "github.com/sojourn-dev/sojourn/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

const (
	kindJourney   = "Journey"
	adviceJourney = "shorten kpis and entries"
)

// journeyReconciler writes the rules of each Journey and says whether its
// touchpoints are there.
type journeyReconciler struct {
	client    client.Client
	catalogue catalogue
	publisher *publish.Publisher
	rules     rules.Options
	observed  *observe.Observer
	recorder  events.EventRecorder
	now       func() time.Time
	pace      *pace
	memory    statusMemory[v1alpha1.JourneyStatus]
}

// journeyScope carries what one reconciliation loaded and found out.
type journeyScope struct {
	key        client.ObjectKey
	journey    *v1alpha1.Journey
	references []targets.Reference
	// touchpoints are those that exist and allow the journey.
	touchpoints map[targets.Reference]*v1alpha1.Touchpoint
	// missing and refused are the others, by the names that the journey uses.
	missing, refused []string
	// promised are those that at least one ExperienceSLO covers.
	promised map[targets.Reference]bool
	rules    rules.ObjectRules
	problems []rules.Problem
	again    error
}

func (r *journeyReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if rest := r.pace.rest(request); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	done := r.pace.begin(request)
	s := &journeyScope{key: request.NamespacedName}
	if err := r.load(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if s.journey == nil || s.journey.DeletionTimestamp != nil {
		r.pace.forget(request)
		return reconcile.Result{}, r.withdraw(ctx, s)
	}
	if err := r.loadTouchpoints(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if s.journey.Status.ObservedGeneration == 0 && len(s.missing) > 0 {
		if rest := r.pace.welcome(request, true); rest > 0 {
			return reconcile.Result{RequeueAfter: rest}, nil
		}
	}
	if err := r.findPromised(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	r.check(s)
	r.generate(s)
	r.publish(ctx, s)
	if err := r.writeStatus(ctx, s); err != nil || s.again != nil {
		return result(err, s.again)
	}
	done()
	return reconcile.Result{}, nil
}

func (r *journeyReconciler) load(ctx context.Context, s *journeyScope) (err error) {
	s.journey, err = load[v1alpha1.Journey](ctx, r.catalogue, s.key)
	return err
}

func (r *journeyReconciler) withdraw(ctx context.Context, s *journeyScope) error {
	r.memory.forget(s.key)
	return r.publisher.Sync(ctx, sourceOf(kindJourney, s.key), nil, nil)
}

func (r *journeyReconciler) loadTouchpoints(ctx context.Context, s *journeyScope) error {
	s.references = targets.References(s.journey)
	s.touchpoints = map[targets.Reference]*v1alpha1.Touchpoint{}
	for _, reference := range s.references {
		name := s.nameOf(reference)
		touchpoint, err := r.catalogue.touchpoint(ctx, reference.Namespace, reference.Name)
		if err != nil {
			return err
		}
		if touchpoint == nil {
			if !r.catalogue.watched(reference.Namespace) {
				name += " (the manager does not watch its namespace)"
			}
			s.missing = append(s.missing, name)
			continue
		}
		allowed, err := r.catalogue.allowed(ctx, touchpoint, s.journey.Namespace)
		if err != nil {
			return err
		}
		if !allowed {
			s.refused = append(s.refused, name)
			continue
		}
		s.touchpoints[reference] = touchpoint
	}
	return nil
}

// findPromised finds the touchpoints that at least one ExperienceSLO covers.
func (r *journeyReconciler) findPromised(ctx context.Context, s *journeyScope) error {
	s.promised = map[targets.Reference]bool{}
	byNamespace := map[string]map[string]*v1alpha1.Touchpoint{}
	for reference, touchpoint := range s.touchpoints {
		if byNamespace[reference.Namespace] == nil {
			byNamespace[reference.Namespace] = map[string]*v1alpha1.Touchpoint{}
		}
		byNamespace[reference.Namespace][reference.Name] = touchpoint
	}
	for namespace, touchpoints := range byNamespace {
		slos, err := r.catalogue.slos(ctx, client.InNamespace(namespace))
		if err != nil {
			return err
		}
		journeys, err := r.catalogue.targetedJourneys(ctx, slos)
		if err != nil {
			return err
		}
		// Whether these are covered does not depend on the others.
		in := targets.Namespace{Touchpoints: touchpoints, Journeys: journeys}
		covered := map[string]bool{}
		for _, slo := range slos {
			if len(covered) == len(touchpoints) {
				break
			}
			for _, name := range targets.Resolve(slo, in).Touchpoints {
				covered[name] = true
			}
		}
		for name := range covered {
			s.promised[targets.Reference{Namespace: namespace, Name: name}] = true
		}
	}
	return nil
}

// check tells which touchpoints are not there. They may come yet, or open up.
func (r *journeyReconciler) check(s *journeyScope) {
	if len(s.missing) > 0 {
		s.problems = append(s.problems, rules.Problem{
			Field: "spec.stages.touchpoints", Reason: v1alpha1.ReasonReferenceNotFound,
			Message: "there is no Touchpoint " + list(s.missing),
		})
	}
	if len(s.refused) > 0 {
		s.problems = append(s.problems, rules.Problem{
			Field: "spec.stages.touchpoints", Reason: v1alpha1.ReasonReferenceNotAllowed,
			Message: "not open to journeys of namespace " + s.journey.Namespace + ": " + list(s.refused) +
				"; its owner can allow them by allowedJourneys.namespaces of the Touchpoint",
		})
	}
}

func (r *journeyReconciler) generate(s *journeyScope) {
	s.rules = rules.ForJourney(s.journey, r.rules)
	s.problems = append(s.problems, s.rules.Problems...)
}

func (r *journeyReconciler) publish(ctx context.Context, s *journeyScope) {
	problems, err := published(r.publisher.Sync(ctx, sourceOf(kindJourney, s.key), s.journey, s.objects()), adviceJourney)
	s.problems, s.again = append(s.problems, problems...), err
}

// objects are the rule objects that are wanted.
func (s *journeyScope) objects() []rules.Object {
	if len(s.rules.Groups) == 0 {
		return nil
	}
	return []rules.Object{{Name: "sojourn-journey-" + s.journey.Name, Groups: s.rules.Groups}}
}

func (s *journeyScope) finding() finding {
	return finding{
		problems: s.problems, reason: v1alpha1.ReasonSucceeded,
		message: count(len(s.journey.Spec.Stages), "stage") + " with " + count(len(s.references), "touchpoint") + ", all there",
	}
}

// writeStatus is the only place that writes the status of a Journey.
func (r *journeyReconciler) writeStatus(ctx context.Context, s *journeyScope) error {
	if apierrors.IsConflict(s.again) {
		return nil
	}
	before := r.memory.latest(s.journey, s.journey.Status)
	measured := 0
	for _, touchpoint := range s.touchpoints {
		if measuredBy(touchpoint) != "" {
			measured++
		}
	}
	after := before
	after.ObservedGeneration = s.journey.Generation
	after.Touchpoints = int32(len(s.references))
	after.Measured = int32(measured)
	after.Promised = int32(len(s.promised))
	after.Completeness = s.completeness()
	moment := momentOf(r.observed, s.journey, r.now())
	conditions := readiness(before.Conditions, s.journey.Generation, s.finding(), moment.Now)
	stages := r.stops(s)
	after.Conditions = append(conditions, observe.OfJourney(&after, &s.journey.Spec, stages, r.observed.FiguresOf(s.key), moment)...)
	compared := before
	compared.Conditions = owned(before.Conditions)
	if equality.Semantic.DeepEqual(compared, after) {
		return nil
	}
	status, err := into[ac.JourneyStatusApplyConfiguration](after)
	if err != nil {
		return err
	}
	// A count of nothing is a figure too.
	status.WithMeasured(after.Measured).WithPromised(after.Promised).WithCompleteness(after.Completeness)
	if b := after.Budgets; b != nil {
		status.WithBudgets(ac.JourneyBudgets().WithMet(b.Met).WithBreached(b.Breached).WithUnknown(b.Unknown))
	}
	configuration := ac.Journey(s.journey.Name, s.journey.Namespace).WithStatus(status)
	if err := r.client.Status().Apply(ctx, configuration, publish.FieldOwner, client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.memory.remember(s.journey, configuration.ResourceVersion, after)
	announce(r.recorder, s.journey, before.Conditions, after.Conditions)
	announceCustomers(r.recorder, s.journey, v1alpha1.ConditionHealthy, before.Conditions, after.Conditions, func() string { return observe.ToldOf(stages) })
	return nil
}

// stops puts together what Prometheus shows of each stage's touchpoints.
func (r *journeyReconciler) stops(s *journeyScope) [][]observe.Stop {
	stages := make([][]observe.Stop, len(s.journey.Spec.Stages))
	for i, stage := range s.journey.Spec.Stages {
		for _, named := range stage.Touchpoints {
			reference := targets.ReferenceOf(s.journey, named)
			if s.touchpoints[reference] == nil {
				continue
			}
			key := client.ObjectKey{Namespace: reference.Namespace, Name: reference.Name}
			budgets := r.observed.BudgetsAt(key)
			stages[i] = append(stages[i], observe.Stop{
				Name: s.nameOf(reference), Weight: named.Weight, MomentOfTruth: named.MomentOfTruth,
				Score: observe.ScoreOf(r.observed.ExperienceAt(key), budgets), Budgets: budgets,
			})
		}
	}
	return stages
}

// nameOf names a touchpoint as the journey does: with its namespace only if that is
// another.
func (s *journeyScope) nameOf(reference targets.Reference) string {
	if reference.Namespace == s.journey.Namespace {
		return reference.Name
	}
	return reference.Namespace + "/" + reference.Name
}

// completeness is how much of the map is filled and measured, in percent.
func (s *journeyScope) completeness() int32 {
	filled, all := 0, 0
	for _, reference := range s.references {
		touchpoint := s.touchpoints[reference]
		if touchpoint == nil {
			touchpoint = &v1alpha1.Touchpoint{}
		}
		for _, has := range []bool{
			s.touchpoints[reference] != nil, measuredBy(touchpoint) != "", s.promised[reference],
			touchpoint.Spec.Owner != nil, touchpoint.Spec.Expectation != nil, touchpoint.Spec.Blueprint != nil, touchpoint.Spec.Map != nil,
		} {
			all++
			if has {
				filled++
			}
		}
	}
	if all == 0 {
		return 0
	}
	return int32(100 * filled / all)
}

func (r *journeyReconciler) setup(mgr ctrl.Manager, options controller.Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Journey{}, builder.WithPredicates(generationChanges)).
		Watches(&v1alpha1.Touchpoint{}, handler.EnqueueRequestsFromMapFunc(r.ofTouchpoint), builder.WithPredicates(later, touchpointMatters)).
		Watches(&v1alpha1.ExperienceSLO{}, handler.EnqueueRequestsFromMapFunc(r.ofSLO), builder.WithPredicates(later, sloTargetsChange)).
		Watches(&v1alpha1.Journey{}, handler.EnqueueRequestsFromMapFunc(r.ofTargeted), builder.WithPredicates(later, generationChanges)).
		WatchesMetadata(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(later, labelsChange)).
		WithOptions(options)
	if r.observed != nil {
		b.WatchesRawSource(source.Channel(r.observed.News(observe.FiguresOfTouchpoint), handler.EnqueueRequestsFromMapFunc(r.ofTouchpoint)))
		b.WatchesRawSource(source.Channel(r.observed.News(observe.FiguresOfJourney), &handler.EnqueueRequestForObject{}))
	}
	r.catalogue.watchRuleObjects(b, r.publisher.Form, kindJourney, bySource)
	return b.Complete(r)
}

func (r *journeyReconciler) ofTouchpoint(ctx context.Context, object client.Object) []reconcile.Request {
	journeys, err := r.catalogue.journeys(ctx, client.MatchingFields{
		indexJourneyTouchpoint: object.GetNamespace() + "/" + object.GetName(),
	})
	if err != nil {
		return failedToMap(ctx, err)
	}
	return requestsFor(journeys)
}

// ofSLO finds the journeys that contain a touchpoint which an ExperienceSLO covers.
func (r *journeyReconciler) ofSLO(ctx context.Context, object client.Object) []reconcile.Request {
	slo := object.(*v1alpha1.ExperienceSLO)
	in, err := r.catalogue.reach(ctx, slo)
	if err != nil {
		return failedToMap(ctx, err)
	}
	var requests []reconcile.Request
	seen := map[reconcile.Request]bool{}
	for _, name := range targets.Resolve(slo, in).Touchpoints {
		for _, request := range r.ofTouchpoint(ctx, in.Touchpoints[name]) {
			if !seen[request] {
				seen[request] = true
				requests = append(requests, request)
			}
		}
	}
	return requests
}

// ofTargeted finds the journeys that share touchpoints with one that is the target of an
// ExperienceSLO: what it covers changes with that journey.
func (r *journeyReconciler) ofTargeted(ctx context.Context, object client.Object) []reconcile.Request {
	slos, err := r.catalogue.slos(ctx, client.InNamespace(object.GetNamespace()), client.MatchingFields{indexSLOJourney: object.GetName()})
	if err != nil {
		return failedToMap(ctx, err)
	}
	if len(slos) == 0 {
		return nil
	}
	var requests []reconcile.Request
	for _, reference := range targets.References(object.(*v1alpha1.Journey)) {
		touchpoint := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: reference.Namespace, Name: reference.Name}}
		requests = append(requests, r.ofTouchpoint(ctx, touchpoint)...)
	}
	return requests
}

func (r *journeyReconciler) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.catalogue.ofJourneysIn(ctx, namespace, func(journey *v1alpha1.Journey) []reconcile.Request {
		return requestsFor([]*v1alpha1.Journey{journey})
	})
}
