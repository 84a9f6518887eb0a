// Package flow has clients of a whole cloud that take little, slowly, or nothing
// at all, that go away in the middle of something, or that come in great
// numbers. It knows what a client can see; the clock is that of a bubble, so
// that what takes minutes is waited for in no time, and never in vain.
package flow

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/testkit/output"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/test/amqppeer"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long something may take by the clock of the bubble.
const patience = 10 * time.Minute

// partition is the only one of the hub.
const eventsAddress = "localhost/ConsumerGroups/$Default/Partitions/0"

// world is a cloud with one hub, of one partition, on a network in memory.
type world struct {
	t     *testing.T
	ctx   context.Context
	cloud *cloud.Cloud
	amqp  *listener
	https *listener
	tls   *tls.Config
	http  *http.Client
	log   output.Buffer
}

// listener accepts connections in memory, and real ones until the cloud has
// looked whether its ports answer: nobody in a bubble may wait for the real
// network, or its clock stands still.
type listener struct {
	*memnet.Listener
	real  net.Listener
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func listen(context.Context, string, string) (*listener, error) {
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: memnet.Listen("mem"), real: real, conns: make(chan net.Conn), gone: make(chan struct{})}
	go l.feed(real)
	go l.feed(l.Listener)
	return l, nil
}

func (l *listener) feed(from net.Listener) {
	for {
		c, err := from.Accept()
		if err != nil {
			return
		}
		select {
		case l.conns <- c:
		case <-l.gone:
			_ = c.Close()
		}
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *listener) Addr() net.Addr { return l.real.Addr() }

func (l *listener) Close() error {
	l.once.Do(func() { close(l.gone) })
	_ = l.real.Close() // closed already, once the cloud was ready
	return l.Listener.Close()
}

// inCloud runs f in a bubble with a cloud in it. When f has returned the cloud
// must stop in order, leave nothing behind, and have logged no fault.
func inCloud(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		stop := w.start(data)
		defer stop()
		f(t, w)
	})
}

func (w *world) start(data string) (stop func()) {
	t := w.t
	cfg := config.Default()
	cfg.Data = data
	cfg.Listen = config.Listen{HTTPS: "https:1", MQTT: "mqtt:1", AMQP: "amqp:1"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 1}}
	cfg.OpenMetrics = true
	var opened []*listener
	c, err := cloud.New(t.Context(), cfg, cloud.Options{
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Listen: func(ctx context.Context, network, addr string) (net.Listener, error) {
			l, err := listen(ctx, network, addr)
			if err == nil {
				opened = append(opened, l)
			}
			return l, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	select {
	case <-c.Ready():
	case err := <-done:
		cancel()
		t.Fatalf("ended before it was ready: %v", err)
	}
	for _, l := range opened { // in the order HTTPS, MQTT, AMQP
		_ = l.real.Close()
	}
	w.cloud, w.https, w.amqp = c, opened[0], opened[2]
	ca, err := os.ReadFile(c.Connection().CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := client.LoadCA(ca)
	if err != nil {
		t.Fatal(err)
	}
	w.tls = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, w.https) }}
	w.http = &http.Client{Transport: transport}
	var end context.CancelFunc
	w.ctx, end = context.WithCancel(t.Context())
	return func() {
		end()
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
		if w.log.Faults() != "" {
			t.Errorf("the log tells of a fault:\n%s", w.log.String())
		}
	}
}

func (w *world) dial(ctx context.Context, l *listener) (net.Conn, error) {
	nc, err := l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := w.secure(nc)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

func (w *world) secure(nc net.Conn) *tls.Conn { return tls.Client(nc, w.tls) }

// waiting bounds a wait.
func (w *world) waiting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.ctx, patience)
}

// token is a token of the hub's owner.
func (w *world) token() string {
	w.t.Helper()
	cs, err := sas.ParseConnectionString(w.cloud.Connection().OwnerConnectionString)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(cs.SharedAccessKey)
	if err != nil {
		w.t.Fatal(err)
	}
	return sas.Sign("localhost", key, cs.SharedAccessKeyName, time.Now().Add(24*time.Hour))
}

// rest makes a request to the service API and expects one of the statuses.
func (w *world) rest(method, path string, body any, want ...int) []byte {
	w.t.Helper()
	b, err := w.tryRest(method, path, body, want...)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) tryRest(method, path string, body any, want ...int) ([]byte, error) {
	var in io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := w.waiting()
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://localhost"+path+"?api-version=2021-04-12", in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", w.token())
	res, err := w.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	for _, s := range want {
		if res.StatusCode == s {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%s %s: %s %s", method, path, res.Status, b)
}

func keyOf(device string) []byte {
	k := sha256.Sum256([]byte(device))
	return k[:]
}

// create registers devices.
func (w *world) create(devices ...string) {
	w.t.Helper()
	for _, id := range devices {
		key := base64.StdEncoding.EncodeToString(keyOf(id))
		w.rest("PUT", "/devices/"+id, map[string]any{
			"deviceId": id, "authentication": map[string]any{"symmetricKey": map[string]string{"primaryKey": key, "secondaryKey": key}},
		}, 200)
	}
}

func (w *world) deviceToken(id string) string {
	return sas.Sign("localhost/devices/"+id, keyOf(id), "", time.Now().Add(24*time.Hour))
}

// peer is a client whose calls must succeed.
type peer struct {
	*amqppeer.Peer
	w *world
}

// open opens a connection.
func (w *world) open(cfg amqp.Config) *peer {
	w.t.Helper()
	ctx, cancel := w.waiting()
	defer cancel()
	nc, err := w.dial(ctx, w.amqp)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := amqppeer.Open(ctx, nc, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.Cut)
	return &peer{p, w}
}

// device opens a connection of a device.
func (w *world) device(id string, cfg amqp.Config) *peer {
	w.t.Helper()
	p := w.open(cfg)
	p.put("localhost/devices/"+id, w.deviceToken(id))
	return p
}

// backend opens a connection of a back end.
func (w *world) backend(cfg amqp.Config) *peer {
	w.t.Helper()
	p := w.open(cfg)
	p.put("localhost", w.token())
	return p
}

func (p *peer) put(name, token string) {
	p.w.t.Helper()
	ctx, cancel := p.w.waiting()
	defer cancel()
	if err := p.Put(ctx, name, token); err != nil {
		p.w.t.Fatal(err)
	}
}

// sender is a link to send on.
type sender struct {
	*amqp.Sender
	w *world
}

func (p *peer) sender(address string) *sender {
	p.w.t.Helper()
	ctx, cancel := p.w.waiting()
	defer cancel()
	s, err := p.Sender(ctx, address)
	if err != nil {
		p.w.t.Fatalf("attach a sender to %s: %v", address, err)
	}
	return &sender{s, p.w}
}

// deliver sends a message and expects it to be accepted.
func (s *sender) deliver(payload []byte) {
	s.w.t.Helper()
	ctx, cancel := s.w.waiting()
	defer cancel()
	st, err := s.Deliver(ctx, amqp.Transfer{Payload: payload})
	if err != nil || st.Kind != codec.CodeAccepted {
		s.w.t.Fatalf("send: %v %v %v", st.Kind, st.Error, err)
	}
}

// receiver is a link to receive on.
type receiver struct {
	*amqppeer.Receiver
	w *world
}

func (p *peer) receiver(address string, credit uint32) *receiver {
	p.w.t.Helper()
	return p.receiverOf(amqp.LinkConfig{Source: address}, credit)
}

// events attaches a link that reads events from the first one on.
func (p *peer) events(credit uint32) *receiver {
	p.w.t.Helper()
	return p.receiverOf(amqp.LinkConfig{Source: eventsAddress, Filter: hubamqp.Start{Kind: hubamqp.StartEarliest}.Filter()}, credit)
}

func (p *peer) receiverOf(cfg amqp.LinkConfig, credit uint32) *receiver {
	p.w.t.Helper()
	ctx, cancel := p.w.waiting()
	defer cancel()
	r, err := p.Receiver(ctx, cfg, credit)
	if err != nil {
		p.w.t.Fatalf("attach a receiver to %s: %v", cfg.Source, err)
	}
	return &receiver{r, p.w}
}

// next waits for a message.
func (r *receiver) next() amqp.Delivery {
	r.w.t.Helper()
	ctx, cancel := r.w.waiting()
	defer cancel()
	d, err := r.Next(ctx)
	if err != nil {
		r.w.t.Fatalf("receive: %v", err)
	}
	return d
}

// event waits for an event.
func (r *receiver) event() (e hubamqp.Event) {
	r.w.t.Helper()
	if err := hubamqp.DecodeEvent(&e, new(hubamqp.Scratch), r.next().Payload); err != nil {
		r.w.t.Fatal(err)
	}
	return e
}

// command waits for a command.
func (r *receiver) command() (m causeway.Message, d amqp.Delivery) {
	r.w.t.Helper()
	d = r.next()
	if err := hubamqp.DecodeCommand(&m, new(hubamqp.Scratch), d.Payload); err != nil {
		r.w.t.Fatal(err)
	}
	return m, d
}

// nothing expects that nothing comes for a while.
func (r *receiver) nothing(d time.Duration) {
	r.w.t.Helper()
	ctx, cancel := context.WithTimeout(r.w.ctx, d)
	defer cancel()
	if got, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		r.w.t.Fatalf("got %d bytes, %v; want nothing", len(got.Payload), err)
	}
}

// telemetry is a message as a device sends it.
func telemetry(body string) []byte {
	return hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte(body)})
}

// command is a message as a back end sends it.
func command(device, id, body string) []byte {
	return hubamqp.AppendServiceCommand(nil, causeway.Identity{Device: device}, &causeway.Message{ID: id, Body: []byte(body), Ack: causeway.AckFull})
}

// fill has a device send n messages, whose bodies begin with their number.
func (w *world) fill(device string, n, size int) {
	w.t.Helper()
	p := w.device(device, amqp.Config{})
	var out outcomes
	ctx, cancel := w.waiting()
	defer cancel()
	s, err := p.Session.AttachSender(ctx, amqp.LinkConfig{Target: "/devices/" + device + "/messages/events"}, amqp.SenderOptions{Handler: &out})
	if err != nil {
		w.t.Fatal(err)
	}
	pad := strings.Repeat("x", max(size-7, 0))
	out.Add(n)
	for i := range n {
		if _, err := s.Send(ctx, amqp.Transfer{Payload: telemetry(fmt.Sprintf("%06d %s", i, pad))}); err != nil {
			w.t.Fatal(err)
		}
	}
	out.Wait()
	if n := out.refused.Load(); n != 0 {
		w.t.Fatalf("%d messages were refused", n)
	}
	p.Hang()
}

// outcomes waits for those of many messages.
type outcomes struct {
	sync.WaitGroup
	refused atomic.Int64
}

func (o *outcomes) Flow(*amqp.Sender)            {}
func (o *outcomes) Detached(*amqp.Sender, error) {}

func (o *outcomes) Disposition(_ *amqp.Sender, _ amqp.Sent, st *codec.State, _ bool) {
	if st.Kind != codec.CodeAccepted {
		o.refused.Add(1)
	}
	o.Done()
}

// numberOf returns the number that a body of fill begins with.
func (w *world) numberOf(body []byte) int {
	w.t.Helper()
	var n int
	if _, err := fmt.Sscanf(string(body), "%06d", &n); err != nil {
		w.t.Fatalf("body %.20q: %v", body, err)
	}
	return n
}

// memory returns what is in use once garbage is gone: the least of some readings,
// since what ends at the moment of one is still in it.
func memory() uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		runtime.GC()
		runtime.GC() // pools give up what they hold with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, m.HeapAlloc+m.StackInuse)
	}
	return least
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
	}
}

// ended returns how many AMQP connections have ended for a reason.
func (w *world) ended(reason string) (n int) {
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "amqp connection ended") && strings.Contains(line, "reason="+reason) {
			n++
		}
	}
	return n
}

// connections returns how many AMQP connections are open.
func (w *world) connections() (n int) {
	w.t.Helper()
	const metric = `causeway_head_connections{head="amqp"} `
	for line := range strings.Lines(string(w.rest("GET", "/metrics", nil, 200))) {
		if rest, ok := strings.CutPrefix(line, metric); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				w.t.Fatal(err)
			}
			return n
		}
	}
	w.t.Fatalf("no metric %s", metric)
	return 0
}
