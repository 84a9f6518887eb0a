package outbox

import (
	"context"
	"time"
)

// Item is what a queue must know of a message without its content.
type Item struct {
	Seq           int64 // position: rising among all messages, never used twice; given by the Store
	ID            string
	Enqueued      time.Time
	Expires       time.Time
	DeliveryCount int
}

// Pending is feedback that is in no message yet.
type Pending struct {
	Hub    string
	Count  int       // no further counted than asked
	Oldest time.Time // outcome of the oldest record; zero without any
}

// Store keeps the queues durably: when a writing method returns nil, the change
// is on stable storage. Locks are not its business. It is safe for concurrent
// use. Feedback records come to it with the outcomes they are of, see
// [c2d.Store], and go with their identities. Times keep at least microseconds.
// Drivers are held to the contract in outboxtest.
type Store interface {
	// Gather makes one message of a hub's oldest feedback records that are in
	// none, up to most, if there are that many or the oldest is not after
	// cutoff. seq is 0 when there was nothing to make one of; it.Seq is
	// ignored. left is what is in no message afterwards, counted up to most.
	Gather(ctx context.Context, hub string, it Item, most int, cutoff time.Time) (seq int64, left Pending, err error)

	// Pending returns the hubs that have feedback in no message, counted up to
	// most for each, in the order of their names.
	Pending(ctx context.Context, most int) ([]Pending, error)

	// Add appends a file notification to the queue of a hub and returns its
	// position.
	Add(ctx context.Context, hub string, it Item, n FileNotification) (seq int64, err error)

	// Index returns up to limit messages of a queue after a position that have
	// not expired at now, oldest first.
	Index(ctx context.Context, hub string, k Kind, after int64, now time.Time, limit int) ([]Item, error)

	// Records returns the feedback in a message, oldest first; none when the
	// message is gone or the identities of all its records are.
	Records(ctx context.Context, hub string, seq int64) ([]FeedbackRecord, error)

	// File returns a file notification; ok is false when it is gone.
	File(ctx context.Context, hub string, seq int64) (n FileNotification, ok bool, err error)

	// Remove ends a message, its records with it. It reports whether the
	// message was there.
	Remove(ctx context.Context, hub string, k Kind, seq int64) (bool, error)

	// SetDeliveryCount writes the count of an abandoned message down. It is no
	// error when the message is gone.
	SetDeliveryCount(ctx context.Context, hub string, k Kind, seq int64, n int) error

	// Waiting returns how many messages a queue holds that have not expired at
	// now. It counts no further than most.
	Waiting(ctx context.Context, hub string, k Kind, now time.Time, most int) (int, error)

	// Expire ends up to limit messages of any queue that have expired at now
	// and returns how many.
	Expire(ctx context.Context, now time.Time, limit int) (int, error)
}
