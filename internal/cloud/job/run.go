package job

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Run starts jobs when they are due, goes on with those that a restart has
// interrupted, and forgets old ones, until ctx ends and what it started has too.
func (s *Service) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	if err := s.load(ctx); err != nil {
		return err
	}
	work.Go(func() { s.expire(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		due, next := s.due(time.Now())
		for _, k := range due {
			work.Go(func() {
				s.work(ctx, k)
				s.nudge() // another may take its place
			})
		}
		timer.Reset(next)
	}
}

// load reads what is not settled. A store that fails is tried again.
func (s *Service) load(ctx context.Context) error {
	var jobs []Job
	err := s.retry(ctx, "read the jobs that have not ended", func() (err error) {
		jobs, err = s.store.Unsettled(ctx)
		return err
	})
	if err != nil {
		return nil //nolint:nilerr // ctx ended
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range jobs {
		j := &jobs[i]
		t := &task{start: j.Start, stop: make(chan struct{})}
		if j.Status == Cancelled {
			t.start = j.Finished
			t.cancel()
		}
		s.live[key{j.Hub, j.ID}] = t
	}
	s.loaded = true
	return nil
}

// due marks the jobs whose turn has come as running and returns them, and how
// long it is until the next.
func (s *Service) due(at time.Time) (due []key, next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = expireInterval
	running := map[string]int{}
	for k, t := range s.live {
		if t.running {
			running[k.hub]++
		}
	}
	for k, t := range s.live {
		switch wait := t.start.Sub(at); {
		case t.running, t.reserved:
		case wait > 0:
			next = min(next, wait)
		case running[k.hub] < s.policy(k.hub).active() || t.stopped:
			// One that is late has its turn whatever the order of the map: those
			// that wait are looked at again whenever one ends.
			t.running = true
			running[k.hub]++
			due = append(due, k)
		}
	}
	return due, next
}

// work does a job to its end, or until ctx ends.
func (s *Service) work(ctx context.Context, k key) {
	s.mu.Lock()
	t := s.live[k]
	s.mu.Unlock()
	if t == nil {
		return
	}
	w := &worker{Service: s, key: k, stop: t.stop, log: s.log.With(obs.KeyHub, k.hub, "job", k.id)}
	err := w.run(ctx)
	if ctx.Err() != nil {
		return // goes on after the restart
	}
	if err != nil && causeway.CodeOf(err) != causeway.JobNotFound { // gone with its hub
		w.log.Error("a job was given up until the next start", obs.KeyError, err)
	}
	s.release(k)
}

// retry calls f until it succeeds, fails for good, or ctx ends. Faults of ours
// are logged once.
func (s *Service) retry(ctx context.Context, doing string, f func() error) error {
	wait := retryFirst
	for n := 0; ; n++ {
		err := f()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if causeway.CodeOf(err) < causeway.GenericServerError {
			return fmt.Errorf("%s: %w", doing, err)
		}
		if n == 0 {
			s.log.WarnContext(ctx, "a job cannot go on, trying again", "doing", doing, obs.KeyError, err)
		}
		if !sleep(ctx, nil, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, retryMost)
	}
}

// sleep waits and reports whether the time has passed; false when ctx or stop
// ended it.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
	case <-ctx.Done():
	}
	return false
}

// expire forgets jobs that ended too long ago.
func (s *Service) expire(ctx context.Context) {
	for {
		if err := s.forgetOld(ctx, time.Now().Add(-History)); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old jobs are kept for now", obs.KeyError, err)
		}
		if !sleep(ctx, nil, expireInterval) {
			return
		}
	}
}

func (s *Service) forgetOld(ctx context.Context, before time.Time) error {
	for {
		old, err := s.store.Old(ctx, before, expireBatch)
		if err != nil || len(old) == 0 {
			return err
		}
		for i := range old {
			j := &old[i]
			if err := s.drop(ctx, j.Hub, j.ID); err != nil {
				return err
			}
			ok, err := s.store.Delete(ctx, j.Hub, j.ID)
			if err == nil && !ok {
				err = errors.New("it has rows again")
			}
			if err != nil {
				return fmt.Errorf("forget job %s of hub %s: %w", j.ID, j.Hub, err)
			}
		}
	}
}

// drop forgets the rows of a job, some at a time.
func (s *Service) drop(ctx context.Context, hub, id string) error {
	for {
		n, err := s.store.DropRows(ctx, hub, id, closeBatch)
		if err != nil {
			return fmt.Errorf("forget rows of job %s of hub %s: %w", id, hub, err)
		}
		if n < closeBatch {
			return nil
		}
	}
}

// publish tells of the status of a job. That nobody could be told is no reason
// to stop it.
func (s *Service) publish(ctx context.Context, j Job) {
	if s.publisher == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	body, err := j.MarshalJSON()
	if err == nil {
		err = s.publisher.Publish(ctx, j.Hub, causeway.Message{
			Source: causeway.SourceJobLifecycle, Schema: "deviceJobLifecycleNotification",
			ContentType: "application/json", ContentEncoding: "utf-8", Body: body,
			Properties: []causeway.Property{
				{Key: "hubName", Value: j.Hub},
				{Key: "jobId", Value: j.ID},
				{Key: "opType", Value: "jobStatusChanged"},
				{Key: "jobStatus", Value: string(j.Status)},
				{Key: "operationTimestamp", Value: instant(time.Now())},
			},
		})
	}
	if err != nil {
		s.log.WarnContext(ctx, "an event about a job was not published", obs.KeyHub, j.Hub, "job", j.ID, obs.KeyError, err)
	}
}
