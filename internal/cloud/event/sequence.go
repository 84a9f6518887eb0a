package event

import (
	"fmt"
	"sync"
	"time"
)

// Sequencer makes the sequence numbers of connection events: 64 hexadecimal
// digits, of which a later one is greater as a text, also after a restart.
//
//	16 zeros · 16 digits of time · 32 digits that count within it
//
// Time is in units of 100 ns since 1601, as in the service.
type Sequencer struct {
	mu    sync.Mutex
	ticks uint64
	count uint64
}

// epoch is 1970 in units of 100 ns since 1601.
const epoch = 116444736000000000

// Next returns the next number. A clock that was set back does not matter.
func (s *Sequencer) Next(at time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ticks := uint64(max(at.UnixNano()/100+epoch, 0)); ticks > s.ticks {
		s.ticks, s.count = ticks, 0
	}
	s.count++
	return fmt.Sprintf("%016X%016X%032X", 0, s.ticks, s.count)
}
