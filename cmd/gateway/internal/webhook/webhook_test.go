package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// What the tools send, cut down to what is read and something beside it.
const (
	formbricksBody = `{"webhookId":"w","event":"responseFinished","data":{"id":"cl1","createdAt":"2026-02-28T10:00:00.000Z","updatedAt":"2026-02-28T10:00:05.123Z",
		"surveyId":"s","finished":true,"data":{"ease":6,"why":"很方便","choice":["one"],"choices":["one","two"],"nothing":null,"object":{"a":1}},"meta":{"userAgent":{"os":"x"}}}}`
	typeformBody = `{"event_id":"e","event_type":"form_response","form_response":{"form_id":"f","token":"tf1","submitted_at":"2026-02-28T10:00:05Z","hidden":{"customer":"c-7"},
		"definition":{"fields":[]},"answers":[{"type":"number","number":9,"field":{"id":"k6TP","type":"nps","ref":"recommend"}},
		{"type":"text","text":"fine","field":{"id":"tx","ref":"why"}},{"type":"choice","choice":{"label":"5"},"field":{"id":"ch"}}]}}`
	tallyBody = `{"eventId":"e","eventType":"FORM_RESPONSE","createdAt":"2026-02-28T10:00:06Z","data":{"responseId":"ta1","submissionId":"ta1","formId":"f","createdAt":"2026-02-28T10:00:05.000Z",
		"fields":[{"key":"question_a","label":"How easy?","type":"LINEAR_SCALE","value":6},{"key":"question_h","label":"plan","type":"HIDDEN_FIELDS","value":"enterprise"},
		{"key":"question_c","label":"Pick","type":"MULTIPLE_CHOICE","value":["id1"],"options":[{"id":"id1","text":"4"},{"id":"id2","text":"5"}]}]}}`
	genericBody = `{"id":"g1","time":"2026-02-28T10:00:05Z","answers":{"ease":6.0,"why":"ok"}}`
)

func tool(t testing.TB, name string) Tool {
	t.Helper()
	for _, each := range Tools {
		if each.Name == name {
			return each
		}
	}
	t.Fatal(name)
	return Tool{}
}

func TestDecode(t *testing.T) {
	at := time.Date(2026, 2, 28, 10, 0, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		body string
		want Submission
	}{
		"formbricks": {formbricksBody, Submission{ID: "cl1", Finished: true, Time: at.Add(123 * time.Millisecond),
			Answers: map[string]string{"ease": "6", "why": "很方便", "choice": "one"}}},
		"typeform": {typeformBody, Submission{ID: "tf1", Finished: true, Time: at,
			Answers: map[string]string{"customer": "c-7", "k6TP": "9", "recommend": "9", "tx": "fine", "why": "fine", "ch": "5"}}},
		"tally": {tallyBody, Submission{ID: "ta1", Finished: true, Time: at,
			Answers: map[string]string{"question_a": "6", "question_h": "enterprise", "plan": "enterprise", "question_c": "4"}}},
		"generic": {genericBody, Submission{ID: "g1", Finished: true, Time: at, Answers: map[string]string{"ease": "6", "why": "ok"}}},
	} {
		got, err := tool(t, name).Decode([]byte(test.body))
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], test.want) {
			t.Errorf("%s: %+v, error %v\nwant %+v", name, got, err, test.want)
		}
	}
	if got, err := tool(t, "formbricks").Decode([]byte("[" + formbricksBody + "," + formbricksBody + "]")); err != nil || len(got) != 2 {
		t.Errorf("several events: %+v, error %v", got, err)
	}
}

func TestUnfinished(t *testing.T) {
	for body, name := range map[string]string{
		strings.Replace(formbricksBody, "responseFinished", "responseCreated", 1):                                                 "formbricks",
		strings.NewReplacer("responseFinished", "responseUpdated", `"finished":true`, `"finished":false`).Replace(formbricksBody): "formbricks",
		strings.Replace(typeformBody, "form_response\",\"form", "form_response_partial\",\"form", 1):                              "typeform",
		`{"id":"g1","finished":false,"answers":{"ease":6}}`:                                                                       "generic",
	} {
		if got, err := tool(t, name).Decode([]byte(body)); err != nil || len(got) != 1 || got[0].Finished {
			t.Errorf("%s: %+v, error %v", name, got, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for body, want := range map[string]string{
		"":                           "the body is not valid JSON",
		"[1]":                        "where this tool's webhooks have something else: is the path that of the right tool?",
		"{}":                         "there is no event: Formbricks sends event and data",
		`{"event":7}`:                "event has a number where",
		strings.Repeat("[", 100_000): "the body is not valid JSON",
	} {
		if _, err := tool(t, "formbricks").Decode([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want %q", body, err, want)
		}
	}
}

func mac(secret string, body []byte) []byte {
	sum := hmac.New(sha256.New, []byte(secret))
	sum.Write(body)
	return sum.Sum(nil)
}

func TestSignaturesOverTheBody(t *testing.T) {
	const secret, older = "the-secret-of-this-tool", "the-secret-of-before"
	body := []byte(typeformBody)
	encode64 := base64.StdEncoding.EncodeToString
	for name, header := range map[string]func(sum []byte) (string, string){
		"typeform": func(sum []byte) (string, string) { return "Typeform-Signature", "sha256=" + encode64(sum) },
		"tally":    func(sum []byte) (string, string) { return "Tally-Signature", encode64(sum) },
		"generic":  func(sum []byte) (string, string) { return "X-Signature-256", "sha256=" + hex.EncodeToString(sum) },
	} {
		verify := func(signedWith string, signed, sent []byte, secrets ...string) error {
			h := http.Header{}
			h.Set(header(mac(signedWith, signed)))
			return tool(t, name).Verify(h, sent, secrets)
		}
		if err := verify(secret, body, body, older, secret); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := verify(older, body, body, older, secret); err != nil {
			t.Errorf("%s, the older secret: %v", name, err)
		}
		for what, err := range map[string]error{
			"another secret": verify("another-secret-entirely", body, body, secret),
			"another body":   verify(secret, body, append([]byte(" "), body...), secret),
			"no secret":      verify("", body, body),
			"empty":          tool(t, name).Verify(http.Header{http.CanonicalHeaderKey(firstOf(header(nil))): {""}}, body, []string{secret}),
		} {
			if !errors.Is(err, ErrForged) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if err := tool(t, name).Verify(http.Header{}, body, []string{secret}); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s without a signature: %v", name, err)
		}
	}
}

func firstOf(name, _ string) string { return name }

func TestStandardWebhooks(t *testing.T) {
	const secret, older = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	sign := func(secret string, at time.Time, body string) http.Header {
		hook, err := standard.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := hook.Sign("msg_1", at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return http.Header{"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {signature}}
	}
	now := time.Now()
	several := sign(secret, now, formbricksBody)
	several.Set("Webhook-Signature", "v1,AAAA v2,ignored "+several.Get("Webhook-Signature"))
	other := sign(secret, now, formbricksBody)
	other.Set("Webhook-Id", "msg_2")
	moved := sign(secret, now.Add(-time.Hour), formbricksBody)
	moved.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	for name, test := range map[string]struct {
		header http.Header
		want   error
	}{
		"fresh":             {sign(secret, now, formbricksBody), nil},
		"the older secret":  {sign(older, now, formbricksBody), nil},
		"several":           {several, nil},
		"four minutes ago":  {sign(secret, now.Add(-4*time.Minute), formbricksBody), nil},
		"six minutes ago":   {sign(secret, now.Add(-6*time.Minute), formbricksBody), ErrTooOld},
		"six minutes ahead": {sign(secret, now.Add(6*time.Minute), formbricksBody), ErrTooNew},
		"another secret":    {sign("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", now, formbricksBody), ErrForged},
		"another body":      {sign(secret, now, formbricksBody+" "), ErrForged},
		"another id":        {other, ErrForged},
		"another time":      {moved, ErrForged},
		"unsigned":          {http.Header{}, ErrUnsigned},
		"nonsense":          {http.Header{"Webhook-Id": {"x"}, "Webhook-Timestamp": {"soon"}, "Webhook-Signature": {"v1"}}, ErrForged},
	} {
		if err := tool(t, "formbricks").Verify(test.header, []byte(formbricksBody), []string{secret, older}); !errors.Is(err, test.want) || (test.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for i, body := range []string{formbricksBody, typeformBody, tallyBody, genericBody, "[]", "[{}]", `{"data":{"data":{"":[[[1]]]}},"event":"x"}`} {
		f.Add(i, []byte(body))
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		tool := Tools[uint(which)%uint(len(Tools))]
		submissions, err := tool.Decode(body)
		if err != nil && (submissions != nil || err.Error() == "") {
			t.Fatalf("%v, %v", submissions, err)
		}
		for _, each := range submissions {
			if len(each.Answers) > 2*maxAnswers {
				t.Fatal("too many answers")
			}
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("sha256=AAAA", "1772357400", []byte("{}"))
	f.Fuzz(func(t *testing.T, signature, timestamp string, body []byte) {
		header := http.Header{}
		for _, name := range []string{"Webhook-Signature", "Typeform-Signature", "Tally-Signature", "X-Signature-256"} {
			header.Set(name, signature)
		}
		header.Set("Webhook-Id", "x")
		header.Set("Webhook-Timestamp", timestamp)
		for _, tool := range Tools {
			if tool.Verify(header, body, []string{"a-secret-that-nobody-knows"}) == nil {
				t.Fatalf("%s takes %q", tool.Name, signature)
			}
		}
	})
}
