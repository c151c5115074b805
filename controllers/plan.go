package controllers

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Objects are what the controllers decide about. No two of a kind have the same name and
// namespace.
type Objects struct {
	Journeys       []*v1alpha1.Journey
	Touchpoints    []*v1alpha1.Touchpoint
	ExperienceSLOs []*v1alpha1.ExperienceSLO
	// NamespaceLabels are the labels of namespaces; a namespace that is not there has none.
	NamespaceLabels map[string]map[string]string
}

// Decision is what the controllers would decide about one object, or, of the kind
// Namespace, about what the objects of a namespace share.
type Decision struct {
	Source publish.Source
	// Object is what is decided about; nil for a namespace.
	Object client.Object
	// Ready is the condition that the object would have, without a time; without a type for
	// a namespace.
	Ready metav1.Condition
	// Problems are what keeps the object from being Ready, in the order of the spec.
	Problems []rules.Problem
	// Rules are the rule objects that would be written.
	Rules []rules.Object

	// SLO says how an ExperienceSLO is watched; nil for the other kinds.
	SLO *rules.SLORules
	// MeasuredBy lists the ways in which a Touchpoint is measured, such as "Probe, Survey".
	MeasuredBy string
	// Missing and Refused are the touchpoints of a Journey that are not there, and that are
	// not open to it.
	Missing, Refused []targets.Reference
}

// Plan tells what the controllers would decide about objects, without a cluster. Only what
// data shows is not among it. The kinds of the Prometheus Operator are taken to be
// installed where form says PrometheusRules. Decisions are in the order of kind, namespace
// and name.
//
// The objects must be as the API server would store them: admitted, with defaults filled in.
func Plan(ctx context.Context, objects Objects, options Options, form publish.Form) ([]*Decision, error) {
	known, err := newMemory(ctx, objects)
	if err != nil {
		return nil, err
	}
	p := &planner{
		catalogue: catalogue{Reader: known, namespaces: options.Namespaces},
		options:   rules.Options{EnforceNamespaceLabel: options.EnforceNamespaceLabel},
		format:    options.Format(), form: form, shared: newSharedRules(),
	}
	// What a namespace shares first: each ExperienceSLO there tells if that fails.
	if err := each(ctx, p, sharing(objects.ExperienceSLOs), p.namespace); err != nil {
		return nil, err
	}
	if err := errors.Join(
		each(ctx, p, objects.ExperienceSLOs, p.slo),
		each(ctx, p, objects.Touchpoints, p.touchpoint),
		each(ctx, p, objects.Journeys, p.journey),
	); err != nil {
		return nil, err
	}
	slices.SortStableFunc(p.decisions, func(a, b *Decision) int {
		return cmp.Or(cmp.Compare(a.Source.Kind, b.Source.Kind), cmp.Compare(a.Source.Namespace, b.Source.Namespace), cmp.Compare(a.Source.Name, b.Source.Name))
	})
	return p.decisions, nil
}

// planner goes through the steps of the reconcilers, up to those that write.
type planner struct {
	catalogue catalogue
	options   rules.Options
	format    publish.Format
	form      publish.Form
	shared    *sharedRules
	decisions []*Decision
}

// each decides about some objects, several at once, and keeps the decisions.
func each[T any](ctx context.Context, p *planner, objects []T, decide func(context.Context, T) (*Decision, error)) error {
	decisions := make([]*Decision, len(objects))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, object := range objects {
		group.Go(func() (err error) {
			decisions[i], err = decide(ctx, object)
			return err
		})
	}
	err := group.Wait()
	for _, decision := range decisions {
		if decision != nil {
			p.decisions = append(p.decisions, decision)
		}
	}
	return err
}

// sharing lists the namespaces of ExperienceSLOs, which have rules that they share.
func sharing(slos []*v1alpha1.ExperienceSLO) []string {
	names := map[string]bool{}
	for _, slo := range slos {
		names[slo.Namespace] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func (p *planner) namespace(ctx context.Context, name string) (*Decision, error) {
	if !p.catalogue.watched(name) {
		return nil, nil
	}
	r := &namespaceReconciler{catalogue: p.catalogue}
	s := &namespaceScope{name: name}
	if err := r.load(ctx, s); err != nil {
		return nil, err
	}
	if err := r.loadJourneys(ctx, s); err != nil {
		return nil, err
	}
	r.generate(s)
	source := publish.Source{Kind: kindNamespace, Namespace: name, Name: name}
	if err := p.writable(source, s.objects); err != nil {
		p.shared.note(name, err)
	}
	return &Decision{Source: source, Rules: s.objects}, nil
}

func (p *planner) slo(ctx context.Context, slo *v1alpha1.ExperienceSLO) (*Decision, error) {
	r := &experienceSLOReconciler{catalogue: p.catalogue}
	s := &experienceSLOScope{key: client.ObjectKeyFromObject(slo)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil, nil
	}
	if err := r.load(ctx, s); err != nil || s.slo == nil || s.slo.DeletionTimestamp != nil {
		return nil, err
	}
	r.generate(s)
	d := &Decision{Source: sourceOf(kindExperienceSLO, s.key), Object: slo, Rules: s.rules.Objects, SLO: &s.rules}
	s.problems = append(s.problems, p.refusal(d, adviceExperienceSLO)...)
	if len(d.Rules) > 0 {
		s.problems = append(s.problems, p.shared.problems(s.key.Namespace)...)
	}
	return d.with(s.finding()), nil
}

func (p *planner) touchpoint(ctx context.Context, touchpoint *v1alpha1.Touchpoint) (*Decision, error) {
	r := &touchpointReconciler{
		catalogue: p.catalogue, rules: p.options,
		publisher: &publish.Publisher{Probes: p.form == publish.PrometheusRules},
	}
	s := &touchpointScope{key: client.ObjectKeyFromObject(touchpoint)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil, nil
	}
	if err := r.load(ctx, s); err != nil || s.touchpoint == nil || s.touchpoint.DeletionTimestamp != nil {
		return nil, err
	}
	r.check(s)
	r.checkProbe(s)
	r.generate(s)
	d := &Decision{Source: sourceOf(kindTouchpoint, s.key), Object: touchpoint, Rules: s.objects(), MeasuredBy: measuredBy(touchpoint)}
	r.checkProbeKind(s)
	s.problems = append(s.problems, p.refusal(d, adviceTouchpoint)...)
	return d.with(s.finding()), nil
}

func (p *planner) journey(ctx context.Context, journey *v1alpha1.Journey) (*Decision, error) {
	r := &journeyReconciler{catalogue: p.catalogue, rules: p.options}
	s := &journeyScope{key: client.ObjectKeyFromObject(journey)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil, nil
	}
	if err := r.load(ctx, s); err != nil || s.journey == nil || s.journey.DeletionTimestamp != nil {
		return nil, err
	}
	if err := r.loadTouchpoints(ctx, s); err != nil {
		return nil, err
	}
	r.check(s)
	r.generate(s)
	d := &Decision{Source: sourceOf(kindJourney, s.key), Object: journey, Rules: s.objects()}
	for _, reference := range s.references {
		switch name := s.nameOf(reference); {
		case s.touchpoints[reference] != nil:
		case slices.Contains(s.refused, name):
			d.Refused = append(d.Refused, reference)
		default:
			d.Missing = append(d.Missing, reference)
		}
	}
	s.problems = append(s.problems, p.refusal(d, adviceJourney)...)
	return d.with(s.finding()), nil
}

// with adds what was found out.
func (d *Decision) with(found finding) *Decision {
	d.Problems = found.problems
	d.Ready = readiness(nil, d.Object.GetGeneration(), found, metav1.Time{})[0]
	return d
}

// refusal is what the API server would not take.
func (p *planner) refusal(d *Decision, advice string) []rules.Problem {
	problems, _ := published(p.writable(d.Source, d.Rules), advice)
	return problems
}

// writable tells whether rule objects can be written as they are.
func (p *planner) writable(source publish.Source, objects []rules.Object) error {
	var failures []error
	for _, object := range objects {
		_, err := p.format.Text(p.form, source, object)
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
