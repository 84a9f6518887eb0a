package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestConnectSaysWhoItIs(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		o := b.options()
		o.ModelID, o.Product = "dtmi:com:example:Pump;1", "tester"
		var p *peer
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		c := p.connect
		if c.ClientID != "d1" || c.CleanStart || c.KeepAlive != 240 {
			t.Errorf("CONNECT: %+v", c)
		}
		if want := "hub.example/d1/?api-version=2021-04-12&DeviceClientType=tester&model-id=dtmi%3Acom%3Aexample%3APump%3B1"; c.UserName != want {
			t.Errorf("user name %s\nwant      %s", c.UserName, want)
		}
		token, err := sas.Parse(c.Password)
		if err != nil || token.Resource != "hub.example/devices/d1" || !token.Verify([]byte("0123456789abcdef")) {
			t.Errorf("token %+v, %v", token, err)
		}
		if want := time.Now().Add(time.Hour); token.Expiry.Sub(want).Abs() > time.Second {
			t.Errorf("token expires %v, want %v", token.Expiry, want)
		}
		p.quiet() // who listens to nothing subscribes to nothing
		if !d.Connected() || d.Host() != "hub.example" || d.Identity() != (causeway.Identity{Device: "d1"}) {
			t.Errorf("device is %v on %s, connected %v", d.Identity(), d.Host(), d.Connected())
		}
	})
}

func TestConnectRefused(t *testing.T) {
	for code, want := range map[mqtt.Reason]causeway.Code{
		mqtt.RefusedVersion:      causeway.InvalidProtocolVersion,
		mqtt.RefusedClientID:     causeway.IotHubUnauthorized,
		mqtt.RefusedUnavailable:  causeway.ServerBusy,
		mqtt.RefusedUserName:     causeway.IotHubUnauthorized,
		mqtt.RefusedUnauthorized: causeway.IotHubUnauthorized,
	} {
		in(t, func(t *testing.T, b *broker) {
			done := make(chan error)
			go func() {
				_, err := client.Connect(t.Context(), b.options())
				done <- err
			}()
			b.accept(code).closed()
			if err := <-done; causeway.CodeOf(err) != want {
				t.Errorf("code %d: %v, want %v", code, err, want)
			}
		})
	}
}

func TestConnectionStrings(t *testing.T) {
	for text, want := range map[string]string{
		"": "connection string",
		"HostName=h;SharedAccessKey=YQ==;SharedAccessKeyName=owner": "DeviceId is missing",
		"HostName=h;DeviceId=d;SharedAccessKey=%%":                  "base64",
		"HostName=h;DeviceId=d;x509=true":                           "no certificate was given",
	} {
		_, err := client.Connect(t.Context(), client.DeviceOptions{ConnectionString: text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestSendWaitsForTheAcknowledgement(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		d := b.dial(b.options(), func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		done := make(chan error, 1)
		go func() {
			done <- d.Send(t.Context(), &causeway.Message{
				Body: []byte("hello"), ContentType: "application/json", Properties: []causeway.Property{{Key: "a b", Value: "ä"}},
			})
		}()
		m := next[*mqtt.Publish](p)
		if m.Topic != "devices/d1/messages/events/%24.ct=application%2Fjson&a%20b=%C3%A4" || string(m.Payload) != "hello" || m.QoS != 1 || m.Dup {
			t.Errorf("PUBLISH %+v", m)
		}
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("Send did not wait")
		}
		p.ack(m.ID + 1) // somebody else's
		p.ack(m.ID)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSendBoundsWhatIsInFlight(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		o := b.options()
		o.InFlight = 2
		var p *peer
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		acked := make(chan error, 3)
		for range 2 {
			if err := d.SendAsync(t.Context(), &causeway.Message{}, func(err error) { acked <- err }); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.SendAsync(ctx, &causeway.Message{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a third one: %v", err)
		}
		first := next[*mqtt.Publish](p)
		p.ack(first.ID)
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		if err := d.SendAsync(t.Context(), &causeway.Message{}, nil); err != nil {
			t.Fatal(err)
		}
		p.ack(next[*mqtt.Publish](p).ID)
		p.ack(next[*mqtt.Publish](p).ID)
		if err := d.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Two that wait for the same messages do not wait for each other.
func TestFlushTogether(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		o := b.options()
		o.InFlight = 2
		var p *peer
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		for range 2 {
			if err := d.SendAsync(t.Context(), &causeway.Message{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		flushed := make(chan error, 2)
		for range 2 {
			go func() { flushed <- d.Flush(ctx) }()
		}
		synctest.Wait()
		for range 2 {
			p.ack(next[*mqtt.Publish](p).ID)
			synctest.Wait()
		}
		for range 2 {
			if err := <-flushed; err != nil {
				t.Error(err)
			}
		}
	})
}

// Who has waited in vain is told that the device is not connected, and why.
func TestSendSaysWhyItIsOffline(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		d := b.dial(b.options(), func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		wait := func(f func(context.Context) error) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return f(ctx)
		}
		send := func(ctx context.Context) error { return d.Send(ctx, &causeway.Message{}) }
		if err := wait(send); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrOffline) {
			t.Errorf("connected, and not acknowledged: %v", err)
		}
		b.fail = true
		p.conn.Close()
		for what, f := range map[string]func(context.Context) error{"send": send, "flush": d.Flush} {
			if err := wait(f); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrOffline) || !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func TestUnacknowledgedIsSentAgainInOrder(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var events []string
		o := b.options()
		o.Online = func(err error) {
			if err == nil {
				events = append(events, "online")
			} else {
				events = append(events, "offline")
			}
		}
		var p *peer
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		results := make(chan string, 10)
		for i := range 3 {
			err := d.SendAsync(t.Context(), &causeway.Message{Body: fmt.Append(nil, i)}, func(err error) { results <- fmt.Sprint(i, err) })
			if err != nil {
				t.Fatal(err)
			}
		}
		one := next[*mqtt.Publish](p)
		next[*mqtt.Publish](p)
		next[*mqtt.Publish](p)
		p.ack(one.ID)
		if got := <-results; got != "0 <nil>" {
			t.Fatal(got)
		}
		p.conn.Close()
		p = b.accept(mqtt.Accepted)
		for i, want := range []string{"1", "2"} {
			m := next[*mqtt.Publish](p)
			if string(m.Payload) != want || !m.Dup {
				t.Errorf("resent %d: %q, dup %v; want %q", i, m.Payload, m.Dup, want)
			}
			p.ack(m.ID)
		}
		if got := []string{<-results, <-results}; !slices.Equal(got, []string{"1 <nil>", "2 <nil>"}) {
			t.Errorf("results %v", got)
		}
		synctest.Wait()
		if !slices.Equal(events, []string{"online", "offline", "online"}) {
			t.Errorf("told %v", events)
		}
	})
}

func TestReconnectBacksOff(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		o := b.options()
		o.MaxBackOff = 4 * time.Second
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		var waits []time.Duration
		for range 8 {
			p.conn.Close()
			began := time.Now()
			p = b.accept(mqtt.Accepted)
			waits = append(waits, time.Since(began))
		}
		if waits[0] > 400*time.Millisecond || waits[7] < 2*time.Second || waits[7] > 6*time.Second {
			t.Errorf("waits %v do not grow to about 4 s", waits)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time; a connection that lasts ends the back-off
		p.conn.Close()
		began := time.Now()
		p = b.accept(mqtt.Accepted)
		if w := time.Since(began); w > 400*time.Millisecond {
			t.Errorf("waited %v after a long connection", w)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		o := b.options()
		o.KeepAlive = time.Minute
		var p *peer
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		for range 3 {
			began := time.Now()
			next[*mqtt.Ping](p)
			if w := time.Since(began); w > 46*time.Second {
				t.Errorf("pinged after %v", w)
			}
			p.send(&mqtt.Ping{Response: true})
		}
		next[*mqtt.Ping](p) // not answered: the connection is given up
		p.closed()
		p = b.accept(mqtt.Accepted)
	})
}

func TestTokenIsRenewed(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		o := b.options()
		o.TokenLifetime, o.KeepAlive = 10*time.Minute, 15*time.Minute
		var p *peer
		offline := 0
		o.Online = func(err error) {
			if err != nil {
				offline++
			}
		}
		d := b.dial(o, func() { p = b.accept(mqtt.Accepted) })
		defer d.Close()
		first, err := sas.Parse(p.connect.Password)
		if err != nil {
			t.Fatal(err)
		}
		p.closed()
		p = b.accept(mqtt.Accepted)
		second, err := sas.Parse(p.connect.Password)
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(first.Expiry); left < time.Minute || left > 2*time.Minute || !second.Expiry.After(first.Expiry) {
			t.Errorf("renewed %v before the end, new end %v", left, second.Expiry)
		}
		if offline != 0 {
			t.Error("a renewal was told as a loss")
		}
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		d := b.dial(b.options(), func() { p = b.accept(mqtt.Accepted) })
		lost := make(chan error, 1)
		if err := d.SendAsync(t.Context(), &causeway.Message{}, func(err error) { lost <- err }); err != nil {
			t.Fatal(err)
		}
		next[*mqtt.Publish](p)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		next[*mqtt.Disconnect](p)
		if err := <-lost; !errors.Is(err, client.ErrClosed) {
			t.Errorf("unacknowledged message: %v", err)
		}
		if err := d.Send(t.Context(), &causeway.Message{}); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		if err := d.Post(t.Context(), &causeway.Message{}); !errors.Is(err, client.ErrOffline) {
			t.Errorf("Post after Close: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseWhileOffline(t *testing.T) {
	in(t, func(t *testing.T, b *broker) {
		var p *peer
		d := b.dial(b.options(), func() { p = b.accept(mqtt.Accepted) })
		synctest.Wait()
		b.fail = true
		p.conn.Close()
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		if d.Connected() {
			t.Error("still connected")
		}
		if _, err := d.Twin(t.Context()); !errors.Is(err, client.ErrOffline) {
			t.Errorf("Twin: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
