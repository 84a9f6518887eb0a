package amqp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// twin is the pair of links for a twin.
type twin struct {
	*receiver
	out *wire.Sender
}

func (c *client) twin(id causeway.Identity, credit uint32) *twin {
	c.t.Helper()
	address := hubamqp.DeviceAddress(hubamqp.KindTwin, id)
	p := hubamqp.LinkProperties{ChannelCorrelationID: "twin:1234"}
	r, err := c.tryIn(address, wire.LinkConfig{SndSettleMode: codec.SendSettled}, credit)
	if err != nil {
		c.t.Fatal(err)
	}
	s, err := c.tryOut(address, wire.LinkConfig{SndSettleMode: codec.SendSettled}, p)
	if err != nil {
		c.t.Fatal(err)
	}
	return &twin{r, s}
}

func (w *twin) ask(r hubamqp.TwinRequest) {
	w.c.t.Helper()
	ctx, cancel := w.c.waiting()
	defer cancel()
	if _, err := w.out.Send(ctx, wire.Transfer{Settled: true, Payload: hubamqp.AppendTwinRequest(nil, r)}); err != nil {
		w.c.t.Fatal(err)
	}
}

func (w *twin) answer() hubamqp.TwinResponse {
	w.c.t.Helper()
	p, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), w.next().Payload)
	if err != nil {
		w.c.t.Fatal(err)
	}
	return p
}

func TestTwin(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		tw := c.twin(w.dev1, 100)
		w.hub.SetDesired(t, w.dev1, `{"a":1}`) // nobody has asked for that
		ids := []codec.Value{codec.String("Get1"), codec.UUID([16]byte{1}), codec.Ulong(3), codec.String("sub"), codec.String("unsub")}

		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: ids[0]})
		p := tw.answer()
		if p.Status != 200 || !p.Correlation.Equal(ids[0]) || string(p.Body) != `{"desired":{"$version":2,"a":1},"reported":{"$version":1}}` {
			t.Errorf("get: %+v %s", p, p.Body)
		}
		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: ids[1], Body: []byte(`{"b":2}`)})
		p = tw.answer()
		if p.Status != 204 || p.Version != 2 || !p.Correlation.Equal(ids[1]) || len(p.Body) != 0 {
			t.Errorf("patch: %+v %s", p, p.Body)
		}
		if got, _ := w.hub.Reported(t, w.dev1); string(got) != `{"b":2}` {
			t.Errorf("reported %s", got)
		}

		// Changes come after a subscription, and until its end.
		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: ids[3]})
		if p = tw.answer(); p.Status != 200 || !p.Correlation.Equal(ids[3]) {
			t.Errorf("subscribe: %+v", p)
		}
		w.hub.SetDesired(t, w.dev1, `{"a":null,"c":[1]}`)
		p = tw.answer()
		if !p.Desired() || p.Version != 3 || string(p.Body) != `{"$version":3,"a":null,"c":[1]}` {
			t.Errorf("change: %+v %s", p, p.Body)
		}
		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinUnsubscribe, Correlation: ids[4]})
		if p = tw.answer(); p.Status != 200 || !p.Correlation.Equal(ids[4]) {
			t.Errorf("unsubscribe: %+v", p)
		}
		w.hub.SetDesired(t, w.dev1, `{"d":1}`)
		tw.quiet(time.Second)

		// A subscription ends with either link.
		tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: ids[3]})
		tw.answer()
		if got := w.hub.Lanes(t, w.dev1); got != causeway.LaneDesired {
			t.Errorf("lanes %b", got)
		}
		tw.Close(nil)
		synctest.Wait()
		if got := w.hub.Lanes(t, w.dev1); got != 0 {
			t.Errorf("lanes %b", got)
		}
	})
}

// TestTwinErrors: refusals have a status and a body that says why.
func TestTwinErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		tw := c.twin(w.dev1, 100)
		id := codec.String("x")
		unknown, err := (&codec.Message{
			Properties:         codec.Properties{CorrelationID: id},
			MessageAnnotations: codec.NewMap(codec.Symbol("operation"), codec.String("DANCE")),
		}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			name    string
			request []byte
			hub     error
			status  int
		}{
			{"patch that is no object", hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: id, Body: []byte("[1]")}), nil, 400},
			{"patch with a bad key", hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: id, Body: []byte(`{"a.b":1}`)}), nil, 400},
			{"patch of another version", hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: id, Version: 9, Body: []byte(`{}`)}), nil, 412},
			{"unknown operation", unknown, nil, 400},
			{"throttled", hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: id}), causeway.Errorf(causeway.ThrottlingException, "test", "slow down"), 429},
			{"store down", hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: id}), causeway.Errorf(causeway.ServiceUnavailable, "test", "down"), 503},
		} {
			w.hub.OnTwin = func(context.Context, causeway.Identity) error { return x.hub }
			if got := c.deliver(tw.out, wire.Transfer{Payload: x.request}); got != "accepted" {
				t.Errorf("%s: %s", x.name, got)
			}
			p := tw.answer()
			var body struct {
				ErrorCode int    `json:"errorCode"`
				Message   string `json:"message"`
			}
			if err := json.Unmarshal(p.Body, &body); err != nil || body.Message == "" || body.ErrorCode/1000 != x.status {
				t.Errorf("%s: body %s: %v", x.name, p.Body, err)
			}
			if p.Status != x.status || !p.Correlation.Equal(id) || p.Version != 0 {
				t.Errorf("%s: %+v", x.name, p)
			}
		}
	})
}

// TestTwinWithoutCorrelation: what cannot be answered is rejected, as is what
// comes before there is a link to answer on.
func TestTwinRejects(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTwin, w.dev1)
		get := hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.String("x")})
		for range 100 { // more than there is credit for at first
			if got := c.deliver(s, wire.Transfer{Payload: get}); got != "rejected "+hubamqp.NotAllowed {
				t.Fatalf("without a link for answers: %s", got)
			}
		}
		r := c.in(hubamqp.KindTwin, w.dev1, 10)
		null := hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet})
		if got := c.deliver(s, wire.Transfer{Payload: null}); got != "rejected "+hubamqp.ArgumentError {
			t.Errorf("without a correlation id: %s", got)
		}
		if got := c.deliver(s, wire.Transfer{Payload: []byte("no message")}); got != "rejected amqp:decode-error" {
			t.Errorf("no message: %s", got)
		}
		if got := c.deliver(s, wire.Transfer{Payload: get}); got != "accepted" {
			t.Errorf("now: %s", got)
		}
		r.next()
	})
}

// TestTwinOrder: requests of one identity take effect in their order, while
// telemetry flows on.
func TestTwinOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		tw := c.twin(w.dev1, 100)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		w.hub.OnReport = func(context.Context, causeway.Identity, causeway.Patch) error {
			time.Sleep(time.Second) //nolint:forbidigo // simulated time
			return nil
		}
		for i := range 100 { // more than may wait
			tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: codec.Ulong(uint64(i)), Body: fmt.Appendf(nil, `{"n":%d}`, i)})
			if i == 10 {
				begin := time.Now()
				c.telemetry(s, "x")
				if d := time.Since(begin); d != 0 {
					t.Errorf("telemetry took %v", d)
				}
			}
		}
		for i := range 100 {
			if p := tw.answer(); p.Status != 204 || p.Version != int64(i)+2 || !p.Correlation.Equal(codec.Ulong(uint64(i))) {
				t.Fatalf("answer %d: %+v", i, p)
			}
		}
	})
}

// TestTwinBounds: how many requests may wait, and how large they may be
// together.
func TestTwinBounds(t *testing.T) {
	withLimits(t, amqp.Limits{TwinRequests: 8}, func(t *testing.T, w *world) {
		w.net.Buffer = 4 << 20
		c := w.open(w.dev1)
		tw := c.twin(w.dev1, 100)
		release := make(chan struct{})
		w.hub.OnReport = func(context.Context, causeway.Identity, causeway.Patch) error {
			<-release
			return nil
		}
		large := []byte(`{"x":"` + strings.Repeat("y", 100<<10) + `"}`)
		n := 0
		for ; n < 50; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := tw.out.Send(ctx, wire.Transfer{Settled: true, Payload: hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{
				Op: hubamqp.TwinPatch, Correlation: codec.Ulong(uint64(n)), Body: large,
			})})
			cancel()
			if err != nil {
				break
			}
		}
		if n != 8 {
			t.Errorf("%d requests were let through", n)
		}
		close(release)
		status := map[int]int{}
		for range n {
			status[tw.answer().Status]++
		}
		if status[204] < 2 || status[429] < 3 || status[204]+status[429] != n {
			t.Errorf("answers %v", status)
		}
	})
}

// TestTwinReattach: a client has no more requests wait by sending them on one new
// link after the other.
func TestTwinReattach(t *testing.T) {
	const most = 8
	withLimits(t, amqp.Limits{TwinRequests: most}, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		tw := c.twin(w.dev1, 0)
		get := func(i int) wire.Transfer {
			return wire.Transfer{Settled: true, Payload: hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.Ulong(uint64(i))})}
		}
		n := 0
		for range 5 {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := tw.out.Send(ctx, get(n))
				cancel()
				if err != nil {
					break
				}
				n++
			}
			tw.out.Close(nil)
			tw.out = c.out(hubamqp.KindTwin, w.dev1)
		}
		if n > most+1 { // one is being answered
			t.Errorf("%d requests wait", n)
		}
		tw.Grant(1000)
		c.c.Push()
		for i := range n {
			if p := tw.answer(); p.Status != 200 || !p.Correlation.Equal(codec.Ulong(uint64(i))) {
				t.Fatalf("answer %d: %+v", i, p)
			}
		}
		for range 3 * most { // and then all is as ever
			tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.String("x")})
			tw.answer()
		}
	})
}

// TestTwinDrain: answers that are due go before a drain of their link is answered.
func TestTwinDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.raw()
		c.open(w.dev1)
		address := codec.Some("/devices/dev1/twin")
		c.attach(&codec.Attach{Name: "in", Handle: 1, Role: codec.Receiver, Source: &codec.Source{Address: address}, Target: &codec.Target{}})
		c.attach(&codec.Attach{Name: "out", Handle: 2, Source: &codec.Source{}, Target: &codec.Target{Address: address}, InitialDeliveryCount: codec.Some(uint32(0))})
		for i := range uint64(3) {
			c.write(c.transfer(2, codec.Transfer{Settled: codec.Some(true)}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.Ulong(i)})))
		}
		synctest.Wait()
		drain := func(count uint32) {
			c.send(&codec.Flow{
				NextIncomingID: codec.Some(uint32(0)), IncomingWindow: 1000, OutgoingWindow: 1000, Handle: codec.Some(uint32(1)),
				DeliveryCount: codec.Some(count), LinkCredit: codec.Some(uint32(5)), Drain: true,
			})
		}
		drain(0)
		for i := range uint64(3) {
			expect[*codec.Transfer](c)
			p, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), c.payload)
			if err != nil || !p.Correlation.Equal(codec.Ulong(i)) {
				t.Errorf("answer %d: %+v, %v", i, p, err)
			}
		}
		for count := range uint32(2) {
			got, err := c.next()
			if f, ok := got.(*codec.Flow); err != nil || !ok || f.DeliveryCount.V != 5*(count+1) || f.LinkCredit.V != 0 || !f.Drain {
				t.Fatalf("got %+v, %v", got, err)
			}
			if count == 0 {
				drain(5) // with nothing due: at once
			}
		}
	})
}

// TestTwinWithoutCredit: a client that takes no answers holds up nobody, and a
// change that it does not take ends its links.
func TestTwinWithoutCredit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1, w.dev2)
		tw := c.twin(w.dev1, 0)
		for i := range 20 {
			tw.ask(hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: codec.Ulong(uint64(i))})
		}
		c.telemetry(c.out(hubamqp.KindTelemetry, w.dev1), "x")
		tw.quiet(time.Second)
		tw.Grant(3)
		c.c.Push()
		for i := range 3 {
			if p := tw.answer(); !p.Correlation.Equal(codec.Ulong(uint64(i))) {
				t.Errorf("answer %+v", p)
			}
		}
		tw.quiet(time.Second)

		other := c.twin(w.dev2, 0)
		other.Grant(1)
		c.c.Push()
		other.ask(hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: codec.String("s")})
		other.answer()
		w.hub.SetDesired(t, w.dev2, `{"a":1}`)
		if got := other.ended(); got != hubamqp.DetachForced {
			t.Errorf("ended with %s", got)
		}
	})
}
