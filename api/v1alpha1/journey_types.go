package v1alpha1

import (
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JourneyType tells whose journey it is.
//
// +kubebuilder:validation:Enum=Customer;Employee
type JourneyType string

// JourneySpec draws the path of a customer or employee to a goal.
type JourneySpec struct {
	// displayName is the name that people read, in any language, at most 128
	// characters. Default: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// description says in a sentence or two what the journey is about. Documentation only.
	// +optional
	Description Text `json:"description,omitempty"`

	// type tells whose journey it is: Customer or Employee. Default: Customer.
	// +optional
	// +default="Customer"
	Type JourneyType `json:"type,omitempty"`

	// goal is what the customer wants to have reached at the end. Documentation only.
	// +optional
	Goal Text `json:"goal,omitempty"`

	// owner names the team that answers for the journey as a whole.
	// +optional
	Owner *Owner `json:"owner,omitempty"`

	// personas are the people the journey is drawn for, at most 8. Documentation only.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Personas []Persona `json:"personas,omitempty"`

	// stages are the parts of the journey in their order, 1 to 20. A touchpoint may
	// stand in several stages: a journey may loop.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	Stages []Stage `json:"stages,omitempty"`

	// scoring says how the journey's score is made of those of its touchpoints: PeakEnd
	// (the mean of the most intense one and the last one, which is what people remember),
	// WeightedMean or Worst. Default: PeakEnd.
	// +optional
	// +default="PeakEnd"
	Scoring Scoring `json:"scoring,omitempty"`

	// kpis are figures of the business beside the journey, at most 20. Each is
	// recorded every minute as the series sojourn:journey_kpi:value.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	KPIs []KPI `json:"kpis,omitempty"`
}

// Scoring says how a journey's score is made of those of its touchpoints.
//
// +kubebuilder:validation:Enum=PeakEnd;WeightedMean;Worst
type Scoring string

// Persona is a person the journey is drawn for.
type Persona struct {
	// name identifies the persona.
	// +required
	Name Name `json:"name,omitempty"`

	// displayName is the name that people read, in any language.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// description tells who the persona is and what moves them.
	// +optional
	Description Text `json:"description,omitempty"`
}

// Stage is a part of a journey.
type Stage struct {
	// name identifies the stage: awareness, consideration, purchase, use, loyalty, or
	// the team's own.
	// +required
	Name Name `json:"name,omitempty"`

	// displayName is the name that people read, in any language. Default: name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// touchpoints are the encounters of this stage in their order, at most 50.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	Touchpoints []TouchpointReference `json:"touchpoints,omitempty"`

	// entries selects a counter of the customers that enter this stage, such as
	// shop_visits_total{page="checkout"}, for the conversion from stage to stage.
	// What it gains is recorded every minute as sojourn:journey_stage_entries:count1m.
	// +optional
	Entries Query `json:"entries,omitempty"`
}

// TouchpointReference names a Touchpoint.
type TouchpointReference struct {
	// name of the Touchpoint.
	// +required
	Name Name `json:"name,omitempty"`

	// namespace of the Touchpoint; one elsewhere must allow this journey by its
	// allowedJourneys. Default: the journey's own.
	// +optional
	Namespace Name `json:"namespace,omitempty"`

	// weight is how much the touchpoint counts in a mean of the journey or of its stage, 1
	// to 100. Default: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight,omitempty"`

	// momentOfTruth marks an encounter that decides how the journey is remembered: in
	// PeakEnd it is felt twice as much. Default: false.
	// +optional
	MomentOfTruth bool `json:"momentOfTruth,omitempty"`
}

// KPI is a figure of the business.
type KPI struct {
	// name identifies the figure.
	// +required
	Name Name `json:"name,omitempty"`

	// query is the PromQL expression of the figure; the sum of what it returns is
	// recorded.
	// +required
	Query Query `json:"query,omitempty"`

	// target is what the figure should be: ">= 0.03", "<= 300", or a bare number, which
	// means at least that.
	// +optional
	Target KPITarget `json:"target,omitempty"`
}

// KPITarget is a bound for a figure, such as ">= 0.03" or "<= 300".
//
// +kubebuilder:validation:Pattern=`^((>=|<=) ?)?-?[0-9]{1,15}(\.[0-9]{1,6})?$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
type KPITarget string

// Reached tells whether a value satisfies the target. An error means that the text never
// passed admission.
func (t KPITarget) Reached(value float64) (bool, error) {
	text, most := strings.CutPrefix(string(t), "<=")
	text = strings.TrimSpace(strings.TrimPrefix(text, ">="))
	bound, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return false, fmt.Errorf("%q is no target: write a bound such as >= 0.03 or <= 300", string(t))
	}
	if most {
		return value <= bound, nil
	}
	return value >= bound, nil
}

// JourneyStatus is what the controllers found out about a Journey.
type JourneyStatus struct {
	// conditions are Ready, and Reconciling or Stalled where they apply, which speak of
	// the configuration; and, where a Prometheus is asked, Healthy, which speaks of the
	// customers, and Observed.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// touchpoints counts the distinct touchpoints of the journey.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Touchpoints int32 `json:"touchpoints,omitempty"`

	// measured counts those that exist and are measured by a probe, survey or metric.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Measured int32 `json:"measured,omitempty"`

	// promised counts those that at least one ExperienceSLO covers.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Promised int32 `json:"promised,omitempty"`

	// completeness is how much of the map is filled and measured, in percent: of each
	// touchpoint whether it exists, is measured, is promised something, has an owner, an
	// expectation, a blueprint and the elements of the map.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Completeness int32 `json:"completeness,omitempty"`

	// score is how customers fare on the journey, 0 to 100, by spec.scoring.
	// +optional
	Score Figure `json:"score,omitempty"`

	// weakest is the touchpoint with the lowest score.
	// +optional
	Weakest *WeakestTouchpoint `json:"weakest,omitempty"`

	// budgets counts the budgets at the journey's touchpoints, whoever promised them.
	// +optional
	Budgets *JourneyBudgets `json:"budgets,omitempty"`

	// stages says how customers fare in each stage.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Stages []StageStatus `json:"stages,omitempty"`

	// kpis are the figures of the business.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	KPIs []KPIStatus `json:"kpis,omitempty"`
}

// WeakestTouchpoint is where customers fare worst.
type WeakestTouchpoint struct {
	// name of the Touchpoint; with its namespace and a slash before it where that is not
	// the journey's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=127
	Name string `json:"name,omitempty"`

	// score is that of the touchpoint, 0 to 100.
	// +required
	Score Figure `json:"score,omitempty"`

	// why says what brings the score down.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Why string `json:"why,omitempty"`
}

// JourneyBudgets counts budgets by how they stand.
type JourneyBudgets struct {
	// met counts those that are kept, an alert firing or not.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Met int32 `json:"met,omitempty"`

	// breached counts those that are spent, and not by chance.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Breached int32 `json:"breached,omitempty"`

	// unknown counts those that cannot be judged.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Unknown int32 `json:"unknown,omitempty"`
}

// StageStatus says how customers fare in a stage.
type StageStatus struct {
	// name of the stage.
	// +required
	Name Name `json:"name,omitempty"`

	// score is the mean of those of its touchpoints by their weights, 0 to 100.
	// +optional
	Score Figure `json:"score,omitempty"`

	// budgets counts the budgets at its touchpoints.
	// +optional
	Budgets *JourneyBudgets `json:"budgets,omitempty"`

	// entries is how many customers entered the stage within a day, to two significant
	// digits.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Entries *int64 `json:"entries,omitempty"`

	// conversionPercent is the share of those who entered the stage before this that
	// entered this one; more than 100 where customers come
	// from elsewhere.
	// +optional
	ConversionPercent Figure `json:"conversionPercent,omitempty"`

	// dropOffPercent is the share of those who did not: see conversionPercent.
	// +optional
	DropOffPercent Figure `json:"dropOffPercent,omitempty"`
}

// KPIStatus is a figure of the business.
type KPIStatus struct {
	// name of the KPI.
	// +required
	Name Name `json:"name,omitempty"`

	// value is what it is, to three significant digits.
	// +required
	Value Figure `json:"value,omitempty"`

	// target is what it should be.
	// +optional
	Target KPITarget `json:"target,omitempty"`

	// reached tells whether it is; absent without a target.
	// +optional
	Reached *bool `json:"reached,omitempty"`
}

// Journey is the path a customer or employee takes to a goal, in ordered stages.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=journeys,singular=journey,shortName=jrn,categories=experience
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Healthy",type=string,JSONPath=`.status.conditions[?(@.type=="Healthy")].status`
// +kubebuilder:printcolumn:name="Score",type=string,JSONPath=`.status.score`
// +kubebuilder:printcolumn:name="Weakest",type=string,JSONPath=`.status.weakest.name`
// +kubebuilder:printcolumn:name="Met",type=integer,JSONPath=`.status.budgets.met`
// +kubebuilder:printcolumn:name="Breached",type=integer,JSONPath=`.status.budgets.breached`
// +kubebuilder:printcolumn:name="Unknown",type=integer,JSONPath=`.status.budgets.unknown`
// +kubebuilder:printcolumn:name="Complete %",type=integer,JSONPath=`.status.completeness`
// +kubebuilder:printcolumn:name="Touchpoints",type=integer,JSONPath=`.status.touchpoints`,priority=1
// +kubebuilder:printcolumn:name="Measured",type=integer,JSONPath=`.status.measured`,priority=1
// +kubebuilder:printcolumn:name="Promised",type=integer,JSONPath=`.status.promised`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.team`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be at most 63 lower-case letters, digits and hyphens: it becomes a label of series and alerts"
type Journey struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec draws the journey.
	// +required
	Spec JourneySpec `json:"spec,omitzero"`

	// status is what the controllers found out.
	// +optional
	// +default={"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "waiting for the controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}
	Status JourneyStatus `json:"status,omitzero"`
}

// JourneyList is a list of Journeys.
//
// +kubebuilder:object:root=true
type JourneyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Journey `json:"items"`
}
