package intake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	strictjson "sigs.k8s.io/json"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
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
	ID          *string `json:"id"`
	Namespace   *string `json:"namespace"`
	Touchpoint  *string `json:"touchpoint"`
	Instrument  *string `json:"instrument"`
	Score       *int    `json:"score"`
	Comment     *string `json:"comment"`
	Segment     *string `json:"segment"`
	Channel     *string `json:"channel"`
	SubjectHash *string `json:"subjectHash"`
	Time        *string `json:"time"`
}

const fields = "id, namespace, touchpoint, instrument, score, comment, segment, channel, subjectHash, time"

// part is one response of a body, or why it is none.
type part struct {
	response
	// event is where it came in, if that was a CloudEvent.
	event   *eventID
	refusal *rejection
}

// decodeBody takes a body apart into its items: one object, or an array of objects.
func decodeBody(body []byte) (items []part, single bool, refusal *problem) {
	if items, single, ok := decodeAtOnce(body); ok {
		return items, single, nil
	}
	// Something is wrong with it. Looking closely takes longer, and tells what.
	texts, single, refusal := split(body)
	if refusal != nil {
		return nil, false, refusal
	}
	items = make([]part, len(texts))
	for i, text := range texts {
		items[i].response, items[i].refusal = decodeItem(text)
	}
	return items, single, nil
}

// decodeAtOnce reads a body that has nothing wrong with it. The decoder is as strict
// as decodeItem: no unknown names, no name twice, nothing but UTF-8.
func decodeAtOnce(body []byte) (items []part, single, ok bool) {
	start := bytes.TrimLeft(body, " \t\r\n")
	switch {
	case bytes.HasPrefix(start, []byte("{")):
		items = make([]part, 1)
		err := fastjson.Unmarshal(body, &items[0].response, fastjson.RejectUnknownMembers(true))
		return items, true, err == nil
	case bytes.HasPrefix(start, []byte("[")):
		list := list{items: make([]part, 0, min(len(body)/64+1, MaxItems))}
		err := fastjson.Unmarshal(body, &list, fastjson.RejectUnknownMembers(true))
		return list.items, false, err == nil && len(list.items) > 0
	}
	return nil, false, false
}

// list reads an array without keeping more than MaxItems of it.
type list struct{ items []part }

var errNotAtOnce = errors.New("look closely")

// UnmarshalJSONFrom implements fastjson.UnmarshalerFrom.
func (l *list) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() == '{' {
		if len(l.items) == MaxItems {
			return errNotAtOnce
		}
		l.items = append(l.items, part{})
		if err := fastjson.UnmarshalDecode(decoder, &l.items[len(l.items)-1].response); err != nil {
			return err
		}
	}
	if decoder.PeekKind() != ']' {
		return errNotAtOnce
	}
	_, err := decoder.ReadToken()
	return err
}

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
	// grant is what the bearer may do, and home the namespace of items that name none.
	grant sources.Grant
	home  string
	now   time.Time
}

func (c *checker) check(in *response, out *ledger.Response) *rejection {
	out.Received = c.now.Truncate(time.Millisecond)
	if in.Namespace == nil && c.home != "" {
		in.Namespace = &c.home
	}
	refusal := checkID(in, out)
	if refusal == nil {
		refusal = checkPresent(in)
	}
	var survey *v1alpha1.Survey
	if refusal == nil {
		survey, refusal = c.checkQuestion(in, out)
	}
	if refusal == nil {
		refusal = checkScore(*in.Score, out)
	}
	if refusal == nil {
		refusal = checkComment(in.Comment, survey, out)
	}
	if refusal == nil {
		refusal = checkDetails(in, survey, out)
	}
	if refusal == nil {
		refusal = c.checkTime(in, out)
	}
	if refusal != nil {
		refusal.ID = out.ID
	}
	return refusal
}

func reject(reason Reason, format string, arguments ...any) *rejection {
	return &rejection{Reason: reason, Detail: fmt.Sprintf(format, arguments...)}
}

// decodeItem reads one object. Names of fields are taken exactly, and each once:
// a misspelt "coment" must not lose what a customer wrote.
func decodeItem(item json.RawMessage) (response, *rejection) {
	if item[0] != '{' {
		return response{}, reject(ReasonMalformed, "not a JSON object: a response has the fields %s", fields)
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
		return in, nil
	}
	if in.ID != nil && validID(*in.ID) {
		refusal.ID = *in.ID
	}
	return response{}, refusal
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

func checkPresent(in *response) *rejection {
	if in.ID != nil && in.Namespace != nil && in.Touchpoint != nil && in.Instrument != nil && in.Score != nil {
		return nil
	}
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

func validID(id string) bool { return id != "" && printable(id, MaxID) }

// printable tells whether a text is at most so many characters, all of which can be
// seen.
func printable(text string, characters int) bool {
	return utf8.RuneCountInString(text) <= characters &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError })
}

// instruments are the types by the names that responses carry.
var instruments = map[string]v1alpha1.InstrumentType{}

func init() {
	for _, each := range []v1alpha1.InstrumentType{v1alpha1.InstrumentCES, v1alpha1.InstrumentCES1, v1alpha1.InstrumentCSAT, v1alpha1.InstrumentNPS} {
		instruments[ledger.Label(each)] = each
	}
}

func (c *checker) checkQuestion(in *response, out *ledger.Response) (*v1alpha1.Survey, *rejection) {
	if !c.grant.Serves(*in.Namespace, *in.Touchpoint) {
		return nil, reject(ReasonForbidden,
			"the token is not valid for Touchpoint %q in namespace %q: use a token of a source of that namespace, or add the touchpoint to the source's list",
			shorten(*in.Touchpoint, 63), shorten(*in.Namespace, 63))
	}
	touchpoint, exists := c.touchpoint(*in.Namespace, *in.Touchpoint)
	if !exists {
		return nil, reject(ReasonUnknownTouchpoint,
			"there is no Touchpoint %q in namespace %q, or the gateway does not watch that namespace: apply the Touchpoint, or correct namespace and touchpoint",
			shorten(*in.Touchpoint, 63), shorten(*in.Namespace, 63))
	}
	name := strings.ToLower(*in.Instrument)
	instrument, known := instruments[name]
	if !known {
		return nil, reject(ReasonUnknownInstrument, "instrument %q does not exist: write ces, ces1, csat or nps", shorten(*in.Instrument, 40))
	}
	survey := touchpoint.Spec.Survey
	var asked []string
	if survey != nil {
		for i := range survey.Instruments {
			if survey.Instruments[i].Type == instrument {
				out.Question = ledger.Question{Namespace: touchpoint.Namespace, Touchpoint: touchpoint.Name, Instrument: ledger.Label(instrument)}
				return survey, nil
			}
			asked = append(asked, ledger.Label(survey.Instruments[i].Type))
		}
	}
	if asked == nil {
		asked = []string{"none"}
	}
	return nil, reject(ReasonUnknownInstrument, "Touchpoint %s/%s does not ask %s (it asks: %s): add it to spec.survey.instruments, or correct instrument",
		touchpoint.Namespace, touchpoint.Name, name, strings.Join(asked, ", "))
}

func checkScore(score int, out *ledger.Response) *rejection {
	scale, _ := ledger.ScaleOf(out.Instrument)
	if score < scale.Low || score > scale.High {
		return reject(ReasonScoreOffScale, "score %d is off the scale of %s: it goes from %d to %d", score, out.Instrument, scale.Low, scale.High)
	}
	out.Score = score
	return nil
}

// checkComment takes control characters out instead of refusing the answer: the
// customer did not mean them, and cannot be asked again.
func checkComment(comment *string, survey *v1alpha1.Survey, out *ledger.Response) *rejection {
	if comment == nil || survey.Comments == v1alpha1.CommentsDiscard {
		return nil
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, *comment)
	if length := utf8.RuneCountInString(text); length > MaxComment {
		return reject(ReasonInvalidComment, "comment has %d characters: shorten it to at most %d", length, MaxComment)
	}
	out.Comment = text
	return nil
}

// MaxName is the longest name of a segment or channel in characters.
const MaxName = 63

// checkDetails looks at what says more of a response than its score.
func checkDetails(in *response, survey *v1alpha1.Survey, out *ledger.Response) *rejection {
	if in.Segment != nil {
		if !printable(*in.Segment, MaxName) {
			return reject(ReasonInvalidSegment, "segment must be at most %d printable characters", MaxName)
		}
		out.Segment = segmentOf(survey, *in.Segment)
	}
	if in.Channel != nil {
		if !printable(*in.Channel, MaxName) {
			return reject(ReasonInvalidChannel, "channel must be at most %d printable characters", MaxName)
		}
		out.Channel = *in.Channel
	}
	if in.SubjectHash != nil && *in.SubjectHash != "" {
		if digest, err := hex.DecodeString(*in.SubjectHash); err != nil || len(digest) != sha256.Size {
			return reject(ReasonInvalidSubject, "subjectHash must be the SHA-256 of what identifies the customer, 64 hexadecimal digits: never send the identity itself")
		}
		out.Subject = strings.ToLower(*in.SubjectHash)
	}
	return nil
}

// segmentOf returns a segment that the touchpoint declares, and nothing for others:
// the answer counts all the same, and labels stay few.
func segmentOf(survey *v1alpha1.Survey, name string) string {
	if slices.Contains(survey.Segments, v1alpha1.Segment(name)) {
		return name
	}
	return ""
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
