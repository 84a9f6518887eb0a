package cloudhub_test

import (
	"context"
	"crypto/rand"
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
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plain is a sealer that does not seal.
type plain struct{}

func (plain) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (plain) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// memLog is an event log in memory. When fail is set Append returns it.
type memLog struct {
	mu      sync.Mutex
	records [][]eventlog.Record
	fail    error
}

func newMemLog(partitions int) *memLog {
	return &memLog{records: make([][]eventlog.Record, partitions)}
}

func (l *memLog) Partitions() int { return len(l.records) }

func (l *memLog) Append(_ context.Context, p eventlog.Partition, recs ...eventlog.Record) (eventlog.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	first := eventlog.Offset(len(l.records[p]))
	for i, r := range recs {
		r.Offset, r.Payload = first+eventlog.Offset(i), append([]byte(nil), r.Payload...)
		l.records[p] = append(l.records[p], r)
	}
	return first, nil
}

func (l *memLog) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *memLog) Read(context.Context, eventlog.Partition, eventlog.Offset, int) ([]eventlog.Record, error) {
	return nil, errors.ErrUnsupported
}

func (l *memLog) Bounds(_ context.Context, p eventlog.Partition) (oldest, next eventlog.Offset, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, eventlog.Offset(len(l.records[p])), nil
}

func (l *memLog) Seek(context.Context, eventlog.Partition, time.Time) (eventlog.Offset, error) {
	return 0, errors.ErrUnsupported
}
func (l *memLog) Trim(context.Context, eventlog.Partition, eventlog.Offset) error { return nil }
func (l *memLog) Close() error                                                    { return nil }

// cloud is a hub on the real services, in memory. It is a hubtest.Admin.
type cloud struct {
	set      *cloudhub.Set
	hub      *cloudhub.Hub
	received func() // called when a command was received for a session
	registry *registry.Service
	commands *c2d.Service
	log      *memLog
	metrics  *obs.Hub
	stop     func() // ends what runs; idempotent
}

var _ hubtest.Admin = (*cloud)(nil)

const (
	hubName = "plant"
	hubHost = "plant.example.com"
)

func newCloud(t testing.TB) *cloud { return newCloudOn(t, nil) }

// newCloudOn lets the hub see the registry through a wrapper.
func newCloudOn(t testing.TB, wrap func(*registry.Service) cloudhub.Registry) *cloud {
	t.Helper()
	c := &cloud{
		set:      cloudhub.NewSet(),
		registry: registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}}),
		commands: c2d.New(c2d.Options{Store: c2dtest.NewMemory()}),
		log:      newMemLog(4),
		metrics:  obs.NewHub(nil, hubName),
	}
	c.registry.Watch(c.set)
	c.commands.Watch(c.set)
	var reg cloudhub.Registry = c.registry
	if wrap != nil {
		reg = wrap(c.registry)
	}
	var err error
	c.hub, err = cloudhub.New(cloudhub.Options{
		Hub:      directory.Hub{Name: hubName, Hosts: []string{hubHost, "alias.example.com"}, Policies: policies},
		Registry: reg, Commands: &queues{c.commands, c}, Events: c.log, Metrics: c.metrics,
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
	c.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(c.stop)
	return c
}

// queues lets a test act between the receipt of a command and its delivery.
type queues struct {
	*c2d.Service
	cloud *cloud
}

func (q *queues) Receive(ctx context.Context, id causeway.Identity) (causeway.Message, bool, error) {
	m, ok, err := q.Service.Receive(ctx, id)
	if f := q.cloud.received; ok && f != nil {
		f()
	}
	return m, ok, err
}

var policies = []auth.Policy{{
	Name: "device", Primary: "cG9saWN5LWtleS1wb2xpY3kta2V5", Secondary: "b3RoZXIta2V5LW90aGVyLWtleQ==", Rights: auth.DeviceConnect,
}}

func TestContract(t *testing.T) {
	hubtest.Run(t, func(t *testing.T) (causeway.Hub, hubtest.Admin) {
		c := newCloud(t)
		return c.set, c
	})
}

func ident(id causeway.Identity) causeway.Identity {
	id.Hub = hubName
	return id
}

func (c *cloud) record(t testing.TB, id causeway.Identity) registry.Record {
	t.Helper()
	r, err := c.registry.Get(context.Background(), ident(id))
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return r
}

func (c *cloud) Add(t testing.TB, device, module string) causeway.Credential {
	t.Helper()
	id := causeway.Identity{Hub: hubName, Device: device, Module: module}
	_, err := c.registry.Create(context.Background(), registry.Record{ID: id, Enabled: true, Auth: registry.Authentication{Type: auth.SAS}})
	if err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
	return c.Expiring(t, id, time.Now().Add(2*time.Hour))
}

func (c *cloud) Expiring(t testing.TB, id causeway.Identity, at time.Time) causeway.Credential {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(string(c.record(t, id).Auth.Primary))
	if err != nil {
		t.Fatal(err)
	}
	return causeway.Credential{
		Host: hubHost, Identity: ident(id), Transport: causeway.MQTT,
		Token: causeway.Secret(sas.Sign(sas.DeviceResource(hubHost, id.Device, id.Module), key, "", at)),
	}
}

func (c *cloud) change(t testing.TB, id causeway.Identity, f func(*registry.Record)) {
	t.Helper()
	r := c.record(t, id)
	f(&r)
	if _, err := c.registry.Update(context.Background(), r, "*"); err != nil {
		t.Fatalf("update %s: %v", id, err)
	}
}

func (c *cloud) Rekey(t testing.TB, id causeway.Identity) causeway.Credential {
	t.Helper()
	c.change(t, id, func(r *registry.Record) {
		for _, k := range []*causeway.Secret{&r.Auth.Primary, &r.Auth.Secondary} {
			var key [32]byte
			_, _ = rand.Read(key[:])
			*k = causeway.Secret(base64.StdEncoding.EncodeToString(key[:]))
		}
	})
	return c.Expiring(t, id, time.Now().Add(2*time.Hour))
}

func (c *cloud) Disable(t testing.TB, id causeway.Identity) {
	t.Helper()
	c.change(t, id, func(r *registry.Record) { r.Enabled = false })
}

func (c *cloud) Delete(t testing.TB, id causeway.Identity) {
	t.Helper()
	if err := c.registry.Delete(context.Background(), ident(id), "*"); err != nil {
		t.Fatalf("delete %s: %v", id, err)
	}
}

func (c *cloud) SetDesired(t testing.TB, id causeway.Identity, patch string) int64 {
	t.Helper()
	r, err := c.registry.UpdateTwin(context.Background(), ident(id), registry.TwinUpdate{Desired: []byte(patch)}, "")
	if err != nil {
		t.Errorf("desired %s: %v", patch, err)
	}
	return r.Twin.Desired.Version
}

func (c *cloud) Reported(t testing.TB, id causeway.Identity) ([]byte, int64) {
	t.Helper()
	r := c.record(t, id)
	return r.Twin.Reported.Properties, r.Twin.Reported.Version
}

func (c *cloud) Enqueue(t testing.TB, id causeway.Identity, m causeway.Message) {
	t.Helper()
	if err := c.commands.Enqueue(context.Background(), ident(id), m, c.record(t, id).GenerationID); err != nil {
		t.Fatalf("enqueue: %v", err)
	}
}

func (c *cloud) Depth(t testing.TB, id causeway.Identity) int {
	t.Helper()
	n, err := c.commands.Depth(context.Background(), ident(id))
	if err != nil {
		t.Fatalf("depth: %v", err)
	}
	return n
}

func (c *cloud) Invoke(ctx context.Context, id causeway.Identity, call causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error) {
	return c.hub.Invoke(ctx, id, call, connectWait, responseWait)
}

func (c *cloud) Telemetry(t testing.TB, device string) []causeway.Message {
	t.Helper()
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var ms []causeway.Message
	for _, r := range c.log.records[cloudhub.Partition(device, 4)] {
		m, err := envelope.Decode(r.Payload)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if m.From.Device == device {
			m.From.Hub = hubName
			ms = append(ms, m)
		}
	}
	return ms
}

func (c *cloud) Connected(_ testing.TB, id causeway.Identity) bool { return c.hub.State(id).Connected }
