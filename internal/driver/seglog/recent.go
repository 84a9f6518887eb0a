package seglog

import (
	"sync"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// recent holds the exact places of the last records of one partition in the
// segment being written, so that the readers of the tail, which most readers
// are, need not look at the records of the other partitions that lie between.
type recent struct {
	segment     uint64
	first, next eventlog.Offset
	pos         []uint32 // a ring: the place of offset o is pos[o%len]
}

// add takes in the next record. At most limit are kept.
func (r *recent) add(segment uint64, offset eventlog.Offset, pos int64, limit int) {
	if r.segment != segment || r.next != offset {
		r.segment, r.first, r.next = segment, offset, offset
	}
	if n := len(r.pos); r.next-r.first == eventlog.Offset(n) {
		if n < limit {
			bigger := make([]uint32, min(max(64, 2*n), limit))
			for o := r.first; o < r.next; o++ {
				bigger[o%eventlog.Offset(len(bigger))] = r.pos[o%eventlog.Offset(n)]
			}
			r.pos = bigger
		} else {
			r.first++
		}
	}
	r.pos[offset%eventlog.Offset(len(r.pos))] = uint32(pos) // MaxSegmentBytes and a group fit
	r.next = offset + 1
}

// places appends the places of up to limit records from offset on to dst. It
// appends nothing when the first is not among those that are held.
func (r *recent) places(dst []uint32, segment uint64, from eventlog.Offset, limit int) []uint32 {
	if r.segment != segment || from < r.first {
		return dst
	}
	for o := from; o < r.next && len(dst) < limit; o++ {
		dst = append(dst, r.pos[o%eventlog.Offset(len(r.pos))])
	}
	return dst
}

// placeBuffers holds what places are appended to between reads.
var placeBuffers = sync.Pool{New: func() any {
	b := make([]uint32, 0, maxPlaces)
	return &b
}}

// maxPlaces is how many records one Read takes from recent.
const maxPlaces = 1024
