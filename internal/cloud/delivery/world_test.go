package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/plugin"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// kept is a log that outlives a service, as one on disk does.
type kept struct{ *logtest.Memory }

func (kept) Close() error { return nil }

// world is a hub with its logs.
type world struct {
	t    *testing.T
	logs map[string]*logtest.Memory
	dead *logtest.Memory
	s    *delivery.Service
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, logs: map[string]*logtest.Memory{}, dead: logtest.NewMemory(1)}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	s, err := delivery.New(delivery.Options{
		Hub: "plant",
		Queue: func(name string) (delivery.Log, error) {
			if w.logs[name] == nil {
				w.logs[name] = logtest.NewMemory(3)
			}
			return kept{w.logs[name]}, nil
		},
		Remove:      func(name string) error { delete(w.logs, name); return nil },
		DeadLetters: kept{w.dead},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
}

func (w *world) close() {
	if err := w.s.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) set(name string, s plugin.Sink, p delivery.Policy) *delivery.Queue {
	w.t.Helper()
	q, err := w.s.Set(w.t.Context(), name, s, p)
	if err != nil {
		w.t.Fatal(err)
	}
	return q
}

// message is number n of a device.
func message(device string, n int) causeway.Message {
	return causeway.Message{From: causeway.Identity{Hub: "plant", Device: device}, Body: []byte(strconv.Itoa(n)), ContentType: "text/plain"}
}

// send puts messages first to last of some devices into a queue.
func send(t *testing.T, q *delivery.Queue, first, last int, devices ...string) {
	t.Helper()
	for n := first; n <= last; n++ {
		var batch []causeway.Message
		for _, d := range devices {
			batch = append(batch, message(d, n))
		}
		if err := q.Append(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
}

// sink is an endpoint that does what it is told.
type sink struct {
	mu    sync.Mutex
	got   map[string][]int // by device
	calls int
	sizes []int
	ends  bool
	on    func(batch []causeway.Message) error // nil takes all
	hang  bool                                 // until ctx ends
}

func (s *sink) Send(ctx context.Context, batch []causeway.Message) error {
	s.mu.Lock()
	s.calls++
	s.sizes = append(s.sizes, len(batch))
	on, hang := s.on, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	n := len(batch)
	var err error
	if on != nil {
		if err = on(batch); err != nil {
			n = plugin.FailureOf(err).Sent
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got == nil {
		s.got = map[string][]int{}
	}
	for _, m := range batch[:n] {
		v, _ := strconv.Atoi(string(m.Body))
		s.got[m.From.Device] = append(s.got[m.From.Device], v)
	}
	return err
}

func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = true
	return nil
}

func (s *sink) set(f func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// want holds that a device's messages are exactly first to last, in order.
func (s *sink) want(t *testing.T, device string, first, last int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got[device]
	if len(got) != last-first+1 {
		t.Fatalf("%s: got %d messages %v, want %d to %d", device, len(got), got, first, last)
	}
	for i, v := range got {
		if v != first+i {
			t.Fatalf("%s: message %d is %d, want %d", device, i, v, first+i)
		}
	}
}

var errDown = errors.New("connection refused")

func dead(t *testing.T, s *delivery.Service, endpoint string) []delivery.DeadLetter {
	t.Helper()
	page, _, last, err := s.DeadLetters(t.Context(), endpoint, 0, 0)
	if err != nil || !last {
		t.Fatal(last, err)
	}
	return page
}

// later lets time go by.
func later(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
