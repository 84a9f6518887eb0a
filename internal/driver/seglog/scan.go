package seglog

import (
	"fmt"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// hole is a run of records that are lost.
type hole struct {
	partition int
	from, to  eventlog.Offset // [from, to)
}

// scanned is what a scan found besides the records.
type scanned struct {
	holes []hole // lost records between others
	bytes int64  // damaged bytes that were skipped
	torn  int64  // bytes at the tail that are no whole batch
	group int64  // where the last group begins
}

// scan rebuilds parts and end of s from the frames in f.
//
// With open, nothing is known of where the frames end: that is the last segment
// after a crash, and limit the size of its file. A tail that no flagged frame
// follows is cut. Without open, limit is the end the next segment states: all
// bad bytes before it are damage.
//
// With learn the header was lost, and the first offset that is found in a
// partition is taken for its base.
func scan(s *segment, f file, seed uint32, limit int64, open, learn bool) (scanned, error) {
	var (
		res     scanned
		n       = len(s.parts)
		step    = indexStep(n)
		known   = make([]bool, n)
		durable = int64(-1) // a flagged frame that is known to lie ahead
		batch   struct {    // the batch that is being read, to take it back
			open  bool
			pos   int64
			p     int
			part  part
			holes int
		}
	)
	s.reset()
	c := newChunk(f, limit, maxChunkBytes)
	defer c.free()
	pos := s.end
	res.group = pos
	for pos < limit {
		fr, ok, err := c.frame(pos, n, seed)
		if err != nil {
			return res, fmt.Errorf("read segment %s: %w", s.name(), err)
		}
		if ok && learn && !known[fr.partition] {
			known[fr.partition] = true
			s.base[fr.partition] = max(s.base[fr.partition], fr.offset)
			s.parts[fr.partition].next = s.base[fr.partition]
		}
		if !ok || fr.offset < s.parts[fr.partition].next { // bad, or told before
			if open && durable <= pos {
				at, found, err := findFrame(c, pos+1, n, seed, flagFirst)
				if err != nil {
					return res, fmt.Errorf("read segment %s: %w", s.name(), err)
				}
				if !found {
					break // torn
				}
				durable = at
			}
			next, found, err := findFrame(c, pos+1, n, seed, 0)
			if err != nil {
				return res, fmt.Errorf("read segment %s: %w", s.name(), err)
			}
			batch.open = false
			if !found {
				next = limit
			}
			res.bytes += next - pos
			pos = next
			continue
		}
		if fr.flags&flagFirst != 0 {
			res.group = pos
		}
		pt := &s.parts[fr.partition]
		if !batch.open {
			batch.pos, batch.p, batch.part, batch.holes = pos, fr.partition, *pt, len(res.holes)
		}
		batch.open = fr.flags&flagMore != 0
		if fr.offset > pt.next {
			res.holes = append(res.holes, hole{fr.partition, pt.next, fr.offset})
		}
		pt.note(fr.offset, pos, fr.time, step)
		pos += fr.size()
	}
	if open && batch.open {
		pos = batch.pos
		s.parts[batch.p] = batch.part
		res.holes = res.holes[:batch.holes]
	}
	s.end = min(pos, limit)
	if open {
		res.torn = limit - s.end
	}
	return res, nil
}
