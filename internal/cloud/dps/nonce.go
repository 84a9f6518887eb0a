package dps

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// nonces keeps the keys that TPMs were challenged with for a while. Each is good for
// one registration, and for questions about it until it is forgotten. They live
// in memory: after a restart a device is challenged again.
type nonces struct {
	mu    sync.Mutex
	byID  map[string][]nonce
	total int
	swept time.Time // when all that are too old were last forgotten
}

// nonceSweep is how often all are looked at while there are too many: more often
// would have everybody wait for whoever asks for more.
const nonceSweep = time.Second

type nonce struct {
	key  []byte
	srk  []byte // storage root key that it was made for, TPM2B_PUBLIC
	ends time.Time
	used bool // a registration was begun with it
}

func (n *nonces) init() { n.byID = map[string][]nonce{} }

// add notes a key for a registration, and the storage root key it was made for, in
// place of the oldest if there are several. It reports false when too many are
// outstanding.
func (n *nonces) add(id string, key, srk []byte, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.total >= maxNonces && now.Sub(n.swept) >= nonceSweep {
		n.swept = now
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
	n.byID[id] = append(list, nonce{key: key, srk: srk, ends: now.Add(NonceTTL)})
	n.total++
	return true
}

// of returns the challenges outstanding for a registration.
func (n *nonces) of(id string, now time.Time) []nonce {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expire(id, now)
	return slices.Clone(n.byID[id])
}

// used reports whether a registration was begun with a key, or it is forgotten.
func (n *nonces) used(id string, key []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.find(id, key)
	return c == nil || c.used
}

// use notes that a registration was begun with a key.
func (n *nonces) use(id string, key []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.find(id, key); c != nil {
		c.used = true
	}
}

// find returns the challenge with a key, or nil; the mutex is held.
func (n *nonces) find(id string, key []byte) *nonce {
	for k := range n.byID[id] {
		if c := &n.byID[id][k]; bytes.Equal(c.key, key) {
			return c
		}
	}
	return nil
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
