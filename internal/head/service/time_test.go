package service_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// inMemory runs a test in a world of simulated time.
func inMemory(t *testing.T, change func(*world), f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		f(t, open(t, func(w *world) {
			w.memory = true
			if change != nil {
				change(w)
			}
		}))
	})
}

// TestLockEnds has a receiver with credit for one never settle: the message goes
// to another one when its lock ends, and the first hears that it was too late.
func TestLockEnds(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world) {
		w.file("a")
		first := w.receive(w.client(), how{none: true, rcv: codec.SettleSecond})
		first.grant(1)
		g := first.next()
		second := w.receive(w.client(), how{})
		synctest.Wait()
		second.nothing()
		time.Sleep(outbox.DefaultLock - time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		second.nothing()
		time.Sleep(3 * time.Second) //nolint:forbidigo // simulated time
		again := second.next()
		if again.notice.MessageID != g.notice.MessageID || again.lock == g.lock || again.notice.DeliveryCount != 0 {
			t.Errorf("%+v after %+v", again, g)
		}
		first.settle(g, codec.Accepted()) // too late
		synctest.Wait()
		w.left(1)
		second.settle(again, codec.Accepted())
		w.left(0)
		first.nothing()
	})
}

// TestNeverSettles gives all to a receiver that settles nothing, again and again,
// but not without end.
func TestNeverSettles(t *testing.T) {
	inMemory(t, func(w *world) { w.plane.Limits.Unsettled = 5 }, func(t *testing.T, w *world) {
		for i := range 2 {
			w.file(fmt.Sprint(i))
		}
		box := w.receive(w.client(), how{none: true})
		box.grant(1000)
		for range 5 {
			box.next()
			time.Sleep(40 * time.Second) //nolint:forbidigo // simulated time
		}
		time.Sleep(10 * time.Minute) //nolint:forbidigo // simulated time
		synctest.Wait()
		box.nothing()
	})
}

// slow is a receiver that takes a while for each message, in which it reads no
// more.
type slow struct {
	amqp.Inbox
	free chan struct{}
}

func (s *slow) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	<-s.free
	s.Inbox.Transfer(r, d)
}

// TestStuck has a receiver stop reading: what cannot be sent to it goes to
// others, who do not wait for its locks.
func TestStuck(t *testing.T) {
	inMemory(t, func(w *world) { w.plane.Limits.SendWait = 3 * time.Second }, func(t *testing.T, w *world) {
		const n = 200
		for i := range n {
			w.long(fmt.Sprint(i))
		}
		st := &slow{free: make(chan struct{})}
		s := w.client()
		if _, err := s.AttachReceiver(t.Context(), amqp.LinkConfig{Source: notifications}, amqp.ReceiverOptions{Handler: st, Credit: 1000}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		box := w.receive(w.client(), how{credit: 1000})
		synctest.Wait()
		time.Sleep(4 * time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		got := 0
		for ; ; got++ {
			if d, err := box.Receive(done(t)); err != nil {
				break
			} else if len(d.Tag) != 16 {
				t.Fatalf("the tag is %x", d.Tag)
			}
		}
		if got == 0 || got == n {
			t.Errorf("the other receiver got %d", got)
		}
		close(st.free)
		s.Conn().Abort(nil)
		synctest.Wait()
		for ; got < n; got++ {
			box.next()
		}
	})
}
