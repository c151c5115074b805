// Package probe visits an address once, as a customer does who comes for the
// first time: with a new connection, no cookies and nothing remembered. It knows
// neither Kubernetes nor schedules.
package probe

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Outcome is what a visit came to.
type Outcome string

// Outcomes.
const (
	// OutcomeSuccess means that the customer got what was expected.
	OutcomeSuccess Outcome = "success"
	// OutcomeFailure means that the customer did not.
	OutcomeFailure Outcome = "failure"
	// OutcomeError means that we could not visit at all; it says nothing about
	// what customers feel.
	OutcomeError Outcome = "error"
)

// Outcomes lists every outcome.
var Outcomes = []Outcome{OutcomeSuccess, OutcomeFailure, OutcomeError}

// Reason says, in one word of a closed set, why a visit did not succeed.
type Reason string

// Reasons of failures.
const (
	// ReasonDNS means that the host has no address.
	ReasonDNS Reason = "dns"
	// ReasonConnect means that no connection came about, or that it broke before
	// an answer arrived.
	ReasonConnect Reason = "connect"
	// ReasonTLS means that the handshake failed or the certificate is not valid.
	ReasonTLS Reason = "tls"
	// ReasonTimeout means that the visit was not over in time, in whichever phase.
	ReasonTimeout Reason = "timeout"
	// ReasonStatus means that the answer's status was not an expected one, or that
	// the answer was not HTTP.
	ReasonStatus Reason = "status"
	// ReasonRedirect means a loop of redirects, or one that leads nowhere.
	ReasonRedirect Reason = "redirect"
	// ReasonBody means that the answer's body broke off or exceeded the limit.
	ReasonBody Reason = "body"
)

// Reasons of errors.
const (
	// ReasonConfig means that the configuration cannot work.
	ReasonConfig Reason = "config"
	// ReasonOverload means that the prober had no free slot for a whole interval.
	ReasonOverload Reason = "overload"
)

// Result is what one visit came to.
type Result struct {
	// Outcome is empty if the visit was called off: it counts for nothing.
	Outcome Outcome
	// Reason is empty for a success.
	Reason Reason
	// Detail is for people only: it may hold addresses and texts of the other side.
	Detail string
	// Duration is the time from the start to the last byte of the body.
	Duration time.Duration
}

// Header is one header of a request.
type Header struct{ Name, Value string }

// Spec says what to ask and what to expect.
type Spec struct {
	// URL is an absolute http or https address.
	URL string
	// Method is GET or HEAD; empty means GET.
	Method string
	// Headers are sent as they are. Host sets the request's host, and the name that
	// TLS asks for and verifies, as customers of that host would see it.
	Headers []Header
	// ExpectedStatuses are the codes that count as success; none means 200 to 299.
	ExpectedStatuses []int32
	// Timeout covers everything from the look-up of the host's address to the last
	// byte of the body.
	Timeout time.Duration
}

// Client holds what all probes share. It keeps no state from one visit to the
// next.
type Client struct {
	userAgent string
	roots     *x509.CertPool
	dialer    net.Dialer
}

// Options shapes a Client.
type Options struct {
	// UserAgent introduces the prober to the other side.
	UserAgent string
	// RootCAs are trusted authorities; nil means the system's.
	RootCAs *x509.CertPool
}

// NewClient returns a client.
func NewClient(options Options) *Client {
	return &Client{
		userAgent: cmp.Or(options.UserAgent, "sojourn-prober"),
		roots:     options.RootCAs,
		dialer: net.Dialer{
			// Go's own resolver obeys the deadline. The C library's would hold a
			// thread for as long as a silent name server pleases.
			Resolver: &net.Resolver{PreferGo: true},
			// No visit lives long enough for keep-alive packets.
			KeepAlive: -1,
		},
	}
}

// Probe is a checked Spec, ready to run as often as wanted.
type Probe struct {
	client   *Client
	target   *url.URL
	method   string
	host     string
	header   http.Header
	expected []int32
	timeout  time.Duration
}

// New checks a spec. An error means that it cannot work, whatever the other side
// answers.
func (c *Client) New(spec Spec) (*Probe, error) {
	target, err := url.Parse(spec.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if err := checkTarget(target); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	p := &Probe{
		client: c, target: target, timeout: spec.Timeout, expected: spec.ExpectedStatuses,
		method: cmp.Or(spec.Method, http.MethodGet),
		header: http.Header{"User-Agent": {c.userAgent}, "Accept": {"*/*"}},
	}
	if p.method != http.MethodGet && p.method != http.MethodHead {
		return nil, fmt.Errorf("method %q is neither GET nor HEAD", p.method)
	}
	if p.timeout <= 0 {
		return nil, fmt.Errorf("timeout %s is not positive", p.timeout)
	}
	// The first of a name replaces our own default, each further one is added.
	given := http.Header{}
	for _, header := range spec.Headers {
		if !httpguts.ValidHeaderFieldName(header.Name) {
			return nil, fmt.Errorf("header name %q is not valid", header.Name)
		}
		// The value is not repeated: it may be somebody's token after all.
		if !httpguts.ValidHeaderFieldValue(header.Value) {
			return nil, fmt.Errorf("the value of header %s is not valid", header.Name)
		}
		given.Add(header.Name, header.Value)
	}
	for name, values := range given {
		p.header[name] = values
	}
	p.host = p.header.Get("Host")
	p.header.Del("Host")
	if !httpguts.ValidHostHeader(p.host) {
		return nil, errors.New("the value of header Host is not valid")
	}
	return p, nil
}

// checkTarget says whether an address can be visited.
func checkTarget(target *url.URL) error {
	switch {
	case target.Scheme != "http" && target.Scheme != "https":
		return fmt.Errorf("scheme %q is neither http nor https", target.Scheme)
	case target.Hostname() == "":
		return errors.New("there is no host")
	}
	if port := target.Port(); port != "" {
		if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return fmt.Errorf("port %s is not between 1 and 65535", port)
		}
	}
	if _, err := httpguts.PunycodeHostPort(target.Host); err != nil {
		return fmt.Errorf("host %q: %w", target.Host, err)
	}
	return nil
}
