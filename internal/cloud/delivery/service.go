package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// Options are what the deliveries of a hub need.
type Options struct {
	Hub string
	// Queue opens the log of an endpoint, or makes one, and Remove deletes it.
	// Names are those of endpoints in lower case.
	Queue  func(endpoint string) (Log, error)
	Remove func(endpoint string) error
	// DeadLetters is the log of the dead letters, of one partition, whose
	// retention bounds them. The service closes it.
	DeadLetters Log
	Metrics     *obs.Delivery // nil for none
	Log         *slog.Logger  // nil discards
}

// Service is the deliveries of one hub. It is safe for concurrent use.
type Service struct {
	o    Options
	dead *deadLetters

	changes sync.Mutex // held by Set, Remove and Close
	replays sync.Mutex // held by Replay

	mu     sync.RWMutex
	closed bool
	queues map[string]*Queue // by lower-case name
}

// New returns the deliveries of a hub, which has no endpoints yet.
func New(o Options) (*Service, error) {
	switch {
	case o.Hub == "" || o.Queue == nil || o.Remove == nil || o.DeadLetters == nil:
		return nil, errors.New("delivery: a hub, logs of endpoints and one of dead letters are needed")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewDelivery(nil, o.Hub)
	}
	return &Service{
		o: o, queues: map[string]*Queue{},
		dead: &deadLetters{hub: o.Hub, log: o.DeadLetters, out: o.Log, done: map[string]eventlog.Offset{}},
	}, nil
}

// nameForm is what endpoints may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidName reports whether an endpoint may have a name: 1 to 64 letters, digits,
// dots, hyphens and underscores, of which the first is a letter or a digit.
func ValidName(name string) bool { return nameForm.MatchString(name) }

const opSet = "delivery.Set"

// Set lets an endpoint be served by a sink, which the service owns from then on,
// also when it fails. An endpoint that is there already goes on with what waits
// for it; the sink it had is closed. Codes: ArgumentInvalid, ServiceUnavailable.
func (s *Service) Set(ctx context.Context, name string, sink plugin.Sink, p Policy) (*Queue, error) {
	q, err := s.set(ctx, name, sink, p)
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	return q, nil
}

func (s *Service) set(ctx context.Context, name string, sink plugin.Sink, p Policy) (*Queue, error) {
	if !ValidName(name) {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, opSet, "%q cannot be the name of an endpoint: use 1 to 64 letters, digits, dots, hyphens and underscores, a letter or a digit first", name)
	}
	p, err := p.withDefaults()
	if err != nil {
		return nil, err
	}
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.RLock()
	q, closed := s.queues[strings.ToLower(name)], s.closed
	s.mu.RUnlock()
	if closed {
		return nil, causeway.Errorf(causeway.ServiceUnavailable, opSet, "the hub is shutting down")
	}
	if q == nil {
		log, err := s.o.Queue(strings.ToLower(name))
		if err != nil {
			return nil, fmt.Errorf("open queue of endpoint %s: %w", name, err)
		}
		if q, err = openQueue(ctx, s.o.Hub, name, log, p, s.dead, s.o.Metrics, s.o.Log); err != nil {
			return nil, errors.Join(fmt.Errorf("open queue of endpoint %s: %w", name, err), log.Close())
		}
		s.mu.Lock()
		s.queues[strings.ToLower(name)] = q
		s.mu.Unlock()
	}
	q.halt()
	q.start(sink, p)
	return q, nil
}

// Remove forgets an endpoint and what waits for it. Its dead letters stay. Code:
// GenericNotFound.
func (s *Service) Remove(name string) error {
	const op = "delivery.Remove"
	s.changes.Lock()
	defer s.changes.Unlock()
	key := strings.ToLower(name)
	s.mu.Lock()
	q := s.queues[key]
	delete(s.queues, key)
	s.mu.Unlock()
	if q == nil {
		return unknown(op, name)
	}
	err := q.close()
	s.o.Metrics.Forget(q.name)
	return errors.Join(err, s.o.Remove(key))
}

func unknown(op, name string) error {
	return causeway.Errorf(causeway.GenericNotFound, op, "there is no endpoint %q", name)
}

// Queue returns the queue of an endpoint.
func (s *Service) Queue(name string) (*Queue, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	q, ok := s.queues[strings.ToLower(name)]
	return q, ok
}

// Status returns how the endpoints fare, by name.
func (s *Service) Status() []Status {
	s.mu.RLock()
	names := slices.Sorted(maps.Keys(s.queues))
	all := make([]Status, 0, len(names))
	for _, n := range names {
		all = append(all, s.queues[n].Status())
	}
	s.mu.RUnlock()
	return all
}

// MaxPage bounds a page of dead letters.
const MaxPage = 1000

// DeadLetters returns a page of the dead letters of an endpoint, or of all for
// "", from an offset on: at most limit, or MaxPage. The next page begins at
// next; last says that there is none.
func (s *Service) DeadLetters(ctx context.Context, endpoint string, from int64, limit int) (page []DeadLetter, next int64, last bool, err error) {
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	return s.dead.list(ctx, endpoint, from, limit)
}

// Replay puts the dead letters of an endpoint back into its queue, where they
// are the youngest, and returns how many. It stops when the queue is full; the
// rest stays. After a crash in the middle a few may be put back twice. Codes:
// GenericNotFound, ServiceUnavailable (the queue is full).
func (s *Service) Replay(ctx context.Context, endpoint string) (n int, err error) {
	const op = "delivery.Replay"
	s.replays.Lock()
	defer s.replays.Unlock()
	q, ok := s.Queue(endpoint)
	if !ok {
		return 0, unknown(op, endpoint)
	}
	_, end, err := s.dead.log.Bounds(ctx, 0)
	if err != nil {
		return 0, err
	}
	for at := int64(0); at < int64(end); {
		page, next, last, err := s.dead.list(ctx, q.name, at, scanBatch)
		if err != nil {
			return n, err
		}
		for i, l := range page {
			if l.Offset >= int64(end) { // it died meanwhile
				return n, nil
			}
			if err := q.again(ctx, &page[i].Message); err != nil {
				err = errors.Join(err, s.dead.move(ctx, q.name, eventlog.Offset(l.Offset)))
				return n, &causeway.Error{
					Code: causeway.ServiceUnavailable, Op: op, Err: err,
					Msg: fmt.Sprintf("the queue of endpoint %s is full or fails: %d dead letters were put back, the others stay", q.name, n),
				}
			}
			n++
		}
		// Up to here all are dealt with; those of others are none of its business.
		if err := s.dead.move(ctx, q.name, min(eventlog.Offset(next), end)); err != nil {
			return n, err
		}
		if at = next; last {
			break
		}
	}
	return n, nil
}

// Purge forgets the dead letters of an endpoint that there are by now.
func (s *Service) Purge(ctx context.Context, endpoint string) error {
	_, end, err := s.dead.log.Bounds(ctx, 0)
	if err != nil {
		return err
	}
	return s.dead.move(ctx, endpoint, end)
}

// Close stops sending, and closes all logs. What waits goes on after a restart.
func (s *Service) Close() error {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.Lock()
	queues := s.queues
	s.queues, s.closed = map[string]*Queue{}, true
	s.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, 0, len(queues)+1)
	var mu sync.Mutex
	for _, q := range queues {
		wg.Go(func() {
			err := q.close()
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(append(errs, s.dead.log.Close())...)
}
