package cloudhub_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/hub/cloudhub"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
)

// discard is a log that stores nothing.
type discard struct{ eventlog.Log }

func (discard) Partitions() int { return 4 }
func (discard) Append(context.Context, eventlog.Partition, ...eventlog.Record) (eventlog.Offset, error) {
	return 0, nil
}

// benchCloud is a cloud on another log, without the goroutines of time.
func benchCloud(tb testing.TB, log eventlog.Log) *cloud {
	tb.Helper()
	c := &cloud{
		set:      cloudhub.NewSet(),
		registry: registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}}),
		commands: c2d.New(c2d.Options{Store: c2dtest.NewMemory()}),
	}
	c.registry.Watch(c.set)
	c.commands.Watch(c.set)
	var err error
	c.hub, err = cloudhub.New(cloudhub.Options{
		Hub:      directory.Hub{Name: hubName, Hosts: []string{hubHost}},
		Registry: c.registry, Commands: c.commands, Events: log,
	})
	if err != nil {
		tb.Fatal(err)
	}
	c.set.Add(c.hub)
	tb.Cleanup(c.hub.Close)
	return c
}

func telemetry(n int) []causeway.Message {
	msgs := make([]causeway.Message, n)
	for i := range msgs {
		msgs[i] = causeway.Message{
			Body: make([]byte, 256), ContentType: "application/json", ContentEncoding: "utf-8",
			Properties: []causeway.Property{{Key: "level", Value: "normal"}, {Key: "seq", Value: "12345"}},
		}
	}
	return msgs
}

func BenchmarkSend(b *testing.B) {
	for name, open := range map[string]func(b *testing.B) eventlog.Log{
		"discard": func(*testing.B) eventlog.Log { return discard{} },
		"seglog": func(b *testing.B) eventlog.Log {
			l, err := seglog.Open(b.TempDir(), seglog.Options{Partitions: 4})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { l.Close() })
			return l
		},
	} {
		for _, n := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				c := benchCloud(b, open(b))
				s, _, _ := online(b, c, "d1", 0)
				msgs := telemetry(n)
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if err := s.Send(ctx, msgs...); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msgs/s")
			})
		}
	}
}

// TestSendDoesNotAllocate is the budget of the hot path.
func TestSendDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	c := benchCloud(t, discard{})
	s, _, _ := online(t, c, "d1", 0)
	ctx := context.Background()
	for _, n := range []int{1, 10, 100} {
		msgs := telemetry(n)
		if got := testing.AllocsPerRun(200, func() { _ = s.Send(ctx, msgs...) }); got != 0 {
			t.Errorf("a Send of %d messages allocates %v times", n, got)
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	c := benchCloud(b, discard{})
	cred := c.Add(b, "d1", "")
	dev := &settler{}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		s, err := c.set.Connect(ctx, cred, dev)
		if err != nil {
			b.Fatal(err)
		}
		s.Close(nil)
	}
}

func BenchmarkInvoke(b *testing.B) {
	c := benchCloud(b, discard{})
	cred := c.Add(b, "d1", "")
	connect(b, c, cred, &settler{}, causeway.LaneMethods)
	ctx := context.Background()
	call := causeway.Call{Method: "m", Payload: []byte(`{"a":1}`)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.hub.Invoke(ctx, cred.Identity, call, 0, 30*time.Second); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommand(b *testing.B) {
	c := benchCloud(b, discard{})
	cred := c.Add(b, "d1", "")
	r := hubtest.NewRecorder()
	s := connect(b, c, cred, r, causeway.LaneCommands)
	ctx := context.Background()
	m := causeway.Message{Body: []byte("x")}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.commands.Enqueue(ctx, cred.Identity, m, "1"); err != nil {
			b.Fatal(err)
		}
		if err := s.Settle(ctx, r.Message(b).Lock, causeway.Accepted); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMemoryOfIdleSessions is the budget of an idle connection's part in the
// hub: what it listens to makes no difference.
func TestMemoryOfIdleSessions(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures memory")
	}
	const n, budget = 2000, 1 << 10
	c := benchCloud(t, discard{})
	creds := make([]causeway.Credential, n)
	for i := range creds {
		creds[i] = c.Add(t, fmt.Sprintf("device-%06d", i), "")
	}
	sessions := make([]causeway.Session, n)
	dev := &settler{}
	before := heap()
	for i, cred := range creds {
		sessions[i] = connect(t, c, cred, dev, causeway.LaneCommands|causeway.LaneDesired|causeway.LaneMethods)
	}
	goroutines := runtime.NumGoroutine()
	hubtest.Eventually(t, "the end of all goroutines of idle sessions", func() bool { return runtime.NumGoroutine() < 20 })
	each := int64(heap()-before) / n
	t.Logf("an idle session takes %d bytes; %d goroutines just after connecting", each, goroutines)
	if each > budget {
		t.Errorf("an idle session takes %d bytes, the budget is %d", each, budget)
	}
	runtime.KeepAlive(sessions)
}

func heap() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
