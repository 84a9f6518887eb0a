package amqp_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// FuzzHead sends arbitrary bytes on a connection with links for everything, in
// two pieces, while the hub wants things of the client. Whatever comes, the
// server answers with frames only, stops in order, and leaves nothing behind.
func FuzzHead(f *testing.F) {
	for _, x := range badInput {
		if x.after >= opened && len(x.bytes) < 4096 {
			f.Add([]byte(x.bytes), 3)
		}
	}
	id := codec.String("x")
	good := transfer(1, 7, codec.Transfer{}, hubamqp.AppendTelemetry(nil, &causeway.Message{ID: "1", Body: []byte("hello")})) +
		transfer(4, 8, codec.Transfer{Settled: codec.Some(true)}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: id})) +
		transfer(4, 9, codec.Transfer{}, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: id, Body: []byte(`{"a":1}`)})) +
		transfer(2, 10, codec.Transfer{}, hubamqp.AppendMethodResponse(nil, hubamqp.MethodResponse{Correlation: [16]byte{1}, Result: causeway.Result{Status: 200}})) +
		transfer(0, 11, codec.Transfer{}, request("put-token", hubamqp.TokenSAS, host, "x")) +
		frame(0, &codec.Disposition{Role: codec.Receiver, First: 1, Last: codec.Some(uint32(4)), State: codec.Accepted()}) +
		frame(0, &codec.Flow{Handle: codec.Some(uint32(6)), LinkCredit: codec.Some(uint32(5)), Drain: true}) +
		frame(0, &codec.Detach{Handle: 5, Closed: true}) + frame(0, &codec.Detach{Handle: 1}) +
		frame(0, telemetryAttach(9, "/devices/dev1/messages/events")) + frame(0, &codec.End{}) + frame(0, &codec.Close{})
	f.Add([]byte(good), 100)
	f.Add([]byte(good), 7)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		defer headkit.Watchdog(b)()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, amqp.Limits{BatchMessages: 3, TwinRequests: 2})
			w.start()
			defer w.close()
			c := w.raw()
			c.advance(linked)
			for range 12 {
				w.hub.Enqueue(t, w.dev1, command("command"))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			called := make(chan error, 1)
			go func() {
				_, err := w.hub.Invoke(ctx, w.dev1, causeway.Call{Method: "m"}, time.Second, 4*time.Second)
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
				f, err := c.r.Next()
				if err != nil {
					break
				}
				if len(f.Body) == 0 {
					continue
				}
				if _, _, err := f.Performative(); err != nil {
					t.Errorf("the server sent no AMQP: %v", err)
				}
			}
			w.hub.SetDesired(t, w.dev1, `{"x":1}`)
			<-called
			_ = c.nc.Close()
		})
	})
}

// FuzzConnect sends arbitrary bytes from the beginning.
func FuzzConnect(f *testing.F) {
	for _, x := range badInput {
		switch x.after {
		case atOnce:
			f.Add([]byte(x.bytes))
		case header:
			f.Add(append(codec.ProtocolAMQP.Append(nil), x.bytes...))
		case sasl:
			f.Add(append(codec.ProtocolSASL.Append(nil), x.bytes...))
		}
	}
	f.Add([]byte(string(codec.ProtocolSASL.Append(nil)) + frameOf(codec.FrameSASL, &codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00a@sas.root.hub\x00x")}) +
		string(codec.ProtocolAMQP.Append(nil)) + frame(0, &codec.Open{ContainerID: "x", Hostname: host, MaxFrameSize: 1 << 16})))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer headkit.Watchdog(b)()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, amqp.Limits{})
			w.start()
			defer w.close()
			c := w.raw()
			go func() { _, _ = c.nc.Write(b) }()
			_ = c.nc.SetReadDeadline(time.Now().Add(time.Second))
			for {
				if _, err := c.nc.Read(make([]byte, 1<<10)); err != nil {
					break
				}
			}
			_ = c.nc.Close()
		})
	})
}
