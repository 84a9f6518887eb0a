package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// Options are what a [Service] needs.
type Options struct {
	Store  Store
	Log    *slog.Logger                    // nil discards
	Policy func(hub string, k Kind) Policy // nil means the defaults; called often
	Delay  time.Duration                   // how long a record waits for others; 0 means GatherDelay
}

// Service is the queues of all hubs. It is safe for concurrent use and expects
// to be the only one that changes its store, but for new feedback.
//
// Methods that change something wait until the change is durable even when
// their context ends meanwhile.
type Service struct {
	store  Store
	log    *slog.Logger
	policy func(hub string, k Kind) Policy
	delay  time.Duration
	wake   chan struct{} // something is due earlier than Run knows

	mu     sync.Mutex
	queues map[string]*[kinds]*queue // by hub
	gather map[string]*gathering     // by hub: feedback in no message
}

// New returns a service. It works at once, but only its Run makes messages of
// feedback, frees messages whose locks end, and forgets those that expire.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Policy == nil {
		o.Policy = func(string, Kind) Policy { return Policy{} }
	}
	if o.Delay <= 0 {
		o.Delay = GatherDelay
	}
	return &Service{
		store:  o.Store,
		log:    o.Log,
		policy: func(hub string, k Kind) Policy { return o.Policy(hub, k).withDefaults() },
		delay:  o.Delay,
		wake:   make(chan struct{}, 1),
		queues: map[string]*[kinds]*queue{},
		gather: map[string]*gathering{},
	}
}

// queue returns a queue of a hub.
func (s *Service) queue(hub string, k Kind) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queueLocked(hub, k)
}

// queueLocked is queue for who holds mu.
func (s *Service) queueLocked(hub string, k Kind) *queue {
	both := s.queues[hub]
	if both == nil {
		both = &[kinds]*queue{newQueue(hub, Feedback), newQueue(hub, FileNotifications)}
		s.queues[hub] = both
	}
	return both[k]
}

// Enabled reports whether a hub queues messages of a kind.
func (s *Service) Enabled(hub string, k Kind) bool { return !s.policy(hub, k).Disabled }

// Notify queues a file notification and returns once it is durable. It does
// nothing on a hub whose file notifications are disabled. Codes:
// ArgumentInvalid, ServiceUnavailable.
func (s *Service) Notify(ctx context.Context, hub string, n FileNotification) error {
	const op = "outbox.Notify"
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.DeviceID == "" || n.BlobName == "" || n.BlobURI == "" || n.Size < 0 {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "a file notification needs a device, the URI and the name of a blob, and a size")
	}
	for _, text := range []string{n.DeviceID, n.BlobName, n.BlobURI} {
		if len(text) > MaxField {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "a text of the file notification has %d bytes; at most %d are allowed", len(text), MaxField)
		}
	}
	p := s.policy(hub, FileNotifications)
	if p.Disabled {
		return nil
	}
	n.Enqueued = time.Now().UTC()
	it := Item{ID: uuid.Text(uuid.New()), Enqueued: n.Enqueued, Expires: n.Enqueued.Add(p.TTL)}
	if _, err := s.store.Add(context.WithoutCancel(ctx), hub, it, n); err != nil {
		return err
	}
	s.queue(hub, FileNotifications).grew()
	return nil
}

// Receive locks the oldest free message of a queue and returns it; ok is false
// when there is none now. Code: ServiceUnavailable; nobody is told when that is
// over, so try again after a while.
func (s *Service) Receive(ctx context.Context, hub string, k Kind) (d Delivery, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return Delivery{}, false, err
	}
	q := s.queue(hub, k)
	for {
		e, err := q.take(ctx, s.store, s.policy(hub, k))
		if e == nil || err != nil {
			return Delivery{}, false, err
		}
		d, ok, err := s.read(ctx, q, e)
		if err != nil {
			q.unlock([]causeway.LockToken{d.Lock})
			return Delivery{}, false, fmt.Errorf("read %s message of hub %s: %w", k, hub, err)
		}
		if ok {
			return d, true, nil
		}
		// Its devices were deleted, or it expired this very moment.
		if _, err := s.store.Remove(context.WithoutCancel(ctx), hub, k, e.Seq); err != nil {
			q.unlock([]causeway.LockToken{d.Lock})
			return Delivery{}, false, err
		}
		q.drop(e)
	}
}

// read returns the message of an entry that was taken; ok is false when it has
// no content any more.
func (s *Service) read(ctx context.Context, q *queue, e *entry) (d Delivery, ok bool, err error) {
	q.mu.Lock()
	d = Delivery{Lock: e.token, ID: e.ID, Sequence: e.Seq, Enqueued: e.Enqueued, DeliveryCount: e.DeliveryCount}
	q.mu.Unlock()
	if q.kind == Feedback {
		d.Records, err = s.store.Records(ctx, q.hub, e.Seq)
		return d, len(d.Records) > 0, err
	}
	n, ok, err := s.store.File(ctx, q.hub, e.Seq)
	d.File = &n
	return d, ok, err
}

// Settle ends a delivery: Accepted and Rejected end the message, Released makes
// it available again unless it was abandoned too often. Codes:
// DeviceMessageLockLost (the lock is over), ArgumentInvalid, ServiceUnavailable
// (the lock stays: try again).
func (s *Service) Settle(ctx context.Context, hub string, k Kind, lock causeway.LockToken, o causeway.Outcome) error {
	const op = "outbox.Settle"
	if o != causeway.Accepted && o != causeway.Rejected && o != causeway.Released {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "unknown outcome %d", o)
	}
	q := s.queue(hub, k)
	e := q.settle(lock)
	if e == nil {
		return causeway.Errorf(causeway.DeviceMessageLockLost, op,
			"the lock of the message is over: it was settled, or not settled in time and may be delivered again")
	}
	ctx = context.WithoutCancel(ctx)
	// Only who settles an entry changes its count.
	if count := e.DeliveryCount + 1; o == causeway.Released && count < s.policy(hub, k).MaxDeliveryCount {
		if err := s.store.SetDeliveryCount(ctx, hub, k, e.Seq, count); err != nil {
			q.keep(e)
			return err
		}
		q.abandon(e, count)
		return nil
	}
	if _, err := s.store.Remove(ctx, hub, k, e.Seq); err != nil {
		q.keep(e)
		return err
	}
	q.drop(e)
	return nil
}

// Unlock gives messages back without raising their delivery counts: the
// connection they were delivered on is lost. Locks that are over are ignored.
func (s *Service) Unlock(hub string, k Kind, locks ...causeway.LockToken) {
	s.queue(hub, k).unlock(locks)
}

// Subscribe returns a channel that gets a value whenever Receive is worth
// calling again, for every subscriber. Who waits subscribes first, then calls
// Receive until there is nothing, then waits for the channel. cancel ends the
// subscription; the channel is never closed.
func (s *Service) Subscribe(hub string, k Kind) (ready <-chan struct{}, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queueLocked(hub, k).subscribe()
}

// Waiting returns how many messages a queue holds, delivered but not settled
// ones included; a million stands for more.
func (s *Service) Waiting(ctx context.Context, hub string, k Kind) (int, error) {
	return s.store.Waiting(ctx, hub, k, time.Now(), maxWaiting)
}

// Forget drops what is remembered of a hub. It is called once the hub is
// deleted; its messages went with it. Subscriptions last, should there be
// another hub of that name.
func (s *Service) Forget(hub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gather, hub)
	both := s.queues[hub]
	if both == nil {
		return
	}
	waiters := 0
	for _, q := range both {
		waiters += q.reset()
	}
	if waiters == 0 {
		delete(s.queues, hub)
	}
}
