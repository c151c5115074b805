package probe

import (
	"fmt"
	"net/netip"
	"slices"
)

// Guard says to which addresses probes may connect. Whoever may write a Touchpoint
// chooses where a prober connects to, and a prober stands where its author may not:
// so it does not talk to itself, to its node or to a cloud's metadata.
//
// It is asked about the very address of each connection, after the look-up of the
// name. A name that changes its mind between two look-ups, or a redirect, gains
// nothing by it.
type Guard struct {
	// Allow are addresses that are allowed whatever else is said of them.
	Allow []netip.Prefix
	// Deny are addresses that are refused beside those that always are: loopback,
	// link-local, multicast and unspecified ones, and those of metadata services.
	Deny []netip.Prefix
}

// deniedError is the refusal of an address.
type deniedError struct {
	address netip.Addr
	what    string
}

func (e *deniedError) Error() string {
	return fmt.Sprintf("the prober may not connect to %s: %s; see --allow-cidrs", e.address, e.what)
}

// metadata are addresses at which clouds tell a machine its own secrets and that are
// not link-local.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::254/128"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure
	netip.MustParsePrefix("192.0.0.192/32"),         // Oracle
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
}

// Prefixes of IPv6 addresses that stand for an IPv4 address.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
	thisHost  = netip.MustParsePrefix("0.0.0.0/8")
)

// Check refuses an address, or returns nil.
func (g *Guard) Check(address netip.Addr) error {
	address = address.Unmap().WithZone("")
	if slices.ContainsFunc(g.Allow, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return nil
	}
	bytes := address.As16()
	switch {
	case nat64.Contains(address):
		return g.Check(netip.AddrFrom4([4]byte(bytes[12:])))
	case sixToFour.Contains(address):
		return g.Check(netip.AddrFrom4([4]byte(bytes[2:6])))
	}
	what := ""
	switch {
	case !address.IsValid():
		what = "it is no address"
	case address.IsLoopback():
		what = "it is the prober's own machine"
	case address.IsUnspecified(), thisHost.Contains(address):
		what = "it is no address of anybody"
	case address.IsLinkLocalUnicast():
		what = "it is link-local, where nodes and metadata are"
	case address.IsMulticast():
		what = "it is multicast"
	case slices.ContainsFunc(metadata, func(p netip.Prefix) bool { return p.Contains(address) }):
		what = "it is a cloud's metadata service"
	case slices.ContainsFunc(g.Deny, func(p netip.Prefix) bool { return p.Contains(address) }):
		what = "--deny-cidrs holds it"
	default:
		return nil
	}
	return &deniedError{address, what}
}

// checkDialed refuses the address of a connection that is about to be made.
func (g *Guard) checkDialed(address string) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return g.Check(target.Addr())
}

// anywhere is the guard of connections that the administrator chose.
var anywhere = Guard{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
