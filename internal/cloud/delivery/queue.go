package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// group is the name of the cursors of pumps.
const group = "sent"

// Queue is the queue of one endpoint. It is safe for concurrent use.
type Queue struct {
	hub, name string
	log       Log
	dead      *deadLetters
	metrics   *obs.Delivery
	out       *slog.Logger
	policy    atomic.Pointer[Policy]
	pulse     pulse
	parts     []*part
	messages  atomic.Int64 // that wait
	bytes     atomic.Int64 // of their records

	life   sync.Mutex // held by start and halt
	sink   plugin.Sink
	cancel context.CancelFunc
	pumps  sync.WaitGroup
}

// part is one partition of a queue.
type part struct {
	id    eventlog.Partition
	total atomic.Uint64 // bytes ever appended
	sent  uint64        // bytes ever sent before the first that waits, when it was opened
	next  eventlog.Offset
	trim  eventlog.Offset // up to where space was given back
}

// openQueue takes over a log and finds out what waits in it.
func openQueue(ctx context.Context, hub, name string, log Log, p Policy, dead *deadLetters, metrics *obs.Delivery, out *slog.Logger) (*Queue, error) {
	q := &Queue{hub: hub, name: name, log: log, dead: dead, metrics: metrics, out: out.With(obs.KeyHub, hub, obs.KeyEndpoint, name)}
	q.policy.Store(&p)
	q.pulse.status.Name = name
	q.pulse.parts = make([]partPulse, log.Partitions())
	for i := range log.Partitions() {
		pt := &part{id: eventlog.Partition(i)}
		if err := q.resume(ctx, pt); err != nil {
			return nil, fmt.Errorf("find what waits in partition %d: %w", i, err)
		}
		q.parts = append(q.parts, pt)
	}
	return q, nil
}

// resume finds the position of a partition and what waits in it.
func (q *Queue) resume(ctx context.Context, pt *part) error {
	oldest, next, err := q.log.Bounds(ctx, pt.id)
	if err != nil {
		return err
	}
	at, _, err := q.log.Committed(ctx, group, pt.id)
	if err != nil {
		return err
	}
	pt.next = min(max(at, oldest), next)
	if err := q.trim(ctx, pt); err != nil { // a crash may have been in between
		return err
	}
	if pt.next == next {
		return nil
	}
	first, err := q.log.Read(ctx, pt.id, pt.next, 1)
	if lost, ok := errors.AsType[*eventlog.TrimmedError](err); ok && lost.Oldest >= next {
		q.out.Error("all that waited in a partition is damaged and lost", obs.KeyPartition, int(pt.id), obs.KeyOffset, int64(pt.next), obs.KeyCount, int64(next-pt.next))
		pt.next = next
		return q.trim(ctx, pt)
	}
	if err != nil {
		return err
	}
	// The last record may be damaged: then its neighbour tells as well.
	last := first
	for back := eventlog.Offset(1); next-back > pt.next && back <= 64; back *= 2 {
		if recs, err := q.log.Read(ctx, pt.id, next-back, 1); err == nil {
			last = recs
			break
		}
	}
	if total, m, err := q.read(first[0]); err == nil {
		pt.sent = total - min(total, weight(&m))
	}
	pt.total.Store(pt.sent)
	if total, _, err := queued(last[0].Payload); err == nil {
		pt.total.Store(max(total, pt.sent))
	}
	q.messages.Add(int64(next - pt.next))
	q.bytes.Add(int64(pt.total.Load() - pt.sent)) //nolint:gosec // not more than was appended
	q.pulse.headed(int(pt.id), first[0].Time)
	return nil
}

// trim gives back the space of what was sent. A partition that is quiet for long
// must not hold back the space of others, so it is done to the last message.
func (q *Queue) trim(ctx context.Context, pt *part) error {
	if err := q.log.Trim(ctx, pt.id, pt.next); err != nil {
		return err
	}
	pt.trim = pt.next
	return nil
}

// Partition returns where the messages of a device go.
func Partition(device string, of int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(device))     // never fails
	return int(h.Sum32() % uint32(of)) //nolint:gosec // a few partitions
}

// Append stores messages in the queue and returns when they are durable: there,
// or, should it be full or broken, among the dead letters. It borrows them until
// then. It never waits for the endpoint. An error means that nothing is known to
// be stored. Code: ServiceUnavailable.
func (q *Queue) Append(ctx context.Context, msgs ...causeway.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	byPart := make([][]*causeway.Message, len(q.parts))
	used := 0
	for i := range msgs {
		m := &msgs[i]
		p := Partition(m.From.Device, len(q.parts))
		if byPart[p] == nil {
			used++
		}
		byPart[p] = append(byPart[p], m)
	}
	var err error
	if used == 1 {
		for p, ms := range byPart {
			if ms != nil {
				err = q.appendTo(ctx, q.parts[p], ms)
			}
		}
	} else {
		var g errgroup.Group // together, so that they share a sync of the disk
		for p, ms := range byPart {
			if ms != nil {
				g.Go(func() error { return q.appendTo(ctx, q.parts[p], ms) })
			}
		}
		err = g.Wait()
	}
	if err != nil {
		return &causeway.Error{Code: causeway.ServiceUnavailable, Op: "delivery.Append", Msg: "messages for endpoint " + q.name + " cannot be stored", Err: err}
	}
	return nil
}

// appendTo stores messages in a partition: as many of them as there is room for,
// or else it would depend on how they happen to come together which of them wait.
func (q *Queue) appendTo(ctx context.Context, pt *part, msgs []*causeway.Message) error {
	n, size := q.fit(msgs)
	err := q.store(ctx, pt, size, msgs[:n])
	switch {
	case err == nil && n < len(msgs):
		return q.overflow(ctx, obituary{endpoint: q.name, reason: ReasonFull}, msgs[n:])
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, errFull): // others have taken the room meanwhile
		return q.overflow(ctx, obituary{endpoint: q.name, reason: ReasonFull}, msgs)
	}
	q.out.Error("the queue of an endpoint does not store messages", obs.KeyError, err)
	return q.overflow(ctx, obituary{endpoint: q.name, reason: ReasonBroken, detail: clip(err.Error())}, msgs)
}

// errFull says that a queue has no room.
var errFull = errors.New("the queue is full")

// fit returns how many of the messages there is room for, the first ones, and what
// these weigh.
func (q *Queue) fit(msgs []*causeway.Message) (n int, size uint64) {
	p := q.policy.Load()
	room, bytes := p.MaxMessages-q.messages.Load(), p.MaxBytes-q.bytes.Load()
	for _, m := range msgs {
		more := size + weight(m)
		if int64(n) >= room || int64(more) > bytes { //nolint:gosec // a size
			break
		}
		n, size = n+1, more
	}
	return n, size
}

// store stores messages of a weight in a partition.
func (q *Queue) store(ctx context.Context, pt *part, size uint64, msgs []*causeway.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	if !q.reserve(len(msgs), size) {
		return errFull
	}
	recs := make([]eventlog.Record, len(msgs))
	var buf []byte
	for i, m := range msgs {
		at := len(buf)
		buf = appendQueued(buf, pt.total.Add(weight(m)), m)
		recs[i].Payload = buf[at:len(buf):len(buf)]
	}
	if _, err := q.log.Append(ctx, pt.id, recs...); err != nil {
		q.release(len(msgs), size)
		return err
	}
	q.metrics.Queued.WithLabelValues(q.name).Add(float64(len(msgs)))
	return nil
}

// again stores a dead letter, unless there is no room.
func (q *Queue) again(ctx context.Context, m *causeway.Message) error {
	return q.store(ctx, q.parts[Partition(m.From.Device, len(q.parts))], weight(m), []*causeway.Message{m})
}

// recordOverhead is what a record counts for besides its message.
const recordOverhead = 32

// weight is what a message counts for in a queue.
func weight(m *causeway.Message) uint64 {
	return uint64(m.Size()+len(m.From.Device)+len(m.From.Module)) + recordOverhead //nolint:gosec // a size
}

// read reads a record of the queue.
func (q *Queue) read(r eventlog.Record) (total uint64, m causeway.Message, err error) {
	total, body, err := queued(r.Payload)
	if err != nil {
		return 0, m, err
	}
	m, err = decodeMessage(q.hub, body)
	m.Sequence = int64(r.Offset)
	return total, m, err
}

// reserve makes room, or reports that there is none.
func (q *Queue) reserve(messages int, bytes uint64) bool {
	p := q.policy.Load()
	n, b := q.messages.Add(int64(messages)), q.bytes.Add(int64(bytes)) //nolint:gosec // a size
	if n <= p.MaxMessages && b <= p.MaxBytes {
		return true
	}
	q.release(messages, bytes)
	return false
}

func (q *Queue) release(messages int, bytes uint64) {
	q.messages.Add(-int64(messages))
	q.bytes.Add(-int64(bytes)) //nolint:gosec // a size
}

// overflow deals with messages that the queue does not take.
func (q *Queue) overflow(ctx context.Context, o obituary, msgs []*causeway.Message) error {
	if q.policy.Load().WhenFull == FullDrop && o.reason == ReasonFull {
		q.pulse.lost(0, len(msgs))
		q.metrics.Lost.WithLabelValues(q.name, "dropped").Add(float64(len(msgs)))
		return nil
	}
	return q.bury(ctx, o, msgs...)
}

// bury makes dead letters of messages.
func (q *Queue) bury(ctx context.Context, o obituary, msgs ...*causeway.Message) error {
	if err := q.dead.add(ctx, o, msgs...); err != nil {
		return err
	}
	q.pulse.lost(len(msgs), 0)
	q.metrics.Lost.WithLabelValues(q.name, o.reason).Add(float64(len(msgs)))
	return nil
}

// Status returns how the endpoint fares.
func (q *Queue) Status() Status {
	s := q.pulse.read(time.Now())
	s.Waiting, s.WaitingBytes = max(0, q.messages.Load()), max(0, q.bytes.Load())
	return s
}

// start lets pumps send to a sink, which the queue owns from then on.
func (q *Queue) start(sink plugin.Sink, p Policy) {
	q.life.Lock()
	defer q.life.Unlock()
	q.policy.Store(&p)
	lag := lagging
	if a, ok := sink.(plugin.Archiver); ok {
		lag += a.Window().Age
	}
	q.pulse.patience(lag)
	ctx, cancel := context.WithCancel(context.Background())
	q.sink, q.cancel = sink, cancel
	for _, pt := range q.parts {
		q.pumps.Go(func() { q.pump(ctx, pt, sink) })
	}
}

// pump sends what is in a partition until ctx ends. A log that fails, for want of
// space for instance, may be well again later: it goes on from what was stored.
func (q *Queue) pump(ctx context.Context, pt *part, sink plugin.Sink) {
	var pause backoff
	for {
		from := pt.next
		err := (&pump{q: q, part: pt, sink: sink}).run(ctx)
		if ctx.Err() != nil || errors.Is(err, eventlog.ErrClosed) {
			return
		}
		if pt.next > from {
			pause = backoff{}
		}
		q.out.Error("the queue of an endpoint fails; it is tried again", obs.KeyPartition, int(pt.id), obs.KeyError, err)
		if pause.wait(ctx, 0, DefaultMaxBackoff, time.Time{}) != nil {
			return
		}
	}
}

// halt ends the pumps, waits for them, and closes the sink. What waits stays.
func (q *Queue) halt() {
	q.life.Lock()
	defer q.life.Unlock()
	if q.cancel == nil {
		return
	}
	q.cancel()
	q.pumps.Wait()
	q.cancel = nil
	if err := q.sink.Close(); err != nil {
		q.out.Debug("closing an endpoint", obs.KeyError, err)
	}
}

// close halts the queue and closes its log.
func (q *Queue) close() error {
	q.halt()
	return q.log.Close()
}
