package dps_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// TestGeoLatency: the nearest hub wins, by the address that a device comes from.
func TestGeoLatency(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		regions := map[string]string{"h1": "eu", "h2": "US", "h3": "us"}
		network := func(text, region string) dps.Network {
			return dps.Network{Prefix: netip.MustParsePrefix(text), Region: region}
		}
		_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error {
			for k := range i.Links {
				i.Links[k].Region = regions[i.Links[k].Host]
			}
			i.Geo = dps.Geo{
				Networks:  []dps.Network{network("10.0.0.0/8", "eu"), network("10.7.1.2/16", "us"), network("2001:db8::/32", "asia"), network("192.0.2.0/24", "moon")},
				Latencies: []dps.Latency{{From: "asia", To: "us", Millis: 150}, {From: "eu", To: "asia", Millis: 90}, {From: "us", To: "eu", Millis: 80}},
			}
			return nil
		})
		ok(t, err)
		device := w.group(dps.Enrollment{Allocation: dps.GeoLatency})
		n := 0
		where := func(remote string, devices int) map[string]int {
			t.Helper()
			hubs := map[string]int{}
			for range devices {
				n++
				r := device(fmt.Sprint("d", n))
				r.Credential.RemoteAddr = remote
				hubs[w.register(r).Hub]++
			}
			return hubs
		}
		for remote, want := range map[string]string{"10.1.2.3:4711": "h1", "10.1.2.3": "h1", "[::ffff:10.1.2.3]:1": "h1", "[2001:db8::7]:443": "h1", "[2001:db8::7%eth0]:443": "h1"} {
			if got := where(remote, 5); got[want] != 5 {
				t.Errorf("from %s: %v, want %s", remote, got, want)
			}
		}
		// The smaller network counts; of two that are as near, the hash decides.
		if got := where("10.7.9.9:1", 30); got["h1"] != 0 || got["h2"] < 5 || got["h3"] < 5 {
			t.Errorf("from us: %v", got)
		}
		// Of whom nothing is known, the hash of all hubs decides.
		for _, remote := range []string{"198.51.100.1:1", "192.0.2.1:1", "", "nonsense"} {
			if got := where(remote, 60); got["h1"] < 5 || got["h2"] < 5 || got["h3"] < 5 {
				t.Errorf("from %q: %v", remote, got)
			}
		}
	})
}

// TestWeights: hubs get their share of devices.
func TestWeights(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error {
			i.Links[0].Weight, i.Links[1].Weight, i.Links[2].Weight = 10, 30, 60
			return nil
		})
		ok(t, err)
		device := w.group(dps.Enrollment{})
		hubs := map[string]int{}
		for k := range 1000 {
			hubs[w.register(device(fmt.Sprint("d", k))).Hub]++
		}
		for hub, want := range map[string]int{"h1": 100, "h2": 300, "h3": 600} {
			if hubs[hub] < want*8/10 || hubs[hub] > want*12/10 {
				t.Errorf("%s has %d devices, want about %d", hub, hubs[hub], want)
			}
		}
	})
}

func TestGeoSettings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		prefix := netip.MustParsePrefix
		for want, g := range map[string]dps.Geo{
			"is none":                     {Networks: []dps.Network{{Region: "eu"}}},
			"needs the name of a region":  {Networks: []dps.Network{{Prefix: prefix("10.0.0.0/8")}}},
			"is there twice":              {Networks: []dps.Network{{prefix("10.0.0.1/8"), "a"}, {prefix("10.0.0.2/8"), "b"}}},
			"write it as IPv4":            {Networks: []dps.Network{{prefix("::ffff:10.0.0.0/104"), "a"}}},
			"needs the names of two":      {Latencies: []dps.Latency{{From: "eu"}}},
			"is -1 ms":                    {Latencies: []dps.Latency{{"eu", "us", -1}}},
			`from "EU" to "us" is there`:  {Latencies: []dps.Latency{{"eu", "us", 1}, {"EU", "us", 2}}},
			"at most 1000 and 1000 are a": {Latencies: make([]dps.Latency, dps.MaxLatencies+1)},
		} {
			_, err := w.Change(t.Context(), "dps", func(i *dps.Instance) error { i.Geo = g; return nil })
			if causeway.CodeOf(err) != dps.CodeInvalid || !strings.Contains(causeway.MessageOf(err), want) {
				t.Errorf("%v, want it to speak of %q", err, want)
			}
		}
	})
}
