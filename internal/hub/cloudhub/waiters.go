package cloudhub

import (
	"sync"
	"sync/atomic"

	"github.com/causeway-iot/causeway"
)

// waiters are the callers of direct methods who wait for a client to come
// online, at most [causeway.MaxInflightMethods] for each.
type waiters struct {
	n  atomic.Int64 // of all, so that Listen need not lock when nobody waits
	mu sync.Mutex
	m  map[causeway.Identity]*waiting
}

// waiting is those who wait for one identity. The channel is closed and
// replaced when there is something to look at.
type waiting struct {
	woken chan struct{}
	n     int
}

// join adds a caller; false when too many wait already.
func (w *waiters) join(id causeway.Identity) (*waiting, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.m[id]
	if g == nil {
		if w.m == nil {
			w.m = make(map[causeway.Identity]*waiting)
		}
		g = &waiting{woken: make(chan struct{})}
		w.m[id] = g
	}
	if g.n >= causeway.MaxInflightMethods {
		return nil, false
	}
	g.n++
	w.n.Add(1)
	return g, true
}

func (w *waiters) leave(id causeway.Identity, g *waiting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n.Add(-1)
	if g.n--; g.n == 0 {
		delete(w.m, id)
	}
}

// signal returns a channel that is closed at the next wake.
func (w *waiters) signal(g *waiting) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return g.woken
}

// wake lets the callers of id look again.
func (w *waiters) wake(id causeway.Identity) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.m[id]; g != nil {
		close(g.woken)
		g.woken = make(chan struct{})
	}
}

// wakeAll lets every caller look again.
func (w *waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.m {
		close(g.woken)
		g.woken = make(chan struct{})
	}
}
