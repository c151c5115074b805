// Package intake is the gateway's front door: it takes survey responses over
// HTTP, hands the valid ones to the ledger, and says of all others what is wrong
// with them.
package intake

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// maxPending bounds the bodies that are being read, decoded or waiting for the
// disk at any time, in bytes. What decodes from them is of the same order, so it
// bounds the memory that clients can make the gateway use.
const maxPending = 64 << 20

// retryAfter is the number of seconds after which a client that was turned away
// for want of capacity or readiness should come again.
const retryAfter = 2

// Intake takes responses over HTTP. Register comes before Handler.
type Intake struct {
	// Authenticate tells whether a request may deliver responses.
	Authenticate func(*http.Request) bool
	// Ready returns why Touchpoints are not known yet, nil once they are. Before
	// that, every response would be refused as one for an unknown touchpoint.
	Ready func() error
	// Touchpoint looks a Touchpoint up; the result is read only.
	Touchpoint func(namespace, name string) (*v1alpha1.Touchpoint, bool)
	// Submit stores responses, see ledger.Ledger.
	Submit func([]ledger.Response) ([]ledger.Outcome, error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log receives failures that are not the client's. Default: slog.Default().
	Log *slog.Logger

	rejected   *prometheus.CounterVec
	duplicates prometheus.Counter
	pending    atomic.Int64
}

// Register creates the intake's own series, all at zero.
func (in *Intake) Register(registry prometheus.Registerer) error {
	in.rejected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sojourn_survey_rejected_total",
		Help: "Survey responses, or requests as a whole, that were refused.",
	}, []string{"reason"})
	for _, reason := range Reasons {
		in.rejected.WithLabelValues(string(reason))
	}
	in.duplicates = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sojourn_survey_duplicates_total",
		Help: "Survey responses that had been stored before and were acknowledged again without being counted.",
	})
	return errors.Join(registry.Register(in.rejected), registry.Register(in.duplicates))
}

// Handler serves every path of the gateway's front door.
func (in *Intake) Handler() http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("/v1/responses", in.responses)
	paths.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		in.answer(w, refuse(http.StatusNotFound, ReasonNotFound, "there is nothing here: deliver responses with POST /v1/responses"))
	})
	return paths
}

func (in *Intake) responses(w http.ResponseWriter, r *http.Request) {
	receipt, refusal := in.take(w, r)
	if refusal != nil {
		in.answer(w, refusal)
		return
	}
	in.duplicates.Add(float64(receipt.Duplicates))
	for _, each := range receipt.Rejected {
		in.rejected.WithLabelValues(string(each.Reason)).Inc()
	}
	writeJSON(w, http.StatusAccepted, "application/json", receipt)
}

// answer refuses a request and counts it: each of its items if items were looked
// at, else the request.
func (in *Intake) answer(w http.ResponseWriter, refusal *problem) {
	for _, each := range refusal.Rejected {
		in.rejected.WithLabelValues(string(each.Reason)).Inc()
	}
	if refusal.Rejected == nil {
		in.rejected.WithLabelValues(string(refusal.Reason)).Inc()
	}
	refusal.write(w)
}

func (in *Intake) take(w http.ResponseWriter, r *http.Request) (*receipt, *problem) {
	if refusal := in.admit(r); refusal != nil {
		return nil, refusal
	}
	release, refusal := in.reserve(r)
	if refusal != nil {
		return nil, refusal
	}
	defer release()
	body, refusal := read(w, r)
	if refusal != nil {
		return nil, refusal
	}
	items, single, refusal := split(body)
	if refusal != nil {
		return nil, refusal
	}
	checker := checker{touchpoint: in.Touchpoint, now: in.now()}
	responses := make([]ledger.Response, 0, len(items))
	indexes := make([]int, 0, len(items)) // of the responses among the items
	var rejected []rejection
	for index, item := range items {
		response, rejection := checker.check(item)
		if rejection != nil {
			rejection.Index = index
			rejected = append(rejected, *rejection)
			continue
		}
		responses, indexes = append(responses, response), append(indexes, index)
	}
	if len(responses) == 0 {
		return nil, refuseAll(rejected, single)
	}
	outcomes, err := in.Submit(responses)
	if err != nil {
		return nil, in.sayStore(err)
	}
	receipt := &receipt{Rejected: rejected}
	for i, outcome := range outcomes {
		if outcome == ledger.Accepted {
			receipt.Accepted++
			continue
		}
		receipt.Duplicates++
		if outcome == ledger.Conflict {
			receipt.Conflicts = append(receipt.Conflicts, conflict{
				Index: indexes[i], ID: responses[i].ID,
				Detail: "a response with this id but other content came first and stays: if this is another customer's, send it with an id of its own",
			})
		}
	}
	return receipt, nil
}

// admit looks at everything that comes before the body.
func (in *Intake) admit(r *http.Request) *problem {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, ReasonMethod,
			"responses are delivered with POST, not "+shorten(r.Method, 20)).with("Allow", http.MethodPost)
	}
	if !in.Authenticate(r) {
		challenge, detail := `Bearer realm="sojourn"`, "there is no bearer token: send the header Authorization: Bearer <token>, with a token of the gateway's token file"
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
			detail = "the token is not one of the gateway's token file: correct it, or add it there"
		}
		return refuse(http.StatusUnauthorized, ReasonUnauthorized, detail).with("WWW-Authenticate", challenge)
	}
	mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
			"send JSON, with the header Content-Type: application/json").with("Accept", "application/json")
	}
	if charset := parameters["charset"]; charset != "" && charset != "utf-8" && charset != "UTF-8" {
		return refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
			"JSON is UTF-8: encode the body so and leave charset away").with("Accept", "application/json")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
			"send the body uncompressed, without Content-Encoding").with("Accept-Encoding", "identity")
	}
	if r.ContentLength > MaxBody {
		return tooLarge()
	}
	if err := in.Ready(); err != nil {
		return refuse(http.StatusServiceUnavailable, ReasonNotReady,
			fmt.Sprintf("the gateway does not know the Touchpoints yet: %s; send the request again", err)).with("Retry-After", strconv.Itoa(retryAfter))
	}
	return nil
}

// reserve takes the body's share of maxPending.
func (in *Intake) reserve(r *http.Request) (release func(), refusal *problem) {
	size := r.ContentLength
	if size < 0 { // chunked: as large as it may become
		size = MaxBody
	}
	if in.pending.Add(size) > maxPending {
		in.pending.Add(-size)
		return nil, overloaded()
	}
	return func() { in.pending.Add(-size) }, nil
}

func read(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge()
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return nil, refuse(http.StatusRequestTimeout, ReasonTimeout,
			"the body did not arrive in time: send it in one go; nothing of this request was stored").with("Connection", "close")
	}
	return nil, refuse(http.StatusBadRequest, ReasonMalformed,
		"the body broke off: send it again; nothing of this request was stored").with("Connection", "close")
}

func tooLarge() *problem {
	return refuse(http.StatusRequestEntityTooLarge, ReasonTooLarge,
		fmt.Sprintf("the body is larger than %d bytes: send it in parts; nothing of this request was stored", MaxBody)).with("Connection", "close")
}

func overloaded() *problem {
	return refuse(http.StatusServiceUnavailable, ReasonOverloaded,
		"too many responses are waiting to be stored: send the request again a little later; nothing of it was stored").with("Retry-After", strconv.Itoa(retryAfter))
}

// sayStore turns a failure to store into an answer.
func (in *Intake) sayStore(err error) *problem {
	switch {
	case errors.Is(err, ledger.ErrOverloaded):
		return overloaded()
	case errors.Is(err, ledger.ErrClosed):
		return refuse(http.StatusServiceUnavailable, ReasonNotReady,
			"the gateway is stopping: send the request again; nothing of it was stored").with("Retry-After", strconv.Itoa(retryAfter))
	}
	in.log().Error("a request could not be stored", "error", err)
	return refuse(http.StatusServiceUnavailable, ReasonStoreUnavailable,
		"the database did not confirm the responses: send the request again, each id is counted once").with("Retry-After", strconv.Itoa(retryAfter))
}

// refuseAll answers a request of which no item was taken.
func refuseAll(rejected []rejection, single bool) *problem {
	if !single {
		p := refuse(http.StatusUnprocessableEntity, rejected[0].Reason,
			fmt.Sprintf("none of the %d responses was stored: correct them as said under rejected", len(rejected)))
		p.Rejected = rejected
		return p
	}
	status := http.StatusUnprocessableEntity
	if rejected[0].Reason == ReasonMalformed {
		status = http.StatusBadRequest
	}
	p := refuse(status, rejected[0].Reason, rejected[0].Detail)
	p.Rejected = rejected
	return p
}

func (in *Intake) now() time.Time {
	if in.Now != nil {
		return in.Now()
	}
	return time.Now()
}

func (in *Intake) log() *slog.Logger {
	if in.Log != nil {
		return in.Log
	}
	return slog.Default()
}
