package service_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/head/service"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hub = "myhub"

var (
	dev1 = causeway.Identity{Hub: hub, Device: "dev-1"}
	dev2 = causeway.Identity{Hub: hub, Device: "dev#2%41?"}
	mod1 = causeway.Identity{Hub: hub, Device: "dev-1", Module: "mod-1"}
)

// world is a plane on a listener, with services that keep nothing on disk.
type world struct {
	t        testing.TB
	plane    *service.Plane
	store    *c2dtest.Memory
	commands *c2d.Service
	kept     *outboxtest.Memory
	box      *outbox.Service
	memory   bool // its network is in memory, for time that is simulated
	addr     string
	connect  func() (net.Conn, error)

	head    claimstest.Head
	mu      sync.Mutex
	enqueue func(id causeway.Identity, m *causeway.Message) error // before it is queued; nil for nothing
}

// open starts a world. The plane may be changed before anybody connects.
func open(t testing.TB, change func(*world)) *world {
	t.Helper()
	w := &world{t: t, store: c2dtest.NewMemory(dev1, dev2, mod1), kept: outboxtest.NewMemory(hub)}
	w.commands = c2d.New(c2d.Options{Store: w.store})
	w.box = outbox.New(outbox.Options{Store: w.kept, Delay: time.Millisecond})
	w.plane = &service.Plane{Registry: devices{}, Commands: w, Outbox: w.box}
	if change != nil {
		change(w)
	}
	w.head.Plane, w.head.Hub, w.head.Host, w.head.Prefix = w.plane, hub, "myhub.example.com", "/messages/"
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.box.Run(ctx) })
	l := w.listen()
	cfg := amqp.Prepare(amqp.Config{})
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := w.head.Serve(nc, cfg)
			wg.Go(func() {
				select {
				case <-ctx.Done():
					c.Abort(ctx.Err())
				case <-c.Done():
				}
				<-c.Done()
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		wg.Wait()
	})
	return w
}

// listen opens a listener, and says how to reach it.
func (w *world) listen() net.Listener {
	w.t.Helper()
	if w.memory {
		l := memnet.Listen("hub")
		w.connect = func() (net.Conn, error) { return l.Dial(w.t.Context()) }
		return l
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	w.connect = func() (net.Conn, error) { return net.Dial("tcp", w.addr) }
	return l
}

// errQueued is what the function before the queues returns in their place.
var errQueued = errors.New("queued")

// Enqueue is that of the command queues.
func (w *world) Enqueue(ctx context.Context, id causeway.Identity, m causeway.Message, generationID string) error {
	w.mu.Lock()
	before := w.enqueue
	w.mu.Unlock()
	if before != nil {
		if err := before(id, &m); errors.Is(err, errQueued) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return w.commands.Enqueue(ctx, id, m, generationID)
}

func (w *world) setEnqueue(f func(id causeway.Identity, m *causeway.Message) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enqueue = f
}

// devices is a registry.
type devices struct{}

func (devices) Get(_ context.Context, id causeway.Identity) (registry.Record, error) {
	switch id {
	case dev1, dev2, mod1, causeway.Identity{Hub: hub, Device: id.Device}:
		if id.Device == "none" {
			break
		}
		return registry.Record{ID: id, GenerationID: "gen-" + id.Device + id.Module}, nil
	}
	code := causeway.DeviceNotFound
	if id.IsModule() {
		code = causeway.ModuleNotFound
	}
	return registry.Record{}, causeway.Errorf(code, "registry.Get", "there is no %v", id)
}

// client is a connection of the client of this project.
func (w *world) client() *amqp.Session {
	w.t.Helper()
	nc, err := w.connect()
	if err != nil {
		w.t.Fatal(err)
	}
	return claimstest.Dial(w.t, nc, amqp.Config{})
}

// azure is a connection of go-amqp.
func (w *world) azure() *goamqp.Session {
	w.t.Helper()
	c, err := goamqp.Dial(w.t.Context(), "amqp://"+w.addr, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	s, err := c.NewSession(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// sender attaches a link for messages to devices.
func (w *world) sender(s *amqp.Session) *amqp.Sender {
	w.t.Helper()
	snd, err := s.AttachSender(w.t.Context(), amqp.LinkConfig{Target: "/messages/devicebound"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		w.t.Fatal(err)
	}
	return snd
}
