package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func TestCommands(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.subscribe(1, c.commands())
		w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{
			ID: "a1", Body: []byte("hello"), ContentType: "application/json", ContentEncoding: "utf-8", Ack: causeway.AckFull,
			Expiry:     time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
			Properties: []causeway.Property{{Key: "prop", Value: "val"}, {Key: "a b", Value: "1/2=3"}, {Key: "e"}},
		})
		p := expect[*wire.Publish](c)
		want := "devices/dev1/messages/devicebound/%24.mid=a1&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound" +
			"&%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&%24.exp=2030-01-01T00%3A00%3A00.0000000Z&prop=val&a%20b=1%2F2%3D3&e="
		if p.Topic != want || string(p.Payload) != "hello" || p.QoS != 1 || p.ID == 0 || p.Dup || p.Retain {
			t.Errorf("delivered %+v\nwant topic %s", p, want)
		}
		if n := w.hub.Depth(t, w.dev1.Identity); n != 1 {
			t.Errorf("%d commands before the acknowledgement", n)
		}
		c.send(&wire.Ack{Kind: wire.PUBACK, ID: p.ID})
		c.ping()
		synctest.Wait()
		if n := w.hub.Depth(t, w.dev1.Identity); n != 0 {
			t.Errorf("%d commands after the acknowledgement", n)
		}

		m := w.connect(w.mod)
		m.subscribe(1, m.commands())
		w.hub.Enqueue(t, w.mod.Identity, causeway.Message{Body: []byte("to m1")})
		if p := expect[*wire.Publish](m); !strings.HasPrefix(p.Topic, "devices/dev1/modules/m1/messages/devicebound/%24.to=") {
			t.Errorf("module's command on %s", p.Topic)
		}
	})
}

func TestCommandsAtQoS0(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i := range 30 {
			w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte(fmt.Sprint(i))})
		}
		c := w.connect(w.dev1)
		c.subscribe(0, c.commands())
		for i := range 30 {
			if p := expect[*wire.Publish](c); p.QoS != 0 || string(p.Payload) != fmt.Sprint(i) {
				t.Fatalf("delivered %+v, want %d", p, i)
			}
		}
		synctest.Wait()
		if n := w.hub.Depth(t, w.dev1.Identity); n != 0 {
			t.Errorf("%d commands are left", n)
		}
	})
}

// TestWindow shows the bound of unacknowledged commands, their order, and that
// packet ids come again only when they are free.
func TestWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const n = 100
		for i := range n {
			w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte(fmt.Sprint(i))})
		}
		c := w.connect(w.dev1)
		c.subscribe(1, c.commands())
		open := map[uint16]bool{}
		var ids []uint16
		for i := range n {
			if len(open) == causeway.MaxDeliveryInFlight {
				c.quiet(time.Second)
				delete(open, ids[0])
				c.send(&wire.Ack{Kind: wire.PUBACK, ID: ids[0]})
				ids = ids[1:]
			}
			p := expect[*wire.Publish](c)
			if string(p.Payload) != fmt.Sprint(i) || open[p.ID] || p.ID == 0 || p.Dup {
				t.Fatalf("delivered %+v, want %d; open %v", p, i, open)
			}
			open[p.ID] = true
			ids = append(ids, p.ID)
		}
	})
}

func TestRedelivery(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i := range 3 {
			w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte(fmt.Sprint(i))})
		}
		c := w.connect(w.dev1)
		c.subscribe(1, c.commands())
		first := expect[*wire.Publish](c)
		for range 2 {
			expect[*wire.Publish](c)
		}
		c.send(&wire.Ack{Kind: wire.PUBACK, ID: first.ID})
		c.ping()
		synctest.Wait()
		_ = c.nc.Close()
		synctest.Wait()
		w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{Body: []byte("3")})

		c = w.connect(w.dev1)
		for i, dup := range []bool{true, true, false} {
			p := expect[*wire.Publish](c)
			if string(p.Payload) != fmt.Sprint(i+1) || p.Dup != dup {
				t.Errorf("delivered %s, duplicate %v", p.Payload, p.Dup)
			}
		}
		// The same while it is replaced by a connection that did not see it end.
		d := w.connect(w.dev1)
		for range 3 {
			if p := expect[*wire.Publish](d); !p.Dup {
				t.Errorf("%s is not marked", p.Payload)
			}
		}
		d.disconnect()
		// A clean session knows of no deliveries before it.
		e := w.connect(w.dev1, clean)
		e.subscribe(1, e.commands())
		for range 3 {
			if p := expect[*wire.Publish](e); p.Dup {
				t.Errorf("%s is marked", p.Payload)
			}
		}
	})
}

// TestFullWindowAtTheEnd lets the hub wait for a place in the window of a
// connection that ends.
func TestFullWindowAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(*client, causeway.Device){
		"lost":   func(c *client, _ causeway.Device) { _ = c.nc.Close() },
		"hangup": func(_ *client, d causeway.Device) { d.Hangup(errors.New("enough")) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.connect(w.dev1)
				c.subscribe(1, c.commands())
				dev := w.tap.Device(causeway.Identity{Hub: "hub", Device: "dev1"})
				for i := range causeway.MaxDeliveryInFlight {
					if err := dev.Deliver(t.Context(), causeway.Message{Sequence: int64(i), Lock: causeway.LockToken{1}}); err != nil {
						t.Fatal(err)
					}
				}
				result := make(chan error, 1)
				go func() {
					result <- dev.Deliver(context.Background(), causeway.Message{Sequence: 99, Lock: causeway.LockToken{1}})
				}()
				synctest.Wait()
				begin := time.Now()
				end(c, dev)
				hubtest.WantCode(t, <-result, causeway.DeviceConnectionClosedRemotely)
				if d := time.Since(begin); d > time.Second {
					t.Errorf("waited for %v", d)
				}
			})
		})
	}
}

// TestLockRanOut delivers a command again on the connection that has not
// acknowledged it: it takes the same packet, marked, and the newer lock.
func TestLockRanOut(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.subscribe(1, c.commands())
		id := causeway.Identity{Hub: "hub", Device: "dev1"}
		dev := w.tap.Device(id)
		m := causeway.Message{Body: []byte("x"), Sequence: 5, Lock: causeway.LockToken{1}}
		var ids []uint16
		for i := range 3 {
			m.Lock[1] = byte(i)
			if err := dev.Deliver(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			p := expect[*wire.Publish](c)
			ids = append(ids, p.ID)
			if p.Dup != (i > 0) || p.ID != ids[0] {
				t.Errorf("delivery %d: %+v", i, p)
			}
		}
	})
}

// TestCommandThatFitsNoTopic queues a command whose properties are within the
// limit of commands, and are too long for an MQTT topic once they are escaped. It
// does not hold up what is behind it.
func TestCommandThatFitsNoTopic(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				type outcome struct {
					id    string
					o     causeway.Outcome
					count int
				}
				settled := make(chan outcome, 64)
				w.hub.OnSettle = func(_ causeway.Identity, m causeway.Message, o causeway.Outcome) {
					settled <- outcome{m.ID, o, m.DeliveryCount}
				}
				c := w.connect(w.dev1)
				c.subscribe(qos, c.commands())
				w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{ID: "long", Properties: []causeway.Property{{Key: "k", Value: strings.Repeat("ü", 15<<10)}}})
				w.hub.Enqueue(t, w.dev1.Identity, causeway.Message{ID: "short", Body: []byte("x")})
				p := expect[*wire.Publish](c)
				if !strings.Contains(p.Topic, "%24.mid=short&") {
					t.Fatalf("delivered on %.100s", p.Topic)
				}
				if qos > 0 {
					c.send(&wire.Ack{Kind: wire.PUBACK, ID: p.ID})
				}
				c.ping()
				synctest.Wait()
				for i := range causeway.MaxDeliveryCount {
					if got, want := <-settled, (outcome{"long", causeway.Released, i}); got != want {
						t.Fatalf("settled %+v, want %+v", got, want)
					}
				}
				if got := <-settled; got.id != "short" || got.o != causeway.Accepted {
					t.Errorf("settled %+v", got)
				}
				if n := w.hub.Depth(t, w.dev1.Identity); n != 0 {
					t.Errorf("%d commands are left", n)
				}
			})
		})
	}
}

func TestInputs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.mod)
		c.subscribe(1, "devices/dev1/modules/m1/inputs/in1/#")
		dev := w.tap.Device(causeway.Identity{Hub: "hub", Device: "dev1", Module: "m1"})
		m := causeway.Message{Body: []byte("x"), Input: "in1", From: causeway.Identity{Device: "dev1", Module: "filter"}, Properties: []causeway.Property{{Key: "k", Value: "v"}}}
		if err := dev.Deliver(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		p := expect[*wire.Publish](c)
		if p.Topic != "devices/dev1/modules/m1/inputs/in1/%24.cdid=dev1&%24.cmid=filter&k=v" || p.QoS != 1 {
			t.Errorf("delivered %+v", p)
		}
		c.send(&wire.Ack{Kind: wire.PUBACK, ID: p.ID})
		m.Input = "in2"
		hubtest.WantCode(t, dev.Deliver(t.Context(), m), causeway.DeviceNotOnline)
		c.ping()
	})
}
