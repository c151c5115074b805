package intake

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	fastjson "github.com/go-json-experiment/json"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
)

// record is a response as it is shown to those who may read it.
type record struct {
	ID          string     `json:"id"`
	Touchpoint  string     `json:"touchpoint"`
	Instrument  string     `json:"instrument"`
	Score       int        `json:"score"`
	Comment     string     `json:"comment,omitempty"`
	Segment     string     `json:"segment,omitempty"`
	Channel     string     `json:"channel,omitempty"`
	SubjectHash string     `json:"subjectHash,omitempty"`
	Answered    *time.Time `json:"answered,omitempty"`
	Received    time.Time  `json:"received"`
}

func show(r *ledger.Record) record {
	shown := record{
		ID: r.ID, Touchpoint: r.Touchpoint, Instrument: r.Instrument, Score: r.Score, Comment: r.Comment,
		Segment: r.Segment, Channel: r.Channel, SubjectHash: r.Subject, Received: r.Received,
	}
	if !r.Answered.IsZero() {
		shown.Answered = &r.Answered
	}
	return shown
}

// tokenHeader carries a token through the API server's proxy, which keeps the header
// Authorization for itself.
const tokenHeader = "X-Sojourn-Token"

// mayRead makes sure that the bearer may read what a touchpoint got.
func (in *Intake) mayRead(r *http.Request) (namespace, touchpoint string, refusal *problem) {
	if refusal := checkMethod(r, http.MethodGet); refusal != nil {
		return "", "", refusal
	}
	if token := r.Header.Get(tokenHeader); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	grant, refusal := in.authorise(r, sources.Read)
	if refusal != nil {
		return "", "", refusal
	}
	namespace, touchpoint = r.PathValue("namespace"), r.PathValue("touchpoint")
	if !grant.Serves(namespace, touchpoint) {
		return "", "", refuse(http.StatusForbidden, ReasonForbidden,
			"the token is not valid for this touchpoint: use one of a source of its namespace")
	}
	return namespace, touchpoint, nil
}

// Limits of GET …/comments.
const (
	defaultComments = 20
	maxComments     = 100
)

// comments is GET /v1/touchpoints/{namespace}/{touchpoint}/comments?limit=20&since=….
func (in *Intake) comments(w http.ResponseWriter, r *http.Request) {
	namespace, touchpoint, refusal := in.mayRead(r)
	limit, since := defaultComments, in.now().Add(-30*24*time.Hour)
	if refusal == nil {
		limit, refusal = numberOf(r, "limit", limit, maxComments)
	}
	if refusal == nil {
		since, refusal = timeOf(r, "since", since)
	}
	if refusal != nil {
		in.answer(w, refusal)
		return
	}
	var answer struct {
		Since  time.Time `json:"since"`
		Latest []record  `json:"latest"`
		Worst  []record  `json:"worst"`
	}
	answer.Since, answer.Latest, answer.Worst = since.UTC(), []record{}, []record{}
	for worst, into := range map[bool]*[]record{false: &answer.Latest, true: &answer.Worst} {
		records, err := in.Ledger.Comments(r.Context(), namespace, touchpoint, since, worst, limit)
		if err != nil {
			in.answer(w, in.cannotRead(err))
			return
		}
		for i := range records {
			*into = append(*into, show(&records[i]))
		}
	}
	writeJSON(w, http.StatusOK, "application/json", answer)
}

// exportPage is how many records are in memory at a time.
const exportPage = 500

// export is GET /v1/touchpoints/{namespace}/{touchpoint}/export?format=csv&since=…&until=….
// It holds no transaction open: what comes while it runs may be in it or not.
func (in *Intake) export(w http.ResponseWriter, r *http.Request) {
	namespace, touchpoint, refusal := in.mayRead(r)
	choice := ledger.Choice{Namespace: namespace, Touchpoint: touchpoint}
	if refusal == nil {
		choice.Since, refusal = timeOf(r, "since", time.Time{})
	}
	if refusal == nil {
		choice.Until, refusal = timeOf(r, "until", time.Time{})
	}
	var rows rowWriter
	switch format := r.FormValue("format"); {
	case refusal != nil:
	case format == "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		rows = &csvRows{csv.NewWriter(w)}
	case format == "jsonl" || format == "":
		w.Header().Set("Content-Type", "application/jsonl")
		rows = &jsonRows{json.NewEncoder(w)}
	default:
		refusal = refuse(http.StatusBadRequest, ReasonMalformed, "format is csv or jsonl")
	}
	if refusal != nil {
		in.answer(w, refusal)
		return
	}
	// The first page before the first byte: an error still has a status.
	records, err := in.Ledger.Records(r.Context(), choice, 0, exportPage)
	if err != nil {
		in.answer(w, in.cannotRead(err))
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	controller := http.NewResponseController(w)
	for err = rows.begin(); err == nil && len(records) > 0; {
		// A reader may take its time, but not stand still.
		_ = controller.SetWriteDeadline(time.Now().Add(30 * time.Second))
		for i := range records {
			if err = rows.write(show(&records[i])); err != nil {
				break
			}
		}
		if err == nil {
			if err = rows.flush(); err == nil {
				_ = controller.Flush()
				records, err = in.Ledger.Records(r.Context(), choice, records[len(records)-1].Number, exportPage)
			}
		}
	}
	if err == nil {
		err = rows.flush()
	}
	if err != nil {
		// Half an export must not look like a whole one.
		in.log().Warn("an export broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
}

type rowWriter interface {
	begin() error
	write(record) error
	flush() error
}

type jsonRows struct{ *json.Encoder }

func (j *jsonRows) begin() error {
	j.SetEscapeHTML(false)
	return nil
}
func (j *jsonRows) write(r record) error { return j.Encode(r) }
func (j *jsonRows) flush() error         { return nil }

type csvRows struct{ *csv.Writer }

func (c *csvRows) begin() error {
	return c.Write([]string{"id", "touchpoint", "instrument", "score", "comment", "segment", "channel", "subjectHash", "answered", "received"})
}

func (c *csvRows) write(r record) error {
	answered := ""
	if r.Answered != nil {
		answered = r.Answered.Format(time.RFC3339Nano)
	}
	return c.Write([]string{
		harmless(r.ID), r.Touchpoint, r.Instrument, strconv.Itoa(r.Score), harmless(r.Comment), harmless(r.Segment), harmless(r.Channel),
		r.SubjectHash, answered, r.Received.Format(time.RFC3339Nano),
	})
}

func (c *csvRows) flush() error {
	c.Flush()
	return c.Error()
}

// harmless keeps a spreadsheet from taking what a customer wrote for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}

// erasures is POST /v1/erasures with {"namespace", "id"} or {"namespace", "subjectHash"}.
func (in *Intake) erasures(w http.ResponseWriter, r *http.Request) {
	choice, refusal := in.erasure(w, r)
	if refusal != nil {
		in.answer(w, refusal)
		return
	}
	erased, err := in.Ledger.Erase(r.Context(), choice)
	if err != nil {
		in.log().Error("responses could not be erased", "error", err)
		in.answer(w, refuse(http.StatusServiceUnavailable, ReasonStoreUnavailable,
			fmt.Sprintf("the database did not confirm; %d responses are erased so far: send the request again", erased)).with("Retry-After", strconv.Itoa(retryAfter)))
		return
	}
	// Who asked for it is known by the token; whom it was about is no longer.
	in.log().Info("responses were erased on request", "namespace", choice.Namespace, "responses", erased)
	writeJSON(w, http.StatusOK, "application/json", map[string]int{"erased": erased})
}

func (in *Intake) erasure(w http.ResponseWriter, r *http.Request) (choice ledger.Choice, refusal *problem) {
	if refusal := checkMethod(r, http.MethodPost); refusal != nil {
		return choice, refusal
	}
	grant, refusal := in.authorise(r, sources.Erase)
	if refusal != nil {
		return choice, refusal
	}
	if refusal := checkJSON(r); refusal != nil {
		return choice, refusal
	}
	body, release, refusal := in.body(w, r)
	if refusal != nil {
		return choice, refusal
	}
	defer release()
	var wanted struct {
		Namespace   string `json:"namespace"`
		ID          string `json:"id"`
		SubjectHash string `json:"subjectHash"`
	}
	if err := fastjson.Unmarshal(body, &wanted, fastjson.RejectUnknownMembers(true)); err != nil {
		return choice, refuse(http.StatusBadRequest, ReasonMalformed, "send a JSON object with namespace, and id or subjectHash: "+shorten(err.Error(), 200))
	}
	if wanted.Namespace == "" {
		wanted.Namespace = grant.Namespace()
	}
	switch subject, err := hex.DecodeString(wanted.SubjectHash); {
	case (wanted.ID == "") == (wanted.SubjectHash == ""):
		return choice, refuse(http.StatusBadRequest, ReasonMalformed, "name either the id of a response or a subjectHash, not both and not neither")
	case wanted.SubjectHash != "" && (err != nil || len(subject) != 32):
		return choice, refuse(http.StatusBadRequest, ReasonInvalidSubject, "subjectHash must be the SHA-256 of what identifies the customer, 64 hexadecimal digits")
	case !grant.ServesAll(wanted.Namespace):
		return choice, refuse(http.StatusForbidden, ReasonForbidden,
			"the token does not allow to erase in this namespace: use one of a source of it that is not bound to some touchpoints")
	}
	return ledger.Choice{Namespace: wanted.Namespace, ID: wanted.ID, Subject: strings.ToLower(wanted.SubjectHash)}, nil
}

func (in *Intake) cannotRead(err error) *problem {
	in.log().Error("the database could not be read", "error", err)
	return refuse(http.StatusServiceUnavailable, ReasonStoreUnavailable,
		"the database cannot be read now: ask again a little later").with("Retry-After", strconv.Itoa(retryAfter))
}

func numberOf(r *http.Request, name string, otherwise, most int) (int, *problem) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > most {
		return 0, refuse(http.StatusBadRequest, ReasonMalformed, fmt.Sprintf("%s must be a whole number from 1 to %d", name, most))
	}
	return number, nil
}

func timeOf(r *http.Request, name string, otherwise time.Time) (time.Time, *problem) {
	text := r.FormValue(name)
	if text == "" {
		return otherwise, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, refuse(http.StatusBadRequest, ReasonMalformed, name+" must be a time of RFC 3339 with a zone, such as 2026-03-01T00:00:00Z")
	}
	return at, nil
}
