package seglog

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// Read returns up to limit records of p from offset from on, and waits until
// there is one. It returns less than limit when the records are many bytes
// (MaxReadBytes) or the next one lies in another segment. Payloads of one call
// may share memory; they belong to the caller. Records that are damaged on disk
// are left out, which is the only case in which offsets have gaps; when all from
// there on are, that is a *eventlog.TrimmedError with the next offset.
//
// Errors: *eventlog.TrimmedError, eventlog.ErrClosed, the error of ctx, and
// what the file system says.
func (l *Log) Read(ctx context.Context, p eventlog.Partition, from eventlog.Offset, limit int) ([]eventlog.Record, error) {
	if err := l.checkPartition(p); err != nil {
		return nil, err
	}
	if limit < 1 || from < 0 {
		return nil, fmt.Errorf("seglog: read %d records from offset %d: both must be positive", limit, from)
	}
	want := from // moves on when records are lost
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pl, err := l.find(p, from, want, limit)
		if err != nil {
			return nil, err
		}
		if pl.seg == nil { // nothing there yet
			select {
			case <-pl.wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		recs, err := l.readSegment(&pl, int(p), limit)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("seglog: %w", err)
		}
		if len(recs) > 0 {
			return recs, nil
		}
		want = pl.stop
	}
}

// place is where to look for records of a partition.
type place struct {
	seg        *segment // nil: wait for the channel
	wait       <-chan struct{}
	first      eventlog.Offset // wanted
	stop       eventlog.Offset // behind the last one in the segment
	pos, limit int64           // between them in the file
	from       int64           // only records at or behind this time
	places     *[]uint32       // of the first wanted records, when they are known
}

// find looks up where offset want of p is. From is what the caller asked for:
// when it is no longer held, that is the answer.
func (l *Log) find(p eventlog.Partition, from, want eventlog.Offset, limit int) (place, error) {
	l.view.RLock()
	pl, ok, err := l.findLocked(p, from, want, limit)
	l.view.RUnlock()
	if ok || err != nil {
		return pl, err
	}
	// There is nothing yet. Look again under the exclusive lock, under which
	// the writer publishes, so that no wake-up is lost.
	l.view.Lock()
	defer l.view.Unlock()
	pl, ok, err = l.findLocked(p, from, want, limit)
	if ok || err != nil {
		return pl, err
	}
	lp := &l.parts[p]
	if lp.wait == nil {
		lp.wait = make(chan struct{})
	}
	return place{wait: lp.wait}, nil
}

// findLocked is find without waiting: false when the record is not there yet.
// The caller holds view.
func (l *Log) findLocked(p eventlog.Partition, from, want eventlog.Offset, limit int) (place, bool, error) {
	lp := &l.parts[p]
	if l.closed {
		return place{}, false, eventlog.ErrClosed
	}
	if from < lp.oldest {
		return place{}, false, &eventlog.TrimmedError{Oldest: lp.oldest}
	}
	for want < lp.next {
		i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].parts[p].next > want })
		if i == len(l.segs) {
			break // lost at the very end
		}
		s := l.segs[i]
		pt := &s.parts[p]
		if len(pt.index) == 0 { // all it held of p is lost
			want = pt.next
			continue
		}
		want = max(want, pt.index[0].offset)
		pl := place{seg: s, first: want, stop: pt.next, limit: s.end}
		buf := placeBuffers.Get().(*[]uint32)
		if *buf = lp.recent.places((*buf)[:0], s.id, want, min(limit, maxPlaces)); len(*buf) > 0 {
			pl.places, pl.pos = buf, int64((*buf)[0])
			return pl, true, nil
		}
		placeBuffers.Put(buf)
		at := pt.locate(want).pos
		if pos, ok := l.hints[p].get(s.id, want); ok {
			at = max(at, pos)
		}
		pl.pos = at
		return pl, true, nil
	}
	if from < lp.next {
		// All that was there is lost. To wait for the next record would hang who
		// reads up to a bound.
		return place{}, false, &eventlog.TrimmedError{Oldest: lp.next}
	}
	return place{}, false, nil
}

// collector gathers the records of one Read. Payloads are views of the chunk
// until settle gives them memory of their own.
type collector struct {
	recs    []eventlog.Record
	own     int // so many have memory of their own
	waiting int // bytes of the others
	total   int // bytes of all
}

func (c *collector) add(f *frame) {
	c.recs = append(c.recs, eventlog.Record{Offset: f.offset, Time: fromMicros(f.time), Payload: f.payload})
	c.waiting += len(f.payload)
	c.total += len(f.payload)
}

// settle is called before the chunk's buffer changes.
func (c *collector) settle() {
	if c.own == len(c.recs) {
		return
	}
	mem := make([]byte, 0, c.waiting)
	for ; c.own < len(c.recs); c.own++ {
		n := len(mem)
		mem = append(mem, c.recs[c.own].Payload...)
		c.recs[c.own].Payload = mem[n:len(mem):len(mem)]
	}
	c.waiting = 0
}

// readSegment reads records of partition p from the place. None means that all
// it looked for are lost.
func (l *Log) readSegment(pl *place, p, limit int) ([]eventlog.Record, error) {
	if pl.places != nil {
		defer placeBuffers.Put(pl.places)
	}
	f, err := l.files.acquire(pl.seg)
	if err != nil {
		return nil, err
	}
	defer l.files.release(pl.seg)
	limit = int(min(int64(limit), int64(pl.stop-pl.first)))
	if pl.places != nil {
		recs, err := l.readPlaces(f, pl, p)
		if err != nil || len(recs) > 0 {
			return recs, err
		}
	}
	return l.readOn(f, pl, p, limit)
}

// readPlaces reads the records whose places are known. It stops at damage.
func (l *Log) readPlaces(f file, pl *place, p int) ([]eventlog.Record, error) {
	at := *pl.places
	span := int(at[len(at)-1]-at[0]) + minChunkBytes
	if span/len(at) > sparseBytes {
		span = sparseBytes / 2
	}
	c := newChunk(f, pl.limit, span)
	defer c.free()
	got := collector{recs: make([]eventlog.Record, 0, len(at))}
	for i, pos := range at {
		if got.total >= MaxReadBytes {
			break
		}
		if !c.buffered(int64(pos), l.partitions, l.seed) {
			got.settle()
		}
		fr, ok, err := c.frame(int64(pos), l.partitions, l.seed)
		if err != nil {
			return nil, fmt.Errorf("read segment %s: %w", pl.seg.name(), err)
		}
		if !ok || fr.partition != p || fr.offset != pl.first+eventlog.Offset(i) {
			break
		}
		got.add(&fr)
	}
	got.settle()
	return got.recs, nil
}

// readOn reads on from the place, past the records of other partitions and past
// damage.
func (l *Log) readOn(f file, pl *place, p, limit int) ([]eventlog.Record, error) {
	s := pl.seg
	// As much as the records may take; all partitions lie in between.
	c := newChunk(f, pl.limit, max(minChunkBytes, limit*512*min(l.partitions, 16)))
	defer c.free()
	got := collector{recs: make([]eventlog.Record, 0, min(limit, 1024))}
	next, pos := pl.first, pl.pos
	for pos < pl.limit && len(got.recs) < limit && got.total < MaxReadBytes {
		if !c.buffered(pos, l.partitions, l.seed) {
			got.settle()
		}
		fr, ok, err := c.frame(pos, l.partitions, l.seed)
		if err != nil {
			return nil, fmt.Errorf("read segment %s: %w", s.name(), err)
		}
		if !ok {
			got.settle()
			behind, found, err := findFrame(c, pos+1, l.partitions, l.seed, 0)
			if err != nil {
				return nil, fmt.Errorf("read segment %s: %w", s.name(), err)
			}
			if !found {
				behind = pl.limit
			}
			pos = behind
			continue
		}
		if fr.partition == p && fr.offset >= pl.stop {
			break
		}
		pos += fr.size()
		if fr.partition != p || fr.offset < next {
			continue
		}
		if fr.time < pl.from {
			next = fr.offset + 1
			continue
		}
		if fr.offset > next && pl.from == 0 {
			l.noteDamage(s, hole{p, next, fr.offset})
		}
		next = fr.offset + 1
		got.add(&fr)
	}
	got.settle()
	if pos >= pl.limit && next < pl.stop {
		l.noteDamage(s, hole{p, next, pl.stop})
	}
	l.hints[p].put(pl.first, next, s.id, pos)
	return got.recs, nil
}

// Seek returns the offset of the first record of p that is not before t, or the
// next offset when there is none.
func (l *Log) Seek(ctx context.Context, p eventlog.Partition, t time.Time) (eventlog.Offset, error) {
	if err := l.checkPartition(p); err != nil {
		return 0, err
	}
	at := micros(t)
	if t.Nanosecond()%1000 != 0 {
		at++ // times are kept in whole microseconds: the first one not before t
	}
	var behind uint64 // segments up to this one hold no such record
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		pl, oldest, next, err := l.findTime(p, at, behind)
		if err != nil {
			return 0, err
		}
		if pl.seg == nil {
			return next, nil
		}
		recs, err := l.readSegment(&pl, int(p), 1)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("seglog: seek: %w", err)
		}
		if len(recs) > 0 {
			return max(oldest, recs[0].Offset), nil
		}
		behind = pl.seg.id
	}
}

// findTime looks up where the first record of p at or behind time t is, in the
// segments after the one given.
func (l *Log) findTime(p eventlog.Partition, t int64, behind uint64) (pl place, oldest, next eventlog.Offset, err error) {
	l.view.RLock()
	defer l.view.RUnlock()
	lp := &l.parts[p]
	if l.closed {
		return place{}, 0, 0, eventlog.ErrClosed
	}
	for _, s := range l.segs {
		pt := &s.parts[p]
		if s.id <= behind || len(pt.index) == 0 || pt.last < t || pt.next <= lp.oldest {
			continue
		}
		e := pt.locateTime(t)
		return place{seg: s, first: e.offset, stop: pt.next, pos: e.pos, limit: s.end, from: t}, lp.oldest, lp.next, nil
	}
	return place{}, lp.oldest, lp.next, nil
}

// hints remember where readers of a partition left off, so that the next call
// of each goes on there.
type hints struct {
	mu   sync.Mutex
	at   [hintsPerPartition]hint
	turn int
}

// hint says that the record of that offset is not before pos in the segment.
type hint struct {
	segment uint64
	offset  eventlog.Offset
	pos     int64
}

// get returns the position to read offset from.
func (h *hints) get(segment uint64, offset eventlog.Offset) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.at {
		if h.at[i].segment == segment && h.at[i].offset == offset {
			return h.at[i].pos, true
		}
	}
	return 0, false
}

// put remembers where the reader that came for offset first goes on: at offset
// next.
func (h *hints) put(first, next eventlog.Offset, segment uint64, pos int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.turn
	for j := range h.at {
		if h.at[j].offset == first && h.at[j].segment == segment {
			i = j // its own
			break
		}
	}
	if i == h.turn {
		h.turn = (h.turn + 1) % len(h.at)
	}
	h.at[i] = hint{segment, next, pos}
}
