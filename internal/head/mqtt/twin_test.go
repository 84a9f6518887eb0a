package mqtt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
)

func TestDesired(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		w.hub.SetDesired(t, w.dev1.Identity, `{"a":0}`) // nobody listens
		c.subscribe(1, desiredFilter)
		v := w.hub.SetDesired(t, w.dev1.Identity, `{"a":1,"b":null}`)
		p := expect[*wire.Publish](c)
		if p.Topic != fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", v) || p.QoS != 0 {
			t.Errorf("notified %+v", p)
		}
		var body map[string]any
		if err := json.Unmarshal(p.Payload, &body); err != nil || body["a"] != 1.0 || body["b"] != nil || body["$version"] != float64(v) || len(body) != 3 {
			t.Errorf("body %s, %v", p.Payload, err)
		}
		for range 50 {
			w.hub.SetDesired(t, w.dev1.Identity, `{"a":1}`)
		}
		for i := range 50 {
			if p := expect[*wire.Publish](c); !strings.HasSuffix(p.Topic, fmt.Sprintf("=%d", v+1+int64(i))) {
				t.Fatalf("notification %d on %s", i, p.Topic)
			}
		}
		c.send(&wire.Unsubscribe{ID: 1, Filters: []string{desiredFilter}})
		expect[*wire.Unsuback](c)
		w.hub.SetDesired(t, w.dev1.Identity, `{"a":2}`)
		c.quiet(time.Second)
	})
}

func TestTwin(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		c.subscribe(0, twinFilter)
		w.hub.SetDesired(t, w.dev1.Identity, `{"interval":5}`)
		c.send(pub("$iothub/twin/GET/?$rid=42", " ", 7))
		c.acked(7) // before the answer
		p := expect[*wire.Publish](c)
		if p.Topic != "$iothub/twin/res/200/?$rid=42" || string(p.Payload) != `{"desired":{"$version":2,"interval":5},"reported":{"$version":1}}` || p.QoS != 0 {
			t.Errorf("twin %+v %s", p, p.Payload)
		}
		c.send(pub("$iothub/twin/PATCH/properties/reported/?$rid=a-b.c", `{"fw":"1.0"}`, 0))
		if p := expect[*wire.Publish](c); p.Topic != "$iothub/twin/res/204/?$rid=a-b.c&$version=2" || len(p.Payload) != 0 {
			t.Errorf("answer %+v", p)
		}
		if got, _ := w.hub.Reported(t, w.dev1.Identity); string(got) != `{"fw":"1.0"}` {
			t.Errorf("reported %s", got)
		}
		for _, e := range []struct {
			topic, body string
			status      int
			code        causeway.Code
		}{
			{"?$rid=1", `[]`, 400, causeway.DeserializationError},
			{"?$rid=1", `{"a.b":1}`, 400, causeway.ArgumentInvalid},
			{"?$rid=1&$version=9", `{}`, 412, causeway.PreconditionFailed},
		} {
			c.send(pub("$iothub/twin/PATCH/properties/reported/"+e.topic, e.body, 0))
			p := expect[*wire.Publish](c)
			var body struct {
				ErrorCode                         causeway.Code
				TrackingID, Message, TimestampUTC string
			}
			if err := json.Unmarshal(p.Payload, &body); err != nil {
				t.Fatalf("body %s: %v", p.Payload, err)
			}
			if p.Topic != fmt.Sprintf("$iothub/twin/res/%d/?$rid=1", e.status) || body.ErrorCode != e.code || body.Message == "" || body.TrackingID == "" {
				t.Errorf("answer %s %s", p.Topic, p.Payload)
			}
			if _, err := time.Parse(time.RFC3339Nano, body.TimestampUTC); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTwinPatchNobodyHears reports without a subscription to the answers, and
// without a request id: the properties are taken, and nothing is answered.
func TestTwinPatchNobodyHears(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect(w.dev1)
		reported := func(want string) {
			t.Helper()
			c.ping()
			synctest.Wait()
			if got, _ := w.hub.Reported(t, w.dev1.Identity); string(got) != want {
				t.Errorf("reported %s, want %s", got, want)
			}
		}
		const patch = "$iothub/twin/PATCH/properties/reported/"
		c.send(pub(patch+"?$rid=1", `{"a":1}`, 4))
		c.acked(4)
		reported(`{"a":1}`)
		c.send(pub(patch+"?$rid=1", `[]`, 0)) // refused, as silently
		c.subscribe(0, twinFilter)
		c.send(pub(patch, `{"b":2}`, 0))
		c.send(pub(patch+"?$version=3", `{"c":3}`, 0))
		reported(`{"a":1,"b":2,"c":3}`)
		c.send(pub(patch+"?$rid=2", `{"d":4}`, 0)) // the only one that is answered
		if p := expect[*wire.Publish](c); p.Topic != "$iothub/twin/res/204/?$rid=2&$version=5" {
			t.Errorf("answer %+v", p)
		}
	})
}

func TestTwinFailures(t *testing.T) {
	for status, err := range map[int]error{
		429: causeway.Errorf(causeway.ThrottlingException, "", "slow down"),
		503: causeway.Errorf(causeway.ServiceUnavailable, "", ""),
		500: errors.New("secret detail"),
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.hub.OnTwin = func(context.Context, causeway.Identity) error { return err }
				c := w.connect(w.dev1)
				c.subscribe(0, twinFilter)
				c.send(pub("$iothub/twin/GET/?$rid=1", "", 0))
				p := expect[*wire.Publish](c)
				if p.Topic != fmt.Sprintf("$iothub/twin/res/%d/?$rid=1", status) || strings.Contains(string(p.Payload), "secret") {
					t.Errorf("answer %s %s", p.Topic, p.Payload)
				}
			})
		})
	}
}

// TestTwinOrder pipelines patches: they take effect in order, answers come in
// order, telemetry passes them by, and the number that waits is bounded.
func TestTwinOrder(t *testing.T) {
	withLimits(t, mqtt.Limits{TwinRequests: 8}, func(t *testing.T, w *world) {
		release := make(chan struct{})
		w.hub.OnReport = func(context.Context, causeway.Identity, causeway.Patch) error {
			<-release
			return nil
		}
		c := w.connect(w.dev1)
		c.subscribe(0, twinFilter)
		c.send(pub("$iothub/twin/PATCH/properties/reported/?$rid=0", `{"n":0}`, 1), pub(c.events(""), "passes by", 2))
		c.acked(1, 2)
		for i := 1; i < 100; i++ {
			c.send(pub(fmt.Sprintf("$iothub/twin/PATCH/properties/reported/?$rid=%d", i), fmt.Sprintf(`{"n":%d}`, i), 0))
		}
		c.send(pub("$iothub/twin/GET/?$rid=100", "", 0))
		synctest.Wait()
		close(release)
		for i := range 100 {
			if p := expect[*wire.Publish](c); p.Topic != fmt.Sprintf("$iothub/twin/res/204/?$rid=%d&$version=%d", i, i+2) {
				t.Fatalf("answer %d on %s", i, p.Topic)
			}
		}
		if p := expect[*wire.Publish](c); !strings.Contains(string(p.Payload), `"n":99`) {
			t.Errorf("twin %s", p.Payload)
		}
	})
}

// TestTwinRequestsEndWithTheirConnection: what a client asked for, but could not be
// told before its connection ended, is not done in the name of the next one that
// is read.
func TestTwinRequestsEndWithTheirConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var gone *client
		reports := 0
		w.hub.OnSend = func(_ context.Context, id causeway.Identity, _ []causeway.Message) error {
			if id.Device == "dev1" {
				_ = gone.nc.Close() // so that the acknowledgement does not arrive
			}
			return nil
		}
		w.hub.OnReport = func(_ context.Context, id causeway.Identity, _ causeway.Patch) error {
			if id.Device == "dev2" {
				reports++
			}
			return nil
		}
		other := w.connect(w.dev2)
		for range 50 {
			gone = w.connect(w.dev1)
			gone.subscribe(0, twinFilter)
			gone.send(pub(gone.events(""), "x", 1), pub("$iothub/twin/PATCH/properties/reported/?$rid=1", `{"stolen":true}`, 0))
			synctest.Wait()
			other.send(pub(other.events(""), "y", 2))
			other.acked(2)
		}
		synctest.Wait()
		if reports != 0 {
			t.Errorf("%d patches of dev1 were made to the twin of dev2", reports)
		}
	})
}
