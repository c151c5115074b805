package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Channel is the way by which customer and company meet.
//
// +kubebuilder:validation:Enum=Web;MobileApp;Email;Phone;Chat;Social;Store;Partner;SMS;Mail;Search;Advertising;Kiosk;Device;Event;Other
type Channel string

// Ownership tells who controls a touchpoint.
//
// +kubebuilder:validation:Enum=Brand;Partner;Customer;External
type Ownership string

// Ownerships.
const (
	OwnershipBrand    Ownership = "Brand"
	OwnershipPartner  Ownership = "Partner"
	OwnershipCustomer Ownership = "Customer"
	OwnershipExternal Ownership = "External"
)

// Class ranks touchpoints for the default severity of their alerts.
//
// +kubebuilder:validation:Enum=Critical;Standard;Special
type Class string

// Classes.
const (
	ClassCritical Class = "Critical"
	ClassStandard Class = "Standard"
	ClassSpecial  Class = "Special"
)

// Kano is the category of a quality after Noriaki Kano (1984): the failure of a
// Basic one punishes, a Performance one counts both ways, a Motivator only rewards.
//
// +kubebuilder:validation:Enum=Basic;Performance;Motivator
type Kano string

// Kano categories.
const (
	KanoBasic       Kano = "Basic"
	KanoPerformance Kano = "Performance"
	KanoMotivator   Kano = "Motivator"
)

// InstrumentType names a survey question with its fixed scale.
//
// +kubebuilder:validation:Enum=CES;CES1;CSAT;NPS
type InstrumentType string

// Instruments.
const (
	// InstrumentCES is CES 2.0, "made it easy for me to handle my issue": 1 to 7, high is good.
	InstrumentCES InstrumentType = "CES"
	// InstrumentCES1 is CES 1.0, "how much effort did you have to put forth": 1 to 5, high is bad.
	InstrumentCES1 InstrumentType = "CES1"
	// InstrumentCSAT is customer satisfaction: 1 to 5, satisfied are 4 and 5.
	InstrumentCSAT InstrumentType = "CSAT"
	// InstrumentNPS is the Net Promoter Score: 0 to 10.
	InstrumentNPS InstrumentType = "NPS"
)

// TouchpointSpec says what a touchpoint is and how what customers experience
// there is measured. What is promised there is said by an ExperienceSLO.
//
// +kubebuilder:validation:XValidation:rule="!has(self.probe) || !has(self.ownership) || self.ownership in ['Brand', 'Partner']",message="a touchpoint that the customer or an outsider controls is not probed: remove probe, or set ownership to Brand or Partner",fieldPath=".probe"
type TouchpointSpec struct {
	// displayName is the name that people read, in any language, at most 128
	// characters. Default: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	DisplayName string `json:"displayName,omitempty"`

	// description says in a sentence or two what happens here. Documentation only.
	// +optional
	Description Text `json:"description,omitempty"`

	// channel is the way by which customer and company meet, such as Web or Phone.
	// +required
	Channel Channel `json:"channel,omitempty"`

	// ownership tells who controls the touchpoint: Brand, Partner, Customer or
	// External. Only those of Brand and Partner can be probed. Default: Brand.
	// +optional
	// +default="Brand"
	Ownership Ownership `json:"ownership,omitempty"`

	// class ranks the touchpoint: Critical, Standard or Special. Alerts of a
	// Critical touchpoint page and raise tickets (unless kano is Motivator), all
	// others raise tickets. Default: Standard.
	// +optional
	// +default="Standard"
	Class Class `json:"class,omitempty"`

	// kano is the category of its quality: Basic (failure punishes), Performance
	// (counts both ways) or Motivator (only rewards; its alerts never page).
	// Default: Performance.
	// +optional
	// +default="Performance"
	Kano Kano `json:"kano,omitempty"`

	// themes are keywords to group touchpoints by, at most 16. Documentation only.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Themes []string `json:"themes,omitempty"`

	// owner names the team that answers for the touchpoint.
	// +optional
	Owner *Owner `json:"owner,omitempty"`

	// expectation is what customers expect here before they come; satisfaction is
	// what they experience less what they expected (the Delta law).
	// +optional
	Expectation *Expectation `json:"expectation,omitempty"`

	// gaps are those of the gap model of service quality that only people can judge. The
	// others are computed: see status.gaps.
	// +optional
	Gaps *DeclaredGaps `json:"gaps,omitempty"`

	// allowedJourneys says which journeys may contain this touchpoint. Default:
	// those of the same namespace.
	// +optional
	AllowedJourneys *AllowedJourneys `json:"allowedJourneys,omitempty"`

	// probe visits the touchpoint at an interval, as a customer would: by one request
	// (http) or a flow of several (steps). Every visit is an event of the objectives
	// availability and latency. Default: nobody visits.
	// +optional
	Probe *Probe `json:"probe,omitempty"`

	// survey declares which questions customers are asked here.
	// +optional
	Survey *Survey `json:"survey,omitempty"`

	// metrics names series that the team's own systems already expose. Objectives
	// take them in preference to probe and survey.
	// +optional
	Metrics *Metrics `json:"metrics,omitempty"`

	// map holds the elements of the customer-journey map. Documentation only.
	// +optional
	Map *MapElements `json:"map,omitempty"`

	// management holds the twelve elements of the touchpoint's management
	// specification. Documentation only.
	// +optional
	Management *Management `json:"management,omitempty"`

	// blueprint is the touchpoint's column of the service blueprint: what the
	// customer sees, who serves, and the workloads behind. Documentation only.
	// +optional
	Blueprint *Blueprint `json:"blueprint,omitempty"`
}

// AllowedJourneys says which journeys may contain a touchpoint.
type AllowedJourneys struct {
	// namespaces says in which namespaces those journeys may be.
	// +optional
	Namespaces *JourneyNamespaces `json:"namespaces,omitempty"`
}

// FromNamespaces says how namespaces are chosen.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type FromNamespaces string

// Ways to choose namespaces.
const (
	NamespacesFromSame     FromNamespaces = "Same"
	NamespacesFromAll      FromNamespaces = "All"
	NamespacesFromSelector FromNamespaces = "Selector"
)

// JourneyNamespaces chooses namespaces of journeys.
//
// +kubebuilder:validation:XValidation:rule="(has(self.from) && self.from == 'Selector') == has(self.selector)",message="selector belongs to from: Selector: set both or neither",fieldPath=".selector"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || (!has(self.selector.matchLabels) || self.selector.matchLabels.size() <= 16) && (!has(self.selector.matchExpressions) || self.selector.matchExpressions.size() <= 16 && self.selector.matchExpressions.all(e, !has(e.values) || e.values.size() <= 64))",message="a selector has at most 16 matchLabels, 16 matchExpressions and 64 values in each",fieldPath=".selector"
type JourneyNamespaces struct {
	// from chooses the namespaces: Same (the touchpoint's own), All, or Selector
	// (those that selector matches). Default: Same.
	// +optional
	// +default="Same"
	From FromNamespaces `json:"from,omitempty"`

	// selector matches the labels of namespaces. Only with from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// QuestionID is what a survey tool calls a question or a hidden field: Formbricks'
// question id or hidden field, Typeform's field id, ref or hidden field, Tally's
// field key or hidden field.
//
// +kubebuilder:validation:Pattern=`^[^\x00-\x1f\x7f]+$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
type QuestionID string

// Segment names a group of customers, such as "enterprise". It becomes the label
// `segment` of series.
//
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
type Segment string

// Survey declares which questions customers are asked, and what becomes of their
// answers.
//
// +kubebuilder:validation:XValidation:rule="!has(self.link) || !has(self.link.instrument) || self.instruments.exists(i, i.type == self.link.instrument)",message="the link asks an instrument that the touchpoint does not have: add it to instruments, or name one of them",fieldPath=".link.instrument"
// +kubebuilder:validation:XValidation:rule="self.instruments.all(i, !has(i.questions) || i.questions.all(q, self.instruments.exists_one(j, has(j.questions) && q in j.questions)))",message="one question answers one instrument: name each id under one instrument only",fieldPath=".instruments"
type Survey struct {
	// instruments are the questions, each at most once. Responses to any other
	// question are refused by the gateway.
	// +required
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Instruments []Instrument `json:"instruments,omitempty"`

	// fields says where a survey tool's webhook carries what is no score: comment,
	// segment, subject. Default: nothing but scores is taken from webhooks.
	// +optional
	Fields *SurveyFields `json:"fields,omitempty"`

	// segments are the groups of customers whose responses are also counted apart,
	// in series with the label `segment`, at most 5. A response of any other segment
	// counts in the touchpoint's totals only. Default: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=5
	Segments []Segment `json:"segments,omitempty"`

	// comments says whether the gateway keeps what customers write: Keep, or Discard
	// before anything is stored. Default: Keep.
	// +optional
	// +default="Keep"
	Comments Comments `json:"comments,omitempty"`

	// retention is how long a response is kept after it arrived, 1d to 3650d. Then its
	// id, comment, subject, segment, channel and times are deleted; it stays counted,
	// and is known when it is sent again. Default: for ever.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.matches('^([1-9]|[1-9][0-9]{1,2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650)d$')",message="retention must be whole days from 1d to 3650d, for example 365d"
	Retention Duration `json:"retention,omitempty"`

	// link opens a public page at /s/{namespace}/{touchpoint} of the gateway that
	// asks one question. Default: no page.
	// +optional
	Link *SurveyLink `json:"link,omitempty"`
}

// Comments says what becomes of customers' words.
//
// +kubebuilder:validation:Enum=Keep;Discard
type Comments string

// What becomes of comments.
const (
	CommentsKeep    Comments = "Keep"
	CommentsDiscard Comments = "Discard"
)

// Instrument is one survey question.
type Instrument struct {
	// type is the question and its scale: CES (1-7, high is easy), CES1 (1-5, high
	// is laborious), CSAT (1-5) or NPS (0-10).
	// +required
	Type InstrumentType `json:"type,omitempty"`

	// questions are the ids of the survey tool's questions or hidden fields whose
	// answer is the score, at most 8. The answer must be a whole number on the scale.
	// Default: webhooks deliver nothing for this instrument.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Questions []QuestionID `json:"questions,omitempty"`
}

// SurveyFields says where a webhook carries what is no score.
//
// +kubebuilder:validation:MinProperties=1
type SurveyFields struct {
	// comment are the ids of questions whose answers are the comment, at most 4; the
	// first that was answered is taken.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Comment []QuestionID `json:"comment,omitempty"`

	// segment is the id of the question or hidden field that names the segment.
	// +optional
	Segment QuestionID `json:"segment,omitempty"`

	// subject is the id of the hidden field that tells who answered, such as a
	// customer number. Only its SHA-256 is kept, by which the customer's responses
	// can be erased.
	// +optional
	Subject QuestionID `json:"subject,omitempty"`
}

// Language is a language that the gateway's pages speak.
//
// +kubebuilder:validation:Enum=en;zh
type Language string

// Languages.
const (
	LanguageEnglish Language = "en"
	LanguageChinese Language = "zh"
)

// SurveyLink is a public page with one question.
type SurveyLink struct {
	// instrument is the question that is asked, one of spec.survey.instruments.
	// Default: the first of them.
	// +optional
	Instrument InstrumentType `json:"instrument,omitempty"`

	// language of the page: en or zh. Default: en.
	// +optional
	// +default="en"
	Language Language `json:"language,omitempty"`

	// texts replace the page's own words. Default: words of the language for the
	// instrument.
	// +optional
	Texts *SurveyTexts `json:"texts,omitempty"`
}

// PageText is one line of a page.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=256
type PageText string

// SurveyTexts are the words of a page.
//
// +kubebuilder:validation:MinProperties=1
type SurveyTexts struct {
	// question is what is asked, and the page's heading.
	// +optional
	Question PageText `json:"question,omitempty"`

	// lowest says what the lowest score means, such as "very difficult".
	// +optional
	Lowest PageText `json:"lowest,omitempty"`

	// highest says what the highest score means, such as "very easy".
	// +optional
	Highest PageText `json:"highest,omitempty"`

	// comment is the label of the field for the customer's words.
	// +optional
	Comment PageText `json:"comment,omitempty"`

	// send is the label of the button.
	// +optional
	Send PageText `json:"send,omitempty"`

	// thanks is what the page says afterwards.
	// +optional
	Thanks PageText `json:"thanks,omitempty"`
}

// Metrics names series of the team's own. Every text is a plain PromQL selector
// of counters or histograms, such as http_requests_total{app="shop"}: no
// function, no offset. Sojourn reads what such a counter gained each minute.
//
// +kubebuilder:validation:MinProperties=1
type Metrics struct {
	// requests counts requests and those that failed, for availability objectives.
	// +optional
	Requests *RequestMetrics `json:"requests,omitempty"`

	// latency is a histogram of durations in seconds, for latency objectives.
	// +optional
	Latency *LatencyMetrics `json:"latency,omitempty"`

	// surveys are counters of responses of a survey tool that exports them itself,
	// each instrument at most once.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Surveys []SurveyMetrics `json:"surveys,omitempty"`

	// events are named pairs of counters, for events objectives, at most 16.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Events []EventMetrics `json:"events,omitempty"`
}

// RequestMetrics counts requests.
type RequestMetrics struct {
	// total selects the counter of all requests.
	// +required
	Total Query `json:"total,omitempty"`

	// errors selects the counter of failed requests; where it has no series, none failed.
	// +required
	Errors Query `json:"errors,omitempty"`
}

// LatencyMetrics measures durations.
type LatencyMetrics struct {
	// histogram selects a classic histogram by its _bucket series, or a native
	// histogram by its name. A latency objective's threshold must be an edge of a
	// classic one. A failure that is fast counts as fast: where failures are in the
	// histogram, promise availability beside latency.
	// +required
	Histogram Query `json:"histogram,omitempty"`
}

// SurveyMetrics counts responses by score.
type SurveyMetrics struct {
	// type is the instrument that the responses answer.
	// +required
	Type InstrumentType `json:"type,omitempty"`

	// responses selects the counter of responses, one series for each score.
	// +required
	Responses Query `json:"responses,omitempty"`

	// scoreLabel is the label that holds the score as a whole number. Default: score.
	// +optional
	// +kubebuilder:validation:Pattern=`^[a-zA-Z_][a-zA-Z0-9_]*$`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	ScoreLabel string `json:"scoreLabel,omitempty"`
}

// EventMetrics is a pair of counters.
type EventMetrics struct {
	// name is what an events objective calls the pair.
	// +required
	Name Name `json:"name,omitempty"`

	// good selects the counter of events that went well.
	// +required
	Good Query `json:"good,omitempty"`

	// total selects the counter of all events.
	// +required
	Total Query `json:"total,omitempty"`
}

// MapElements are the rows of a customer-journey map.
type MapElements struct {
	// action is what the customer does here.
	// +optional
	Action Text `json:"action,omitempty"`

	// emotion is what the customer feels here.
	// +optional
	Emotion Text `json:"emotion,omitempty"`

	// quotes are words that customers said, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Quotes []Text `json:"quotes,omitempty"`

	// stakeholders are the people and departments involved, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Stakeholders []Text `json:"stakeholders,omitempty"`

	// interaction is how customer and company act on one another here.
	// +optional
	Interaction Text `json:"interaction,omitempty"`

	// kpis are the figures by which the company judges the touchpoint, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	KPIs []Text `json:"kpis,omitempty"`

	// painPoints are what annoys customers here, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	PainPoints []Text `json:"painPoints,omitempty"`

	// opportunities are what could be made better here, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Opportunities []Text `json:"opportunities,omitempty"`

	// risks are what could go wrong here, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Risks []Text `json:"risks,omitempty"`
}

// Management is the management specification of a touchpoint.
type Management struct {
	// plan is what is intended with the touchpoint.
	// +optional
	Plan Text `json:"plan,omitempty"`

	// goal is what the touchpoint is to achieve.
	// +optional
	Goal Text `json:"goal,omitempty"`

	// audience is whom the touchpoint addresses.
	// +optional
	Audience Text `json:"audience,omitempty"`

	// design is how the touchpoint is shaped.
	// +optional
	Design Text `json:"design,omitempty"`

	// mode is how the touchpoint is operated.
	// +optional
	Mode Text `json:"mode,omitempty"`

	// channels are the ways on which it is offered.
	// +optional
	Channels Text `json:"channels,omitempty"`

	// norms are the standards it has to keep.
	// +optional
	Norms Text `json:"norms,omitempty"`

	// incentives are what encourages staff and customers.
	// +optional
	Incentives Text `json:"incentives,omitempty"`

	// archive is where what happened is kept.
	// +optional
	Archive Text `json:"archive,omitempty"`

	// analysis is how what happened is examined.
	// +optional
	Analysis Text `json:"analysis,omitempty"`

	// consolidation is how findings of several touchpoints come together.
	// +optional
	Consolidation Text `json:"consolidation,omitempty"`

	// tracking is how improvements are followed up.
	// +optional
	Tracking Text `json:"tracking,omitempty"`
}

// Blueprint is one column of a service blueprint.
type Blueprint struct {
	// evidence is what the customer sees, hears or holds, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Evidence []Text `json:"evidence,omitempty"`

	// frontstage is what staff or systems do in the customer's sight, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Frontstage []Text `json:"frontstage,omitempty"`

	// backstage is what is done out of the customer's sight, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Backstage []BlueprintPart `json:"backstage,omitempty"`

	// support is what the backstage relies on, at most 16.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Support []BlueprintPart `json:"support,omitempty"`
}

// BlueprintPart is a part behind the line of visibility.
//
// +kubebuilder:validation:MinProperties=1
type BlueprintPart struct {
	// description says what the part does.
	// +optional
	Description Text `json:"description,omitempty"`

	// workload is the Kubernetes object that does it, in the touchpoint's namespace. Its
	// health is told in status.workloads, and by the Healthy condition when the touchpoint
	// breaks a promise.
	// +optional
	Workload *WorkloadReference `json:"workload,omitempty"`
}

// WorkloadReference names a workload of the same namespace.
type WorkloadReference struct {
	// kind is Deployment, StatefulSet, DaemonSet or Service.
	// +required
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;Service
	Kind string `json:"kind,omitempty"`

	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// Expectation is what customers expect before they come.
//
// +kubebuilder:validation:MinProperties=1
type Expectation struct {
	// description says in words what they expect. Documentation only.
	// +optional
	Description Text `json:"description,omitempty"`

	// net is the net experience that they expect: the share of customers that expect to
	// be content less the share that expect to be let down, such as "60%". What they then
	// answer, net, less this is the satisfaction.
	// +optional
	Net SignedPercentage `json:"net,omitempty"`
}

// DeclaredGaps are gaps 1, 2 and 4 of the gap model (Parasuraman, Zeithaml, Berry: A
// Conceptual Model of Service Quality, 1985), each in percentage points; negative where the
// second falls short of the first.
//
// +kubebuilder:validation:MinProperties=1
type DeclaredGaps struct {
	// listening is gap 1: what customers expect against what management believes they
	// expect.
	// +optional
	Listening SignedPercentage `json:"listening,omitempty"`

	// design is gap 2: what management believes against the standard that was set.
	// +optional
	Design SignedPercentage `json:"design,omitempty"`

	// communication is gap 4: what is told to customers against what is delivered.
	// +optional
	Communication SignedPercentage `json:"communication,omitempty"`
}

// Experience is what customers experience at a touchpoint. What is not measured is
// absent. Figures move only when they have changed by more than their rounding.
type Experience struct {
	// availability is of the visits of the last hour.
	// +optional
	Availability *ShareFigure `json:"availability,omitempty"`

	// latency is of the successful visits of the last hour.
	// +optional
	Latency *LatencyFigure `json:"latency,omitempty"`

	// ces is the Customer Effort Score of the last 7 days; of CES1 where only that is
	// asked.
	// +optional
	CES *EffortFigure `json:"ces,omitempty"`

	// csat is the share of satisfied customers of the last 7 days.
	// +optional
	CSAT *ShareFigure `json:"csat,omitempty"`

	// nps is the Net Promoter Score of the last 7 days.
	// +optional
	NPS *NetFigure `json:"nps,omitempty"`

	// net is the net experience of the last 7 days, over all surveys: the share of
	// content customers less the share of those let down, in percentage points.
	// +optional
	Net *NetFigure `json:"net,omitempty"`
}

// ShareFigure is a share of events.
type ShareFigure struct {
	// percent is the share of good events.
	// +required
	Percent Figure `json:"percent,omitempty"`

	// lower and upper are the confidence bounds of percent, 98 % between them.
	// +required
	Lower Figure `json:"lower,omitempty"`

	// upper is the other bound; see lower.
	// +required
	Upper Figure `json:"upper,omitempty"`

	// events is how many there were, to two significant digits.
	// +required
	// +kubebuilder:validation:Minimum=1
	Events int64 `json:"events,omitempty"`
}

// NetFigure is a share of good answers less the share of bad ones.
type NetFigure struct {
	// points are percentage points, -100 to 100.
	// +required
	Points Figure `json:"points,omitempty"`

	// lower and upper are the confidence bounds of points, 98 % between them.
	// +required
	Lower Figure `json:"lower,omitempty"`

	// upper is the other bound; see lower.
	// +required
	Upper Figure `json:"upper,omitempty"`

	// events is how many answers there were, to two significant digits.
	// +required
	// +kubebuilder:validation:Minimum=1
	Events int64 `json:"events,omitempty"`
}

// EffortFigure is a Customer Effort Score in its three forms.
type EffortFigure struct {
	// instrument is CES or CES1.
	// +required
	Instrument CESInstrument `json:"instrument,omitempty"`

	// mean is the mean score, in points of the scale.
	// +required
	Mean Figure `json:"mean,omitempty"`

	// easePercent is the share of answers that say it was easy.
	// +required
	EasePercent Figure `json:"easePercent,omitempty"`

	// lower and upper are the confidence bounds of easePercent, 98 % between them.
	// +required
	Lower Figure `json:"lower,omitempty"`

	// upper is the other bound; see lower.
	// +required
	Upper Figure `json:"upper,omitempty"`

	// net is the share of easy answers less the share of difficult ones, in percentage
	// points.
	// +required
	Net Figure `json:"net,omitempty"`

	// events is how many answers there were, to two significant digits.
	// +required
	// +kubebuilder:validation:Minimum=1
	Events int64 `json:"events,omitempty"`
}

// LatencyFigure is how long visits take. Half of them take at most p50Seconds, and 95 %
// at most p95Seconds, as exactly as the edges of the histogram allow.
type LatencyFigure struct {
	// p50Seconds is the median, in seconds.
	// +required
	P50Seconds Figure `json:"p50Seconds,omitempty"`

	// p95Seconds is the 95th percentile, in seconds.
	// +required
	P95Seconds Figure `json:"p95Seconds,omitempty"`
}

// Satisfaction is what customers experience less what they expected.
type Satisfaction struct {
	// points are percentage points of net experience.
	// +required
	Points Figure `json:"points,omitempty"`

	// sign is + where more is experienced than was expected, - where less, and = where
	// the two do not differ by more than chance.
	// +required
	// +kubebuilder:validation:Enum="+";"=";"-"
	Sign string `json:"sign,omitempty"`
}

// GapStatus is one gap of the gap model of service quality.
type GapStatus struct {
	// gap is its name and number: 1-Listening, 2-Design, 3-Performance, 4-Communication
	// or 5-Customer.
	// +required
	// +kubebuilder:validation:Enum="1-Listening";"2-Design";"3-Performance";"4-Communication";"5-Customer"
	Gap string `json:"gap,omitempty"`

	// points are percentage points; negative where the second falls short of the first.
	// +required
	Points Figure `json:"points,omitempty"`

	// source is Declared, from spec.gaps, or Computed.
	// +required
	// +kubebuilder:validation:Enum=Declared;Computed
	Source string `json:"source,omitempty"`

	// from says what is compared, such as "promised 99%, delivered 97.2%".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	From string `json:"from,omitempty"`
}

// WorkloadStatus is how a part of the blueprint does.
type WorkloadStatus struct {
	// lane is where the part stands: Backstage or Support.
	// +required
	// +kubebuilder:validation:Enum=Backstage;Support
	Lane string `json:"lane,omitempty"`

	// kind is Deployment, StatefulSet, DaemonSet or Service.
	// +required
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet;Service
	Kind string `json:"kind,omitempty"`

	// name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// health is Healthy; Degraded, if not all that there should be of it can serve;
	// Unhealthy, if nothing can; or Missing, where there is no such object.
	// +required
	// +kubebuilder:validation:Enum=Healthy;Degraded;Unhealthy;Missing
	Health string `json:"health,omitempty"`

	// message says what is wrong.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Message string `json:"message,omitempty"`
}

// TouchpointStatus is what the controllers found out about a Touchpoint.
type TouchpointStatus struct {
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

	// measuredBy lists the ways in which the touchpoint is measured, such as
	// "Probe, Survey"; empty if it is not measured.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	MeasuredBy string `json:"measuredBy,omitempty"`

	// journeys are the journeys that contain the touchpoint, as namespace/name; the
	// first 20 in alphabetical order.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MaxLength=128
	Journeys []string `json:"journeys,omitempty"`

	// score is how customers fare here, 0 to 100: the mean of the share that finds it easy,
	// the share that is satisfied, and how well budgets of visits are kept just now.
	// +optional
	Score Figure `json:"score,omitempty"`

	// experience is what customers experience.
	// +optional
	Experience *Experience `json:"experience,omitempty"`

	// satisfaction is the experience less spec.expectation.net.
	// +optional
	Satisfaction *Satisfaction `json:"satisfaction,omitempty"`

	// gaps are those of the gap model of service quality that are declared or can be
	// computed.
	// +optional
	// +listType=map
	// +listMapKey=gap
	// +kubebuilder:validation:MaxItems=5
	Gaps []GapStatus `json:"gaps,omitempty"`

	// workloads are the Kubernetes objects of the blueprint, and how they do.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Workloads []WorkloadStatus `json:"workloads,omitempty"`

	// probes are what the probers met last, one entry for each location, written by
	// the probers of that location. When and how long each visit was is told by their
	// metrics.
	// +optional
	// +listType=map
	// +listMapKey=location
	// +kubebuilder:validation:MaxItems=16
	Probes []LocationStatus `json:"probes,omitempty"`
}

// ProbeOutcome is what the visits of a probe come to.
//
// +kubebuilder:validation:Enum=Success;Failure;Error
type ProbeOutcome string

// Outcomes of probes.
const (
	// ProbeSuccess means that customers get what is expected.
	ProbeSuccess ProbeOutcome = "Success"
	// ProbeFailure means that they do not.
	ProbeFailure ProbeOutcome = "Failure"
	// ProbeError means that the probers cannot visit; it says nothing of customers.
	ProbeError ProbeOutcome = "Error"
)

// LocationStatus is what the probers of one location met last.
type LocationStatus struct {
	// location is where the probers stand.
	// +required
	Location Name `json:"location,omitempty"`

	// outcome is Success, Failure (as a customer feels it) or Error (the probers'
	// own trouble, outside every budget).
	// +required
	Outcome ProbeOutcome `json:"outcome,omitempty"`

	// reason says in one word why there is no success: of a Failure DNS, Connect, TLS,
	// Timeout, Status, Redirect, Body, Assertion or Denied (the prober may not connect
	// there), of an Error Config or Overload. Empty: success.
	// +optional
	// +kubebuilder:validation:Enum=DNS;Connect;TLS;Timeout;Status;Assertion;Body;Redirect;Denied;Config;Overload
	Reason string `json:"reason,omitempty"`

	// failedStep is the name of the first step that did not succeed. Empty: success, or
	// it is no step's fault.
	// +optional
	FailedStep Name `json:"failedStep,omitempty"`

	// since is when outcome, reason or failedStep became what they are.
	// +required
	Since metav1.Time `json:"since,omitempty,omitzero"`
}

// ProbeFieldOwner is the field owner of a location's entry in the status.
func ProbeFieldOwner(location Name) string { return "sojourn-prober-" + string(location) }

// Touchpoint is one encounter between customer and company, and how it is measured.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=touchpoints,singular=touchpoint,shortName=tp,categories=experience
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Healthy",type=string,JSONPath=`.status.conditions[?(@.type=="Healthy")].status`
// +kubebuilder:printcolumn:name="Score",type=string,JSONPath=`.status.score`
// +kubebuilder:printcolumn:name="Up %",type=string,JSONPath=`.status.experience.availability.percent`
// +kubebuilder:printcolumn:name="p95 s",type=string,JSONPath=`.status.experience.latency.p95Seconds`
// +kubebuilder:printcolumn:name="Easy %",type=string,JSONPath=`.status.experience.ces.easePercent`
// +kubebuilder:printcolumn:name="Sat",type=string,JSONPath=`.status.satisfaction.sign`
// +kubebuilder:printcolumn:name="Measured by",type=string,JSONPath=`.status.measuredBy`
// +kubebuilder:printcolumn:name="Failing",type=string,JSONPath=`.status.probes[?(@.outcome!="Success")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Channel",type=string,JSONPath=`.spec.channel`,priority=1
// +kubebuilder:printcolumn:name="Class",type=string,JSONPath=`.spec.class`,priority=1
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.team`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="the name must be at most 63 lower-case letters, digits and hyphens: it becomes a label of series and alerts"
type Touchpoint struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what the touchpoint is and how it is measured.
	// +required
	Spec TouchpointSpec `json:"spec,omitzero"`

	// status is what the controllers found out.
	// +optional
	// +default={"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "waiting for the controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}
	Status TouchpointStatus `json:"status,omitzero"`
}

// TouchpointList is a list of Touchpoints.
//
// +kubebuilder:object:root=true
type TouchpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Touchpoint `json:"items"`
}
