package cloudhub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// maxConnectAttempts bounds how often Connect starts over because the identity
// changed under it.
const maxConnectAttempts = 4

// Connect opens a session; see [causeway.Hub].
func (h *Hub) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	s, err := h.connect(ctx, cred, dev)
	if err != nil {
		h.metrics.Refused.WithLabelValues(refusal(err)).Inc()
		return nil, err
	}
	return s, nil
}

// refusal names why a client was refused, for a metric.
func refusal(err error) string {
	if r := auth.Reason(err); r != "other" {
		return r
	}
	return causeway.CodeOf(err).Name()
}

func (h *Hub) connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (*session, error) {
	const op = "cloudhub.Connect"
	if h.isClosed() {
		return nil, causeway.Errorf(causeway.ServiceUnavailable, op, "the hub is shutting down; connect again in a moment")
	}
	if cred.Host != "" && !h.current.Load().answersTo(sas.Host(cred.Host)) {
		return nil, unknownHost(cred.Host)
	}
	id := cred.Identity
	id.Hub = h.name
	if id.Device == "" || len(id.Device) > causeway.MaxIDLength || len(id.Module) > causeway.MaxIDLength {
		return nil, auth.Unauthorized(op, auth.ErrUnknown)
	}
	cred.Identity = id

	a, err := h.authenticate(ctx, cred)
	for range maxConnectAttempts {
		if err != nil {
			return nil, err
		}
		if dev == nil {
			s := h.newSession(a, cred, nil)
			h.presence.Seen(s.id, time.Now(), a.record.ConnectionStateUpdated)
			return s, h.announceModel(ctx, s, a.record.Twin.ModelID)
		}
		var s *session
		var changed bool
		if s, a, changed, err = h.claim(ctx, a, cred, dev); err != nil {
			return nil, err
		}
		if changed {
			continue
		}
		if err := h.announceModel(ctx, s, a.record.Twin.ModelID); err != nil {
			s.end(err, false)
			return nil, err
		}
		if ended := s.ending.Load(); ended != nil {
			if causeway.CodeOf(ended.reason).HTTPStatus() == 404 { // who is not let in is not told what exists
				return nil, auth.Unauthorized(op, ended.reason)
			}
			return nil, ended.reason
		}
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, causeway.Errorf(causeway.ServerBusy, op, "%s is being changed; connect again in a moment", id)
}

// admission is a decision to let a client in, with what it was based on.
type admission struct {
	record     registry.Record
	device     string // etag of the device, for a module
	method     causeway.AuthMethod
	expires    time.Time
	generation string
}

// same reports whether b rests on the same facts, so that a's proof still holds.
func (a *admission) same(b *admission) bool {
	return a.generation == b.generation && a.record.ETag == b.record.ETag && a.device == b.device
}

// authenticate decides about cred by the registry's present state. An unknown
// identity and a bad proof give the same answer.
func (h *Hub) authenticate(ctx context.Context, cred causeway.Credential) (admission, error) {
	now := time.Now()
	a, device, err := h.look(ctx, cred.Identity)
	if err != nil {
		return a, h.unknown(now, cred, err)
	}
	a.method, err = prove(now, cred, a.record.Subject(device), h.Realm())
	if err != nil {
		return a, err
	}
	a.expires = sessionEnd(now, a.method)
	return a, nil
}

// prove decides whether cred is of s, for what it is about.
func prove(now time.Time, cred causeway.Credential, s auth.Subject, r auth.Realm) (causeway.AuthMethod, error) {
	if cred.Path == "" {
		return auth.Device(now, cred, s, r)
	}
	return auth.DeviceRequest(now, cred, cred.Path, s, r)
}

// unknown returns what a client is told whose identity does not exist. Who makes
// a single request with the token of a policy may know: the policy vouches for
// every identity.
func (h *Hub) unknown(now time.Time, cred causeway.Credential, err error) error {
	if cred.Path == "" || !errors.Is(err, auth.ErrUnknown) {
		return err
	}
	nobody := auth.Subject{ID: cred.Identity, Type: auth.None}
	if _, refused := prove(now, cred, nobody, h.Realm()); refused != nil {
		return err
	}
	if cred.Identity.IsModule() {
		return causeway.Errorf(causeway.ModuleNotFound, "cloudhub.Connect", "the module %q does not exist", cred.Identity)
	}
	return causeway.Errorf(causeway.DeviceNotFound, "cloudhub.Connect", "the device %q does not exist", cred.Identity)
}

// sessionEnd returns when a session that is opened now by m ends: with its
// proof. A token is taken for a while after its expiry, in case the clock of
// the client is slow; a session opened in that while lasts until its end.
func sessionEnd(now time.Time, m causeway.AuthMethod) time.Time {
	if !m.Expires.IsZero() && !m.Expires.After(now) {
		return m.Expires.Add(causeway.TokenSkew)
	}
	return m.Expires
}

// look reads what the registry knows of id; device is nil unless id is a module.
func (h *Hub) look(ctx context.Context, id causeway.Identity) (a admission, device *registry.Record, err error) {
	const op = "cloudhub.Connect"
	if a.record, err = h.registry.Get(ctx, id); err == nil && id.IsModule() {
		var d registry.Record
		if d, err = h.registry.Get(ctx, id.Parent()); err == nil {
			device, a.device = &d, d.ETag
		}
	}
	switch causeway.CodeOf(err) {
	case 0:
		a.generation = a.record.GenerationID
		return a, device, nil
	case causeway.DeviceNotFound, causeway.ModuleNotFound:
		return a, nil, auth.Unauthorized(op, fmt.Errorf("%w: %w", auth.ErrUnknown, err))
	default:
		return a, nil, err
	}
}

// claim makes a session the holder of its identity, ends the one it replaces,
// and looks at the registry again. changed tells the caller to try once more
// with the returned admission.
func (h *Hub) claim(ctx context.Context, a admission, cred causeway.Credential, dev causeway.Device) (_ *session, _ admission, changed bool, _ error) {
	s := h.newSession(a, cred, dev)
	old, had, ok := h.presence.Claim(s, false)
	if !ok {
		// The holder belongs to another generation of the identity. If ours is
		// the present one it is stale and about to be hung up.
		b, _, err := h.look(ctx, s.id)
		if err != nil {
			return nil, a, false, err
		}
		if b.generation != a.generation {
			b, err = h.authenticate(ctx, cred)
			return nil, b, true, err
		}
		old, had, _ = h.presence.Claim(s, true)
	}
	if !had {
		h.metrics.Sessions.Inc()
	} else {
		h.metrics.Takeovers.Inc()
		old.end(causeway.Errorf(causeway.ConnectionForcefullyClosedOnNewConnection, "cloudhub",
			"%s connected again elsewhere", s.id), true)
	}
	h.expiries.set(s, a.expires)
	if h.isClosed() {
		err := causeway.Errorf(causeway.ServiceUnavailable, "cloudhub.Connect", "the hub is shutting down; connect again in a moment")
		s.end(err, false)
		return nil, a, false, err
	}

	b, _, err := h.look(ctx, s.id)
	if err == nil && a.same(&b) && h.current.Load().vouches(a.method.Grounds) {
		return s, a, false, nil
	}
	if err == nil {
		b, err = h.authenticate(ctx, cred)
	}
	s.end(auth.Unauthorized("cloudhub.Connect", errors.New("the identity, or what the hub vouches for, changed while the session was opened")), false)
	return nil, b, true, err
}

// announceModel stores the model id that a client announced, if it is new.
func (h *Hub) announceModel(ctx context.Context, s *session, known string) error {
	model := s.proof.Load().model
	if model == "" || model == known {
		return nil
	}
	return h.registry.SetModel(ctx, s.id, model)
}

func unknownHost(host string) *causeway.Error {
	return causeway.Errorf(causeway.IotHubNotFound, "cloudhub.Connect", "no hub answers to the host name %q", host)
}
