package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Window is the rolling time over which a budget is spent.
//
// +kubebuilder:validation:Enum="7d";"28d";"30d";"90d"
type Window string

// Source says where the events of an objective come from.
//
// +kubebuilder:validation:Enum=Probe;Survey;Metric
type Source string

// Sources.
const (
	SourceProbe  Source = "Probe"
	SourceSurvey Source = "Survey"
	SourceMetric Source = "Metric"
)

// Severity says how loud an alert is.
//
// +kubebuilder:validation:Enum=Page;Ticket
type Severity string

// Severities.
const (
	SeverityPage   Severity = "Page"
	SeverityTicket Severity = "Ticket"
)

// ExperienceSLOSpec says what is promised to customers at some touchpoints.
type ExperienceSLOSpec struct {
	// displayName is the name that people read, in any language, at most 128
	// characters. Default: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// description says why this is promised. Documentation only.
	// +optional
	Description Text `json:"description,omitempty"`

	// targets are the touchpoints that the promise covers, always of this namespace.
	// +required
	Targets Targets `json:"targets,omitzero"`

	// window is the rolling time over which the budgets are spent: 7d, 28d, 30d or
	// 90d. Default: 28d, four whole weeks.
	// +optional
	// +default="28d"
	Window Window `json:"window,omitempty"`

	// objectives are the promises, 1 to 20. Each of them at each touchpoint is one
	// budget.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	Objectives []Objective `json:"objectives,omitempty"`

	// alerting shapes the alerts of all objectives. Default: severities follow the
	// class of the touchpoint.
	// +optional
	Alerting *Alerting `json:"alerting,omitempty"`
}

// Targets chooses touchpoints in one of three ways.
//
// +kubebuilder:validation:XValidation:rule="[has(self.touchpoints), has(self.journey), has(self.selector)].filter(set, set).size() == 1",message="name the targets in exactly one way: touchpoints, journey or selector"
type Targets struct {
	// touchpoints names the touchpoints, at most 1000.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	Touchpoints []Name `json:"touchpoints,omitempty"`

	// journey names a Journey of this namespace, whose touchpoints in this namespace
	// are meant.
	// +optional
	Journey Name `json:"journey,omitempty"`

	// selector chooses touchpoints by what they are.
	// +optional
	Selector *TouchpointSelector `json:"selector,omitempty"`
}

// TouchpointSelector chooses touchpoints for which everything given holds. An
// empty one chooses every touchpoint of the namespace.
type TouchpointSelector struct {
	// matchLabels are labels that the Touchpoint has, at most 16.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && self[k].size() <= 63)",message="a label has at most 317 characters in its key and 63 in its value"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// classes are the classes of which the Touchpoint has one.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	Classes []Class `json:"classes,omitempty"`
}

// LabelValue is the value of a Kubernetes label.
//
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// Objective is one promise.
//
// +kubebuilder:validation:XValidation:rule="[has(self.availability), has(self.latency), has(self.ces), has(self.csat), has(self.nps), has(self.events)].filter(set, set).size() == 1",message="an objective promises exactly one thing: availability, latency, ces, csat, nps or events"
// +kubebuilder:validation:XValidation:rule="!has(self.source) || (has(self.availability) || has(self.latency) ? self.source in ['Probe', 'Metric'] : has(self.events) ? self.source == 'Metric' : self.source in ['Survey', 'Metric'])",message="this source cannot serve this objective: availability and latency come from Probe or Metric; ces, csat and nps from Survey or Metric; events from Metric",fieldPath=".source"
// +kubebuilder:validation:XValidation:rule="!has(self.minResponses) || has(self.ces) || has(self.csat) || has(self.nps)",message="minResponses is for surveys (ces, csat, nps); for availability, latency and events set minLosses",fieldPath=".minResponses"
// +kubebuilder:validation:XValidation:rule="!has(self.minLosses) || has(self.availability) || has(self.latency) || has(self.events)",message="minLosses is for traffic (availability, latency, events); for ces, csat and nps set minResponses",fieldPath=".minLosses"
type Objective struct {
	// name identifies the objective; it becomes a label of its series and alerts.
	// +required
	Name Name `json:"name,omitempty"`

	// availability promises that visits succeed.
	// +optional
	Availability *AvailabilityObjective `json:"availability,omitempty"`

	// latency promises that visits succeed within a time.
	// +optional
	Latency *LatencyObjective `json:"latency,omitempty"`

	// ces promises that customers find it easy (Customer Effort Score).
	// +optional
	CES *CESObjective `json:"ces,omitempty"`

	// csat promises that customers are satisfied.
	// +optional
	CSAT *CSATObjective `json:"csat,omitempty"`

	// nps promises that customers recommend (Net Promoter Score).
	// +optional
	NPS *NPSObjective `json:"nps,omitempty"`

	// events promises that events of a named pair of counters go well.
	// +optional
	Events *EventsObjective `json:"events,omitempty"`

	// source says where the events come from: Probe, Survey or Metric. Default: the
	// touchpoint's metrics where it names fitting ones, else its probe or survey.
	// +optional
	Source Source `json:"source,omitempty"`

	// minResponses is how many survey responses it takes before a budget is judged or
	// an alert fires, 1 to 100000. Default: 30.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MinResponses int32 `json:"minResponses,omitempty"`

	// minLosses is how many losses an alert's long window must hold before it fires, 1
	// to 100000, so that one failed probe never pages. Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MinLosses int32 `json:"minLosses,omitempty"`
}

// AvailabilityObjective promises a share of successful visits.
type AvailabilityObjective struct {
	// target is the promised share of visits that succeed, such as "99.9%".
	// +required
	Target Percentage `json:"target,omitempty"`
}

// LatencyObjective promises a share of fast visits.
type LatencyObjective struct {
	// threshold is the time within which a visit must succeed, such as 300ms, at
	// least 1ms and at most 1h.
	// +required
	// +kubebuilder:validation:XValidation:rule="self.contains('d') ? false : duration(self) >= duration('1ms') && duration(self) <= duration('1h')",message="threshold must be between 1ms and 1h, for example 300ms"
	Threshold Duration `json:"threshold,omitempty"`

	// target is the promised share of visits that succeed within the threshold, such
	// as "99%".
	// +required
	Target Percentage `json:"target,omitempty"`
}

// CESInstrument chooses the version of the Customer Effort Score.
//
// +kubebuilder:validation:Enum=CES;CES1
type CESInstrument string

// CESObjective promises little effort, in one of three forms.
//
// +kubebuilder:validation:XValidation:rule="[has(self.easeShare), has(self.net), has(self.mean)].filter(set, set).size() == 1",message="promise effort in exactly one form: easeShare, net or mean"
// +kubebuilder:validation:XValidation:rule="!has(self.mean) || (has(self.instrument) && self.instrument == 'CES1' ? double(self.mean) >= 1.0 && double(self.mean) <= 5.0 : double(self.mean) >= 1.0 && double(self.mean) <= 7.0)",message="mean must lie on the instrument's scale: 1 to 7 for CES, 1 to 5 for CES1",fieldPath=".mean"
type CESObjective struct {
	// instrument is CES (1-7, high is easy) or CES1 (1-5, high is laborious). Default: CES.
	// +optional
	Instrument CESInstrument `json:"instrument,omitempty"`

	// easeShare is the promised share of answers that say it was easy: 5 and more on
	// CES, 2 and less on CES1.
	// +optional
	EaseShare Percentage `json:"easeShare,omitempty"`

	// net is the promised share of easy answers less the share of difficult ones (3 and
	// less on CES, 4 and more on CES1), such as "40%".
	// +optional
	Net SignedPercentage `json:"net,omitempty"`

	// mean is the promised mean score: at least this on CES, at most this on CES1.
	// +optional
	Mean Score `json:"mean,omitempty"`
}

// CSATObjective promises satisfied customers.
type CSATObjective struct {
	// target is the promised share of answers 4 and 5 on the scale 1 to 5.
	// +required
	Target Percentage `json:"target,omitempty"`
}

// NPSObjective promises recommending customers.
type NPSObjective struct {
	// target is the promised share of promoters (9 and 10) less the share of
	// detractors (0 to 6), in percent: a whole number from -100 to 100.
	// +required
	// +kubebuilder:validation:Minimum=-100
	// +kubebuilder:validation:Maximum=100
	Target *int32 `json:"target,omitempty"`
}

// EventsObjective promises a share of good events.
type EventsObjective struct {
	// metric is the name of a pair in the touchpoint's metrics.events.
	// +required
	Metric Name `json:"metric,omitempty"`

	// target is the promised share of good events, such as "99.5%".
	// +required
	Target Percentage `json:"target,omitempty"`
}

// Alerting shapes alerts.
type Alerting struct {
	// disabled switches all alerts of this ExperienceSLO off; budgets are still
	// counted. Default: false.
	// +optional
	// +default=false
	Disabled bool `json:"disabled,omitempty"`

	// severities are the severities that alerts may have: Page, Ticket. Default: by
	// touchpoint: Page and Ticket for class Critical unless kano is Motivator, else
	// Ticket.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	Severities []Severity `json:"severities,omitempty"`

	// labels are added to the alerts as they stand, at most 8; templates are refused.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]{0,62}$') && !k.startsWith('__'))",message="a label's name must be letters, digits and underscores, at most 63, and not begin with two underscores"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['namespace', 'slo', 'objective', 'touchpoint', 'severity', 'tier', 'team', 'alertname', 'def', 'window', 'instrument', 'source', 'family', 'floor', 'silence', 'page', 'ticket', 'runbook', 'type', 'promise']))",message="this label's name is taken by Sojourn: choose another than namespace, slo, objective, touchpoint, severity, tier, team, alertname, def, window, instrument, source, family, floor, silence, page, ticket, runbook, type, promise"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !self[k].contains('{{'))",message="a label's value is taken as it stands: templates ({{ }}) are not expanded here"
	Labels map[string]AlertLabelValue `json:"labels,omitempty"`

	// runbookURL is the page that tells what to do. It becomes the annotation
	// `runbook_url`. Default: the touchpoint's owner.runbookURL.
	// +optional
	RunbookURL URL `json:"runbookURL,omitempty"`
}

// AlertLabelValue is the value of a label of an alert.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
type AlertLabelValue string

// ObjectiveStatus says how an objective is watched.
type ObjectiveStatus struct {
	// name of the objective.
	// +required
	Name Name `json:"name,omitempty"`

	// budget is the mean loss that the objective allows, as a decimal number between
	// 0 and 1; absent where the target leaves none.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=24
	Budget string `json:"budget,omitempty"`

	// budgets counts the touchpoints for which the objective is watched.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Budgets int32 `json:"budgets,omitempty"`

	// tiers are the alerts in force, such as "page 1h at 13.44x".
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=64
	Tiers []string `json:"tiers,omitempty"`

	// silent says for each alert that is not in force why it could never fire.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=256
	Silent []string `json:"silent,omitempty"`
}

// ExperienceSLOStatus is what the controllers found out about an ExperienceSLO.
type ExperienceSLOStatus struct {
	// conditions are Ready, and Reconciling or Stalled where they apply, which speak of
	// the configuration; and, where a Prometheus is asked, Met, which speaks of the
	// customers, RulesLoaded, WindowCovered and Observed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// touchpoints counts the touchpoints that the targets match.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Touchpoints int32 `json:"touchpoints,omitempty"`

	// budgets counts the pairs of objective and touchpoint that are watched.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Budgets int32 `json:"budgets,omitempty"`

	// objectives says how each objective is watched.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Objectives []ObjectiveStatus `json:"objectives,omitempty"`

	// states counts the budgets by how they stand over the window; absent until
	// Prometheus has told.
	// +optional
	States *BudgetStates `json:"states,omitempty"`

	// remaining is what is left of the budget that has least left, in percent of it;
	// negative where more than the budget is spent.
	// +optional
	Remaining Figure `json:"remaining,omitempty"`

	// worst are the 20 budgets that stand worst, the worst first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Worst []BudgetStatus `json:"worst,omitempty"`
}

// BudgetStates counts budgets by how they stand.
type BudgetStates struct {
	// met counts those with enough events and no more lost than allowed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Met int32 `json:"met,omitempty"`

	// atRisk counts those that are kept so far, but for which an alert fires.
	// +optional
	// +kubebuilder:validation:Minimum=0
	AtRisk int32 `json:"atRisk,omitempty"`

	// inconclusive counts those with more lost than allowed, which may be chance.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Inconclusive int32 `json:"inconclusive,omitempty"`

	// breached counts those with more lost than allowed, and not by chance.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Breached int32 `json:"breached,omitempty"`

	// insufficientData counts those with fewer answers than minResponses.
	// +optional
	// +kubebuilder:validation:Minimum=0
	InsufficientData int32 `json:"insufficientData,omitempty"`

	// noData counts those of which nothing is known.
	// +optional
	// +kubebuilder:validation:Minimum=0
	NoData int32 `json:"noData,omitempty"`
}

// BudgetState tells how a budget stands over its window.
//
// +kubebuilder:validation:Enum=Met;AtRisk;Inconclusive;Breached;InsufficientData;NoData
type BudgetState string

// BudgetStatus is how one budget stands. Figures move only when they have changed by
// more than their rounding.
type BudgetStatus struct {
	// objective is the name of the objective.
	// +required
	Objective Name `json:"objective,omitempty"`

	// touchpoint is where.
	// +required
	Touchpoint Name `json:"touchpoint,omitempty"`

	// state is how it stands: Met, AtRisk, Inconclusive, Breached, InsufficientData or
	// NoData.
	// +required
	State BudgetState `json:"state,omitempty"`

	// value is what the window came to, in the unit of the promise: percent of good
	// events, percent of net ease, points of a mean or of NPS.
	// +optional
	Value Figure `json:"value,omitempty"`

	// lower and upper are the confidence bounds of value, 98 % between them; of surveys
	// only.
	// +optional
	Lower Figure `json:"lower,omitempty"`

	// upper is the other bound; see lower.
	// +optional
	Upper Figure `json:"upper,omitempty"`

	// events is how many events the window holds, to two significant digits.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Events int64 `json:"events,omitempty"`

	// remaining is what is left of the budget, in percent of it; negative where more
	// than the budget is spent.
	// +optional
	Remaining Figure `json:"remaining,omitempty"`

	// burnRate is how many times as fast as it may the budget burns, over the last hour
	// and the last five minutes, whichever is slower; of surveys over the window. Absent
	// where it burns no faster than it may.
	// +optional
	BurnRate Figure `json:"burnRate,omitempty"`

	// alerts are the tiers that fire, such as "page 1h".
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=64
	Alerts []string `json:"alerts,omitempty"`
}

// ExperienceSLO is a promise to customers, kept by one error budget for each
// objective at each touchpoint.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=experienceslos,singular=experienceslo,shortName=xslo,categories=experience
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Met",type=string,JSONPath=`.status.conditions[?(@.type=="Met")].status`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[?(@.type=="Met")].reason`
// +kubebuilder:printcolumn:name="Left %",type=string,JSONPath=`.status.remaining`
// +kubebuilder:printcolumn:name="Window",type=string,JSONPath=`.spec.window`
// +kubebuilder:printcolumn:name="Touchpoints",type=integer,JSONPath=`.status.touchpoints`
// +kubebuilder:printcolumn:name="Budgets",type=integer,JSONPath=`.status.budgets`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be at most 63 lower-case letters, digits and hyphens: it becomes a label of series and alerts"
type ExperienceSLO struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what is promised.
	// +required
	Spec ExperienceSLOSpec `json:"spec,omitzero"`

	// status is what the controllers found out.
	// +optional
	// +default={"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "waiting for the controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}
	Status ExperienceSLOStatus `json:"status,omitzero"`
}

// ExperienceSLOList is a list of ExperienceSLOs.
//
// +kubebuilder:object:root=true
type ExperienceSLOList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ExperienceSLO `json:"items"`
}
