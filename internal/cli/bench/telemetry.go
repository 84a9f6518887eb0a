package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Connect measures a connect storm: all devices at once, as many handshakes
// under way as the load says.
func Connect(ctx context.Context, t *Target, l Load) (Run, error) {
	if err := t.provision(ctx, l); err != nil {
		return Run{}, fmt.Errorf("create devices: %w", err)
	}
	f := make(fleet, l.Devices)
	defer f.close()
	cfg := t.tls()
	var mu sync.Mutex
	var h histogram
	began := time.Now()
	err := inParallel(ctx, l.Dialing, l.Devices, func(ctx context.Context, i int) error {
		d := t.device(i)
		start := time.Now()
		if err := t.connect(ctx, d, cfg); err != nil {
			return err
		}
		took := time.Since(start)
		f[i] = d
		mu.Lock()
		h.add(took)
		done := int(h.n)
		mu.Unlock()
		l.progress("connections", done, l.Devices)
		return nil
	})
	took := time.Since(began)
	if err != nil {
		return Run{}, err
	}
	return Run{Count: int64(h.n), Seconds: took.Seconds(), Rate: rate(int64(h.n), took), Latency: h.latency()}, nil
}

// sender is the state of one device that sends telemetry.
type sender struct {
	d      *device
	packet []byte // a PUBLISH, ready but for its packet id
	idAt   int    // where the packet id stands; 0 with QoS 0
	count  int64  // messages that count
	h      histogram
	err    error
}

func newSender(d *device, t *Target, l Load) (*sender, error) {
	pub := mqtt.Publish{Payload: payload(l.Size), QoS: byte(l.QoS), Topic: "bench/" + d.id.Device}
	if t.Hub() {
		pub.Topic = string(topic.AppendTelemetry(nil, d.id, l.message()))
	}
	if l.QoS == 1 {
		pub.ID = 1
	}
	b, err := pub.Append(nil, mqtt.V311)
	if err != nil {
		return nil, err
	}
	s := &sender{d: d, packet: b}
	if l.QoS == 1 {
		s.idAt = len(b) - len(pub.Payload) - 2 // the id stands right before the payload
	}
	return s, nil
}

// payload is JSON of about the wanted size, as a sensor might send it.
func payload(size int) []byte {
	b := []byte(`{"temperature":21.5,"humidity":48.2,"pad":"`)
	if size < len(b)+2 {
		return b[:size:size]
	}
	for len(b) < size-2 {
		b = append(b, 'x')
	}
	return append(b, '"', '}')
}

// Telemetry measures device-to-cloud messages. With QoS 1 it counts those that
// were acknowledged, and the time from writing one to reading its PUBACK. With
// QoS 0, which has no answer, it counts what the server has taken: after every
// batch of messages the device sends a ping, and since a server reads in order,
// the answer says that it has read everything before.
func Telemetry(ctx context.Context, t *Target, l Load) (Run, error) {
	f, err := t.assemble(ctx, l, nil)
	if err != nil {
		return Run{}, err
	}
	defer f.close()
	senders := make([]*sender, len(f))
	for i, d := range f {
		if senders[i], err = newSender(d, t, l); err != nil {
			return Run{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, d := range f {
			d.conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // it only wakes the connection
		}
	})
	defer stop()

	var p phase
	p.begin(l)
	var wg sync.WaitGroup
	for _, s := range senders {
		wg.Go(func() {
			if l.QoS == 1 {
				s.err = s.acknowledged(&p, l.Depth)
			} else {
				s.err = s.unacknowledged(&p, l.Depth)
			}
		})
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
				first = fmt.Errorf("%s: %w", s.d.id.Device, s.err)
			}
		}
	}
	if r.Errors == int64(len(senders)) {
		return Run{}, first
	}
	r.Seconds, r.Rate, r.Latency = took.Seconds(), rate(r.Count, took), h.latency()
	return r, nil
}

// acknowledged keeps depth messages in flight: it sends as many as it may with
// one write, reads whatever acknowledgements have come, and begins again.
func (s *sender) acknowledged(p *phase, depth int) error {
	free := make([]uint16, depth) // packet ids not in flight
	for i := range free {
		free[i] = uint16(i + 1)
	}
	sent := make([]time.Time, depth+1) // by packet id
	inFlight := make([]bool, depth+1)
	var ack mqtt.Ack
	for {
		finished := p.is(over)
		if finished && len(free) == depth {
			return nil
		}
		if !finished && len(free) > 0 {
			now := time.Now()
			s.d.out = s.d.out[:0]
			for _, id := range free {
				at := len(s.d.out)
				s.d.out = append(s.d.out, s.packet...)
				binary.BigEndian.PutUint16(s.d.out[at+s.idAt:], id)
				sent[id], inFlight[id] = now, true
			}
			free = free[:0]
			if _, err := s.d.conn.Write(s.d.out); err != nil {
				return err
			}
		}
		if err := s.d.conn.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
			return err
		}
		for {
			f, err := s.d.r.Next()
			if err != nil {
				return err
			}
			if err := ack.Decode(f, mqtt.V311); err != nil {
				return err
			}
			if ack.Kind != mqtt.PUBACK || int(ack.ID) > depth || !inFlight[ack.ID] {
				return fmt.Errorf("unexpected %v %d", ack.Kind, ack.ID)
			}
			inFlight[ack.ID] = false
			free = append(free, ack.ID)
			if p.is(counting) {
				s.count++
				s.h.add(time.Since(sent[ack.ID]))
			}
			if !s.d.r.Buffered() {
				break
			}
		}
	}
}

// The flow control of QoS 0, which has none of its own: after every batch goes
// a ping, and at most so many pings are unanswered. Without it a run would
// measure how much the buffers on the way hold.
const (
	batchFactor = 10 // messages of a batch, times the depth
	batchesOut  = 2
)

// unacknowledged writes batches as fast as the server takes them. A batch
// counts when its ping is answered; that is also its latency.
func (s *sender) unacknowledged(p *phase, depth int) error {
	batch := depth * batchFactor
	for range batch {
		s.d.out = append(s.d.out, s.packet...)
	}
	var err error
	if s.d.out, err = (&mqtt.Ping{}).Append(s.d.out, mqtt.V311); err != nil {
		return err
	}
	var sent []time.Time // of the pings not answered yet
	for {
		finished := p.is(over)
		if finished && len(sent) == 0 {
			return nil
		}
		for !finished && len(sent) < batchesOut {
			sent = append(sent, time.Now())
			if _, err := s.d.conn.Write(s.d.out); err != nil {
				return err
			}
		}
		if err := s.d.conn.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
			return err
		}
		f, err := s.d.r.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", errStuck, err)
		}
		if f.Type != mqtt.PINGRESP {
			return fmt.Errorf("unexpected %v", f.Type)
		}
		if p.is(counting) {
			s.count += int64(batch)
			s.h.add(time.Since(sent[0]))
		}
		sent = sent[1:]
	}
}
