package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

const (
	// openTimeout bounds how long it takes until the broker has let us in.
	openTimeout = 30 * time.Second
	// keepAlive is how often we are heard of at least.
	keepAlive = 30 * time.Second
	// writeStall is how long one write may take.
	writeStall = 30 * time.Second
	// maxPacket bounds what a broker may send us: it has nothing to say.
	maxPacket = 64 << 10
	// maxInFlight bounds the messages that are not acknowledged.
	maxInFlight = 1000
)

// conn is a connection with a broker.
type conn struct {
	nc      net.Conn
	version mqtt.Version
	largest int           // packet that the broker takes; 0 for any
	window  chan struct{} // holds as many as may be under way
	over    chan struct{} // closed when the connection has ended
	all     sync.WaitGroup

	writing sync.Mutex
	buf     []byte

	mu      sync.Mutex
	err     error // why it ended
	flights map[uint16]slot
	last    uint16 // id that was given
}

// dial connects and is let in.
func (s *Sink) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	addr := s.c.addr()
	nc, err := s.env.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		tc := tls.Client(nc, s.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // the handshake is the error
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		nc = tc
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() }) // ends what waits below
	c, r, err := s.login(nc)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("MQTT with %s: %w", addr, err)
	}
	c.all.Go(func() { c.read(r) })
	c.all.Go(c.ping)
	return c, nil
}

// login says who we are and hears whether that is enough.
func (s *Sink) login(nc net.Conn) (*conn, *mqtt.Reader, error) {
	v := s.c.version()
	hello := mqtt.Connect{
		Version: v, ClientID: cmp.Or(s.c.ClientID, "causeway-"+s.env.Hub+"-"+s.env.Endpoint), CleanStart: true, KeepAlive: uint16(keepAlive / time.Second),
		HasUserName: s.c.User != "", UserName: s.c.User, HasPassword: s.c.Password != "", Password: string(s.c.Password),
	}
	b, err := hello.Append(nil, v)
	if err != nil {
		return nil, nil, err
	}
	if _, err := nc.Write(b); err != nil {
		return nil, nil, err
	}
	r := mqtt.NewReader(nc, v, maxPacket)
	p, err := r.Packet()
	if err != nil {
		return nil, nil, err
	}
	ack, ok := p.(*mqtt.Connack)
	if !ok {
		return nil, nil, fmt.Errorf("the broker answered CONNECT with %v", p.Type())
	}
	if ack.Code != mqtt.Success {
		why, _ := ack.Properties.Text(mqtt.ReasonString)
		return nil, nil, fmt.Errorf("the broker does not let us in: code %#x %s", byte(ack.Code), why)
	}
	if q, ok := ack.Properties.Num(mqtt.MaximumQoS); ok && q < 1 {
		return nil, nil, errors.New("the broker takes no messages of QoS 1")
	}
	window := maxInFlight
	if n, ok := ack.Properties.Num(mqtt.ReceiveMaximum); ok && n > 0 {
		window = min(window, int(n))
	}
	c := &conn{nc: nc, version: v, window: make(chan struct{}, window), over: make(chan struct{}), flights: map[uint16]slot{}}
	if n, ok := ack.Properties.Num(mqtt.MaximumPacketSize); ok {
		c.largest = int(n)
	}
	return c, r, nil
}

// errLarge says that the broker takes no message of this size.
var errLarge = errors.New("the message is larger than the broker takes")

// publish sends a packet once there is room for it.
func (c *conn) publish(ctx context.Context, p *mqtt.Publish, sl slot) error {
	select {
	case c.window <- struct{}{}:
	case <-ctx.Done():
		c.fail(ctx.Err())
		return ctx.Err()
	case <-c.over:
		return c.why()
	}
	c.writing.Lock() // ids and packets are in the same order
	defer c.writing.Unlock()
	p.ID = c.number(sl)
	b, err := p.Append(c.buf[:0], c.version)
	if err == nil && c.largest > 0 && len(b) > c.largest {
		err = fmt.Errorf("%w: %d bytes, at most %d", errLarge, len(b), c.largest)
	}
	if err != nil {
		c.acknowledged(p.ID, int(mqtt.PacketTooLarge))
		return err
	}
	if cap(b) <= maxPacket {
		c.buf = b
	}
	return c.write(b)
}

// write writes bytes. The caller holds writing.
func (c *conn) write(b []byte) error {
	err := c.nc.SetWriteDeadline(time.Now().Add(writeStall))
	if err == nil {
		_, err = c.nc.Write(b)
	}
	if err != nil {
		c.fail(err)
	}
	return err
}

// number gives a packet an id that no other has.
func (c *conn) number(sl slot) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.last++; c.last == 0 {
			continue
		}
		if _, used := c.flights[c.last]; !used { // the window is smaller than their number
			c.flights[c.last] = sl
			return c.last
		}
	}
}

// acknowledged notes what the broker said of a packet.
func (c *conn) acknowledged(id uint16, reason int) {
	c.mu.Lock()
	sl, ok := c.flights[id]
	delete(c.flights, id)
	c.mu.Unlock()
	if ok {
		<-c.window
		sl.f.settle(sl.i, reason)
	}
}

// read hears what the broker says until the connection ends.
func (c *conn) read(r *mqtt.Reader) {
	for {
		_ = c.nc.SetReadDeadline(time.Now().Add(2 * keepAlive)) // the read fails instead
		p, err := r.Packet()
		if err != nil {
			c.fail(err)
			return
		}
		switch p := p.(type) {
		case *mqtt.Ack:
			if p.Kind != mqtt.PUBACK {
				c.fail(fmt.Errorf("the broker sent %v", p.Kind))
				return
			}
			c.acknowledged(p.ID, int(p.Reason))
		case *mqtt.Ping:
		case *mqtt.Disconnect:
			why, _ := p.Properties.Text(mqtt.ReasonString)
			c.fail(fmt.Errorf("the broker disconnected us: code %#x %s", byte(p.Reason), why))
			return
		default:
			c.fail(fmt.Errorf("the broker sent %v", p.Type()))
			return
		}
	}
}

// ping lets the broker hear of us, and us of it.
func (c *conn) ping() {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b, err := (&mqtt.Ping{}).Append(nil, c.version)
			if err == nil {
				c.writing.Lock()
				err = c.write(b)
				c.writing.Unlock()
			}
			if err != nil {
				return
			}
		case <-c.over:
			return
		}
	}
}

// fail ends the connection; the first reason counts. Whoever waits hears it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.over)
	_ = c.nc.Close() // it is over anyway
}

func (c *conn) ended() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// why returns why the connection ended.
func (c *conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("connection with the broker ended: %w", c.err)
}

// close ends the connection in order, if it has not ended, and waits for what it
// started.
func (c *conn) close() {
	if b, err := (&mqtt.Disconnect{}).Append(nil, c.version); err == nil && !c.ended() {
		c.writing.Lock()
		_ = c.write(b) // the broker sees the end in any case
		c.writing.Unlock()
	}
	c.fail(errors.New("closed"))
	c.all.Wait()
}
