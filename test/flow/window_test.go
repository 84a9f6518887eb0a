package flow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// uuid returns a correlation id.
func uuid(n byte) codec.Value { return codec.UUID([16]byte{15: n}) }

// TestSmallestWindow is a peer that takes one frame of 512 bytes at a time. It
// gets everything that others do.
func TestSmallestWindow(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		small := amqp.Config{MaxFrameSize: 512, IncomingWindow: 1}
		w.create("d")
		w.fill("d", 20, 20<<10)

		// Refusals are longer than a frame.
		p := w.open(small)
		ctx, cancel := w.waiting()
		defer cancel()
		reply, err := p.Request(ctx, hubamqp.PutToken{ReplyTo: "cbs", Type: hubamqp.TokenSAS, Name: strings.Repeat("n", 450), Token: "SharedAccessSignature sr=x"})
		if err != nil || reply.Status != 401 {
			t.Errorf("a token that is none: %d %.40q %v", reply.Status, reply.Description, err)
		}
		if _, err := p.Sender(ctx, "/devices/"+strings.Repeat("d", 128)+"/messages/events"); err == nil || !strings.Contains(err.Error(), amqp.UnauthorizedAccess) {
			t.Errorf("a link without a token: %v", err)
		}

		back := w.backend(small)
		r := back.events(20)
		for i := range 20 {
			if e := r.event(); e.Sequence != int64(i) || len(e.Message.Body) != 20<<10 {
				t.Fatalf("event %d is %d, of %d bytes", i, e.Sequence, len(e.Message.Body))
			}
		}
		replies := back.receiverOf(amqp.LinkConfig{Source: "localhost/$management", Target: "here"}, 10)
		ask := back.sender("localhost/$management")
		for i := range 5 {
			ask.deliver(hubamqp.AppendManagementRequest(nil, hubamqp.ManagementRequest{
				MessageID: codec.String(strings.Repeat("i", 400) + fmt.Sprint(i)), ReplyTo: "here", Type: hubamqp.TypeEventHub, Name: "localhost",
			}))
		}
		for range 5 {
			if reply, info, err := hubamqp.DecodeEventHubInfo(replies.next().Payload); err != nil || reply.Status != 200 || len(info.Partitions) != 1 {
				t.Errorf("hub info: %+v %+v %v", reply, info, err)
			}
		}

		dev := w.device("d", small)
		in := dev.receiver("/devices/d/messages/devicebound", 10)
		out := back.sender(hubamqp.ServiceCommandsAddress)
		for i := range 3 {
			out.deliver(command("d", fmt.Sprint(i), large[:60<<10]))
		}
		for i := range 3 {
			m, d := in.command()
			if m.ID != fmt.Sprint(i) || string(m.Body) != large[:60<<10] {
				t.Errorf("command %d is %s, of %d bytes", i, m.ID, len(m.Body))
			}
			in.Accept(d)
		}
		notices := back.receiver(hubamqp.FeedbackAddress, 1)
		if records, _, err := hubamqp.DecodeFeedback(notices.next().Payload); err != nil || len(records) != 3 {
			t.Errorf("feedback: %+v %v", records, err)
		}

		value := strings.Repeat("v", 4000)
		w.rest("PATCH", "/twins/d", map[string]any{"properties": map[string]any{"desired": map[string]any{"a": value, "b": value}}}, 200)
		twin, request := dev.receiver("/devices/d/twin", 10), dev.sender("/devices/d/twin")
		request.deliver(hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: uuid(1)}))
		if a, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), twin.next().Payload); err != nil || a.Status != 200 || strings.Count(string(a.Body), value) != 2 {
			t.Errorf("twin: %d, %d bytes, %v", a.Status, len(a.Body), err)
		}

		calls, answers := dev.receiver("/devices/d/methods/devicebound", 10), dev.sender("/devices/d/methods/devicebound")
		called := make(chan error, 1)
		go func() {
			_, err := w.tryRest("POST", "/twins/d/methods", map[string]any{"methodName": "m", "payload": large[:100<<10], "responseTimeoutInSeconds": 30}, 200)
			called <- err
		}()
		call, err := hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), calls.next().Payload)
		if err != nil || len(call.Call.Payload) != 100<<10+2 {
			t.Fatalf("call: %d bytes, %v", len(call.Call.Payload), err)
		}
		answers.deliver(hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: call.Correlation, Result: causeway.Result{Status: 200, Payload: []byte("1")}}))
		if err := <-called; err != nil {
			t.Error(err)
		}
	})
}

// TestWindowThatNeverOpens: one session of a connection takes no frame. Another
// one is served, and what was meant for the first is not lost.
func TestWindowThatNeverOpens(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d", "e")
		ctx, cancel := w.waiting()
		defer cancel()
		nc, err := w.dial(ctx, w.amqp)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		raw := amqppeer.NewRaw(nc)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(raw.Hello())
		must(raw.Put(0, "localhost/devices/d", w.deviceToken("d")))
		must(raw.Put(1, "localhost/devices/e", w.deviceToken("e")))
		closed, open := amqppeer.BeginFrame(), amqppeer.BeginFrame()
		closed.IncomingWindow = 0
		for channel, begin := range []*codec.Begin{1: closed, 2: open} {
			if begin == nil {
				continue
			}
			must(raw.Send(uint16(channel), begin))
			_, err := amqppeer.Expect[*codec.Begin](raw)
			must(err)
		}
		shut := amqppeer.Credit(0, 100)
		shut.IncomingWindow = 0
		must(raw.Send(1, amqppeer.ReceiveFrom("/devices/d/messages/devicebound", 0), shut))
		must(raw.Send(2, amqppeer.ReceiveFrom("/devices/e/messages/devicebound", 0), amqppeer.Credit(0, 100)))
		for range 2 {
			_, err := amqppeer.Expect[*codec.Attach](raw)
			must(err)
		}
		out := w.backend(amqp.Config{}).sender(hubamqp.ServiceCommandsAddress)
		for i := range 5 {
			out.deliver(command("d", fmt.Sprint(i), "do"))
		}
		out.deliver(command("e", "x", "do"))
		began := time.Now()
		_, err = amqppeer.Expect[*codec.Transfer](raw)
		must(err)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the session with a window was served after %v", took)
		}
		w.pass(2 * time.Minute)
		must(nc.Close())
		in := w.device("d", amqp.Config{}).receiver("/devices/d/messages/devicebound", 100)
		for i := range 5 {
			if m, _ := in.command(); m.ID != fmt.Sprint(i) {
				t.Errorf("command %d is %s", i, m.ID)
			}
		}
	})
}
