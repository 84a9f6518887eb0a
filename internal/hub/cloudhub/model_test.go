package cloudhub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"pgregory.net/rapid"
)

// TestTakeoverModel compares random connects, ends and uses of sessions of a
// few identities with a model: the newest session that was not ended is open,
// all others are dead, and presence says so.
func TestTakeoverModel(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	creds := []causeway.Credential{c.Add(t, "d1", ""), c.Add(t, "d1", "m1"), c.Add(t, "d2", "")}
	type session struct {
		causeway.Session
		cred int
		want causeway.Code // 0 while open
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []*session
		open := make([]*session, len(creds))
		pick := func(t *rapid.T) *session {
			if len(all) == 0 {
				t.Skip("no session yet")
			}
			return rapid.SampledFrom(all).Draw(t, "session")
		}
		t.Repeat(map[string]func(*rapid.T){
			"connect": func(t *rapid.T) {
				i := rapid.IntRange(0, len(creds)-1).Draw(t, "identity")
				s, err := c.set.Connect(context.Background(), creds[i], hubtest.NewRecorder())
				if err != nil {
					t.Fatal(err)
				}
				if open[i] != nil {
					open[i].want = causeway.ConnectionForcefullyClosedOnNewConnection
				}
				open[i] = &session{Session: s, cred: i}
				all = append(all, open[i])
			},
			"close": func(t *rapid.T) {
				s := pick(t)
				s.Close(errors.New("gone"))
				if s.want == 0 {
					s.want, open[s.cred] = causeway.IotHubUnauthorized, nil
				}
			},
			"": func(t *rapid.T) {
				for _, s := range all {
					if got := causeway.CodeOf(s.Listen(context.Background(), causeway.LaneMethods)); got != s.want {
						t.Fatalf("a session of %v gives %v, want %v", creds[s.cred].Identity, got, s.want)
					}
				}
				devices := 0
				for i, cred := range creds {
					if got := c.hub.State(cred.Identity).Connected; got != (open[i] != nil) {
						t.Fatalf("%v is connected: %v", cred.Identity, got)
					}
					if open[i] != nil && !cred.Identity.IsModule() {
						devices++
					}
				}
				if got := c.hub.ConnectedCount(); got != devices {
					t.Fatalf("%d devices are connected, want %d", got, devices)
				}
			},
		})
		for _, s := range all {
			s.Close(nil)
		}
	})
}

// TestStorm drives everything at once: every command is settled, nothing is
// left behind.
func TestStorm(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	const devices, commands = 4, 40
	var creds []causeway.Credential
	for i := range devices {
		creds = append(creds, c.Add(t, fmt.Sprint("d", i), ""))
	}
	done := make(chan struct{})
	var producers, clients sync.WaitGroup
	for _, cred := range creds {
		producers.Go(func() {
			for i := range commands {
				for {
					err := c.commands.Enqueue(context.Background(), cred.Identity, causeway.Message{Body: fmt.Append(nil, i)}, "1")
					if err == nil {
						break
					}
					if causeway.CodeOf(err) != causeway.DeviceMaximumQueueDepthExceeded {
						t.Errorf("enqueue: %v", err)
						return
					}
					runtime.Gosched()
				}
				c.SetDesired(t, cred.Identity, fmt.Sprintf(`{"n":%d}`, i))
			}
		})
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				d := &settler{}
				s, err := c.set.Connect(context.Background(), cred, d)
				if err != nil {
					t.Errorf("connect: %v", err)
					return
				}
				d.session.Store(&s)
				if err := s.Listen(context.Background(), causeway.LaneCommands|causeway.LaneDesired|causeway.LaneMethods); err != nil {
					t.Errorf("listen: %v", err)
				}
				for range rand.IntN(20) {
					_ = s.Send(context.Background(), causeway.Message{Body: []byte("x")})
					_, _ = c.hub.Invoke(context.Background(), cred.Identity, causeway.Call{Method: "m"}, 0, time.Second)
				}
				if rand.IntN(2) == 0 {
					s.Close(nil)
				}
			}
		})
	}
	producers.Wait()
	hubtest.Eventually(t, "that all commands are settled", func() bool {
		n := 0
		for _, cred := range creds {
			n += c.Depth(t, cred.Identity)
		}
		return n == 0
	})
	close(done)
	clients.Wait()
	c.hub.Close()
	if n := c.hub.ConnectedCount(); n != 0 {
		t.Errorf("%d devices are still connected", n)
	}
	if n := value(t, c.metrics.Sessions); n != 0 {
		t.Errorf("the gauge counts %v sessions", n)
	}
}

// settler accepts every command and takes everything else.
type settler struct {
	session atomic.Pointer[causeway.Session]
}

func (d *settler) Deliver(ctx context.Context, m causeway.Message) error {
	if s := d.session.Load(); s != nil {
		_ = (*s).Settle(ctx, m.Lock, causeway.Accepted)
	}
	return nil
}
func (d *settler) Desired(context.Context, causeway.Patch) error { return nil }
func (d *settler) Invoke(context.Context, causeway.Call) (causeway.Result, error) {
	return causeway.Result{Status: 200}, nil
}
func (d *settler) Hangup(error) {}
