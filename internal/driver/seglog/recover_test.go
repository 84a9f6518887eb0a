package seglog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// laid is a record and where it lies in the segment.
type laid struct {
	p          int
	off        eventlog.Offset
	payload    string
	start, end int64
	batchEnd   int64 // of the whole batch
}

// lay appends batches to a new log of one segment and returns what lies where.
// Each batch is a group of its own.
func lay(t *testing.T, dir *memFS, batches, size int) (*world, []laid) {
	t.Helper()
	w := newWorld(t, dir, small(t))
	w.mustOpen()
	pos := seglog.HeaderBytes(3)
	var all []laid
	for i := range batches {
		recs := w.batch(1+i%3, size)
		first, err := w.log.Append(ctx, eventlog.Partition(i%2), recs...)
		if err != nil {
			t.Fatal(err)
		}
		w.ack(i%2, first, recs)
		from := len(all)
		for j, r := range recs {
			end := pos + seglog.FrameHeader + int64(len(r.Payload))
			all = append(all, laid{p: i % 2, off: first + eventlog.Offset(j), payload: string(r.Payload), start: pos, end: end})
			pos = end
		}
		for j := from; j < len(all); j++ {
			all[j].batchEnd = pos
		}
	}
	return w, all
}

// end is what readAll appends to know where a partition ends.
const end = "the end"

// readAll returns all that the log serves, by partition and offset, and the
// offset that the next record of each partition got.
func readAll(t *testing.T, l *seglog.Log) (got map[[2]int64]string, next []eventlog.Offset) {
	t.Helper()
	got = map[[2]int64]string{}
	for p := range eventlog.Partition(l.Partitions()) {
		last, err := l.Append(ctx, p, eventlog.Record{Payload: []byte(end)})
		if err != nil {
			t.Fatalf("Append: %v", err)
		}
		next = append(next, last)
		from, _, err := l.Bounds(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		for from <= last {
			recs, err := l.Read(ctx, p, from, 5)
			if err != nil {
				t.Fatalf("Read(%d, %d): %v", p, from, err)
			}
			for _, r := range recs {
				if r.Offset < from {
					t.Fatalf("partition %d: offset %d behind %d", p, r.Offset, from)
				}
				from = r.Offset + 1
				if string(r.Payload) != end {
					got[[2]int64{int64(p), int64(r.Offset)}] = string(r.Payload)
				}
			}
		}
	}
	return got, next
}

// TestCutAtEveryByte cuts the last segment at every byte of its last records:
// by the end of the file, by zeros, and by garbage. Each time the log opens,
// holds exactly the batches that are whole, and takes more.
func TestCutAtEveryByte(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			dir := newMemFS()
			w, all := lay(t, dir, 9, 20)
			image := dir.clone()
			w.close()
			if closed {
				image = dir.clone()
			}
			name := seglog.SegmentName(1)
			whole := image.contents(name)
			last := all[len(all)-1].end
			if closed {
				last = int64(len(whole)) - 1 // through the footer as well
			}
			for cut := all[len(all)-6].start; cut <= last; cut += stride {
				zeroed := append(bytes.Clone(whole[:cut]), make([]byte, int64(len(whole))-cut)...)
				garbage := append(bytes.Clone(whole[:cut]), bytes.Repeat([]byte{0xA7, 1, 0x80, 0xFF}, 100)...)
				for how, b := range map[string][]byte{"end": whole[:cut], "zeros": zeroed, "garbage": garbage} {
					after := image.clone()
					after.replace(name, b)
					l, err := seglog.OpenFS(after, small(t))
					if err != nil {
						t.Fatalf("cut at %d by %s: %v", cut, how, err)
					}
					got, next := readAll(t, l)
					want := 0
					wantNext := make([]eventlog.Offset, 3)
					for _, r := range all {
						text, ok := got[[2]int64{int64(r.p), int64(r.off)}]
						if r.batchEnd <= cut {
							want++
							wantNext[r.p] = r.off + 1
							if !ok || text != r.payload {
								t.Fatalf("cut at %d by %s: record %d/%d is %q, want %q", cut, how, r.p, r.off, text, r.payload)
							}
						}
					}
					if len(got) != want {
						t.Fatalf("cut at %d by %s: %d records, want %d", cut, how, len(got), want)
					}
					if !slices.Equal(next, wantNext) {
						t.Fatalf("cut at %d by %s: appends went to %d, want %d", cut, how, next, wantNext)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}

func counter(t *testing.T, m *obs.Log) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Damaged.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue()
}

// TestDamagedMiddle changes bytes in the middle of a segment. What they belong
// to is skipped and counted, everything else is served, and nothing else.
func TestDamagedMiddle(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed=%v", closed), func(t *testing.T) {
			dir := newMemFS()
			w, all := lay(t, dir, 12, 40)
			image := dir.clone()
			w.close()
			if closed {
				image = dir.clone()
			}
			name := seglog.SegmentName(1)
			hurt := all[8] // the second of a batch of three
			for pos := hurt.start; pos < hurt.end; pos += stride {
				after := image.clone()
				b := bytes.Clone(after.contents(name))
				b[pos] ^= 0x55
				after.replace(name, b)
				m := obs.NewLog(nil, "")
				o := small(t)
				o.Metrics = m
				l, err := seglog.OpenFS(after, o)
				if err != nil {
					t.Fatalf("byte %d: %v", pos-hurt.start, err)
				}
				for i := range 2 { // reading again does not count again
					got, next := readAll(t, l)
					if i == 0 && !slices.Equal(next, w.next) {
						t.Fatalf("byte %d: appends went to %d, want %d", pos-hurt.start, next, w.next)
					}
					for _, r := range all {
						text, ok := got[[2]int64{int64(r.p), int64(r.off)}]
						switch {
						case r == hurt && ok:
							t.Fatalf("byte %d: the damaged record is served: %q", pos-hurt.start, text)
						case r != hurt && text != r.payload:
							t.Fatalf("byte %d: record %d/%d is %q, want %q", pos-hurt.start, r.p, r.off, text, r.payload)
						}
					}
					if n := counter(t, m); n != 1 {
						t.Fatalf("byte %d: %v records counted as damaged, want 1", pos-hurt.start, n)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// spots returns positions all over a file, closer together near its ends.
func spots(name string, size int) (at []int) {
	for pos := 0; pos < size; {
		at = append(at, pos)
		switch edge := pos < 300 || pos > size-400; {
		case edge && strings.HasSuffix(name, ".seg"):
			pos += 3
		case edge:
			pos++
		default:
			pos += 97
		}
	}
	return at
}

// TestEveryByteDamaged changes bytes all over the files of a log of several
// segments: it opens and serves nothing but true records, or says what is wrong.
func TestEveryByteDamaged(t *testing.T) {
	dir := newMemFS()
	w := newWorld(t, dir, small(t))
	w.mustOpen()
	for i := range 30 {
		w.mustAppend(i%3, 1+i%2, 1000)
	}
	if err := w.log.Commit(ctx, "g", 1, 5); err != nil {
		t.Fatal(err)
	}
	running := dir.clone()
	w.close()
	refused := 0
	for state, image := range map[string]*memFS{"running": running, "closed": dir.clone()} {
		names, err := image.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			for i, pos := range spots(name, len(image.contents(name))) {
				if i%stride != 0 {
					continue
				}
				after := image.clone()
				b := bytes.Clone(after.contents(name))
				b[pos] ^= 0x40
				after.replace(name, b)
				l, err := seglog.OpenFS(after, small(t))
				if err != nil {
					refused++
					continue
				}
				got, next := readAll(t, l)
				for key, text := range got {
					if want := w.acked[key[0]][eventlog.Offset(key[1])]; text != want {
						t.Fatalf("%s, byte %d of %s: record %v is %.20q, want %.20q", state, pos, name, key, text, want)
					}
				}
				if at, ok, err := l.Committed(ctx, "g", 1); err != nil || ok && at != 5 {
					t.Fatalf("%s, byte %d of %s: cursor %d, %v", state, pos, name, at, err)
				}
				if total := 45; len(got) < total-14 { // a torn last segment at worst
					t.Fatalf("%s, byte %d of %s: only %d of %d records are left", state, pos, name, len(got), total)
				}
				for key := range got {
					if key[1] >= int64(next[key[0]]) {
						t.Fatalf("%s, byte %d of %s: an append went to %d, behind record %v", state, pos, name, next[key[0]], key)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if refused == 0 {
		t.Error("no change was refused, not even of the versions")
	}
}

// TestRefused checks what a log that must not be opened says.
func TestRefused(t *testing.T) {
	dir := newMemFS()
	w := newWorld(t, dir, small(t))
	w.mustOpen()
	w.mustAppend(0, 1, 10)
	if err := w.log.Commit(ctx, "g", 1, 5); err != nil {
		t.Fatal(err)
	}
	w.close()
	seg := seglog.SegmentName(1)
	version := func(name string) func(*memFS) {
		return func(m *memFS) {
			b := bytes.Clone(m.contents(name))
			for at := 0; at+12 < len(b); at += max(1, len(b)/2) { // both slots of the cursors
				if bytes.HasPrefix(b[at:], []byte("CW")) {
					binary.LittleEndian.PutUint32(b[at+8:], 7)
				}
			}
			m.replace(name, b)
		}
	}
	cases := []struct {
		name string
		hurt func(*memFS)
		want string
	}{
		{"segment version", version(seg), seg + " has format version 7, this program reads version 1"},
		{"meta version", version("log.meta"), "log.meta has format version 7, this program reads version 1"},
		{"cursors version", version("cursors"), "cursors has format version 7, this program reads version 1"},
		{"meta missing", func(m *memFS) {
			if err := m.Remove("log.meta"); err != nil {
				t.Fatal(err)
			}
		}, "log.meta is missing, but there are segments"},
		{"meta damaged", func(m *memFS) { m.replace("log.meta", []byte("CWLOGMET\x01\x00\x00\x00")) }, "damaged"},
		{"renamed segment", func(m *memFS) {
			if err := m.Rename(seg, seglog.SegmentName(2)); err != nil {
				t.Fatal(err)
			}
		}, "was segment " + seg},
		{"segment of another log", func(m *memFS) {
			other := newMemFS()
			o := newWorld(t, other, small(t))
			o.mustOpen()
			o.mustAppend(0, 1, 10)
			o.close()
			m.replace(seg, other.contents(seg))
		}, "belongs to another log"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := dir.clone()
			c.hurt(m)
			l, err := seglog.OpenFS(m, small(t))
			if err == nil {
				l.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want one with %q", err, c.want)
			}
		})
	}
	o := small(t)
	o.Partitions = 4
	if _, err := seglog.OpenFS(dir.clone(), o); err == nil || !strings.Contains(err.Error(), "the log has 3 partitions, but 4 are configured") {
		t.Errorf("opening with another number of partitions: %v", err)
	}
	o.Partitions = 0
	if l, err := seglog.OpenFS(dir.clone(), o); err != nil || l.Partitions() != 3 {
		t.Errorf("opening without a number of partitions: %v", err)
	} else if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	l, err := seglog.Open(dir, seglog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seglog.Open(dir, seglog.Options{}); err == nil || !strings.Contains(err.Error(), "another process has the log open") {
		t.Errorf("a second Open: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = seglog.Open(dir, seglog.Options{}); err != nil {
		t.Fatalf("Open after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMissingSegment loses a whole segment in the middle.
func TestMissingSegment(t *testing.T) {
	dir := newMemFS()
	w := newWorld(t, dir, small(t))
	w.mustOpen()
	for range 40 {
		w.mustAppend(0, 1, 1300)
	}
	w.close()
	if err := dir.Remove(seglog.SegmentName(2)); err != nil {
		t.Fatal(err)
	}
	m := obs.NewLog(nil, "")
	o := small(t)
	o.Metrics = m
	l, err := seglog.OpenFS(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, _ := readAll(t, l)
	if lost := 40 - len(got); lost == 0 || counter(t, m) != float64(lost) {
		t.Errorf("%d records are lost, %v counted", lost, counter(t, m))
	}
	for key, text := range got {
		if text != w.acked[key[0]][eventlog.Offset(key[1])] {
			t.Errorf("record %v is %.20q", key, text)
		}
	}
	var trimmed *eventlog.TrimmedError
	if _, err := l.Read(ctx, 0, 0, 1); errors.As(err, &trimmed) {
		t.Errorf("Read(0): %v", err)
	}
}

// TestDamagedEnd destroys the last records of a partition. Who reads up to the
// end is told where that is, rather than made to wait for what does not come.
func TestDamagedEnd(t *testing.T) {
	dir := newMemFS()
	w, all := lay(t, dir, 9, 40)
	w.close()
	name := seglog.SegmentName(1)
	b := bytes.Clone(dir.contents(name))
	last := map[int]laid{}
	for _, r := range all {
		last[r.p] = r
	}
	hurt := last[0]
	b[hurt.start+seglog.FrameHeader] ^= 0x55
	dir.replace(name, b)

	l, err := seglog.OpenFS(dir, small(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, next, err := l.Bounds(ctx, 0)
	if err != nil || next != hurt.off+1 {
		t.Fatalf("the next offset is %d, %v, want %d", next, err, hurt.off+1)
	}
	// Twice: whether or not it was seen before that the record is damaged.
	for range 2 {
		recs, err := l.Read(ctx, 0, hurt.off, 1)
		if lost, ok := errors.AsType[*eventlog.TrimmedError](err); !ok || lost.Oldest != next {
			t.Fatalf("Read = %d records, %v, want to be told to go on at %d", len(recs), err, next)
		}
	}
	// From before it, there is something to read.
	if recs, err := l.Read(ctx, 0, hurt.off-1, 5); err != nil || len(recs) != 1 {
		t.Errorf("Read of the one before = %d records, %v", len(recs), err)
	}
	// The next record is waited for, and comes.
	got := make(chan error, 1)
	go func() {
		recs, err := l.Read(ctx, 0, next, 1)
		if err == nil && string(recs[0].Payload) != end {
			err = fmt.Errorf("it is %q", recs[0].Payload)
		}
		got <- err
	}()
	if _, err := l.Append(ctx, 0, eventlog.Record{Payload: []byte(end)}); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("Read of the next record: %v", err)
	}
	// Now there is something behind the damage.
	if recs, err := l.Read(ctx, 0, hurt.off, 1); err != nil || len(recs) != 1 || recs[0].Offset != next {
		t.Errorf("Read over the damage = %v, %v", recs, err)
	}
}
