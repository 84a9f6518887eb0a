package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	sink "github.com/causeway-iot/causeway/connector/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/plugin/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a server that answers as it is told.
type broker struct {
	addr string

	mu      sync.Mutex
	hello   mqtt.Connect
	connack mqtt.Connack
	reason  func(n int) mqtt.Reason // of message n, from 0
	silent  bool
	got     []mqtt.Publish
	opened  int
	conns   map[net.Conn]struct{}
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{addr: l.Addr().String(), conns: map[net.Conn]struct{}{}, reason: func(int) mqtt.Reason { return 0 }}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[nc] = struct{}{}
			b.opened++
			b.mu.Unlock()
			all.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.drop()
		all.Wait()
	})
	return b
}

func (b *broker) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nc := range b.conns {
		_ = nc.Close()
	}
}

func (b *broker) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	r := mqtt.NewReader(nc, 0, 1<<20)
	for {
		p, err := r.Packet()
		if err != nil {
			return
		}
		var out []byte
		switch p := p.(type) {
		case *mqtt.Connect:
			r.Version = p.Version
			b.mu.Lock()
			b.hello = *p
			out, _ = b.connack.Append(nil, p.Version)
			b.mu.Unlock()
		case *mqtt.Publish:
			b.mu.Lock()
			n := len(b.got)
			b.got = append(b.got, *p)
			silent := b.silent
			b.mu.Unlock()
			if !silent {
				ack := mqtt.Ack{Kind: mqtt.PUBACK, ID: p.ID, Reason: b.reason(n)}
				out, _ = ack.Append(nil, r.Version)
			}
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func open(t *testing.T, settings map[string]any) plugin.Sink {
	t.Helper()
	return plugintest.Open(t, sink.New, settings, nil, plugin.Env{Hub: "plant", Endpoint: "out"})
}

func batch(first, n int) []causeway.Message {
	var all []causeway.Message
	for i := range n {
		all = append(all, causeway.Message{
			From: causeway.Identity{Hub: "plant", Device: "a+b"}, Body: fmt.Append(nil, first+i), Source: causeway.SourceTelemetry,
			ContentType: "text/plain", Properties: []causeway.Property{{Key: "k", Value: "v"}},
		})
	}
	return all
}

func TestPublishes(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		b := newBroker(t)
		s := open(t, map[string]any{"url": "mqtt://" + b.addr, "version": version, "topic": "from/{hub}/{deviceId}/{source}", "user": "u", "password": "p"})
		for i := range 5 {
			if err := s.Send(t.Context(), batch(i*300, 300)); err != nil {
				t.Fatal(err)
			}
		}
		b.mu.Lock()
		if len(b.got) != 1500 || b.opened != 1 || b.hello.UserName != "u" || b.hello.Password != "p" || b.hello.ClientID != "causeway-plant-out" {
			t.Errorf("%d messages on %d connections, %+v", len(b.got), b.opened, b.hello)
		}
		for i, p := range b.got {
			if string(p.Payload) != fmt.Sprint(i) || p.Topic != "from/plant/a%2Bb/Telemetry" || p.QoS != 1 {
				t.Fatalf("message %d: %+v", i, p)
			}
		}
		k, _ := b.got[0].Properties.User("k")
		device, _ := b.got[0].Properties.User("iothub-connection-device-id")
		ct, _ := b.got[0].Properties.Text(mqtt.ContentType)
		if version == "5" && (k != "v" || device != "a+b" || ct != "text/plain") {
			t.Errorf("properties %+v", b.got[0].Properties)
		}
		b.mu.Unlock()
		// A connection that is lost is made again.
		b.drop()
		var err error
		for range 3 { // it may not know at once
			if err = s.Send(t.Context(), batch(0, 3)); err == nil {
				break
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func TestRecords(t *testing.T) {
	b := newBroker(t)
	s := open(t, map[string]any{"url": "mqtt://" + b.addr, "payload": "record"})
	if err := s.Send(t.Context(), batch(0, 1)); err != nil {
		t.Fatal(err)
	}
	var r struct{ Properties map[string]string }
	if err := json.Unmarshal(b.got[0].Payload, &r); err != nil || r.Properties["k"] != "v" {
		t.Errorf("%s: %v", b.got[0].Payload, err)
	}
}

func TestReasons(t *testing.T) {
	for reason, permanent := range map[mqtt.Reason]bool{
		mqtt.QuotaExceeded: false, mqtt.NotAuthorized: false, mqtt.UnspecifiedError: false, mqtt.PayloadFormatInvalid: true, mqtt.TopicNameInvalid: true,
	} {
		b := newBroker(t)
		b.reason = func(n int) mqtt.Reason { return map[bool]mqtt.Reason{true: reason}[n == 3] }
		s := open(t, map[string]any{"url": "mqtt://" + b.addr})
		if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 6))); f.Err == nil || f.Sent != 3 || f.Permanent != permanent {
			t.Errorf("%#x: %+v", byte(reason), f)
		}
	}
	b := newBroker(t)
	b.reason = func(int) mqtt.Reason { return mqtt.NoMatchingSubscribers }
	if err := open(t, map[string]any{"url": "mqtt://" + b.addr}).Send(t.Context(), batch(0, 2)); err != nil {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestLimitsOfTheBroker(t *testing.T) {
	b := newBroker(t)
	b.connack.Properties = mqtt.Properties{{ID: mqtt.ReceiveMaximum, Num: 2}, {ID: mqtt.MaximumPacketSize, Num: 1000}}
	s := open(t, map[string]any{"url": "mqtt://" + b.addr})
	if err := s.Send(t.Context(), batch(0, 50)); err != nil {
		t.Fatal(err)
	}
	m := batch(50, 5)
	m[3].Body = make([]byte, 2000)
	if f := plugin.FailureOf(s.Send(t.Context(), m)); f.Sent != 3 || !f.Permanent || !f.Exact {
		t.Errorf("%+v", f)
	}
	if err := s.Send(t.Context(), batch(54, 2)); err != nil {
		t.Error(err)
	}
	if len(b.got) != 55 {
		t.Errorf("%d messages", len(b.got))
	}
	b.connack.Properties = mqtt.Properties{{ID: mqtt.MaximumQoS, Num: 0}}
	if err := open(t, map[string]any{"url": "mqtt://" + b.addr}).Send(t.Context(), batch(0, 1)); err == nil || !strings.Contains(err.Error(), "QoS 1") {
		t.Errorf("%v", err)
	}
	b.connack = mqtt.Connack{Code: mqtt.BadUserNameOrPassword}
	if err := open(t, map[string]any{"url": "mqtt://" + b.addr}).Send(t.Context(), batch(0, 1)); err == nil || !strings.Contains(err.Error(), "0x86") {
		t.Errorf("%v", err)
	}
}

func TestSilent(t *testing.T) {
	b := newBroker(t)
	b.silent = true
	s := open(t, map[string]any{"url": "mqtt://" + b.addr})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, batch(0, 2)); err == nil {
		t.Error("nothing was acknowledged")
	}
	b.mu.Lock()
	b.silent = false
	b.mu.Unlock()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				if err := s.Send(t.Context(), batch(0, 40)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestUnreachable(t *testing.T) {
	s := open(t, map[string]any{"url": "mqtt://127.0.0.1:1"})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent {
		t.Errorf("%+v", f)
	}
	b := newBroker(t)
	s = open(t, map[string]any{"url": "mqtts://" + b.addr})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent {
		t.Errorf("%+v", f)
	}
	_ = s.Close()
	if err := s.Send(t.Context(), batch(0, 1)); err == nil {
		t.Error("sent after Close")
	}
}

var badInput = []struct{ name, settings, says string }{
	{"MQTT endpoint without a url", `{}`, `"url" is missing`},
	{"MQTT endpoint with a url of another scheme", `{"url":"tcp://x"}`, "mqtts://"},
	{"MQTT endpoint with a user in its url", `{"url":"mqtt://u:p@x"}`, "user and password"},
	{"MQTT endpoint with a wildcard in its topic", `{"url":"mqtt://x","topic":"a/#"}`, "topic name"},
	{"MQTT endpoint with a topic of the broker", `{"url":"mqtt://x","topic":"$SYS/a"}`, "begin with $"},
	{"MQTT endpoint with an unknown part in its topic", `{"url":"mqtt://x","topic":"a/{b}"}`, "{deviceId}"},
	{"MQTT endpoint with an unknown version", `{"url":"mqtt://x","version":"4"}`, "5 or 3.1.1"},
	{"MQTT endpoint with batches of none", `{"url":"mqtt://x","batch":0}`, "1 to 1000"},
	{"MQTT endpoint with a password and no user", `{"url":"mqtt://x","password":"p"}`, "needs a user"},
	{"MQTT endpoint with an authority that is none", `{"url":"mqtts://x","caCertificates":"p"}`, "PEM"},
}

func TestBadInput(t *testing.T) {
	r := &plugin.Registry{}
	plugin.AddSink(r, "mqtt", "", sink.New)
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check("mqtt", json.RawMessage(row.settings), nil); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}
