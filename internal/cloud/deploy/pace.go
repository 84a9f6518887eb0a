package deploy

import (
	"context"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// pace lets so many writes through in a second.
type pace struct {
	gap time.Duration

	mu   sync.Mutex
	next time.Time
}

// burst is how many writes may follow one another after a pause.
const burst = 32

func newPace(rate int) *pace { return &pace{gap: time.Second / time.Duration(rate)} }

// wait returns when the next write may happen.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-burst * p.gap); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(p.gap)
	delay := p.next.Sub(now)
	p.mu.Unlock()
	if delay <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flaps finds devices whose plans change all the time: a configuration whose
// condition reads what it sets goes back and forth forever. They are made to
// wait, longer each time.
type flaps struct {
	mu       sync.Mutex
	now, old map[causeway.Identity]flap // old is dropped when now is full
}

type flap struct {
	level float64 // changes, less those that time has forgiven
	last  time.Time
	pause time.Duration // before the next
}

func newFlaps() *flaps { return &flaps{now: map[causeway.Identity]flap{}} }

// changed takes note of a change.
func (f *flaps) changed(id causeway.Identity) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.get(id)
	since := time.Since(x.last)
	if since > max(flapWindow, 2*x.pause) {
		x = flap{}
	}
	x.level = max(0, x.level-flapAllowed*since.Seconds()/flapWindow.Seconds()) + 1
	x.last = time.Now()
	if x.level > flapAllowed || x.pause > 0 {
		x.pause = min(max(2*x.pause, retryAfter), maxRetry)
	}
	if len(f.now) >= maxFlapping {
		f.old, f.now = f.now, map[causeway.Identity]flap{}
	}
	f.now[id] = x
}

// wait returns how long a device has to wait now.
func (f *flaps) wait(id causeway.Identity) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.get(id)
	return max(0, x.pause-time.Since(x.last))
}

func (f *flaps) get(id causeway.Identity) flap {
	if x, ok := f.now[id]; ok {
		return x
	}
	return f.old[id]
}
