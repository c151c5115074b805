// Package atlas holds journeys as people look at them: what is declared, what customers
// feel there, and how well that is known. It is pure: it reads objects that somebody else
// has loaded, and knows neither cluster nor Prometheus. Figures come from the objects'
// status, so that a map says what kubectl get says; series and comments are added by
// whoever can have them.
package atlas

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Map is one journey.
type Map struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Title is the display name, or else the name.
	Title       string    `json:"title"`
	Description string    `json:"description,omitempty"`
	Goal        string    `json:"goal,omitempty"`
	Type        string    `json:"type,omitempty"`
	Owner       *Owner    `json:"owner,omitempty"`
	Personas    []Persona `json:"personas,omitempty"`
	// Scoring says how the score is made: PeakEnd, WeightedMean or Worst.
	Scoring string `json:"scoring,omitempty"`
	// Score is how customers fare, 0 to 100; nil if that is not known.
	Score  *float64 `json:"score,omitempty"`
	Health Health   `json:"health"`
	// Ready speaks of the configuration.
	Ready Health `json:"ready"`
	// Weakest is where customers fare worst, as the journey names it, and why.
	Weakest string `json:"weakest,omitempty"`
	Why     string `json:"why,omitempty"`
	// Completeness is how much of the map is filled and measured, in percent.
	Completeness int32   `json:"completeness"`
	Budgets      Budgets `json:"budgets"`
	Stages       []Stage `json:"stages"`
	KPIs         []KPI   `json:"kpis,omitempty"`
	// Missing says, a sentence each, what the map lacks and what would bring it.
	Missing []string `json:"missing,omitempty"`
}

// Owner answers for a journey or a touchpoint.
type Owner struct {
	Team       string `json:"team,omitempty"`
	Contact    string `json:"contact,omitempty"`
	RunbookURL string `json:"runbookURL,omitempty"`
}

// Persona is somebody whom the journey is drawn for.
type Persona struct {
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
}

// Health is a condition that speaks of customers (Healthy, Met), or of the configuration
// (Ready).
type Health struct {
	// Status is True, False or Unknown.
	Status string `json:"status"`
	// Reason is one word, such as Kept, AtRisk, Breached, NoData.
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Budgets counts budgets by how they stand.
type Budgets struct {
	Met      int32 `json:"met"`
	Breached int32 `json:"breached"`
	Unknown  int32 `json:"unknown"`
}

// Stage is a part of a journey.
type Stage struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	Score *float64 `json:"score,omitempty"`
	// Entries is how many customers entered within a day.
	Entries *int64 `json:"entries,omitempty"`
	// Conversion is the percentage of those in the stage before that entered this one.
	Conversion *float64 `json:"conversionPercent,omitempty"`
	Budgets    Budgets  `json:"budgets"`
	Stops      []Stop   `json:"touchpoints"`
}

// Stop is a touchpoint where a journey passes it.
type Stop struct {
	Touchpoint
	Weight        int32 `json:"weight"`
	MomentOfTruth bool  `json:"momentOfTruth,omitempty"`
	// Absent says why nothing is known of it: there is no such Touchpoint, or it does not
	// allow the journey. Empty: it is there.
	Absent string `json:"absent,omitempty"`
}

// Touchpoint is one encounter between customer and company.
type Touchpoint struct {
	Namespace   string   `json:"namespace"`
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Channel     string   `json:"channel,omitempty"`
	Ownership   string   `json:"ownership,omitempty"`
	Class       string   `json:"class,omitempty"`
	Kano        string   `json:"kano,omitempty"`
	Themes      []string `json:"themes,omitempty"`
	Owner       *Owner   `json:"owner,omitempty"`
	MeasuredBy  string   `json:"measuredBy,omitempty"`
	Health      Health   `json:"health"`
	Ready       Health   `json:"ready"`
	// Score is how customers fare, 0 to 100; nil if that is not known. Lower and Upper are
	// the scores it would have at the confidence bounds of what people answered; both are
	// the score where nothing was asked.
	Score *float64 `json:"score,omitempty"`
	Lower *float64 `json:"lower,omitempty"`
	Upper *float64 `json:"upper,omitempty"`
	// Figures are what customers experience, each with what it rests on.
	Availability *Figure `json:"availability,omitempty"`
	// P50 and P95 are the latency of successful visits, in seconds.
	P50          *float64 `json:"p50Seconds,omitempty"`
	P95          *float64 `json:"p95Seconds,omitempty"`
	Ease         *Figure  `json:"ease,omitempty"`
	EffortMean   *float64 `json:"effortMean,omitempty"`
	EffortOn     string   `json:"effortInstrument,omitempty"`
	Satisfied    *Figure  `json:"satisfied,omitempty"`
	NPS          *Figure  `json:"nps,omitempty"`
	Net          *Figure  `json:"net,omitempty"`
	Expectation  string   `json:"expectation,omitempty"`
	Satisfaction string   `json:"satisfaction,omitempty"`
	// Left is what is left of the budget that has least left, in percent; negative where
	// more is spent. Nil if there is none, or nothing is known of it.
	Left *float64 `json:"budgetLeftPercent,omitempty"`
	// Promised are the budgets at this touchpoint, the worst first, as far as the
	// ExperienceSLOs' status has room for them.
	Promised []Budget `json:"budgets,omitempty"`
	// Trend is what was left of that budget, in percent, over time.
	Trend     Series     `json:"trend,omitempty"`
	Gaps      []Gap      `json:"gaps,omitempty"`
	Probes    []Location `json:"probes,omitempty"`
	Blueprint Blueprint  `json:"blueprint,omitzero"`
	// Elements are those of the customer-journey map, and then of the management
	// specification, that are filled in.
	Elements []Element `json:"elements,omitempty"`
	// Journeys are those that pass here, as namespace/name.
	Journeys []string `json:"journeys,omitempty"`
}

// Figure is a measured share or net share, in percent or percentage points, with its
// confidence bounds (98 % between them) and the number of events it rests on.
type Figure struct {
	Value  float64 `json:"value"`
	Lower  float64 `json:"lower"`
	Upper  float64 `json:"upper"`
	Events int64   `json:"events"`
}

// Budget is what a promise at a touchpoint allows to go wrong.
type Budget struct {
	SLO       string `json:"slo"`
	Objective string `json:"objective"`
	// Promise says what is promised, such as "99% within 300ms".
	Promise string `json:"promise,omitempty"`
	Window  string `json:"window,omitempty"`
	// State is Met, AtRisk, Inconclusive, Breached, InsufficientData or NoData.
	State string `json:"state"`
	// Value is in the unit of the promise; Lower and Upper are its bounds, of surveys only.
	Value  *float64 `json:"value,omitempty"`
	Lower  *float64 `json:"lower,omitempty"`
	Upper  *float64 `json:"upper,omitempty"`
	Events int64    `json:"events"`
	// Left is in percent of the budget.
	Left       *float64 `json:"leftPercent,omitempty"`
	BurnRate   *float64 `json:"burnRate,omitempty"`
	Alerts     []string `json:"alerts,omitempty"`
	RunbookURL string   `json:"runbookURL,omitempty"`
	// BurnDown is what was left, in percent, over time.
	BurnDown Series `json:"burnDown,omitempty"`

	// traffic: it is one of visits or events, not of answers.
	traffic bool
}

// Gap is one of the gap model of service quality, in percentage points.
type Gap struct {
	Name   string  `json:"name"`
	Points float64 `json:"points"`
	From   string  `json:"from,omitempty"`
	Source string  `json:"source,omitempty"`
}

// Location is where probers visit from, and what they met last.
type Location struct {
	Name    string    `json:"name"`
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"`
	Step    string    `json:"step,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Blueprint is a touchpoint's column of the service blueprint, by lane.
type Blueprint struct {
	Evidence []string `json:"evidence,omitempty"`
	// Customer is what the customer does: the action of the map.
	Customer   []string `json:"customer,omitempty"`
	Frontstage []string `json:"frontstage,omitempty"`
	Backstage  []Part   `json:"backstage,omitempty"`
	Support    []Part   `json:"support,omitempty"`
}

// Part is one behind the line of visibility.
type Part struct {
	Description string `json:"description,omitempty"`
	// Workload is such as Deployment/ordering; empty: none.
	Workload string `json:"workload,omitempty"`
	// Health is Healthy, Degraded, Unhealthy, Missing, or empty if it is not watched.
	Health  string `json:"health,omitempty"`
	Message string `json:"message,omitempty"`
}

// Element is one of the journey map or of the management specification.
type Element struct {
	// Field is the element's name in the spec, such as map.painPoints.
	Field string   `json:"field"`
	Texts []string `json:"texts"`
}

// KPI is a figure of the business.
type KPI struct {
	Name    string   `json:"name"`
	Value   *float64 `json:"value,omitempty"`
	Target  string   `json:"target,omitempty"`
	Reached *bool    `json:"reached,omitempty"`
}

// Series are points in the order of time. Where nothing is known there is none.
type Series []Point

// Point is a value at a time.
type Point struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"`
}

// Comment is what a customer wrote.
type Comment struct {
	Instrument string    `json:"instrument"`
	Score      int       `json:"score"`
	Text       string    `json:"text"`
	Received   time.Time `json:"received"`
}

// Distribution is how the answers to an instrument are spread over its scores.
type Distribution struct {
	// Instrument is CES, CES1, CSAT or NPS.
	Instrument string `json:"instrument"`
	// Counts are by score, from Lowest on.
	Lowest int       `json:"lowest"`
	Counts []float64 `json:"counts"`
}

// Phase is how long a part of a visit took, in seconds.
type Phase struct {
	Location string  `json:"location"`
	Step     string  `json:"step,omitempty"`
	Phase    string  `json:"phase"`
	Seconds  float64 `json:"seconds"`
}

// Detail is a touchpoint with all that is known of it.
type Detail struct {
	Touchpoint
	Distributions []Distribution `json:"distributions,omitempty"`
	Phases        []Phase        `json:"phases,omitempty"`
	// Latest and Worst are what customers wrote.
	Latest []Comment `json:"latest,omitempty"`
	Worst  []Comment `json:"worst,omitempty"`
	// EaseOverTime is the share of easy answers, in percent.
	EaseOverTime Series `json:"easeOverTime,omitempty"`
	// LatencyOverTime is the 95th percentile, in seconds.
	LatencyOverTime Series `json:"latencyOverTime,omitempty"`
	// Events are those of Kubernetes that tell of the touchpoint, the latest first.
	Events  []Event  `json:"events,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

// Event is what was told of an object.
type Event struct {
	Time    time.Time `json:"time"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
}

// Key names an object.
type Key = types.NamespacedName
