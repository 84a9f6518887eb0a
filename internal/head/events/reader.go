package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// reader is a link on which a back end reads a partition.
type reader struct {
	peer    *peer
	place   place
	epoch   codec.Optional[int64]
	log     eventlog.Log
	snd     *amqp.Sender
	runtime bool // it wants to know what the last event is
	release func()
	ctx     context.Context
	stop    context.CancelFunc

	// Of the goroutine.
	next    eventlog.Offset
	largest int // bytes of an event lately
	last    hubamqp.Position

	mu        sync.Mutex
	reading   context.Context // ends when the log is not to be waited for
	interrupt context.CancelFunc
}

var (
	_ amqp.SenderHandler = (*reader)(nil)
	_ claims.Granted     = (*reader)(nil)
)

func (pe *peer) attachReader(addr hubamqp.Address, a *amqp.Attach) error {
	path := "/" + addr.Entity + "/ConsumerGroups/" + addr.Group + "/Partitions/" + addr.Partition
	if err := pe.authorize(path); err != nil {
		return err
	}
	if err := pe.entity(addr.Entity); err != nil {
		return err
	}
	if a.Role != codec.Receiver {
		return cannotWrite()
	}
	if !pe.plane.Directory.HasConsumerGroup(pe.Hub(), addr.Group) {
		return noGroup(addr.Group)
	}
	log, err := pe.log(addr.Entity)
	if err != nil {
		return err
	}
	p, err := partition(log, addr.Partition)
	if err != nil {
		return err
	}
	start, err := hubamqp.StartOf(a.Source.Filter)
	if err != nil {
		return err
	}
	properties := hubamqp.ParseLinkProperties(a.Properties)
	if properties.Epoch.OK && properties.Epoch.V < 0 {
		return causeway.Errorf(causeway.ArgumentInvalid, opAttach, "the epoch is %d; it must not be negative", properties.Epoch.V)
	}
	r := &reader{
		peer: pe, place: placeOf(pe.Hub(), log, addr.Group, p), epoch: properties.Epoch,
		log: log, runtime: hubamqp.WantsRuntime(a.DesiredCapabilities), largest: usualEvent,
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if r.next, err = resolve(r.ctx, log, p, start); err != nil {
		r.stop()
		return err
	}
	o := amqp.SenderOptions{Handler: r, Untracked: true}
	if r.runtime {
		o.OfferedCapabilities = []string{hubamqp.CapabilityRuntimeMetric}
	}
	r.snd = a.Send(o)
	stolen, err := pe.plane.readers.admit(r, pe.plane.Limits.Readers)
	if err != nil {
		r.stop()
		return err
	}
	for _, o := range stolen {
		o.Close(amqp.Refuse(hubamqp.LinkStolen, "a reader with epoch %d has come for partition %d in this consumer group", r.epoch.V, p))
	}
	if !pe.plane.Directory.HasConsumerGroup(pe.Hub(), addr.Group) { // and Recheck may not have seen r
		r.End()
		return noGroup(addr.Group)
	}
	pe.Keep(r)
	r.release = pe.Bind(r, path, auth.ServiceConnect)
	pe.Go(r.run)
	return nil
}

// Flow has the goroutine stop waiting for events when the peer wants what there
// is and no more.
func (r *reader) Flow(s *amqp.Sender) {
	if !s.Draining() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.interrupt != nil {
		r.interrupt()
	}
}

// Disposition is not called: deliveries are not tracked.
func (r *reader) Disposition(*amqp.Sender, amqp.Sent, *codec.State, bool) {}

// Detached lets go of the link.
func (r *reader) Detached(*amqp.Sender, error) { r.End() }

// Close closes the link: what allowed it is over, or its place is taken.
func (r *reader) Close(cond *codec.Condition) {
	r.snd.Close(cond)
	r.End()
}

// End makes room for others at once, and has the goroutine end.
func (r *reader) End() {
	r.stop()
	r.peer.plane.readers.remove(r)
}

// run sends events while the peer wants some.
func (r *reader) run() {
	defer func() {
		r.End()
		r.release()
		r.peer.Forget(r)
	}()
	err := r.pump()
	if r.ctx.Err() != nil || r.snd.Err() != nil {
		return
	}
	r.peer.plane.Log.Warn("reading events ended", obs.KeyHub, r.place.hub, obs.KeyPartition, int(r.place.partition), obs.KeyOffset, int64(r.next), obs.KeyError, err)
	cond := hubamqp.ConditionOf(err)
	if errors.Is(err, eventlog.ErrClosed) {
		cond = amqp.Refuse(amqp.DetachForced, "the event log was closed")
	}
	r.snd.Close(cond)
}

// pump sends events until something is wrong.
func (r *reader) pump() error {
	for {
		if err := r.snd.Await(r.ctx); err != nil {
			return err
		}
		if err := r.ctx.Err(); err != nil {
			return err // there may be credit left
		}
		recs, err := r.read()
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			continue
		}
		if err := r.send(recs); err != nil {
			return err
		}
	}
}

// batch returns how many events may be sent in one go.
func (r *reader) batch() int {
	l := &r.peer.plane.Limits
	return min(l.Batch, max(1, l.BatchBytes/max(r.largest, 1)))
}

// read reads as many records as the peer has given credit for, or a batch. When
// the peer wants no more than there is, it does not wait, and returns none once
// that was said.
func (r *reader) read() ([]eventlog.Record, error) {
	ctx := r.waiting()
	draining := r.snd.Draining() // before the credit, which came with it or later
	most := int(min(r.snd.Credit(), uint32(r.batch())))
	if draining {
		_, next, err := r.log.Bounds(r.ctx, r.place.partition)
		if err != nil {
			return nil, err
		}
		if r.next >= next || most == 0 {
			r.snd.Drained()
			return nil, nil
		}
	}
	if most == 0 {
		return nil, nil // the credit was taken back
	}
	recs, err := r.log.Read(ctx, r.place.partition, r.next, most)
	if trimmed, ok := errors.AsType[*eventlog.TrimmedError](err); ok && trimmed.Oldest > r.next {
		r.peer.plane.Log.Debug("a reader is late: events are no longer held", obs.KeyHub, r.place.hub,
			obs.KeyPartition, int(r.place.partition), obs.KeyOffset, int64(r.next), "oldest", int64(trimmed.Oldest))
		r.next = trimmed.Oldest
		return nil, nil
	}
	if err != nil && ctx.Err() != nil && r.ctx.Err() == nil {
		return nil, nil // interrupted: the peer wants something else
	}
	return recs, err
}

// waiting returns a context that lasts until the log is not to be waited for.
func (r *reader) waiting() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reading == nil || r.reading.Err() != nil {
		r.reading, r.interrupt = context.WithCancel(r.ctx)
	}
	return r.reading
}

// batch is what a reader needs while it sends something.
type batch struct {
	m         causeway.Message
	buf       []byte
	ends      []int // of the messages in buf
	transfers []amqp.Transfer
}

// batches are shared by all readers: those that wait need none.
var batches = sync.Pool{New: func() any { return new(batch) }}

// forget lets go of the message, which is part of what was read.
func (b *batch) forget() {
	properties := b.m.Properties[:cap(b.m.Properties)]
	if cap(properties) > hubamqp.MaxProperties {
		properties = nil
	}
	clear(properties)
	b.m = causeway.Message{Properties: properties[:0]}
}

// release gives b back, without what only large events needed.
func (b *batch) release(most int) {
	b.forget()
	if cap(b.buf) > 2*most {
		b.buf = nil
	}
	clear(b.transfers)
	b.buf, b.ends, b.transfers = b.buf[:0], b.ends[:0], b.transfers[:0]
	batches.Put(b)
}

// send sends records, as many as are a batch by their bytes: how many of them there
// are was a guess. While it waits for the peer to take them it holds them once,
// encoded.
func (r *reader) send(recs []eventlog.Record) error {
	b := batches.Get().(*batch)
	most := r.peer.plane.Limits.BatchBytes
	defer b.release(most)
	bodies := 0
	r.largest = 0
	for i := range recs {
		r.largest = max(r.largest, len(recs[i].Payload))
	}
	runtime := r.lastEvent(recs)
	for i := range recs {
		rec := &recs[i]
		if len(b.buf) > 0 && len(b.buf)+len(rec.Payload) > most {
			break // it is read again
		}
		r.next = rec.Offset + 1
		if err := envelope.View(&b.m, rec.Payload); err != nil {
			// It is in the log for good: who comes back would find it again.
			r.peer.plane.Log.Error("an event cannot be read and is left out", obs.KeyHub, r.place.hub,
				obs.KeyPartition, int(r.place.partition), obs.KeyOffset, int64(rec.Offset), obs.KeyError, err)
			continue
		}
		at := hubamqp.Position{Sequence: int64(rec.Offset), Offset: int64(rec.Offset), Enqueued: rec.Time}
		b.buf = hubamqp.AppendEvent(b.buf, &b.m, at, runtime)
		b.ends = append(b.ends, len(b.buf))
		bodies += len(b.m.Body)
	}
	clear(recs)
	b.forget()
	begin := 0
	for _, end := range b.ends {
		b.transfers = append(b.transfers, amqp.Transfer{Payload: b.buf[begin:end]})
		begin = end
	}
	n, err := r.snd.Send(r.ctx, b.transfers...)
	m := r.peer.plane.Metrics
	m.MessagesOut.Add(float64(n))
	m.BytesOut.Add(float64(bodies))
	return err
}

// lastEvent returns what the peer wants to know of the partition with each event
// of recs, nil for nothing.
func (r *reader) lastEvent(recs []eventlog.Record) *hubamqp.Runtime {
	if !r.runtime {
		return nil
	}
	_, next, err := r.log.Bounds(r.ctx, r.place.partition)
	if err != nil {
		return nil
	}
	if rec := &recs[len(recs)-1]; next <= rec.Offset+1 {
		r.last = positionOf(rec)
	} else if r.last.Offset != int64(next-1) || r.last.Enqueued.IsZero() {
		r.last = lastOf(r.ctx, r.log, r.place.partition, next)
	}
	return &hubamqp.Runtime{Last: r.last, Retrieved: time.Now()}
}

func positionOf(rec *eventlog.Record) hubamqp.Position {
	return hubamqp.Position{Sequence: int64(rec.Offset), Offset: int64(rec.Offset), Enqueued: rec.Time}
}

// lastOf returns the position of the last event of a partition, of which the
// next one will get an offset. The time is left out when the event is not held.
func lastOf(ctx context.Context, log eventlog.Log, p eventlog.Partition, next eventlog.Offset) hubamqp.Position {
	at := hubamqp.Position{Sequence: int64(next - 1), Offset: int64(next - 1)}
	if next == 0 {
		return at
	}
	ctx, cancel := context.WithTimeout(ctx, lastWait) // a courtesy that does not hold up the events
	defer cancel()
	if recs, err := log.Read(ctx, p, next-1, 1); err == nil && recs[0].Offset == next-1 {
		at.Enqueued = recs[0].Time
	}
	return at
}
