package v1alpha1

// Name is the name of a part inside an object: lower-case letters, digits and
// hyphens, at most 63 characters, as Kubernetes names its own.
//
// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
type Name string

// Text is one paragraph of documentation in any language.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=1024
type Text string

// Query is a PromQL expression.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
type Query string

// Owner names who answers for an object.
type Owner struct {
	// team is the name of the team, at most 63 characters. It becomes the label
	// `team` of the alerts of a Touchpoint, by which Alertmanager routes them.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Team string `json:"team,omitempty"`

	// contact says how to reach the team: an e-mail address, a chat channel or a
	// page. Documentation only.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Contact string `json:"contact,omitempty"`

	// runbookURL is the address of the page that tells what to do when an alert
	// fires. It becomes the annotation `runbook_url` of the alerts of a
	// Touchpoint, unless the ExperienceSLO names one of its own.
	// +optional
	RunbookURL URL `json:"runbookURL,omitempty"`
}

// URL is an absolute http or https address.
//
// +kubebuilder:validation:Pattern=`^https?://[^\s]+$`
// +kubebuilder:validation:MinLength=8
// +kubebuilder:validation:MaxLength=2048
type URL string

// Types of the conditions that Sojourn writes.
const (
	// ConditionReady is always present. True: the configuration is understood and
	// everything that follows from it is written to the API server. It never
	// speaks of the customers.
	ConditionReady = "Ready"
	// ConditionReconciling is present and True while something is still missing
	// that may come by itself, such as an object that has not been applied yet.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present and True when the spec cannot work as it is
	// written; only an edit of the object helps.
	ConditionStalled = "Stalled"

	// ConditionMet, of an ExperienceSLO, speaks of the customers. False: some budget is
	// Breached; Unknown: some budget cannot be judged; True: every budget is kept.
	ConditionMet = "Met"
	// ConditionHealthy, of a Journey and a Touchpoint, is the same for all budgets at
	// its touchpoints, whoever promised them.
	ConditionHealthy = "Healthy"
	// ConditionRulesLoaded, of an ExperienceSLO, tells whether Prometheus evaluates
	// its rules.
	ConditionRulesLoaded = "RulesLoaded"
	// ConditionWindowCovered, of an ExperienceSLO, tells whether the counts of its
	// whole window are known.
	ConditionWindowCovered = "WindowCovered"
	// ConditionObserved tells whether Prometheus answers. False: what the status says
	// of customers is as old as the message says.
	ConditionObserved = "Observed"
)

// Reasons of the conditions that speak of customers.
const (
	// ReasonKept says that every budget is Met.
	ReasonKept = "Kept"
	// ReasonAtRisk says that every budget is kept, but an alert fires for some.
	ReasonAtRisk = "AtRisk"
	// ReasonBreached says that some budget is spent, and not by chance.
	ReasonBreached = "Breached"
	// ReasonInconclusive says that some budget looks spent, which may be chance.
	ReasonInconclusive = "Inconclusive"
	// ReasonInsufficientData says that some budget has too few answers to be judged.
	ReasonInsufficientData = "InsufficientData"
	// ReasonNoData says that of some budget nothing is known at all.
	ReasonNoData = "NoData"
	// ReasonNothingPromised says that there is no budget.
	ReasonNothingPromised = "NothingPromised"

	// ReasonLoaded and ReasonNotLoaded are those of RulesLoaded, and ReasonLoading that
	// there was not time enough yet.
	ReasonLoaded    = "Loaded"
	ReasonNotLoaded = "NotLoaded"
	ReasonLoading   = "Loading"

	// ReasonCovered and ReasonPartlyCovered are those of WindowCovered.
	ReasonCovered       = "Covered"
	ReasonPartlyCovered = "PartlyCovered"

	// ReasonAnswering says that Prometheus answers. Those of Observed=False begin with
	// Prometheus: PrometheusUnreachable, PrometheusTimeout, PrometheusRefused,
	// PrometheusServerError, PrometheusTooLarge, PrometheusPartial, PrometheusNonsense.
	ReasonAnswering = "Answering"
)

// Figure is a decimal number in a status, such as "-12.5". Where it stands tells its unit.
//
// +kubebuilder:validation:Pattern=`^-?[0-9]{1,15}(\.[0-9]{1,6})?$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=24
type Figure string

// Reasons of the condition Ready and its companions.
const (
	// ReasonPending is the default status of an object no controller has seen.
	ReasonPending = "Pending"
	// ReasonSucceeded says that everything the spec asks for is in place.
	ReasonSucceeded = "Succeeded"
	// ReasonNoTargets says that the targets of an ExperienceSLO match no touchpoint.
	ReasonNoTargets = "NoTargets"
	// ReasonReferenceNotFound says that an object named in the spec does not exist.
	ReasonReferenceNotFound = "ReferenceNotFound"
	// ReasonReferenceNotAllowed says that a Touchpoint elsewhere does not allow
	// journeys of this namespace.
	ReasonReferenceNotAllowed = "ReferenceNotAllowed"
	// ReasonInvalidSelector says that a label selector of the spec cannot be used.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonNotMeasured says that a targeted touchpoint has no source for an objective.
	ReasonNotMeasured = "NotMeasured"
	// ReasonInvalidQuery says that a PromQL text of the spec cannot be used.
	ReasonInvalidQuery = "InvalidQuery"
	// ReasonNotACounter says that a metric of a Touchpoint does not behave as a counter.
	ReasonNotACounter = "NotACounter"
	// ReasonMissingLabel says that a metric of a Touchpoint lacks a label.
	ReasonMissingLabel = "MissingLabel"
	// ReasonNotAnEdge says that a latency threshold is no bucket edge of a histogram.
	ReasonNotAnEdge = "NotAnEdge"
	// ReasonInvalidProbe says that a probe cannot work as it is written, such as for
	// an expression that does not compile.
	ReasonInvalidProbe = "InvalidProbe"
	// ReasonKindMissing says that the spec needs a kind of another project that is
	// not installed.
	ReasonKindMissing = "KindMissing"
	// ReasonImpossibleTarget says that an objective leaves no budget at all.
	ReasonImpossibleTarget = "ImpossibleTarget"
	// ReasonWriteFailed says that the API server did not take what was generated.
	ReasonWriteFailed = "WriteFailed"
)
