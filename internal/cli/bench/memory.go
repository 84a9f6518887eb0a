package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/topic"
)

var errNoProcess = errors.New("the server's process is not known: pass --pid, and run this on its machine")

// Idle measures the memory of the server's process before and after all devices
// have connected and gone quiet, and divides the difference by their number.
func Idle(ctx context.Context, t *Target, l Load) (Run, error) {
	if t.PID == 0 {
		return Run{}, errNoProcess
	}
	if err := t.provision(ctx, l); err != nil {
		return Run{}, fmt.Errorf("create devices: %w", err)
	}
	before, err := settled(ctx, t.PID, l.Settle)
	if err != nil {
		return Run{}, err
	}
	began := time.Now()
	f, err := t.assemble(ctx, l, func(d *device) error {
		if !l.Listen || !t.Hub() {
			return nil
		}
		return d.subscribe(topic.CommandFilter(d.id), topic.MethodFilter, topic.TwinResponseFilter, topic.DesiredFilter)
	})
	if err != nil {
		return Run{}, err
	}
	defer f.close()
	took := time.Since(began)
	after, err := settled(ctx, t.PID, l.Settle)
	if err != nil {
		return Run{}, err
	}
	n := int64(l.Devices)
	return Run{Count: n, Seconds: took.Seconds(), Rate: rate(n, took), Bytes: float64(after-before) / float64(n)}, nil
}

// calmSeconds is how long the memory of a server must not fall to count as
// settled. It is longer than the pause after which causeway gives memory back.
const calmSeconds = 12

// settled waits until the memory of a process stops falling, at most for the
// given time, and returns it. A server with a garbage collector holds what the
// handshakes needed for a while.
func settled(ctx context.Context, pid int, most time.Duration) (int64, error) {
	const step = time.Second
	low, err := resident(pid)
	if err != nil {
		return 0, err
	}
	deadline := time.Now().Add(most)
	for calm := 0; calm < calmSeconds && time.Now().Before(deadline); {
		wait(ctx, step)
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		m, err := resident(pid)
		if err != nil {
			return 0, err
		}
		if m < low-low/100 {
			calm = 0
		} else {
			calm++
		}
		low = min(low, m)
	}
	return resident(pid)
}

// resident returns the memory of a process in bytes: its proportional share of
// shared pages where the system tells, else what is resident.
func resident(pid int) (int64, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	for _, src := range []struct{ file, key string }{{"/smaps_rollup", "Pss:"}, {"/status", "VmRSS:"}} {
		if n, ok := kilobytes(dir+src.file, src.key); ok {
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of process %d cannot be read from %s", pid, dir)
}

func kilobytes(file, key string) (int64, bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		cols := strings.Fields(s.Text())
		if len(cols) >= 2 && cols[0] == key {
			n, err := strconv.ParseInt(cols[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
