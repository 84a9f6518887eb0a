package service

import (
	"context"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// verdict is what a peer has said of a message.
type verdict struct {
	lock    causeway.LockToken
	state   codec.State
	answer  bool // the peer waits to hear that it was written down
	id      uint32
	outcome causeway.Outcome
	none    bool // settled without an outcome
}

// Disposition takes what the peer says of a message.
func (l *notices) Disposition(_ *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	if !settled && !state.Terminal() {
		return // half of it has arrived, or some such
	}
	h, ok := d.Token.(*held)
	if !ok {
		return
	}
	v := verdict{
		lock: h.lock, answer: !settled, id: d.ID,
		state: codec.State{Kind: state.Kind, DeliveryFailed: state.DeliveryFailed, UndeliverableHere: state.UndeliverableHere},
	}
	switch state.Kind {
	case codec.CodeAccepted:
		v.outcome = causeway.Accepted
	case codec.CodeRejected:
		v.outcome = causeway.Rejected
	case codec.CodeReleased, codec.CodeModified:
		v.outcome = causeway.Released
	default:
		v.none = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[h]; !ok {
		return // it has said something already, or the link is over
	}
	delete(l.held, h)
	l.verdicts = append(l.verdicts, v)
	if !l.settling {
		l.settling = true
		l.peer.Go(l.settleAll)
	}
}

// settleAll writes down what the peer has said, until there is no more of it.
func (l *notices) settleAll() {
	for {
		l.mu.Lock()
		all := l.verdicts
		l.verdicts = nil
		l.settling = len(all) > 0
		l.mu.Unlock()
		if len(all) == 0 {
			return
		}
		l.peer.each(len(all), func(i int) { l.write(&all[i]) })
		l.look() // there may be room for another message
	}
}

// write writes a verdict down, and tells the peer so if it waits for it.
func (l *notices) write(v *verdict) {
	if v.none {
		l.unlock(v.lock)
		return
	}
	err := l.settled(v.lock, v.outcome)
	if err != nil {
		v.state = codec.Rejected(hubamqp.ConditionOf(err))
		l.peer.plane.Log.Debug("settling a message for a back end failed", obs.KeyHub, l.peer.Hub(), "queue", l.kind.String(), obs.KeyError, err)
	}
	if v.answer {
		l.snd.Settle(v.id, v.state)
	}
}

// settled ends a delivery, also when the peer is gone already.
func (l *notices) settled(lock causeway.LockToken, o causeway.Outcome) error {
	return l.peer.plane.Outbox.Settle(context.Background(), l.peer.Hub(), l.kind, lock, o)
}

// ascii returns JSON without characters beyond ASCII, which it escapes: there are
// clients that show bodies byte by byte.
func ascii(json []byte) []byte {
	i := 0
	for i < len(json) && json[i] < utf8.RuneSelf {
		i++
	}
	if i == len(json) {
		return json
	}
	out := append(make([]byte, 0, 2*len(json)), json[:i]...)
	for i < len(json) {
		r, n := utf8.DecodeRune(json[i:])
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}
