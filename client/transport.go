package client

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// transport is how a device speaks to its hub.
type transport interface {
	// open connects and proves who the device is. What the hub sends may be
	// handed to the device from then on.
	open(ctx context.Context) (link, error)
	// encode returns a message as it is sent.
	encode(m *causeway.Message) (*outgoing, error)
	// batch returns messages as they are sent together, as many of them as can
	// be and at least one, and how many these are.
	batch(m []causeway.Message) (*outgoing, int, error)
	// number prepares a message for being in flight. The caller holds d.mu.
	number(o *outgoing)
}

// link is one connection of a device to its hub.
type link interface {
	// start takes the link into use: it asks for what the device listens to,
	// then sends everything that is in flight. The caller holds d.mu.
	start()
	// ready gets one value when the hub has granted, or refused, what was asked
	// for.
	ready() <-chan bool
	// run serves the link until it ends, and returns why.
	run() error
	// end ends the link; the first reason counts.
	end(reason error)
	// goodbye ends the link after what is unsent, and waits for that so long.
	goodbye(grace time.Duration)

	// send sends a message of d.pending. The caller holds d.mu; it does not wait.
	send(o *outgoing)
	// post sends a message that nobody acknowledges.
	post(ctx context.Context, m *causeway.Message) error
	// wantTwin sees to it that answers of the twin arrive, the first time it is
	// called.
	wantTwin(ctx context.Context) error
	// twin sends a request about the twin: patch is nil for reading it. The
	// answer is given to d.replied.
	twin(ctx context.Context, rid string, patch []byte) error
}

// outgoing is a message that waits for its acknowledgement, as it is sent. It is
// kept until then, and sent again when the connection is lost.
type outgoing struct {
	data   []byte
	format uint32 // of AMQP
	id     uint16 // of MQTT; it stands in data from idAt on
	idAt   int
	queued bool // it is in a list
	done   func(error)

	prev, next *outgoing
}
