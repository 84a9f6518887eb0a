// Package sim runs simulated devices: they connect as real ones do, send
// telemetry of a chosen shape, answer direct methods, take commands and keep a
// twin.
//
// It knows the Go SDK and nothing of command lines.
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// Bounds of a simulation.
const (
	MaxDevices  = 20_000
	MinInterval = time.Millisecond // between messages of one device
	MaxInterval = 24 * time.Hour
	dialing     = 32               // devices that connect at once
	drainTime   = 10 * time.Second // for the last acknowledgements
	commandsLog = 256              // bytes of a command that are shown
)

// Options say what the devices do.
type Options struct {
	Shape    *Shape
	Interval time.Duration // between messages of one device
	Jitter   float64       // share of the interval that it varies by, 0 to 1
	QoS      int
	Duration time.Duration // 0 is until the context ends
	Max      int           // messages of each device; 0 is no bound
	Twin     bool          // report properties, follow desired ones
	Log      *slog.Logger  // nil is silent
	// Heard is told what the hub asked of a device: a command, a method, a
	// desired change. Nil for nobody.
	Heard func(device, what string)
}

// Counts are what the devices have done so far. They are updated while the
// simulation runs.
type Counts struct {
	Connected atomic.Int64
	Sent      atomic.Int64
	Acked     atomic.Int64
	Failed    atomic.Int64
	Methods   atomic.Int64
	Commands  atomic.Int64
}

// Run connects the devices and lets them live until ctx ends or the duration
// is over. up is called after each that has connected.
func Run(ctx context.Context, devices []client.DeviceOptions, o Options, c *Counts, up func()) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Interval = max(o.Interval, MinInterval)
	life, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var wg sync.WaitGroup
	slots := make(chan struct{}, dialing)
	begin := make(chan struct{}) // closed when all are connected: the duration counts from here
	var connecting sync.WaitGroup
	for _, d := range devices {
		connecting.Add(1)
		wg.Go(func() {
			slots <- struct{}{}
			s := newSimulated(d, o, c)
			err := s.connect(life)
			<-slots
			connecting.Done()
			if err != nil {
				cancel(err)
				return
			}
			if up != nil {
				up()
			}
			defer s.close()
			select {
			case <-begin:
			case <-life.Done():
				return
			}
			if err := s.live(life); err != nil {
				cancel(err)
			}
		})
	}
	connecting.Wait()
	if o.Duration > 0 {
		t := time.AfterFunc(o.Duration, func() { cancel(errOver) })
		defer t.Stop()
	}
	close(begin)
	wg.Wait()
	err := context.Cause(life)
	if errors.Is(err, errOver) || ctx.Err() != nil {
		return nil
	}
	return err
}

var errOver = errors.New("the time is over")

// simulated is one device.
type simulated struct {
	o        Options
	c        *Counts
	opts     client.DeviceOptions
	d        *client.Device
	shape    *Generator
	interval atomic.Int64 // nanoseconds; the twin may change it
	changed  chan struct{}
}

func newSimulated(opts client.DeviceOptions, o Options, c *Counts) *simulated {
	s := &simulated{o: o, c: c, opts: opts, changed: make(chan struct{}, 1)}
	s.interval.Store(int64(o.Interval))
	s.opts.Log = o.Log
	s.opts.Methods = s.method
	s.opts.Commands = s.command
	s.opts.Online = func(err error) {
		if err == nil {
			c.Connected.Add(1)
		} else {
			c.Connected.Add(-1)
		}
	}
	if o.Twin {
		s.opts.Desired = s.desired
	}
	return s
}

func (s *simulated) connect(ctx context.Context) (err error) {
	if s.d, err = client.Connect(ctx, s.opts); err != nil {
		return err
	}
	s.shape = s.o.Shape.Generator(s.d.Identity().String())
	return nil
}

func (s *simulated) close() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := s.d.Flush(ctx); err != nil {
		s.o.Log.Warn("messages were not acknowledged", "device", s.d.Identity().String(), "error", err)
	}
	if s.d.Connected() {
		s.c.Connected.Add(-1)
	}
	if err := s.d.Close(); err != nil {
		s.o.Log.Warn("close", "device", s.d.Identity().String(), "error", err)
	}
}

// live sends until ctx ends.
func (s *simulated) live(ctx context.Context) error {
	if s.o.Twin {
		if err := s.report(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("cannot report", "device", s.d.Identity().String(), "error", err)
		}
	}
	// The first message comes at once when there is one device, and at a
	// random moment of the first interval otherwise: a fleet that sends in
	// step is a load of its own kind.
	next := time.Now()
	if s.o.Jitter > 0 {
		next = next.Add(time.Duration(s.o.Jitter * rand.Float64() * float64(s.o.Interval)))
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	for sent := 0; s.o.Max == 0 || sent < s.o.Max; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			next = time.Now()
			timer.Reset(0)
			continue
		case <-timer.C:
		}
		if err := s.send(ctx); err != nil {
			return err
		}
		sent++
		step := time.Duration(s.interval.Load())
		if s.o.Jitter > 0 {
			step += time.Duration(s.o.Jitter * (rand.Float64() - .5) * float64(step))
		}
		// Counted from when it should have been, so that the rate holds; a
		// device that fell behind does not make up for it in a burst.
		if next = next.Add(step); time.Until(next) < 0 {
			next = time.Now()
		}
		timer.Reset(time.Until(next))
	}
	return nil
}

func (s *simulated) send(ctx context.Context) error {
	m := s.shape.Next(time.Now())
	s.c.Sent.Add(1)
	if s.o.QoS == 0 {
		if err := s.d.Post(ctx, m); err != nil {
			s.c.Failed.Add(1) // offline: QoS 0 means that it is lost
		}
		return nil
	}
	err := s.d.SendAsync(ctx, m, func(err error) {
		if err != nil {
			s.c.Failed.Add(1)
		} else {
			s.c.Acked.Add(1)
		}
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", s.d.Identity(), err)
	}
	return nil
}

// report tells the twin what the device is.
func (s *simulated) report(ctx context.Context) error {
	b, err := json.Marshal(map[string]any{
		"simulator":         s.o.Shape.Name,
		"telemetryInterval": time.Duration(s.interval.Load()).Seconds(),
		"started":           time.Now().UTC().Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	_, err = s.d.Report(ctx, b)
	return err
}

// desired follows telemetryInterval, in seconds.
func (s *simulated) desired(ctx context.Context, p causeway.Patch) {
	var want struct{ TelemetryInterval *float64 }
	if err := json.Unmarshal(p.Properties, &want); err != nil || want.TelemetryInterval == nil {
		return
	}
	d := time.Duration(*want.TelemetryInterval * float64(time.Second))
	if d < MinInterval || d > MaxInterval {
		return
	}
	if s.interval.Swap(int64(d)) == int64(d) {
		return
	}
	s.heard(fmt.Sprintf("desired telemetryInterval %v", d))
	select {
	case s.changed <- struct{}{}:
	default:
	}
	b := fmt.Appendf(nil, `{"telemetryInterval":%v}`, *want.TelemetryInterval)
	if _, err := s.d.Report(ctx, b); err != nil && ctx.Err() == nil {
		s.o.Log.Warn("cannot report", "device", s.d.Identity().String(), "error", err)
	}
}

func (s *simulated) heard(what string) {
	if s.o.Heard != nil {
		s.o.Heard(s.opts.DeviceName(), what)
	}
}

// method answers direct methods: ping and echo return what they got, reboot
// says yes, fail says 500, anything else is 404.
func (s *simulated) method(_ context.Context, call causeway.Call) (causeway.Result, error) {
	s.c.Methods.Add(1)
	s.heard("method " + call.Method)
	switch call.Method {
	case "ping", "echo":
		return causeway.Result{Status: 200, Payload: call.Payload}, nil
	case "reboot":
		return causeway.Result{Status: 200, Payload: []byte(`{"rebooting":true}`)}, nil
	case "fail":
		return causeway.Result{}, errors.New("this method always fails")
	}
	b, err := json.Marshal(map[string]string{"message": "no method " + call.Method + "; there are ping, echo, reboot, fail"})
	return causeway.Result{Status: 404, Payload: b}, err
}

func (s *simulated) command(_ context.Context, m *causeway.Message) error {
	s.c.Commands.Add(1)
	s.heard("command " + string(m.Body[:min(len(m.Body), commandsLog)]))
	return nil
}
