package amqp_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/testkit/headkit"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "hub.example"

// patience is how long tests wait for what must come.
const patience = 20 * time.Second

// keyOf is the key of an identity or a policy.
func keyOf(name string) []byte {
	k := sha256.Sum256([]byte(name))
	return k[:]
}

func keyText(name string) causeway.Secret {
	return causeway.Secret(base64.StdEncoding.EncodeToString(keyOf(name)))
}

// realms is one hub with its policies, which tests change.
type realms struct {
	mu       sync.Mutex
	hosts    []string
	policies []auth.Policy
}

func newRealms() *realms {
	r := &realms{hosts: []string{host, "gateway.example"}}
	for name, rights := range map[string]auth.Rights{
		"device": auth.DeviceConnect, "service": auth.ServiceConnect, "owner": auth.AllRights,
	} {
		r.policies = append(r.policies, auth.Policy{Name: name, Primary: keyText("policy " + name), Rights: rights})
	}
	return r
}

func (r *realms) Realm(h string) (string, auth.Realm, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := slices.ContainsFunc(r.hosts, func(x string) bool { return strings.EqualFold(x, sas.Host(h)) })
	return "hub", auth.Realm{Hosts: r.hosts, Policies: slices.Clone(r.policies)}, known
}

// drop deletes a policy.
func (r *realms) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policies = slices.DeleteFunc(r.policies, func(p auth.Policy) bool { return p.Name == name })
}

// world is a server on a network in memory, with a fake hub behind it.
type world struct {
	t        testing.TB
	hub      *hubtest.Fake
	tap      *hubtest.Tap
	realms   *realms
	net      *memnet.Listener
	metrics  *obs.Head
	server   *amqp.Server
	subjects map[causeway.Identity]auth.Subject
	wrap     func(net.Listener) net.Listener
	tls      *tls.Config // of clients; nil for plain connections

	dev1, dev2, mod causeway.Identity

	stop   context.CancelFunc
	served chan error
}

// inBubble runs f in a bubble with a world in it.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	withLimits(t, amqp.Limits{}, f)
}

func withLimits(t *testing.T, limits amqp.Limits, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, limits)
		w.start()
		defer w.close()
		f(t, w)
	})
}

func newWorld(t testing.TB, limits amqp.Limits) *world {
	fake := hubtest.NewFake(host, "Gateway.Example")
	w := &world{
		t: t, hub: fake, tap: &hubtest.Tap{Hub: fake}, realms: newRealms(), net: memnet.Listen("mem"),
		metrics: obs.NewHead(nil, "amqp"), served: make(chan error, 1),
		subjects: make(map[causeway.Identity]auth.Subject),
	}
	fake.Accept = func(cred causeway.Credential) (time.Time, error) {
		_, realm, _ := w.realms.Realm(host)
		m, err := auth.Device(time.Now(), cred, w.subjects[cred.Identity], realm)
		if !m.Expires.IsZero() && !m.Expires.After(time.Now()) {
			m.Expires = m.Expires.Add(causeway.TokenSkew)
		}
		return m.Expires, err
	}
	w.dev1, w.dev2, w.mod = w.add("dev1", ""), w.add("dev2", ""), w.add("dev1", "m1")
	w.server = &amqp.Server{
		Hub: w.tap, Realms: w.realms, Metrics: w.metrics, Limits: limits, ContainerID: "test",
		Planes: map[hubamqp.Kind]claims.Plane{},
	}
	return w
}

// add makes a device or module whose key is that of its name.
func (w *world) add(device, module string) causeway.Identity {
	id := w.hub.Add(w.t, device, module).Identity
	w.subjects[id] = auth.Subject{ID: id, Type: auth.SAS, Primary: keyText(id.String())}
	return id
}

func (w *world) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	var l net.Listener = w.net
	if w.wrap != nil {
		l = w.wrap(l)
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

func (w *world) refused(r amqp.Reason) int {
	return int(headkit.Value(w.metrics.Refused.WithLabelValues(string(r))))
}

// tokenOf is a device's own token.
func tokenOf(id causeway.Identity, expires time.Time) string {
	return sas.Sign(sas.DeviceResource(host, id.Device, id.Module), keyOf(id.String()), "", expires)
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// policyToken is the token of a policy for a resource below the host.
func policyToken(policy, path string, expires time.Time) string {
	return sas.Sign(host+path, keyOf("policy "+policy), policy, expires)
}

// client is the other end of one connection, with one session.
type client struct {
	t   testing.TB
	ctx context.Context
	c   *wire.Conn
	s   *wire.Session
	cbs *cbs
}

// cbs is the links to $cbs.
type cbs struct {
	out *wire.Sender
	in  wire.Inbox
	r   *wire.Receiver
}

// nc opens a network connection.
func (w *world) nc() net.Conn {
	w.t.Helper()
	nc, err := w.net.Dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.tls != nil {
		return tls.Client(nc, w.tls)
	}
	return nc
}

// tryDial opens a connection.
func (w *world) tryDial(cfg wire.Config) (*client, error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	dialing, done := context.WithTimeout(ctx, patience)
	defer done()
	if cfg.Hostname == "" && w.tls == nil {
		cfg.Hostname = host
	}
	c, err := wire.Dial(dialing, w.nc(), wire.Prepare(cfg), nil)
	if err != nil {
		return nil, err
	}
	s, err := c.Begin(dialing)
	if err != nil {
		return nil, err
	}
	return &client{t: w.t, ctx: ctx, c: c, s: s}, nil
}

func (w *world) dial(change ...func(*wire.Config)) *client {
	w.t.Helper()
	var cfg wire.Config
	for _, f := range change {
		f(&cfg)
	}
	c, err := w.tryDial(cfg)
	if err != nil {
		w.t.Fatalf("dial: %v", err)
	}
	return c
}

// open opens a connection and puts the tokens of identities.
func (w *world) open(ids ...causeway.Identity) *client {
	w.t.Helper()
	c := w.dial()
	for _, id := range ids {
		c.put(id, inAnHour())
	}
	return c
}

func (c *client) close() {
	c.t.Helper()
	c.c.Close(nil)
	<-c.c.Done()
	if err := c.c.Err(); err != nil {
		c.t.Errorf("close: %v", err)
	}
}

// waiting bounds a wait.
func (c *client) waiting() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, patience)
}

// attachCBS attaches the links to $cbs once.
func (c *client) attachCBS() *cbs {
	c.t.Helper()
	if c.cbs == nil {
		ctx, cancel := c.waiting()
		defer cancel()
		b := &cbs{}
		var err error
		b.r, err = c.s.AttachReceiver(ctx, wire.LinkConfig{Source: "$cbs"}, wire.ReceiverOptions{Handler: &b.in, Credit: 100})
		if err != nil {
			c.t.Fatalf("attach $cbs: %v", err)
		}
		b.out, err = c.s.AttachSender(ctx, wire.LinkConfig{Target: "$cbs"}, wire.SenderOptions{Handler: wire.Outcomes{}})
		if err != nil {
			c.t.Fatalf("attach $cbs: %v", err)
		}
		c.cbs = b
	}
	return c.cbs
}

// request puts a token and returns the reply.
func (c *client) request(p hubamqp.PutToken) hubamqp.Reply {
	c.t.Helper()
	b := c.attachCBS()
	ctx, cancel := c.waiting()
	defer cancel()
	st, err := b.out.Deliver(ctx, wire.Transfer{Payload: hubamqp.AppendPutToken(nil, p)})
	if err != nil || st.Kind != codec.CodeAccepted {
		c.t.Fatalf("put-token: %v %v", st, err)
	}
	d, err := b.in.Receive(ctx)
	if err != nil {
		c.t.Fatalf("put-token reply: %v", err)
	}
	r, err := hubamqp.DecodePutTokenResponse(d.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	b.r.Settle(d.ID, codec.Accepted())
	c.c.Push()
	return r
}

func (c *client) tryPut(name, token string) hubamqp.Reply {
	c.t.Helper()
	return c.request(hubamqp.PutToken{
		MessageID: codec.String("m-" + name), ReplyTo: "cbs", Type: hubamqp.TokenSAS, Name: name, Token: causeway.Secret(token),
	})
}

// put puts an identity's own token and expects it to be taken.
func (c *client) put(id causeway.Identity, expires time.Time) {
	c.t.Helper()
	if r := c.tryPut(hubamqp.AudienceOf(host, id), tokenOf(id, expires)); r.Status != 200 {
		c.t.Fatalf("put-token of %s: %d %s", id, r.Status, r.Description)
	}
}

// out attaches a link to send on.
func (c *client) out(kind hubamqp.Kind, id causeway.Identity) *wire.Sender {
	c.t.Helper()
	s, err := c.tryOut(hubamqp.DeviceAddress(kind, id), wire.LinkConfig{}, hubamqp.LinkProperties{})
	if err != nil {
		c.t.Fatalf("attach: %v", err)
	}
	return s
}

func (c *client) tryOut(address string, cfg wire.LinkConfig, p hubamqp.LinkProperties) (*wire.Sender, error) {
	ctx, cancel := c.waiting()
	defer cancel()
	cfg.Target = address
	return c.s.AttachSender(ctx, cfg, wire.SenderOptions{Handler: wire.Outcomes{}, Properties: p.Map()})
}

// in attaches a link to receive on.
func (c *client) in(kind hubamqp.Kind, id causeway.Identity, credit uint32) *receiver {
	c.t.Helper()
	r, err := c.tryIn(hubamqp.DeviceAddress(kind, id), wire.LinkConfig{}, credit)
	if err != nil {
		c.t.Fatalf("attach: %v", err)
	}
	return r
}

func (c *client) tryIn(address string, cfg wire.LinkConfig, credit uint32) (*receiver, error) {
	ctx, cancel := c.waiting()
	defer cancel()
	cfg.Source = address
	r := &receiver{c: c}
	var err error
	r.Receiver, err = c.s.AttachReceiver(ctx, cfg, wire.ReceiverOptions{Handler: &r.inbox, Credit: credit})
	return r, err
}

// receiver is a link to receive on, with what has come.
type receiver struct {
	*wire.Receiver
	c     *client
	inbox wire.Inbox
}

// next waits for a delivery.
func (r *receiver) next() wire.Delivery {
	r.c.t.Helper()
	ctx, cancel := r.c.waiting()
	defer cancel()
	d, err := r.inbox.Receive(ctx)
	if err != nil {
		r.c.t.Fatalf("receive: %v", err)
	}
	return d
}

// command waits for a command.
func (r *receiver) command() (causeway.Message, wire.Delivery) {
	r.c.t.Helper()
	d := r.next()
	var m causeway.Message
	if err := hubamqp.DecodeCommand(&m, new(hubamqp.Scratch), d.Payload); err != nil {
		r.c.t.Fatal(err)
	}
	return m, d
}

// quiet expects that nothing comes for a while.
func (r *receiver) quiet(d time.Duration) {
	r.c.t.Helper()
	ctx, cancel := context.WithTimeout(r.c.ctx, d)
	defer cancel()
	got, err := r.inbox.Receive(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		r.c.t.Fatalf("got %v %v, want nothing", got, err)
	}
}

// ended waits for the end of the link and returns its condition.
func (r *receiver) ended() string {
	r.c.t.Helper()
	ctx, cancel := context.WithTimeout(r.c.ctx, 2*time.Hour)
	defer cancel()
	for {
		_, err := r.inbox.Receive(ctx)
		if errors.Is(err, wire.ErrDetached) {
			return conditionOf(err)
		}
		if err != nil {
			r.c.t.Fatalf("the link was not detached: %v", err)
		}
	}
}

// settle settles a delivery.
func (r *receiver) settle(d wire.Delivery, state codec.State) {
	r.Settle(d.ID, state)
	r.c.c.Push()
}

// conditionOf returns the name of the condition in an error.
func conditionOf(err error) string {
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c.Name
	}
	return fmt.Sprint(err)
}

// stateOf is short for a state of a delivery.
func stateOf(s codec.State) string {
	switch {
	case s.Kind == codec.CodeAccepted:
		return "accepted"
	case s.Kind == codec.CodeRejected && s.Error != nil:
		return "rejected " + s.Error.Name
	}
	return s.Kind.String()
}

// deliver sends a payload and returns the outcome.
func (c *client) deliver(s *wire.Sender, t wire.Transfer) string {
	c.t.Helper()
	ctx, cancel := c.waiting()
	defer cancel()
	st, err := s.Deliver(ctx, t)
	if err != nil {
		return "error " + conditionOf(err)
	}
	return stateOf(st)
}

// telemetry sends a message and expects it to be stored.
func (c *client) telemetry(s *wire.Sender, body string) {
	c.t.Helper()
	if got := c.deliver(s, event(body)); got != "accepted" {
		c.t.Fatalf("telemetry: %s", got)
	}
}

func event(body string) wire.Transfer {
	return wire.Transfer{Payload: hubamqp.AppendTelemetry(nil, &causeway.Message{Body: []byte(body), ContentType: "text/plain"})}
}

// stored returns the bodies stored of a device and its modules.
func (w *world) stored(device string) string {
	var bodies []string
	for _, m := range w.hub.Telemetry(w.t, device) {
		bodies = append(bodies, string(m.Body))
	}
	return strings.Join(bodies, ",")
}

// ended waits for the end of a connection and returns its condition.
func (c *client) ended() string {
	c.t.Helper()
	select {
	case <-c.c.Done():
	case <-time.After(2 * time.Hour):
		c.t.Fatal("the connection was not closed")
	}
	return conditionOf(c.c.Err())
}
