package hubtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway"
)

func enqueue(t *testing.T, w *world, id causeway.Identity, from, n int) {
	t.Helper()
	for i := range n {
		w.Enqueue(t, id, causeway.Message{ID: fmt.Sprintf("m%d", from+i), Body: fmt.Appendf(nil, "%d", from+i)})
	}
}

func settle(t *testing.T, s causeway.Session, m causeway.Message, o causeway.Outcome) {
	t.Helper()
	if m.Lock == (causeway.LockToken{}) {
		t.Fatalf("command %q came without a lock", m.Body)
	}
	if err := s.Settle(ctxWait(t), m.Lock, o); err != nil {
		t.Fatalf("settle %q: %v", m.Body, err)
	}
}

func wantBody(t *testing.T, m causeway.Message, want int) {
	t.Helper()
	if string(m.Body) != fmt.Sprint(want) {
		t.Fatalf("command %q came, want %d", m.Body, want)
	}
}

func testCommands(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneDesired)
	w.Enqueue(t, cred.Identity, causeway.Message{
		ID: "m0", CorrelationID: "c0", Body: []byte("0"), ContentType: "text/plain", Ack: causeway.AckFull,
		Properties: []causeway.Property{{Key: "k", Value: "v"}},
	})
	enqueue(t, w, cred.Identity, 1, 2)
	r.NoMessage(t)
	listen(t, s, causeway.LaneCommands)
	for i := range 3 {
		m := r.Message(t)
		wantBody(t, m, i)
		if m.DeliveryCount != 0 {
			t.Errorf("delivery count of a first delivery is %d", m.DeliveryCount)
		}
		if i == 0 && (m.ID != "m0" || m.CorrelationID != "c0" || m.ContentType != "text/plain" || m.Ack != causeway.AckFull ||
			len(m.Properties) != 1 || m.Properties[0] != (causeway.Property{Key: "k", Value: "v"})) {
			t.Errorf("the command came as %+v", m)
		}
		if i < 2 {
			settle(t, s, m, causeway.Accepted)
		} else {
			settle(t, s, m, causeway.Rejected)
		}
	}
	Eventually(t, "an empty queue", func() bool { return w.Depth(t, cred.Identity) == 0 })
	enqueue(t, w, cred.Identity, 3, 1)
	wantBody(t, r.Message(t), 3)
	r.NoMessage(t)
}

func testCommandWindow(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands)
	const n = causeway.MaxDeliveryInFlight + 5
	enqueue(t, w, cred.Identity, 0, n)
	var held []causeway.Message
	for i := range causeway.MaxDeliveryInFlight {
		m := r.Message(t)
		wantBody(t, m, i)
		held = append(held, m)
	}
	r.NoMessage(t)
	for i := range n {
		settle(t, s, held[i], causeway.Accepted)
		if next := causeway.MaxDeliveryInFlight + i; next < n {
			m := r.Message(t)
			wantBody(t, m, next)
			held = append(held, m)
		}
	}
	Eventually(t, "an empty queue", func() bool { return w.Depth(t, cred.Identity) == 0 })
}

func testCommandReleased(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 1)
	for i := range 3 {
		m := r.Message(t)
		wantBody(t, m, 0)
		if m.DeliveryCount != i {
			t.Errorf("delivery count is %d after %d abandoned deliveries", m.DeliveryCount, i)
		}
		settle(t, s, m, causeway.Released)
	}
	settle(t, s, r.Message(t), causeway.Accepted)
}

func testCommandLockLost(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 1)
	m := r.Message(t)
	settle(t, s, m, causeway.Accepted)
	WantCode(t, s.Settle(ctxWait(t), m.Lock, causeway.Accepted), causeway.DeviceMessageLockLost)
	WantCode(t, s.Settle(ctxWait(t), causeway.LockToken{9}, causeway.Released), causeway.DeviceMessageLockLost)
}

func testCommandsAfterClose(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 3)
	wantBody(t, r.Message(t), 0)
	wantBody(t, r.Message(t), 1)
	s.Close(nil)
	again := NewRecorder()
	s = w.connect(t, cred, again)
	listen(t, s, causeway.LaneCommands)
	for i := range 3 {
		m := again.Message(t)
		wantBody(t, m, i)
		if m.DeliveryCount != 0 {
			t.Errorf("a lost connection raised the delivery count to %d", m.DeliveryCount)
		}
		settle(t, s, m, causeway.Accepted)
	}
}

func testCommandsAfterTakeover(t *testing.T, w *world) {
	old, oldDev, cred := w.device(t, "d1", causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 2)
	m := oldDev.Message(t)
	wantBody(t, m, 0)
	wantBody(t, oldDev.Message(t), 1)
	r := NewRecorder()
	s := w.connect(t, cred, r)
	WantCode(t, old.Settle(ctxWait(t), m.Lock, causeway.Accepted), causeway.ConnectionForcefullyClosedOnNewConnection)
	listen(t, s, causeway.LaneCommands)
	for i := range 2 {
		m := r.Message(t)
		wantBody(t, m, i)
		settle(t, s, m, causeway.Accepted)
	}
	oldDev.NoMessage(t)
}

func testCommandRefused(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	r := NewRecorder()
	var calls atomic.Int32
	r.Refuse = func(causeway.Message) error {
		if calls.Add(1) == 1 {
			return errors.New("the link is gone")
		}
		return nil
	}
	s := w.connect(t, cred, r)
	listen(t, s, causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 1)
	m := r.Message(t) // tried again
	wantBody(t, m, 0)
	settle(t, s, m, causeway.Accepted)
	if n := calls.Load(); n != 2 {
		t.Errorf("the command was handed over %d times, want 2", n)
	}
}

// credited is a device that takes as many commands as it has credit for.
type credited struct {
	*Recorder
	credit atomic.Int64
	tried  atomic.Int64
}

func (c *credited) Deliver(ctx context.Context, m causeway.Message) error {
	c.tried.Add(1)
	if c.credit.Add(-1) < 0 {
		c.credit.Add(1)
		return fmt.Errorf("deliver %s: %w", m.ID, causeway.ErrNoCredit)
	}
	return c.Recorder.Deliver(ctx, m)
}

func testCommandNoCredit(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	dev := &credited{Recorder: NewRecorder()}
	s := w.connect(t, cred, dev)
	listen(t, s, causeway.LaneCommands)
	enqueue(t, w, cred.Identity, 0, 3)
	Eventually(t, "a delivery that is tried", func() bool { return dev.tried.Load() > 0 })
	dev.NoMessage(t)
	if n := dev.tried.Load(); n > 6 {
		t.Errorf("a client without credit was tried %d times", n)
	}
	dev.credit.Store(1)
	listen(t, s, causeway.LaneCommands)
	m := dev.Message(t)
	wantBody(t, m, 0)
	if m.DeliveryCount != 0 {
		t.Errorf("delivery count is %d after nothing but a lack of credit", m.DeliveryCount)
	}
	dev.NoMessage(t)
	dev.credit.Store(2)
	settle(t, s, m, causeway.Accepted)
	for i := 1; i < 3; i++ {
		m := dev.Message(t)
		wantBody(t, m, i)
		settle(t, s, m, causeway.Accepted)
	}
	Eventually(t, "an empty queue", func() bool { return w.Depth(t, cred.Identity) == 0 })
}

func testDrain(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	dev := &credited{Recorder: NewRecorder()}
	s := w.connect(t, cred, dev)
	drain := func(want int) {
		t.Helper()
		if err := s.Drain(ctxWait(t)); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			select {
			case m := <-dev.messages:
				settle(t, s, m, causeway.Accepted)
			default:
				t.Fatalf("%d of %d commands were handed over when drained", i, want)
			}
		}
	}
	drain(0)
	enqueue(t, w, cred.Identity, 0, 3)
	dev.credit.Store(10)
	listen(t, s, causeway.LaneCommands)
	drain(3)
	drain(0)
	dev.credit.Store(2)
	enqueue(t, w, cred.Identity, 3, 3)
	listen(t, s, causeway.LaneCommands)
	if err := s.Drain(ctxWait(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(dev.messages); n != 2 {
		t.Fatalf("%d commands were handed over when drained with credit for 2", n)
	}
	s.Close(nil)
	if err := s.Drain(ctxWait(t)); err == nil {
		t.Error("a closed session is drained")
	}
}
