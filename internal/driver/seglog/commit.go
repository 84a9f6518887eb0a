package seglog

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// writer is the state of the writing goroutine.
type writer struct {
	seg    *segment // the last of the log
	f      file     // its file
	pos    int64    // behind the last durable frame
	filled int64    // the file holds zeros from pos to here
	buf    []byte   // for header and footer

	trailing bool // behind pos stands a footer, to be cut before writing
	sealed   bool // nothing may be appended to it any more
	spare    *group
	failed   int // appends that failed since the last that did not
}

// zeros is what is written ahead of the frames.
var zeros [fillBytes]byte

// write is the writing goroutine: it takes groups to disk until the log is
// closed, and then whatever is left.
func (l *Log) write() {
	l.w.spare = newGroup(l.partitions)
	for {
		select {
		case <-l.wake:
		case <-l.stopped.Done():
		}
		if l.rollWant.Swap(false) && l.stopped.Err() == nil {
			l.rollIdle()
		}
		for l.writeOne() {
		}
		if l.stopped.Err() != nil {
			return
		}
	}
}

// writeOne takes one group to disk. It is false when there is none.
func (l *Log) writeOne() bool {
	// Let appenders that are ready to run join. Without it the goroutine that
	// was woken first would come back with a group of its own only; with all
	// processors busy in other appenders it costs nothing but our turn.
	runtime.Gosched()
	g := l.take(l.w.spare)
	if g == nil {
		return false
	}
	start := time.Now()
	if err := l.commit(g); err != nil {
		l.fail(g, err)
	} else {
		l.publish(g)
		if l.w.failed > 0 {
			l.log.Info("the log takes appends again", obs.KeyCount, l.w.failed)
			l.w.failed = 0
		}
		l.metrics.CommitLatency.Observe(time.Since(start).Seconds())
		l.metrics.CommitRecords.Observe(float64(g.records))
		l.metrics.Records.Add(float64(g.records))
		l.metrics.Bytes.Add(float64(len(g.buf)))
	}
	done := g.done
	g.reset()
	l.w.spare = g
	close(done)
	return true
}

// commit makes g durable behind what is there. When it fails, nothing of g is
// part of the log.
func (l *Log) commit(g *group) error {
	w, n := &l.w, int64(len(g.buf))
	if w.sealed || w.pos+n > l.opt.segmentBytes(l.keepBytes.Load()) && w.pos > headerBytes(l.partitions) {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if w.trailing {
		if err := w.f.Truncate(w.pos); err != nil {
			return fmt.Errorf("cut the footer of segment %s: %w", w.seg.name(), err)
		}
		w.trailing = false
	}
	fill, err := l.space(n)
	if err != nil {
		return err
	}
	if _, err := w.f.WriteAt(g.buf, w.pos); err != nil {
		l.takeBack(!isFull(err))
		return fmt.Errorf("write segment %s: %w", w.seg.name(), err)
	}
	end := w.pos + n
	filled := max(w.filled, end)
	if fill > 0 {
		// Failing is no harm: the next group is written to a file that grows.
		if n, err := w.f.WriteAt(zeros[:fill], end); err == nil {
			filled = end + int64(n)
		}
	}
	if err := w.f.Sync(); err != nil {
		l.takeBack(true)
		return fmt.Errorf("sync segment %s: %w", w.seg.name(), err)
	}
	w.pos, w.filled = end, filled
	return nil
}

// space refuses a group of n bytes that would use up the reserve, and otherwise
// says how many zeros to write behind it.
func (l *Log) space(n int64) (fill int64, err error) {
	w := &l.w
	if w.pos+n <= w.filled {
		return 0, nil
	}
	if n <= fillBytes/4 {
		fill = min(fillBytes, max(0, l.opt.segmentBytes(l.keepBytes.Load())-w.pos-n))
	}
	free, total, err := l.fs.Free()
	if err != nil || total == 0 {
		return fill, nil //nolint:nilerr // not known here: the write will tell
	}
	reserve := l.opt.reserve(total)
	if free-n < reserve {
		return 0, fmt.Errorf("%w: %d bytes are free, of which %d are kept in reserve", eventlog.ErrFull, free, reserve)
	}
	if free-n-fill < reserve {
		fill = 0
	}
	return fill, nil
}

// takeBack removes what a failed group may have left behind the good end. When
// that fails, or giveUp says that the file cannot be trusted with more, the
// next group goes to a new segment, whose header states the good end.
func (l *Log) takeBack(giveUp bool) {
	w := &l.w
	err := w.f.Truncate(w.pos)
	w.filled = w.pos
	if err == nil && !giveUp {
		return
	}
	w.sealed = true
	if err == nil {
		err = w.f.Sync()
	}
	l.log.Error("giving up a segment after a failed write; the next append begins a new one",
		keySegment, w.seg.name(), "end", w.pos, "cut", err == nil)
}

// fail gives err to the appends of g and to those that queued behind it: their
// offsets follow offsets that do not exist.
func (l *Log) fail(g *group, err error) {
	if isFull(err) && !errors.Is(err, eventlog.ErrFull) {
		err = fmt.Errorf("%w: %w", eventlog.ErrFull, err)
	}
	l.mu.Lock()
	for p := range l.tail { // only this goroutine changes parts.next and last
		l.tail[p] = tail{l.parts[p].next, l.parts[p].last}
	}
	behind := l.group
	l.group = newGroup(l.partitions)
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	l.mu.Unlock()

	n := g.appends + behind.appends
	if errors.Is(err, eventlog.ErrFull) {
		l.metrics.Full.Add(float64(n))
	}
	if l.w.failed == 0 { // once: a full disk would fill the rest with log lines
		l.log.Error("appends fail", obs.KeyError, err)
	}
	l.w.failed += n
	g.err, behind.err = err, err
	close(behind.done)
}

// publish makes the records of g visible.
func (l *Log) publish(g *group) {
	w, s := &l.w, l.w.seg
	start, step := w.pos-int64(len(g.buf)), indexStep(l.partitions)
	keep := max(64, recentRecords/l.partitions)
	l.view.Lock()
	defer l.view.Unlock()
	for _, m := range g.marks {
		pt := &s.parts[m.partition]
		m.pos += start
		if len(pt.index) == 0 {
			pt.first = m.time
		}
		pt.mark(m.entry, step)
	}
	for _, p := range g.touched {
		gp, pt, lp := &g.parts[p], &s.parts[p], &l.parts[p]
		pt.next, pt.last = gp.next, gp.last
		lp.next, lp.last = gp.next, gp.last
		for i, at := range gp.at {
			lp.recent.add(s.id, gp.first+eventlog.Offset(i), start+int64(at), keep)
		}
		lp.wake()
	}
	s.end, s.disk = w.pos, w.filled
	s.wrote = time.Now()
	if s.began.IsZero() {
		s.began = s.wrote
	}
}

// roll finishes the segment being written and begins the next one.
func (l *Log) roll() error {
	old, f, finished := l.w.seg, l.w.f, l.w.trailing
	if err := l.begin(); err != nil {
		// A file of the next segment may have stayed behind, and it states where
		// this one ends: nothing more may be written here.
		l.w.sealed = true
		return err
	}
	if !finished {
		if err := l.finish(old, f); err != nil {
			// The next start scans it.
			l.log.Warn("could not finish a segment", keySegment, old.name(), obs.KeyError, err)
		}
	}
	l.files.release(old)
	l.account()
	l.wantCheck()
	return nil
}

// rollIdle begins a new segment so that retention can drop the present one.
func (l *Log) rollIdle() {
	if l.w.seg.empty() {
		return
	}
	if err := l.roll(); err != nil {
		l.log.Warn("could not begin a new segment", obs.KeyError, err)
	}
}

// begin makes the next segment, durably, and makes it the one that is written.
func (l *Log) begin() error {
	h := header{id: 1, created: now(), salt: l.salt, base: make([]eventlog.Offset, l.partitions), last: make([]int64, l.partitions)}
	if prev := l.w.seg; prev != nil {
		h.id, h.prev, h.prevEnd = prev.id+1, prev.id, l.w.pos
	}
	for p := range l.parts {
		h.base[p], h.last[p] = l.parts[p].next, l.parts[p].last
	}
	s := newSegment(h.id, l.salt, h.base)
	l.w.buf = h.append(l.w.buf[:0])
	f, err := l.create(s.name(), l.w.buf)
	if err != nil {
		return err
	}
	l.files.adopt(s, f)
	s.disk = s.end
	l.w.seg, l.w.f, l.w.pos, l.w.filled = s, f, s.end, s.end
	l.w.trailing, l.w.sealed = false, false
	l.view.Lock()
	l.segs = append(slices.Clip(l.segs), s) // readers may hold the old slice
	l.view.Unlock()
	return nil
}

// create makes a segment file that holds its header, durably.
func (l *Log) create(name string, header []byte) (file, error) {
	free, total, err := l.fs.Free()
	if reserve := l.opt.reserve(total); err == nil && total > 0 && free-int64(len(header)) < reserve {
		return nil, fmt.Errorf("%w: %d bytes are free, of which %d are kept in reserve", eventlog.ErrFull, free, reserve)
	}
	f, err := l.fs.Open(name, true)
	if errors.Is(err, fs.ErrExist) {
		// Left by an attempt that failed; nothing was ever acknowledged in it.
		if err := l.fs.Remove(name); err != nil {
			return nil, fmt.Errorf("remove segment %s: %w", name, err)
		}
		f, err = l.fs.Open(name, true)
	}
	if err != nil {
		return nil, fmt.Errorf("create segment %s: %w", name, err)
	}
	_, err = f.WriteAt(header, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.SyncDir()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin segment %s: %w", name, err), f.Close(), l.fs.Remove(name))
	}
	return f, nil
}

// finish ends a segment with a footer, so that the next start need not scan it.
func (l *Log) finish(s *segment, f file) error {
	b := appendFooter(nil, s)
	if err := f.Truncate(s.end); err != nil {
		return fmt.Errorf("finish segment %s: %w", s.name(), err)
	}
	if _, err := f.WriteAt(b, s.end); err != nil {
		return fmt.Errorf("finish segment %s: %w", s.name(), errors.Join(err, f.Truncate(s.end)))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("finish segment %s: %w", s.name(), err)
	}
	l.view.Lock()
	s.disk = s.end + int64(len(b))
	l.view.Unlock()
	return nil
}
