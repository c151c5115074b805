package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
)

// grpcAction asks the gRPC health service.
type grpcAction struct {
	*v1alpha1.GRPCProbe
	tls security
}

// grpcLine is what gRPC's own goroutines find out about the connection.
type grpcLine struct {
	credentials.TransportCredentials
	client   *Client
	deadline time.Time

	mu     sync.Mutex
	answer answer
	failed *failure
}

func (g *grpcAction) make(r *run, a *answer) *failure {
	ctx, cancel := context.WithDeadline(r.ctx, r.deadline)
	defer cancel()
	line := &grpcLine{client: r.probe.client, deadline: r.deadline, TransportCredentials: insecure.NewCredentials()}
	if g.TLS != nil {
		line.TransportCredentials = credentials.NewTLS(g.tls.config(hostOf(string(g.Address)), "h2"))
	}
	// "passthrough" leaves the look-up of the name to our dialer, and with it to the
	// guard.
	conn, err := grpc.NewClient("passthrough:///"+string(g.Address),
		grpc.WithTransportCredentials(line), grpc.WithContextDialer(line.dial), grpc.WithNoProxy(),
		grpc.WithUserAgent(r.probe.client.UserAgent), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHead), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxBody)))
	if err != nil {
		return &failure{ReasonConfig, err}
	}
	begin := time.Now()
	reply, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: g.Service})
	total := time.Since(begin)
	conn.Close()
	line.mu.Lock()
	defer line.mu.Unlock()
	a.phases, a.tls, a.expiry = line.answer.phases, line.answer.tls, line.answer.expiry
	if rest := total - a.phases[PhaseDNS] - a.phases[PhaseConnect] - a.phases[PhaseTLS]; rest > 0 {
		a.phases[PhaseFirstByte] = rest
	}
	if err == nil {
		a.status = int(reply.Status)
		if reply.Status != healthpb.HealthCheckResponse_SERVING {
			return failf(ReasonStatus, "the service is %s", reply.Status)
		}
		return nil
	}
	if line.failed != nil {
		return line.failed
	}
	switch code := status.Code(err); code {
	case codes.DeadlineExceeded, codes.Canceled:
		return failf(ReasonTimeout, "no answer: %w", os.ErrDeadlineExceeded)
	case codes.Unavailable:
		return &failure{ReasonConnect, errors.New("the connection ended before an answer")}
	case codes.NotFound:
		return failf(ReasonStatus, "the server does not know the service")
	case codes.Unimplemented:
		return failf(ReasonStatus, "the server has no health service")
	default:
		return failf(ReasonStatus, "the server answers %s", code)
	}
}

func (l *grpcLine) dial(ctx context.Context, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	conn, failed := dial(ctx, l.client.dialer, &l.client.Guard, l.deadline, "tcp", address, &l.answer.phases)
	if failed != nil {
		l.failed = failed
		return nil, failed.err
	}
	return conn, nil
}

// ClientHandshake makes the TLS handshake, and takes down what it tells.
func (l *grpcLine) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	begin := time.Now()
	conn, info, err := l.TransportCredentials.ClientHandshake(ctx, authority, raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Info().SecurityProtocol != "tls" {
		return conn, info, err
	}
	l.answer.phases[PhaseTLS] += time.Since(begin)
	var state tls.ConnectionState
	if told, is := info.(credentials.TLSInfo); is {
		state = told.State
	}
	if failed := l.answer.shook(state, err); failed != nil {
		l.failed = failed
	}
	return conn, info, err
}

// Clone returns itself: the credentials serve one connection.
func (l *grpcLine) Clone() credentials.TransportCredentials { return l }
