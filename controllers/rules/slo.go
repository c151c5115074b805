package rules

import (
	"errors"
	"fmt"
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

// SLORules is what an ExperienceSLO comes to.
type SLORules struct {
	// Objects record what is allowed; none if nothing can be watched.
	Objects []Object
	// Resolution tells which touchpoints the targets match.
	Resolution targets.Resolution
	// Objectives says for each objective, in the spec's order, how it is watched.
	Objectives []v1alpha1.ObjectiveStatus
	// Budgets is the number of pairs of objective and touchpoint that are watched, and
	// Watched says which.
	Budgets int
	Watched []Watch
	// Problems are in the order of the spec. Missing references are not among them:
	// Resolution names those.
	Problems []Problem
	// Skipped tells where an objective is not measured although a journey or a selector
	// brought the touchpoint in. Who chooses by a rule expects to miss some; who names a
	// touchpoint has a Problem.
	Skipped []Problem
}

// Watch is the budgets of one objective whose events come from one source.
type Watch struct {
	Objective string
	// Def says what a loss means.
	Def         string
	Family      budget.Family
	Touchpoints []string
	// Allowed is the mean loss per event that is allowed.
	Allowed float64
	// Value turns a mean loss into the unit of the promise: percent of good events,
	// percent of net ease, points of a mean or of NPS.
	Value func(loss float64) float64
}

// ForSLO makes the rules of one ExperienceSLO: one for each objective, which says what is
// allowed, however many touchpoints it covers as long as one object can hold them. An objective that its touchpoints serve
// from different sources takes one for each source, because a loss means something else in
// each. What happens is counted by touchpoint, for all promises alike. The budgets are mean
// losses per event, by the formulas of package budget.
func ForSLO(slo *v1alpha1.ExperienceSLO, in targets.Namespace) SLORules {
	made := SLORules{Resolution: targets.Resolve(slo, in)}
	var all []budgetSet
	for i := range slo.Spec.Objectives {
		m, err := understand(&slo.Spec.Objectives[i])
		if err != nil {
			made.Problems = append(made.Problems, impossible(m, err))
			made.Objectives = append(made.Objectives, v1alpha1.ObjectiveStatus{Name: v1alpha1.Name(m.name)})
			continue
		}
		watched, unmeasured := sets(slo, m, made.Resolution.Touchpoints, in)
		if len(watched) > 0 && len(slo.Spec.Targets.Touchpoints) == 0 {
			made.Skipped = append(made.Skipped, unmeasured...)
		} else {
			made.Problems = append(made.Problems, unmeasured...)
		}
		status := describe(slo, m, watched, in)
		made.Objectives = append(made.Objectives, status)
		made.Budgets += int(status.Budgets)
		for _, set := range watched {
			all = append(all, set)
			made.Watched = append(made.Watched, Watch{
				Objective: m.name, Def: m.def(set.source), Family: m.family, Touchpoints: set.touchpoints,
				Allowed: m.budget, Value: set.meaning.value,
			})
		}
	}
	made.Objects = rosterObjects("sojourn-slo-"+slo.Name, all, made.Budgets)
	return made
}

// budgetsPerObject is how many budgets one rule object names on average: each of them takes
// up to 64 bytes, and an object can hold one megabyte.
const budgetsPerObject = 4096

// rosterObjects makes one rule of each set, in one object. Where that would outgrow what an
// object can hold, the touchpoints are spread over several by their names, so that one
// touchpoint more changes a single object. Names of ExperienceSLOs have no dot, so that no
// two of these objects meet in one name.
func rosterObjects(name string, all []budgetSet, budgets int) []Object {
	shards := shardsFor(budgets, budgetsPerObject)
	rules := make([][]monitoringv1.Rule, shards)
	for _, set := range all {
		spread := make([][]string, shards)
		for _, touchpoint := range set.touchpoints {
			shard := shardOf(touchpoint, shards)
			spread[shard] = append(spread[shard], touchpoint)
		}
		for shard, touchpoints := range spread {
			if len(touchpoints) > 0 {
				set.touchpoints = touchpoints
				rules[shard] = append(rules[shard], record(Budget, set.allowed(), set.labels()))
			}
		}
	}
	var objects []Object
	for shard := range rules {
		shardName := name
		if shard > 0 {
			shardName = fmt.Sprintf("%s.%d", name, shard)
		}
		if groups := grouped(shardName, rosterTile, each(rules[shard])...); len(groups) > 0 {
			objects = append(objects, Object{Name: shardName, Groups: groups})
		}
	}
	return objects
}

func impossible(m meaning, err error) Problem {
	problem := Problem{Field: m.field, Reason: v1alpha1.ReasonImpossibleTarget, Message: err.Error(), Stalled: true}
	if !errors.Is(err, budget.ErrNoBudget) {
		problem.Message = "cannot be read: " + err.Error()
	}
	return problem
}

// budgetSet is the budgets of one objective whose events come from one source.
type budgetSet struct {
	slo         *v1alpha1.ExperienceSLO
	meaning     meaning
	source      v1alpha1.Source
	touchpoints []string
	// silence is how long no event may come before that is a fault, by the slowest of
	// the touchpoints.
	silence time.Duration
}

// sets sorts the touchpoints of an objective by source, and tells of those that have none.
func sets(slo *v1alpha1.ExperienceSLO, m meaning, touchpoints []string, in targets.Namespace) ([]budgetSet, []Problem) {
	bySource := map[v1alpha1.Source]*budgetSet{}
	lacking := map[string][]string{}
	for _, name := range touchpoints {
		touchpoint := in.Touchpoints[name]
		source, lacks := m.sourceAt(touchpoint)
		if source == "" {
			lacking[lacks] = append(lacking[lacks], name)
			continue
		}
		set, known := bySource[source]
		if !known {
			set = &budgetSet{slo: slo, meaning: m, source: source}
			bySource[source] = set
		}
		set.touchpoints = append(set.touchpoints, name)
		set.silence = max(set.silence, silenceOf(source, touchpoint))
	}
	var watched []budgetSet
	for _, source := range slices.Sorted(maps.Keys(bySource)) {
		watched = append(watched, *bySource[source])
	}
	var problems []Problem
	for _, lacks := range slices.Sorted(maps.Keys(lacking)) {
		problems = append(problems, Problem{
			Field:   fmt.Sprintf("spec.objectives[%s]", m.name),
			Reason:  v1alpha1.ReasonNotMeasured,
			Message: fmt.Sprintf("nothing measures it at %s: give the Touchpoint %s", Some(lacking[lacks]), lacks),
		})
	}
	return watched, problems
}

// silenceOf is how long no event may come before that is a fault. A probe is missed
// after three intervals, and not before five minutes, which is how far a count looks
// back.
func silenceOf(source v1alpha1.Source, touchpoint *v1alpha1.Touchpoint) time.Duration {
	if source == v1alpha1.SourceProbe {
		if interval, err := touchpoint.Spec.Probe.Interval.Value(); err == nil && 3*interval > 5*time.Minute {
			return 15 * time.Minute
		}
	}
	return 5 * time.Minute
}

// Some names the first five of many, and says how many more there are.
func Some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// allowed makes the roster: one series for each touchpoint, present whether or not
// there is data, with the labels by which its alerts are routed.
func (s budgetSet) allowed() string {
	by := "namespace, touchpoint, team"
	if !s.choosesSeverities() {
		by += ", page, ticket"
	}
	return fmt.Sprintf("0 * max by (%s) (%s) + %s", by, selector(TouchpointInfo, equals("namespace", s.slo.Namespace), oneOf("touchpoint", s.touchpoints)), budget.Format(s.meaning.budget))
}

// choosesSeverities tells whether the ExperienceSLO says which alerts there are, rather
// than each touchpoint.
func (s budgetSet) choosesSeverities() bool {
	alerting := s.slo.Spec.Alerting
	return alerting != nil && (alerting.Disabled || len(alerting.Severities) > 0)
}

// labels are what alerts and tables need to know of a budget. rosterLabels lists those
// that alerts do not show.
func (s budgetSet) labels() map[string]string {
	labels := map[string]string{
		"slo":       s.slo.Name,
		"objective": s.meaning.name,
		"def":       s.meaning.def(s.source),
		"type":      s.meaning.kind,
		"source":    strings.ToLower(string(s.source)),
		"family":    string(s.meaning.family),
		"window":    string(s.slo.Spec.Window),
		"floor":     strconv.Itoa(s.meaning.floor),
		"silence":   promDuration(s.silence),
		"promise":   s.meaning.promise,
	}
	if instrument := s.meaning.instrumentLabel(); instrument != "" {
		labels["instrument"] = instrument
	}
	if alerting := s.slo.Spec.Alerting; alerting != nil {
		if alerting.RunbookURL != "" {
			labels["runbook"] = string(alerting.RunbookURL)
		}
		if s.choosesSeverities() {
			labels["page"] = strconv.FormatBool(!alerting.Disabled && slices.Contains(alerting.Severities, v1alpha1.SeverityPage))
			labels["ticket"] = strconv.FormatBool(!alerting.Disabled && slices.Contains(alerting.Severities, v1alpha1.SeverityTicket))
		}
		for name, value := range alerting.Labels {
			labels[name] = string(value)
		}
	}
	return labels
}

// severities tells which alerts a touchpoint raises where the ExperienceSLO does not say.
func severities(touchpoint *v1alpha1.Touchpoint) (page, ticket bool) {
	return touchpoint.Spec.Class == v1alpha1.ClassCritical && touchpoint.Spec.Kano != v1alpha1.KanoMotivator, true
}

// describe says how an objective is watched, and which of its alerts are in force.
func describe(slo *v1alpha1.ExperienceSLO, m meaning, watched []budgetSet, in targets.Namespace) v1alpha1.ObjectiveStatus {
	status := v1alpha1.ObjectiveStatus{Name: v1alpha1.Name(m.name), Budget: budget.Format(m.budget)}
	page, ticket := false, false
	for _, set := range watched {
		status.Budgets += int32(len(set.touchpoints))
		for _, name := range set.touchpoints {
			pages, tickets := severities(in.Touchpoints[name])
			page, ticket = page || pages, ticket || tickets
		}
	}
	if status.Budgets == 0 {
		return status
	}
	if alerting := slo.Spec.Alerting; alerting != nil {
		if alerting.Disabled {
			status.Silent = []string{"all: spec.alerting.disabled is true"}
			return status
		}
		if len(alerting.Severities) > 0 {
			page = slices.Contains(alerting.Severities, v1alpha1.SeverityPage)
			ticket = slices.Contains(alerting.Severities, v1alpha1.SeverityTicket)
		}
	}
	if !page {
		status.Silent = append(status.Silent, "page: none of these touchpoints is Critical with a kano other than Motivator, and spec.alerting.severities does not ask for it")
	}
	if !ticket {
		status.Silent = append(status.Silent, "ticket: spec.alerting.severities does not ask for it")
	}
	var dead []string
	status.Tiers, dead = m.tiers(slo, page, ticket)
	status.Silent = append(status.Silent, dead...)
	return status
}

// tiers lists the alerts of those wanted that are in force, and why others could never fire.
func (m *meaning) tiers(slo *v1alpha1.ExperienceSLO, page, ticket bool) (inForce, dead []string) {
	window, err := v1alpha1.Duration(slo.Spec.Window).Value()
	if err != nil {
		return nil, nil
	}
	for _, tier := range budget.Tiers(m.family, window) {
		if (tier.Page && !page) || (!tier.Page && !ticket) {
			continue
		}
		factor, why := tier.InForce(m.budget, m.floor)
		if factor == 0 {
			dead = append(dead, fmt.Sprintf("%s %s: %s", tier.Severity(), tier.Name, why))
			continue
		}
		inForce = append(inForce, fmt.Sprintf("%s %s at %.4gx", tier.Severity(), tier.Name, factor))
	}
	return inForce, dead
}

// Tiers lists the alerts that the budget of an objective at a touchpoint can raise, such as
// "page 1h at 13.44x".
func Tiers(slo *v1alpha1.ExperienceSLO, objective *v1alpha1.Objective, touchpoint *v1alpha1.Touchpoint) []string {
	m, err := understand(objective)
	if err != nil {
		return nil
	}
	page, ticket := severities(touchpoint)
	if alerting := slo.Spec.Alerting; alerting != nil && (alerting.Disabled || len(alerting.Severities) > 0) {
		page = !alerting.Disabled && slices.Contains(alerting.Severities, v1alpha1.SeverityPage)
		ticket = !alerting.Disabled && slices.Contains(alerting.Severities, v1alpha1.SeverityTicket)
	}
	inForce, _ := m.tiers(slo, page, ticket)
	return inForce
}
