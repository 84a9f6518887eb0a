package amqp

import (
	"context"
	"net"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Client is the handler of connections that only attach links themselves: it
// refuses those that the peer wants. Handlers embed it that need not hear of all.
type Client struct{}

var _ Handler = Client{}

// Open accepts the peer.
func (Client) Open(*Conn, *codec.Open) error { return nil }

// Attach refuses the link.
func (Client) Attach(*Attach) error {
	return Refuse(NotAllowed, "this container attaches links, it serves none")
}

// Flush does nothing.
func (Client) Flush(*Conn) {}

// Closed does nothing; see [Conn.Done] and [Conn.Err].
func (Client) Closed(*Conn, error) {}

// Dial opens a connection as a client on nc, which it owns from now on. It
// waits for the peer's open. A nil handler is [Client].
func Dial(ctx context.Context, nc net.Conn, cfg *Config, h Handler) (*Conn, error) {
	if h == nil {
		h = Client{}
	}
	c := newConn(nc, cfg, h)
	c.client = true
	opening := make(chan struct{})
	c.opening = opening
	c.mu.Lock()
	if cfg.SASL != nil {
		c.raw(codec.ProtocolSASL.Append(nil))
	} else {
		c.raw(codec.ProtocolAMQP.Append(nil))
		c.sendOpen()
	}
	c.arm()
	c.kick()
	c.mu.Unlock()
	go c.run()
	select {
	case <-opening:
	case <-ctx.Done():
		c.Abort(ctx.Err())
		<-c.done
		return nil, ctx.Err()
	}
	c.mu.Lock()
	ok := c.phase == opened
	c.mu.Unlock()
	if !ok {
		<-c.done
		c.mu.Lock()
		defer c.mu.Unlock()
		return nil, c.ended()
	}
	return c, nil
}
