package cloudhub

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// Bounds of the hot path.
const (
	// MaxBatch and MaxBatchBytes are how many messages, and how much once
	// encoded, one Send may carry.
	MaxBatch      = 4096
	MaxBatchBytes = 16 << 20
	// maxPooledBytes and maxPooledRecords bound what a batch keeps for the next.
	maxPooledBytes   = 1 << 20
	maxPooledRecords = 1024
)

// Partition returns the partition of a device's events among n: the 64-bit
// FNV-1a hash of the device id modulo n. Modules go where their device goes.
// It never changes, so that the events of a device stay in order over restarts
// and versions.
func Partition(device string, n int) eventlog.Partition {
	if n <= 1 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(device) {
		h = (h ^ uint64(device[i])) * 1099511628211
	}
	return eventlog.Partition(h % uint64(n))
}

// batch is the scratch space of one Send.
type batch struct {
	buf     []byte
	ends    []int
	records []eventlog.Record
	message causeway.Message
	props   []causeway.Property
	routed  routed
}

func (h *Hub) newBatch() *batch {
	if b, ok := h.batches.Get().(*batch); ok {
		return b
	}
	return new(batch)
}

// release keeps b for the next Send. It must not remember the caller's memory.
func (h *Hub) release(b *batch) {
	if cap(b.buf) > maxPooledBytes || cap(b.records) > maxPooledRecords || b.routed.large() {
		return
	}
	b.message = causeway.Message{}
	clear(b.props[:cap(b.props)])
	clear(b.records)
	b.routed.clear()
	b.buf, b.ends, b.records, b.props = b.buf[:0], b.ends[:0], b.records[:0], b.props[:0]
	h.batches.Put(b)
}

// Send stamps msgs and appends them to the partition of the device in one
// piece. Nothing is allocated once the pools are warm.
func (s *session) Send(ctx context.Context, msgs ...causeway.Message) error {
	const op = "cloudhub.Send"
	now := time.Now()
	if err := s.open(now); err != nil {
		return err
	}
	if len(msgs) == 0 {
		return nil
	}
	if len(msgs) > MaxBatch {
		return causeway.Errorf(causeway.MessageTooLarge, op, "a batch of %d messages is over the limit of %d", len(msgs), MaxBatch)
	}
	p := s.proof.Load()
	if s.dev == nil {
		if err := s.stillAdmitted(ctx, p, now); err != nil {
			return err
		}
	}
	b := s.hub.newBatch()
	defer s.hub.release(b)
	r := s.hub.current.Load().routes
	if r != nil {
		b.begin(ctx, s, r)
		defer b.end()
	}
	bodies := 0
	for i := range msgs {
		if err := checkMessage(&msgs[i]); err != nil {
			return err
		}
		bodies += len(msgs[i].Body)
		b.stamp(s, p, &msgs[i], now)
		if r == nil {
			b.encode(&b.message)
			b.props = b.props[:0]
		} else {
			b.route(&b.message)
		}
		if len(b.buf)+b.routed.bytes > MaxBatchBytes {
			return causeway.Errorf(causeway.MessageTooLarge, op, "the batch has more than %d bytes", MaxBatchBytes)
		}
	}
	var err error
	if r == nil {
		err = b.append(ctx, s.hub.events, s.partition, now)
	} else {
		err = b.deliver(ctx, s.hub.events, s.partition, now)
	}
	if err != nil {
		return logError(ctx, err)
	}
	s.last.Store(now.UnixMilli())
	s.hub.metrics.Telemetry.Add(float64(len(msgs)))
	s.hub.metrics.TelemetryBytes.Add(float64(bodies))
	return nil
}

func checkMessage(m *causeway.Message) error {
	const op = "cloudhub.Send"
	if n := m.Size(); n > causeway.MaxMessageSize {
		return causeway.Errorf(causeway.MessageTooLarge, op,
			"the message has %d bytes with its properties, the limit is %d", n, causeway.MaxMessageSize)
	}
	if len(m.ID) > causeway.MaxMessageID {
		return causeway.Errorf(causeway.ArgumentInvalid, op,
			"the message id has %d characters, the limit is %d", len(m.ID), causeway.MaxMessageID)
	}
	return nil
}

// append stores what was encoded, all in one piece.
func (b *batch) append(ctx context.Context, log eventlog.Log, p eventlog.Partition, now time.Time) error {
	start := 0
	for _, end := range b.ends {
		b.records = append(b.records, eventlog.Record{Time: now, Payload: b.buf[start:end:end]})
		start = end
	}
	_, err := log.Append(ctx, p, b.records...)
	return err
}

// encode adds m to what goes to the event log.
func (b *batch) encode(m *causeway.Message) {
	b.buf = envelope.Append(b.buf, m)
	b.ends = append(b.ends, len(b.buf))
}

// stamp makes m the message of b, with the stamps of the hub. What the client
// put in their place is overwritten, and application properties that pretend to
// be stamps are left out.
func (b *batch) stamp(s *session, p *proof, m *causeway.Message, now time.Time) {
	b.message = *m
	d := &b.message
	d.From, d.Auth, d.GenerationID, d.ModelID = s.id, p.auth, s.generation, p.model
	d.Enqueued, d.Source = now, causeway.SourceTelemetry
	d.Sequence, d.DeliveryCount, d.Lock = 0, 0, causeway.LockToken{}
	for i := range m.Properties {
		if reserved(m.Properties[i].Key) {
			from := len(b.props)
			for _, q := range m.Properties {
				if !reserved(q.Key) {
					b.props = append(b.props, q)
				}
			}
			d.Properties = b.props[from:len(b.props):len(b.props)]
			break
		}
	}
}

// reserved reports whether an application property has the name of a stamp.
func reserved(key string) bool {
	return len(key) > 7 && key[0] == 'i' &&
		(strings.HasPrefix(key, "iothub-connection-") || key == "iothub-enqueuedtime" || key == "iothub-message-source")
}

// stillAdmitted looks at the registry, and at what the hub vouches for, for a
// session without presence, which nobody hangs up when they change.
func (s *session) stillAdmitted(ctx context.Context, p *proof, now time.Time) error {
	a, _, err := s.hub.look(ctx, s.id)
	if err != nil && causeway.CodeOf(err) != causeway.IotHubUnauthorized {
		return err
	}
	if err != nil || !p.restsOn(s, &a) {
		s.end(causeway.Errorf(causeway.IotHubUnauthorized, "cloudhub.Send",
			"%s was changed since it was authenticated; authenticate again", s.id), false)
		return s.ending.Load().reason
	}
	if !s.hub.current.Load().vouches(p.grounds) {
		s.end(groundless(s.id), false)
		return s.ending.Load().reason
	}
	s.hub.presence.Seen(s.id, now, a.record.ConnectionStateUpdated)
	return nil
}

// logError says to a client why its messages were not stored.
func logError(ctx context.Context, err error) error {
	const op = "cloudhub.Send"
	switch {
	case errors.Is(err, eventlog.ErrTooLarge):
		return &causeway.Error{
			Code: causeway.MessageTooLarge, Op: op, Err: err,
			Msg: "the messages are larger than the event log takes at once; send fewer",
		}
	case errors.Is(err, eventlog.ErrFull):
		return &causeway.Error{
			Code: causeway.ServiceUnavailable, Op: op, Err: err,
			Msg: "the hub has no space left for messages; nothing was stored, try again later",
		}
	case errors.Is(err, eventlog.ErrClosed):
		return &causeway.Error{
			Code: causeway.ServiceUnavailable, Op: op, Err: err,
			Msg: "the hub is shutting down; nothing was stored, connect again in a moment",
		}
	case ctx.Err() != nil, causeway.CodeOf(err) != causeway.ServerError:
		return err
	default:
		return &causeway.Error{
			Code: causeway.ServiceUnavailable, Op: op, Err: err,
			Msg: "the hub could not store the messages; try again",
		}
	}
}
