package amqp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Sink sends to one node. Use New or NewEventHub.
type Sink struct {
	t      target
	env    plugin.Env
	batch  int
	stamps bool

	mu     sync.Mutex // held while a link is made
	link   *link
	closed bool
}

var _ plugin.Batcher = (*Sink)(nil)

// New returns a sink for a queue, a topic or another node.
func New(c Config, env plugin.Env) (plugin.Sink, error) { return newSink(c, env, c.Properties != "no") }

// NewEventHub returns a sink for an event hub.
func NewEventHub(c Config, env plugin.Env) (plugin.Sink, error) {
	return newSink(c, env, c.Properties == "yes")
}

func newSink(c Config, env plugin.Env, stamps bool) (plugin.Sink, error) {
	t, err := c.target()
	if err != nil {
		return nil, err
	}
	return &Sink{t: t, env: env, batch: c.Batch, stamps: stamps}, nil
}

// Batch returns how many messages are sent before they must be accepted.
func (s *Sink) Batch() int { return s.batch }

// Close ends the connection.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.link != nil {
		s.link.close()
		s.link = nil
	}
	return nil
}

// connected returns a link that can be used, an old one or a new one.
func (s *Sink) connected(ctx context.Context) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the endpoint was closed")
	}
	if s.link != nil && !s.link.alive() {
		s.link.close()
		s.link = nil
	}
	if s.link == nil {
		l, err := s.dial(ctx)
		if err != nil {
			return nil, err
		}
		s.link = l
	}
	if err := s.showToken(ctx, s.link); err != nil {
		s.link.close()
		s.link = nil
		return nil, fmt.Errorf("renew token: %w", err)
	}
	return s.link, nil
}

// Send sends a batch and waits until the broker has accepted all of it.
func (s *Sink) Send(ctx context.Context, batch []causeway.Message) error {
	l, err := s.connected(ctx)
	if err != nil {
		return err
	}
	f := &flight{states: make([]state, len(batch)), left: len(batch), done: make(chan struct{})}
	transfers := make([]amqp.Transfer, len(batch))
	for i := range batch {
		transfers[i] = amqp.Transfer{Payload: hubamqp.AppendRouted(nil, &batch[i], s.stamps), Token: slot{f, i}}
	}
	l.results.add(f)
	defer l.results.remove(f)
	if n, err := l.sender.Send(ctx, transfers...); err != nil {
		if n == 0 && l.alive() && ctx.Err() == nil && large(l.sender, transfers[0].Payload) {
			return plugin.RefusedAt(0, err)
		}
		l.conn.Abort(err) // what becomes of those that were sent is not known
		return fmt.Errorf("send to %s: %w", s.t.address, err)
	}
	select {
	case <-f.done:
		return f.outcome(s.t.address)
	case <-ctx.Done():
		l.conn.Abort(ctx.Err())
		return fmt.Errorf("wait until %s has accepted: %w", s.t.address, ctx.Err())
	case <-l.conn.Done():
		return fmt.Errorf("connection with %s ended: %w", s.t.addr, l.conn.Err())
	}
}

// large reports whether a message is larger than the node takes.
func large(s *amqp.Sender, payload []byte) bool {
	return s.MaxMessageSize() > 0 && uint64(len(payload)) > s.MaxMessageSize()
}

// permanent are conditions with which a broker refuses a message for what it is.
var permanent = map[string]bool{
	amqp.DecodeError: true, amqp.InvalidField: true, amqp.NotImplemented: true, amqp.PreconditionFailed: true,
	"amqp:link:message-size-exceeded": true, "com.microsoft:argument-error": true, "com.microsoft:argument-out-of-range": true,
}

// outcome returns what became of a batch: an error about the first message that
// was not accepted.
func (f *flight) outcome(address string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return fmt.Errorf("link to %s: %w", address, f.err)
	}
	for i, st := range f.states {
		switch {
		case st.kind == codec.CodeAccepted:
			continue
		case st.kind == codec.CodeRejected && (st.condition == "" || permanent[st.condition]),
			st.kind == codec.CodeModified && st.undeliverable:
			return plugin.RefusedAt(i, fmt.Errorf("%s refused the message: %s", address, st.text()))
		}
		return plugin.Partly(i, fmt.Errorf("%s did not take the message: %s", address, st.text()))
	}
	return nil
}

// state is what the broker said of a message.
type state struct {
	kind          codec.Code
	condition     string
	description   string
	undeliverable bool
}

func (s *state) text() string {
	if s.condition == "" {
		return s.kind.String()
	}
	return strings.TrimSuffix(s.condition+": "+s.description, ": ")
}
