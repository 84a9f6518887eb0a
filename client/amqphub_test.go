package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// amqpHub is the other end of AMQP connections. It answers tokens and requests
// about twins by itself, as the functions in it say; everything else is for the
// test to do. Like broker it runs in a bubble.
type amqpHub struct {
	t     *testing.T
	cfg   *tls.Config
	roots *x509.CertPool
	amqp  *amqp.Config

	sent     chan *arrival // what was sent to it: telemetry, commands of services, answers of methods
	outcomes chan outcome  // of what it has sent

	mu      sync.Mutex
	refuse  bool   // new connections
	most    uint64 // bytes of a message that is sent to it
	peers   []*amqpPeer
	tokens  []hubamqp.PutToken
	attachs []string // "in ADDRESS" for what clients send to, "out ADDRESS"
	dials   []string

	open    func() error                                                          // nil accepts
	token   func(hubamqp.PutToken) error                                          // nil accepts
	attach  func(a hubamqp.Address, w *amqp.Attach) error                         // nil grants
	twin    func(p *amqpPeer, r hubamqp.TwinRequest) hubamqp.TwinResponse         // nil answers with an empty twin
	manage  func(r hubamqp.ManagementRequest) func(dst []byte) []byte             // of the events endpoint
	granted func(p *amqpPeer, a hubamqp.Address, start hubamqp.Start, key string) // an "out" link was granted
}

// arrival is a message that the hub got.
type arrival struct {
	peer    *amqpPeer
	link    *amqp.Receiver
	address hubamqp.Address
	amqp.Delivery
}

// settle ends the delivery with an outcome.
func (a *arrival) settle(s codec.State) {
	a.link.Settle(a.ID, s)
	a.peer.conn.Push()
}

// message reads the message, of which there is one.
func (a *arrival) message() causeway.Message {
	a.peer.hub.t.Helper()
	var m causeway.Message
	var s hubamqp.Scratch
	if err := hubamqp.DecodeTelemetry(&m, &s, a.Payload); err != nil {
		a.peer.hub.t.Fatal(err)
	}
	return m.Clone()
}

// outcome is what a client says of a delivery.
type outcome struct {
	tag   string
	state codec.Code
}

// amqpPeer is a connection as the hub sees it.
type amqpPeer struct {
	amqp.Client
	hub  *amqpHub
	conn *amqp.Conn

	mu    sync.Mutex
	links map[string]*amqp.Sender   // by address
	ins   map[string]*amqp.Receiver // the same
}

// errNoAnswer, returned by a function of a hub, has a request not answered.
var errNoAnswer = errors.New("no answer")

func newPeer(h *amqpHub) *amqpPeer {
	return &amqpPeer{hub: h, links: map[string]*amqp.Sender{}, ins: map[string]*amqp.Receiver{}}
}

func (p *amqpPeer) Open(*amqp.Conn, *codec.Open) error {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	if p.hub.open == nil {
		return nil
	}
	return p.hub.open()
}

func newAMQPHub(t *testing.T) *amqpHub {
	t.Helper()
	ca, err := pki.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.ServerCertificate(t.TempDir(), []string{"hub.example", "events.example"})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	anonymous := amqp.Mechanism{Name: "ANONYMOUS", Start: func(*amqp.Conn) amqp.Dialogue {
		return func([]byte) ([]byte, bool, error) { return nil, true, nil }
	}}
	return &amqpHub{
		t: t, roots: roots, most: hubamqp.MaxTransfer, sent: make(chan *arrival, 1000), outcomes: make(chan outcome, 1000),
		cfg:  &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert},
		amqp: amqp.Prepare(amqp.Config{ContainerID: "hub", Mechanisms: []amqp.Mechanism{anonymous}, Properties: codec.NewMap()}),
	}
}

func (h *amqpHub) options() client.DeviceOptions {
	return client.DeviceOptions{Options: h.network(), ConnectionString: deviceString, Transport: causeway.AMQP}
}

func (h *amqpHub) network() client.Options {
	return client.Options{RootCAs: h.roots, Dial: h.dial}
}

// dial connects a client.
func (h *amqpHub) dial(_ context.Context, _, addr string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials = append(h.dials, addr)
	if h.refuse {
		return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
	}
	mine, theirs := memnet.Pipe("client", "hub", 0)
	p := newPeer(h)
	go func() {
		conn := tls.Server(theirs, h.cfg)
		if err := conn.Handshake(); err != nil {
			theirs.Close()
			return
		}
		p.mu.Lock()
		p.conn = amqp.Serve(conn, h.amqp, p)
		p.mu.Unlock()
	}()
	h.peers = append(h.peers, p)
	return mine, nil
}

// peer returns the n-th connection, 0 being the first.
func (h *amqpHub) peer(n int) *amqpPeer {
	h.t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.peers) <= n {
		h.t.Fatalf("there were %d connections, not %d", len(h.peers), n+1)
	}
	return h.peers[n]
}

// conns returns the connections there were so far.
func (h *amqpHub) conns() []*amqpPeer {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.peers)
}

// shown returns the tokens that were shown so far.
func (h *amqpHub) shown() []hubamqp.PutToken {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tokens)
}

// pass lets simulated time go by.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // it is simulated
	synctest.Wait()
}

// next returns the next message that was sent to an address.
func (h *amqpHub) next(kind hubamqp.Kind) *arrival {
	h.t.Helper()
	select {
	case a := <-h.sent:
		if a.address.Kind != kind {
			h.t.Fatalf("a message came on %v", a.address)
		}
		return a
	case <-time.After(time.Hour):
		h.t.Fatal("no message came")
		return nil
	}
}

// outcome returns what the client says next of a delivery.
func (h *amqpHub) outcome() outcome {
	h.t.Helper()
	select {
	case o := <-h.outcomes:
		return o
	case <-time.After(time.Hour):
		h.t.Fatal("nothing was settled")
		return outcome{}
	}
}

// attached returns the links that were granted so far, sorted.
func (h *amqpHub) attached() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.attachs))
}

// Attach grants links as the test says.
func (p *amqpPeer) Attach(w *amqp.Attach) error {
	h := p.hub
	a, err := hubamqp.ParseAddress(strings.Clone(w.Address()))
	if err != nil {
		return hubamqp.ConditionOf(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.attach != nil {
		if err := h.attach(a, w); err != nil {
			return err
		}
	}
	if w.Role == codec.Sender {
		h.attachs = append(h.attachs, "in "+a.String())
		r := w.Receive(amqp.ReceiverOptions{Handler: &hubIn{p: p, a: a}, Credit: 100, MaxMessageSize: h.most})
		p.mu.Lock()
		p.ins[a.String()] = r
		p.mu.Unlock()
		return nil
	}
	h.attachs = append(h.attachs, "out "+a.String())
	s := w.Send(amqp.SenderOptions{Handler: &hubOut{p: p, a: a}})
	p.mu.Lock()
	p.links[a.String()] = s
	p.mu.Unlock()
	if h.granted != nil {
		start := hubamqp.Start{}
		if w.Source != nil {
			if start, err = hubamqp.StartOf(w.Source.Filter); err != nil {
				return hubamqp.ConditionOf(err)
			}
		}
		h.granted(p, a, start, a.String())
	}
	return nil
}

// link returns the sender of an address.
func (p *amqpPeer) link(address string) *amqp.Sender {
	p.hub.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.links[address]
	if s == nil {
		p.hub.t.Fatalf("no link to %s; there are %v", address, p.links)
	}
	return s
}

// received returns the receiver of an address.
func (p *amqpPeer) received(address string) *amqp.Receiver {
	p.hub.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.ins[address]
	if r == nil {
		p.hub.t.Fatalf("no link to %s; there are %v", address, p.ins)
	}
	return r
}

// send sends a message to the client.
func (p *amqpPeer) send(address, tag string, payload []byte) {
	p.hub.t.Helper()
	if _, err := p.link(address).Send(p.hub.t.Context(), amqp.Transfer{Tag: []byte(tag), Payload: payload}); err != nil {
		p.hub.t.Fatal(err)
	}
}

// drop cuts the connection.
func (p *amqpPeer) drop() { p.conn.Abort(fmt.Errorf("the test cuts it")) }

// hubIn takes what clients send.
type hubIn struct {
	p *amqpPeer
	a hubamqp.Address
}

func (i *hubIn) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	h, p := i.p.hub, i.p
	switch i.a.Kind {
	case hubamqp.KindCBS:
		q, err := hubamqp.DecodePutToken(d.Payload)
		h.mu.Lock()
		h.tokens = append(h.tokens, hubamqp.PutToken{Name: string([]byte(q.Name)), Token: causeway.Secret([]byte(q.Token))})
		if err == nil && h.token != nil {
			err = h.token(q)
		}
		h.mu.Unlock()
		r.Settle(d.ID, codec.Accepted())
		if errors.Is(err, errNoAnswer) {
			return
		}
		i.reply(hubamqp.CBSAddress, hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(q.MessageID, err)))
	case hubamqp.KindTwin:
		var s hubamqp.Scratch
		q, err := hubamqp.DecodeTwinRequest(&s, d.Payload)
		if err != nil {
			h.t.Error(err)
			return
		}
		answer := hubamqp.TwinResponse{Status: 200, Body: []byte(`{"desired":{"$version":1},"reported":{"$version":1}}`)}
		h.mu.Lock()
		if h.twin != nil {
			answer = h.twin(p, q)
		}
		h.mu.Unlock()
		answer.Correlation = q.Correlation
		if answer.Status != 0 {
			i.reply(i.a.String(), hubamqp.AppendTwinResponse(nil, answer))
		}
	case hubamqp.KindEventsManagement:
		q, err := hubamqp.DecodeManagementRequest(d.Payload)
		if err != nil {
			h.t.Error(err)
			return
		}
		r.Settle(d.ID, codec.Accepted())
		h.mu.Lock()
		answer := h.manage(q)
		h.mu.Unlock()
		i.reply(i.a.String(), answer(nil))
	default:
		d.Payload, d.Tag = slices.Clone(d.Payload), slices.Clone(d.Tag)
		h.sent <- &arrival{peer: p, link: r, address: i.a, Delivery: d}
	}
}

// reply answers on the link from an address. The reader must not wait.
func (i *hubIn) reply(address string, payload []byte) {
	if err := i.p.link(address).TrySend(amqp.Transfer{Payload: payload}); err != nil {
		i.p.hub.t.Errorf("answer on %s: %v", address, err)
	}
}

func (i *hubIn) Detached(*amqp.Receiver, error) {}

// hubOut hears of what clients receive.
type hubOut struct {
	p *amqpPeer
	a hubamqp.Address
}

func (o *hubOut) Flow(*amqp.Sender) {}

func (o *hubOut) Disposition(s *amqp.Sender, d amqp.Sent, state *codec.State, settled bool) {
	if !settled {
		s.Settle(d.ID, *state)
	}
	if tag, ok := d.Token.(string); ok {
		o.p.hub.outcomes <- outcome{tag, state.Kind}
	}
}

func (o *hubOut) Detached(*amqp.Sender, error) {}

// inHub runs a test in a bubble with a hub.
func inHub(t *testing.T, f func(t *testing.T, h *amqpHub)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newAMQPHub(t)) })
}

// connect connects a device.
func (h *amqpHub) connect(o client.DeviceOptions) *client.Device {
	h.t.Helper()
	d, err := client.Connect(h.t.Context(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}
