package hubtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-iot/causeway"
)

// fakeSession is a session of a Fake. Its fields are guarded by the Fake's
// mutex. One goroutine per session hands commands and changes over, so that a
// slow device holds up nobody else.
type fakeSession struct {
	hub        *Fake
	id         causeway.Identity
	dev        causeway.Device
	generation string
	model      string
	life       context.Context
	cancel     context.CancelFunc
	kick       chan struct{}
	expiry     *time.Timer
	lanes      causeway.Lane
	patches    []causeway.Patch
	restUntil  time.Time // after a failed delivery
	stalled    bool      // the client had no credit, and has not said that it has
	asked      int       // how often it has said so
	drains     []chan struct{}
	calls      int
	ended      error
}

// fakeRest is how long a Fake waits after a failed delivery.
const fakeRest = 50 * time.Millisecond

func (s *fakeSession) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// begin takes the lock if the session is open.
func (s *fakeSession) begin() (*fakeIdentity, error) {
	s.hub.mu.Lock()
	if s.ended != nil {
		s.hub.mu.Unlock()
		return nil, s.ended
	}
	return s.hub.ids[s.id], nil
}

// Identity returns whom the session belongs to.
func (s *fakeSession) Identity() causeway.Identity { return s.id }

// end ends the session once.
func (s *fakeSession) end(reason error, hangup bool) {
	f := s.hub
	f.mu.Lock()
	if s.ended != nil {
		f.mu.Unlock()
		return
	}
	s.ended, s.lanes, s.patches = reason, 0, nil
	if s.expiry != nil {
		s.expiry.Stop()
	}
	if d := f.ids[s.id]; d != nil {
		delete(d.sendOnly, s)
		if d.session == s {
			d.session = nil
		}
		s.free(d)
	}
	f.signal()
	f.mu.Unlock()
	s.cancel()
	if hangup && s.dev != nil {
		s.dev.Hangup(reason)
	}
}

// free gives the commands held by s back; the lock is held.
func (s *fakeSession) free(d *fakeIdentity) {
	for _, c := range d.queue {
		if c.holder == s {
			c.holder = nil
		}
	}
	if d.session != nil {
		d.session.wake()
	}
}

// Close ends the session.
func (s *fakeSession) Close(reason error) error {
	ended := causeway.Errorf(causeway.IotHubUnauthorized, "hubtest", "the session is closed")
	ended.Err = reason
	s.end(ended, false)
	return nil
}

// Send keeps copies of msgs.
func (s *fakeSession) Send(ctx context.Context, msgs ...causeway.Message) error {
	const op = "hubtest.Send"
	if _, err := s.begin(); err != nil {
		return err
	}
	s.hub.mu.Unlock()
	for i := range msgs {
		if msgs[i].Size() > causeway.MaxMessageSize {
			return causeway.Errorf(causeway.MessageTooLarge, op, "message too large")
		}
		if len(msgs[i].ID) > causeway.MaxMessageID {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "message id too long")
		}
	}
	if s.hub.OnSend != nil {
		if err := s.hub.OnSend(ctx, s.id, msgs); err != nil {
			return err
		}
	}
	if _, err := s.begin(); err != nil {
		return err
	}
	defer s.hub.mu.Unlock()
	scope := causeway.ScopeDevice
	if s.id.IsModule() {
		scope = causeway.ScopeModule
	}
	for i := range msgs {
		m := msgs[i].Clone()
		m.From, m.GenerationID, m.ModelID = s.id, s.generation, s.model
		m.Auth = causeway.AuthMethod{Scope: scope, Type: "sas"}.JSON()
		m.Enqueued, m.Source = time.Now().UTC(), causeway.SourceTelemetry
		m.Sequence, m.DeliveryCount, m.Lock = int64(len(s.hub.stored)), 0, causeway.LockToken{}
		m.Properties = slices.DeleteFunc(m.Properties, func(p causeway.Property) bool {
			return strings.HasPrefix(p.Key, "iothub-connection-") || p.Key == "iothub-enqueuedtime" || p.Key == "iothub-message-source"
		})
		s.hub.stored = append(s.hub.stored, m)
	}
	return nil
}

// Twin returns the twin.
func (s *fakeSession) Twin(ctx context.Context) (causeway.Twin, error) {
	if s.hub.OnTwin != nil {
		if err := s.hub.OnTwin(ctx, s.id); err != nil {
			return causeway.Twin{}, err
		}
	}
	d, err := s.begin()
	if err != nil {
		return causeway.Twin{}, err
	}
	defer s.hub.mu.Unlock()
	return causeway.Twin{
		Desired: section(d.desired, d.desiredVersion), DesiredVersion: d.desiredVersion,
		Reported: section(d.reported, d.reportedVersion), ReportedVersion: d.reportedVersion,
	}, nil
}

// Report merges into the reported section.
func (s *fakeSession) Report(ctx context.Context, p causeway.Patch) (int64, error) {
	const op = "hubtest.Report"
	if s.hub.OnReport != nil {
		if err := s.hub.OnReport(ctx, s.id, p); err != nil {
			return 0, err
		}
	}
	d, err := s.begin()
	if err != nil {
		return 0, err
	}
	defer s.hub.mu.Unlock()
	patch, err := object(p.Properties)
	if err != nil {
		return 0, causeway.Errorf(causeway.DeserializationError, op, "the patch is not a JSON object")
	}
	for k := range patch {
		if strings.ContainsAny(k, ". $") {
			return 0, causeway.Errorf(causeway.ArgumentInvalid, op, "key %q has a character that is not allowed", k)
		}
	}
	if p.Version != 0 && p.Version != d.reportedVersion {
		return 0, causeway.Errorf(causeway.PreconditionFailed, op, "the reported section has version %d", d.reportedVersion)
	}
	merge(d.reported, patch)
	d.reportedVersion++
	return d.reportedVersion, nil
}

// Listen replaces the lanes.
func (s *fakeSession) Listen(_ context.Context, lanes causeway.Lane) error {
	d, err := s.begin()
	if err != nil {
		return err
	}
	defer s.hub.mu.Unlock()
	if s.dev == nil && lanes != 0 {
		return causeway.Errorf(causeway.InvalidOperation, "hubtest.Listen", "this session can only send")
	}
	s.lanes = lanes
	s.stalled = false
	s.asked++
	if !lanes.Has(causeway.LaneCommands) {
		s.free(d)
	}
	if !lanes.Has(causeway.LaneDesired) {
		s.patches = nil
	}
	s.hub.signal()
	s.wake()
	return nil
}

// Drain waits until there is nothing more to hand over.
func (s *fakeSession) Drain(ctx context.Context) error {
	if _, err := s.begin(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.drains = append(s.drains, done)
	s.hub.mu.Unlock()
	s.wake()
	select {
	case <-done:
		return nil
	case <-s.life.Done():
		_, err := s.begin()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Settle ends a delivery.
func (s *fakeSession) Settle(_ context.Context, lock causeway.LockToken, o causeway.Outcome) error {
	const op = "hubtest.Settle"
	d, err := s.begin()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(d.queue, func(c *fakeCommand) bool { return c.holder == s && c.message.Lock == lock })
	if i < 0 || o > causeway.Released {
		s.hub.mu.Unlock()
		if o > causeway.Released {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "unknown outcome %d", o)
		}
		return causeway.Errorf(causeway.DeviceMessageLockLost, op, "the lock is gone")
	}
	c := d.queue[i]
	m := c.message
	if o == causeway.Released && c.message.DeliveryCount+1 < causeway.MaxDeliveryCount {
		c.holder = nil
		c.message.DeliveryCount++
	} else {
		d.queue = slices.Delete(d.queue, i, i+1)
	}
	s.stalled = false
	s.asked++
	s.wake()
	s.hub.mu.Unlock()
	if s.hub.OnSettle != nil {
		s.hub.OnSettle(s.id, m, o)
	}
	return nil
}

// Renew moves the expiry.
func (s *fakeSession) Renew(_ context.Context, cred causeway.Credential) error {
	if _, err := s.begin(); err != nil {
		return err
	}
	defer s.hub.mu.Unlock()
	if s.hub.canonical(cred.Identity) != s.id {
		return causeway.Errorf(causeway.IotHubUnauthorized, "hubtest.Renew", "a proof of another identity")
	}
	expires, err := s.hub.admit(s.id, cred)
	if err != nil {
		return err
	}
	s.hub.setExpiry(s, expires)
	return nil
}

// work hands over changes and commands until the session ends.
func (s *fakeSession) work() {
	for {
		s.hub.mu.Lock()
		drains := s.drains
		s.drains = nil
		s.hub.mu.Unlock()
		for s.step() {
		}
		for _, d := range drains {
			close(d)
		}
		select {
		case <-s.kick:
		case <-s.life.Done():
			return
		}
	}
}

// step hands one thing over and reports whether there may be more.
func (s *fakeSession) step() bool {
	d, err := s.begin()
	if err != nil {
		return false
	}
	if len(s.patches) > 0 {
		p := s.patches[0]
		s.patches = s.patches[1:]
		s.hub.mu.Unlock()
		if err := s.dev.Desired(s.life, p); err != nil {
			s.end(causeway.Errorf(causeway.ServiceUnavailable, "hubtest", "a desired change was not taken: %v", err), true)
			return false
		}
		return true
	}
	c := s.nextCommand(d)
	if c == nil {
		s.hub.mu.Unlock()
		return false
	}
	c.holder = s
	s.hub.locks++
	c.message.Lock = causeway.LockToken{}
	binary.BigEndian.PutUint64(c.message.Lock[8:], s.hub.locks)
	m := c.message
	asked := s.asked
	s.hub.mu.Unlock()
	if err := s.dev.Deliver(s.life, m); err != nil {
		s.hub.mu.Lock()
		if c.holder == s {
			c.holder = nil
		}
		if errors.Is(err, causeway.ErrNoCredit) {
			s.stalled = s.asked == asked
			s.hub.mu.Unlock()
			return true
		}
		s.restUntil = time.Now().Add(fakeRest)
		s.hub.mu.Unlock()
		time.AfterFunc(fakeRest, s.wake)
		return false
	}
	return true
}

// nextCommand returns the oldest free command if the window allows it; the
// lock is held.
func (s *fakeSession) nextCommand(d *fakeIdentity) *fakeCommand {
	if s.stalled || !s.lanes.Has(causeway.LaneCommands) || time.Now().Before(s.restUntil) {
		return nil
	}
	var free *fakeCommand
	held := 0
	for _, c := range d.queue {
		switch {
		case c.holder == s:
			held++
		case c.holder == nil && free == nil:
			free = c
		}
	}
	if held >= causeway.MaxDeliveryInFlight {
		return nil
	}
	return free
}

// Invoke calls a direct method.
func (f *Fake) Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error) {
	const op = "hubtest.Invoke"
	id = f.canonical(id)
	if c.Method == "" || len(c.Method) > causeway.MaxMethodName || len(c.Payload) > causeway.MaxMethodPayload {
		return causeway.Result{}, causeway.Errorf(causeway.ArgumentInvalid, op, "method name or payload is too short or too long")
	}
	if len(c.Payload) == 0 {
		c.Payload = []byte("null")
	}
	s, err := f.listening(ctx, id, connectWait)
	if err != nil {
		return causeway.Result{}, err
	}
	defer func() {
		f.mu.Lock()
		s.calls--
		f.mu.Unlock()
	}()
	limited, cancel := context.WithTimeout(ctx, responseWait-min(responseWait/4, 200*time.Millisecond))
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	r, err := s.dev.Invoke(limited, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return causeway.Result{}, ctx.Err()
	case err != nil && s.life.Err() != nil:
		return causeway.Result{}, causeway.Errorf(causeway.DeviceConnectionClosedRemotely, op, "the connection ended: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return causeway.Result{}, causeway.Errorf(causeway.GatewayTimeout, op, "no answer in time")
	case err != nil:
		return causeway.Result{}, err
	}
	r.Payload = bytes.TrimSpace(r.Payload)
	if len(r.Payload) > causeway.MaxMethodPayload || len(r.Payload) > 0 && !(json.Valid(r.Payload) && utf8.Valid(r.Payload)) {
		return causeway.Result{}, causeway.Errorf(causeway.GenericBadGateway, op, "the answer is no JSON or too large")
	}
	return r, nil
}

// listening waits for a session of id that listens to methods, and counts a
// call on it.
func (f *Fake) listening(ctx context.Context, id causeway.Identity, wait time.Duration) (*fakeSession, error) {
	const op = "hubtest.Invoke"
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		f.mu.Lock()
		d, changed := f.ids[id], f.changed
		switch {
		case d == nil && f.ids[id.Parent()] != nil:
			f.mu.Unlock()
			return nil, causeway.Errorf(causeway.ModuleNotFound, op, "%s is not registered", id)
		case d == nil:
			f.mu.Unlock()
			return nil, causeway.Errorf(causeway.DeviceNotFound, op, "%s is not registered", id)
		case d.session != nil && d.session.lanes.Has(causeway.LaneMethods):
			s := d.session
			defer f.mu.Unlock()
			if s.calls >= causeway.MaxInflightMethods {
				return nil, causeway.Errorf(causeway.DeviceMaximumInflightMethodExceeded, op, "too many calls of %s", id)
			}
			s.calls++
			return s, nil
		}
		f.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return nil, causeway.Errorf(causeway.DeviceNotOnline, op, "%s is not online", id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// object parses a JSON object.
func object(b []byte) (map[string]any, error) {
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// merge is RFC 7396 on maps.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		switch p := v.(type) {
		case nil:
			delete(into, k)
		case map[string]any:
			sub, ok := into[k].(map[string]any)
			if !ok {
				sub = make(map[string]any)
				into[k] = sub
			}
			merge(sub, p)
		default:
			into[k] = v
		}
	}
}

// section encodes a section with its version.
func section(m map[string]any, version int64) []byte {
	with := make(map[string]any, len(m)+1)
	for k, v := range m {
		with[k] = v
	}
	with["$version"] = version
	return encode(with)
}

// encode returns the JSON text of a map that came from JSON.
func encode(m map[string]any) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		return []byte("{}") // not reached: every value was decoded from JSON
	}
	return b
}
