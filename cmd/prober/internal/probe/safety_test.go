package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// bomb is 64 MiB of zeros in 64 KiB of gzip.
func bomb() []byte {
	var packed bytes.Buffer
	writer, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	block := make([]byte, 1<<20)
	for range 1 << 6 {
		writer.Write(block)
	}
	writer.Close()
	return packed.Bytes()
}

// Whatever a server does to us, the visit ends in time, is no success, and leaves
// neither goroutine nor connection.
func TestNastyServers(t *testing.T) {
	packed := bomb()
	mux := http.NewServeMux()
	mux.Handle("/", shop())
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed)
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		for i := range 10_000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), "v")
		}
	})
	plain := quiet(httptest.NewUnstartedServer(mux))
	plain.Start()
	defer plain.Close()
	slowHead := rawServer(t, func(conn net.Conn) {
		for _, letter := range "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + strings.Repeat("x", 1000) {
			if _, err := io.WriteString(conn, string(letter)); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	reset := rawServer(t, func(conn net.Conn) {
		conn.Read(make([]byte, 10))
		conn.(*net.TCPConn).SetLinger(0)
	})
	halfTLS := rawServer(t, func(conn net.Conn) {
		conn.Read(make([]byte, 1000))
		conn.Write([]byte{22, 3, 3, 0, 200, 2, 0, 0, 196}) // a server hello that never comes
		until(conn)
	})
	silent := rawServer(t, until)
	deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()

	const steps = `{timeout: 400ms, steps: [%s]}`
	for name, test := range map[string]struct {
		probe  string
		reason Reason
	}{
		"slow loris":          {fmt.Sprintf(`{timeout: 400ms, http: {url: "http://%s"}}`, slowHead), ReasonTimeout},
		"slow body":           {fmt.Sprintf(`{timeout: 400ms, http: {url: "%s/dribble"}}`, plain.URL), ReasonTimeout},
		"endless body":        {fmt.Sprintf(`{http: {url: "%s/endless"}}`, plain.URL), ReasonBody},
		"the same, kept":      {fmt.Sprintf(`{steps: [{name: a, http: {url: "%s/endless"}, assertions: [{expression: "body != ''"}]}]}`, plain.URL), ReasonBody},
		"endless redirects":   {fmt.Sprintf(`{http: {url: "%s/loop"}}`, plain.URL), ReasonRedirect},
		"connection reset":    {fmt.Sprintf(`{http: {url: "http://%s"}}`, reset), ReasonConnect},
		"half-open TLS":       {fmt.Sprintf(`{timeout: 400ms, http: {url: "https://%s"}}`, halfTLS), ReasonTimeout},
		"10,000 headers":      {fmt.Sprintf(`{http: {url: "%s/headers"}}`, plain.URL), ReasonStatus},
		"gzip bomb":           {fmt.Sprintf(`{http: {url: "%s/bomb"}}`, plain.URL), ReasonBody},
		"the same, looked at": {fmt.Sprintf(`{steps: [{name: a, http: {url: "%s/bomb"}, assertions: [{expression: "body != ''"}]}]}`, plain.URL), ReasonBody},
		"silent TCP":          {fmt.Sprintf(steps, fmt.Sprintf(`{name: a, tcp: {address: "%s", expect: hello}}`, silent)), ReasonTimeout},
		"silent TLS":          {fmt.Sprintf(steps, fmt.Sprintf(`{name: a, tls: {address: "%s"}}`, silent)), ReasonTimeout},
		"silent gRPC":         {fmt.Sprintf(steps, fmt.Sprintf(`{name: a, grpc: {address: "%s"}}`, silent)), ReasonTimeout},
		"silent gRPC, TLS":    {fmt.Sprintf(steps, fmt.Sprintf(`{name: a, grpc: {address: "%s", tls: {}}}`, silent)), ReasonTimeout},
		"gRPC that resets":    {fmt.Sprintf(`{steps: [{name: a, grpc: {address: "%s"}}]}`, reset), ReasonConnect},
		"silent name server":  {fmt.Sprintf(steps, fmt.Sprintf(`{name: a, dns: {name: a.example, server: %q}}`, deaf.LocalAddr())), ReasonTimeout},
		"no name server":      {fmt.Sprintf(steps, `{name: a, dns: {name: a.example, server: "127.0.0.1:9"}}`), ReasonDNS},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			p := compile(t, Options{Guard: anywhere}, nil, test.probe)
			var memory, after runtime.MemStats
			runtime.ReadMemStats(&memory)
			begin := time.Now()
			result := p.Run(t.Context())
			runtime.ReadMemStats(&after)
			// The server's part included; the bomb is 64 MiB, and a buffer that holds it
			// has grown through as much again.
			if took := after.TotalAlloc - memory.TotalAlloc; took > 64<<20 {
				t.Errorf("took %d MiB", took>>20)
			}
			if result.Outcome != OutcomeFailure || result.Reason != test.reason {
				t.Errorf("%s %s (%s), want a failure by %s", result.Outcome, result.Reason, result.Detail, test.reason)
			}
			// Not how fast, but that it ends by itself.
			if took := time.Since(begin); took > p.timeout+cleaning+5*time.Second {
				t.Errorf("took %s", took)
			}
			plain.CloseClientConnections()
			goleak.VerifyNone(t, before)
		})
	}
}

// nameServer answers every question for an address by what a function says.
func nameServer(t *testing.T, address func() string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg).SetReply(question)
		if question.Question[0].Qtype == dns.TypeA {
			record, _ := dns.NewRR(question.Question[0].Name + " 0 IN A " + address())
			reply.Answer = append(reply.Answer, record)
		}
		w.WriteMsg(reply)
	})}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, conn.LocalAddr().String())
	}}
}

// A name that is harmless when somebody looks at it, and this machine when we come.
func TestNamesThatChangeTheirMind(t *testing.T) {
	server := httptest.NewServer(shop())
	defer server.Close()
	port := server.Listener.Addr().(*net.TCPAddr).Port
	var questions atomic.Int64
	resolver := nameServer(t, func() string {
		if questions.Add(1) == 1 {
			return "192.0.2.1"
		}
		return "127.0.0.1"
	})
	if addresses, err := resolver.LookupHost(t.Context(), "shop.example"); err != nil || addresses[0] != "192.0.2.1" {
		t.Fatal(addresses, err)
	}
	for _, step := range []string{
		`http: {url: "http://shop.example:%d/ok"}`, `tcp: {address: "shop.example:%d"}`, `tls: {address: "shop.example:%d"}`,
		`grpc: {address: "shop.example:%d"}`, `icmp: {host: shop.example}`,
	} {
		if strings.Contains(step, "%d") {
			step = fmt.Sprintf(step, port)
		}
		result := compile(t, Options{Resolver: resolver}, nil, `{steps: [{name: a, `+step+`}]}`).Run(t.Context())
		if result.Outcome != OutcomeFailure || result.Reason != ReasonDenied {
			t.Errorf("%s: %+v", step, result)
		}
	}
}

func TestGuard(t *testing.T) {
	guard := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, Deny: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for address, denied := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true, "0.0.0.0": true, "0.1.2.3": true, "::": true,
		"169.254.169.254": true, "::ffff:169.254.169.254": true, "fe80::1": true, "fe80::1%eth0": true, "224.0.0.1": true, "ff02::1": true,
		"fd00:ec2::254": true, "100.100.100.200": true, "168.63.129.16": true, "fd20:ce::254": true,
		"64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "2002:7f00:1::": true, "64:ff9b::808:808": false,
		"10.2.0.1": true, "10.1.0.1": false, "::ffff:10.1.0.1": false, "192.0.2.1": false, "2001:db8::1": false, "192.168.0.1": false,
	} {
		if err := guard.Check(netip.MustParseAddr(address)); (err != nil) != denied {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestRedirectToThisMachineIsDenied(t *testing.T) {
	inside := httptest.NewServer(shop())
	defer inside.Close()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	outside := httptest.NewUnstartedServer(shop())
	outside.Listener.Close()
	outside.Listener = listener
	outside.Start()
	defer outside.Close()
	// Only ::1 is allowed, as somebody's server on the internet would be.
	options := Options{Guard: Guard{Allow: []netip.Prefix{netip.MustParsePrefix("::1/128")}}}
	if result := compile(t, options, nil, `{http: {url: "`+outside.URL+`/ok"}}`).Run(t.Context()); result.Outcome != OutcomeSuccess {
		t.Fatalf("IPv6: %+v", result)
	}
	for _, to := range []string{inside.URL + "/ok", "http://0.0.0.0:1/", "http://[::ffff:127.0.0.1]:1/", "http://169.254.169.254/latest/meta-data/"} {
		result := compile(t, options, nil, `{http: {url: "`+outside.URL+"/to?u="+url.QueryEscape(to)+`"}}`).Run(t.Context())
		if result.Outcome != OutcomeFailure || result.Reason != ReasonDenied {
			t.Errorf("%s: %+v", to, result)
		}
	}
}

// proxied marks a process of this test that has proxy variables from its start: they are
// read once.
const proxied = "SOJOURN_TEST_PROXIED"

func TestProxyVariablesAreIgnored(t *testing.T) {
	if os.Getenv(proxied) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestProxyVariablesAreIgnored$")
		command.Env = append(os.Environ(), proxied+"=1", "NO_PROXY=", "no_proxy=")
		for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "GRPC_PROXY"} {
			command.Env = append(command.Env, name+"=http://127.0.0.1:1")
		}
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		return
	}
	plain, secure := httptest.NewServer(shop()), quiet(httptest.NewUnstartedServer(shop()))
	defer plain.Close()
	secure.StartTLS()
	defer secure.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	states := grpc.NewServer()
	healthpb.RegisterHealthServer(states, health.NewServer())
	go states.Serve(listener)
	defer states.Stop()
	// Addresses of loopback would never go through a proxy, whatever the variables say.
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	options := Options{Guard: anywhere, RootCAs: trusted, Resolver: nameServer(t, func() string { return "127.0.0.1" })}
	for _, step := range []string{
		fmt.Sprintf(`http: {url: "http://example.com:%d/ok"}`, port(plain.Listener)),
		fmt.Sprintf(`http: {url: "https://example.com:%d/ok"}`, port(secure.Listener)),
		fmt.Sprintf(`grpc: {address: "example.com:%d"}`, port(listener)),
		fmt.Sprintf(`tcp: {address: "example.com:%d"}`, port(plain.Listener)),
	} {
		if result := compile(t, options, nil, `{steps: [{name: a, `+step+`}]}`).Run(t.Context()); result.Outcome != OutcomeSuccess {
			t.Errorf("%s: %+v", step, result)
		}
	}
	asked := &http.Request{URL: &url.URL{Scheme: "http", Host: "example.com"}}
	if proxy, err := http.ProxyFromEnvironment(asked); err != nil || proxy == nil {
		t.Errorf("the variables have no effect on anybody: %v, %v", proxy, err)
	}
}

// A visit that ends after its time, because the machine was suspended or had no CPU
// for us, is no success, even if everything answered. Jumps of the wall clock change
// nothing: Go's times carry the monotonic one.
func TestTimeThatPassesUnnoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Probe{timeout: time.Second, client: NewClient(Options{})}
		asleep := stepFunc(func(r *run, a *answer) *failure {
			time.Sleep(3 * time.Hour)
			return nil
		})
		p.steps = []step{{Step: anyStep(t), name: "asleep", action: asleep}}
		result := p.Run(t.Context())
		if result.Reason != ReasonTimeout || result.Duration != 3*time.Hour {
			t.Errorf("a visit of hours is no timeout: %+v", result)
		}
	})
}

// Secrets that a server sends back, in whatever form, stay secrets.
func TestRedact(t *testing.T) {
	const secret = `p@ss "word"/ü`
	for _, form := range []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), `p@ss \"word\"/ü`, "cEBzcyAid29yZCIvw7w=", "cEBzcyAid29yZCIvw7w",
	} {
		if got := redact("it said "+form+".", []string{"", "other", secret}); got != "it said [redacted]." {
			t.Errorf("%s becomes %s", form, got)
		}
	}
	if got := redact(strings.Repeat("ü", 1000), nil); len(got) > maxDetail+4 || !strings.HasSuffix(got, "ü…") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-6:])
	}
	if got := redact("abcd", []string{"bc", "abc"}); got != "[redacted]d" {
		t.Error(got)
	}
}

func TestUnverifiedTLSNeedsPermission(t *testing.T) {
	server := quiet(httptest.NewUnstartedServer(shop()))
	server.StartTLS()
	defer server.Close()
	text := `{http: {url: "` + server.URL + `/ok", tls: {verification: None}}}`
	if _, err := tryCompile(t, Options{Guard: anywhere}, nil, text); err == nil || !strings.Contains(err.Error(), "--allow-unverified-tls") {
		t.Errorf("without permission: %v", err)
	}
	result := compile(t, Options{Guard: anywhere, AllowUnverifiedTLS: true}, nil, text).Run(t.Context())
	if result.Outcome != OutcomeSuccess || result.Steps[0].CertificateExpiry != server.Certificate().NotAfter {
		t.Errorf("with it: %+v", result)
	}
	// An expired certificate would be told as well.
	refused := compile(t, Options{Guard: anywhere, RootCAs: x509.NewCertPool()}, nil, `{http: {url: "`+server.URL+`/ok"}}`).Run(t.Context())
	if refused.Reason != ReasonTLS || refused.Steps[0].CertificateExpiry.IsZero() {
		t.Errorf("an unknown authority: %+v", refused)
	}
}
