// Package jobtest is the contract of [job.Store] as tests: every driver is held
// to it. It also has a store in memory for the tests of others, which is held to
// it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package jobtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// Fixture is a store without jobs, with the hubs "plant" and "depot".
type Fixture struct {
	Store job.Store
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
		{"list", testList},
		{"advance", testAdvance},
		{"unsettled, old, delete", testLife},
		{"rows", testRows},
		{"set rows", testSetRows},
		{"close rows", testCloseRows},
		{"query", testQuery},
		{"a hub goes with its jobs", testDeleteHub},
		{"ended context", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

const hub, abroad = "plant", "depot"

var base = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

// Job returns a job that has everything a job can have.
func Job(hubName, id string, n int) job.Job {
	j := job.Job{
		Hub: hubName, ID: id, Type: job.UpdateTwin, Condition: `tags.a = 'é"'`, Created: base.Add(time.Duration(n) * time.Second),
		Start: base.Add(time.Hour), Window: 90*time.Second + time.Millisecond,
		Twin:  job.Twin{ETag: "AAAAAAAAAAE=", Tags: []byte(`{"a":1}`), Desired: []byte(`{"b":"é"}`)},
		State: job.State{Status: job.Scheduled},
	}
	if n%2 == 1 {
		j.Type, j.Twin = job.DeviceMethod, job.Twin{}
		j.Method = job.Method{Name: "reboot", Payload: []byte(`[null]`), ResponseWait: 7 * time.Second, PickWait: time.Second}
	}
	return j
}

func id(device, module string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: module}
}

func testCreate(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	_, err := s.Get(ctx, hub, "a")
	suitetest.Code(t, err, causeway.JobNotFound)
	for n, name := range []string{"a", "b"} {
		j := Job(hub, name, n)
		suitetest.Must(t, s.Create(ctx, j))
		got, err := s.Get(ctx, hub, name)
		suitetest.Must(t, err)
		suitetest.Same(t, "job", got, j)
	}
	suitetest.Code(t, s.Create(ctx, Job(hub, "a", 3)), causeway.JobAlreadyExists)
	suitetest.Must(t, s.Create(ctx, Job(abroad, "a", 3)))
	suitetest.Code(t, s.Create(ctx, Job("nowhere", "a", 3)), causeway.GenericNotFound)
	_, err = s.Get(ctx, hub, "A")
	suitetest.Code(t, err, causeway.JobNotFound)
}

func names(jobs []job.Job) []string {
	out := make([]string, len(jobs))
	for i := range jobs {
		out[i] = jobs[i].Hub + "/" + jobs[i].ID
	}
	return out
}

func testList(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for i := range 5 {
		suitetest.Must(t, s.Create(ctx, Job(hub, fmt.Sprintf("j%d", i), i)))
	}
	twin := Job(hub, "j5", 4) // of the same instant as j4
	suitetest.Must(t, s.Create(ctx, twin))
	suitetest.Must(t, s.Create(ctx, Job(abroad, "x", 9)))
	list := func(f job.Filter, after job.Cursor, limit int) []string {
		t.Helper()
		got, err := s.List(ctx, hub, f, after, limit)
		suitetest.Must(t, err)
		return names(got)
	}
	suitetest.Same(t, "all", list(job.Filter{}, job.Cursor{}, 100), []string{"plant/j4", "plant/j5", "plant/j3", "plant/j2", "plant/j1", "plant/j0"})
	suitetest.Same(t, "first page", list(job.Filter{}, job.Cursor{}, 2), []string{"plant/j4", "plant/j5"})
	suitetest.Same(t, "after j4", list(job.Filter{}, job.Cursor{Created: Job(hub, "", 4).Created, ID: "j4"}, 2), []string{"plant/j5", "plant/j3"})
	suitetest.Same(t, "after one that is gone", list(job.Filter{}, job.Cursor{Created: Job(hub, "", 2).Created, ID: "j1x"}, 9), []string{"plant/j2", "plant/j1", "plant/j0"})
	suitetest.Same(t, "methods", list(job.Filter{Type: job.DeviceMethod}, job.Cursor{}, 9), []string{"plant/j3", "plant/j1"})
	to := job.State{Status: job.Running, Began: base}
	if ok, err := s.Advance(ctx, hub, "j1", job.Scheduled, to); !ok || err != nil {
		t.Fatal(ok, err)
	}
	suitetest.Same(t, "running", list(job.Filter{Status: job.Running}, job.Cursor{}, 9), []string{"plant/j1"})
	suitetest.Same(t, "running twins", list(job.Filter{Status: job.Running, Type: job.UpdateTwin}, job.Cursor{}, 9), []string{})
}

func testAdvance(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	j := Job(hub, "a", 0)
	suitetest.Must(t, s.Create(ctx, j))
	_, err := s.Advance(ctx, hub, "b", job.Scheduled, job.State{})
	suitetest.Code(t, err, causeway.JobNotFound)
	j.State = job.State{Status: job.Failed, Began: base, Finished: base.Add(time.Second), Selected: true, Settled: true, Reason: "why", Message: "é"}
	for _, x := range []struct {
		from job.Status
		ok   bool
	}{{job.Running, false}, {job.Scheduled, true}, {job.Failed, false}} {
		ok, err := s.Advance(ctx, hub, "a", x.from, j.State)
		if ok != x.ok || err != nil {
			t.Errorf("from %s: %v, %v, want %v", x.from, ok, err, x.ok)
		}
	}
	got, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "job", got, j)
}

func testLife(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for i, h := range []string{hub, abroad, hub} {
		suitetest.Must(t, s.Create(ctx, Job(h, fmt.Sprintf("j%d", 2-i), i)))
	}
	all, err := s.Unsettled(ctx)
	suitetest.Must(t, err)
	suitetest.Same(t, "unsettled", names(all), []string{"depot/j1", "plant/j0", "plant/j2"})
	suitetest.Same(t, "job", all[2], Job(hub, "j2", 0))
	if ok, err := s.Delete(ctx, hub, "j2"); ok || err != nil {
		t.Errorf("a job that is not settled was deleted: %v, %v", ok, err)
	}
	suitetest.Must(t, s.AddRows(ctx, hub, "j2", base, id("d", "")))
	for i, name := range []string{"j2", "j0"} {
		to := job.State{Status: job.Completed, Finished: base.Add(time.Duration(i) * time.Hour), Settled: true}
		if ok, err := s.Advance(ctx, hub, name, job.Scheduled, to); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	all, err = s.Unsettled(ctx)
	suitetest.Must(t, err)
	suitetest.Same(t, "unsettled", names(all), []string{"depot/j1"})
	old := func(before time.Time, limit int) []string {
		t.Helper()
		got, err := s.Old(ctx, before, limit)
		suitetest.Must(t, err)
		return names(got)
	}
	suitetest.Same(t, "before", old(base, 9), []string{})
	suitetest.Same(t, "one", old(base.Add(time.Microsecond), 9), []string{"plant/j2"})
	if got := old(base.Add(2*time.Hour), 1); len(got) != 1 {
		t.Errorf("limit of one: %v", got)
	}
	if ok, err := s.Delete(ctx, hub, "j2"); ok || err != nil {
		t.Errorf("a job with rows was deleted: %v, %v", ok, err)
	}
	if n, err := s.DropRows(ctx, hub, "j2", 5); n != 1 || err != nil {
		t.Errorf("dropped %d, %v", n, err)
	}
	for range 2 {
		if ok, err := s.Delete(ctx, hub, "j2"); !ok || err != nil {
			t.Errorf("deleted: %v, %v", ok, err)
		}
	}
	_, err = s.Get(ctx, hub, "j2")
	suitetest.Code(t, err, causeway.JobNotFound)
}

func ids(rows []job.Row) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].ID.Device + "/" + rows[i].ID.Module
	}
	return out
}

func testRows(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	suitetest.Code(t, s.AddRows(ctx, hub, "a", base, id("d", "")), causeway.JobNotFound)
	suitetest.Must(t, s.Create(ctx, Job(hub, "a", 0)))
	suitetest.Must(t, s.Create(ctx, Job(hub, "b", 0)))
	suitetest.Must(t, s.AddRows(ctx, hub, "b", base, id("other", "")))
	suitetest.Must(t, s.AddRows(ctx, hub, "a", base, id("d2", ""), id("d1", "m"), id("d1", ""), id("d10", "")))
	suitetest.Must(t, s.AddRows(ctx, hub, "a", base.Add(time.Hour), id("d2", ""), id("d3", "")))
	rows := func(after causeway.Identity, limit int) []job.Row {
		t.Helper()
		got, err := s.Rows(ctx, hub, "a", job.RowPending, after, limit)
		suitetest.Must(t, err)
		return got
	}
	all := rows(causeway.Identity{}, 100)
	suitetest.Same(t, "order", ids(all), []string{"d1/", "d1/m", "d10/", "d2/", "d3/"})
	suitetest.Same(t, "a row", all[3], job.Row{ID: id("d2", ""), Job: "a", Created: base, Updated: base})
	suitetest.Same(t, "page", ids(rows(id("d1", ""), 2)), []string{"d1/m", "d10/"})
	suitetest.Same(t, "page after one that is not there", ids(rows(id("d1", "x"), 9)), []string{"d10/", "d2/", "d3/"})
	j, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "statistics", j.Statistics, job.Statistics{Devices: 5, Pending: 5})
	total := 0
	for {
		n, err := s.DropRows(ctx, hub, "a", 2)
		suitetest.Must(t, err)
		if total += n; n < 2 {
			break
		}
	}
	j, err = s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "statistics", j.Statistics, job.Statistics{})
	if total != 5 {
		t.Errorf("%d rows dropped, want 5", total)
	}
	got, err := s.Rows(ctx, hub, "b", job.RowPending, causeway.Identity{}, 9)
	suitetest.Must(t, err)
	suitetest.Same(t, "another job", ids(got), []string{"other/"})
}

func testSetRows(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	suitetest.Must(t, s.Create(ctx, Job(hub, "a", 1)))
	suitetest.Must(t, s.AddRows(ctx, hub, "a", base, id("d1", ""), id("d2", ""), id("d3", "m"), id("d4", "")))
	set := func(want int, rows ...job.Row) {
		t.Helper()
		if n, err := s.SetRows(ctx, hub, "a", rows...); n != want || err != nil {
			t.Errorf("%d rows set, %v, want %d", n, err, want)
		}
	}
	at := base.Add(time.Minute)
	running := job.Row{ID: id("d1", ""), Job: "a", Status: job.RowRunning, Started: at, Updated: at}
	done := job.Row{
		ID: id("d2", ""), Job: "a", Status: job.RowCompleted, Started: at, Ended: at.Add(time.Second), Updated: at.Add(time.Second),
		Answered: true, Answer: causeway.Result{Status: -200, Payload: []byte(`{"é":1}`)},
	}
	failed := job.Row{ID: id("d3", "m"), Job: "a", Status: job.RowFailed, Started: at, Ended: at, Updated: at, Code: "GatewayTimeout", Text: "é"}
	set(3, running, done, failed, job.Row{ID: id("ghost", ""), Job: "a", Status: job.RowFailed})
	set(0, job.Row{ID: id("d2", ""), Job: "a", Status: job.RowPending}, job.Row{ID: id("d3", "m"), Job: "a", Status: job.RowCompleted})
	for status, want := range map[job.RowStatus]job.Row{job.RowRunning: running, job.RowCompleted: done, job.RowFailed: failed} {
		want.Created = base
		got, err := s.Rows(ctx, hub, "a", status, causeway.Identity{}, 9)
		suitetest.Must(t, err)
		suitetest.Same(t, status.String(), got, []job.Row{want})
	}
	j, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "statistics", j.Statistics, job.Statistics{Devices: 4, Pending: 1, Running: 1, Succeeded: 1, Failed: 1})
	set(1, job.Row{ID: id("d1", ""), Job: "a", Status: job.RowPending, Updated: at})
	j, err = s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "statistics", j.Statistics, job.Statistics{Devices: 4, Pending: 2, Succeeded: 1, Failed: 1})
	if n, err := s.SetRows(ctx, hub, "ghost", running); n != 0 || err != nil {
		t.Errorf("rows of no job: %d, %v", n, err)
	}
}

func testCloseRows(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	suitetest.Must(t, s.Create(ctx, Job(hub, "a", 1)))
	suitetest.Must(t, s.AddRows(ctx, hub, "a", base, id("d1", ""), id("d2", ""), id("d3", ""), id("d4", "")))
	at := base.Add(time.Minute)
	_, err := s.SetRows(ctx, hub, "a", job.Row{ID: id("d1", ""), Job: "a", Status: job.RowRunning, Started: at, Updated: at})
	suitetest.Must(t, err)
	end := job.Row{Status: job.RowFailed, Ended: at, Updated: at, Code: "DeviceNotOnline", Text: "away"}
	var counts []int
	for {
		n, err := s.CloseRows(ctx, hub, "a", job.RowPending, end, 2)
		suitetest.Must(t, err)
		if counts = append(counts, n); n < 2 {
			break
		}
	}
	suitetest.Same(t, "closed", counts, []int{2, 1})
	n, err := s.CloseRows(ctx, hub, "a", job.RowRunning, end, 9)
	if n != 1 || err != nil {
		t.Errorf("%d running rows closed, %v", n, err)
	}
	got, err := s.Rows(ctx, hub, "a", job.RowFailed, causeway.Identity{}, 9)
	suitetest.Must(t, err)
	suitetest.Same(t, "rows", ids(got), []string{"d1/", "d2/", "d3/", "d4/"})
	want := end
	want.ID, want.Job, want.Created, want.Started = id("d1", ""), "a", base, at
	suitetest.Same(t, "one that was running", got[0], want)
	j, err := s.Get(ctx, hub, "a")
	suitetest.Must(t, err)
	suitetest.Same(t, "statistics", j.Statistics, job.Statistics{Devices: 4, Failed: 4})
}

func testQuery(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for n, name := range []string{"b", "a"} {
		suitetest.Must(t, s.Create(ctx, Job(hub, name, n)))
		suitetest.Must(t, s.AddRows(ctx, hub, name, base, id("d2", ""), id("d1", "m"), id("d1", "")))
	}
	suitetest.Must(t, s.Create(ctx, Job(abroad, "a", 0)))
	suitetest.Must(t, s.AddRows(ctx, abroad, "a", base, causeway.Identity{Hub: abroad, Device: "far"}))
	query := func(f job.RowFilter, after job.RowCursor, limit int) []string {
		t.Helper()
		got, err := s.Query(ctx, hub, f, after, limit)
		suitetest.Must(t, err)
		var out []string
		for _, d := range got {
			out = append(out, fmt.Sprintf("%s/%s/%s %s", d.Job, d.ID.Device, d.ID.Module, d.Type))
		}
		return out
	}
	const m, u = " scheduleDeviceMethod", " scheduleUpdateTwin"
	suitetest.Same(t, "all", query(job.RowFilter{}, job.RowCursor{}, 99), []string{"a/d1/" + m, "a/d1/m" + m, "a/d2/" + m, "b/d1/" + u, "b/d1/m" + u, "b/d2/" + u})
	suitetest.Same(t, "page", query(job.RowFilter{}, job.RowCursor{Job: "a", Device: "d1", Module: "m"}, 2), []string{"a/d2/" + m, "b/d1/" + u})
	suitetest.Same(t, "job", query(job.RowFilter{Job: "b"}, job.RowCursor{Job: "b", Device: "d1"}, 9), []string{"b/d1/m" + u, "b/d2/" + u})
	suitetest.Same(t, "device", query(job.RowFilter{Device: "d1"}, job.RowCursor{Job: "a", Device: "d1"}, 9), []string{"a/d1/m" + m, "b/d1/" + u, "b/d1/m" + u})
	suitetest.Same(t, "both", query(job.RowFilter{Job: "a", Device: "d2"}, job.RowCursor{}, 9), []string{"a/d2/" + m})
	suitetest.Same(t, "neither", query(job.RowFilter{Job: "c"}, job.RowCursor{}, 9), []string(nil))
}

func testDeleteHub(t *testing.T, f Fixture) {
	s, ctx := f.Store, t.Context()
	for _, h := range []string{hub, abroad} {
		suitetest.Must(t, s.Create(ctx, Job(h, "a", 0)))
		suitetest.Must(t, s.AddRows(ctx, h, "a", base, causeway.Identity{Hub: h, Device: "d"}))
	}
	f.DeleteHub(hub)
	_, err := s.Get(ctx, hub, "a")
	suitetest.Code(t, err, causeway.JobNotFound)
	rows, err := s.Query(ctx, hub, job.RowFilter{}, job.RowCursor{}, 9)
	if len(rows) != 0 || err != nil {
		t.Errorf("rows %v, %v of a hub that is gone", rows, err)
	}
	all, err := s.Unsettled(ctx)
	suitetest.Must(t, err)
	suitetest.Same(t, "what is left", names(all), []string{"depot/a"})
}

func testContext(t *testing.T, f Fixture) {
	s := f.Store
	suitetest.Must(t, s.Create(t.Context(), Job(hub, "a", 0)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := s.Get(ctx, hub, "a")
	err2 := s.AddRows(ctx, hub, "a", base, id("d", ""))
	_, err3 := s.Unsettled(ctx)
	for i, err := range []error{s.Create(ctx, Job(hub, "b", 0)), err1, err2, err3} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}
