package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestAMQPConnectSaysWhoItIs(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		d := h.connect(o)
		if want := []string{"in $cbs", "in /devices/d1/messages/events", "out $cbs"}; !slices.Equal(h.attached(), want) {
			t.Errorf("links %q, want %q", h.attached(), want)
		}
		token, err := sas.Parse(string(h.shown()[0].Token))
		if err != nil || token.Resource != "hub.example/devices/d1" || !token.Verify([]byte("0123456789abcdef")) || h.shown()[0].Name != "hub.example/devices/d1" {
			t.Errorf("token %+v for %q, %v", token, h.shown()[0].Name, err)
		}
		if want := time.Now().Add(time.Hour); token.Expiry.Sub(want).Abs() > time.Second {
			t.Errorf("token expires %v, want %v", token.Expiry, want)
		}
		if p := h.peer(0); p.conn.Hostname() != "hub.example" || h.dials[0] != "hub.example:5671" {
			t.Errorf("asked for host %q at %s", p.conn.Hostname(), h.dials[0])
		}
		if !d.Connected() {
			t.Error("not connected")
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := h.peer(0).conn.Err(); err != nil {
			t.Errorf("the connection ended with %v", err)
		}
	})
}

func TestAMQPSend(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		d := h.connect(h.options())
		defer d.Close()
		done := make(chan error, 1)
		go func() {
			done <- d.Send(t.Context(), &causeway.Message{
				Body: []byte("hello"), ContentType: "application/json", Properties: []causeway.Property{{Key: "a b", Value: "ä"}},
			})
		}()
		a := h.next(hubamqp.KindTelemetry)
		m := a.message()
		if v, _ := m.Property("a b"); string(m.Body) != "hello" || m.ContentType != "application/json" || v != "ä" || a.Settled {
			t.Errorf("got %+v, settled %v", m, a.Settled)
		}
		if len(done) > 0 {
			t.Error("Send did not wait")
		}
		a.settle(codec.Accepted())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAMQPConnectRefused(t *testing.T) {
	for want, spoil := range map[causeway.Code]func(h *amqpHub){
		causeway.IotHubUnauthorized: func(h *amqpHub) {
			h.token = func(hubamqp.PutToken) error {
				return causeway.Errorf(causeway.IotHubUnauthorized, "", "no such device or wrong key")
			}
		},
		causeway.DeviceNotFound: func(h *amqpHub) {
			h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
				if a.Kind == hubamqp.KindTelemetry {
					return hubamqp.ConditionOf(causeway.Errorf(causeway.DeviceNotFound, "", "gone"))
				}
				return nil
			}
		},
		causeway.IotHubMaxCbsTokenExceeded: func(h *amqpHub) {
			h.attach = func(a hubamqp.Address, _ *amqp.Attach) error {
				return hubamqp.ConditionOf(causeway.Errorf(causeway.IotHubMaxCbsTokenExceeded, "", "too many"))
			}
		},
	} {
		inHub(t, func(t *testing.T, h *amqpHub) {
			spoil(h)
			if _, err := client.Connect(t.Context(), h.options()); causeway.CodeOf(err) != want {
				t.Errorf("%v, want %v", err, want)
			}
		})
	}
	inHub(t, func(t *testing.T, h *amqpHub) {
		h.refuse = true
		if _, err := client.Connect(t.Context(), h.options()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("nobody listens: %v", err)
		}
	})
	inHub(t, func(t *testing.T, h *amqpHub) { // nobody answers a request about the twin
		h.twin = func(*amqpPeer, hubamqp.TwinRequest) hubamqp.TwinResponse { return hubamqp.TwinResponse{} }
		o := h.options()
		o.Desired = func(context.Context, causeway.Patch) {}
		if _, err := client.Connect(t.Context(), o); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hub that does not answer: %v", err)
		}
	})
}

func TestAMQPOptions(t *testing.T) {
	pool := client.NewPool(client.PoolOptions{})
	for want, o := range map[string]client.DeviceOptions{
		`"https" is not one of`:        {Transport: causeway.HTTPS},
		"shares connections that talk": {Transport: causeway.MQTT, Pool: pool},
		"a connection of its own":      {Pool: pool, Certificate: &tls.Certificate{}},
		"neither DeviceId":             {ConnectionString: "HostName=h", Transport: causeway.AMQP},
	} {
		if o.ConnectionString == "" {
			o.ConnectionString = deviceString
		}
		if _, err := client.Connect(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAMQPModule(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		o.ConnectionString = "HostName=hub.example;DeviceId=d?1;ModuleId=m%1;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg=="
		o.Commands = func(context.Context, *causeway.Message) error { return nil }
		d := h.connect(o)
		defer d.Close()
		want := []string{
			"in $cbs", "in /devices/d%3F1/modules/m%251/messages/events",
			"out $cbs", "out /devices/d%3F1/modules/m%251/messages/devicebound",
		}
		if !slices.Equal(h.attached(), want) {
			t.Errorf("links %q, want %q", h.attached(), want)
		}
	})
}

func TestAMQPOutcomes(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		d := h.connect(h.options())
		defer d.Close()
		for _, c := range []struct {
			state codec.State
			want  causeway.Code
		}{
			{codec.Accepted(), 0},
			{codec.Rejected(hubamqp.ConditionOf(causeway.Errorf(causeway.MessageTooLarge, "", "large"))), causeway.MessageTooLarge},
			{codec.Rejected(amqp.Refuse(hubamqp.Throttled, "slowly")), causeway.ThrottlingException},
			{codec.Rejected(nil), causeway.ArgumentInvalid},
			{codec.Released(), causeway.ServiceUnavailable},
		} {
			done := make(chan error, 1)
			if err := d.SendAsync(t.Context(), &causeway.Message{}, func(err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			h.next(hubamqp.KindTelemetry).settle(c.state)
			if err := <-done; causeway.CodeOf(err) != c.want {
				t.Errorf("%v: %v, want %v", c.state.Kind, err, c.want)
			}
		}
		if !d.Connected() {
			t.Error("the connection did not survive")
		}
	})
}

func TestTooLarge(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		h.most = 100 << 10
		d := h.connect(h.options())
		defer d.Close()
		large := &causeway.Message{Body: make([]byte, causeway.MaxMessageSize-2), Properties: []causeway.Property{{Key: "ab", Value: "c"}}}
		for name, err := range map[string]error{
			"Send":               d.Send(t.Context(), large),
			"SendBatch":          d.SendBatch(t.Context(), []causeway.Message{{}, *large}),
			"Post":               d.Post(t.Context(), large),
			"more than is taken": d.Send(t.Context(), &causeway.Message{Body: make([]byte, 101<<10)}),
		} {
			if causeway.CodeOf(err) != causeway.MessageTooLarge {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !d.Connected() || len(h.conns()) != 1 || len(h.sent) != 0 {
			t.Errorf("connected %v after %d connections, %d messages came", d.Connected(), len(h.conns()), len(h.sent))
		}
	})
}

func TestAMQPBatch(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		d := h.connect(h.options())
		defer d.Close()
		var list []causeway.Message
		for i := range 5 { // two fit into a transfer
			list = append(list, causeway.Message{Body: bytes.Repeat([]byte{byte('0' + i)}, 100<<10)})
		}
		done := make(chan error, 1)
		go func() { done <- d.SendBatch(t.Context(), list) }()
		var sizes []int
		for n := 0; n < 5; {
			a := h.next(hubamqp.KindTelemetry)
			size := 1
			if a.Format == hubamqp.BatchFormat {
				size = 0
				for b, err := range hubamqp.Batch(a.Payload) {
					var m causeway.Message
					if err == nil {
						err = hubamqp.DecodeTelemetry(&m, &hubamqp.Scratch{}, b)
					}
					if err != nil || m.Body[0] != byte('0'+n+size) {
						t.Fatalf("message %d: %v", n+size, err)
					}
					size++
				}
			}
			n += size
			sizes = append(sizes, size)
			if n == 5 {
				synctest.Wait()
				if len(done) > 0 {
					t.Error("SendBatch did not wait")
				}
			}
			a.settle(codec.Accepted())
		}
		if !slices.Equal(sizes, []int{2, 2, 1}) {
			t.Errorf("transfers of %v messages", sizes)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAMQPPost(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		d := h.connect(h.options())
		for range 10 {
			if err := d.Post(t.Context(), &causeway.Message{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil { // does not lose them
			t.Fatal(err)
		}
		for range 10 {
			if a := h.next(hubamqp.KindTelemetry); !a.Settled {
				t.Error("not sent settled")
			}
		}
	})
}

func TestAMQPUnacknowledgedIsSentAgainInOrder(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		var events []string
		o := h.options()
		o.Online = func(err error) { events = append(events, fmt.Sprint("online ", err == nil)) }
		d := h.connect(o)
		defer d.Close()
		results := make(chan string, 10)
		for i := range 3 {
			err := d.SendAsync(t.Context(), &causeway.Message{Body: fmt.Append(nil, i)}, func(err error) { results <- fmt.Sprint(i, err) })
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if a := h.next(hubamqp.KindTelemetry); string(a.message().Body) == "0" {
				a.settle(codec.Accepted())
			}
		}
		if got := <-results; got != "0 <nil>" {
			t.Fatal(got)
		}
		h.peer(0).drop()
		for _, want := range []string{"1", "2"} {
			a := h.next(hubamqp.KindTelemetry)
			if got := string(a.message().Body); got != want {
				t.Errorf("resent %q, want %q", got, want)
			}
			a.settle(codec.Accepted())
		}
		if got := []string{<-results, <-results}; !slices.Equal(got, []string{"1 <nil>", "2 <nil>"}) {
			t.Errorf("results %v", got)
		}
		synctest.Wait()
		if !slices.Equal(events, []string{"online true", "online false", "online true"}) {
			t.Errorf("told %v", events)
		}
	})
}

func TestAMQPCredit(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		o.InFlight = 250
		d := h.connect(o)
		acked := make(chan error, 1000)
		for range 250 {
			if err := d.SendAsync(t.Context(), &causeway.Message{}, func(err error) { acked <- err }); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(h.sent); n != 100 {
			t.Errorf("%d messages came, the credit was for 100", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.SendAsync(ctx, &causeway.Message{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("one more than may be in flight: %v", err)
		}
		for range 250 {
			h.next(hubamqp.KindTelemetry).settle(codec.Accepted())
		}
		if err := d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		// Without credit, closing gives up what waits.
		for range 150 {
			if err := d.SendAsync(t.Context(), &causeway.Message{}, func(err error) { acked <- err }); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		for i := range 400 {
			if err := <-acked; (i < 250) != (err == nil) || i >= 250 && !errors.Is(err, client.ErrClosed) {
				t.Errorf("message %d: %v", i, err)
			}
		}
	})
}

func TestAMQPTokenIsRenewed(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		o.TokenLifetime = 10 * time.Minute
		offline := 0
		o.Online = func(err error) {
			if err != nil {
				offline++
			}
		}
		d := h.connect(o)
		defer d.Close()
		pass(35 * time.Minute)
		if len(h.conns()) != 1 || len(h.shown()) != 5 || offline != 0 {
			t.Fatalf("%d connections, %d tokens, offline %d times", len(h.conns()), len(h.shown()), offline)
		}
		var last time.Time
		for _, q := range h.shown() {
			token, err := sas.Parse(string(q.Token))
			if err != nil || !token.Expiry.After(last) {
				t.Errorf("token until %v after one until %v, %v", token.Expiry, last, err)
			}
			last = token.Expiry
		}
		// One that is refused ends the connection; the next is a new one.
		refusals := 1
		h.mu.Lock()
		h.token = func(hubamqp.PutToken) error {
			if refusals--; refusals >= 0 {
				return causeway.Errorf(causeway.IotHubUnauthorized, "", "no")
			}
			return nil
		}
		h.mu.Unlock()
		pass(10 * time.Minute)
		if offline != 1 || len(h.conns()) != 2 || !d.Connected() {
			t.Errorf("%d connections, offline %d times, connected %v", len(h.conns()), offline, d.Connected())
		}
	})
}

func TestAMQPTakenOver(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		reasons := make(chan error, 10)
		o.Online = func(err error) {
			if err != nil {
				reasons <- err
			}
		}
		o.Commands = func(context.Context, *causeway.Message) error { return nil }
		d := h.connect(o)
		defer d.Close()
		h.peer(0).link("/devices/d1/messages/devicebound").Close(hubamqp.ConditionOf(
			causeway.Errorf(causeway.ConnectionForcefullyClosedOnNewConnection, "", "another one")))
		if err := <-reasons; causeway.CodeOf(err) != causeway.ConnectionForcefullyClosedOnNewConnection {
			t.Error(err)
		}
		pass(time.Minute)
		if !d.Connected() || len(h.conns()) != 2 {
			t.Errorf("connected %v after %d connections", d.Connected(), len(h.conns()))
		}
	})
}

func TestAMQPSilentHub(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		o.KeepAlive = time.Minute
		var stuck atomic.Bool
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := dial(ctx, network, addr)
			return &mute{Conn: nc, stuck: &stuck}, err
		}
		d := h.connect(o)
		defer d.Close()
		pass(time.Hour)
		if len(h.conns()) != 1 {
			t.Fatalf("%d connections", len(h.conns()))
		}
		stuck.Store(true)
		pass(3 * time.Minute)
		if d.Connected() {
			t.Error("a hub that says nothing is still believed in")
		}
	})
}

// mute is a connection on which nothing arrives any more.
type mute struct {
	net.Conn
	stuck *atomic.Bool
}

func (m *mute) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	for err == nil && m.stuck.Load() {
		n, err = m.Conn.Read(p)
	}
	return n, err
}

func TestAMQPCertificate(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		o := h.options()
		o.ConnectionString = "HostName=hub.example;DeviceId=d1;x509=true"
		o.Certificate = &h.cfg.Certificates[0] // any will do
		d := h.connect(o)
		defer d.Close()
		state, ok := h.peer(0).conn.ConnectionState()
		if !ok || len(state.PeerCertificates) == 0 || len(h.shown()) != 0 {
			t.Errorf("certificates %v, tokens %v", state.PeerCertificates, h.shown())
		}
	})
}

// However a device loses its hub, it says why and comes back.
func TestAMQPLosses(t *testing.T) {
	forced := hubamqp.ConditionOf(causeway.Errorf(causeway.ServiceUnavailable, "", "shutting down"))
	for name, c := range map[string]struct {
		lose func(p *amqpPeer)
		want causeway.Code
	}{
		"the connection is cut":    {func(p *amqpPeer) { p.drop() }, causeway.ServerError},
		"the connection is closed": {func(p *amqpPeer) { p.conn.Close(forced) }, causeway.ServiceUnavailable},
		"closed without a reason":  {func(p *amqpPeer) { p.conn.Close(nil) }, causeway.ServerError},
		"the session is ended": {func(p *amqpPeer) {
			if err := p.link(methodsOf).Session().End(forced); err != nil {
				p.hub.t.Error(err)
			}
		}, causeway.ServiceUnavailable},
		"telemetry is detached":   {func(p *amqpPeer) { p.received("/devices/d1/messages/events").Close(forced) }, causeway.ServiceUnavailable},
		"commands are detached":   {func(p *amqpPeer) { p.link(commandsOf).Close(forced) }, causeway.ServiceUnavailable},
		"methods are detached":    {func(p *amqpPeer) { p.link(methodsOf).Close(forced) }, causeway.ServiceUnavailable},
		"answers are detached":    {func(p *amqpPeer) { p.received(methodsOf).Close(forced) }, causeway.ServiceUnavailable},
		"the twin is detached":    {func(p *amqpPeer) { p.link(twinOf).Close(nil) }, causeway.ServerError},
		"requests are detached":   {func(p *amqpPeer) { p.received(twinOf).Close(forced) }, causeway.ServiceUnavailable},
		"the device was disabled": {func(p *amqpPeer) { p.link(commandsOf).Close(amqp.Refuse(amqp.UnauthorizedAccess, "disabled")) }, causeway.IotHubUnauthorized},
	} {
		inHub(t, func(t *testing.T, h *amqpHub) {
			o := h.options()
			reasons := make(chan error, 10)
			o.Online = func(err error) {
				if err != nil {
					reasons <- err
				}
			}
			o.Commands = func(context.Context, *causeway.Message) error { return nil }
			o.Methods = func(context.Context, causeway.Call) (causeway.Result, error) { return causeway.Result{}, nil }
			o.Desired = func(context.Context, causeway.Patch) {}
			d := h.connect(o)
			defer d.Close()
			c.lose(h.peer(0))
			if err := <-reasons; causeway.CodeOf(err) != c.want {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			done := make(chan error, 1)
			go func() { done <- d.Send(t.Context(), &causeway.Message{}) }()
			h.next(hubamqp.KindTelemetry).settle(codec.Accepted())
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := len(h.conns()); n != 2 || !d.Connected() || len(reasons) != 0 {
				t.Errorf("%s: connected %v after %d connections", name, d.Connected(), n)
			}
		})
	}
}

func TestAMQPHubThatDoesNotAnswer(t *testing.T) {
	silent := func([]byte) ([]byte, bool, error) { return nil, false, nil } // a challenge nobody expects
	for want, spoil := range map[string]func(h *amqpHub){
		"unexpected challenge": func(h *amqpHub) {
			h.amqp.Mechanisms = []amqp.Mechanism{{Name: "ANONYMOUS", Start: func(*amqp.Conn) amqp.Dialogue { return silent }}}
		},
		"is not offered": func(h *amqpHub) {
			h.amqp.Mechanisms = []amqp.Mechanism{{Name: "EXTERNAL", Start: func(*amqp.Conn) amqp.Dialogue { return silent }}}
		},
		"no such hub": func(h *amqpHub) {
			h.open = func() error {
				return hubamqp.ConditionOf(causeway.Errorf(causeway.IotHubNotFound, "", "no such hub"))
			}
		},
		"deadline exceeded": func(h *amqpHub) { // tokens are not answered
			h.token = func(hubamqp.PutToken) error { return errNoAnswer }
		},
	} {
		inHub(t, func(t *testing.T, h *amqpHub) {
			spoil(h)
			began := time.Now()
			_, err := client.Connect(t.Context(), h.options())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("%s: took %v", want, took)
			}
		})
	}
}

func TestAMQPConnectIsGivenUp(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		h.token = func(hubamqp.PutToken) error { return errNoAnswer }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := client.Connect(ctx, h.options()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
