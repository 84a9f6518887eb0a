package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// provisionKeep is how long a connection may be silent between two questions. A
// service that tells a device to wait longer finds it gone, and back in time.
const provisionKeep = 2 * time.Minute

// mqttCourier asks over MQTT, on a connection that it makes when it needs one.
type mqttCourier struct {
	p    *provisioning
	conn net.Conn // nil for none
	r    *mqtt.Reader
	last uint16 // packet id, and request id
}

var _ courier = (*mqttCourier)(nil)

func (c *mqttCourier) ask(ctx context.Context, operation string) (reply []byte, after time.Duration, err error) {
	return askAgain(ctx, c.conn != nil, func() ([]byte, time.Duration, error) { return c.try(ctx, operation) })
}

// try asks once. A connection that has failed is not used again.
func (c *mqttCourier) try(ctx context.Context, operation string) (reply []byte, after time.Duration, err error) {
	op := asking(operation)
	if err := c.open(ctx); err != nil {
		return nil, 0, opError(op, err)
	}
	// What follows reads and writes without a context.
	conn := c.conn // it may still be closed when c has let go of it
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	a, reply, err := c.exchange(operation)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		if ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
		}
		return nil, 0, opError(op, err)
	}
	if a.Status >= 300 {
		return nil, a.RetryAfter, decodeError(op, a.Status, nil, reply)
	}
	return reply, a.RetryAfter, nil
}

// open connects and subscribes, unless that is done.
func (c *mqttCourier) open(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	o := &c.p.o.Options
	conn, err := o.stream(ctx, c.p.endpoint(mqttSocket, o.MQTTPort, DefaultMQTTPort))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c.r = mqtt.NewReader(conn, mqtt.V311, maxPacket)
	err = c.greet(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return err
	}
	c.conn = conn
	return nil
}

// greet exchanges CONNECT and CONNACK, SUBSCRIBE and SUBACK.
func (c *mqttCourier) greet(conn net.Conn) error {
	user := dpstopic.Username{Scope: c.p.o.IDScope, ID: c.p.o.RegistrationID, APIVersion: c.p.version, ClientVersion: c.p.o.product()}
	token := c.p.token()
	hello, err := (&mqtt.Connect{
		Version: mqtt.V311, ClientID: c.p.o.RegistrationID, CleanStart: true, KeepAlive: uint16(provisionKeep / time.Second),
		HasUserName: true, UserName: user.String(), HasPassword: token != "", Password: token,
	}).Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("send CONNECT: %w", err)
	}
	p, err := c.r.Packet()
	if err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	switch ack, ok := p.(*mqtt.Connack); {
	case !ok:
		return fmt.Errorf("the server answered CONNECT with %v", p.Type())
	case ack.Code == mqtt.RefusedVersion || ack.Code == mqtt.RefusedUnavailable:
		return refusal(ack.Code)
	case ack.Code != mqtt.Accepted:
		return &causeway.Error{Code: causeway.IotHubUnauthorizedAccess, Msg: fmt.Sprintf("the service refused the device (CONNACK %d)", ack.Code)}
	}
	c.last++
	b, err := (&mqtt.Subscribe{ID: c.last, Subscriptions: []mqtt.Subscription{{Filter: dpstopic.Filter, QoS: 1}}}).Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("send SUBSCRIBE: %w", err)
	}
	if p, err = c.r.Packet(); err != nil {
		return fmt.Errorf("wait for SUBACK: %w", err)
	}
	if ack, ok := p.(*mqtt.Suback); !ok || len(ack.Codes) != 1 || ack.Codes[0] > 1 {
		return fmt.Errorf("the server does not grant %s", dpstopic.Filter)
	}
	return nil
}

// exchange sends a request and reads until its answer is there.
func (c *mqttCourier) exchange(operation string) (a dpstopic.Answer, reply []byte, err error) {
	c.last = max(1, c.last+1)
	rid := strconv.Itoa(int(c.last))
	q := mqtt.Publish{
		Topic: string(dpstopic.AppendRequest(nil, dpstopic.Request{Register: operation == "", RID: rid, Operation: operation})),
		QoS:   1, ID: c.last,
	}
	if operation == "" {
		q.Payload = c.p.body
	}
	b, err := q.Append(nil, mqtt.V311)
	if err != nil {
		return a, nil, err
	}
	if _, err := c.conn.Write(b); err != nil {
		return a, nil, fmt.Errorf("send the request: %w", err)
	}
	for {
		p, err := c.r.Packet()
		if err != nil {
			return a, nil, fmt.Errorf("wait for the answer: %w", err)
		}
		m, ok := p.(*mqtt.Publish)
		if !ok {
			continue // its acknowledgement
		}
		if m.QoS > 0 {
			if _, err := c.conn.Write(mqtt.AppendPuback(nil, m.ID)); err != nil {
				return a, nil, fmt.Errorf("acknowledge the answer: %w", err)
			}
		}
		if a, err = dpstopic.ParseAnswer(m.Topic); err != nil {
			return a, nil, err
		}
		if a.RID == rid { // else it is one that came too late
			return a, bytes.Clone(m.Payload), nil
		}
	}
}

func (c *mqttCourier) close() {
	if c.conn == nil {
		return
	}
	if b, err := (&mqtt.Disconnect{}).Append(nil, mqtt.V311); err == nil {
		c.conn.SetWriteDeadline(time.Now().Add(closeGrace)) //nolint:errcheck // a courtesy to a service that may be gone
		c.conn.Write(b)                                     //nolint:errcheck // the same
	}
	c.conn.Close()
	c.conn = nil
}
