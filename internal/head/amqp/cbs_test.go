package amqp_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TestPutToken is what becomes of tokens, and which links they let in.
func TestPutToken(t *testing.T) {
	dev1, dev2 := causeway.Identity{Device: "dev1"}, causeway.Identity{Device: "dev2"}
	mod := causeway.Identity{Device: "dev1", Module: "m1"}
	odd := causeway.Identity{Device: "a%20b#c"}
	for _, c := range []struct {
		name     string
		audience string
		token    func() string
		status   int
		in, out  []causeway.Identity // whose links are let in, and whose are not
	}{
		{"device", host + "/devices/dev1", func() string { return tokenOf(dev1, inAnHour()) }, 200, []causeway.Identity{dev1}, []causeway.Identity{dev2, mod}},
		{"device, as Node names it", url.QueryEscape(host + "/devices/dev1"), func() string { return tokenOf(dev1, inAnHour()) }, 200, []causeway.Identity{dev1}, nil},
		{"device, as a URI", "amqps://" + host + ":5671/devices/dev1", func() string { return tokenOf(dev1, inAnHour()) }, 200, []causeway.Identity{dev1}, nil},
		{"module", host + "/devices/dev1/modules/m1", func() string { return tokenOf(mod, inAnHour()) }, 200, []causeway.Identity{mod}, []causeway.Identity{dev1}},
		{"module, under the name of its device", host + "/devices/dev1", func() string { return tokenOf(mod, inAnHour()) }, 200, []causeway.Identity{mod}, []causeway.Identity{dev1}},
		{"device with an odd name", host + "/devices/" + url.PathEscape(odd.Device), func() string { return tokenOf(odd, inAnHour()) }, 200, []causeway.Identity{odd}, []causeway.Identity{dev1}},
		{"device with an odd name, escaped twice", host + "/devices/x", func() string {
			return sas.Sign(host+"/devices/"+url.PathEscape(odd.Device), keyOf(odd.Device), "", inAnHour())
		}, 200, []causeway.Identity{odd}, nil},
		{"on another name of the hub", "gateway.example/devices/dev1", func() string {
			return sas.Sign("gateway.example/devices/dev1", keyOf("dev1"), "", inAnHour())
		}, 200, []causeway.Identity{dev1}, nil},
		{"expired a moment ago", host + "/devices/dev1", func() string { return tokenOf(dev1, time.Now().Add(-time.Minute)) }, 200, []causeway.Identity{dev1}, nil},
		{"policy of the whole hub", host, func() string { return policyToken("device", "", inAnHour()) }, 200, []causeway.Identity{dev1, dev2, mod}, nil},
		{"policy, devices only", host + "/devices", func() string { return policyToken("device", "/devices", inAnHour()) }, 200, []causeway.Identity{dev1, mod}, nil},
		{"policy, one device", host + "/devices/dev1", func() string { return policyToken("device", "/devices/dev1", inAnHour()) }, 200, []causeway.Identity{dev1, mod}, []causeway.Identity{dev2}},
		{"policy without the right", host, func() string { return policyToken("service", "", inAnHour()) }, 200, nil, []causeway.Identity{dev1}},
		{"events endpoint, signed with the text of the key", "sb://" + host + "/hub", func() string {
			return sas.Sign("sb://"+host+"/hub", []byte(keyText("policy service")), "service", inAnHour())
		}, 200, nil, []causeway.Identity{dev1}},

		{"signed by another device", host + "/devices/dev1", func() string { return sas.Sign(host+"/devices/dev1", keyOf("dev2"), "", inAnHour()) }, 401, nil, []causeway.Identity{dev1}},
		{"expired", host + "/devices/dev1", func() string { return tokenOf(dev1, time.Now().Add(-6*time.Minute)) }, 401, nil, []causeway.Identity{dev1}},
		{"unknown device", host + "/devices/dev9", func() string { return tokenOf(causeway.Identity{Device: "dev9"}, inAnHour()) }, 401, nil, nil},
		{"of another hub", host + "/devices/dev1", func() string { return sas.Sign("other.example/devices/dev1", keyOf("dev1"), "", inAnHour()) }, 401, nil, []causeway.Identity{dev1}},
		{"for more than the device", host, func() string { return sas.Sign(host, keyOf("dev1"), "", inAnHour()) }, 401, nil, []causeway.Identity{dev1}},
		{"for a part of the device", host + "/devices/dev1", func() string { return sas.Sign(host+"/devices/dev1/messages", keyOf("dev1"), "", inAnHour()) }, 401, nil, []causeway.Identity{dev1}},
		{"unknown policy", host, func() string { return policyToken("nobody", "", inAnHour()) }, 401, nil, nil},
		{"wrong key of a policy", host, func() string { return sas.Sign(host, keyOf("policy service"), "device", inAnHour()) }, 401, nil, []causeway.Identity{dev1}},
		{"no token", host + "/devices/dev1", func() string { return "SharedAccessSignature" }, 401, nil, nil},
		{"empty token", host + "/devices/dev1", func() string { return "" }, 400, nil, nil},
		{"name that is none", "", func() string { return tokenOf(dev1, inAnHour()) }, 400, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.add(odd.Device, "")
				cl := w.dial()
				r := cl.tryPut(c.audience, c.token())
				if r.Status != c.status {
					t.Fatalf("status %d %s, want %d", r.Status, r.Description, c.status)
				}
				if !r.Correlation.Equal(codec.String("m-" + c.audience)) {
					t.Errorf("correlation %v", r.Correlation)
				}
				if c.status == 200 && r.Description != "OK" {
					t.Errorf("description %q", r.Description)
				}
				for _, id := range c.in {
					cl.telemetry(cl.out(hubamqp.KindTelemetry, id), "x")
				}
				for _, id := range c.out {
					_, err := cl.tryOut(hubamqp.DeviceAddress(hubamqp.KindTelemetry, id), wire.LinkConfig{}, hubamqp.LinkProperties{})
					if conditionOf(err) != hubamqp.Unauthorized {
						t.Errorf("a link of %s: %v", id, err)
					}
				}
			})
		})
	}
}

// TestPutTokenEchoesTypes: the correlation id of the reply has the type of the
// message id, whatever that is.
func TestPutTokenEchoesTypes(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		for _, id := range []codec.Value{
			codec.String("text"), codec.UUID([16]byte{1, 2, 3}), codec.Ulong(7), codec.Binary([]byte{1, 0}),
		} {
			r := cl.request(hubamqp.PutToken{
				MessageID: id, Type: hubamqp.TokenSAS, Name: host + "/devices/dev1", Token: causeway.Secret(tokenOf(w.dev1, inAnHour())),
			})
			if r.Status != 200 || !r.Correlation.Equal(id) {
				t.Errorf("%v: %d, correlation %v", id, r.Status, r.Correlation)
			}
		}
		r := cl.request(hubamqp.PutToken{MessageID: codec.String("j"), Type: hubamqp.TokenJWT, Name: host, Token: "x.y.z"})
		if r.Status != 401 || !strings.Contains(r.Description, "jwt") {
			t.Errorf("a token of another kind: %d %s", r.Status, r.Description)
		}
	})
}

// TestCBSOrder: links may come in any order, on sessions of their own, and with
// credit only later.
func TestCBSOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		ctx, cancel := cl.waiting()
		defer cancel()
		other, err := cl.c.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out, err := other.AttachSender(ctx, wire.LinkConfig{Target: "/$cbs"}, wire.SenderOptions{Handler: wire.Outcomes{}})
		if err != nil {
			t.Fatal(err)
		}
		put := func(id causeway.Identity, n uint64) {
			t.Helper()
			st, err := out.Deliver(ctx, wire.Transfer{Payload: hubamqp.AppendPutToken(nil, hubamqp.PutToken{
				MessageID: codec.Ulong(n), Type: hubamqp.TokenSAS, Name: "x/" + id.String(), Token: causeway.Secret(tokenOf(id, inAnHour())),
			})})
			if err != nil || st.Kind != codec.CodeAccepted {
				t.Fatal(st, err)
			}
		}
		put(w.dev1, 1)
		// Nobody hears the reply yet, but the token counts.
		cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
		foreign := &receiver{c: cl} // on another session than the request
		foreign.Receiver, err = cl.s.AttachReceiver(ctx, wire.LinkConfig{Source: "amqps://" + host + "/$cbs"}, wire.ReceiverOptions{Handler: &foreign.inbox})
		if err != nil {
			t.Fatal(err)
		}
		foreign.quiet(time.Second)
		foreign.Grant(1)
		cl.c.Push()
		want := func(r *receiver, n uint64) {
			t.Helper()
			p, err := hubamqp.DecodePutTokenResponse(r.next().Payload)
			if err != nil || p.Status != 200 || !p.Correlation.Equal(codec.Ulong(n)) {
				t.Errorf("%+v %v", p, err)
			}
		}
		want(foreign, 1)
		put(w.dev2, 2)
		put(w.mod, 3)
		own := &receiver{c: cl}
		own.Receiver, err = other.AttachReceiver(ctx, wire.LinkConfig{Source: "$cbs"}, wire.ReceiverOptions{Handler: &own.inbox, Credit: 5})
		if err != nil {
			t.Fatal(err)
		}
		want(own, 2)
		want(own, 3)
		foreign.quiet(time.Second)
	})
}

// TestTooManyTokens is the bound of the tokens of a connection.
func TestTooManyTokens(t *testing.T) {
	withLimits(t, amqp.Limits{Tokens: 3}, func(t *testing.T, w *world) {
		cl := w.open(w.dev1, w.dev2)
		if r := cl.tryPut(host, policyToken("device", "", inAnHour())); r.Status != 200 {
			t.Fatal(r)
		}
		r := cl.tryPut(host+"/devices/dev1/modules/m1", tokenOf(w.mod, inAnHour()))
		if r.Status != 403 {
			t.Errorf("status %d %s", r.Status, r.Description)
		}
		if w.refused(amqp.ReasonTokens) != 1 {
			t.Error("not counted")
		}
		// Newer ones in place of others are taken.
		cl.put(w.dev1, inAnHour())
		if r := cl.tryPut(host, policyToken("owner", "", inAnHour())); r.Status != 200 {
			t.Error(r)
		}
	})
}

// TestManyRequests: replies that nobody takes are bounded.
func TestManyRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		ctx, cancel := cl.waiting()
		defer cancel()
		out, err := cl.s.AttachSender(ctx, wire.LinkConfig{Target: "$cbs"}, wire.SenderOptions{Handler: wire.Outcomes{}})
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]int{}
		for i := range 250 {
			states[cl.deliver(out, wire.Transfer{Payload: hubamqp.AppendPutToken(nil, hubamqp.PutToken{
				MessageID: codec.Ulong(uint64(i)), Type: hubamqp.TokenSAS, Name: fmt.Sprint(i), Token: "none",
			})})]++
		}
		if states["accepted"] != 200 || states["rejected "+hubamqp.Throttled] != 50 {
			t.Errorf("outcomes %v", states)
		}
	})
}

// TestManyLinksForReplies: links for replies are bounded, and those that were
// detached do not count.
func TestManyLinksForReplies(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		var links []*receiver
		for range 64 {
			r, err := cl.tryIn("$cbs", wire.LinkConfig{}, 1)
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, r)
		}
		if _, err := cl.tryIn("$cbs", wire.LinkConfig{}, 1); conditionOf(err) != wire.ResourceLimitExceeded {
			t.Errorf("one link too many: %v", err)
		}
		if n := w.refused(amqp.ReasonLinkRefused); n != 1 {
			t.Errorf("counted %d times", n)
		}
		links[7].Close(nil)
		if _, err := cl.tryIn("$cbs", wire.LinkConfig{}, 1); err != nil {
			t.Errorf("after one was detached: %v", err)
		}
	})
}

// TestRenewal: a newer token extends the session of its identity, and only that.
func TestRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		for _, id := range []causeway.Identity{w.dev1, w.dev2, w.mod} {
			cl.put(id, soon)
		}
		links := map[causeway.Identity]*receiver{}
		for _, id := range []causeway.Identity{w.dev1, w.dev2, w.mod} {
			links[id] = cl.in(hubamqp.KindCommands, id, 10)
		}
		events := cl.out(hubamqp.KindTelemetry, w.dev2)
		time.Sleep(9 * time.Minute) //nolint:forbidigo // simulated time
		cl.put(w.dev1, soon.Add(time.Hour))
		if r := cl.tryPut(hubamqp.AudienceOf(host, w.mod), sas.Sign(host+"/devices/dev1/modules/m1", keyOf("wrong"), "", soon.Add(time.Hour))); r.Status != 401 {
			t.Errorf("a wrong token in place of a good one: %d", r.Status)
		}
		for _, id := range []causeway.Identity{w.dev2, w.mod} {
			if got := links[id].ended(); got != hubamqp.Unauthorized {
				t.Errorf("links of %s ended with %s", id, got)
			}
		}
		if d := time.Until(soon); d > 0 || d < -time.Second {
			t.Errorf("%v before the expiry", d)
		}
		if got := cl.deliver(events, event("late")); got != "error "+hubamqp.Unauthorized {
			t.Errorf("telemetry after the expiry: %s", got)
		}
		links[w.dev1].quiet(time.Minute)
		cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "x")
		// The expired token does not open links again; a new one does.
		if _, err := cl.tryOut(hubamqp.DeviceAddress(hubamqp.KindTelemetry, w.dev2), wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.Unauthorized {
			t.Errorf("attach with an expired token: %v", err)
		}
		cl.put(w.dev2, inAnHour())
		cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev2), "y")
	})
}

// TestRenewalByPolicy: the token of a policy extends all sessions that rest on
// the one before it.
func TestRenewalByPolicy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.dial()
		soon := time.Now().Add(10 * time.Minute)
		if r := cl.tryPut(host, policyToken("device", "", soon)); r.Status != 200 {
			t.Fatal(r)
		}
		cl.put(w.mod, soon.Add(time.Minute)) // has a token of its own
		one, two, three := cl.in(hubamqp.KindCommands, w.dev1, 1), cl.in(hubamqp.KindCommands, w.dev2, 1), cl.in(hubamqp.KindCommands, w.mod, 1)
		// A token for another audience extends nothing.
		if r := cl.tryPut(host+"/devices", policyToken("device", "/devices", soon.Add(time.Hour))); r.Status != 200 {
			t.Fatal(r)
		}
		time.Sleep(5 * time.Minute) //nolint:forbidigo // simulated time
		if r := cl.tryPut("amqps://"+host+":5671/", policyToken("device", "/devices/dev1", soon.Add(time.Hour))); r.Status != 200 {
			t.Fatal(r)
		}
		if got := two.ended(); got != hubamqp.Unauthorized {
			t.Errorf("links that the new token does not cover ended with %s", got)
		}
		three.ended()
		one.quiet(30 * time.Minute)
		synctest.Wait()
		if !w.hub.Connected(t, w.dev1) || w.hub.Connected(t, w.dev2) || w.hub.Connected(t, w.mod) {
			t.Error("not who should be connected")
		}
	})
}

// TestCBSLinksEnd: a client that ends its links to $cbs hears so, whatever it says
// at the same time: some wait for a minute else.
func TestCBSLinksEnd(t *testing.T) {
	in := &codec.Attach{Name: "in", Handle: 0, Role: codec.Receiver, Source: &codec.Source{Address: codec.Some("$cbs")}, Target: &codec.Target{}}
	out := &codec.Attach{Name: "out", Handle: 1, Source: &codec.Source{}, Target: &codec.Target{Address: codec.Some("$cbs")}, InitialDeliveryCount: codec.Some(uint32(0))}
	first, second := &codec.Detach{Handle: 0, Closed: true}, &codec.Detach{Handle: 1, Closed: true}
	for name, said := range map[string][]codec.Performative{
		"attached and detached at once":       {in, out, first, second},
		"and attached anew":                   {in, out, first, second, in, out, first, second},
		"with the end of the session":         {in, out, first, second, &codec.End{}},
		"with the end of the connection":      {in, out, first, second, &codec.End{}, &codec.Close{}},
		"one and the session with the other":  {in, out, second, first, &codec.End{}, &codec.Close{}},
		"with the end of the connection only": {in, out, first, second, &codec.Close{}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.raw()
				c.hello()
				c.send(said...)
				for _, want := range said {
					switch want := want.(type) {
					case *codec.Attach:
						if got := expect[*codec.Attach](c); got.Name != want.Name {
							t.Errorf("attach of %q, want %q", got.Name, want.Name)
						}
					case *codec.Detach:
						if got := expect[*codec.Detach](c); got.Handle != want.Handle || got.Error != nil || !got.Closed {
							t.Errorf("%+v, want handle %d", got, want.Handle)
						}
					case *codec.End:
						expect[*codec.End](c)
					case *codec.Close:
						expect[*codec.Close](c)
						c.closed()
					}
				}
				_ = c.nc.Close()
			})
		})
	}
}
