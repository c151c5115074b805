package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// meaning is an objective understood: what a loss is, and how much of it is allowed.
type meaning struct {
	name string
	// kind is the field of the objective: availability, latency, ces, csat, nps, events.
	kind   string
	family budget.Family
	// field is the path of the target, for messages.
	field string

	threshold  time.Duration           // latency
	pair       string                  // events: the name of the metric pair
	instrument v1alpha1.InstrumentType // surveys
	scale      budget.Scale            // surveys
	loss       budget.Loss             // surveys
	form       string                  // surveys: what the loss is called

	budget float64
	// promise is the target in words, for people.
	promise string
	floor   int
	source  v1alpha1.Source // as the spec says; empty for the default
}

// Promise says in words, for people, what an objective promises.
func Promise(objective *v1alpha1.Objective) string {
	m, _ := understand(objective) // the target that is wrong is in the words
	return m.promise
}

// SourceAt tells where a touchpoint's events for an objective come from. Without a source,
// lacking says what the touchpoint would need.
func SourceAt(objective *v1alpha1.Objective, touchpoint *v1alpha1.Touchpoint) (source v1alpha1.Source, lacking string) {
	m, _ := understand(objective) // the source does not depend on the target
	return m.sourceAt(touchpoint)
}

// understand reads an objective. The error, if any, is about the target that field
// names; everything else of the meaning is filled in even then.
func understand(objective *v1alpha1.Objective) (meaning, error) {
	m := meaning{name: string(objective.Name), family: budget.Traffic, floor: 3, source: objective.Source}
	if objective.MinLosses > 0 {
		m.floor = int(objective.MinLosses)
	}
	at := func(field string) { m.field = fmt.Sprintf("spec.objectives[%s].%s", objective.Name, field) }
	share := func(target v1alpha1.Percentage, promise string) error {
		m.promise = fmt.Sprintf(promise, target)
		value, err := target.Value()
		if err == nil {
			m.budget, err = budget.ForShare(value)
		}
		return err
	}
	var err error
	switch {
	case objective.Availability != nil:
		m.kind = "availability"
		at("availability.target")
		err = share(objective.Availability.Target, "%s of visits succeed")
	case objective.Latency != nil:
		m.kind = "latency"
		at("latency.target")
		if m.threshold, err = objective.Latency.Threshold.Value(); err == nil {
			err = share(objective.Latency.Target, fmt.Sprintf("%%s of visits succeed within %s", objective.Latency.Threshold))
		}
	case objective.Events != nil:
		m.kind, m.pair = "events", string(objective.Events.Metric)
		at("events.target")
		err = share(objective.Events.Target, fmt.Sprintf("%%s of %s go well", m.pair))
	case objective.CES != nil:
		err = m.effort(objective.CES, at, share)
	case objective.CSAT != nil:
		m.survey("csat", v1alpha1.InstrumentCSAT, budget.CSAT, "share", budget.CSAT.ShareLoss)
		at("csat.target")
		err = share(objective.CSAT.Target, "%s of customers are satisfied")
	case objective.NPS != nil && objective.NPS.Target != nil:
		m.survey("nps", v1alpha1.InstrumentNPS, budget.NPS, "net", budget.NPS.NetLoss)
		at("nps.target")
		m.promise = fmt.Sprintf("a Net Promoter Score of %d", *objective.NPS.Target)
		m.budget, err = budget.ForNet(float64(*objective.NPS.Target) / 100)
	default:
		at("")
		err = fmt.Errorf("promises nothing that this version knows: write one of availability, latency, ces, csat, nps or events")
	}
	if m.family == budget.Survey {
		m.floor = 30
		if objective.MinResponses > 0 {
			m.floor = int(objective.MinResponses)
		}
	}
	return m, err
}

func (m *meaning) survey(kind string, instrument v1alpha1.InstrumentType, scale budget.Scale, form string, loss budget.Loss) {
	m.kind, m.family, m.instrument, m.scale, m.form, m.loss = kind, budget.Survey, instrument, scale, form, loss
}

func (m *meaning) effort(ces *v1alpha1.CESObjective, at func(string), share func(v1alpha1.Percentage, string) error) error {
	instrument, scale := v1alpha1.InstrumentCES, budget.CES
	if string(ces.Instrument) == string(v1alpha1.InstrumentCES1) {
		instrument, scale = v1alpha1.InstrumentCES1, budget.CES1
	}
	switch {
	case ces.EaseShare != "":
		m.survey("ces", instrument, scale, "share", scale.ShareLoss)
		at("ces.easeShare")
		return share(ces.EaseShare, "%s of customers find it easy")
	case ces.Net != "":
		m.survey("ces", instrument, scale, "net", scale.NetLoss)
		at("ces.net")
		m.promise = fmt.Sprintf("net ease of %s", ces.Net)
		net, err := ces.Net.Value()
		if err == nil {
			m.budget, err = budget.ForNet(net)
		}
		return err
	default:
		m.survey("ces", instrument, scale, "mean", scale.MeanLoss)
		at("ces.mean")
		m.promise = fmt.Sprintf("a mean effort score of %s on %d to %d", ces.Mean, scale.Low, scale.High)
		mean, err := ces.Mean.Value()
		if err == nil {
			m.budget, err = budget.ForMean(mean, scale)
		}
		return err
	}
}

// instrumentLabel is the instrument as the series name it; empty for traffic.
func (m *meaning) instrumentLabel() string { return strings.ToLower(string(m.instrument)) }

// value turns a mean loss into the unit of the promise.
func (m *meaning) value(loss float64) float64 {
	switch m.form {
	case "net":
		return 100 * (1 - 2*loss)
	case "mean":
		return m.scale.Mean(loss)
	default:
		return 100 * (1 - loss)
	}
}

// def says in short what a loss means. Counts are kept by it: changing only the target
// of an objective keeps it, and so the history; changing the meaning starts anew.
func (m *meaning) def(source v1alpha1.Source) string {
	parts := []string{strings.ToLower(string(source)), m.kind}
	switch {
	case m.kind == "latency":
		parts = append(parts, edge(m.threshold))
	case m.kind == "events":
		parts = append(parts, m.pair)
	case m.family == budget.Survey:
		parts = []string{parts[0], m.instrumentLabel(), m.form}
	}
	return strings.Join(parts, "/")
}

// sourceAt finds where a touchpoint's events for this objective come from: what the
// objective says, or else the touchpoint's metrics where they fit, or else its probe or
// survey. Without one, lacking says what the touchpoint would need.
func (m *meaning) sourceAt(touchpoint *v1alpha1.Touchpoint) (source v1alpha1.Source, lacking string) {
	metric, own := false, v1alpha1.SourceProbe
	measured, asMetric, asOwn := false, "", "a probe"
	metrics := touchpoint.Spec.Metrics
	if metrics == nil {
		metrics = &v1alpha1.Metrics{}
	}
	switch {
	case m.kind == "availability":
		metric, asMetric = metrics.Requests != nil, "metrics.requests"
		measured = touchpoint.Spec.Probe != nil
	case m.kind == "latency":
		metric, asMetric = metrics.Latency != nil, "metrics.latency"
		measured = touchpoint.Spec.Probe != nil
	case m.kind == "events":
		metric = slices.ContainsFunc(metrics.Events, func(e v1alpha1.EventMetrics) bool { return string(e.Name) == m.pair })
		asMetric, own, asOwn = fmt.Sprintf("a pair named %s in metrics.events", m.pair), "", ""
	default:
		own, asOwn = v1alpha1.SourceSurvey, fmt.Sprintf("the instrument %s in its survey", m.instrument)
		metric = slices.ContainsFunc(metrics.Surveys, func(s v1alpha1.SurveyMetrics) bool { return s.Type == m.instrument })
		asMetric = fmt.Sprintf("a counter of %s in metrics.surveys", m.instrument)
		if touchpoint.Spec.Survey != nil {
			measured = slices.ContainsFunc(touchpoint.Spec.Survey.Instruments, func(i v1alpha1.Instrument) bool { return i.Type == m.instrument })
		}
	}
	switch {
	case metric && (m.source == "" || m.source == v1alpha1.SourceMetric):
		return v1alpha1.SourceMetric, ""
	case measured && m.source != v1alpha1.SourceMetric:
		return own, ""
	case own == "" || m.source == v1alpha1.SourceMetric:
		return "", asMetric
	case m.source == own:
		return "", asOwn
	default:
		return "", asOwn + " or " + asMetric
	}
}
