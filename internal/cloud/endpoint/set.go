package endpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/plugin"
)

// Options are what the endpoints of a hub need.
type Options struct {
	Hub   string
	Sinks *plugin.Registry
	// Env returns what a sink is given besides its settings.
	Env func(endpoint string) plugin.Env
	// Queue opens the log of a queue, EventHub the
	// log of an event hub; both make it when it is not there. Remove deletes
	// either. Names are in lower case.
	Queue    func(endpoint string) (delivery.Log, error)
	EventHub func(endpoint string, c EventHubConfig) (EventLog, error)
	Remove   func(endpoint string) error
	// DeadLetters opens the log of dead letters. It is asked once there is an
	// endpoint, or dead letters are asked for.
	DeadLetters func() (delivery.Log, error)
	Metrics     *obs.Delivery // nil for none
	Log         *slog.Logger  // nil discards
}

// EventLog is the log of an event hub.
type EventLog interface {
	eventlog.Log
	// Configure changes what may be changed while it is open.
	Configure(c EventHubConfig)
}

// Set is the custom endpoints of one hub. It is safe for concurrent use.
type Set struct {
	o                     Options
	waiting, waitingBytes *prometheus.Desc

	changes sync.Mutex // held by Apply, Prune and Close

	mu       sync.RWMutex
	closed   bool
	delivery *delivery.Service // nil until it is needed
	hubs     map[string]*eventHub
	served   map[string]routing.EndpointSettings // by lower-case name
}

// New returns the endpoints of a hub, which are none until Apply.
func New(o Options) *Set {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	hub := prometheus.Labels{"hub": o.Hub}
	return &Set{
		o:            o,
		waiting:      prometheus.NewDesc("causeway_endpoint_waiting", "Messages that wait for an endpoint.", []string{"endpoint"}, hub),
		waitingBytes: prometheus.NewDesc("causeway_endpoint_waiting_bytes", "Bytes of the messages that wait for an endpoint.", []string{"endpoint"}, hub),
		hubs:         map[string]*eventHub{}, served: map[string]routing.EndpointSettings{},
	}
}

// Apply makes the endpoints of s that are not there, and changes those that are
// other than they were. One that cannot be made is told of in the log, and by
// Endpoint. It is called before routes lead to them.
func (s *Set) Apply(ctx context.Context, settings *routing.Settings) {
	s.changes.Lock()
	defer s.changes.Unlock()
	if settings == nil {
		return
	}
	for _, e := range settings.Endpoints {
		key := strings.ToLower(e.Name)
		s.mu.RLock()
		was, ok := s.served[key]
		closed := s.closed
		s.mu.RUnlock()
		if closed {
			return
		}
		if ok && reflect.DeepEqual(was, e) {
			continue
		}
		if ok && (was.Kind == EventHub) != (e.Kind == EventHub) {
			s.remove(key)
		}
		if err := s.make(ctx, key, e); err != nil {
			s.o.Log.Error("an endpoint cannot be made", obs.KeyHub, s.o.Hub, obs.KeyEndpoint, e.Name, obs.KeyError, err)
			continue
		}
		s.mu.Lock()
		s.served[key] = e
		s.mu.Unlock()
	}
}

// make makes or changes one endpoint.
func (s *Set) make(ctx context.Context, key string, e routing.EndpointSettings) error {
	if e.Kind == EventHub {
		return s.makeHub(key, e)
	}
	d, err := s.open()
	if err != nil {
		return err
	}
	queue, own, err := split(e.Config)
	if err != nil {
		return err
	}
	sink, err := s.o.Sinks.Open(e.Kind, own, e.Secrets, s.o.Env(e.Name))
	if err != nil {
		// Messages wait until it can be opened: that its settings make sense was
		// checked, so it may be after a change of the server.
		s.o.Log.Error("an endpoint cannot be opened; messages wait for it", obs.KeyHub, s.o.Hub, obs.KeyEndpoint, e.Name, obs.KeyError, err)
		sink = broken{err}
	}
	_, err = d.Set(ctx, e.Name, sink, queue.policy())
	return err
}

func (s *Set) makeHub(key string, e routing.EndpointSettings) error {
	c, err := plugin.Decode[EventHubConfig](e.Config)
	if err != nil {
		return err
	}
	s.mu.RLock()
	h := s.hubs[key]
	s.mu.RUnlock()
	if h != nil {
		h.log.Configure(c)
		return nil
	}
	log, err := s.o.EventHub(key, c)
	if err != nil {
		return fmt.Errorf("open event hub: %w", err)
	}
	s.mu.Lock()
	s.hubs[key] = &eventHub{name: e.Name, log: log}
	s.mu.Unlock()
	return nil
}

// open opens what all queues share.
func (s *Set) open() (*delivery.Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, causeway.Errorf(causeway.ServiceUnavailable, "endpoint.open", "the hub is shutting down")
	}
	if s.delivery != nil {
		return s.delivery, nil
	}
	log, err := s.o.DeadLetters()
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	d, err := delivery.New(delivery.Options{
		Hub: s.o.Hub, Queue: s.o.Queue, Remove: s.o.Remove, DeadLetters: log, Metrics: s.o.Metrics, Log: s.o.Log,
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s.delivery = d
	return d, nil
}

// Prune removes the endpoints that are not in settings, with what waits for them.
// It is called when no route leads to them any more.
func (s *Set) Prune(settings *routing.Settings) {
	s.changes.Lock()
	defer s.changes.Unlock()
	wanted := map[string]bool{}
	if settings != nil {
		for _, e := range settings.Endpoints {
			wanted[strings.ToLower(e.Name)] = true
		}
	}
	s.mu.RLock()
	var gone []string
	for key := range s.served {
		if !wanted[key] {
			gone = append(gone, key)
		}
	}
	s.mu.RUnlock()
	for _, key := range gone {
		s.remove(key)
	}
}

// remove removes one endpoint. The caller holds changes.
func (s *Set) remove(key string) {
	s.mu.Lock()
	h, d := s.hubs[key], s.delivery
	delete(s.hubs, key)
	delete(s.served, key)
	s.mu.Unlock()
	var err error
	if h != nil {
		err = errors.Join(h.log.Close(), s.o.Remove(key))
	} else if d != nil {
		err = d.Remove(key)
	}
	if err != nil {
		s.o.Log.Error("an endpoint was not removed as a whole", obs.KeyHub, s.o.Hub, obs.KeyEndpoint, key, obs.KeyError, err)
	}
}

// Endpoint returns an endpoint for routes.
func (s *Set) Endpoint(name string) (routing.Endpoint, bool) {
	key := strings.ToLower(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.hubs[key]; h != nil {
		return h, true
	}
	if s.delivery == nil {
		return nil, false
	}
	q, ok := s.delivery.Queue(key)
	return q, ok
}

// EventHub returns the log of an endpoint that is an event hub.
func (s *Set) EventHub(name string) (eventlog.Log, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := s.hubs[strings.ToLower(name)]
	if h == nil {
		return nil, false
	}
	return h.log, true
}

// Status returns how the endpoints fare, by name. An event hub takes what it is
// sent or refuses it, at once.
func (s *Set) Status() []delivery.Status {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []delivery.Status
	if s.delivery != nil {
		all = s.delivery.Status()
	}
	for _, h := range s.hubs {
		all = append(all, h.status())
	}
	slices.SortFunc(all, func(a, b delivery.Status) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return all
}

// DeadLetters, Replay and Purge are those of [delivery.Service].

// DeadLetters returns a page of dead letters.
func (s *Set) DeadLetters(ctx context.Context, endpoint string, from int64, limit int) (page []delivery.DeadLetter, next int64, last bool, err error) {
	d, err := s.open()
	if err != nil {
		return nil, 0, true, err
	}
	return d.DeadLetters(ctx, endpoint, from, limit)
}

// Replay puts dead letters back into the queue of an endpoint.
func (s *Set) Replay(ctx context.Context, endpoint string) (int, error) {
	d, err := s.open()
	if err != nil {
		return 0, err
	}
	return d.Replay(ctx, endpoint)
}

// Purge forgets dead letters.
func (s *Set) Purge(ctx context.Context, endpoint string) error {
	d, err := s.open()
	if err != nil {
		return err
	}
	return d.Purge(ctx, endpoint)
}

var _ prometheus.Collector = (*Set)(nil)

// Describe describes what is collected.
func (s *Set) Describe(to chan<- *prometheus.Desc) {
	to <- s.waiting
	to <- s.waitingBytes
}

// Collect collects what waits for endpoints.
func (s *Set) Collect(to chan<- prometheus.Metric) {
	s.mu.RLock()
	d := s.delivery
	s.mu.RUnlock()
	if d == nil {
		return
	}
	for _, st := range d.Status() {
		to <- prometheus.MustNewConstMetric(s.waiting, prometheus.GaugeValue, float64(st.Waiting), st.Name)
		to <- prometheus.MustNewConstMetric(s.waitingBytes, prometheus.GaugeValue, float64(st.WaitingBytes), st.Name)
	}
}

// Close closes all endpoints. What waits for them goes on after a restart.
func (s *Set) Close() error {
	s.changes.Lock()
	defer s.changes.Unlock()
	s.mu.Lock()
	d, hubs := s.delivery, s.hubs
	s.closed, s.delivery, s.hubs = true, nil, map[string]*eventHub{}
	s.mu.Unlock()
	var errs []error
	if d != nil {
		errs = append(errs, d.Close())
	}
	for _, h := range hubs {
		errs = append(errs, h.log.Close())
	}
	return errors.Join(errs...)
}

// broken is the sink of an endpoint that cannot be opened.
type broken struct{ err error }

func (b broken) Send(context.Context, []causeway.Message) error {
	return fmt.Errorf("the endpoint cannot be opened: %w", b.err)
}

func (broken) Close() error { return nil }
