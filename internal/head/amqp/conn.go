package amqp

import (
	"net"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/wire/accept"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// conn is one connection. It stays small: there may be very many.
type conn struct {
	v     *serving
	nc    net.Conn
	began time.Time

	// The reader's own.
	dirty   []*device      // with messages to be stored
	burst   time.Time      // when the first of them came
	granted []*inLink      // that credit is due to
	planes  []claims.Plane // that have been asked for links

	mu        sync.Mutex
	w         *wire.Conn // nil during the handshake of TLS
	hub       string     // canonical name; "" before the host is known
	host      string
	login     *login        // of SASL PLAIN, not verified yet
	reg       *registration // of a client that looks for its hub, else nil
	cause     *end
	half      bool // holds a place among the half-open
	certified bool // has a certificate
	vouched   bool // which was looked at, since nothing else was shown
	stopping  bool
	ending    bool // our close is due to a claim
	over      bool
	workers   accept.Workers

	tokens   []token
	grants   []grant
	devices  []*device
	bindings []*binding
	cbsOut   []*cbsOut
	cbsIn    *wire.Receiver
	replies  []reply // that wait for credit
	replying int     // goroutines that wait to send one
	until    time.Time
	lonely   time.Time // since when there is neither token nor link
	alarm    *time.Timer
}

var (
	_ wire.Handler = (*conn)(nil)
	_ claims.Peer  = (*conn)(nil)
)

func newConn(v *serving, nc net.Conn) *conn {
	return &conn{v: v, nc: nc, began: time.Now(), half: true}
}

// start makes the handshake of TLS in a goroutine that ends with it, and takes
// its deep stack along.
func (c *conn) start() {
	if h, ok := c.nc.(interface{ Handshake() error }); ok {
		cut := time.AfterFunc(causeway.ConnectDeadline, func() { c.kill(ReasonConnectTimeout, nil) })
		err := h.Handshake()
		cut.Stop()
		if err != nil {
			_ = accept.CloseNow(c.nc)
			c.finish(&end{ReasonHandshake, err})
			return
		}
	}
	w := wire.Serve(c.nc, c.v.config, c)
	c.mu.Lock()
	c.w = w
	stopping := c.stopping
	c.mu.Unlock()
	if stopping {
		w.Shutdown(forced())
	}
}

// Attach decides about a link: part of [wire.Handler].
func (c *conn) Attach(a *wire.Attach) error {
	if addr, ok := c.parseRegistration(a.Address()); ok {
		return c.attachRegistration(a, addr)
	}
	addr, err := hubamqp.ParseAddress(strings.Clone(a.Address())) // ids in it are kept
	switch {
	case err == nil && c.hub == "":
		err = causeway.Errorf(causeway.AmqpAddressNotFound, "amqp.attach", "%q is a host of a provisioning service, which has no address %q", c.host, addr.String())
	case err == nil && addr.Host != "":
		if hub, _, ok := c.v.realms.Realm(addr.Host); !ok || hub != c.hub {
			err = causeway.Errorf(causeway.AmqpAddressNotFound, "amqp.attach", "%q is no host of this hub", addr.Host)
		}
	}
	switch {
	case err != nil:
	case addr.Kind == hubamqp.KindCBS:
		return c.attachCBS(a)
	case addr.OfDevice():
		err = c.attachDevice(a, addr)
	default:
		return c.attachPlane(a, addr)
	}
	if err != nil {
		c.v.refused(reasonOfLink(err), c, "link", err)
		return hubamqp.ConditionOf(err)
	}
	return nil
}

// attachPlane lets the plane of an address decide.
func (c *conn) attachPlane(a *wire.Attach, addr hubamqp.Address) error {
	p := c.v.planes[addr.Kind]
	if p == nil {
		err := causeway.Errorf(causeway.AmqpAddressNotFound, "amqp.attach", "address %q: not served here", addr.String())
		c.v.refused(ReasonUnknownAddress, c, "link", err)
		return hubamqp.ConditionOf(err)
	}
	known := false
	for _, x := range c.planes {
		known = known || x == p
	}
	if !known {
		c.planes = append(c.planes, p)
	}
	if err := p.Attach(c, addr, a); err != nil {
		r := ReasonLinkRefused
		if causeway.CodeOf(err) == causeway.IotHubUnauthorized {
			r = ReasonUnauthorized
		}
		c.v.refused(r, c, "link", err)
		return hubamqp.ConditionOf(err)
	}
	return nil
}

// Flush ends a burst: part of [wire.Handler].
func (c *conn) Flush(w *wire.Conn) {
	c.store()
	for i, l := range c.granted {
		l.r.Grant(l.d.mayAsk())
		c.granted[i] = nil
	}
	c.granted = c.granted[:0]
	for _, p := range c.planes {
		p.Flush(c)
	}
	c.mu.Lock()
	stop := c.stopping && c.workers.Idle()
	c.mu.Unlock()
	if stop {
		w.Close(forced()) // a client that never stops sending would never be idle
	}
}

// Hub returns the canonical name of the hub: part of [claims.Peer].
func (c *conn) Hub() string { return c.hub }

// Host returns the name by which the client asked for the hub.
func (c *conn) Host() string { return c.host }

// Conn returns the connection.
func (c *conn) Conn() *wire.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w
}

// forced is what clients are told when the server stops.
func forced() *codec.Condition {
	return hubamqp.NewCondition(hubamqp.ConnectionForced, causeway.ServiceUnavailable, "the server stops; connect again in a moment")
}
