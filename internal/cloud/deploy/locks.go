package deploy

import (
	"context"
	"sync"

	"github.com/causeway-iot/causeway"
)

// locks are held by device: one plan of it is carried out at a time. There are
// as many as there are devices being worked on.
type locks struct {
	mu   sync.Mutex
	held map[causeway.Identity]*lock
}

type lock struct {
	free    chan struct{} // has a value while nobody holds it
	holders int           // who holds it and who waits
}

// take waits for the lock of a device, no longer than ctx lasts.
func (l *locks) take(ctx context.Context, id causeway.Identity) (release func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[causeway.Identity]*lock{}
	}
	k := l.held[id]
	if k == nil {
		k = &lock{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		l.held[id] = k
	}
	k.holders++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.holders--; k.holders == 0 {
			delete(l.held, id)
		}
	}
	select {
	case <-k.free:
		return func() { k.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
