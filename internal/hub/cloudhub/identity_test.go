package cloudhub_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
)

// hooked is a registry that runs hook after its n-th Get of a device.
type hooked struct {
	*registry.Service
	gets atomic.Int64
	at   int64
	hook func()
	// stale, when set, is what the first Get answers.
	stale atomic.Pointer[registry.Record]
}

func (h *hooked) Get(ctx context.Context, id causeway.Identity) (registry.Record, error) {
	if r := h.stale.Swap(nil); r != nil {
		return *r, nil
	}
	r, err := h.Service.Get(ctx, id)
	if h.hook != nil && h.gets.Add(1) == h.at {
		h.hook()
	}
	return r, err
}

// TestIdentityChangesDuringConnect: whatever happens to an identity while it
// connects, no session survives that its present record would not admit.
func TestIdentityChangesDuringConnect(t *testing.T) {
	id := causeway.Identity{Device: "d1"}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, c *cloud)
		admit  bool // the old credential is still good
	}{
		{"disabled", func(t *testing.T, c *cloud) { c.Disable(t, id) }, false},
		{"new keys", func(t *testing.T, c *cloud) { c.Rekey(t, id) }, false},
		{"deleted", func(t *testing.T, c *cloud) { c.Delete(t, id) }, false},
		{"created anew", func(t *testing.T, c *cloud) { c.Delete(t, id); c.Add(t, "d1", "") }, false},
		{"created anew with the same keys", func(t *testing.T, c *cloud) {
			r := c.record(t, id)
			c.Delete(t, id)
			if _, err := c.registry.Create(context.Background(), registry.Record{ID: r.ID, Enabled: true, Auth: r.Auth}); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"described anew", func(t *testing.T, c *cloud) {
			c.change(t, id, func(r *registry.Record) { r.StatusReason = "painted blue" })
		}, true},
	} {
		for at := range 4 {
			t.Run(fmt.Sprintf("%s/after look %d", c.name, at+1), func(t *testing.T) {
				var reg *hooked
				w := newCloudOn(t, func(s *registry.Service) cloudhub.Registry { reg = &hooked{Service: s}; return reg })
				cred := w.Add(t, "d1", "")
				reg.hook = sync.OnceFunc(func() { reg.at = 0; c.change(t, w) })
				reg.at = int64(at + 1) // in this goroutine only
				r := hubtest.NewRecorder()
				s, err := w.set.Connect(t.Context(), cred, r)
				reg.hook() // unless Connect looked often enough
				var open error
				if err == nil {
					open = s.Send(t.Context(), causeway.Message{Body: []byte("x")})
				}
				switch {
				case c.admit && err == nil && open == nil:
					if got := w.Telemetry(t, "d1"); got[0].GenerationID != w.record(t, id).GenerationID {
						t.Errorf("stored with generation %s, the device is %s", got[0].GenerationID, w.record(t, id).GenerationID)
					}
				case c.admit && at >= 1 && strings.HasPrefix(c.name, "created anew"):
					// Created anew after the last look: hung up, and welcome again.
					refused(t, err, open)
				case c.admit:
					t.Errorf("refused: %v %v", err, open)
				default:
					refused(t, err, open)
					if w.Connected(t, cred.Identity) {
						t.Error("a refused session is still present")
					}
				}
			})
		}
	}
}

// refused: a client is not told that its device is gone before it is let in.
func refused(t *testing.T, connect, send error) {
	t.Helper()
	if connect != nil {
		hubtest.WantCode(t, connect, causeway.IotHubUnauthorized)
		return
	}
	hubtest.WantCode(t, send, causeway.IotHubUnauthorized, causeway.DeviceNotFound)
}

// TestLateNews: word of a deletion that comes after the device was created anew
// and has connected does not touch the new session.
func TestLateNews(t *testing.T) {
	c := newCloud(t)
	cred := c.Add(t, "d1", "")
	c.Delete(t, cred.Identity)
	s, r, _ := online(t, c, "d1", 0)
	for _, change := range []registry.Change{registry.Deleted, registry.Disabled, registry.CredentialsChanged} {
		c.set.IdentityChanged(t.Context(), cred.Identity, change)
	}
	r.Alive(t)
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), 0)
}

// TestStaleConnectDoesNotTakeOver: a Connect that was let in by a record that
// is no more does not end the session of the device created since.
func TestStaleConnectDoesNotTakeOver(t *testing.T) {
	var reg *hooked
	c := newCloudOn(t, func(s *registry.Service) cloudhub.Registry { reg = &hooked{Service: s}; return reg })
	old := c.Add(t, "d1", "")
	gone := c.record(t, old.Identity)
	c.Delete(t, old.Identity)
	s, r, _ := online(t, c, "d1", 0)
	reg.stale.Store(&gone)
	_, err := c.set.Connect(t.Context(), old, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.IotHubUnauthorized)
	r.Alive(t)
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), 0)
}
