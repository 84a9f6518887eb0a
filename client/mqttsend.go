package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

func (t *mqttTransport) encode(m *causeway.Message) (*outgoing, error) {
	pub := mqtt.Publish{Topic: string(topic.AppendTelemetry(nil, t.d.id, m)), Payload: m.Body, QoS: 1, ID: 1}
	b, err := pub.Append(make([]byte, 0, mqtt.MaxHeader+4+len(pub.Topic)+len(m.Body)), mqtt.V311)
	if err != nil {
		return nil, err
	}
	// The packet id stands right before the payload.
	return &outgoing{data: b, idAt: len(b) - len(m.Body) - 2}, nil
}

// batch returns the first message: MQTT sends them one by one.
func (t *mqttTransport) batch(m []causeway.Message) (*outgoing, int, error) {
	o, err := t.encode(&m[0])
	return o, 1, err
}

func (t *mqttTransport) number(o *outgoing) {
	o.id = t.newID()
	binary.BigEndian.PutUint16(o.data[o.idAt:], o.id)
}

// send writes the packet; a failure ends the link, and the next one sends it
// again.
func (l *mqttLink) send(o *outgoing) { l.write(o.data) }

func (l *mqttLink) post(ctx context.Context, m *causeway.Message) error {
	pub := mqtt.Publish{Topic: string(topic.AppendTelemetry(nil, l.d.id, m)), Payload: m.Body}
	b, err := pub.Append(nil, mqtt.V311)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	return l.writeWait(ctx, b)
}

func (l *mqttLink) twin(ctx context.Context, rid string, patch []byte) error {
	pub := mqtt.Publish{Topic: string(topic.AppendTwinGet(nil, rid))}
	if patch != nil {
		pub.Topic, pub.Payload = string(topic.AppendTwinPatch(nil, rid, 0)), patch
	}
	b, err := pub.Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	return l.writeWait(ctx, b)
}

var errNoTwin = errors.New("the hub refused the subscription to twin answers")

func (l *mqttLink) wantTwin(ctx context.Context) error {
	d, t := l.d, l.t
	d.mu.Lock()
	if d.twinWanted {
		d.mu.Unlock()
		return nil
	}
	granted := make(chan bool, 1)
	s := mqtt.Subscribe{ID: t.newID(), Subscriptions: []mqtt.Subscription{{Filter: topic.TwinResponseFilter}}}
	b, err := s.Append(nil, mqtt.V311)
	if err != nil {
		d.mu.Unlock()
		return err
	}
	t.subacks[s.ID] = granted
	l.write(b)
	d.mu.Unlock()
	select {
	case ok, open := <-granted:
		if !open {
			return ErrOffline
		}
		if !ok {
			return errNoTwin
		}
		d.mu.Lock()
		d.twinWanted = true
		d.mu.Unlock()
		return nil
	case <-l.done: // perhaps before it could be asked
		d.mu.Lock()
		if t.subacks[s.ID] == granted {
			delete(t.subacks, s.ID)
		}
		d.mu.Unlock()
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ctx.Done():
		return ErrClosed
	}
}
