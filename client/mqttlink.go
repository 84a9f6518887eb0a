package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Bounds of a connection's memory.
const (
	maxPacket = 1 << 20 // remaining length of a packet from the hub
	maxUnsent = 1 << 20 // bytes that wait to be written; senders wait above it
)

// mqttTransport speaks MQTT.
type mqttTransport struct {
	d *Device

	// Guarded by d.mu.
	ids     packetIDs
	subacks map[uint16]chan bool
}

var _ transport = (*mqttTransport)(nil)

// newID returns a free packet id. The caller holds d.mu.
func (t *mqttTransport) newID() uint16 {
	return t.ids.next(func(id uint16) bool { return t.d.pending.byID[id] != nil || t.subacks[id] != nil })
}

// mqttLink is one connection that carries MQTT.
type mqttLink struct {
	t       *mqttTransport
	d       *Device
	conn    net.Conn
	r       *mqtt.Reader
	expires time.Time // of the token; zero = never
	keep    time.Duration

	mu      sync.Mutex
	unsent  []byte
	err     error         // why it ended
	wake    chan struct{} // the writer has something to do; capacity 1
	room    chan struct{} // closed and renewed when unsent was written
	done    chan struct{} // closed when the link has ended
	granted chan bool     // one value once the subscriptions were answered; capacity 1
}

var _ link = (*mqttLink)(nil)

// open dials, says CONNECT and waits for CONNACK.
func (t *mqttTransport) open(ctx context.Context) (link, error) {
	d := t.d
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := d.stream(ctx)
	if err != nil {
		return nil, err
	}
	// The handshake below reads and writes without a context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	l, err := t.greet(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		return nil, err
	}
	return l, nil
}

// greet exchanges CONNECT and CONNACK.
func (t *mqttTransport) greet(conn net.Conn) (*mqttLink, error) {
	d := t.d
	password, expires := d.proof(time.Now())
	user := topic.Username{
		Host: d.host, Device: d.id.Device, Module: d.id.Module,
		APIVersion: apiVersion, ClientType: d.o.product(), ModelID: d.o.ModelID,
	}
	c := mqtt.Connect{
		Version: mqtt.V311, ClientID: d.id.String(), CleanStart: d.o.CleanSession,
		KeepAlive: uint16(max(1, d.o.KeepAlive/time.Second)), HasUserName: true, UserName: user.String(),
		HasPassword: password != "", Password: password,
	}
	b, err := c.Append(nil, mqtt.V311)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(b); err != nil {
		return nil, fmt.Errorf("send CONNECT: %w", err)
	}
	r := mqtt.NewReader(conn, mqtt.V311, maxPacket)
	p, err := r.Packet()
	if err != nil {
		return nil, fmt.Errorf("wait for CONNACK: %w", err)
	}
	ack, ok := p.(*mqtt.Connack)
	if !ok {
		return nil, fmt.Errorf("the server answered CONNECT with %v", p.Type())
	}
	if ack.Code != mqtt.Accepted {
		return nil, refusal(ack.Code)
	}
	return &mqttLink{
		t: t, d: d, conn: conn, r: r, expires: expires, keep: d.o.KeepAlive,
		wake: make(chan struct{}, 1), room: make(chan struct{}), done: make(chan struct{}), granted: make(chan bool, 1),
	}, nil
}

// refusal makes an error of a CONNACK return code.
func refusal(code mqtt.Reason) error {
	e := &causeway.Error{Op: "connect"}
	switch code {
	case mqtt.RefusedVersion:
		e.Code, e.Msg = causeway.InvalidProtocolVersion, "the server does not speak MQTT 3.1.1"
	case mqtt.RefusedUnavailable:
		e.Code, e.Msg = causeway.ServerBusy, "the server is busy, try again later"
	default: // 2, 4, 5: the hub does not tell them apart for strangers
		e.Code = causeway.IotHubUnauthorized
		e.Msg = "the hub refused the device: unknown id, wrong or expired key or certificate, or disabled"
	}
	return e
}

// write queues b without waiting; the order of calls is the order on the wire.
func (l *mqttLink) write(b []byte) {
	l.mu.Lock()
	if l.err == nil {
		l.unsent = append(l.unsent, b...)
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// writeWait is write for packets that nothing else bounds: it waits while too
// much is unsent.
func (l *mqttLink) writeWait(ctx context.Context, b []byte) error {
	for {
		l.mu.Lock()
		full, room, err := len(l.unsent) > maxUnsent, l.room, l.err
		l.mu.Unlock()
		switch {
		case err != nil:
			return errors.Join(ErrOffline, err)
		case !full:
			l.write(b)
			return nil
		}
		select {
		case <-room:
		case <-l.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end closes the link; the first reason counts.
func (l *mqttLink) end(reason error) {
	l.mu.Lock()
	first := l.err == nil
	if first {
		l.err = reason
		close(l.done)
	}
	l.mu.Unlock()
	if first {
		l.conn.Close()
	}
}

// goodbye writes what is unsent and a DISCONNECT, and ends the link.
func (l *mqttLink) goodbye(grace time.Duration) {
	b, err := (&mqtt.Disconnect{}).Append(nil, mqtt.V311)
	if err == nil {
		l.mu.Lock()
		room := l.room
		l.mu.Unlock()
		l.write(b)
		select {
		case <-room:
		case <-l.done:
		case <-time.After(grace):
		}
	}
	l.end(ErrClosed)
}

// pump writes what is queued, many packets at once, and pings. It returns when
// the link ends.
func (l *mqttLink) pump() {
	// A server waits 1.5 times the interval; pinging at three quarters of it
	// leaves a whole round trip to spare.
	ping := time.NewTicker(max(time.Second, l.keep*3/4))
	defer ping.Stop()
	var spare []byte
	for {
		select {
		case <-l.done:
			return
		case <-ping.C:
			b, err := (&mqtt.Ping{}).Append(nil, mqtt.V311)
			if err != nil {
				l.end(err)
				return
			}
			l.conn.SetReadDeadline(time.Now().Add(pingTimeout)) //nolint:errcheck // a dead connection shows at the next read
			l.write(b)
		case <-l.wake:
		}
		l.mu.Lock()
		out, room := l.unsent, l.room
		l.unsent, l.room = spare[:0], make(chan struct{})
		l.mu.Unlock()
		if len(out) > 0 {
			if _, err := l.conn.Write(out); err != nil {
				l.end(fmt.Errorf("write: %w", err))
				return
			}
		}
		if spare = out; cap(spare) > maxUnsent {
			spare = nil
		}
		close(room)
	}
}
