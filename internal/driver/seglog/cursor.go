package seglog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

const (
	cursorsName  = "cursors"
	cursorsMagic = "CWCURSOR"
	slotHeader   = 8 + 4 + 4 + 8 + 4 + 4
	minSlotBytes = 4 << 10
	maxSlotBytes = 64 << 20

	// trimGroup holds the trim points; no consumer group can have its name.
	trimGroup = "\x00trim"
	unset     = eventlog.Offset(-1)
)

// Commit stores that group will next want offset next of p. Commits that wait
// at the same time share one write.
func (l *Log) Commit(ctx context.Context, group string, p eventlog.Partition, next eventlog.Offset) error {
	if err := l.checkGroup(ctx, group, p); err != nil {
		return err
	}
	if next < 0 {
		return fmt.Errorf("seglog: commit offset %d: offsets begin at 0", next)
	}
	if err := l.cursors.set(group, int(p), next); err != nil {
		return fmt.Errorf("seglog: commit: %w", err)
	}
	return nil
}

// Committed returns what group committed last in p.
func (l *Log) Committed(ctx context.Context, group string, p eventlog.Partition) (next eventlog.Offset, ok bool, err error) {
	if err := l.checkGroup(ctx, group, p); err != nil {
		return 0, false, err
	}
	next, ok = l.cursors.get(group, int(p))
	return next, ok, nil
}

// Forget removes the positions of a consumer group.
func (l *Log) Forget(ctx context.Context, group string) error {
	if err := l.checkGroup(ctx, group, 0); err != nil {
		return err
	}
	if err := l.cursors.forget(group); err != nil {
		return fmt.Errorf("seglog: forget group: %w", err)
	}
	return nil
}

func (l *Log) checkGroup(ctx context.Context, group string, p eventlog.Partition) error {
	if err := l.checkPartition(p); err != nil {
		return err
	}
	if group == "" || len(group) > MaxGroupName || strings.ContainsRune(group, 0) {
		return fmt.Errorf("seglog: consumer group %q: a name has 1 to %d bytes and no NUL", group, MaxGroupName)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.view.RLock()
	defer l.view.RUnlock()
	if l.closed {
		return eventlog.ErrClosed
	}
	return nil
}

// positions are the positions of groups, by name and partition; unset where a
// group has none.
type positions map[string][]eventlog.Offset

// cursors is the file of positions. Two slots are overwritten in turn.
type cursors struct {
	dir        fsys
	log        *slog.Logger
	partitions int

	// Writing: one goroutine at a time writes for all that wait.
	writing sync.Mutex
	shut    bool // nothing is written any more
	f       file
	slot    int64  // size of one
	seq     uint64 // of the newest whole slot, which is slot seq%2
	buf     []byte

	mu      sync.Mutex
	closed  bool
	durable positions
	batch   *cursorBatch // changes that wait; nil when none do
}

// cursorBatch is changes that are written together.
type cursorBatch struct {
	changes []cursorChange
	written bool
	err     error
}

// cursorChange sets one position; a negative partition removes the group.
type cursorChange struct {
	group     string
	partition int
	next      eventlog.Offset
	forward   bool // never move back
}

// loadCursors opens the file of positions, or makes it.
func loadCursors(dir fsys, partitions int, log *slog.Logger) (*cursors, error) {
	c := &cursors{dir: dir, log: log, partitions: partitions, durable: positions{}, slot: minSlotBytes}
	b, err := readFile(dir, cursorsName, 2*maxSlotBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, c.rewrite(positions{}, 1)
	case err != nil:
		return nil, err
	}
	half := int64(len(b) / 2)
	found := false
	for i := range int64(2) {
		slot := b[i*half : (i+1)*half]
		seq, pos, err := parseSlot(slot, partitions)
		var version *versionError
		switch {
		case errors.As(err, &version):
			return nil, err
		case err == nil && (!found || seq > c.seq):
			c.seq, c.durable, found = seq, pos, true
		}
	}
	if !found {
		log.Error("the positions of consumer groups are lost; they begin at the oldest record again", obs.KeyPath, cursorsName)
		return c, c.rewrite(positions{}, 1)
	}
	if half < minSlotBytes || half%minSlotBytes != 0 {
		return c, c.rewrite(c.durable, c.seq+1)
	}
	c.slot = half
	if c.f, err = dir.Open(cursorsName, false); err != nil {
		return nil, fmt.Errorf("open %s: %w", cursorsName, err)
	}
	// The newest slot may never have been synced (see repairTail), and it counts
	// from now on. It is written again where it is: the other slot is what is
	// left should the power fail meanwhile.
	at := int64(c.seq%2) * half
	if _, err := c.f.WriteAt(b[at:at+half], at); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", cursorsName, err), c.f.Close())
	}
	if err := c.f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("sync %s: %w", cursorsName, err), c.f.Close())
	}
	return c, nil
}

// parseSlot reads one slot.
func parseSlot(b []byte, partitions int) (seq uint64, pos positions, err error) {
	if err := checkVersion(cursorsName, cursorsMagic, b); err != nil {
		return 0, nil, err
	}
	bad := fmt.Errorf("%s: %w", cursorsName, errFormat)
	if len(b) < slotHeader {
		return 0, nil, bad
	}
	d := decoder{b: b[12:slotHeader]}
	n, seq, length, sum := d.u32(), d.u64(), d.u32(), d.u32()
	if int64(length) > int64(len(b)-slotHeader) || int(n) != partitions {
		return 0, nil, bad
	}
	body := b[slotHeader : slotHeader+int(length)]
	if crc32.Update(crc32.Checksum(b[:28], castagnoli), castagnoli, body) != sum {
		return 0, nil, bad
	}
	pos = positions{}
	for len(body) > 0 {
		size, k := binary.Uvarint(body)
		if k <= 0 || size > uint64(len(body)-k) {
			return 0, nil, bad
		}
		name := string(body[k : k+int(size)])
		body = body[k+int(size):]
		next := make([]eventlog.Offset, partitions)
		for p := range next {
			v, k := binary.Varint(body)
			if k <= 0 {
				return 0, nil, bad
			}
			next[p], body = eventlog.Offset(v), body[k:]
		}
		pos[name] = next
	}
	return seq, pos, nil
}

// appendSlot appends the bytes of a slot to dst.
func appendSlot(dst []byte, seq uint64, pos positions, partitions int) []byte {
	n := len(dst)
	dst = append(dst, cursorsMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(partitions))
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = append(dst, make([]byte, 8)...) // length and checksum, below
	for _, name := range slices.Sorted(maps.Keys(pos)) {
		dst = binary.AppendUvarint(dst, uint64(len(name)))
		dst = append(dst, name...)
		for _, next := range pos[name] {
			dst = binary.AppendVarint(dst, int64(next))
		}
	}
	h, body := dst[n:n+slotHeader], dst[n+slotHeader:]
	binary.LittleEndian.PutUint32(h[24:], uint32(len(body)))
	binary.LittleEndian.PutUint32(h[28:], crc32.Update(crc32.Checksum(h[:28], castagnoli), castagnoli, body))
	return dst
}

// rewrite replaces the file by one whose slots have room for pos, written as
// number seq. The caller holds writing, or nobody else has c yet.
func (c *cursors) rewrite(pos positions, seq uint64) error {
	b := appendSlot(nil, seq, pos, c.partitions)
	slot := c.slot
	for int64(len(b)) > slot {
		slot *= 2
	}
	if slot > maxSlotBytes {
		return fmt.Errorf("positions of consumer groups take %d bytes, the most is %d", len(b), int64(maxSlotBytes))
	}
	whole := make([]byte, 2*slot) // both slots, so that later writes find their blocks
	copy(whole[int64(seq%2)*slot:], b)
	if c.f != nil {
		c.f.Close() // all that counts is synced; some systems do not replace an open file
		c.f = nil
	}
	err := replaceFile(c.dir, cursorsName, whole)
	if err == nil {
		c.slot, c.seq = slot, seq
	}
	f, openErr := c.dir.Open(cursorsName, false) // the new one, or the old one again
	if openErr != nil {
		return errors.Join(err, fmt.Errorf("open %s: %w", cursorsName, openErr))
	}
	c.f = f
	return err
}

// get returns the durable position of group in partition p.
func (c *cursors) get(group string, p int) (eventlog.Offset, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, ok := c.durable[group]
	if !ok || next[p] == unset {
		return 0, false
	}
	return next[p], true
}

// set stores a position.
func (c *cursors) set(group string, p int, next eventlog.Offset) error {
	return c.change(cursorChange{group: group, partition: p, next: next})
}

// advance stores a position unless it moves back.
func (c *cursors) advance(group string, p int, next eventlog.Offset) error {
	return c.change(cursorChange{group: group, partition: p, next: next, forward: true})
}

// forget removes a group.
func (c *cursors) forget(group string) error {
	return c.change(cursorChange{group: group, partition: -1})
}

// change stores one change, together with those that wait for the same.
func (c *cursors) change(ch cursorChange) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return eventlog.ErrClosed
	}
	if _, ok := c.durable[ch.group]; !ok && ch.partition >= 0 && len(c.durable) >= MaxGroups {
		c.mu.Unlock()
		return fmt.Errorf("there are %d consumer groups, the most: remove one first", MaxGroups)
	}
	if c.batch == nil {
		c.batch = &cursorBatch{}
	}
	b := c.batch
	b.changes = append(b.changes, ch)
	c.mu.Unlock()

	// The first to come here writes for all that joined meanwhile; the others
	// find it done.
	c.writing.Lock()
	defer c.writing.Unlock()
	if !b.written && c.shut {
		return eventlog.ErrClosed
	}
	if !b.written {
		c.writeBatch(b)
	}
	return b.err
}

// writeBatch makes the changes of b durable. The caller holds writing.
func (c *cursors) writeBatch(b *cursorBatch) {
	c.mu.Lock()
	c.batch = nil // nobody joins any more
	pos := maps.Clone(c.durable)
	c.mu.Unlock()
	for _, ch := range b.changes {
		if ch.partition < 0 {
			delete(pos, ch.group)
			continue
		}
		next := slices.Clone(pos[ch.group])
		if next == nil {
			next = slices.Repeat([]eventlog.Offset{unset}, c.partitions)
		}
		if !ch.forward || ch.next > next[ch.partition] {
			next[ch.partition] = ch.next
		}
		pos[ch.group] = next
	}
	b.err, b.written = c.store(pos), true
	if b.err != nil {
		return // what was durable still is: the other slot holds it
	}
	c.mu.Lock()
	c.durable = pos
	c.mu.Unlock()
}

// store writes pos to the older slot.
func (c *cursors) store(pos positions) error {
	if c.f == nil { // it could not be opened again after the last failure
		f, err := c.dir.Open(cursorsName, false)
		if err != nil {
			return fmt.Errorf("open %s: %w", cursorsName, err)
		}
		c.f = f
	}
	seq := c.seq + 1
	c.buf = appendSlot(c.buf[:0], seq, pos, c.partitions)
	if int64(len(c.buf)) > c.slot {
		err := c.rewrite(pos, seq)
		if isFull(err) {
			err = fmt.Errorf("%w: %w", eventlog.ErrFull, err)
		}
		return err
	}
	if _, err := c.f.WriteAt(c.buf, int64(seq%2)*c.slot); err != nil {
		return fmt.Errorf("write %s: %w", cursorsName, err)
	}
	if err := c.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", cursorsName, err)
	}
	c.seq = seq
	return nil
}

// close waits for a write that is under way and closes the file.
func (c *cursors) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.shut = true
	if c.f == nil {
		return nil
	}
	err := c.f.Close()
	c.f = nil
	if err != nil {
		return fmt.Errorf("close %s: %w", cursorsName, err)
	}
	return nil
}
