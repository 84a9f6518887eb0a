package events_test

import (
	"context"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// drained waits until a link is drained.
func (b *in) drained() {
	b.t.Helper()
	select {
	case <-b.r.Drain():
	case <-time.After(20 * time.Second):
		b.t.Fatal("the link is not drained")
	}
}

// grant gives credit for n events.
func (b *in) grant(n uint32) {
	b.r.Grant(n)
	b.r.Conn().Push()
}

// TestCredit sends as many events as there is credit for.
func TestCredit(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 100, event(10))
	box := w.read(w.client(), how{none: true})
	next := 0
	for _, n := range []int{1, 1, 7, 30} {
		box.grant(uint32(n))
		box.want(next, next+n)
		next += n
		box.grant(0)
		box.drained() // nothing is under way then
		box.nothing()
	}
}

// TestDrain answers at the end of the partition, and sends what there is before.
func TestDrain(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 10, event(10))
	box := w.read(w.client(), how{none: true})
	box.grant(3)
	box.drained()
	box.want(0, 3) // no more than the credit
	box.grant(100)
	box.drained()
	box.want(3, 10) // no more than there is
	box.nothing()

	// While it waits for events.
	box.grant(5)
	w.fill(0, 1, event(10))
	box.want(10, 11)
	box.drained()
	w.fill(0, 1, event(10))
	box.nothing()
	box.grant(5)
	box.want(11, 12)
	for range 50 {
		box.drained() // nothing to send, again and again
		box.grant(5)
	}
	w.fill(0, 1, event(10))
	box.want(12, 13)
}

// TestDrainWhileWriting drains while events come, and loses none.
func TestDrainWhileWriting(t *testing.T) {
	w := open(t, nil)
	done := make(chan struct{})
	const total = 3000
	go func() {
		defer close(done)
		for range total {
			w.fill(0, 1, event(10))
		}
	}()
	box := w.read(w.client(), how{none: true})
	for next := 0; next < total; {
		box.grant(20)
		box.drained()
		for ctx, cancel := context.WithCancel(t.Context()); ; next++ {
			cancel() // only what is there
			d, err := box.Receive(ctx)
			if err != nil {
				break
			}
			var at int64
			if at = sequence(t, d.Payload); at != int64(next) {
				t.Fatalf("event %d, want %d", at, next)
			}
		}
	}
	<-done
}

// sequence returns the sequence number of an event.
func sequence(t testing.TB, payload []byte) int64 {
	t.Helper()
	var m codec.Message
	if err := m.Decode(payload); err != nil {
		t.Fatal(err)
	}
	v, _ := m.MessageAnnotations.Lookup("x-opt-sequence-number")
	n, _ := v.Int64()
	return n
}

// TestWindow has a session that takes few frames at once.
func TestWindow(t *testing.T) {
	w := open(t, nil)
	for range 10 {
		w.fill(0, 1, event(10_000))
		w.fill(0, 9, event(10))
	}
	s := w.dial(amqp.Config{IncomingWindow: 2, MaxFrameSize: 512})
	w.read(s, how{}).want(0, 100)
}

// stuck is a receiver that does not read on from its first event until it is let
// go.
type stuck struct {
	amqp.Inbox
	arrived, free chan struct{}
}

func (s *stuck) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	<-s.free
	s.Inbox.Transfer(r, d)
}

// TestReaderThatDoesNotRead holds up nobody else, neither those who read nor
// those who write, and is gone when its connection is.
func TestReaderThatDoesNotRead(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 20_000, event(1000)) // more than the buffers of the network take
	st := &stuck{arrived: make(chan struct{}, 1), free: make(chan struct{})}
	s := w.client()
	if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: address("0")}, amqp.ReceiverOptions{Handler: st, Credit: 100_000}); err != nil {
		t.Fatal(err)
	}
	<-st.arrived
	before := runtime.NumGoroutine()
	for range 3 {
		box := w.read(w.client(), how{credit: 5000})
		box.want(0, 20_000)
		box.r.Close(nil)
	}
	w.fill(0, 1000, event(1000))
	if after := runtime.NumGoroutine(); after > before+30 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	s.Conn().Abort(nil)
	close(st.free)
	<-s.Conn().Done()
}

// TestVanishes cuts connections in the middle of a large event, and goes on from
// the one before.
func TestVanishes(t *testing.T) {
	w := open(t, nil)
	for range 20 {
		w.fill(0, 1, event(200_000))
	}
	for i := range 10 {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := amqp.Dial(t.Context(), &cut{Conn: nc, left: 50_000 * (i + 1)}, amqp.Prepare(amqp.Config{}), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = tryRead(t.Context(), s, how{credit: 100})
		<-c.Done()
	}
	// Their places are free again.
	w.settles(w.client(), how{}).want(0, 20)
}

// cut is a connection that ends after some bytes.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Read(b []byte) (int, error) {
	if c.left <= 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// TestClosesWhileSending closes links, sessions and connections under readers
// that are at it.
func TestClosesWhileSending(t *testing.T) {
	w := open(t, nil)
	w.fill(0, 20_000, event(100))
	for i := range 30 {
		s := w.client()
		box := w.settles(s, how{credit: 20_000})
		box.want(0, 1+i*50)
		switch i % 3 {
		case 0:
			box.r.Close(nil)
			w.settles(s, how{}).want(0, 1)
		case 1:
			if err := s.End(nil); err != nil {
				t.Fatal(err)
			}
		}
		s.Conn().Abort(nil)
		<-s.Conn().Done()
	}
}

// reads is a log that writes down what is read from it.
type reads struct {
	eventlog.Log
	mu    sync.Mutex
	first []eventlog.Offset
	most  []int
}

func (l *reads) Read(ctx context.Context, p eventlog.Partition, from eventlog.Offset, most int) ([]eventlog.Record, error) {
	l.mu.Lock()
	l.first, l.most = append(l.first, from), append(l.most, most)
	l.mu.Unlock()
	return l.Log.Read(ctx, p, from, most)
}

// TestSurprisinglyLarge: as many events as would be a batch of usual ones are sent in
// smaller parts when they turn out to be large, and a peer that is slow to take
// them has no more held for it.
func TestSurprisinglyLarge(t *testing.T) {
	w := open(t, func(w *world) { w.plane.Limits.BatchBytes = 100_000 })
	w.fill(0, 3, event(10))
	for _, n := range []int{30_000, 30_000, 30_000, 150_000, 30_000, 30_000, 30_000, 30_000, 10, 10} {
		w.fill(0, 1, event(n))
	}
	log := &reads{Log: w.log}
	w.log = log
	box := w.read(w.client(), how{none: true})
	box.grant(13)
	box.want(0, 13)
	box.drained()
	log.mu.Lock()
	defer log.mu.Unlock()
	if from, most := []eventlog.Offset{0, 6, 7, 8, 11}, []int{13, 1, 1, 3, 2}; !slices.Equal(log.first, from) || !slices.Equal(log.most, most) {
		t.Errorf("read from %v, at most %v", log.first, log.most)
	}
}
