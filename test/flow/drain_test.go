package flow

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// drained gives credit, has the link drained, and returns how many messages came
// before it was.
func (r *receiver) drained(credit uint32) (n int) {
	r.w.t.Helper()
	r.Grant(credit)
	r.Conn().Push()
	select {
	case <-r.Drain():
	case <-time.After(time.Minute):
		r.w.t.Fatalf("%s is not drained", r.Name())
	}
	now, cancel := context.WithCancel(r.w.ctx)
	cancel()
	for ; ; n++ {
		d, err := r.Next(now) // only what has come
		if err != nil {
			return n
		}
		r.Accept(d)
	}
}

// TestDrain drains each kind of link there is: while there is nothing, less than
// the credit, and more.
func TestDrain(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		w.create("d", "other")
		dev, back := w.device("d", amqp.Config{}), w.backend(amqp.Config{})
		links := map[string]*receiver{
			"$cbs":               dev.receiver(hubamqp.CBSAddress, 0),
			"commands":           dev.receiver("/devices/d/messages/devicebound", 0),
			"methods":            dev.receiver("/devices/d/methods/devicebound", 0),
			"twin":               dev.receiver("/devices/d/twin", 0),
			"events":             back.events(0),
			"$management":        back.receiver("localhost/$management", 0),
			"feedback":           back.receiver(hubamqp.FeedbackAddress, 0),
			"file notifications": back.receiver(hubamqp.FileNotificationsAddress, 0),
		}
		none := func(when string) {
			t.Helper()
			for name, r := range links {
				for range 3 {
					began := time.Now()
					if n := r.drained(10); n != 0 {
						t.Errorf("%s, %s: %d messages", name, when, n)
					}
					if took := time.Since(began); took > time.Second {
						t.Errorf("%s, %s: drained after %v", name, when, took)
					}
				}
			}
		}
		none("nothing there")
		some := func(name string, credit uint32, want int) {
			t.Helper()
			if n := links[name].drained(credit); n != want {
				t.Errorf("%s: %d messages for a credit of %d, want %d", name, n, credit, want)
			}
		}
		w.fill("other", 7, 100)
		some("events", 5, 5)
		some("events", 10, 2)
		some("events", 10, 0)
		w.fill("other", 5, 100)
		some("events", 5, 5)

		out := back.sender(hubamqp.ServiceCommandsAddress)
		for i := range 7 {
			out.deliver(command("d", fmt.Sprint(i), "do"))
		}
		some("commands", 5, 5)
		some("commands", 10, 2)
		some("commands", 10, 0)
		w.pass(time.Minute) // feedback waits for others, to be in one message
		some("feedback", 5, 1)
		some("feedback", 5, 0)
		for i := range 4 {
			out.deliver(command("d", fmt.Sprint(i), "do"))
			some("commands", 1, 1)
			w.pass(time.Minute)
		}
		some("feedback", 1, 1)
		w.pass(time.Second)
		some("feedback", 2, 2)
		some("feedback", 5, 1)

		ask := dev.sender("/devices/d/twin")
		for i := range 3 {
			ask.deliver(hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinGet, Correlation: uuid(byte(i))}))
		}
		links["twin"].Grant(5)
		links["twin"].Conn().Push()
		for range 3 {
			links["twin"].next()
		}
		some("twin", 5, 0)
		none("after all was sent")
	})
}

// TestDrainAgainAndAgain drains a link while messages come, and loses none.
func TestDrainAgainAndAgain(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world) {
		const commands = 40
		w.create("d")
		in := w.device("d", amqp.Config{}).receiver("/devices/d/messages/devicebound", 0)
		out := w.backend(amqp.Config{}).sender(hubamqp.ServiceCommandsAddress)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range commands {
				ctx, cancel := w.waiting()
				if st, err := out.Deliver(ctx, amqp.Transfer{Payload: command("d", fmt.Sprint(i), "do")}); err != nil {
					t.Errorf("send: %v %v", st, err)
				}
				cancel()
			}
		}()
		for got := 0; got < commands; {
			got += in.drained(3)
		}
		<-done
		if n := in.drained(causeway.MaxDeliveryInFlight); n != 0 {
			t.Errorf("%d commands too many", n)
		}
	})
}
