package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// AMQPIdle measures what Idle does, of connections that have attached what a
// device attaches: $cbs, telemetry, and, when it listens, commands, methods and
// the twin, whose changes it has subscribed to.
func AMQPIdle(ctx context.Context, t *Target, l Load) (Run, error) {
	if t.PID == 0 {
		return Run{}, errNoProcess
	}
	if err := t.provision(ctx, l); err != nil {
		return Run{}, fmt.Errorf("create devices: %w", err)
	}
	before, err := settled(ctx, t.PID, l.Settle)
	if err != nil {
		return Run{}, err
	}
	began := time.Now()
	f, err := t.assembleAMQP(ctx, l, func(ctx context.Context, i int, cfg *tls.Config) (*amqpConn, error) {
		return t.idleAMQP(ctx, i, cfg, l.Listen)
	})
	if err != nil {
		return Run{}, err
	}
	defer f.close()
	took := time.Since(began)
	after, err := settled(ctx, t.PID, l.Settle)
	if err != nil {
		return Run{}, err
	}
	n := int64(l.Devices)
	return Run{Count: n, Seconds: took.Seconds(), Rate: rate(n, took), Bytes: float64(after-before) / float64(n)}, nil
}

// idleAMQP opens connection number i with all its links, and leaves it alone.
func (t *Target) idleAMQP(ctx context.Context, i int, cfg *tls.Config, listen bool) (*amqpConn, error) {
	id := t.device(i).id
	address := func(k hubamqp.Kind) string { return hubamqp.DeviceAddress(k, id) }
	sends := []string{address(hubamqp.KindTelemetry)}
	var receives []string
	if listen {
		sends = append(sends, address(hubamqp.KindMethods), address(hubamqp.KindTwin))
		receives = []string{address(hubamqp.KindCommands), address(hubamqp.KindMethods), address(hubamqp.KindTwin)}
	}
	c, err := t.connectAMQP(ctx, i, cfg, sends, receives)
	if err != nil || !listen {
		return c, err
	}
	err = c.conn.SetDeadline(time.Now().Add(dialTimeout))
	if err == nil {
		err = c.subscribe()
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("subscribe %s: %w", id.Device, err)
	}
	c.out = nil // it will not write again
	return c, c.conn.SetDeadline(time.Time{})
}

// subscribe gives credit for everything the connection listens to, and asks for
// changes of the twin.
func (c *amqpConn) subscribe() error {
	var twin *amqpLink
	for _, l := range c.links[2:] {
		if !l.sends {
			c.grant(l, amqpCredit)
			continue
		}
		twin = l // the last one we send on
	}
	if err := c.until(func() bool { return twin.credit > 0 }); err != nil {
		return err
	}
	heard := c.heard
	c.send(twin, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Correlation: codec.String("1")}))
	return c.until(func() bool { return c.heard > heard })
}
