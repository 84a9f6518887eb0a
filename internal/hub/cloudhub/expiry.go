package cloudhub

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// expiryCheck is how long a set clock, or a machine that slept, may keep an expiry
// from being noticed: timers do not run by the clock that tokens are made by.
const expiryCheck = time.Minute

// expiries ends sessions when their proof expires: one heap and one timer for
// all sessions of a hub.
type expiries struct {
	mu   sync.Mutex
	heap expiryHeap
	kick chan struct{} // the earliest expiry changed
}

func (e *expiries) init() { e.kick = make(chan struct{}, 1) }

// set moves the expiry of an open session; the zero time means never.
func (e *expiries) set(s *session, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at.IsZero() || s.ending.Load() != nil {
		// end sets ending before it calls remove, so that an ended session is
		// not put back.
		s.expires.Store(0)
		e.drop(s)
		return
	}
	s.expires.Store(at.UnixNano())
	if s.slot < 0 {
		heap.Push(&e.heap, s)
	} else {
		heap.Fix(&e.heap, s.slot)
	}
	if s.slot == 0 {
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
}

// remove forgets a session.
func (e *expiries) remove(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(s)
}

func (e *expiries) drop(s *session) {
	if s.slot >= 0 {
		heap.Remove(&e.heap, s.slot)
	}
}

// due takes the sessions that are over out of the heap and returns them, and
// how long until the next; next is negative when there is none.
func (e *expiries) due(now time.Time) (over []*session, next time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.heap) > 0 {
		at := e.heap[0].expires.Load()
		if at > now.UnixNano() {
			return over, time.Duration(at - now.UnixNano())
		}
		over = append(over, heap.Pop(&e.heap).(*session))
	}
	return over, -1
}

// run hangs up sessions as they expire, until ctx ends.
func (e *expiries) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		over, next := e.due(time.Now())
		for _, s := range over {
			s.end(expired(), true)
		}
		var alarm <-chan time.Time
		if next >= 0 {
			timer.Reset(min(next, expiryCheck))
			alarm = timer.C
		} else {
			timer.Stop()
		}
		select {
		case <-alarm:
		case <-e.kick:
		case <-ctx.Done():
			return
		}
	}
}

// expiryHeap orders sessions by expiry and keeps their slots.
type expiryHeap []*session

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Load() < h[j].expires.Load() }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}

func (h *expiryHeap) Push(x any) {
	s := x.(*session)
	s.slot = len(*h)
	*h = append(*h, s)
}

func (h *expiryHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.slot = -1
	return s
}
