package uploadtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
)

// Memory is a store that forgets with the process. Use NewMemory.
type Memory struct {
	mu      sync.Mutex
	devices map[causeway.Identity]bool
	tickets []upload.Ticket
	fail    error
}

var _ upload.Store = (*Memory)(nil)

// NewMemory returns a store for tickets of devices.
func NewMemory(devices ...causeway.Identity) *Memory {
	m := &Memory{devices: map[causeway.Identity]bool{}}
	for _, id := range devices {
		m.AddDevice(id)
	}
	return m
}

// AddDevice lets a device have tickets.
func (m *Memory) AddDevice(id causeway.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devices[id] = true
}

// RemoveDevice ends a device with its tickets.
func (m *Memory) RemoveDevice(id causeway.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.devices, id)
	m.tickets = slices.DeleteFunc(m.tickets, func(t upload.Ticket) bool { return t.Device == id })
}

// Fail makes every method return err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Len returns how many tickets are kept.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tickets)
}

// Add implements upload.Store.
func (m *Memory) Add(_ context.Context, t upload.Ticket, now time.Time, most int) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return false, m.fail
	}
	if !m.devices[t.Device] {
		return false, causeway.Errorf(causeway.DeviceNotFound, "uploadtest.Add", "device not found")
	}
	n := 0
	for _, k := range m.tickets {
		if k.Device == t.Device && k.Expires.After(now) {
			n++
		}
	}
	if n >= most {
		return false, nil
	}
	m.tickets = append(m.tickets, t)
	return true, nil
}

// Get implements upload.Store.
func (m *Memory) Get(_ context.Context, device causeway.Identity, correlation string) (upload.Ticket, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.tickets, func(t upload.Ticket) bool { return t.Device == device && t.Correlation == correlation })
	if i < 0 || m.fail != nil {
		return upload.Ticket{}, false, m.fail
	}
	return m.tickets[i], true, nil
}

// Remove implements upload.Store.
func (m *Memory) Remove(_ context.Context, device causeway.Identity, correlation string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.tickets = slices.DeleteFunc(m.tickets, func(t upload.Ticket) bool { return t.Device == device && t.Correlation == correlation })
	return nil
}

// Forget implements upload.Store.
func (m *Memory) Forget(_ context.Context, before time.Time, limit int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	if m.fail != nil {
		return 0, m.fail
	}
	m.tickets = slices.DeleteFunc(m.tickets, func(t upload.Ticket) bool {
		if n < limit && t.Expires.Before(before) {
			n++
			return true
		}
		return false
	})
	return n, nil
}
