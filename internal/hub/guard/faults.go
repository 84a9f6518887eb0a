package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/fault"
)

// Bounds of faults.
const (
	maxFaulty  = 10_000 // identities that are refused at a time
	maxPending = 16     // faults of one session that are still to happen
)

// Faults returns hub with clients that can ask it to misbehave, by messages of
// package fault, which are acknowledged and not stored. It is for test suites: to
// switch it on lets every client break its own connection, and none that of
// another identity, except those that share its AMQP connection.
//
// It must be the outermost decorator: the connections that it breaks are those
// of the head itself.
func Faults(hub causeway.Hub) causeway.Hub {
	return &faultHub{hub: hub, faulty: make(map[causeway.Identity]refusing)}
}

type faultHub struct {
	hub   causeway.Hub
	count atomic.Int64 // of faulty, for those who look first

	mu     sync.Mutex
	faulty map[causeway.Identity]refusing
}

// refusing is a time in which an identity is refused what it does.
type refusing struct {
	kind        fault.Kind
	reason      string
	from, until time.Time
}

// refused returns what an identity is refused with now.
func (h *faultHub) refused(id causeway.Identity) error {
	if h.count.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.faulty[id]
	now := time.Now()
	switch {
	case !ok || now.Before(r.from):
		return nil
	case !now.Before(r.until):
		delete(h.faulty, id)
		h.count.Store(int64(len(h.faulty)))
		return nil
	}
	return causeway.Errorf(r.kind.Code(), "guard.Faults", "refused, as was asked for: %s", r.reason)
}

// refuse notes a time in which an identity is refused.
func (h *faultHub) refuse(id causeway.Identity, f fault.Fault) error {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.faulty[id]; !ok && len(h.faulty) >= maxFaulty {
		for old, r := range h.faulty {
			if !now.Before(r.until) {
				delete(h.faulty, old)
			}
		}
		if len(h.faulty) >= maxFaulty {
			return causeway.Errorf(causeway.ServerBusy, "guard.Faults", "%d identities are being refused already", maxFaulty)
		}
	}
	from := now.Add(f.Delay)
	h.faulty[id] = refusing{f.Kind, f.Reason, from, from.Add(f.Duration)}
	h.count.Store(int64(len(h.faulty)))
	return nil
}

// Connect opens a session that can be broken.
func (h *faultHub) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	s, err := h.hub.Connect(ctx, cred, dev)
	if err != nil {
		return nil, err
	}
	if err := h.refused(s.Identity()); causeway.CodeOf(err) == causeway.IotHubUnauthorized {
		_ = s.Close(err)
		return nil, err
	}
	target, _ := dev.(fault.Target)
	return &faultSession{Session: s, hub: h, target: target, transport: cred.Transport, connected: dev != nil}, nil
}

type faultSession struct {
	causeway.Session
	hub       *faultHub
	target    fault.Target // nil for clients that only send
	transport causeway.Transport
	connected bool
	pending   atomic.Int64
}

// Send passes messages on, but for those that ask for a fault.
func (s *faultSession) Send(ctx context.Context, msgs ...causeway.Message) error {
	if err := s.hub.refused(s.Identity()); err != nil {
		return err
	}
	var faults []fault.Fault
	var rest []causeway.Message
	for i := range msgs {
		f, ok, err := fault.Of(&msgs[i])
		if err != nil {
			return err
		}
		switch {
		case !ok && faults != nil:
			rest = append(rest, msgs[i])
		case ok:
			if err := s.fits(f.Kind); err != nil {
				return err
			}
			if faults == nil {
				rest = append(rest, msgs[:i]...)
			}
			faults = append(faults, f)
		}
	}
	if faults == nil {
		return s.Session.Send(ctx, msgs...)
	}
	if len(rest) > 0 {
		if err := s.Session.Send(ctx, rest...); err != nil {
			return err
		}
	}
	for _, f := range faults {
		if err := s.cause(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *faultSession) fits(k fault.Kind) error {
	if k.Fits(s.transport) && (k.Lasts() || s.target != nil) {
		return nil
	}
	return causeway.Errorf(causeway.ArgumentInvalid, "guard.Faults", "the fault %s cannot be had over %s", k, s.transport)
}

// cause has a fault happen. A client that only sends has no time after its
// request: it is refused at once.
func (s *faultSession) cause(f fault.Fault) error {
	if f.Kind.Lasts() {
		if !s.connected {
			return causeway.Errorf(f.Kind.Code(), "guard.Faults", "refused, as was asked for: %s", f.Reason)
		}
		return s.hub.refuse(s.Identity(), f)
	}
	if s.pending.Add(1) > maxPending {
		s.pending.Add(-1)
		return causeway.Errorf(causeway.ThrottlingException, "guard.Faults", "%d faults of this connection are still to happen", maxPending)
	}
	time.AfterFunc(f.Delay, func() {
		s.pending.Add(-1)
		s.target.Break(f.Kind, f.Reason)
	})
	return nil
}

func (s *faultSession) Twin(ctx context.Context) (causeway.Twin, error) {
	if err := s.hub.refused(s.Identity()); err != nil {
		return causeway.Twin{}, err
	}
	return s.Session.Twin(ctx)
}

func (s *faultSession) Report(ctx context.Context, p causeway.Patch) (int64, error) {
	if err := s.hub.refused(s.Identity()); err != nil {
		return 0, err
	}
	return s.Session.Report(ctx, p)
}
