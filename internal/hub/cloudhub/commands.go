package cloudhub

import (
	"context"
	"errors"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// commandRetry is how long deliveries rest after one failed.
const commandRetry = time.Second

// commandState is the delivery of commands; guarded by session.mu.
type commandState struct {
	inflight []delivery    // delivered and not settled, at most MaxDeliveryInFlight
	retry    *time.Timer   // set while deliveries rest after a failure
	running  bool          // a goroutine delivers
	more     bool          // the queue may hold another command
	stalled  bool          // the client had no credit, and has not said that it has
	asked    int           // how often it has said so
	idle     chan struct{} // closed when nobody delivers any more; nil when nobody waits
}

// delivery is one command on its way.
type delivery struct {
	lock     causeway.LockToken
	sequence int64
	from     time.Time // when the lock was asked for
}

// takeLocks empties the window and stops a retry.
func (c *commandState) takeLocks() []causeway.LockToken {
	var locks []causeway.LockToken
	for _, d := range c.inflight {
		locks = append(locks, d.lock)
	}
	c.inflight = nil
	c.rested()
	return locks
}

// rests tells who waits in Drain.
func (c *commandState) rests() {
	if c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *commandState) rested() {
	if c.retry != nil {
		c.retry.Stop()
		c.retry = nil
	}
}

// drop takes a lock out of the window.
func (c *commandState) drop(lock causeway.LockToken) bool {
	for i := range c.inflight {
		if c.inflight[i].lock == lock {
			c.inflight = append(c.inflight[:i], c.inflight[i+1:]...)
			return true
		}
	}
	return false
}

// room reports whether another command may be delivered. Deliveries whose lock
// has run out no longer count: their commands are queued again.
func (c *commandState) room(now time.Time) bool {
	if len(c.inflight) < causeway.MaxDeliveryInFlight {
		return true
	}
	kept := c.inflight[:0]
	for _, d := range c.inflight {
		if now.Sub(d.from) < causeway.CommandLock {
			kept = append(kept, d)
		}
	}
	c.inflight = kept
	return len(kept) < causeway.MaxDeliveryInFlight
}

// pump delivers queued commands as far as the window allows. It does not wait.
func (s *session) pump() {
	s.mu.Lock()
	s.commands.more = true
	s.mu.Unlock()
	s.resume()
}

// ready is pump for a client that has credit.
func (s *session) ready() {
	s.mu.Lock()
	s.commands.stalled = false
	s.commands.asked++
	s.mu.Unlock()
	s.pump()
}

// Drain waits until there is nothing more to deliver, or the client takes no
// more.
func (s *session) Drain(ctx context.Context) error {
	if err := s.act(); err != nil {
		return err
	}
	s.pump()
	for {
		s.mu.Lock()
		c := &s.commands
		if !c.running {
			s.mu.Unlock()
			return nil
		}
		if e := s.ending.Load(); e != nil {
			s.mu.Unlock()
			return e.reason
		}
		if c.idle == nil {
			c.idle = make(chan struct{})
		}
		idle := c.idle
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resume starts the delivering goroutine if there is something for it to do.
func (s *session) resume() {
	s.mu.Lock()
	start := s.deliverableLocked() && !s.commands.running
	if start {
		s.commands.running = true
	}
	s.mu.Unlock()
	if start {
		// When the hub is closed the session is about to end anyway.
		s.hub.spawn(s.deliver)
	}
}

func (s *session) deliverableLocked() bool {
	c := &s.commands
	return c.more && !c.stalled && c.retry == nil && s.lanes.Has(causeway.LaneCommands) && c.room(time.Now())
}

// deliver receives and hands over commands, oldest first, until the queue is
// empty, the window full, or the client no longer listens.
func (s *session) deliver() {
	for {
		ctx, asked, ok := s.beginDelivery()
		if !ok {
			return
		}
		from := time.Now()
		m, ok, err := s.hub.commands.Receive(ctx, s.id)
		if err != nil {
			s.rest(err)
			return
		}
		if !ok {
			continue // unless something was queued meanwhile this ends the loop
		}
		if !s.took(delivery{m.Lock, m.Sequence, from}) {
			s.hub.commands.Unlock(s.id, m.Lock)
			continue
		}
		if err := s.dev.Deliver(ctx, m); err != nil {
			s.mu.Lock()
			held := s.commands.drop(m.Lock)
			s.mu.Unlock()
			if errors.Is(err, causeway.ErrNoCredit) {
				s.stall(asked)
				if held {
					s.hub.commands.Unlock(s.id, m.Lock)
				}
				continue // unless the client has credit meanwhile this ends the loop
			}
			s.rest(err)
			if held {
				s.hub.commands.Unlock(s.id, m.Lock)
			}
			return
		}
		s.last.Store(time.Now().UnixMilli())
	}
}

// beginDelivery decides whether to receive another command; if not the
// goroutine is counted as ended.
func (s *session) beginDelivery() (ctx context.Context, asked int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deliverableLocked() {
		s.commands.running = false
		s.commands.rests()
		return nil, 0, false
	}
	s.commands.more = false
	return s.lifeLocked(), s.commands.asked, true
}

// stall notes that the client took no command, unless it has said since asked
// that it takes one.
func (s *session) stall(asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands.more = true
	s.commands.stalled = s.commands.asked == asked
}

// took puts a received command into the window, unless the client stopped
// listening while it was received.
func (s *session) took(d delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lanes.Has(causeway.LaneCommands) {
		return false
	}
	c := &s.commands
	c.more = true
	for i := range c.inflight {
		if c.inflight[i].sequence == d.sequence {
			c.inflight[i] = d // delivered again after its lock ran out
			return true
		}
	}
	c.inflight = append(c.inflight, d)
	return true
}

// rest ends the delivering goroutine after a failure and lets another start
// after a while: a failing store or device is not asked in a tight loop.
func (s *session) rest(err error) {
	s.mu.Lock()
	c := &s.commands
	c.running, c.more = false, true
	c.rests()
	wanted := s.lanes.Has(causeway.LaneCommands)
	if wanted && c.retry == nil {
		c.retry = time.AfterFunc(commandRetry, func() {
			s.mu.Lock()
			s.commands.retry = nil
			s.mu.Unlock()
			s.resume()
		})
	}
	s.mu.Unlock()
	if wanted {
		s.hub.log.Debug("command was not delivered, trying again", obs.KeyID, s.id, obs.KeyError, err)
	}
}

// Settle ends a delivery.
func (s *session) Settle(ctx context.Context, lock causeway.LockToken, o causeway.Outcome) error {
	if err := s.act(); err != nil {
		return err
	}
	if int(o) >= len(s.hub.settled) {
		return causeway.Errorf(causeway.ArgumentInvalid, "cloudhub.Settle", "unknown outcome %d", o)
	}
	err := s.hub.commands.Settle(ctx, s.id, lock, o)
	if err != nil && causeway.CodeOf(err) != causeway.DeviceMessageLockLost {
		return s.after(err) // the lock is still held
	}
	s.mu.Lock()
	s.commands.drop(lock)
	s.commands.stalled = false
	s.commands.asked++
	s.mu.Unlock()
	s.resume()
	if err != nil {
		return s.after(err)
	}
	s.hub.settled[o].Inc()
	return nil
}
