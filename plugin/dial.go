package plugin

import (
	"context"
	"fmt"
	"net"
	"net/netip"
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

// sharedSpace is used between a provider and its customers (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// Check reports whether connections may lead to an address.
func (d Dialer) Check(ip netip.Addr) error {
	ip = ip.Unmap()
	switch {
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), ip.IsInterfaceLocalMulticast():
		return fmt.Errorf("endpoints may not lead to %s: it is unspecified, multicast or link-local", ip)
	case !d.PublicOnly:
		return nil
	case ip.IsLoopback(), ip.IsPrivate(), sharedSpace.Contains(ip):
		return fmt.Errorf("endpoints may not lead to %s, which is private: allow it with endpoints.private in the configuration of the server", ip)
	}
	return nil
}
