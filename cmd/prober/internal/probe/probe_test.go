package probe

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rawServer hands every connection to a function, for answers that a decent
// server would never give.
func rawServer(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// answering reads a request's head and writes a text.
func answering(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			io.WriteString(conn, text)
		}
	}
}

// until ends when the other side hangs up.
func until(conn net.Conn) { io.Copy(io.Discard, conn) }

func shop() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "welcome") })
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/down/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		if fmt.Sscan(r.PathValue("n"), &n); n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/down/%d", n-1), http.StatusTemporaryRedirect)
		}
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("u"))
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("/dribble", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, ".")
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/gigabyte", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1073741824")
		io.WriteString(w, "x")
	})
	mux.HandleFunc("/tenmebibytes", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxBody)) })
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("seen"); err == nil {
			w.WriteHeader(http.StatusConflict)
		}
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "1"})
	})
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" || r.Header.Get("Accept-Language") != "de" || r.UserAgent() != "sojourn-prober/test" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/head", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1073741824")
		if r.Method != http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	})
	return mux
}

func quiet(server *httptest.Server) *httptest.Server {
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	return server
}

func TestRun(t *testing.T) {
	plain := quiet(httptest.NewUnstartedServer(shop()))
	plain.Start()
	defer plain.Close()
	secure := quiet(httptest.NewUnstartedServer(shop()))
	secure.StartTLS()
	defer secure.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())

	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	refused := closed.Addr().String()
	closed.Close()
	silent := rawServer(t, until)
	reset := rawServer(t, func(conn net.Conn) {
		http.ReadRequest(bufio.NewReader(conn))
		conn.(*net.TCPConn).SetLinger(0)
	})
	cutHead := rawServer(t, answering("HTTP/1.1 200 OK\r\nContent-"))
	cutBody := rawServer(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"))
	resetBody := rawServer(t, func(conn net.Conn) {
		answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")(conn)
		conn.(*net.TCPConn).SetLinger(0)
	})
	untilClose := rawServer(t, answering("HTTP/1.0 200 OK\r\n\r\nthe end is when I say so"))
	garbage := rawServer(t, answering("220 mail.example ESMTP\r\n"))
	endlessHead := rawServer(t, func(conn net.Conn) {
		answering("HTTP/1.1 200 OK\r\n")(conn)
		for line := "X-More: " + strings.Repeat("x", 4000) + "\r\n"; ; {
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
		}
	})
	endlessHints := rawServer(t, func(conn net.Conn) {
		answering("")(conn)
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n"); err != nil {
				return
			}
		}
	})

	const quick = 300 * time.Millisecond
	for name, test := range map[string]struct {
		spec    Spec
		roots   *x509.CertPool
		reason  Reason // empty: success
		atLeast time.Duration
	}{
		"success":                     {spec: Spec{URL: plain.URL + "/ok"}},
		"success over TLS":            {spec: Spec{URL: secure.URL + "/ok"}, roots: trusted},
		"body that ends with its own": {spec: Spec{URL: "http://" + untilClose}},
		"early hints":                 {spec: Spec{URL: plain.URL + "/hints"}},
		"headers and host":            {spec: Spec{URL: plain.URL + "/hello", Headers: []Header{{"host", "shop.example"}, {"accept-language", "de"}}}},
		"head":                        {spec: Spec{URL: plain.URL + "/head", Method: "HEAD"}},
		"name of this machine":        {spec: Spec{URL: strings.Replace(plain.URL, "127.0.0.1", "LocalHost", 1) + "/ok"}},
		"largest body":                {spec: Spec{URL: plain.URL + "/tenmebibytes", Timeout: 10 * time.Second}},
		"ten redirects":               {spec: Spec{URL: plain.URL + "/down/10"}},
		"redirect to TLS":             {spec: Spec{URL: plain.URL + "/to?u=" + url.QueryEscape(secure.URL+"/ok")}, roots: trusted},
		"expected status":             {spec: Spec{URL: plain.URL + "/status/404", ExpectedStatuses: []int32{404, 410}}},
		"no content":                  {spec: Spec{URL: plain.URL + "/status/204"}},

		"unexpected status":        {spec: Spec{URL: plain.URL + "/status/503"}, reason: ReasonStatus},
		"success not expected":     {spec: Spec{URL: plain.URL + "/ok", ExpectedStatuses: []int32{404}}, reason: ReasonStatus},
		"redirect without target":  {spec: Spec{URL: plain.URL + "/status/302"}, reason: ReasonStatus},
		"not HTTP":                 {spec: Spec{URL: "http://" + garbage}, reason: ReasonStatus},
		"headers without end":      {spec: Spec{URL: "http://" + endlessHead, Timeout: 10 * time.Second}, reason: ReasonStatus},
		"hints without end":        {spec: Spec{URL: "http://" + endlessHints}, reason: ReasonStatus},
		"connection refused":       {spec: Spec{URL: "http://" + refused}, reason: ReasonConnect},
		"connection reset":         {spec: Spec{URL: "http://" + reset}, reason: ReasonConnect},
		"answer cut in its head":   {spec: Spec{URL: "http://" + cutHead}, reason: ReasonConnect},
		"host without address":     {spec: Spec{URL: "http://no-such-host.invalid/", Timeout: 10 * time.Second}, reason: ReasonDNS},
		"unknown authority":        {spec: Spec{URL: secure.URL + "/ok"}, reason: ReasonTLS},
		"certificate of another":   {spec: Spec{URL: secure.URL + "/ok", Headers: []Header{{"Host", "bank.example"}}}, roots: trusted, reason: ReasonTLS},
		"TLS to a plain server":    {spec: Spec{URL: strings.Replace(plain.URL, "http", "https", 1)}, reason: ReasonTLS},
		"plain to a TLS server":    {spec: Spec{URL: strings.Replace(secure.URL, "https", "http", 1)}, reason: ReasonStatus},
		"accepts, never answers":   {spec: Spec{URL: "http://" + silent, Timeout: quick}, reason: ReasonTimeout, atLeast: quick},
		"handshake never answered": {spec: Spec{URL: "https://" + silent, Timeout: quick}, reason: ReasonTimeout, atLeast: quick},
		"body byte by byte":        {spec: Spec{URL: plain.URL + "/dribble", Timeout: quick}, reason: ReasonTimeout, atLeast: quick},
		"the same over TLS":        {spec: Spec{URL: secure.URL + "/dribble", Timeout: quick}, roots: trusted, reason: ReasonTimeout, atLeast: quick},
		"body without end":         {spec: Spec{URL: plain.URL + "/endless", Timeout: 10 * time.Second}, reason: ReasonBody},
		"body announced too large": {spec: Spec{URL: plain.URL + "/gigabyte"}, reason: ReasonBody},
		"body cut short":           {spec: Spec{URL: "http://" + cutBody}, reason: ReasonBody},
		"body reset":               {spec: Spec{URL: "http://" + resetBody}, reason: ReasonBody},
		"redirect loop":            {spec: Spec{URL: plain.URL + "/loop"}, reason: ReasonRedirect},
		"eleven redirects":         {spec: Spec{URL: plain.URL + "/down/11"}, reason: ReasonRedirect},
		"redirect to a file":       {spec: Spec{URL: plain.URL + "/to?u=" + url.QueryEscape("file:///etc/passwd")}, reason: ReasonRedirect},
		"redirect to no host":      {spec: Spec{URL: plain.URL + "/to?u=" + url.QueryEscape("http:///x")}, reason: ReasonRedirect},
		"redirect to nonsense":     {spec: Spec{URL: plain.URL + "/to?u=" + url.QueryEscape("http://[::1")}, reason: ReasonRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			if test.spec.Timeout == 0 {
				test.spec.Timeout = 5 * time.Second
			}
			p, err := newProbe(Options{UserAgent: "sojourn-prober/test", RootCAs: test.roots}, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			result := p.Run(t.Context())
			elapsed := time.Since(begin)
			want := OutcomeFailure
			if test.reason == "" {
				want = OutcomeSuccess
			}
			if result.Outcome != want || result.Reason != test.reason {
				t.Errorf("got %s %q (%s), want %s %q", result.Outcome, result.Reason, result.Detail, want, test.reason)
			}
			if (result.Detail == "") != (want == OutcomeSuccess) {
				t.Errorf("detail %q with outcome %s", result.Detail, want)
			}
			if elapsed > test.spec.Timeout+500*time.Millisecond || elapsed < test.atLeast || result.Duration > elapsed {
				t.Errorf("took %s, said %s, timeout %s", elapsed, result.Duration, test.spec.Timeout)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	ok := Spec{URL: "http://shop.example/", Timeout: time.Second}
	if _, err := newProbe(Options{}, ok); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"no scheme":      {func(s *Spec) { s.URL = "shop.example" }, "neither http nor https"},
		"other scheme":   {func(s *Spec) { s.URL = "ftp://shop.example" }, "neither http nor https"},
		"no host":        {func(s *Spec) { s.URL = "http:///cart" }, "no host"},
		"malformed":      {func(s *Spec) { s.URL = "http://shop example/" }, "url:"},
		"port":           {func(s *Spec) { s.URL = "http://shop:99999/" }, "between 1 and 65535"},
		"method":         {func(s *Spec) { s.Method = "CONNECT" }, "cannot be used"},
		"header's name":  {func(s *Spec) { s.Headers = []Header{{"a b", "c"}} }, "header name"},
		"header's value": {func(s *Spec) { s.Headers = []Header{{"Secret", "to\x00ken"}} }, "the value of header Secret"},
		"host header":    {func(s *Spec) { s.Headers = []Header{{"Host", "a b"}} }, "header Host"},
		"timeout":        {func(s *Spec) { s.Timeout = 0 }, "not positive"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := ok
			test.change(&spec)
			_, err := newProbe(Options{}, spec)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "ken") {
				t.Errorf("shows the header's value: %v", err)
			}
		})
	}
}

func TestCalledOff(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		p, err := newProbe(Options{}, Spec{URL: scheme + "://" + rawServer(t, until), Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		begin := time.Now()
		if result := p.Run(ctx); result.Outcome != "" {
			t.Errorf("%s: got %+v, want nothing", scheme, result)
		}
		if elapsed := time.Since(begin); elapsed > time.Second {
			t.Errorf("%s: took %s to end", scheme, elapsed)
		}
	}
}

func TestNothingIsKept(t *testing.T) {
	server := httptest.NewServer(shop())
	defer server.Close()
	p, err := newProbe(Options{}, Spec{URL: server.URL + "/cookie", Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if result := p.Run(t.Context()); result.Outcome != OutcomeSuccess {
			t.Fatalf("got %+v: a cookie came back", result)
		}
	}
}

// counted is a server that knows its connections.
func counted(t *testing.T, handler http.Handler) (server *httptest.Server, opened, open *atomic.Int64) {
	opened, open = new(atomic.Int64), new(atomic.Int64)
	server = quiet(httptest.NewUnstartedServer(handler))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server, opened, open
}

func TestConnections(t *testing.T) {
	for path, want := range map[string]int64{
		"/ok":     1, // a new one for each visit
		"/down/5": 1, // but one for a visit that stays on its host
	} {
		server, opened, open := counted(t, shop())
		p, err := newProbe(Options{}, Spec{URL: server.URL + path, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		const visits = 10
		for range visits {
			if result := p.Run(t.Context()); result.Outcome != OutcomeSuccess {
				t.Fatalf("%s: %+v", path, result)
			}
		}
		if opened.Load() != want*visits {
			t.Errorf("%s: %d connections for %d visits, want %d each", path, opened.Load(), visits, want)
		}
		eventually(t, func() string {
			if n := open.Load(); n != 0 {
				return fmt.Sprintf("%s: %d connections still open", path, n)
			}
			return ""
		})
	}
}

// A server may close a kept connection at any moment; that alone is no failure.
func TestStaleConnectionIsReplaced(t *testing.T) {
	var connections atomic.Int64
	address := rawServer(t, func(conn net.Conn) {
		if connections.Add(1) == 1 {
			answering("HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")(conn)
			return // closed without having said so
		}
		answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(conn)
	})
	p, err := newProbe(Options{}, Spec{URL: "http://" + address, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if result := p.Run(t.Context()); result.Outcome != OutcomeSuccess || connections.Load() != 2 {
		t.Errorf("got %+v after %d connections", result, connections.Load())
	}
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	var got atomic.Value
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got.Store(r.Header.Clone()) }))
	defer other.Close()
	here := httptest.NewServer(shop())
	defer here.Close()
	// The same address by another name is another host.
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	p, err := newProbe(Options{}, Spec{
		URL: here.URL + "/to?u=" + url.QueryEscape(elsewhere), Timeout: time.Second,
		Headers: []Header{{"Authorization", "Bearer x"}, {"Cookie", "a=b"}, {"Accept-Language", "de"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the probe itself keeps them for its own host
		if result := p.Run(t.Context()); result.Outcome != OutcomeSuccess {
			t.Fatalf("got %+v", result)
		}
		header := got.Load().(http.Header)
		if header.Get("Authorization") != "" || header.Get("Cookie") != "" || header.Get("Accept-Language") != "de" {
			t.Errorf("the other host was sent %v", header)
		}
		if p.steps[0].action.(*httpAction).header.Get("Authorization") == "" {
			t.Error("the probe lost its own header")
		}
	}
}

// A thousand visits, good and bad, leave neither goroutines nor connections.
func TestNoLeaks(t *testing.T) {
	server, _, open := counted(t, shop())
	var probes []*Probe
	for _, path := range []string{"/ok", "/status/500", "/loop", "/down/3", "/dribble", "/gigabyte", "/head"} {
		p, err := newProbe(Options{}, Spec{URL: server.URL + path, Timeout: 30 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		probes = append(probes, p)
	}
	half, err := newProbe(Options{}, Spec{URL: "https://" + server.Listener.Addr().String(), Timeout: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	probes = append(probes, half)
	before := runtime.NumGoroutine()
	slots := make(chan struct{}, 16)
	for i := range 1000 {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			probes[i%len(probes)].Run(t.Context())
		}()
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	eventually(t, func() string {
		if n, now := open.Load(), runtime.NumGoroutine(); n != 0 || now > before {
			return fmt.Sprintf("%d connections open, %d goroutines, before %d", n, now, before)
		}
		return ""
	})
}

// eventually wants a check to be content within five seconds.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	problem := check()
	for deadline := time.Now().Add(5 * time.Second); problem != "" && time.Now().Before(deadline); problem = check() {
		time.Sleep(10 * time.Millisecond)
	}
	if problem != "" {
		t.Error(problem)
	}
}
