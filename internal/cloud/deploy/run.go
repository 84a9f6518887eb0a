package deploy

import (
	"context"
	"sync"
)

// maxWaiting is how many devices are written down by name when work ends; when
// there are more, all are looked at after the next start.
const maxWaiting = 10_000

// Run carries the configurations of all hubs out until ctx ends. Then it writes
// down which devices still wait.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range s.o.Workers {
		wg.Go(func() { s.work(ctx) })
	}
	wg.Go(func() { s.runRollouts(ctx) })
	wg.Go(func() { s.runResults(ctx) })
	wg.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	waiting, complete := s.queue.waiting()
	e := Ending{Clean: complete && s.rollouts.idle() && len(waiting) <= maxWaiting}
	if e.Clean {
		e.Waiting = waiting
	}
	if err := s.o.Store.End(end, e); err != nil {
		// Nothing is lost: after the next start all devices are looked at.
		s.log.Warn("the devices that wait for configurations are not written down", "error", err)
	}
	return nil
}

// work looks at devices from the queue until ctx ends.
func (s *Service) work(ctx context.Context) {
	for {
		if ctx.Err() != nil {
			return
		}
		e, m := s.queue.take()
		if e == nil {
			select {
			case <-s.queue.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if pause := s.flaps.wait(e.id); pause > 0 {
			s.log.Debug("the configurations of a device change all the time, it has to wait", "device", e.id, "pause", pause)
			s.queue.later(e, m, pause)
			continue
		}
		err := s.settle(ctx, e.id, m)
		switch {
		case err == nil:
			for _, b := range m.batches {
				b.done()
			}
			s.queue.done(e)
		case ctx.Err() != nil:
			s.queue.keep(e, m)
		default:
			pause := min(max(2*e.pause, retryAfter), maxRetry)
			if e.pause == 0 {
				s.log.Warn("a device cannot be made as its configurations say, trying again", "device", e.id, "error", err)
			}
			e.pause = pause
			m.all = true // something may be half done
			s.queue.later(e, m, pause)
		}
	}
}
