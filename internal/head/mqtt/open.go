package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// open makes the handshake, reads the CONNECT packet and opens the session. It
// runs in a goroutine that ends with it, and takes its deep stack along. The
// time it may take is for the sweeper to watch.
func (c *conn) open() {
	w, err := c.connect()
	c.v.conns.Admit()
	if err != nil {
		c.finish(endOf(err))
		return
	}
	c.v.conns.Go(func() { c.run(w) })
}

// hellos holds the buffers for CONNECT packets of ordinary size.
var hellos = sync.Pool{New: func() any { return new([1 << 10]byte) }}

// connect returns what arrived behind the CONNECT packet, nil for nothing.
func (c *conn) connect() (*work, error) {
	if h, ok := c.nc.(interface{ Handshake() error }); ok {
		if err := h.Handshake(); err != nil {
			return nil, ending(ReasonHandshake, err)
		}
	}
	n, err := c.nc.Read(c.first[:])
	if err != nil {
		return nil, err
	}
	small := hellos.Get().(*[1 << 10]byte)
	defer hellos.Put(small)
	buf := small[:]
	fill := copy(buf, c.first[:n])
	for {
		f, n, need, err := wire.Split(buf[:fill], 0, maxConnect)
		if fill > 0 && buf[0]>>4 != byte(wire.CONNECT) {
			return nil, ending(ReasonNoConnect, errors.New("the first packet is "+wire.Type(buf[0]>>4).String()))
		}
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if err := c.answer(f); err != nil {
				return nil, err
			}
			return leftover(buf[n:fill]), nil
		}
		if need > len(buf) {
			grown := make([]byte, min(need, 2*len(buf)))
			copy(grown, buf[:fill])
			buf = grown
		}
		n, err = c.nc.Read(buf[fill:])
		fill += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// leftover returns b in a buffer to go on with.
func leftover(b []byte) *work {
	if len(b) == 0 {
		return nil
	}
	w := works.Get().(*work)
	if len(b) > len(w.buf) {
		putBuffer(w.buf)
		w.buf = getBuffer(len(b))
	}
	w.fill = copy(w.buf, b)
	return w
}

// refuse answers with a CONNACK of code and ends the connection.
func (c *conn) refuse(code wire.Reason, r Reason, err error) error {
	b, _ := (&wire.Connack{Code: code}).Append(nil, wire.V311)
	_, _ = c.nc.Write(b)
	return ending(r, err)
}

// refuseFive tells a client of MQTT 5, or later, that its version is not
// supported, in its own words.
func (c *conn) refuseFive(err error) error {
	b, _ := (&wire.Connack{Code: wire.UnsupportedVersion}).Append(nil, wire.V5)
	_, _ = c.nc.Write(b)
	return ending(ReasonProtocolVersion, err)
}

// answer judges the CONNECT packet, opens the session and answers.
func (c *conn) answer(f wire.Frame) error {
	var p wire.Connect
	err := p.Decode(f, 0)
	if e, ok := errors.AsType[*wire.VersionError](err); ok {
		err = errors.New(e.Error()) // it points into the buffer
		if e.Level > wire.V5 {
			return c.refuseFive(err)
		}
		return c.refuse(wire.RefusedVersion, ReasonProtocolVersion, err)
	}
	if p.Version == wire.V5 {
		return c.refuseFive(errors.New("MQTT 5 is not supported"))
	}
	if err != nil {
		return err
	}
	if c.v.provisioner != nil && dpstopic.Is(p.UserName, p.ClientID) {
		return c.openProvisioning(&p)
	}
	cred, err := c.credential(&p)
	if err != nil {
		return err
	}
	if err := c.takeWill(&p, cred); err != nil {
		return err
	}
	c.id = cred.Identity // for the log, until the hub says the whole of it
	c.silence = silence(p.KeepAlive)
	c.persistent = !p.CleanStart

	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline-time.Duration(c.v.clock.now()-c.began))
	defer cancel()
	session, err := c.v.hub.Connect(ctx, cred, c)
	if err != nil {
		code, reason := refusalOf(err)
		return c.refuse(code, reason, err)
	}
	c.id, c.session = session.Identity(), session
	present, filters, err := c.restore(ctx)
	if err != nil {
		return c.refuse(wire.RefusedUnavailable, ReasonHubFailed, fmt.Errorf("session store: %w", err))
	}
	return c.accept(ctx, present, filters)
}

// credential takes the CONNECT packet apart. Its strings have memory of their
// own.
func (c *conn) credential(p *wire.Connect) (causeway.Credential, error) {
	var none causeway.Credential
	if !p.HasUserName {
		return none, c.refuse(wire.RefusedUserName, ReasonUserName, errors.New("no user name"))
	}
	u, err := topic.ParseUsername(strings.Clone(p.UserName))
	if err != nil {
		return none, c.refuse(wire.RefusedUserName, ReasonUserName, err)
	}
	if u.ClientID() != p.ClientID {
		return none, c.refuse(wire.RefusedClientID, ReasonClientID,
			fmt.Errorf("the client id is not %q, which the user name says", u.ClientID()))
	}
	cred := c.proof(p)
	cred.Host, cred.Identity, cred.APIVersion, cred.ClientType = u.Host, u.Identity(), u.APIVersion, u.ClientType
	cred.ModelID, cred.AuthChain = u.ModelID, u.AuthChain
	return cred, nil
}

// proof returns what a client shows of itself beside its user name.
func (c *conn) proof(p *wire.Connect) causeway.Credential {
	cred := causeway.Credential{
		Token:        causeway.Secret(strings.Clone(p.Password)),
		Certificates: certificates(c.nc), Transport: causeway.MQTT, RemoteAddr: c.nc.RemoteAddr().String(),
	}
	if _, ok := c.nc.(interface{ Subprotocol() string }); ok {
		cred.Transport = causeway.MQTTWS
	}
	return cred
}

// certificates returns the chain the client presented.
func certificates(nc any) []*x509.Certificate {
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState().PeerCertificates
	}
	return nil
}

// silence is how long a client with this keep-alive may be silent, in
// nanoseconds.
func silence(keepAlive uint16) int64 {
	d := time.Duration(keepAlive) * time.Second
	if d == 0 || d > causeway.MaxKeepAlive {
		d = causeway.MaxKeepAlive
	}
	return int64(float64(d) * causeway.KeepAliveGrace)
}

// restore returns the persistent session of the client, or begins one, or
// drops it when the client wants none.
func (c *conn) restore(ctx context.Context) (present bool, filters []Filter, err error) {
	unacked := c.v.unacked.take(c.id)
	filters, present, err = c.v.sessions.Load(ctx, c.id)
	switch {
	case err != nil:
		return false, nil, err
	case !c.persistent && present:
		return false, nil, c.v.sessions.Drop(ctx, c.id)
	case !c.persistent:
		return false, nil, nil // mostly so: spares the store a write
	case !present:
		return false, nil, c.v.sessions.Save(ctx, c.id, nil)
	}
	c.redelivers = unacked
	return true, filters, nil
}

// accept sends the CONNACK and lets the hub send what the session subscribes
// to. That begins before the CONNACK is out, so that whoever saw the client
// connected finds it listening, but is written after it.
func (c *conn) accept(ctx context.Context, present bool, filters []Filter) error {
	if !c.state.CompareAndSwap(opening, busy) {
		return ending(ReasonStop, nil)
	}
	subs := make([]subscription, 0, len(filters))
	for _, f := range filters {
		if s, err := newSubscription(f.Topic, f.QoS, c.id); err == nil { // one may have been granted by another version
			subs = append(subs, s)
		}
	}
	if len(subs) > 0 {
		c.subs.Store(&subs)
	}
	if err := c.out.hold(); err != nil {
		return err
	}
	if lanes := lanesOf(subs); lanes != 0 {
		if err := c.session.Listen(ctx, lanes); err != nil {
			c.out.close()
			return c.refuse(wire.RefusedUnavailable, ReasonHubFailed, err)
		}
	}
	b, err := (&wire.Connack{SessionPresent: present}).Append(make([]byte, 0, 4), wire.V311)
	if err != nil {
		return ending(ReasonHubFailed, err)
	}
	c.opened = true
	c.v.metrics.Connects.Inc()
	return c.drain(b)
}

// bytesOf returns s as bytes without copying; they must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
