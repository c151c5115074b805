package ledger

import (
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/budget"
)

// Question is one instrument at one touchpoint: what a customer was asked, and
// where.
type Question struct {
	Namespace, Touchpoint string
	// Instrument is the lower-case name that series carry, such as "ces".
	Instrument string
}

// Series names one counter: the responses to a question that gave one score.
type Series struct {
	Question
	Score int
}

// Response is one customer's answer to one question.
type Response struct {
	Series
	// ID tells the response from every other of its namespace.
	ID string
	// Comment is what the customer wrote; often empty.
	Comment string
	// Answered is when the customer answered, by the source's clock; zero where the
	// source did not say. Received is when the gateway got it; it counts from then.
	// Both are whole milliseconds, so that what was stored compares equal to what
	// comes again.
	Answered, Received time.Time
}

// Same tells whether other says the same as r. Times of arrival differ between
// two deliveries of one response, so they are not looked at.
func (r *Response) Same(other *Response) bool {
	return r.ID == other.ID && r.Series == other.Series &&
		r.Comment == other.Comment && r.Answered.Equal(other.Answered)
}

// Outcome is what became of a response.
type Outcome int

// Outcomes.
const (
	// Accepted: stored and counted now.
	Accepted Outcome = iota
	// Duplicate: the same response was stored before.
	Duplicate
	// Conflict: a response with this id but other content was stored before; that
	// one stays.
	Conflict
)

var scales = map[string]budget.Scale{
	Label(v1alpha1.InstrumentCES):  budget.CES,
	Label(v1alpha1.InstrumentCES1): budget.CES1,
	Label(v1alpha1.InstrumentCSAT): budget.CSAT,
	Label(v1alpha1.InstrumentNPS):  budget.NPS,
}

// ScaleOf returns the scale of an instrument, given by its label.
func ScaleOf(instrument string) (scale budget.Scale, known bool) {
	scale, known = scales[instrument]
	return scale, known
}

// Label returns an instrument's name as series and responses carry it: lower case.
func Label(instrument v1alpha1.InstrumentType) string {
	return strings.ToLower(string(instrument))
}
