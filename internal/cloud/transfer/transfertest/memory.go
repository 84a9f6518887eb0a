package transfertest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// Memory is a [transfer.Store] for tests.
type Memory struct {
	mu   sync.Mutex
	hubs map[string]bool
	jobs []transfer.Job
}

var _ transfer.Store = (*Memory)(nil)

// NewMemory returns a store of the given hubs.
func NewMemory(hubs ...string) *Memory {
	m := &Memory{hubs: map[string]bool{}}
	for _, h := range hubs {
		m.hubs[h] = true
	}
	return m
}

// DeleteHub forgets a hub with its jobs.
func (m *Memory) DeleteHub(hub string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hubs, hub)
	m.jobs = slices.DeleteFunc(m.jobs, func(j transfer.Job) bool { return j.Hub == hub })
}

func (m *Memory) find(hub, id string) (*transfer.Job, error) {
	for i := range m.jobs {
		if j := &m.jobs[i]; j.Hub == hub && j.ID == id {
			return j, nil
		}
	}
	return nil, causeway.Errorf(causeway.JobNotFound, "transfertest", "job %q does not exist on hub %q", id, hub)
}

// Create implements [transfer.Store].
func (m *Memory) Create(ctx context.Context, j transfer.Job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !m.hubs[j.Hub] {
		return causeway.Errorf(causeway.GenericNotFound, "transfertest", "hub %q does not exist", j.Hub)
	}
	if old, _ := m.find(j.Hub, j.ID); old != nil {
		return causeway.Errorf(causeway.JobAlreadyExists, "transfertest", "job %q exists", j.ID)
	}
	for i := range m.jobs {
		if m.jobs[i].Hub == j.Hub && !m.jobs[i].Status.Ended() {
			return causeway.Errorf(causeway.JobQuotaExceeded, "transfertest", "job %q has not ended", m.jobs[i].ID)
		}
	}
	m.jobs = append(m.jobs, j)
	return nil
}

// Get implements [transfer.Store].
func (m *Memory) Get(ctx context.Context, hub, id string) (transfer.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return transfer.Job{}, err
	}
	j, err := m.find(hub, id)
	if err != nil {
		return transfer.Job{}, err
	}
	return *j, nil
}

// List implements [transfer.Store].
func (m *Memory) List(ctx context.Context, hub string, limit int) ([]transfer.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []transfer.Job
	for _, j := range m.jobs {
		if j.Hub == hub {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b transfer.Job) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return out[:min(limit, len(out))], ctx.Err()
}

// Save implements [transfer.Store].
func (m *Memory) Save(ctx context.Context, hub, id string, from transfer.Status, to transfer.State) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	j, err := m.find(hub, id)
	if err != nil || j.Status != from {
		return false, err
	}
	j.State = to
	return true, nil
}

// Unfinished implements [transfer.Store].
func (m *Memory) Unfinished(ctx context.Context) ([]transfer.Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []transfer.Job
	for _, j := range m.jobs {
		if !j.Status.Ended() {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b transfer.Job) int { return cmp.Or(cmp.Compare(a.Hub, b.Hub), cmp.Compare(a.ID, b.ID)) })
	return out, ctx.Err()
}

// Expire implements [transfer.Store].
func (m *Memory) Expire(ctx context.Context, before time.Time, limit int) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs = slices.DeleteFunc(m.jobs, func(j transfer.Job) bool {
		old := j.Status.Ended() && j.Finished.Before(before) && n < limit
		if old {
			n++
		}
		return old
	})
	return n, ctx.Err()
}
