package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/flows"
)

// dial connects to a host and port, if the guard lets it.
func (r *run) dial(network, address string, a *answer) (net.Conn, *failure) {
	client := r.probe.client
	return dial(r.ctx, client.dialer, &client.Guard, r.deadline, network, address, &a.phases)
}

// dial connects to a host and port, if the guard lets it, and adds the time it took
// to the phases.
func dial(ctx context.Context, dialer net.Dialer, guard *Guard, deadline time.Time, network, address string, phases *Phases) (net.Conn, *failure) {
	begin := time.Now()
	var resolved atomic.Int64
	dialer.Deadline = deadline
	dialer.Control = func(_, address string, _ syscall.RawConn) error {
		resolved.CompareAndSwap(0, int64(time.Since(begin)))
		return guard.checkDialed(address)
	}
	conn, err := dialer.DialContext(ctx, network, address)
	total := time.Since(begin)
	if found := time.Duration(resolved.Load()); found > 0 {
		if host, _, _ := net.SplitHostPort(address); net.ParseIP(host) == nil {
			phases[PhaseDNS] += found
			total -= found
		}
		phases[PhaseConnect] += total
	} else {
		phases[PhaseDNS] += total
	}
	if err != nil {
		return nil, dialFailure(err)
	}
	// From here on the deadline lies with the connection itself, so that no phase,
	// present or future, can forget it.
	conn.SetDeadline(deadline)
	return conn, nil
}

func dialFailure(err error) *failure {
	denied, lookup := (*deniedError)(nil), (*net.DNSError)(nil)
	switch {
	case errors.As(err, &denied):
		return &failure{ReasonDenied, denied}
	case errors.As(err, &lookup):
		return &failure{ReasonDNS, err}
	}
	return &failure{ReasonConnect, err}
}

// security is what a step says about TLS.
type security struct {
	roots      *x509.CertPool // nil: the system's
	serverName string         // empty: the host
	own        []tls.Certificate
	unverified bool
}

func (c *Client) newTLS(s *flows.Step, values Values) (security, error) {
	secure := security{roots: c.RootCAs}
	if s.TLS == nil {
		return secure, nil
	}
	secure.serverName = string(s.TLS.ServerName)
	if secure.unverified = s.TLS.Verification == v1alpha1.VerificationNone; secure.unverified && !c.AllowUnverifiedTLS {
		return secure, errors.New("tls: verification None is not permitted here: give the authority in tls.ca, or have the prober run with --allow-unverified-tls")
	}
	if s.CA != nil {
		secure.roots = x509.NewCertPool()
		if !secure.roots.AppendCertsFromPEM([]byte(values[*s.CA])) {
			return secure, fmt.Errorf("tls: %s holds no certificate in PEM", s.CA)
		}
	}
	if s.Certificate != nil {
		own, err := tls.X509KeyPair([]byte(values[*s.Certificate]), []byte(values[*s.Key]))
		if err != nil {
			// The cause may quote what it read.
			return secure, fmt.Errorf("tls: Secret %s holds no certificate with its key in PEM", s.Certificate.Name)
		}
		secure.own = []tls.Certificate{own}
	}
	return secure, nil
}

// config is what the handshake with a host needs.
func (s *security) config(host string, protocols ...string) *tls.Config {
	config := &tls.Config{
		RootCAs: s.roots, ServerName: host, NextProtos: protocols,
		Certificates: s.own, InsecureSkipVerify: s.unverified,
		// Without the post-quantum exchange that Go offers first: it is a quarter of
		// what a visit costs. A server that insists on it would be told as a failure.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
	if s.serverName != "" {
		config.ServerName = s.serverName
	}
	return config
}

// strange is what of it holds for another host than the one it was written for:
// whom to trust, but not as whom to come.
func (s *security) strange() *security { return &security{roots: s.roots} }

// handshake makes a connection a TLS one.
func handshake(conn net.Conn, config *tls.Config, a *answer) (*tls.Conn, *failure) {
	begin := time.Now()
	secure := tls.Client(conn, config)
	err := secure.Handshake()
	a.phases[PhaseTLS] += time.Since(begin)
	return secure, a.shook(secure.ConnectionState(), err)
}

// shook takes from a handshake what it told.
func (a *answer) shook(state tls.ConnectionState, err error) *failure {
	shown := state.PeerCertificates
	// A certificate that has expired is where its expiry is most wanted.
	if refused := (*tls.CertificateVerificationError)(nil); errors.As(err, &refused) {
		shown = refused.UnverifiedCertificates
	}
	for _, certificate := range shown {
		if a.expiry.IsZero() || certificate.NotAfter.Before(a.expiry) {
			a.expiry = certificate.NotAfter
		}
	}
	if err != nil {
		return &failure{ReasonTLS, err}
	}
	a.tls = &state
	return nil
}
