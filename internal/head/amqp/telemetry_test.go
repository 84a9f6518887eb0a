package amqp_test

import (
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

func TestTelemetry(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open(w.dev1)
		s := c.out(hubamqp.KindTelemetry, w.dev1)
		c.telemetry(s, "one")
		c.telemetry(s, "two")
		if got := w.stored("dev1"); got != "one,two" {
			t.Errorf("stored %q", got)
		}
		if !w.hub.Connected(t, w.dev1) {
			t.Error("not connected")
		}
		c.close()
		synctest.Wait()
		if w.hub.Connected(t, w.dev1) {
			t.Error("still connected")
		}
	})
}
