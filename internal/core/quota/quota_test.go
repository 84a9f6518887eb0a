package quota_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/quota"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store that may fail, and counts writes.
type memory struct {
	mu     sync.Mutex
	days   map[string]int64
	writes int
	fail   error
}

func newMemory() *memory { return &memory{days: map[string]int64{}} }

func (m *memory) Load(_ context.Context, hub, day string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.days[hub+" "+day], m.fail
}

func (m *memory) Save(_ context.Context, hub, day string, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail == nil {
		m.days[hub+" "+day] = n
		m.writes++
	}
	return m.fail
}

func limiter(t testing.TB, store quota.Store, s quota.Settings) *quota.Limiter {
	t.Helper()
	l := quota.New(quota.Options{Hub: "plant", Store: store})
	if err := l.Set(&s); err != nil {
		t.Fatal(err)
	}
	return l
}

func wantCode(t testing.TB, err error, code causeway.Code) {
	t.Helper()
	if got := causeway.CodeOf(err); got != code {
		t.Errorf("%v: code %v, want %v", err, got, code)
	}
}

// TestShaping walks along a rate: what a bucket holds passes at once, what is
// above is delayed, and what would be delayed too long is refused with the time
// after which it is not.
func TestShaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, nil, quota.Settings{Rates: map[string]quota.RateSetting{"queries": {Count: 10}}})
		began := time.Now()
		enter := func(n int) error { return l.Enter(t.Context(), quota.Queries, n) }
		for range 10 {
			if err := enter(1); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the first ten took %v", d)
		}
		for i := range 3 {
			if err := enter(1); err != nil {
				t.Fatal(err)
			}
			if d, want := time.Since(began), time.Duration(i+1)*100*time.Millisecond; d != want {
				t.Errorf("number %d after %v, want %v", 11+i, d, want)
			}
		}
		if err := enter(50); err != nil { // exactly as long as is waited
			t.Fatal(err)
		}
		if d := time.Since(began); d != 5300*time.Millisecond {
			t.Errorf("fifty at once passed after %v", d)
		}
		done := make(chan error, 1)
		go func() { done <- enter(50) }()
		synctest.Wait()
		err := enter(1)
		wantCode(t, err, causeway.ThrottlingException)
		e, ok := errors.AsType[interface {
			error
			RetryAfter() time.Duration
		}](err)
		if !ok || e.RetryAfter() != 100*time.Millisecond {
			t.Errorf("when to try again: %v", err)
		}
		<-time.After(100 * time.Millisecond)
		synctest.Wait()
		if err := enter(1); err != nil {
			t.Errorf("after the time that was said: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		began = time.Now()
		if err := enter(11); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d != 100*time.Millisecond {
			t.Errorf("a bucket holds more than it can: eleven took %v", d)
		}
	})
}

// TestLargeBatch: a large batch passes, however large, when the bucket is full.
func TestLargeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, nil, quota.Settings{Rates: map[string]quota.RateSetting{"telemetry": {Count: 1}}})
		if _, err := l.Send(t.Context(), make([]causeway.Message, 4096)); err != nil {
			t.Error(err)
		}
		_, err := l.Send(t.Context(), make([]causeway.Message, 1))
		if err != nil {
			t.Error(err) // it waits its second
		}
	})
}

func TestLeavingTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, nil, quota.Settings{Rates: map[string]quota.RateSetting{"jobs": {Count: 1}}})
		if err := l.Enter(t.Context(), quota.Jobs, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Enter(ctx, quota.Jobs, 5) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("left with %v", err)
		}
		began := time.Now()
		if err := l.Enter(t.Context(), quota.Jobs, 1); err != nil || time.Since(began) != time.Second {
			t.Errorf("who left was counted: %v after %v", err, time.Since(began))
		}
	})
}

// TestConcurrent: however many come at a time, no more pass than the rate.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limiter(t, nil, quota.Settings{Rates: map[string]quota.RateSetting{"twinReads": {Count: 100}}})
		var mu sync.Mutex
		passed, refused := 0, 0
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				err := l.Enter(t.Context(), quota.TwinReads, 1)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					passed++
				} else {
					refused++
				}
			})
		}
		wg.Wait()
		if passed != 600 || refused != 400 { // a bucket, and five seconds
			t.Errorf("%d passed, %d were refused", passed, refused)
		}
	})
}

func TestPresets(t *testing.T) {
	rate := func(l quota.Limits, k quota.Kind) string {
		switch {
		case l.Missing[k]:
			return "missing"
		case l.Rates[k].Count == 0:
			return "free"
		}
		return l.Rates[k].String()
	}
	for _, tc := range []struct {
		preset string
		units  int
		daily  int64
		rates  string // registry, connections, telemetry, sends, receives, uploads, methods, queries, reads, updates, jobs, devices, configurations
	}{
		{"free", 0, 8000, "100/min 100/s 100/s 100/min 1000/min 100/min 40/s 20/min 100/s 50/s 100/min 10/s 20/min"},
		{"standard-s1", 1, 400_000, "100/min 100/s 100/s 100/min 1000/min 100/min 40/s 20/min 100/s 50/s 100/min 10/s 20/min"},
		{"standard-s1", 10, 4_000_000, "1000/min 120/s 120/s 1000/min 10000/min 1000/min 400/s 200/min 100/s 50/s 1000/min 10/s 200/min"},
		{"standard-s2", 2, 12_000_000, "200/min 240/s 240/s 200/min 2000/min 200/min 240/s 40/min 100/s 50/s 200/min 10/s 40/min"},
		{"standard-s2", 20, 120_000_000, "2000/min 2400/s 2400/s 2000/min 20000/min 2000/min 2400/s 400/min 200/s 100/s 2000/min 20/s 400/min"},
		{"standard-s3", 1, 300_000_000, "5000/min 6000/s 6000/s 5000/min 50000/min 5000/min 6144/s 1000/min 500/s 250/s 5000/min 50/s 20/min"},
		{"basic-b1", 1, 400_000, "100/min 100/s 100/s missing missing 100/min missing 20/min missing missing missing missing missing"},
		{"basic-b3", 1, 300_000_000, "5000/min 6000/s 6000/s missing missing 5000/min missing 1000/min missing missing missing missing missing"},
		{"", 0, 0, "free free free free free free free free free free free free free"},
	} {
		l, err := (&quota.Settings{Preset: tc.preset, Units: tc.units}).Limits()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for k := range quota.NumKinds {
			got = append(got, rate(l, k))
		}
		if s := strings.Join(got, " "); s != tc.rates || l.DailyMessages != tc.daily {
			t.Errorf("%s × %d: %d messages\n%s, want %d\n%s", tc.preset, tc.units, l.DailyMessages, s, tc.daily, tc.rates)
		}
	}
	if len(quota.Presets()) != 7 {
		t.Errorf("presets %q", quota.Presets())
	}
}

func TestBadSettings(t *testing.T) {
	minus := int64(-1)
	for name, s := range map[string]quota.Settings{
		"unknown preset":   {Preset: "gold"},
		"two free units":   {Preset: "free", Units: 2},
		"too many units":   {Preset: "standard-s1", Units: quota.MaxUnits + 1},
		"negative units":   {Units: -1},
		"unknown rate":     {Rates: map[string]quota.RateSetting{"x": {Count: 1}}},
		"negative rate":    {Rates: map[string]quota.RateSetting{"jobs": {Count: -1}}},
		"a rate too high":  {Rates: map[string]quota.RateSetting{"jobs": {Count: 1e10}}},
		"negative time":    {Rates: map[string]quota.RateSetting{"jobs": {Count: 1, Seconds: -1}}},
		"a negative quota": {DailyMessages: &minus},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Limits()
			wantCode(t, err, causeway.ArgumentInvalid)
			wantCode(t, quota.New(quota.Options{}).Set(&s), causeway.ArgumentInvalid)
		})
	}
}

func TestOverrides(t *testing.T) {
	l := limiter(t, nil, quota.Settings{Preset: "basic-b1", Rates: map[string]quota.RateSetting{"telemetry": {}, "twinReads": {Count: 1}}})
	limits, ok := l.Limits()
	if !ok || limits.Rates[quota.Telemetry].Count != 0 || limits.Missing[quota.TwinReads] {
		t.Errorf("limits %+v", limits)
	}
	wantCode(t, l.Enter(t.Context(), quota.Methods, 1), causeway.OperationNotAvailableInCurrentTier)
	if err := l.Enter(t.Context(), quota.TwinReads, 1); err != nil {
		t.Error(err)
	}
	if err := l.Set(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.Limits(); ok || l.Enter(t.Context(), quota.Methods, 1) != nil {
		t.Error("the limits are still there")
	}
}

func messages(n, size int) []causeway.Message {
	m := make([]causeway.Message, n)
	for i := range m {
		m[i].Body = make([]byte, size)
	}
	return m
}

// TestDaily: messages count in units of 4 KB, more than the day has are refused
// until midnight, what failed is given back, and a restart forgets nothing.
func TestDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		limit := int64(100)
		settings := quota.Settings{DailyMessages: &limit}
		store := newMemory()
		l := limiter(t, store, settings)
		send := func(n, size int) (quota.Counted, error) { return l.Send(ctx, messages(n, size)) }
		used := func(want int64) {
			t.Helper()
			if n, err := l.Used(ctx); err != nil || n != want {
				t.Errorf("%d used (%v), want %d", n, err, want)
			}
		}
		for _, m := range []struct{ n, size int }{{1, 0}, {1, 4096}, {2, 4097}, {1, 256 << 10}} { // 1 + 1 + 4 + 64
			if _, err := send(m.n, m.size); err != nil {
				t.Fatal(err)
			}
		}
		used(70)
		counted, err := send(20, 1)
		if err != nil {
			t.Fatal(err)
		}
		used(90)
		counted.Refund()
		used(70)

		// The process is killed: what was written down counts.
		l = limiter(t, store, settings)
		used(90)
		// It ends in order: exactly what was taken counts.
		if _, err := send(1, 1); err != nil {
			t.Fatal(err)
		}
		l.Close()
		l = limiter(t, store, settings)
		used(91)

		if _, err := send(10, 1); err == nil {
			t.Error("more than the day has was taken")
		} else {
			wantCode(t, err, causeway.IotHubQuotaExceeded)
			if !strings.Contains(err.Error(), "00:00 UTC") {
				t.Errorf("it does not say when: %v", err)
			}
		}
		if _, err := send(9, 1); err != nil {
			t.Errorf("the last of the day: %v", err)
		}
		_, err = send(1, 1)
		wantCode(t, err, causeway.IotHubQuotaExceeded)

		more := int64(101)
		if err := l.Set(&quota.Settings{DailyMessages: &more}); err != nil {
			t.Fatal(err)
		}
		if _, err := send(1, 1); err != nil {
			t.Errorf("with a higher limit: %v", err)
		}
		now := time.Now().UTC()
		<-time.After(now.Truncate(24 * time.Hour).Add(24 * time.Hour).Sub(now))
		used(0)
		if _, err := send(101, 1); err != nil {
			t.Errorf("on the next day: %v", err)
		}
	})
}

func TestDailyStoreFails(t *testing.T) {
	store := newMemory()
	limit := int64(1000)
	l := limiter(t, store, quota.Settings{DailyMessages: &limit})
	store.fail = errors.New("disk full")
	_, err := l.Send(t.Context(), messages(1, 1))
	wantCode(t, err, causeway.ServiceUnavailable)
	store.fail = nil
	for range 100 {
		if _, err := l.Send(t.Context(), messages(1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if store.writes != 10 {
		t.Errorf("%d writes for 100 messages, want 10", store.writes)
	}
}

func TestKinds(t *testing.T) {
	for k := range quota.NumKinds {
		if got, ok := quota.ParseKind(k.String()); !ok || got != k {
			t.Errorf("%d is %q, which is %d", k, k, got)
		}
	}
	if _, ok := quota.ParseKind("nothing"); ok || quota.NumKinds.String() != "unknown" {
		t.Error("a kind that is none")
	}
}

func TestOffCostsNothing(t *testing.T) {
	l := quota.New(quota.Options{Hub: "plant"})
	var none *quota.Limiter
	msgs := messages(1, 1)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, _ = l.Send(ctx, msgs)
		_, _ = none.Send(ctx, msgs)
		_ = l.Enter(ctx, quota.TwinReads, 1)
	}); n != 0 {
		t.Errorf("%v allocations without limits", n)
	}
}

func BenchmarkOff(b *testing.B) {
	l := quota.New(quota.Options{Hub: "plant"})
	msgs, ctx := messages(1, 256), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = l.Send(ctx, msgs)
	}
}

func BenchmarkOn(b *testing.B) {
	day := int64(1 << 40)
	l := limiter(b, nil, quota.Settings{Rates: map[string]quota.RateSetting{"telemetry": {Count: 1e9}}, DailyMessages: &day})
	msgs, ctx := messages(1, 256), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = l.Send(ctx, msgs)
	}
}
