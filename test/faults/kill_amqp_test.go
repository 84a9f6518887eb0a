package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// conditionIn returns the name of the condition in an error of our engine.
func conditionIn(err error) string {
	if c, ok := errors.AsType[*codec.Condition](err); ok {
		return c.Name
	}
	return ""
}

// amqpInFlight is how many messages a device has under way.
const amqpInFlight = 10

// pipeliner sends 0, 1, 2, … over AMQP with many in flight, and after a broken
// connection goes on with the first that was not acknowledged. Bodies say which
// attempt of the device they are of.
type pipeliner struct {
	d       identity
	attempt int
	acked   atomic.Int64
	refused atomic.Int64
	why     atomic.Value
}

func (s *pipeliner) publish(ctx context.Context, o outlet) {
	s.attempt++
	next := s.acked.Load()
	var window []func(context.Context) error
	for ctx.Err() == nil {
		for len(window) < amqpInFlight {
			wait, err := o.send(ctx, causeway.Message{Body: fmt.Appendf(nil, "%d/%d", s.attempt, next)})
			if err != nil {
				return
			}
			window = append(window, wait)
			next++
		}
		wctx, cancel := context.WithTimeout(ctx, amqpWait)
		err := window[0](wctx)
		cancel()
		if errors.Is(err, errRefused) {
			s.refused.Add(1)
			s.why.Store(err.Error())
		}
		if err != nil {
			return
		}
		window = window[1:]
		s.acked.Add(1)
	}
}

// overAzure has one device on a connection of go-amqp.
func (s *pipeliner) overAzure(ctx context.Context, w *world) {
	for ctx.Err() == nil {
		if a, err := w.azure(ctx, "localhost/devices/"+s.d.id, s.d.token()); err == nil {
			if o, err := a.telemetryOf(ctx, s.d); err == nil {
				s.publish(ctx, o)
			}
			_ = a.Close()
		}
		pause(ctx)
	}
}

// overEngine has devices on one connection of our engine.
func overEngine(ctx context.Context, w *world, all []*pipeliner) {
	devices := make([]identity, len(all))
	for i, s := range all {
		devices[i] = s.d
	}
	for ctx.Err() == nil {
		if p, err := w.engine(ctx, "", devices...); err == nil {
			var wg sync.WaitGroup
			for _, s := range all {
				if o, err := telemetryOf(ctx, p, s.d); err == nil {
					wg.Go(func() { s.publish(ctx, o) })
				}
			}
			wg.Wait()
			p.Cut()
		}
		pause(ctx)
	}
}

// stream is what is stored of one device.
type stream struct{ attempt, last, next int64 }

// take checks the order of a device's messages: within an attempt without a gap
// and without a repetition, and no attempt begins behind what is stored. plain
// is for messages of devices over MQTT, which do not tell their attempt.
func (s *stream) take(body string) error {
	var attempt, n int64
	if strings.Contains(body, "/") {
		if _, err := fmt.Sscanf(body, "%d/%d", &attempt, &n); err != nil {
			return fmt.Errorf("body %q: %w", body, err)
		}
		switch {
		case attempt < s.attempt:
			return fmt.Errorf("message %s comes after one of attempt %d", body, s.attempt)
		case attempt == s.attempt && n != s.last+1:
			return fmt.Errorf("message %s comes after message %d of the same attempt", body, s.last)
		}
		s.attempt, s.last = attempt, n
	} else if _, err := fmt.Sscan(body, &n); err != nil {
		return fmt.Errorf("body %q: %w", body, err)
	}
	if n > s.next {
		return fmt.Errorf("message %s is stored before message %d", body, s.next)
	}
	s.next = max(s.next, n+1)
	return nil
}

// TestKillUnderAMQPLoad kills the server again and again, and now and then stops
// it in order, while 50 devices over AMQP, and some over MQTT beside, send as
// fast as they can, and consumers read every partition from their checkpoints. What was acknowledged is read, in the
// order in which each device sent it, and twice only what was sent twice;
// sequence numbers have no gaps.
func TestKillUnderAMQPLoad(t *testing.T) {
	t.Parallel()
	const overAzure, alone, together, mqtt = 30, 10, 10, 5
	kills := rounds(8)
	w := newWorld(t, t.TempDir())
	owner := w.ownerToken(t)
	ctx, cancel := context.WithCancel(t.Context())
	var devices, readers sync.WaitGroup
	rctx, stopReaders := context.WithCancel(t.Context())
	defer readers.Wait()
	defer stopReaders()
	defer devices.Wait()
	defer cancel()

	var mu sync.Mutex
	streams := map[string]*stream{}
	var all []*pipeliner
	for i := range overAzure + alone + together {
		s := &pipeliner{d: w.createDevice(t, fmt.Sprintf("amqp-%02d", i))}
		all, streams[s.d.id] = append(all, s), &stream{}
	}
	var beside []*sender
	for i := range mqtt {
		s := &sender{w: w, d: w.createDevice(t, fmt.Sprintf("mqtt-%02d", i))}
		beside, streams[s.d.id] = append(beside, s), &stream{}
	}
	var consumers []*reader
	for i := range causeway.DefaultPartitions {
		r := &reader{w: w, partition: i, own: i%2 == 1, take: func(e record) error {
			mu.Lock()
			defer mu.Unlock()
			s := streams[e.device]
			if s == nil {
				return fmt.Errorf("it is of device %q", e.device)
			}
			if err := s.take(e.body); err != nil {
				return fmt.Errorf("%s: %w", e.device, err)
			}
			return nil
		}}
		consumers = append(consumers, r)
		readers.Go(func() { r.run(rctx, owner) })
	}
	for _, s := range all[:overAzure] {
		devices.Go(func() { s.overAzure(ctx, w) })
	}
	for _, s := range all[overAzure : overAzure+alone] {
		devices.Go(func() { overEngine(ctx, w, []*pipeliner{s}) })
	}
	devices.Go(func() { overEngine(ctx, w, all[overAzure+alone:]) })
	for _, s := range beside {
		devices.Go(func() { s.run(ctx) })
	}

	acked := func() (n int64) {
		for _, s := range all {
			n += s.acked.Load()
		}
		return n
	}
	read := func() (n int) {
		for _, r := range consumers {
			if err := r.fault(); err != nil {
				t.Fatal(err)
			}
			n += r.count()
		}
		return n
	}
	var slowest time.Duration
	for round := range kills {
		had := make([]int64, len(all))
		for i, s := range all {
			had[i] = s.acked.Load()
		}
		seen := read() + 1000
		eventually(t, fmt.Sprintf("round %d: each device has sent and 1000 messages are read", round), func() bool {
			for i, s := range all {
				if s.acked.Load() < had[i]+amqpInFlight {
					return false
				}
			}
			return read() >= seen
		})
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) // a random point of the load
		start := time.Now()
		kctx, stop := context.WithTimeout(ctx, patience)
		var err error
		if round%4 == 3 { // in order, for a change
			err = errors.Join(w.Stop(), w.Start(kctx))
		} else {
			err = w.Restart(kctx)
		}
		stop()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		slowest = max(slowest, time.Since(start))
	}
	cancel()
	devices.Wait()
	eventually(t, "everything acknowledged is read", func() bool {
		read() // fails the test when something is wrong
		mu.Lock()
		defer mu.Unlock()
		for _, s := range all {
			if streams[s.d.id].next < s.acked.Load() {
				return false
			}
		}
		for _, s := range beside {
			if streams[s.d.id].next < s.acked.Load() {
				return false
			}
		}
		return true
	})
	stopReaders()
	readers.Wait()
	t.Logf("%d messages acknowledged over AMQP, %d events read over %d kills, slowest restart %v", acked(), read(), kills, slowest)
	for _, s := range all {
		if n := s.refused.Load(); n > 0 {
			t.Errorf("%s: %d messages were refused: %v", s.d.id, n, s.why.Load())
		}
		if s.acked.Load() == 0 {
			t.Errorf("%s sent nothing", s.d.id)
		}
	}

	// Who reads everything once more gets the same.
	again, stopAgain := context.WithTimeout(t.Context(), patience)
	defer stopAgain()
	var wg sync.WaitGroup
	for _, r := range consumers {
		second := &reader{w: w, partition: r.partition, own: true}
		done, stop := context.WithCancel(again)
		second.take = func(e record) error {
			if int(e.sequence) >= len(r.all) {
				stop()
				return nil
			}
			if r.all[e.sequence] != e {
				return fmt.Errorf("it is %+v, and was %+v", e, r.all[e.sequence])
			}
			if int(e.sequence) == len(r.all)-1 {
				stop()
			}
			return nil
		}
		wg.Go(func() {
			second.run(done, owner)
			stop()
			if err := second.fault(); err != nil {
				t.Error(err)
			}
			if second.count() < len(r.all) {
				t.Errorf("partition %d: %d events the second time, %d the first", r.partition, second.count(), len(r.all))
			}
		})
	}
	wg.Wait()
}
