// Package intake is the gateway's front door: it takes survey responses over
// HTTP, hands the valid ones to the ledger, and says of all others what is wrong
// with them.
package intake

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/webhook"
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
	// Sources are those who may deliver, read and erase; SourcesReady returns why they
	// are not known yet, nil once they are.
	Sources      *sources.Sources
	SourcesReady func() error
	// Ready returns why Touchpoints are not known yet, nil once they are. Before
	// that, every response would be refused as one for an unknown touchpoint.
	Ready func() error
	// Touchpoint looks a Touchpoint up; the result is read only.
	Touchpoint func(namespace, name string) (*v1alpha1.Touchpoint, bool)
	// Touchpoints are all of them.
	Touchpoints func() iter.Seq[*v1alpha1.Touchpoint]
	// Submit stores responses, see ledger.Ledger.
	Submit func([]ledger.Response) ([]ledger.Outcome, error)
	// Ledger keeps them.
	Ledger *ledger.Ledger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Log receives failures that are not the client's. Default: slog.Default().
	Log *slog.Logger

	rejected   *prometheus.CounterVec
	duplicates prometheus.Counter
	pending    atomic.Int64
	large      sync.Mutex
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

// Handler serves every path of the gateway's front door, and leaves the survey pages
// below /s/ to another.
func (in *Intake) Handler(pages http.Handler) http.Handler {
	paths := http.NewServeMux()
	paths.Handle("/s/", pages)
	paths.HandleFunc("/v1/responses", in.serve(in.responses))
	paths.HandleFunc("/v1/events", in.serve(in.events))
	for _, tool := range webhook.Tools {
		paths.HandleFunc("/v1/webhooks/"+tool.Name+"/{namespace}/{source}", in.serve(func(w http.ResponseWriter, r *http.Request) (*receipt, *problem) {
			return in.webhook(w, r, tool)
		}))
	}
	paths.HandleFunc("/v1/erasures", in.erasures)
	paths.HandleFunc("/v1/touchpoints/{namespace}/{touchpoint}/comments", in.comments)
	paths.HandleFunc("/v1/touchpoints/{namespace}/{touchpoint}/export", in.export)
	paths.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		in.answer(w, refuse(http.StatusNotFound, ReasonNotFound, "there is nothing here: deliver responses with POST /v1/responses"))
	})
	return paths
}

// serve answers with what a way in made of a request.
func (in *Intake) serve(take func(http.ResponseWriter, *http.Request) (*receipt, *problem)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		receipt, refusal := take(w, r)
		if refusal != nil {
			in.answer(w, refusal)
			return
		}
		if receipt == nil {
			return // it answered by itself
		}
		if receipt.Duplicates > 0 {
			in.duplicates.Add(float64(receipt.Duplicates))
		}
		for _, each := range receipt.Rejected {
			in.Reject(each.Reason)
		}
		writeJSON(w, http.StatusAccepted, "application/json", receipt)
	}
}

// Reject counts a response, or a request, that was refused.
func (in *Intake) Reject(reason Reason) { in.rejected.WithLabelValues(string(reason)).Inc() }

// answer refuses a request and counts it: each of its items if items were looked
// at, else the request.
func (in *Intake) answer(w http.ResponseWriter, refusal *problem) {
	for _, each := range refusal.Rejected {
		in.Reject(each.Reason)
	}
	if refusal.Rejected == nil {
		in.Reject(refusal.Reason)
	}
	refusal.write(w)
}

// responses is POST /v1/responses.
func (in *Intake) responses(w http.ResponseWriter, r *http.Request) (*receipt, *problem) {
	if refusal := checkMethod(r, http.MethodPost); refusal != nil {
		return nil, refusal
	}
	grant, refusal := in.authorise(r, sources.Deliver)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := checkJSON(r); refusal != nil {
		return nil, refusal
	}
	body, release, refusal := in.body(w, r)
	if refusal != nil {
		return nil, refusal
	}
	defer release()
	items, single, refusal := decodeBody(body)
	if refusal != nil {
		return nil, refusal
	}
	return in.take(items, single, grant)
}

// take stores the items of a request that can be.
func (in *Intake) take(items []part, single bool, grant sources.Grant) (*receipt, *problem) {
	checker := checker{touchpoint: in.Touchpoint, grant: grant, home: grant.Namespace(), now: in.now()}
	responses := make([]ledger.Response, 0, len(items))
	var indexes []int // of the responses among the items, where these differ
	var rejected []rejection
	for index := range items {
		refusal := items[index].refusal
		if refusal == nil {
			responses = append(responses, ledger.Response{})
			if refusal = checker.check(&items[index].response, &responses[len(responses)-1]); refusal != nil {
				responses = responses[:len(responses)-1]
			}
		}
		if refusal != nil {
			refusal.Index = index
			rejected = append(rejected, *refusal)
			continue
		}
		if event := items[index].event; event != nil {
			event.name(&responses[len(responses)-1])
		}
		indexes = append(indexes, index)
	}
	if len(responses) == 0 {
		return nil, refuseAll(rejected, single)
	}
	receipt, refusal := in.submit(responses, indexes)
	if refusal == nil {
		receipt.Rejected = rejected
	}
	return receipt, refusal
}

// submit stores responses and says what became of them.
func (in *Intake) submit(responses []ledger.Response, indexes []int) (*receipt, *problem) {
	outcomes, err := in.Submit(responses)
	if err != nil {
		return nil, in.sayStore(err)
	}
	receipt := &receipt{}
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

func checkMethod(r *http.Request, method string) *problem {
	if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
		return nil
	}
	return refuse(http.StatusMethodNotAllowed, ReasonMethod,
		fmt.Sprintf("this is asked for with %s, not %s", method, shorten(r.Method, 20))).with("Allow", method)
}

// authorise finds what the bearer of a request may do.
func (in *Intake) authorise(r *http.Request, right sources.Right) (sources.Grant, *problem) {
	if grant := in.Sources.Bearer(r, right); grant != nil {
		return grant, in.checkReady(in.Ready)
	}
	if refusal := in.checkReady(in.SourcesReady); refusal != nil {
		return nil, refusal // the token may be one of those that are not read yet
	}
	challenge, detail := `Bearer realm="sojourn"`, "there is no bearer token: send the header Authorization: Bearer <token>, with a token of a Secret of type "+string(sources.SecretType)
	if r.Header.Get("Authorization") != "" {
		challenge += `, error="invalid_token"`
		detail = fmt.Sprintf("no source has this token under %s: correct it, or add it to a Secret of type %s in a namespace that the gateway was told of", right.Key(), sources.SecretType)
	}
	return nil, refuse(http.StatusUnauthorized, ReasonUnauthorized, detail).with("WWW-Authenticate", challenge)
}

func (in *Intake) checkReady(ready func() error) *problem {
	if err := ready(); err != nil {
		return refuse(http.StatusServiceUnavailable, ReasonNotReady,
			fmt.Sprintf("the gateway does not know the cluster yet: %s; send the request again", err)).with("Retry-After", strconv.Itoa(retryAfter))
	}
	return nil
}

// checkJSON looks at what a request says of its body.
func checkJSON(r *http.Request) *problem {
	if r.Header.Get("Content-Type") != "application/json" {
		mediaType, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || mediaType != "application/json" {
			return refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
				"send JSON, with the header Content-Type: application/json").with("Accept", "application/json")
		}
		if charset := parameters["charset"]; charset != "" && charset != "utf-8" && charset != "UTF-8" {
			return refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
				"JSON is UTF-8: encode the body so and leave charset away").with("Accept", "application/json")
		}
	}
	return nil
}

// body reads the body of a request; release gives its memory back.
func (in *Intake) body(w http.ResponseWriter, r *http.Request) (body []byte, release func(), refusal *problem) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, nil, refuse(http.StatusUnsupportedMediaType, ReasonMediaType,
			"send the body uncompressed, without Content-Encoding").with("Accept-Encoding", "identity")
	}
	if r.ContentLength > MaxBody {
		return nil, nil, tooLarge()
	}
	return in.read(w, r)
}

// firstPart is how many bytes a body has room for before any of it came: most need no
// more, and ten thousand clients that only announce a megabyte leave room for others.
const firstPart = 4 << 10

// read makes room for a body as it comes, within maxPending.
func (in *Intake) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), refusal *problem) {
	size := r.ContentLength
	if size < 0 { // chunked: it may become as large as any
		size = MaxBody + 1
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	}
	reserved := int64(0)
	release = func() { in.pending.Add(-reserved) }
	for {
		room := min(size, max(firstPart, 4*reserved))
		if in.pending.Add(room-reserved) > maxPending {
			in.pending.Add(-room)
			return nil, nil, overloaded()
		}
		reserved = room
		body = append(make([]byte, 0, room), body...)
		n, err := io.ReadFull(r.Body, body[len(body):room])
		body = body[:len(body)+n]
		switch {
		case err == nil && room == size, r.ContentLength < 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
			return body, release, nil
		case err != nil:
			release()
			return nil, nil, sayUnread(err)
		}
	}
}

// largeBody is from when on one body at a time of webhooks and events is decoded. What
// decodes from those may be fifty times as large: a stop after so many items, as for
// responses, is not to be had from decoders of others. Honest ones have a few KiB.
const largeBody = 64 << 10

// alone has large bodies decoded one after the other; done lets the next one begin.
func (in *Intake) alone(body []byte) (done func()) {
	if len(body) < largeBody {
		return func() {}
	}
	in.large.Lock()
	return in.large.Unlock
}

// sayUnread turns a failure to read a body into an answer.
func sayUnread(err error) *problem {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge()
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return refuse(http.StatusRequestTimeout, ReasonTimeout,
			"the body did not arrive in time: send it in one go; nothing of this request was stored").with("Connection", "close")
	}
	return refuse(http.StatusBadRequest, ReasonMalformed,
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
	case errors.Is(err, ledger.ErrSlow):
		return refuse(http.StatusServiceUnavailable, ReasonStoreUnavailable,
			"the database has not answered in time: send the request again, each id is counted once").with("Retry-After", strconv.Itoa(retryAfter))
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
