package cloudhub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Registry is what a hub needs of the identity registry. A returned Record is
// shared and only read.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
	DeviceTwin(ctx context.Context, id causeway.Identity) (causeway.Twin, error)
	Report(ctx context.Context, id causeway.Identity, p causeway.Patch) (version int64, err error)
	SetModel(ctx context.Context, id causeway.Identity, modelID string) error
	Touch(ctx context.Context, facts ...registry.Activity) error
}

// Commands is what a hub needs of the command queues.
type Commands interface {
	Receive(ctx context.Context, id causeway.Identity) (m causeway.Message, ok bool, err error)
	Settle(ctx context.Context, id causeway.Identity, lock causeway.LockToken, o causeway.Outcome) error
	Unlock(id causeway.Identity, locks ...causeway.LockToken)
	Forget(id causeway.Identity)
}

// Options are what a [Hub] is made of. Metrics and Log may be nil.
type Options struct {
	Hub      directory.Hub
	Registry Registry
	Commands Commands
	Events   eventlog.Log
	// Endpoints finds the custom endpoints that routes lead to; nil for none.
	Endpoints routing.Endpoints
	// Snapshot is how often connection events are made of what changed; 0 means
	// [DefaultSnapshot].
	Snapshot time.Duration
	// Limiter holds the hub to its quota; nil is made.
	Limiter *quota.Limiter
	Metrics *obs.Hub
	Log     *slog.Logger
}

// Hub is one hub of the cloud. It is safe for concurrent use.
type Hub struct {
	name     string
	registry Registry
	commands Commands
	events   eventlog.Log
	metrics  *obs.Hub
	log      *slog.Logger

	endpoints   routing.Endpoints
	connections connections
	limiter     *quota.Limiter

	current  atomic.Pointer[settings]
	presence *presence.Table[*session]
	expiries expiries
	waiters  waiters
	proofs   map[proofKey]string // auth-method texts, shared by all sessions
	settled  [3]counter          // by causeway.Outcome
	batches  sync.Pool           // of *batch

	// Goroutines run under base and are counted in tasks; none starts once
	// closed is set.
	base   context.Context
	cancel context.CancelFunc
	life   sync.RWMutex
	closed bool
	tasks  sync.WaitGroup

	onHosts atomic.Pointer[func()] // set by the Set that holds the hub
}

// counter is the one method used of a Prometheus counter.
type counter interface{ Inc() }

// settings is what [Hub.SetHub] replaces.
type settings struct {
	hub     directory.Hub
	realm   auth.Realm
	grounds map[string]bool // what may vouch for devices
	// routes is nil for a hub whose telemetry goes to its events.
	routes *routes
}

type proofKey struct {
	scope causeway.AuthScope
	kind  string
}

var (
	_ causeway.Hub      = (*Hub)(nil)
	_ registry.Watcher  = (*Hub)(nil)
	_ registry.Observer = (*Hub)(nil)
)

// New makes a hub. It serves at once; [Hub.Run] does what happens over time.
func New(o Options) (*Hub, error) {
	switch {
	case o.Hub.Name == "":
		return nil, errors.New("cloudhub: a hub needs a name")
	case o.Registry == nil || o.Commands == nil || o.Events == nil:
		return nil, fmt.Errorf("cloudhub %s: registry, commands and events are all needed", o.Hub.Name)
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewHub(nil, o.Hub.Name)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Limiter == nil {
		o.Limiter = quota.New(quota.Options{Hub: o.Hub.Name, Log: o.Log})
	}
	h := &Hub{
		name: o.Hub.Name, registry: o.Registry, commands: o.Commands, events: o.Events,
		metrics: o.Metrics, log: o.Log.With(obs.KeyHub, o.Hub.Name),
		endpoints: o.Endpoints, connections: connections{every: cmp.Or(o.Snapshot, DefaultSnapshot)},
		presence: presence.New[*session](),
		limiter:  o.Limiter,
		proofs:   make(map[proofKey]string),
	}
	for _, scope := range []causeway.AuthScope{causeway.ScopeHub, causeway.ScopeDevice, causeway.ScopeModule} {
		for _, kind := range []string{"sas", "x509"} {
			h.proofs[proofKey{scope, kind}] = causeway.AuthMethod{Scope: scope, Type: kind}.JSON()
		}
	}
	for o, name := range map[causeway.Outcome]string{
		causeway.Accepted: "accepted", causeway.Rejected: "rejected", causeway.Released: "released",
	} {
		h.settled[o] = h.metrics.Settled.WithLabelValues(name)
	}
	h.base, h.cancel = context.WithCancel(context.Background())
	h.expiries.init()
	h.presence.Changed = h.connectionChanged
	h.setQuota(nil, o.Hub.Settings.Quota)
	h.current.Store(&settings{hub: o.Hub, realm: o.Hub.Realm(), grounds: o.Hub.Grounds(), routes: h.bind(o.Hub)})
	return h, nil
}

// Name returns the canonical name of the hub.
func (h *Hub) Name() string { return h.name }

// Realm returns what the hub contributes to decisions about access.
func (h *Hub) Realm() auth.Realm { return h.current.Load().realm }

// Hosts returns the names the hub answers to.
func (h *Hub) Hosts() []string { return h.current.Load().hub.Hosts }

// Events returns the log of the hub's telemetry.
func (h *Hub) Events() eventlog.Log { return h.events }

// State returns what is known about the connection of id.
func (h *Hub) State(id causeway.Identity) presence.State {
	id.Hub = h.name
	return h.presence.State(id)
}

// ConnectedCount returns how many devices are connected, modules not counted.
func (h *Hub) ConnectedCount() int { return h.presence.Devices() }

// Connected returns up to limit connected devices, or modules, in the order of
// their ids, from the first beyond after.
func (h *Hub) Connected(modules bool, after causeway.Identity, limit int) []causeway.Identity {
	return h.presence.Connected(modules, after, limit)
}

// Limiter returns what holds the hub to its quota. It is asked by those that
// clients come to: the hub itself does what it is told.
func (h *Hub) Limiter() *quota.Limiter { return h.limiter }

// setQuota passes a change of the quota on. Buckets begin full, so that nothing
// is done when it is the same.
func (h *Hub) setQuota(was, now *quota.Settings) {
	if reflect.DeepEqual(was, now) {
		return
	}
	if err := h.limiter.Set(now); err != nil {
		// Only of another version of the program: the directory checks what it stores.
		h.log.Error("the quota of the hub makes no sense; the former one stays", obs.KeyError, err)
	}
}

// SetHub replaces the hub's hosts, policies, authorities and settings, routes
// included: what is sent from then on goes where they say. Sessions end that rest
// on a policy's key, or an authority, that is there no longer. The name cannot
// change.
func (h *Hub) SetHub(d directory.Hub) {
	d.Name = h.name
	r := h.bind(d)
	was := h.current.Load()
	h.setQuota(was.hub.Settings.Quota, d.Settings.Quota)
	h.current.Store(&settings{hub: d, realm: d.Realm(), grounds: d.Grounds(), routes: r})
	if f := h.onHosts.Load(); f != nil {
		(*f)()
	}
	h.endGroundless(was)
}

// answersTo reports whether host, without a port, is one of the hub's names.
func (s *settings) answersTo(host string) bool {
	for _, n := range s.hub.Hosts {
		if strings.EqualFold(n, host) {
			return true
		}
	}
	return false
}

// Run ends sessions whose proof expires and writes connection facts down,
// until ctx ends; then it closes the hub, waits for what it started, and
// writes the last facts.
func (h *Hub) Run(ctx context.Context) error {
	flush, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	facts := make(chan error, 1)
	go func() { facts <- h.presence.Run(flush, h.registry, h.log) }()

	snapshots := make(chan struct{})
	go func() { defer close(snapshots); h.takeSnapshots(ctx) }()

	h.expiries.run(ctx)
	h.Close()
	h.tasks.Wait()
	<-snapshots
	h.lastSnapshot()
	stop()
	if err := <-facts; err != nil {
		return fmt.Errorf("run hub %s: %w", h.name, err)
	}
	return nil
}

// Close hangs up all sessions with code ServiceUnavailable and refuses new
// ones. It does not wait; [Hub.Run] does. It may be called twice.
func (h *Hub) Close() {
	h.life.Lock()
	h.closed = true
	h.life.Unlock()
	reason := causeway.Errorf(causeway.ServiceUnavailable, "cloudhub",
		"the hub is shutting down; connect again in a moment")
	// A Connect that passed the closed check before may still claim presence;
	// it looks at closed again after that.
	for _, s := range h.presence.All() {
		s.end(reason, true)
	}
	h.cancel()
	h.waiters.wakeAll()
}

func (h *Hub) isClosed() bool {
	h.life.RLock()
	defer h.life.RUnlock()
	return h.closed
}

// spawn runs f on a goroutine that Run waits for. It reports false when the
// hub is closed.
func (h *Hub) spawn(f func()) bool {
	h.life.RLock()
	defer h.life.RUnlock()
	if h.closed {
		return false
	}
	h.tasks.Go(f)
	return true
}

// DesiredChanged hands a change of a twin's desired section to the session of
// id, if it has one that listens. It never waits for the device.
func (h *Hub) DesiredChanged(_ context.Context, id causeway.Identity, p causeway.Patch) {
	h.metrics.TwinUpdates.WithLabelValues("desired").Inc()
	if s, ok := h.presence.Holder(id); ok {
		s.desiredChanged(p)
	}
}

// IdentityChanged ends the live session of id, and with a device that was
// deleted or disabled those of its modules. A session that rests on what the
// registry holds by now goes on: it was opened after the change, or after a
// later one.
func (h *Hub) IdentityChanged(ctx context.Context, id causeway.Identity, c registry.Change) {
	if !id.IsModule() && (c == registry.Deleted || c == registry.Disabled) {
		for _, s := range h.presence.Family(id) {
			h.endStale(ctx, s, changed(s.id, id, c))
		}
	} else if s, ok := h.presence.Holder(id); ok {
		h.endStale(ctx, s, changed(id, id, c))
	}
	if c == registry.Deleted {
		h.commands.Forget(id)
		h.waiters.wake(id)
	}
}

// changed returns why the session of an identity ends after a change of id, which
// is the same one or its device. Who was deleted learns that: it was let in before,
// and clients tell it from a proof that is no longer good.
func changed(of, id causeway.Identity, c registry.Change) error {
	code := causeway.IotHubUnauthorized
	switch {
	case c != registry.Deleted:
	case of.IsModule():
		code = causeway.ModuleNotFound
	default:
		code = causeway.DeviceNotFound
	}
	return causeway.Errorf(code, "cloudhub", "%s: %v; connect again if you still may", id, c)
}

// endStale ends a session unless its proof rests on the present state of the
// registry.
func (h *Hub) endStale(ctx context.Context, s *session, reason error) {
	a, _, err := h.look(ctx, s.id)
	if p := s.proof.Load(); err != nil || !p.restsOn(s, &a) {
		s.end(reason, true)
	}
}

// Queued says that a command of id became available.
func (h *Hub) Queued(id causeway.Identity) {
	if s, ok := h.presence.Holder(id); ok {
		s.pump()
	}
}
