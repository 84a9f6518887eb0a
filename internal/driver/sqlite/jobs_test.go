package sqlite_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

func TestJobs(t *testing.T) {
	jobtest.Run(t, func(t *testing.T) jobtest.Fixture {
		db := openAt(t, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{})
		for _, name := range []string{"plant", "depot"} {
			if err := db.Directory().PutHub(t.Context(), directorytest.Hub(name)); err != nil {
				t.Fatal(err)
			}
		}
		return jobtest.Fixture{Store: db.Jobs(), DeleteHub: func(name string) {
			if err := db.Directory().DeleteHub(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}}
	})
}

// everybody is a selector of all devices.
type everybody struct{ *registry.Service }

func (everybody) Check(string) error { return nil }

func (e everybody) Select(ctx context.Context, hub, _ string, f func(causeway.Identity) error) error {
	for after := ""; ; {
		page, err := e.List(ctx, hub, after, 1000)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			if err := f(page[i].ID); err != nil {
				return err
			}
		}
		after = page[len(page)-1].ID.Device
	}
}

// TestLargeJob updates 10,000 twins, fewer under the race detector, with a crash
// on the way.
func TestLargeJob(t *testing.T) {
	if testing.Short() {
		t.Skip("10,000 devices")
	}
	devices := 10_000
	if raceEnabled {
		devices = 2000
	}
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	if err := db.Directory().PutHub(t.Context(), directorytest.Hub("plant")); err != nil {
		t.Fatal(err)
	}
	fill(t, db.Registry(), devices)
	start := func(db *sqlite.DB) (*job.Service, *registry.Service, func()) {
		reg := registry.New(registry.Options{Store: db.Registry(), Sealer: unsealed{}})
		s := job.New(job.Options{Store: db.Jobs(), Selector: everybody{reg}, Registry: reg, Hubs: func(string) (job.Hub, bool) { return nil, false }, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		return s, reg, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	s, _, stop := start(db)
	j := jobtest.Job("plant", "big", 0)
	j.Twin.ETag, j.Start, j.Created, j.Window = "", time.Now(), time.Now(), time.Hour
	begun := time.Now()
	for {
		if _, err := s.Create(t.Context(), j); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		<-time.After(time.Millisecond)
	}
	until := func(s *job.Service, done func(job.Job) bool) job.Job {
		for {
			got, err := s.Get(t.Context(), "plant", "big")
			if err != nil {
				t.Fatal(err)
			}
			if done(got) {
				return got
			}
			<-time.After(10 * time.Millisecond) // it counts the devices
		}
	}
	until(s, func(j job.Job) bool { return j.Statistics.Succeeded > devices/4 })
	crashed := crash(t, path)
	stop()
	again := openAt(t, crashed, sqlite.Options{})
	s, reg, stop := start(again)
	defer stop()
	got := until(s, func(j job.Job) bool { return j.Settled })
	if want := (job.Statistics{Devices: devices, Succeeded: devices}); got.Status != job.Completed || got.Statistics != want {
		t.Errorf("%s %+v, want %+v", got.Status, got.Statistics, want)
	}
	t.Logf("%d devices in %s, a crash included", devices, time.Since(begun).Round(time.Millisecond))
	for _, n := range []int{0, devices / 2, devices - 1} {
		r, err := reg.Get(t.Context(), device(n))
		if err != nil || !strings.Contains(string(r.Twin.Tags), `"a":1`) {
			t.Errorf("device %d: %s, %v", n, r.Twin.Tags, err)
		}
	}
}
