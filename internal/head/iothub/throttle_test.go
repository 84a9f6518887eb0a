package iothub_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/quota"
)

// TestThrottle: of every kind of request the second is too many, and says when to
// come again.
func TestThrottle(t *testing.T) {
	for _, tc := range []struct {
		kind string
		request
	}{
		{"registry", request{method: "GET", path: "/devices/d"}},
		{"registry", request{method: "GET", path: "/statistics/devices"}},
		{"twinReads", request{method: "GET", path: "/twins/d"}},
		{"twinReads", request{method: "GET", path: "/digitaltwins/d"}},
		{"twinUpdates", request{method: "PATCH", path: "/twins/d", body: `{}`}},
		{"twinUpdates", request{method: "PATCH", path: "/digitaltwins/d", body: `[{"op":"add","path":"/a","value":1}]`}},
		{"methods", request{method: "POST", path: "/twins/d/methods", body: `{"methodName":"m"}`}},
		{"methods", request{method: "POST", path: "/digitaltwins/d/commands/c"}},
		{"commandSends", request{method: "POST", path: "/devices/d/messages/deviceBound", body: "x"}},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			w := newWorld(t)
			w.hub.answering(causeway.Result{Status: 200}, nil)
			w.put("/devices/d", `{}`).want(200)
			w.hub.limiter = quota.New(quota.Options{Hub: "myhub"})
			settings := quota.Settings{Rates: map[string]quota.RateSetting{tc.kind: {Count: 1, Seconds: 3600}}}
			if err := w.hub.limiter.Set(&settings); err != nil {
				t.Fatal(err)
			}
			if a := w.do(tc.request); a.status >= 300 {
				t.Fatalf("the first: %d %s", a.status, a.body)
			}
			a := w.do(tc.request).refused(causeway.ThrottlingException)
			if got := a.header.Get("Retry-After"); got < "3500" || len(got) != 4 {
				t.Errorf("Retry-After %q", got)
			}
			w.do(request{method: "GET", path: "/messages/serviceBound/feedback"}).want(204) // has no rate
		})
	}
	t.Run("a basic hub", func(t *testing.T) {
		w := newWorld(t)
		w.put("/devices/d", `{}`).want(200)
		w.hub.limiter = quota.New(quota.Options{Hub: "myhub"})
		if err := w.hub.limiter.Set(&quota.Settings{Preset: "basic-b1"}); err != nil {
			t.Fatal(err)
		}
		w.get("/twins/d").refused(causeway.OperationNotAvailableInCurrentTier)
		w.get("/devices/d").want(200)
	})
}
