package plugin

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// Dialer opens network connections for sinks, and holds them to where they may
// lead. The address is judged when the connection is made, after names were
// looked up: a name that leads somewhere else later does not get around it.
//
// Addresses that mean no host, many, or the metadata service of a cloud
// (unspecified, multicast, link-local) are always refused.
type Dialer struct {
	// PublicOnly refuses addresses of private networks and of this machine.
	PublicOnly bool
}

// DialContext opens a connection.
func (d Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout, ControlContext: d.control}
	return nd.DialContext(ctx, network, addr)
}

// control refuses an address before a connection to it is made.
func (d Dialer) control(_ context.Context, _, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	return d.Check(ap.Addr())
}

// Addresses that netip does not know by a word.
var (
	// never leads to a host that an endpoint could be: this network (RFC 791),
	// addresses that are reserved, and the broadcast address.
	never = prefixes("0.0.0.0/8", "240.0.0.0/4")
	// metadata are the services by which clouds tell their machines secrets, where
	// these are not at a link-local address: AWS, Azure, Alibaba, Oracle.
	metadata = prefixes("fd00:ec2::/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32")
	// private is used within networks: between a provider and its customers (RFC
	// 6598), for protocols (RFC 6890), for benchmarks (RFC 2544), and by IPv6 sites
	// of old (RFC 3879).
	private = prefixes("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10")
)

// within are the prefixes of IPv6 addresses that have one of IPv4 within them, and
// lead to it where there is a gateway, by the byte at which it begins: NAT64 (RFC
// 6052, RFC 8215), 6to4 (RFC 3056), IPv4-compatible addresses (RFC 4291).
var within = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func among(ip netip.Addr, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Check reports whether connections may lead to an address.
func (d Dialer) Check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("") // a prefix contains none with a zone
	switch {
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), ip.IsInterfaceLocalMulticast(), among(ip, never):
		return fmt.Errorf("endpoints may not lead to %s: it is unspecified, reserved, multicast or link-local", ip)
	case among(ip, metadata):
		return fmt.Errorf("endpoints may not lead to %s: it is the metadata service of a cloud", ip)
	case d.PublicOnly && (ip.IsLoopback() || ip.IsPrivate() || among(ip, private)):
		return fmt.Errorf("endpoints may not lead to %s, which is private: allow it with endpoints.private in the configuration of the server", ip)
	case ip.IsLoopback():
		return nil // ::1 is among those that have one of IPv4 within
	}
	for _, w := range within {
		if w.prefix.Contains(ip) {
			b := ip.As16()
			inner, _ := netip.AddrFromSlice(b[w.at : w.at+4])
			if err := d.Check(inner); err != nil {
				return fmt.Errorf("%s has an address of IPv4 within it: %w", ip, err)
			}
		}
	}
	return nil
}
