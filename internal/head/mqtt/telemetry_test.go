package mqtt_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func pub(topic, body string, id uint16) *wire.Publish {
	p := &wire.Publish{Topic: topic, Payload: []byte(body), ID: id}
	if id > 0 {
		p.QoS = 1
	}
	return p
}

// acked expects a PUBACK for each id, in order.
func (c *client) acked(ids ...uint16) {
	c.t.Helper()
	for _, id := range ids {
		if a := expect[*wire.Ack](c); a.Kind != wire.PUBACK || a.ID != id {
			c.t.Fatalf("got %s %d, want PUBACK %d", a.Kind, a.ID, id)
		}
	}
}

func TestTelemetry(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.send(pub(c.events("%24.ct=application%2Fjson&$.ce=utf-8&%24.mid=a1&%24.cid=c1&%24.on=out&alert=true&empty="), `{"t":1}`, 1))
		c.acked(1)
		m := w.hub.Telemetry(t, "dev1")[0]
		want := causeway.Message{
			Body: []byte(`{"t":1}`), ID: "a1", CorrelationID: "c1", ContentType: "application/json", ContentEncoding: "utf-8", Output: "out",
			Properties: []causeway.Property{{Key: "alert", Value: "true"}, {Key: "empty"}},
		}
		ignore := cmpopts.IgnoreFields(causeway.Message{}, "From", "Auth", "GenerationID", "Enqueued", "Source", "Sequence", "ModelID")
		if d := cmp.Diff(want, m, ignore); d != "" {
			t.Error(d)
		}
		if m.From != (causeway.Identity{Hub: "hub", Device: "dev1"}) {
			t.Errorf("from %+v", m.From)
		}
		// All the ways to write a topic without properties, and QoS 0.
		for _, topic := range []string{"devices/dev1/messages/events", c.events(""), c.events("/"), c.events("?"), c.events("?/")} {
			c.send(pub(topic, "x", 0))
		}
		c.ping()
		if got := w.telemetry(); len(got) != 6 {
			t.Errorf("%d messages", len(got))
		}
		mod := w.connect(w.mod)
		mod.send(pub(mod.events("k=v"), "from m1", 9))
		mod.acked(9)
		ms := w.hub.Telemetry(t, "dev1")
		if last := ms[len(ms)-1]; last.From.Module != "m1" || string(last.Body) != "from m1" {
			t.Errorf("module's message %+v", last)
		}
	})
}

func TestRetain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		for i := range 3 { // the third finds the topic cached
			p := pub(c.events("k=v"), "x", uint16(2*i+1))
			p.Retain = true
			c.send(p, pub(c.events("k=v"), "x", uint16(2*i+2)))
			c.acked(uint16(2*i+1), uint16(2*i+2))
		}
		plain := []causeway.Property{{Key: "k", Value: "v"}}
		retained := append(slices.Clone(plain), causeway.Property{Key: "mqtt-retain", Value: "true"}, causeway.Property{Key: "x-opt-retain", Value: "true"})
		for i, m := range w.hub.Telemetry(t, "dev1") {
			want := plain
			if i%2 == 0 {
				want = retained
			}
			if d := cmp.Diff(want, m.Properties); d != "" {
				t.Errorf("message %d: %s", i, d)
			}
		}
	})
}

// TestBatches shows that what arrives together is sent together, in order,
// acknowledged in order, and only when it is durable.
func TestBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var batches []int
		release := make(chan struct{})
		w.hub.OnSend = func(_ context.Context, _ causeway.Identity, msgs []causeway.Message) error {
			mu.Lock()
			batches = append(batches, len(msgs))
			mu.Unlock()
			<-release
			return nil
		}
		c := w.connect(w.dev1)
		var packets []wire.Packet
		var want []string
		var ids []uint16
		for i := range 300 {
			body, id := fmt.Sprint(i), uint16(i+1)
			if i%7 == 3 {
				id = 0
			} else {
				ids = append(ids, id)
			}
			packets = append(packets, pub(c.events(fmt.Sprintf("n=%d", i/5)), body, id))
			want = append(want, body)
		}
		c.send(packets...)
		synctest.Wait()
		if n := len(w.telemetry()); n != 0 {
			t.Fatalf("%d messages stored early", n)
		}
		c.quiet(1)
		close(release)
		c.acked(ids...)
		if d := cmp.Diff(want, w.telemetry()); d != "" {
			t.Error(d)
		}
		for i, m := range w.hub.Telemetry(t, "dev1") {
			if n, _ := m.Property("n"); n != fmt.Sprint(i/5) {
				t.Fatalf("message %d has property n=%s", i, n)
			}
		}
		// The network of the test tells nothing about what has arrived, so a
		// burst is what one read brought: far fewer calls than messages.
		if len(batches) > 10 || slices.Max(batches) > 128 {
			t.Errorf("batches of %v", batches)
		}
	})
}

// TestPieces sends packets byte by byte, and packets larger than any buffer.
func TestPieces(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		b, err := pub(c.events("k=v"), "slow", 1).Append(nil, wire.V311)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			c.write(b[i : i+1])
			synctest.Wait()
		}
		c.acked(1)
		sizes := []int{0, 1, 127, 128, 32 << 10, 33 << 10, 100_000, causeway.MaxMessageSize}
		for i, n := range sizes {
			body := strings.Repeat(string(rune('a'+i)), n)
			c.send(pub(c.events(""), body, uint16(i+1)), pub(c.events(""), "small", 100))
			c.acked(uint16(i+1), 100)
			ms := w.hub.Telemetry(t, "dev1")
			if got := ms[len(ms)-2].Body; string(got) != body {
				t.Errorf("body of %d bytes arrived as %d other ones", n, len(got))
			}
		}
	})
}

// TestLargestMessage: the limit is that of the body with its properties, as
// they are once decoded; the topic may be as long as MQTT allows besides.
func TestLargestMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		key, value := "k", strings.Repeat("/", 21_000) // %2F each in the topic
		body := strings.Repeat("x", causeway.MaxMessageSize-len(key)-len(value))
		for i := range uint16(3) { // the third finds the topic seen before
			c.send(pub(c.events(key+"="+strings.Repeat("%2F", len(value))), body, i+1))
			c.acked(i + 1)
		}
		ms := w.hub.Telemetry(t, "dev1")
		if len(ms) != 3 || string(ms[2].Body) != body || ms[2].Properties[0].Value != value {
			t.Errorf("%d messages arrived", len(ms))
		}
		c.send(pub(c.events(key+"="+strings.Repeat("%2F", len(value))), body+"x", 9))
		c.closed()
	})
}

func TestOneBadMessageDoesNotHoldUpTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		bad := c.events("%24.mid=" + strings.Repeat("x", causeway.MaxMessageID+1)) // the hub refuses it
		c.send(pub(c.events(""), "1", 1), pub(c.events(""), "2", 2), pub(bad, "3", 3), pub(c.events(""), "4", 4))
		c.acked(1, 2)
		c.closed()
		if got := strings.Join(w.telemetry(), ""); got != "12" {
			t.Errorf("stored %q", got)
		}
	})
}

func TestHubFailures(t *testing.T) {
	for name, err := range map[string]error{
		"log full":  causeway.Errorf(causeway.ServiceUnavailable, "test", "no space"),
		"throttled": causeway.Errorf(causeway.ThrottlingException, "test", "slow down"),
		"quota":     causeway.Errorf(causeway.IotHubQuotaExceeded, "test", "enough for today"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.hub.OnSend = func(context.Context, causeway.Identity, []causeway.Message) error { return err }
				c := w.connect(w.dev1)
				c.send(pub(c.events(""), "1", 1))
				c.closed() // and no PUBACK
			})
		})
	}
}

// TestSendBorrows overwrites what was sent after it was acknowledged: the
// connection's memory must not be seen in what the hub has kept.
func TestSendBorrows(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		for i := range 50 {
			digit := string(rune('a' + i%26))
			c.send(pub(c.events("%24.mid="+strings.Repeat(digit, 20)+"&k%20="+digit), strings.Repeat(digit, 300), uint16(i+1)))
			c.acked(uint16(i + 1))
		}
		for i, m := range w.hub.Telemetry(t, "dev1") {
			digit := string(rune('a' + i%26))
			if !bytes.Equal(m.Body, bytes.Repeat([]byte(digit), 300)) || m.ID != strings.Repeat(digit, 20) || m.Properties[0] != (causeway.Property{Key: "k ", Value: digit}) {
				t.Fatalf("message %d: %s %+v", i, m.Body, m)
			}
		}
	})
}
