package mqtt_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

// TestSlowClient does not read what it is sent: the hub is not held up, and
// the client is disconnected.
func TestSlowClient(t *testing.T) {
	withLimits(t, mqtt.Limits{Outbound: 64 << 10}, func(t *testing.T, w *world) {
		w.net.Buffer = 16 << 10
		c := w.connect(w.dev1, func(p *wire.Connect) { p.KeepAlive = 0 })
		c.subscribe(0, desiredFilter)
		dev := w.tap.Device(causeway.Identity{Hub: "hub", Device: "dev1"})
		begin := time.Now()
		body := []byte(`{"x":"` + strings.Repeat("y", 8<<10) + `"}`)
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err = dev.Desired(ctx, causeway.Patch{Properties: body, Version: 1})
			cancel()
		}
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 6*time.Second || n > 20 {
			t.Fatalf("after %d changes and %v: %v", n, time.Since(begin), err)
		}
		time.Sleep(40 * time.Second) //nolint:forbidigo // simulated time
		synctest.Wait()
		if w.refused(mqtt.ReasonSlow) != 1 || w.hub.Connected(t, w.dev1.Identity) {
			t.Error("the client is still connected")
		}
		hubtest.WantCode(t, dev.Desired(t.Context(), causeway.Patch{Properties: body, Version: 2}), causeway.DeviceConnectionClosedRemotely)
	})
}

// TestClientThatOnlyWrites sends without reading the acknowledgements.
func TestClientThatOnlyWrites(t *testing.T) {
	withLimits(t, mqtt.Limits{}, func(t *testing.T, w *world) {
		w.net.Buffer = 1 << 10
		c := w.connect(w.dev1)
		_ = c.nc.SetWriteDeadline(time.Now().Add(5 * time.Minute))
		begin := time.Now()
		for {
			p := wirePublish(c.events(""), 1, 1, "x")
			if _, err := c.nc.Write([]byte(p)); err != nil {
				break
			}
		}
		if d := time.Since(begin); d < 29*time.Second || d > 33*time.Second {
			t.Errorf("disconnected after %v", d)
		}
	})
}

// TestStop shows that what was begun is finished and acknowledged.
func TestStop(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.hub.OnSend = func(_ context.Context, id causeway.Identity, _ []causeway.Message) error {
			if id.Device == "dev1" {
				<-release
			}
			return nil
		}
		w.hub.OnReport = func(context.Context, causeway.Identity, causeway.Patch) error {
			<-release
			return nil
		}
		busy, twin, idle, half := w.connect(w.dev1), w.connect(w.dev2), w.connect(w.mod), w.dial()
		busy.send(pub(busy.events(""), "under way", 1))
		twin.subscribe(0, twinFilter)
		twin.send(pub("$iothub/twin/PATCH/properties/reported/?$rid=1", `{}`, 0))
		synctest.Wait()
		w.stop()
		idle.closed()
		half.closed()
		time.AfterFunc(3*time.Second, func() { close(release) })
		busy.acked(1)
		busy.closed()
		expect[*wire.Publish](twin)
		twin.closed()
		if got := w.telemetry(); len(got) != 1 {
			t.Errorf("stored %q", got)
		}
	})
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hub.OnSend = func(ctx context.Context, _ causeway.Identity, _ []causeway.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}
		c := w.connect(w.dev1)
		c.send(pub(c.events(""), "stuck", 1))
		synctest.Wait()
		begin := time.Now()
		w.restart()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("stopped after %v", d)
		}
		c.closed()
	})
}
