package mqtt_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// hello connects without expecting to be let in, and returns the answer.
func (w *world) hello(cred causeway.Credential, change ...func(*wire.Connect)) (*client, *wire.Connack) {
	w.t.Helper()
	c := w.dial()
	p := connectPacket(cred)
	for _, f := range change {
		f(p)
	}
	c.id = cred.Identity
	c.send(p)
	return c, expect[*wire.Connack](c)
}

func TestSubscribe(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.mod)
		p := &wire.Subscribe{ID: 3, Subscriptions: []wire.Subscription{
			{Filter: "devices/dev1/modules/m1/messages/devicebound/#", QoS: 2},
			{Filter: "$iothub/methods/POST/#", QoS: 0},
			{Filter: "nonsense", QoS: 1},
			{Filter: "$iothub/twin/res/#", QoS: 1},
			{Filter: "devices/dev1/modules/m2/#", QoS: 1},
			{Filter: "$iothub/twin/PATCH/properties/desired/#", QoS: 1},
			{Filter: "devices/dev1/modules/m1/inputs/#", QoS: 1},
			{Filter: "devices/dev1/modules/m1/#", QoS: 1},
			{Filter: "$iothub/methods/POST/reboot/#", QoS: 1},
			{Filter: "devices/dev1/modules/m1/inputs/in1/#", QoS: 0},
		}}
		c.send(p)
		ack := expect[*wire.Suback](c)
		if d := cmp.Diff([]wire.Reason{1, 0, 0x80, 1, 0x80, 1, 1, 1, 1, 0}, ack.Codes); d != "" || ack.ID != 3 {
			t.Error(d)
		}
		all := causeway.LaneCommands | causeway.LaneMethods | causeway.LaneDesired | causeway.LaneInputs
		if got := w.hub.Lanes(t, w.mod.Identity); got != all {
			t.Errorf("lanes %b", got)
		}
		c.send(&wire.Unsubscribe{ID: 4, Filters: []string{"devices/dev1/modules/m1/#", "$iothub/methods/POST/#", "never subscribed", "devices/dev1/modules/m1/messages/devicebound/#"}})
		if ack := expect[*wire.Unsuback](c); ack.ID != 4 {
			t.Errorf("UNSUBACK %+v", ack)
		}
		// A single method is still wanted, commands are not.
		if got := w.hub.Lanes(t, w.mod.Identity); got != all&^causeway.LaneCommands {
			t.Errorf("lanes %b", got)
		}
	})
}

func TestFilterLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		p := &wire.Subscribe{ID: 1}
		for i := range causeway.MaxSubscriptions + 1 {
			p.Subscriptions = append(p.Subscriptions, wire.Subscription{Filter: fmt.Sprintf("$iothub/methods/POST/m%d/#", i)})
		}
		c.send(p, p)
		for range 2 {
			codes := expect[*wire.Suback](c).Codes
			for i, code := range codes {
				if code.Failed() != (i == causeway.MaxSubscriptions) {
					t.Errorf("filter %d: %v", i, code)
				}
			}
		}
		if n := w.refused(mqtt.ReasonFilters); n != 2 {
			t.Errorf("counted %d times", n)
		}
	})
}

func TestPersistentSession(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		id := causeway.Identity{Hub: "hub", Device: "dev1"}
		c, ack := w.hello(w.dev1)
		if ack.SessionPresent {
			t.Error("a session is present at the first connect")
		}
		c.subscribe(1, c.commands(), methodFilter)
		want := []mqtt.Filter{{Topic: c.commands(), QoS: 1}, {Topic: methodFilter, QoS: 1}}
		if d := cmp.Diff(want, w.store.filters(id)); d != "" {
			t.Error(d)
		}
		saves := w.store.saves
		c.subscribe(1, methodFilter) // changes nothing, so costs nothing
		if w.store.saves != saves {
			t.Error("an unchanged session was saved")
		}
		c.disconnect()

		w.restart()
		w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte("while away")})
		c, ack = w.hello(w.dev1)
		if !ack.SessionPresent {
			t.Error("the session is not present after a restart")
		}
		if p := expect[*wire.Publish](c); string(p.Payload) != "while away" || p.QoS != 1 || p.Dup {
			t.Errorf("delivered %+v", p)
		}
		if got := w.hub.Lanes(t, w.dev1.Identity); got != causeway.LaneCommands|causeway.LaneMethods {
			t.Errorf("lanes %b", got)
		}
		c.send(&wire.Unsubscribe{ID: 1, Filters: []string{methodFilter}})
		expect[*wire.Unsuback](c)
		c.disconnect()

		// A clean session begins without, leaves nothing, and does not touch the queue.
		c, ack = w.hello(w.dev1, clean)
		if ack.SessionPresent {
			t.Error("a session is present in a clean one")
		}
		synctest.Wait()
		if n := w.hub.Depth(t, w.dev1.Identity); n != 1 {
			t.Errorf("%d commands are queued", n)
		}
		c.subscribe(1, methodFilter)
		c.disconnect()
		c, ack = w.hello(w.dev1)
		if ack.SessionPresent || w.hub.Lanes(t, w.dev1.Identity) != 0 {
			t.Error("something of the clean session is left")
		}
		c.disconnect()
		if c, ack = w.hello(w.dev1); !ack.SessionPresent {
			t.Error("a session without filters is not present")
		}
		c.disconnect()
	})
}

func TestSessionStoreFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.store.setFail(errors.New("disk gone"))
		c, ack := w.hello(w.dev1)
		if ack.Code != wire.RefusedUnavailable {
			t.Errorf("CONNACK %+v", ack)
		}
		c.closed()
		synctest.Wait()
		if w.hub.Connected(t, w.dev1.Identity) {
			t.Error("the hub's session was left open")
		}
		w.store.setFail(nil)
		c = w.connect(w.dev1)
		w.store.setFail(errors.New("disk gone"))
		c.send(&wire.Subscribe{ID: 1, Subscriptions: []wire.Subscription{{Filter: methodFilter}}})
		c.closed() // no SUBACK for what would be forgotten
	})
}

// TestPipelinedConnect sends everything at once, without waiting for answers.
func TestPipelinedConnect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.dial()
		c.id = w.dev1.Identity
		w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte("queued")})
		var packets []wire.Packet
		packets = append(packets, connectPacket(w.dev1),
			&wire.Subscribe{ID: 1, Subscriptions: []wire.Subscription{{Filter: twinFilter}, {Filter: c.commands(), QoS: 1}}},
			&wire.Publish{Topic: "$iothub/twin/GET/?$rid=1", QoS: 1, ID: 2})
		for i := range 100 {
			packets = append(packets, pub(c.events(""), "telemetry with some weight to it", uint16(i+10)))
		}
		c.send(packets...)
		expect[*wire.Connack](c)
		expect[*wire.Suback](c) // before what it lets in
		seen := map[wire.Type]int{}
		for range 103 - 1 + 1 {
			p := c.next()
			seen[p.Type()]++
		}
		if seen[wire.PUBACK] != 101 || seen[wire.PUBLISH] != 2 {
			t.Errorf("answers %v", seen)
		}
	})
}

func TestHalfOpenLimit(t *testing.T) {
	withLimits(t, mqtt.Limits{HalfOpen: 50}, func(t *testing.T, w *world) {
		var silent []*client
		for range 50 {
			silent = append(silent, w.dial())
		}
		synctest.Wait()
		begin := time.Now()
		c := w.dial()
		c.send(connectPacket(w.dev1))
		_ = c.nc.SetReadDeadline(begin.Add(2 * time.Minute))
		p, err := c.r.Packet() // waits until one of the silent ones is gone
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); p.Type() != wire.CONNACK || d < 59*time.Second || d > 62*time.Second {
			t.Errorf("got %s after %v", p.Type(), d)
		}
		for _, s := range silent {
			s.closed()
		}
		// One that is open takes no place.
		for range 60 {
			w.connect(w.dev2, clean).ping()
		}
	})
}

// TestManyHalfOpen shows that thousands of half-open connections keep nobody out.
func TestManyHalfOpen(t *testing.T) {
	withLimits(t, mqtt.Limits{}, func(t *testing.T, w *world) {
		for range 3000 {
			c := w.dial()
			c.write([]byte{0x10})
		}
		begin := time.Now()
		c := w.connect(w.dev1)
		c.ping()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("connected after %v", d)
		}
		time.Sleep(62 * time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		if n := w.refused(mqtt.ReasonConnectTimeout); n != 3000 {
			t.Errorf("%d timed out", n)
		}
		if n := headkit.Value(w.metrics.Connections); n != 1 {
			t.Errorf("%v connections", n)
		}
	})
}

func TestConnectionLimit(t *testing.T) {
	withLimits(t, mqtt.Limits{Connections: 2}, func(t *testing.T, w *world) {
		a, b := w.connect(w.dev1), w.connect(w.dev2)
		w.dial().closed()
		if w.refused(mqtt.ReasonConnections) != 1 {
			t.Error("not counted")
		}
		a.disconnect()
		synctest.Wait()
		w.connect(w.dev1).ping()
		b.ping()
	})
}
