package jobtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
)

// Memory is a [job.Store] for tests.
type Memory struct {
	mu   sync.Mutex
	hubs map[string]map[string]*entry
}

type entry struct {
	job  job.Job
	rows map[causeway.Identity]*job.Row
}

var _ job.Store = (*Memory)(nil)

// NewMemory returns a store of the given hubs.
func NewMemory(hubs ...string) *Memory {
	m := &Memory{hubs: map[string]map[string]*entry{}}
	for _, h := range hubs {
		m.hubs[h] = map[string]*entry{}
	}
	return m
}

// DeleteHub forgets a hub with its jobs.
func (m *Memory) DeleteHub(hub string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hubs, hub)
}

// begin locks the store unless ctx has ended.
func (m *Memory) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	return nil
}

func (m *Memory) find(hub, id string) (*entry, error) {
	if e := m.hubs[hub][id]; e != nil {
		return e, nil
	}
	return nil, causeway.Errorf(causeway.JobNotFound, "jobtest", "job %q does not exist on hub %q", id, hub)
}

// Create implements [job.Store].
func (m *Memory) Create(ctx context.Context, j job.Job) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	jobs := m.hubs[j.Hub]
	switch {
	case jobs == nil:
		return causeway.Errorf(causeway.GenericNotFound, "jobtest", "hub %q does not exist", j.Hub)
	case jobs[j.ID] != nil:
		return causeway.Errorf(causeway.JobAlreadyExists, "jobtest", "job %q exists", j.ID)
	}
	j.Statistics = job.Statistics{}
	jobs[j.ID] = &entry{job: clone(j), rows: map[causeway.Identity]*job.Row{}}
	return nil
}

func clone(j job.Job) job.Job {
	j.Twin.Tags, j.Twin.Desired, j.Method.Payload = slices.Clone(j.Twin.Tags), slices.Clone(j.Twin.Desired), slices.Clone(j.Method.Payload)
	return j
}

// read returns the job with its statistics.
func (e *entry) read() job.Job {
	j := clone(e.job)
	s := &j.Statistics
	s.Devices = len(e.rows)
	for _, r := range e.rows {
		switch r.Status {
		case job.RowPending:
			s.Pending++
		case job.RowRunning:
			s.Running++
		case job.RowCompleted:
			s.Succeeded++
		case job.RowFailed:
			s.Failed++
		case job.RowCanceled:
		}
	}
	return j
}

// Get implements [job.Store].
func (m *Memory) Get(ctx context.Context, hub, id string) (job.Job, error) {
	if err := m.begin(ctx); err != nil {
		return job.Job{}, err
	}
	defer m.mu.Unlock()
	e, err := m.find(hub, id)
	if err != nil {
		return job.Job{}, err
	}
	return e.read(), nil
}

// List implements [job.Store].
func (m *Memory) List(ctx context.Context, hub string, f job.Filter, after job.Cursor, limit int) ([]job.Job, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var all []job.Job
	for _, e := range m.hubs[hub] {
		j := e.read()
		if (f.Type == "" || f.Type == j.Type) && (f.Status == "" || f.Status == j.Status) && (after.ID == "" || newer(after, job.Cursor{Created: j.Created, ID: j.ID}) < 0) {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(a, b job.Job) int {
		return newer(job.Cursor{Created: a.Created, ID: a.ID}, job.Cursor{Created: b.Created, ID: b.ID})
	})
	return all[:min(limit, len(all))], nil
}

func newer(a, b job.Cursor) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) }

// Advance implements [job.Store].
func (m *Memory) Advance(ctx context.Context, hub, id string, from job.Status, to job.State) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	e, err := m.find(hub, id)
	if err != nil || e.job.Settled || e.job.Status != from {
		return false, err
	}
	e.job.State = to
	return true, nil
}

// Unsettled implements [job.Store].
func (m *Memory) Unsettled(ctx context.Context) ([]job.Job, error) {
	return m.each(ctx, func(j *job.Job) bool { return !j.Settled }, 1<<30)
}

// Old implements [job.Store].
func (m *Memory) Old(ctx context.Context, before time.Time, limit int) ([]job.Job, error) {
	return m.each(ctx, func(j *job.Job) bool { return j.Settled && j.Finished.Before(before) }, limit)
}

func (m *Memory) each(ctx context.Context, want func(*job.Job) bool, limit int) ([]job.Job, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var all []job.Job
	for _, hub := range slices.Sorted(maps.Keys(m.hubs)) {
		for _, id := range slices.Sorted(maps.Keys(m.hubs[hub])) {
			if j := m.hubs[hub][id].read(); want(&j) && len(all) < limit {
				all = append(all, j)
			}
		}
	}
	return all, nil
}

// Delete implements [job.Store].
func (m *Memory) Delete(ctx context.Context, hub, id string) (bool, error) {
	if err := m.begin(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	e, err := m.find(hub, id)
	if err != nil {
		return true, nil //nolint:nilerr // gone already
	}
	if !e.job.Settled || len(e.rows) > 0 {
		return false, nil
	}
	delete(m.hubs[hub], id)
	return true, nil
}

// AddRows implements [job.Store].
func (m *Memory) AddRows(ctx context.Context, hub, id string, at time.Time, targets ...causeway.Identity) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	e, err := m.find(hub, id)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if e.rows[t] == nil {
			e.rows[t] = &job.Row{ID: t, Job: id, Created: at, Updated: at}
		}
	}
	return nil
}

// DropRows implements [job.Store].
func (m *Memory) DropRows(ctx context.Context, hub, id string, limit int) (int, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	e := m.hubs[hub][id]
	if e == nil {
		return 0, nil
	}
	n := 0
	for k := range e.rows {
		if n == limit {
			break
		}
		delete(e.rows, k)
		n++
	}
	return n, nil
}

func byID(a, b causeway.Identity) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Module, b.Module))
}

// sorted returns the ids of the rows, in order.
func (e *entry) sorted() []causeway.Identity { return slices.SortedFunc(maps.Keys(e.rows), byID) }

func cloneRow(r job.Row) job.Row {
	r.Answer.Payload = slices.Clone(r.Answer.Payload)
	return r
}

// Rows implements [job.Store].
func (m *Memory) Rows(ctx context.Context, hub, id string, status job.RowStatus, after causeway.Identity, limit int) ([]job.Row, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	e := m.hubs[hub][id]
	if e == nil {
		return nil, nil
	}
	var rows []job.Row
	for _, k := range e.sorted() {
		if r := e.rows[k]; r.Status == status && byID(k, after) > 0 && len(rows) < limit {
			rows = append(rows, cloneRow(*r))
		}
	}
	return rows, nil
}

// SetRows implements [job.Store].
func (m *Memory) SetRows(ctx context.Context, hub, id string, rows ...job.Row) (int, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	e := m.hubs[hub][id]
	if e == nil {
		return 0, nil
	}
	n := 0
	for _, r := range rows {
		if old := e.rows[r.ID]; old != nil && !old.Status.Final() {
			r = cloneRow(r)
			r.Created, r.Job = old.Created, id
			*old = r
			n++
		}
	}
	return n, nil
}

// CloseRows implements [job.Store].
func (m *Memory) CloseRows(ctx context.Context, hub, id string, from job.RowStatus, end job.Row, limit int) (int, error) {
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	e := m.hubs[hub][id]
	if e == nil {
		return 0, nil
	}
	n := 0
	for _, k := range e.sorted() {
		if r := e.rows[k]; r.Status == from && n < limit {
			next := cloneRow(end)
			next.ID, next.Job, next.Created, next.Started = r.ID, id, r.Created, r.Started
			*r = next
			n++
		}
	}
	return n, nil
}

// Query implements [job.Store].
func (m *Memory) Query(ctx context.Context, hub string, f job.RowFilter, after job.RowCursor, limit int) ([]job.DeviceJob, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var out []job.DeviceJob
	for _, id := range slices.Sorted(maps.Keys(m.hubs[hub])) {
		e := m.hubs[hub][id]
		if f.Job != "" && f.Job != id {
			continue
		}
		for _, k := range e.sorted() {
			d := job.DeviceJob{Row: cloneRow(*e.rows[k]), Type: e.job.Type}
			if (f.Device == "" || f.Device == k.Device) && beyond(d.Cursor(), after) && len(out) < limit {
				out = append(out, d)
			}
		}
	}
	return out, nil
}

func beyond(a, b job.RowCursor) bool {
	return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Module, b.Module)) > 0
}
