package service

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// commands is a link on which a back end sends messages to devices.
type commands struct {
	peer    *peer
	recv    *amqp.Receiver
	release func()
}

var (
	_ amqp.ReceiverHandler = (*commands)(nil)
	_ claims.Granted       = (*commands)(nil)
)

// command is a message of the burst under way.
type command struct {
	link    *commands
	d       amqp.Delivery
	arrived time.Time
	id      causeway.Identity
	m       causeway.Message
	err     error
}

func (pe *peer) attachCommands(a *amqp.Attach) error {
	const path = hubamqp.ServiceCommandsAddress
	if err := pe.authorize(path); err != nil {
		return err
	}
	if a.Role != peerSends {
		return wrongWay(path, "send to")
	}
	l := &commands{peer: pe}
	l.recv = a.Receive(amqp.ReceiverOptions{Handler: l, Credit: uint32(pe.plane.Limits.Credit), MaxMessageSize: maxMessage, SettleAtOnce: true})
	pe.Keep(l)
	l.release = pe.Bind(l, path, auth.ServiceConnect)
	return nil
}

// Transfer keeps a message until the burst ends.
func (l *commands) Transfer(_ *amqp.Receiver, d amqp.Delivery) {
	l.peer.burst = append(l.peer.burst, command{link: l, d: d, arrived: time.Now()})
}

// Detached lets go of the link.
func (l *commands) Detached(*amqp.Receiver, error) { l.End() }

func (l *commands) End() {
	l.release()
	l.peer.Forget(l)
}

// Close closes the link because what allowed it is over.
func (l *commands) Close(cond *codec.Condition) {
	l.recv.Close(cond)
	l.peer.Forget(l) // nobody else is told
}

// flush queues the messages of a burst and settles them when they are durable.
func (pe *peer) flush() {
	if len(pe.burst) == 0 {
		return
	}
	var single [1][]*command
	groups := single[:0]
	if len(pe.burst) == 1 {
		pe.decode(&pe.burst[0])
		groups = append(groups, []*command{&pe.burst[0]})
	} else {
		groups = pe.group(groups)
	}
	pe.each(len(groups), func(i int) {
		for _, c := range groups[i] {
			pe.enqueue(c)
		}
	})
	// In the order in which they came, so that neighbours are settled together.
	for i := range pe.burst {
		pe.burst[i].settle()
	}
	clear(pe.burst)
	if pe.burst = pe.burst[:0]; cap(pe.burst) > pe.plane.Limits.Credit {
		pe.burst = nil
	}
	pe.scratch.Reset()
}

// group decodes the messages and returns those of each device, which keep their
// order.
func (pe *peer) group(groups [][]*command) [][]*command {
	index := make(map[causeway.Identity]int, len(pe.burst))
	for i := range pe.burst {
		c := &pe.burst[i]
		if pe.decode(c); c.err != nil {
			continue
		}
		at, ok := index[c.id]
		if !ok {
			at = len(groups)
			index[c.id] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], c)
	}
	return groups
}

const opSend = "service.send"

// decode reads a message.
func (pe *peer) decode(c *command) {
	if c.d.Format != 0 {
		c.err = causeway.Errorf(causeway.ArgumentInvalid, opSend, "messages to devices are sent one by one: message format %#x is not known", c.d.Format)
		return
	}
	id, err := hubamqp.DecodeServiceCommand(&c.m, &pe.scratch, c.d.Payload)
	// The queues remember whose they are for longer than the payload lives.
	c.id = causeway.Identity{Hub: pe.Hub(), Device: strings.Clone(id.Device), Module: strings.Clone(id.Module)}
	c.err = err
	// The address has done its work: whoever delivers the message writes it anew,
	// and it is no part of what the sender may say in so many bytes.
	c.m.To = ""
}

// enqueue queues a message that could be read.
func (pe *peer) enqueue(c *command) {
	if c.err != nil {
		return
	}
	ctx := pe.Conn().Context()
	rec, err := pe.plane.Registry.Get(ctx, c.id)
	if err == nil {
		err = pe.plane.Commands.Enqueue(ctx, c.id, c.m, rec.GenerationID)
	}
	c.err = err
}

// settle tells the sender what became of the message.
func (c *command) settle() {
	pe := c.link.peer
	m := pe.plane.Metrics
	state := codec.Accepted()
	if c.err != nil {
		cond := hubamqp.ConditionOf(c.err)
		state = codec.Rejected(cond)
		code := causeway.CodeOf(c.err)
		m.Refused.WithLabelValues(code.Name()).Inc()
		level := pe.plane.Log.Debug
		if code.HTTPStatus() >= 500 && !errors.Is(c.err, context.Canceled) { // the connection is gone
			level = pe.plane.Log.Warn
		}
		level("cloud-to-device message refused", obs.KeyID, c.id, obs.KeyError, c.err, obs.KeyRequest, hubamqp.TrackingID(cond))
	} else {
		m.MessagesIn.Inc()
		m.BytesIn.Add(float64(len(c.m.Body)))
		m.AckLatency.Observe(time.Since(c.arrived).Seconds())
	}
	if !c.d.Settled {
		c.link.recv.Settle(c.d.ID, state)
	}
}

// each calls f for 0 to n-1, several at the same time, and waits for all.
func (pe *peer) each(n int, f func(i int)) {
	if n == 1 {
		f(0)
		return
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, pe.plane.Limits.Parallel)
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			f(i)
		})
	}
	wg.Wait()
}
