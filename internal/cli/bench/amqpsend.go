package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// amqpSender is the state of one connection that sends telemetry.
type amqpSender struct {
	c      *amqpConn
	link   *amqpLink
	frame  []byte // a transfer, ready but for its delivery-id and tag
	idAt   int
	tagAt  int
	depth  int
	phase  *phase
	flying int // messages that are not settled

	// Messages by their delivery-id, as far as they may be in flight.
	at     []time.Time
	open   []bool
	next   uint32 // delivery-id
	oldest uint32 // that may be open

	count int64 // messages that count
	h     histogram
	err   error
}

// AMQPTelemetry measures device-to-cloud messages over AMQP, or messages to the
// queue of a broker: those that were accepted, and the time from writing one to
// reading its disposition.
func AMQPTelemetry(ctx context.Context, t *Target, l Load) (Run, error) {
	f, err := t.assembleAMQP(ctx, l, func(ctx context.Context, i int, cfg *tls.Config) (*amqpConn, error) {
		node := hubamqp.DeviceAddress(hubamqp.KindTelemetry, t.device(i).id)
		if t.Broker != nil {
			node = t.Broker.Node
		}
		return t.connectAMQP(ctx, i, cfg, []string{node}, nil)
	})
	if err != nil {
		return Run{}, err
	}
	defer f.close()
	var p phase
	p.begin(l)
	senders := make([]*amqpSender, len(f))
	for i, c := range f {
		if senders[i], err = newAMQPSender(c, t, l, &p); err != nil {
			return Run{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range f {
			c.conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // it only wakes the connection
		}
	})
	defer stop()
	var wg sync.WaitGroup
	for _, s := range senders {
		wg.Go(func() { s.err = s.run() })
	}
	took := p.clock(ctx, l)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Run{}, err
	}
	r := Run{}
	var h histogram
	var first error
	for _, s := range senders {
		r.Count += s.count
		h.merge(&s.h)
		if s.err != nil {
			r.Errors++
			if first == nil {
				first = fmt.Errorf("%s: %w", s.c.id.Device, s.err)
			}
		}
	}
	if r.Errors == int64(len(senders)) {
		return Run{}, first
	}
	r.Seconds, r.Rate, r.Latency = took.Seconds(), rate(r.Count, took), h.latency()
	return r, nil
}

func newAMQPSender(c *amqpConn, t *Target, l Load, p *phase) (*amqpSender, error) {
	ring := 64
	for ring < 4*l.Depth {
		ring *= 2
	}
	s := &amqpSender{
		c: c, link: c.links[len(c.links)-1], depth: l.Depth, phase: p, at: make([]time.Time, ring), open: make([]bool, ring),
		next: c.next, oldest: c.next,
	}
	c.disposition = s.settled
	body := hubamqp.AppendTelemetry(nil, l.message())
	if t.Broker != nil {
		m := codec.Message{Header: codec.Header{Durable: true}, Body: codec.Data(payload(l.Size))}
		var err error
		if body, err = m.Append(nil); err != nil {
			return nil, err
		}
	}
	// Numbers of four bytes each, to be replaced.
	const number = 0x7f3a5c1e
	mark := binary.BigEndian.AppendUint32(nil, number)
	s.frame = codec.AppendFrame(nil, 0, &codec.Transfer{
		Handle: s.link.handle, DeliveryID: codec.Some(uint32(number)), DeliveryTag: mark,
		MessageFormat: codec.Some(uint32(0)), Settled: codec.Some(false),
	}, body)
	if len(s.frame) > c.most {
		return nil, fmt.Errorf("a message of %d bytes does not fit into a frame, of which the server takes %d bytes", l.Size, c.most)
	}
	s.idAt = bytes.Index(s.frame, mark)
	s.tagAt = s.idAt + 4 + bytes.Index(s.frame[s.idAt+4:], mark)
	return s, nil
}

// run keeps as many messages in flight as it may: it sends with one write, reads
// whatever has come, and begins again.
func (s *amqpSender) run() error {
	for {
		finished := s.phase.is(over)
		if finished && s.flying == 0 {
			return nil
		}
		if !finished {
			s.fill()
			if err := s.c.flush(); err != nil {
				return err
			}
		}
		if err := s.c.conn.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
			return err
		}
		for {
			if err := s.c.read(); err != nil {
				return err
			}
			if s.c.r.Buffered() == 0 {
				break
			}
		}
		if err := s.c.flush(); err != nil {
			return err
		}
	}
}

// fill puts messages while the server takes them.
func (s *amqpSender) fill() {
	n := min(uint32(s.depth-s.flying), s.link.credit, s.c.window, uint32(len(s.at))-(s.next-s.oldest))
	now := time.Now()
	for range n {
		at := len(s.c.out)
		s.c.out = append(s.c.out, s.frame...)
		binary.BigEndian.PutUint32(s.c.out[at+s.idAt:], s.next)
		binary.BigEndian.PutUint32(s.c.out[at+s.tagAt:], s.next)
		i := int(s.next) % len(s.at)
		s.at[i], s.open[i] = now, true
		s.next++
	}
	s.flying += int(n)
	s.c.sent(s.link, n)
}

// settled counts what a disposition says is accepted.
func (s *amqpSender) settled(d *codec.Disposition) error {
	if d.Role != codec.Receiver || !d.Settled && !d.State.Terminal() {
		return nil
	}
	now := time.Now()
	for id := d.First; int32(d.Last.Or(d.First)-id) >= 0; id++ {
		i := int(id) % len(s.at)
		if id-s.oldest >= s.next-s.oldest || !s.open[i] {
			continue // of the token, or a second word
		}
		if d.State.Kind != codec.CodeAccepted {
			return fmt.Errorf("a message was not accepted but %v: %w", d.State.Kind, byServer("says why", d.State.Error))
		}
		s.open[i] = false
		s.flying--
		if s.phase.is(counting) {
			s.count++
			s.h.add(now.Sub(s.at[i]))
		}
	}
	for s.oldest != s.next && !s.open[int(s.oldest)%len(s.open)] {
		s.oldest++
	}
	if !d.Settled {
		s.c.put(&codec.Disposition{Role: codec.Sender, First: d.First, Last: d.Last, Settled: true, State: d.State})
	}
	return nil
}
