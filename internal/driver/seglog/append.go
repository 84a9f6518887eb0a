package seglog

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// group is what the appends of one moment write together.
type group struct {
	buf     []byte
	records int
	appends int
	touched []int     // partitions with records in it
	parts   []grouped // per partition
	marks   []mark    // candidates for the index

	// The outcome, the same for all. Err is read once done is closed.
	*outcome
}

// outcome outlives the group, whose memory is used again.
type outcome struct {
	done chan struct{}
	err  error
}

// grouped is what a group holds of one partition.
type grouped struct {
	touched bool
	next    eventlog.Offset
	last    int64
	first   eventlog.Offset
	at      []uint32 // where in buf each of its records is
	marked  int      // where in buf its last mark is
}

// mark is a record that may go into the index.
type mark struct {
	partition int
	entry     // pos is counted from the start of the group
}

func newGroup(partitions int) *group {
	return &group{
		buf:     make([]byte, 0, 64<<10),
		parts:   make([]grouped, partitions),
		outcome: &outcome{done: make(chan struct{})},
	}
}

// reset makes the group ready to be gathered anew.
func (g *group) reset() {
	if cap(g.buf) > keepBufferBytes {
		g.buf = make([]byte, 0, 64<<10)
	}
	for _, p := range g.touched {
		g.parts[p].touched = false
	}
	g.buf, g.touched, g.marks = g.buf[:0], g.touched[:0], g.marks[:0]
	g.records, g.appends = 0, 0
	g.outcome = &outcome{done: make(chan struct{})}
}

// add puts one record into the group.
func (g *group) add(f *frame, crc, seed uint32, step int64) {
	pos := len(g.buf)
	if pos == 0 {
		f.flags |= flagFirst
	}
	g.buf = appendFrame(g.buf, f, crc, seed)
	g.records++
	gp := &g.parts[f.partition]
	if !gp.touched || int64(pos-gp.marked) >= step {
		g.marks = append(g.marks, mark{f.partition, entry{f.offset, int64(pos), f.time}})
		gp.marked = pos
	}
	if !gp.touched {
		gp.touched, gp.first, gp.at = true, f.offset, gp.at[:0]
		g.touched = append(g.touched, f.partition)
	}
	gp.next, gp.last = f.offset+1, f.time
	gp.at = append(gp.at, uint32(pos))
}

// Append stores recs at the end of partition p and returns the offset of the
// first once all are on stable storage. A batch is stored whole or not at all,
// even if the machine loses power meanwhile.
//
// A record keeps the time it brings, to the microsecond, or gets the present
// one when it brings none; but never an earlier time than the record before it
// in the partition has, so that Seek can search.
//
// Once the records are queued, Append waits for their fate even if ctx ends:
// to return earlier would leave the caller not knowing it. Errors:
// eventlog.ErrFull, eventlog.ErrTooLarge, eventlog.ErrClosed, and what the file
// system says.
func (l *Log) Append(ctx context.Context, p eventlog.Partition, recs ...eventlog.Record) (eventlog.Offset, error) {
	if err := l.checkPartition(p); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(recs) == 0 {
		_, next, err := l.Bounds(ctx, p)
		return next, err
	}
	// The checksums of the payloads need no offset, so no lock.
	var few [64]uint32
	crcs := few[:0]
	if len(recs) > len(few) {
		crcs = make([]uint32, 0, len(recs))
	}
	total := 0
	for i := range recs {
		n := len(recs[i].Payload)
		total += n
		if n > MaxRecordBytes {
			return 0, fmt.Errorf("%w: %d bytes, the most is %d", eventlog.ErrTooLarge, n, MaxRecordBytes)
		}
		if total > MaxBatchBytes {
			return 0, fmt.Errorf("%w: a batch of more than %d bytes", eventlog.ErrTooLarge, MaxBatchBytes)
		}
		crcs = append(crcs, payloadCRC(recs[i].Payload))
	}

	if err := l.enter(ctx); err != nil {
		return 0, err
	}
	first, out := l.gather(int(p), recs, crcs)
	wake := !l.awake
	l.awake = true
	l.mu.Unlock()
	if wake {
		l.nudge()
	}

	<-out.done
	if out.err != nil {
		return 0, fmt.Errorf("seglog: append: %w", out.err)
	}
	return first, nil
}

// enter locks mu when the group being gathered has room.
func (l *Log) enter(ctx context.Context) error {
	l.mu.Lock()
	for {
		if l.closing {
			l.mu.Unlock()
			return eventlog.ErrClosed
		}
		if len(l.group.buf) < maxPendingBytes {
			return nil
		}
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
	}
}

// gather puts recs into the group. The caller holds mu.
func (l *Log) gather(p int, recs []eventlog.Record, crcs []uint32) (eventlog.Offset, *outcome) {
	g, t := l.group, &l.tail[p]
	first, step := t.next, indexStep(l.partitions)
	var clock int64
	for i := range recs {
		at := clock
		if !recs[i].Time.IsZero() {
			at = micros(recs[i].Time)
		} else if clock == 0 {
			clock = micros(time.Now())
			at = clock
		}
		t.last = max(t.last, at)
		f := frame{partition: p, offset: t.next, time: t.last, payload: recs[i].Payload}
		if i < len(recs)-1 {
			f.flags = flagMore
		}
		g.add(&f, crcs[i], l.seed, step)
		t.next++
	}
	g.appends++
	return first, g.outcome
}

// nudge makes the writer look for work. When a token lies there already it is
// about to look.
func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take returns the group that was gathered, or nil when there is none, and puts
// an empty one in its place.
func (l *Log) take(spare *group) *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.group
	if g.records == 0 {
		l.awake = false
		return nil
	}
	l.group = spare
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	return g
}
