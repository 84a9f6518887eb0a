package amqp

import (
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Mechanism is one of those that a server offers in a SASL dialogue (part 5
// §5.3).
type Mechanism struct {
	Name string
	// Start begins a dialogue and returns what answers the client's responses.
	Start func(c *Conn) Dialogue
}

// Dialogue takes the client's response, the first of which is nil when there
// was none, and returns a challenge, or done. An error is a refusal; what it
// says does not reach the peer.
type Dialogue func(response []byte) (challenge []byte, done bool, err error)

// ClientSASL is the client's part of a dialogue.
type ClientSASL struct {
	Mechanism string
	Initial   []byte // nil for none
	// Respond answers a challenge; nil when the mechanism has none.
	Respond func(challenge []byte) ([]byte, error)
}

// PlainSASL is the client's part of PLAIN (RFC 4616).
func PlainSASL(user, password string) *ClientSASL {
	return &ClientSASL{Mechanism: "PLAIN", Initial: []byte("\x00" + user + "\x00" + password)}
}

// AnonymousSASL is the client's part of ANONYMOUS (RFC 4505).
func AnonymousSASL() *ClientSASL { return &ClientSASL{Mechanism: "ANONYMOUS", Initial: []byte{}} }

// ExternalSASL is the client's part of EXTERNAL (RFC 4422 appendix A), with
// which what lies below has proven who the client is.
func ExternalSASL() *ClientSASL { return &ClientSASL{Mechanism: "EXTERNAL", Initial: []byte{}} }

// ErrSASL is in the error of a dialogue that was refused.
var ErrSASL = errors.New("amqp: the SASL dialogue was refused")

// saslState is a dialogue under way.
type saslState struct {
	started  bool
	steps    int
	dialogue Dialogue
}

// saslFrame deals with a frame of a SASL dialogue.
func (c *Conn) saslFrame(f codec.Frame) error {
	if f.Type != codec.FrameSASL {
		return Refuse(FramingError, "a frame of type %d in the SASL dialogue", f.Type)
	}
	if c.sasl.steps++; c.sasl.steps > maxSASLSteps {
		return Refuse(ResourceLimitExceeded, "the SASL dialogue does not end")
	}
	p, _, err := f.Performative()
	if err != nil {
		return err
	}
	if c.client {
		return c.saslClient(p)
	}
	switch p := p.(type) {
	case *codec.SASLInit:
		if c.sasl.started {
			return Refuse(IllegalState, "a second SASL init")
		}
		c.sasl.started = true
		for _, m := range c.cfg.Mechanisms {
			if m.Name == p.Mechanism {
				c.sasl.dialogue = m.Start(c)
				return c.saslStep(p.InitialResponse)
			}
		}
		return c.saslRefuse(fmt.Errorf("mechanism %q is not offered", p.Mechanism))
	case *codec.SASLResponse:
		if c.sasl.dialogue == nil {
			return Refuse(IllegalState, "a SASL response before the init")
		}
		return c.saslStep(p.Response)
	}
	return Refuse(FramingError, "%v is for servers to send", p.Code())
}

func (c *Conn) saslStep(response []byte) error {
	challenge, done, err := c.sasl.dialogue(response)
	if err != nil {
		return c.saslRefuse(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !done {
		c.push(0, &codec.SASLChallenge{Challenge: challenge}, nil)
		return nil
	}
	c.push(0, &codec.SASLOutcome{Outcome: codec.SASLOK}, nil)
	c.sasl = nil
	c.phase = expectAMQP
	return nil
}

// saslRefuse tells the client that its dialogue has failed, and ends the
// connection.
func (c *Conn) saslRefuse(err error) error {
	c.sasl = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(0, &codec.SASLOutcome{Outcome: codec.SASLAuth}, nil)
	c.partLocked(&endError{what: ErrSASL, cause: err})
	return nil
}

func (c *Conn) saslClient(p codec.Performative) error {
	s := c.cfg.SASL
	refused := func(format string, args ...any) error {
		return &endError{what: ErrSASL, cause: fmt.Errorf(format, args...)}
	}
	if _, first := p.(*codec.SASLMechanisms); first == c.sasl.started {
		return refused("%v out of order", p.Code())
	}
	var out codec.Performative
	switch p := p.(type) {
	case *codec.SASLMechanisms:
		if !p.Mechanisms.Has(s.Mechanism) {
			return refused("%s is not offered", s.Mechanism)
		}
		c.sasl.started = true
		out = &codec.SASLInit{Mechanism: s.Mechanism, InitialResponse: s.Initial, Hostname: c.cfg.Hostname}
	case *codec.SASLChallenge:
		if s.Respond == nil {
			return refused("an unexpected challenge")
		}
		r, err := s.Respond(p.Challenge)
		if err != nil {
			return &endError{what: ErrSASL, cause: err}
		}
		if r == nil {
			r = []byte{} // absent is not the same
		}
		out = &codec.SASLResponse{Response: r}
	case *codec.SASLOutcome:
		if p.Outcome != codec.SASLOK {
			return refused("outcome code %d", p.Outcome)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sasl = nil
		c.phase = expectAMQP
		c.raw(codec.ProtocolAMQP.Append(nil))
		c.sendOpen()
		return nil
	default:
		return Refuse(FramingError, "%v is for clients to send", p.Code())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(0, out, nil)
	return nil
}
