// Package targets finds the touchpoints that an ExperienceSLO covers. It is pure:
// the manager, the prober and everybody else who asks get the same answer from the
// same objects.
package targets

import (
	"cmp"
	"slices"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// Namespace is what a resolution reads: the objects of the ExperienceSLO's own
// namespace, by name.
type Namespace struct {
	Touchpoints map[string]*v1alpha1.Touchpoint
	Journeys    map[string]*v1alpha1.Journey
}

// Resolution tells what the targets of an ExperienceSLO come to. Its lists are
// sorted and hold no name twice.
type Resolution struct {
	// Touchpoints are the covered touchpoints, all of them present in the namespace.
	Touchpoints []string
	// Missing are names that the targets mention and that no Touchpoint has.
	Missing []string
	// MissingJourney is the name of the targeted Journey if it does not exist.
	MissingJourney string
	// Elsewhere are touchpoints of the targeted Journey in other namespaces, as
	// namespace/name. An ExperienceSLO never reaches outside its own.
	Elsewhere []string
}

// Resolve finds the touchpoints that an ExperienceSLO covers.
func Resolve(slo *v1alpha1.ExperienceSLO, in Namespace) Resolution {
	var found Resolution
	add := func(name string) {
		if _, exists := in.Touchpoints[name]; exists {
			found.Touchpoints = append(found.Touchpoints, name)
		} else {
			found.Missing = append(found.Missing, name)
		}
	}
	targets := &slo.Spec.Targets
	for _, name := range targets.Touchpoints {
		add(string(name))
	}
	if targets.Journey != "" {
		journey, exists := in.Journeys[string(targets.Journey)]
		if !exists {
			found.MissingJourney = string(targets.Journey)
		} else {
			for _, reference := range References(journey) {
				if reference.Namespace == slo.Namespace {
					add(reference.Name)
				} else {
					found.Elsewhere = append(found.Elsewhere, reference.Namespace+"/"+reference.Name)
				}
			}
		}
	}
	if targets.Selector != nil {
		for name, touchpoint := range in.Touchpoints {
			if selects(targets.Selector, touchpoint) {
				found.Touchpoints = append(found.Touchpoints, name)
			}
		}
	}
	for _, list := range []*[]string{&found.Touchpoints, &found.Missing, &found.Elsewhere} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return found
}

// Reference is a touchpoint as a journey names it, its namespace always filled in.
type Reference struct {
	Namespace, Name string
}

// References lists the distinct touchpoints of a journey in the order in which the
// customer first meets them.
func References(journey *v1alpha1.Journey) []Reference {
	var references []Reference
	seen := map[Reference]bool{}
	for _, stage := range journey.Spec.Stages {
		for _, touchpoint := range stage.Touchpoints {
			reference := ReferenceOf(journey, touchpoint)
			if !seen[reference] {
				seen[reference] = true
				references = append(references, reference)
			}
		}
	}
	return references
}

// ReferenceOf says which touchpoint a journey names.
func ReferenceOf(journey *v1alpha1.Journey, named v1alpha1.TouchpointReference) Reference {
	return Reference{Namespace: cmp.Or(string(named.Namespace), journey.Namespace), Name: string(named.Name)}
}

func selects(selector *v1alpha1.TouchpointSelector, touchpoint *v1alpha1.Touchpoint) bool {
	for key, value := range selector.MatchLabels {
		if actual, has := touchpoint.Labels[key]; !has || actual != string(value) {
			return false
		}
	}
	return len(selector.Classes) == 0 || slices.Contains(selector.Classes, touchpoint.Spec.Class)
}

// LatencyThresholds lists, in ascending order and none twice, the thresholds of all
// latency objectives that cover a touchpoint. A histogram serves those objectives
// exactly if each of them is one of its bucket edges.
func LatencyThresholds(touchpoint string, slos []*v1alpha1.ExperienceSLO, in Namespace) []time.Duration {
	var thresholds []time.Duration
	for _, slo := range slos {
		promised := LatencyPromises(slo)
		if len(promised) > 0 && slices.Contains(Resolve(slo, in).Touchpoints, touchpoint) {
			thresholds = append(thresholds, promised...)
		}
	}
	slices.Sort(thresholds)
	return slices.Compact(thresholds)
}

// LatencyPromises lists the thresholds of an ExperienceSLO's latency objectives in the
// spec's order.
func LatencyPromises(slo *v1alpha1.ExperienceSLO) []time.Duration {
	var promised []time.Duration
	for _, objective := range slo.Spec.Objectives {
		if objective.Latency == nil {
			continue
		}
		if threshold, err := objective.Latency.Threshold.Value(); err == nil && threshold > 0 {
			promised = append(promised, threshold)
		}
	}
	return promised
}
