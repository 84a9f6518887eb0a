package seglog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// SetRetention changes how long and how much is kept; 0 is no bound.
func (l *Log) SetRetention(age time.Duration, bytes int64) {
	l.keepTime.Store(max(0, int64(age)))
	l.keepBytes.Store(max(0, bytes))
	l.wantCheck()
}

// Trim allows the log to forget records of p before an offset, durably. They
// are no longer readable when it returns; their space comes back when whole
// segments hold nothing else.
func (l *Log) Trim(ctx context.Context, p eventlog.Partition, before eventlog.Offset) error {
	if err := l.checkPartition(p); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.view.RLock()
	closed, next, oldest := l.closed, l.parts[p].next, l.parts[p].oldest
	l.view.RUnlock()
	if closed {
		return eventlog.ErrClosed
	}
	before = min(before, next)
	if before <= oldest {
		return nil
	}
	if err := l.cursors.advance(trimGroup, int(p), before); err != nil {
		return fmt.Errorf("seglog: trim: %w", err)
	}
	l.view.Lock()
	lp := &l.parts[p]
	lp.trim = max(lp.trim, before)
	lp.oldest = max(lp.oldest, before)
	l.view.Unlock()
	l.wantCheck()
	return nil
}

// wantCheck makes the maintaining goroutine look at retention.
func (l *Log) wantCheck() {
	select {
	case l.check <- struct{}{}:
	default: // it is about to
	}
}

// maintain drops segments that need not be kept, until the log is closed.
func (l *Log) maintain() {
	for {
		l.retain()
		timer := time.NewTimer(l.checkEvery())
		select {
		case <-l.check:
		case <-timer.C:
		case <-l.stopped.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// checkEvery is how long retention by age may be late.
func (l *Log) checkEvery() time.Duration {
	keep := time.Duration(l.keepTime.Load())
	if keep == 0 {
		return maxMaintainEvery
	}
	return max(time.Second, min(maxMaintainEvery, keep/16))
}

// retain drops the oldest segments as long as one may go, and asks for a new
// segment when the one being written holds back what may.
func (l *Log) retain() {
	for {
		s := l.unkept()
		if s == nil {
			break
		}
		l.files.forget(s)
		l.doomed = append(l.doomed, s)
	}
	for len(l.doomed) > 0 {
		// In order and one by one, so that a crash leaves no gap between
		// segments. Some systems do not remove a file while it is being read:
		// then it goes at the next look.
		s := l.doomed[0]
		err := l.fs.Remove(s.name())
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = l.fs.SyncDir()
		}
		if err != nil {
			l.log.Warn("could not remove a segment; it will be tried again", keySegment, s.name(), obs.KeyError, err)
			break
		}
		l.doomed = l.doomed[1:]
	}
	l.account()
}

// unkept takes the oldest segment out of the log if it need not be kept.
func (l *Log) unkept() *segment {
	l.view.Lock()
	defer l.view.Unlock()
	s, last := l.segs[0], l.segs[len(l.segs)-1]
	if s == last || !l.mayDrop(s) {
		if l.holdsBack(last) && !l.rollWant.Swap(true) {
			l.nudge()
		}
		return nil
	}
	l.segs = slices.Clone(l.segs[1:]) // readers may hold the old slice
	for p := range l.parts {
		l.parts[p].oldest = max(l.parts[p].oldest, l.segs[0].base[p])
	}
	return s
}

// mayDrop reports whether the oldest segment need not be kept: all of it is too
// old, or trimmed, or the log holds too many bytes. The caller holds view.
func (l *Log) mayDrop(s *segment) bool {
	if keep := l.keepBytes.Load(); keep > 0 {
		last := l.segs[len(l.segs)-1]
		total := max(last.disk, l.opt.segmentBytes(keep)) // what it will be
		for _, s := range l.segs[:len(l.segs)-1] {
			total += s.disk
		}
		if total > keep {
			return true
		}
	}
	if keep := time.Duration(l.keepTime.Load()); keep > 0 {
		if _, last, ok := s.times(); ok && older(last, s.wrote, keep) {
			return true
		}
	}
	return l.trimmed(s)
}

// older reports whether a record is of more than an age. What this process has
// written is as old as it knows, whatever the system's clock was set to meanwhile:
// one that was behind, as that of a machine without a battery is until it has
// heard from another, would otherwise make new records look old and have them
// dropped; one that was ahead would have them kept for as long.
func older(at int64, written time.Time, age time.Duration) bool {
	if !written.IsZero() {
		return time.Since(written) > age
	}
	return at < micros(time.Now().Add(-age))
}

// trimmed reports whether nothing in s is wanted any more. The caller holds view.
func (l *Log) trimmed(s *segment) bool {
	for p := range s.parts {
		if s.parts[p].next > l.parts[p].trim {
			return false
		}
	}
	return true
}

// holdsBack reports whether the segment being written should be finished so
// that retention is not coarse: its first records are old, or it is of some
// size and nothing in it is wanted. The caller holds view.
func (l *Log) holdsBack(s *segment) bool {
	first, _, ok := s.times()
	if !ok {
		return false
	}
	if keep := time.Duration(l.keepTime.Load()); keep > 0 && older(first, s.began, keep/8) {
		return true
	}
	return s.end > l.opt.segmentBytes(l.keepBytes.Load())/4 && l.trimmed(s)
}
