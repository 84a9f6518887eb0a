package dps

import (
	"context"
	"fmt"
	"sync"

	"github.com/causeway-iot/causeway"
)

// job is a registration that is to be assigned; its id is in lower case.
type job struct{ service, id string }

// claims are the jobs under way: a registration is assigned by one worker at a
// time.
type claims struct {
	mu  sync.Mutex
	now map[job]bool // whether to look again
}

// take claims a job. When another worker has it that one is told to look again.
func (c *claims) take(j job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.now[j]; taken {
		c.now[j] = true
		return false
	}
	if c.now == nil {
		c.now = map[job]bool{}
	}
	c.now[j] = false
	return true
}

// release gives a job back, or reports true when there is cause to look again.
func (c *claims) release(j job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[j] {
		c.now[j] = false
		return true
	}
	delete(c.now, j)
	return false
}

// reserve makes room for one more job, or reports that there is none.
func (s *Service) reserve() bool {
	if s.waiting.Add(1) <= MaxPending {
		return true
	}
	s.waiting.Add(-1)
	return false
}

func (s *Service) unreserve() { s.waiting.Add(-1) }

// Run assigns devices until ctx ends: first those whose operations a stop has
// interrupted. What is under way then is finished after the next start.
func (s *Service) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for range OperationsAtOnce {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case j := <-s.jobs:
					s.assign(ctx, j)
					s.unreserve()
				}
			}
		})
	}
	for _, i := range s.Instances() {
		if err := s.resume(ctx, i.Name); err != nil && ctx.Err() == nil {
			return fmt.Errorf("resume registrations of %s: %w", i.Name, err)
		}
	}
	<-ctx.Done()
	return nil
}

// resume takes up the operations of a service that were under way.
func (s *Service) resume(ctx context.Context, service string) error {
	for after := ""; ; {
		list, err := s.store.Pending(ctx, service, after, MaxPage)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, r := range list {
			s.waiting.Add(1)
			select {
			case s.jobs <- job{service, fold(r.ID)}:
			case <-ctx.Done():
				s.unreserve()
				return causeway.Errorf(causeway.ServiceUnavailable, "dps", "the service is stopping")
			}
		}
		after = fold(list[len(list)-1].ID)
	}
}
