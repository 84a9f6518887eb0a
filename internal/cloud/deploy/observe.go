package deploy

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// ownChange marks the context of what this package changes.
type ownChange struct{}

func own(ctx context.Context) context.Context { return context.WithValue(ctx, ownChange{}, true) }

// Observe hears of the changes of identities and twins and marks devices whose
// configurations may be others now. It implements [registry.Observer]; it does
// not wait and never fails.
func (s *Service) Observe(ctx context.Context, e registry.Event) error {
	rec := e.Record()
	f := s.fleet(rec.ID.Hub)
	if f == nil {
		return nil
	}
	b := f.book.Load()
	if len(b.all) == 0 {
		return nil // what deleted ones left behind is for their rollouts
	}
	ours := ctx.Value(ownChange{}) != nil
	if rec.ID.IsModule() {
		s.observeModule(b, &e, ours)
	} else {
		s.observeDevice(b, &e, ours)
	}
	return nil
}

func (s *Service) observeDevice(b *book, e *registry.Event, ours bool) {
	id := e.Record().ID
	m := mark{book: b}
	switch e.Kind {
	case registry.Created:
		m.all = true
	case registry.IdentityUpdated:
		m.all = e.Before == nil || e.Before.Edge != e.After.Edge
		m.device = b.devices.touched(nil, identity, nil)
	case registry.TwinChanged:
		m.device = b.devices.changed(e)
		// Somebody may have changed what a configuration keeps.
		m.drift = e.Desired != nil && !ours && len(e.After.Configurations) > 0
	default:
		return
	}
	if m.all || m.drift || !m.device.empty() {
		s.queue.add(id, m)
	}
}

func (s *Service) observeModule(b *book, e *registry.Event, ours bool) {
	if len(b.of[Module]) == 0 && len(b.of[Edge]) == 0 {
		return
	}
	id := e.Record().ID
	m := mark{book: b}
	var mm moduleMark
	switch e.Kind {
	case registry.Created:
		if ours {
			return // its settings are next
		}
		mm = moduleMark{bits: b.bits[Module], drift: true}
	case registry.Removed:
		m.edge = !ours && len(b.of[Edge]) > 0
	case registry.IdentityUpdated:
		mm.bits = b.modules.touched(nil, identity, nil)
	case registry.TwinChanged:
		mm.bits = b.modules.changed(e)
		mm.drift = e.Desired != nil && !ours
	}
	if mm.drift || !mm.bits.empty() {
		m.module = map[string]moduleMark{id.Module: mm}
	} else if !m.edge {
		return
	}
	s.queue.add(id.Parent(), m)
}

// changed returns the conditions that a change of a twin may decide anew.
func (r *references) changed(e *registry.Event) bitset {
	var bits bitset
	all := true
	for _, x := range []struct {
		s     section
		patch []byte
	}{{tags, e.Tags}, {desired, e.Desired}, {reported, e.Reported}} {
		if x.patch != nil {
			bits = r.touched(bits, x.s, x.patch)
			all = false
		}
	}
	if all { // the model
		bits = r.touched(bits, identity, nil)
	}
	return bits
}

// statusChanged marks a device whose status was written, for conditions that
// read it.
func (s *Service) statusChanged(b *book, id causeway.Identity) {
	r := &b.devices
	if id.IsModule() {
		r = &b.modules
	}
	bits := r.any[configurations]
	if bits.empty() {
		return
	}
	m := mark{book: b}
	if id.IsModule() {
		m.module = map[string]moduleMark{id.Module: {bits: bits}}
	} else {
		m.device = bits
	}
	s.queue.add(id.Parent(), m)
}
