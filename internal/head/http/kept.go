package http

import (
	"context"
	"crypto/sha256"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// Bounds of the sessions that are kept.
const (
	keptShards = 64
	keptEach   = 128 // sessions of one shard
	// keptFor is how long a session may serve requests that show the same proof.
	// The hub looks with every message at the identity's record and at what it
	// vouches for; this bounds what else a proof may rest on.
	keptFor = time.Minute
)

// sessions keeps the sessions of clients that send often, so that not each of
// their requests has to be verified anew: for a certificate that would cost more
// than all else. Requests are told apart by what they are about and a hash of
// everything that they prove it with. There is no lock that all clients share,
// and nothing to end: such a session holds nothing of its hub.
type sessions struct {
	seed   maphash.Seed
	shards [keptShards]keptShard
}

type keptShard struct {
	mu sync.Mutex
	m  map[keptKey]keptSession
}

// keptKey is what a session was opened for.
type keptKey struct {
	host  string
	id    causeway.Identity
	proof [sha256.Size]byte
}

type keptSession struct {
	causeway.Session
	until time.Time
}

func newSessions() *sessions { return &sessions{seed: maphash.MakeSeed()} }

// keyOf returns the key of a credential. Paths need not be part of it: all that
// use kept sessions send to the one path of their identity.
func keyOf(cred *causeway.Credential) keptKey {
	k := keptKey{host: cred.Host, id: cred.Identity}
	hash := sha256.New()
	_, _ = io.WriteString(hash, string(cred.Token)) // a hash never fails
	for _, c := range cred.Certificates {
		_, _ = hash.Write([]byte{0}) // no byte of a token
		_, _ = hash.Write(c.Raw)
	}
	hash.Sum(k.proof[:0])
	return k
}

func (k *sessions) shard(key *keptKey) *keptShard {
	return &k.shards[maphash.Comparable(k.seed, key.proof)%keptShards]
}

// get returns the session of a key, or nil.
func (k *sessions) get(key *keptKey, now time.Time) causeway.Session {
	s := k.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.m[*key]; ok && now.Before(e.until) {
		return e.Session
	}
	return nil
}

// put keeps a session in place of any other of its key.
func (k *sessions) put(key *keptKey, session causeway.Session, now time.Time) {
	s := k.shard(key)
	s.mu.Lock()
	var gone []causeway.Session
	if s.m == nil {
		s.m = make(map[keptKey]keptSession)
	}
	if e, ok := s.m[*key]; ok {
		gone = append(gone, e.Session)
	} else if len(s.m) >= keptEach {
		gone = s.makeRoom(now)
	}
	s.m[*key] = keptSession{session, now.Add(keptFor)}
	s.mu.Unlock()
	closeAll(gone)
}

// makeRoom takes out the sessions whose time is over, or else any one; s.mu is
// held. A request that is still using one is told that its session ended, and
// opens another.
func (s *keptShard) makeRoom(now time.Time) (gone []causeway.Session) {
	for key, e := range s.m {
		if !now.Before(e.until) {
			gone = append(gone, e.Session)
			delete(s.m, key)
		}
	}
	for key, e := range s.m {
		if len(gone) > 0 {
			break
		}
		gone = append(gone, e.Session)
		delete(s.m, key)
	}
	return gone
}

// drop forgets a session.
func (k *sessions) drop(key *keptKey, session causeway.Session) {
	s := k.shard(key)
	s.mu.Lock()
	if e, ok := s.m[*key]; ok && e.Session == session {
		delete(s.m, *key)
	}
	s.mu.Unlock()
	_ = session.Close(nil) // nothing is held by it
}

func closeAll(gone []causeway.Session) {
	for _, s := range gone {
		_ = s.Close(nil) // nothing is held by it
	}
}

// sendAs sends as the client of a request, in its kept session if it has one.
// Before is called once the client is known, and gives the messages.
func (h *handler) sendAs(ctx context.Context, c *call, cred *causeway.Credential, before func() ([]causeway.Message, error)) error {
	key := keyOf(cred)
	s := h.kept.get(&key, c.arrived)
	kept := s != nil
	if !kept {
		var err error
		if s, err = h.hub.Connect(ctx, *cred, nil); err != nil {
			return err
		}
		h.kept.put(&key, s, c.arrived)
	}
	c.id = s.Identity()
	msgs, err := before()
	if err != nil {
		return err
	}
	err = s.Send(ctx, msgs...)
	if code := causeway.CodeOf(err); !kept || code != causeway.IotHubUnauthorized {
		return err
	}
	// It was made room of, or the identity was changed: its proof may still hold.
	h.kept.drop(&key, s)
	if s, err = h.hub.Connect(ctx, *cred, nil); err != nil {
		return err
	}
	h.kept.put(&key, s, c.arrived)
	return s.Send(ctx, msgs...)
}
