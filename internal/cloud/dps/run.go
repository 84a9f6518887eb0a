package dps

import (
	"context"
	"fmt"
	"sync"
)

// job is a registration that is to be assigned; its id is in lower case. The operation
// is given by who has stored it, and says that nobody has begun it yet.
type job struct{ service, id, operation string }

// jobKey is what jobs are told apart by.
type jobKey struct{ service, id string }

func (j job) key() jobKey { return jobKey{j.service, j.id} }

// claims are the jobs under way: a registration is assigned by one worker at a
// time.
type claims struct {
	mu  sync.Mutex
	now map[jobKey]bool // whether to look again
}

// take claims a job. When another worker has it that one is told to look again.
func (c *claims) take(j jobKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.now[j]; taken {
		c.now[j] = true
		return false
	}
	if c.now == nil {
		c.now = map[jobKey]bool{}
	}
	c.now[j] = false
	return true
}

// release gives a job back, or reports true when there is cause to look again.
func (c *claims) release(j jobKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[j] {
		c.now[j] = false
		return true
	}
	delete(c.now, j)
	return false
}

// queue is jobs that wait, of one of two kinds: those that are done by ourselves and
// by hubs, and those for which a webhook must be asked. A webhook that takes its time
// has those wait that ask it, and nobody else. Workers come with jobs, and go when there are no
// more: a service that nobody registers with costs nothing.
type queue struct {
	mu      sync.Mutex
	waiting []job
	under   int // jobs that wait or are under way
	running int // workers
	work    func(job)
	workers sync.WaitGroup
}

// reserve makes room for one more job, or reports that there is none: so many may
// wait here beside those elsewhere.
func (q *queue) reserve(elsewhere int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.under+elsewhere >= MaxPending {
		return false
	}
	q.under++
	return true
}

// unreserve gives back room that no job came for.
func (q *queue) unreserve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.under--
}

// length returns how many jobs there are.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.under
}

// add adds a job for which room was reserved.
func (q *queue) add(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, j)
	q.hire()
}

// resume adds a job that a stop has interrupted, or that was in the other queue: there
// was room for it then.
func (q *queue) resume(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.under++
	q.waiting = append(q.waiting, j)
	q.hire()
}

// start has jobs done by work until stop.
func (q *queue) start(work func(job)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.work = work
	for range q.waiting {
		q.hire()
	}
}

// stop ends the workers, and waits for what they are at. What waits is found again
// with the next start.
func (q *queue) stop() {
	q.mu.Lock()
	q.work = nil
	q.mu.Unlock()
	q.workers.Wait()
}

// hire adds a worker when one is needed; the mutex is held.
func (q *queue) hire() {
	if q.work != nil && q.running < OperationsAtOnce {
		q.running++
		q.workers.Go(q.run)
	}
}

// run is a worker.
func (q *queue) run() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.work != nil && len(q.waiting) > 0 {
		j, work := q.waiting[0], q.work
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		work(j)
		q.mu.Lock()
		q.under--
	}
	if len(q.waiting) == 0 {
		q.waiting = nil // and the memory of a rush
	}
	q.running--
}

// Run assigns devices until ctx ends: first those whose operations a stop has
// interrupted. What is under way then is finished after the next start. It also
// warns of certificates that end.
func (s *Service) Run(ctx context.Context) error {
	s.asking.start(func(j job) { s.assign(ctx, j, true) })
	defer s.asking.stop()
	s.queue.start(func(j job) { s.assign(ctx, j, false) })
	defer s.queue.stop()
	for _, i := range s.Instances() {
		if err := s.resume(ctx, i.Name); err != nil && ctx.Err() == nil {
			return fmt.Errorf("resume registrations of %s: %w", i.Name, err)
		}
	}
	var recording sync.WaitGroup
	recording.Go(func() { s.record(ctx) })
	defer recording.Wait()
	s.watch(ctx)
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
			s.queue.resume(job{service: service, id: fold(r.ID)})
		}
		after = fold(list[len(list)-1].ID)
	}
}
