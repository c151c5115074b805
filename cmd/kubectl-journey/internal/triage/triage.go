// Package triage finds what is not right with journeys, touchpoints and ExperienceSLOs, and
// what to do about it: of the customers as well as of the configuration. It is pure, and
// judges by the objects' status alone.
package triage

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Level is how urgent a problem is.
type Level string

// Levels, the worst first.
const (
	// Page: an alert pages somebody.
	Page Level = "page"
	// Blind: what customers feel is not seen, or no alert can fire.
	Blind Level = "blind"
	// Ticket: an alert asks for work in daylight.
	Ticket Level = "ticket"
	// Broken: a promise is broken, and no alert fires any more, or ever could.
	Broken Level = "broken"
	// Setup: an object does not work as it is written.
	Setup Level = "setup"
	// Chance: a promise looks broken, which may be chance.
	Chance Level = "chance"
	// Note: nothing is wrong, but figures mean less than they seem to.
	Note Level = "note"
)

var levels = []Level{Page, Blind, Ticket, Broken, Setup, Chance, Note}

// Problem is something that is not right.
type Problem struct {
	Level Level `json:"level"`
	// Kind, Namespace and Name are of the object; Title is what people call it.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Title     string `json:"title"`
	// What is wrong, in a few words that go on after the title.
	What string `json:"what"`
	// Since is when it began; zero if that is not known.
	Since time.Time `json:"since,omitzero"`
	// Budgets are those that are spent or burn, the worst first.
	Budgets []atlas.Budget   `json:"budgets,omitempty"`
	Alerts  []Alert          `json:"alerts,omitempty"`
	Probes  []atlas.Location `json:"probes,omitempty"`
	// Behind are the parts behind the scenes that do not do well.
	Behind []atlas.Part `json:"behind,omitempty"`
	// Comments are what customers who were let down wrote last.
	Comments []atlas.Comment `json:"comments,omitempty"`
	// Says is what is known besides, a sentence each.
	Says     []string `json:"says,omitempty"`
	Journeys []string `json:"journeys,omitempty"`
	// Owner answers for it.
	Owner   string `json:"owner,omitempty"`
	Runbook string `json:"runbookURL,omitempty"`
	// Next is the command to type next.
	Next string `json:"next,omitempty"`
}

// Alert is a tier that fires for a budget.
type Alert struct {
	SLO       string `json:"slo"`
	Objective string `json:"objective"`
	// Tier is such as "page 1h".
	Tier string `json:"tier"`
	// Since is when it began; zero if that is not known.
	Since time.Time `json:"since,omitzero"`
}

// Report is what was found.
type Report struct {
	Problems []*Problem `json:"problems"`
	// Budgets is how many there are, Kept how many of them are kept.
	Budgets int32 `json:"budgets"`
	Kept    int32 `json:"kept"`
	// Unjudged says, with how many, why others cannot be judged yet.
	Unjudged []string `json:"unjudged,omitempty"`
	// Missing says what could not be looked at.
	Missing []string `json:"missing,omitempty"`
}

// Selection is what is looked at.
type Selection struct {
	Journeys, Touchpoints, ExperienceSLOs map[atlas.Key]bool
	// promised are touchpoints of which only what some ExperienceSLOs promise there is
	// looked at.
	promised map[atlas.Key]map[string]bool
	// whole are ExperienceSLOs that are looked at wherever they promise something.
	whole map[atlas.Key]bool
}

func nothing() Selection {
	return Selection{map[atlas.Key]bool{}, map[atlas.Key]bool{}, map[atlas.Key]bool{}, map[atlas.Key]map[string]bool{}, map[atlas.Key]bool{}}
}

// All selects what there is in a namespace, and what its journeys pass through elsewhere; if
// the namespace is empty, all there is.
func All(o *atlas.Objects, namespace string) Selection {
	s := nothing()
	for key := range o.Journeys {
		s.add(o, key)
	}
	for key := range o.Touchpoints {
		if namespace == "" || key.Namespace == namespace {
			s.Touchpoints[key] = true
		}
	}
	for key := range o.ExperienceSLOs {
		if namespace == "" || key.Namespace == namespace {
			s.addPromise(o, key)
		}
	}
	return s
}

// add selects a journey and its touchpoints.
func (s Selection) add(o *atlas.Objects, key atlas.Key) {
	s.Journeys[key] = true
	for _, reference := range targets.References(o.Journeys[key]) {
		s.Touchpoints[atlas.Key{Namespace: reference.Namespace, Name: reference.Name}] = true
	}
}

// Named selects what was typed: journey/x, tp/x, xslo/x, or the bare name of a journey. A
// journey brings its touchpoints along, and what is promised there.
func Named(o *atlas.Objects, namespace string, typed []string) (Selection, error) {
	s := nothing()
	for _, each := range typed {
		kind, name, named := strings.Cut(each, "/")
		if !named {
			kind, name = "journey", each
		}
		key := atlas.Key{Namespace: namespace, Name: name}
		kind, _, _ = strings.Cut(strings.ToLower(kind), ".")
		there := false
		switch kind {
		case "journey", "journeys", "jrn":
			if there = o.Journeys[key] != nil; there {
				s.add(o, key)
			}
		case "touchpoint", "touchpoints", "tp":
			there = o.Touchpoints[key] != nil
			s.Touchpoints[key] = true
		case "experienceslo", "experienceslos", "xslo":
			if there = o.ExperienceSLOs[key] != nil; there {
				s.addPromise(o, key)
			}
		default:
			return s, fmt.Errorf("%s: the kind %s is not known: write journey/NAME, tp/NAME, xslo/NAME, or the name of a journey", each, kind)
		}
		if !there {
			return s, fmt.Errorf("there is no %s in namespace %s: kubectl get journeys,touchpoints,experienceslos -n %s lists what there is", each, namespace, namespace)
		}
	}
	// What is promised where customers were looked for.
	for key, slo := range o.ExperienceSLOs {
		for i := range slo.Status.Worst {
			if s.Touchpoints[atlas.Key{Namespace: key.Namespace, Name: string(slo.Status.Worst[i].Touchpoint)}] {
				s.ExperienceSLOs[key] = true
			}
		}
	}
	return s, nil
}

// addPromise selects an ExperienceSLO, and the touchpoints that it covers as far as it does.
func (s Selection) addPromise(o *atlas.Objects, key atlas.Key) {
	s.ExperienceSLOs[key], s.whole[key] = true, true
	for i := range o.ExperienceSLOs[key].Status.Worst {
		at := atlas.Key{Namespace: key.Namespace, Name: string(o.ExperienceSLOs[key].Status.Worst[i].Touchpoint)}
		if s.promised[at] == nil {
			s.promised[at] = map[string]bool{}
		}
		s.promised[at][key.Name] = true
	}
}

// Find looks for problems, the worst first.
func Find(o *atlas.Objects, s Selection) *Report {
	r := &Report{Problems: []*Problem{}}
	r.customers(o, s)
	r.configuration(o, s)
	r.count(o, s)
	r.Sort()
	return r
}

// Silent adds that what measures an objective at a touchpoint has fallen silent.
func (r *Report) Silent(s Selection, key atlas.Key, slo, objective string, since time.Time) {
	if !s.Touchpoints[key] && !s.promised[key][slo] {
		return
	}
	r.Problems = append(r.Problems, &Problem{
		Level: Blind, Kind: "Touchpoint", Namespace: key.Namespace, Name: key.Name, Title: key.Name, Since: since,
		What:   "is not measured any more",
		Says:   []string{fmt.Sprintf("Nothing has come for %s of experienceslo/%s: the prober, the exporter or the gateway behind it is gone or is not scraped.", objective, slo)},
		Alerts: []Alert{{SLO: slo, Objective: objective, Tier: "data missing", Since: since}},
		Next:   fmt.Sprintf("kubectl -n %s describe touchpoint/%s", key.Namespace, key.Name),
	})
}

// Sort puts the worst first; more may have become known of problems.
func (r *Report) Sort() {
	slices.SortStableFunc(r.Problems, func(a, b *Problem) int {
		return cmp.Or(slices.Index(levels, a.Level)-slices.Index(levels, b.Level), cmp.Compare(least(a), least(b)),
			strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.What, b.What))
	})
}

// least is what is left of the problem's worst budget.
func least(p *Problem) float64 {
	lowest := 101.0
	for i := range p.Budgets {
		if left := p.Budgets[i].Left; left != nil {
			lowest = min(lowest, *left)
		}
	}
	return lowest
}

// customers looks at what they feel: a problem for each touchpoint.
func (r *Report) customers(o *atlas.Objects, s Selection) {
	seen := maps.Clone(s.Touchpoints)
	for key := range s.promised {
		seen[key] = true
	}
	for key := range seen {
		t := o.Touchpoint(key)
		if t == nil {
			continue // the journey says so
		}
		p := &Problem{
			Kind: "Touchpoint", Namespace: t.Namespace, Name: t.Name, Title: t.Title, Since: t.Health.Since, Journeys: t.Journeys,
			Level: Chance, What: "may be letting customers down; there are too few answers to be sure",
		}
		for _, b := range t.Promised {
			if !s.Touchpoints[key] && !s.promised[key][b.SLO] {
				continue
			}
			if b.State != v1alpha1.ReasonBreached && b.State != v1alpha1.ReasonAtRisk && b.State != v1alpha1.ReasonInconclusive && len(b.Alerts) == 0 {
				continue
			}
			p.Budgets = append(p.Budgets, b)
			p.Runbook = cmp.Or(p.Runbook, b.RunbookURL)
			for _, tier := range b.Alerts {
				p.Alerts = append(p.Alerts, Alert{SLO: b.SLO, Objective: b.Objective, Tier: tier})
			}
			if level := levelOf(&b); slices.Index(levels, level) < slices.Index(levels, p.Level) {
				p.Level = level
			}
		}
		if len(p.Budgets) == 0 {
			continue
		}
		slices.SortStableFunc(p.Budgets, func(a, b atlas.Budget) int {
			return slices.Index(levels, levelOf(&a)) - slices.Index(levels, levelOf(&b))
		})
		switch {
		case slices.ContainsFunc(p.Budgets, func(b atlas.Budget) bool { return b.State == v1alpha1.ReasonBreached }):
			p.What = "lets customers down"
		case p.Level != Chance:
			p.What = "is failing faster than its promise allows"
		}
		for _, location := range t.Probes {
			if location.Outcome != string(v1alpha1.ProbeSuccess) {
				p.Probes = append(p.Probes, location)
			}
		}
		for _, part := range slices.Concat(t.Blueprint.Backstage, t.Blueprint.Support) {
			if part.Health != "" && part.Health != "Healthy" {
				p.Behind = append(p.Behind, part)
			}
		}
		if t.Owner != nil && (t.Owner.Team != "" || t.Owner.Contact != "") {
			p.Owner = strings.TrimSpace(t.Owner.Team + " " + t.Owner.Contact)
		}
		p.Next = next(t, p)
		r.Problems = append(r.Problems, p)
	}
}

func levelOf(b *atlas.Budget) Level {
	switch {
	case slices.ContainsFunc(b.Alerts, func(tier string) bool { return strings.HasPrefix(tier, "page") }):
		return Page
	case len(b.Alerts) > 0:
		return Ticket
	case b.State == v1alpha1.ReasonBreached:
		return Broken
	default:
		return Chance
	}
}

// next is where to look first: at what is broken behind the scenes, else at the visits.
func next(t *atlas.Touchpoint, p *Problem) string {
	for _, part := range p.Behind {
		if part.Workload != "" {
			return fmt.Sprintf("kubectl -n %s describe %s", t.Namespace, strings.ToLower(part.Workload))
		}
	}
	return fmt.Sprintf("kubectl -n %s describe touchpoint/%s", t.Namespace, t.Name)
}

// object is what all three kinds have in common.
type object struct {
	kind, short, title string
	key                atlas.Key
	conditions         []metav1.Condition
}

// configuration looks at conditions that speak of the objects. What many of them say in the
// same words is one problem.
func (r *Report) configuration(o *atlas.Objects, s Selection) {
	var objects []object
	for key := range s.Journeys {
		journey := o.Journeys[key]
		objects = append(objects, object{"Journey", "journey", cmp.Or(journey.Spec.DisplayName, key.Name), key, journey.Status.Conditions})
	}
	for key := range s.Touchpoints {
		if touchpoint := o.Touchpoints[key]; touchpoint != nil {
			objects = append(objects, object{"Touchpoint", "touchpoint", cmp.Or(touchpoint.Spec.DisplayName, key.Name), key, touchpoint.Status.Conditions})
		}
	}
	for key := range s.ExperienceSLOs {
		slo := o.ExperienceSLOs[key]
		objects = append(objects, object{"ExperienceSLO", "experienceslo", cmp.Or(slo.Spec.DisplayName, key.Name), key, slo.Status.Conditions})
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.key.Namespace, b.key.Namespace), strings.Compare(a.key.Name, b.key.Name))
	})
	type complaint struct {
		level         Level
		what, message string
	}
	same := map[complaint]*Problem{}
	others := map[*Problem]int{}
	for _, each := range objects {
		found := func(level Level, what string, condition *metav1.Condition, apart bool) {
			c := complaint{level, what, condition.Message}
			if apart {
				c.what += each.kind + each.key.String()
			}
			if first := same[c]; first != nil {
				others[first]++
				return
			}
			p := &Problem{
				Level: level, Kind: each.kind, Namespace: each.key.Namespace, Name: each.key.Name, Title: each.title, What: what,
				Says: []string{sentence(condition.Message)}, Since: condition.LastTransitionTime.Time,
				Next: fmt.Sprintf("kubectl -n %s describe %s/%s", each.key.Namespace, each.short, each.key.Name),
			}
			if p.Since.Unix() <= 0 { // never looked at
				p.Since = time.Time{}
			}
			same[c] = p
			r.Problems = append(r.Problems, p)
		}
		if ready := meta.FindStatusCondition(each.conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason == v1alpha1.ReasonPending {
			found(Blind, "has not been looked at by any controller", &metav1.Condition{
				Message: "the manager does not run, or may not watch this namespace: see its log",
			}, false)
		} else if ready.Status == metav1.ConditionFalse {
			found(Setup, "does not work as it is written", ready, true)
		}
		if c := meta.FindStatusCondition(each.conditions, v1alpha1.ConditionRulesLoaded); c != nil && c.Status == metav1.ConditionFalse {
			found(Blind, "is not watched", c, false)
		}
		if c := meta.FindStatusCondition(each.conditions, v1alpha1.ConditionObserved); c != nil && c.Status == metav1.ConditionFalse {
			found(Blind, "shows figures that are out of date", c, false)
		}
		if c := meta.FindStatusCondition(each.conditions, v1alpha1.ConditionWindowCovered); c != nil && c.Status == metav1.ConditionFalse {
			found(Note, "is judged by less than its whole window", c, false)
		}
	}
	for p, n := range others {
		p.Says = append(p.Says, fmt.Sprintf("The same is true of %d more.", n))
	}
}

// sentence makes one of a condition's message; one that begins with a field stays as it is.
func sentence(text string) string {
	if text == "" {
		return text
	}
	if first, _, _ := strings.Cut(text, " "); strings.HasPrefix(first, "spec.") {
		return strings.TrimSuffix(text, ".") + "."
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// count says how many budgets there are, and why some cannot be judged. Statuses list only
// the worst of them one by one; where whole ExperienceSLOs are looked at, all are counted.
func (r *Report) count(o *atlas.Objects, s Selection) {
	shown := map[atlas.Key]int32{} // as broken
	for _, p := range r.Problems {
		for i := range p.Budgets {
			if p.Budgets[i].State == v1alpha1.ReasonBreached {
				shown[atlas.Key{Namespace: p.Namespace, Name: p.Budgets[i].SLO}]++
			}
		}
	}
	because := map[string]int32{}
	for key := range s.ExperienceSLOs {
		slo := o.ExperienceSLOs[key]
		states, budgets := slo.Status.States, slo.Status.Budgets
		if !s.whole[key] {
			states, budgets = s.statesOf(slo)
		}
		r.Budgets += budgets
		if states == nil {
			because["the manager has not learned from Prometheus how they stand"] += budgets
			continue
		}
		r.Kept += states.Met + states.AtRisk
		because["they have too few answers so far"] += states.InsufficientData
		because["nothing was measured within their window"] += states.NoData
		// Whatever is not told of a touchpoint is told here: nothing broken goes unsaid.
		if more := states.Breached - shown[key]; more > 0 {
			r.Problems = append(r.Problems, &Problem{
				Level: Broken, Kind: "ExperienceSLO", Namespace: key.Namespace, Name: key.Name, Title: cmp.Or(slo.Spec.DisplayName, key.Name),
				What: fmt.Sprintf("has %d more broken promises", more),
				Says: []string{"Its status has no room for them, or their touchpoints are gone or may not be read by you."},
				Next: fmt.Sprintf("kubectl -n %s describe experienceslo/%s", key.Namespace, key.Name),
			})
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(because)) {
		if n := because[reason]; n > 0 {
			r.Unjudged = append(r.Unjudged, fmt.Sprintf("%d because %s", n, reason))
		}
	}
}

// statesOf counts the listed budgets of an ExperienceSLO at touchpoints that are looked at.
func (s Selection) statesOf(slo *v1alpha1.ExperienceSLO) (states *v1alpha1.BudgetStates, budgets int32) {
	states = &v1alpha1.BudgetStates{}
	for i := range slo.Status.Worst {
		known := &slo.Status.Worst[i]
		if !s.Touchpoints[atlas.Key{Namespace: slo.Namespace, Name: string(known.Touchpoint)}] {
			continue
		}
		budgets++
		switch known.State {
		case "Met":
			states.Met++
		case "AtRisk":
			states.AtRisk++
		case "Breached":
			states.Breached++
		case "InsufficientData":
			states.InsufficientData++
		case "NoData":
			states.NoData++
		}
	}
	return states, budgets
}
