package dps

import (
	"sync"
	"time"
)

// nonces keeps the keys that TPMs were challenged with, until they are used or
// forgotten. They live in memory: after a restart a device is challenged again.
type nonces struct {
	mu    sync.Mutex
	byID  map[string][]nonce
	total int
}

type nonce struct {
	key  []byte
	ends time.Time
}

func (n *nonces) init() { n.byID = map[string][]nonce{} }

// add notes a key for a registration, in place of the oldest if there are
// several. It reports false when too many are outstanding.
func (n *nonces) add(id string, key []byte, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.total >= maxNonces {
		for other := range n.byID {
			n.expire(other, now)
		}
	}
	n.expire(id, now)
	list := n.byID[id]
	if len(list) >= noncesEach {
		list = list[1:]
		n.total--
	}
	if n.total >= maxNonces {
		return false
	}
	n.byID[id] = append(list, nonce{key: key, ends: now.Add(NonceTTL)})
	n.total++
	return true
}

// keys returns the keys outstanding for a registration.
func (n *nonces) keys(id string, now time.Time) (keys [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire(id, now)
	for _, c := range n.byID[id] {
		keys = append(keys, c.key)
	}
	return keys
}

// expire forgets what is too old; the mutex is held.
func (n *nonces) expire(id string, now time.Time) {
	list := n.byID[id]
	for len(list) > 0 && !now.Before(list[0].ends) {
		list = list[1:]
		n.total--
	}
	if n.byID[id] = list; len(list) == 0 {
		delete(n.byID, id)
	}
}
