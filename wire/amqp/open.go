package amqp

import (
	"context"
	"fmt"
	"math"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

var background = context.Background()

func (c *Conn) setPhase(p phase) {
	c.mu.Lock()
	c.phase = p
	c.mu.Unlock()
}

// header deals with a protocol header (part 2 §2.2), and returns how many bytes
// it has: 0 when it has not arrived yet.
func (c *Conn) header(b []byte) (int, error) {
	if len(b) < codec.HeaderSize {
		const name = "AMQP"
		if n := min(len(b), len(name)); string(b[:n]) != name[:n] {
			return 0, fmt.Errorf("amqp: %q is not a protocol header of AMQP", b)
		}
		return 0, nil
	}
	p, err := codec.ParseProtocol([codec.HeaderSize]byte(b))
	if err != nil {
		return 0, err
	}
	first := c.phase == expectHeader
	switch {
	case p == codec.ProtocolAMQP && c.client && (!first || c.cfg.SASL == nil):
		c.setPhase(expectOpen) // ours is out
	case p == codec.ProtocolAMQP && !c.client:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.phase = expectOpen
		c.raw(codec.ProtocolAMQP.Append(nil))
	case p == codec.ProtocolSASL && first && c.client && c.cfg.SASL != nil:
		c.sasl = new(saslState)
		c.setPhase(inSASL)
	case p == codec.ProtocolSASL && first && !c.client && len(c.cfg.Mechanisms) > 0:
		names := make([]string, len(c.cfg.Mechanisms))
		for i, m := range c.cfg.Mechanisms {
			names[i] = m.Name
		}
		c.sasl = new(saslState)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.phase = inSASL
		c.raw(codec.ProtocolSASL.Append(nil))
		c.push(0, &codec.SASLMechanisms{Mechanisms: codec.NewSymbols(names...)}, nil)
	case c.client:
		return 0, fmt.Errorf("amqp: the server wants to speak protocol id %d instead", p)
	default:
		return 0, fmt.Errorf("amqp: the client wants to speak protocol id %d", p)
	}
	return codec.HeaderSize, nil
}

// wrongHeader answers with the header that would have been right, and ends the
// connection.
func (c *Conn) wrongHeader(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.client {
		right := codec.ProtocolAMQP
		if len(c.cfg.Mechanisms) > 0 && c.phase == expectHeader {
			right = codec.ProtocolSASL
		}
		c.raw(right.Append(nil))
	}
	c.partLocked(err)
}

// partLocked ends a connection that was not opened: what waits is written, then
// the peer sees the end of the stream. What it sends is thrown away: if it were
// not read, the system would tell the peer of that instead of what we wrote. The
// mutex is held.
func (c *Conn) partLocked(err error) {
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	c.phase = discard
	c.parting = true
	c.endSoon()
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
	if p.IdleTimeout > 0 && p.IdleTimeout < leastIdleTimeout {
		return Refuse(NotAllowed, "idle-time-out is %d ms, at least %d ms are needed", p.IdleTimeout, leastIdleTimeout)
	}
	c.mu.Lock()
	c.remote = remote{
		container: clone(p.ContainerID), hostname: clone(p.Hostname),
		maxFrame: min(p.MaxFrameSize, c.cfg.MaxFrameSize), channelMax: p.ChannelMax,
		heartbeat: int64(p.IdleTimeout) * 1_000_000 / 2,
	}
	closed := c.closed
	c.mu.Unlock()
	if closed {
		c.setPhase(closing)
		return nil
	}
	err := c.h.Open(c, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.cause == nil && !c.closed {
			c.cause = err
		}
		c.closeLocked(conditionOf(err))
	}
	if c.closed {
		c.phase = closing
		return nil
	}
	c.phase = opened
	c.deadline = 0
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

// onClose deals with the peer's close.
func (c *Conn) onClose(p *codec.Close) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Error != nil && c.cause == nil && !c.closed {
		c.cause = &endError{what: ErrRemote, cause: cloneCondition(p.Error)}
	}
	if !c.closed {
		c.settleLocked()
		if !c.openSent {
			c.sendOpen()
		}
		c.push(0, &codec.Close{}, nil)
	}
	c.endSoon()
	c.phase = discard
	return errOver
}
