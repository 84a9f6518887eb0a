package dps

import "sync"

// keyed is a mutex for each key in use.
type keyed struct {
	mu    sync.Mutex
	locks map[string]*counted
}

type counted struct {
	sync.Mutex
	users int
}

func (k *keyed) init() { k.locks = map[string]*counted{} }

// lock takes the mutex of a key and returns what gives it back.
func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	c := k.locks[key]
	if c == nil {
		c = new(counted)
		k.locks[key] = c
	}
	c.users++
	k.mu.Unlock()
	c.Lock()
	return func() {
		c.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(k.locks, key)
		}
	}
}
