package cloudhub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// answerEarly is how long before the caller's own time-out a call is answered:
// SDKs give up exactly after connect plus response time-out. It applies when
// the whole wait is at least shortestEarly.
const (
	answerEarly   = 200 * time.Millisecond
	shortestEarly = 2 * time.Second
)

// Invoke calls a direct method of id. It waits up to connectWait for the
// client to be connected and to listen to methods, and up to responseWait for
// its answer; both count from now, and the whole call is answered
// [answerEarly] before both are over. A responseWait of 0 means
// [causeway.DefaultMethodWait].
//
// Codes: DeviceNotFound, ModuleNotFound, DeviceNotOnline (not connected or not
// listening in time), GatewayTimeout (no answer in time),
// DeviceConnectionClosedRemotely, DeviceMaximumInflightMethodExceeded,
// GenericBadGateway (the answer is no JSON or too large), ArgumentInvalid,
// MessageTooLarge. Errors of ctx pass through.
func (h *Hub) Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error) {
	start := time.Now()
	id.Hub = h.name
	r, err := h.invoke(ctx, id, c, connectWait, responseWait)
	h.metrics.Methods.WithLabelValues(methodResult(err)).Inc()
	if err != nil {
		return causeway.Result{}, err
	}
	h.metrics.MethodLatency.Observe(time.Since(start).Seconds())
	return r, nil
}

func methodResult(err error) string {
	switch causeway.CodeOf(err) {
	case 0:
		return "ok"
	case causeway.DeviceNotOnline:
		return "offline"
	case causeway.GatewayTimeout:
		return "timeout"
	default:
		return "failed"
	}
}

func (h *Hub) invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error) {
	const op = "cloudhub.Invoke"
	if responseWait == 0 {
		responseWait = causeway.DefaultMethodWait
	}
	switch {
	case c.Method == "" || len(c.Method) > causeway.MaxMethodName:
		return causeway.Result{}, causeway.Errorf(causeway.ArgumentInvalid, op,
			"the method name must have 1 to %d characters", causeway.MaxMethodName)
	case len(c.Payload) > causeway.MaxMethodPayload:
		return causeway.Result{}, causeway.Errorf(causeway.MessageTooLarge, op,
			"the payload has %d bytes, the limit is %d", len(c.Payload), causeway.MaxMethodPayload)
	case connectWait < 0 || connectWait > causeway.MaxMethodTimeout || responseWait < 0 || responseWait > causeway.MaxMethodTimeout:
		return causeway.Result{}, causeway.Errorf(causeway.ArgumentInvalid, op,
			"time-outs must be between 0 and %v", causeway.MaxMethodTimeout)
	}
	if len(c.Payload) == 0 {
		c.Payload = []byte("null")
	}
	now := time.Now()
	end := now.Add(connectWait + responseWait)
	if connectWait+responseWait >= shortestEarly {
		end = end.Add(-answerEarly)
	}
	s, life, err := h.awaitMethods(ctx, id, now.Add(connectWait))
	if err != nil {
		return causeway.Result{}, err
	}
	defer s.endCall()
	if t := time.Now().Add(responseWait); t.Before(end) {
		end = t
	}
	return s.call(ctx, life, c, end)
}

// awaitMethods returns a session of id that listens to methods, with one call
// counted on it, and the context that ends with it.
func (h *Hub) awaitMethods(ctx context.Context, id causeway.Identity, until time.Time) (*session, context.Context, error) {
	const op = "cloudhub.Invoke"
	if s, life, err := h.beginCall(id); s != nil || err != nil {
		return s, life, err
	}
	if _, err := h.registry.Get(ctx, id); err != nil {
		return nil, nil, err
	}
	offline := causeway.Errorf(causeway.DeviceNotOnline, op, "%s is not connected, or does not listen to direct methods", id)
	wait := time.Until(until)
	if wait <= 0 {
		return nil, nil, offline
	}
	w, ok := h.waiters.join(id)
	if !ok {
		return nil, nil, tooManyCalls(id)
	}
	defer h.waiters.leave(id, w)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		// The signal is taken before looking, so that a Listen in between is
		// not missed.
		woken := h.waiters.signal(w)
		if h.isClosed() {
			return nil, nil, causeway.Errorf(causeway.ServiceUnavailable, op, "the hub is shutting down; try again in a moment")
		}
		if s, life, err := h.beginCall(id); s != nil || err != nil {
			return s, life, err
		}
		if _, err := h.registry.Get(ctx, id); err != nil {
			return nil, nil, err // deleted meanwhile
		}
		select {
		case <-woken:
		case <-timer.C:
			return nil, nil, offline
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func tooManyCalls(id causeway.Identity) *causeway.Error {
	return causeway.Errorf(causeway.DeviceMaximumInflightMethodExceeded, "cloudhub.Invoke",
		"%s already has %d direct methods in flight; try again when some are answered", id, causeway.MaxInflightMethods)
}

// beginCall counts a call on the session of id; s is nil when there is none
// that listens.
func (h *Hub) beginCall(id causeway.Identity) (_ *session, life context.Context, _ error) {
	s, ok := h.presence.Holder(id)
	if !ok {
		return nil, nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lanes.Has(causeway.LaneMethods) {
		return nil, nil, nil
	}
	if s.calls >= causeway.MaxInflightMethods {
		return nil, nil, tooManyCalls(id)
	}
	s.calls++
	return s, s.lifeLocked(), nil
}

func (s *session) endCall() {
	s.mu.Lock()
	s.calls--
	s.mu.Unlock()
}

// call hands c to the device and judges its answer.
func (s *session) call(ctx, life context.Context, c causeway.Call, end time.Time) (causeway.Result, error) {
	const op = "cloudhub.Invoke"
	limited, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	stop := context.AfterFunc(life, cancel)
	defer stop()
	r, err := s.dev.Invoke(limited, c)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return r, ctx.Err()
	case s.ending.Load() != nil:
		return r, connectionLost(op, err)
	case errors.Is(err, context.DeadlineExceeded) || limited.Err() != nil:
		return r, causeway.Errorf(causeway.GatewayTimeout, op, "%s did not answer in time", s.id)
	case causeway.CodeOf(err) == causeway.ServerError:
		return r, connectionLost(op, err)
	default:
		return r, err
	}
	s.last.Store(time.Now().UnixMilli())
	if len(r.Payload) > causeway.MaxMethodPayload {
		return r, causeway.Errorf(causeway.GenericBadGateway, op,
			"the device answered with %d bytes, the limit is %d", len(r.Payload), causeway.MaxMethodPayload)
	}
	if r.Payload = bytes.TrimSpace(r.Payload); len(r.Payload) > 0 && !(json.Valid(r.Payload) && utf8.Valid(r.Payload)) {
		return r, causeway.Errorf(causeway.GenericBadGateway, op, "the device answered with something that is not JSON")
	}
	return r, nil
}

func connectionLost(op string, err error) *causeway.Error {
	return &causeway.Error{
		Code: causeway.DeviceConnectionClosedRemotely, Op: op, Err: err,
		Msg: "the connection of the device ended before it answered",
	}
}
