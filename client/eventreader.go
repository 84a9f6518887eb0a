package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Defaults and bounds of readers of events.
const (
	DefaultPrefetch = 1000           // events that the endpoint may send ahead
	MaxPrefetch     = 100_000        // the same
	maxAhead        = 16 << 20       // bytes of events that wait; above it the connection is not read
	atMost          = 256            // events that one Receive returns
	maxEvent        = 1<<20 + 64<<10 // bytes of one event, stamps included
)

// ErrUnreadable is in the error about an event that is none. Its reader can go on
// with the one after it.
var ErrUnreadable = errors.New("an event cannot be read")

// ReaderOptions are the settings of an EventReader.
type ReaderOptions struct {
	// From is where to begin.
	From Start
	// Epoch makes the reader the only one of its consumer group on its
	// partition: those with a lower epoch, or without one, have to give way. Nil
	// is a reader beside others.
	Epoch *int64
	// Prefetch is how many events the endpoint may send ahead, 0 for
	// DefaultPrefetch.
	Prefetch int
	// LastEnqueued asks for PartitionEvent.Last.
	LastEnqueued bool
	// Name is what the endpoint may call the reader, in its errors for instance.
	Name string
}

// PartitionEvent is an event as it stands in its partition. Message has the
// stamps of the hub.
type PartitionEvent struct {
	Message      causeway.Message
	Partition    string
	Sequence     int64
	Offset       string
	Enqueued     time.Time
	PartitionKey string
	Last         LastEnqueued // zero unless it was asked for
}

// LastEnqueued is what the last event of a partition was when an event was sent.
type LastEnqueued struct {
	Sequence int64
	Offset   string
	Enqueued time.Time
	Seen     time.Time // when this was found out
}

// Clone returns a copy of e that shares no memory with it.
func (e *PartitionEvent) Clone() PartitionEvent {
	c := *e
	c.Message = e.Message.Clone()
	c.Offset, c.PartitionKey, c.Last.Offset = strings.Clone(e.Offset), strings.Clone(e.PartitionKey), strings.Clone(e.Last.Offset)
	return c
}

// EventReader reads the events of one partition, on a connection of its own. It
// reconnects and goes on where it was. It is for one goroutine; Close may be
// called from any.
type EventReader struct {
	e         *Events
	o         ReaderOptions
	at        *eventsPlace
	partition string
	back      *back
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc

	from  hubamqp.Start // where to go on
	feed  *feed
	batch *arena // what Receive goes through
	next  int    // of batch
	out   []PartitionEvent
	event hubamqp.Event
	text  hubamqp.Scratch
}

// Reader begins to read a partition. Codes: IotHubUnauthorized, DeviceNotFound
// (there is no such partition or consumer group),
// ConnectionForcefullyClosedOnNewConnection (a reader with a higher epoch is
// there), ArgumentInvalid.
func (e *Events) Reader(ctx context.Context, partition string, o ReaderOptions) (*EventReader, error) {
	if o.Prefetch <= 0 {
		o.Prefetch = DefaultPrefetch
	}
	o.Prefetch = min(o.Prefetch, MaxPrefetch)
	op := "read partition " + partition
	if o.From.s.Kind == hubamqp.StartLatest {
		// A number, so that nothing is missed when the connection is lost before
		// the first event.
		p, err := e.Partition(ctx, partition)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		o.From = FromSequence(p.Next)
	}
	at, err := e.find(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	r := &EventReader{e: e, o: o, at: at, partition: partition, from: o.From.s, back: e.back(at), batch: &arena{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.attach(ctx); err != nil {
		r.back.close()
		return nil, opError(op, err)
	}
	return r, nil
}

// attach opens a link that goes on where the last one ended.
func (r *EventReader) attach(ctx context.Context) error {
	c, err := r.back.open(ctx)
	if err != nil {
		return err
	}
	s, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	address := hubamqp.Address{Kind: hubamqp.KindEvents, Entity: r.at.entity, Group: r.e.o.ConsumerGroup, Partition: r.partition}
	properties := hubamqp.LinkProperties{ReceiverName: r.o.Name}
	if r.o.Epoch != nil {
		properties.Epoch = codec.Some(*r.o.Epoch)
	}
	o := amqp.ReceiverOptions{MaxMessageSize: maxEvent, Properties: linkProperties(&r.e.o.Options, properties)}
	if r.o.LastEnqueued {
		o.DesiredCapabilities = []string{hubamqp.CapabilityRuntimeMetric}
	}
	f := newFeed(r.ctx, r.o.Prefetch)
	o.Handler = f
	link, err := s.AttachReceiver(ctx, amqp.LinkConfig{
		Source: address.String(), Filter: r.from.Filter(), SndSettleMode: codec.SendSettled,
	}, o)
	if err != nil {
		_ = s.End(nil) // it may have ended already
		return err
	}
	f.begin(link)
	r.feed = f
	return nil
}

// Close ends the reader; a Receive that waits returns ErrClosed.
func (r *EventReader) Close() {
	r.cancel()
	r.back.close()
}

// Receive waits for events and returns those that are there, in their order, as
// many as a few hundred. They are borrowed until the next call: who keeps one
// keeps a Clone. It reconnects while ctx lasts; the error tells when that is of
// no use, or is ErrUnreadable. Codes: those of Events.Reader.
func (r *EventReader) Receive(ctx context.Context) ([]PartitionEvent, error) {
	if r.next < r.batch.len() {
		return r.read()
	}
	for {
		err := r.feed.swap(ctx, &r.batch)
		if err == nil {
			r.next = 0
			return r.read()
		}
		if err = r.recover(ctx, err); err != nil {
			return nil, err
		}
	}
}

// recover attaches anew after the link was lost, as often as is of use.
func (r *EventReader) recover(ctx context.Context, err error) error {
	var again pauses
	useless := taken(err) // anything else may look different on a new link
	for {
		switch {
		case r.ctx.Err() != nil:
			return ErrClosed
		case ctx.Err() != nil:
			return ctx.Err()
		case useless:
			return opError("read partition "+r.partition, err)
		}
		r.e.o.log().Warn("connection lost", "partition", r.partition, "error", err)
		if causeway.CodeOf(amqpError(err)) == causeway.IotHubUnauthorized {
			r.back.forget() // its token is of no use any more
		}
		if again.wait(ctx) != nil {
			continue
		}
		if err = r.attach(ctx); err == nil {
			return nil
		}
		useless = lasting(err)
	}
}

// read decodes the next events of the batch.
func (r *EventReader) read() ([]PartitionEvent, error) {
	r.text.Reset()
	n := min(atMost, r.batch.len()-r.next)
	for len(r.out) < n {
		r.out = append(r.out, PartitionEvent{})
	}
	for i := range n {
		out := &r.out[i]
		r.event.Message.Properties = out.Message.Properties
		b := r.batch.at(r.next)
		r.next++
		if err := hubamqp.DecodeEvent(&r.event, &r.text, b); err != nil {
			if i > 0 { // what was read first; the error comes with the next call
				r.next--
				return r.out[:i], nil
			}
			return nil, fmt.Errorf("read partition %s: %w: %w", r.partition, ErrUnreadable, err)
		}
		x := &r.event
		out.Message, out.Partition, out.Sequence, out.Offset = x.Message, r.partition, x.Sequence, x.Offset
		out.Enqueued, out.PartitionKey = x.Enqueued, x.PartitionKey
		out.Last = LastEnqueued{x.Runtime.Last.Sequence, x.LastOffset, x.Runtime.Last.Enqueued, x.Runtime.Retrieved}
		r.from = hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: x.Sequence}
	}
	return r.out[:n], nil
}

// All returns the events that come, until an error, which comes last. They are
// borrowed until the next one.
func (r *EventReader) All(ctx context.Context) iter.Seq2[*PartitionEvent, error] {
	return func(yield func(*PartitionEvent, error) bool) {
		for {
			list, err := r.Receive(ctx)
			for i := range list {
				if !yield(&list[i], nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}
