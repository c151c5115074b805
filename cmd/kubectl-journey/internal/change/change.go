// Package change tells what a change of objects means: which budgets and alerts come, go and
// change, and in which rules.
package change

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers"
	"github.com/sojourn-dev/sojourn/controllers/budget"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// What can befall something.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Changes are what is different.
type Changes struct {
	// Budgets are those that come, go or change, by namespace, ExperienceSLO, objective and
	// touchpoint.
	Budgets []Budget `json:"budgets"`
	// Problems are what keeps objects from being Ready that nothing kept before.
	Problems []Problem `json:"problems"`
	// Objects are the rule objects that come, go or change.
	Objects []Object `json:"ruleObjects"`
	// RulesBefore and RulesAfter count all rules of the namespaces concerned.
	RulesBefore int `json:"rulesBefore"`
	RulesAfter  int `json:"rulesAfter"`
}

// None tells whether nothing is different.
func (c *Changes) None() bool { return len(c.Budgets)+len(c.Problems)+len(c.Objects) == 0 }

// Budget is a budget that changes.
type Budget struct {
	Change     string `json:"change"`
	Namespace  string `json:"namespace"`
	SLO        string `json:"slo"`
	Objective  string `json:"objective"`
	Touchpoint string `json:"touchpoint"`
	// Before and After are what is promised; nil where there is no budget.
	Before *Promise `json:"before,omitempty"`
	After  *Promise `json:"after,omitempty"`
	// HistoryLost: a loss means something else than before, so that the budget starts anew.
	HistoryLost bool `json:"historyLost,omitempty"`
}

// Promise is what is promised at a touchpoint.
type Promise struct {
	// Text says it in words.
	Text string `json:"promise"`
	// Window is the rolling time of the budget, such as 28d.
	Window string `json:"window"`
	// Allowed is the mean loss that the budget allows, per event, as a decimal number.
	Allowed string `json:"budget"`
	// Meaning says what a loss is, such as probe/latency/0.3.
	Meaning string `json:"def"`
	// Alerts are those in force, such as "page 1h at 13.44x".
	Alerts []string `json:"alerts"`
}

// Problem is what keeps an object from being Ready.
type Problem struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Reason    string `json:"reason"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
}

// Object is a rule object that changes.
type Object struct {
	Change    string `json:"change"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Diff is the unified diff of the PrometheusRule's YAML.
	Diff string `json:"diff,omitempty"`
}

// Between tells what is different from one plan to another. The differences of rules are
// spelled out if spelled says so.
func Between(before, after []*controllers.Decision, format publish.Format, spelled bool) (*Changes, error) {
	c := &Changes{Budgets: []Budget{}, Problems: newProblems(before, after), Objects: []Object{}}
	c.compareBudgets(promisesOf(before), promisesOf(after))
	return c, c.compareRules(before, after, format, spelled)
}

// place is where a promise is kept.
type place struct{ namespace, slo, objective, touchpoint string }

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.namespace, q.namespace), strings.Compare(p.slo, q.slo), strings.Compare(p.objective, q.objective), strings.Compare(p.touchpoint, q.touchpoint))
}

func promisesOf(decisions []*controllers.Decision) map[place]*Promise {
	touchpoints := map[client.ObjectKey]*v1alpha1.Touchpoint{}
	for _, decision := range decisions {
		if touchpoint, is := decision.Object.(*v1alpha1.Touchpoint); is {
			touchpoints[client.ObjectKeyFromObject(touchpoint)] = touchpoint
		}
	}
	promises := map[place]*Promise{}
	for _, decision := range decisions {
		slo, is := decision.Object.(*v1alpha1.ExperienceSLO)
		if !is {
			continue
		}
		for _, watch := range decision.SLO.Watched {
			at := slices.IndexFunc(slo.Spec.Objectives, func(o v1alpha1.Objective) bool { return string(o.Name) == watch.Objective })
			for _, name := range watch.Touchpoints {
				promises[place{slo.Namespace, slo.Name, watch.Objective, name}] = &Promise{
					Text: rules.Promise(&slo.Spec.Objectives[at]), Window: string(slo.Spec.Window), Allowed: budget.Format(watch.Allowed), Meaning: watch.Def,
					Alerts: append([]string{}, rules.Tiers(slo, &slo.Spec.Objectives[at], touchpoints[client.ObjectKey{Namespace: slo.Namespace, Name: name}])...),
				}
			}
		}
	}
	return promises
}

func (c *Changes) compareBudgets(before, after map[place]*Promise) {
	// What was counted at a touchpoint already has a history, whoever promised it.
	type counted struct{ namespace, touchpoint, def string }
	history := map[counted]bool{}
	places := map[place]bool{}
	for at, promise := range before {
		history[counted{at.namespace, at.touchpoint, promise.Meaning}] = true
		places[at] = true
	}
	for at := range after {
		places[at] = true
	}
	for _, at := range slices.SortedFunc(maps.Keys(places), place.compare) {
		was, is := before[at], after[at]
		budget := Budget{Change: Changed, Namespace: at.namespace, SLO: at.slo, Objective: at.objective, Touchpoint: at.touchpoint, Before: was, After: is}
		switch {
		case was == nil:
			budget.Change = Added
		case is == nil:
			budget.Change = Removed
		case was.equal(is):
			continue
		default:
			budget.HistoryLost = !history[counted{at.namespace, at.touchpoint, is.Meaning}]
		}
		c.Budgets = append(c.Budgets, budget)
	}
}

func (p *Promise) equal(q *Promise) bool {
	return p.Text == q.Text && p.Window == q.Window && p.Allowed == q.Allowed && p.Meaning == q.Meaning && slices.Equal(p.Alerts, q.Alerts)
}

// newProblems are those that were not there before.
func newProblems(before, after []*controllers.Decision) []Problem {
	known := map[Problem]bool{}
	for _, problem := range problemsOf(before) {
		known[problem] = true
	}
	return slices.DeleteFunc(problemsOf(after), func(problem Problem) bool { return known[problem] })
}

func problemsOf(decisions []*controllers.Decision) []Problem {
	problems := []Problem{}
	for _, decision := range decisions {
		for _, problem := range decision.Problems {
			problems = append(problems, Problem{
				Kind: decision.Source.Kind, Namespace: decision.Source.Namespace, Name: decision.Source.Name,
				Reason: problem.Reason, Field: problem.Field, Message: problem.Message,
			})
		}
	}
	return problems
}

func (c *Changes) compareRules(before, after []*controllers.Decision, format publish.Format, spelled bool) error {
	was, countBefore, err := textsOf(before, format)
	if err != nil {
		return err
	}
	is, countAfter, err := textsOf(after, format)
	if err != nil {
		return err
	}
	c.RulesBefore, c.RulesAfter = countBefore, countAfter
	keys := map[client.ObjectKey]bool{}
	for key := range was {
		keys[key] = true
	}
	for key := range is {
		keys[key] = true
	}
	for _, key := range slices.SortedFunc(maps.Keys(keys), func(a, b client.ObjectKey) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	}) {
		if was[key] == is[key] {
			continue
		}
		object := Object{Change: Changed, Namespace: key.Namespace, Name: key.Name}
		switch {
		case was[key] == "":
			object.Change = Added
		case is[key] == "":
			object.Change = Removed
		}
		if spelled {
			if object.Diff, err = unified(key, was[key], is[key]); err != nil {
				return err
			}
		}
		c.Objects = append(c.Objects, object)
	}
	return nil
}

// textsOf makes the rule objects of decisions, as JSON, and counts their rules.
func textsOf(decisions []*controllers.Decision, format publish.Format) (map[client.ObjectKey]string, int, error) {
	texts, count := map[client.ObjectKey]string{}, 0
	for _, decision := range decisions {
		for _, object := range decision.Rules {
			text, err := format.Text(publish.PrometheusRules, decision.Source, object)
			var tooLarge *publish.TooLargeError
			if errors.As(err, &tooLarge) {
				continue // which is one of the problems
			}
			if err != nil {
				return nil, 0, err
			}
			texts[client.ObjectKey{Namespace: decision.Source.Namespace, Name: object.Name}] = string(text)
			for _, group := range object.Groups {
				count += len(group.Rules)
			}
		}
	}
	return texts, count, nil
}

func unified(key client.ObjectKey, before, after string) (string, error) {
	lines := func(text string) ([]string, error) {
		if text == "" {
			return nil, nil
		}
		written, err := publish.YAML([]byte(text))
		return slices.Collect(strings.Lines(string(written))), err
	}
	a, err := lines(before)
	if err != nil {
		return "", err
	}
	b, err := lines(after)
	if err != nil {
		return "", err
	}
	name := func(side string, lines []string) string {
		if lines == nil {
			return "/dev/null"
		}
		return fmt.Sprintf("%s/%s/%s.yaml", side, key.Namespace, key.Name)
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: a, B: b, FromFile: name("before", a), ToFile: name("after", b), Context: 3})
}
