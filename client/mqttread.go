package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

var errRenew = errors.New("the access token is about to expire")

// start subscribes first, then sends everything that was in flight.
func (l *mqttLink) start() {
	t := l.t
	subs := l.subscriptions()
	if len(subs) == 0 {
		l.granted <- true
	} else {
		s := mqtt.Subscribe{ID: t.newID(), Subscriptions: subs}
		b, err := s.Append(nil, mqtt.V311)
		if err != nil {
			l.end(err)
			return
		}
		t.subacks[s.ID] = l.granted
		l.write(b)
	}
	const dup = 1 << 3 // of the first byte [MQTT-3.3.1-1]
	for o := l.d.pending.first; o != nil; o = o.next {
		o.data[0] |= dup
		l.write(o.data)
	}
}

func (l *mqttLink) ready() <-chan bool { return l.granted }

func (l *mqttLink) subscriptions() []mqtt.Subscription {
	d := l.d
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

func (l *mqttLink) run() error {
	if !l.expires.IsZero() {
		// 3.1.1 cannot change the token of a connection: a new CONNECT does.
		renew := time.AfterFunc(renewAfter(time.Until(l.expires)), func() { l.end(errRenew) })
		defer renew.Stop()
	}
	l.d.all.Go(l.pump)
	l.end(l.read())
	l.d.mu.Lock()
	for id, c := range l.t.subacks {
		delete(l.t.subacks, id)
		close(c)
	}
	l.d.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// read dispatches packets until the link ends.
func (l *mqttLink) read() error {
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
			if err := l.received(&pub); err != nil {
				return err
			}
		case mqtt.PUBACK:
			var ack mqtt.Ack
			if err := ack.Decode(f, mqtt.V311); err != nil {
				return err
			}
			l.acked(ack.ID)
		case mqtt.SUBACK:
			var ack mqtt.Suback
			if err := ack.Decode(f, mqtt.V311); err != nil {
				return err
			}
			l.subscribed(&ack)
		case mqtt.PINGRESP:
			l.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // a dead connection shows at the next read
		case mqtt.UNSUBACK:
		default:
			return fmt.Errorf("the server sent %v", f.Type)
		}
	}
}

func (l *mqttLink) subscribed(ack *mqtt.Suback) {
	granted := true
	for _, c := range ack.Codes {
		granted = granted && !c.Failed()
	}
	if !granted {
		l.d.log.Warn("the hub refused a subscription", "device", l.d.id.String())
	}
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if c := l.t.subacks[ack.ID]; c != nil {
		delete(l.t.subacks, ack.ID)
		c <- granted
	}
}

// acked ends the message that the hub has acknowledged.
func (l *mqttLink) acked(id uint16) {
	l.d.mu.Lock()
	o := l.d.pending.take(id)
	l.d.mu.Unlock()
	if o != nil { // an unknown id is the answer to a message sent twice
		l.d.settle(o, nil)
	}
}

// received dispatches one PUBLISH of the hub.
func (l *mqttLink) received(pub *mqtt.Publish) error {
	var m causeway.Message
	p, _, err := topic.ParseDelivery([]byte(pub.Topic), l.d.id, &m, nil)
	if err != nil {
		return fmt.Errorf("topic of the hub: %w", err)
	}
	switch p.Kind {
	case topic.Command, topic.Input:
		m.Body = pub.Payload
		m = m.Clone()
		if !l.d.deliver(delivery{command: &m, settle: l.settler(pub.ID)}) {
			l.d.log.Warn("too many commands wait; the hub will deliver this one again", "device", l.d.id.String())
		}
		return nil
	case topic.Desired:
		l.d.deliver(delivery{
			desired: &causeway.Patch{Properties: append([]byte(nil), pub.Payload...), Version: p.Version},
			settle:  l.settler(pub.ID),
		})
		return nil
	case topic.MethodRequest:
		l.invoke(p, pub)
	case topic.TwinResponse:
		l.d.replied(string([]byte(p.RID)), twinReply{status: p.Status, version: p.Version, body: append([]byte(nil), pub.Payload...)})
	}
	return l.ack(pub.ID)
}

// invoke has a direct method answered.
func (l *mqttLink) invoke(p topic.Publish, pub *mqtt.Publish) {
	rid := string([]byte(p.RID))
	call := causeway.Call{Method: string([]byte(p.Name)), Payload: append([]byte(nil), pub.Payload...)}
	l.d.invoke(call, func(ctx context.Context, r causeway.Result, wait bool) error {
		answer := mqtt.Publish{Topic: string(topic.AppendMethodResponse(nil, r.Status, rid)), Payload: r.Payload}
		b, err := answer.Append(nil, mqtt.V311)
		if err != nil {
			return err
		}
		if wait {
			return l.writeWait(ctx, b)
		}
		l.write(b)
		return nil
	})
}

// settler acknowledges what was accepted. MQTT has no word for anything else: the
// hub delivers it again.
func (l *mqttLink) settler(id uint16) func(causeway.Outcome) {
	return func(outcome causeway.Outcome) {
		if outcome != causeway.Accepted {
			return
		}
		if err := l.ack(id); err != nil {
			l.end(err)
		}
	}
}

// ack acknowledges a QoS 1 delivery; id 0 is QoS 0 and needs none.
func (l *mqttLink) ack(id uint16) error {
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
