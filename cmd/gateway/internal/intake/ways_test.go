package intake

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/sources"
)

// at asks another path of the same server.
func (d *door) at(path string, headers ...string) func(*http.Request) {
	return func(r *http.Request) {
		target, query, _ := strings.Cut(path, "?")
		r.URL.Path, r.URL.RawQuery = target, query
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
}

func (d *door) get(t testing.TB, path, token string) *http.Response {
	t.Helper()
	return d.post(t, "", d.at(path, "Authorization", "Bearer "+token), func(r *http.Request) { r.Method = http.MethodGet })
}

func (d *door) generic(t testing.TB, body string) *http.Response {
	t.Helper()
	sum := hmac.New(sha256.New, []byte(signingSecret))
	sum.Write([]byte(body))
	return d.post(t, body, d.at("/v1/webhooks/generic/shop/tool", "Authorization", "", "X-Signature-256", "sha256="+hex.EncodeToString(sum.Sum(nil))))
}

func (d *door) records(t testing.TB) []ledger.Record {
	t.Helper()
	records, err := d.Ledger.Records(t.Context(), ledger.Choice{}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestWebhookMapsQuestions(t *testing.T) {
	d := open(t)
	const body = `{"id":"s1","time":"2026-03-01T09:00:00Z","answers":{"effort":7,"ease":6,"recommend":"9","why":"快\u0007","plan":"enterprise","customer":"c-7","unasked":1}}`
	expect(t, d.generic(t, body), 202, `{"accepted":2,"duplicates":0}`)
	expect(t, d.generic(t, body), 202, `{"accepted":0,"duplicates":2}`)
	want := ledger.Response{
		ID: "generic:s1#checkout/ces", Submission: "s1", Comment: "快", Subject: ledger.SubjectHash("c-7"),
		Answered: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), Received: now,
		Series: ledger.Series{Question: ledger.Question{Namespace: "shop", Touchpoint: "checkout", Instrument: "ces"}, Segment: "enterprise", Score: 6},
	}
	records := d.records(t)
	if len(records) != 2 || records[0].Response != want {
		t.Fatalf("stored %+v\nwant first %+v", records, want)
	}
	if records[1].Instrument != "nps" || records[1].Score != 9 {
		t.Errorf("second %+v", records[1])
	}
}

func TestWebhooksThatDoNotCount(t *testing.T) {
	for name, test := range map[string]struct {
		body   string
		want   string
		reason Reason
	}{
		"partial": {`{"id":"s1","finished":false,"answers":{"ease":6}}`,
			`{"accepted":0,"duplicates":0,"ignored":"not finished: it counts once the survey tool says that it is"}`, ""},
		"unmapped": {`{"id":"s1","answers":{"easy":6}}`,
			`{"accepted":0,"duplicates":0,"rejected":[{"index":0,"id":"s1","reason":"unmapped","detail":"no touchpoint that the source is for maps any of the questions that were answered (easy): name one under spec.survey.instruments[].questions of a Touchpoint"}]}`, ReasonUnmapped},
		"off scale": {`{"id":"s1","answers":{"ease":8}}`,
			`{"accepted":0,"duplicates":0,"rejected":[{"index":0,"id":"s1","reason":"score_off_scale","detail":"the answer to question \"ease\": score 8 is off the scale of ces: it goes from 1 to 7"}]}`, ReasonScoreOffScale},
		"a text": {`{"id":"s1","answers":{"ease":"very"}}`,
			`{"accepted":0,"duplicates":0,"rejected":[{"index":0,"id":"s1","reason":"score_off_scale","detail":"the answer to question \"ease\" is no whole number: map a rating, scale or number to ces, not a text"}]}`, ReasonScoreOffScale},
		"no id": {`{"answers":{"ease":6}}`,
			`{"accepted":0,"duplicates":0,"rejected":[{"index":0,"reason":"invalid_id","detail":"the submission's id must be 1 to 128 printable characters"}]}`, ReasonInvalidID},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			expect(t, d.generic(t, test.body), 202, test.want)
			if test.reason != "" && testutil.ToFloat64(d.rejected.WithLabelValues(string(test.reason))) != 1 {
				t.Errorf("%s is not counted", test.reason)
			}
			if records := d.records(t); len(records) != 0 {
				t.Errorf("stored %+v", records)
			}
		})
	}
}

func TestAmbiguousQuestion(t *testing.T) {
	d := open(t)
	support, _ := d.Touchpoint("shop", "support")
	support.Spec.Survey.Instruments[1].Questions = []v1alpha1.QuestionID{"ease"}
	response := d.generic(t, `{"id":"s1","answers":{"ease":4}}`)
	answer, _ := io.ReadAll(response.Body)
	if response.StatusCode != 202 || !strings.Contains(string(answer), `is mapped by several touchpoints (checkout, support): bound the source to one of them`) {
		t.Errorf("%d %s", response.StatusCode, answer)
	}
	expect(t, d.generic(t, `{"id":"s1","answers":{"ease":4,"touchpoint":"support"}}`), 202, `{"accepted":1,"duplicates":0}`)
	if got := d.total(t, "support", "csat", "4"); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

func TestForgedWebhooks(t *testing.T) {
	d := open(t)
	for name, test := range map[string]struct {
		path   string
		header []string
		reason Reason
	}{
		"unsigned":     {"/v1/webhooks/generic/shop/tool", nil, ReasonBadSignature},
		"forged":       {"/v1/webhooks/generic/shop/tool", []string{"X-Signature-256", "sha256=" + strings.Repeat("00", 32)}, ReasonBadSignature},
		"no source":    {"/v1/webhooks/generic/shop/none", []string{"X-Signature-256", "sha256=" + strings.Repeat("00", 32)}, ReasonBadSignature},
		"stale":        {"/v1/webhooks/formbricks/shop/tool", []string{"Webhook-Id", "m", "Webhook-Timestamp", "1700000000", "Webhook-Signature", "v1,AAAA"}, ReasonStaleSignature},
		"bearer token": {"/v1/webhooks/generic/shop/tool", []string{"Authorization", "Bearer " + token}, ReasonBadSignature},
	} {
		response := d.post(t, `{"id":"s1","answers":{"ease":6}}`, d.at(test.path, test.header...))
		var answer problem
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != 401 || answer.Reason != test.reason {
			t.Errorf("%s: %d %+v, error %v", name, response.StatusCode, answer, err)
		}
	}
	if records := d.records(t); len(records) != 0 {
		t.Errorf("stored %+v", records)
	}
}

// Strangers do not learn which sources there are.
func TestUnknownSourceLooksLikeAnother(t *testing.T) {
	d := open(t)
	answer := func(tool, source string, headers ...string) string {
		response := d.post(t, `{}`, d.at("/v1/webhooks/"+tool+"/shop/"+source, headers...))
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(response.StatusCode, string(text))
	}
	for _, headers := range [][]string{
		{},
		{"X-Signature-256", "sha256=00", "Typeform-Signature", "sha256=AAAA", "Tally-Signature", "AAAA"},
		{"Webhook-Id", "m", "Webhook-Timestamp", "1700000000", "Webhook-Signature", "v1,AAAA"},
		{"Webhook-Id", "m", "Webhook-Timestamp", fmt.Sprint(time.Now().Unix()), "Webhook-Signature", "v1,AAAA"},
	} {
		for _, tool := range []string{"formbricks", "typeform", "tally", "generic"} {
			if known, unknown := answer(tool, "tool", headers...), answer(tool, "none", headers...); known != unknown {
				t.Errorf("%s %v: %s\nwithout a source: %s", tool, headers, known, unknown)
			}
		}
	}
}

func anEvent(id string, score int) cloudevents.Event {
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("https://survey.example.com/forms/1")
	e.SetType(EventType)
	e.SetTime(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	_ = e.SetData(cloudevents.ApplicationJSON, map[string]any{"namespace": "shop", "touchpoint": "checkout", "instrument": "ces", "score": score, "comment": "é"})
	return e
}

func TestCloudEvents(t *testing.T) {
	d := open(t)
	url := strings.Replace(d.url, "/v1/responses", "/v1/events", 1)
	send := func(request *http.Request, err error) *http.Response {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	binary, err := cehttp.NewHTTPRequestFromEvent(t.Context(), url, anEvent("e1", 6))
	expect(t, send(binary, err), 202, `{"accepted":1,"duplicates":0}`)
	structured, err := json.Marshal(anEvent("e2", 5))
	if err != nil {
		t.Fatal(err)
	}
	mode := func(contentType string) func(*http.Request) { return d.at("/v1/events", "Content-Type", contentType) }
	expect(t, d.post(t, string(structured), mode("application/cloudevents+json")), 202, `{"accepted":1,"duplicates":0}`)
	batch, err := cehttp.NewHTTPRequestFromEvents(t.Context(), url, []cloudevents.Event{anEvent("e1", 6), anEvent("e3", 7), anEvent("e4", 9)})
	expect(t, send(batch, err), 202, `{"accepted":1,"duplicates":1,"rejected":[{"index":2,"id":"e4","reason":"score_off_scale","detail":"score 9 is off the scale of ces: it goes from 1 to 7"}]}`)

	// The same id of another source is another event.
	other := anEvent("e1", 6)
	other.SetSource("another")
	another, err := cehttp.NewHTTPRequestFromEvent(t.Context(), url, other)
	expect(t, send(another, err), 202, `{"accepted":1,"duplicates":0}`)
	if got := d.total(t, "checkout", "ces", "6"); got != 2 {
		t.Errorf("counted %v times", got)
	}
	// Nor are two events one whose sources and ids only look alike side by side.
	for _, each := range []struct{ source, id string }{{"a", "b#c"}, {"a#b", "c"}, {"a%23b", "c"}} {
		alike := anEvent(each.id, 1)
		alike.SetSource(each.source)
		request, err := cehttp.NewHTTPRequestFromEvent(t.Context(), url, alike)
		expect(t, send(request, err), 202, `{"accepted":1,"duplicates":0}`)
	}
	records := d.records(t)
	if records[0].Submission != "e1" || records[0].Comment != "é" || !records[0].Answered.Equal(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("stored %+v", records[0])
	}

	for name, test := range map[string]struct {
		body, contentType string
		status            int
		want              string
	}{
		"no event":     {`{}`, "application/json", 400, "the request is no CloudEvent: send Content-Type application/cloudevents+json"},
		"no JSON":      {`{`, "application/cloudevents+json", 400, "the request is no CloudEvent: "},
		"another type": {strings.Replace(string(structured), EventType, "com.example.order", 1), "application/cloudevents+json", 422, "the event's type is \\\"com.example.order\\\": send dev.sojourn.survey.response only"},
		"no id":        {strings.Replace(string(structured), `"e2"`, `""`, 1), "application/cloudevents+json", 400, "the event is not valid"},
		"empty batch":  {`[]`, "application/cloudevents-batch+json", 400, "the batch is empty"},
		"text as data": {`{"specversion":"1.0","id":"x","source":"s","type":"` + EventType + `","datacontenttype":"text/plain","data":"six"}`, "application/cloudevents+json", 400, "the event's data are not a JSON object"},
		"deep":         {`{"specversion":"1.0","id":"x","source":"s","type":"` + EventType + `","data":` + strings.Repeat(`{"a":`, 200_000), "application/cloudevents+json", 400, "the request is no CloudEvent"},
	} {
		response := d.post(t, test.body, mode(test.contentType))
		answer, _ := io.ReadAll(response.Body)
		if response.StatusCode != test.status || !strings.Contains(string(answer), test.want) || len(answer) > 2000 {
			t.Errorf("%s: %d %s", name, response.StatusCode, answer)
		}
	}
}

func TestHandshake(t *testing.T) {
	d := open(t)
	response := d.post(t, "", d.at("/v1/events", "WebHook-Request-Origin", "broker.example.com", "WebHook-Request-Rate", "120"), func(r *http.Request) { r.Method = http.MethodOptions })
	if response.StatusCode != 200 || response.Header.Get("WebHook-Allowed-Origin") != "broker.example.com" || response.Header.Get("WebHook-Allowed-Rate") != "120" {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
	response = d.post(t, "", d.at("/v1/events"), func(r *http.Request) { r.Method = http.MethodOptions })
	if response.StatusCode != 400 {
		t.Errorf("without an origin: %d", response.StatusCode)
	}
}

func TestCommentsAndExport(t *testing.T) {
	d := open(t)
	expect(t, d.post(t, `[{"id":"a","namespace":"shop","touchpoint":"checkout","instrument":"ces","score":7,"comment":"great"},
		{"id":"b","namespace":"shop","touchpoint":"checkout","instrument":"ces","score":1,"comment":"=cmd()","channel":"Email","segment":"enterprise"},
		{"id":"c","namespace":"shop","touchpoint":"checkout","instrument":"nps","score":9}]`), 202, `{"accepted":3,"duplicates":0}`)
	read := "read-" + token
	body := func(response *http.Response) string {
		t.Helper()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("%d %s %v", response.StatusCode, text, err)
		}
		return string(text)
	}
	var shown struct{ Latest, Worst []record }
	if err := json.Unmarshal([]byte(body(d.get(t, "/v1/touchpoints/shop/checkout/comments?limit=1", read))), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Latest) != 1 || shown.Latest[0].ID != "b" || len(shown.Worst) != 1 || shown.Worst[0].Comment != "=cmd()" {
		t.Errorf("%+v", shown)
	}
	// Through the API server's proxy.
	behind := func(path, token string) *http.Response {
		return d.post(t, "", d.at(path, "Authorization", "", "X-Sojourn-Token", token), func(r *http.Request) { r.Method = http.MethodGet })
	}
	if err := json.Unmarshal([]byte(body(behind("/v1/touchpoints/shop/checkout/comments", read))), &shown); err != nil || len(shown.Latest) != 2 {
		t.Errorf("by the header of proxies: %+v %v", shown, err)
	}
	if response := behind("/v1/touchpoints/shop/checkout/comments", token); response.StatusCode != 401 {
		t.Errorf("a token that delivers reads by the header of proxies: %d", response.StatusCode)
	}
	if response := d.post(t, `{"id":"x"}`, d.at("/v1/responses", "Authorization", "", "X-Sojourn-Token", token)); response.StatusCode != 401 {
		t.Errorf("the header of proxies delivers: %d", response.StatusCode)
	}
	lines := strings.Split(strings.TrimSpace(body(d.get(t, "/v1/touchpoints/shop/checkout/export", read))), "\n")
	if len(lines) != 3 || lines[0] != `{"id":"a","touchpoint":"checkout","instrument":"ces","score":7,"comment":"great","received":"2026-03-01T09:30:00Z"}` {
		t.Errorf("JSON lines: %q", lines)
	}
	rows, err := csv.NewReader(strings.NewReader(body(d.get(t, "/v1/touchpoints/shop/checkout/export?format=csv&since=2026-03-01T00:00:00Z", read)))).ReadAll()
	if err != nil || len(rows) != 4 || rows[2][4] != "'=cmd()" || rows[2][5] != "enterprise" || rows[2][6] != "Email" {
		t.Errorf("CSV: %q, error %v", rows, err)
	}
	for path, status := range map[string]int{
		"/v1/touchpoints/bank/checkout/comments":                403,
		"/v1/touchpoints/shop/checkout/comments?limit=1000":     400,
		"/v1/touchpoints/shop/checkout/export?format=xml":       400,
		"/v1/touchpoints/shop/checkout/export?since=yesterday":  400,
		"/v1/touchpoints/shop/checkout/export?until=2026-01-01": 400,
	} {
		if response := d.get(t, path, read); response.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, status)
		}
	}
	for _, wrong := range []string{token, "erase-" + token, ""} {
		if response := d.get(t, "/v1/touchpoints/shop/checkout/export", wrong); response.StatusCode != 401 {
			t.Errorf("token %q reads: %d", wrong, response.StatusCode)
		}
	}
}

// A long export is streamed page by page.
func TestLongExport(t *testing.T) {
	d := open(t)
	for first := 0; first < 3*exportPage; first += exportPage {
		items := make([]string, exportPage)
		for i := range items {
			items[i] = item(fmt.Sprint("r", first+i), 6)
		}
		expect(t, d.post(t, "["+strings.Join(items, ",")+"]"), 202, fmt.Sprintf(`{"accepted":%d,"duplicates":0}`, exportPage))
	}
	text, err := io.ReadAll(d.get(t, "/v1/touchpoints/shop/checkout/export", "read-"+token).Body)
	if err != nil || strings.Count(string(text), "\n") != 3*exportPage {
		t.Errorf("%d lines, error %v", strings.Count(string(text), "\n"), err)
	}
}

func TestErasure(t *testing.T) {
	d := open(t)
	subject := ledger.SubjectHash("c-7")
	expect(t, d.generic(t, `{"id":"s1","answers":{"ease":6,"recommend":9,"customer":"c-7"}}`), 202, `{"accepted":2,"duplicates":0}`)
	mine := strings.Replace(item("r1", 6), "}", `,"subjectHash":"`+strings.ToUpper(subject)+`"}`, 1)
	expect(t, d.post(t, mine), 202, `{"accepted":1,"duplicates":0}`)
	erase := func(body string, status int, want string) {
		t.Helper()
		response := d.post(t, body, d.at("/v1/erasures", "Authorization", "Bearer erase-"+token))
		answer, _ := io.ReadAll(response.Body)
		if response.StatusCode != status || !strings.Contains(string(answer), want) {
			t.Errorf("%s: %d %s", body, response.StatusCode, answer)
		}
	}
	erase(`{"namespace":"shop","id":"s1"}`, 200, `{"erased":2}`)
	erase(`{"namespace":"shop","subjectHash":"`+subject+`"}`, 200, `{"erased":1}`)
	erase(`{"namespace":"shop","id":"r1"}`, 200, `{"erased":0}`)
	erase(`{"namespace":"shop"}`, 400, "name either the id of a response or a subjectHash")
	erase(`{"namespace":"shop","subjectHash":"c-7"}`, 400, "subjectHash must be the SHA-256")
	erase(`{"namespace":"bank","id":"r1"}`, 403, "does not allow to erase in this namespace")
	erase(`{"namespace":"shop","ids":["r1"]}`, 400, "send a JSON object with namespace")
	expect(t, d.post(t, mine), 202, `{"accepted":0,"duplicates":1}`)
	if got := d.total(t, "checkout", "ces", "6"); got != 2 {
		t.Errorf("total %v, want 2", got)
	}
	if records := d.records(t); len(records) != 0 {
		t.Errorf("still there: %+v", records)
	}
	if response := d.post(t, `{"namespace":"shop","id":"r1"}`, d.at("/v1/erasures")); response.StatusCode != 401 {
		t.Errorf("a token that only delivers erases: %d", response.StatusCode)
	}
}

// A source that names touchpoints is for these alone, whichever way it comes in or asks,
// and one of another namespace for none.
func TestBoundSources(t *testing.T) {
	d := open(t)
	for _, each := range []struct{ namespace, name, key, touchpoints string }{
		{"shop", "desk", "a-token-of-the-desk", "support"}, {"bank", "tool", "a-token-of-the-bank", ""},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: each.namespace, Name: each.name}, Type: sources.SecretType, Data: map[string][]byte{
			sources.KeyTokens: []byte(each.key), sources.KeyReadTokens: []byte("read-" + each.key), sources.KeyEraseTokens: []byte("erase-" + each.key),
			sources.KeySigningSecrets: []byte(signingSecret),
		}}
		if each.touchpoints != "" {
			secret.Data[sources.KeyTouchpoints] = []byte(each.touchpoints)
		}
		if err := d.Sources.Set(secret); err != nil {
			t.Fatal(err)
		}
	}
	event, err := json.Marshal(anEvent("e1", 6))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, d.post(t, item("r1", 6)), 202, `{"accepted":1,"duplicates":0}`)
	for _, key := range []string{"a-token-of-the-desk", "a-token-of-the-bank"} {
		bearer := "Bearer " + key
		for what, test := range map[string]struct {
			response *http.Response
			status   int
		}{
			"delivers": {d.post(t, item("r2", 6), d.at("/v1/responses", "Authorization", bearer)), 422},
			"sends":    {d.post(t, string(event), d.at("/v1/events", "Authorization", bearer, "Content-Type", "application/cloudevents+json")), 422},
			"reads":    {d.get(t, "/v1/touchpoints/shop/checkout/comments", "read-"+key), 403},
			"exports":  {d.get(t, "/v1/touchpoints/shop/checkout/export", "read-"+key), 403},
			"erases":   {d.post(t, `{"namespace":"shop","id":"r1"}`, d.at("/v1/erasures", "Authorization", "Bearer erase-"+key)), 403},
		} {
			if text, _ := io.ReadAll(test.response.Body); test.response.StatusCode != test.status || !strings.Contains(string(text), `"forbidden"`) {
				t.Errorf("%s %s: %d %s", key, what, test.response.StatusCode, text)
			}
		}
	}
	// Its secret is right, and the question another touchpoint's.
	const form = `{"id":"s1","answers":{"ease":6,"touchpoint":"checkout"}}`
	sum := hmac.New(sha256.New, []byte(signingSecret))
	sum.Write([]byte(form))
	for _, path := range []string{"/v1/webhooks/generic/shop/desk", "/v1/webhooks/generic/bank/tool"} {
		response := d.post(t, form, d.at(path, "Authorization", "", "X-Signature-256", "sha256="+hex.EncodeToString(sum.Sum(nil))))
		if text, _ := io.ReadAll(response.Body); response.StatusCode != 202 || !strings.Contains(string(text), `"accepted":0`) || !strings.Contains(string(text), `"unmapped"`) {
			t.Errorf("%s: %d %s", path, response.StatusCode, text)
		}
	}
	if records := d.records(t); len(records) != 1 {
		t.Errorf("stored %+v", records)
	}
	expect(t, d.post(t, `{"id":"r3","touchpoint":"support","instrument":"csat","score":5}`, d.at("/v1/responses", "Authorization", "Bearer a-token-of-the-desk")), 202, `{"accepted":1,"duplicates":0}`)
}

func TestCommentsDiscarded(t *testing.T) {
	d := open(t)
	checkout, _ := d.Touchpoint("shop", "checkout")
	checkout.Spec.Survey.Comments = v1alpha1.CommentsDiscard
	expect(t, d.post(t, strings.Replace(item("r1", 6), "}", `,"comment":"private"}`, 1)), 202, `{"accepted":1,"duplicates":0}`)
	expect(t, d.generic(t, `{"id":"s1","answers":{"ease":6,"why":"private"}}`), 202, `{"accepted":1,"duplicates":0}`)
	for _, each := range d.records(t) {
		if each.Comment != "" {
			t.Errorf("kept %q", each.Comment)
		}
	}
}

func FuzzEvents(f *testing.F) {
	structured, err := json.Marshal(anEvent("e1", 6))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("application/cloudevents+json", structured)
	f.Add("application/cloudevents-batch+json", []byte("["+string(structured)+"]"))
	f.Add("application/json", []byte(`{"touchpoint":"checkout"}`))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		request := httptest.NewRequest(http.MethodPost, "/v1/events", nil)
		request.Header = http.Header{"Content-Type": {contentType}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"s"}, "Ce-Type": {EventType}}
		events, _, refusal := eventsOf(request, body)
		if (refusal == nil) == (len(events) == 0) {
			t.Fatalf("%d events and refusal %v", len(events), refusal)
		}
		for i := range events {
			if one := itemOf(&events[i]); one.refusal != nil && (one.refusal.Detail == "" || len(one.refusal.Detail) > 2000) {
				t.Fatalf("refusal %+v", one.refusal)
			}
		}
	})
}
