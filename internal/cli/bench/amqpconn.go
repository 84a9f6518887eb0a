package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Broker is a plain AMQP 1.0 broker: it has a queue and no devices.
type Broker struct {
	TLS            bool
	User, Password string // "" for no SASL dialogue
	Node           string // address of the queue
}

// What the generator announces.
const (
	amqpFrame  = 64 << 10
	amqpWindow = 1 << 16
	amqpCredit = 100 // of links that only listen
)

// amqpLink is a link as the generator attaches it.
type amqpLink struct {
	handle   uint32 // ours
	peer     uint32
	address  string
	sends    bool
	attached bool
	credit   uint32 // that the peer has given, for links we send on
	count    uint32
}

// amqpConn is one connection of the generator, with one session.
type amqpConn struct {
	id     causeway.Identity
	conn   net.Conn
	r      *codec.Reader
	out    []byte // reused for every write
	links  []*amqpLink
	open   bool
	begun  bool
	window uint32         // transfers that the peer takes
	next   uint32         // transfer-id
	most   int            // bytes of a frame that the peer takes
	reply  *hubamqp.Reply // of $cbs
	heard  int            // messages that came

	// disposition hears of settlements; nil for nobody.
	disposition func(d *codec.Disposition) error
}

// dialAMQP opens the network connection of an AMQP connection.
func (t *Target) dialAMQP(ctx context.Context, cfg *tls.Config) (net.Conn, error) {
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "tcp", t.AMQPAddress)
	if err != nil || t.Broker != nil && !t.Broker.TLS {
		return raw, err
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return conn, nil
}

// connectAMQP opens connection number i: SASL when the broker wants it, open,
// begin, the token of the device for a hub, and the links to the given addresses:
// those we send to first, then those we receive from.
func (t *Target) connectAMQP(ctx context.Context, i int, cfg *tls.Config, sends, receives []string) (_ *amqpConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := &amqpConn{id: t.device(i).id}
	defer func() {
		if err != nil {
			c.close()
			err = fmt.Errorf("connect %s: %w", c.id.Device, err)
		}
	}()
	if c.conn, err = t.dialAMQP(ctx, cfg); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c.r = codec.NewReader(c.conn, amqpFrame)
	if t.Broker != nil && t.Broker.User != "" {
		if err := c.login(t.Broker.User, t.Broker.Password); err != nil {
			return nil, err
		}
	}
	c.out = codec.ProtocolAMQP.Append(c.out[:0])
	c.put(&codec.Open{ContainerID: c.id.Device, Hostname: t.Host, MaxFrameSize: amqpFrame, ChannelMax: 0})
	c.put(&codec.Begin{NextOutgoingID: 0, IncomingWindow: amqpWindow, OutgoingWindow: amqpWindow, HandleMax: 255})
	if t.Hub() {
		c.attach(hubamqp.CBSAddress, true)
		c.attach(hubamqp.CBSAddress, false)
	}
	if err := c.flush(); err != nil {
		return nil, err
	}
	if p, err := c.r.Protocol(); err != nil || p != codec.ProtocolAMQP {
		return nil, fmt.Errorf("wait for the protocol: it is %d, %w", p, err)
	}
	if t.Hub() {
		if err := t.showToken(c); err != nil {
			return nil, err
		}
	}
	for _, a := range sends {
		c.attach(a, true)
	}
	for _, a := range receives {
		c.attach(a, false)
	}
	if err := c.until(c.allAttached); err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return c, c.conn.SetDeadline(time.Time{})
}

// login goes through a SASL dialogue.
func (c *amqpConn) login(user, password string) error {
	c.out = codec.ProtocolSASL.Append(c.out[:0])
	c.put(&codec.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00" + user + "\x00" + password)})
	if err := c.flush(); err != nil {
		return err
	}
	if p, err := c.r.Protocol(); err != nil || p != codec.ProtocolSASL {
		return fmt.Errorf("SASL: the server speaks protocol %d, %w", p, err)
	}
	for {
		f, err := c.r.Next()
		if err != nil {
			return fmt.Errorf("SASL: %w", err)
		}
		p, _, err := f.Performative()
		if err != nil {
			return fmt.Errorf("SASL: %w", err)
		}
		switch p := p.(type) {
		case *codec.SASLMechanisms:
		case *codec.SASLOutcome:
			if p.Outcome != codec.SASLOK {
				return fmt.Errorf("the server refused the login with code %d", p.Outcome)
			}
			return nil
		default:
			return fmt.Errorf("SASL: the server sent %v", p)
		}
	}
}

// showToken proves who the device is.
func (t *Target) showToken(c *amqpConn) error {
	out, in := c.links[0], c.links[1]
	if err := c.until(func() bool { return c.allAttached() && out.credit > 0 }); err != nil {
		return fmt.Errorf("attach to %s: %w", hubamqp.CBSAddress, err)
	}
	c.grant(in, amqpCredit)
	token := sas.Sign(t.Host+"/devices/"+c.id.Device, t.deviceKey(c.id.Device), "", time.Now().Add(24*time.Hour))
	c.send(out, hubamqp.AppendPutToken(nil, hubamqp.PutToken{
		MessageID: codec.Ulong(1), ReplyTo: "bench", Type: hubamqp.TokenSAS, Name: hubamqp.AudienceOf(t.Host, c.id), Token: causeway.Secret(token),
	}))
	if err := c.until(func() bool { return c.reply != nil }); err != nil {
		return fmt.Errorf("show token: %w", err)
	}
	if !c.reply.OK() {
		return fmt.Errorf("the hub refused the token: %d %s", c.reply.Status, c.reply.Description)
	}
	return nil
}

func (c *amqpConn) put(p codec.Performative) { c.out = codec.AppendFrame(c.out, 0, p, nil) }

// flush writes what was put.
func (c *amqpConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// attach puts the attach of a new link.
func (c *amqpConn) attach(address string, sends bool) *amqpLink {
	l := &amqpLink{handle: uint32(len(c.links)), address: address, sends: sends}
	c.links = append(c.links, l)
	p := codec.Attach{
		Name: fmt.Sprintf("bench-%d", l.handle), Handle: l.handle, Source: &codec.Source{}, Target: &codec.Target{},
		SndSettleMode: codec.SendUnsettled,
	}
	if sends {
		p.Role, p.InitialDeliveryCount = codec.Sender, codec.Some(uint32(0))
		p.Target.Address, p.Target.Durable = codec.Some(address), codec.DurableUnsettled // brokers make durable queues for that
	} else {
		p.Role, p.SndSettleMode = codec.Receiver, codec.SendSettled
		p.Source.Address = codec.Some(address)
	}
	c.put(&p)
	return l
}

// grant puts credit for a link that we receive on.
func (c *amqpConn) grant(l *amqpLink, n uint32) {
	c.put(&codec.Flow{
		NextIncomingID: codec.Some(uint32(0)), IncomingWindow: amqpWindow, NextOutgoingID: c.next, OutgoingWindow: amqpWindow,
		Handle: codec.Some(l.handle), DeliveryCount: codec.Some(uint32(0)), LinkCredit: codec.Some(n),
	})
}

// send puts a settled message.
func (c *amqpConn) send(l *amqpLink, payload []byte) {
	c.out = codec.AppendFrame(c.out, 0, &codec.Transfer{
		Handle: l.handle, DeliveryID: codec.Some(c.next), DeliveryTag: []byte{0}, MessageFormat: codec.Some(uint32(0)), Settled: codec.Some(true),
	}, payload)
	c.sent(l, 1)
}

// sent notes that n messages of one frame were put.
func (c *amqpConn) sent(l *amqpLink, n uint32) {
	c.next += n
	c.window -= n
	l.credit -= n
	l.count += n
}

func (c *amqpConn) allAttached() bool {
	for _, l := range c.links {
		if !l.attached {
			return false
		}
	}
	return c.open && c.begun
}

// until writes what was put and reads frames until a condition holds.
func (c *amqpConn) until(done func() bool) error {
	if err := c.flush(); err != nil {
		return err
	}
	for !done() {
		if err := c.read(); err != nil {
			return err
		}
	}
	return nil
}

// read deals with one frame.
func (c *amqpConn) read() error {
	f, err := c.r.Next()
	if err != nil || len(f.Body) == 0 {
		return err
	}
	p, payload, err := f.Performative()
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case *codec.Open:
		c.open, c.most = true, int(p.MaxFrameSize)
	case *codec.Begin:
		c.begun, c.window = true, p.IncomingWindow
	case *codec.Attach:
		return c.onAttach(p)
	case *codec.Flow:
		c.onFlow(p)
	case *codec.Transfer:
		c.heard++
		if r, err := hubamqp.DecodePutTokenResponse(payload); err == nil {
			c.reply = &r
		}
	case *codec.Disposition:
		if c.disposition != nil {
			return c.disposition(p)
		}
	case *codec.Detach:
		return byServer("detached the link", p.Error)
	case *codec.End:
		return byServer("ended the session", p.Error)
	case *codec.Close:
		return byServer("closed the connection", p.Error)
	}
	return nil
}

func byServer(what string, cond *codec.Condition) error {
	if cond == nil {
		return errors.New("the server " + what)
	}
	return fmt.Errorf("the server %s: %w", what, hubamqp.ErrorOf(cond))
}

func (c *amqpConn) onAttach(p *codec.Attach) error {
	for _, l := range c.links {
		if p.Name == fmt.Sprintf("bench-%d", l.handle) {
			// Who refuses answers without what was asked for; a detach follows.
			l.attached = l.sends && p.Target != nil || !l.sends && p.Source != nil
			l.peer = p.Handle
		}
	}
	return nil
}

func (c *amqpConn) onFlow(p *codec.Flow) {
	c.window = p.NextIncomingID.Or(0) + p.IncomingWindow - c.next
	if !p.Handle.OK || !p.LinkCredit.OK {
		return
	}
	for _, l := range c.links {
		if l.sends && l.attached && l.peer == p.Handle.V {
			l.credit = p.DeliveryCount.Or(0) + p.LinkCredit.V - l.count
		}
	}
}

func (c *amqpConn) close() {
	if c != nil && c.conn != nil {
		c.conn.Close()
	}
}

// amqpFleet is the connections of a run.
type amqpFleet []*amqpConn

// assembleAMQP provisions devices and connects all of them.
func (t *Target) assembleAMQP(ctx context.Context, l Load, open func(ctx context.Context, i int, cfg *tls.Config) (*amqpConn, error)) (_ amqpFleet, err error) {
	if err := t.provision(ctx, l); err != nil {
		return nil, fmt.Errorf("create devices: %w", err)
	}
	f := make(amqpFleet, l.Devices)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	cfg := t.tls()
	up := l.counter("connections")
	err = inParallel(ctx, l.Dialing, l.Devices, func(ctx context.Context, i int) error {
		c, err := open(ctx, i, cfg)
		if err != nil {
			return err
		}
		f[i] = c
		up()
		return nil
	})
	return f, err
}

func (f amqpFleet) close() {
	_ = inParallel(context.Background(), 64, len(f), func(_ context.Context, i int) error { //nolint:errcheck // f never fails
		f[i].close()
		return nil
	})
}
