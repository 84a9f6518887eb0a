package deploy

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// ApplyContent brings a content to one device, at once and once: deviceContent
// is written into its twin, modulesContent deploys to an edge device. An edge
// device is then left as it is until the deployments that target it, or their
// order, are others than now. It returns when everything is durable; after an
// error some of it may be, and can be applied again.
//
// Codes: DeviceNotFound, InvalidConfigurationContent, ArgumentInvalid (the twin
// would be too large), TooManyModulesOnDevice,
// ApplyConfigurationAlreadyInProgressOnDevice.
func (s *Service) ApplyContent(ctx context.Context, device causeway.Identity, text []byte) error {
	const op = "deploy.ApplyContent"
	c, err := parseContent(text)
	if err != nil {
		return err
	}
	if c.module != nil {
		return badContent("content."+moduleContent, "it is for configurations; apply deviceContent or modulesContent to a device")
	}
	if _, busy := s.applying.LoadOrStore(device, true); busy {
		return causeway.Errorf(causeway.ApplyConfigurationAlreadyInProgressOnDevice, op,
			"another content is being applied to device %q; try again when that is done", device.Device)
	}
	defer s.applying.Delete(device)
	release, err := s.locks.Take(ctx, device)
	if err != nil {
		return err
	}
	defer release()
	rec, err := s.o.Registry.Get(ctx, device)
	if err != nil {
		return err
	}
	if c.modules != nil && !rec.Edge {
		return badContent("content."+modulesContent, "device %q is no edge device; set its capabilities.iotEdge first", device.Device)
	}
	if c.device != nil {
		if err := s.applySettings(ctx, rec, c.device); err != nil {
			return err
		}
	}
	if c.modules != nil {
		return s.applyModules(ctx, &rec, &c)
	}
	return nil
}

// applySettings writes settings into a device twin.
func (s *Service) applySettings(ctx context.Context, rec registry.Record, settings []setting) error {
	for attempt := 1; ; attempt++ {
		now, err := decode(rec.Twin.Desired.Properties)
		if err != nil {
			return err
		}
		to, _ := clone(now).(object)
		patch := difference(now, target(to, nil, settings))
		if patch == nil {
			return nil
		}
		text, err := hubjson.Marshal(patch)
		if err != nil {
			return err
		}
		_, err = s.o.Registry.UpdateTwin(ctx, rec.ID, registry.TwinUpdate{Desired: text}, twin.ETagText(rec.Twin.ETag))
		if causeway.CodeOf(err) != causeway.PreconditionFailed || attempt == maxAttempts {
			return err
		}
		if rec, err = s.o.Registry.Get(ctx, rec.ID); err != nil {
			return err
		}
	}
}

// applyModules deploys by hand. That this is so is written down first: what was
// in force until now must not come back in between.
func (s *Service) applyModules(ctx context.Context, rec *registry.Record, c *content) error {
	l := &look{Service: s, b: newBook(nil), m: mark{all: true}, strict: true}
	if f := s.fleet(rec.ID.Hub); f != nil {
		l.b = f.book.Load()
	}
	agent := rec.ID
	agent.Module = registry.EdgeAgent
	now, err := s.o.Registry.Get(ctx, agent)
	if err != nil {
		return err
	}
	members := l.members(ctx, Edge, rec, now.Configurations, nil, true)
	auto := deploy(members, now.Configurations)
	trace, err := s.o.Store.Trace(ctx, rec.ID)
	if err != nil {
		return err
	}
	next := trace
	next.Manual = auto.name()
	if err := l.trace(ctx, &trace, &next); err != nil {
		return err
	}
	auto.hold()
	_, err = l.deploy(ctx, rec, &deployment{is: auto.is, modules: c.modules, wanted: wanted(c.modules), adds: !c.base()})
	if f := s.fleet(rec.ID.Hub); f != nil && f.book.Load() != l.b {
		s.queue.add(rec.ID, mark{all: true}) // see settle
	}
	return err
}
