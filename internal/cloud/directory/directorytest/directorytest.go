// Package directorytest is the contract of [directory.Store] as tests: every
// driver is held to it. It also has a store in memory for the tests of others,
// which is held to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package directorytest

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// Memory is a [directory.Store] that forgets everything at the end of the
// process.
type Memory struct {
	mu   sync.Mutex
	hubs map[string]directory.Hub
	fail error
}

var _ directory.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{hubs: map[string]directory.Hub{}} }

// Fail makes changes fail with err until it is nil again.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Hubs implements [directory.Store].
func (m *Memory) Hubs(ctx context.Context) ([]directory.Hub, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var hubs []directory.Hub
	for _, h := range m.hubs {
		hubs = append(hubs, clone(h))
	}
	slices.SortFunc(hubs, func(a, b directory.Hub) int { return strings.Compare(a.Name, b.Name) })
	return hubs, ctx.Err()
}

// PutHub implements [directory.Store].
func (m *Memory) PutHub(ctx context.Context, h directory.Hub) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.fail, ctx.Err()); err != nil {
		return err
	}
	m.hubs[h.Name] = clone(h)
	return nil
}

// DeleteHub implements [directory.Store].
func (m *Memory) DeleteHub(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.fail, ctx.Err()); err != nil {
		return err
	}
	delete(m.hubs, name)
	return nil
}

func clone(h directory.Hub) directory.Hub {
	c := directory.Hub{
		Name: h.Name, Hosts: slices.Clone(h.Hosts), Policies: slices.Clone(h.Policies), Authority: slices.Clone(h.Authority), Groups: slices.Clone(h.Groups),
		Partitions: h.Partitions, Created: h.Created, Settings: h.Settings,
	}
	for i := range c.Authority {
		c.Authority[i].DER = slices.Clone(c.Authority[i].DER)
	}
	c.Settings.Routing = h.Settings.Routing.Clone()
	return c
}

// PlainSealer is a secret.Sealer that only marks what it seals, for tests. It
// tells when something is opened that was sealed for another place.
type PlainSealer struct{}

// Seal returns plain with a mark.
func (PlainSealer) Seal(plain causeway.Secret, bind string) (causeway.Secret, error) {
	return causeway.Secret("sealed:" + base64.StdEncoding.EncodeToString([]byte(bind+"\n"+string(plain)))), nil
}

// Open returns what Seal was given.
func (PlainSealer) Open(sealed causeway.Secret, bind string) (causeway.Secret, error) {
	text, ok := strings.CutPrefix(string(sealed), "sealed:")
	b, err := base64.StdEncoding.DecodeString(text)
	sealedBind, plain, cut := strings.Cut(string(b), "\n")
	if !ok || err != nil || !cut || sealedBind != bind {
		return "", errors.New("not sealed for " + bind)
	}
	return causeway.Secret(plain), nil
}

// Run holds the stores that open returns to the contract. Each call of open
// returns an empty store of its own, closed by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) directory.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, directory.Store)
	}{
		{"hubs come back whole", testWhole},
		{"replace", testReplace},
		{"delete", testDelete},
		{"memory is not shared", testBorrowed},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var base = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

// Hub returns a hub with something in every field.
func Hub(name string) directory.Hub {
	return directory.Hub{
		Name: name, Hosts: []string{name + ".example.com", "10.0.0.7"}, Partitions: 7, Created: base,
		Policies: []auth.Policy{
			{Name: "iothubowner", Primary: "v1:sealed/one+=", Secondary: "v1:sealed/two+=", Rights: auth.AllRights},
			{Name: "device", Primary: "v1:sealed/three+=", Secondary: "v1:sealed/four+=", Rights: auth.DeviceConnect},
		},
		Authority: []directory.Authority{
			{Name: "factory", DER: []byte{0x30, 0x00, 0xff}, Verified: true, Created: base},
			{Name: "lab", DER: []byte{0x30}, Created: base.Add(time.Hour)},
		},
		Settings: directory.Settings{
			RetentionTime: time.Hour, RetentionBytes: 1 << 40, CommandTTL: time.Minute, MaxDeliveryCount: 3,
			FeedbackTTL: 2 * time.Hour, FeedbackLock: 5 * time.Second, FeedbackMaxDeliveryCount: 4,
			JobsActive: 5, JobDevicesPerSecond: 10,
			FileNotificationsDisabled: true, FileNotificationTTL: 3 * time.Hour, FileNotificationLock: 6 * time.Second, FileNotificationMaxDeliveryCount: 5,
			Routing: &routing.Settings{
				Endpoints: []routing.EndpointSettings{{
					Name: "hook", Kind: "webhook", Config: []byte(`{"url":"https://example.com"}`),
					Secrets: map[string]causeway.Secret{"token": "v1:sealed/five+="},
				}},
				Routes: []routing.Route{{
					Name: "hot", Source: routing.DeviceMessages, Condition: "$body.t > 20 AND 'a' <> \"b\"", EndpointNames: []string{"hook", "events"}, IsEnabled: true,
				}},
				FallbackRoute: &routing.Route{Name: routing.FallbackName, Source: routing.DeviceMessages, EndpointNames: []string{"events"}},
				Enrichments:   []routing.Enrichment{{Key: "site", Value: "$twin.tags.site", EndpointNames: []string{"hook"}}},
			},
		},
		Groups: []directory.ConsumerGroup{{Name: "Analytics", Created: base}, {Name: "archive", Created: base.Add(time.Hour)}},
	}
}

// Equal compares hubs without what a Service adds to them.
func Equal(t *testing.T, what string, got, want []directory.Hub) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(directory.Hub{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func hubs(t *testing.T, s directory.Store) []directory.Hub {
	t.Helper()
	all, err := s.Hubs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func put(t *testing.T, s directory.Store, h directory.Hub) {
	t.Helper()
	if err := s.PutHub(t.Context(), h); err != nil {
		t.Fatal(err)
	}
}

func testWhole(t *testing.T, s directory.Store) {
	Equal(t, "empty", hubs(t, s), nil)
	bare := directory.Hub{Name: "bare", Hosts: []string{"bare"}, Partitions: 1}
	put(t, s, Hub("plant"))
	put(t, s, bare)
	Equal(t, "hubs", hubs(t, s), []directory.Hub{bare, Hub("plant")})
}

func testReplace(t *testing.T, s directory.Store) {
	put(t, s, Hub("a"))
	put(t, s, Hub("b"))
	changed := directory.Hub{Name: "a", Hosts: []string{"elsewhere"}, Partitions: 1, Created: base.Add(time.Second)}
	put(t, s, changed)
	Equal(t, "hubs", hubs(t, s), []directory.Hub{changed, Hub("b")})
}

func testDelete(t *testing.T, s directory.Store) {
	put(t, s, Hub("a"))
	put(t, s, Hub("b"))
	for range 2 {
		if err := s.DeleteHub(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	Equal(t, "hubs", hubs(t, s), []directory.Hub{Hub("b")})
	put(t, s, Hub("a"))
	Equal(t, "created again", hubs(t, s), []directory.Hub{Hub("a"), Hub("b")})
}

func testBorrowed(t *testing.T, s directory.Store) {
	h := Hub("a")
	put(t, s, h)
	spoil := func(h directory.Hub) {
		h.Hosts[0], h.Policies[0].Name, h.Authority[0].DER[0] = "X", "X", 'X'
		h.Groups[0].Name = "X"
	}
	spoil(h)
	for range 2 {
		got := hubs(t, s)
		Equal(t, "hubs", got, []directory.Hub{Hub("a")})
		spoil(got[0])
	}
}

func testContext(t *testing.T, s directory.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutHub(ctx, Hub("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("PutHub: %v", err)
	}
	Equal(t, "hubs", hubs(t, s), nil)
}
