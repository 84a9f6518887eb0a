package seglog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// found is a segment as its header describes it.
type found struct {
	seg  *segment
	hdr  header
	good bool // the header is whole
	size int64
	done bool  // it has a footer
	tail int64 // without one: where its last group begins
}

// recoverSegments finds the segments of the log and fills l.segs: from their
// footers, and by scanning those that have none, usually only the last. It
// repairs what a crash left behind.
func (l *Log) recoverSegments(names []string) error {
	var all []*found
	ids := segmentIDs(names)
	for i, id := range ids {
		fd, err := l.lookAt(id)
		if err != nil {
			return err
		}
		if !fd.good && i == len(ids)-1 && fd.size <= headerBytes(l.partitions) {
			// The process died while it made the segment; nothing was in it.
			l.log.Info("removing a segment that was never begun", keySegment, fd.seg.name())
			l.files.forget(fd.seg)
			if err := l.fs.Remove(fd.seg.name()); err != nil {
				return fmt.Errorf("remove segment %s: %w", fd.seg.name(), err)
			}
			if err := l.fs.SyncDir(); err != nil {
				return fmt.Errorf("sync directory: %w", err)
			}
			break
		}
		all = append(all, fd)
	}
	for i, fd := range all {
		var prev, next *found
		if i > 0 {
			prev = all[i-1]
		}
		if i+1 < len(all) {
			next = all[i+1]
		}
		if err := l.recoverSegment(fd, prev, next); err != nil {
			return err
		}
		l.segs = append(l.segs, fd.seg)
	}
	if len(all) == 0 {
		return nil
	}
	last := all[len(all)-1]
	for p := range l.parts {
		lp := &l.parts[p]
		lp.oldest = l.segs[0].base[p]
		lp.next = last.seg.parts[p].next
		if last.good {
			lp.last = last.hdr.last[p]
		}
		for _, s := range l.segs {
			if len(s.parts[p].index) > 0 {
				lp.last = max(lp.last, s.parts[p].last)
			}
		}
	}
	for now, i := time.Now(), 0; i < len(l.segs); i++ {
		if _, newest, ok := l.segs[i].times(); ok && newest > micros(now) {
			l.segs[i].began, l.segs[i].wrote = now, now
		}
	}
	return l.repairTail(last)
}

// segmentIDs returns the numbers of the segments among names, ascending.
func segmentIDs(names []string) []uint64 {
	var ids []uint64
	for _, name := range names {
		if id, ok := segmentID(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// lookAt reads the header of segment id.
func (l *Log) lookAt(id uint64) (*found, error) {
	fd := &found{seg: newSegment(id, l.salt, make([]eventlog.Offset, l.partitions))}
	f, err := l.files.acquire(fd.seg)
	if err != nil {
		return nil, err
	}
	defer l.files.release(fd.seg)
	if fd.size, err = f.Size(); err != nil {
		return nil, fmt.Errorf("size of segment %s: %w", fd.seg.name(), err)
	}
	fd.seg.disk = fd.size
	fd.hdr, err = readHeader(fd.seg.name(), f, l.partitions)
	var version *versionError
	switch {
	case err == nil && fd.hdr.salt != l.salt:
		return nil, fmt.Errorf("segment %s belongs to another log: remove it, or restore the %s it came with", fd.seg.name(), metaName)
	case err == nil && fd.hdr.id != id:
		return nil, fmt.Errorf("segment %s was segment %s: rename it back", fd.seg.name(), segmentName(fd.hdr.id))
	case err == nil:
		fd.good = true
		fd.seg.base = fd.hdr.base
		fd.seg.reset()
	case errors.As(err, &version):
		return nil, fmt.Errorf("segment: %w", err)
	case !errors.Is(err, errFormat):
		return nil, err
	}
	return fd, nil
}

// recoverSegment fills in what is in a segment. The one before it is filled in
// already; of the next one only the header is known.
func (l *Log) recoverSegment(fd, prev, next *found) error {
	s := fd.seg
	f, err := l.files.acquire(s)
	if err != nil {
		return err
	}
	defer l.files.release(s)
	if !fd.good {
		l.log.Error("header of a segment is damaged; its records are looked for", keySegment, s.name())
		if prev != nil {
			for p := range s.base {
				s.base[p] = prev.seg.parts[p].next
			}
		}
		s.reset()
	}
	if fd.done, err = readFooter(s, f, fd.size); err != nil {
		return err
	}
	if !fd.done {
		open, limit := true, fd.size
		if next != nil && next.good && next.hdr.prev == s.id {
			open, limit = false, min(fd.size, next.hdr.prevEnd)
		}
		res, err := scan(s, f, l.seed, limit, open, !fd.good && prev == nil)
		if err != nil {
			return err
		}
		fd.tail = res.group
		for _, h := range res.holes {
			l.noteDamage(s, h)
		}
		if res.bytes > 0 {
			l.log.Error("skipped damaged bytes", keySegment, s.name(), obs.KeyBytes, res.bytes)
		}
		if open && next == nil && res.torn > 0 {
			l.log.Info("the log was not closed; recovered its last segment", keySegment, s.name(), obs.KeyBytes, s.end, "cut", res.torn)
		}
	}
	if prev != nil {
		l.join(prev.seg, s)
	}
	if next != nil && !fd.done {
		// The next start need not scan it again; an error only means that it will.
		if err := l.finish(s, f); err != nil {
			l.log.Warn("could not finish a segment", keySegment, s.name(), obs.KeyError, err)
		}
	}
	return nil
}

// join makes the offsets of two neighbours meet. What is missing between them
// is lost; where they overlap, the later one is right: its header was written
// when the end of the earlier one was decided.
func (l *Log) join(prev, s *segment) {
	for p := range s.base {
		pt := &prev.parts[p]
		if pt.next < s.base[p] {
			l.noteDamage(prev, hole{p, pt.next, s.base[p]})
		}
		if pt.next > s.base[p] {
			l.log.Error("segments overlap; the later one counts", keySegment, prev.name(), obs.KeyPartition, p, obs.KeyOffset, int64(s.base[p]))
			pt.next = s.base[p]
			pt.index = slices.DeleteFunc(pt.index, func(e entry) bool { return e.offset >= s.base[p] })
		}
	}
}

// repairTail makes the last segment ready to be written to: what was cut off
// must not be found again behind records that are appended now.
func (l *Log) repairTail(last *found) error {
	s := last.seg
	f, err := l.files.acquire(s) // the writer's reference, kept
	if err != nil {
		return err
	}
	l.w = writer{seg: s, f: f, pos: s.end, filled: s.end, trailing: last.done, sealed: !last.good}
	if last.done {
		return nil
	}
	if last.size != s.end {
		if err := f.Truncate(s.end); err != nil {
			return fmt.Errorf("cut the tail of segment %s: %w", s.name(), err)
		}
	}
	// The last group may never have been synced: the process died before, or
	// the sync failed and the kernel calls its pages clean all the same. It is
	// served from now on, so it is written again. All before it was durable when
	// it was written.
	if b := make([]byte, max(0, s.end-last.tail)); len(b) > 0 {
		if _, err := f.ReadAt(b, last.tail); err != nil {
			return fmt.Errorf("read segment %s: %w", s.name(), err)
		}
		if _, err := f.WriteAt(b, last.tail); err != nil {
			return fmt.Errorf("write segment %s: %w", s.name(), err)
		}
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", s.name(), err)
	}
	s.disk = s.end
	return nil
}

// noteDamage reports records that are lost, once.
func (l *Log) noteDamage(s *segment, h hole) {
	l.noted.Lock()
	defer l.noted.Unlock()
	if _, ok := l.noted.m[h]; ok || len(l.noted.m) >= maxNoted {
		return
	}
	l.noted.m[h] = struct{}{}
	l.metrics.Damaged.Add(float64(h.to - h.from))
	l.log.Error("records are damaged and skipped", keySegment, s.name(), obs.KeyPartition, h.partition,
		obs.KeyOffset, int64(h.from), obs.KeyCount, int64(h.to-h.from))
}

// removeTemporary removes files that were left half-written.
func removeTemporary(dir fsys, names []string) error {
	for _, name := range names {
		if strings.HasSuffix(name, tmpSuffix) {
			if err := dir.Remove(name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	return nil
}
