package v1alpha1

import (
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

	// kpis are figures of the business beside the journey, at most 20. Each is
	// recorded every minute as the series sojourn:journey_kpi:value.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	KPIs []KPI `json:"kpis,omitempty"`
}

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

	// momentOfTruth marks an encounter that decides how the journey is remembered.
	// Documentation only. Default: false.
	// +optional
	// +default=false
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

	// target is what the figure should be, as words or a number. Documentation only.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Target string `json:"target,omitempty"`
}

// JourneyStatus is what the controllers found out about a Journey.
type JourneyStatus struct {
	// conditions are Ready, and Reconciling or Stalled where they apply.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// stages is how many stages the journey has.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Stages int32 `json:"stages,omitempty"`

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
}

// Journey is the path a customer or employee takes to a goal, in ordered stages.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=journeys,singular=journey,shortName=jrn,categories=experience
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Stages",type=integer,JSONPath=`.status.stages`
// +kubebuilder:printcolumn:name="Touchpoints",type=integer,JSONPath=`.status.touchpoints`
// +kubebuilder:printcolumn:name="Measured",type=integer,JSONPath=`.status.measured`
// +kubebuilder:printcolumn:name="Promised",type=integer,JSONPath=`.status.promised`
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
