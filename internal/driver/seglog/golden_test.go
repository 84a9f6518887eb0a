package seglog_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

var update = flag.Bool("update", false, "write testdata/v1 anew")

// goldenRecord is record i of partition p in testdata/v1.
func goldenRecord(p, i int) eventlog.Record {
	return eventlog.Record{
		Time:    time.Date(2030, 1, 2, 3, 4, i, 5000, time.UTC),
		Payload: []byte(strings.Repeat(fmt.Sprintf("partition %d, record %d; ", p, i), 1+i%7*10)),
	}
}

const goldenRecords = 20 // in each of two partitions

// TestOpensV1 opens a log that version 1 of the format wrote, once finished and
// once not: a program that is released with another format must read it too.
func TestOpensV1(t *testing.T) {
	const golden = "testdata/v1"
	if *update {
		writeGolden(t, golden)
	}
	for _, state := range []string{"closed", "running"} {
		t.Run(state, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(golden, state))); err != nil {
				t.Fatal(err)
			}
			l, err := seglog.Open(dir, seglog.Options{Partitions: 3, SegmentBytes: seglog.MinSegmentBytes, Log: quiet(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for p := range 2 {
				recs, err := l.Read(ctx, eventlog.Partition(p), 1, goldenRecords)
				if err != nil {
					t.Fatal(err)
				}
				for len(recs) < goldenRecords-1 {
					more, err := l.Read(ctx, eventlog.Partition(p), eventlog.Offset(1+len(recs)), goldenRecords)
					if err != nil {
						t.Fatal(err)
					}
					recs = append(recs, more...)
				}
				for i, r := range recs {
					want := goldenRecord(p, i+1)
					if r.Offset != eventlog.Offset(i+1) || !r.Time.Equal(want.Time) || string(r.Payload) != string(want.Payload) {
						t.Fatalf("record %d of partition %d is %d, %v, %.30q", i+1, p, r.Offset, r.Time, r.Payload)
					}
				}
			}
			if next, ok, err := l.Committed(ctx, "readers", 1); err != nil || !ok || next != 7 {
				t.Errorf("Committed = %d, %v, %v, want 7", next, ok, err)
			}
			if oldest, next := bounds(t, l, 1); oldest != 1 || next != goldenRecords {
				t.Errorf("Bounds = %d, %d, want 1, %d", oldest, next, goldenRecords)
			}
			if at, err := l.Seek(ctx, 0, time.Date(2030, 1, 2, 3, 4, 11, 0, time.UTC)); err != nil || at != 11 {
				t.Errorf("Seek = %d, %v, want 11", at, err)
			}
		})
	}
}

func writeGolden(t *testing.T, golden string) {
	t.Helper()
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := seglog.Open(dir, seglog.Options{Partitions: 3, SegmentBytes: seglog.MinSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	for i := range goldenRecords {
		for p := range 2 {
			if _, err := l.Append(ctx, eventlog.Partition(p), goldenRecord(p, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Commit(ctx, "readers", 1, 7); err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(ctx, 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(golden, "running"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(golden, "closed"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
}
