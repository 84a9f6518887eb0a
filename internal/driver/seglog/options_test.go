package seglog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

func TestOptions(t *testing.T) {
	for name, o := range map[string]seglog.Options{
		"partitions":         {Partitions: seglog.MaxPartitions + 1},
		"no partitions":      {Partitions: -1},
		"small segments":     {SegmentBytes: 100},
		"large segments":     {SegmentBytes: 2 << 30},
		"negative retention": {RetentionTime: -time.Second},
		"negative size":      {RetentionBytes: -1},
	} {
		if l, err := seglog.OpenFS(newMemFS(), o); err == nil {
			l.Close()
			t.Errorf("%s: %+v opens", name, o)
		}
	}
	l, err := seglog.Open(t.TempDir(), seglog.Options{}) // the zero value is useful
	if err != nil {
		t.Fatal(err)
	}
	if l.Partitions() != 4 {
		t.Errorf("%d partitions by default", l.Partitions())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	l, err := seglog.OpenFS(newMemFS(), small(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	largest := eventlog.Record{Payload: make([]byte, seglog.MaxRecordBytes)}
	if _, err := l.Append(ctx, 0, largest, largest); err != nil {
		t.Errorf("the largest record: %v", err)
	}
	if _, err := l.Append(ctx, 0, eventlog.Record{Payload: make([]byte, seglog.MaxRecordBytes+1)}); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("a larger record: %v", err)
	}
	batch := make([]eventlog.Record, seglog.MaxBatchBytes/seglog.MaxRecordBytes+1)
	for i := range batch {
		batch[i] = largest
	}
	if _, err := l.Append(ctx, 0, batch...); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("a larger batch: %v", err)
	}
	if first, err := l.Append(ctx, 0, batch[1:]...); err != nil || first != 2 {
		t.Errorf("the largest batch: %d, %v", first, err)
	}
	recs, err := l.Read(ctx, 0, 0, 1000)
	if err != nil || len(recs) == 0 || len(recs)*seglog.MaxRecordBytes > seglog.MaxReadBytes {
		t.Errorf("Read returns %d of the largest records, %v", len(recs), err)
	}
}

func TestGroups(t *testing.T) {
	dir := newMemFS()
	l, err := seglog.OpenFS(dir, small(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a\x00b", strings.Repeat("g", seglog.MaxGroupName+1)} {
		if err := l.Commit(ctx, name, 0, 1); err == nil {
			t.Errorf("group %.10q can commit", name)
		}
	}
	// As many as there may be: the file grows, and says so when it must not.
	n := 0
	for ; n < seglog.MaxGroups+10; n++ {
		if err = l.Commit(ctx, fmt.Sprintf("%040d", n), eventlog.Partition(n%3), eventlog.Offset(n)); err != nil {
			break
		}
	}
	if n > seglog.MaxGroups || n < seglog.MaxGroups-1 || err == nil || !strings.Contains(err.Error(), "remove one first") {
		t.Errorf("%d groups, then %v", n, err)
	}
	if err := l.Forget(ctx, fmt.Sprintf("%040d", 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(ctx, "another", 0, 1); err != nil {
		t.Errorf("a group after one was removed: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = seglog.OpenFS(dir, small(t)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range n {
		next, ok, err := l.Committed(ctx, fmt.Sprintf("%040d", i), eventlog.Partition(i%3))
		if err != nil || ok != (i > 0) || ok && next != eventlog.Offset(i) {
			t.Fatalf("group %d: %d, %v, %v", i, next, ok, err)
		}
	}
}
