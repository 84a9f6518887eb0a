package seglog_test

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// killedDir names the directory in which the test binary, started again, is
// the process to be killed.
const killedDir = "SEGLOG_TEST_KILLED_DIR"

// beKilled appends from many goroutines and says on standard output what was
// acknowledged and where, until it is killed.
func beKilled(dir string) {
	l, err := seglog.Open(dir, seglog.Options{Partitions: 4, SegmentBytes: 1 << 18})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	var out sync.Mutex
	for w := range 16 {
		go func() {
			rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(w)))
			for {
				p := rnd.IntN(4)
				recs := make([]eventlog.Record, 1+rnd.IntN(5))
				for i := range recs {
					recs[i].Payload = make([]byte, rnd.IntN(600))
					for j := range recs[i].Payload {
						recs[i].Payload[j] = byte(rnd.Uint32())
					}
				}
				first, err := l.Append(ctx, eventlog.Partition(p), recs...)
				var line bytes.Buffer
				for i, r := range recs {
					fmt.Fprintln(&line, "ack", p, int64(first)+int64(i), sum(r.Payload))
				}
				if err != nil {
					line.Reset()
					fmt.Fprintln(&line, "error:", err)
				}
				out.Lock()
				os.Stdout.Write(line.Bytes())
				out.Unlock()
			}
		}()
	}
	select {}
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// TestKilled kills a process that appends under load, twenty times, and each
// time finds every acknowledged record exactly where it was acknowledged.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	acked := map[[2]int64]uint64{}
	for round := range 20 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("round %d: the process says %q", round, lines.Text())
		}
		// Kill it while it appends; what it said by then counts.
		killed := time.AfterFunc(time.Duration(20+7*round%50)*time.Millisecond, func() { cmd.Process.Kill() })
		n := 0
		for lines.Scan() {
			var p, off int64
			var h uint64
			if _, err := fmt.Sscanf(lines.Text(), "ack %d %d %d", &p, &off, &h); err != nil {
				if len(lines.Bytes()) > 6 && bytes.HasPrefix(lines.Bytes(), []byte("error:")) {
					t.Fatal(lines.Text())
				}
				continue // the last line, cut short
			}
			if _, ok := acked[[2]int64{p, off}]; ok {
				t.Fatalf("round %d: offset %d of partition %d was given twice", round, off, p)
			}
			acked[[2]int64{p, off}] = h
			n++
		}
		killed.Stop()
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		if n == 0 {
			t.Logf("round %d: nothing was acknowledged in time", round)
		}
		l, err := seglog.Open(dir, seglog.Options{Log: quiet(t)})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for p := range eventlog.Partition(4) {
			from, next := bounds(t, l, p)
			for from < next {
				recs, err := l.Read(ctx, p, from, 1000)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range recs {
					if r.Offset != from {
						t.Fatalf("round %d: a gap at %d of partition %d", round, from, p)
					}
					from++
					if h, ok := acked[[2]int64{int64(p), int64(r.Offset)}]; ok {
						found++
						if h != sum(r.Payload) {
							t.Fatalf("round %d: record %d of partition %d is another", round, r.Offset, p)
						}
					}
				}
			}
		}
		if found != len(acked) {
			t.Fatalf("round %d: %d of %d acknowledged records are there", round, found, len(acked))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 1000 {
		t.Errorf("only %d records were acknowledged in all", len(acked))
	}
}
