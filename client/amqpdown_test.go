package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const (
	commandsOf = "/devices/d1/messages/devicebound"
	methodsOf  = "/devices/d1/methods/devicebound"
	twinOf     = "/devices/d1/twin"
)

var d1 = causeway.Identity{Device: "d1"}

// command sends a command whose delivery tag and id are the same.
func (p *amqpPeer) command(id string) {
	p.hub.t.Helper()
	m := &causeway.Message{ID: id, Body: []byte("open"), Properties: []causeway.Property{{Key: "zone", Value: "ä"}}, Sequence: 7}
	t := amqp.Transfer{Tag: []byte(id), Payload: hubamqp.AppendCommand(nil, d1, m), Token: id}
	if _, err := p.link(commandsOf).Send(p.hub.t.Context(), t); err != nil {
		p.hub.t.Fatal(err)
	}
}

func TestAMQPCommands(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		got := make(chan *causeway.Message, 10)
		o := h.options()
		o.Commands = func(_ context.Context, m *causeway.Message) error {
			got <- m
			switch m.ID {
			case "bad":
				return fmt.Errorf("nobody can do that: %w", client.ErrReject)
			case "later":
				return errors.New("not now")
			}
			return nil
		}
		d := h.connect(o)
		defer d.Close()
		for id, want := range map[string]codec.Code{"good": codec.CodeAccepted, "bad": codec.CodeRejected, "later": codec.CodeReleased} {
			h.peer(0).command(id)
			m := <-got
			if v, _ := m.Property("zone"); m.ID != id || v != "ä" || string(m.Body) != "open" || m.Sequence != 7 {
				t.Errorf("command %+v", m)
			}
			if o := h.outcome(); o != (outcome{id, want}) {
				t.Errorf("outcome %v, want %v of %s", o, want, id)
			}
		}
		// What is no command does no harm.
		p := h.peer(0)
		if _, err := p.link(commandsOf).Send(t.Context(), amqp.Transfer{Tag: []byte("x"), Payload: []byte("nonsense"), Token: "x"}); err != nil {
			t.Fatal(err)
		}
		if o := h.outcome(); o != (outcome{"x", codec.CodeRejected}) {
			t.Errorf("outcome of nonsense %v", o)
		}
		// One that is settled needs no answer.
		m := &causeway.Message{ID: "settled"}
		if _, err := p.link(commandsOf).Send(t.Context(), amqp.Transfer{Settled: true, Payload: hubamqp.AppendCommand(nil, d1, m)}); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m.ID != "settled" {
			t.Errorf("command %+v", m)
		}
	})
}

func TestAMQPCommandsAreBounded(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		hold := make(chan struct{})
		o := h.options()
		o.Commands = func(context.Context, *causeway.Message) error { <-hold; return nil }
		d := h.connect(o)
		p := h.peer(0)
		if n := p.link(commandsOf).Credit(); n != causeway.MaxDeliveryInFlight {
			t.Errorf("credit %d", n)
		}
		for i := range causeway.MaxDeliveryInFlight {
			p.command(fmt.Sprint(i))
		}
		synctest.Wait()
		if n := p.link(commandsOf).Credit(); n != 0 {
			t.Errorf("credit %d with none settled", n)
		}
		close(hold)
		for range causeway.MaxDeliveryInFlight {
			h.outcome()
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAMQPMethods(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		hold := make(chan struct{})
		o := h.options()
		o.Methods = func(ctx context.Context, c causeway.Call) (causeway.Result, error) {
			switch c.Method {
			case "fail":
				return causeway.Result{}, errors.New("broken")
			case "wait":
				<-hold
			}
			return causeway.Result{Status: 202, Payload: c.Payload}, nil
		}
		d := h.connect(o)
		defer d.Close()
		p := h.peer(0)
		call := func(n byte, name string) {
			p.send(methodsOf, "", hubamqp.AppendMethodRequest(nil, hubamqp.MethodRequest{
				Correlation: [16]byte{n}, Call: causeway.Call{Method: name, Payload: []byte(`{"a":1}`)},
			}))
		}
		answer := func() hubamqp.MethodResponse {
			a := h.next(hubamqp.KindMethods)
			r, err := hubamqp.DecodeMethodResponse(&hubamqp.Scratch{}, a.Payload)
			if err != nil || !a.Settled {
				t.Fatalf("answer settled %v: %v", a.Settled, err)
			}
			return r
		}
		call(1, "echo")
		if r := answer(); r.Correlation[0] != 1 || r.Result.Status != 202 || string(r.Result.Payload) != `{"a":1}` {
			t.Errorf("answer %+v", r)
		}
		call(2, "fail")
		if r := answer(); r.Correlation[0] != 2 || r.Result.Status != 500 || string(r.Result.Payload) != `{"message":"broken"}` {
			t.Errorf("answer %+v", r)
		}
		// More than may run at once are told so.
		synctest.Wait()
		for range causeway.MaxInflightMethods {
			call(3, "wait")
		}
		synctest.Wait()
		call(4, "echo")
		if r := answer(); r.Correlation[0] != 4 || r.Result.Status != 429 {
			t.Errorf("answer %+v", r)
		}
		close(hold)
		for range causeway.MaxInflightMethods {
			if r := answer(); r.Correlation[0] != 3 || r.Result.Status != 202 {
				t.Errorf("answer %+v", r)
			}
		}
		p.send(methodsOf, "", []byte("nonsense"))
		call(5, "echo")
		if r := answer(); r.Correlation[0] != 5 {
			t.Errorf("answer %+v", r)
		}
	})
}

// twins answers requests about twins from versions in memory.
func (h *amqpHub) twins(desired *int64) {
	h.twin = func(_ *amqpPeer, r hubamqp.TwinRequest) hubamqp.TwinResponse {
		switch {
		case r.Op == hubamqp.TwinGet:
			return hubamqp.TwinResponse{Status: 200, Body: fmt.Appendf(nil, `{"desired":{"x":1,"$version":%d},"reported":{"$version":3}}`, *desired)}
		case r.Op == hubamqp.TwinPatch && bytes.Equal(r.Body, []byte(`{"a":1}`)):
			return hubamqp.TwinResponse{Status: 204, Version: 4}
		case r.Op == hubamqp.TwinSubscribe:
			return hubamqp.TwinResponse{Status: 200}
		}
		return hubamqp.TwinResponse{Status: 400, Body: []byte(`{"errorCode":400004,"message":"not like this"}`)}
	}
}

func TestAMQPTwin(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		v := int64(5)
		h.twins(&v)
		d := h.connect(h.options())
		defer d.Close()
		if slices.Contains(h.attached(), "in "+twinOf) {
			t.Error("links about the twin were attached before anybody asked")
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				tw, err := d.Twin(t.Context())
				if err != nil || tw.DesiredVersion != 5 || tw.ReportedVersion != 3 || string(tw.Desired) != `{"x":1,"$version":5}` {
					t.Errorf("twin %+v, %v", tw, err)
				}
			})
		}
		all.Wait()
		links := map[string]int{}
		for _, a := range h.attached() {
			links[a]++
		}
		if links["in "+twinOf] != 1 || links["out "+twinOf] != 1 {
			t.Errorf("links %v", slices.Sorted(maps.Keys(links)))
		}
		if n, err := d.Report(t.Context(), []byte(`{"a":1}`)); err != nil || n != 4 {
			t.Errorf("reported version %d, %v", n, err)
		}
		_, err := d.Report(t.Context(), nil)
		if causeway.CodeOf(err) != causeway.ArgumentInvalid || causeway.MessageOf(err) != "not like this" {
			t.Errorf("a bad patch: %v", err)
		}
	})
}

func TestAMQPTwinWhileTheConnectionEnds(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		v := int64(1)
		h.twins(&v)
		d := h.connect(h.options())
		defer d.Close()
		if _, err := d.Twin(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		h.twin = func(p *amqpPeer, _ hubamqp.TwinRequest) hubamqp.TwinResponse {
			p.drop()
			return hubamqp.TwinResponse{}
		}
		h.mu.Unlock()
		if _, err := d.Report(t.Context(), []byte(`{"a":1}`)); !errors.Is(err, client.ErrOffline) {
			t.Errorf("%v, want ErrOffline", err)
		}
		h.mu.Lock()
		h.refuse = true
		h.mu.Unlock()
		pass(time.Minute)
		if _, err := d.Twin(t.Context()); !errors.Is(err, client.ErrOffline) {
			t.Errorf("%v, want ErrOffline", err)
		}
	})
}

func TestAMQPDesired(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		v := int64(5)
		h.twins(&v)
		got := make(chan string, 100)
		o := h.options()
		o.Desired = func(_ context.Context, p causeway.Patch) { got <- fmt.Sprintf("%d %s", p.Version, p.Properties) }
		d := h.connect(o)
		defer d.Close()
		if s := <-got; s != `5 {"x":1,"$version":5}` {
			t.Errorf("at first %s", s)
		}
		p := h.peer(0)
		p.send(twinOf, "", hubamqp.AppendDesired(nil, 4, []byte(`{"old":1}`)))
		p.send(twinOf, "", hubamqp.AppendDesired(nil, 6, []byte(`{"y":2,"$version":6}`)))
		if s := <-got; s != `6 {"y":2,"$version":6}` {
			t.Errorf("then %s", s)
		}
		p.send(twinOf, "", []byte("nonsense"))
		// What has changed while it was away is read.
		h.mu.Lock()
		v = 8
		h.mu.Unlock()
		p.drop()
		if s := <-got; !strings.HasPrefix(s, "8 ") {
			t.Errorf("after a pause %s", s)
		}
		h.peer(1).send(twinOf, "", hubamqp.AppendDesired(nil, 9, []byte(`{"z":3}`)))
		if s := <-got; s != `9 {"z":3}` {
			t.Errorf("in the end %s", s)
		}
	})
}

func TestPool(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		pool := client.NewPool(client.PoolOptions{Options: h.network(), Devices: 3})
		var devices []*client.Device
		reasons := make(chan string, 10)
		for i := range 4 {
			name := fmt.Sprint("d", i)
			d := h.connect(client.DeviceOptions{
				Pool: pool, ConnectionString: "HostName=hub.example;DeviceId=" + name + ";SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==",
				Commands: func(context.Context, *causeway.Message) error { return nil },
				Online: func(err error) {
					if err != nil {
						reasons <- fmt.Sprint(name, " ", causeway.CodeOf(err))
					}
				},
			})
			devices = append(devices, d)
		}
		if n := len(h.conns()); n != 2 {
			t.Fatalf("4 devices have %d connections, 3 go on one", n)
		}
		for i, d := range devices {
			done := make(chan error, 1)
			go func() { done <- d.Send(t.Context(), &causeway.Message{}) }()
			a := h.next(hubamqp.KindTelemetry)
			if a.address.Device != fmt.Sprint("d", i) || a.peer != h.peer(i/3) {
				t.Errorf("device %d sent on %v", i, a.address)
			}
			a.settle(codec.Accepted())
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		// What happens to one does not happen to the others.
		h.peer(0).link("/devices/d1/messages/devicebound").Close(hubamqp.ConditionOf(causeway.Errorf(causeway.DeviceNotFound, "", "gone")))
		if got := <-reasons; got != "d1 DeviceNotFound" {
			t.Errorf("lost %s", got)
		}
		pass(time.Minute)
		if n := len(h.conns()); n != 2 || !devices[1].Connected() || len(reasons) != 0 {
			t.Errorf("%d connections, back %v, others lost: %d", n, devices[1].Connected(), len(reasons))
		}
		// A connection that is lost is lost to all on it, who come back together.
		h.peer(0).drop()
		var lost []string
		for range 3 {
			lost = append(lost, <-reasons)
		}
		slices.Sort(lost)
		if !slices.Equal(lost, []string{"d0 ServerError", "d1 ServerError", "d2 ServerError"}) {
			t.Errorf("lost %q", lost)
		}
		pass(time.Minute)
		for i, d := range devices {
			if !d.Connected() {
				t.Errorf("device %d is not back", i)
			}
		}
		open := func() (n int) {
			for _, p := range h.conns() {
				if p.conn.Context().Err() == nil {
					n++
				}
			}
			return n
		}
		if n := open(); n != 2 {
			t.Errorf("%d connections after all", n)
		}
		// The last one closes the door.
		for i, d := range devices {
			if n := open(); n < 1 {
				t.Errorf("no connection for device %d", i)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if n := open(); n != 0 {
			t.Errorf("%d connections without a device", n)
		}
	})
}
