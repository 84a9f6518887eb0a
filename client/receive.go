package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// stay keeps the device connected, beginning with l, until Close.
func (d *Device) stay(l *link) {
	backOff := minBackOff
	again := false // this is not the first connection
	for {
		began := time.Now()
		err := d.serve(l, again)
		if d.ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		if !errors.Is(err, errRenew) {
			d.log.Warn("connection lost", "device", d.id.String(), "error", err)
			d.online(err)
		}
		if time.Since(began) > steady || errors.Is(err, errRenew) {
			backOff = minBackOff
		}
		for l = nil; l == nil; {
			// Jitter keeps a fleet that lost the same server from coming back
			// in step. Two clients of one identity take each other's place in
			// turn; the back-off keeps even them calm.
			select {
			case <-d.ctx.Done():
				return
			case <-time.After(backOff/2 + rand.N(backOff)):
			}
			backOff = min(2*backOff, d.o.MaxBackOff)
			if l, err = d.open(d.ctx); err != nil {
				d.log.Warn("cannot reconnect", "device", d.id.String(), "error", err, "again", backOff)
			}
		}
		again = true
	}
}

// catchUp reads the desired properties in the background.
func (d *Device) catchUp() {
	d.all.Go(func() {
		if err := d.syncDesired(d.ctx); err != nil && d.ctx.Err() == nil {
			d.log.Warn("cannot read desired properties", "device", d.id.String(), "error", err)
			d.behind.Store(true) // the next change, or the next connection, tries again
		}
	})
}

var errRenew = errors.New("the access token is about to expire")

func (d *Device) online(err error) {
	if d.o.Online != nil {
		d.o.Online(err)
	}
}

// serve runs a link until it ends and returns why. again says that there was
// one before it.
func (d *Device) serve(l *link, again bool) error {
	stop := context.AfterFunc(d.ctx, func() { l.end(ErrClosed) })
	defer stop()
	if !l.expires.IsZero() {
		// 3.1.1 cannot change the token of a connection: a new CONNECT does.
		renew := time.AfterFunc(time.Until(l.expires)*17/20, func() { l.end(errRenew) })
		defer renew.Stop()
	}
	d.adopt(l)
	d.all.Go(l.pump)
	if again && d.o.Desired != nil {
		d.catchUp() // hubs do not queue changes of the twin
	}
	err := d.read(l)
	l.end(err)

	d.mu.Lock()
	if d.cur == l {
		d.cur = nil
	}
	for id, c := range d.subacks {
		delete(d.subacks, id)
		close(c)
	}
	for rid, c := range d.replies {
		delete(d.replies, rid)
		close(c)
	}
	d.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// adopt makes l the current link: subscriptions first, then everything that was
// in flight, then whatever comes.
func (d *Device) adopt(l *link) {
	d.mu.Lock()
	subs := d.subscriptions()
	if len(subs) == 0 {
		l.ready <- true
	} else {
		s := mqtt.Subscribe{ID: d.newID(), Subscriptions: subs}
		b, err := s.Append(nil, mqtt.V311)
		if err != nil {
			d.mu.Unlock()
			l.end(err)
			return
		}
		d.subacks[s.ID] = l.ready
		l.write(b)
	}
	const dup = 1 << 3 // of the first byte [MQTT-3.3.1-1]
	for o := d.pending.first; o != nil; o = o.next {
		o.packet[0] |= dup
		l.write(o.packet)
	}
	d.cur = l
	d.mu.Unlock()
	d.online(nil)
}

func (d *Device) subscriptions() []mqtt.Subscription {
	var subs []mqtt.Subscription
	if d.o.Commands != nil {
		subs = append(subs, mqtt.Subscription{Filter: topic.CommandFilter(d.id), QoS: 1})
	}
	if d.o.Methods != nil {
		subs = append(subs, mqtt.Subscription{Filter: topic.MethodFilter})
	}
	if d.twinWanted {
		subs = append(subs, mqtt.Subscription{Filter: topic.TwinResponseFilter})
	}
	if d.o.Desired != nil {
		subs = append(subs, mqtt.Subscription{Filter: topic.DesiredFilter})
	}
	return subs
}

// read dispatches packets until the link ends.
func (d *Device) read(l *link) error {
	var pub mqtt.Publish
	for {
		f, err := l.r.Next()
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch f.Type {
		case mqtt.PUBLISH:
			if err := pub.Decode(f, mqtt.V311); err != nil {
				return err
			}
			if err := d.received(l, &pub); err != nil {
				return err
			}
		case mqtt.PUBACK:
			var ack mqtt.Ack
			if err := ack.Decode(f, mqtt.V311); err != nil {
				return err
			}
			d.acked(ack.ID)
		case mqtt.SUBACK:
			var ack mqtt.Suback
			if err := ack.Decode(f, mqtt.V311); err != nil {
				return err
			}
			d.subscribed(&ack)
		case mqtt.PINGRESP:
			l.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // a dead connection shows at the next read
		case mqtt.UNSUBACK:
		default:
			return fmt.Errorf("the server sent %v", f.Type)
		}
	}
}

func (d *Device) subscribed(ack *mqtt.Suback) {
	granted := true
	for _, c := range ack.Codes {
		granted = granted && !c.Failed()
	}
	if !granted {
		d.log.Warn("the hub refused a subscription", "device", d.id.String())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.subacks[ack.ID]; c != nil {
		delete(d.subacks, ack.ID)
		c <- granted
	}
}

// delivery is something for the goroutine that calls handlers in order.
type delivery struct {
	command *causeway.Message
	desired *causeway.Patch
	link    *link // to acknowledge on
	id      uint16
}

// received dispatches one PUBLISH of the hub.
func (d *Device) received(l *link, pub *mqtt.Publish) error {
	var m causeway.Message
	p, _, err := topic.ParseDelivery([]byte(pub.Topic), d.id, &m, nil)
	if err != nil {
		return fmt.Errorf("topic of the hub: %w", err)
	}
	job := delivery{link: l, id: pub.ID}
	switch p.Kind {
	case topic.Command, topic.Input:
		m.Body = pub.Payload
		m = m.Clone()
		job.command = &m
	case topic.Desired:
		job.desired = &causeway.Patch{Properties: append([]byte(nil), pub.Payload...), Version: p.Version}
	case topic.MethodRequest:
		return d.invoke(l, p, pub)
	case topic.TwinResponse:
		d.replied(string([]byte(p.RID)), twinReply{status: p.Status, version: p.Version, body: append([]byte(nil), pub.Payload...)})
		return l.ack(pub.ID)
	default:
		return l.ack(pub.ID)
	}
	// Never wait here: the handler may itself be waiting for an answer that
	// only this goroutine can read.
	select {
	case d.work <- job:
	default:
		if job.desired != nil {
			d.behind.Store(true)
		} else {
			d.log.Warn("too many commands wait; the hub will deliver this one again", "device", d.id.String())
		}
	}
	return nil
}

// ack acknowledges a QoS 1 delivery; id 0 is QoS 0 and needs none.
func (l *link) ack(id uint16) error {
	if id == 0 {
		return nil
	}
	b, err := (&mqtt.Ack{Kind: mqtt.PUBACK, ID: id}).Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	l.write(b)
	return nil
}

// handle calls the handlers that want order.
func (d *Device) handle() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case j := <-d.work:
			switch {
			case j.desired != nil:
				d.desired(*j.desired)
			case d.o.Commands == nil:
				// Nobody asked for it: a filter of an earlier session.
			default:
				if err := d.o.Commands(d.ctx, j.command); err != nil {
					d.log.Warn("command not handled; the hub will deliver it again", "device", d.id.String(), "error", err)
					continue
				}
			}
			if err := j.link.ack(j.id); err != nil {
				j.link.end(err)
			}
			if len(d.work) == 0 && d.behind.Swap(false) {
				d.catchUp()
			}
		}
	}
}

// desired hands a change over unless it is older than what the handler has seen.
func (d *Device) desired(p causeway.Patch) {
	d.mu.Lock()
	old := p.Version <= d.lastDesired
	if !old {
		d.lastDesired = p.Version
	}
	d.mu.Unlock()
	if !old && d.o.Desired != nil {
		d.o.Desired(d.ctx, p)
	}
}

// syncDesired reads the twin and hands the desired section over if it has
// changed since the handler last saw it. Notifications are not queued by hubs.
func (d *Device) syncDesired(ctx context.Context) error {
	t, err := d.Twin(ctx)
	if err != nil {
		return err
	}
	select {
	case d.work <- delivery{desired: &causeway.Patch{Properties: t.Desired, Version: t.DesiredVersion}, link: &link{}}:
		return nil
	case <-d.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// invoke runs a direct method in a goroutine of its own.
func (d *Device) invoke(l *link, p topic.Publish, pub *mqtt.Publish) error {
	if d.o.Methods == nil {
		return l.ack(pub.ID)
	}
	call := causeway.Call{Method: string([]byte(p.Name)), Payload: append([]byte(nil), pub.Payload...)}
	rid := string([]byte(p.RID))
	select {
	case d.calls <- struct{}{}:
	default:
		b, err := (&mqtt.Publish{Topic: string(topic.AppendMethodResponse(nil, 429, rid)), Payload: []byte(`{"message":"too many calls at once"}`)}).Append(nil, mqtt.V311)
		if err != nil {
			return err
		}
		l.write(b)
		return l.ack(pub.ID)
	}
	d.all.Go(func() {
		defer func() { <-d.calls }()
		res, err := d.o.Methods(d.ctx, call)
		if err != nil {
			text, _ := json.Marshal(map[string]string{"message": err.Error()}) // strings always marshal
			res = causeway.Result{Status: 500, Payload: text}
		}
		answer := mqtt.Publish{Topic: string(topic.AppendMethodResponse(nil, res.Status, rid)), Payload: res.Payload}
		b, err := answer.Append(nil, mqtt.V311)
		if err == nil {
			err = l.writeWait(d.ctx, b)
		}
		if err != nil && d.ctx.Err() == nil {
			d.log.Warn("cannot answer method", "device", d.id.String(), "method", call.Method, "error", err)
		}
	})
	return l.ack(pub.ID)
}
