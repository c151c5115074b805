package probe

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"time"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// tcpAction opens a connection, and talks a little where it is told to.
type tcpAction struct{ *v1alpha1.TCPProbe }

func (t *tcpAction) make(r *run, a *answer) *failure {
	conn, failed := r.dial("tcp", string(t.Address), a)
	if failed != nil {
		return failed
	}
	defer r.attend(conn)()
	begin := time.Now()
	if t.Send != "" {
		if _, err := io.WriteString(conn, t.Send); err != nil {
			return &failure{ReasonConnect, err}
		}
	}
	if t.Expect == "" {
		return nil
	}
	block := make([]byte, 4<<10)
	for len(a.body) <= maxBody {
		n, err := conn.Read(block)
		if a.body == nil && n > 0 {
			a.phases[PhaseFirstByte] = time.Since(begin)
			begin = time.Now()
		}
		// The text may begin in one packet and end in the next.
		seen := max(0, len(a.body)-len(t.Expect))
		a.body = append(a.body, block[:n]...)
		a.phases[PhaseTransfer] = time.Since(begin)
		if bytes.Contains(a.body[seen:], []byte(t.Expect)) {
			return nil
		}
		if err != nil {
			return failf(ReasonBody, "%d bytes came, and what is expected was not among them: %w", len(a.body), err)
		}
	}
	return failf(ReasonBody, "what is expected is not in the first %d bytes", maxBody)
}

// attend has a connection end with the visit. What it returns closes it.
func (r *run) attend(conn net.Conn) func() {
	release := context.AfterFunc(r.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		release()
		conn.Close()
	}
}

// tlsAction makes a TLS handshake.
type tlsAction struct {
	address string
	tls     security
}

func (t *tlsAction) make(r *run, a *answer) *failure {
	conn, failed := r.dial("tcp", t.address, a)
	if failed != nil {
		return failed
	}
	defer r.attend(conn)()
	secure, failed := handshake(conn, t.tls.config(hostOf(t.address)), a)
	if failed != nil {
		return failed
	}
	// With TLS 1.3 a server refuses our certificate only after our handshake is done;
	// whoever keeps silent has not refused it.
	if len(t.tls.own) > 0 {
		secure.SetReadDeadline(earlier(r.deadline, time.Now().Add(refusalTime)))
		if _, err := secure.Read(make([]byte, 1)); err != nil && strings.Contains(err.Error(), "remote error: tls") {
			return &failure{ReasonTLS, err}
		}
	}
	return nil
}

// refusalTime is how long a server has to refuse a certificate of ours.
const refusalTime = 100 * time.Millisecond

// hostOf cuts the port off an address.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
