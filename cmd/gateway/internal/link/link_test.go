package link

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/intake"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// desk takes the answers of a page.
type desk struct {
	*Pages
	submitted []ledger.Response
	rejected  []intake.Reason
	fail      error
	now       time.Time
}

func open(t testing.TB, proxies ...string) *desk {
	t.Helper()
	limits, err := NewLimits(proxies)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{now: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}
	limits.Now = func() time.Time { return d.now }
	checkout := &v1alpha1.Touchpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}}
	checkout.Spec.Survey = &v1alpha1.Survey{Instruments: []v1alpha1.Instrument{{Type: v1alpha1.InstrumentCES}}, Link: &v1alpha1.SurveyLink{}}
	d.Pages = &Pages{
		Ready: func() error { return nil },
		Touchpoint: func(namespace, name string) (*v1alpha1.Touchpoint, bool) {
			return checkout, namespace == "shop" && name == "checkout"
		},
		Submit: func(responses []ledger.Response) ([]ledger.Outcome, error) {
			if d.fail == nil {
				d.submitted = append(d.submitted, responses...)
			}
			return make([]ledger.Outcome, len(responses)), d.fail
		},
		Reject: func(reason intake.Reason) { d.rejected = append(d.rejected, reason) },
		Limits: limits, Now: func() time.Time { return d.now }, Log: slog.New(slog.DiscardHandler),
	}
	return d
}

func (d *desk) do(method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, each := range change {
		each(request)
	}
	answer := httptest.NewRecorder()
	d.Handler().ServeHTTP(answer, request)
	return answer
}

func TestAnswerIsStored(t *testing.T) {
	d := open(t)
	answer := d.do("POST", "/s/shop/checkout", "id=ABCDEFGHIJKLMNOPQRST&score=6&comment=+%E5%BF%AB%07+")
	if answer.Code != http.StatusSeeOther || answer.Header().Get("Location") != "/s/shop/checkout/thanks" {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
	want := ledger.Response{
		ID: "link:ABCDEFGHIJKLMNOPQRST#checkout/ces", Submission: "ABCDEFGHIJKLMNOPQRST", Comment: "快", Channel: channel, Received: d.now,
		Series: ledger.Series{Question: ledger.Question{Namespace: "shop", Touchpoint: "checkout", Instrument: "ces"}, Score: 6},
	}
	if len(d.submitted) != 1 || d.submitted[0] != want {
		t.Errorf("%+v\nwant %+v", d.submitted, want)
	}
}

func TestEveryPageIsOnItsOwn(t *testing.T) {
	d := open(t)
	d.fail = errors.New("disk full")
	for path, status := range map[string]int{
		"GET /s/shop/checkout": 200, "GET /s/shop/checkout/thanks": 200, "GET /s/shop/elsewhere": 404,
		"POST /s/shop/checkout score=9": 422, "POST /s/shop/checkout score=6&comment=%3Cb%3E": 503,
		"POST /s/shop/checkout comment=" + strings.Repeat("x", maxForm): 413,
	} {
		parts := append(strings.SplitN(path, " ", 3), "")
		answer := d.do(parts[0], parts[1], parts[2])
		if answer.Code != status {
			t.Errorf("%.60s: %d, want %d", path, answer.Code, status)
		}
		header, body := answer.Header(), answer.Body.String()
		if !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'nonce-") || header.Get("Set-Cookie") != "" ||
			header.Get("Referrer-Policy") != "no-referrer" || strings.Contains(body, "<script") || strings.Contains(body, "http://") || strings.Contains(body, "https://") {
			t.Errorf("%.60s: %v\n%s", path, header, body)
		}
		if status == 503 && !strings.Contains(body, "&lt;b&gt;") {
			t.Errorf("what was written is gone: %s", body)
		}
	}
}

// There is no page unless the Touchpoint asks for one.
func TestOffUnlessAskedFor(t *testing.T) {
	d := open(t)
	checkout, _ := d.Touchpoint("shop", "checkout")
	checkout.Spec.Survey.Link = nil
	for _, request := range []string{"GET /s/shop/checkout", "POST /s/shop/checkout", "GET /s/shop/checkout/thanks", "GET /s/shop", "GET /s/"} {
		method, path, _ := strings.Cut(request, " ")
		if answer := d.do(method, path, "score=6"); answer.Code != 404 || !strings.Contains(answer.Body.String(), "There is no survey here.") {
			t.Errorf("%s: %d %s", request, answer.Code, answer.Body)
		}
	}
	if d.submitted != nil {
		t.Errorf("stored %+v", d.submitted)
	}
}

func TestLimits(t *testing.T) {
	d := open(t, "10.0.0.0/8")
	from := func(remote, forwarded string) int {
		return d.do("POST", "/s/shop/checkout", "score=6", func(r *http.Request) {
			r.RemoteAddr = remote
			r.Header.Set("X-Forwarded-For", forwarded)
		}).Code
	}
	for range clientAnswers {
		if code := from("192.0.2.1:1", "198.51.100.1"); code != http.StatusSeeOther {
			t.Fatal(code)
		}
	}
	for what, test := range map[string]struct{ got, want int }{
		"the same address":              {from("192.0.2.1:2", ""), 429},
		"a claim of a stranger":         {from("192.0.2.1:1", "198.51.100.9"), 429},
		"behind the proxy":              {from("10.1.1.1:1", "192.0.2.1"), 429},
		"a claim before the proxy's":    {from("10.1.1.1:1", "198.51.100.7, 192.0.2.1"), 429},
		"another behind the same proxy": {from("10.1.1.1:1", "198.51.100.2"), 303},
		"another address":               {from("192.0.2.2:1", ""), 303},
	} {
		if test.got != test.want {
			t.Errorf("%s: %d, want %d", what, test.got, test.want)
		}
	}
	refused := d.do("POST", "/s/shop/checkout", "id=ABCDEFGHIJKLMNOPQRST&score=6&comment=a+long+story", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" })
	if text := refused.Body.String(); refused.Code != 429 || !strings.Contains(text, "a long story") || !strings.Contains(text, "ABCDEFGHIJKLMNOPQRST") || !strings.Contains(text, ">Too many answers") {
		t.Errorf("%d: what was written is gone: %s", refused.Code, text)
	}
	d.now = d.now.Add(clientInterval)
	if code := from("192.0.2.1:1", ""); code != 303 {
		t.Errorf("later: %d", code)
	}
	// One IPv6 customer has a whole /64.
	for i := range clientAnswers {
		from(fmt.Sprintf("[2001:db8::%x]:1", i), "")
	}
	if code := from("[2001:db8::ffff]:1", ""); code != 429 {
		t.Errorf("the same /64: %d", code)
	}
}

func TestClientsRememberedAreBounded(t *testing.T) {
	limits, err := NewLimits(nil)
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest("POST", "/", nil)
	for i := range maxClients + 10 {
		request.RemoteAddr = fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>16, i&0xffff)
		limits.Allow(request, "shop/checkout")
	}
	if len(limits.clients) > maxClients {
		t.Errorf("%d clients are remembered", len(limits.clients))
	}
}

func FuzzForm(f *testing.F) {
	f.Add("id=ABCDEFGHIJKLMNOPQRST&score=6&comment=quick")
	f.Add("score=%zz")
	f.Add(url.Values{"comment": {"\xff\x00"}, "score": {"7"}}.Encode())
	f.Fuzz(func(t *testing.T, body string) {
		d := open(t)
		answer := d.do("POST", "/s/shop/checkout", body)
		if (answer.Code == http.StatusSeeOther) != (len(d.submitted) == 1) || answer.Code >= 500 {
			t.Fatalf("%d, %+v", answer.Code, d.submitted)
		}
		for _, each := range d.submitted {
			if each.Score < 1 || each.Score > 7 || !utf8.ValidString(each.Comment) || strings.ContainsRune(each.Comment, 0) || utf8.RuneCountInString(each.Comment) > intake.MaxComment {
				t.Fatalf("%+v", each)
			}
		}
	})
}
