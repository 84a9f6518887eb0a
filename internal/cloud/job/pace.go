package job

import (
	"context"
	"sync"
	"time"
)

// pacer spreads what the jobs of one hub do to devices over time.
type pacer struct {
	mu   sync.Mutex
	next time.Time
}

// turn waits for the next device's turn; false when ctx or stop ended it.
func (p *pacer) turn(ctx context.Context, stop <-chan struct{}, rate float64) bool {
	if rate <= 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(time.Second) / rate))
	p.mu.Unlock()
	return sleep(ctx, stop, wait)
}

// pacer returns that of a hub.
func (s *Service) pacer(hub string) *pacer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pacers[hub]
	if p == nil {
		p = &pacer{}
		s.pacers[hub] = p
	}
	return p
}
