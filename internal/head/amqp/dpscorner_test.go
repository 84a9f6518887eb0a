package amqp_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// provisioner is one that does as it is told.
type provisioner struct {
	mu       sync.Mutex
	seen     []causeway.Registration
	register func(ctx context.Context, r causeway.Registration) (causeway.Operation, error)
	lookup   func(r causeway.Registration, operation string) (causeway.Operation, error)
}

func (p *provisioner) Register(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
	p.mu.Lock()
	p.seen = append(p.seen, r)
	p.mu.Unlock()
	if p.register != nil {
		return p.register(ctx, r)
	}
	return causeway.Operation{ID: "5.a", Registration: r.ID, Status: "assigning", RetryAfter: 1500 * time.Millisecond}, nil
}

func (p *provisioner) Lookup(_ context.Context, r causeway.Registration, operation string) (causeway.Operation, error) {
	if p.lookup != nil {
		return p.lookup(r, operation)
	}
	if operation == "" {
		return causeway.Operation{}, causeway.Errorf(404202, "test", "no operation")
	}
	return causeway.Operation{ID: operation, Registration: r.ID, Status: "assigned", Hub: "h", Device: "d"}, nil
}

func (p *provisioner) Challenge(context.Context, causeway.Registration) (causeway.TPMChallenge, error) {
	return causeway.TPMChallenge{}, causeway.Errorf(401002, "test", "Unauthorized")
}

// provisioned runs f in a bubble with p behind the head.
func withProvisioner(t *testing.T, p *provisioner, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, amqp.Limits{})
		w.server.Provisioner = p
		w.start()
		defer w.close()
		f(t, w)
	})
}

const registrationAddress = "scope/registrations/dev"

// dialDevice opens a connection of a device that looks for its hub.
func (w *world) dialDevice() *client {
	w.t.Helper()
	c, err := w.tryDial(wire.Config{SASL: wire.PlainSASL(registrationAddress, "token")})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) registrar() *registrar {
	w.t.Helper()
	g, err := w.dialDevice().attachRegistration(registrationAddress)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// TestRegistration is what the provisioner hears of a device.
func TestRegistration(t *testing.T) {
	p := &provisioner{}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		g := w.registrar()
		body := `{"registrationId":"DEV","payload":{"a":1},"csr":"AQI=","tpm":{"endorsementKey":"AQ==","storageRootKey":"Ag=="}}`
		if _, retry, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Register, Body: []byte(body)}); refused != nil || retry != 2 {
			t.Errorf("%+v, again after %d s", refused, retry)
		}
		r := p.seen[0]
		c := r.Credential
		if r.Scope != "scope" || r.ID != "dev" || string(r.Payload) != `{"a":1}` || string(r.CSR) != "\x01\x02" || string(r.EndorsementKey) != "\x01" || string(r.StorageRootKey) != "\x02" {
			t.Errorf("%+v", r)
		}
		if c.Host != host || c.Token != "token" || c.APIVersion != dpsVersion || c.ClientType != "test" || c.Transport != causeway.AMQP || c.RemoteAddr == "" {
			t.Errorf("%+v", c)
		}
		if v, retry, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.a"}); refused != nil || retry != 0 || v["status"] != "assigned" {
			t.Errorf("%v %+v, again after %d s", v, refused, retry)
		}
		g.close()
	})
}

// TestRegistrationsInOrder: clients that do not name their requests are answered in
// order, each at most once, and none before the registration is stored.
func TestRegistrationsInOrder(t *testing.T) {
	p := &provisioner{}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		release := make(chan struct{})
		p.register = func(_ context.Context, r causeway.Registration) (causeway.Operation, error) {
			<-release
			return causeway.Operation{ID: "5." + string(r.Payload), Registration: r.ID, Status: "assigning"}, nil
		}
		g := w.registrar()
		outcomes := make(chan string, 9)
		for i := range 4 {
			go func() {
				outcomes <- g.deliver(g.out, wire.Transfer{Payload: dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register, Body: fmt.Appendf(nil, `{"payload":%d}`, i)})})
			}()
			synctest.Wait()
		}
		if len(outcomes) != 0 {
			t.Error("a request is settled before it is dealt with")
		}
		if g.out.Credit() != 0 {
			t.Errorf("there is credit for %d more", g.out.Credit())
		}
		close(release)
		for i := range 4 {
			d := g.in.next()
			r, err := dpsamqp.DecodeReply(d.Payload)
			if want := fmt.Sprintf(`{"operationId":"5.%d"`, i); err != nil || len(r.Body) < len(want) || string(r.Body[:len(want)]) != want || !r.Correlation.IsNull() {
				t.Errorf("answer %d is %s, %v", i, r.Body, err)
			}
			g.in.settle(d, codec.Accepted())
			if got := <-outcomes; got != "accepted" {
				t.Errorf("request %d: %s", i, got)
			}
		}
		g.close()
	})
}

// TestUnnamedRegistrations: the SDK for Java must be waiting by the time that it hears
// what became of its request, refused or not.
func TestUnnamedRegistrations(t *testing.T) {
	p := &provisioner{}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		g := w.registrar()
		for _, c := range []struct {
			name    string
			request dpsamqp.Request
			want    time.Duration
		}{
			{"unnamed", dpsamqp.Request{Op: dpsamqp.Register}, 200 * time.Millisecond},
			{"unnamed, refused", dpsamqp.Request{Op: dpsamqp.Register, Body: []byte("{")}, 200 * time.Millisecond},
			{"named", dpsamqp.Request{Op: dpsamqp.Register, Correlation: codec.Ulong(1)}, 0},
		} {
			begin := time.Now()
			g.deliver(g.out, wire.Transfer{Payload: dpsamqp.AppendRequest(nil, c.request)})
			if d := time.Since(begin); d != c.want {
				t.Errorf("%s: after %v, want %v", c.name, d, c.want)
			}
		}
		g.close()
	})
}

// TestSettledRegistrations: who settles its own requests hears of errors in the
// answer, and cannot have more of them waiting than others.
func TestSettledRegistrations(t *testing.T) {
	p := &provisioner{}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		release := make(chan struct{})
		p.register = func(context.Context, causeway.Registration) (causeway.Operation, error) {
			<-release
			return causeway.Operation{}, causeway.Errorf(400000, "test", "no")
		}
		g := w.registrar()
		for range 10 {
			ctx, cancel := g.waiting()
			if _, err := g.out.Send(ctx, wire.Transfer{Settled: true, Payload: dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register})}); err != nil {
				t.Fatal(err)
			}
			cancel()
			synctest.Wait()
		}
		close(release)
		for range 5 { // one is being dealt with, and four wait
			if r, err := dpsamqp.DecodeReply(g.in.next().Payload); err != nil || string(r.Body[:20]) != `{"errorCode":400000,` {
				t.Errorf("%s, %v", r.Body, err)
			}
		}
		g.in.quiet(30 * time.Second)
		if n := w.refused(amqp.ReasonThrottled); n != 5 {
			t.Errorf("%d are counted", n)
		}
		g.close()
	})
}

// TestThrottledRegistration: clients are told when to try again.
func TestThrottledRegistration(t *testing.T) {
	p := &provisioner{register: func(context.Context, causeway.Registration) (causeway.Operation, error) {
		return causeway.Operation{}, causeway.Errorf(429001, "test", "too many")
	}}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		g := w.registrar()
		_, _, refused := g.ask(dpsamqp.Request{Op: dpsamqp.Register})
		if refused == nil || refused.Name != hubamqp.Throttled || dpsamqp.RetryAfter(refused) <= 0 {
			t.Errorf("%+v", refused)
		}
		if w.refused(amqp.ReasonThrottled) != 1 {
			t.Error("not counted")
		}
		g.close()
	})
}

// TestRegistrationWithoutAnswers: a request that could not be answered is refused.
func TestRegistrationWithoutAnswers(t *testing.T) {
	withProvisioner(t, &provisioner{}, func(t *testing.T, w *world) {
		c := w.dialDevice()
		out, err := c.tryOut(registrationAddress, wire.LinkConfig{}, hubamqp.LinkProperties{})
		if err != nil {
			t.Fatal(err)
		}
		request := wire.Transfer{Payload: dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register})}
		if got := c.deliver(out, request); got != "rejected "+hubamqp.NotAllowed {
			t.Error(got)
		}
		// A link takes the place of an older one.
		first, err := c.tryIn(registrationAddress, wire.LinkConfig{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		second, err := c.tryIn(registrationAddress, wire.LinkConfig{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := first.ended(); got != hubamqp.LinkStolen {
			t.Errorf("the older link ended with %s", got)
		}
		if got := c.deliver(out, request); got != "accepted" {
			t.Error(got)
		}
		second.quiet(10 * time.Second) // there is no credit
		second.Grant(1)
		c.c.Push()
		second.next()
		c.close()
	})
}

// TestRegistrationTakesTooLong: who proves nothing is cut soon, who has asked nothing
// for long later, and who waits for an answer not at all.
func TestRegistrationTakesTooLong(t *testing.T) {
	unknown := func(causeway.Registration, string) (causeway.Operation, error) {
		return causeway.Operation{}, causeway.Errorf(404203, "test", "no such scope")
	}
	for _, c := range []struct {
		name   string
		p      *provisioner
		ask    bool
		want   time.Duration
		counts int
	}{
		{"nothing is proven", &provisioner{lookup: unknown}, false, time.Minute, 1},
		{"what is asked proves nothing", &provisioner{lookup: unknown, register: func(context.Context, causeway.Registration) (causeway.Operation, error) {
			return causeway.Operation{}, causeway.Errorf(404203, "test", "no such scope")
		}}, true, time.Minute, 1},
		{"nothing more is asked", &provisioner{register: func(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
			select {
			case <-time.After(50 * time.Second):
			case <-ctx.Done():
			}
			return causeway.Operation{ID: "5.a", Registration: r.ID, Status: "assigning"}, ctx.Err()
		}}, true, 10*time.Minute + 50*time.Second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			withProvisioner(t, c.p, func(t *testing.T, w *world) {
				begin := time.Now()
				g := w.registrar()
				if c.ask {
					ctx, cancel := context.WithTimeout(g.ctx, time.Hour)
					_, _ = g.out.Deliver(ctx, wire.Transfer{Payload: dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register})})
					cancel()
				}
				if got := g.ended(); got != hubamqp.Unauthorized {
					t.Errorf("ended with %s", got)
				}
				if d := time.Since(begin); d < c.want || d > c.want+time.Second {
					t.Errorf("after %v, want %v", d, c.want)
				}
				synctest.Wait()
				if n := w.refused(amqp.ReasonUnclaimed); n != c.counts {
					t.Errorf("counted %d times", n)
				}
			})
		})
	}
}

// TestStopInARegistration: what was begun is finished and answered.
func TestStopInARegistration(t *testing.T) {
	p := &provisioner{register: func(_ context.Context, r causeway.Registration) (causeway.Operation, error) {
		time.Sleep(3 * time.Second) //nolint:forbidigo // simulated time
		return causeway.Operation{ID: "5.a", Registration: r.ID, Status: "assigning"}, nil
	}}
	withProvisioner(t, p, func(t *testing.T, w *world) {
		g := w.registrar()
		outcome := make(chan string)
		go func() {
			outcome <- g.deliver(g.out, wire.Transfer{Payload: dpsamqp.AppendRequest(nil, dpsamqp.Request{Op: dpsamqp.Register})})
		}()
		synctest.Wait()
		w.stop()
		if got := <-outcome; got != "accepted" {
			t.Errorf("what was under way: %s", got)
		}
		g.in.next()
		if got := g.ended(); got != hubamqp.ConnectionForced {
			t.Errorf("ended with %s", got)
		}
	})
}

// TestNoProvisioner: a head without one has neither the addresses nor the mechanism.
func TestNoProvisioner(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		if _, err := c.tryOut(registrationAddress, wire.LinkConfig{}, hubamqp.LinkProperties{}); conditionOf(err) != hubamqp.NotFound {
			t.Error(err)
		}
		c.close()
		for _, s := range []*wire.ClientSASL{wire.PlainSASL(registrationAddress, "token"), {Mechanism: "TPM", Initial: []byte("\x00s\x00d\x00k")}} {
			if _, err := w.tryDial(wire.Config{SASL: s}); err == nil {
				t.Errorf("%s is let in", s.Mechanism)
			}
		}
	})
}
