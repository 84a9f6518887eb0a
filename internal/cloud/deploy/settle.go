package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// look is one look at a device: what of it is to be made as the configurations
// say.
type look struct {
	*Service
	b *book
	m mark
	// strict makes what does not fit an error: somebody waits for the outcome.
	strict bool
	wrote  bool // a twin was changed
}

// settle makes a device, and its modules, as the configurations say, as far as a
// mark tells that they may not be. A device that is gone is no error.
func (s *Service) settle(ctx context.Context, id causeway.Identity, m mark) error {
	release, err := s.locks.Take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	for {
		f := s.fleet(id.Hub)
		if f == nil {
			return nil
		}
		b := f.book.Load()
		if m.book != b {
			m.all = true // the bits are of configurations as they were
		}
		err := s.lookAt(ctx, &look{Service: s, b: b, m: m}, id)
		// A configuration that changed meanwhile has looked for its devices
		// before what was just written could be seen.
		if now := s.fleet(id.Hub); err != nil || now == nil || now.book.Load() == b {
			return err
		}
		m.book = nil
	}
}

func (s *Service) lookAt(ctx context.Context, l *look, id causeway.Identity) error {
	err := l.device(ctx, id)
	if l.wrote {
		s.flaps.changed(id)
	}
	switch causeway.CodeOf(err) {
	case causeway.DeviceNotFound, causeway.ModuleNotFound:
		return nil // who deletes marks what is left
	}
	return err
}

func (l *look) device(ctx context.Context, id causeway.Identity) error {
	rec, err := l.o.Registry.Get(ctx, id)
	if err != nil {
		return err
	}
	if l.m.all || l.m.drift || l.m.device.meets(l.b.bits[Device]) {
		members := l.members(ctx, Device, &rec, rec.Configurations, l.m.device, l.m.all)
		if err := l.twin(ctx, rec, &plan{layers: overlay(members, rec.Configurations), force: l.m.all || l.m.drift}); err != nil {
			return err
		}
	}
	if rec.Edge {
		return l.edge(ctx, &rec)
	}
	return l.modules(ctx, &rec, nil, nil)
}

// modules looks at the modules of a device that are marked, or at all of them.
// On an edge device d is its deployment; without one, what earlier ones set
// stays. Those done are left out.
func (l *look) modules(ctx context.Context, device *registry.Record, d *deployment, done map[string]bool) error {
	marked := l.m.module
	if l.m.all {
		recs, err := l.o.Registry.Modules(ctx, device.ID)
		if err != nil {
			return err
		}
		marked = make(map[string]moduleMark, len(recs))
		for i := range recs {
			marked[recs[i].ID.Module] = moduleMark{drift: true}
		}
	}
	for _, name := range sortedNames(marked) {
		if done[name] {
			continue
		}
		id := device.ID
		id.Module = name
		rec, err := l.o.Registry.Get(ctx, id)
		if causeway.CodeOf(err) == causeway.ModuleNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := l.module(ctx, rec, d, marked[name].drift); err != nil {
			return err
		}
	}
	return nil
}

// module looks at a module.
func (l *look) module(ctx context.Context, rec registry.Record, d *deployment, force bool) error {
	mm := l.m.module[rec.ID.Module]
	members := l.members(ctx, Module, &rec, rec.Configurations, mm.bits, l.m.all)
	p := &plan{force: force || l.m.all, frozen: true}
	p.layers = overlay(members, rec.Configurations)
	if d != nil {
		if rec.ID.Module == registry.EdgeAgent {
			maps.Copy(p.is, d.is)
		}
		if !d.frozen {
			p.frozen, p.adds, p.edge = false, d.adds, d.modules[rec.ID.Module]
		}
	}
	return l.twin(ctx, rec, p)
}

// members returns the configurations of a kind that target a record, the lowest
// precedence first. Those that nothing says may have changed are as they are
// written down in have.
func (l *look) members(ctx context.Context, k Kind, rec *registry.Record, have map[string]string, bits bitset, all bool) []*compiled {
	var members []*compiled
	var row hubquery.Row
	for _, c := range l.b.of[k] {
		targets := have[c.ID] != ""
		if (all || bits.has(c.ord)) && c.broken == nil {
			if row == nil {
				row = l.o.Query.Row(ctx, rec)
			}
			targets = c.matches(rec, row)
		}
		if targets {
			members = append(members, c)
		}
	}
	return members
}

// plan is what a twin is to be like.
type plan struct {
	layers           // of configurations of devices or modules; is also has deployments
	edge   []setting // of deployments
	frozen bool      // what deployments set stays as it is
	adds   bool      // what deployments set stays where edge sets nothing else
	force  bool      // look at the twin even when the statuses are right
}

// twin carries a plan out.
func (l *look) twin(ctx context.Context, rec registry.Record, p *plan) error {
	if !p.force && maps.Equal(p.is, statuses(rec.Configurations)) {
		return nil
	}
	old, err := l.o.Store.Trace(ctx, rec.ID)
	if err != nil {
		return fmt.Errorf("read what configurations set on %s: %w", rec.ID, err)
	}
	before := old
	next := Trace{ID: rec.ID, Own: keys(p.settings), Edge: keys(p.edge), Manual: old.Manual}
	if p.frozen || p.adds {
		next.Edge = union(old.Edge, next.Edge)
	}
	if p.keeps {
		next.Own = union(old.Own, next.Own)
	}
	for attempt := 1; ; attempt++ {
		err := l.write(ctx, &rec, &old, &next, p)
		if causeway.CodeOf(err) == causeway.PreconditionFailed && attempt < maxAttempts {
			if rec, err = l.o.Registry.Get(ctx, rec.ID); err == nil {
				continue
			}
		}
		if refused(err) && !l.strict {
			l.log.Warn("a configuration does not fit into a twin", "identity", rec.ID, "error", err)
			next = before
			for id, status := range p.is {
				if have := rec.Configurations[id]; status == registry.ConfigurationApplied && have != status {
					p.is[id] = registry.ConfigurationTargeted
				}
			}
			err = nil
		}
		if err != nil {
			return err
		}
		break
	}
	if err := l.status(ctx, &rec, p.is); err != nil {
		return err
	}
	return l.trace(ctx, &old, &next)
}

// refused reports whether a twin cannot be as a plan wants, now or later: the
// properties are more than a twin may have, or the device has too many modules.
func refused(err error) bool {
	switch causeway.CodeOf(err) {
	case causeway.ArgumentInvalid, causeway.TooManyModulesOnDevice, causeway.TooManyDevices:
		return true
	}
	return false
}

// write brings the desired properties to what a plan says. What it may set is
// written down before.
func (l *look) write(ctx context.Context, rec *registry.Record, old, next *Trace, p *plan) error {
	now, err := decode(rec.Twin.Desired.Properties)
	if err != nil {
		return fmt.Errorf("read the desired properties of %s: %w", rec.ID, err)
	}
	to, _ := clone(now).(object)
	var gone []string
	if !p.frozen && !p.adds {
		gone = old.Edge
	}
	if !p.keeps {
		gone = slices.Concat(gone, old.Own)
	}
	patch := difference(now, target(to, gone, p.edge, p.settings))
	if patch == nil {
		return nil
	}
	text, err := hubjson.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode the change of %s: %w", rec.ID, err)
	}
	// What is about to be set is written down first, beside what was set before.
	during := Trace{ID: rec.ID, Manual: old.Manual, Edge: union(old.Edge, next.Edge), Own: union(old.Own, next.Own)}
	if err := l.trace(ctx, old, &during); err != nil {
		return err
	}
	if err := l.Service.pace.wait(ctx); err != nil {
		return err
	}
	l.wrote = true
	changed, err := l.o.Registry.UpdateTwin(own(ctx), rec.ID, registry.TwinUpdate{Desired: text}, twin.ETagText(rec.Twin.ETag))
	if err != nil {
		return err
	}
	changed.Configurations = rec.Configurations
	*rec = changed
	return nil
}

// trace writes a trace down unless that is what there is, and takes note in old.
func (l *look) trace(ctx context.Context, old, next *Trace) error {
	if old.Manual == next.Manual && slices.Equal(old.Edge, next.Edge) && slices.Equal(old.Own, next.Own) {
		return nil
	}
	if err := l.o.Store.PutTrace(ctx, *next); err != nil {
		return fmt.Errorf("write down what configurations set on %s: %w", next.ID, err)
	}
	*old = *next
	return nil
}

// status writes the states of configurations down.
func (l *look) status(ctx context.Context, rec *registry.Record, is statuses) error {
	var changes []registry.ConfigurationChange
	for _, id := range sortedNames(is) {
		if rec.Configurations[id] != is[id] {
			changes = append(changes, registry.ConfigurationChange{ID: rec.ID, Configuration: id, Status: is[id]})
		}
	}
	for _, id := range sortedNames(rec.Configurations) {
		if is[id] == "" {
			changes = append(changes, registry.ConfigurationChange{ID: rec.ID, Configuration: id})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if err := l.o.Registry.SetConfigurations(ctx, changes...); err != nil {
		return fmt.Errorf("write the configurations of %s down: %w", rec.ID, err)
	}
	for _, c := range changes {
		l.results.stale(rec.ID.Hub, c.Configuration)
	}
	l.statusChanged(l.b, rec.ID)
	return nil
}

// union returns sorted paths of both.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
