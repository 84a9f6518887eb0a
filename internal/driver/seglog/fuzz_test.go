package seglog_test

import (
	"bytes"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// FuzzOpen puts arbitrary bytes in place of the segment, or of the cursors, of
// a log. It is refused, or it opens, takes records, and after a restart holds
// what it held before.
func FuzzOpen(f *testing.F) {
	image := newMemFS()
	o := seglog.Options{Partitions: 2, SegmentBytes: seglog.MinSegmentBytes}
	l, err := seglog.OpenFS(image, o)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 6 {
		if _, err := l.Append(ctx, eventlog.Partition(i%2), eventlog.Record{Payload: []byte("some payload")}, eventlog.Record{}); err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Commit(ctx, "g", 1, 3); err != nil {
		f.Fatal(err)
	}
	running := image.clone()
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	seg := seglog.SegmentName(1)
	for _, m := range []*memFS{running, image} {
		b := m.contents(seg)
		f.Add(seg, b[:min(len(b), 2000)])
		f.Add(seg, b[:300])
		f.Add("cursors", m.contents("cursors"))
	}
	f.Add("log.meta", image.contents("log.meta"))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if name != seg && name != "cursors" && name != "log.meta" {
			return
		}
		dir := running.clone()
		dir.replace(name, b)
		l, err := seglog.OpenFS(dir, o)
		if err != nil {
			return
		}
		first, next := readAll(t, l)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = seglog.OpenFS(dir, o); err != nil {
			t.Fatalf("it opened before: %v", err)
		}
		again, later := readAll(t, l)
		if len(first) != len(again) {
			t.Fatalf("%d records, %d after a restart", len(first), len(again))
		}
		for key, text := range first {
			if again[key] != text {
				t.Fatalf("record %v was %q, now %q", key, text, again[key])
			}
		}
		for p := range next {
			if later[p] != next[p]+1 {
				t.Fatalf("partition %d: appends went to %d, then to %d", p, next[p], later[p])
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if name == seg && !bytes.Equal(b, running.contents(seg)) && len(first) > 12 {
			t.Fatalf("%d records came out of nothing", len(first))
		}
	})
}
