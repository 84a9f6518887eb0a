package flow

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// TestCreditOfOne reads events and commands one at a time. The engine detaches a
// link on which a message comes without credit, so none does.
func TestCreditOfOne(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d")
		w.fill("d", 300, 100)
		back := w.backend(amqp.Config{})
		r := back.events(1)
		for i := range 300 {
			d := r.next()
			var e hubamqp.Event
			if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload); err != nil {
				t.Fatal(err)
			}
			if e.Sequence != int64(i) || w.numberOf(e.Message.Body) != i {
				t.Fatalf("event %d is %d: %.10q", i, e.Sequence, e.Message.Body)
			}
			r.Accept(d)
		}
		r.nothing(time.Minute)

		out := back.sender(hubamqp.ServiceCommandsAddress)
		in := w.device("d", amqp.Config{}).receiver("/devices/d/messages/devicebound", 1)
		for i := range 20 {
			out.deliver(command("d", fmt.Sprint(i), "do"))
		}
		for i := range 20 {
			m, d := in.command()
			if m.ID != fmt.Sprint(i) {
				t.Fatalf("command %d is %s", i, m.ID)
			}
			in.nothing(time.Second) // its credit is used up
			in.Accept(d)
		}
	})
}

// TestReaderThatNeverSettles gets all events all the same: the server keeps no
// record of what a reader has not settled.
func TestReaderThatNeverSettles(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const events = 3000
		w.create("d")
		w.fill("d", events, 64)
		r := w.backend(amqp.Config{}).events(0)
		r.next1000(t, 0) // what is made once is made
		before := memory()
		for i := 1000; i < events; i += 1000 {
			r.next1000(t, i)
		}
		if after := memory(); after > before+1<<20 {
			t.Errorf("%d deliveries that are not settled take %d KiB", events, (after-before)>>10)
		}
	})
}

// next1000 gives credit for a thousand events from one on, and takes them.
func (r *receiver) next1000(t *testing.T, first int) {
	t.Helper()
	r.Grant(1000)
	r.Conn().Push()
	for i := first; i < first+1000; i++ {
		if e := r.event(); e.Sequence != int64(i) {
			t.Fatalf("event %d is %d", i, e.Sequence)
		}
	}
}

// TestDeviceThatNeverSettles is sent a few commands, the same ones again when
// their locks are over, and nothing more when it has left very many unsettled.
// What it says of a delivery whose lock is over does not count, but for that.
func TestDeviceThatNeverSettles(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const inFlight, rounds = causeway.MaxDeliveryInFlight, 4
		w.create("d", "other")
		out := w.backend(amqp.Config{}).sender(hubamqp.ServiceCommandsAddress)
		for i := range 2 * inFlight {
			out.deliver(command("d", fmt.Sprint(i), "do"))
		}
		in := w.device("d", amqp.Config{}).receiver("/devices/d/messages/devicebound", 1000)
		var late []amqp.Delivery
		for round := range rounds {
			began := time.Now()
			for i := range inFlight {
				m, d := in.command()
				if m.ID != fmt.Sprint(i) || m.DeliveryCount != 0 {
					t.Fatalf("round %d: command %d is %s, given back %d times", round, i, m.ID, m.DeliveryCount)
				}
				late = append(late, d)
			}
			in.nothing(causeway.CommandLock - time.Since(began) - time.Second)
		}
		in.nothing(5 * causeway.CommandLock)
		// Nobody else waits for that.
		out.deliver(command("other", "x", "do"))
		if m, _ := w.device("other", amqp.Config{}).receiver("/devices/other/messages/devicebound", 1).command(); m.ID != "x" {
			t.Errorf("the other device got %s", m.ID)
		}
		for _, d := range late {
			in.Accept(d)
		}
		for i := range 2 * inFlight {
			m, d := in.command()
			if m.ID != fmt.Sprint(i) {
				t.Fatalf("command %d is %s: it was accepted when its lock was over, and did not come again", i, m.ID)
			}
			in.Accept(d)
		}
		in.nothing(2 * causeway.CommandLock)
	})
}

// valve is a connection of which the client can stop to read.
type valve struct {
	net.Conn
	mu   sync.Mutex
	shut chan struct{} // nil when open
}

func (v *valve) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	v.mu.Lock()
	shut := v.shut
	v.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return n, err
}

// close shuts the valve: what has been read but for the next bytes is not
// handed on, and no more is read. The returned function opens it.
func (v *valve) close() (reopen func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	shut := make(chan struct{})
	v.shut = shut
	return sync.OnceFunc(func() { close(shut) })
}

// behindValve opens a connection of which the client can stop to read.
func (w *world) behindValve(cfg amqp.Config) (*peer, *valve) {
	w.t.Helper()
	ctx, cancel := w.waiting()
	defer cancel()
	nc, err := w.dial(ctx, w.amqp)
	if err != nil {
		w.t.Fatal(err)
	}
	v := &valve{Conn: nc}
	p, err := amqppeer.Open(ctx, v, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Cut)
	return &peer{p, w}, v
}

// TestClientsThatStopReading: readers of events do not read their sockets any
// more. Little is kept for them, others are served meanwhile, and they are cut
// when a write to them has been under way for 30 s.
func TestClientsThatStopReading(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const readers, events, size = 4, 100, 200 << 10
		w.create("d", "other")
		w.fill("d", events, size)
		before := memory()
		for range readers {
			p, v := w.behindValve(amqp.Config{})
			p.put("localhost", w.token())
			r := p.events(0)
			defer v.close()()
			r.Grant(events)
			p.Push()
		}
		began := time.Now()
		w.pass(5 * time.Second) // all is sent that can be
		after := memory()
		t.Logf("%d KiB for each reader that does not read", (after-before)>>10/readers)
		if after > before+readers*(12<<20) {
			t.Errorf("%d readers that do not read hold %d KiB", readers, (after-before)>>10)
		}

		// Another reader gets everything, and devices are served.
		r := w.backend(amqp.Config{}).events(50)
		for i := range events {
			d := r.next()
			var e hubamqp.Event
			if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), d.Payload); err != nil || e.Sequence != int64(i) || len(e.Message.Body) != size {
				t.Fatalf("event %d: %d, %d bytes, %v", i, e.Sequence, len(e.Message.Body), err)
			}
			r.Accept(d)
		}
		w.fill("other", 3, 10)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("that others were served took until %v", took)
		}
		w.pass(time.Until(began.Add(29 * time.Second)))
		if n := w.ended("slow_client"); n != 0 {
			t.Errorf("%d clients were cut early", n)
		}
		w.pass(2 * time.Second)
		if n := w.ended("slow_client"); n != readers {
			t.Errorf("%d clients were cut, want %d", n, readers)
		}
	})
}

// TestDevicesThatStopReading: devices on one connection that is not read any
// more are sent commands, methods and desired properties. The hub waits for none
// of them longer than it says, other devices do not wait at all, and what the
// devices have not taken is there when they come back.
func TestDevicesThatStopReading(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const devices = 20
		body := strings.Repeat("x", 60<<10)
		w.create("other")
		p, v := w.behindValve(amqp.Config{})
		for i := range devices {
			id := fmt.Sprintf("d%02d", i)
			w.create(id)
			p.put("localhost/devices/"+id, w.deviceToken(id))
			p.receiver("/devices/"+id+"/messages/devicebound", 100)
			p.sender("/devices/" + id + "/methods/devicebound")
			p.receiver("/devices/"+id+"/methods/devicebound", 100)
		}
		good := w.device("other", amqp.Config{}).receiver("/devices/other/messages/devicebound", 100)
		defer v.close()()
		out := w.backend(amqp.Config{}).sender(hubamqp.ServiceCommandsAddress)
		began := time.Now()
		for i := range devices {
			for j := range 3 {
				out.deliver(command(fmt.Sprintf("d%02d", i), fmt.Sprint(j), body))
			}
		}
		out.deliver(command("other", "x", "do"))
		if m, _ := good.command(); m.ID != "x" {
			t.Errorf("the other device got %s", m.ID)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("that the other device was served took %v", took)
		}
		// A method waits for as long as its caller says.
		w.rest("POST", "/twins/d07/methods", map[string]any{"methodName": "m", "responseTimeoutInSeconds": 5}, 504)
		w.pass(time.Minute)
		if n := w.ended("slow_client"); n != 1 {
			t.Errorf("%d clients were cut, want 1", n)
		}
		for i := range devices {
			id := fmt.Sprintf("d%02d", i)
			r := w.device(id, amqp.Config{}).receiver("/devices/"+id+"/messages/devicebound", 100)
			for j := range 3 {
				if m, _ := r.command(); m.ID != fmt.Sprint(j) || string(m.Body) != body {
					t.Errorf("%s: command %d is %s with %d bytes", id, j, m.ID, len(m.Body))
				}
			}
		}
	})
}
