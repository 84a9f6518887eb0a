package flow

import (
	"fmt"
	"slices"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestSplitAnywhere sends a whole dialogue in pieces of some bytes, down to
// single ones, each in a record of TLS of its own. What is answered and stored
// is the same.
func TestSplitAnywhere(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d")
		frame := func(b []byte, p codec.Performative, payload []byte) []byte {
			return codec.AppendFrame(b, 0, p, payload)
		}
		dialogue := amqppeer.AppendHello(nil)
		dialogue = frame(dialogue, amqppeer.SendTo(hubamqp.CBSAddress, 0), nil)
		dialogue = frame(dialogue, amqppeer.ReceiveFrom(hubamqp.CBSAddress, 1), nil)
		dialogue = frame(dialogue, amqppeer.Credit(1, 10), nil)
		dialogue = amqppeer.AppendTransfer(dialogue, 0, 0, 0, amqppeer.PutToken("localhost/devices/d", w.deviceToken("d")))
		dialogue = frame(dialogue, amqppeer.SendTo("/devices/d/messages/events", 2), nil)
		for i := range uint32(5) {
			m := telemetry(fmt.Sprintf("%06d %s", i, large[:300]))
			dialogue = frame(dialogue, &codec.Transfer{Handle: 2, DeliveryID: codec.Some(i + 1), DeliveryTag: []byte{byte(i)}, More: true}, m[:100])
			dialogue = frame(dialogue, nil, nil) // heartbeats may stand anywhere
			dialogue = frame(dialogue, &codec.Transfer{Handle: 2, More: true}, m[100:101])
			dialogue = frame(dialogue, &codec.Transfer{Handle: 2}, m[101:])
		}
		dialogue = frame(dialogue, &codec.Detach{Handle: 2, Closed: true}, nil)
		dialogue = frame(dialogue, &codec.End{}, nil)
		dialogue = frame(dialogue, &codec.Close{}, nil)

		var want []string
		sizes := []int{len(dialogue), 1, 2, 3, 7, 8, 100, 1000}
		for _, size := range sizes {
			said := w.pieces(dialogue, size)
			if want == nil {
				want = said
			}
			if !slices.Equal(said, want) {
				t.Errorf("in pieces of %d bytes: %v, want %v", size, said, want)
			}
		}
		r := w.backend(amqp.Config{}).events(1000)
		for i := range 5 * len(sizes) {
			if e := r.event(); w.numberOf(e.Message.Body) != i%5 || len(e.Message.Body) != 307 {
				t.Fatalf("event %d is %.10q, of %d bytes", i, e.Message.Body, len(e.Message.Body))
			}
		}
		if len(want) < 8 {
			t.Errorf("the server said little: %v", want)
		}
	})
}

// pieces writes b in pieces and returns what the server answers, but for flows,
// and for how settlements are put together.
func (w *world) pieces(b []byte, size int) (said []string) {
	w.t.Helper()
	ctx, cancel := w.waiting()
	defer cancel()
	nc, err := w.dial(ctx, w.amqp)
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	raw := amqppeer.NewRaw(nc)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for piece := range slices.Chunk(b, size) {
			if _, err := raw.Write(piece); err != nil {
				w.t.Errorf("write: %v", err)
				return
			}
		}
	}()
	if err := raw.Welcome(); err != nil {
		w.t.Fatal(err)
	}
	accepted := 0
	for {
		p, _, err := raw.Next()
		if err != nil {
			break
		}
		switch p := p.(type) {
		case *codec.Flow:
		case *codec.Disposition:
			if p.State.Kind == codec.CodeAccepted {
				accepted += int(p.Last.Or(p.First)-p.First) + 1
			}
		default:
			said = append(said, p.Code().String())
		}
	}
	<-written
	return append(said, fmt.Sprint(accepted, " accepted"))
}
