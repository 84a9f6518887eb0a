package amqp

import (
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Handler is who serves a connection. Its methods are called by the
// connection's reader, one after the other. An error that wraps a
// [*codec.Condition] is told to the peer as it is; of others the peer learns
// "amqp:internal-error" and nothing else.
type Handler interface {
	// Open decides about the peer's open, which is borrowed. After an error the
	// connection is closed with it.
	Open(c *Conn, o *codec.Open) error

	// Attach decides about a link that the peer wants. It calls a.Receive when
	// the peer is to send, a.Send when the peer is to receive; or it returns an
	// error, and the link is refused.
	Attach(a *Attach) error

	// Flush ends a burst: all that has arrived was handed over, or a link is
	// about to end. Messages that were handed over are borrowed until it returns.
	Flush(c *Conn)

	// Closed is the last call: the connection is gone, and every link's
	// Detached was called. It is made exactly once, also when Open was not.
	// The error is nil when the peer closed in order or Close was called
	// without a condition.
	Closed(c *Conn, err error)
}

// ReceiverHandler gets what arrives on links that we receive on.
type ReceiverHandler interface {
	// Transfer hands over a message, which is borrowed until Handler.Flush has
	// returned. Unless it is settled, r.Settle must be called for it, at any
	// time.
	Transfer(r *Receiver, d Delivery)

	// Detached says that the peer, an error, or the end of the session or the
	// connection ended the link. It is not called after our own r.Close. The
	// error is nil when the peer detached in order.
	Detached(r *Receiver, err error)
}

// SenderHandler hears of links that we send on.
type SenderHandler interface {
	// Flow says that credit was given or taken, or that the peer wants the link
	// drained, which s.Draining tells: then all that can be sent is sent, and
	// s.Drained is called.
	Flow(s *Sender)

	// Disposition hands over what the peer says of a delivery that is tracked.
	// When settled, the delivery is forgotten; when not, s.Settle must be called
	// for it once the state, which is borrowed, is terminal. A terminal state is
	// the last that is handed over of a delivery.
	Disposition(s *Sender, d Sent, state *codec.State, settled bool)

	// Detached is as in ReceiverHandler. What was not settled never will be.
	Detached(s *Sender, err error)
}

// Delivery is a message that arrived. Its slices are borrowed.
type Delivery struct {
	ID      uint32 // in its session
	Tag     []byte
	Format  uint32 // message format; 0 is that of the standard
	Settled bool   // by the sender
	Payload []byte
}

// Transfer is a message to send.
type Transfer struct {
	Tag     []byte // at most codec.MaxDeliveryTag bytes; empty for one that is made
	Format  uint32
	Settled bool // send it settled; implied on a link that only carries such
	Payload []byte
	Token   any // comes back in Sent
}

// Sent is a delivery that is not settled.
type Sent struct {
	ID    uint32 // in its session
	Token any
}

// ReceiverOptions are the settings of a link that we receive on.
type ReceiverOptions struct {
	Handler ReceiverHandler
	// Credit is how many messages the peer may have under way, unsettled ones
	// included. It is topped up as messages are settled. With 0 it is for
	// Receiver.Grant to give.
	Credit uint32
	// MaxMessageSize bounds a message, in bytes. A peer that sends a larger one
	// is detached. Default 1 MiB.
	MaxMessageSize uint64
	// SettleAtOnce settles deliveries with their outcome also on a link with
	// [codec.SettleSecond], where it is the sender's part to settle first. There
	// are senders that ask for it and then wait for ever, uamqp for one; others
	// take it.
	SettleAtOnce bool

	Properties          codec.Map // of our attach
	OfferedCapabilities []string
	DesiredCapabilities []string
}

// SenderOptions are the settings of a link that we send on.
type SenderOptions struct {
	Handler SenderHandler
	// Untracked forgets deliveries as they are sent. When the peer wants them
	// settled they are settled as it says. A handler hears of Flow and Detached
	// only.
	Untracked bool
	// Unsettled bounds the tracked deliveries; at the bound Send waits. Default
	// 2048.
	Unsettled int

	Properties          codec.Map // of our attach
	OfferedCapabilities []string
	DesiredCapabilities []string
}
