package storetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// Writers of the races, and what each of them does. Small, for an engine may
// take a millisecond for each.
const (
	writers = 8
	rounds  = 10
)

// racing: of several writers who saw the same, one wins.
var racing = []contractCase{
	{"Race/one creates", func(t *testing.T, s registry.Store) {
		for round := range rounds {
			id := dev(fmt.Sprint("d", round))
			var won atomic.Int32
			race(t, func(ctx context.Context, w int) error {
				r := record(id)
				r.GenerationID = fmt.Sprint(w)
				m := record(mod(id.Device, "m"))
				m.GenerationID = r.GenerationID
				err := s.Create(ctx, r, m)
				if err == nil {
					won.Add(1)
				} else if causeway.CodeOf(err) == causeway.DeviceAlreadyExists {
					err = nil
				}
				return err
			})
			if won.Load() != 1 {
				t.Fatalf("%d writers created %s", won.Load(), id)
			}
			if d, m := mustGet(t, s, id), mustGet(t, s, mod(id.Device, "m")); d.GenerationID != m.GenerationID {
				t.Fatalf("device of writer %s, module of writer %s", d.GenerationID, m.GenerationID)
			}
		}
	}},
	{"Race/no twin change is lost", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		mustCreate(t, s, r)
		race(t, func(ctx context.Context, _ int) error {
			for done := 0; done < rounds; {
				got, err := s.Get(ctx, r.ID)
				if err != nil {
					return err
				}
				next := got.Twin
				next.Version++
				next.Reported.Version++
				next.Reported.Properties = fmt.Appendf(nil, `{"n":%d}`, next.Reported.Version)
				switch err := s.PutTwin(ctx, r.ID, next, got.Twin.Version); causeway.CodeOf(err) {
				case 0:
					done++
				case causeway.PreconditionFailed:
				default:
					return err
				}
			}
			return nil
		})
		got := mustGet(t, s, r.ID).Twin
		if want := int64(1 + writers*rounds); got.Reported.Version != want || got.Version != want+1 {
			t.Errorf("reported version %d, twin version %d; want %d, %d", got.Reported.Version, got.Version, want, want+1)
		}
		if want := fmt.Sprintf(`{"n":%d}`, got.Reported.Version); string(got.Reported.Properties) != want {
			t.Errorf("reported %s, want %s", got.Reported.Properties, want)
		}
	}},
	{"Race/no identity change is lost", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		r.StatusReason = ""
		mustCreate(t, s, r)
		race(t, func(ctx context.Context, w int) error {
			for done := 0; done < rounds; {
				got, err := s.Get(ctx, r.ID)
				if err != nil {
					return err
				}
				next := got
				next.ETag = fmt.Sprintf("%d.%d", w, done)
				next.StatusReason += "x"
				switch err := s.PutIdentity(ctx, next, got.ETag); causeway.CodeOf(err) {
				case 0:
					done++
				case causeway.PreconditionFailed:
				default:
					return err
				}
			}
			return nil
		})
		if n := len(mustGet(t, s, r.ID).StatusReason); n != writers*rounds {
			t.Errorf("%d changes arrived, want %d", n, writers*rounds)
		}
	}},
	{"Race/identity, twin and facts do not touch each other", func(t *testing.T, s registry.Store) {
		r := record(dev("d"))
		mustCreate(t, s, r)
		race(t, func(ctx context.Context, w int) error {
			if w > 2 {
				return nil
			}
			next := r
			for i := range int64(2 * rounds) {
				var err error
				switch w {
				case 0:
					last := next.ETag
					next.ETag = fmt.Sprint("etag", i)
					err = s.PutIdentity(ctx, next, last)
				case 1:
					next.Twin.Version++
					err = s.PutTwin(ctx, r.ID, next.Twin, next.Twin.Version-1)
				case 2:
					err = s.Touch(ctx, registry.Activity{ID: r.ID, Connected: true, LastActivity: at})
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		want := r
		want.ETag = fmt.Sprint("etag", 2*rounds-1)
		want.Twin.Version += 2 * rounds
		want.Connected, want.LastActivity = true, at
		insist(t, "facts", func() bool { return mustGet(t, s, r.ID).Connected })
		equal(t, mustGet(t, s, r.ID), want)
	}},
	{"Race/module limit", func(t *testing.T, s registry.Store) {
		mustCreate(t, s, append([]registry.Record{record(dev("d"))}, modules("d", causeway.MaxModulesPerDevice-3)...)...)
		var made atomic.Int32
		race(t, func(ctx context.Context, w int) error {
			err := s.Create(ctx, record(mod("d", fmt.Sprint("extra", w))))
			switch causeway.CodeOf(err) {
			case 0:
				made.Add(1)
			case causeway.TooManyModulesOnDevice:
				err = nil
			}
			return err
		})
		if made.Load() != 3 {
			t.Errorf("%d modules were admitted, want 3", made.Load())
		}
	}},
	{"Race/deletion leaves no module behind", func(t *testing.T, s registry.Store) {
		for round := range rounds {
			id := dev(fmt.Sprint("d", round))
			mustCreate(t, s, record(id))
			race(t, func(ctx context.Context, w int) error {
				if w == 0 {
					return s.Delete(ctx, id, "*")
				}
				err := s.Create(ctx, record(mod(id.Device, fmt.Sprint("m", w))))
				if causeway.CodeOf(err) == causeway.DeviceNotFound {
					err = nil
				}
				return err
			})
			mustCreate(t, s, record(id))
			same(t, "modules of the namesake", mustModules(t, s, id), nil)
		}
	}},
}

// race runs f in several goroutines that start together.
func race(t *testing.T, f func(ctx context.Context, writer int) error) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			<-start
			errs[w] = f(t.Context(), w)
		})
	}
	close(start)
	wg.Wait()
	for w, err := range errs {
		if err != nil {
			t.Fatalf("writer %d: %v", w, err)
		}
	}
}

// durable: what was acknowledged is there after the process was not.
var durable = []durableCase{
	{"Durable/records", func(t *testing.T, s registry.Store, reopen func(t *testing.T) registry.Store) {
		d, m := record(dev("d")), record(mod("d", "m"))
		mustCreate(t, s, d, m, record(dev("gone")), record(mod("gone", "m")))
		d.ETag, d.StatusReason = "next", "changed"
		if err := s.PutIdentity(t.Context(), d, "*"); err != nil {
			t.Fatal(err)
		}
		m.Twin.Version, m.Twin.Tags = 3, []byte(`{"t":"новый"}`)
		if err := s.PutTwin(t.Context(), m.ID, m.Twin, 2); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), dev("gone"), "*"); err != nil {
			t.Fatal(err)
		}
		mustConfigure(t, s, configs(d.ID, "c", registry.ConfigurationApplied)...)
		d.Configurations = map[string]string{"c": registry.ConfigurationApplied}
		s = reopen(t)
		equal(t, mustGet(t, s, d.ID), d)
		equal(t, mustGet(t, s, m.ID), m)
		_, err := s.Get(t.Context(), mod("gone", "m"))
		wantCode(t, err, causeway.DeviceNotFound)
		same(t, "devices", walk(t, s, hub, 10), []string{"d"})
		wantCode(t, s.PutTwin(t.Context(), m.ID, m.Twin, 2), causeway.PreconditionFailed)
	}},
	{"Durable/concurrent writers", func(t *testing.T, s registry.Store, reopen func(t *testing.T) registry.Store) {
		for w := range writers {
			mustCreate(t, s, record(dev(fmt.Sprint("d", w))))
		}
		race(t, func(ctx context.Context, w int) error {
			tw := record(dev("d")).Twin
			for range rounds {
				tw.Version++
				if err := s.PutTwin(ctx, dev(fmt.Sprint("d", w)), tw, tw.Version-1); err != nil {
					return err
				}
			}
			return nil
		})
		s = reopen(t)
		for w := range writers {
			if v := mustGet(t, s, dev(fmt.Sprint("d", w))).Twin.Version; v != 2+rounds {
				t.Errorf("twin %d is at version %d, want %d", w, v, 2+rounds)
			}
		}
	}},
}
