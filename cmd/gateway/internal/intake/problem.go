package intake

import (
	"encoding/json"
	"net/http"
)

// Reason is why a request or one item of it was refused. It is a label of
// sojourn_survey_rejected_total, so the set is closed.
type Reason string

// Reasons.
const (
	// Of a whole request.
	ReasonUnauthorized     Reason = "unauthorized"
	ReasonNotFound         Reason = "not_found"
	ReasonMethod           Reason = "method"
	ReasonMediaType        Reason = "media_type"
	ReasonTooLarge         Reason = "too_large"
	ReasonTimeout          Reason = "timeout"
	ReasonNotReady         Reason = "not_ready"
	ReasonOverloaded       Reason = "overloaded"
	ReasonStoreUnavailable Reason = "store_unavailable"
	ReasonBadSignature     Reason = "bad_signature"
	ReasonStaleSignature   Reason = "stale_signature"
	ReasonRateLimited      Reason = "rate_limited"
	// Of a whole request, or of one item with a wrong type or unknown field.
	ReasonMalformed Reason = "malformed"
	// Of one item.
	ReasonInvalidID         Reason = "invalid_id"
	ReasonInvalidComment    Reason = "invalid_comment"
	ReasonInvalidTime       Reason = "invalid_time"
	ReasonUnknownTouchpoint Reason = "unknown_touchpoint"
	ReasonUnknownInstrument Reason = "unknown_instrument"
	ReasonScoreOffScale     Reason = "score_off_scale"
	ReasonForbidden         Reason = "forbidden"
	ReasonInvalidSegment    Reason = "invalid_segment"
	ReasonInvalidChannel    Reason = "invalid_channel"
	ReasonInvalidSubject    Reason = "invalid_subject"
	// Of a webhook's answers, or of an event.
	ReasonUnmapped     Reason = "unmapped"
	ReasonAmbiguous    Reason = "ambiguous"
	ReasonUnknownEvent Reason = "unknown_event"
)

// Reasons lists every reason.
var Reasons = []Reason{
	ReasonUnauthorized, ReasonNotFound, ReasonMethod, ReasonMediaType, ReasonTooLarge, ReasonTimeout,
	ReasonNotReady, ReasonOverloaded, ReasonStoreUnavailable, ReasonMalformed,
	ReasonInvalidID, ReasonInvalidComment, ReasonInvalidTime,
	ReasonUnknownTouchpoint, ReasonUnknownInstrument, ReasonScoreOffScale,
	ReasonBadSignature, ReasonStaleSignature, ReasonRateLimited,
	ReasonForbidden, ReasonInvalidSegment, ReasonInvalidChannel, ReasonInvalidSubject,
	ReasonUnmapped, ReasonAmbiguous, ReasonUnknownEvent,
}

// problem is the answer to a request that is refused as a whole, a problem
// document of RFC 9457. Its type is left out, which stands for about:blank: the
// status says what happened, reason and detail say why.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
	// Rejected are the items, where the request had some.
	Rejected []rejection `json:"rejected,omitempty"`

	header http.Header
}

// rejection says why one item of a request was not taken.
type rejection struct {
	Index  int    `json:"index"`
	ID     string `json:"id,omitempty"`
	Reason Reason `json:"reason"`
	Detail string `json:"detail"`
}

// conflict says that a response with this id but other content was stored before.
type conflict struct {
	Index  int    `json:"index"`
	ID     string `json:"id"`
	Detail string `json:"detail"`
}

// receipt is the answer to a request of which something was taken.
type receipt struct {
	Accepted   int         `json:"accepted"`
	Duplicates int         `json:"duplicates"`
	Conflicts  []conflict  `json:"conflicts,omitempty"`
	Rejected   []rejection `json:"rejected,omitempty"`
	// Ignored says why nothing was taken although nothing is wrong.
	Ignored string `json:"ignored,omitempty"`
}

func refuse(status int, reason Reason, detail string) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Reason: reason, Detail: detail}
}

// with adds a header to the answer.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, body any) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	// Sentences such as "1 <= score" are for people; nothing here is HTML.
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // the client has hung up; there is nobody to tell
}
