package amqp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	sink "github.com/causeway-iot/causeway/connector/amqp"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestSends(t *testing.T) {
	b := newBroker(t)
	s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "orders", User: "u", Password: "p"})
	for i := range 3 {
		if err := s.Send(t.Context(), batch(i*500, 500)); err != nil {
			t.Fatal(err)
		}
	}
	got := b.messages()
	if len(got) != 1500 || b.opened != 1 || b.login != "|u|p" {
		t.Fatalf("%d messages on %d connections as %q", len(got), b.opened, b.login)
	}
	for i, e := range got {
		if string(e.Message.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, e.Message.Body)
		}
	}
	m := got[0].Message
	source, _ := m.Property("iothub-message-source")
	var raw codec.Message
	if err := raw.Decode(b.first); err != nil {
		t.Fatal(err)
	}
	v, _ := raw.ApplicationProperties.Lookup("iothub-connection-device-id")
	device, _ := v.Text()
	if m.From.Device != "d" || got[0].PartitionKey != "d" || source != causeway.SourceTelemetry || device != "d" || m.Source != causeway.SourceTelemetry {
		t.Errorf("%+v", got[0])
	}
	// A connection that is lost is made again.
	b.drop()
	var err error
	for range 3 { // it may not know at once
		if err = s.Send(t.Context(), batch(0, 10)); err == nil {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestConcurrent(t *testing.T) {
	b := newBroker(t)
	s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "orders"})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if err := s.Send(t.Context(), batch(0, 20)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(b.messages()); n != 8*20*20 || b.opened != 1 {
		t.Errorf("%d messages on %d connections", n, b.opened)
	}
}

func TestOutcomes(t *testing.T) {
	for _, row := range []struct {
		name      string
		state     codec.State
		permanent bool
	}{
		{"rejected", codec.Rejected(nil), true},
		{"rejected as malformed", codec.Rejected(amqp.Refuse(amqp.DecodeError, "x")), true},
		{"rejected for want of room", codec.Rejected(amqp.Refuse(amqp.ResourceLimitExceeded, "full")), false},
		{"rejected for an error within", codec.Rejected(amqp.Refuse(amqp.InternalError, "x")), false},
		{"released", codec.Released(), false},
		{"modified", codec.State{Kind: codec.CodeModified, DeliveryFailed: true}, false},
		{"modified, never here", codec.State{Kind: codec.CodeModified, UndeliverableHere: true}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBroker(t)
			b.outcome = func(n int) codec.State {
				if n == 3 {
					return row.state
				}
				return codec.Accepted()
			}
			s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "orders"})
			f := plugin.FailureOf(s.Send(t.Context(), batch(0, 6)))
			if f.Err == nil || f.Sent != 3 || f.Permanent != row.permanent || f.Exact != row.permanent {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	b := newBroker(t)
	s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "orders"})
	m := batch(0, 1)
	m[0].Body = make([]byte, 200_000)
	if f := plugin.FailureOf(s.Send(t.Context(), m)); !f.Permanent || !f.Exact {
		t.Errorf("%+v", f)
	}
	if err := s.Send(t.Context(), batch(0, 1)); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestToken(t *testing.T) {
	b := newBroker(t)
	b.want = "token"
	host, port, _ := strings.Cut(b.addr, ":")
	text := "Endpoint=sb://" + host + ":" + port + "/;SharedAccessKeyName=send;SharedAccessKey=a2V5;EntityPath=orders;UseDevelopmentEmulator=true"
	s := open(t, sink.Config{ConnectionString: causeway.Secret(text)})
	if err := s.Send(t.Context(), batch(0, 10)); err != nil {
		t.Fatal(err)
	}
	if len(b.names) != 1 || b.names[0] != "sb://"+host+"/orders" || !strings.Contains(b.tokens[0], "skn=send") || !strings.Contains(b.tokens[0], url.QueryEscape("sb://"+host+"/orders")) {
		t.Errorf("%v %v", b.names, b.tokens)
	}
	b.mu.Lock()
	b.want = "refuse"
	b.mu.Unlock()
	s = open(t, sink.Config{ConnectionString: causeway.Secret(text)})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent || !strings.Contains(f.Error(), "401") {
		t.Errorf("%+v", f)
	}
}

func TestUnreachable(t *testing.T) {
	b := newBroker(t)
	s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "cellar"})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent || !strings.Contains(f.Error(), "cellar") {
		t.Errorf("%+v", f)
	}
	s = open(t, sink.Config{URL: "amqps://" + b.addr, Address: "orders"})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent {
		t.Errorf("TLS with who has none: %+v", f)
	}
	s = open(t, sink.Config{URL: "amqp://127.0.0.1:1", Address: "orders"})
	if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent {
		t.Errorf("nobody there: %+v", f)
	}
	if err := s.Send(ended(), batch(0, 1)); err == nil {
		t.Error("sent with a context that has ended")
	}
	_ = s.Close()
	if err := s.Send(t.Context(), batch(0, 1)); err == nil {
		t.Error("sent after Close")
	}
}

// A broker that takes messages and says nothing of them does not hold up a sink
// for longer than its context.
func TestSilent(t *testing.T) {
	b := newBroker(t)
	b.silent = true
	s := open(t, sink.Config{URL: "amqp://" + b.addr, Address: "orders"})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, batch(0, 1)); err == nil {
		t.Error("nothing was accepted")
	}
	b.mu.Lock()
	b.silent = false
	b.mu.Unlock()
	if err := s.Send(t.Context(), batch(0, 1)); err != nil {
		t.Error(err)
	}
}

var badInput = []struct{ name, settings, says string }{
	{"AMQP endpoint without a broker", `{"address":"q"}`, "url and connectionString"},
	{"AMQP endpoint with two brokers", `{"url":"amqp://x","connectionString":"y","address":"q"}`, "url and connectionString"},
	{"AMQP endpoint with a url of another scheme", `{"url":"https://x","address":"q"}`, "amqps://"},
	{"AMQP endpoint with a user in its url", `{"url":"amqp://u:p@x","address":"q"}`, "user and password"},
	{"AMQP endpoint without an address", `{"url":"amqp://x"}`, `"address" is missing`},
	{"AMQP endpoint with a user without password", `{"url":"amqp://x","address":"q","user":"u"}`, "go together"},
	{"AMQP endpoint with batches of none", `{"url":"amqp://x","address":"q","batch":0}`, "1 to 1000"},
	{"AMQP endpoint with a connection string without an endpoint", `{"connectionString":"SharedAccessKeyName=a;SharedAccessKey=b","address":"q"}`, "Endpoint=sb://"},
	{"AMQP endpoint with a connection string without a key", `{"connectionString":"Endpoint=sb://x/","address":"q"}`, "SharedAccessKey"},
	{"AMQP endpoint with a connection string and a user", `{"connectionString":"Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey=b","address":"q","user":"u"}`, "do not go together"},
}

func TestBadInput(t *testing.T) {
	r := &plugin.Registry{}
	plugin.AddSink(r, "amqp", "", sink.New)
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check("amqp", json.RawMessage(row.settings), nil); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}
