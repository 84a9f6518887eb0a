package dpstest

import (
	"bytes"
	"context"
	"encoding/gob"
	"slices"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// NewMemory returns a store in memory, for tests.
func NewMemory() *Memory { return &Memory{services: map[string]*kept{}} }

// Memory is a [dps.Store] that forgets everything when it is dropped.
type Memory struct {
	mu       sync.Mutex
	services map[string]*kept
	decided  int64 // position of the last decision
}

// kept is one service with all it has, by ids in lower case.
type kept struct {
	instance      dps.Instance
	enrollments   [2]map[string]dps.Enrollment // of devices, of groups
	registrations map[string]dps.Registration
	revocations   map[string]dps.Revocation
	issued        map[string]dps.Issued
	decisions     []dps.Decision
}

var _ dps.Store = (*Memory)(nil)

// clone returns a copy that shares no memory with v.
func clone[T any](v T) T {
	var b bytes.Buffer
	var c T
	if err := gob.NewEncoder(&b).Encode(&v); err != nil {
		panic(err)
	}
	if err := gob.NewDecoder(&b).Decode(&c); err != nil {
		panic(err)
	}
	return c
}

// service returns what is kept of a service, made if it is not there.
func (m *Memory) service(name string) *kept {
	k := m.services[name]
	if k == nil {
		k = &kept{registrations: map[string]dps.Registration{}, revocations: map[string]dps.Revocation{}, issued: map[string]dps.Issued{}}
		for i := range k.enrollments {
			k.enrollments[i] = map[string]dps.Enrollment{}
		}
		m.services[name] = k
	}
	return k
}

func which(group bool) int {
	if group {
		return 1
	}
	return 0
}

// Instances implements [dps.Store].
func (m *Memory) Instances(context.Context) (list []dps.Instance, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.services {
		if k.instance.Name != "" {
			list = append(list, clone(k.instance))
		}
	}
	slices.SortFunc(list, func(a, b dps.Instance) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// PutInstance implements [dps.Store].
func (m *Memory) PutInstance(_ context.Context, i dps.Instance) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service(i.Name).instance = clone(i)
	return nil
}

// DeleteInstance implements [dps.Store].
func (m *Memory) DeleteInstance(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.services, name)
	return nil
}

// Enrollment implements [dps.Store].
func (m *Memory) Enrollment(_ context.Context, service string, group bool, id string) (dps.Enrollment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.service(service).enrollments[which(group)][strings.ToLower(id)]
	if !ok {
		return e, causeway.Errorf(dps.CodeEnrollmentNotFound, "memory", "there is no enrollment %q", id)
	}
	return clone(e), nil
}

// replace checks what a record is to take the place of.
func replace(etag string, exists bool, match string) error {
	switch {
	case match == "*" || !exists && match == "" || exists && match == etag && match != "":
		return nil
	case match == "":
		return causeway.Errorf(dps.CodeConflict, "memory", "it exists")
	}
	return causeway.Errorf(dps.CodePrecondition, "memory", "it was changed")
}

// PutEnrollment implements [dps.Store].
func (m *Memory) PutEnrollment(_ context.Context, service string, e dps.Enrollment, match string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, id := m.service(service).enrollments[which(e.Group)], strings.ToLower(e.ID)
	old, exists := all[id]
	if err := replace(old.ETag, exists, match); err != nil {
		return err
	}
	if e = clone(e); exists {
		e.ID = old.ID
	}
	all[id] = e
	return nil
}

// DeleteEnrollment implements [dps.Store].
func (m *Memory) DeleteEnrollment(_ context.Context, service string, group bool, id, match string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.service(service).enrollments[which(group)]
	old, exists := all[strings.ToLower(id)]
	if !exists {
		return causeway.Errorf(dps.CodeEnrollmentNotFound, "memory", "there is no enrollment %q", id)
	}
	if err := replace(old.ETag, true, match); err != nil {
		return err
	}
	delete(all, strings.ToLower(id))
	return nil
}

// pageOf returns up to limit records in the order of their keys.
func pageOf[T any](all map[string]T, after string, limit int, wanted func(*T) bool) (list []T) {
	var keys []string
	for k := range all {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := all[k]
		if k > after && len(list) < limit && wanted(&v) {
			list = append(list, clone(v))
		}
	}
	return list
}

// Enrollments implements [dps.Store].
func (m *Memory) Enrollments(_ context.Context, service string, group bool, after string, limit int) ([]dps.Enrollment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.service(service).enrollments[which(group)], after, limit, func(*dps.Enrollment) bool { return true }), nil
}

// CountEnrollments implements [dps.Store].
func (m *Memory) CountEnrollments(_ context.Context, service string, group bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.service(service).enrollments[which(group)]), nil
}

// Registration implements [dps.Store].
func (m *Memory) Registration(_ context.Context, service, id string) (dps.Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.service(service).registrations[strings.ToLower(id)]
	if !ok {
		return r, causeway.Errorf(dps.CodeNotFound, "memory", "there is no registration %q", id)
	}
	return clone(r), nil
}

// PutRegistration implements [dps.Store].
func (m *Memory) PutRegistration(_ context.Context, service string, r dps.Registration, match string, d ...dps.Decision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all, id := m.service(service).registrations, strings.ToLower(r.ID)
	old, exists := all[id]
	if err := replace(old.ETag, exists, match); err != nil {
		return err
	}
	if r = clone(r); exists {
		r.ID = old.ID
	}
	all[id] = r
	m.decide(service, d)
	return nil
}

// DeleteRegistration implements [dps.Store].
func (m *Memory) DeleteRegistration(_ context.Context, service, id, match string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.service(service).registrations
	old, exists := all[strings.ToLower(id)]
	if !exists {
		return causeway.Errorf(dps.CodeNotFound, "memory", "there is no registration %q", id)
	}
	if err := replace(old.ETag, true, match); err != nil {
		return err
	}
	delete(all, strings.ToLower(id))
	return nil
}

// Registrations implements [dps.Store].
func (m *Memory) Registrations(_ context.Context, service, group, after string, limit int) ([]dps.Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.service(service).registrations, after, limit, func(r *dps.Registration) bool { return strings.EqualFold(r.Group, group) }), nil
}

// Pending implements [dps.Store].
func (m *Memory) Pending(_ context.Context, service, after string, limit int) ([]dps.Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.service(service).registrations, after, limit, func(r *dps.Registration) bool { return r.Status == dps.Assigning }), nil
}
