// Package dpssim registers many simulated devices with a provisioning service, as
// a factory's output does on the morning it is switched on, and counts what comes
// of it.
//
// It knows the Go SDK and nothing of command lines.
package dpssim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// Bounds of a simulation.
const (
	MaxDevices = 100_000
	MaxReasons = 20 // kinds of failures that are told apart
	sendTime   = 30 * time.Second
	watchEvery = 200 * time.Millisecond // memory
)

// Options say what the devices do.
type Options struct {
	// Device returns how the i-th device, from 0, proves who it is.
	Device  func(i int) (client.ProvisioningOptions, error)
	Devices int
	AtOnce  int
	// Connect has each device connect to its hub, by the transport it has asked by
	// unless that was HTTPS, and send one message.
	Connect bool
	// Assigned is told of each device; nil for nobody. It must not block.
	Assigned func(a client.Assignment)
	// Step is called after each device. Nil is for nobody.
	Step func()
}

// Result is what came of it. Times are in milliseconds.
type Result struct {
	Devices  int     `json:"devices"`
	AtOnce   int     `json:"atOnce"`
	Assigned int     `json:"assigned"`
	Sent     int     `json:"sent"`
	Failed   int     `json:"failed"`
	Seconds  float64 `json:"seconds"`
	// Rate is assigned devices in a second.
	Rate float64 `json:"perSecond"`
	// Took is from a device's first request until it knew its hub; Served is
	// that without the pauses that the service asked for.
	Took   Spread `json:"took"`
	Served Spread `json:"served"`
	// Hubs counts the devices by hub.
	Hubs map[string]int `json:"hubs"`
	// Reasons counts failures by what they were.
	Reasons map[string]int `json:"reasons,omitempty"`
	// Memory is the most that this process had, in bytes.
	Memory uint64 `json:"memoryBytes"`
}

// Spread is a distribution of times in milliseconds.
type Spread struct {
	P50 float64 `json:"p50ms"`
	P99 float64 `json:"p99ms"`
	Max float64 `json:"maxms"`
}

// run is a simulation under way.
type run struct {
	o    Options
	next atomic.Int64

	mu           sync.Mutex
	r            Result
	took, served []time.Duration
}

// Run registers the devices. It fails only when nothing could begin, or when ctx
// ends; what went wrong with devices is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	if o.Device == nil || o.Devices < 1 || o.Devices > MaxDevices || o.AtOnce < 1 {
		return Result{}, fmt.Errorf("simulation: from 1 to %d devices register, at least one at once", MaxDevices)
	}
	s := &run{o: o, r: Result{Devices: o.Devices, AtOnce: min(o.AtOnce, o.Devices), Hubs: map[string]int{}, Reasons: map[string]int{}}}
	watching, stop := context.WithCancel(ctx)
	var watch, all sync.WaitGroup
	watch.Go(func() { s.watch(watching) })
	began := time.Now()
	for range s.r.AtOnce {
		all.Go(func() { s.work(ctx) })
	}
	all.Wait()
	took := time.Since(began)
	stop()
	watch.Wait()
	s.r.Seconds = took.Seconds()
	s.r.Rate = float64(s.r.Assigned) / took.Seconds()
	s.r.Took, s.r.Served = spread(s.took), spread(s.served)
	return s.r, ctx.Err()
}

// work registers one device after the other until there are no more.
func (s *run) work(ctx context.Context) {
	for ctx.Err() == nil {
		i := int(s.next.Add(1)) - 1
		if i >= s.o.Devices {
			return
		}
		s.note(s.device(ctx, i))
		if s.o.Step != nil {
			s.o.Step()
		}
	}
}

// device lets one device live.
func (s *run) device(ctx context.Context, i int) error {
	o, err := s.o.Device(i)
	if err != nil {
		return err
	}
	began := time.Now()
	a, err := client.Provision(ctx, o)
	if err != nil {
		return err
	}
	took := time.Since(began)
	s.mu.Lock()
	s.r.Assigned++
	s.r.Hubs[a.Hub]++
	s.took, s.served = append(s.took, took), append(s.served, took-a.Waited)
	s.mu.Unlock()
	if s.o.Assigned != nil {
		s.o.Assigned(a)
	}
	if !s.o.Connect {
		return nil
	}
	if err := s.send(ctx, a.Device); err != nil {
		return err
	}
	s.mu.Lock()
	s.r.Sent++
	s.mu.Unlock()
	return nil
}

// send connects a device to its hub and has one message acknowledged.
func (s *run) send(ctx context.Context, o client.DeviceOptions) (err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	d, err := client.Connect(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Send(ctx, &causeway.Message{Body: []byte(`{"hello":"world"}`), ContentType: "application/json", ContentEncoding: "utf-8"})
}

// note counts a failure; nil is none.
func (s *run) note(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.r.Failed++
	why := reason(err)
	if _, known := s.r.Reasons[why]; !known && len(s.r.Reasons) >= MaxReasons {
		why = "other"
	}
	s.r.Reasons[why]++
}

// reason says what an error is in words that do not name the device, so that
// errors can be counted.
func reason(err error) string {
	if e, ok := errors.AsType[*causeway.Error](err); ok {
		return fmt.Sprintf("%d %s", int(e.Code), e.Msg)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		err = e
	}
	return err.Error()
}

// watch keeps the most memory that the process had.
func (s *run) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for {
		metrics.Read(sample)
		now := sample[0].Value.Uint64() - sample[1].Value.Uint64()
		s.mu.Lock()
		s.r.Memory = max(s.r.Memory, now)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func spread(d []time.Duration) Spread {
	if len(d) == 0 {
		return Spread{}
	}
	slices.SortFunc(d, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	at := func(q float64) float64 { return d[min(int(q*float64(len(d))), len(d)-1)].Seconds() * 1000 }
	return Spread{P50: at(.5), P99: at(.99), Max: at(1)}
}
