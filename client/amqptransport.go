package client

import (
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// maxBatch bounds a transfer of several messages: hubs take no more.
const maxBatch = 256 << 10

// amqpTransport speaks AMQP.
type amqpTransport struct {
	d    *Device
	pool *Pool
}

var _ transport = (*amqpTransport)(nil)

func newAMQPTransport(d *Device) (*amqpTransport, error) {
	t := &amqpTransport{d: d, pool: d.o.Pool}
	if t.pool != nil {
		if d.o.Certificate != nil {
			return nil, errors.New("device options: a certificate proves one device and so needs a connection of its own, without a pool")
		}
		return t, nil
	}
	e := d.endpoint(amqpSocket)
	p := PoolOptions{Options: d.o.Options, KeepAlive: d.o.KeepAlive, Devices: 1}
	t.pool = newPool(p, func(string) endpoint { return e })
	return t, nil
}

func (t *amqpTransport) encode(m *causeway.Message) (*outgoing, error) {
	// What is around the body of an ordinary message is smaller than this.
	const around = 192
	return &outgoing{data: hubamqp.AppendTelemetry(make([]byte, 0, len(m.Body)+around), m)}, nil
}

func (t *amqpTransport) batch(m []causeway.Message) (*outgoing, int, error) {
	n, size := 0, 0
	for n < len(m) {
		// More than what is around a message besides names and values.
		const around = 128
		more := m[n].Size() + around + 16*len(m[n].Properties)
		if n > 0 && size+more > maxBatch {
			break
		}
		size += more
		n++
	}
	if n == 1 {
		o, err := t.encode(&m[0])
		return o, 1, err
	}
	return &outgoing{data: hubamqp.AppendBatch(make([]byte, 0, size), m[:n]), format: hubamqp.BatchFormat}, n, nil
}

// number does nothing: deliveries get their numbers when they are sent.
func (t *amqpTransport) number(*outgoing) {}

// open joins or makes a connection, shows the token and attaches links.
func (t *amqpTransport) open(ctx context.Context) (link, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := t.pool.join(ctx, t.d.host)
	if err != nil {
		return nil, amqpError(err)
	}
	l := newAMQPLink(t, conn)
	if err := l.attach(ctx); err != nil {
		l.end(err)
		l.leave()
		return nil, amqpError(err)
	}
	return l, nil
}
