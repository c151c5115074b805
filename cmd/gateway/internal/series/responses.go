// Package series shows the gateway's counters to Prometheus.
package series

import (
	"iter"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// Responses collects sojourn_survey_responses_total: for every touchpoint that
// exists, every instrument it declares and every score of its scale, the total of
// the database, zero included. A counter that is born at 1 has no increase, so
// the first customer would be lost.
//
// A touchpoint that is deleted takes its series along; its totals stay in the
// database and return with it.
type Responses struct {
	totals      *ledger.Totals
	touchpoints func() iter.Seq[*v1alpha1.Touchpoint]
	desc        *prometheus.Desc
}

var _ prometheus.Collector = (*Responses)(nil)

// NewResponses returns a collector of the totals of the touchpoints that exist.
func NewResponses(totals *ledger.Totals, touchpoints func() iter.Seq[*v1alpha1.Touchpoint]) *Responses {
	return &Responses{
		totals:      totals,
		touchpoints: touchpoints,
		desc: prometheus.NewDesc("sojourn_survey_responses_total",
			"Survey responses accepted, by touchpoint, instrument and score. A total of the database: every gateway on it shows the same.",
			[]string{"namespace", "touchpoint", "instrument", "score"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (r *Responses) Describe(descs chan<- *prometheus.Desc) { descs <- r.desc }

// Collect implements prometheus.Collector.
func (r *Responses) Collect(metrics chan<- prometheus.Metric) {
	for touchpoint := range r.touchpoints() {
		if touchpoint.Spec.Survey == nil {
			continue
		}
		for _, declared := range touchpoint.Spec.Survey.Instruments {
			question := ledger.Question{
				Namespace:  touchpoint.Namespace,
				Touchpoint: touchpoint.Name,
				Instrument: ledger.Label(declared.Type),
			}
			r.totals.Each(question, func(score int, responses uint64) {
				metrics <- prometheus.MustNewConstMetric(r.desc, prometheus.CounterValue, float64(responses),
					question.Namespace, question.Touchpoint, question.Instrument, strconv.Itoa(score))
			})
		}
	}
}
