package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
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
	kindExperienceSLO   = "ExperienceSLO"
	adviceExperienceSLO = "cover fewer touchpoints, or split the objectives over several ExperienceSLOs"
)

// experienceSLOReconciler writes the rules of each ExperienceSLO.
type experienceSLOReconciler struct {
	client    client.Client
	catalogue catalogue
	publisher *publish.Publisher
	shared    *sharedRules
	observed  *observe.Observer
	recorder  events.EventRecorder
	now       func() time.Time
	pace      *pace
	memory    statusMemory[v1alpha1.ExperienceSLOStatus]
}

// experienceSLOScope carries what one reconciliation loaded and found out.
type experienceSLOScope struct {
	key      client.ObjectKey
	slo      *v1alpha1.ExperienceSLO
	in       targets.Namespace
	rules    rules.SLORules
	problems []rules.Problem
	// unobserved: what Prometheus complains of is not known yet.
	unobserved bool
	// conditions are those that were written.
	conditions []metav1.Condition
	// again is the error by which the reconciliation is tried again.
	again error
}

func (r *experienceSLOReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if rest := r.pace.rest(request); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	done := r.pace.begin(request)
	s := &experienceSLOScope{key: request.NamespacedName}
	if err := r.load(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if s.slo == nil || s.slo.DeletionTimestamp != nil {
		r.pace.forget(request)
		return reconcile.Result{}, r.withdraw(ctx, s)
	}
	if rest := r.welcome(request, s); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	r.generate(s)
	r.publish(ctx, s)
	if err := r.writeStatus(ctx, s); err != nil || s.again != nil {
		return result(err, s.again)
	}
	done()
	return sooner(
		lookAgain(r.observed, s.finding(), s.slo.Status.Conditions, s.slo.Generation),
		awaitRules(s.conditions)), nil
}

// welcome is how long a new ExperienceSLO waits for its touchpoints: a selector does not
// tell how many there will be.
func (r *experienceSLOReconciler) welcome(request reconcile.Request, s *experienceSLOScope) time.Duration {
	if s.slo.Status.ObservedGeneration != 0 {
		return 0
	}
	found := targets.Resolve(s.slo, s.in)
	lacks := len(found.Missing) > 0 || found.MissingJourney != ""
	if !lacks && s.slo.Spec.Targets.Selector == nil {
		return 0
	}
	return r.pace.welcome(request, lacks)
}

// awaitRules has a reconciler come back when the rules should have been loaded.
func awaitRules(conditions []metav1.Condition) reconcile.Result {
	if !meta.IsStatusConditionPresentAndEqual(conditions, v1alpha1.ConditionRulesLoaded, metav1.ConditionUnknown) {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: observe.LoadingTime}
}

// sooner is whichever of two results brings a reconciler back first.
func sooner(a, b reconcile.Result) reconcile.Result {
	if a.RequeueAfter == 0 || b.RequeueAfter != 0 && b.RequeueAfter < a.RequeueAfter {
		return b
	}
	return a
}

// lookAgain has a reconciler come back to conditions that stand only until Prometheus has
// answered.
func lookAgain(observed *observe.Observer, found finding, conditions []metav1.Condition, generation int64) reconcile.Result {
	if !found.standing(conditions, generation) {
		return reconcile.Result{}
	}
	return reconcile.Result{RequeueAfter: observed.Retry()}
}

// result is what a reconciler returns after its status is written. A conflict means
// that somebody else was faster, which is no failure.
func result(status, again error) (reconcile.Result, error) {
	for _, err := range []error{again, status} {
		if err != nil && !apierrors.IsConflict(err) {
			return reconcile.Result{}, err
		}
	}
	if again != nil || status != nil {
		return reconcile.Result{RequeueAfter: 100 * time.Millisecond}, nil
	}
	return reconcile.Result{}, nil
}

func (r *experienceSLOReconciler) load(ctx context.Context, s *experienceSLOScope) (err error) {
	if s.slo, err = load[v1alpha1.ExperienceSLO](ctx, r.catalogue, s.key); err != nil || s.slo == nil {
		return err
	}
	s.in, err = r.catalogue.reach(ctx, s.slo)
	return err
}

// withdraw removes what nobody else removes: rule objects without an owner.
func (r *experienceSLOReconciler) withdraw(ctx context.Context, s *experienceSLOScope) error {
	r.memory.forget(s.key)
	return r.publisher.Sync(ctx, sourceOf(kindExperienceSLO, s.key), nil, nil)
}

func (r *experienceSLOReconciler) generate(s *experienceSLOScope) {
	s.rules = rules.ForSLO(s.slo, s.in)
	s.problems = append(s.problems, missingTargets(s.slo, s.rules.Resolution)...)
	s.problems = append(s.problems, s.rules.Problems...)
	var watched []*v1alpha1.Touchpoint
	for _, name := range s.rules.Resolution.Touchpoints {
		watched = append(watched, s.in.Touchpoints[name])
	}
	s.problems = append(s.problems, rules.EdgeProblems(s.slo, watched, func(touchpoint *v1alpha1.Touchpoint) []rules.Complaint {
		complaints, known := r.observed.Complaints(client.ObjectKeyFromObject(touchpoint))
		s.unobserved = s.unobserved || !known
		return complaints
	})...)
}

// missingTargets tells which targets do not exist. They may come yet.
func missingTargets(slo *v1alpha1.ExperienceSLO, found targets.Resolution) []rules.Problem {
	var problems []rules.Problem
	if found.MissingJourney != "" {
		problems = append(problems, rules.Problem{
			Field: "spec.targets.journey", Reason: v1alpha1.ReasonReferenceNotFound,
			Message: fmt.Sprintf("there is no Journey %s in this namespace", found.MissingJourney),
		})
	}
	if len(found.Missing) > 0 {
		field := "spec.targets.touchpoints"
		if slo.Spec.Targets.Journey != "" {
			field = "spec.targets.journey"
		}
		problems = append(problems, rules.Problem{
			Field: field, Reason: v1alpha1.ReasonReferenceNotFound,
			Message: "there is no Touchpoint " + list(found.Missing) + " in this namespace",
		})
	}
	return problems
}

func (r *experienceSLOReconciler) publish(ctx context.Context, s *experienceSLOScope) {
	problems, err := published(r.publisher.Sync(ctx, sourceOf(kindExperienceSLO, s.key), s.slo, s.rules.Objects), adviceExperienceSLO)
	s.problems, s.again = append(s.problems, problems...), err
	if len(s.rules.Objects) > 0 && err == nil {
		s.problems = append(s.problems, r.shared.problems(s.slo.Namespace)...)
	}
}

func (s *experienceSLOScope) finding() finding {
	found := finding{problems: s.problems, reason: v1alpha1.ReasonSucceeded, unobserved: s.unobserved}
	covered := len(s.rules.Resolution.Touchpoints)
	found.message = fmt.Sprintf("%s at %s: %s watched", count(len(s.slo.Spec.Objectives), "objective"),
		count(covered, "touchpoint"), count(s.rules.Budgets, "budget"))
	if covered == 0 {
		found.reason, found.message = v1alpha1.ReasonNoTargets, "the targets match no touchpoint"
	}
	for _, skipped := range s.rules.Skipped {
		found.message += fmt.Sprintf("; %s: %s", skipped.Field, skipped.Message)
	}
	if elsewhere := s.rules.Resolution.Elsewhere; len(elsewhere) > 0 {
		found.message += fmt.Sprintf("; %s of the journey in other namespaces not covered: %s",
			count(len(elsewhere), "touchpoint"), list(elsewhere))
	}
	return found
}

// writeStatus is the only place that writes the status of an ExperienceSLO.
func (r *experienceSLOReconciler) writeStatus(ctx context.Context, s *experienceSLOScope) error {
	if apierrors.IsConflict(s.again) {
		return nil
	}
	before := r.memory.latest(s.slo, s.slo.Status)
	after := before
	after.ObservedGeneration = s.slo.Generation
	after.Touchpoints = int32(len(s.rules.Resolution.Touchpoints))
	after.Budgets = int32(s.rules.Budgets)
	after.Objectives = s.rules.Objectives
	moment := momentOf(r.observed, s.slo, r.now())
	conditions := readiness(before.Conditions, s.slo.Generation, s.finding(), moment.Now)
	after.Conditions = append(conditions, observe.OfSLO(&after, s.rules.Watched, r.observed.BudgetsOf(s.key), s.slo.Spec.Window, moment)...)
	s.conditions = after.Conditions
	compared := before
	compared.Conditions = owned(before.Conditions)
	if equality.Semantic.DeepEqual(compared, after) {
		return nil
	}
	status, err := into[ac.ExperienceSLOStatusApplyConfiguration](after)
	if err != nil {
		return err
	}
	// A count of nothing is a figure too.
	status.WithTouchpoints(after.Touchpoints).WithBudgets(after.Budgets)
	configuration := ac.ExperienceSLO(s.slo.Name, s.slo.Namespace).WithStatus(status)
	if err := r.client.Status().Apply(ctx, configuration, publish.FieldOwner, client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.memory.remember(s.slo, configuration.ResourceVersion, after)
	announce(r.recorder, s.slo, before.Conditions, after.Conditions)
	announceCustomers(r.recorder, s.slo, v1alpha1.ConditionMet, before.Conditions, after.Conditions, func() string { return observe.Told(r.observed.BudgetsOf(s.key)) })
	return nil
}

func (r *experienceSLOReconciler) setup(mgr ctrl.Manager, options controller.Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ExperienceSLO{}, builder.WithPredicates(generationChanges)).
		Watches(&v1alpha1.Touchpoint{}, handler.EnqueueRequestsFromMapFunc(r.ofTouchpoint), builder.WithPredicates(later, touchpointMatters)).
		Watches(&v1alpha1.Journey{}, handler.EnqueueRequestsFromMapFunc(r.ofJourney), builder.WithPredicates(later, generationChanges)).
		WatchesRawSource(source.Channel(r.shared.changed, handler.EnqueueRequestsFromMapFunc(r.ofNamespace))).
		WithOptions(options)
	if r.observed != nil {
		b.WatchesRawSource(source.Channel(r.observed.News(observe.EdgesOfTouchpoint), handler.EnqueueRequestsFromMapFunc(r.ofEdges)))
		b.WatchesRawSource(source.Channel(r.observed.News(observe.BudgetsOfSLO), &handler.EnqueueRequestForObject{}))
	}
	r.catalogue.watchRuleObjects(b, r.publisher.Form, kindExperienceSLO, bySource)
	return b.Complete(r)
}

// ofTouchpoint finds the ExperienceSLOs that a touchpoint concerns.
func (r *experienceSLOReconciler) ofTouchpoint(ctx context.Context, object client.Object) []reconcile.Request {
	slos, err := r.catalogue.promising(ctx, object.(*v1alpha1.Touchpoint))
	if err != nil {
		return failedToMap(ctx, err)
	}
	return requestsFor(slos)
}

// ofEdges finds the ExperienceSLOs that promise a latency at the touchpoint that a
// complaint names.
func (r *experienceSLOReconciler) ofEdges(ctx context.Context, named client.Object) []reconcile.Request {
	touchpoint, err := r.catalogue.touchpoint(ctx, named.GetNamespace(), named.GetName())
	if err != nil {
		return failedToMap(ctx, err)
	}
	if touchpoint == nil {
		return nil
	}
	return slices.DeleteFunc(r.ofTouchpoint(ctx, touchpoint), func(request reconcile.Request) bool {
		slo, err := load[v1alpha1.ExperienceSLO](ctx, r.client, request.NamespacedName)
		return err == nil && (slo == nil || !slices.ContainsFunc(slo.Spec.Objectives, func(o v1alpha1.Objective) bool { return o.Latency != nil }))
	})
}

func (r *experienceSLOReconciler) ofJourney(ctx context.Context, object client.Object) []reconcile.Request {
	slos, err := r.catalogue.slos(ctx, client.InNamespace(object.GetNamespace()), client.MatchingFields{indexSLOJourney: object.GetName()})
	if err != nil {
		return failedToMap(ctx, err)
	}
	return requestsFor(slos)
}

// ofNamespace finds the ExperienceSLOs of a namespace.
func (r *experienceSLOReconciler) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	slos, err := r.catalogue.slos(ctx, client.InNamespace(namespace.GetName()))
	if err != nil {
		return failedToMap(ctx, err)
	}
	return requestsFor(slos)
}

// failedToMap: the cache only fails while the manager stops.
func failedToMap(ctx context.Context, err error) []reconcile.Request {
	ctrl.LoggerFrom(ctx).Error(err, "cannot tell whom a change concerns")
	return nil
}
