package accept

import "sync"

// Workers counts the goroutines that work for a connection, so that its end can
// wait for them. It is guarded by the mutex of the connection, which also says
// whether anything new may begin.
type Workers struct {
	n    int
	done chan struct{} // closed when n is 0; nil when nobody waits
}

// Idle reports whether there is none.
func (w *Workers) Idle() bool { return w.n == 0 }

// Begin counts one more.
func (w *Workers) Begin() { w.n++ }

// End counts one less.
func (w *Workers) End() {
	w.n--
	if w.n == 0 && w.done != nil {
		close(w.done)
		w.done = nil
	}
}

// Wait waits until there is none. The mutex is held by the caller, and given up
// meanwhile.
func (w *Workers) Wait(mu *sync.Mutex) {
	for w.n > 0 {
		if w.done == nil {
			w.done = make(chan struct{})
		}
		done := w.done
		mu.Unlock()
		<-done
		mu.Lock()
	}
}
