package job

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// Selector evaluates the condition of a job.
type Selector interface {
	// Check reports what is wrong with a condition. Code: ArgumentInvalid.
	Check(condition string) error
	// Select calls f for every device or module of a hub that fits a condition,
	// in the order of their ids, until f fails.
	Select(ctx context.Context, hub, condition string, f func(causeway.Identity) error) error
}

// Registry is what jobs ask of registry.Service; see there.
type Registry interface {
	UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error)
}

// Hub is what jobs ask of a running hub.
type Hub interface {
	// TakesMethods reports whether a client is connected that listens to
	// methods.
	TakesMethods(id causeway.Identity) bool
	// Invoke calls a method; see cloudhub.Hub. DeviceNotOnline says that the
	// device was not called.
	Invoke(ctx context.Context, id causeway.Identity, c causeway.Call, connectWait, responseWait time.Duration) (causeway.Result, error)
}

// Publisher takes events about jobs; see routing.Publisher.
type Publisher interface {
	Publish(ctx context.Context, hub string, m causeway.Message) error
}

// Policy is what a hub allows. Zero fields mean the defaults.
type Policy struct {
	Active int     // jobs that run at once; 0 means DefaultActive
	Rate   float64 // devices worked on in a second by all jobs together; 0 is as many as there can be
}

// Options are what a [Service] needs.
type Options struct {
	Store    Store
	Selector Selector
	Registry Registry
	// Hubs finds a running hub by its name.
	Hubs      func(name string) (Hub, bool)
	Publisher Publisher               // nil: nobody wants to know
	Policy    func(hub string) Policy // nil: the defaults
	Log       *slog.Logger            // nil discards
}

// Service runs jobs. It is safe for concurrent use.
type Service struct {
	store     Store
	selector  Selector
	registry  Registry
	hubs      func(name string) (Hub, bool)
	publisher Publisher
	policy    func(hub string) Policy
	log       *slog.Logger

	wake chan struct{} // for Run: something may be due

	mu     sync.Mutex
	live   map[key]*task // jobs that are not settled, once Run has read them
	pacers map[string]*pacer
	loaded bool
}

type key struct{ hub, id string }

// task is an unsettled job in memory.
type task struct {
	start    time.Time
	reserved bool          // it is about to be stored; nobody works on it
	running  bool          // a goroutine works on it
	stop     chan struct{} // closed when it was cancelled
	stopped  bool
}

// New returns a service. Store, Selector, Registry and Hubs are required.
func New(o Options) *Service {
	if o.Store == nil || o.Selector == nil || o.Registry == nil || o.Hubs == nil {
		panic("job.New: Store, Selector, Registry and Hubs are required")
	}
	if o.Policy == nil {
		o.Policy = func(string) Policy { return Policy{} }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		store: o.Store, selector: o.Selector, registry: o.Registry, hubs: o.Hubs, publisher: o.Publisher, policy: o.Policy, log: o.Log,
		wake: make(chan struct{}, 1), live: map[key]*task{}, pacers: map[string]*pacer{},
	}
}

// Create takes a job on: j as [Request.Job] returns it.
//
// Codes: ArgumentInvalid (the condition), JobAlreadyExists,
// ThrottlingMaxActiveJobCountExceeded (the hub has as many jobs as may run at
// once, or MaxUnfinished), ServiceUnavailable (the service is not running yet).
func (s *Service) Create(ctx context.Context, j Job) (Job, error) {
	const op = "job.Create"
	if err := s.selector.Check(j.Condition); err != nil {
		return Job{}, err
	}
	k := key{j.Hub, j.ID}
	j.State = State{Status: Queued}
	if j.Start.After(time.Now()) {
		j.Status = Scheduled
	}
	if err := s.reserve(op, k, j.Start); err != nil {
		return Job{}, err
	}
	if err := s.store.Create(ctx, j); err != nil {
		s.release(k)
		return Job{}, fmt.Errorf("create job %s of hub %s: %w", j.ID, j.Hub, err)
	}
	s.mu.Lock()
	if t := s.live[k]; t != nil { // else its hub went
		t.reserved = false // it may have been cancelled already
	}
	s.mu.Unlock()
	s.publish(ctx, j)
	s.nudge()
	return j, nil
}

// reserve makes a place for a job that is about to be stored.
func (s *Service) reserve(op string, k key, start time.Time) error {
	active := s.policy(k.hub).active()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		return causeway.Errorf(causeway.ServiceUnavailable, op, "jobs are not running yet, try again in a moment")
	}
	if s.live[k] != nil {
		return causeway.Errorf(causeway.JobAlreadyExists, op, "job %q exists already", k.id)
	}
	now, all, due := time.Now(), 0, 0
	for other, t := range s.live {
		if other.hub != k.hub {
			continue
		}
		all++
		if !t.start.After(now) {
			due++
		}
	}
	if all >= MaxUnfinished {
		return causeway.Errorf(causeway.ThrottlingMaxActiveJobCountExceeded, op, "the hub has %d jobs that have not ended, the most it may have: cancel some, or wait", all)
	}
	if !start.After(now) && due >= active {
		return causeway.Errorf(causeway.ThrottlingMaxActiveJobCountExceeded, op, "the hub has %d jobs at work, the most it may have: wait until one ends, or give the job a later startTime", due)
	}
	s.live[k] = &task{start: start, reserved: true, stop: make(chan struct{})}
	return nil
}

func (p Policy) active() int {
	if p.Active <= 0 {
		return DefaultActive
	}
	return p.Active
}

func (s *Service) release(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, k)
}

// Get returns a job. Code: JobNotFound.
func (s *Service) Get(ctx context.Context, hub, id string) (Job, error) {
	j, err := s.store.Get(ctx, hub, id)
	if err != nil {
		return Job{}, fmt.Errorf("read job %s of hub %s: %w", id, hub, err)
	}
	return j, nil
}

// List returns a page of jobs, newest first. Token is that of the page before, ""
// for the first; next is "" when there are no more. A token may be used again.
// Code: ArgumentInvalid (the token).
func (s *Service) List(ctx context.Context, hub string, f Filter, limit int, token string) (page []Job, next string, err error) {
	after, err := parseCursor(token)
	if err != nil {
		return nil, "", err
	}
	if limit <= 0 {
		limit = DefaultPage
	}
	limit = min(limit, MaxPage)
	if page, err = s.store.List(ctx, hub, f, after, limit+1); err != nil {
		return nil, "", fmt.Errorf("list jobs of hub %s: %w", hub, err)
	}
	if len(page) > limit {
		page = page[:limit]
		last := &page[limit-1]
		next = Cursor{last.Created, last.ID}.token()
	}
	return page, next, nil
}

// token returns a cursor as callers hold it.
func (c Cursor) token() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.Created.UnixMicro(), 10) + "/" + c.ID))
}

func parseCursor(token string) (Cursor, error) {
	if token == "" {
		return Cursor{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	at, id, ok := strings.Cut(string(b), "/")
	us, nerr := strconv.ParseInt(at, 10, 64)
	if err != nil || nerr != nil || !ok || !ValidID(id) {
		return Cursor{}, invalid("job.List", "the continuation token is not one of this list: begin anew without it")
	}
	return Cursor{time.UnixMicro(us).UTC(), id}, nil
}

// Devices returns up to limit rows of a hub that fit f in the order of job,
// device and module, from the first one greater than after: devices.jobs.
func (s *Service) Devices(ctx context.Context, hub string, f RowFilter, after RowCursor, limit int) ([]DeviceJob, error) {
	rows, err := s.store.Query(ctx, hub, f, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read what jobs of hub %s did to devices: %w", hub, err)
	}
	return rows, nil
}

// Cancel ends a job. Devices that are pending are not worked on, calls in flight
// are let come to their end. One that was cancelled before stays so.
//
// Codes: JobNotFound, InvalidOperation (it has ended).
func (s *Service) Cancel(ctx context.Context, hub, id string) (Job, error) {
	for {
		j, err := s.Get(ctx, hub, id)
		if err != nil || j.Status == Cancelled {
			return j, err
		}
		if j.Status.Ended() {
			return Job{}, causeway.Errorf(causeway.InvalidOperation, "job.Cancel", "job %q is %s, it cannot be cancelled any more", id, j.Status)
		}
		to := j.State
		to.Status, to.Finished = Cancelled, now()
		ok, err := s.store.Advance(ctx, hub, id, j.Status, to)
		if err != nil {
			return Job{}, fmt.Errorf("cancel job %s of hub %s: %w", id, hub, err)
		}
		if !ok {
			continue // it went on meanwhile
		}
		j.State = to
		s.publish(ctx, j)
		s.mu.Lock()
		if t := s.live[key{hub, id}]; t != nil {
			t.start = to.Finished // a job for later is closed at once
			t.cancel()
		}
		s.mu.Unlock()
		s.nudge()
		return j, nil
	}
}

// cancel tells the goroutine of a task; Service.mu is held.
func (t *task) cancel() {
	if !t.stopped {
		t.stopped = true
		close(t.stop)
	}
}

// Forget ends the work on all jobs of a hub that is gone.
func (s *Service) Forget(hub string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, t := range s.live {
		if k.hub == hub {
			t.cancel() // its goroutine finds no job any more
			if !t.running {
				delete(s.live, k)
			}
		}
	}
	delete(s.pacers, hub)
}

// nudge makes Run look for what is due.
func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// now returns the time to write down: what every store keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
