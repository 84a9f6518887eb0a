package c2d_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
)

// step is one thing that happens to a queue.
type step struct {
	do      string
	pick    int // which of the deliveries known so far
	outcome causeway.Outcome
	seconds int
}

// model is what a queue must do, in the plainest words.
type model struct {
	now      time.Time
	items    []modelItem
	feedback []string
}

type modelItem struct {
	id      string
	expires time.Time
	count   int
	lock    causeway.LockToken
	until   time.Time // of the lock
}

const (
	modelLock  = 60*time.Second + 250*time.Millisecond
	modelCount = 3
)

func (m *model) held(it modelItem) bool { return m.now.Before(it.until) }

// expire ends what no client has and whose time is over.
func (m *model) expire() {
	m.items = slices.DeleteFunc(m.items, func(it modelItem) bool {
		over := !m.now.Before(it.expires) && !m.held(it)
		if over {
			m.feedback = append(m.feedback, it.id+" Expired")
		}
		return over
	})
}

func (m *model) byLock(l causeway.LockToken) int {
	return slices.IndexFunc(m.items, func(it modelItem) bool { return it.lock == l && m.held(it) })
}

// TestModel holds the service to the model. Steps happen at half seconds, times
// of locks and messages end at three quarters, sweeps come at full seconds: so
// what a sweep does is done before the next step.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				do:      rapid.SampledFrom([]string{"enqueue", "enqueue", "receive", "receive", "settle", "settle", "unlock", "wait", "purge", "restart"}).Draw(rt, "do"),
				pick:    rapid.IntRange(0, 7).Draw(rt, "pick"),
				outcome: rapid.SampledFrom([]causeway.Outcome{causeway.Accepted, causeway.Rejected, causeway.Released, causeway.Released}).Draw(rt, "outcome"),
				seconds: rapid.IntRange(1, 40).Draw(rt, "seconds"),
			}
		}), 1, 60).Draw(rt, "steps")
		var err error
		synctest.Test(t, func(t *testing.T) { err = play(t, steps) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// play makes the steps happen to a service and the model.
func play(t *testing.T, steps []step) error {
	store := c2dtest.NewMemory()
	o := c2d.Options{Policy: func(string) c2d.Policy {
		return c2d.Policy{Lock: modelLock, MaxDeliveryCount: modelCount}
	}}
	b := newBench(t, store, o)
	stop := b.start()
	after(500 * time.Millisecond)
	var m model
	var locks []causeway.LockToken
	pick := func(n int) causeway.LockToken {
		if len(locks) == 0 {
			return causeway.LockToken{1}
		}
		return locks[len(locks)-1-n%len(locks)]
	}
	for n, s := range steps {
		m.now = time.Now()
		m.expire()
		fail := func(format string, args ...any) error {
			return fmt.Errorf("step %d (%+v): %s", n, s, fmt.Sprintf(format, args...))
		}
		switch s.do {
		case "enqueue":
			id := fmt.Sprint("m", n)
			it := modelItem{id: id, expires: m.now.Add(time.Duration(s.seconds)*time.Second + 250*time.Millisecond)}
			msg := message(id)
			msg.Expiry = it.expires
			if err := b.Enqueue(t.Context(), dev, msg, "g"); err != nil {
				return fail("%v", err)
			}
			m.items = append(m.items, it)
		case "receive":
			got, ok, err := b.Receive(t.Context(), dev)
			i := slices.IndexFunc(m.items, func(it modelItem) bool { return !m.held(it) })
			if err != nil || ok != (i >= 0) {
				return fail("got %q, %v, %v", got.ID, ok, err)
			}
			if !ok {
				break
			}
			if got.ID != m.items[i].id || got.DeliveryCount != m.items[i].count {
				return fail("got %q with count %d, want %+v", got.ID, got.DeliveryCount, m.items[i])
			}
			m.items[i].lock, m.items[i].until = got.Lock, m.now.Add(modelLock)
			locks = append(locks, got.Lock)
		case "settle":
			lock := pick(s.pick)
			err := b.Settle(t.Context(), dev, lock, s.outcome)
			i := m.byLock(lock)
			if i < 0 {
				if causeway.CodeOf(err) != causeway.DeviceMessageLockLost {
					return fail("the lock is over and the error is %v", err)
				}
				break
			}
			if err != nil {
				return fail("%v", err)
			}
			it := &m.items[i]
			status := ""
			switch s.outcome {
			case causeway.Accepted:
				status = "Success"
			case causeway.Rejected:
				status = "Rejected"
			case causeway.Released:
				it.count++
				it.until = time.Time{}
				if it.count == modelCount {
					status = "DeliveryCountExceeded"
				}
			}
			if status != "" {
				m.feedback = append(m.feedback, it.id+" "+status)
				m.items = slices.Delete(m.items, i, i+1)
			}
		case "unlock":
			lock := pick(s.pick)
			b.Unlock(dev, lock)
			if i := m.byLock(lock); i >= 0 {
				m.items[i].until = time.Time{}
			}
		case "wait":
			after(time.Duration(s.seconds) * time.Second)
			m.now = time.Now()
		case "purge":
			got, err := b.Purge(t.Context(), dev)
			if err != nil || got != len(m.items) {
				return fail("purged %d, %v; want %d", got, err, len(m.items))
			}
			for _, it := range m.items {
				m.feedback = append(m.feedback, it.id+" Purged")
			}
			m.items = nil
		case "restart":
			stop()
			b = newBench(t, store, o)
			stop = b.start()
			for i := range m.items {
				m.items[i].until = time.Time{}
			}
		}
		// Let a sweep see what the step has freed.
		after(time.Second)
		m.now = time.Now()
		m.expire()
		if got, err := b.Depth(t.Context(), dev); err != nil || got != len(m.items) {
			return fail("%d messages are queued (%v), want %d: %+v", got, err, len(m.items), m.items)
		}
	}
	got, want := b.feedback(), m.feedback
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("feedback is %q, want %q", got, want)
	}
	return nil
}
