package client

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// send has the pump send a message: the caller must not wait, and the hub may
// have given no credit.
func (l *amqpLink) send(o *outgoing) {
	if l.unsent == nil {
		l.unsent = o
	}
	l.poke()
}

func (l *amqpLink) post(ctx context.Context, m *causeway.Message) error {
	select {
	case l.posts <- hubamqp.AppendTelemetry(nil, m):
		return nil
	case <-l.ctx.Done():
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pump sends what waits, many messages at once, until the link ends.
func (l *amqpLink) pump() {
	batch := make([]amqp.Transfer, 0, atOnce)
	stop := l.stop
	for {
		batch = l.gather(batch[:0])
		if len(batch) > 0 {
			if _, err := l.telemetry.Send(l.ctx, batch...); err != nil {
				l.end(err)
				return
			}
			clear(batch)
			continue
		}
		select {
		case <-l.wake:
		case b := <-l.posts:
			if _, err := l.telemetry.Send(l.ctx, amqp.Transfer{Payload: b, Settled: true}); err != nil {
				l.end(err)
				return
			}
		case <-stop:
			if len(l.posts) == 0 {
				close(l.sent)
				stop = nil
			}
		case <-l.ctx.Done():
			return
		}
	}
}

// gather takes messages that are to be sent now. One that the hub would not take
// because of its size ends here: the link would not survive it.
func (l *amqpLink) gather(batch []amqp.Transfer) []amqp.Transfer {
	most := l.telemetry.MaxMessageSize()
	var large []*outgoing
	l.d.mu.Lock()
	for l.unsent != nil && len(batch) < cap(batch) {
		o := l.unsent
		l.unsent = o.next
		if most > 0 && uint64(len(o.data)) > most {
			l.d.pending.remove(o)
			large = append(large, o)
			continue
		}
		batch = append(batch, amqp.Transfer{Payload: o.data, Format: o.format, Token: o})
	}
	l.d.mu.Unlock()
	for _, o := range large {
		l.d.settle(o, causeway.Errorf(causeway.MessageTooLarge, "send", "the message has %d bytes, the hub takes %d", len(o.data), most))
	}
	for len(batch) < cap(batch) {
		select {
		case b := <-l.posts:
			batch = append(batch, amqp.Transfer{Payload: b, Settled: true})
			continue
		default:
		}
		break
	}
	return batch
}

// telemetryEvents hears what becomes of telemetry.
type telemetryEvents amqpLink

func (l *telemetryEvents) Flow(*amqp.Sender) {}

func (l *telemetryEvents) Disposition(s *amqp.Sender, sent amqp.Sent, state *codec.State, settled bool) {
	if !settled {
		if !state.Terminal() {
			return
		}
		s.Settle(sent.ID, *state)
	}
	o, ok := sent.Token.(*outgoing)
	if !ok {
		return
	}
	l.d.mu.Lock()
	known := l.d.pending.remove(o)
	l.d.mu.Unlock()
	if known {
		l.d.settle(o, outcomeError("send", state))
	}
}

func (l *telemetryEvents) Detached(_ *amqp.Sender, err error) { (*amqpLink)(l).lost(err) }

// pairEvents hears of the senders of pairs, whose messages are settled.
type pairEvents amqpLink

func (l *pairEvents) Flow(*amqp.Sender) {}

func (l *pairEvents) Disposition(*amqp.Sender, amqp.Sent, *codec.State, bool) {}

func (l *pairEvents) Detached(_ *amqp.Sender, err error) { (*amqpLink)(l).lost(err) }

// pair attaches the two links of a pair. The sender comes first, and is told to
// keep: with the receiver the hub begins to ask for answers.
func (l *amqpLink) pair(ctx context.Context, k hubamqp.Kind, name string, h amqp.ReceiverHandler, credit uint32, keep func(*amqp.Sender)) error {
	address, properties := l.address(k), l.properties(name+":"+uuid.Text(uuid.New()))
	out, err := l.session.AttachSender(ctx, amqp.LinkConfig{Target: address, SndSettleMode: codec.SendSettled},
		amqp.SenderOptions{Handler: (*pairEvents)(l), Untracked: true, Properties: properties})
	if err != nil {
		return err
	}
	keep(out)
	_, err = l.session.AttachReceiver(ctx, amqp.LinkConfig{Source: address, SndSettleMode: codec.SendSettled},
		amqp.ReceiverOptions{Handler: h, Credit: credit, Properties: properties})
	return err
}
