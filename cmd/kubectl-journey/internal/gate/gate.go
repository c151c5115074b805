// Package gate decides by the status of objects whether budgets allow a release, and waits
// until they do, or for as long as they have to. It asks nobody else: what the status does
// not tell does not allow anything.
package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Terms are what a release needs.
type Terms struct {
	// MinBudget is how much of every budget must be left, in percent of it.
	MinBudget float64
	// AllowUnknown: budgets with too little or no data do not block.
	AllowUnknown bool
}

// Block is a reason why a release may not go on.
type Block struct {
	// Object is such as ExperienceSLO shop/checkout.
	Object string `json:"object"`
	// Objective and Touchpoint name the budget; empty: it is not about one.
	Objective  string `json:"objective,omitempty"`
	Touchpoint string `json:"touchpoint,omitempty"`
	// State is that of the budget, or the condition that is not as it should be.
	State string `json:"state"`
	// Left is what is left of the budget, in percent.
	Left    *float64 `json:"leftPercent,omitempty"`
	Message string   `json:"message"`
}

func (b Block) String() string {
	text := b.Object
	if b.Objective != "" {
		text += fmt.Sprintf(": %s at %s", b.Objective, b.Touchpoint)
	}
	return text + ": " + b.Message
}

// Verdict is what the status says about a release.
type Verdict struct {
	Blocks []Block `json:"blocks"`
	// Budgets is how many were looked at.
	Budgets int32 `json:"budgets"`
	// Least is what is left of that which has least left, in percent; nil if that is not
	// known of any.
	Least *float64 `json:"leastLeftPercent,omitempty"`
}

// Allowed tells whether a release may go on.
func (v *Verdict) Allowed() bool { return len(v.Blocks) == 0 }

func (v *Verdict) block(object, state, message string, arguments ...any) {
	v.Blocks = append(v.Blocks, Block{Object: object, State: state, Message: fmt.Sprintf(message, arguments...)})
}

// OfSLO judges an ExperienceSLO.
func (t Terms) OfSLO(slo *v1alpha1.ExperienceSLO) Verdict {
	var v Verdict
	t.slo(&v, slo, nil)
	return v
}

// Objects are what a journey's verdict rests on: those of its namespace, and of the
// namespaces of its touchpoints.
type Objects struct {
	Journeys       map[types.NamespacedName]*v1alpha1.Journey
	Touchpoints    map[types.NamespacedName]*v1alpha1.Touchpoint
	ExperienceSLOs map[types.NamespacedName]*v1alpha1.ExperienceSLO
}

// OfJourney judges all budgets at the touchpoints of a journey, whoever promised them.
func (t Terms) OfJourney(journey *v1alpha1.Journey, in Objects) Verdict {
	var v Verdict
	name := fmt.Sprintf("Journey %s/%s", journey.Namespace, journey.Name)
	if !v.current(name, journey.Generation, journey.Status.ObservedGeneration, journey.Status.Conditions) {
		return v
	}
	visited := map[string]map[string]bool{}
	for _, reference := range targets.References(journey) {
		if visited[reference.Namespace] == nil {
			visited[reference.Namespace] = map[string]bool{}
		}
		visited[reference.Namespace][reference.Name] = true
	}
	namespaces := map[string]targets.Namespace{}
	for namespace := range visited {
		namespaces[namespace] = targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
	}
	for key, each := range in.Touchpoints {
		if known, ok := namespaces[key.Namespace]; ok {
			known.Touchpoints[key.Name] = each
		}
	}
	for key, each := range in.Journeys {
		if known, ok := namespaces[key.Namespace]; ok {
			known.Journeys[key.Name] = each
		}
	}
	promised := 0
	for _, key := range sorted(in.ExperienceSLOs) {
		here, ok := namespaces[key.Namespace]
		if !ok {
			continue
		}
		slo := in.ExperienceSLOs[key]
		resolved := targets.Resolve(slo, here)
		passes := func(touchpoint string) bool { return visited[key.Namespace][touchpoint] }
		if !slices.ContainsFunc(resolved.Touchpoints, passes) {
			continue
		}
		promised++
		if !slices.ContainsFunc(resolved.Touchpoints, func(touchpoint string) bool { return !passes(touchpoint) }) {
			passes = nil // all of it is on the journey
		}
		t.slo(&v, slo, passes)
	}
	if promised == 0 && !t.AllowUnknown {
		v.block(name, v1alpha1.ReasonNothingPromised, "no ExperienceSLO promises anything along it, so nothing is known of it; --allow-unknown lets that pass")
	}
	return v
}

func sorted[T any](objects map[types.NamespacedName]T) []types.NamespacedName {
	var keys []types.NamespacedName
	for key := range objects {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return keys
}

// current tells whether a status speaks of the object as it is, by figures as they are.
func (v *Verdict) current(name string, generation, observed int64, conditions []metav1.Condition) bool {
	if observed != generation {
		v.block(name, v1alpha1.ReasonPending, "its status speaks of generation %d of its spec, which is now at %d: no controller has seen it yet; is the manager running?", observed, generation)
		return false
	}
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready != nil && ready.Status == metav1.ConditionFalse {
		v.block(name, ready.Reason, "its configuration is not Ready: %s", ready.Message)
	}
	switch known := meta.FindStatusCondition(conditions, v1alpha1.ConditionObserved); {
	case known == nil:
		v.block(name, "NotObserved", "the manager asks no Prometheus, so its status has no figures: see the manager's flag --prometheus-url")
		return false
	case known.Status != metav1.ConditionTrue:
		v.block(name, known.Reason, "its figures are old: %s", known.Message)
	}
	return len(v.Blocks) == 0
}

// bad says what blocks of a budget's state; empty: nothing does.
func (t Terms) bad(state v1alpha1.BudgetState) string {
	switch state {
	case "Met":
		return ""
	case "AtRisk":
		return "an alert fires for it"
	case "Breached":
		return "it is spent"
	case "Inconclusive":
		return "it looks spent, which may be chance"
	case "InsufficientData", "NoData":
		if t.AllowUnknown {
			return ""
		}
		if state == "NoData" {
			return "nothing is known of it; --allow-unknown lets that pass"
		}
		return "it has too few answers to be judged; --allow-unknown lets that pass"
	default:
		return "its state is not known here: update kubectl journey"
	}
}

// slo judges the budgets of an ExperienceSLO at the touchpoints for which passes is true; nil:
// at all.
func (t Terms) slo(v *Verdict, slo *v1alpha1.ExperienceSLO, passes func(touchpoint string) bool) {
	name := fmt.Sprintf("ExperienceSLO %s/%s", slo.Namespace, slo.Name)
	status := &slo.Status
	before := len(v.Blocks)
	own := Verdict{}
	fresh := own.current(name, slo.Generation, status.ObservedGeneration, status.Conditions)
	v.Blocks = append(v.Blocks, own.Blocks...)
	if !fresh {
		return
	}
	if loaded := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRulesLoaded); loaded != nil && loaded.Status != metav1.ConditionTrue {
		v.block(name, loaded.Reason, "Prometheus does not evaluate its rules: %s", loaded.Message)
		return
	}
	if status.States == nil || status.Budgets == 0 {
		if !t.AllowUnknown {
			v.block(name, v1alpha1.ReasonNothingPromised, "it has no budget that is watched, so nothing is known; --allow-unknown lets that pass")
		}
		return
	}
	listed := map[v1alpha1.BudgetState]int32{}
	for _, each := range status.Worst {
		listed[each.State]++
		if passes != nil && !passes(string(each.Touchpoint)) {
			continue
		}
		v.Budgets++
		left := number(each.Remaining)
		if left != nil && (v.Least == nil || *left < *v.Least) {
			v.Least = left
		}
		message := t.bad(each.State)
		// Of too few answers nothing can be said, nor what is left.
		if message == "" && each.State != "InsufficientData" && left != nil && *left < t.MinBudget {
			message = "less is left of it than " + percent(t.MinBudget)
		}
		if message == "" {
			continue
		}
		if left != nil {
			message += fmt.Sprintf(" (%s left)", percent(*left))
		}
		if len(each.Alerts) > 0 {
			message += ": " + strings.Join(each.Alerts, ", ")
		}
		v.Blocks = append(v.Blocks, Block{Object: name, Objective: string(each.Objective), Touchpoint: string(each.Touchpoint), State: string(each.State), Left: left, Message: message})
	}
	t.unlisted(v, slo, name, listed, passes == nil, len(v.Blocks) > before)
}

// unlisted judges the budgets that a status has no room for, by what it counts of all.
func (t Terms) unlisted(v *Verdict, slo *v1alpha1.ExperienceSLO, name string, listed map[v1alpha1.BudgetState]int32, all, blocked bool) {
	status := &slo.Status
	rest := status.Budgets - int32(len(status.Worst))
	if rest <= 0 {
		return
	}
	if all {
		v.Budgets += rest
	}
	where := ""
	if !all {
		where = "; whether on the journey, the status has no room to say: gate xslo/" + slo.Name
	}
	states := status.States
	for _, each := range []struct {
		state v1alpha1.BudgetState
		count int32
	}{
		{"Breached", states.Breached}, {"AtRisk", states.AtRisk}, {"Inconclusive", states.Inconclusive}, {"NoData", states.NoData}, {"InsufficientData", states.InsufficientData},
	} {
		if more := each.count - listed[each.state]; more > 0 && t.bad(each.state) != "" {
			blocked = true
			v.block(name, string(each.state), "%d more of its budgets: %s%s", more, t.bad(each.state), where)
		}
	}
	// The list has the worst: where it ends with one that is kept and has enough, the rest has
	// more.
	last := status.Worst[len(status.Worst)-1]
	left, least := number(last.Remaining), number(status.Remaining)
	enough := least != nil && *least >= t.MinBudget || last.State == "Met" && left != nil && *left >= t.MinBudget
	if !enough && !blocked {
		v.block(name, "Unlisted", "of %d more of its budgets the status has no room to say whether %s is left%s", rest, percent(t.MinBudget), where)
	}
}

func number(text v1alpha1.Figure) *float64 {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return nil
	}
	return &value
}

func percent(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) + "%" }
