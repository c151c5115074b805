package rules

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Object is one rule object.
type Object struct {
	// Name is deterministic: that of a shared object is the same in every namespace.
	Name string
	// Groups stay below what one Kubernetes object can hold.
	Groups []monitoringv1.RuleGroup
}

// ForNamespace makes the shared rules of a namespace: the counts of probes and surveys,
// windows, bounds, alerts and the labels of its touchpoints. The alerts on traffic are those
// of the SRE Workbook, chapter 5; those on surveys rest on Wilson's bounds (see
// budget.Tiers). It returns nothing if no ExperienceSLO there watches anything.
//
// journeysOf maps the name of a touchpoint to the journeys that contain it, as
// namespace/name.
func ForNamespace(namespace string, slos []*v1alpha1.ExperienceSLO, in targets.Namespace, journeysOf map[string][]string) []Object {
	roster := takeRoster(slos, in)
	if len(roster.watched) == 0 {
		return nil
	}
	var objects []Object
	if groups := countGroups(namespace, roster); len(groups) > 0 {
		objects = append(objects, Object{Name: "sojourn-counts", Groups: groups})
	}
	objects = append(objects, Object{Name: "sojourn-windows", Groups: slices.Concat(
		thresholdGroups(namespace, roster),
		minuteGroups(namespace, roster),
		steadyGroups(namespace, roster),
		longGroups(namespace, roster),
		stateGroups(namespace, roster),
	)})
	objects = append(objects, Object{Name: "sojourn-experience", Groups: experienceGroups(namespace)})
	return append(objects, infoObjects(namespace, slices.Sorted(maps.Keys(roster.touchpoints)), in, journeysOf)...)
}

// shape is what the shared rules must tell budgets apart by.
type shape struct {
	window  time.Duration
	family  budget.Family
	source  v1alpha1.Source
	floor   int
	silence time.Duration
}

// roster is what is watched in a namespace: which shapes of budgets, at which touchpoints,
// and which meanings of a loss there are, by def.
type roster struct {
	watched     map[shape]bool
	touchpoints map[string]bool
	counted     map[string]counted
}

// counted is what has to be counted.
type counted struct {
	source  v1alpha1.Source
	meaning meaning
}

func takeRoster(slos []*v1alpha1.ExperienceSLO, in targets.Namespace) roster {
	r := roster{watched: map[shape]bool{}, touchpoints: map[string]bool{}, counted: map[string]counted{}}
	for _, slo := range slos {
		window, err := v1alpha1.Duration(slo.Spec.Window).Value()
		if err != nil {
			continue // the schema admits no such window
		}
		covered := targets.Resolve(slo, in).Touchpoints
		for i := range slo.Spec.Objectives {
			m, err := understand(&slo.Spec.Objectives[i])
			if err != nil {
				continue
			}
			watched, _ := sets(slo, m, covered, in)
			for _, set := range watched {
				r.watched[shape{window, m.family, set.source, m.floor, set.silence}] = true
				r.counted[m.def(set.source)] = counted{set.source, m}
				for _, name := range set.touchpoints {
					r.touchpoints[name] = true
				}
			}
		}
	}
	return r
}

// distinct lists, in order and none twice, one aspect of the shapes for which keep holds.
func distinct[T cmp.Ordered](r roster, keep func(shape) bool, aspect func(shape) T) []T {
	var found []T
	for s := range r.watched {
		if keep(s) {
			found = append(found, aspect(s))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// windows are the lengths of the windows of all budgets of a family, or of all of them if
// the family is empty.
func (r roster) windows(family budget.Family) []time.Duration {
	return distinct(r, func(s shape) bool { return family == "" || s.family == family }, func(s shape) time.Duration { return s.window })
}

// floors are those of all budgets of a family, or of all of them.
func (r roster) floors(family budget.Family) []int {
	return distinct(r, func(s shape) bool { return family == "" || s.family == family }, func(s shape) int { return s.floor })
}

// perObject is how many touchpoints one object of labels holds on average. A rule is a
// kilobyte or two, and an object can hold one megabyte.
const perObject = 128

// shardsFor is how many objects hold n things, a power of two that seldom changes.
func shardsFor(n, perObject int) int {
	shards := 1
	for shards*perObject < n {
		shards *= 2
	}
	return shards
}

// shardOf finds the object of a touchpoint by a hash of its name, so that a new touchpoint
// leaves the objects of the others alone.
func shardOf(touchpoint string, shards int) int {
	hash := fnv.New32a()
	hash.Write([]byte(touchpoint))
	return int(hash.Sum32()) & (shards - 1)
}

// infoObjects records the labels of touchpoints, one rule each.
func infoObjects(namespace string, names []string, in targets.Namespace, journeysOf map[string][]string) []Object {
	shards := shardsFor(len(names), perObject)
	rules := make([][]monitoringv1.Rule, shards)
	for _, name := range names {
		shard := shardOf(name, shards)
		rules[shard] = append(rules[shard], record(TouchpointInfo, "vector(1)", infoLabels(namespace, in.Touchpoints[name], journeysOf[name])))
	}
	var objects []Object
	for shard := range rules {
		name := fmt.Sprintf("sojourn-touchpoints-%d", shard)
		if groups := grouped(name, rosterTile, each(rules[shard])...); len(groups) > 0 {
			objects = append(objects, Object{Name: name, Groups: groups})
		}
	}
	return objects
}

func infoLabels(namespace string, touchpoint *v1alpha1.Touchpoint, journeys []string) map[string]string {
	page, ticket := severities(touchpoint)
	labels := map[string]string{
		"namespace":  namespace,
		"touchpoint": touchpoint.Name,
		"display":    touchpoint.Name,
		"class":      string(touchpoint.Spec.Class),
		"kano":       string(touchpoint.Spec.Kano),
		"channel":    string(touchpoint.Spec.Channel),
		"page":       strconv.FormatBool(page),
		"ticket":     strconv.FormatBool(ticket),
	}
	if touchpoint.Spec.DisplayName != "" {
		labels["display"] = touchpoint.Spec.DisplayName
	}
	if owner := touchpoint.Spec.Owner; owner != nil {
		labels["team"] = owner.Team
		labels["runbook"] = string(owner.RunbookURL)
	}
	if len(journeys) > 0 {
		sorted := slices.Clone(journeys)
		slices.Sort(sorted)
		labels["journeys"] = Some(sorted)
	}
	maps.DeleteFunc(labels, func(_, value string) bool { return strings.TrimSpace(value) == "" })
	return labels
}
