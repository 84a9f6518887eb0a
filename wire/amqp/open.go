package amqp

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var background = context.Background()

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

// ErrSASL is in the error of a dialogue that was refused.
var ErrSASL = errors.New("amqp: the SASL dialogue was refused")

// saslState is a dialogue under way.
type saslState struct {
	started  bool
	over     bool // there was one
	steps    int
	dialogue Dialogue
}

func (c *Conn) setPhase(p phase) {
	c.mu.Lock()
	c.phase = p
	c.mu.Unlock()
}

// header deals with a protocol header (part 2 §2.2).
func (c *Conn) header(h [codec.HeaderSize]byte) error {
	p, err := codec.ParseProtocol(h)
	switch {
	case err == nil && p == codec.ProtocolAMQP && c.client:
		c.setPhase(expectOpen) // ours is out
		return nil
	case err == nil && p == codec.ProtocolAMQP:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.phase = expectOpen
		c.raw(codec.ProtocolAMQP.Append(nil))
		return nil
	case err == nil && p == codec.ProtocolSASL && c.client && c.cfg.SASL != nil && c.phase == expectHeader:
		c.setPhase(inSASL)
		return nil
	case err == nil && p == codec.ProtocolSASL && !c.client && len(c.cfg.Mechanisms) > 0 && c.phase == expectHeader:
		names := make([]string, len(c.cfg.Mechanisms))
		for i, m := range c.cfg.Mechanisms {
			names[i] = m.Name
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.phase = inSASL
		c.raw(codec.ProtocolSASL.Append(nil))
		c.push(0, &codec.SASLMechanisms{Mechanisms: codec.NewSymbols(names...)}, nil)
		return nil
	}
	if err == nil {
		err = fmt.Errorf("amqp: the peer wants protocol id %d here", p)
	}
	// The answer is a header of what would be right, then the end.
	if !c.client {
		c.mu.Lock()
		c.raw(codec.ProtocolAMQP.Append(nil))
		c.flushLocked()
		c.mu.Unlock()
	}
	return err
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
		return c.saslOutcome(codec.SASLAuth, fmt.Errorf("mechanism %q is not offered", p.Mechanism))
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
	switch {
	case err != nil:
		return c.saslOutcome(codec.SASLAuth, err)
	case done:
		return c.saslOutcome(codec.SASLOK, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(0, &codec.SASLChallenge{Challenge: challenge}, nil)
	return nil
}

func (c *Conn) saslOutcome(code codec.SASLOutcomeCode, err error) error {
	c.sasl.dialogue = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(0, &codec.SASLOutcome{Outcome: code}, nil)
	if err == nil {
		c.phase = expectAMQP
		return nil
	}
	c.cause = &endError{what: ErrSASL, cause: err}
	c.phase = discard
	c.closed = true
	c.deadline = now() + int64(c.cfg.CloseTimeout)
	c.arm()
	return nil
}

func (c *Conn) saslClient(p codec.Performative) error {
	s := c.cfg.SASL
	var out codec.Performative
	switch p := p.(type) {
	case *codec.SASLMechanisms:
		offered := false
		for m := range p.Mechanisms.All() {
			offered = offered || m == s.Mechanism
		}
		if !offered || c.sasl.started {
			return &endError{what: ErrSASL, cause: fmt.Errorf("%s is not offered", s.Mechanism)}
		}
		c.sasl.started = true
		out = &codec.SASLInit{Mechanism: s.Mechanism, InitialResponse: s.Initial, Hostname: c.cfg.Hostname}
	case *codec.SASLChallenge:
		if s.Respond == nil {
			return &endError{what: ErrSASL, cause: errors.New("an unexpected challenge")}
		}
		r, err := s.Respond(p.Challenge)
		if err != nil {
			return &endError{what: ErrSASL, cause: err}
		}
		out = &codec.SASLResponse{Response: r}
	case *codec.SASLOutcome:
		if p.Outcome != codec.SASLOK {
			return &endError{what: ErrSASL, cause: fmt.Errorf("outcome code %d", p.Outcome)}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
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

// sendOpen queues our open; the mutex is held.
func (c *Conn) sendOpen() {
	c.openSent = true
	c.push(0, &codec.Open{
		ContainerID: c.cfg.ContainerID, Hostname: c.cfg.Hostname, MaxFrameSize: c.cfg.MaxFrameSize,
		ChannelMax: c.cfg.ChannelMax, IdleTimeout: uint32(min(c.cfg.IdleTimeout.Milliseconds(), math.MaxUint32)),
		OfferedCapabilities: codec.NewSymbols(c.cfg.OfferedCapabilities...),
		DesiredCapabilities: codec.NewSymbols(c.cfg.DesiredCapabilities...), Properties: c.cfg.Properties,
	}, nil)
}

// onOpen deals with the peer's open (part 2 §2.4.1).
func (c *Conn) onOpen(p *codec.Open) error {
	if c.phase != expectOpen {
		return Refuse(IllegalState, "a second open")
	}
	if p.MaxFrameSize < codec.MinMaxFrameSize {
		return Refuse(InvalidField, "max-frame-size is %d, at least %d is needed", p.MaxFrameSize, codec.MinMaxFrameSize)
	}
	c.mu.Lock()
	c.remote = remote{
		container: clone(p.ContainerID), hostname: clone(p.Hostname), maxFrame: p.MaxFrameSize,
		channelMax: p.ChannelMax, heartbeat: int64(p.IdleTimeout) * 1_000_000 / 2,
	}
	c.mu.Unlock()
	if err := c.h.Open(c, p); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cause == nil {
			c.cause = err
		}
		c.closeLocked(conditionOf(err))
		c.phase = closing
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = opened
	if c.closed {
		c.phase = closing
	} else {
		c.deadline = 0
	}
	if !c.openSent {
		c.sendOpen()
	}
	if c.opening != nil {
		close(c.opening)
		c.opening = nil
	}
	c.arm()
	return nil
}

// InvalidField is the condition of a field with a value it must not have.
const InvalidField = codec.InvalidField

// onClose deals with the peer's close.
func (c *Conn) onClose(p *codec.Close) error {
	c.mu.Lock()
	if p.Error != nil && c.cause == nil {
		c.cause = &endError{what: ErrRemote, cause: cloneCondition(p.Error)}
	}
	if !c.closed {
		c.settleLocked()
		c.closed = true
		if !c.openSent {
			c.sendOpen()
		}
		c.push(0, &codec.Close{}, nil)
	}
	c.phase = discard
	c.flushLocked()
	c.mu.Unlock()
	return errOver
}

func cloneCondition(p *codec.Condition) *codec.Condition {
	if p == nil {
		return nil
	}
	return &codec.Condition{Name: clone(p.Name), Description: clone(p.Description), Info: p.Info.Clone()}
}

// finish ends the connection after its reader did.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	c.phase = discard
	if c.cause == nil && !c.closed {
		c.cause = ErrLost
		if err != nil && !isEOF(err) {
			c.cause = fmt.Errorf("amqp: the network connection ended: %w", err)
		}
	}
	orderly := c.closed
	c.closed, c.dead = true, true
	if c.timer != nil {
		c.timer.Stop()
	}
	sessions := c.sessions.all()
	var links []*link
	for _, s := range sessions {
		links = append(links, s.endLocked()...)
	}
	c.sessions, c.incoming = table[Session]{}, table[Session]{}
	c.dirty = nil
	if c.opening != nil {
		close(c.opening)
		c.opening = nil
	}
	out := c.out
	c.out = nil
	c.signal()
	cause, cancel := c.cause, c.cancel
	for c.writing { // its error comes soon: nobody will write after it
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		_ = closeNow(c.nc)
		<-room
		c.mu.Lock()
	}
	c.mu.Unlock()
	putBuffer(out)
	if orderly && cause == nil {
		_ = c.nc.Close()
	} else {
		_ = closeNow(c.nc)
		_ = c.nc.Close() // what needs more than to be cut
	}
	if cancel != nil {
		cancel()
	}
	for _, l := range links {
		l.detached(cause)
	}
	c.h.Closed(c, cause)
	close(c.done)
}
