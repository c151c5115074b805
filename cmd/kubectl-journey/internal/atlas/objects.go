package atlas

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/rules"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

// Objects are those that maps are drawn from. Nothing writes to them.
type Objects struct {
	Journeys       map[Key]*v1alpha1.Journey
	Touchpoints    map[Key]*v1alpha1.Touchpoint
	ExperienceSLOs map[Key]*v1alpha1.ExperienceSLO
	// NamespaceLabels are those of namespaces, as far as they could be read: a Touchpoint
	// may open itself to journeys by them.
	NamespaceLabels map[string]map[string]string
	// Unreadable are namespaces whose objects could not be read, each with the reason.
	Unreadable map[string]string
}

// NewObjects makes an empty set.
func NewObjects() *Objects {
	return &Objects{
		Journeys: map[Key]*v1alpha1.Journey{}, Touchpoints: map[Key]*v1alpha1.Touchpoint{}, ExperienceSLOs: map[Key]*v1alpha1.ExperienceSLO{},
		NamespaceLabels: map[string]map[string]string{}, Unreadable: map[string]string{},
	}
}

// Keys lists the journeys in alphabetical order.
func (o *Objects) Keys() []Key {
	var keys []Key
	for key := range o.Journeys {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return keys
}

// Map draws a journey; nil if there is none of that name.
func (o *Objects) Map(key Key) *Map {
	if o.Journeys[key] == nil {
		return nil
	}
	return o.draw(key, o.promised())
}

// Maps draws all journeys, in alphabetical order.
func (o *Objects) Maps() []*Map {
	promised := o.promised()
	var drawn []*Map
	for _, key := range o.Keys() {
		drawn = append(drawn, o.draw(key, promised))
	}
	return drawn
}

func (o *Objects) draw(key Key, promised map[Key][]Budget) *Map {
	journey := o.Journeys[key]
	spec, status := &journey.Spec, &journey.Status
	m := &Map{
		Namespace: key.Namespace, Name: key.Name, Title: cmp.Or(spec.DisplayName, key.Name),
		Description: string(spec.Description), Goal: string(spec.Goal), Type: string(spec.Type), Owner: ownerOf(spec.Owner),
		Scoring: string(spec.Scoring), Score: number(status.Score),
		Health: healthOf(status.Conditions, v1alpha1.ConditionHealthy), Ready: healthOf(status.Conditions, v1alpha1.ConditionReady),
		Completeness: status.Completeness, Budgets: budgetsOf(status.Budgets),
	}
	if weakest := status.Weakest; weakest != nil {
		m.Weakest, m.Why = weakest.Name, weakest.Why
	}
	for _, persona := range spec.Personas {
		m.Personas = append(m.Personas, Persona{Title: cmp.Or(persona.DisplayName, string(persona.Name)), Description: string(persona.Description)})
	}
	for i := range spec.Stages {
		m.Stages = append(m.Stages, o.stage(journey, &spec.Stages[i], promised))
	}
	for _, kpi := range spec.KPIs {
		shown := KPI{Name: string(kpi.Name), Target: string(kpi.Target)}
		for _, known := range status.KPIs {
			if known.Name == kpi.Name {
				shown.Value, shown.Reached = number(known.Value), known.Reached
			}
		}
		m.KPIs = append(m.KPIs, shown)
	}
	m.Missing = o.lacks(journey, status.Conditions)
	return m
}

func (o *Objects) stage(journey *v1alpha1.Journey, spec *v1alpha1.Stage, promised map[Key][]Budget) Stage {
	stage := Stage{Name: string(spec.Name), Title: cmp.Or(spec.DisplayName, string(spec.Name))}
	for i := range journey.Status.Stages {
		if known := &journey.Status.Stages[i]; known.Name == spec.Name {
			stage.Score, stage.Entries, stage.Conversion = number(known.Score), known.Entries, number(known.ConversionPercent)
			stage.Budgets = budgetsOf(known.Budgets)
		}
	}
	for _, named := range spec.Touchpoints {
		reference := targets.ReferenceOf(journey, named)
		key := Key{Namespace: reference.Namespace, Name: reference.Name}
		stop := Stop{Weight: max(named.Weight, 1), MomentOfTruth: named.MomentOfTruth}
		switch touchpoint := o.Touchpoints[key]; {
		case touchpoint == nil:
			stop.Touchpoint = Touchpoint{Namespace: key.Namespace, Name: key.Name, Title: key.Name, Health: Health{Status: string(metav1.ConditionUnknown)}}
			stop.Absent = "there is no such Touchpoint"
			if reason := o.Unreadable[key.Namespace]; reason != "" {
				stop.Absent = reason
			}
		case !o.allowed(touchpoint, journey.Namespace):
			stop.Touchpoint = Touchpoint{Namespace: key.Namespace, Name: key.Name, Title: key.Name, Health: Health{Status: string(metav1.ConditionUnknown)}}
			stop.Absent = "not open to journeys of namespace " + journey.Namespace
		default:
			stop.Touchpoint = o.touchpoint(touchpoint, promised[key])
		}
		stage.Stops = append(stage.Stops, stop)
	}
	return stage
}

// allowed tells whether a touchpoint may be part of the journeys of a namespace.
func (o *Objects) allowed(touchpoint *v1alpha1.Touchpoint, namespace string) bool {
	if touchpoint.Namespace == namespace {
		return true
	}
	allowed := touchpoint.Spec.AllowedJourneys
	if allowed == nil || allowed.Namespaces == nil {
		return false
	}
	switch allowed.Namespaces.From {
	case v1alpha1.NamespacesFromAll:
		return true
	case v1alpha1.NamespacesFromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Namespaces.Selector)
		return err == nil && selector.Matches(labels.Set(o.NamespaceLabels[namespace]))
	default:
		return false
	}
}

// Touchpoint draws a touchpoint alone; nil if there is none of that name.
func (o *Objects) Touchpoint(key Key) *Touchpoint {
	touchpoint := o.Touchpoints[key]
	if touchpoint == nil {
		return nil
	}
	drawn := o.touchpoint(touchpoint, o.promised()[key])
	return &drawn
}

func (o *Objects) touchpoint(touchpoint *v1alpha1.Touchpoint, promised []Budget) Touchpoint {
	spec, status := &touchpoint.Spec, &touchpoint.Status
	drawn := Touchpoint{
		Namespace: touchpoint.Namespace, Name: touchpoint.Name, Title: cmp.Or(spec.DisplayName, touchpoint.Name),
		Description: string(spec.Description), Channel: string(spec.Channel), Ownership: string(spec.Ownership), Class: string(spec.Class),
		Kano: string(spec.Kano), Themes: spec.Themes, Owner: ownerOf(spec.Owner), MeasuredBy: status.MeasuredBy,
		Health: healthOf(status.Conditions, v1alpha1.ConditionHealthy), Ready: healthOf(status.Conditions, v1alpha1.ConditionReady),
		Score: number(status.Score), Promised: promised, Blueprint: blueprintOf(spec, status.Workloads), Elements: elementsOf(spec),
		Journeys: status.Journeys,
	}
	if expected := spec.Expectation; expected != nil {
		drawn.Expectation = string(expected.Description)
	}
	if satisfaction := status.Satisfaction; satisfaction != nil {
		drawn.Satisfaction = satisfaction.Sign
	}
	drawn.experience(status.Experience)
	drawn.band()
	for i := range drawn.Promised {
		if left := drawn.Promised[i].Left; left != nil && (drawn.Left == nil || *left < *drawn.Left) {
			drawn.Left = left
		}
		if owner := drawn.Owner; drawn.Promised[i].RunbookURL == "" && owner != nil {
			drawn.Promised[i].RunbookURL = owner.RunbookURL
		}
	}
	for _, gap := range status.Gaps {
		if points := number(gap.Points); points != nil {
			drawn.Gaps = append(drawn.Gaps, Gap{Name: gap.Gap, Points: *points, From: gap.From, Source: gap.Source})
		}
	}
	for _, entry := range status.Probes {
		drawn.Probes = append(drawn.Probes, Location{
			Name: string(entry.Location), Outcome: string(entry.Outcome), Reason: entry.Reason, Step: string(entry.FailedStep), Since: entry.Since.Time,
		})
	}
	return drawn
}

func (t *Touchpoint) experience(known *v1alpha1.Experience) {
	if known == nil {
		return
	}
	t.Availability, t.Satisfied = shareOf(known.Availability), shareOf(known.CSAT)
	t.NPS, t.Net = netOf(known.NPS), netOf(known.Net)
	if latency := known.Latency; latency != nil {
		t.P50, t.P95 = number(latency.P50Seconds), number(latency.P95Seconds)
	}
	if effort := known.CES; effort != nil {
		t.Ease = figure(effort.EasePercent, effort.Lower, effort.Upper, effort.Events)
		t.EffortMean, t.EffortOn = number(effort.Mean), string(effort.Instrument)
	}
}

// fewestAnswers is how many answers it takes for a share of them to make part of a score:
// see docs/status.md.
const fewestAnswers = 30

// band works out the scores at the bounds of what people answered. The bounds of several
// questions are added up, since it may be the same customers who answered them: the band
// is rather too wide than too narrow.
func (t *Touchpoint) band() {
	if t.Score == nil {
		return
	}
	parts, below, above := 0.0, 0.0, 0.0
	satisfied := t.Satisfied
	scale := 1.0
	if (satisfied == nil || satisfied.Events < fewestAnswers) && t.NPS != nil {
		satisfied, scale = t.NPS, 0.5 // of NPS the score takes (100 + NPS) / 2
	}
	for _, part := range []struct {
		figure *Figure
		scale  float64
	}{{t.Ease, 1}, {satisfied, scale}} {
		if part.figure == nil || part.figure.Events < fewestAnswers {
			continue
		}
		parts++
		below += part.scale * (part.figure.Value - part.figure.Lower)
		above += part.scale * (part.figure.Upper - part.figure.Value)
	}
	if slices.ContainsFunc(t.Promised, func(b Budget) bool { return b.traffic && b.State != string(stateNoData) }) {
		parts++ // how well visits keep their promises is known, not estimated
	}
	lower, upper := *t.Score, *t.Score
	if parts > 0 {
		lower, upper = max(0, lower-below/parts), min(100, upper+above/parts)
	}
	t.Lower, t.Upper = &lower, &upper
}

const stateNoData = v1alpha1.BudgetState("NoData")

// promised collects the budgets that the ExperienceSLOs' status names, by touchpoint, the
// worst first.
func (o *Objects) promised() map[Key][]Budget {
	found := map[Key][]Budget{}
	for _, slo := range o.ExperienceSLOs {
		promises, traffic := map[v1alpha1.Name]string{}, map[v1alpha1.Name]bool{}
		for i := range slo.Spec.Objectives {
			objective := &slo.Spec.Objectives[i]
			promises[objective.Name] = rules.Promise(objective)
			traffic[objective.Name] = objective.Availability != nil || objective.Latency != nil || objective.Events != nil
		}
		var runbook string
		if slo.Spec.Alerting != nil {
			runbook = string(slo.Spec.Alerting.RunbookURL)
		}
		for i := range slo.Status.Worst {
			known := &slo.Status.Worst[i]
			key := Key{Namespace: slo.Namespace, Name: string(known.Touchpoint)}
			found[key] = append(found[key], Budget{
				SLO: slo.Name, Objective: string(known.Objective), Promise: promises[known.Objective], Window: string(slo.Spec.Window),
				State: string(known.State), Value: number(known.Value), Lower: number(known.Lower), Upper: number(known.Upper), Events: known.Events,
				Left: number(known.Remaining), BurnRate: number(known.BurnRate), Alerts: known.Alerts, RunbookURL: runbook,
				traffic: traffic[known.Objective],
			})
		}
	}
	for _, budgets := range found {
		slices.SortFunc(budgets, func(a, b Budget) int {
			return cmp.Or(rank(a.State)-rank(b.State), compareLeft(a.Left, b.Left), strings.Compare(a.SLO, b.SLO), strings.Compare(a.Objective, b.Objective))
		})
	}
	return found
}

// badFirst are the states of budgets, the worst first.
var badFirst = []string{"Breached", "AtRisk", "Inconclusive", "NoData", "InsufficientData", "Met"}

func rank(state string) int { return slices.Index(badFirst, state) }

// compareLeft puts first of which less is left; what is not known comes last.
func compareLeft(a, b *float64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	default:
		return cmp.Compare(*a, *b)
	}
}

// lacks says what a map of the journey cannot show, and what would bring it.
func (o *Objects) lacks(journey *v1alpha1.Journey, conditions []metav1.Condition) []string {
	var lacks []string
	if ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); ready == nil || ready.Reason == v1alpha1.ReasonPending {
		lacks = append(lacks, "No controller has seen this journey yet: is the manager running?")
	} else if observed := meta.FindStatusCondition(conditions, v1alpha1.ConditionObserved); observed == nil {
		lacks = append(lacks, "The manager asks no Prometheus, so no figures are known: see its flag --prometheus-url.")
	} else if observed.Status != metav1.ConditionTrue {
		lacks = append(lacks, observed.Message+".")
	}
	for _, reference := range targets.References(journey) {
		if reason := o.Unreadable[reference.Namespace]; reason != "" {
			lacks = append(lacks, fmt.Sprintf("Namespace %s: %s.", reference.Namespace, reason))
		}
	}
	slices.Sort(lacks)
	return slices.Compact(lacks)
}

func ownerOf(owner *v1alpha1.Owner) *Owner {
	if owner == nil {
		return nil
	}
	return &Owner{Team: owner.Team, Contact: owner.Contact, RunbookURL: string(owner.RunbookURL)}
}

func healthOf(conditions []metav1.Condition, kind string) Health {
	condition := meta.FindStatusCondition(conditions, kind)
	if condition == nil {
		return Health{Status: string(metav1.ConditionUnknown)}
	}
	return Health{
		Status: string(condition.Status), Reason: condition.Reason, Message: condition.Message, Since: condition.LastTransitionTime.Time,
	}
}

func budgetsOf(counts *v1alpha1.JourneyBudgets) Budgets {
	if counts == nil {
		return Budgets{}
	}
	return Budgets{Met: counts.Met, Breached: counts.Breached, Unknown: counts.Unknown}
}

// number reads a figure of a status; nil if it is absent.
func number(text v1alpha1.Figure) *float64 {
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return nil
	}
	return &value
}

func figure(value, lower, upper v1alpha1.Figure, events int64) *Figure {
	v, l, u := number(value), number(lower), number(upper)
	if v == nil || l == nil || u == nil {
		return nil
	}
	return &Figure{Value: *v, Lower: *l, Upper: *u, Events: events}
}

func shareOf(share *v1alpha1.ShareFigure) *Figure {
	if share == nil {
		return nil
	}
	return figure(share.Percent, share.Lower, share.Upper, share.Events)
}

func netOf(net *v1alpha1.NetFigure) *Figure {
	if net == nil {
		return nil
	}
	return figure(net.Points, net.Lower, net.Upper, net.Events)
}

func blueprintOf(spec *v1alpha1.TouchpointSpec, workloads []v1alpha1.WorkloadStatus) Blueprint {
	var drawn Blueprint
	if spec.Map != nil && spec.Map.Action != "" {
		drawn.Customer = []string{string(spec.Map.Action)}
	}
	if spec.Blueprint == nil {
		return drawn
	}
	drawn.Evidence, drawn.Frontstage = texts(spec.Blueprint.Evidence), texts(spec.Blueprint.Frontstage)
	parts := func(lane string, declared []v1alpha1.BlueprintPart) []Part {
		var found []Part
		for _, part := range declared {
			shown := Part{Description: string(part.Description)}
			if workload := part.Workload; workload != nil {
				shown.Workload = workload.Kind + "/" + workload.Name
				for _, known := range workloads {
					if known.Lane == lane && known.Kind == workload.Kind && known.Name == workload.Name {
						shown.Health, shown.Message = known.Health, known.Message
					}
				}
			}
			found = append(found, shown)
		}
		return found
	}
	drawn.Backstage, drawn.Support = parts("Backstage", spec.Blueprint.Backstage), parts("Support", spec.Blueprint.Support)
	return drawn
}

func texts(paragraphs []v1alpha1.Text) []string {
	var found []string
	for _, paragraph := range paragraphs {
		found = append(found, string(paragraph))
	}
	return found
}

// elementsOf lists what is filled in of the journey map and the management specification,
// in the order of their fields.
func elementsOf(spec *v1alpha1.TouchpointSpec) []Element {
	var found []Element
	add := func(field string, paragraphs ...v1alpha1.Text) {
		paragraphs = slices.DeleteFunc(slices.Clone(paragraphs), func(text v1alpha1.Text) bool { return text == "" })
		if len(paragraphs) > 0 {
			found = append(found, Element{Field: field, Texts: texts(paragraphs)})
		}
	}
	if m := spec.Map; m != nil {
		add("map.action", m.Action)
		add("map.emotion", m.Emotion)
		add("map.quotes", m.Quotes...)
		add("map.stakeholders", m.Stakeholders...)
		add("map.interaction", m.Interaction)
		add("map.kpis", m.KPIs...)
		add("map.painPoints", m.PainPoints...)
		add("map.opportunities", m.Opportunities...)
		add("map.risks", m.Risks...)
	}
	if m := spec.Management; m != nil {
		add("management.plan", m.Plan)
		add("management.goal", m.Goal)
		add("management.audience", m.Audience)
		add("management.design", m.Design)
		add("management.mode", m.Mode)
		add("management.channels", m.Channels)
		add("management.norms", m.Norms)
		add("management.incentives", m.Incentives)
		add("management.archive", m.Archive)
		add("management.analysis", m.Analysis)
		add("management.consolidation", m.Consolidation)
		add("management.tracking", m.Tracking)
	}
	return found
}
