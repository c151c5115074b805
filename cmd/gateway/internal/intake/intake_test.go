package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/series"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sqlite"
)

const (
	token          = "a-token-for-tests-only"
	signingSecret  = "a-signing-secret-for-tests"
	standardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

var now = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

// door is an intake with a real database behind it and a real server before it.
type door struct {
	*Intake
	ledger   *ledger.Ledger
	registry *prometheus.Registry
	url      string
}

func touchpoint(namespace, name string, instruments ...v1alpha1.InstrumentType) *v1alpha1.Touchpoint {
	t := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if instruments != nil {
		t.Spec.Survey = &v1alpha1.Survey{}
		for _, each := range instruments {
			t.Spec.Survey.Instruments = append(t.Spec.Survey.Instruments, v1alpha1.Instrument{Type: each})
		}
	}
	return t
}

func open(t testing.TB, configure ...func(*Intake, *httptest.Server)) *door {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "gateway.db"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), store, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkout := touchpoint("shop", "checkout", v1alpha1.InstrumentCES, v1alpha1.InstrumentNPS)
	checkout.Spec.Survey.Instruments[0].Questions = []v1alpha1.QuestionID{"ease", "effort"}
	checkout.Spec.Survey.Instruments[1].Questions = []v1alpha1.QuestionID{"recommend"}
	checkout.Spec.Survey.Fields = &v1alpha1.SurveyFields{Comment: []v1alpha1.QuestionID{"why"}, Segment: "plan", Subject: "customer"}
	checkout.Spec.Survey.Segments = []v1alpha1.Segment{"enterprise"}
	known := []*v1alpha1.Touchpoint{
		checkout,
		touchpoint("shop", "support", v1alpha1.InstrumentCES1, v1alpha1.InstrumentCSAT),
		touchpoint("shop", "advert"),
	}
	in := &Intake{
		Sources:      &sources.Sources{},
		SourcesReady: func() error { return nil },
		Ready:        func() error { return nil },
		Touchpoints:  func() iter.Seq[*v1alpha1.Touchpoint] { return slices.Values(known) },
		Ledger:       l,
		Touchpoint: func(namespace, name string) (*v1alpha1.Touchpoint, bool) {
			i := slices.IndexFunc(known, func(t *v1alpha1.Touchpoint) bool { return t.Namespace == namespace && t.Name == name })
			if i < 0 {
				return nil, false
			}
			return known[i], true
		},
		Submit: l.Submit,
		Now:    func() time.Time { return now },
	}
	for _, namespace := range []string{"shop", "store", "other"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tool"}, Type: sources.SecretType, Data: map[string][]byte{
			sources.KeyTokens: []byte(token), sources.KeyReadTokens: []byte("read-" + token), sources.KeyEraseTokens: []byte("erase-" + token),
			sources.KeySigningSecrets: []byte(signingSecret + "\n" + standardSecret),
		}}
		if err := in.Sources.Set(secret); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	if err := in.Register(registry); err != nil {
		t.Fatal(err)
	}
	registry.MustRegister(series.NewResponses(l, func() iter.Seq[*v1alpha1.Touchpoint] { return slices.Values(known) }, slog.New(slog.DiscardHandler)))
	server := httptest.NewUnstartedServer(in.Handler(http.NotFoundHandler()))
	for _, each := range configure {
		each(in, server)
	}
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &door{Intake: in, ledger: l, registry: registry, url: server.URL + "/v1/responses"}
}

func (d *door) post(t testing.TB, body string, change ...func(*http.Request)) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, d.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	for _, each := range change {
		each(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// expect compares status, media type and the whole body.
func expect(t testing.TB, response *http.Response, status int, body string) {
	t.Helper()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	mediaType := "application/problem+json"
	if status == http.StatusAccepted {
		mediaType = "application/json"
	}
	if response.StatusCode != status || response.Header.Get("Content-Type") != mediaType {
		t.Errorf("got %d %s, want %d %s", response.StatusCode, response.Header.Get("Content-Type"), status, mediaType)
	}
	if strings.TrimSpace(string(got)) != strings.TrimSpace(body) {
		t.Errorf("body differs\n got: %s\nwant: %s", got, body)
	}
}

// total reads a response counter as a scrape would.
func (d *door) total(t testing.TB, touchpoint, instrument, score string) float64 {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "sojourn_survey_responses_total" {
			continue
		}
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["namespace"] == "shop" && labels["touchpoint"] == touchpoint && labels["instrument"] == instrument && labels["score"] == score {
				return metric.Counter.GetValue()
			}
		}
	}
	t.Fatalf("no series for %s %s %s", touchpoint, instrument, score)
	return 0
}

func item(id string, score int) string {
	return fmt.Sprintf(`{"id":%q,"namespace":"shop","touchpoint":"checkout","instrument":"ces","score":%d}`, id, score)
}

func TestBadInput(t *testing.T) {
	const fields = "a response has the fields id, namespace, touchpoint, instrument, score, comment, segment, channel, subjectHash, time"
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set(name, value)
			if value == "" {
				r.Header.Del(name)
			}
		}
	}
	single := func(status int, title string, reason Reason, id, detail string) string {
		if id != "" {
			id = fmt.Sprintf(`"id":%q,`, id)
		}
		quoted := new(bytes.Buffer)
		encoder := json.NewEncoder(quoted)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(detail)
		text := strings.TrimSpace(quoted.String())
		return fmt.Sprintf(`{"title":%q,"status":%d,"reason":%q,"detail":%s,"rejected":[{"index":0,%s"reason":%q,"detail":%s}]}`,
			title, status, reason, text, id, reason, text)
	}
	whole := func(status int, title string, reason Reason, detail string) string {
		return fmt.Sprintf(`{"title":%q,"status":%d,"reason":%q,"detail":%q}`, title, status, reason, detail)
	}
	unprocessable := func(reason Reason, id, detail string) string {
		return single(422, "Unprocessable Entity", reason, id, detail)
	}
	with := func(replace, by string) string { return strings.Replace(item("r1", 6), replace, by, 1) }

	for _, test := range []struct {
		name   string
		body   string
		change func(*http.Request)
		status int
		reason Reason
		want   string
		header string // one that the answer must carry
	}{
		{name: "no token", body: item("r1", 6), change: header("Authorization", ""), status: 401, reason: ReasonUnauthorized,
			want:   whole(401, "Unauthorized", ReasonUnauthorized, "there is no bearer token: send the header Authorization: Bearer <token>, with a token of a Secret of type sojourn.dev/survey-source"),
			header: `Www-Authenticate: Bearer realm="sojourn"`},
		{name: "wrong token", body: item("r1", 6), change: header("Authorization", "Bearer another"), status: 401, reason: ReasonUnauthorized,
			want:   whole(401, "Unauthorized", ReasonUnauthorized, "no source has this token under tokens: correct it, or add it to a Secret of type sojourn.dev/survey-source in a namespace that the gateway was told of"),
			header: `Www-Authenticate: Bearer realm="sojourn", error="invalid_token"`},
		{name: "wrong method", change: func(r *http.Request) { r.Method = http.MethodGet }, status: 405, reason: ReasonMethod,
			want: whole(405, "Method Not Allowed", ReasonMethod, "this is asked for with POST, not GET"), header: "Allow: POST"},
		{name: "wrong path", body: item("r1", 6), change: func(r *http.Request) { r.URL.Path = "/v2/responses" }, status: 404, reason: ReasonNotFound,
			want: whole(404, "Not Found", ReasonNotFound, "there is nothing here: deliver responses with POST /v1/responses")},
		{name: "wrong content type", body: item("r1", 6), change: header("Content-Type", "text/plain"), status: 415, reason: ReasonMediaType,
			want: whole(415, "Unsupported Media Type", ReasonMediaType, "send JSON, with the header Content-Type: application/json"), header: "Accept: application/json"},
		{name: "no content type", body: item("r1", 6), change: header("Content-Type", ""), status: 415, reason: ReasonMediaType,
			want: whole(415, "Unsupported Media Type", ReasonMediaType, "send JSON, with the header Content-Type: application/json")},
		{name: "wrong charset", body: item("r1", 6), change: header("Content-Type", "application/json; charset=gb18030"), status: 415, reason: ReasonMediaType,
			want: whole(415, "Unsupported Media Type", ReasonMediaType, "JSON is UTF-8: encode the body so and leave charset away")},
		{name: "compressed", body: item("r1", 6), change: header("Content-Encoding", "gzip"), status: 415, reason: ReasonMediaType,
			want: whole(415, "Unsupported Media Type", ReasonMediaType, "send the body uncompressed, without Content-Encoding")},
		{name: "too large, announced", body: strings.Repeat(" ", MaxBody) + "{}", status: 413, reason: ReasonTooLarge,
			want: whole(413, "Request Entity Too Large", ReasonTooLarge, "the body is larger than 1048576 bytes: send it in parts; nothing of this request was stored")},
		{name: "too large, chunked", body: strings.Repeat(" ", MaxBody) + "{}", change: func(r *http.Request) { r.ContentLength = -1 }, status: 413, reason: ReasonTooLarge,
			want: whole(413, "Request Entity Too Large", ReasonTooLarge, "the body is larger than 1048576 bytes: send it in parts; nothing of this request was stored")},
		{name: "too many", body: "[" + strings.Repeat("{},", MaxItems) + "{}]", status: 413, reason: ReasonTooLarge,
			want: whole(413, "Request Entity Too Large", ReasonTooLarge, "the array holds more than 1000 responses: send it in parts; nothing of this request was stored")},
		{name: "empty", status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is empty: send one response as a JSON object, or many as a JSON array of objects; nothing of this request was stored")},
		{name: "not UTF-8", body: with("r1", "\xff"), status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not UTF-8: encode it so; nothing of this request was stored")},
		{name: "number", body: "7", status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is neither a JSON object (one response) nor a JSON array of objects (many); nothing of this request was stored")},
		{name: "cut off", body: item("r1", 6)[:40], status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not valid JSON: unexpected end of JSON input (byte 40); nothing of this request was stored")},
		{name: "array cut off", body: "[" + item("r1", 6), status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not valid JSON: unexpected end of JSON input (byte 84); nothing of this request was stored")},
		{name: "syntax", body: `{"id": r1}`, status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not valid JSON: invalid character 'r' looking for beginning of value (byte 8); nothing of this request was stored")},
		{name: "syntax in a later item", body: "[" + item("r1", 6) + ", {]", status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not valid JSON: invalid character ']' looking for beginning of object key string (byte 88); nothing of this request was stored")},
		{name: "empty array", body: "[]", status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the array is empty: send at least one response; nothing of this request was stored")},
		{name: "trailing garbage", body: item("r1", 6) + " {}", status: 400, reason: ReasonMalformed,
			want: whole(400, "Bad Request", ReasonMalformed, "the body is not valid JSON: invalid character '{' after top-level value (byte 85); nothing of this request was stored")},
		{name: "wrong type", body: with(`"score":6`, `"score":"6"`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", "score must be a whole number, without quotes, fraction or exponent, not string")},
		{name: "fraction", body: with(`"score":6`, `"score":6.5`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", "score must be a whole number, without quotes, fraction or exponent, not number 6.5")},
		{name: "number as id", body: with(`"r1"`, `1`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "", "id must be a string, not number")},
		{name: "unknown field", body: with(`"score":6`, `"score":6,"coment":"x"`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", `unknown field "coment": `+fields+", each at most once")},
		{name: "field in capitals", body: with(`"score":6`, `"Score":6`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", `unknown field "Score": `+fields+", each at most once")},
		{name: "field twice", body: with(`"score":6`, `"score":6,"score":7`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", `duplicate field "score": `+fields+", each at most once")},
		{name: "missing fields", body: `{"id":"r1","namespace":"shop","score":null}`, status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", "missing: touchpoint, instrument, score")},
		{name: "empty id", body: item("", 6), status: 422, reason: ReasonInvalidID,
			want: unprocessable(ReasonInvalidID, "", "id must be 1 to 128 printable characters; it has to be the same whenever this response is sent again")},
		{name: "long id", body: item(strings.Repeat("长", MaxID+1), 6), status: 422, reason: ReasonInvalidID,
			want: unprocessable(ReasonInvalidID, "", "id must be 1 to 128 printable characters; it has to be the same whenever this response is sent again")},
		{name: "control character in id", body: with("r1", `r\u0000`), status: 422, reason: ReasonInvalidID,
			want: unprocessable(ReasonInvalidID, "", "id must be 1 to 128 printable characters; it has to be the same whenever this response is sent again")},
		{name: "unknown touchpoint", body: with("checkout", "chekout"), status: 422, reason: ReasonUnknownTouchpoint,
			want: unprocessable(ReasonUnknownTouchpoint, "r1", `there is no Touchpoint "chekout" in namespace "shop", or the gateway does not watch that namespace: apply the Touchpoint, or correct namespace and touchpoint`)},
		{name: "unknown namespace", body: with("shop", "store"), status: 422, reason: ReasonUnknownTouchpoint,
			want: unprocessable(ReasonUnknownTouchpoint, "r1", `there is no Touchpoint "checkout" in namespace "store", or the gateway does not watch that namespace: apply the Touchpoint, or correct namespace and touchpoint`)},
		{name: "namespace of others", body: with("shop", "bank"), status: 422, reason: ReasonForbidden,
			want: unprocessable(ReasonForbidden, "r1", `the token is not valid for Touchpoint "checkout" in namespace "bank": use a token of a source of that namespace, or add the touchpoint to the source's list`)},
		{name: "long segment", body: with(`"score":6`, `"score":6,"segment":"`+strings.Repeat("x", 64)+`"`), status: 422, reason: ReasonInvalidSegment,
			want: unprocessable(ReasonInvalidSegment, "r1", "segment must be at most 63 printable characters")},
		{name: "unprintable channel", body: with(`"score":6`, `"score":6,"channel":"a\u0007"`), status: 422, reason: ReasonInvalidChannel,
			want: unprocessable(ReasonInvalidChannel, "r1", "channel must be at most 63 printable characters")},
		{name: "identity as subject", body: with(`"score":6`, `"score":6,"subjectHash":"ada@example.com"`), status: 422, reason: ReasonInvalidSubject,
			want: unprocessable(ReasonInvalidSubject, "r1", "subjectHash must be the SHA-256 of what identifies the customer, 64 hexadecimal digits: never send the identity itself")},
		{name: "instrument that does not exist", body: with(`"ces"`, `"smiley"`), status: 422, reason: ReasonUnknownInstrument,
			want: unprocessable(ReasonUnknownInstrument, "r1", `instrument "smiley" does not exist: write ces, ces1, csat or nps`)},
		{name: "instrument not declared", body: with(`"ces"`, `"csat"`), status: 422, reason: ReasonUnknownInstrument,
			want: unprocessable(ReasonUnknownInstrument, "r1", "Touchpoint shop/checkout does not ask csat (it asks: ces, nps): add it to spec.survey.instruments, or correct instrument")},
		{name: "no survey", body: with("checkout", "advert"), status: 422, reason: ReasonUnknownInstrument,
			want: unprocessable(ReasonUnknownInstrument, "r1", "Touchpoint shop/advert does not ask ces (it asks: none): add it to spec.survey.instruments, or correct instrument")},
		{name: "score below", body: item("r1", 0), status: 422, reason: ReasonScoreOffScale,
			want: unprocessable(ReasonScoreOffScale, "r1", "score 0 is off the scale of ces: it goes from 1 to 7")},
		{name: "score above", body: item("r1", 8), status: 422, reason: ReasonScoreOffScale,
			want: unprocessable(ReasonScoreOffScale, "r1", "score 8 is off the scale of ces: it goes from 1 to 7")},
		{name: "NPS score above", body: `{"id":"r1","namespace":"shop","touchpoint":"checkout","instrument":"nps","score":11}`, status: 422, reason: ReasonScoreOffScale,
			want: unprocessable(ReasonScoreOffScale, "r1", "score 11 is off the scale of nps: it goes from 0 to 10")},
		{name: "CES1 score above", body: `{"id":"r1","namespace":"shop","touchpoint":"support","instrument":"ces1","score":6}`, status: 422, reason: ReasonScoreOffScale,
			want: unprocessable(ReasonScoreOffScale, "r1", "score 6 is off the scale of ces1: it goes from 1 to 5")},
		{name: "CSAT score below", body: `{"id":"r1","namespace":"shop","touchpoint":"support","instrument":"csat","score":0}`, status: 422, reason: ReasonScoreOffScale,
			want: unprocessable(ReasonScoreOffScale, "r1", "score 0 is off the scale of csat: it goes from 1 to 5")},
		{name: "long comment", body: with(`"score":6`, `"score":6,"comment":"`+strings.Repeat("好", MaxComment+1)+`"`), status: 422, reason: ReasonInvalidComment,
			want: unprocessable(ReasonInvalidComment, "r1", "comment has 4097 characters: shorten it to at most 4096")},
		{name: "future", body: with(`"score":6`, `"score":6,"time":"2026-03-01T09:35:01Z"`), status: 422, reason: ReasonInvalidTime,
			want: unprocessable(ReasonInvalidTime, "r1", "time lies in the future, by more than 5 minutes: correct the source's clock or time zone")},
		{name: "time without zone", body: with(`"score":6`, `"score":6,"time":"2026-03-01 09:30"`), status: 422, reason: ReasonInvalidTime,
			want: unprocessable(ReasonInvalidTime, "r1", "time must be of RFC 3339 with a zone, such as 2026-03-01T09:30:00Z")},
		{name: "number as time", body: with(`"score":6`, `"score":6,"time":1772357400`), status: 400, reason: ReasonMalformed,
			want: single(400, "Bad Request", ReasonMalformed, "r1", "time must be a string, not number")},
		{name: "all of a batch", body: "[" + item("r1", 9) + `,5]`, status: 422, reason: ReasonScoreOffScale,
			want: `{"title":"Unprocessable Entity","status":422,"reason":"score_off_scale","detail":"none of the 2 responses was stored: correct them as said under rejected","rejected":[` +
				`{"index":0,"id":"r1","reason":"score_off_scale","detail":"score 9 is off the scale of ces: it goes from 1 to 7"},` +
				`{"index":1,"reason":"malformed","detail":"not a JSON object: ` + fields + `"}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t)
			change := test.change
			if change == nil {
				change = func(*http.Request) {}
			}
			response := d.post(t, test.body, change)
			expect(t, response, test.status, test.want)
			if name, value, _ := strings.Cut(test.header, ": "); value != "" && response.Header.Get(name) != value {
				t.Errorf("header %s is %q, want %q", name, response.Header.Get(name), value)
			}
			if got := testutil.ToFloat64(d.rejected.WithLabelValues(string(test.reason))); got != 1 {
				t.Errorf("sojourn_survey_rejected_total{reason=%q} is %v, want 1", test.reason, got)
			}
			for _, score := range []string{"1", "6", "7"} {
				if got := d.total(t, "checkout", "ces", score); got != 0 {
					t.Errorf("%v responses were counted for score %s", got, score)
				}
			}
		})
	}
}

func TestBatchKeepsWhatIsValid(t *testing.T) {
	d := open(t)
	expect(t, d.post(t, item("old", 2)), 202, `{"accepted":1,"duplicates":0}`)
	body := "[" + strings.Join([]string{
		item("a", 6),
		item("b", 8),
		item("a", 6), // the same again
		item("old", 2),
		item("old", 3), // the same id, another score
		`{"id":"c","namespace":"shop","touchpoint":"checkout","instrument":"CES","score":7,"stars":5}`,
		`{"id":"d","namespace":"shop","touchpoint":"checkout","instrument":"CES","score":7}`,
	}, ",\n") + "]\n"
	expect(t, d.post(t, body), 202, `{"accepted":2,"duplicates":3,`+
		`"conflicts":[{"index":4,"id":"old","detail":"a response with this id but other content came first and stays: if this is another customer's, send it with an id of its own"}],`+
		`"rejected":[{"index":1,"id":"b","reason":"score_off_scale","detail":"score 8 is off the scale of ces: it goes from 1 to 7"},`+
		`{"index":5,"id":"c","reason":"malformed","detail":"unknown field \"stars\": a response has the fields id, namespace, touchpoint, instrument, score, comment, segment, channel, subjectHash, time, each at most once"}]}`)
	for score, want := range map[string]float64{"1": 0, "2": 1, "3": 0, "6": 1, "7": 1} {
		if got := d.total(t, "checkout", "ces", score); got != want {
			t.Errorf("score %s has total %v, want %v", score, got, want)
		}
	}
	if got := testutil.ToFloat64(d.duplicates); got != 3 {
		t.Errorf("sojourn_survey_duplicates_total is %v, want 3", got)
	}
}

// An id belongs to its namespace: teams do not know one another's.
func TestSameIDInAnotherNamespaceIsAnotherResponse(t *testing.T) {
	d := open(t)
	lookup := d.Touchpoint
	d.Touchpoint = func(_, name string) (*v1alpha1.Touchpoint, bool) { return lookup("shop", name) }
	expect(t, d.post(t, item("r1", 6)), 202, `{"accepted":1,"duplicates":0}`)
	other := touchpoint("other", "checkout", v1alpha1.InstrumentCES)
	d.Touchpoint = func(string, string) (*v1alpha1.Touchpoint, bool) { return other, true }
	expect(t, d.post(t, strings.Replace(item("r1", 6), "shop", "other", 1)), 202, `{"accepted":1,"duplicates":0}`)
}

func TestConcurrentSameID(t *testing.T) {
	d := open(t)
	const clients = 32
	var accepted, duplicates int
	var lock sync.Mutex
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			var got receipt
			if err := json.NewDecoder(d.post(t, item("r1", 6)).Body).Decode(&got); err != nil {
				t.Error(err)
			}
			lock.Lock()
			defer lock.Unlock()
			accepted, duplicates = accepted+got.Accepted, duplicates+got.Duplicates
		})
	}
	group.Wait()
	if accepted != 1 || duplicates != clients-1 {
		t.Errorf("%d accepted and %d duplicates, want 1 and %d", accepted, duplicates, clients-1)
	}
	if got := d.total(t, "checkout", "ces", "6"); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

func TestEveryReasonIsCountedFromZero(t *testing.T) {
	d := open(t)
	if got := testutil.CollectAndCount(d.rejected); got != len(Reasons) {
		t.Errorf("%d reasons at the start, want %d", got, len(Reasons))
	}
	if got := testutil.ToFloat64(d.duplicates); got != 0 {
		t.Errorf("duplicates start at %v", got)
	}
}

func TestSubmittedContent(t *testing.T) {
	var got []ledger.Response
	d := open(t, func(in *Intake, _ *httptest.Server) {
		in.Submit = func(responses []ledger.Response) ([]ledger.Outcome, error) {
			got = responses
			return make([]ledger.Outcome, len(responses)), nil
		}
	})
	comment := `结账太麻烦了，客服很好。\n第二行\u0007\u200d🙂`
	expect(t, d.post(t, `{"id":"回答-1","namespace":"shop","touchpoint":"support","instrument":"CES1","score":5,`+
		`"comment":"`+comment+`","time":"2026-02-01T10:00:00.1239+08:00"}`), 202, `{"accepted":1,"duplicates":0}`)
	want := ledger.Response{
		ID:       "回答-1",
		Comment:  "结账太麻烦了，客服很好。\n第二行\u200d🙂", // the bell is gone, the joiner is part of an emoji
		Answered: time.Date(2026, 2, 1, 2, 0, 0, 123_000_000, time.UTC),
		Received: now,
		Series:   ledger.Series{Question: ledger.Question{Namespace: "shop", Touchpoint: "support", Instrument: "ces1"}, Score: 5},
	}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestTurnedAwayForNow(t *testing.T) {
	for _, test := range []struct {
		name   string
		upset  func(*Intake)
		reason Reason
		detail string
	}{
		{"touchpoints unknown", func(in *Intake) { in.Ready = func() error { return fmt.Errorf("connection refused") } }, ReasonNotReady,
			"the gateway does not know the cluster yet: connection refused; send the request again"},
		{"queue full", func(in *Intake) {
			in.Submit = func([]ledger.Response) ([]ledger.Outcome, error) { return nil, ledger.ErrOverloaded }
		}, ReasonOverloaded, "too many responses are waiting to be stored: send the request again a little later; nothing of it was stored"},
		{"too much in flight", func(in *Intake) { in.pending.Store(maxPending) }, ReasonOverloaded,
			"too many responses are waiting to be stored: send the request again a little later; nothing of it was stored"},
		{"stopping", func(in *Intake) {
			in.Submit = func([]ledger.Response) ([]ledger.Outcome, error) { return nil, ledger.ErrClosed }
		}, ReasonNotReady, "the gateway is stopping: send the request again; nothing of it was stored"},
		{"disk full", func(in *Intake) {
			in.Submit = func([]ledger.Response) ([]ledger.Outcome, error) { return nil, fmt.Errorf("disk full") }
		}, ReasonStoreUnavailable, "the database did not confirm the responses: send the request again, each id is counted once"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := open(t, func(in *Intake, _ *httptest.Server) { test.upset(in) })
			response := d.post(t, item("r1", 6))
			expect(t, response, 503, fmt.Sprintf(`{"title":"Service Unavailable","status":503,"reason":%q,"detail":%q}`, test.reason, test.detail))
			if response.Header.Get("Retry-After") != "2" {
				t.Errorf("Retry-After is %q", response.Header.Get("Retry-After"))
			}
			if got := testutil.ToFloat64(d.rejected.WithLabelValues(string(test.reason))); got != 1 {
				t.Errorf("counted %v times", got)
			}
		})
	}
}

func TestInFlightBytesAreReturned(t *testing.T) {
	d := open(t)
	d.post(t, item("r1", 6))
	d.post(t, "{")
	d.post(t, item("r2", 6), func(r *http.Request) { r.ContentLength = -1 })
	// The answer arrives before the handler has returned.
	for deadline := time.Now().Add(5 * time.Second); d.pending.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still reserved", d.pending.Load())
		}
	}
}

// A body that trickles in ends with an answer, and holds nobody else up.
func TestSlowBody(t *testing.T) {
	d := open(t, func(_ *Intake, server *httptest.Server) { server.Config.ReadTimeout = 300 * time.Millisecond })
	connection, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(d.url, "http://"), "/v1/responses"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "POST /v1/responses HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 83\r\n\r\n{", token)
	expect(t, d.post(t, item("r1", 6)), 202, `{"accepted":1,"duplicates":0}`)
	answer := make([]byte, 4096)
	_ = connection.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := connection.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(answer[:n]); !strings.HasPrefix(text, "HTTP/1.1 408 ") || !strings.Contains(text, `"reason":"timeout"`) {
		t.Errorf("answer: %s", text)
	}
	if got := testutil.ToFloat64(d.rejected.WithLabelValues("timeout")); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

// BenchmarkHTTP measures everything between a client and the disk, the client
// included: it shares the machine.
func BenchmarkHTTP(b *testing.B) {
	for _, load := range []struct{ clients, batch int }{{1, 1}, {16, 1}, {256, 1}, {16, 100}} {
		b.Run(fmt.Sprintf("clients=%d,batch=%d", load.clients, load.batch), func(b *testing.B) {
			d := open(b)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: load.clients}}
			defer client.CloseIdleConnections()
			var requests atomic.Int64
			times := make([]time.Duration, b.N)
			var group sync.WaitGroup
			b.ResetTimer()
			for range load.clients {
				group.Go(func() {
					for {
						number := int(requests.Add(1)) - 1
						if number >= b.N {
							return
						}
						items := make([]string, load.batch)
						for i := range items {
							items[i] = item(fmt.Sprint("response-", number, "-", i), i%7+1)
						}
						request, err := http.NewRequest(http.MethodPost, d.url, strings.NewReader("["+strings.Join(items, ",")+"]"))
						if err != nil {
							b.Error(err)
							return
						}
						request.Header.Set("Authorization", "Bearer "+token)
						request.Header.Set("Content-Type", "application/json")
						began := time.Now()
						response, err := client.Do(request)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
						times[number] = time.Since(began)
						if response.StatusCode != http.StatusAccepted {
							b.Errorf("status %d", response.StatusCode)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N*load.batch)/b.Elapsed().Seconds(), "responses/s")
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte(item("r1", 6)))
	f.Add([]byte("[" + item("r1", 6) + "," + item("r2", 9) + "]"))
	f.Add([]byte(`{"id":"\ud800","score":1e400,"time":{}}`))
	tp := touchpoint("shop", "checkout", v1alpha1.InstrumentCES)
	source, err := sources.Parse(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Data: map[string][]byte{sources.KeyTokens: []byte(token)}})
	if err != nil {
		f.Fatal(err)
	}
	c := checker{now: now, grant: sources.Grant{source}, touchpoint: func(string, string) (*v1alpha1.Touchpoint, bool) { return tp, true }}
	f.Fuzz(func(t *testing.T, body []byte) {
		items, single, refusal := decodeBody(body)
		if (refusal == nil) == (len(items) == 0) {
			t.Fatalf("%d items and refusal %v", len(items), refusal)
		}
		// Both ways to decode agree on what they both take.
		if texts, singleText, _ := split(body); refusal == nil {
			if len(texts) != len(items) || singleText != single {
				t.Fatalf("%d items, %d by looking closely", len(items), len(texts))
			}
			for i, text := range texts {
				if closely, refusal := decodeItem(text); (refusal == nil) != (items[i].refusal == nil) || refusal == nil && !reflect.DeepEqual(closely, items[i].response) {
					t.Fatalf("item %d: %+v, by looking closely %+v, %+v", i, items[i], closely, refusal)
				}
			}
		}
		for i := range items {
			if items[i].refusal != nil {
				continue
			}
			var response ledger.Response
			refusal := c.check(&items[i].response, &response)
			if refusal != nil {
				if refusal.Detail == "" || len(refusal.Detail) > 2000 || !slices.Contains(Reasons, refusal.Reason) {
					t.Fatalf("refusal %+v", refusal)
				}
				continue
			}
			if scale, _ := ledger.ScaleOf(response.Instrument); response.ID == "" || response.Score < scale.Low || response.Score > scale.High {
				t.Fatalf("accepted %+v", response)
			}
		}
	})
}
