package registry

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
)

// Limits of this package beside those of the protocol.
const (
	DefaultCacheRecords = 100_000   // records kept in memory
	DefaultCacheBytes   = 256 << 20 // their documents
	DefaultMaxDevices   = 1_000_000 // of one hub
	MaxModelID          = 2048      // characters of a DTMI
	MaxNesting          = 5         // edge devices above one another

	maxAttempts  = 8           // of a write that another node's writes get in the way of
	sweepPage    = 500         // devices read at once when an edge device goes
	censusMaxAge = time.Minute // of a count of devices that lets one more in
)

// Sealer keeps keys unreadable at rest. Bind is mixed into the sealing, so that
// a sealed key moved to another record does not open there.
type Sealer interface {
	Seal(plain causeway.Secret, bind string) (causeway.Secret, error)
	Open(sealed causeway.Secret, bind string) (causeway.Secret, error)
}

// Options are what a [Service] needs.
type Options struct {
	Store        Store
	Sealer       Sealer
	CacheRecords int // 0 means DefaultCacheRecords
	CacheBytes   int // 0 means DefaultCacheBytes
	MaxDevices   int // of one hub; 0 means DefaultMaxDevices
	Log          *slog.Logger
}

// Change says what happened to an identity.
type Change uint8

// The changes a [Watcher] hears of.
const (
	Deleted            Change = iota + 1 // the identity is gone
	Disabled                             // it was disabled, or its device was
	CredentialsChanged                   // type, keys or thumbprints differ
)

// String returns the change in words that fit a log or a reason to hang up.
func (c Change) String() string {
	switch c {
	case Deleted:
		return "identity deleted"
	case Disabled:
		return "identity disabled"
	case CredentialsChanged:
		return "credentials changed"
	default:
		return fmt.Sprintf("change %d", uint8(c))
	}
}

// Watcher hears of changes after they are durable and before the call that made
// them returns.
type Watcher interface {
	// DesiredChanged hands over a change of the desired section, in the order
	// of its versions. It is called under the write lock of the identity: it
	// must neither block nor write to the registry. Get of the same identity
	// is allowed and shows the change. It may keep p.
	DesiredChanged(ctx context.Context, id causeway.Identity, p causeway.Patch)

	// IdentityChanged says that live connections of id must end. It is called
	// without locks, for a device also once for each of its modules when it is
	// deleted or disabled. Who opens a session must look the identity up again
	// once the session can be found by this call, or a change in between goes
	// unnoticed.
	IdentityChanged(ctx context.Context, id causeway.Identity, c Change)
}

// Service is the registry. It is safe for concurrent use: writes to one
// identity follow one another, writes to different ones run side by side and
// share the store's commits.
type Service struct {
	store      Store
	keys       keys
	cache      *cache
	census     census
	log        *slog.Logger
	watchers   []Watcher
	observers  []Observer
	generation atomic.Int64 // last one given out
}

// New returns a registry on o.Store. Store and Sealer are required.
func New(o Options) *Service {
	if o.Store == nil || o.Sealer == nil {
		panic("registry.New: Store and Sealer are required")
	}
	if o.CacheRecords <= 0 {
		o.CacheRecords = DefaultCacheRecords
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MaxDevices <= 0 {
		o.MaxDevices = DefaultMaxDevices
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		store:  o.Store,
		keys:   keys{o.Sealer},
		cache:  newCache(o.CacheRecords, o.CacheBytes),
		census: census{store: o.Store, limit: o.MaxDevices, hubs: map[string]*headcount{}},
		log:    o.Log,
	}
}

// Watch adds a watcher. It must be called before the service is used.
func (s *Service) Watch(w Watcher) { s.watchers = append(s.watchers, w) }

// Get returns a record with its keys in plain text. The record shares memory
// with others of the same identity and must not be written to.
//
// Codes: DeviceNotFound, ModuleNotFound.
func (s *Service) Get(ctx context.Context, id causeway.Identity) (Record, error) {
	if r := s.cache.get(id); r != nil {
		return *r, nil
	}
	l, err := s.cache.lock(ctx, id)
	if err != nil {
		return Record{}, err
	}
	defer l.unlock()
	r, err := s.current(ctx, l.entry)
	if err != nil {
		return Record{}, err
	}
	return *r, nil
}

// current returns the record of a locked entry, from the store when it is not
// in memory.
func (s *Service) current(ctx context.Context, e *entry) (*Record, error) {
	if r := e.rec.Load(); r != nil {
		return r, nil
	}
	r, err := s.peek(ctx, e.id)
	if err != nil {
		return nil, err
	}
	s.cache.set(e, &r)
	return &r, nil
}

// peek reads a record without locks, for a look at another identity.
func (s *Service) peek(ctx context.Context, id causeway.Identity) (Record, error) {
	if r := s.cache.get(id); r != nil {
		return *r, nil
	}
	r, err := s.store.Get(ctx, id)
	if err != nil {
		return Record{}, wrap(err, "read", id)
	}
	if err := s.keys.open(&r); err != nil {
		return Record{}, err
	}
	return r, nil
}

// List returns up to limit devices of a hub in the byte order of their ids,
// from the first id greater than after. Limit is at most causeway.MaxPageSize;
// anything else than 1 to that means that. Keys are in plain text.
func (s *Service) List(ctx context.Context, hub, after string, limit int) ([]Record, error) {
	if limit <= 0 || limit > causeway.MaxPageSize {
		limit = causeway.MaxPageSize
	}
	recs, err := s.store.List(ctx, hub, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list devices of hub %s: %w", hub, err)
	}
	return recs, s.keys.openAll(recs)
}

// Modules returns the modules of a device in the byte order of their ids. Keys
// are in plain text. Code: DeviceNotFound.
func (s *Service) Modules(ctx context.Context, device causeway.Identity) ([]Record, error) {
	recs, err := s.store.Modules(ctx, device.Parent())
	if err != nil {
		return nil, wrap(err, "list modules of", device.Parent())
	}
	return recs, s.keys.openAll(recs)
}

// Count returns the statistics of a hub's devices.
func (s *Service) Count(ctx context.Context, hub string) (Counts, error) {
	c, err := s.store.Count(ctx, hub)
	if err != nil {
		return Counts{}, fmt.Errorf("count devices of hub %s: %w", hub, err)
	}
	return c, nil
}

// Touch writes connection facts down. Unknown identities are skipped; a crash
// may lose the last facts.
func (s *Service) Touch(ctx context.Context, facts ...Activity) error {
	if len(facts) == 0 {
		return nil
	}
	if err := s.store.Touch(ctx, facts...); err != nil {
		return fmt.Errorf("write %d connection facts: %w", len(facts), err)
	}
	for _, f := range facts {
		s.cache.touch(f)
	}
	return nil
}

// Disconnect writes down that nobody is connected to a hub, before it serves.
func (s *Service) Disconnect(ctx context.Context, hub string) error {
	if err := s.store.Disconnect(ctx, hub); err != nil {
		return fmt.Errorf("write down that nobody is connected to hub %s: %w", hub, err)
	}
	return nil
}

// Forget drops what is kept in memory of an identity, for when another node
// changed it.
func (s *Service) Forget(id causeway.Identity) { s.cache.forget(id) }

// tell tells all watchers of a change of identities.
func (s *Service) tell(ctx context.Context, c Change, ids ...causeway.Identity) {
	for _, id := range ids {
		for _, w := range s.watchers {
			w.IdentityChanged(ctx, id, c)
		}
	}
}

// wrap says what was being done to whom; the code and the message for a client
// remain those of err.
func wrap(err error, doing string, id causeway.Identity) error {
	return fmt.Errorf("%s %s of hub %s: %w", doing, id, id.Hub, err)
}
