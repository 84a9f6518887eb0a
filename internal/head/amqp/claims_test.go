package amqp_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// plane accepts what is sent to the address of back ends.
type plane struct {
	mu                        sync.Mutex
	peers                     map[claims.Peer]int
	releases                  []func()
	got                       []func()
	attached, flushed, closed int
}

func (p *plane) Attach(peer claims.Peer, addr hubamqp.Address, a *wire.Attach) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attached++
	if peer.Hub() != "hub" || peer.Host() != host || peer.Conn() != a.Conn() {
		return fmt.Errorf("peer of %q %q", peer.Hub(), peer.Host())
	}
	const path = "/messages/devicebound"
	expires, err := peer.Authorize(path, auth.ServiceConnect)
	if err != nil {
		return err
	}
	if expires.IsZero() {
		return causeway.Errorf(causeway.InvalidOperation, "test", "for ever")
	}
	r := a.Receive(wire.ReceiverOptions{Handler: p, Credit: 10})
	p.releases = append(p.releases, peer.Bind(r, path, auth.ServiceConnect))
	if p.peers == nil {
		p.peers = make(map[claims.Peer]int)
	}
	p.peers[peer]++
	return nil
}

func (p *plane) Transfer(r *wire.Receiver, d wire.Delivery) {
	id := d.ID
	p.got = append(p.got, func() { r.Settle(id, codec.Accepted()) })
}
func (p *plane) Detached(*wire.Receiver, error) {}

func (p *plane) Flush(claims.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushed++
	for _, settle := range p.got {
		settle()
	}
	p.got = nil
}

func (p *plane) Closed(peer claims.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed++
	delete(p.peers, peer)
}

// TestPlane is a plane beside the links of devices.
func TestPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, amqp.Limits{})
		p := &plane{}
		w.server.Planes[hubamqp.KindServiceCommands] = p
		w.start()
		defer w.close()
		cl := w.dial()
		attach := func() (*wire.Sender, error) {
			return cl.tryOut("/messages/devicebound", wire.LinkConfig{}, hubamqp.LinkProperties{})
		}
		want := func(what, condition string) {
			t.Helper()
			if _, err := attach(); conditionOf(err) != condition {
				t.Errorf("%s: %v, want %s", what, err, condition)
			}
		}
		want("nothing put", hubamqp.Unauthorized)
		cl.put(w.dev1, time.Now().Add(5*time.Hour))
		want("token of a device", hubamqp.Unauthorized)
		if r := cl.tryPut(host, policyToken("device", "", inAnHour())); r.Status != 200 {
			t.Fatal(r)
		}
		want("policy without the right", hubamqp.Unauthorized)
		if r := cl.tryPut(host+"/messages/devicebound", policyToken("service", "/messages/events", inAnHour())); r.Status != 200 {
			t.Fatal(r)
		}
		want("policy for another path", hubamqp.Unauthorized)

		soon := time.Now().Add(10 * time.Minute).Truncate(time.Second)
		if r := cl.tryPut(host+"/messages/devicebound", policyToken("service", "", soon)); r.Status != 200 {
			t.Fatal(r)
		}
		s, err := attach()
		if err != nil {
			t.Fatal(err)
		}
		cl.telemetry(s, "to the plane")
		cl.telemetry(cl.out(hubamqp.KindTelemetry, w.dev1), "to the hub")
		if got := w.stored("dev1"); got != "to the hub" {
			t.Errorf("stored %q", got)
		}

		// A newer token keeps the link, and the end of the last one ends it.
		time.Sleep(5 * time.Minute) //nolint:forbidigo // simulated time
		if r := cl.tryPut(host+"/messages/devicebound", policyToken("owner", "/messages", soon.Add(time.Hour))); r.Status != 200 {
			t.Fatal(r)
		}
		time.Sleep(30 * time.Minute) //nolint:forbidigo // simulated time
		cl.telemetry(s, "again")
		time.Sleep(40 * time.Minute) //nolint:forbidigo // simulated time
		if got := conditionOf(s.Err()); got != hubamqp.Unauthorized {
			t.Errorf("after the expiry the link has %s", got)
		}
		want("expired", hubamqp.Unauthorized)
		cl.close()
		synctest.Wait()
		if len(p.peers) != 0 || p.closed != 1 {
			t.Errorf("closed %d times, %d peers are left", p.closed, len(p.peers))
		}
	})
}

// TestPolicyChange: a policy that is gone lets nobody in, and Recheck closes what
// it let in before.
func TestPolicyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, amqp.Limits{})
		p := &plane{}
		w.server.Planes[hubamqp.KindServiceCommands] = p
		w.start()
		defer w.close()
		cl := w.dial()
		if r := cl.tryPut(host, policyToken("service", "", inAnHour())); r.Status != 200 {
			t.Fatal(r)
		}
		attach := func() (*wire.Sender, error) {
			return cl.tryOut("/messages/devicebound", wire.LinkConfig{}, hubamqp.LinkProperties{})
		}
		one, err := attach()
		if err != nil {
			t.Fatal(err)
		}
		two, err := attach()
		if err != nil {
			t.Fatal(err)
		}
		p.releases[1]() // no longer watched
		w.realms.drop("service")
		w.server.Recheck("other")
		synctest.Wait()
		if one.Err() != nil {
			t.Error("links of another hub were looked at")
		}
		w.server.Recheck("hub")
		hubtest.Eventually(t, "the end of the link", func() bool { return one.Err() != nil })
		if got := conditionOf(one.Err()); got != hubamqp.Unauthorized {
			t.Errorf("ended with %s", got)
		}
		if two.Err() != nil {
			t.Error("a link that was released was closed")
		}
		if _, err := attach(); conditionOf(err) != hubamqp.Unauthorized {
			t.Errorf("attach: %v", err)
		}
		if r := cl.tryPut(host, policyToken("service", "", inAnHour())); r.Status != 401 {
			t.Errorf("a token of the policy: %d", r.Status)
		}
	})
}

// TestNoPlane: addresses that nobody serves are not found.
func TestNoPlane(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		cl := w.open(w.dev1)
		for _, address := range []string{"/messages/devicebound", "messages/events", "hub/$management", "/messages/servicebound/feedback"} {
			if _, err := cl.tryIn(address, wire.LinkConfig{}, 1); conditionOf(err) != hubamqp.NotFound {
				t.Errorf("%s: %v", address, err)
			}
		}
	})
}

// asking is a plane that asks for one path, and grants what is let in.
type asking struct {
	plane
	path string
}

func (p *asking) Attach(peer claims.Peer, _ hubamqp.Address, a *wire.Attach) error {
	if _, err := peer.Authorize(p.path, auth.ServiceConnect); err != nil {
		return err
	}
	a.Receive(wire.ReceiverOptions{Handler: p, Credit: 1})
	return nil
}

// TestEventHubNames: the event hub of a hub has several names, in tokens and in
// addresses, and each is as good as the others.
func TestEventHubNames(t *testing.T) {
	const alias, other = "iothub-ehub-hub-123-abc", "iothub-ehub-hub-9-x"
	for _, x := range []struct {
		resource, path string
		ok             bool
	}{
		{"/hub", "/hub/$management", true},
		{"/" + alias, "/hub/$management", true},
		{"/" + alias, "/" + alias + "/ConsumerGroups/$Default/Partitions/0", true},
		{"/hub", "/" + alias + "/ConsumerGroups/$Default/Partitions/0", true},
		{"/" + other, "/" + alias + "/ConsumerGroups/$Default/Partitions/0", true},
		{"/" + alias + "/ConsumerGroups/a", "/HUB/ConsumerGroups/a/Partitions/0", true},
		{"", "/" + alias, true},
		{"/" + alias + "/ConsumerGroups/a", "/hub/ConsumerGroups/b/Partitions/0", false},
		{"/iothub-ehub-hub2-1-a", "/hub/$management", false},
		{"/hub", "/iothub-ehub-hub2-1-a/$management", false},
		{"/hub", "/messages/devicebound", false},
		{"/devices", "/hub/$management", false},
	} {
		t.Run(x.resource+" for "+x.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, amqp.Limits{})
				w.server.Planes[hubamqp.KindServiceCommands] = &asking{path: x.path}
				w.start()
				defer w.close()
				cl := w.dial()
				for _, token := range []string{
					policyToken("service", x.resource, inAnHour()),
					sas.Sign("sb://"+host+x.resource, []byte(keyText("policy service")), "service", inAnHour()),
				} {
					if r := cl.tryPut("sb://"+host+x.resource, token); r.Status != 200 {
						t.Fatal(r)
					}
					_, err := cl.tryOut("/messages/devicebound", wire.LinkConfig{}, hubamqp.LinkProperties{})
					if (err == nil) != x.ok {
						t.Errorf("attach: %v", err)
					}
				}
			})
		})
	}
}
