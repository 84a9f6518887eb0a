// Package keyed is a lock for each of very many things that are named by keys. It
// keeps only those that somebody holds or waits for.
package keyed

import (
	"context"
	"sync"
)

// Locks are locks by key. The zero value has none held. It is safe for concurrent
// use and must not be copied.
type Locks[K comparable] struct {
	mu   sync.Mutex
	held map[K]*lock
}

type lock struct {
	free  chan struct{} // has a value while nobody holds it
	users int           // who holds it and who waits
}

// Take waits for the lock of a key, no longer than ctx lasts, and returns what gives
// it back, to be called once.
func (l *Locks[K]) Take(ctx context.Context, key K) (release func(), err error) {
	k := l.enter(key)
	select {
	case <-k.free:
	default:
		select {
		case <-k.free:
		case <-ctx.Done():
			l.leave(key, k)
			return nil, ctx.Err()
		}
	}
	return func() {
		k.free <- struct{}{}
		l.leave(key, k)
	}, nil
}

// Lock is Take without an end to waiting.
func (l *Locks[K]) Lock(key K) (release func()) {
	release, _ = l.Take(context.Background(), key) // which never ends
	return release
}

func (l *Locks[K]) enter(key K) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[K]*lock{}
	}
	k := l.held[key]
	if k == nil {
		k = &lock{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		l.held[key] = k
	}
	k.users++
	return k
}

func (l *Locks[K]) leave(key K, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}
