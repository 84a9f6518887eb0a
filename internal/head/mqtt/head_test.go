package mqtt_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "hub.example"

// memStore is a session store in memory.
type memStore struct {
	mu    sync.Mutex
	by    map[causeway.Identity][]mqtt.Filter
	fail  error // of every method, when set
	saves int
}

func (s *memStore) Load(_ context.Context, id causeway.Identity) ([]mqtt.Filter, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.by[id]
	return slices.Clone(f), ok, s.fail
}

func (s *memStore) Save(_ context.Context, id causeway.Identity, filters []mqtt.Filter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if s.by == nil {
		s.by = make(map[causeway.Identity][]mqtt.Filter)
	}
	s.saves++
	s.by[id] = slices.Clone(filters)
	return nil
}

func (s *memStore) Drop(_ context.Context, id causeway.Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, id)
	return s.fail
}

func (s *memStore) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *memStore) filters(id causeway.Identity) []mqtt.Filter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id]
}

// world is a server on a network in memory, with a fake hub behind it.
type world struct {
	t       testing.TB
	hub     *hubtest.Fake
	tap     *hubtest.Tap
	store   *memStore
	net     *memnet.Listener
	metrics *obs.Head
	server  *mqtt.Server
	plain   bool
	dps     *fakeProvisioner

	dev1, dev2, mod causeway.Credential

	stop   context.CancelFunc
	served chan error
}

// inBubble runs f in a bubble with a world in it: once with connections that
// can tell what has arrived, and once with ones that cannot.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	withLimits(t, mqtt.Limits{}, f)
}

func withLimits(t *testing.T, limits mqtt.Limits, f func(t *testing.T, w *world)) {
	t.Helper()
	for name, plain := range map[string]bool{"quiet": false, "plain": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, limits, plain)
				defer w.close()
				f(t, w)
			})
		})
	}
}

// plainListener hides what the connections of a listener can do beyond what
// all can.
type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

func newWorld(t testing.TB, limits mqtt.Limits, plain bool) *world {
	fake := hubtest.NewFake(host, "Gateway.Example")
	w := &world{
		t: t, hub: fake, tap: &hubtest.Tap{Hub: fake}, store: &memStore{}, net: memnet.Listen("mem"),
		metrics: obs.NewHead(nil, "mqtt"), served: make(chan error, 1), plain: plain,
		dps: &fakeProvisioner{},
	}
	w.dev1 = fake.Add(t, "dev1", "")
	w.dev2 = fake.Add(t, "dev2", "")
	w.mod = fake.Add(t, "dev1", "m1")
	w.server = &mqtt.Server{Hub: w.tap, Sessions: w.store, Provisioner: w.dps, Metrics: w.metrics, Limits: limits}
	w.start()
	return w
}

func (w *world) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	var l net.Listener = w.net
	if w.plain {
		l = plainListener{l}
	}
	go func() { w.served <- w.server.Serve(ctx, l) }()
}

// close stops the server and the hub.
func (w *world) close() {
	w.stop()
	if err := <-w.served; err != nil {
		w.t.Errorf("serve: %v", err)
	}
	w.hub.Close()
	if n := headkit.Value(w.metrics.Connections); n != 0 {
		w.t.Errorf("%v connections are open after the end", n)
	}
}

// restart stops the server and starts it on a new listener.
func (w *world) restart() {
	w.stop()
	if err := <-w.served; err != nil {
		w.t.Errorf("serve: %v", err)
	}
	w.net = memnet.Listen("mem")
	w.start()
}

func (w *world) refused(r mqtt.Reason) int {
	return int(headkit.Value(w.metrics.Refused.WithLabelValues(string(r))))
}

// client is the other end of one connection.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *wire.Reader
	id causeway.Identity
}

func (w *world) dial() *client {
	w.t.Helper()
	nc, err := w.net.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return newClient(w.t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	return &client{t: t, nc: nc, r: wire.NewReader(nc, wire.V311, 1<<20)}
}

// connectPacket is what a client with cred sends.
func connectPacket(cred causeway.Credential) *wire.Connect {
	return &wire.Connect{
		Version: wire.V311, ClientID: cred.Identity.String(), KeepAlive: 60,
		HasUserName: true, UserName: cred.Host + "/" + cred.Identity.String() + "/?api-version=2021-04-12&DeviceClientType=test%2F1",
		HasPassword: true, Password: string(cred.Token),
	}
}

// connect opens a persistent session and expects to be let in.
func (w *world) connect(cred causeway.Credential, change ...func(*wire.Connect)) *client {
	w.t.Helper()
	c := w.dial()
	p := connectPacket(cred)
	for _, f := range change {
		f(p)
	}
	c.id = cred.Identity
	c.send(p)
	if ack := expect[*wire.Connack](c); ack.Code != wire.Accepted {
		w.t.Fatalf("connect: return code %d", ack.Code)
	}
	return c
}

func clean(p *wire.Connect) { p.CleanStart = true }

func (c *client) send(packets ...wire.Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = p.Append(b, wire.V311); err != nil {
			c.t.Fatal(err)
		}
	}
	c.write(b)
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// next waits for a packet.
func (c *client) next() wire.Packet {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	p, err := c.r.Packet()
	if err != nil {
		c.t.Fatalf("waiting for a packet: %v", err)
	}
	return p
}

// expect waits for a packet of one type.
func expect[P wire.Packet](c *client) P {
	c.t.Helper()
	got := c.next()
	p, ok := got.(P)
	if !ok {
		c.t.Fatalf("got %s %+v, want %T", got.Type(), got, p)
	}
	return p
}

// closed waits until the server has closed the connection, and expects nothing
// before that.
func (c *client) closed() {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	p, err := c.r.Packet()
	if err == nil {
		c.t.Fatalf("got %s %+v, want the connection closed", p.Type(), p)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("the connection was not closed")
	}
	_ = c.nc.Close()
}

// quiet expects that nothing comes for a while.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	p, err := c.r.Packet()
	if err == nil {
		c.t.Fatalf("got %s %+v, want nothing", p.Type(), p)
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		c.t.Fatalf("the connection ended: %v", err)
	}
}

// ping shows that the connection is alive, and that all before was dealt with.
func (c *client) ping() {
	c.t.Helper()
	c.send(&wire.Ping{})
	expect[*wire.Ping](c)
}

// subscribe expects all filters to be granted.
func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	p := &wire.Subscribe{ID: 77}
	for _, f := range filters {
		p.Subscriptions = append(p.Subscriptions, wire.Subscription{Filter: f, QoS: qos})
	}
	c.send(p)
	ack := expect[*wire.Suback](c)
	for i, code := range ack.Codes {
		if code.Failed() {
			c.t.Fatalf("filter %q was refused", filters[i])
		}
	}
}

func (c *client) disconnect() {
	c.t.Helper()
	c.send(&wire.Disconnect{})
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.nc.Read(make([]byte, 1)); err != io.EOF {
		c.t.Fatalf("after DISCONNECT: %v, want the end", err)
	}
	_ = c.nc.Close()
}

// events is a telemetry topic of the client.
func (c *client) events(bag string) string {
	return "devices/" + strings.Replace(c.id.String(), "/", "/modules/", 1) + "/messages/events/" + bag
}

func (c *client) commands() string {
	return "devices/" + strings.Replace(c.id.String(), "/", "/modules/", 1) + "/messages/devicebound/#"
}

// telemetry returns the bodies stored of dev1 and its modules.
func (w *world) telemetry() []string {
	var bodies []string
	for _, m := range w.hub.Telemetry(w.t, "dev1") {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

const (
	methodFilter  = "$iothub/methods/POST/#"
	twinFilter    = "$iothub/twin/res/#"
	desiredFilter = "$iothub/twin/PATCH/properties/desired/#"
)
