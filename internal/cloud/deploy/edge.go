package deploy

import (
	"context"
	"maps"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// edge looks at the deployments of an edge device, and at its modules. The
// states of deployments are on the agent, where queries look for them.
func (l *look) edge(ctx context.Context, device *registry.Record) error {
	id := device.ID
	id.Module = registry.EdgeAgent
	agent, err := l.o.Registry.Get(ctx, id)
	if err != nil {
		return err
	}
	members := l.members(ctx, Edge, device, agent.Configurations, l.m.device, l.m.all)
	d := deploy(members, agent.Configurations)
	d.frozen = len(d.applied) == 0
	right := l.agrees(d, agent.Configurations)
	var manual Trace // of the device
	if l.m.all || l.m.edge || !right {
		if manual, err = l.o.Store.Trace(ctx, device.ID); err != nil {
			return err
		}
		if manual.Manual == d.name() && !d.frozen {
			d.hold()
			right = l.agrees(d, agent.Configurations)
		}
	}
	done := map[string]bool{}
	switch {
	case d.frozen && right && !l.m.all:
	case d.frozen:
		if err := l.module(ctx, agent, d, true); err != nil {
			return err
		}
		done[agent.ID.Module] = true
	case !right || l.m.all || l.m.edge:
		if done, err = l.deploy(ctx, device, d); err != nil {
			return err
		}
		if manual.Manual != "" {
			next := manual
			next.Manual = ""
			if err := l.trace(ctx, &manual, &next); err != nil {
				return err
			}
		}
	}
	return l.modules(ctx, device, d, done)
}

// agrees reports whether the states of deployments on the agent are those of d.
func (l *look) agrees(d *deployment, have map[string]string) bool {
	n := 0
	for id, status := range have {
		if c := l.b.byID[id]; c == nil {
			return false // deleted
		} else if c.is(Edge) {
			if n++; d.is[id] != status {
				return false
			}
		}
	}
	return n == len(d.is)
}

// hold keeps a deployment from being carried out: somebody deployed by hand.
func (d *deployment) hold() {
	d.frozen = true
	for id := range d.is {
		d.is[id] = registry.ConfigurationTargeted
	}
}

// deploy carries a deployment out: modules that are missing get identities, then
// come the twins, that of the agent last as it acts on it, and modules that an
// earlier deployment brought go. It returns the modules that it has looked at.
func (l *look) deploy(ctx context.Context, device *registry.Record, d *deployment) (map[string]bool, error) {
	recs, err := l.o.Registry.Modules(ctx, device.ID)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]registry.Record, len(recs))
	for _, r := range recs {
		byName[r.ID.Module] = r
	}
	for _, name := range sortedNames(d.wanted) {
		if _, ok := byName[name]; ok {
			continue
		}
		rec, err := l.create(ctx, device.ID, name)
		if refused(err) && !l.strict {
			l.log.Warn("a deployment brings more modules than a device may have", "identity", device.ID, "module", name, "error", err)
			d.hold()
			break
		}
		if err != nil {
			return nil, err
		}
		byName[name] = rec
		// Nobody has looked at it yet.
		l.m.module = maps.Clone(l.m.module)
		if l.m.module == nil {
			l.m.module = map[string]moduleMark{}
		}
		l.m.module[name] = moduleMark{bits: l.b.bits[Module], drift: true}
	}
	done := map[string]bool{}
	for _, name := range order(byName) {
		rec := byName[name]
		if !d.frozen && !d.adds && removable(&rec) && !d.wanted[name] {
			continue
		}
		if err := l.module(ctx, rec, d, true); err != nil {
			return nil, err
		}
		done[name] = true
	}
	if d.frozen || d.adds {
		return done, nil
	}
	for _, name := range sortedNames(byName) {
		rec := byName[name]
		if done[name] {
			continue
		}
		if err := l.o.Registry.Delete(own(ctx), rec.ID, "*"); err != nil && causeway.CodeOf(err) != causeway.ModuleNotFound {
			return nil, err
		}
		done[name] = true
	}
	return done, nil
}

// create registers a module of a deployment.
func (s *Service) create(ctx context.Context, device causeway.Identity, name string) (registry.Record, error) {
	id := device
	id.Module = name
	rec, err := s.o.Registry.Create(own(ctx), registry.Record{ID: id, ManagedBy: registry.ManagedByEdge})
	if causeway.CodeOf(err) == causeway.ModuleAlreadyExistsOnDevice {
		return s.o.Registry.Get(ctx, id)
	}
	return rec, err
}

// removable reports whether a module came with a deployment, and goes when there
// is no deployment with it. Those that somebody registered stay.
func removable(rec *registry.Record) bool {
	return !system(rec.ID.Module) && strings.EqualFold(rec.ManagedBy, registry.ManagedByEdge)
}

// order returns modules in the order in which their twins are written.
func order(modules map[string]registry.Record) []string {
	rest := maps.Clone(modules)
	delete(rest, registry.EdgeAgent)
	delete(rest, registry.EdgeHub)
	names := sortedNames(rest)
	for _, name := range []string{registry.EdgeHub, registry.EdgeAgent} {
		if _, ok := modules[name]; ok {
			names = append(names, name)
		}
	}
	return names
}
