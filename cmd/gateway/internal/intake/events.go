package intake

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
)

// EventType is the type of CloudEvents whose data are a response.
const EventType = "dev.sojourn.survey.response"

// allowedRate is how many requests a minute the handshake promises to take.
const allowedRate = 60_000

// events is POST /v1/events: CloudEvents in binary, structured and batch mode, and
// OPTIONS, the handshake by which a sender makes sure that it may deliver here.
func (in *Intake) events(w http.ResponseWriter, r *http.Request) (*receipt, *problem) {
	if r.Method == http.MethodOptions {
		return nil, handshake(w, r)
	}
	if refusal := checkMethod(r, http.MethodPost); refusal != nil {
		return nil, refusal.with("Allow", "POST, OPTIONS")
	}
	grant, refusal := in.authorise(r, sources.Deliver)
	if refusal != nil {
		return nil, refusal
	}
	body, release, refusal := in.body(w, r)
	if refusal != nil {
		return nil, refusal
	}
	defer release()
	items, single, refusal := in.decodeEvents(r, body)
	if refusal != nil {
		return nil, refusal
	}
	return in.take(items, single, grant)
}

// decodeEvents reads the responses that are the data of a request's events.
func (in *Intake) decodeEvents(r *http.Request, body []byte) (items []part, single bool, refusal *problem) {
	defer in.alone(body)()
	events, single, refusal := eventsOf(r, body)
	items = make([]part, len(events))
	for i := range events {
		items[i] = itemOf(&events[i])
	}
	return items, single, refusal
}

// handshake answers the request for permission of the CloudEvents webhook
// specification. Whether somebody may deliver is decided by the token that comes with
// each delivery; a callback is not made, lest anybody could have the gateway call
// anything.
func handshake(w http.ResponseWriter, r *http.Request) *problem {
	origin := r.Header.Get("WebHook-Request-Origin")
	if origin == "" || !printable(origin, 253) {
		return refuse(http.StatusBadRequest, ReasonMalformed, "the handshake needs the header WebHook-Request-Origin with the sender's name")
	}
	w.Header().Set("WebHook-Allowed-Origin", origin)
	rate := allowedRate
	if wanted, err := strconv.Atoi(r.Header.Get("WebHook-Request-Rate")); err == nil && wanted > 0 {
		rate = min(rate, wanted)
	}
	w.Header().Set("WebHook-Allowed-Rate", strconv.Itoa(rate))
	w.Header().Set("Allow", "POST, OPTIONS")
	w.WriteHeader(http.StatusOK)
	return nil
}

// eventsOf reads the events of a request in whichever mode they come.
func eventsOf(r *http.Request, body []byte) (events []event.Event, single bool, refusal *problem) {
	malformed := func(format string, arguments ...any) *problem {
		return refuse(http.StatusBadRequest, ReasonMalformed, fmt.Sprintf(format, arguments...)+"; nothing of this request was stored")
	}
	message := cehttp.NewMessage(r.Header, io.NopCloser(bytes.NewReader(body)))
	if cehttp.IsHTTPBatch(r.Header) {
		events, err := binding.ToEvents(r.Context(), message, message.BodyReader)
		if err != nil {
			return nil, false, malformed("the body is no batch of CloudEvents: %s", shorten(err.Error(), 200))
		}
		if len(events) == 0 {
			return nil, false, malformed("the batch is empty: send at least one event")
		}
		if len(events) > MaxItems {
			return nil, false, refuse(http.StatusRequestEntityTooLarge, ReasonTooLarge,
				fmt.Sprintf("the batch holds more than %d events: send it in parts; nothing of this request was stored", MaxItems))
		}
		return events, false, nil
	}
	if message.ReadEncoding() == binding.EncodingUnknown {
		return nil, false, malformed("the request is no CloudEvent: send Content-Type application/cloudevents+json or application/cloudevents-batch+json, or the headers ce-specversion, ce-id, ce-source and ce-type")
	}
	one, err := binding.ToEvent(r.Context(), message)
	if err != nil {
		return nil, false, malformed("the request is no CloudEvent: %s", shorten(err.Error(), 200))
	}
	return []event.Event{*one}, true, nil
}

// itemOf reads the response that is an event's data. The event's source and id make
// its id, and its time is when the customer answered, unless the data say otherwise.
func itemOf(e *event.Event) part {
	no := func(reason Reason, format string, arguments ...any) part {
		refusal := reject(reason, format, arguments...)
		refusal.ID = shorten(e.ID(), MaxID)
		return part{refusal: refusal}
	}
	if err := e.Validate(); err != nil {
		return no(ReasonMalformed, "the event is not valid: %s", shorten(err.Error(), 200))
	}
	if e.Type() != EventType {
		return no(ReasonUnknownEvent, "the event's type is %q: send %s only", shorten(e.Type(), 60), EventType)
	}
	if !validID(e.ID()) || !printable(e.Source(), 512) {
		return no(ReasonInvalidID, "id must be 1 to %d and source 1 to 512 printable characters", MaxID)
	}
	data := bytes.TrimSpace(e.Data())
	if len(data) == 0 || data[0] != '{' {
		return no(ReasonMalformed, "the event's data are not a JSON object: a response has the fields %s", fields)
	}
	items, _, refusal := decodeBody(data)
	if refusal != nil {
		return no(ReasonMalformed, "the event's data: %s", refusal.Detail)
	}
	one := items[0]
	if one.refusal != nil {
		one.refusal.ID = shorten(e.ID(), MaxID)
		return one
	}
	if one.ID != nil && *one.ID != e.ID() {
		return no(ReasonInvalidID, "the data's id differs from the event's: leave it away, the event's source and id tell the response")
	}
	one.event = &eventID{source: e.Source(), id: e.ID()}
	one.ID = &one.event.id
	if one.Time == nil && !e.Time().IsZero() {
		text := e.Time().Format(time.RFC3339Nano)
		one.Time = &text
	}
	return one
}

// eventID is what tells one event from every other.
type eventID struct{ source, id string }

// unmarked takes the mark between source and id out of a source: without that, "a" with
// "b#c" and "a#b" with "c" would be one event, and one of two answers lost.
var unmarked = strings.NewReplacer("%", "%25", "#", "%23")

// name gives a response the id of its event.
func (e *eventID) name(r *ledger.Response) {
	r.ID, r.Submission = "event:"+unmarked.Replace(e.source)+"#"+e.id, e.id
}
