package service_test

import (
	"context"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestSend(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for _, id := range []causeway.Identity{dev1, dev2, mod1} {
		st, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: hubamqp.AppendServiceCommand(nil, id, &causeway.Message{ID: "m-" + id.Device, Body: []byte("hello")})})
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind != codec.CodeAccepted {
			t.Fatalf("%v: %+v %v", id, st, st.Error)
		}
		m, ok, err := w.commands.Receive(context.Background(), id)
		if err != nil || !ok {
			t.Fatalf("%v: %v %v", id, ok, err)
		}
		if string(m.Body) != "hello" || m.GenerationID != "gen-"+id.Device+id.Module {
			t.Errorf("%v: %+v", id, m)
		}
	}
}

// What is read of a message points into the buffer of its connection, which the
// next message overwrites. The queues must not notice.
func TestSendRemembersWhom(t *testing.T) {
	const each = 5
	w := open(t, nil)
	snd := w.sender(w.client())
	for i := range each {
		for _, id := range []causeway.Identity{dev1, dev2, mod1} {
			m := causeway.Message{ID: id.Device + id.Module, Body: []byte{byte(i)}}
			if st, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: hubamqp.AppendServiceCommand(nil, id, &m)}); err != nil || st.Kind != codec.CodeAccepted {
				t.Fatalf("%v: %+v %v", id, st, err)
			}
		}
	}
	for _, id := range []causeway.Identity{dev1, dev2, mod1} {
		for i := range each {
			m, ok, err := w.commands.Receive(context.Background(), id)
			if err != nil || !ok || m.ID != id.Device+id.Module || m.Body[0] != byte(i) {
				t.Fatalf("%v, message %d: %+v %v %v", id, i, m, ok, err)
			}
		}
	}
}

// The address of the device does not count: the largest message fits whatever
// the device is called, and comes without what its sender wrote.
func TestSendLargest(t *testing.T) {
	w := open(t, nil)
	snd := w.sender(w.client())
	for _, x := range []struct {
		size int
		want codec.Code
	}{{causeway.MaxCommandSize, codec.CodeAccepted}, {causeway.MaxCommandSize + 1, codec.CodeRejected}} {
		m := causeway.Message{Body: make([]byte, x.size)}
		st, err := snd.Deliver(t.Context(), amqp.Transfer{Payload: hubamqp.AppendServiceCommand(nil, dev1, &m)})
		if err != nil || st.Kind != x.want {
			t.Errorf("%d bytes: %+v %v", x.size, st, err)
		}
	}
	if m, ok, err := w.commands.Receive(context.Background(), dev1); err != nil || !ok || m.To != "" {
		t.Errorf("%v %v: to %q", ok, err, m.To)
	}
}
