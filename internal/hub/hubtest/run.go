package hubtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

// Open makes a hub without identities and its admin for one test, and sees to
// their end with t.Cleanup.
type Open func(t *testing.T) (causeway.Hub, Admin)

// Run holds a Hub to the contract.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"Connect", testConnect},
		{"ConnectRefused", testConnectRefused},
		{"Takeover", testTakeover},
		{"TakeoverRace", testTakeoverRace},
		{"SendOnly", testSendOnly},
		{"ModuleBesideDevice", testModuleBesideDevice},
		{"Close", testClose},
		{"Disable", testDisable},
		{"Delete", testDelete},
		{"Rekey", testRekey},
		{"Expiry", testExpiry},
		{"SendStamps", testSendStamps},
		{"SendBorrows", testSendBorrows},
		{"SendTooLarge", testSendTooLarge},
		{"SendOrder", testSendOrder},
		{"Twin", testTwin},
		{"Report", testReport},
		{"Desired", testDesired},
		{"DesiredNotListening", testDesiredNotListening},
		{"DesiredNoneLost", testDesiredNoneLost},
		{"Commands", testCommands},
		{"CommandWindow", testCommandWindow},
		{"CommandReleased", testCommandReleased},
		{"CommandLockLost", testCommandLockLost},
		{"CommandsAfterClose", testCommandsAfterClose},
		{"CommandsAfterTakeover", testCommandsAfterTakeover},
		{"CommandRefused", testCommandRefused},
		{"CommandNoCredit", testCommandNoCredit},
		{"Drain", testDrain},
		{"Method", testMethod},
		{"MethodOffline", testMethodOffline},
		{"MethodConnectWait", testMethodConnectWait},
		{"MethodTimeout", testMethodTimeout},
		{"MethodConnectionLost", testMethodConnectionLost},
		{"MethodBadAnswer", testMethodBadAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			hub, admin := open(t)
			c.test(t, &world{Admin: admin, hub: hub})
		})
	}
}

// world is a hub under test with shorthands.
type world struct {
	Admin
	hub causeway.Hub
}

func (w *world) connect(t *testing.T, cred causeway.Credential, dev causeway.Device) causeway.Session {
	t.Helper()
	s, err := w.hub.Connect(t.Context(), cred, dev)
	if err != nil {
		t.Fatalf("connect %s: %v", cred.Identity, err)
	}
	t.Cleanup(func() { s.Close(nil) })
	return s
}

// device adds and connects a device with a recorder.
func (w *world) device(t *testing.T, name string, lanes causeway.Lane) (causeway.Session, *Recorder, causeway.Credential) {
	t.Helper()
	cred := w.Add(t, name, "")
	r := NewRecorder()
	s := w.connect(t, cred, r)
	listen(t, s, lanes)
	return s, r, cred
}

func listen(t *testing.T, s causeway.Session, lanes causeway.Lane) {
	t.Helper()
	if err := s.Listen(t.Context(), lanes); err != nil {
		t.Fatalf("listen: %v", err)
	}
}

func send(t *testing.T, s causeway.Session, bodies ...string) {
	t.Helper()
	msgs := make([]causeway.Message, len(bodies))
	for i, b := range bodies {
		msgs[i].Body = []byte(b)
	}
	if err := s.Send(t.Context(), msgs...); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// dead checks that an ended session refuses everything.
func dead(t *testing.T, s causeway.Session, codes ...causeway.Code) {
	t.Helper()
	ctx := t.Context()
	WantCode(t, s.Send(ctx, causeway.Message{Body: []byte("late")}), codes...)
	_, err := s.Twin(ctx)
	WantCode(t, err, codes...)
	_, err = s.Report(ctx, causeway.Patch{Properties: []byte(`{"late":true}`)})
	WantCode(t, err, codes...)
	WantCode(t, s.Listen(ctx, causeway.LaneCommands), codes...)
	WantCode(t, s.Settle(ctx, causeway.LockToken{1}, causeway.Accepted), codes...)
}

func testConnect(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	asked := cred
	asked.Identity.Hub = ""
	s := w.connect(t, asked, NewRecorder())
	if got := s.Identity(); got != (causeway.Identity{Hub: cred.Identity.Hub, Device: "d1"}) {
		t.Errorf("the session is of %+v", got)
	}
	Eventually(t, "connection state", func() bool { return w.Connected(t, cred.Identity) })
}

func testConnectRefused(t *testing.T, w *world) {
	good := w.Add(t, "d1", "")
	connect := func(change func(c *causeway.Credential)) error {
		c := good
		change(&c)
		s, err := w.hub.Connect(t.Context(), c, NewRecorder())
		if err == nil {
			s.Close(nil)
		}
		return err
	}
	unknown := connect(func(c *causeway.Credential) { c.Identity.Device = "nobody" })
	WantCode(t, unknown, causeway.IotHubUnauthorized)
	forged := connect(func(c *causeway.Credential) { c.Token = forge(c.Token) })
	WantCode(t, forged, causeway.IotHubUnauthorized)
	WantCode(t, connect(func(c *causeway.Credential) { c.Token = "" }), causeway.IotHubUnauthorized)
	WantCode(t, connect(func(c *causeway.Credential) { c.Identity.Module = "nobody" }), causeway.IotHubUnauthorized)
	WantCode(t, connect(func(c *causeway.Credential) { c.Identity.Device = "D1" }), causeway.IotHubUnauthorized)
	WantCode(t, connect(func(c *causeway.Credential) { c.Host = "elsewhere.example" }), causeway.IotHubNotFound)
	WantCode(t, connect(func(*causeway.Credential) {}), 0)
	if a, b := causeway.MessageOf(unknown), causeway.MessageOf(forged); a != b {
		t.Errorf("an unknown identity is told %q, a bad proof %q: they must not be told apart", a, b)
	}
}

// forge changes one character in the middle of a token.
func forge(token causeway.Secret) causeway.Secret {
	b := []byte(token)
	i := len(b) / 2
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return causeway.Secret(b)
}

func testTakeover(t *testing.T, w *world) {
	old, oldDev, cred := w.device(t, "d1", causeway.LaneDesired)
	r := NewRecorder()
	s := w.connect(t, cred, r)
	listen(t, s, causeway.LaneDesired)
	WantCode(t, oldDev.HungUp(t), causeway.ConnectionForcefullyClosedOnNewConnection)
	dead(t, old, causeway.ConnectionForcefullyClosedOnNewConnection)
	if err := old.Close(errors.New("connection reset")); err != nil {
		t.Errorf("close the old session: %v", err)
	}
	if !w.Connected(t, cred.Identity) {
		t.Error("closing the session that was taken over withdrew the presence of the newer one")
	}
	w.SetDesired(t, cred.Identity, `{"a":1}`)
	r.Patch(t)
	oldDev.NoPatch(t)
	send(t, s, "still here")
	r.Alive(t)
}

func testTakeoverRace(t *testing.T, w *world) {
	const n = 8
	cred := w.Add(t, "d1", "")
	sessions := make([]causeway.Session, n)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			s, err := w.hub.Connect(t.Context(), cred, NewRecorder())
			switch causeway.CodeOf(err) {
			case 0:
				sessions[i] = s
			case causeway.ConnectionForcefullyClosedOnNewConnection:
			default:
				t.Errorf("connect: %v", err)
			}
		})
	}
	wg.Wait()
	open := 0
	for _, s := range sessions {
		if s == nil {
			continue
		}
		switch err := s.Send(t.Context(), causeway.Message{}); causeway.CodeOf(err) {
		case 0:
			open++
		case causeway.ConnectionForcefullyClosedOnNewConnection:
			s.Close(nil)
		default:
			t.Errorf("send: %v", err)
		}
	}
	if open != 1 {
		t.Errorf("%d of %d racing sessions are open, want 1", open, n)
	}
	if !w.Connected(t, cred.Identity) {
		t.Error("the device is not connected after the race")
	}
	for _, s := range sessions {
		if s != nil {
			s.Close(nil)
		}
	}
	Eventually(t, "disconnection", func() bool { return !w.Connected(t, cred.Identity) })
}

func testSendOnly(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", 0)
	only := w.connect(t, cred, nil)
	send(t, only, "from beside")
	r.Alive(t)
	send(t, s, "from within")
	if err := only.Close(nil); err != nil {
		t.Errorf("close: %v", err)
	}
	if !w.Connected(t, cred.Identity) {
		t.Error("a session that only sends withdrew the presence of another")
	}
	other := w.Add(t, "d2", "")
	w.connect(t, other, nil)
	if w.Connected(t, other.Identity) {
		t.Error("a session that only sends counts as connected")
	}
}

func testModuleBesideDevice(t *testing.T, w *world) {
	s, r, dev := w.device(t, "d1", 0)
	mod := w.Add(t, "d1", "m1")
	mr := NewRecorder()
	m := w.connect(t, mod, mr)
	if got := m.Identity(); got.Module != "m1" || got.Device != "d1" {
		t.Errorf("the module's session is of %+v", got)
	}
	send(t, s, "device")
	send(t, m, "module")
	r.Alive(t)
	m.Close(nil)
	Eventually(t, "disconnection of the module", func() bool { return !w.Connected(t, mod.Identity) })
	if !w.Connected(t, dev.Identity) {
		t.Error("the device went with its module")
	}
	got := w.Telemetry(t, "d1")
	if len(got) != 2 || got[0].From.Module != "" || got[1].From.Module != "m1" {
		t.Errorf("stored messages: %+v", got)
	}
}

func testClose(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands)
	for range 2 {
		if err := s.Close(nil); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	dead(t, s, causeway.IotHubUnauthorized, causeway.ConnectionForcefullyClosedOnNewConnection)
	Eventually(t, "disconnection", func() bool { return !w.Connected(t, cred.Identity) })
	r.NoMessage(t)
	send(t, w.connect(t, cred, NewRecorder()), "again")
}

func testDisable(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", 0)
	mod := w.Add(t, "d1", "m1")
	mr := NewRecorder()
	m := w.connect(t, mod, mr)
	w.Disable(t, cred.Identity)
	WantCode(t, r.HungUp(t), causeway.IotHubUnauthorized)
	WantCode(t, mr.HungUp(t), causeway.IotHubUnauthorized)
	dead(t, s, causeway.IotHubUnauthorized)
	dead(t, m, causeway.IotHubUnauthorized)
	for _, c := range []causeway.Credential{cred, mod} {
		_, err := w.hub.Connect(t.Context(), c, NewRecorder())
		WantCode(t, err, causeway.IotHubUnauthorized)
	}
}

func testDelete(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", 0)
	only := w.connect(t, cred, nil)
	mod := w.Add(t, "d1", "m1")
	mr := NewRecorder()
	w.connect(t, mod, mr)
	w.Delete(t, cred.Identity)
	WantCode(t, r.HungUp(t), causeway.DeviceNotFound)
	WantCode(t, mr.HungUp(t), causeway.ModuleNotFound)
	dead(t, s, causeway.DeviceNotFound)
	Eventually(t, "the end of the session that only sends", func() bool {
		return causeway.CodeOf(only.Send(t.Context(), causeway.Message{})) == causeway.IotHubUnauthorized
	})
	stored := len(w.Telemetry(t, "d1"))
	w.Add(t, "d1", "")
	dead(t, s, causeway.DeviceNotFound)
	WantCode(t, only.Send(t.Context(), causeway.Message{Body: []byte("late")}), causeway.IotHubUnauthorized)
	if got := len(w.Telemetry(t, "d1")); got != stored {
		t.Errorf("%d messages of a stale session were stored for the new device", got-stored)
	}
}

func testRekey(t *testing.T, w *world) {
	s, r, old := w.device(t, "d1", 0)
	fresh := w.Rekey(t, old.Identity)
	WantCode(t, r.HungUp(t), causeway.IotHubUnauthorized)
	dead(t, s, causeway.IotHubUnauthorized)
	_, err := w.hub.Connect(t.Context(), old, NewRecorder())
	WantCode(t, err, causeway.IotHubUnauthorized)
	send(t, w.connect(t, fresh, NewRecorder()), "with the new key")
}

// testExpiry lets one session expire and renews another, side by side.
func testExpiry(t *testing.T, w *world) {
	first := time.Now().Add(2 * time.Second)
	id := w.Add(t, "d1", "").Identity
	r := NewRecorder()
	s := w.connect(t, w.Expiring(t, id, first), r)

	full := w.Add(t, "d2", "")
	renewedDev := NewRecorder()
	renewed := w.connect(t, w.Expiring(t, full.Identity, first), renewedDev)
	other := w.Expiring(t, id, time.Now().Add(time.Hour))
	WantCode(t, renewed.Renew(t.Context(), other), causeway.IotHubUnauthorized)
	bad := full
	bad.Token = forge(bad.Token)
	WantCode(t, renewed.Renew(t.Context(), bad), causeway.IotHubUnauthorized)
	if err := renewed.Renew(t.Context(), full); err != nil {
		t.Fatalf("renew: %v", err)
	}

	send(t, s, "in time")
	WantCode(t, r.HungUp(t), causeway.IotHubUnauthorized)
	dead(t, s, causeway.IotHubUnauthorized)
	_, err := w.hub.Connect(t.Context(), w.Expiring(t, id, time.Now().Add(-time.Hour)), NewRecorder())
	WantCode(t, err, causeway.IotHubUnauthorized)

	<-time.After(time.Until(first) + quiet)
	renewedDev.Alive(t)
	send(t, renewed, "after the first token")
}

// ctxWait bounds one call that should end by itself.
func ctxWait(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}
