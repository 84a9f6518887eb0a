package transfer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Registry is what imports and exports ask of registry.Service; see there.
type Registry interface {
	bulk.Registry
	List(ctx context.Context, hub, after string, limit int) ([]registry.Record, error)
	Modules(ctx context.Context, device causeway.Identity) ([]registry.Record, error)
	Count(ctx context.Context, hub string) (registry.Counts, error)
}

// Configurations are the automatic device configurations of hubs, one JSON
// object each.
type Configurations interface {
	// Export calls f with each, in the order of their ids.
	Export(ctx context.Context, hub string, f func(line []byte) error) error
	// Import creates or replaces one. Its error has a code.
	Import(ctx context.Context, hub string, line []byte) error
}

// Sealer keeps addresses unreadable at rest; see registry.Sealer.
type Sealer interface {
	Seal(plain causeway.Secret, bind string) (causeway.Secret, error)
	Open(sealed causeway.Secret, bind string) (causeway.Secret, error)
}

// Options are what a [Service] needs.
type Options struct {
	Store          Store
	Registry       Registry
	Containers     Containers
	Sealer         Sealer
	Configurations Configurations // nil: there are none
	Log            *slog.Logger   // nil discards
}

// Service runs imports and exports. It is safe for concurrent use.
type Service struct {
	store          Store
	registry       Registry
	bulk           bulk.Service
	containers     Containers
	sealer         Sealer
	configurations Configurations
	log            *slog.Logger

	wake chan struct{}

	mu      sync.Mutex
	running map[key]context.CancelFunc
}

type key struct{ hub, id string }

// New returns a service. All of o but Configurations and Log is required.
func New(o Options) *Service {
	if o.Store == nil || o.Registry == nil || o.Containers == nil || o.Sealer == nil {
		panic("transfer.New: Store, Registry, Containers and Sealer are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		store: o.Store, registry: o.Registry, bulk: bulk.Service{Registry: o.Registry}, containers: o.Containers, sealer: o.Sealer,
		configurations: o.Configurations, log: o.Log, wake: make(chan struct{}, 1), running: map[key]context.CancelFunc{},
	}
}

// Create takes a job on: j as [Request.Job] returns it.
//
// Codes: JobQuotaExceeded (one at a time), BlobContainerValidationError.
func (s *Service) Create(ctx context.Context, j Job) (Job, error) {
	for _, uri := range []causeway.Secret{j.Input, j.Output} {
		if uri == "" {
			continue
		}
		if _, err := s.containers.Open(uri); err != nil {
			return Job{}, err
		}
	}
	j.State = State{Status: Enqueued}
	sealed, err := s.seal(j)
	if err != nil {
		return Job{}, err
	}
	if err := s.store.Create(ctx, sealed); err != nil {
		return Job{}, fmt.Errorf("create %s job of hub %s: %w", j.Type, j.Hub, err)
	}
	s.nudge()
	return j, nil
}

// seal returns j with sealed addresses.
func (s *Service) seal(j Job) (Job, error) {
	return s.each(j, s.sealer.Seal)
}

// each applies f to the addresses of a job.
func (s *Service) each(j Job, f func(causeway.Secret, string) (causeway.Secret, error)) (Job, error) {
	for _, a := range []struct {
		which string
		at    *causeway.Secret
	}{{"input", &j.Input}, {"output", &j.Output}} {
		if *a.at == "" {
			continue
		}
		out, err := f(*a.at, "transfer/"+j.Hub+"/"+j.ID+"/"+a.which)
		if err != nil {
			return j, fmt.Errorf("keep the %s address of job %s of hub %s: %w", a.which, j.ID, j.Hub, err)
		}
		*a.at = out
	}
	return j, nil
}

// Get returns a job. Code: JobNotFound.
func (s *Service) Get(ctx context.Context, hub, id string) (Job, error) {
	j, err := s.store.Get(ctx, hub, id)
	if err != nil {
		return Job{}, fmt.Errorf("read job %s of hub %s: %w", id, hub, err)
	}
	return s.open(j), nil
}

// open returns j with its addresses; one whose addresses do not open is damaged.
func (s *Service) open(j Job) Job {
	opened, err := s.each(j, s.sealer.Open)
	if err != nil {
		opened.Input, opened.Output, opened.Damaged = "", "", err
	}
	return opened
}

// List returns the newest jobs of a hub, at most MaxListed.
func (s *Service) List(ctx context.Context, hub string) ([]Job, error) {
	jobs, err := s.store.List(ctx, hub, MaxListed)
	if err != nil {
		return nil, fmt.Errorf("list imports and exports of hub %s: %w", hub, err)
	}
	for i := range jobs {
		jobs[i] = s.open(jobs[i])
	}
	return jobs, nil
}

// Cancel ends a job; one that has ended stays as it is. What an import has
// applied remains. Code: JobNotFound.
func (s *Service) Cancel(ctx context.Context, hub, id string) (Job, error) {
	for {
		j, err := s.Get(ctx, hub, id)
		if err != nil || j.Status.Ended() {
			return j, err
		}
		to := j.State
		to.Status, to.Finished = Cancelled, now()
		ok, err := s.store.Save(ctx, hub, id, j.Status, to)
		if err != nil {
			return Job{}, fmt.Errorf("cancel job %s of hub %s: %w", id, hub, err)
		}
		if !ok {
			continue // it went on meanwhile
		}
		j.State = to
		s.mu.Lock()
		if stop := s.running[key{hub, id}]; stop != nil {
			stop()
		}
		s.mu.Unlock()
		return j, nil
	}
}

// Forget ends the job of a hub that is gone.
func (s *Service) Forget(hub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, stop := range s.running {
		if k.hub == hub {
			stop()
		}
	}
}

func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run does the jobs that there are and those that come, until ctx ends and what
// it started has too.
func (s *Service) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var expired time.Time
	for failing := false; ; {
		err := s.begin(ctx, &work)
		if err == nil && time.Since(expired) >= expireInterval {
			if err = s.expire(ctx); err == nil {
				expired = time.Now()
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing {
			s.log.WarnContext(ctx, "imports and exports cannot be looked after, trying again", obs.KeyError, err)
		}
		failing = err != nil
		select {
		case <-s.wake:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// begin starts the jobs that nobody works on.
func (s *Service) begin(ctx context.Context, work *sync.WaitGroup) error {
	jobs, err := s.store.Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("read the imports and exports that have not ended: %w", err)
	}
	for _, j := range jobs {
		k := key{j.Hub, j.ID}
		j = s.open(j)
		s.mu.Lock()
		if s.running[k] != nil {
			s.mu.Unlock()
			continue
		}
		own, stop := context.WithCancel(ctx)
		s.running[k] = stop
		s.mu.Unlock()
		work.Go(func() {
			defer func() {
				stop()
				s.mu.Lock()
				delete(s.running, k)
				s.mu.Unlock()
			}()
			w := &worker{Service: s, job: j, log: s.log.With(obs.KeyHub, j.Hub, "job", j.ID)}
			w.run(own)
		})
	}
	return nil
}

func (s *Service) expire(ctx context.Context) error {
	for {
		n, err := s.store.Expire(ctx, time.Now().Add(-History), expireBatch)
		if err != nil {
			return fmt.Errorf("forget old imports and exports: %w", err)
		}
		if n < expireBatch {
			return nil
		}
	}
}

// now returns the time to write down: what every store keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
