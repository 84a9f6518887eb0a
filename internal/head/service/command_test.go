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
