// Package mqtt is the sink that publishes messages to an MQTT broker, version 5 or
// 3.1.1, at least once: a batch counts as sent when the broker has acknowledged
// each message of it.
//
// With version 5, properties travel as user properties, and a content type as
// that.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/routed"
	"github.com/causeway-iot/causeway/plugin"
)

// Sink publishes to one broker. Use New.
type Sink struct {
	c   Config
	env plugin.Env
	tls *tls.Config // nil for none

	mu     sync.Mutex // held while a connection is made
	conn   *conn
	closed bool
}

var _ plugin.Batcher = (*Sink)(nil)

// New returns a sink.
func New(c Config, env plugin.Env) (plugin.Sink, error) {
	tc, err := c.tls()
	if err != nil {
		return nil, err
	}
	return &Sink{c: c, env: env, tls: tc}, nil
}

// Batch returns how many messages are published before they must be
// acknowledged.
func (s *Sink) Batch() int { return s.c.Batch }

// Close ends the connection.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
	return nil
}

// connected returns a connection that can be used, an old one or a new one.
func (s *Sink) connected(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the endpoint was closed")
	}
	if s.conn != nil && s.conn.ended() {
		s.conn.close()
		s.conn = nil
	}
	if s.conn == nil {
		c, err := s.dial(ctx)
		if err != nil {
			return nil, err
		}
		s.conn = c
	}
	return s.conn, nil
}

// Send publishes a batch and waits until the broker has acknowledged all of it.
func (s *Sink) Send(ctx context.Context, batch []causeway.Message) error {
	c, err := s.connected(ctx)
	if err != nil {
		return err
	}
	f := &flight{reasons: make([]int, len(batch)), left: len(batch), done: make(chan struct{})}
	for i := range f.reasons {
		f.reasons[i] = waiting
	}
	for i := range batch {
		p, err := s.packet(&batch[i])
		if err == nil {
			err = c.publish(ctx, p, slot{f, i})
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errLarge), isMessage(err):
			if err := f.wait(ctx, c, i); err != nil { // those before it come first
				return err
			}
			return plugin.RefusedAt(i, err)
		}
		return err
	}
	return f.wait(ctx, c, len(batch))
}

// isMessage reports whether an error says that a message cannot be written as a
// packet.
func isMessage(err error) bool {
	_, ok := errors.AsType[*mqtt.Error](err)
	return ok
}

// packet returns the packet that publishes a message, without its id.
func (s *Sink) packet(m *causeway.Message) (*mqtt.Publish, error) {
	p := &mqtt.Publish{Topic: s.c.topic(s.env.Hub, m), Payload: m.Body, QoS: 1, Retain: s.c.Retain}
	if s.c.Payload == PayloadRecord {
		body, err := hubjson.Marshal(routed.NewRecord(m))
		if err != nil {
			return nil, fmt.Errorf("write message as JSON: %w", err)
		}
		p.Payload = body
	}
	if s.c.version() == mqtt.V5 {
		p.Properties = properties(m, s.c.Payload == PayloadRecord)
	}
	return p, nil
}

// properties returns what a message has besides its body.
func properties(m *causeway.Message, record bool) mqtt.Properties {
	var ps mqtt.Properties
	if record {
		return mqtt.Properties{{ID: mqtt.ContentType, Text: "application/json"}, {ID: mqtt.PayloadFormat, Num: 1}}
	}
	if m.ContentType != "" {
		ps = append(ps, mqtt.Property{ID: mqtt.ContentType, Text: m.ContentType})
	}
	if m.CorrelationID != "" {
		ps = append(ps, mqtt.Property{ID: mqtt.CorrelationData, Text: m.CorrelationID})
	}
	user := func(name, value string) {
		if value != "" {
			ps = append(ps, mqtt.Property{ID: mqtt.UserProperty, Text: name, Value: value})
		}
	}
	user("iothub-connection-device-id", m.From.Device)
	user("iothub-connection-module-id", m.From.Module)
	user("iothub-message-source", m.Source)
	if !m.Enqueued.IsZero() {
		user("iothub-enqueuedtime", routed.Time(m.Enqueued))
	}
	user("content-encoding", m.ContentEncoding)
	user("message-id", m.ID)
	user("dt-dataschema", m.ModelID)
	user("dt-subject", m.Component)
	user("iothub-message-schema", m.Schema)
	for _, p := range m.Properties {
		ps = append(ps, mqtt.Property{ID: mqtt.UserProperty, Text: p.Key, Value: p.Value})
	}
	return ps
}
