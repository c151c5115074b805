package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"
)

// icmpAction sends one echo request.
type icmpAction struct{ host string }

func (i *icmpAction) make(r *run, a *answer) *failure {
	ctx, cancel := context.WithDeadline(r.ctx, r.deadline)
	defer cancel()
	begin := time.Now()
	addresses, err := r.probe.client.Resolver.LookupNetIP(ctx, "ip", i.host)
	if net.ParseIP(i.host) == nil {
		a.phases[PhaseDNS] = time.Since(begin)
	}
	if err != nil {
		return dialFailure(err)
	}
	// Only the first: another that answers does not help customers who are sent here.
	address := addresses[0].Unmap()
	if err := r.probe.client.Guard.Check(address); err != nil {
		return dialFailure(err)
	}
	begin = time.Now()
	received, err := ping(ctx, address, r.deadline, false)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		// Where the group may not, a capability may.
		received, err = ping(ctx, address, r.deadline, true)
	}
	a.phases[PhaseFirstByte] = time.Since(begin)
	switch {
	case errors.Is(err, os.ErrPermission):
		return failf(ReasonConfig, "the prober may not send echo requests: its group must be within the sysctl net.ipv4.ping_group_range")
	case err != nil && ctx.Err() == nil:
		return &failure{ReasonConnect, err}
	case received == 0:
		return failf(ReasonTimeout, "no reply from %s: %w", address, os.ErrDeadlineExceeded)
	}
	return nil
}

func ping(ctx context.Context, address netip.Addr, deadline time.Time, raw bool) (received int, err error) {
	pinger := probing.New("")
	pinger.SetIPAddr(&net.IPAddr{IP: address.AsSlice(), Zone: address.Zone()})
	pinger.Count, pinger.Timeout, pinger.RecordRtts = 1, time.Until(deadline), false
	pinger.SetLogger(probing.NoopLogger{})
	pinger.SetPrivileged(raw)
	err = pinger.RunWithContext(ctx)
	return pinger.Statistics().PacketsRecv, err
}
