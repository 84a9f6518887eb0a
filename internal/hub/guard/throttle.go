package guard

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/quota"
)

// Throttle returns hub with what clients do held to the limits of their hub:
// connections, messages, and the reading and changing of twins. Limits finds them
// by the host name that a client asked for; nil is no limit.
//
// What comes too often is delayed, so that a head reads no more meanwhile, and
// refused when that lasts too long. A connection counts when it is tried: that a
// client proves itself costs as much as that it connects.
func Throttle(hub causeway.Hub, limits func(host string) *quota.Limiter) causeway.Hub {
	return &throttleHub{hub, limits}
}

type throttleHub struct {
	hub    causeway.Hub
	limits func(host string) *quota.Limiter
}

// Connect opens a throttled session. Clients that only send open one for every
// request, which is counted as what it does.
func (h *throttleHub) Connect(ctx context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	l := h.limits(cred.Host)
	if dev != nil {
		if err := l.Enter(ctx, quota.Connections, 1); err != nil {
			return nil, err
		}
	}
	s, err := h.hub.Connect(ctx, cred, dev)
	if err != nil || l == nil {
		return s, err
	}
	return &throttleSession{s, l}, nil
}

type throttleSession struct {
	causeway.Session
	limits *quota.Limiter
}

func (s *throttleSession) Send(ctx context.Context, msgs ...causeway.Message) error {
	counted, err := s.limits.Send(ctx, msgs)
	if err != nil {
		return err
	}
	if err = s.Session.Send(ctx, msgs...); err != nil {
		counted.Refund()
	}
	return err
}

func (s *throttleSession) Twin(ctx context.Context) (causeway.Twin, error) {
	if err := s.limits.Enter(ctx, quota.TwinReads, 1); err != nil {
		return causeway.Twin{}, err
	}
	return s.Session.Twin(ctx)
}

func (s *throttleSession) Report(ctx context.Context, p causeway.Patch) (int64, error) {
	if err := s.limits.Enter(ctx, quota.TwinUpdates, 1); err != nil {
		return 0, err
	}
	return s.Session.Report(ctx, p)
}
