package c2d

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Options are what a [Service] needs.
type Options struct {
	Store  Store
	Log    *slog.Logger            // nil discards
	Policy func(hub string) Policy // nil means the defaults; called often
	Limit  int                     // queues remembered; 0 means MaxTracked

	// Recorded hears that about n records of feedback of a hub have become
	// durable. It must not block. Nil ignores.
	Recorded func(hub string, n int)
}

// Watcher hears of queues that have something to receive.
type Watcher interface {
	// Queued says that a message of id became available: it was queued or
	// abandoned, or its lock ended. It is called after the change is durable
	// and must not block; it may call the service.
	Queued(id causeway.Identity)
}

// Service is the queues of all hubs. It is safe for concurrent use and expects
// to be the only one that changes its store.
//
// Methods that change something wait until the change is durable even when
// their context ends meanwhile: only then is it known what the queue holds.
type Service struct {
	store    Store
	log      *slog.Logger
	policy   func(hub string) Policy
	recorded func(hub string, n int)
	watchers []Watcher
	tracker  tracker
}

// New returns a service. It works at once; its Run makes locks and messages
// expire.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Policy == nil {
		o.Policy = func(string) Policy { return Policy{} }
	}
	if o.Limit <= 0 {
		o.Limit = MaxTracked
	}
	if o.Recorded == nil {
		o.Recorded = func(string, int) {}
	}
	return &Service{
		store:    o.Store,
		log:      o.Log,
		policy:   func(hub string) Policy { return o.Policy(hub).withDefaults() },
		recorded: o.Recorded,
		tracker:  tracker{limit: o.Limit, devices: map[causeway.Identity][]*queue{}},
	}
}

// Watch adds a watcher. It must not be called once the service is in use.
func (s *Service) Watch(w Watcher) { s.watchers = append(s.watchers, w) }

func (s *Service) notify(id causeway.Identity) {
	for _, w := range s.watchers {
		w.Queued(id)
	}
}

// Enqueue appends a message to the queue of id, whose registry generation is
// generationID, and returns once it is durable. Codes: MessageTooLarge,
// ArgumentInvalid, InvalidMessageExpiryTime, DeviceMaximumQueueDepthExceeded,
// DeviceNotFound, ModuleNotFound, ServiceUnavailable.
func (s *Service) Enqueue(ctx context.Context, id causeway.Identity, m causeway.Message, generationID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now().UTC()
	if err := validate(&m, now); err != nil {
		return err
	}
	it := Item{Message: m, Expires: m.Expiry}
	if it.Expires.IsZero() {
		it.Expires = now.Add(s.policy(id.Hub).TTL)
	}
	// What is the hub's to say is not the sender's.
	it.Message.From, it.Message.Auth, it.Message.Source, it.Message.ModelID = causeway.Identity{}, "", "", ""
	it.Message.Enqueued, it.Message.GenerationID = now, generationID

	if err := s.push(ctx, id, it); err != nil {
		return err
	}
	s.notify(id)
	return nil
}

func (s *Service) push(ctx context.Context, id causeway.Identity, it Item) error {
	q := s.tracker.acquire(id)
	defer s.tracker.release(q)
	seq, err := s.store.Push(context.WithoutCancel(ctx), id, it, causeway.MaxQueuedCommands)
	if err != nil {
		return err
	}
	if q.loaded {
		m := &it.Message
		q.entries = append(q.entries, entry{Entry: Entry{ // copied: it outlives what the caller lent
			Seq: seq, Expires: it.Expires, Ack: causeway.Ack(strings.Clone(string(m.Ack))),
			MessageID: strings.Clone(m.ID), GenerationID: strings.Clone(m.GenerationID),
		}})
	}
	return nil
}

// Receive locks the oldest free message of id and returns it with Lock,
// Sequence, DeliveryCount and Enqueued set; ok is false when there is none.
// A queue that is known to be empty costs no look into the store.
func (s *Service) Receive(ctx context.Context, id causeway.Identity) (m causeway.Message, ok bool, err error) {
	if s.tracker.empty(id) {
		return causeway.Message{}, false, ctx.Err()
	}
	q := s.tracker.acquire(id)
	defer s.tracker.release(q)
	if err := q.load(ctx, s.store); err != nil {
		return causeway.Message{}, false, err
	}
	for i := 0; i < len(q.entries); {
		now := time.Now()
		e := &q.entries[i]
		if e.locked(now) {
			i++
			continue
		}
		if e.expired(now) {
			if err := s.expire(ctx, q, now); err != nil {
				return causeway.Message{}, false, err
			}
			i = 0
			continue
		}
		it, found, err := s.store.Item(ctx, id, e.Seq)
		if err != nil {
			return causeway.Message{}, false, err
		}
		if !found { // its device was deleted
			s.tracker.drop(q, i)
			continue
		}
		m := it.Message
		m.Sequence, m.DeliveryCount = e.Seq, e.DeliveryCount
		m.Lock = s.tracker.lockEntry(q, e, now.Add(s.policy(id.Hub).Lock))
		return m, true, nil
	}
	return causeway.Message{}, false, nil
}

// Settle ends a delivery. Codes: DeviceMessageLockLost (the lock is over, or
// the message was purged), ArgumentInvalid, ServiceUnavailable (the lock
// stays: try again).
func (s *Service) Settle(ctx context.Context, id causeway.Identity, token causeway.LockToken, o causeway.Outcome) error {
	q := s.tracker.known(id)
	if q == nil {
		return lockLost()
	}
	freed, err := s.settle(context.WithoutCancel(ctx), q, token, o)
	s.tracker.release(q)
	if freed {
		s.notify(id)
	}
	return err
}

// settle reports whether the message is free again.
func (s *Service) settle(ctx context.Context, q *queue, token causeway.LockToken, o causeway.Outcome) (freed bool, err error) {
	now := time.Now()
	i := q.find(token, now) // by the monotonic clock, as Receive: a set clock loses no lock
	if i < 0 {
		return false, lockLost()
	}
	now = now.UTC()
	e := &q.entries[i]
	switch o {
	case causeway.Accepted:
		return false, s.end(ctx, q, i, Success, now)
	case causeway.Rejected:
		return false, s.end(ctx, q, i, RejectedByDevice, now)
	case causeway.Released:
		count := e.DeliveryCount + 1
		if count >= s.policy(q.id.Hub).MaxDeliveryCount {
			return false, s.end(ctx, q, i, DeliveryCountExceeded, now)
		}
		if err := s.store.SetDeliveryCount(ctx, q.id, e.Seq, count); err != nil {
			return false, err
		}
		e.DeliveryCount = count
		s.tracker.unlock(e)
		return true, nil
	}
	return false, causeway.Errorf(causeway.ArgumentInvalid, "c2d.Settle", "unknown outcome %d", o)
}

func lockLost() error {
	return causeway.Errorf(causeway.DeviceMessageLockLost, "c2d.Settle",
		"the lock of the message is over: it was settled, purged, or not settled in time and may be delivered again")
}

// end removes the entry at i from its queue with feedback.
func (s *Service) end(ctx context.Context, q *queue, i int, status Status, now time.Time) error {
	e := &q.entries[i]
	f := feedback(q.id, e.Entry, status, now)
	n, err := s.store.Remove(ctx, q.id, End{e.Seq, f})
	if err != nil {
		return err
	}
	s.tracker.drop(q, i)
	if n > 0 && f != nil {
		s.recorded(q.id.Hub, 1)
	}
	if n == 0 {
		return lockLost()
	}
	return nil
}

// feedback returns the record of an outcome, nil when its sender does not want
// to hear of it: positive asks for success, negative for any failure, full for
// both.
func feedback(id causeway.Identity, e Entry, status Status, now time.Time) *Feedback {
	wanted := e.Ack == causeway.AckFull
	if status == Success {
		wanted = wanted || e.Ack == causeway.AckPositive
	} else {
		wanted = wanted || e.Ack == causeway.AckNegative
	}
	if !wanted {
		return nil
	}
	return &Feedback{
		OriginalMessageID: e.MessageID, Device: id.Device, Module: id.Module, GenerationID: e.GenerationID,
		Status: status, Time: now.UTC(),
	}
}

// Unlock gives messages back to the queue without raising their delivery
// count: the connection they were delivered on is lost. Locks that are over
// are ignored.
func (s *Service) Unlock(id causeway.Identity, locks ...causeway.LockToken) {
	q := s.tracker.known(id)
	if q == nil {
		return
	}
	freed := false
	now := time.Now()
	for _, token := range locks {
		if i := q.find(token, now); i >= 0 {
			s.tracker.unlock(&q.entries[i])
			freed = true
		}
	}
	s.tracker.release(q)
	if freed {
		s.notify(id)
	}
}

// Purge ends all messages of id, delivered ones too, and returns how many
// there were.
func (s *Service) Purge(ctx context.Context, id causeway.Identity) (n int, err error) {
	if s.tracker.empty(id) {
		return 0, ctx.Err()
	}
	q := s.tracker.acquire(id)
	defer s.tracker.release(q)
	if err := q.load(ctx, s.store); err != nil {
		return 0, err
	}
	return s.endAll(context.WithoutCancel(ctx), q, Purged, time.Now(), func(*entry) bool { return true })
}

// endAll ends the entries of q that match, in one transaction, and returns how
// many there were.
func (s *Service) endAll(ctx context.Context, q *queue, status Status, now time.Time, match func(*entry) bool) (int, error) {
	var ends []End
	records := 0
	for i := range q.entries {
		e := &q.entries[i]
		if !match(e) {
			continue
		}
		f := feedback(q.id, e.Entry, status, now)
		if f != nil {
			records++
		}
		ends = append(ends, End{e.Seq, f})
	}
	if len(ends) == 0 {
		return 0, nil
	}
	n, err := s.store.Remove(ctx, q.id, ends...)
	if err != nil {
		return 0, err
	}
	for i := 0; i < len(q.entries); {
		if match(&q.entries[i]) {
			s.tracker.drop(q, i)
		} else {
			i++
		}
	}
	if n > 0 && records > 0 {
		s.recorded(q.id.Hub, records)
	}
	return n, nil
}

// expire ends the messages of q whose time is over and that no client has.
func (s *Service) expire(ctx context.Context, q *queue, now time.Time) error {
	_, err := s.endAll(context.WithoutCancel(ctx), q, Expired, now, func(e *entry) bool { return e.expired(now) && !e.locked(now) })
	return err
}

// Depth returns how many messages id has, delivered but not settled ones
// included.
func (s *Service) Depth(ctx context.Context, id causeway.Identity) (int, error) {
	if s.tracker.empty(id) {
		return 0, ctx.Err()
	}
	q := s.tracker.acquire(id)
	defer s.tracker.release(q)
	if err := q.load(ctx, s.store); err != nil {
		return 0, err
	}
	return len(q.entries), nil
}

// maxWaiting is how far Waiting counts.
const maxWaiting = 1_000_000

// Waiting returns how many messages wait in all queues of a hub, delivered but
// not settled ones included; a million stands for more.
func (s *Service) Waiting(ctx context.Context, hub string) (int, error) {
	return s.store.Waiting(ctx, hub, maxWaiting)
}

// Forget drops what is remembered of id and, for a device, of its modules. It
// is called once they are deleted; their messages went with them.
func (s *Service) Forget(id causeway.Identity) {
	for _, q := range s.tracker.family(id) {
		q.mu.Lock()
		for i := range q.entries {
			s.tracker.unlock(&q.entries[i])
		}
		// The identity may have been created again, with messages of its own.
		q.loaded, q.entries = false, nil
		if err := q.load(context.Background(), s.store); err != nil {
			s.log.Warn("the queue of a deleted identity could not be checked; it will be when it is used", "identity", q.id, "error", err)
		}
		s.tracker.release(q)
	}
}
