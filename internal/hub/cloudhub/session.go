package cloudhub

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// session is one connection of an identity. Idle, it costs its own size, a
// slot in presence and one in the expiry heap.
type session struct {
	hub        *Hub
	dev        causeway.Device // nil: the client only sends
	id         causeway.Identity
	generation string
	partition  eventlog.Partition
	since      int64 // Unix milliseconds
	last       atomic.Int64
	proof      atomic.Pointer[proof]
	ending     atomic.Pointer[ending] // nil while open

	expires atomic.Int64 // Unix nanoseconds, 0 for never; written under expiries.mu
	slot    int          // in the expiry heap, -1 outside; guarded by expiries.mu

	mu     sync.Mutex
	lanes  causeway.Lane
	calls  int             // direct methods in flight
	life   context.Context // of callbacks; made when first needed
	cancel context.CancelFunc

	desired  desiredState
	commands commandState
}

// proof is what a session was let in by; Renew replaces it.
type proof struct {
	auth         string // iothub-connection-auth-method
	model        string // announced by the client, "" for none
	etag, device string // of the records it rests on
	grounds      string // what of the hub it rests on, "" for nothing
}

// restsOn reports whether p, the proof of s, was judged by the records of a.
func (p *proof) restsOn(s *session, a *admission) bool {
	return a.generation == s.generation && a.record.ETag == p.etag && a.device == p.device
}

// ending is why a session ended.
type ending struct{ reason error }

var _ causeway.Session = (*session)(nil)

func (h *Hub) newSession(a admission, cred causeway.Credential, dev causeway.Device) *session {
	now := time.Now().UnixMilli()
	s := &session{
		hub: h, dev: dev, id: a.record.ID, generation: a.generation,
		partition: Partition(a.record.ID.Device, h.events.Partitions()),
		since:     now, slot: -1,
	}
	s.last.Store(now)
	s.proof.Store(h.newProof(a, cred.ModelID))
	if dev == nil && !a.expires.IsZero() {
		s.expires.Store(a.expires.UnixNano())
	}
	return s
}

func (h *Hub) newProof(a admission, model string) *proof {
	text, ok := h.proofs[proofKey{a.method.Scope, a.method.Type}]
	if !ok {
		text = a.method.JSON()
	}
	return &proof{auth: text, model: model, etag: a.record.ETag, device: a.device, grounds: a.method.Grounds}
}

// Identity returns the authenticated identity.
func (s *session) Identity() causeway.Identity { return s.id }

// Generation returns the registry generation of the identity.
func (s *session) Generation() string { return s.generation }

// Since returns when the session was opened.
func (s *session) Since() time.Time { return time.UnixMilli(s.since) }

// LastActivity returns when the client was last heard of or written to.
func (s *session) LastActivity() time.Time { return time.UnixMilli(s.last.Load()) }

// open returns why the session may no longer act, or nil. A session past its
// expiry ends here if the timer has not ended it yet.
func (s *session) open(now time.Time) error {
	if e := s.ending.Load(); e != nil {
		return e.reason
	}
	if at := s.expires.Load(); at != 0 && now.UnixNano() >= at {
		s.end(expired(), true)
		return s.ending.Load().reason
	}
	return nil
}

// act is open for calls of the client: it also notes the activity.
func (s *session) act() error {
	now := time.Now()
	if err := s.open(now); err != nil {
		return err
	}
	s.last.Store(now.UnixMilli())
	return nil
}

// after replaces an error of a call that the session's end overtook.
func (s *session) after(err error) error {
	if err != nil {
		if e := s.ending.Load(); e != nil {
			return e.reason
		}
	}
	return err
}

func expired() *causeway.Error {
	return causeway.Errorf(causeway.IotHubUnauthorized, "cloudhub",
		"the token has expired; connect again with a new one")
}

// end ends the session once: the first reason stands. Locks go back to the
// queue, presence is withdrawn, callbacks are cancelled, and with hangup the
// device is told. It never blocks.
func (s *session) end(reason error, hangup bool) bool {
	if !s.ending.CompareAndSwap(nil, &ending{reason}) {
		return false
	}
	h := s.hub
	if s.dev != nil {
		h.expiries.remove(s)
		if h.presence.Release(s, time.Now()) {
			h.metrics.Sessions.Dec()
		}
	}
	s.mu.Lock()
	s.lanes = 0
	locks := s.commands.takeLocks()
	s.commands.rests()
	s.desired.queue = nil
	cancel := s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if len(locks) > 0 {
		h.commands.Unlock(s.id, locks...)
	}
	if hangup && s.dev != nil {
		h.log.Debug("session hung up", obs.KeyID, s.id, obs.KeyReason, reason)
		s.dev.Hangup(reason)
	}
	return true
}

// lifeLocked returns the context of callbacks, which ends with the session;
// s.mu is held and the session is open.
func (s *session) lifeLocked() context.Context {
	if s.life == nil {
		s.life, s.cancel = context.WithCancel(s.hub.base)
	}
	return s.life
}

// Close ends the session.
func (s *session) Close(reason error) error {
	ended := causeway.Errorf(causeway.IotHubUnauthorized, "cloudhub", "the session is closed")
	ended.Err = reason
	if s.end(ended, false) && reason != nil && !errors.Is(reason, context.Canceled) {
		s.hub.log.Debug("session closed", obs.KeyID, s.id, obs.KeyReason, reason)
	}
	return nil
}

// Twin returns the client's twin.
func (s *session) Twin(ctx context.Context) (causeway.Twin, error) {
	if err := s.act(); err != nil {
		return causeway.Twin{}, err
	}
	t, err := s.hub.registry.DeviceTwin(ctx, s.id)
	if err != nil {
		return causeway.Twin{}, s.after(err)
	}
	s.hub.metrics.TwinReads.Inc()
	return t, nil
}

// Report merges p into the reported section.
func (s *session) Report(ctx context.Context, p causeway.Patch) (version int64, err error) {
	if err := s.act(); err != nil {
		return 0, err
	}
	version, err = s.hub.registry.Report(ctx, s.id, p)
	if err != nil {
		return 0, s.after(err)
	}
	s.hub.metrics.TwinUpdates.WithLabelValues("reported").Inc()
	return version, nil
}

// Listen replaces the set of lanes. Commands in flight go back to their queue
// when the client no longer listens to commands.
func (s *session) Listen(_ context.Context, lanes causeway.Lane) error {
	if err := s.act(); err != nil {
		return err
	}
	if s.dev == nil && lanes != 0 {
		return causeway.Errorf(causeway.InvalidOperation, "cloudhub.Listen", "this connection can only send")
	}
	s.mu.Lock()
	if e := s.ending.Load(); e != nil {
		s.mu.Unlock()
		return e.reason
	}
	added, removed := lanes&^s.lanes, s.lanes&^lanes
	s.lanes = lanes
	var locks []causeway.LockToken
	if removed.Has(causeway.LaneCommands) {
		locks = s.commands.takeLocks()
	}
	if removed.Has(causeway.LaneDesired) {
		s.desired.clear()
	}
	s.mu.Unlock()
	if len(locks) > 0 {
		s.hub.commands.Unlock(s.id, locks...)
	}
	if added.Has(causeway.LaneMethods) {
		s.hub.waiters.wake(s.id)
	}
	if lanes.Has(causeway.LaneCommands) {
		s.ready()
	}
	return nil
}

// Renew replaces the proof of the session and moves its expiry. A model id that
// comes with the proof replaces the one that was announced before.
func (s *session) Renew(ctx context.Context, cred causeway.Credential) error {
	const op = "cloudhub.Renew"
	if err := s.act(); err != nil {
		return err
	}
	cred.Identity.Hub = s.id.Hub
	if cred.Identity != s.id {
		return causeway.Errorf(causeway.IotHubUnauthorized, op, "a session of %s cannot be renewed for %s", s.id, cred.Identity)
	}
	a, err := s.hub.authenticate(ctx, cred)
	if err != nil {
		return s.after(err)
	}
	if a.generation != s.generation {
		return auth.Unauthorized(op, errors.New("the identity was created anew"))
	}
	s.proof.Store(s.hub.newProof(a, cmp.Or(cred.ModelID, s.proof.Load().model)))
	if s.dev == nil {
		var at int64
		if !a.expires.IsZero() {
			at = a.expires.UnixNano()
		}
		s.expires.Store(at)
	} else {
		s.hub.expiries.set(s, a.expires)
	}
	if !s.hub.current.Load().vouches(a.method.Grounds) { // changed since they were looked at
		s.end(groundless(s.id), true)
	}
	if err := s.hub.announceModel(ctx, s, a.record.Twin.ModelID); err != nil {
		return s.after(err)
	}
	return s.open(time.Now())
}
