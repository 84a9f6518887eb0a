package claims

import "sync"

// Granted is a link that a plane has granted.
type Granted interface {
	Link
	// End lets go of what the link has. It may be called more than once, and
	// does not wait.
	End()
}

// Links are those that a plane has granted to one peer, with the goroutines
// that work for them. The zero value has none. It is safe for concurrent use.
type Links struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	kept map[Granted]struct{}
}

// Keep remembers a link until it is over.
func (s *Links) Keep(l Granted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = make(map[Granted]struct{})
	}
	s.kept[l] = struct{}{}
}

// Forget says that a link is over.
func (s *Links) Forget(l Granted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, l)
}

// Count returns how many links there are of which is is true.
func (s *Links) Count(is func(l Granted) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for l := range s.kept {
		if is(l) {
			n++
		}
	}
	return n
}

// Go runs f in a goroutine that EndAll waits for.
func (s *Links) Go(f func()) { s.wg.Go(f) }

// EndAll ends the links that are left, and waits for what goes on for them.
func (s *Links) EndAll() {
	s.mu.Lock()
	left := make([]Granted, 0, len(s.kept))
	for l := range s.kept {
		left = append(left, l)
	}
	s.mu.Unlock()
	for _, l := range left {
		l.End()
	}
	s.wg.Wait()
}

// Peers is what a plane knows of each connection, a P. The zero value knows
// none. It is safe for concurrent use.
type Peers[P any] struct {
	mu sync.RWMutex
	by map[Peer]*P
}

// Get returns what is known of a connection, nil for nothing.
func (s *Peers[P]) Get(p Peer) *P {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by[p]
}

// Put remembers what is known of a connection.
func (s *Peers[P]) Put(p Peer, known *P) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[Peer]*P)
	}
	s.by[p] = known
}

// Take returns what is known of a connection, nil for nothing, and forgets it.
func (s *Peers[P]) Take(p Peer) *P {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.by[p]
	delete(s.by, p)
	return known
}
