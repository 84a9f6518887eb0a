package client_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func TestCommands(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		got := make(chan *causeway.Message, 10)
		o := b.options()
		o.Commands = func(_ context.Context, m *causeway.Message) error {
			got <- m
			if m.ID == "bad" {
				return errors.New("cannot do that")
			}
			return nil
		}
		var p *peer
		d := b.dial(o, func() {
			p = b.accept(mqtt.Accepted)
			if f := p.grant(); !slices.Equal(f, []string{"devices/d1/messages/devicebound/#"}) {
				t.Errorf("filters %v", f)
			}
		})
		defer d.Close()
		const topic = "devices/d1/messages/devicebound/%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&%24.mid="
		p.send(&mqtt.Publish{Topic: topic + "bad&a=b", QoS: 1, ID: 7, Payload: []byte("x")})
		p.send(&mqtt.Publish{Topic: topic + "good&zone=%C3%A4", QoS: 1, ID: 8, Payload: []byte("open")})
		if m := <-got; m.ID != "bad" {
			t.Errorf("first command %+v", m)
		}
		m := <-got
		if v, _ := m.Property("zone"); m.ID != "good" || v != "ä" || string(m.Body) != "open" {
			t.Errorf("second command %+v", m)
		}
		// Only the one that was handled is acknowledged.
		if ack := next[*mqtt.Ack](p); ack.ID != 8 {
			t.Errorf("acknowledged %d", ack.ID)
		}
		p.quiet()
	})
}

func TestMethods(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		hold := make(chan struct{})
		o := b.options()
		o.Methods = func(ctx context.Context, c causeway.Call) (causeway.Result, error) {
			switch c.Method {
			case "fail":
				return causeway.Result{}, errors.New("no such luck")
			case "wait":
				select {
				case <-hold:
				case <-ctx.Done():
				}
			}
			return causeway.Result{Status: 201, Payload: c.Payload}, nil
		}
		var p *peer
		d := b.dial(o, func() {
			p = b.accept(mqtt.Accepted)
			if f := p.grant(); !slices.Equal(f, []string{"$iothub/methods/POST/#"}) {
				t.Errorf("filters %v", f)
			}
		})
		defer d.Close()
		p.send(&mqtt.Publish{Topic: "$iothub/methods/POST/echo/?$rid=a1", Payload: []byte(`{"x":1}`)})
		if m := next[*mqtt.Publish](p); m.Topic != "$iothub/methods/res/201/?$rid=a1" || string(m.Payload) != `{"x":1}` || m.QoS != 0 {
			t.Errorf("answer %+v", m)
		}
		p.send(&mqtt.Publish{Topic: "$iothub/methods/POST/fail/?$rid=a2", Payload: []byte("null")})
		if m := next[*mqtt.Publish](p); m.Topic != "$iothub/methods/res/500/?$rid=a2" || !strings.Contains(string(m.Payload), "no such luck") {
			t.Errorf("answer %+v", m)
		}
		synctest.Wait() // those that are answered have made room
		// Calls run side by side, but not without bound.
		for range causeway.MaxInflightMethods {
			p.send(&mqtt.Publish{Topic: "$iothub/methods/POST/wait/?$rid=w"})
		}
		synctest.Wait()
		p.send(&mqtt.Publish{Topic: "$iothub/methods/POST/wait/?$rid=last"})
		if m := next[*mqtt.Publish](p); m.Topic != "$iothub/methods/res/429/?$rid=last" {
			t.Errorf("answer above the bound %+v", m)
		}
		close(hold)
		for range causeway.MaxInflightMethods {
			next[*mqtt.Publish](p)
		}
	})
}

func TestTwin(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		d := b.dial(b.options(), func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		type outcome struct {
			twin    causeway.Twin
			version int64
			err     error
		}
		done := make(chan outcome, 1)

		go func() {
			tw, err := d.Twin(t.Context())
			done <- outcome{twin: tw, err: err}
		}()
		if f := p.grant(); !slices.Equal(f, []string{"$iothub/twin/res/#"}) {
			t.Errorf("filters %v", f)
		}
		if m := next[*mqtt.Publish](p); m.Topic != "$iothub/twin/GET/?$rid=1" {
			t.Errorf("request %+v", m)
		}
		p.send(&mqtt.Publish{Topic: "$iothub/twin/res/200/?$rid=1", Payload: []byte(`{"desired":{"a":1,"$version":4},"reported":{"$version":2}}`)})
		if o := <-done; o.err != nil || o.twin.DesiredVersion != 4 || o.twin.ReportedVersion != 2 || string(o.twin.Desired) != `{"a":1,"$version":4}` {
			t.Errorf("twin %+v", o)
		}

		go func() {
			v, err := d.Report(t.Context(), []byte(`{"x":1}`))
			done <- outcome{version: v, err: err}
		}()
		if m := next[*mqtt.Publish](p); m.Topic != "$iothub/twin/PATCH/properties/reported/?$rid=2" || string(m.Payload) != `{"x":1}` {
			t.Errorf("request %+v", m)
		}
		p.send(&mqtt.Publish{Topic: "$iothub/twin/res/204/?$rid=2&$version=3"})
		if o := <-done; o.err != nil || o.version != 3 {
			t.Errorf("report %+v", o)
		}

		go func() {
			_, err := d.Report(t.Context(), []byte(`[`))
			done <- outcome{err: err}
		}()
		next[*mqtt.Publish](p)
		p.send(&mqtt.Publish{Topic: "$iothub/twin/res/400/?$rid=3", Payload: []byte(`{"errorCode":400012,"trackingId":"x","message":"not an object"}`)})
		if o := <-done; causeway.CodeOf(o.err) != causeway.DeserializationError || causeway.MessageOf(o.err) != "not an object" {
			t.Errorf("error %v", o.err)
		}

		// No answer: the caller's patience counts; a lost connection is told.
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := d.Twin(ctx)
			done <- outcome{err: err}
		}()
		next[*mqtt.Publish](p)
		if o := <-done; !errors.Is(o.err, context.DeadlineExceeded) {
			t.Errorf("no answer: %v", o.err)
		}
		go func() {
			_, err := d.Twin(t.Context())
			done <- outcome{err: err}
		}()
		next[*mqtt.Publish](p)
		p.conn.Close()
		if o := <-done; !errors.Is(o.err, client.ErrOffline) {
			t.Errorf("lost connection: %v", o.err)
		}
		// The subscription comes back with the connection.
		p = b.accept(mqtt.Accepted)
		p.grant()
	})
}

func TestDesired(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		got := make(chan causeway.Patch, 10)
		o := b.options()
		o.Desired = func(_ context.Context, p causeway.Patch) { got <- p }
		var p *peer
		answer := func(rid, version string) {
			p.grant()
			if m := next[*mqtt.Publish](p); !strings.HasPrefix(m.Topic, "$iothub/twin/GET/") {
				t.Errorf("request %+v", m)
			}
			p.send(&mqtt.Publish{
				Topic:   "$iothub/twin/res/200/?$rid=" + rid,
				Payload: []byte(`{"desired":{"whole":true,"$version":` + version + `},"reported":{"$version":1}}`),
			})
		}
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted); answer("1", "4") })
		defer d.Close()
		if x := <-got; x.Version != 4 || !strings.Contains(string(x.Properties), "whole") {
			t.Errorf("at the start %+v", x)
		}
		p.send(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/desired/?$version=5", Payload: []byte(`{"a":1,"$version":5}`)})
		if x := <-got; x.Version != 5 {
			t.Errorf("change %+v", x)
		}
		p.send(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/desired/?$version=5", Payload: []byte(`{"a":1,"$version":5}`)})
		synctest.Wait()
		if len(got) > 0 {
			t.Errorf("told twice: %+v", <-got)
		}
		// What changed while the device was away is read after it has come back.
		p.conn.Close()
		p = b.accept(mqtt.Accepted)
		answer("2", "7")
		if x := <-got; x.Version != 7 {
			t.Errorf("after reconnect %+v", x)
		}
	})
}

// A handler may use the device: the goroutine that reads must not wait for it,
// however much arrives meanwhile.
func TestHandlerMayAskTheHub(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var d *client.Device
		handled := make(chan int64, 1000)
		o := b.options()
		ready := make(chan struct{})
		o.Desired = func(ctx context.Context, p causeway.Patch) {
			<-ready
			if _, err := d.Report(ctx, []byte(`{}`)); err == nil {
				handled <- p.Version
			}
		}
		var p *peer
		respond := func(version string) {
			m := next[*mqtt.Publish](p)
			_, rid, _ := strings.Cut(m.Topic, "$rid=")
			if strings.Contains(m.Topic, "GET") {
				p.send(&mqtt.Publish{Topic: "$iothub/twin/res/200/?$rid=" + rid, Payload: []byte(`{"desired":{"$version":` + version + `},"reported":{"$version":1}}`)})
			} else {
				p.send(&mqtt.Publish{Topic: "$iothub/twin/res/204/?$rid=" + rid + "&$version=2"})
			}
		}
		d = b.dial(o, func() { p = b.accept(mqtt.Accepted); p.grant(); respond("1") })
		defer d.Close()
		const burst = 200 // more than may wait
		for v := range burst {
			p.send(&mqtt.Publish{Topic: "$iothub/twin/PATCH/properties/desired/?$version=" + strconv.Itoa(v+2), Payload: []byte(`{}`)})
		}
		synctest.Wait()
		close(ready)
		last := int64(0)
		for last < burst+1 {
			respond(strconv.Itoa(burst + 1))
			synctest.Wait()
			for len(handled) > 0 {
				v := <-handled
				if v <= last {
					t.Errorf("version %d after %d", v, last)
				}
				last = v
			}
		}
	})
}
