package plugin_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/plugin"
)

func TestDialerCheck(t *testing.T) {
	for addr, allowed := range map[string][2]bool{ // private allowed, public only
		"93.184.216.34": {true, true}, "2606:4700::1": {true, true},
		"10.1.2.3": {true, false}, "192.168.0.1": {true, false}, "172.16.0.1": {true, false}, "127.0.0.1": {true, false},
		"::1": {true, false}, "fd00::1": {true, false}, "100.64.0.1": {true, false}, "::ffff:10.0.0.1": {true, false},
		"169.254.169.254": {false, false}, "fe80::1": {false, false}, "0.0.0.0": {false, false}, "::": {false, false},
		"64:ff9b::5db8:d822": {true, true}, "64:ff9b::7f00:1": {true, false}, "64:ff9b:1::a9fe:a9fe": {false, false}, "64:ff9b::a00:1": {true, false},
		"2002:7f00:1::1": {true, false}, "2002:a9fe:a9fe::": {false, false}, "2002:5db8:d822::1": {true, true}, "::127.0.0.1": {true, false}, "::10.0.0.1": {true, false},
		"::ffff:127.0.0.1": {true, false}, "127.255.255.254": {true, false}, "fe80::1%eth0": {false, false}, "fd00::1%eth0": {true, false}, "fec0::1": {true, false},
		"fd00:ec2::254": {false, false}, "168.63.129.16": {false, false}, "100.100.100.200": {false, false}, "192.0.0.192": {false, false}, "192.0.0.1": {true, false},
		"0.1.2.3": {false, false}, "255.255.255.255": {false, false}, "240.0.0.1": {false, false}, "198.18.0.1": {true, false}, "100.128.0.1": {true, true},
		"224.0.0.1": {false, false}, "ff02::1": {false, false}, "::ffff:169.254.169.254": {false, false},
	} {
		ip := netip.MustParseAddr(addr)
		for i, d := range []plugin.Dialer{{}, {PublicOnly: true}} {
			if err := d.Check(ip); (err == nil) != allowed[i] {
				t.Errorf("%s with %+v: %v", addr, d, err)
			}
		}
	}
	_, err := plugin.Dialer{PublicOnly: true}.DialContext(t.Context(), "tcp", "localhost:1")
	if err == nil || !strings.Contains(err.Error(), "endpoints.private") {
		t.Errorf("localhost: %v", err)
	}
}
