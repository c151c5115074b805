package link

import (
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often customers may answer: as one household or office might, and as all of a
// touchpoint might at its busiest.
const (
	clientAnswers     = 30 // at once
	clientInterval    = 10 * time.Second
	touchpointAnswers = 600
	touchpointPerSec  = 20
)

// maxClients bounds how many addresses are remembered at a time.
const maxClients = 50_000

// Limits bound how often one address, and everybody together, may answer. Addresses
// are held in memory only, hashed, for minutes.
type Limits struct {
	// Proxies are the networks of reverse proxies, whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
	// Now is the clock.
	Now func() time.Time

	seed        maphash.Seed
	lock        sync.Mutex
	clients     map[uint64]*rate.Limiter
	touchpoints map[string]*rate.Limiter
}

// NewLimits returns limits that believe the proxies of some networks, in CIDR notation.
func NewLimits(proxies []string) (*Limits, error) {
	l := &Limits{Now: time.Now, seed: maphash.MakeSeed(), clients: map[uint64]*rate.Limiter{}, touchpoints: map[string]*rate.Limiter{}}
	for _, text := range proxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxies: %q is no network: write it as 10.0.0.0/8", text)
		}
		l.Proxies = append(l.Proxies, prefix.Masked())
	}
	return l, nil
}

// Allow tells whether a request may answer at a touchpoint now.
func (l *Limits) Allow(r *http.Request, touchpoint string) bool {
	client := maphash.String(l.seed, l.network(r))
	now := l.Now()
	l.lock.Lock()
	defer l.lock.Unlock()
	ofClient, known := l.clients[client]
	if !known {
		if len(l.clients) >= maxClients {
			l.forget(now)
		}
		ofClient = rate.NewLimiter(rate.Every(clientInterval), clientAnswers)
		l.clients[client] = ofClient
	}
	// The client's comes first: one address that floods must not use up what all have.
	if !ofClient.AllowN(now, 1) {
		return false
	}
	ofTouchpoint, known := l.touchpoints[touchpoint]
	if !known {
		ofTouchpoint = rate.NewLimiter(touchpointPerSec, touchpointAnswers)
		l.touchpoints[touchpoint] = ofTouchpoint
	}
	return ofTouchpoint.AllowN(now, 1)
}

// forget makes room: those who have all their answers again need no memory, and where
// nobody has, all start anew; the touchpoint's own limit still holds.
func (l *Limits) forget(now time.Time) {
	for client, limiter := range l.clients {
		if limiter.TokensAt(now) >= clientAnswers {
			delete(l.clients, client)
		}
	}
	if len(l.clients) >= maxClients {
		clear(l.clients)
	}
}

// network returns whom a request comes from: an IPv4 address, or the /64 that one IPv6
// customer has.
func (l *Limits) network(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	// From the right: what stands left of the first stranger is the stranger's word.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && l.isProxy(address); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = next
	}
	if address = address.Unmap(); address.Is6() {
		prefix, _ := address.WithZone("").Prefix(64)
		return prefix.String()
	}
	return address.String()
}

func (l *Limits) isProxy(address netip.Addr) bool {
	for _, each := range l.Proxies {
		if each.Contains(address.Unmap()) {
			return true
		}
	}
	return false
}
