package amqp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"testing"
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
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/wire/sas"
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
