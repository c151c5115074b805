package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	strictjson "sigs.k8s.io/json"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// Limits of one request.
const (
	// MaxBody is the largest body in bytes.
	MaxBody = 1 << 20
	// MaxItems is the largest number of responses in one request.
	MaxItems = 1000
	// MaxID is the longest id in characters.
	MaxID = 128
	// MaxComment is the longest comment in characters.
	MaxComment = 4096
	// MaxSkew is how far a source's clock may be ahead of the gateway's.
	MaxSkew = 5 * time.Minute
)

// response is one item as it comes. Pointers tell a missing field from a zero.
type response struct {
	ID         *string `json:"id"`
	Namespace  *string `json:"namespace"`
	Touchpoint *string `json:"touchpoint"`
	Instrument *string `json:"instrument"`
	Score      *int    `json:"score"`
	Comment    *string `json:"comment"`
	Time       *string `json:"time"`
}

const fields = "id, namespace, touchpoint, instrument, score, comment, time"

// split takes a body apart into its items: one object, or an array of objects. A
// body with a syntax error is refused as a whole, for nobody can say what its
// second half was meant to be.
func split(body []byte) (items []json.RawMessage, single bool, refusal *problem) {
	malformed := func(format string, arguments ...any) *problem {
		return refuse(http.StatusBadRequest, ReasonMalformed, fmt.Sprintf(format, arguments...)+"; nothing of this request was stored")
	}
	if !utf8.Valid(body) {
		return nil, false, malformed("the body is not UTF-8: encode it so")
	}
	// First the whole, for only so do offsets count from the body's start.
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
			return nil, false, malformed("the body is empty: send one response as a JSON object, or many as a JSON array of objects")
		}
		position := int64(len(body))
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			position = syntax.Offset
		}
		return nil, false, malformed("the body is not valid JSON: %s (byte %d)", err, position)
	}
	decoder := json.NewDecoder(bytes.NewReader(whole))
	switch whole[0] {
	case '{':
		return []json.RawMessage{whole}, true, nil
	case '[':
		_, _ = decoder.Token() // the bracket; nothing below fails, the syntax is right
	default:
		return nil, false, malformed("the body is neither a JSON object (one response) nor a JSON array of objects (many)")
	}
	for decoder.More() {
		if len(items) == MaxItems {
			return nil, false, refuse(http.StatusRequestEntityTooLarge, ReasonTooLarge,
				fmt.Sprintf("the array holds more than %d responses: send it in parts; nothing of this request was stored", MaxItems))
		}
		var item json.RawMessage
		if err := decoder.Decode(&item); err != nil {
			return nil, false, malformed("the body is not valid JSON: %s", err)
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, false, malformed("the array is empty: send at least one response")
	}
	return items, false, nil
}

// checker turns items into responses, or says why not.
type checker struct {
	touchpoint func(namespace, name string) (*v1alpha1.Touchpoint, bool)
	now        time.Time
}

func (c *checker) check(item json.RawMessage) (ledger.Response, *rejection) {
	in, refusal := decodeItem(item)
	if refusal != nil {
		return ledger.Response{}, refusal
	}
	out := ledger.Response{Received: c.now.Truncate(time.Millisecond)}
	steps := []func(*response, *ledger.Response) *rejection{
		checkID, checkPresent, c.checkQuestion, checkScore, checkComment, c.checkTime,
	}
	for _, step := range steps {
		if refusal := step(in, &out); refusal != nil {
			refusal.ID = out.ID
			return ledger.Response{}, refusal
		}
	}
	return out, nil
}

func reject(reason Reason, format string, arguments ...any) *rejection {
	return &rejection{Reason: reason, Detail: fmt.Sprintf(format, arguments...)}
}

// decodeItem reads one object. Names of fields are taken exactly, and each once:
// a misspelt "coment" must not lose what a customer wrote.
func decodeItem(item json.RawMessage) (*response, *rejection) {
	if item[0] != '{' {
		return nil, reject(ReasonMalformed, "not a JSON object: a response has the fields %s", fields)
	}
	var in response
	strict, err := strictjson.UnmarshalStrict(item, &in)
	refusal := (*rejection)(nil)
	switch {
	case err != nil:
		refusal = reject(ReasonMalformed, "%s", sayType(err))
	case len(strict) > 0:
		// At most a few: a body may hold a hundred thousand unknown fields.
		texts := make([]string, 0, 3)
		for _, problem := range strict[:min(len(strict), 3)] {
			texts = append(texts, shorten(problem.Error(), 100))
		}
		refusal = reject(ReasonMalformed, "%s: a response has the fields %s, each at most once", strings.Join(texts, ", "), fields)
	default:
		return &in, nil
	}
	if in.ID != nil && validID(*in.ID) {
		refusal.ID = *in.ID
	}
	return nil, refusal
}

// sayType tells of a value of the wrong type in words of JSON, not of Go.
func sayType(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		wanted := "a string"
		if wrong.Field == "score" {
			wanted = "a whole number, without quotes, fraction or exponent"
		}
		return fmt.Sprintf("%s must be %s, not %s", wrong.Field, wanted, shorten(wrong.Value, 40))
	}
	return shorten(err.Error(), 200)
}

func checkPresent(in *response, _ *ledger.Response) *rejection {
	var missing []string
	for _, field := range []struct {
		name   string
		absent bool
	}{
		{"id", in.ID == nil},
		{"namespace", in.Namespace == nil},
		{"touchpoint", in.Touchpoint == nil},
		{"instrument", in.Instrument == nil},
		{"score", in.Score == nil},
	} {
		if field.absent {
			missing = append(missing, field.name)
		}
	}
	if missing == nil {
		return nil
	}
	return reject(ReasonMalformed, "missing: %s", strings.Join(missing, ", "))
}

// checkID comes first, so that every later refusal can name the item.
func checkID(in *response, out *ledger.Response) *rejection {
	if in.ID == nil {
		return nil // checkPresent names it with all else that is missing
	}
	if !validID(*in.ID) {
		return reject(ReasonInvalidID, "id must be 1 to %d printable characters; it has to be the same whenever this response is sent again", MaxID)
	}
	out.ID = *in.ID
	return nil
}

func validID(id string) bool {
	return id != "" && utf8.RuneCountInString(id) <= MaxID &&
		!strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

func (c *checker) checkQuestion(in *response, out *ledger.Response) *rejection {
	touchpoint, exists := c.touchpoint(*in.Namespace, *in.Touchpoint)
	if !exists {
		return reject(ReasonUnknownTouchpoint,
			"there is no Touchpoint %q in namespace %q, or the gateway does not watch that namespace: apply the Touchpoint, or correct namespace and touchpoint",
			shorten(*in.Touchpoint, 63), shorten(*in.Namespace, 63))
	}
	instrument := strings.ToLower(*in.Instrument)
	if _, known := ledger.ScaleOf(instrument); !known {
		return reject(ReasonUnknownInstrument, "instrument %q does not exist: write ces, ces1, csat or nps", shorten(*in.Instrument, 40))
	}
	var declared []string
	if touchpoint.Spec.Survey != nil {
		for _, each := range touchpoint.Spec.Survey.Instruments {
			declared = append(declared, ledger.Label(each.Type))
		}
	}
	for _, each := range declared {
		if each == instrument {
			out.Question = ledger.Question{Namespace: touchpoint.Namespace, Touchpoint: touchpoint.Name, Instrument: instrument}
			return nil
		}
	}
	has := "none"
	if declared != nil {
		has = strings.Join(declared, ", ")
	}
	return reject(ReasonUnknownInstrument, "Touchpoint %s/%s does not ask %s (it asks: %s): add it to spec.survey.instruments, or correct instrument",
		touchpoint.Namespace, touchpoint.Name, instrument, has)
}

func checkScore(in *response, out *ledger.Response) *rejection {
	scale, _ := ledger.ScaleOf(out.Instrument)
	if *in.Score < scale.Low || *in.Score > scale.High {
		return reject(ReasonScoreOffScale, "score %d is off the scale of %s: it goes from %d to %d", *in.Score, out.Instrument, scale.Low, scale.High)
	}
	out.Score = *in.Score
	return nil
}

// checkComment takes control characters out instead of refusing the answer: the
// customer did not mean them, and cannot be asked again.
func checkComment(in *response, out *ledger.Response) *rejection {
	if in.Comment == nil {
		return nil
	}
	out.Comment = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, *in.Comment)
	if length := utf8.RuneCountInString(out.Comment); length > MaxComment {
		return reject(ReasonInvalidComment, "comment has %d characters: shorten it to at most %d", length, MaxComment)
	}
	return nil
}

func (c *checker) checkTime(in *response, out *ledger.Response) *rejection {
	if in.Time == nil {
		return nil
	}
	answered, err := time.Parse(time.RFC3339, *in.Time)
	if err != nil {
		return reject(ReasonInvalidTime, "time must be of RFC 3339 with a zone, such as 2026-03-01T09:30:00Z")
	}
	if answered.Sub(c.now) > MaxSkew {
		return reject(ReasonInvalidTime, "time lies in the future, by more than %d minutes: correct the source's clock or time zone", int(MaxSkew.Minutes()))
	}
	out.Answered = answered.UTC().Truncate(time.Millisecond)
	return nil
}

// shorten keeps an answer from growing with what was sent.
func shorten(text string, characters int) string {
	if utf8.RuneCountInString(text) <= characters {
		return text
	}
	return string([]rune(text)[:characters]) + "…"
}
