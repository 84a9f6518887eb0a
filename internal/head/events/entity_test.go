package events_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// An endpoint of routes that is an event hub is read as the hub's events are, and
// its readers are apart from theirs.
func TestEventHubOfEndpoint(t *testing.T) {
	other := logtest.NewMemory(1)
	w := open(t, func(w *world) {
		w.plane.EventHub = func(of, name string) (eventlog.Log, bool) {
			return other, of == hub && strings.EqualFold(name, "alarms")
		}
	})
	w.fill(0, 5, event(10))
	m := event(10)
	for range 3 {
		if _, err := other.Append(t.Context(), 0, eventlog.Record{Payload: envelope.Append(nil, &m)}); err != nil {
			t.Fatal(err)
		}
	}
	s := w.client()
	mine := w.read(s, how{epoch: 1})
	mine.want(0, 5)
	box := &in{t: t}
	r, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "Alarms/ConsumerGroups/$Default/Partitions/0"}, amqp.ReceiverOptions{Handler: box, Credit: 10})
	if err != nil {
		t.Fatal(err)
	}
	box.r = r
	box.want(0, 3)
	for address, want := range map[string]string{
		"alarms/ConsumerGroups/$Default/Partitions/1": amqp.NotFound, "alarms/ConsumerGroups/none/Partitions/0": amqp.NotFound, "alarm/ConsumerGroups/$Default/Partitions/0": amqp.NotFound,
	} {
		_, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: address}, amqp.ReceiverOptions{Handler: &in{}, Credit: 1})
		if claimstest.Condition(err) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: "alarms/$management"}, amqp.ReceiverOptions{Handler: &in{}, Credit: 1}); err != nil {
		t.Error(err)
	}
}
