package mqtt_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// FuzzHead sends arbitrary bytes behind a valid CONNECT, in two pieces, while
// the hub wants things of the client. Whatever comes, the server answers with
// packets only, stops in order, and leaves nothing behind.
func FuzzHead(f *testing.F) {
	for _, c := range badInput {
		if !c.first && len(c.bytes) < 4096 {
			f.Add([]byte(c.bytes), 3, false)
		}
	}
	good := ""
	for _, p := range []wire.Packet{
		&wire.Subscribe{ID: 1, Subscriptions: []wire.Subscription{
			{Filter: "devices/dev1/messages/devicebound/#", QoS: 1}, {Filter: methodFilter}, {Filter: twinFilter}, {Filter: desiredFilter, QoS: 2},
		}},
		pub("devices/dev1/messages/events/%24.mid=1&a=b", "hello", 5), pub("devices/dev1/messages/events/%24.mid=1&a=b", "hello", 0),
		&wire.Ack{Kind: wire.PUBACK, ID: 1}, pub("$iothub/twin/GET/?$rid=1", "", 0),
		pub("$iothub/twin/PATCH/properties/reported/?$rid=2&$version=1", `{"a":{"b":1}}`, 6),
		pub("$iothub/methods/res/200/?$rid=1", "{}", 7), &wire.Ping{},
		&wire.Unsubscribe{ID: 9, Filters: []string{methodFilter, "x"}}, &wire.Disconnect{},
	} {
		b, err := p.Append(nil, wire.V311)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 1, true)
		good += string(b)
	}
	f.Add([]byte(good), 100, false)
	f.Add([]byte(good), 7, true)
	f.Fuzz(func(t *testing.T, b []byte, at int, plain bool) {
		defer headkit.Watchdog(b)()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, mqtt.Limits{BatchMessages: 3, TwinRequests: 2}, plain)
			defer w.close()
			c := w.connect(w.dev1)
			for range 12 {
				w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte("command")})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			called := make(chan error, 1)
			go func() {
				_, err := w.hub.Invoke(ctx, w.dev1.Identity, causeway.Call{Method: "m"}, time.Second, 4*time.Second)
				called <- err
			}()
			at = min(max(at, 0), len(b))
			go func() { // the server may close at any point
				if _, err := c.nc.Write(b[:at]); err == nil {
					time.Sleep(time.Second) //nolint:forbidigo // simulated time
					_, _ = c.nc.Write(b[at:])
				}
			}()
			_ = c.nc.SetReadDeadline(time.Now().Add(3 * time.Second))
			for {
				if _, err := c.r.Packet(); err != nil {
					if strings.HasPrefix(err.Error(), "mqtt:") {
						t.Errorf("the server sent no MQTT: %v", err)
					}
					break
				}
			}
			w.hub.SetDesired(t, w.dev1.Identity, `{"x":1}`)
			<-called
			_ = c.nc.Close()
		})
	})
}

// FuzzConnect sends arbitrary bytes in place of a CONNECT.
func FuzzConnect(f *testing.F) {
	for _, c := range badInput {
		if c.first {
			f.Add([]byte(c.bytes), false)
		}
	}
	p := connectPacket(causeway.Credential{Host: host, Identity: causeway.Identity{Device: "dev1"}, Token: "x"})
	p.Will = &wire.Will{Topic: "devices/dev1/messages/events/a=b", Payload: []byte("bye"), QoS: 1, Retain: true}
	b, err := p.Append(nil, wire.V311)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, plain bool) {
		defer headkit.Watchdog(b)()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, mqtt.Limits{}, plain)
			defer w.close()
			w.hub.Accept = func(causeway.Credential) (time.Time, error) { return time.Time{}, nil }
			c := w.dial()
			go func() { _, _ = c.nc.Write(b) }()
			_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
			_, _ = c.r.Packet()
			_ = c.nc.Close()
		})
	})
}
