package guard_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/hub/guard"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
)

// limited is a limiter of settings, with no patience: what is above a rate of one
// a day is refused.
func limited(t testing.TB, s quota.Settings) func(string) *quota.Limiter {
	t.Helper()
	l := quota.New(quota.Options{Hub: "plant"})
	if err := l.Set(&s); err != nil {
		t.Fatal(err)
	}
	return func(string) *quota.Limiter { return l }
}

const day = 24 * 3600

// TestThrottleContract: a throttled hub is still a hub, with limits or without.
func TestThrottleContract(t *testing.T) {
	for name, limits := range map[string]func(string) *quota.Limiter{
		"none": func(string) *quota.Limiter { return nil },
		"wide": limited(t, quota.Settings{Preset: "standard-s3", Units: 100}),
	} {
		t.Run(name, func(t *testing.T) {
			hubtest.Run(t, func(t *testing.T) (causeway.Hub, hubtest.Admin) {
				f := newFake(t)
				return guard.Throttle(f, limits), f
			})
		})
	}
}

func TestThrottle(t *testing.T) {
	once := quota.RateSetting{Count: 1, Seconds: day}
	for _, tc := range []struct {
		name string
		kind string
		do   func(t *testing.T, s causeway.Session) error
	}{
		{"messages", "telemetry", func(t *testing.T, s causeway.Session) error { return s.Send(t.Context(), causeway.Message{}) }},
		{"twin reads", "twinReads", func(t *testing.T, s causeway.Session) error { _, err := s.Twin(t.Context()); return err }},
		{"twin updates", "twinUpdates", func(t *testing.T, s causeway.Session) error {
			_, err := s.Report(t.Context(), causeway.Patch{Properties: []byte(`{}`)})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t)
			hub := guard.Throttle(f, limited(t, quota.Settings{Rates: map[string]quota.RateSetting{tc.kind: once}}))
			s, err := hub.Connect(t.Context(), f.Add(t, "d", ""), hubtest.NewRecorder())
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.do(t, s); err != nil {
				t.Fatal(err)
			}
			hubtest.WantCode(t, tc.do(t, s), causeway.ThrottlingException)
		})
	}
}

// TestThrottleConnections: connections have a rate, requests that only send have
// not.
func TestThrottleConnections(t *testing.T) {
	f := newFake(t)
	hub := guard.Throttle(f, limited(t, quota.Settings{Rates: map[string]quota.RateSetting{"connections": {Count: 1, Seconds: day}}}))
	cred := f.Add(t, "d", "")
	for range 3 {
		if _, err := hub.Connect(t.Context(), cred, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := hub.Connect(t.Context(), cred, hubtest.NewRecorder()); err != nil {
		t.Fatal(err)
	}
	_, err := hub.Connect(t.Context(), cred, hubtest.NewRecorder())
	hubtest.WantCode(t, err, causeway.ThrottlingException)
}

// TestDailyMessages: messages of a day are counted once they are stored.
func TestDailyMessages(t *testing.T) {
	f := newFake(t)
	three := int64(3)
	hub := guard.Throttle(f, limited(t, quota.Settings{DailyMessages: &three}))
	s, err := hub.Connect(t.Context(), f.Add(t, "d", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	big := causeway.Message{Body: make([]byte, causeway.MaxMessageSize+1)}
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}, big), causeway.IotHubQuotaExceeded)
	for range 3 {
		if err := s.Send(t.Context(), causeway.Message{}); err != nil {
			t.Fatal(err)
		}
	}
	hubtest.WantCode(t, s.Send(t.Context(), causeway.Message{}), causeway.IotHubQuotaExceeded)
}

func BenchmarkThrottleOff(b *testing.B) {
	l := quota.New(quota.Options{Hub: "h"})
	s, err := guard.Throttle(null{}, func(string) *quota.Limiter { return l }).Connect(b.Context(), causeway.Credential{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	msgs := make([]causeway.Message, 1)
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Send(b.Context(), msgs...)
	}
}
