package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// stepFunc is an action that is a function.
type stepFunc func(r *run, a *answer) *failure

func (f stepFunc) make(r *run, a *answer) *failure { return f(r, a) }

func anyStep(t *testing.T) *flows.Step {
	return &flows.Step{ProbeStep: &v1alpha1.ProbeStep{}}
}

// bank knows one customer, by password, token and cookie.
func bank(t *testing.T, sessions *atomic.Int64) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var said struct{ User, Password string }
		json.NewDecoder(r.Body).Decode(&said)
		if said.Password != "hunter2hunter2" || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "wrong: "+said.Password, http.StatusUnauthorized)
			return
		}
		if _, err := r.Cookie("session"); err == nil {
			http.Error(w, "who left a cookie here?", http.StatusConflict)
			return
		}
		sessions.Add(1)
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "cookie-value-1", Path: "/"})
		fmt.Fprint(w, `{"token": "token-value-1", "account": 12345678901}`)
	})
	mux.HandleFunc("GET /accounts/{id}", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		if err != nil || cookie.Value != "cookie-value-1" || r.Header.Get("Authorization") != "Bearer token-value-1" || r.PathValue("id") != "12345678901" || r.URL.Query().Get("q") != "a b&c" {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"balance": 12.5}`)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		sessions.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

const banking = `
variables: [{name: password, valueFrom: {secretKeyRef: {name: customer, key: password}}}]
steps:
- name: login
  http:
    url: %[1]s/login
    body: {valueFrom: {expression: "toJSON({'user': 'eve', 'password': vars.password})"}}
  extract:
  - {name: token, expression: json.token, sensitive: true}
  - {name: account, expression: string(json.account)}
- name: account
  http:
    urlFrom: {expression: "'%[1]s/accounts/' + vars.account"}
    headers: [{name: Authorization, valueFrom: {expression: "'Bearer ' + vars.token"}}]
    query: [{name: q, value: a b&c}]
  assertions:
  - {expression: json.balance > %[2]s, message: there is too little}
- name: never
  http: {url: "%[1]s/nowhere", expectedStatuses: [404]}
- name: logout
  alwaysRun: true
  http: {url: %[1]s/logout, method: POST}
`

func TestFlow(t *testing.T) {
	var sessions atomic.Int64
	server := bank(t, &sessions)
	password := flows.Reference{Secret: true, Name: "customer", Key: "password"}
	for name, test := range map[string]struct {
		password, limit string
		reason          Reason
		failed          string
		made            string
		// open sessions that the flow leaves
		sessions int64
	}{
		"all is well":      {"hunter2hunter2", "10", "", "", "login account never logout", 0},
		"assertion fails":  {"hunter2hunter2", "100", ReasonAssertion, "account", "login account logout", 0},
		"login fails":      {"hunter3hunter3", "10", ReasonStatus, "login", "login logout", -1},
		"a mistyped value": {"hunter2hunter2", "json.missing", ReasonAssertion, "account", "login account logout", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sessions.Store(0)
			p := compile(t, Options{Guard: anywhere}, Values{password: test.password}, fmt.Sprintf(banking, server.URL, test.limit))
			for range 2 { // nothing is left from one visit to the next
				result := p.Run(t.Context())
				want := OutcomeSuccess
				if test.reason != "" {
					want = OutcomeFailure
				}
				var made []string
				for _, step := range result.Steps {
					if step.Made {
						made = append(made, step.Name)
					}
				}
				if result.Outcome != want || result.Reason != test.reason || result.FailedStep != test.failed || strings.Join(made, " ") != test.made {
					t.Errorf("%s %s in %q (%s), made %v", result.Outcome, result.Reason, result.FailedStep, result.Detail, made)
				}
				if told := fmt.Sprintf("%+v", result); strings.Contains(told, test.password) || strings.Contains(told, "token-value") {
					t.Errorf("tells a secret: %s", told)
				}
			}
			if sessions.Load() != 2*test.sessions {
				t.Errorf("%d sessions are left", sessions.Load())
			}
		})
	}
}

func TestMissingValue(t *testing.T) {
	_, err := tryCompile(t, Options{}, Values{}, fmt.Sprintf(banking, "http://bank.example", "1"))
	if err == nil || !strings.Contains(err.Error(), "key password of Secret customer cannot be read") || !strings.Contains(err.Error(), "--values-namespaces") {
		t.Error(err)
	}
}

// A clean-up step has time even if the visit had none left.
func TestAlwaysRunHasItsOwnTime(t *testing.T) {
	var sessions atomic.Int64
	server := bank(t, &sessions)
	p := compile(t, Options{Guard: anywhere}, nil, fmt.Sprintf(`
timeout: 200ms
steps:
- {name: hang, tcp: {address: %q, expect: hello}}
- {name: skipped, http: {url: %[2]s/nowhere}}
- {name: logout, alwaysRun: true, http: {url: %[2]s/logout, method: POST}}
`, rawServer(t, until), server.URL))
	result := p.Run(t.Context())
	if result.Reason != ReasonTimeout || result.FailedStep != "hang" || result.Steps[1].Made || result.Steps[2].Reason != "" || sessions.Load() != -1 {
		t.Errorf("%+v", result)
	}
}

func TestStepTimeout(t *testing.T) {
	p := compile(t, Options{Guard: anywhere}, nil, fmt.Sprintf(`
timeout: 1m
steps:
- {name: hang, timeout: 50ms, http: {url: "http://%s"}}
`, rawServer(t, until)))
	if result := p.Run(t.Context()); result.Reason != ReasonTimeout || result.Duration > 30*time.Second {
		t.Errorf("%+v", result)
	}
}

func TestRedirectPolicies(t *testing.T) {
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.Header.Get("X-Key") != "" || strings.Contains(string(body), "s3cret-value") {
			w.WriteHeader(http.StatusTeapot) // it got what is not its own
		}
	}))
	defer there.Close()
	here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/far":
			http.Redirect(w, r, there.URL, http.StatusTemporaryRedirect)
		case "/see":
			http.Redirect(w, r, "/end", http.StatusSeeOther)
		case "/end":
			fmt.Fprint(w, r.Method)
		}
	}))
	defer here.Close()
	key := flows.Reference{Secret: true, Name: "k", Key: "v"}
	for text, reason := range map[string]Reason{
		`{http: {url: "%s/near"}}`:                                                                                     "",
		`{http: {url: "%s/far"}}`:                                                                                      "",
		`{http: {url: "%s/near", redirects: SameHost}}`:                                                                "",
		`{http: {url: "%s/far", redirects: SameHost}}`:                                                                 ReasonRedirect,
		`{http: {url: "%s/far", redirects: Never}}`:                                                                    ReasonStatus,
		`{http: {url: "%s/far", redirects: Never, expectedStatuses: [307]}}`:                                           "",
		`{http: {url: "%s/far", headers: [{name: X-Key, valueFrom: {secretKeyRef: {name: k, key: v}}}]}}`:              "",
		`{http: {url: "%s/far", body: {valueFrom: {secretKeyRef: {name: k, key: v}}}}}`:                                ReasonRedirect,
		`{http: {url: "%s/near", body: {valueFrom: {secretKeyRef: {name: k, key: v}}}}}`:                               "",
		`{steps: [{name: a, http: {url: "%s/see", body: {value: x}}, assertions: [{expression: "body == 'GET'"}]}]}`:   "",
		`{steps: [{name: a, http: {url: "%s/near", body: {value: x}}, assertions: [{expression: "body == 'POST'"}]}]}`: "",
	} {
		result := compile(t, Options{Guard: anywhere}, Values{key: "s3cret-value"}, fmt.Sprintf(text, here.URL)).Run(t.Context())
		if result.Reason != reason {
			t.Errorf("%s: %s (%s)", text, result.Reason, result.Detail)
		}
	}
}

func TestPhases(t *testing.T) {
	server := quiet(httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(30 * time.Millisecond)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond)
	})))
	server.StartTLS()
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	resolver := nameServer(t, func() string { return "127.0.0.1" })
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	result := compile(t, Options{Guard: anywhere, RootCAs: trusted, Resolver: resolver}, nil, `{http: {url: "https://example.com:`+port+`"}}`).Run(t.Context())
	if result.Outcome != OutcomeSuccess {
		t.Fatalf("%+v", result)
	}
	phases := result.Steps[0].Phases
	var sum time.Duration
	for phase, took := range phases {
		if took <= 0 {
			t.Errorf("phase %s took %s", PhaseNames[phase], took)
		}
		sum += took
	}
	if phases[PhaseFirstByte] < 30*time.Millisecond || phases[PhaseTransfer] < 20*time.Millisecond || sum > result.Duration {
		t.Errorf("%v of %s", phases, result.Duration)
	}
}

// authority makes certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newCertificate(t *testing.T, by *authority, name string) (certificate, key string, self *authority) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true,
	}
	parent, signer := template, private
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, _ := x509.ParseCertificate(der)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(private)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), &authority{parsed, private}
}

// The other protocols, against real servers.
func TestProtocols(t *testing.T) {
	caText, _, ca := newCertificate(t, nil, "ca.example")
	serverText, serverKey, _ := newCertificate(t, ca, "shop.example")
	clientText, clientKey, _ := newCertificate(t, ca, "customer.example")
	own, err := tls.X509KeyPair([]byte(serverText), []byte(serverKey))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	config := &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}

	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	serve := func(options ...grpc.ServerOption) string {
		states := health.NewServer()
		states.SetServingStatus("open", healthpb.HealthCheckResponse_SERVING)
		states.SetServingStatus("closed", healthpb.HealthCheckResponse_NOT_SERVING)
		server := grpc.NewServer(options...)
		healthpb.RegisterHealthServer(server, states)
		l := listen()
		go server.Serve(l)
		t.Cleanup(server.Stop)
		return l.Addr().String()
	}
	plainGRPC, secureGRPC := serve(), serve(grpc.Creds(credentials.NewTLS(config)))
	web := quiet(httptest.NewUnstartedServer(shop()))
	web.TLS = config
	web.StartTLS()
	t.Cleanup(web.Close)
	https := web.Listener.Addr().String()
	smtp := rawServer(t, func(conn net.Conn) {
		io.WriteString(conn, "220 mail.exa")
		time.Sleep(10 * time.Millisecond)
		io.WriteString(conn, "mple ESMTP\r\n")
		until(conn)
	})
	names, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nameServer := &dns.Server{PacketConn: names, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		reply := new(dns.Msg).SetReply(question)
		switch name := question.Question[0].Name; name {
		case "shop.example.":
			if question.Question[0].Qtype == dns.TypeMX {
				record, _ := dns.NewRR("shop.example. 60 IN MX 10 mail.example.")
				reply.Answer = append(reply.Answer, record)
			}
		default:
			reply.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(reply)
	})}
	go nameServer.ActivateAndServe()
	t.Cleanup(func() { nameServer.Shutdown() })
	dnsAt := names.LocalAddr().String()

	values := Values{
		{Secret: false, Name: "ca", Key: "ca.crt"}:   caText,
		{Secret: true, Name: "me", Key: "tls.crt"}:   clientText,
		{Secret: true, Name: "me", Key: "tls.key"}:   clientKey,
		{Secret: false, Name: "ca", Key: "nonsense"}: "x",
	}
	const trust = `ca: {configMapKeyRef: {name: ca, key: ca.crt}}, serverName: shop.example`
	const me = trust + `, clientCertificateSecret: me`
	for step, reason := range map[string]Reason{
		`tcp: {address: "` + smtp + `"}`: "",
		`tcp: {address: "` + smtp + `", expect: example ESMTP}, assertions: [{expression: "body.startsWith('220')"}]`:                 "",
		`dns: {name: shop.example, type: MX, server: "` + dnsAt + `"}, assertions: [{expression: "answers == ['10 mail.example.']"}]`: "",
		`dns: {name: shop.example, type: A, server: "` + dnsAt + `"}`:                                                                 ReasonDNS,
		`dns: {name: bank.example, server: "` + dnsAt + `"}`:                                                                          ReasonDNS,
		`grpc: {address: "` + plainGRPC + `"}`:                                                                                        "",
		`grpc: {address: "` + plainGRPC + `", service: open}`:                                                                         "",
		`grpc: {address: "` + plainGRPC + `", service: closed}`:                                                                       ReasonStatus,
		`grpc: {address: "` + plainGRPC + `", service: unknown}`:                                                                      ReasonStatus,
		`grpc: {address: "` + plainGRPC + `", tls: {}}`:                                                                               ReasonTLS,
		`grpc: {address: "` + secureGRPC + `", tls: {` + me + `}}, assertions: [{expression: "tls.remaining > duration('47h') && tls.remaining < duration('49h')"}]`:               "",
		`grpc: {address: "` + secureGRPC + `", tls: {serverName: shop.example}}`:                                                                                                   ReasonTLS,
		`tls: {address: "` + https + `", ` + me + `}, assertions: [{expression: "tls.version == 'TLS 1.3' && tls.dnsNames == ['shop.example'] && tls.issuer == 'CN=ca.example'"}]`: "",
		`tls: {address: "` + https + `", ca: {configMapKeyRef: {name: ca, key: ca.crt}}}`:                                                                                          ReasonTLS,
		`http: {url: "https://` + https + `/ok", tls: {` + me + `}}`:                                                                                                               "",
		`http: {url: "https://` + https + `/ok", tls: {` + trust + `}}`:                                                                                                            ReasonTLS,
	} {
		t.Run(step, func(t *testing.T) {
			result := compile(t, Options{Guard: anywhere}, values, `{steps: [{name: a, `+step+`}]}`).Run(t.Context())
			if result.Reason != reason || (result.Outcome == OutcomeSuccess) != (reason == "") {
				t.Errorf("%s %s: %s", result.Outcome, result.Reason, result.Detail)
			}
		})
	}
	if _, err := tryCompile(t, Options{}, values, `{http: {url: "https://a", tls: {ca: {configMapKeyRef: {name: ca, key: nonsense}}}}}`); err == nil || !strings.Contains(err.Error(), "holds no certificate in PEM") {
		t.Error(err)
	}
}

func TestPing(t *testing.T) {
	result := compile(t, Options{Guard: anywhere}, nil, `{steps: [{name: a, icmp: {host: 127.0.0.1}}]}`).Run(t.Context())
	if result.Reason == ReasonConfig {
		if result.Outcome != OutcomeError {
			t.Errorf("what we may not do counts as the customer's: %+v", result)
		}
		t.Skip(result.Detail)
	}
	if result.Outcome != OutcomeSuccess || result.Steps[0].Phases[PhaseFirstByte] <= 0 {
		t.Errorf("%+v", result)
	}
}
