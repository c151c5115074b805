package controllers

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

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
	p := planner{
		catalogue: catalogue{Reader: known, namespaces: options.Namespaces},
		options:   rules.Options{EnforceNamespaceLabel: options.EnforceNamespaceLabel},
		format:    options.Format(), form: form, shared: newSharedRules(),
	}
	// What a namespace shares first: each ExperienceSLO there tells if that fails.
	if err := p.namespaces(ctx, objects.ExperienceSLOs); err != nil {
		return nil, err
	}
	for _, slo := range objects.ExperienceSLOs {
		if err := p.slo(ctx, slo); err != nil {
			return nil, err
		}
	}
	for _, touchpoint := range objects.Touchpoints {
		if err := p.touchpoint(ctx, touchpoint); err != nil {
			return nil, err
		}
	}
	for _, journey := range objects.Journeys {
		if err := p.journey(ctx, journey); err != nil {
			return nil, err
		}
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

func (p *planner) namespaces(ctx context.Context, slos []*v1alpha1.ExperienceSLO) error {
	names := map[string]bool{}
	for _, slo := range slos {
		if p.catalogue.watched(slo.Namespace) {
			names[slo.Namespace] = true
		}
	}
	r := &namespaceReconciler{catalogue: p.catalogue}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s := &namespaceScope{name: name}
		if err := r.load(ctx, s); err != nil {
			return err
		}
		if err := r.loadJourneys(ctx, s); err != nil {
			return err
		}
		r.generate(s)
		source := publish.Source{Kind: kindNamespace, Namespace: name, Name: name}
		if err := p.writable(source, s.objects); err != nil {
			p.shared.note(name, err)
		}
		p.decisions = append(p.decisions, &Decision{Source: source, Rules: s.objects})
	}
	return nil
}

func (p *planner) slo(ctx context.Context, slo *v1alpha1.ExperienceSLO) error {
	r := &experienceSLOReconciler{catalogue: p.catalogue}
	s := &experienceSLOScope{key: client.ObjectKeyFromObject(slo)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil
	}
	if err := r.load(ctx, s); err != nil || s.slo == nil || s.slo.DeletionTimestamp != nil {
		return err
	}
	r.generate(s)
	d := &Decision{Source: sourceOf(kindExperienceSLO, s.key), Object: slo, Rules: s.rules.Objects, SLO: &s.rules}
	s.problems = append(s.problems, p.refusal(d, adviceExperienceSLO)...)
	if len(d.Rules) > 0 {
		s.problems = append(s.problems, p.shared.problems(s.key.Namespace)...)
	}
	p.decide(d, s.finding())
	return nil
}

func (p *planner) touchpoint(ctx context.Context, touchpoint *v1alpha1.Touchpoint) error {
	r := &touchpointReconciler{
		catalogue: p.catalogue, rules: p.options,
		publisher: &publish.Publisher{Probes: p.form == publish.PrometheusRules},
	}
	s := &touchpointScope{key: client.ObjectKeyFromObject(touchpoint)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil
	}
	if err := r.load(ctx, s); err != nil || s.touchpoint == nil || s.touchpoint.DeletionTimestamp != nil {
		return err
	}
	r.check(s)
	r.checkProbe(s)
	r.generate(s)
	d := &Decision{Source: sourceOf(kindTouchpoint, s.key), Object: touchpoint, Rules: s.objects(), MeasuredBy: measuredBy(touchpoint)}
	r.checkProbeKind(s)
	s.problems = append(s.problems, p.refusal(d, adviceTouchpoint)...)
	p.decide(d, s.finding())
	return nil
}

func (p *planner) journey(ctx context.Context, journey *v1alpha1.Journey) error {
	r := &journeyReconciler{catalogue: p.catalogue, rules: p.options}
	s := &journeyScope{key: client.ObjectKeyFromObject(journey)}
	if !p.catalogue.watched(s.key.Namespace) {
		return nil
	}
	if err := r.load(ctx, s); err != nil || s.journey == nil || s.journey.DeletionTimestamp != nil {
		return err
	}
	if err := r.loadTouchpoints(ctx, s); err != nil {
		return err
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
	p.decide(d, s.finding())
	return nil
}

func (p *planner) decide(d *Decision, found finding) {
	d.Problems = found.problems
	d.Ready = readiness(nil, d.Object.GetGeneration(), found, metav1.Time{})[0]
	p.decisions = append(p.decisions, d)
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
		var err error
		if p.form == publish.PrometheusRules {
			_, err = publish.PrometheusRuleJSON(p.format.PrometheusRule(source, object))
		} else {
			_, err = p.format.ConfigMap(source, object)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
