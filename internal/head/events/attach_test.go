package events_test

import (
	"errors"
	"strings"
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// badInput is what a reader of events can get wrong when it attaches a link, and
// what the link is refused with.
var badInput = []struct {
	name    string
	address string // "" for that of a reader
	sends   bool   // the peer wants to send
	filter  codec.Map
	props   codec.Map
	want    string // condition
	says    string // part of the description
}{
	{name: "reader of a partition that is not there", address: address("2"), want: amqp.NotFound, says: "0 to 1"},
	{name: "reader of a partition with a leading zero", address: address("00"), want: amqp.NotFound, says: `\"00\"`},
	{name: "reader of a partition that is no number", address: address("first"), want: amqp.NotFound},
	{name: "reader of a negative partition", address: address("-1"), want: amqp.NotFound},
	{name: "reader of a partition beyond all numbers", address: address("99999999999999999999"), want: amqp.NotFound},
	{name: "reader in a consumer group that is not there", address: "myhub/ConsumerGroups/none/Partitions/0", want: amqp.NotFound, says: `the messaging entity \"none\" could not be found`},
	{name: "reader of another event hub", address: "other/ConsumerGroups/$Default/Partitions/0", want: amqp.NotFound, says: "myhub"},
	{name: "reader of the event hub of a hub whose name only begins alike", address: "iothub-ehub-myhub2-1-a/ConsumerGroups/$Default/Partitions/0", want: amqp.NotFound},
	{name: "reader of an alias without a number", address: "iothub-ehub-myhub-/ConsumerGroups/$Default/Partitions/0", want: amqp.NotFound},
	{name: "reader of the event hub itself", address: "myhub", want: amqp.NotFound, says: "ConsumerGroups"},
	{name: "sender to the event hub", address: "myhub", sends: true, want: amqp.NotAllowed, says: "devices"},
	{name: "sender to a partition", address: "myhub/Partitions/0", sends: true, want: amqp.NotAllowed},
	{name: "sender to another event hub", address: "other", sends: true, want: amqp.NotFound},
	{name: "sender to a consumer group", address: address("0"), sends: true, want: amqp.NotAllowed},
	{name: "selector of no known form", filter: selector("properties.x = 1"), want: hubamqp.ArgumentError, says: "accepted forms"},
	{name: "selector of two conditions", filter: selector("amqp.annotation.x-opt-offset > '1' AND amqp.annotation.x-opt-offset > '2'"), want: hubamqp.ArgumentError},
	{name: "selector of 100 KB", filter: selector(strings.Repeat("x", 50_000)), want: hubamqp.ArgumentError},
	{name: "selector that is not text", filter: codec.NewMap(codec.Symbol(hubamqp.FilterName), codec.Described(codec.Ulong(0x468C00000004), codec.Int(1))), want: hubamqp.ArgumentError},
	{name: "filter that is not known", filter: codec.NewMap(codec.Symbol("no-local"), codec.Described(codec.Ulong(0x468C00000003), codec.List())), want: hubamqp.ArgumentError},
	{name: "offset that there is not yet", filter: selector("amqp.annotation.x-opt-offset > '10'"), want: hubamqp.ArgumentError, says: "last one is 9"},
	{name: "offset that there is not yet, inclusive", filter: selector("amqp.annotation.x-opt-offset >= '11'"), want: hubamqp.ArgumentError},
	{name: "offset beyond all", filter: selector("amqp.annotation.x-opt-offset > '9223372036854775807'"), want: hubamqp.ArgumentError},
	{name: "sequence number that there is not yet", filter: selector("amqp.annotation.x-opt-sequence-number > '10'"), want: hubamqp.ArgumentError},
	{name: "negative epoch", props: codec.NewMap(codec.Symbol("com.microsoft:epoch"), codec.Long(-1)), want: hubamqp.ArgumentError, says: "-1"},
	{name: "management of another event hub", address: "other/$management", want: amqp.NotFound},
}

func TestBadInput(t *testing.T) {
	w := open(t, nil)
	w.timed(10)
	s := w.client()
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if row.address == "" {
				row.address = address("0")
			}
			var err error
			if row.sends {
				_, err = s.AttachSender(t.Context(), amqp.LinkConfig{Target: row.address}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
			} else {
				_, err = s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: row.address, Filter: row.filter}, amqp.ReceiverOptions{Handler: &in{}, Credit: 1, Properties: row.props})
			}
			c, ok := errors.AsType[*codec.Condition](err)
			if !ok {
				t.Fatalf("refused with %v", err)
			}
			if c.Name != row.want || !strings.Contains(c.Description, row.says) {
				t.Errorf("refused with %s: %s, want %s: …%s…", c.Name, c.Description, row.want, row.says)
			}
		})
	}
	// The connection and its other links go on.
	w.read(s, how{}).want(0, 10)
}

// TestUnauthorized has every kind of link refused.
func TestUnauthorized(t *testing.T) {
	w := open(t, nil)
	w.head.Deny()
	s := w.client()
	for _, source := range []string{address("0"), "$management", "myhub/$management", "messages/events/", "/messages/events/$management", "myhub"} {
		_, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: source}, amqp.ReceiverOptions{Handler: &in{}})
		if claimstest.Condition(err) != amqp.UnauthorizedAccess {
			t.Errorf("receiver from %s: %v", source, err)
		}
	}
	for _, target := range []string{address("0"), "$management", "myhub"} {
		_, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: target}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		if claimstest.Condition(err) != amqp.UnauthorizedAccess {
			t.Errorf("sender to %s: %v", target, err)
		}
	}
}

// TestRedirect tells readers who come to the hub's own host where to go.
func TestRedirect(t *testing.T) {
	for _, row := range []struct {
		name, source string
		endpoint     func(hub, host string) (string, uint16)
		host, addr   string
		port         uint32
	}{
		{
			name: "root", source: "messages/events/", endpoint: func(string, string) (string, uint16) { return "ns.example.com", 5671 },
			host: "ns.example.com", port: 5671, addr: "amqps://ns.example.com:5671/myhub/",
		},
		{
			name: "root, without a slash", source: "messages/events", endpoint: func(string, string) (string, uint16) { return "ns.example.com", 5671 },
			host: "ns.example.com", port: 5671, addr: "amqps://ns.example.com:5671/myhub/",
		},
		{
			name: "management", source: "/messages/events/$management", endpoint: func(string, string) (string, uint16) { return "ns.example.com", 35671 },
			host: "ns.example.com", port: 35671, addr: "amqps://ns.example.com:35671/myhub/$management",
		},
		{
			name: "partition", source: "amqps://myhub.example.com/Messages/Events/ConsumerGroups/$Default/Partitions/3",
			endpoint: func(hub, host string) (string, uint16) { return hub + ".of." + host, 0 },
			host:     "myhub.of.myhub.example.com", port: 5671, addr: "amqps://myhub.of.myhub.example.com:5671/myhub/ConsumerGroups/$Default/Partitions/3",
		},
		{
			name: "no other host", source: "messages/events/",
			host: host, port: 5671, addr: "amqps://" + host + ":5671/myhub/",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := open(t, func(w *world) { w.plane.Endpoint = row.endpoint })
			_, err := w.azure().NewReceiver(t.Context(), row.source, nil)
			e, ok := errors.AsType[*goamqp.Error](err)
			if !ok {
				t.Fatal(err)
			}
			info := e.Info
			if e.Condition != "amqp:link:redirect" || info["hostname"] != row.host || info["network-host"] != row.host ||
				info["port"] != row.port || info["address"] != row.addr {
				t.Errorf("%s %v", e.Condition, info)
			}
		})
	}
}
