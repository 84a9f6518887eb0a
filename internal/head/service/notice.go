package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// notices is a link on which a back end receives the messages of one queue. One
// goroutine waits for messages and sends them; another one runs while there are
// outcomes to be written down.
type notices struct {
	peer    *peer
	kind    outbox.Kind
	snd     *amqp.Sender
	atOnce  bool // the peer wants messages that are settled as they are sent
	release func()
	ctx     context.Context
	stop    context.CancelFunc
	poke    chan struct{} // gets a value when the peer gave credit or settled

	mu       sync.Mutex
	over     bool
	held     map[*held]struct{} // with the peer, not settled
	verdicts []verdict          // to be written down
	settling bool               // a goroutine does it
}

var (
	_ amqp.SenderHandler = (*notices)(nil)
	_ claims.Granted     = (*notices)(nil)
)

// held is a message that is with the peer.
type held struct{ lock causeway.LockToken }

// paths of the two queues.
func path(k outbox.Kind) string {
	if k == outbox.Feedback {
		return hubamqp.FeedbackAddress
	}
	return hubamqp.FileNotificationsAddress
}

func (pe *peer) attachNotices(a *amqp.Attach, k outbox.Kind) error {
	path, limits := path(k), &pe.plane.Limits
	if err := pe.authorize(path); err != nil {
		return err
	}
	if a.Role != peerReceives {
		return wrongWay(path, "receive from")
	}
	receives := func(l claims.Granted) bool { _, ok := l.(*notices); return ok }
	if pe.Count(receives) >= limits.Receivers {
		return amqp.Refuse(amqp.ResourceLimitExceeded, "the connection receives on %d links of this kind already, which is the limit", limits.Receivers)
	}
	l := &notices{peer: pe, kind: k, poke: make(chan struct{}, 1), held: map[*held]struct{}{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.atOnce = a.SndSettleMode == codec.SendSettled
	// One more than are ever sent: sending never waits for the peer to settle.
	l.snd = a.Send(amqp.SenderOptions{Handler: l, Unsettled: limits.Unsettled + 1})
	pe.Keep(l)
	l.release = pe.Bind(l, path, auth.ServiceConnect)
	pe.Go(l.run)
	return nil
}

// Flow has the goroutine look again.
func (l *notices) Flow(*amqp.Sender) { l.look() }

func (l *notices) look() {
	select {
	case l.poke <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// Detached gives back what the peer has not settled.
func (l *notices) Detached(*amqp.Sender, error) { l.End() }

// Close closes the link because what allowed it is over.
func (l *notices) Close(cond *codec.Condition) {
	l.snd.Close(cond)
	l.stop() // the goroutine does the rest: this must not wait
}

// End gives back what the peer has not settled, and has the goroutines end.
func (l *notices) End() {
	l.stop()
	l.mu.Lock()
	first := !l.over
	l.over = true
	locks := make([]causeway.LockToken, 0, len(l.held))
	for h := range l.held {
		locks = append(locks, h.lock)
	}
	clear(l.held)
	l.mu.Unlock()
	if !first {
		return
	}
	if len(locks) > 0 {
		l.unlock(locks...)
	}
	l.release()
	l.peer.Forget(l)
}

func (l *notices) unlock(locks ...causeway.LockToken) {
	l.peer.plane.Outbox.Unlock(l.peer.Hub(), l.kind, locks...)
}

// run sends messages while the peer wants some.
func (l *notices) run() {
	defer l.End()
	box := l.peer.plane.Outbox
	ready, cancel := box.Subscribe(l.peer.Hub(), l.kind)
	defer cancel()
	for l.snd.Await(l.ctx) == nil {
		draining := l.snd.Draining() // before the credit, which came with it or later
		if l.snd.Credit() == 0 {
			if draining {
				l.snd.Drained()
			}
			continue
		}
		full := !l.atOnce && l.snd.Unsettled() >= l.peer.plane.Limits.Unsettled
		var d outbox.Delivery
		var ok bool
		var err error
		if !full {
			d, ok, err = box.Receive(l.ctx, l.peer.Hub(), l.kind)
		}
		switch {
		case l.ctx.Err() != nil:
			if ok {
				l.unlock(d.Lock)
			}
			return
		case err != nil:
			l.peer.plane.Log.Warn("a message for back ends cannot be read", obs.KeyHub, l.peer.Hub(), "queue", l.kind.String(), obs.KeyError, err)
			l.wait(nil, retry)
		case ok:
			if err := l.send(d); err != nil {
				l.snd.Close(hubamqp.ConditionOf(err))
				return
			}
		case draining:
			l.snd.Drained()
		case full:
			l.wait(nil, 0)
		default:
			l.wait(ready, 0)
		}
	}
}

// wait waits until there may be something to do, or some time is over.
func (l *notices) wait(ready <-chan struct{}, most time.Duration) {
	var late <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ready:
	case <-l.poke:
	case <-late:
	case <-l.ctx.Done():
	}
}

// send sends a message, or gives it back. An error is the end of the link.
func (l *notices) send(d outbox.Delivery) error {
	h := &held{d.Lock}
	l.mu.Lock()
	if !l.over {
		l.held[h] = struct{}{}
	}
	over := l.over
	l.mu.Unlock()
	if over {
		l.unlock(d.Lock)
		return nil
	}
	payload := l.encode(d)
	tag := hubamqp.DeliveryTag(d.Lock)
	if err := l.pass(amqp.Transfer{Tag: tag[:], Payload: payload, Token: h}); err != nil {
		l.drop(h)
		if errors.Is(err, amqp.ErrNoCredit) || errors.Is(err, context.DeadlineExceeded) {
			return nil // others may have it
		}
		return err
	}
	m := l.peer.plane.Metrics
	m.MessagesOut.Inc()
	m.BytesOut.Add(float64(len(payload)))
	if l.atOnce && l.take(h) {
		if err := l.settled(d.Lock, causeway.Accepted); err != nil {
			l.peer.plane.Log.Warn("a message that was sent stays in its queue", obs.KeyHub, l.peer.Hub(), "queue", l.kind.String(), obs.KeyError, err)
		}
	}
	return nil
}

// pass hands a message to the connection.
func (l *notices) pass(t amqp.Transfer) error {
	err := l.snd.TrySend(t)
	if err == nil {
		l.snd.Conn().Push()
		return nil
	}
	if !errors.Is(err, amqp.ErrFull) {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.peer.plane.Limits.SendWait)
	defer cancel()
	_, err = l.snd.Send(ctx, t)
	return err
}

// take takes a message from those that are with the peer, and reports whether it
// was among them.
func (l *notices) take(h *held) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.held[h]
	delete(l.held, h)
	return ok
}

// drop gives back a message that was not sent.
func (l *notices) drop(h *held) {
	if l.take(h) {
		l.unlock(h.lock)
	}
}

// encode returns the message as it is sent.
func (l *notices) encode(d outbox.Delivery) []byte {
	body := ascii(d.Body())
	n := hubamqp.Notice{MessageID: d.ID, Hub: l.peer.Hub(), Enqueued: d.Enqueued, Sequence: d.Sequence, DeliveryCount: d.DeliveryCount}
	if l.kind == outbox.Feedback {
		return hubamqp.AppendFeedback(nil, body, n)
	}
	return hubamqp.AppendFileNotification(nil, body, n)
}
