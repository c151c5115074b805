// Package series shows the gateway's counters to Prometheus.
package series

import (
	"context"
	"iter"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// Responses collects sojourn_survey_responses_total: for every touchpoint that
// exists, every instrument it declares and every score of its scale, the total of
// the database, zero included. A counter that is born at 1 has no increase, so
// the first customer would be lost.
//
// Where a touchpoint declares segments, further series with the label segment show
// parts of the same totals. The series without the label stays the whole, so that
// rules take the maximum of a score's series, segmented or not.
//
// Beside them it collects sojourn_feedback_comments_total: how many of the answers of a
// touchpoint with a survey carried a comment, by the sentiment of the answer.
//
// A touchpoint that is deleted takes its series along; its totals stay in the
// database and return with it.
type Responses struct {
	ledger      *ledger.Ledger
	touchpoints func() iter.Seq[*v1alpha1.Touchpoint]
	log         *slog.Logger
	desc        *prometheus.Desc
	segmented   *prometheus.Desc
	comments    *prometheus.Desc
}

var _ prometheus.Collector = (*Responses)(nil)

// NewResponses returns a collector of the totals of the touchpoints that exist.
func NewResponses(ledger *ledger.Ledger, touchpoints func() iter.Seq[*v1alpha1.Touchpoint], log *slog.Logger) *Responses {
	const name = "sojourn_survey_responses_total"
	const help = "Survey responses accepted, by touchpoint, instrument and score. A total of the database: every gateway on it shows the same. Series with a segment are parts of those without."
	return &Responses{
		ledger:      ledger,
		touchpoints: touchpoints,
		log:         log,
		desc:        prometheus.NewDesc(name, help, []string{"namespace", "touchpoint", "instrument", "score"}, nil),
		segmented:   prometheus.NewDesc(name, help, []string{"namespace", "touchpoint", "instrument", "score", "segment"}, nil),
		comments: prometheus.NewDesc("sojourn_feedback_comments_total",
			"Survey responses accepted that carry a comment, by touchpoint and by what their scores say. A total of the database, like sojourn_survey_responses_total.",
			[]string{"namespace", "touchpoint", "sentiment"}, nil),
	}
}

// Describe implements prometheus.Collector. It says nothing: the library lets those
// alone that describe nothing have series of one name with different labels.
func (r *Responses) Describe(chan<- *prometheus.Desc) {}

// refreshTime is how long a scrape waits for totals of other gateways; then it shows
// those known.
const refreshTime = 5 * time.Second

// Collect implements prometheus.Collector.
func (r *Responses) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), refreshTime)
	defer cancel()
	if err := r.ledger.Refresh(ctx); err != nil {
		r.log.Warn("totals of other gateways cannot be read; showing those known", "error", err)
	}
	for touchpoint := range r.touchpoints() {
		survey := touchpoint.Spec.Survey
		if survey == nil {
			continue
		}
		comments := r.ledger.CommentsBySentiment(touchpoint.Namespace, touchpoint.Name)
		for _, sentiment := range ledger.Sentiments {
			metrics <- prometheus.MustNewConstMetric(r.comments, prometheus.CounterValue, float64(comments[sentiment]),
				touchpoint.Namespace, touchpoint.Name, string(sentiment))
		}
		for _, declared := range survey.Instruments {
			question := ledger.Question{
				Namespace:  touchpoint.Namespace,
				Touchpoint: touchpoint.Name,
				Instrument: ledger.Label(declared.Type),
			}
			r.ledger.Each(question, "", func(score int, count ledger.Count) {
				metrics <- prometheus.MustNewConstMetric(r.desc, prometheus.CounterValue, float64(count.Responses),
					question.Namespace, question.Touchpoint, question.Instrument, strconv.Itoa(score))
			})
			for _, segment := range survey.Segments {
				r.ledger.Each(question, string(segment), func(score int, count ledger.Count) {
					metrics <- prometheus.MustNewConstMetric(r.segmented, prometheus.CounterValue, float64(count.Responses),
						question.Namespace, question.Touchpoint, question.Instrument, strconv.Itoa(score), string(segment))
				})
			}
		}
	}
}
