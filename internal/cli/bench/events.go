package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// fillBatch is how many messages of one transfer the events to read are made of.
const fillBatch = 200

// Events measures how fast one reader reads one partition of the Event
// Hubs-compatible endpoint. It stores events first, and then reads them again and
// again, from the first to the last.
func Events(ctx context.Context, t *Target, l Load) (Run, error) {
	e, err := client.NewEvents(t.Events)
	if err != nil {
		return Run{}, err
	}
	defer e.Close()
	partition, from, err := t.fill(ctx, e, l)
	if err != nil {
		return Run{}, fmt.Errorf("store events: %w", err)
	}
	var p phase
	p.begin(l)
	var count atomic.Int64
	reading, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		for {
			err := readOnce(reading, e, partition, from, l, &p, &count)
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	clock := make(chan time.Duration, 1)
	go func() { clock <- p.clock(reading, l) }()
	var took time.Duration
	select {
	case took = <-clock:
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return Run{}, err
		}
	case err := <-ended:
		stop()
		<-clock
		return Run{}, err
	}
	if err := ctx.Err(); err != nil {
		return Run{}, err
	}
	n := count.Load()
	return Run{Count: n, Seconds: took.Seconds(), Rate: rate(n, took)}, nil
}

// fill stores l.Preload events of one device and returns the partition that they
// are in, and the sequence number of the first.
func (t *Target) fill(ctx context.Context, e *client.Events, l Load) (partition string, from int64, err error) {
	one := l
	one.Devices = 1
	if err := t.provision(ctx, one); err != nil {
		return "", 0, err
	}
	h, err := e.Hub(ctx)
	if err != nil {
		return "", 0, err
	}
	before := map[string]int64{}
	for _, id := range h.Partitions {
		p, err := e.Partition(ctx, id)
		if err != nil {
			return "", 0, err
		}
		before[id] = p.Next
	}
	d, err := t.sdkDevice(ctx, 0)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	batch := make([]causeway.Message, fillBatch)
	for i := range batch {
		batch[i] = causeway.Message{Body: payload(l.Size), ContentType: "application/json", ContentEncoding: "utf-8"}
	}
	for done := 0; done < l.Preload; {
		n := min(len(batch), l.Preload-done)
		if err := d.SendBatch(ctx, batch[:n]); err != nil {
			return "", 0, err
		}
		done += n
		l.progress("events", done, l.Preload)
	}
	for _, id := range h.Partitions {
		p, err := e.Partition(ctx, id)
		if err != nil {
			return "", 0, err
		}
		if p.Next >= before[id]+int64(l.Preload) {
			return id, before[id], nil
		}
	}
	return "", 0, errors.New("what was sent is in no partition")
}

// sdkDevice connects a device of the generator by the SDK, over AMQP.
func (t *Target) sdkDevice(ctx context.Context, i int) (*client.Device, error) {
	id := t.device(i).id.Device
	key := client.SymmetricKey{PrimaryKey: encodeKey(t.deviceKey(id))}
	return client.Connect(ctx, client.DeviceOptions{
		Options: t.Events.Options, Transport: causeway.AMQP,
		ConnectionString: client.ConnectionString(t.Host, id, "", &client.Authentication{Type: "sas", SymmetricKey: &key}),
	})
}

// readOnce reads the events once and counts those that are to be counted.
func readOnce(ctx context.Context, e *client.Events, partition string, from int64, l Load, p *phase, count *atomic.Int64) error {
	r, err := e.Reader(ctx, partition, client.ReaderOptions{From: client.FromSequence(from), Prefetch: l.Credit})
	if err != nil {
		return err
	}
	defer r.Close()
	for left := l.Preload; left > 0; {
		list, err := r.Receive(ctx)
		if err != nil {
			return err
		}
		for i := range list {
			if n := len(list[i].Message.Body); n != l.Size {
				return fmt.Errorf("event %d has %d bytes instead of %d", list[i].Sequence, n, l.Size)
			}
		}
		left -= len(list)
		if p.is(counting) {
			count.Add(int64(len(list)))
		}
	}
	return nil
}

// stamp is what an event of EndToEnd begins with: which one it is.
const stampSize = 8

// EndToEnd measures the time from publishing by MQTT, at a fixed rate, to the
// reader of events having the message.
func EndToEnd(ctx context.Context, t *Target, l Load) (Run, error) {
	if l.Size < stampSize {
		return Run{}, fmt.Errorf("a size of %d bytes leaves no room for a number: %d are needed", l.Size, stampSize)
	}
	e, err := client.NewEvents(t.Events)
	if err != nil {
		return Run{}, err
	}
	defer e.Close()
	h, err := e.Hub(ctx)
	if err != nil {
		return Run{}, err
	}
	f, err := t.assemble(ctx, l, nil)
	if err != nil {
		return Run{}, err
	}
	var acks sync.WaitGroup
	defer func() { f.close(); acks.Wait() }()
	for _, d := range f {
		acks.Go(func() {
			for { // it ends when the fleet is closed
				if _, err := d.r.Next(); err != nil {
					return
				}
			}
		})
	}
	m := &meter{begun: time.Now(), sent: make([]atomic.Int64, int(l.Rate*(l.Warmup+l.Duration).Seconds())+1)}
	ready := make(chan struct{}, len(h.Partitions))
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var readers sync.WaitGroup
	for _, id := range h.Partitions {
		readers.Go(func() {
			if err := m.read(reading, e, id, l, ready); err != nil {
				stop(err)
			}
		})
	}
	for range h.Partitions {
		select {
		case <-ready:
		case <-reading.Done():
			readers.Wait()
			return Run{}, context.Cause(reading)
		}
	}
	m.p.begin(l)
	go m.p.clock(reading, l)
	began := time.Now()
	n, err := m.publish(reading, f, l)
	if err == nil {
		m.drain(reading, n)
	}
	took := time.Since(began) - l.Warmup
	stop(errDone)
	readers.Wait()
	if err == nil && !errors.Is(context.Cause(reading), errDone) {
		err = context.Cause(reading)
	}
	if err != nil {
		return Run{}, err
	}
	return Run{
		Count: int64(m.h.n), Seconds: took.Seconds(), Rate: rate(int64(m.h.n), min(took, l.Duration)),
		Latency: m.h.latency(), Errors: int64(n) - m.seen.Load(),
	}, nil
}

var errDone = errors.New("done")

// meter measures how long messages are under way.
type meter struct {
	p     phase
	begun time.Time
	sent  []atomic.Int64 // when each was, in nanoseconds since begun, and since when it counts
	seen  atomic.Int64

	mu sync.Mutex
	h  histogram
}

// publish sends messages at the rate of the load, by the devices in turn, and
// returns how many.
func (m *meter) publish(ctx context.Context, f fleet, l Load) (n int, err error) {
	pubs := make([]mqtt.Publish, len(f))
	for i, d := range f {
		pubs[i] = mqtt.Publish{Topic: string(topic.AppendTelemetry(nil, d.id, &causeway.Message{})), Payload: payload(l.Size), QoS: 1}
	}
	every := time.Duration(float64(time.Second) / l.Rate)
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ; n < len(m.sent); n++ {
		if wait := time.Until(next); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return n, context.Cause(ctx)
			}
		}
		next = next.Add(every)
		d, pub := f[n%len(f)], &pubs[n%len(f)]
		pub.ID = uint16(n/len(f)%mqttIDs) + 1
		binary.BigEndian.PutUint64(pub.Payload, uint64(n))
		if d.out, err = pub.Append(d.out[:0], mqtt.V311); err != nil {
			return n, err
		}
		at := int64(time.Since(m.begun)) << 1
		if m.p.is(counting) {
			at |= 1
		}
		m.sent[n].Store(at)
		if _, err := d.conn.Write(d.out); err != nil {
			return n, fmt.Errorf("publish: %w", err)
		}
	}
	return n, nil
}

// mqttIDs is how many packet ids a device uses by turns.
const mqttIDs = 10_000

// read measures the messages of one partition until ctx ends.
func (m *meter) read(ctx context.Context, e *client.Events, partition string, l Load, ready chan<- struct{}) error {
	r, err := e.Reader(ctx, partition, client.ReaderOptions{From: client.Latest(), Prefetch: l.Credit})
	if err != nil {
		return err
	}
	defer r.Close()
	ready <- struct{}{}
	for {
		list, err := r.Receive(ctx)
		if err != nil {
			return err
		}
		now := int64(time.Since(m.begun))
		m.mu.Lock()
		for i := range list {
			b := list[i].Message.Body
			if len(b) < stampSize {
				continue // somebody else's
			}
			n := binary.BigEndian.Uint64(b)
			if n >= uint64(len(m.sent)) {
				continue
			}
			if at := m.sent[n].Load(); at&1 != 0 {
				m.h.add(time.Duration(now - at>>1))
			}
		}
		m.mu.Unlock()
		m.seen.Add(int64(len(list)))
	}
}

// drain waits until all that were sent were seen, for a while.
func (m *meter) drain(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for m.seen.Load() < int64(n) && ctx.Err() == nil {
		wait(ctx, 10*time.Millisecond)
	}
}
