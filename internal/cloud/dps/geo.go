package dps

import (
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Geo is what a geo-latency allocation knows of the world: where devices are, by
// their addresses, and how far regions are apart. The zero value knows nothing, so
// that all hubs are as near as each other.
type Geo struct {
	Networks  []Network
	Latencies []Latency
}

// Network says in which region the addresses of a network are. The smallest
// network that has an address counts.
type Network struct {
	Prefix netip.Prefix
	Region string
}

// Latency is how far two regions are apart, in either direction unless the other
// one is given too. A region is at no distance from itself.
type Latency struct {
	From, To string
	Millis   int
}

// far is the distance of what nothing is known of.
const far = math.MaxInt

// region returns where a remote address, with a port or without, is; "" when
// nothing is known of it.
func (g *Geo) region(remote string) string {
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		ap, err := netip.ParseAddrPort(remote)
		if err != nil {
			return ""
		}
		addr = ap.Addr()
	}
	addr = addr.Unmap().WithZone("")
	found, bits := "", -1
	for _, n := range g.Networks {
		if n.Prefix.Contains(addr) && n.Prefix.Bits() > bits {
			found, bits = n.Region, n.Prefix.Bits()
		}
	}
	return found
}

// latency returns how far two regions are apart in milliseconds.
func (g *Geo) latency(from, to string) int {
	if from == "" || to == "" {
		return far
	}
	d := far
	if strings.EqualFold(from, to) {
		d = 0
	}
	for _, l := range g.Latencies {
		switch {
		case strings.EqualFold(l.From, from) && strings.EqualFold(l.To, to):
			return l.Millis
		case strings.EqualFold(l.From, to) && strings.EqualFold(l.To, from):
			d = l.Millis
		}
	}
	return d
}

// nearest returns the hubs that are nearest to a region.
func (g *Geo) nearest(links []Link, region string) []Link {
	least := far
	for _, l := range links {
		least = min(least, g.latency(region, l.Region))
	}
	return slices.DeleteFunc(slices.Clone(links), func(l Link) bool { return g.latency(region, l.Region) != least })
}

// check checks what is to be stored.
func (g *Geo) check() error {
	if len(g.Networks) > MaxNetworks || len(g.Latencies) > MaxLatencies {
		return invalid("regions have %d networks and %d latencies, at most %d and %d are accepted", len(g.Networks), len(g.Latencies), MaxNetworks, MaxLatencies)
	}
	seen := map[netip.Prefix]bool{}
	for k := range g.Networks {
		n := &g.Networks[k]
		switch {
		case !n.Prefix.IsValid():
			return invalid("network %d is none: write it as 10.1.0.0/16 or 2001:db8::/32", k+1)
		case n.Region == "" || len(n.Region) > MaxRegion:
			return invalid("the network %s needs the name of a region, of at most %d bytes", n.Prefix, MaxRegion)
		case n.Prefix.Addr().Is4In6():
			return invalid("the network %s is one of IPv4 in the clothes of IPv6: write it as IPv4", n.Prefix)
		}
		if n.Prefix = n.Prefix.Masked(); seen[n.Prefix] {
			return invalid("the network %s is there twice", n.Prefix)
		}
		seen[n.Prefix] = true
	}
	pairs := map[[2]string]bool{}
	for _, l := range g.Latencies {
		pair := [2]string{fold(l.From), fold(l.To)}
		switch {
		case l.From == "" || l.To == "" || len(l.From) > MaxRegion || len(l.To) > MaxRegion:
			return invalid("a latency needs the names of two regions, of at most %d bytes", MaxRegion)
		case l.Millis < 0 || l.Millis > MaxMillis:
			return invalid("the latency from %q to %q is %d ms, it must be from 0 to %d", clip(l.From), clip(l.To), l.Millis, MaxMillis)
		case pairs[pair]:
			return invalid("the latency from %q to %q is there twice", clip(l.From), clip(l.To))
		}
		pairs[pair] = true
	}
	return nil
}
