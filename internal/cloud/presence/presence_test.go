package presence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conn is a holder.
type conn struct {
	id         causeway.Identity
	generation string
	since      time.Time
	last       atomic.Int64 // Unix milliseconds
}

func (c *conn) Identity() causeway.Identity { return c.id }
func (c *conn) Generation() string          { return c.generation }
func (c *conn) Since() time.Time            { return c.since }
func (c *conn) LastActivity() time.Time     { return time.UnixMilli(c.last.Load()) }

func newConn(id causeway.Identity, generation string, now time.Time) *conn {
	c := &conn{id: id, generation: generation, since: now}
	c.last.Store(now.UnixMilli())
	return c
}

// book is a registry that remembers the last fact of each identity.
type book struct {
	mu     sync.Mutex
	facts  map[causeway.Identity]registry.Activity
	writes int // facts written
	calls  int
	fail   error
}

func (b *book) Touch(_ context.Context, facts ...registry.Activity) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail != nil {
		return b.fail
	}
	if b.facts == nil {
		b.facts = map[causeway.Identity]registry.Activity{}
	}
	for _, f := range facts {
		b.facts[f.ID] = f
		b.writes++
	}
	return nil
}

func (b *book) of(id causeway.Identity) registry.Activity {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.facts[id]
}

func (b *book) written() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writes
}

var (
	d1   = causeway.Identity{Hub: "h", Device: "d1"}
	d1m1 = causeway.Identity{Hub: "h", Device: "d1", Module: "m1"}
	d1m2 = causeway.Identity{Hub: "h", Device: "d1", Module: "m2"}
	d2   = causeway.Identity{Hub: "h", Device: "d2"}
)

func claim(t testing.TB, tab *presence.Table[*conn], c *conn) {
	t.Helper()
	if _, _, ok := tab.Claim(c, false); !ok {
		t.Fatalf("claim of %s was refused", c.id)
	}
}

func TestClaim(t *testing.T) {
	tab := presence.New[*conn]()
	now := time.Now()
	first, second := newConn(d1, "1", now), newConn(d1, "1", now)
	if _, had, ok := tab.Claim(first, false); had || !ok {
		t.Errorf("first claim: had %v, ok %v", had, ok)
	}
	if old, had, ok := tab.Claim(second, false); old != first || !had || !ok {
		t.Errorf("second claim: replaced %v, had %v, ok %v", old, had, ok)
	}
	if tab.Release(first, now) {
		t.Error("the holder that was replaced could withdraw presence")
	}
	if !tab.State(d1).Connected {
		t.Error("d1 is not connected")
	}
	// Another generation must be looked into before it takes over.
	other := newConn(d1, "2", now)
	if old, had, ok := tab.Claim(other, false); old != second || !had || ok {
		t.Errorf("claim of another generation: replaced %v, had %v, ok %v", old, had, ok)
	}
	if h, _ := tab.Holder(d1); h != second {
		t.Error("a refused claim changed the holder")
	}
	if old, had, ok := tab.Claim(other, true); old != second || !had || !ok {
		t.Errorf("forced claim: replaced %v, had %v, ok %v", old, had, ok)
	}
	if !tab.Release(other, now) || tab.Release(other, now) {
		t.Error("a holder releases once")
	}
	if tab.Count() != 0 || tab.Devices() != 0 {
		t.Errorf("%d and %d are connected after the end", tab.Count(), tab.Devices())
	}
}

func TestFamily(t *testing.T) {
	tab := presence.New[*conn]()
	now := time.Now()
	holders := map[causeway.Identity]*conn{}
	for _, id := range []causeway.Identity{d1, d1m1, d1m2, d2} {
		holders[id] = newConn(id, "1", now)
		claim(t, tab, holders[id])
	}
	ids := func(hs []*conn) []string {
		var s []string
		for _, h := range hs {
			s = append(s, h.id.String())
		}
		slices.Sort(s)
		return s
	}
	if got := ids(tab.Family(d1)); !slices.Equal(got, []string{"d1", "d1/m1", "d1/m2"}) {
		t.Errorf("family of d1 is %v", got)
	}
	if got := ids(tab.All()); len(got) != 4 {
		t.Errorf("all are %v", got)
	}
	if tab.Count() != 4 || tab.Devices() != 2 {
		t.Errorf("counts are %d and %d, want 4 and 2", tab.Count(), tab.Devices())
	}
	tab.Release(holders[d1m1], now)
	tab.Release(holders[d1], now)
	if got := ids(tab.Family(d1)); !slices.Equal(got, []string{"d1/m2"}) {
		t.Errorf("family of d1 is %v after two went", got)
	}
	tab.Release(holders[d1m2], now)
	if got := tab.Family(d1); len(got) != 0 {
		t.Errorf("family of d1 is %v after all went", got)
	}
}

func TestRunWritesFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, reg := presence.New[*conn](), &book{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tab.Run(ctx, reg, slog.New(slog.DiscardHandler)) }()
		at := func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() } //nolint:forbidigo // simulated time

		c := newConn(d1, "1", time.Now())
		start := at()
		claim(t, tab, c)
		wait(presence.FlushInterval)
		if f := reg.of(d1); !f.Connected || !f.StateUpdated.Equal(start) || !f.LastActivity.Equal(start) {
			t.Errorf("after connecting at %v: %+v", start, f)
		}
		// Nothing new, nothing written.
		writes := reg.written()
		wait(3 * presence.ActivityInterval)
		if n := reg.written() - writes; n > 1 {
			t.Errorf("%d facts were written about a silent connection", n)
		}
		c.last.Store(time.Now().UnixMilli())
		active := at()
		wait(2 * presence.ActivityInterval)
		if f := reg.of(d1); !f.Connected || !f.LastActivity.Equal(active) || !f.StateUpdated.Equal(start) {
			t.Errorf("after activity at %v: %+v", active, f)
		}
		// A registry that fails is tried again; State knows all the time.
		reg.mu.Lock()
		reg.fail = errors.New("disk full")
		reg.mu.Unlock()
		gone := at()
		tab.Release(c, time.Now())
		wait(5 * presence.FlushInterval)
		if st := tab.State(d1); st.Connected || !st.Updated.Equal(gone) || !st.LastActivity.Equal(active) {
			t.Errorf("state after the end at %v: %+v", gone, st)
		}
		reg.mu.Lock()
		reg.fail = nil
		reg.mu.Unlock()
		wait(presence.FlushInterval)
		if f := reg.of(d1); f.Connected || !f.StateUpdated.Equal(gone) || !f.LastActivity.Equal(active) {
			t.Errorf("after the end at %v: %+v", gone, f)
		}
		if st := tab.State(d1); st != (presence.State{}) {
			t.Errorf("state that was written down is remembered: %+v", st)
		}
		// Facts of the last moment are written at the end.
		claim(t, tab, newConn(d2, "1", time.Now()))
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if f := reg.of(d2); !f.Connected {
			t.Errorf("written at the end: %+v", f)
		}
	})
}

func TestSeen(t *testing.T) {
	tab, reg := presence.New[*conn](), &book{}
	known := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	t1 := known.Add(time.Hour)
	flush := func() {
		t.Helper()
		if err := tab.Flush(t.Context(), reg); err != nil {
			t.Fatal(err)
		}
	}
	tab.Seen(d1, t1, known)
	if st := tab.State(d1); st.Connected || !st.LastActivity.Equal(t1) || !st.Updated.Equal(known) {
		t.Errorf("state of who was seen: %+v", st)
	}
	flush()
	if f := reg.of(d1); f.Connected || !f.StateUpdated.Equal(known) || !f.LastActivity.Equal(t1) {
		t.Errorf("written: %+v", f)
	}
	// Beside a connection it only moves the activity.
	c := newConn(d1, "1", t1)
	claim(t, tab, c)
	t2 := t1.Add(time.Minute)
	tab.Seen(d1, t2, known)
	if st := tab.State(d1); !st.Connected || !st.LastActivity.Equal(t2) || !st.Updated.Equal(t1) {
		t.Errorf("state of who is connected and was seen: %+v", st)
	}
	tab.Release(c, t2)
	tab.Seen(d1, t1, known) // late
	if st := tab.State(d1); st.Connected || !st.LastActivity.Equal(t2) || !st.Updated.Equal(t2) {
		t.Errorf("state of who went: %+v", st)
	}
	tab.Seen(d2, t1, time.Time{})
	flush()
	if f := reg.of(d2); !f.StateUpdated.IsZero() || !f.LastActivity.Equal(t1) {
		t.Errorf("who never connected is written as %+v", f)
	}
}

func TestFlushIsBatched(t *testing.T) {
	tab, reg := presence.New[*conn](), &book{}
	const n = 5000
	for i := range n {
		claim(t, tab, newConn(causeway.Identity{Hub: "h", Device: fmt.Sprint("d", i)}, "1", time.Now()))
	}
	if err := tab.Flush(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	if reg.writes != n || len(reg.facts) != n || reg.calls > n/100 {
		t.Errorf("%d facts of %d identities in %d calls, want %d in few", reg.writes, len(reg.facts), reg.calls, n)
	}
	if err := tab.Flush(t.Context(), reg); err != nil || reg.writes != n {
		t.Errorf("a second flush wrote %d more: %v", reg.writes-n, err)
	}
}

func TestPendingIsBounded(t *testing.T) {
	tab, reg := presence.New[*conn](), &book{}
	const bound = 100
	tab.SetMaxPending(bound)
	now := time.Now()
	for i := range bound + 10 {
		tab.Seen(causeway.Identity{Hub: "h", Device: fmt.Sprint("d", i)}, now, now)
	}
	c := newConn(d2, "1", now)
	claim(t, tab, c)
	if !tab.State(d2).Connected {
		t.Error("a full table of facts hides who is connected")
	}
	if err := tab.Flush(t.Context(), reg); err == nil {
		t.Error("dropped facts are not reported")
	}
	if len(reg.facts) != bound {
		t.Errorf("%d facts were kept, the bound is %d", len(reg.facts), bound)
	}
	if err := tab.Flush(t.Context(), reg); err != nil {
		t.Errorf("after a flush there is room: %v", err)
	}
}

// TestModel compares random claims, releases, sightings and flushes with a
// model that keeps one holder and one last fact for each identity.
func TestModel(t *testing.T) {
	ids := []causeway.Identity{d1, d1m1, d1m2, d2}
	rapid.Check(t, func(t *rapid.T) {
		tab, reg := presence.New[*conn](), &book{}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		holder := map[causeway.Identity]*conn{}
		want := map[causeway.Identity]registry.Activity{} // what the registry must hold after a flush
		var conns []*conn
		id := rapid.SampledFrom(ids)
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				c := newConn(id.Draw(t, "id"), rapid.SampledFrom([]string{"1", "1", "1", "2"}).Draw(t, "generation"), now)
				force := rapid.Bool().Draw(t, "force")
				old := holder[c.id]
				allowed := old == nil || force || old.generation == c.generation
				replaced, had, ok := tab.Claim(c, force)
				if had != (old != nil) || had && replaced != old || ok != allowed {
					t.Fatalf("claim of %s: replaced %v, had %v, ok %v; want %v, %v, %v", c.id, replaced, had, ok, old, old != nil, allowed)
				}
				conns = append(conns, c)
				if ok {
					holder[c.id] = c
					want[c.id] = registry.Activity{ID: c.id, Connected: true, StateUpdated: now, LastActivity: now}
				}
			},
			"release": func(t *rapid.T) {
				if len(conns) == 0 {
					t.Skip("nobody yet")
				}
				c := rapid.SampledFrom(conns).Draw(t, "conn")
				held := holder[c.id] == c
				if tab.Release(c, now) != held {
					t.Fatalf("release of %s says %v", c.id, !held)
				}
				if held {
					delete(holder, c.id)
					want[c.id] = registry.Activity{ID: c.id, StateUpdated: now, LastActivity: want[c.id].LastActivity}
				}
			},
			"seen": func(t *rapid.T) {
				x := id.Draw(t, "id")
				f := want[x]
				tab.Seen(x, now, f.StateUpdated)
				f.ID, f.LastActivity = x, now
				want[x] = f
				if h := holder[x]; h != nil {
					h.last.Store(now.UnixMilli())
				}
			},
			"flush": func(t *rapid.T) {
				if err := tab.Flush(context.Background(), reg); err != nil {
					t.Fatal(err)
				}
				if !maps.Equal(reg.facts, want) && len(want) > 0 {
					t.Fatalf("written down is %v, want %v", reg.facts, want)
				}
			},
			"time": func(*rapid.T) { now = now.Add(time.Second) },
			"": func(t *rapid.T) {
				devices := 0
				for _, x := range ids {
					h, ok := tab.Holder(x)
					if ok != (holder[x] != nil) || h != holder[x] {
						t.Fatalf("holder of %s is %v, want %v", x, h, holder[x])
					}
					if ok && !x.IsModule() {
						devices++
					}
					// State and registry together always know the truth.
					st, f := tab.State(x), reg.facts[x]
					if st.Updated.IsZero() {
						st.Updated = f.StateUpdated
					}
					if st.LastActivity.IsZero() {
						st.LastActivity = f.LastActivity
					}
					if w := want[x]; st != (presence.State{Connected: w.Connected, Updated: w.StateUpdated, LastActivity: w.LastActivity}) {
						t.Fatalf("state of %s is %+v, want %+v", x, st, w)
					}
				}
				if tab.Count() != len(holder) || tab.Devices() != devices {
					t.Fatalf("counts are %d and %d, want %d and %d", tab.Count(), tab.Devices(), len(holder), devices)
				}
			},
		})
	})
}

func TestConcurrent(t *testing.T) {
	tab, reg := presence.New[*conn](), &book{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 500 {
				c := newConn([]causeway.Identity{d1, d1m1, d2}[i%3], "1", time.Now())
				tab.Claim(c, false)
				c.last.Store(time.Now().UnixMilli())
				tab.State(c.id)
				tab.Family(d1)
				tab.Release(c, time.Now())
				if i%50 == 0 {
					if err := tab.Flush(context.Background(), reg); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if tab.Count() != 0 || tab.Devices() != 0 || len(tab.All()) != 0 {
		t.Errorf("%d are left of all that were released", tab.Count())
	}
	if err := tab.Flush(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	for id, f := range reg.facts {
		if f.Connected {
			t.Errorf("%s is written down as connected", id)
		}
	}
}

func BenchmarkClaimRelease(b *testing.B) {
	tab := presence.New[*conn]()
	c := newConn(d1, "1", time.Now())
	b.ReportAllocs()
	for b.Loop() {
		tab.Claim(c, false)
		tab.Release(c, c.since)
	}
}
