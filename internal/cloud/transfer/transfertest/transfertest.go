// Package transfertest is the contract of [transfer.Store] as tests: every driver
// is held to it. It also has a store in memory for the tests of others, which is
// held to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package transfertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// Fixture is a store without jobs, with the hubs "plant" and "depot".
type Fixture struct {
	Store transfer.Store
	// DeleteHub deletes a hub with all it has.
	DeleteHub func(name string)
}

// Run holds the stores that open returns to the contract.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"create and get", testCreate},
		{"save", testSave},
		{"list, unfinished, expire", testLists},
		{"a hub goes with its jobs", testDeleteHub},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const hub, abroad = "plant", "depot"

var base = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

// Job returns a job that has everything a job can have.
func Job(hubName, id string, n int) transfer.Job {
	return transfer.Job{
		Hub: hubName, ID: id, Type: transfer.Import, Created: base.Add(time.Duration(n) * time.Second),
		Input: "https://x/in?sig=é", Output: "https://x/out?sig=1", InputName: "in.txt", OutputName: "out.txt",
		ExcludeKeys: true, Configurations: true, ConfigurationsName: "c.txt", StorageAuth: "keyBased",
		State: transfer.State{Status: transfer.Enqueued},
	}
}

// end ends a job.
func end(t *testing.T, s transfer.Store, j transfer.Job, at time.Time) {
	t.Helper()
	if ok, err := s.Save(t.Context(), j.Hub, j.ID, j.Status, transfer.State{Status: transfer.Completed, Finished: at}); !ok || err != nil {
		t.Fatal(ok, err)
	}
}

func testCreate(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	_, err := s.Get(ctx, hub, "a")
	suitetest.Code(t, err, causeway.JobNotFound)
	a := Job(hub, "a", 0)
	suitetest.Must(t, s.Create(ctx, a))
	got, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "job", got, a)
	suitetest.Code(t, s.Create(ctx, Job(hub, "b", 0)), causeway.JobQuotaExceeded)
	suitetest.Must(t, s.Create(ctx, Job(abroad, "a", 0)))
	suitetest.Code(t, s.Create(ctx, Job("nowhere", "a", 0)), causeway.GenericNotFound)
	end(t, s, a, base)
	suitetest.Code(t, s.Create(ctx, Job(hub, "a", 0)), causeway.JobAlreadyExists)
	suitetest.Must(t, s.Create(ctx, Job(hub, "b", 0)))
}

func testSave(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	a := Job(hub, "a", 0)
	suitetest.Must(t, s.Create(ctx, a))
	_, err := s.Save(ctx, hub, "b", transfer.Enqueued, transfer.State{})
	suitetest.Code(t, err, causeway.JobNotFound)
	to := transfer.State{
		Status: transfer.Running, Began: base, Finished: base.Add(time.Hour), Progress: 40, Reason: "é",
		Position: transfer.Position{ETag: `"x"`, Offset: 1 << 40, ErrorBlocks: 3, Applied: 4, Failed: 5, DevicesDone: true},
	}
	for _, x := range []struct {
		from transfer.Status
		ok   bool
	}{{transfer.Running, false}, {transfer.Enqueued, true}, {transfer.Enqueued, false}, {transfer.Running, true}} {
		if ok, err := s.Save(ctx, hub, "a", x.from, to); ok != x.ok || err != nil {
			t.Errorf("from %s: %v, %v", x.from, ok, err)
		}
	}
	a.State = to
	got, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "job", got, a)
}

func names(jobs []transfer.Job) []string {
	out := make([]string, len(jobs))
	for i := range jobs {
		out[i] = jobs[i].Hub + "/" + jobs[i].ID
	}
	return out
}

func testLists(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for i, name := range []string{"c", "a", "b"} {
		j := Job(hub, name, i/2) // c and a are of one instant
		suitetest.Must(t, s.Create(ctx, j))
		if name != "b" {
			end(t, s, j, base.Add(time.Duration(i)*time.Hour))
		}
	}
	suitetest.Must(t, s.Create(ctx, Job(abroad, "z", 0)))
	list, err := s.List(ctx, hub, 10)
	suitetest.Must(t, err)
	suitetest.Same(t, "newest first", names(list), []string{"plant/b", "plant/a", "plant/c"})
	list, err = s.List(ctx, hub, 2)
	suitetest.Must(t, err)
	suitetest.Same(t, "limit", names(list), []string{"plant/b", "plant/a"})
	left, err := s.Unfinished(ctx)
	suitetest.Must(t, err)
	suitetest.Same(t, "unfinished", names(left), []string{"depot/z", "plant/b"})
	suitetest.Same(t, "whole", left[0], Job(abroad, "z", 0))
	for _, x := range []struct {
		before time.Time
		limit  int
		want   int
	}{{base, 9, 0}, {base.Add(time.Minute), 9, 1}, {base.Add(time.Minute), 9, 0}, {base.Add(24 * time.Hour), 0, 0}, {base.Add(24 * time.Hour), 9, 1}} {
		if n, err := s.Expire(ctx, x.before, x.limit); n != x.want || err != nil {
			t.Errorf("expire before %v: %d, %v, want %d", x.before, n, err, x.want)
		}
	}
	list, err = s.List(ctx, hub, 10)
	suitetest.Must(t, err)
	suitetest.Same(t, "left", names(list), []string{"plant/b"})
}

func testDeleteHub(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	suitetest.Must(t, s.Create(ctx, Job(hub, "a", 0)))
	suitetest.Must(t, s.Create(ctx, Job(abroad, "a", 0)))
	f.DeleteHub(hub)
	_, err := s.Get(ctx, hub, "a")
	suitetest.Code(t, err, causeway.JobNotFound)
	left, err := s.Unfinished(ctx)
	suitetest.Must(t, err)
	suitetest.Same(t, "left", names(left), []string{"depot/a"})
}

func testContext(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Store.Get(ctx, hub, "a")
	for i, err := range []error{err, f.Store.Create(ctx, Job(hub, "a", 0))} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}
