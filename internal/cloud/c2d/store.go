package c2d

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Item is a message on its way into, or out of, a queue.
type Item struct {
	Message       causeway.Message // GenerationID is that of the identity it is for
	Expires       time.Time
	DeliveryCount int // abandoned deliveries so far
}

// Entry is what a queue must know of an item without reading its message.
type Entry struct {
	Seq           int64 // position: rising within a queue, never used twice
	Expires       time.Time
	DeliveryCount int
	Ack           causeway.Ack
	MessageID     string
	GenerationID  string
}

// Due is an entry whose time to live is over, and the queue it is in.
type Due struct {
	ID causeway.Identity
	Entry
}

// End names an item that leaves its queue, and the feedback to record of it;
// nil for none.
type End struct {
	Seq      int64
	Feedback *Feedback
}

// Feedback is the outcome of a message whose sender asked for it. From the store
// it goes its own way, see the package outbox.
type Feedback struct {
	OriginalMessageID string
	Device, Module    string
	GenerationID      string
	Status            Status
	Time              time.Time // of the outcome
}

// Status is the outcome of a message.
type Status string

// The outcomes, as feedback names them.
const (
	Success               Status = "Success"
	Expired               Status = "Expired"
	DeliveryCountExceeded Status = "DeliveryCountExceeded"
	RejectedByDevice      Status = "Rejected"
	Purged                Status = "Purged"
)

// Store keeps queues durably, and records feedback: when a writing method
// returns nil, the change is on stable storage. Locks are not its business: after a restart
// every item that was not ended is free again. It is safe for concurrent use.
// Queues belong to registered identities and go with them, feedback too. Times
// keep at least microseconds. Drivers are held to the contract in c2dtest.
type Store interface {
	// Push appends a message to the queue of id and returns its position. It
	// keeps no memory of it. Codes: DeviceMaximumQueueDepthExceeded (the queue
	// holds max items already), DeviceNotFound, ModuleNotFound.
	Push(ctx context.Context, id causeway.Identity, it Item, max int) (seq int64, err error)

	// Index returns the entries of a queue, oldest first; none when there is
	// no such queue.
	Index(ctx context.Context, id causeway.Identity) ([]Entry, error)

	// Item returns one item of a queue; ok is false when it is gone. The
	// message belongs to the caller; its Sequence is seq.
	Item(ctx context.Context, id causeway.Identity, seq int64) (it Item, ok bool, err error)

	// Remove ends items and records their feedback, all or nothing. It returns
	// how many were there; of one that was not, no feedback is recorded.
	Remove(ctx context.Context, id causeway.Identity, ends ...End) (n int, err error)

	// SetDeliveryCount writes the count of an abandoned item down. It is no
	// error when the item is gone.
	SetDeliveryCount(ctx context.Context, id causeway.Identity, seq int64, n int) error

	// Queues returns up to limit identities whose queues are not empty, in the
	// order of hub, device and module, from the first one greater than after.
	Queues(ctx context.Context, after causeway.Identity, limit int) ([]causeway.Identity, error)

	// Waiting returns how many items the queues of a hub hold together. It
	// counts no further than most.
	Waiting(ctx context.Context, hub string, most int) (int, error)

	// Expired returns up to limit entries of any queue whose time is over at
	// now, the longest overdue first.
	Expired(ctx context.Context, now time.Time, limit int) ([]Due, error)
}
