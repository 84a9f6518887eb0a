package cloudhub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
)

func connect(t testing.TB, c *cloud, cred causeway.Credential, dev causeway.Device, lanes causeway.Lane) causeway.Session {
	t.Helper()
	s, err := c.set.Connect(context.Background(), cred, dev)
	if err != nil {
		t.Fatalf("connect %s: %v", cred.Identity, err)
	}
	if err := s.Listen(context.Background(), lanes); err != nil {
		t.Fatalf("listen: %v", err)
	}
	return s
}

func online(t testing.TB, c *cloud, device string, lanes causeway.Lane) (causeway.Session, *hubtest.Recorder, causeway.Credential) {
	t.Helper()
	cred := c.Add(t, device, "")
	r := hubtest.NewRecorder()
	return connect(t, c, cred, r, lanes), r, cred
}

func TestSessionEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		id := c.Add(t, "d1", "").Identity
		c.Add(t, "d2", "")
		start := time.Now()
		r := hubtest.NewRecorder()
		s := connect(t, c, c.Expiring(t, id, start.Add(time.Minute)), r, 0)
		late := hubtest.NewRecorder()
		connect(t, c, c.Expiring(t, causeway.Identity{Device: "d2"}, start.Add(2*time.Minute)), late, 0)

		hubtest.WantCode(t, r.HungUpWithin(t, time.Hour), causeway.IotHubUnauthorized)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("hung up after %v", took)
		}
		hubtest.WantCode(t, s.Send(t.Context()), causeway.IotHubUnauthorized)
		late.Alive(t)
		hubtest.WantCode(t, late.HungUpWithin(t, time.Hour), causeway.IotHubUnauthorized)
		if took := time.Since(start); took != 2*time.Minute {
			t.Errorf("the second was hung up after %v", took)
		}

		// A client whose clock is slow comes in for the tolerated skew.
		r = hubtest.NewRecorder()
		start = time.Now()
		connect(t, c, c.Expiring(t, id, start.Add(-time.Minute)), r, 0)
		hubtest.WantCode(t, r.HungUpWithin(t, time.Hour), causeway.IotHubUnauthorized)
		if took := time.Since(start); took != causeway.TokenSkew-time.Minute {
			t.Errorf("a session in the tolerated skew ended after %v", took)
		}
	})
}

// TestRenewalsReorderExpiries: sessions end in the order of their present
// proofs, not of those they were opened with.
func TestRenewalsReorderExpiries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		start := time.Now()
		ends := make(chan string, 4)
		ids := map[string]causeway.Identity{}
		for i, name := range []string{"a", "b", "c", "d"} {
			ids[name] = c.Add(t, name, "").Identity
			s := connect(t, c, c.Expiring(t, ids[name], start.Add(time.Duration(i+1)*time.Minute)), hangups(func() { ends <- name }), 0)
			renewed := map[string]time.Duration{"a": 5 * time.Minute, "d": 30 * time.Second}[name]
			if renewed == 0 {
				continue
			}
			if err := s.Renew(t.Context(), c.Expiring(t, ids[name], start.Add(renewed))); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []struct {
			name string
			at   time.Duration
		}{{"d", 30 * time.Second}, {"b", 2 * time.Minute}, {"c", 3 * time.Minute}, {"a", 5 * time.Minute}} {
			name := <-ends
			if at := time.Since(start); name != want.name || at != want.at {
				t.Errorf("%s ended after %v, want %s after %v", name, at, want.name, want.at)
			}
		}
	})
}

// hangups is a device that only hears of its end.
type hangups func()

func (hangups) Deliver(context.Context, causeway.Message) error { return nil }
func (hangups) Desired(context.Context, causeway.Patch) error   { return nil }
func (hangups) Invoke(context.Context, causeway.Call) (causeway.Result, error) {
	return causeway.Result{}, nil
}
func (h hangups) Hangup(error) { h() }

// TestExpiredSendOnly: nobody watches the clock of a client that only sends, it
// is refused all the same.
func TestExpiredSendOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		id := c.Add(t, "d1", "").Identity
		s, err := c.set.Connect(t.Context(), c.Expiring(t, id, time.Now().Add(time.Minute)), nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - time.Second) //nolint:forbidigo // simulated time
		hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), 0)
		time.Sleep(time.Second) //nolint:forbidigo // simulated time
		hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), causeway.IotHubUnauthorized)
		hubtest.WantCode(t, s.Listen(t.Context(), causeway.LaneCommands), causeway.IotHubUnauthorized)
	})
}

func TestInvokeTiming(t *testing.T) {
	never := func(ctx context.Context, _ causeway.Call) (causeway.Result, error) {
		<-ctx.Done()
		return causeway.Result{}, ctx.Err()
	}
	for _, c := range []struct {
		name              string
		connect, response time.Duration
		onlineAfter       time.Duration // negative: never
		code              causeway.Code
		took              time.Duration
	}{
		{"offline", 0, 30 * time.Second, -1, causeway.DeviceNotOnline, 0},
		{"offline after waiting", 10 * time.Second, 5 * time.Second, -1, causeway.DeviceNotOnline, 10 * time.Second},
		{"no answer", 0, 30 * time.Second, 0, causeway.GatewayTimeout, 29800 * time.Millisecond},
		{"default response time", 0, 0, 0, causeway.GatewayTimeout, 29800 * time.Millisecond},
		{"no answer with unused connect time", 20 * time.Second, 10 * time.Second, 0, causeway.GatewayTimeout, 10 * time.Second},
		{"no answer after late connect", 20 * time.Second, 10 * time.Second, 19900 * time.Millisecond, causeway.GatewayTimeout, 29800 * time.Millisecond},
		{"too short to be early", 0, time.Second, 0, causeway.GatewayTimeout, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCloud(t)
				cred := w.Add(t, "d1", "")
				r := hubtest.NewRecorder()
				r.Answer = never
				switch {
				case c.onlineAfter == 0:
					connect(t, w, cred, r, causeway.LaneMethods)
				case c.onlineAfter > 0:
					go func() {
						time.Sleep(c.onlineAfter) //nolint:forbidigo // simulated time
						connect(t, w, cred, r, causeway.LaneMethods)
					}()
				}
				start := time.Now()
				_, err := w.hub.Invoke(t.Context(), cred.Identity, causeway.Call{Method: "m"}, c.connect, c.response)
				hubtest.WantCode(t, err, c.code)
				if took := time.Since(start); took != c.took {
					t.Errorf("answered after %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestInvokeWaitsForWhoever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		cred := c.Add(t, "d1", "")
		call := causeway.Call{Method: "m"}
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.hub.Invoke(context.Background(), cred.Identity, call, time.Minute, time.Second)
				errs <- err
			}()
		}
		synctest.Wait()
		// Deleted while it is waited for: known at once.
		c.Delete(t, cred.Identity)
		for range 2 {
			hubtest.WantCode(t, <-errs, causeway.DeviceNotFound)
		}
		// The caller gives up.
		cred = c.Add(t, "d1", "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.hub.Invoke(ctx, cred.Identity, call, time.Minute, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline gives %v", err)
		}
		// The hub goes down.
		go func() {
			_, err := c.hub.Invoke(context.Background(), cred.Identity, call, time.Minute, time.Second)
			errs <- err
		}()
		synctest.Wait()
		c.hub.Close()
		hubtest.WantCode(t, <-errs, causeway.ServiceUnavailable)
	})
}

func TestInvokeInFlightBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		cred := c.Add(t, "d1", "")
		release := make(chan struct{})
		r := hubtest.NewRecorder()
		r.Answer = func(context.Context, causeway.Call) (causeway.Result, error) {
			<-release
			return causeway.Result{Status: 200}, nil
		}
		invoke := func(wait time.Duration) error {
			_, err := c.hub.Invoke(context.Background(), cred.Identity, causeway.Call{Method: "m"}, wait, 30*time.Second)
			return err
		}
		errs := make(chan error, 2*causeway.MaxInflightMethods)
		for range causeway.MaxInflightMethods {
			go func() { errs <- invoke(time.Minute) }()
		}
		synctest.Wait()
		hubtest.WantCode(t, invoke(time.Minute), causeway.DeviceMaximumInflightMethodExceeded) // waiting
		s := connect(t, c, cred, r, causeway.LaneMethods)
		synctest.Wait()
		hubtest.WantCode(t, invoke(0), causeway.DeviceMaximumInflightMethodExceeded) // called
		close(release)
		for range causeway.MaxInflightMethods {
			hubtest.WantCode(t, <-errs, 0)
		}
		hubtest.WantCode(t, invoke(0), 0)
		s.Close(nil)
	})
}

// TestCommandNeverSettled: the lock of a command runs out and it comes again,
// over and over, without closing the window for others.
func TestCommandNeverSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		_, r, cred := online(t, c, "d1", causeway.LaneCommands)
		for i := range causeway.MaxDeliveryInFlight {
			c.Enqueue(t, cred.Identity, causeway.Message{Body: fmt.Append(nil, i)})
		}
		for round := range 3 {
			for i := range causeway.MaxDeliveryInFlight {
				m := r.MessageWithin(t, causeway.CommandLock+5*time.Second)
				if string(m.Body) != fmt.Sprint(i) || m.DeliveryCount != 0 {
					t.Fatalf("round %d: command %q with count %d, want %d", round, m.Body, m.DeliveryCount, i)
				}
			}
		}
	})
}

// TestDeliveryRests: a device that refuses is not asked in a tight loop.
func TestDeliveryRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		cred := c.Add(t, "d1", "")
		var calls atomic.Int64
		r := hubtest.NewRecorder()
		r.Refuse = func(causeway.Message) error { calls.Add(1); return errors.New("no") }
		s := connect(t, c, cred, r, causeway.LaneCommands)
		c.Enqueue(t, cred.Identity, causeway.Message{})
		time.Sleep(9500 * time.Millisecond) //nolint:forbidigo // simulated time
		if n := calls.Load(); n != 10 {
			t.Errorf("the command was handed over %d times in 9.5 s, want 10", n)
		}
		s.Close(nil)
		time.Sleep(10 * time.Second) //nolint:forbidigo // simulated time
		if n := calls.Load(); n != 10 {
			t.Errorf("the command was handed over after the session ended")
		}
	})
}

func TestSlowDeviceIsHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		cred := c.Add(t, "d1", "")
		r := hubtest.NewRecorder()
		r.Slow = func(ctx context.Context, _ causeway.Patch) error { <-ctx.Done(); return ctx.Err() }
		s := connect(t, c, cred, r, causeway.LaneDesired)
		start := time.Now()
		for i := range 100 {
			c.SetDesired(t, cred.Identity, fmt.Sprintf(`{"n":%d}`, i))
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("a slow device held the writers of its twin up for %v", took)
		}
		hubtest.WantCode(t, r.HungUp(t), causeway.ServiceUnavailable)
		hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), causeway.ServiceUnavailable)

		// By size: changes of 28 KiB, one in hand and nine waiting.
		r = hubtest.NewRecorder()
		r.Slow = func(ctx context.Context, _ causeway.Patch) error { <-ctx.Done(); return ctx.Err() }
		connect(t, c, cred, r, causeway.LaneDesired)
		for i := range 10 {
			c.SetDesired(t, cred.Identity, large(i))
			synctest.Wait()
		}
		r.Alive(t)
		c.SetDesired(t, cred.Identity, large(10))
		hubtest.WantCode(t, r.HungUp(t), causeway.ServiceUnavailable)
	})
}

// large returns a patch of about 28 KiB that replaces the one before.
func large(n int) string {
	props := map[string]string{}
	for k := range 7 {
		props[fmt.Sprint("k", k)] = strings.Repeat(string(rune('a'+n)), 4<<10)
	}
	b, _ := json.Marshal(props)
	return string(b)
}

func TestFailedDesiredHangsUp(t *testing.T) {
	c := newCloud(t)
	cred := c.Add(t, "d1", "")
	r := hubtest.NewRecorder()
	r.Slow = func(context.Context, causeway.Patch) error { return errors.New("broken pipe") }
	connect(t, c, cred, r, causeway.LaneDesired)
	c.SetDesired(t, cred.Identity, `{"a":1}`)
	reason := r.HungUp(t)
	hubtest.WantCode(t, reason, causeway.ServiceUnavailable)
	if msg := causeway.MessageOf(reason); strings.Contains(msg, "broken pipe") {
		t.Errorf("the client is told an internal cause: %q", msg)
	}
}

func TestFactsAreWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		s, _, cred := online(t, c, "d1", 0)
		at := time.Now().UTC()
		time.Sleep(presence.FlushInterval) //nolint:forbidigo // simulated time
		synctest.Wait()
		if r := c.record(t, cred.Identity); !r.Connected || !r.ConnectionStateUpdated.Equal(at) || !r.LastActivity.Equal(at) {
			t.Errorf("after connecting at %v: %v %v %v", at, r.Connected, r.ConnectionStateUpdated, r.LastActivity)
		}
		// Activity of those who stay connected follows at leisure, but State
		// knows at once.
		time.Sleep(time.Minute) //nolint:forbidigo // simulated time
		active := time.Now().UTC()
		if err := s.Send(t.Context(), causeway.Message{}); err != nil {
			t.Fatal(err)
		}
		if st := c.hub.State(cred.Identity); !st.Connected || !st.LastActivity.Equal(active) || !st.Updated.Equal(at) {
			t.Errorf("state after a send at %v is %+v", active, st)
		}
		time.Sleep(2 * presence.ActivityInterval) //nolint:forbidigo // simulated time
		synctest.Wait()
		if r := c.record(t, cred.Identity); !r.LastActivity.Equal(active) {
			t.Errorf("last activity written down is %v, want %v", r.LastActivity, active)
		}
		// Facts of a disconnection just before the end are not lost.
		gone := time.Now().UTC()
		s.Close(nil)
		if st := c.hub.State(cred.Identity); st.Connected || !st.Updated.Equal(gone) || !st.LastActivity.Equal(active) {
			t.Errorf("state after the end at %v is %+v", gone, st)
		}
		c.stop()
		if r := c.record(t, cred.Identity); r.Connected || !r.ConnectionStateUpdated.Equal(gone) {
			t.Errorf("written down at the end: %v at %v, want false at %v", r.Connected, r.ConnectionStateUpdated, gone)
		}
	})
}

func TestRunEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		s, r, cred := online(t, c, "d1", causeway.LaneCommands|causeway.LaneMethods|causeway.LaneDesired)
		blocked := c.Add(t, "d2", "")
		b := hubtest.NewRecorder()
		b.Slow = func(ctx context.Context, _ causeway.Patch) error { <-ctx.Done(); return ctx.Err() }
		connect(t, c, blocked, b, causeway.LaneDesired)
		c.SetDesired(t, blocked.Identity, `{"a":1}`)
		c.stop() // returns although a device blocks
		hubtest.WantCode(t, r.HungUp(t), causeway.ServiceUnavailable)
		hubtest.WantCode(t, b.HungUp(t), causeway.ServiceUnavailable)
		hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), causeway.ServiceUnavailable)
		_, err := c.set.Connect(t.Context(), cred, hubtest.NewRecorder())
		hubtest.WantCode(t, err, causeway.ServiceUnavailable)
		if n := c.hub.ConnectedCount(); n != 0 {
			t.Errorf("%d devices are connected to a closed hub", n)
		}
		if c.record(t, cred.Identity).Connected {
			t.Error("the registry has the device connected after the end")
		}
	})
}
