package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// Memory is a log in memory, for tests. It passes Run but keeps nothing when it
// is closed. It can be made to fail.
type Memory struct {
	mu      sync.Mutex
	parts   []memoryPart
	cursors map[memoryCursor]eventlog.Offset
	failure error
	closed  bool
}

var (
	_ eventlog.Log     = (*Memory)(nil)
	_ eventlog.Cursors = (*Memory)(nil)
)

type memoryPart struct {
	oldest eventlog.Offset
	recs   []eventlog.Record // from oldest on
	moved  chan struct{}     // closed when something changes
}

type memoryCursor struct {
	group string
	p     eventlog.Partition
}

// NewMemory returns an empty log.
func NewMemory(partitions int) *Memory {
	m := &Memory{parts: make([]memoryPart, partitions), cursors: make(map[memoryCursor]eventlog.Offset)}
	for p := range m.parts {
		m.parts[p].moved = make(chan struct{})
	}
	return m
}

// Fail makes later appends and commits return err, until it is called with nil.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Partitions returns the number of partitions.
func (m *Memory) Partitions() int { return len(m.parts) }

// enter locks m and checks what every method checks; the caller unlocks.
func (m *Memory) enter(ctx context.Context, p eventlog.Partition) (*memoryPart, error) {
	m.mu.Lock()
	switch {
	case p < 0 || int(p) >= len(m.parts):
		return nil, fmt.Errorf("logtest: there is no partition %d", p)
	case m.closed:
		return nil, eventlog.ErrClosed
	}
	return &m.parts[p], ctx.Err()
}

func (pt *memoryPart) next() eventlog.Offset { return pt.oldest + eventlog.Offset(len(pt.recs)) }

func (pt *memoryPart) wake() {
	close(pt.moved)
	pt.moved = make(chan struct{})
}

// Append stores copies of recs.
func (m *Memory) Append(ctx context.Context, p eventlog.Partition, recs ...eventlog.Record) (eventlog.Offset, error) {
	pt, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	if err == nil {
		err = m.failure
	}
	if err != nil {
		return 0, err
	}
	first := pt.next()
	for i, r := range recs {
		r.Offset = first + eventlog.Offset(i)
		r.Payload = bytes.Clone(r.Payload)
		if r.Time.IsZero() {
			r.Time = time.Now()
		}
		r.Time = r.Time.UTC()
		if n := len(pt.recs); n > 0 && r.Time.Before(pt.recs[n-1].Time) {
			r.Time = pt.recs[n-1].Time
		}
		pt.recs = append(pt.recs, r)
	}
	pt.wake()
	return first, nil
}

// Read waits for a record and returns copies of up to limit.
func (m *Memory) Read(ctx context.Context, p eventlog.Partition, from eventlog.Offset, limit int) ([]eventlog.Record, error) {
	if limit < 1 || from < 0 {
		return nil, errors.New("logtest: read of nothing")
	}
	for {
		recs, moved, err := m.read(ctx, p, from, limit)
		if err != nil || len(recs) > 0 {
			return recs, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *Memory) read(ctx context.Context, p eventlog.Partition, from eventlog.Offset, limit int) ([]eventlog.Record, <-chan struct{}, error) {
	pt, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	switch {
	case err != nil:
		return nil, nil, err
	case from < pt.oldest:
		return nil, nil, &eventlog.TrimmedError{Oldest: pt.oldest}
	case from >= pt.next():
		return nil, pt.moved, nil
	}
	recs := pt.recs[from-pt.oldest:]
	recs = append([]eventlog.Record(nil), recs[:min(limit, len(recs))]...)
	for i := range recs {
		recs[i].Payload = bytes.Clone(recs[i].Payload)
	}
	return recs, nil, nil
}

// Bounds returns the oldest offset held and the next one.
func (m *Memory) Bounds(ctx context.Context, p eventlog.Partition) (oldest, next eventlog.Offset, err error) {
	pt, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	if err != nil {
		return 0, 0, err
	}
	return pt.oldest, pt.next(), nil
}

// Seek returns the offset of the first record not before t, or the next one.
func (m *Memory) Seek(ctx context.Context, p eventlog.Partition, t time.Time) (eventlog.Offset, error) {
	pt, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	for _, r := range pt.recs {
		if !r.Time.Before(t) {
			return r.Offset, nil
		}
	}
	return pt.next(), nil
}

// Trim forgets the records before an offset.
func (m *Memory) Trim(ctx context.Context, p eventlog.Partition, before eventlog.Offset) error {
	pt, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	if before = min(before, pt.next()); before > pt.oldest {
		pt.recs = pt.recs[before-pt.oldest:]
		pt.oldest = before
	}
	return nil
}

// Commit keeps the position of a group.
func (m *Memory) Commit(ctx context.Context, group string, p eventlog.Partition, next eventlog.Offset) error {
	_, err := m.enter(ctx, p)
	defer m.mu.Unlock()
	if err == nil {
		err = m.failure
	}
	if err == nil && (group == "" || next < 0) {
		err = errors.New("logtest: commit of nothing")
	}
	if err != nil {
		return err
	}
	m.cursors[memoryCursor{group, p}] = next
	return nil
}

// Committed returns the position of a group.
func (m *Memory) Committed(ctx context.Context, group string, p eventlog.Partition) (next eventlog.Offset, ok bool, err error) {
	_, err = m.enter(ctx, p)
	defer m.mu.Unlock()
	if err != nil {
		return 0, false, err
	}
	next, ok = m.cursors[memoryCursor{group, p}]
	return next, ok, nil
}

// Close makes waiting calls return.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		for p := range m.parts {
			m.parts[p].wake()
		}
	}
	return nil
}
