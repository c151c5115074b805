package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	ac "github.com/sojourn-dev/sojourn/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/flows"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

const (
	kindTouchpoint = "Touchpoint"
	// maxListedJourneys is how many journeys a Touchpoint's status has room for.
	maxListedJourneys = 20
	// adviceTouchpoint, and its like, is what to do about rules that are too large.
	adviceTouchpoint = "shorten spec.metrics"
)

// touchpointReconciler writes the rules that record a Touchpoint's own metrics.
type touchpointReconciler struct {
	client    client.Client
	catalogue catalogue
	publisher *publish.Publisher
	rules     rules.Options
	observed  *observe.Observer
	// workloads: those of blueprints are watched.
	workloads bool
	recorder  events.EventRecorder
	now       func() time.Time
	memory    statusMemory[v1alpha1.TouchpointStatus]
}

// touchpointScope carries what one reconciliation loaded and found out.
type touchpointScope struct {
	key        client.ObjectKey
	touchpoint *v1alpha1.Touchpoint
	journeys   []string
	// promises are the ExperienceSLOs that cover the touchpoint, if its rules depend on
	// them.
	promises []*v1alpha1.ExperienceSLO
	rules    rules.ObjectRules
	problems []rules.Problem
	// workloads are those of the blueprint.
	workloads []v1alpha1.WorkloadStatus
	// unobserved: what Prometheus complains of is not known yet.
	unobserved bool
	again      error
}

func (r *touchpointReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	s := &touchpointScope{key: request.NamespacedName}
	if err := r.load(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if s.touchpoint == nil || s.touchpoint.DeletionTimestamp != nil {
		return reconcile.Result{}, r.withdraw(ctx, s)
	}
	if err := r.inspect(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	r.check(s)
	r.checkProbe(s)
	r.generate(s)
	r.publish(ctx, s)
	if err := errors.Join(r.writeStatus(ctx, s), r.prune(ctx, s)); err != nil || s.again != nil {
		return result(err, s.again)
	}
	return lookAgain(r.observed, s.finding(), s.touchpoint.Status.Conditions, s.touchpoint.Generation), nil
}

func (r *touchpointReconciler) load(ctx context.Context, s *touchpointScope) (err error) {
	if s.touchpoint, err = load[v1alpha1.Touchpoint](ctx, r.catalogue, s.key); err != nil || s.touchpoint == nil {
		return err
	}
	if s.journeys, err = r.catalogue.journeysOf(ctx, s.touchpoint); err != nil {
		return err
	}
	slices.Sort(s.journeys)
	if rules.DependsOnPromises(s.touchpoint) {
		s.promises, err = r.covering(ctx, s.touchpoint)
	}
	return err
}

// covering finds the ExperienceSLOs whose promises the rules of a touchpoint depend on.
func (r *touchpointReconciler) covering(ctx context.Context, touchpoint *v1alpha1.Touchpoint) ([]*v1alpha1.ExperienceSLO, error) {
	slos, err := r.catalogue.promising(ctx, touchpoint)
	return slices.DeleteFunc(slos, func(slo *v1alpha1.ExperienceSLO) bool { return len(rules.Meanings(slo)) == 0 }), err
}

func (r *touchpointReconciler) withdraw(ctx context.Context, s *touchpointScope) error {
	r.memory.forget(s.key)
	return errors.Join(
		r.publisher.Sync(ctx, sourceOf(kindTouchpoint, s.key), nil, nil),
		r.withdrawProbe(ctx, s))
}

// check looks at what admission cannot.
func (r *touchpointReconciler) check(s *touchpointScope) {
	allowed := s.touchpoint.Spec.AllowedJourneys
	if allowed == nil || allowed.Namespaces == nil || allowed.Namespaces.Selector == nil {
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(allowed.Namespaces.Selector); err != nil {
		s.problems = append(s.problems, rules.Problem{
			Field: "spec.allowedJourneys.namespaces.selector", Reason: v1alpha1.ReasonInvalidSelector, Stalled: true,
			Message: fmt.Sprintf("%v; until this is mended it matches no namespace", err),
		})
	}
}

// checkProbe finds what would fail in every visit, before the first.
func (r *touchpointReconciler) checkProbe(s *touchpointScope) {
	if s.touchpoint.Spec.Probe == nil {
		return
	}
	_, problems := flows.Compile(s.touchpoint.Spec.Probe)
	for _, problem := range problems {
		s.problems = append(s.problems, rules.Problem{
			Field: problem.Field, Reason: v1alpha1.ReasonInvalidProbe, Stalled: true, Message: problem.Message,
		})
	}
}

func (r *touchpointReconciler) generate(s *touchpointScope) {
	s.rules = rules.ForTouchpoint(s.touchpoint, s.promises, r.rules)
	s.problems = append(s.problems, s.rules.Problems...)
	complaints, known := r.observed.Complaints(s.key)
	s.problems = append(s.problems, rules.MetricProblems(s.touchpoint, complaints)...)
	s.unobserved = !known
}

func (r *touchpointReconciler) publish(ctx context.Context, s *touchpointScope) {
	problems, err := published(errors.Join(
		r.publisher.Sync(ctx, sourceOf(kindTouchpoint, s.key), s.touchpoint, s.objects()), r.publishProbe(ctx, s)), adviceTouchpoint)
	s.problems, s.again = append(s.problems, problems...), err
}

// objects are the rule objects that are wanted.
func (s *touchpointScope) objects() []rules.Object {
	var objects []rules.Object
	if len(s.rules.Groups) > 0 {
		objects = append(objects, rules.Object{Name: ruleObjectName(s.touchpoint.Name), Groups: s.rules.Groups})
	}
	if len(s.rules.Diagnosis) > 0 {
		objects = append(objects, rules.Object{Name: "sojourn-diagnosis-" + s.touchpoint.Name, Groups: s.rules.Diagnosis})
	}
	return objects
}

// ruleObjectName names what is written for a touchpoint.
func ruleObjectName(touchpoint string) string { return "sojourn-touchpoint-" + touchpoint }

func (s *touchpointScope) finding() finding {
	message := "measured by nothing: set probe, survey or metrics"
	if measured := measuredBy(s.touchpoint); measured != "" {
		message = "measured by " + measured
	}
	return finding{problems: s.problems, reason: v1alpha1.ReasonSucceeded, message: message, unobserved: s.unobserved}
}

// measuredBy lists the ways in which a touchpoint is measured.
func measuredBy(touchpoint *v1alpha1.Touchpoint) string {
	var sources []string
	if touchpoint.Spec.Probe != nil {
		sources = append(sources, string(v1alpha1.SourceProbe))
	}
	if touchpoint.Spec.Survey != nil {
		sources = append(sources, string(v1alpha1.SourceSurvey))
	}
	if touchpoint.Spec.Metrics != nil {
		sources = append(sources, string(v1alpha1.SourceMetric))
	}
	return strings.Join(sources, ", ")
}

// writeStatus is the only place that writes the status of a Touchpoint.
func (r *touchpointReconciler) writeStatus(ctx context.Context, s *touchpointScope) error {
	if apierrors.IsConflict(s.again) {
		return nil
	}
	before := r.memory.latest(s.touchpoint, s.touchpoint.Status)
	after := before // parts that other field owners write stay as they are
	after.ObservedGeneration = s.touchpoint.Generation
	after.MeasuredBy = measuredBy(s.touchpoint)
	after.Journeys = s.journeys[:min(len(s.journeys), maxListedJourneys)]
	moment := momentOf(r.observed, s.touchpoint, r.now())
	conditions := readiness(before.Conditions, s.touchpoint.Generation, s.finding(), moment.Now)
	budgets := r.observed.BudgetsAt(s.key)
	after.Workloads = s.workloads
	after.Conditions = append(conditions, observe.OfTouchpoint(&after, &s.touchpoint.Spec, r.observed.ExperienceAt(s.key), budgets, moment)...)
	compared := before
	compared.Conditions = owned(before.Conditions)
	if equality.Semantic.DeepEqual(compared, after) {
		return nil
	}
	status, err := into[ac.TouchpointStatusApplyConfiguration](v1alpha1.TouchpointStatus{
		ObservedGeneration: after.ObservedGeneration, MeasuredBy: after.MeasuredBy,
		Journeys: after.Journeys, Conditions: after.Conditions,
		Score: after.Score, Experience: after.Experience, Satisfaction: after.Satisfaction, Gaps: after.Gaps,
		Workloads: after.Workloads,
	})
	if err != nil {
		return err
	}
	configuration := ac.Touchpoint(s.touchpoint.Name, s.touchpoint.Namespace).WithStatus(status)
	if err := r.client.Status().Apply(ctx, configuration, publish.FieldOwner, client.ForceOwnership); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.memory.remember(s.touchpoint, configuration.ResourceVersion, after)
	announce(r.recorder, s.touchpoint, before.Conditions, after.Conditions)
	announceCustomers(r.recorder, s.touchpoint, v1alpha1.ConditionHealthy, before.Conditions, after.Conditions, func() string { return observe.Told(budgets) })
	return nil
}

// prune removes what the probers of a location told, once nobody asks for the
// location any more. Each location's entry has an owner of its own, in whose name
// nothing is applied.
func (r *touchpointReconciler) prune(ctx context.Context, s *touchpointScope) error {
	for _, entry := range strayProbes(s.touchpoint) {
		nothing := ac.Touchpoint(s.touchpoint.Name, s.touchpoint.Namespace)
		owner := client.FieldOwner(v1alpha1.ProbeFieldOwner(entry.Location))
		if err := r.client.Status().Apply(ctx, nothing, owner, client.ForceOwnership); client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// strayProbes are the entries of locations that nobody asks for.
func strayProbes(touchpoint *v1alpha1.Touchpoint) []v1alpha1.LocationStatus {
	wanted := targets.Locations(touchpoint)
	var stray []v1alpha1.LocationStatus
	for _, entry := range touchpoint.Status.Probes {
		if !slices.Contains(wanted, entry.Location) {
			stray = append(stray, entry)
		}
	}
	return stray
}

// strayProbesCome passes what a prober told that had not heard yet that its location
// is not asked for any more.
var strayProbesCome = predicate.Funcs{
	CreateFunc: func(event.CreateEvent) bool { return false },
	DeleteFunc: func(event.DeleteEvent) bool { return false },
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.Touchpoint), e.ObjectNew.(*v1alpha1.Touchpoint)
		return len(strayProbes(after)) > len(strayProbes(before))
	},
}

func (r *touchpointReconciler) setup(mgr ctrl.Manager, options controller.Options) error {
	b := ctrl.NewControllerManagedBy(mgr).
		// Selectors of ExperienceSLOs read labels.
		For(&v1alpha1.Touchpoint{}, builder.WithPredicates(predicate.Or[client.Object](generationChanges, labelsChange, strayProbesCome))).
		Watches(&v1alpha1.ExperienceSLO{}, handler.EnqueueRequestsFromMapFunc(r.ofSLO), builder.WithPredicates(later, meaningsChange)).
		Watches(&v1alpha1.Journey{}, handler.EnqueueRequestsFromMapFunc(ofJourneyReferences), builder.WithPredicates(later, generationChanges)).
		WatchesMetadata(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(r.ofNamespace), builder.WithPredicates(later, labelsChange)).
		WithOptions(options)
	if r.observed != nil {
		for _, topic := range []observe.Topic{observe.MetricsOfTouchpoint, observe.FiguresOfTouchpoint} {
			b.WatchesRawSource(source.Channel(r.observed.News(topic), &handler.EnqueueRequestForObject{}))
		}
	}
	r.catalogue.watchRuleObjects(b, r.publisher.Form, kindTouchpoint, bySource)
	r.watchProbes(b)
	r.watchWorkloads(b)
	return b.Complete(r)
}

// meaningsChange passes changes of what is promised where, the targets aside.
var meaningsChange = predicate.Or[client.Object](sloTargetsChange, predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.ExperienceSLO), e.ObjectNew.(*v1alpha1.ExperienceSLO)
		return !slices.Equal(rules.Meanings(before), rules.Meanings(after))
	},
})

// ofSLO finds the touchpoints whose rules depend on an ExperienceSLO.
func (r *touchpointReconciler) ofSLO(ctx context.Context, object client.Object) []reconcile.Request {
	slo := object.(*v1alpha1.ExperienceSLO)
	if len(rules.Meanings(slo)) == 0 {
		return nil
	}
	in, err := r.catalogue.reach(ctx, slo)
	if err != nil {
		return failedToMap(ctx, err)
	}
	var concerned []*v1alpha1.Touchpoint
	for _, name := range targets.Resolve(slo, in).Touchpoints {
		if touchpoint := in.Touchpoints[name]; rules.DependsOnPromises(touchpoint) {
			concerned = append(concerned, touchpoint)
		}
	}
	return requestsFor(concerned)
}

// ofJourneyReferences finds the touchpoints that a journey contains.
func ofJourneyReferences(_ context.Context, object client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, reference := range targets.References(object.(*v1alpha1.Journey)) {
		requests = append(requests, reconcile.Request{
			NamespacedName: client.ObjectKey{Namespace: reference.Namespace, Name: reference.Name},
		})
	}
	return requests
}

// ofNamespace finds the touchpoints elsewhere that choose by the labels of a
// namespace whether its journeys may contain them.
func (r *touchpointReconciler) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.catalogue.ofJourneysIn(ctx, namespace, func(journey *v1alpha1.Journey) []reconcile.Request {
		return slices.DeleteFunc(ofJourneyReferences(ctx, journey), func(request reconcile.Request) bool {
			return request.Namespace == namespace.GetName()
		})
	})
}
