package seglog

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// keySegment is the log key of a segment's file name.
const keySegment = "segment"

// segment is one file of the journal. What readers use of it (parts, end) is
// guarded by Log.view; the identity never changes.
type segment struct {
	id   uint64
	seed uint32            // of the checksum of its footer
	base []eventlog.Offset // per partition: the next offset when it was begun

	parts []part // per partition: what is in it
	end   int64  // where the frames end
	disk  int64  // size of the file, for the accounts

	// When this process wrote its first and its last record, or found records of
	// times that are yet to come; zero when it did not. Records have the time of
	// the system's clock, which may be set; these have that of a clock that is not.
	began, wrote time.Time

	handle handle
}

// part is what a segment holds of one partition.
type part struct {
	next        eventlog.Offset // behind the last record
	first, last int64           // times of the records, µs since 1970
	index       []entry         // sparse, ascending
}

// entry says where a record is.
type entry struct {
	offset eventlog.Offset
	pos    int64
	time   int64
}

// segmentName returns the file name of segment id.
func segmentName(id uint64) string { return fmt.Sprintf("%016x.seg", id) }

// segmentID is the inverse of segmentName.
func segmentID(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, ".seg")
	if !ok || len(hex) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(hex, 16, 64)
	return id, err == nil && id > 0 && segmentName(id) == name
}

func (s *segment) name() string { return segmentName(s.id) }

// newSegment returns segment id of a log, with nothing in it.
func newSegment(id uint64, salt [saltBytes]byte, base []eventlog.Offset) *segment {
	s := &segment{id: id, seed: footerSeed(salt, id), base: base, parts: make([]part, len(base))}
	s.reset()
	return s
}

// reset forgets what is in the segment.
func (s *segment) reset() {
	for p := range s.parts {
		s.parts[p] = part{next: s.base[p]}
	}
	s.end = headerBytes(len(s.base))
}

// empty reports whether there is nothing in the segment.
func (s *segment) empty() bool {
	for p := range s.parts {
		if s.parts[p].next > s.base[p] {
			return false
		}
	}
	return true
}

// times returns the time of the first and last record of all partitions; ok is
// false when the segment holds none.
func (s *segment) times() (first, last int64, ok bool) {
	first, last = math.MaxInt64, math.MinInt64
	for p := range s.parts {
		if len(s.parts[p].index) > 0 {
			first, last, ok = min(first, s.parts[p].first), max(last, s.parts[p].last), true
		}
	}
	return first, last, ok
}

// indexStep returns the distance of entries in the index of one partition of
// so many.
func indexStep(partitions int) int64 {
	return max(indexBytes, int64(partitions)*indexBytes/4)
}

// note takes a record at pos into the accounts of its partition.
func (pt *part) note(offset eventlog.Offset, pos, time, step int64) {
	pt.next = offset + 1
	pt.last = time
	if len(pt.index) == 0 {
		pt.first = time
	}
	pt.mark(entry{offset, pos, time}, step)
}

// mark adds e to the index when the last entry is step bytes away.
func (pt *part) mark(e entry, step int64) {
	if n := len(pt.index); n == 0 || e.pos-pt.index[n-1].pos >= step {
		pt.index = append(pt.index, e)
	}
}

// locate returns the last entry that is not behind offset, or the first entry:
// the place to look for offset from. The index must not be empty: a segment with
// an empty index holds nothing of the partition, even if next is behind base,
// which is what damage leaves.
func (pt *part) locate(offset eventlog.Offset) entry {
	i := sort.Search(len(pt.index), func(i int) bool { return pt.index[i].offset > offset })
	return pt.index[max(0, i-1)]
}

// locateTime returns the last entry with a time before t, or the first entry.
func (pt *part) locateTime(t int64) entry {
	i := sort.Search(len(pt.index), func(i int) bool { return pt.index[i].time >= t })
	return pt.index[max(0, i-1)]
}

// handle is the open file of a segment, shared by its readers and writer.
type handle struct {
	mu   sync.Mutex
	f    file
	refs int
	gone bool // dropped: close as soon as nobody reads
}

// files opens the segment files of a log and keeps few of them open.
type files struct {
	fs   fsys
	idle atomic.Int32 // open files without a user
}

// errGone says that the segment was dropped, or the log closed, meanwhile: look
// again.
var errGone = errors.New("segment is gone")

// acquire opens the segment's file, or joins those who have it open. Each call
// that succeeds is paired with a release. Errors: errGone.
func (fl *files) acquire(s *segment) (file, error) {
	h := &s.handle
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil {
		if h.gone {
			return nil, errGone
		}
		f, err := fl.fs.Open(s.name(), false)
		if err != nil {
			return nil, fmt.Errorf("open segment %s: %w", s.name(), err)
		}
		h.f = f
	} else if h.refs == 0 {
		fl.idle.Add(-1)
	}
	h.refs++
	return h.f, nil
}

// adopt hands over a file that was just opened; the caller holds one reference.
func (fl *files) adopt(s *segment, f file) {
	s.handle.mu.Lock()
	s.handle.f, s.handle.refs = f, 1
	s.handle.mu.Unlock()
}

// release ends the use of the segment's file.
func (fl *files) release(s *segment) {
	h := &s.handle
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refs--
	if h.refs > 0 {
		return
	}
	if h.gone || fl.idle.Load() >= maxIdleFiles {
		h.f.Close() // read only by now: nothing is lost by an error
		h.f = nil
		return
	}
	fl.idle.Add(1)
}

// forget closes the file of a dropped segment as soon as nobody reads it.
func (fl *files) forget(s *segment) {
	h := &s.handle
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = true
	if h.f != nil && h.refs == 0 {
		h.f.Close()
		h.f = nil
		fl.idle.Add(-1)
	}
}

// micros and fromMicros are the times of the format.
func micros(t time.Time) int64      { return t.UnixMicro() }
func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
