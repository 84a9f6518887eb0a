// Package c2d keeps the cloud-to-device messages of each device or module in a
// durable first-in-first-out queue: locks, time to live, delivery counts,
// dead-lettering, and the feedback their senders asked for.
package c2d

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Item is one queued message. Locks live in memory: after a restart every
// unsettled message is queued again.
type Item struct {
	Seq           int64 // position in its queue, rising
	Message       causeway.Message
	Expires       time.Time
	DeliveryCount int
}

// Feedback is the outcome of a message whose sender asked for it.
type Feedback struct {
	Seq               int64 // position among the hub's feedback, rising
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

// Store keeps queues and feedback durably: a writing method that returns nil
// is on stable storage. It is safe for concurrent use.
type Store interface {
	// Push appends a message to the queue of id and returns its position.
	// Code: DeviceMaximumQueueDepthExceeded when it already holds max items.
	Push(ctx context.Context, id causeway.Identity, it Item, max int) (seq int64, err error)

	// Peek returns up to limit items of id after position after, oldest first.
	Peek(ctx context.Context, id causeway.Identity, after int64, limit int) ([]Item, error)

	// Remove ends an item and, in the same transaction, records fb unless nil.
	// It reports whether the item was there.
	Remove(ctx context.Context, id causeway.Identity, seq int64, fb *Feedback) (bool, error)

	// SetDeliveryCount writes the count of an abandoned item down.
	SetDeliveryCount(ctx context.Context, id causeway.Identity, seq int64, n int) error

	// Depth returns how many items id has.
	Depth(ctx context.Context, id causeway.Identity) (int, error)

	// Expired returns up to limit (identity, item) pairs of a hub whose time
	// is over at now.
	Expired(ctx context.Context, hub string, now time.Time, limit int) ([]Due, error)

	// Feedback returns up to limit records of a hub after a position.
	Feedback(ctx context.Context, hub string, after int64, limit int) ([]Feedback, error)

	// DropFeedback forgets records of a hub up to and including a position.
	DropFeedback(ctx context.Context, hub string, upTo int64) error
}

// Due is an item whose time to live is over.
type Due struct {
	ID   causeway.Identity
	Item Item
}
