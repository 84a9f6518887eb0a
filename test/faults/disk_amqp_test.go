//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// heap returns the bytes of the server's heap that are in use.
func (w *world) heap(ctx context.Context) (uint64, error) {
	u := fmt.Sprintf("https://localhost:%d/metrics", w.Ready().HTTPSPort)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := w.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			var n float64
			_, err := fmt.Sscan(rest, &n)
			return uint64(n), err
		}
	}
	return 0, fmt.Errorf("no figure in %s: %.200s", res.Status, b)
}

// watch returns the largest heap that there was until it is called.
func (w *world) watch(t *testing.T) func() uint64 {
	ctx, cancel := context.WithCancel(t.Context())
	var most atomic.Uint64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			n, err := w.heap(ctx)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			most.Store(max(most.Load(), n))
			pause(ctx)
		}
	})
	return func() uint64 {
		cancel()
		wg.Wait()
		return most.Load()
	}
}

// flood is a device that sends over AMQP without waiting for outcomes.
type flood struct {
	d     identity
	o     outlet
	next  int          // number of the next message
	acked map[int]bool // its messages that were accepted
}

const floodSize = 60 << 10

// send sends n messages, then waits for their outcomes, and returns how many
// were accepted. Each of the others must have been refused in a way that clients
// take for a reason to try again.
func (f *flood) send(ctx context.Context, t *testing.T, n int) (accepted int) {
	type sent struct {
		n    int
		wait func(context.Context) error
	}
	var under []sent
	for range n {
		body := fmt.Appendf(make([]byte, 0, floodSize), "%06d", f.next)
		wait, err := f.o.send(ctx, causeway.Message{Body: body[:floodSize]})
		if err != nil {
			t.Errorf("%s: send: %v", f.d.id, err)
			return accepted
		}
		under = append(under, sent{f.next, wait})
		f.next++
	}
	for _, s := range under {
		switch err := s.wait(ctx); {
		case err == nil:
			f.acked[s.n] = true
			accepted++
		case !errors.Is(err, errRefused) || !strings.Contains(err.Error(), amqp.InternalError) || !strings.Contains(err.Error(), "503"):
			t.Errorf("%s: message %d: %v, want a refusal that says to try again", f.d.id, s.n, err)
			return accepted
		}
	}
	return accepted
}

// TestFullDiskAMQP sends until the disk is full, and then 48 MB more that nobody
// waits for. All of it is refused, the server's memory does not grow with it,
// readers read on, and when space returns the same links work again.
func TestFullDiskAMQP(t *testing.T) {
	binary(t)
	disk, ok := smallDisk(t, "72m")
	if !ok {
		return
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CAUSEWAY_OPENMETRICS", "true")
	w := newWorld(t, filepath.Join(disk, "data"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var devices []identity
	for i := range 4 {
		devices = append(devices, w.createDevice(t, fmt.Sprintf("flood-%d", i)))
	}
	// Two on one connection of our engine, two over go-amqp.
	p, err := w.engine(ctx, "", devices[:2]...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Cut()
	var floods []*flood
	for i, d := range devices {
		o, err := telemetryOf(ctx, p, d)
		if i >= 2 {
			var a *azure
			if a, err = w.azure(ctx, "localhost/devices/"+d.id, d.token()); err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			o, err = a.telemetryOf(ctx, d)
		}
		if err != nil {
			t.Fatal(err)
		}
		floods = append(floods, &flood{d: d, o: o, acked: map[int]bool{}})
	}
	all := func(n int) (accepted int) {
		var wg sync.WaitGroup
		var sum atomic.Int64
		for _, f := range floods {
			wg.Go(func() { sum.Add(int64(f.send(ctx, t, n))) })
		}
		wg.Wait()
		return int(sum.Load())
	}
	total := 0
	for n := all(50); n > 0; n = all(50) {
		if total += n; total > 2000 {
			t.Fatal("120 MB were accepted on a disk of 48 MB")
		}
	}
	if total < 100 {
		t.Fatalf("only %d messages fit", total)
	}

	before, err := w.heap(ctx)
	if err != nil {
		t.Fatal(err)
	}
	most := w.watch(t)
	late := all(200)
	peak := most()
	t.Logf("%d messages fit; heap in use before %d MiB, at most %d MiB while 48 MB were refused", total, before>>20, peak>>20)
	if late != 0 {
		t.Errorf("%d messages were accepted on a full disk", late)
	}
	if peak > before+24<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, peak>>20)
	}

	// What is there can be read, and a back end is told to try again, too.
	w.readFloods(ctx, t, floods)
	rest, err := os.Create(filepath.Join(disk, "rest"))
	if err != nil {
		t.Fatal(err)
	}
	for { // leave nothing to the state store either
		if _, err := rest.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	rest.Close()
	commands := w.refusedCommand(ctx, t, devices[0])

	if err := errors.Join(os.Remove(filler), os.Remove(filepath.Join(disk, "rest"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "messages are accepted on the same links again", func() bool { return all(5) == 5*len(floods) })
	w.readFloods(ctx, t, floods)

	// The commands that were accepted are there.
	in, err := p.Receiver(ctx, amqp.LinkConfig{Source: "/devices/" + devices[0].id + "/messages/devicebound"}, 10)
	if err != nil {
		t.Fatal(err)
	}
	for i := range commands {
		d, err := in.Next(ctx)
		if err != nil {
			t.Fatalf("command %d of %d: %v", i, commands, err)
		}
		in.Accept(d)
	}
}

// refusedCommand sends commands until one is refused for want of space, and
// returns how many were accepted.
func (w *world) refusedCommand(ctx context.Context, t *testing.T, d identity) (accepted int) {
	t.Helper()
	p, err := w.engine(ctx, w.ownerToken(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Cut()
	s, err := p.Session.AttachSender(ctx, amqp.LinkConfig{Target: hubamqp.ServiceCommandsAddress}, amqp.SenderOptions{Handler: engineHandler{}})
	if err != nil {
		t.Fatal(err)
	}
	for ; ; accepted++ {
		wait, err := engineOutlet{s}.send(ctx, causeway.Message{To: "/devices/" + d.id + "/messages/devicebound", Body: make([]byte, floodSize)})
		if err != nil {
			t.Fatal(err)
		}
		err = wait(ctx)
		if err != nil && (!errors.Is(err, errRefused) || !strings.Contains(err.Error(), amqp.InternalError) || !strings.Contains(err.Error(), "503")) {
			t.Errorf("a command on a full disk: %v, want a refusal that says to try again", err)
		}
		if err != nil {
			return accepted
		}
	}
}

// readFloods reads the partitions from their beginnings until each message that
// was accepted was there, in the order of its device, and none that was refused.
func (w *world) readFloods(ctx context.Context, t *testing.T, floods []*flood) {
	t.Helper()
	left := map[string]int{}
	last := map[string]int{}
	by := map[string]*flood{}
	for _, f := range floods {
		left[f.d.id], last[f.d.id], by[f.d.id] = len(f.acked), -1, f
	}
	p, err := w.engine(ctx, w.ownerToken(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Cut()
	type arrival struct {
		e   hubamqp.Event
		err error
	}
	arrivals := make(chan arrival)
	rctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for i := range causeway.DefaultPartitions {
		in, err := p.Receiver(rctx, amqp.LinkConfig{Source: fmt.Sprintf("localhost/ConsumerGroups/$Default/Partitions/%d", i)}, 20)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			readAll(rctx, in, func(e hubamqp.Event, err error) bool {
				select {
				case arrivals <- arrival{e, err}:
					return true
				case <-rctx.Done():
					return false
				}
			})
		})
	}
	for remaining := len(floods); remaining > 0; {
		a := <-arrivals
		if a.err != nil {
			t.Fatalf("reading: %v", a.err)
		}
		id := a.e.Message.From.Device
		var n int
		if _, err := fmt.Sscanf(string(a.e.Message.Body[:6]), "%06d", &n); err != nil {
			t.Fatal(err)
		}
		f := by[id]
		if !f.acked[n] || n <= last[id] {
			t.Fatalf("%s: message %d is stored after %d; accepted: %v", id, n, last[id], f.acked[n])
		}
		last[id] = n
		if left[id]--; left[id] == 0 {
			remaining--
		}
	}
}

// readAll hands on what arrives, until it is told to stop.
func readAll(ctx context.Context, in *amqppeer.Receiver, take func(hubamqp.Event, error) bool) {
	for {
		d, err := in.Next(ctx)
		var e hubamqp.Event
		if err == nil {
			err = hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload)
			in.Accept(d)
		}
		if !take(e, err) || err != nil {
			return
		}
	}
}
