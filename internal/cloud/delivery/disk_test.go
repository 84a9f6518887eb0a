package delivery_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// onDisk opens the deliveries of a hub whose queues are in dir.
func onDisk(t *testing.T, dir string) *delivery.Service {
	t.Helper()
	s, err := delivery.New(delivery.Options{
		Hub: "plant",
		Queue: func(name string) (delivery.Log, error) {
			return seglog.Open(filepath.Join(dir, name), seglog.Options{Partitions: 3, SegmentBytes: 64 << 10})
		},
		Remove:      func(name string) error { return os.RemoveAll(filepath.Join(dir, name)) },
		DeadLetters: kept{logtest.NewMemory(1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deviceIn returns a device of a partition.
func deviceIn(partition int) string {
	for i := 0; ; i++ {
		if d := "d" + strconv.Itoa(i); delivery.Partition(d, 3) == partition {
			return d
		}
	}
}

func diskBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil { // it may have gone
			total += info.Size()
		}
	}
	return total
}

// The space of what was sent comes back, though one device has sent only once.
func TestSpaceComesBack(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "web"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := onDisk(t, dir)
	to := &sink{}
	q, err := s.Set(t.Context(), "web", to, delivery.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	send(t, q, 1, 1, deviceIn(0))
	const n = 3000
	for i := range n {
		m := message(deviceIn(1), i)
		m.Properties = []causeway.Property{{Key: "padding", Value: string(make([]byte, 1000))}}
		if err := q.Append(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(20 * time.Second); ; {
		bytes, st := diskBytes(t, dir), q.Status()
		if st.Waiting == 0 && bytes < 1<<20 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d bytes are on disk when %d messages wait", bytes, st.Waiting)
		}
		<-time.After(10 * time.Millisecond)
	}
	to.want(t, deviceIn(1), 0, n-1)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
