package amqp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/coder/websocket"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/tlsnet"
	"github.com/causeway-iot/causeway/internal/wire/wsnet"
)

// TestTour uses all links of a device and a module with another implementation of
// AMQP, over every transport, on the real services.
func TestTour(t *testing.T) {
	config := headkit.ServerTLS(t, host)
	client := &tls.Config{InsecureSkipVerify: true, ServerName: host}
	for _, x := range []struct {
		name   string
		wrap   func(net.Listener) net.Listener
		secure bool
	}{
		{"plain", nil, false},
		{"TLS", func(l net.Listener) net.Listener { return tls.NewListener(l, config) }, true},
		{"quiet TLS", func(l net.Listener) net.Listener { return tlsnet.NewListener(l, config) }, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().String()
			if x.wrap != nil {
				l = x.wrap(l)
			}
			s := newSite(t, l)
			s.tour(t, func() net.Conn {
				nc, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				if x.secure {
					return tls.Client(nc, client)
				}
				return nc
			})
		})
	}
	t.Run("WebSocket", func(t *testing.T) {
		h := wsnet.New(wsnet.Options{})
		srv := httptest.NewTLSServer(h)
		t.Cleanup(srv.Close)
		s := newSite(t, h.Listen(wsnet.AMQP))
		s.tour(t, func() net.Conn {
			ws, _, err := websocket.Dial(t.Context(), "wss"+strings.TrimPrefix(srv.URL, "https")+wsnet.Path, &websocket.DialOptions{
				Subprotocols: []string{wsnet.AMQP},
				HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		})
		if got := s.tap.Last().Transport; got != causeway.AMQPWS {
			t.Errorf("transport %s", got)
		}
	})
}

// site is a server on the machine's own network, with a cloud behind it.
type site struct {
	*cloud
	tap      *hubtest.Tap
	dev, mod causeway.Identity
}

func newSite(t *testing.T, l net.Listener) *site {
	t.Helper()
	c := newCloud(t, auth.Policy{Name: "device", Primary: keyText("policy device"), Rights: auth.DeviceConnect})
	s := &site{cloud: c, tap: &hubtest.Tap{Hub: c.set}, dev: c.add(t, "dev1", ""), mod: c.add(t, "dev1", "m1")}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- (&amqp.Server{Hub: s.tap, Realms: c}).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

// visitor is a client of another implementation.
type visitor struct {
	t    *testing.T
	ctx  context.Context
	s    *site
	conn *goamqp.Conn
	sess *goamqp.Session
}

func (s *site) visit(t *testing.T, nc net.Conn, sasl goamqp.SASLType) *visitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	conn, err := goamqp.NewConn(ctx, nc, &goamqp.ConnOptions{HostName: host, SASLType: sasl})
	if err != nil {
		t.Fatal(err)
	}
	sess, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, ctx, s, conn, sess}
}

// must fails the test for an error.
func (v *visitor) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) receiver(address string, o *goamqp.ReceiverOptions) *goamqp.Receiver {
	v.t.Helper()
	r, err := v.sess.NewReceiver(v.ctx, address, o)
	v.must(err)
	return r
}

func (v *visitor) sender(address string, o *goamqp.SenderOptions) *goamqp.Sender {
	v.t.Helper()
	s, err := v.sess.NewSender(v.ctx, address, o)
	v.must(err)
	return s
}

func (v *visitor) put(name, token string) {
	v.t.Helper()
	in, out := v.receiver("$cbs", nil), v.sender("$cbs", nil)
	v.must(out.Send(v.ctx, &goamqp.Message{
		Properties: &goamqp.MessageProperties{MessageID: goamqp.UUID{1, 2}, ReplyTo: new("cbs")},
		ApplicationProperties: map[string]any{
			"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": name,
		},
		Value: token,
	}, nil))
	m, err := in.Receive(v.ctx, nil)
	v.must(err)
	v.must(in.AcceptMessage(v.ctx, m))
	if m.ApplicationProperties["status-code"] != int32(200) || m.Properties.CorrelationID != (goamqp.UUID{1, 2}) {
		v.t.Fatalf("put-token: %v %v", m.ApplicationProperties, m.Properties.CorrelationID)
	}
	v.must(in.Close(v.ctx))
	v.must(out.Close(v.ctx))
}

func (s *site) tour(t *testing.T, dial func() net.Conn) {
	v := s.visit(t, dial(), goamqp.SASLTypeAnonymous())
	v.put(host+"/devices/dev1", s.token(t, s.dev, time.Now().Add(time.Hour)))
	v.telemetry()
	v.commands()
	v.methods()
	v.twin()
	_ = v.conn.Close()
	hubtest.Eventually(t, "the end of the session", func() bool { return !s.hub.State(s.dev).Connected })

	v = s.visit(t, dial(), goamqp.SASLTypePlain("device@sas.root.hub", policyToken("device", "", time.Now().Add(time.Hour))))
	events := v.sender("/devices/dev1/modules/m1/messages/events", nil)
	v.must(events.Send(v.ctx, goamqp.NewMessage([]byte("of the module")), nil))
	all := s.cloud.telemetry(t)
	if m := all[len(all)-1]; m.From.Module != "m1" || m.Auth != `{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}` {
		t.Errorf("stored %+v", m)
	}
	if err := s.visitErr(dial(), goamqp.SASLTypePlain("dev1@sas.hub", "wrong")); err == nil {
		t.Error("a wrong password was let in")
	}
	// What the registry decides ends links: with the condition of the spec.
	v.must(events.Send(v.ctx, goamqp.NewMessage([]byte("last")), nil))
	r := s.record(t, s.dev)
	r.Enabled = false
	if _, err := s.registry.Update(context.Background(), r, "*"); err != nil {
		t.Fatal(err)
	}
	err := events.Send(v.ctx, goamqp.NewMessage([]byte("too late")), nil)
	if e, ok := errors.AsType[*goamqp.LinkError](err); !ok || e.RemoteErr == nil || string(e.RemoteErr.Condition) != hubamqp.Unauthorized {
		t.Errorf("send by a disabled device: %v", err)
	}
	_ = v.conn.Close()
}

// visitErr expects not to be let in: at the latest by the answer to the open.
func (s *site) visitErr(nc net.Conn, sasl goamqp.SASLType) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := goamqp.NewConn(ctx, nc, &goamqp.ConnOptions{HostName: host, SASLType: sasl})
	if err == nil {
		_, err = conn.NewSession(ctx, nil)
	}
	return err
}

func (v *visitor) telemetry() {
	v.t.Helper()
	s := v.sender("/devices/dev1/messages/events", &goamqp.SenderOptions{Properties: map[string]any{"com.microsoft:client-version": "tour/1"}})
	v.must(s.Send(v.ctx, &goamqp.Message{
		Properties:            &goamqp.MessageProperties{MessageID: "id", ContentType: new("application/json")},
		ApplicationProperties: map[string]any{"n": int32(7)},
		Data:                  [][]byte{[]byte(`{"x":`), []byte(`1}`)},
	}, nil))
	v.must(s.Send(v.ctx, &goamqp.Message{Format: hubamqp.BatchFormat, Data: [][]byte{
		hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte("b1")}), hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte("b2")}),
	}}, nil))
	large := strings.Repeat("x", 200_000)
	v.must(s.Send(v.ctx, goamqp.NewMessage([]byte(large)), nil))
	err := s.Send(v.ctx, goamqp.NewMessage(make([]byte, 300_000)), nil)
	if e, ok := errors.AsType[*goamqp.Error](err); !ok || string(e.Condition) != hubamqp.MessageSize {
		v.t.Errorf("a message that is too large: %v", err)
	}
	got := v.s.cloud.telemetry(v.t)
	if len(got) != 4 || string(got[0].Body) != `{"x":1}` || got[0].ID != "id" || fmt.Sprint(got[0].Properties) != "[{n 7}]" ||
		string(got[1].Body) != "b1" || string(got[2].Body) != "b2" || string(got[3].Body) != large {
		v.t.Errorf("stored %d messages", len(got))
	}
	v.must(s.Close(v.ctx))
}

func (v *visitor) commands() {
	v.t.Helper()
	for _, mode := range []goamqp.ReceiverSettleMode{goamqp.ReceiverSettleModeFirst, goamqp.ReceiverSettleModeSecond} {
		for i := range 4 {
			v.s.enqueue(v.t, v.s.dev, fmt.Sprint(i))
		}
		r := v.receiver("/devices/dev1/messages/devicebound", &goamqp.ReceiverOptions{Credit: 10, SettlementMode: &mode})
		next := func(want string) *goamqp.Message {
			v.t.Helper()
			m, err := r.Receive(v.ctx, nil)
			v.must(err)
			if string(m.GetData()) != want || len(m.DeliveryTag) != 16 || m.ApplicationProperties["k"] != "v" {
				v.t.Errorf("got %q, tag %x, want %q", m.GetData(), m.DeliveryTag, want)
			}
			return m
		}
		m0, m1, m2, m3 := next("0"), next("1"), next("2"), next("3")
		v.must(r.AcceptMessage(v.ctx, m0))
		v.must(r.RejectMessage(v.ctx, m1, nil))
		v.must(r.ReleaseMessage(v.ctx, m2))
		v.must(r.ModifyMessage(v.ctx, m3, &goamqp.ModifyMessageOptions{UndeliverableHere: true}))
		m := next("2") // again
		if n, _ := m.Annotations["iothub-deliverycount"].(uint8); n != 1 {
			v.t.Errorf("delivery count %v", m.Annotations)
		}
		v.must(r.AcceptMessage(v.ctx, m))
		hubtest.Eventually(v.t, "an empty queue", func() bool { return v.s.depth(v.t, v.s.dev) == 0 })
		v.must(r.Close(v.ctx))
	}
	// One by one, and drained.
	r := v.receiver("/devices/dev1/messages/devicebound", &goamqp.ReceiverOptions{Credit: -1})
	v.must(r.IssueCredit(5))
	v.must(r.DrainCredit(v.ctx, nil))
	if m := r.Prefetched(); m != nil {
		v.t.Errorf("got %q", m.GetData())
	}
	v.s.enqueue(v.t, v.s.dev, "a")
	v.s.enqueue(v.t, v.s.dev, "b")
	v.must(r.IssueCredit(1))
	m, err := r.Receive(v.ctx, nil)
	v.must(err)
	v.must(r.AcceptMessage(v.ctx, m))
	v.must(r.IssueCredit(5))
	m, err = r.Receive(v.ctx, nil)
	v.must(err)
	if string(m.GetData()) != "b" {
		v.t.Errorf("got %q", m.GetData())
	}
	v.must(r.AcceptMessage(v.ctx, m))
	v.must(r.DrainCredit(v.ctx, nil))
	v.must(r.Close(v.ctx))
}

func (v *visitor) methods() {
	v.t.Helper()
	const address = "/devices/dev1/methods/devicebound"
	r, s := v.receiver(address, &goamqp.ReceiverOptions{Credit: 10}), v.sender(address, nil)
	answered := make(chan called, 1)
	go func() {
		res, err := v.s.hub.Invoke(v.ctx, v.s.dev, causeway.Call{Method: "reboot", Payload: []byte(`{"in":5}`)}, 0, 20*time.Second)
		answered <- called{res, err}
	}()
	m, err := r.Receive(v.ctx, nil)
	v.must(err)
	if m.ApplicationProperties["IoThub-methodname"] != "reboot" || string(m.GetData()) != `{"in":5}` {
		v.t.Errorf("called with %v %s", m.ApplicationProperties, m.GetData())
	}
	v.must(r.AcceptMessage(v.ctx, m))
	v.must(s.Send(v.ctx, &goamqp.Message{
		Properties:            &goamqp.MessageProperties{CorrelationID: m.Properties.CorrelationID},
		ApplicationProperties: map[string]any{"IoThub-status": int32(202)},
		Data:                  [][]byte{[]byte(`"ok"`)},
	}, nil))
	if a := <-answered; a.err != nil || a.result.Status != 202 || string(a.result.Payload) != `"ok"` {
		v.t.Errorf("%+v %v", a.result, a.err)
	}
	v.must(r.Close(v.ctx))
	v.must(s.Close(v.ctx))
}

func (v *visitor) twin() {
	v.t.Helper()
	r, s := v.receiver("/devices/dev1/twin", &goamqp.ReceiverOptions{Credit: 10}), v.sender("/devices/dev1/twin", nil)
	ask := func(operation, resource, body string) *goamqp.Message {
		v.t.Helper()
		a := goamqp.Annotations{"operation": operation}
		if resource != "" {
			a["resource"] = resource
		}
		v.must(s.Send(v.ctx, &goamqp.Message{
			Properties: &goamqp.MessageProperties{CorrelationID: operation}, Annotations: a, Data: [][]byte{[]byte(body)},
		}, nil))
		m, err := r.Receive(v.ctx, nil)
		v.must(err)
		v.must(r.AcceptMessage(v.ctx, m))
		if m.Properties.CorrelationID != operation {
			v.t.Errorf("%s: correlation %v", operation, m.Properties.CorrelationID)
		}
		return m
	}
	if m := ask("PUT", "/notifications/twin/properties/desired", " "); m.Annotations["status"] != int32(200) {
		v.t.Errorf("subscribe: %v", m.Annotations)
	}
	if m := ask("GET", "", " "); m.Annotations["status"] != int32(200) || string(m.GetData()) != `{"desired":{"$version":1},"reported":{"$version":1}}` {
		v.t.Errorf("get: %v %s", m.Annotations, m.GetData())
	}
	if m := ask("PATCH", "/properties/reported", `{"a":1}`); m.Annotations["status"] != int32(204) || m.Annotations["version"] != int64(2) {
		v.t.Errorf("patch: %v %s", m.Annotations, m.GetData())
	}
	if _, err := v.s.registry.UpdateTwin(v.ctx, v.s.dev, registry.TwinUpdate{Desired: []byte(`{"d":1}`)}, ""); err != nil {
		v.t.Fatal(err)
	}
	m, err := r.Receive(v.ctx, nil)
	v.must(err)
	if m.Annotations["resource"] != "/properties/desired" || m.Annotations["version"] != int64(2) || string(m.GetData()) != `{"d":1,"$version":2}` {
		v.t.Errorf("change: %v %s", m.Annotations, m.GetData())
	}
	v.must(r.AcceptMessage(v.ctx, m))
	v.must(r.Close(v.ctx))
	v.must(s.Close(v.ctx))
}
