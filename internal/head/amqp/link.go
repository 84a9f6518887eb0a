package amqp

import (
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// inLink is a link on which a device or module sends.
type inLink struct {
	d    *device
	kind hubamqp.Kind
	r    *wire.Receiver
}

// outLink is a link on which a device or module receives. Its fields are guarded
// by the device's mutex.
type outLink struct {
	d        *device
	kind     hubamqp.Kind
	settled  bool // carries settled deliveries only
	stalled  bool // a command was refused for want of credit
	draining bool // a goroutine drains it, at its end
	s        *wire.Sender
}

var (
	_ wire.ReceiverHandler = (*inLink)(nil)
	_ wire.SenderHandler   = (*outLink)(nil)
)

// Transfer takes a message of the client.
func (l *inLink) Transfer(r *wire.Receiver, dl wire.Delivery) {
	switch l.kind {
	case hubamqp.KindTelemetry:
		l.d.telemetry(r, dl)
	case hubamqp.KindMethods:
		l.d.respond(r, dl)
	case hubamqp.KindTwin:
		l.d.askTwin(r, dl)
	}
}

// Detached is the end of the link.
func (l *inLink) Detached(*wire.Receiver, error) { l.d.detachedIn(l) }

// Flow says that there is credit, or that the link is to be drained.
func (l *outLink) Flow(s *wire.Sender) { l.d.flow(l) }

// Disposition says what the client does with a command.
func (l *outLink) Disposition(s *wire.Sender, sent wire.Sent, state *codec.State, settled bool) {
	l.d.disposition(l, sent, state, settled)
}

// Detached is the end of the link.
func (l *outLink) Detached(*wire.Sender, error) { l.d.detachedOut(l) }

// reject settles a delivery as one that is not taken.
func reject(r *wire.Receiver, dl wire.Delivery, err error) {
	if !dl.Settled {
		r.Settle(dl.ID, codec.Rejected(hubamqp.ConditionOf(err)))
	}
}
