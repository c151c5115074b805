package web

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas/atlastest"
)

func newServer(t *testing.T, source Source, change func(*Options)) *Server {
	t.Helper()
	options := Options{Source: source, Now: func() time.Time { return atlastest.Now }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&options)
	}
	return New(options)
}

// paths are those of every page there is to the journeys of tests.
func paths() []string {
	all := []string{"/"}
	objects := atlastest.Objects()
	for key := range objects.Journeys {
		all = append(all, journeyPath(key.Namespace, key.Name))
	}
	for key := range objects.Touchpoints {
		all = append(all, touchpointPath(key))
	}
	return all
}

func get(t *testing.T, s http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	return answer
}

// TestPages looks into every page: it is there, its headers keep it safe, nothing that a
// user wrote is markup, and it leads nowhere but to itself and to runbooks.
func TestPages(t *testing.T) {
	s := newServer(t, newFixture(), nil)
	for _, path := range append(paths(), "/static/style.css", "/static/live.js", "/static/icon.svg", "/nowhere", "/journeys/shop/nothing") {
		answer := get(t, s, path)
		want := http.StatusOK
		if strings.HasPrefix(path, "/no") || strings.HasSuffix(path, "/nothing") {
			want = http.StatusNotFound
		}
		if answer.Code != want {
			t.Fatalf("%s: %d\n%s", path, answer.Code, answer.Body)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got := answer.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		for _, part := range []string{"default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(answer.Header().Get("Content-Security-Policy"), part) {
				t.Errorf("%s: the policy lacks %s", path, part)
			}
		}
		if strings.HasPrefix(answer.Header().Get("Content-Type"), "text/html") {
			markup(t, path, answer.Body.String())
		}
	}
}

// elements are those that pages may have.
var elements = regexp.MustCompile(`^(html|head|meta|title|link|script|body|a|header|nav|ol|ul|li|p|time|main|aside|footer|noscript|section|article|h1|h2|h3|div|span|b|strong|small|bdi|br|code|dl|dt|dd|table|caption|thead|tbody|tr|th|td|details|summary|figure|figcaption|blockquote|svg|g|rect|path|circle|text|desc)$`)

func markup(t *testing.T, path, text string) {
	t.Helper()
	document, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	headings, scripts := 0, 0
	for node := range document.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		if !elements.MatchString(node.Data) {
			t.Errorf("%s: element %s", path, node.Data)
		}
		attributes := map[string]string{}
		for _, a := range node.Attr {
			attributes[a.Key] = a.Val
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s: attribute %s=%q", path, a.Key, a.Val)
			}
		}
		switch node.Data {
		case "h1":
			headings++
		case "script":
			scripts++
			if node.FirstChild != nil || !strings.HasPrefix(attributes["src"], "/static/live.js") {
				t.Errorf("%s: a script that is not ours: %v", path, attributes)
			}
		case "th":
			if attributes["scope"] == "" {
				t.Errorf("%s: a header cell of neither row nor column", path)
			}
		case "text", "title":
			if node.FirstChild != nil && node.FirstChild.Type != html.TextNode {
				t.Errorf("%s: markup in a text", path)
			}
		}
		for _, name := range []string{"href", "src", "action", "xlink:href"} {
			address, is := attributes[name]
			if !is || strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") || strings.HasPrefix(address, "#") {
				continue
			}
			parsed, err := url.Parse(address)
			if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || node.Data != "a" || attributes["rel"] != "noopener noreferrer" {
				t.Errorf("%s: %s leads to %s", path, node.Data, address)
			}
		}
	}
	if headings != 1 || scripts != 1 {
		t.Errorf("%s: %d main headings, %d scripts", path, headings, scripts)
	}
	for _, bad := range []string{"<script>alert", "<img", "<b>use", "onload=alert(3)>\n", "<svg onload"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s has %s", path, bad)
		}
	}
}

// TestPagesSay: what each page is there for.
func TestPagesSay(t *testing.T) {
	s := newServer(t, newFixture(), nil)
	for path, wants := range map[string][]string{
		"/": {"Online purchase · 网上购物", "1 breached", "Weakest: checkout", "easy for 41 % of 240"},
		"/journeys/shop/" + atlastest.Shop: {
			"Journey map and service blueprint", "line of visibility", `href="/touchpoints/shop/checkout"`, "Budgets that need a look", "page 1h, ticket 6h",
			"orders-per-hour", "Reached", "Anna, the hurried parent", "https://runbooks.example.com/touchpoints/checkout",
		},
		"/journeys/shop/" + atlastest.Silent: {"The manager asks no Prometheus", "there is no such Touchpoint", "not open to journeys", "Nothing is promised at these touchpoints"},
		"/touchpoints/shop/checkout": {
			"between", "What was left of", "How 240 answers of CES", "easy, between", "Phases of a visit", "付款页面转了很久", "Degraded", "1 of 3 can serve",
			"Fewer steps every quarter", "5-Customer", `href="/journeys/shop/online-purchase"`, "Timeout", "12 minutes ago", "Since then Healthy is False",
		},
		"/touchpoints/shop/silent-page": {"Prometheus is not reached", "Nothing is promised here"},
	} {
		text := get(t, s, path).Body.String()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", path, want)
			}
		}
	}
}

func TestOnlyReads(t *testing.T) {
	s := newServer(t, newFixture(), func(o *Options) { o.Hosts = []string{"127.0.0.1", "localhost"} })
	for _, test := range []struct {
		method, host string
		want         int
	}{
		{"GET", "127.0.0.1:8080", 200}, {"HEAD", "localhost:8080", 200}, {"GET", "LOCALHOST", 200},
		{"POST", "127.0.0.1:8080", 405}, {"DELETE", "127.0.0.1:8080", 405}, {"OPTIONS", "127.0.0.1:8080", 405},
		{"GET", "evil.example.com", 421}, {"GET", "127.0.0.1.evil.example.com:8080", 421}, {"GET", "", 421},
	} {
		request := httptest.NewRequest(test.method, "/", nil)
		request.Host = test.host
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, request)
		if answer.Code != test.want {
			t.Errorf("%s as %s: %d, want %d", test.method, test.host, answer.Code, test.want)
		}
		if test.method == "HEAD" && answer.Body.Len() > 0 {
			t.Error("HEAD has a body")
		}
	}
}

// TestOneLookServesAll: however many look, the cluster is asked once.
func TestOneLookServesAll(t *testing.T) {
	source := newFixture()
	s := newServer(t, source, nil)
	for range 20 {
		get(t, s, "/")
		get(t, s, "/journeys/shop/"+atlastest.Shop)
		get(t, s, "/touchpoints/shop/checkout")
	}
	if source.looks != 1 || source.trends != 1 || source.details != 1 {
		t.Errorf("%d looks, %d trends, %d details", source.looks, source.trends, source.details)
	}
}

// TestTrendsOutliveChanges: an object that changes does not have Prometheus asked again.
func TestTrendsOutliveChanges(t *testing.T) {
	source := newFixture()
	now := atlastest.Now
	s := newServer(t, source, func(o *Options) { o.Now = func() time.Time { return now } })
	page := "/journeys/shop/" + atlastest.Shop
	before := get(t, s, page).Body.String()
	source.change(atlastest.Shop, "61")
	s.shown.stale, now = true, now.Add(5*time.Second)
	after := get(t, s, page).Body.String()
	if !strings.Contains(after, `<span class="figure">61</span>`) {
		t.Error("the page shows another score")
	}
	if source.looks != 2 || source.trends != 1 {
		t.Errorf("%d looks, %d trends", source.looks, source.trends)
	}
	// The curves of burning budgets are the longest paths there are.
	if long := regexp.MustCompile(`d="M[^"]{200,}"`); len(long.FindAllString(after, -1)) != len(long.FindAllString(before, -1)) {
		t.Error("trends were lost")
	}
}

func TestWithoutCluster(t *testing.T) {
	source := newFixture()
	source.failing = errors.New("connection refused")
	now := atlastest.Now
	s := newServer(t, source, func(o *Options) { o.Now = func() time.Time { return now } })
	if answer := get(t, s, "/"); answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "Connection refused.") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	source.failing = nil
	if answer := get(t, s, "/"); answer.Code != http.StatusOK {
		t.Errorf("%d after it answers", answer.Code)
	}
	source.failing = errors.New("connection refused")
	now = now.Add(2 * time.Minute)
	answer := get(t, s, "/")
	if text := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(text, "The cluster does not answer: connection refused. What is shown is of 09:00:00 UTC.") {
		t.Errorf("%d %s", answer.Code, text)
	}
}

// TestLive: a stream tells of a change, says nothing else, and ends with the context.
func TestLive(t *testing.T) {
	source := newFixture()
	s := newServer(t, source, func(o *Options) { o.Rest, o.Beat, o.Now = time.Millisecond, 50*time.Millisecond, time.Now })
	ctx, stop := context.WithCancel(t.Context())
	go s.Run(ctx)
	server := httptest.NewUnstartedServer(s)
	server.Config.BaseContext = nil
	server.Start()
	defer server.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" || answer.Header.Get("Content-Security-Policy") != policy {
		t.Errorf("headers %v", answer.Header)
	}
	lines := bufio.NewScanner(answer.Body)
	next := func() string {
		t.Helper()
		for lines.Scan() {
			if text, is := strings.CutPrefix(lines.Text(), "data: "); is {
				return text
			}
		}
		t.Fatalf("the stream ends: %v", lines.Err())
		return ""
	}
	mark := func() string {
		_, after, _ := strings.Cut(get(t, s, "/").Body.String(), `data-mark="`)
		mark, _, _ := strings.Cut(after, `"`)
		return mark
	}
	first := next()
	if want := `{"anew":false,"mark":"` + mark() + `"}`; first != want {
		t.Errorf("the stream begins with %s, not %s", first, want)
	}
	source.change(atlastest.Shop, "61")
	if second := next(); second == first || !strings.Contains(second, mark()) {
		t.Errorf("after a change: %s", second)
	}
	stop()
	for lines.Scan() { // until the end
	}
	for range 200 {
		if s.streams.count() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the stream is still counted")
}

// TestStreamsEndWithTheServer: whoever stops the server does not wait for its readers.
func TestStreamsEndWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newFixture(), nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/live", nil).WithContext(ctx))
			close(ended)
		}()
		synctest.Wait()
		if s.streams.count() != 1 {
			t.Error("no stream")
		}
		stop()
		<-ended
	})
}

func TestStreamsAreBounded(t *testing.T) {
	s := newServer(t, newFixture(), func(o *Options) { o.Streams = 1 })
	if !s.streams.enter("somebody", 1) {
		t.Fatal("not even one")
	}
	answer := get(t, s, "/live")
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	s.streams.leave("somebody")
	var n streams
	for range streamsEach {
		n.enter("greedy", 1000)
	}
	if n.enter("greedy", 1000) || !n.enter("modest", 1000) {
		t.Error("one viewer takes all")
	}
}

func TestRunbook(t *testing.T) {
	for address, want := range map[string]string{
		"https://a.example.com/b": "https://a.example.com/b", "http://a": "http://a",
		"javascript:alert(1)": "", "//a.example.com": "", "data:text/html,x": "", "": "", "https:": "", "ftp://a": "", "\x00": "",
	} {
		if got := runbook(address); got != want {
			t.Errorf("%q leads to %q, want %q", address, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for past, want := range map[time.Duration]string{
		10 * time.Second: "just now", time.Minute: "1 minute ago", 59 * time.Minute: "59 minutes ago", 25 * time.Hour: "25 hours ago", 49 * time.Hour: "2 days ago", -time.Hour: "just now",
	} {
		if got := ago(atlastest.Now, atlastest.Now.Add(-past)); got != want {
			t.Errorf("%s: %q, want %q", past, got, want)
		}
	}
}
