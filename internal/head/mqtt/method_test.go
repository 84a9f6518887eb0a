package mqtt_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// invoke calls a method in the background.
func (w *world) invoke(method, payload string, wait time.Duration) <-chan func() (causeway.Result, error) {
	ch := make(chan func() (causeway.Result, error), 1)
	go func() {
		r, err := w.hub.Invoke(context.Background(), w.dev1.Identity, causeway.Call{Method: method, Payload: []byte(payload)}, 0, wait)
		ch <- func() (causeway.Result, error) { return r, err }
	}()
	return ch
}

// request expects a method request and returns its request id.
func (c *client) request(method, payload string) (rid string) {
	c.t.Helper()
	p := expect[*wire.Publish](c)
	rid, ok := strings.CutPrefix(p.Topic, "$iothub/methods/POST/"+method+"/?$rid=")
	if !ok || string(p.Payload) != payload || p.QoS != 0 {
		c.t.Fatalf("request %+v", p)
	}
	return rid
}

func TestMethods(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		_, err := (<-w.invoke("reboot", "", time.Second))()
		hubtest.WantCode(t, err, causeway.DeviceNotOnline)
		c.subscribe(0, methodFilter)

		for _, body := range []string{`{"in":"tray"}`, ""} {
			call := w.invoke("reboot", body, time.Minute)
			if body == "" {
				body = "null"
			}
			rid := c.request("reboot", body)
			c.send(pub("$iothub/methods/res/-7/?$rid="+rid, `[1, 2]`, 5))
			c.acked(5)
			if r, err := (<-call)(); err != nil || r.Status != -7 || string(r.Payload) != `[1, 2]` {
				t.Errorf("result %+v, %v", r, err)
			}
			c.send(pub("$iothub/methods/res/200/?$rid="+rid, `{"late":true}`, 0)) // a second answer is ignored
		}
		call := w.invoke("silent", "", time.Minute)
		c.send(pub("$iothub/methods/res/204/?$rid="+c.request("silent", "null"), "", 0))
		if r, err := (<-call)(); err != nil || r.Status != 204 || len(r.Payload) != 0 {
			t.Errorf("result %+v, %v", r, err)
		}
		call = w.invoke("garbled", "", time.Minute)
		c.send(pub("$iothub/methods/res/200/?$rid="+c.request("garbled", "null"), "{", 0))
		_, err = (<-call)()
		hubtest.WantCode(t, err, causeway.GenericBadGateway)
		call = w.invoke("huge", "", time.Minute)
		c.send(pub("$iothub/methods/res/200/?$rid="+c.request("huge", "null"), `"`+strings.Repeat("x", causeway.MaxMethodPayload)+`"`, 0))
		_, err = (<-call)()
		hubtest.WantCode(t, err, causeway.GenericBadGateway)
		// Some write a space where others write nothing.
		call = w.invoke("blank", "", time.Minute)
		c.send(pub("$iothub/methods/res/204/?$rid="+c.request("blank", "null"), " ", 0))
		if r, err := (<-call)(); err != nil || r.Status != 204 || len(r.Payload) != 0 {
			t.Errorf("result %+v, %v", r, err)
		}

		call = w.invoke("late", "", 10*time.Second)
		rid := c.request("late", "null")
		_, err = (<-call)()
		hubtest.WantCode(t, err, causeway.GatewayTimeout)
		c.send(pub("$iothub/methods/res/200/?$rid="+rid, `{}`, 0))
		c.ping()

		call = w.invoke("lost", "", time.Minute)
		c.request("lost", "null")
		_ = c.nc.Close()
		_, err = (<-call)()
		hubtest.WantCode(t, err, causeway.DeviceConnectionClosedRemotely)
	})
}

func TestOneMethodOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.subscribe(1, "$iothub/methods/POST/reboot/#")
		_, err := (<-w.invoke("erase", "", time.Second))()
		hubtest.WantCode(t, err, causeway.DeviceNotOnline)
		call := w.invoke("reboot", "1", time.Second)
		c.send(pub("$iothub/methods/res/200/?$rid="+c.request("reboot", "1"), "", 0))
		if _, err := (<-call)(); err != nil {
			t.Error(err)
		}
	})
}

func TestConcurrentMethods(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.subscribe(0, methodFilter)
		dev := w.tap.Device(causeway.Identity{Hub: "hub", Device: "dev1"})
		var wg sync.WaitGroup
		for i := range causeway.MaxInflightMethods {
			wg.Go(func() {
				r, err := dev.Invoke(t.Context(), causeway.Call{Method: "echo", Payload: []byte(fmt.Sprint(i))})
				if err != nil || string(r.Payload) != fmt.Sprint(i) {
					t.Errorf("call %d: %s, %v", i, r.Payload, err)
				}
			})
		}
		var answers []wire.Packet
		for range causeway.MaxInflightMethods {
			p := expect[*wire.Publish](c)
			_, rid, _ := strings.Cut(p.Topic, "?$rid=")
			answers = append(answers, pub("$iothub/methods/res/200/?$rid="+rid, string(p.Payload), 0))
		}
		_, err := dev.Invoke(t.Context(), causeway.Call{Method: "one too many"})
		hubtest.WantCode(t, err, causeway.DeviceMaximumInflightMethodExceeded)
		c.send(answers...)
		wg.Wait()
	})
}
