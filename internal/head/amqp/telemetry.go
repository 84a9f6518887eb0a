package amqp

import (
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	wire "github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// batch is the messages of one identity that came in one burst. It borrows the
// payloads.
type batch struct {
	msgs    []causeway.Message
	props   [][]causeway.Property // the property slices of msgs by index
	scratch hubamqp.Scratch
	entries []entry
}

// entry is one delivery of a batch.
type entry struct {
	r       *wire.Receiver
	id      uint32
	settled bool
	n       int   // messages in it
	err     error // why it is not taken
}

// batches holds idle *batch.
var batches = sync.Pool{New: func() any { return new(batch) }}

// maxKept is how many messages, and properties of one message, a batch keeps
// room for.
const maxKept, maxKeptProperties = 512, 64

// release returns b to the pool, without what only a large one needed.
func (b *batch) release() {
	if cap(b.msgs) > maxKept || cap(b.entries) > maxKept {
		return
	}
	for i := range b.props {
		if cap(b.props[i]) > maxKeptProperties {
			b.props[i] = nil
		}
	}
	clear(b.msgs) // do not hold on to payloads
	clear(b.entries)
	b.msgs, b.entries = b.msgs[:0], b.entries[:0]
	b.scratch.Reset()
	batches.Put(b)
}

// decode appends a message to b, unless it is not valid.
func (b *batch) decode(payload []byte) error {
	i := len(b.msgs)
	if i == len(b.props) {
		b.props = append(b.props, nil)
	}
	b.msgs = append(b.msgs, causeway.Message{Properties: b.props[i][:0]})
	m := &b.msgs[i]
	if err := hubamqp.DecodeTelemetry(m, &b.scratch, payload); err != nil {
		b.msgs = b.msgs[:i]
		return err
	}
	b.props[i] = m.Properties[:0]
	return nil
}

// telemetry adds a delivery to the batch of the burst.
func (d *device) telemetry(r *wire.Receiver, dl wire.Delivery) {
	b := d.batch
	if b == nil {
		b = batches.Get().(*batch)
		d.batch = b
		if len(d.c.dirty) == 0 {
			d.c.burst = time.Now()
		}
		d.c.dirty = append(d.c.dirty, d)
	}
	e := entry{r: r, id: dl.ID, settled: dl.Settled}
	before := len(b.msgs)
	if dl.Format == hubamqp.BatchFormat {
		for inner, err := range hubamqp.Batch(dl.Payload) {
			if len(b.msgs)-before == d.c.v.limits.BatchMessages {
				b.msgs = b.msgs[:before]
				d.c.store()
				d.large(r, dl)
				return
			}
			if err == nil {
				err = b.decode(inner)
			}
			if e.err = err; err != nil {
				b.msgs = b.msgs[:before]
				break
			}
		}
	} else {
		e.err = b.decode(dl.Payload)
	}
	e.n = len(b.msgs) - before
	b.entries = append(b.entries, e)
	if len(b.msgs) >= d.c.v.limits.BatchMessages {
		d.c.store()
	}
}

// large stores a delivery of very many messages piece by piece, once all are
// found valid.
func (d *device) large(r *wire.Receiver, dl wire.Delivery) {
	err := d.checkLarge(dl.Payload)
	b := batches.Get().(*batch)
	defer b.release()
	n := 0
	send := func() {
		if err == nil && len(b.msgs) > 0 {
			if err = d.session.Send(d.c.v.life, b.msgs...); err == nil {
				d.c.v.countIn(b.msgs)
				n += len(b.msgs)
			}
		}
		b.msgs = b.msgs[:0]
		b.scratch.Reset()
	}
	for inner, bad := range hubamqp.Batch(dl.Payload) {
		if err == nil {
			err = bad
		}
		if err != nil {
			break
		}
		if err = b.decode(inner); len(b.msgs) == d.c.v.limits.BatchMessages {
			send()
		}
	}
	send()
	d.settle(&entry{r: r, id: dl.ID, settled: dl.Settled, n: n, err: err})
}

// checkLarge returns what is wrong with a delivery of very many messages.
func (d *device) checkLarge(payload []byte) error {
	b := batches.Get().(*batch)
	defer b.release()
	for inner, err := range hubamqp.Batch(payload) {
		if err == nil {
			err = b.decode(inner)
		}
		if err != nil {
			return err
		}
		b.msgs = b.msgs[:0]
		b.scratch.Reset()
	}
	return nil
}

// store sends what was gathered, and settles it.
func (c *conn) store() {
	switch len(c.dirty) {
	case 0:
		return
	case 1:
		c.dirty[0].store()
	default:
		c.storeAll()
	}
	for i, d := range c.dirty {
		for j := range d.batch.entries {
			d.settle(&d.batch.entries[j])
		}
		d.batch.release()
		d.batch, c.dirty[i] = nil, nil
	}
	c.dirty = c.dirty[:0]
	c.v.metrics.AckLatency.Observe(time.Since(c.burst).Seconds())
}

// storeAll sends the messages of several identities side by side.
func (c *conn) storeAll() {
	var wg sync.WaitGroup
	for i := range min(len(c.dirty), storesAtOnce) {
		wg.Go(func() {
			for ; i < len(c.dirty); i += storesAtOnce {
				c.dirty[i].store()
			}
		})
	}
	wg.Wait()
}

// store sends the batch of d, and notes in its entries what was not taken.
func (d *device) store() {
	b := d.batch
	if len(b.msgs) == 0 {
		return
	}
	err := d.session.Send(d.c.v.life, b.msgs...)
	if err == nil {
		d.c.v.countIn(b.msgs)
		return
	}
	alone := 0
	for i := range b.entries {
		if b.entries[i].n > 0 {
			alone++
		}
	}
	if alone == 1 || !rejection(err) {
		for i := range b.entries {
			if b.entries[i].n > 0 {
				b.entries[i].err = err
			}
		}
		return
	}
	// One of the deliveries may be the cause: only that must not be taken.
	from := 0
	for i := range b.entries {
		e := &b.entries[i]
		if e.n == 0 {
			continue
		}
		msgs := b.msgs[from : from+e.n]
		from += e.n
		if e.err = d.session.Send(d.c.v.life, msgs...); e.err == nil {
			d.c.v.countIn(msgs)
		}
	}
}

// countIn counts messages that were stored.
func (v *serving) countIn(msgs []causeway.Message) {
	bytes := 0
	for i := range msgs {
		bytes += len(msgs[i].Body)
	}
	v.metrics.MessagesIn.Add(float64(len(msgs)))
	v.metrics.BytesIn.Add(float64(bytes))
}

// settle tells the client what became of a delivery. One that was not stored is
// rejected whatever the reason: the condition says whether to try again.
func (d *device) settle(e *entry) {
	if e.err != nil {
		d.c.v.refused(reasonOfMessage(e.err), d.c, "message", e.err)
		if !e.settled {
			e.r.Settle(e.id, codec.Rejected(hubamqp.ConditionOf(e.err)))
		}
		return
	}
	if !e.settled {
		e.r.Settle(e.id, codec.Accepted())
	}
}
