package amqp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// cloud is a hub on the real services, in memory.
type cloud struct {
	set      *cloudhub.Set
	registry *registry.Service
	commands *c2d.Service
	log      *memLog
	hub      *cloudhub.Hub
}

// openKeys is a sealer that does not seal.
type openKeys struct{}

func (openKeys) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (openKeys) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// memLog is an event log in memory, of one partition.
type memLog struct {
	mu      sync.Mutex
	records []eventlog.Record
}

func (l *memLog) Partitions() int { return 1 }

func (l *memLog) Append(_ context.Context, _ eventlog.Partition, recs ...eventlog.Record) (eventlog.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := eventlog.Offset(len(l.records))
	for _, r := range recs {
		r.Payload = append([]byte(nil), r.Payload...)
		l.records = append(l.records, r)
	}
	return first, nil
}

func (l *memLog) Read(context.Context, eventlog.Partition, eventlog.Offset, int) ([]eventlog.Record, error) {
	return nil, errors.ErrUnsupported
}

func (l *memLog) Bounds(context.Context, eventlog.Partition) (oldest, next eventlog.Offset, err error) {
	return 0, 0, errors.ErrUnsupported
}

func (l *memLog) Seek(context.Context, eventlog.Partition, time.Time) (eventlog.Offset, error) {
	return 0, errors.ErrUnsupported
}
func (l *memLog) Trim(context.Context, eventlog.Partition, eventlog.Offset) error { return nil }
func (l *memLog) Close() error                                                    { return nil }

func newCloud(t testing.TB, policies ...auth.Policy) *cloud {
	t.Helper()
	c := &cloud{
		set:      cloudhub.NewSet(),
		registry: registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: openKeys{}}),
		commands: c2d.New(c2d.Options{Store: c2dtest.NewMemory()}),
		log:      &memLog{},
	}
	c.registry.Watch(c.set)
	c.commands.Watch(c.set)
	var err error
	c.hub, err = cloudhub.New(cloudhub.Options{
		Hub:      directory.Hub{Name: "hub", Hosts: []string{host}, Policies: policies},
		Registry: c.registry, Commands: c.commands, Events: c.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.set.Add(c.hub)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.hub.Run(ctx); err != nil {
			t.Errorf("run the hub: %v", err)
		}
	})
	wg.Go(func() {
		if err := c.commands.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run the queues: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

// Realm finds the hub: what an application does with a Set.
func (c *cloud) Realm(h string) (string, auth.Realm, bool) {
	hub, ok := c.set.ByHost(h)
	if !ok {
		return "", auth.Realm{}, false
	}
	return hub.Name(), hub.Realm(), true
}

func (c *cloud) add(t testing.TB, device, module string) causeway.Identity {
	t.Helper()
	id := causeway.Identity{Hub: "hub", Device: device, Module: module}
	if _, err := c.registry.Create(context.Background(), registry.Record{ID: id, Enabled: true, Auth: registry.Authentication{Type: auth.SAS}}); err != nil {
		t.Fatal(err)
	}
	return id
}

func (c *cloud) record(t testing.TB, id causeway.Identity) registry.Record {
	t.Helper()
	r, err := c.registry.Get(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (c *cloud) token(t testing.TB, id causeway.Identity, expires time.Time) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(string(c.record(t, id).Auth.Primary))
	if err != nil {
		t.Fatal(err)
	}
	return sas.Sign(sas.DeviceResource(host, id.Device, id.Module), key, "", expires)
}

func (c *cloud) enqueue(t testing.TB, id causeway.Identity, body string) {
	t.Helper()
	if err := c.commands.Enqueue(context.Background(), id, causeway.Message{Body: []byte(body), Properties: []causeway.Property{{Key: "k", Value: "v"}}}, c.record(t, id).GenerationID); err != nil {
		t.Fatal(err)
	}
}

func (c *cloud) depth(t testing.TB, id causeway.Identity) int {
	t.Helper()
	n, err := c.commands.Depth(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// telemetry returns what is stored.
func (c *cloud) telemetry(t testing.TB) []causeway.Message {
	t.Helper()
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var ms []causeway.Message
	for _, r := range c.log.records {
		m, err := envelope.Decode(r.Payload)
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	return ms
}

// inCloud runs f in a bubble with a server on the real services.
func inCloud(t *testing.T, f func(t *testing.T, w *world, c *cloud)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t, auth.Policy{Name: "device", Primary: keyText("policy device"), Rights: auth.DeviceConnect})
		w := newWorld(t, amqp.Limits{})
		w.tap.Hub = c.set
		w.server.Realms = c
		w.start()
		defer w.close()
		f(t, w, c)
	})
}

// openIn opens a connection and puts the tokens of identities.
func (w *world) openIn(c *cloud, expires time.Time, ids ...causeway.Identity) *client {
	w.t.Helper()
	cl := w.dial()
	for _, id := range ids {
		if r := cl.tryPut(hubamqp.AudienceOf(host, id), c.token(w.t, id, expires)); r.Status != 200 {
			w.t.Fatalf("put-token: %d %s", r.Status, r.Description)
		}
	}
	return cl
}

// TestCloudCredit: commands of a client without credit stay in their queue and
// are not counted as tried, however long it takes.
func TestCloudCredit(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world, c *cloud) {
		id := c.add(t, "d", "")
		cl := w.openIn(c, time.Now().Add(10*time.Hour), id)
		r := cl.in(hubamqp.KindCommands, id, 0)
		for i := range 15 {
			c.enqueue(t, id, fmt.Sprint(i))
		}
		r.quiet(10 * time.Minute)
		for i := range 15 {
			r.Grant(1)
			cl.c.Push()
			m, d := r.command()
			if string(m.Body) != fmt.Sprint(i) || m.DeliveryCount != 0 {
				t.Errorf("command %d: %q, delivery count %d", i, m.Body, m.DeliveryCount)
			}
			r.quiet(time.Second)
			r.settle(d, codec.Accepted())
		}
		synctest.Wait()
		if n := c.depth(t, id); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestCloudLocks: what a client does not settle comes again, and what it settles
// too late is not settled.
func TestCloudLocks(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world, c *cloud) {
		id := c.add(t, "d", "")
		cl := w.openIn(c, time.Now().Add(10*time.Hour), id)
		r := cl.in(hubamqp.KindCommands, id, 10)
		c.enqueue(t, id, "x")
		first, d := r.command()
		r.quiet(50 * time.Second)
		again, e := r.command()
		if again.Sequence != first.Sequence || again.Lock == first.Lock {
			t.Errorf("delivered again as %+v", again)
		}
		r.settle(d, codec.Accepted())
		synctest.Wait()
		if n := c.depth(t, id); n != 1 {
			t.Errorf("%d are left after the first delivery was settled", n)
		}
		r.settle(e, codec.Accepted())
		synctest.Wait()
		if n := c.depth(t, id); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestCloudExpiry: of the identities on a connection only that whose token
// expires loses its links; it is disconnected for the cloud, too.
func TestCloudExpiry(t *testing.T) {
	inCloud(t, func(t *testing.T, w *world, c *cloud) {
		one, two, three := c.add(t, "one", ""), c.add(t, "two", ""), c.add(t, "two", "m")
		soon := time.Now().Add(30 * time.Minute)
		cl := w.openIn(c, soon, one)
		for _, id := range []causeway.Identity{two, three} {
			if r := cl.tryPut(hubamqp.AudienceOf(host, id), c.token(t, id, soon.Add(time.Hour))); r.Status != 200 {
				t.Fatal(r)
			}
		}
		a, b, m := cl.in(hubamqp.KindCommands, one, 1), cl.in(hubamqp.KindCommands, two, 1), cl.in(hubamqp.KindCommands, three, 1)
		if got := a.ended(); got != hubamqp.Unauthorized {
			t.Errorf("ended with %s", got)
		}
		if d := time.Until(soon); d > 0 || d < -2*time.Second {
			t.Errorf("%v before the expiry", d)
		}
		if c.hub.State(one).Connected || !c.hub.State(two).Connected || !c.hub.State(three).Connected {
			t.Error("not who should be connected")
		}
		b.quiet(time.Minute)
		// A device that is deleted takes its modules along.
		if err := c.registry.Delete(t.Context(), two, "*"); err != nil {
			t.Fatal(err)
		}
		if x, y := b.ended(), m.ended(); x != y || x != hubamqp.Unauthorized && x != hubamqp.NotFound {
			t.Errorf("ended with %s and %s", x, y)
		}
		cl.close()
	})
}
