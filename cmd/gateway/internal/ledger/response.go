package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
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
// Where Segment is not empty, it counts those of one segment of customers, a part
// of what the series without a segment counts.
type Series struct {
	Question
	Segment string
	Score   int
}

// Count is what a counter holds.
type Count struct {
	// Responses is how many there ever were, and Comments how many of them carried one.
	Responses, Comments uint64
}

// Response is one customer's answer to one question.
type Response struct {
	// Series is the counter that the response adds to, beside the one without a
	// segment.
	Series
	// ID tells the response from every other of its namespace.
	ID string
	// Submission is the id by which the source knows what the response came in,
	// where that is not ID: a form that was filled in may hold several responses.
	Submission string
	// Comment is what the customer wrote; often empty.
	Comment string
	// Channel is the way by which the answer was asked for; often empty.
	Channel string
	// Subject is the SHA-256 of whatever identifies the customer, in hexadecimal;
	// often empty.
	Subject string
	// Answered is when the customer answered, by the source's clock; zero where the
	// source did not say. Received is when the gateway got it; it counts from then.
	// Both are whole milliseconds, so that what was stored compares equal to what
	// comes again.
	Answered, Received time.Time
}

// Same tells whether other says the same as r. Times of arrival differ between
// two deliveries of one response, so they are not looked at; nor are segment and
// channel, which a source may come to know later.
func (r *Response) Same(other *Response) bool {
	return r.ID == other.ID && r.Question == other.Question && r.Score == other.Score &&
		r.Comment == other.Comment && r.Answered.Equal(other.Answered)
}

// CountIn adds the response to every counter that it belongs to.
func (r *Response) CountIn(counts map[Series]Count) {
	add := func(series Series) {
		count := counts[series]
		count.Responses++
		if r.Comment != "" {
			count.Comments++
		}
		counts[series] = count
	}
	add(Series{Question: r.Question, Score: r.Score})
	if r.Segment != "" {
		add(r.Series)
	}
}

// weight is about how many bytes the response takes in memory.
func (r *Response) weight() int64 {
	return int64(320 + len(r.ID) + len(r.Submission) + len(r.Comment))
}

// EraseKey is what stays of an erased response: by it the response is known when
// it is sent again, and must not be counted again.
func EraseKey(namespace, id string) []byte {
	sum := sha256.New()
	_, _ = io.WriteString(sum, namespace) // a hash never fails
	_, _ = sum.Write([]byte{0})
	_, _ = io.WriteString(sum, id)
	return sum.Sum(nil)[:16]
}

// SubjectHash returns the hash by which a customer's responses are found.
func SubjectHash(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return hex.EncodeToString(sum[:])
}

// Record is a response as the database keeps it.
type Record struct {
	// Number is its place in the order of arrival.
	Number int64
	Response
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

// Loss says how bad a score is on its instrument's scale: 0 for the best, 1 for the
// worst.
func Loss(instrument string, score int) float64 {
	scale, known := ScaleOf(instrument)
	if !known {
		return 0
	}
	loss := float64(scale.High-score) / float64(scale.High-scale.Low)
	if instrument == Label(v1alpha1.InstrumentCES1) {
		return 1 - loss
	}
	return loss
}
