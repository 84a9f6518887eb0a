package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// sender publishes 0, 1, 2, … at QoS 1 with ten in flight, and after a broken
// connection goes on with the first that was not acknowledged, as a device with
// a store-and-forward queue would.
type sender struct {
	w     *world
	d     identity
	acked atomic.Int64 // messages 0 … acked-1 are acknowledged

	reported   atomic.Int64 // last acknowledged reported property "n", 0 for none
	attempted  atomic.Int64 // last one sent
	twinErrors atomic.Int64
}

const inFlight = 10

func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		answers := make(chan string, 64)
		c, err := s.w.dial(s.d, func(_ paho.Client, m paho.Message) {
			select {
			case answers <- m.Topic():
			default:
			}
		})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.report(ctx, c, answers) })
		s.publish(ctx, c)
		c.Disconnect(0)
		wg.Wait()
	}
}

func (s *sender) publish(ctx context.Context, c paho.Client) {
	topic := "devices/" + s.d.id + "/messages/events/"
	var window []paho.Token
	next := s.acked.Load()
	for ctx.Err() == nil {
		for len(window) < inFlight {
			window = append(window, c.Publish(topic, 1, false, fmt.Sprintf("%d", next)))
			next++
		}
		if !window[0].WaitTimeout(10*time.Second) || window[0].Error() != nil {
			return
		}
		window = window[1:]
		s.acked.Add(1)
	}
}

// report patches the reported property "n", one at a time, and remembers what
// was acknowledged.
func (s *sender) report(ctx context.Context, c paho.Client, answers <-chan string) {
	sub := c.Subscribe("$iothub/twin/res/#", 0, nil)
	if !sub.WaitTimeout(10*time.Second) || sub.Error() != nil {
		return
	}
	for ctx.Err() == nil {
		n := s.attempted.Add(1)
		rid := fmt.Sprint(n)
		pub := c.Publish("$iothub/twin/PATCH/properties/reported/?$rid="+rid, 0, false, fmt.Sprintf(`{"n":%d}`, n))
		if !pub.WaitTimeout(10*time.Second) || pub.Error() != nil {
			return
		}
		for answered := false; !answered; {
			select {
			case topic := <-answers:
				var status int
				var got string
				if _, err := fmt.Sscanf(topic, "$iothub/twin/res/%d/?$rid=%s", &status, &got); err != nil {
					s.twinErrors.Add(1)
					return
				}
				if status != 204 {
					s.twinErrors.Add(1)
					return
				}
				answered = true
				s.reported.Store(n)
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
				if !c.IsConnectionOpen() {
					return
				}
			}
		}
	}
}

// TestKillUnderLoad kills the server again and again while 50 devices publish at QoS 1
// and report, and devices are created. Everything acknowledged must be there:
// telemetry in the order it was sent, reported properties, registrations.
func TestKillUnderLoad(t *testing.T) {
	t.Parallel()
	const devices = 50
	kills := rounds(20)
	w := newWorld(t, t.TempDir())
	senders := make([]*sender, devices)
	for i := range senders {
		senders[i] = &sender{w: w, d: w.createDevice(t, fmt.Sprintf("load-%02d", i))}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, s := range senders {
		wg.Go(func() { s.run(ctx) })
	}
	total := func() (n int64) {
		for _, s := range senders {
			n += s.acked.Load()
		}
		return n
	}
	var registered []string
	register := func(round int) {
		for i := range 3 {
			id := fmt.Sprintf("new-%d-%d", round, i)
			if status, _, err := w.rest(t, "PUT", "/devices/"+id, map[string]any{"deviceId": id}); err == nil && status == 200 {
				registered = append(registered, id)
			}
		}
	}
	var slowest time.Duration
	for round := range kills {
		before := total()
		deadline := time.Now().Add(patience)
		for total() < before+1000 {
			if time.Now().After(deadline) {
				t.Fatalf("round %d: only %d messages acknowledged in time", round, total()-before)
			}
			<-time.After(time.Millisecond) // the load decides when; there is nothing to wait on
		}
		register(round)
		<-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) // a random point of the load
		start := time.Now()
		rctx, stop := context.WithTimeout(ctx, patience)
		if err := w.Restart(rctx); err != nil {
			stop()
			t.Fatalf("round %d: %v", round, err)
		}
		stop()
		slowest = max(slowest, time.Since(start))
	}
	cancel()
	wg.Wait()
	t.Logf("%d messages acknowledged over %d kills, slowest restart %v", total(), kills, slowest)

	// Telemetry: for each device the first appearances are 0, 1, 2, … without
	// a gap up to the last acknowledged one.
	next := make(map[string]int64, devices)
	want := make(map[string]int64, devices)
	missing := 0
	for _, s := range senders {
		if n := s.acked.Load(); n > 0 {
			want[s.d.id] = n
			missing++
		}
	}
	w.stored(t, func(e event) bool {
		var n int64
		if err := json.Unmarshal(e.Body, &n); err != nil {
			var text string
			if json.Unmarshal(e.Body, &text) != nil {
				t.Fatalf("body %s: %v", e.Body, err)
			}
			if _, err := fmt.Sscan(text, &n); err != nil {
				t.Fatalf("body %s: %v", e.Body, err)
			}
		}
		if n > next[e.DeviceID] {
			t.Fatalf("%s: message %d is stored before message %d", e.DeviceID, n, next[e.DeviceID])
		}
		if n == next[e.DeviceID] {
			next[e.DeviceID]++
			if next[e.DeviceID] == want[e.DeviceID] {
				missing--
			}
		}
		return missing > 0
	})
	for _, s := range senders {
		if got := next[s.d.id]; got < s.acked.Load() {
			t.Errorf("%s: %d messages acknowledged, %d stored", s.d.id, s.acked.Load(), got)
		}
		if n := s.twinErrors.Load(); n > 0 {
			t.Errorf("%s: %d reported patches refused", s.d.id, n)
		}
		status, body, err := w.rest(t, "GET", "/twins/"+s.d.id, nil)
		if err != nil || status != 200 {
			t.Fatalf("twin of %s: %d %v", s.d.id, status, err)
		}
		var twin struct {
			Properties struct {
				Reported struct {
					N       int64 `json:"n"`
					Version int64 `json:"$version"`
				}
			}
		}
		if err := json.Unmarshal(body, &twin); err != nil {
			t.Fatal(err)
		}
		if n := twin.Properties.Reported.N; n < s.reported.Load() || n > s.attempted.Load() {
			t.Errorf("%s: reported n is %d, acknowledged %d, attempted %d", s.d.id, n, s.reported.Load(), s.attempted.Load())
		}
	}
	if len(registered) < kills {
		t.Errorf("only %d devices could be registered under load", len(registered))
	}
	for _, id := range registered {
		if status, body, err := w.rest(t, "GET", "/devices/"+id, nil); err != nil || status != 200 {
			t.Errorf("%s was registered and is gone: %d %s %v", id, status, body, err)
		}
	}
}
