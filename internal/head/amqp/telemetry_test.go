package amqp_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestTelemetry(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1, w.mod)
		s, m := c.out(hubamqp.KindTelemetry, w.dev1), c.out(hubamqp.KindTelemetry, w.mod)
		c.telemetry(s, "one")
		c.telemetry(s, "two")
		c.telemetry(m, "three")
		full := causeway.Message{
			Body: []byte("full"), ID: "id", CorrelationID: "cid", UserID: "user", To: "to", ContentType: "application/json", ContentEncoding: "utf-8",
			Expiry: time.UnixMilli(1e12).UTC(), CreationTime: "2020-01-01", Schema: "schema", InterfaceID: "urn:x", Component: "thermostat",
			Operation: "op", Output: "out1", DiagnosticID: "0123", DiagnosticCtx: "creationtimeutc=1",
			Properties: []causeway.Property{{Key: "a", Value: "b"}, {Key: "iothub-connection-device-id", Value: "dev9"}},
		}
		if got := c.deliver(s, wire.Transfer{Payload: hubamqp.AppendTelemetry(nil, &full)}); got != "accepted" {
			t.Fatal(got)
		}
		if got := w.stored("dev1"); got != "one,two,three,full" {
			t.Errorf("stored %q", got)
		}
		stored := w.hub.Telemetry(t, "dev1")[3]
		full.Properties = full.Properties[:1]
		full.From, full.Auth, full.GenerationID, full.Source = stored.From, stored.Auth, stored.GenerationID, stored.Source
		full.Enqueued, full.Sequence = stored.Enqueued, stored.Sequence
		if got, want := fmt.Sprintf("%+v", stored), fmt.Sprintf("%+v", full); got != want {
			t.Errorf("stored %s\nwant   %s", got, want)
		}
		if in, bytes := headkit.Value(w.metrics.MessagesIn), headkit.Value(w.metrics.BytesIn); in != 4 || bytes != 15 {
			t.Errorf("%v messages of %v bytes are counted", in, bytes)
		}
		if !w.hub.Connected(t, w.dev1) || !w.hub.Connected(t, w.mod) {
			t.Error("not connected")
		}
		// An identity is connected while it has a link.
		s.Close(nil)
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) || !w.hub.Connected(t, w.mod) {
			t.Error("not who has a link is connected")
		}
		c.close()
		synctest.Wait()
		if w.hub.Connected(t, w.mod) {
			t.Error("still connected")
		}
	})
}

// TestSettledTelemetry: what is sent settled is stored, also when the client is
// gone right after it.
func TestSettledTelemetry(t *testing.T) {
	for name, end := range map[string]func(c *client, s *wire.Sender){
		"detach": func(_ *client, s *wire.Sender) { s.Close(nil) },
		"end":    func(c *client, _ *wire.Sender) { _ = c.s.End(nil) },
		"close":  func(c *client, _ *wire.Sender) { c.c.Close(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open(w.dev1)
				s, err := c.tryOut("/devices/dev1/messages/events/", wire.LinkConfig{SndSettleMode: codec.SendSettled}, hubamqp.LinkProperties{})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				for i := range 5 {
					tr := event(fmt.Sprint(i))
					tr.Settled = true
					if err := s.TrySend(tr); err != nil {
						t.Fatal(err)
					}
				}
				end(c, s)
				synctest.Wait()
				if got := w.stored("dev1"); got != "0,1,2,3,4" {
					t.Errorf("stored %q", got)
				}
			})
		})
	}
}

// batchOf is a transfer with messages in it.
func batchOf(bodies ...string) wire.Transfer {
	var ms []causeway.Message
	for _, b := range bodies {
		ms = append(ms, causeway.Message{Body: []byte(b)})
	}
	return wire.Transfer{Format: hubamqp.BatchFormat, Payload: hubamqp.AppendBatch(nil, ms)}
}

func TestBatch(t *testing.T) {
	withLimits(t, amqp.Limits{BatchMessages: 10}, func(t *testing.T, w *world) {
		var sizes []int
		w.hub.OnSend = func(_ context.Context, _ causeway.Identity, msgs []causeway.Message) error {
			sizes = append(sizes, len(msgs))
			return nil
		}
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		var want []string
		for _, n := range []int{1, 2, 10, 11, 25, 0} {
			var bodies []string
			for i := range n {
				bodies = append(bodies, fmt.Sprint(n, "-", i))
			}
			want = append(want, bodies...)
			if got := c.deliver(s, batchOf(bodies...)); got != "accepted" && n > 0 {
				t.Errorf("%d messages: %s", n, got)
			}
		}
		if got := w.stored("dev1"); got != strings.Join(want, ",") {
			t.Errorf("stored %q", got)
		}
		if slices.Max(sizes) > 10 || len(sizes) != 8 {
			t.Errorf("sent %v at a time", sizes)
		}
		if in := headkit.Value(w.metrics.MessagesIn); in != 49 {
			t.Errorf("%v messages are counted", in)
		}

		// A bad message in a batch is a bad batch, large or small.
		for _, n := range []int{2, 24} {
			bodies := make([]string, n)
			b := batchOf(bodies...)
			wr := codec.NewWriter(b.Payload)
			wr.Data([]byte("no message"))
			b.Payload = wr.Bytes()
			if got := c.deliver(s, b); got != "rejected amqp:decode-error" {
				t.Errorf("bad batch of %d: %s", n, got)
			}
		}
		if got := w.stored("dev1"); got != strings.Join(want, ",") {
			t.Errorf("stored %q", got)
		}
	})
}

// TestMessageSizes is what is too large, and what is not.
func TestMessageSizes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 2 << 20
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		if got := s.MaxMessageSize(); got != 1<<20 {
			t.Errorf("max-message-size is %d", got)
		}
		body := func(n int) string { return strings.Repeat("x", n) }
		plain := func(n int) wire.Transfer {
			return wire.Transfer{Payload: hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte(body(n))})}
		}
		const most = causeway.MaxMessageSize
		tooLarge := "rejected " + hubamqp.MessageSize
		for _, x := range []struct {
			name string
			t    wire.Transfer
			want string
		}{
			{"largest", plain(most), "accepted"},
			{"larger", plain(most + 1), tooLarge},
			{"larger with its properties", wire.Transfer{Payload: hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte(body(most - 5)), ID: "123456"})}, tooLarge},
			{"batch of more than the largest", batchOf(body(most-1), body(most-1), body(most-1)), "accepted"},
			{"batch with a larger one", batchOf(body(10), body(most+1)), tooLarge},
		} {
			if got := c.deliver(s, x.t); got != x.want {
				t.Errorf("%s: %s, want %s", x.name, got, x.want)
			}
		}
		if got := w.refused(amqp.ReasonTooLarge); got != 3 {
			t.Errorf("counted %d", got)
		}
		if n := len(w.hub.Telemetry(t, "dev1")); n != 4 {
			t.Errorf("%d are stored", n)
		}
	})
}

// TestHubErrors is what clients are told of messages that the hub does not store.
// Never that they were released: some take that for success.
func TestHubErrors(t *testing.T) {
	for _, x := range []struct {
		code   causeway.Code
		want   string
		reason amqp.Reason
	}{
		{causeway.ServiceUnavailable, hubamqp.InternalError, amqp.ReasonHubFailed}, // the disk is full
		{causeway.ServerError, hubamqp.InternalError, amqp.ReasonHubFailed},
		{causeway.ThrottlingException, hubamqp.Throttled, amqp.ReasonThrottled},
		{causeway.IotHubQuotaExceeded, hubamqp.ResourceLimit, amqp.ReasonQuota},
		{causeway.ArgumentInvalid, hubamqp.ArgumentError, amqp.ReasonRejected},
		{causeway.MessageTooLarge, hubamqp.MessageSize, amqp.ReasonTooLarge},
		{causeway.GatewayTimeout, hubamqp.Timeout, amqp.ReasonHubFailed},
	} {
		t.Run(x.code.Name(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open(w.dev1)
				s := c.out(hubamqp.KindTelemetry, w.dev1)
				w.hub.OnSend = func(context.Context, causeway.Identity, []causeway.Message) error {
					return causeway.Errorf(x.code, "test", "not now")
				}
				for range 3 {
					if got := c.deliver(s, event("x")); got != "rejected "+x.want {
						t.Errorf("%s, want rejected %s", got, x.want)
					}
				}
				if got := w.refused(x.reason); got != 3 {
					t.Errorf("counted %d", got)
				}
				w.hub.OnSend = nil
				c.telemetry(s, "y") // the link is as good as before
			})
		})
	}
}

// TestSalvage: of a burst only the messages that are at fault are rejected.
func TestSalvage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		batches := 0
		w.hub.OnSend = func(_ context.Context, _ causeway.Identity, msgs []causeway.Message) error {
			batches++
			for i := range msgs {
				if string(msgs[i].Body) == "bad" {
					return causeway.Errorf(causeway.ArgumentInvalid, "test", "bad")
				}
			}
			return nil
		}
		outcomes := make([]string, 6)
		var wg sync.WaitGroup
		transfers := []wire.Transfer{event("1"), event("bad"), event("2"), batchOf("3", "bad"), batchOf("4", "5"), event("6")}
		transfers[5].Payload = []byte("no message")
		release := w.hold(c, s)
		for i, tr := range transfers {
			wg.Go(func() { outcomes[i] = c.deliver(s, tr) })
			synctest.Wait()
		}
		release()
		wg.Wait()
		want := "accepted|rejected com.microsoft:argument-error|accepted|rejected com.microsoft:argument-error|accepted|rejected amqp:decode-error"
		if got := strings.Join(outcomes, "|"); got != want {
			t.Errorf("outcomes %s\nwant     %s", got, want)
		}
		if got := w.stored("dev1"); got != "hold,1,2,4,5" {
			t.Errorf("stored %q", got)
		}
	})
}

// hold keeps the server busy with a message until release is called; what is
// sent meanwhile comes in one burst.
func (w *world) hold(c *client, s *wire.Sender) (release func()) {
	ch := make(chan struct{})
	before := w.hub.OnSend
	w.hub.OnSend = func(ctx context.Context, id causeway.Identity, msgs []causeway.Message) error {
		if string(msgs[0].Body) == "hold" {
			<-ch
			return nil
		}
		if before != nil {
			return before(ctx, id, msgs)
		}
		return nil
	}
	go c.telemetry(s, "hold")
	synctest.Wait()
	return func() { close(ch) }
}

// TestBursts: what has come together is stored together.
func TestBursts(t *testing.T) {
	withLimits(t, amqp.Limits{BatchMessages: 100}, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		var sizes []int
		w.hub.OnSend = func(_ context.Context, _ causeway.Identity, msgs []causeway.Message) error {
			sizes = append(sizes, len(msgs))
			return nil
		}
		release := w.hold(c, s)
		var wg sync.WaitGroup
		for i := range 250 {
			wg.Go(func() { c.telemetry(s, fmt.Sprint(i)) })
		}
		synctest.Wait()
		release()
		wg.Wait()
		if len(sizes) > 5 || slices.Max(sizes) != 100 {
			t.Errorf("stored as %v", sizes)
		}
	})
}

// TestManyIdentities: fifty devices on one connection, each in its order; those
// of one burst are stored side by side.
func TestManyIdentities(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		var ids []causeway.Identity
		for i := range 50 {
			ids = append(ids, w.add(fmt.Sprint("many-", i), ""))
		}
		c := w.open(ids...)
		var senders []*wire.Sender
		for i, id := range ids {
			if i%2 == 0 { // some on a session of their own
				ctx, cancel := c.waiting()
				s, err := c.c.Begin(ctx)
				cancel()
				if err != nil {
					t.Fatal(err)
				}
				own := *c
				own.s = s
				senders = append(senders, own.out(hubamqp.KindTelemetry, id))
				continue
			}
			senders = append(senders, c.out(hubamqp.KindTelemetry, id))
		}
		var mu sync.Mutex
		at, most := 0, 0
		w.hub.OnSend = func(context.Context, causeway.Identity, []causeway.Message) error {
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(time.Millisecond) //nolint:forbidigo // simulated time
			mu.Lock()
			at--
			mu.Unlock()
			return nil
		}
		release := w.hold(c, senders[0])
		var wg sync.WaitGroup
		for k := range 10 {
			for i := range ids {
				wg.Go(func() { c.telemetry(senders[i], fmt.Sprint(k)) })
			}
			synctest.Wait()
		}
		release()
		wg.Wait()
		for i, id := range ids {
			want := "0,1,2,3,4,5,6,7,8,9"
			if i == 0 {
				want = "hold," + want
			}
			if got := w.stored(id.Device); got != want {
				t.Errorf("%s: stored %q", id, got)
			}
		}
		if most < 10 || most > 32 {
			t.Errorf("%d were stored side by side", most)
		}
		c.close()
	})
}

// TestFullDisk: while nothing can be stored memory does not grow, and clients
// are told.
func TestFullDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hub.OnSend = func(context.Context, causeway.Identity, []causeway.Message) error {
			return causeway.Errorf(causeway.ServiceUnavailable, "test", "no space left")
		}
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		for range 2000 {
			if got := c.deliver(s, event("x")); got != "rejected "+hubamqp.InternalError {
				t.Fatal(got)
			}
		}
		w.hub.OnSend = nil
		c.telemetry(s, "y")
		if got := w.stored("dev1"); got != "y" {
			t.Errorf("stored %q", got)
		}
	})
}

// TestSlowHub: while the hub stores, a client can have no more under way than its
// credit.
func TestSlowHub(t *testing.T) {
	withLimits(t, amqp.Limits{Credit: 50}, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 20
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		release := w.hold(c, s)
		sent := 0
		for ; sent < 1000; sent++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := s.Send(ctx, event(strings.Repeat("x", 100)))
			cancel()
			if err != nil {
				break
			}
		}
		if sent != 49 {
			t.Errorf("%d were sent", sent)
		}
		release()
		synctest.Wait()
		if n := len(w.hub.Telemetry(t, "dev1")); n != 50 {
			t.Errorf("%d are stored", n)
		}
	})
}

// TestManyInPart: large messages of many devices may come side by side.
func TestManyInPart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const devices, size = 40, 250_000
		c := w.raw()
		c.hello()
		c.attach(&codec.Attach{Name: "cbs", Handle: 0, Target: &codec.Target{Address: codec.Some("$cbs")}, Source: &codec.Source{}, InitialDeliveryCount: codec.Some(uint32(0))})
		c.write(c.transfer(0, codec.Transfer{Settled: codec.Some(true)}, hubamqp.AppendPutToken(nil, hubamqp.PutToken{
			MessageID: codec.String("1"), Type: hubamqp.TokenSAS, Name: host, Token: causeway.Secret(policyToken("device", "", inAnHour())),
		})))
		message := hubamqp.AppendTelemetry(nil, &causeway.Message{Body: make([]byte, size)})
		for i := range uint32(devices) {
			id := w.add(fmt.Sprintf("many%d", i), "")
			c.attach(&codec.Attach{
				Name: id.Device, Handle: 1 + i, Source: &codec.Source{}, InitialDeliveryCount: codec.Some(uint32(0)),
				Target: &codec.Target{Address: codec.Some(hubamqp.DeviceAddress(hubamqp.KindTelemetry, id))},
			})
		}
		const frame = 50_000
		for from := 0; from < len(message); from += frame {
			part := message[from:min(from+frame, len(message))]
			for i := range uint32(devices) {
				c.write(c.transfer(1+i, codec.Transfer{DeliveryID: codec.Some(100 + i), More: from+frame < len(message)}, part))
			}
		}
		for got := uint32(0); got < devices; {
			d := expect[*codec.Disposition](c)
			if d.State.Kind != codec.CodeAccepted {
				t.Fatalf("%+v", d)
			}
			got += d.Last.Or(d.First) - d.First + 1
		}
	})
}

// TestStrangersInPart: who has proven nothing cannot have much kept.
func TestStrangersInPart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.hello()
		n := uint32(0)
		for ; n < 20; n++ {
			c.send(&codec.Attach{Name: fmt.Sprint(n), Handle: n, Target: &codec.Target{Address: codec.Some("$cbs")}, Source: &codec.Source{}, InitialDeliveryCount: codec.Some(uint32(0))})
			expect[*codec.Attach](c)
			expect[*codec.Flow](c)
			c.write(c.transfer(n, codec.Transfer{More: true}, make([]byte, 60_000)))
			c.send(&codec.Flow{IncomingWindow: 1000, OutgoingWindow: 1000, Handle: codec.Some(n), Echo: true, DeliveryCount: codec.Some(uint32(1))})
			p, err := c.next() // the echo, unless it was too much
			if err != nil {
				t.Fatal(err)
			}
			if d, ok := p.(*codec.Detach); ok {
				if d.Error == nil || d.Error.Name != wire.ResourceLimitExceeded {
					t.Errorf("%+v", d)
				}
				break
			}
		}
		if n != 4 {
			t.Errorf("%d large requests were kept in part", n)
		}
	})
}

// TestVanishing: a client that is gone in the middle of a message leaves nothing
// behind.
func TestVanishing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		c.attach(&codec.Attach{Name: "d2c", Handle: 1, Source: &codec.Source{}, Target: &codec.Target{Address: codec.Some("/devices/dev1/messages/events")}, InitialDeliveryCount: codec.Some(uint32(0))})
		payload := hubamqp.AppendTelemetry(nil, &causeway.Message{Body: make([]byte, 1000)})
		c.write(c.transfer(1, codec.Transfer{More: true}, payload[:500]))
		synctest.Wait()
		if !w.hub.Connected(t, w.dev1) {
			t.Error("not connected")
		}
		_ = c.nc.Close()
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) || w.stored("dev1") != "" {
			t.Error("something is left")
		}
	})
}

// TestAborted: a message that its client gives up is none.
func TestAborted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		c.attach(&codec.Attach{Name: "d2c", Handle: 1, Source: &codec.Source{}, Target: &codec.Target{Address: codec.Some("/devices/dev1/messages/events")}, InitialDeliveryCount: codec.Some(uint32(0))})
		payload := hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte("given up")})
		c.write(c.transfer(1, codec.Transfer{More: true}, payload[:5]))
		c.write(c.transfer(1, codec.Transfer{DeliveryID: codec.Some(c.sent - 1), Aborted: true}, nil))
		c.write(c.transfer(1, codec.Transfer{}, hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte("good")})))
		if d := expect[*codec.Disposition](c); d.State.Kind != codec.CodeAccepted || d.First != c.sent-1 {
			t.Errorf("disposition %+v", d)
		}
		if got := w.stored("dev1"); got != "good" {
			t.Errorf("stored %q", got)
		}
	})
}
