// Package probe visits a touchpoint once, as a customer does who comes for the first
// time: with new connections, no cookies and nothing remembered. It knows neither an
// API server nor schedules.
package probe

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/sojourn-dev/sojourn/controllers/flows"
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
	// ReasonDNS means that the host has no address, or a name server no answer.
	ReasonDNS Reason = "dns"
	// ReasonConnect means that no connection came about, or that it broke before
	// an answer arrived.
	ReasonConnect Reason = "connect"
	// ReasonTLS means that the handshake failed or the certificate is not valid.
	ReasonTLS Reason = "tls"
	// ReasonTimeout means that the visit was not over in time, in whichever phase.
	ReasonTimeout Reason = "timeout"
	// ReasonStatus means that the answer's status was not an expected one, or that
	// the answer was not of the protocol.
	ReasonStatus Reason = "status"
	// ReasonRedirect means a loop of redirects, or one that leads nowhere.
	ReasonRedirect Reason = "redirect"
	// ReasonBody means that the answer's body broke off, exceeded the limit, or was
	// not what expressions take it for.
	ReasonBody Reason = "body"
	// ReasonAssertion means that the answer was not as an assertion wants it, or
	// lacked what was to be extracted.
	ReasonAssertion Reason = "assertion"
	// ReasonDenied means that the prober may not connect to the address.
	ReasonDenied Reason = "denied"
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
	// Detail is for people only: it may hold addresses and texts of the other side,
	// but no secrets.
	Detail string
	// FailedStep is the name of the first step that did not succeed.
	FailedStep string
	// Start is when the visit began.
	Start time.Time
	// Duration is the time from the start to the last byte of the last step.
	Duration time.Duration
	// Steps are in the order of the flow.
	Steps []StepResult
}

// StepResult is what one step came to.
type StepResult struct {
	// Name of the step.
	Name string
	// Made is false for a step that was left out.
	Made bool
	// Reason and Detail are empty for a success.
	Reason Reason
	Detail string
	// Status is that of the protocol, if it has one.
	Status int
	// Duration is the time from the start to the last byte.
	Duration time.Duration
	// Phases is where that time was spent.
	Phases Phases
	// CertificateExpiry is when the first certificate of the other side's chain ends;
	// zero if it showed none.
	CertificateExpiry time.Time
}

// Phase is a part of a step.
type Phase int

// Phases.
const (
	PhaseDNS Phase = iota
	PhaseConnect
	PhaseTLS
	PhaseFirstByte
	PhaseTransfer
	phaseCount
)

// PhaseNames are the names of phases.
var PhaseNames = [phaseCount]string{"dns", "connect", "tls", "first_byte", "transfer"}

// Phases are how long each phase took, all requests of a step together; 0: it did
// not occur.
type Phases [phaseCount]time.Duration

// Client holds what all probes share. It keeps no state from one visit to the
// next.
type Client struct {
	Options
	dialer net.Dialer
	// header is what every request has that is not told otherwise. It is only read.
	header http.Header
}

// Options shapes a Client.
type Options struct {
	// UserAgent introduces the prober to the other side.
	UserAgent string
	// RootCAs are trusted authorities; nil means the system's.
	RootCAs *x509.CertPool
	// Guard says where connections may lead.
	Guard Guard
	// AllowUnverifiedTLS lets probes ask for TLS without verification.
	AllowUnverifiedTLS bool
	// Resolver looks names up; nil means the system's name servers.
	Resolver *net.Resolver
}

// NewClient returns a client.
func NewClient(options Options) *Client {
	options.UserAgent = cmp.Or(options.UserAgent, "sojourn-prober")
	if options.Resolver == nil {
		// Go's own resolver obeys the deadline. The C library's would hold a thread
		// for as long as a silent name server pleases.
		options.Resolver = &net.Resolver{PreferGo: true}
	}
	return &Client{
		Options: options,
		// No visit lives long enough for keep-alive packets.
		dialer: net.Dialer{Resolver: options.Resolver, KeepAlive: -1},
		header: http.Header{"User-Agent": {options.UserAgent}, "Accept": {"*/*"}},
	}
}

// Values are what Secrets and ConfigMaps hold.
type Values map[flows.Reference]string

// Probe is a flow, ready to run as often as wanted.
type Probe struct {
	client  *Client
	timeout time.Duration
	// variables are those of the probe that are computed in each run, and constants
	// the others.
	variables []flows.Variable
	constants map[string]any
	values    Values
	steps     []step
	secrets   []string
}

// step is one step, ready to be made.
type step struct {
	*flows.Step
	name    string
	timeout time.Duration // 0: no other than the probe's
	action  action
	hidden  bool // nothing of what happens may be told
}

// action makes one kind of step.
type action interface {
	make(r *run, a *answer) *failure
}

// New makes a flow ready. Timeout covers all its steps, each from the look-up of the
// host's address to the last byte. An error means that it cannot work, whatever the
// other side answers.
func (c *Client) New(flow *flows.Flow, values Values, timeout time.Duration) (*Probe, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("timeout %s is not positive", timeout)
	}
	p := &Probe{client: c, timeout: timeout, values: values}
	for _, reference := range flow.References {
		value, has := values[reference]
		if !has {
			return nil, missing(reference)
		}
		if reference.Secret {
			p.secrets = append(p.secrets, value)
		}
	}
	slices.Sort(p.secrets)
	p.secrets = slices.Compact(p.secrets)
	for _, variable := range flow.Variables {
		if variable.Value.Expression != nil {
			p.variables = append(p.variables, variable)
			continue
		}
		if p.constants == nil {
			p.constants = map[string]any{}
		}
		p.constants[variable.Name] = constant(variable.Value, values)
	}
	for i := range flow.Steps {
		made, err := c.newStep(&flow.Steps[i], values)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", flow.Steps[i].Name, err)
		}
		p.steps = append(p.steps, made)
	}
	return p, nil
}

func missing(reference flows.Reference) error {
	return fmt.Errorf("%s cannot be read: it must exist in the touchpoint's namespace with the label %s=true, and the namespace must be one of the prober's --values-namespaces",
		reference, flows.ProbeLabel)
}

// constant is the text of a value that is no expression.
func constant(value flows.Value, values Values) string {
	if value.Reference != nil {
		return values[*value.Reference]
	}
	return value.Literal
}

func (c *Client) newStep(from *flows.Step, values Values) (step, error) {
	s := step{Step: from, name: string(from.Name), hidden: from.URL.Sensitive()}
	if from.Timeout != "" {
		var err error
		if s.timeout, err = from.Timeout.Value(); err != nil {
			return s, fmt.Errorf("timeout: %w", err)
		}
		if s.timeout <= 0 {
			return s, fmt.Errorf("timeout %s is not positive", s.timeout)
		}
	}
	secure, err := c.newTLS(from, values)
	if err != nil {
		return s, err
	}
	switch {
	case from.HTTP != nil:
		s.action, err = c.newHTTP(from, values, secure)
	case from.TCP != nil:
		s.action = &tcpAction{TCPProbe: from.TCP}
	case from.ProbeStep.TLS != nil:
		s.action = &tlsAction{address: string(from.ProbeStep.TLS.Address), tls: secure}
	case from.GRPC != nil:
		s.action = &grpcAction{GRPCProbe: from.GRPC, tls: secure}
	case from.DNS != nil:
		s.action, err = newDNS(from.DNS)
	case from.ICMP != nil:
		s.action = &icmpAction{host: string(from.ICMP.Host)}
	default:
		err = errors.New("it does not say what to do")
	}
	return s, err
}
