// Package localhub puts devices that are provisioned on hubs of the same cloud, by
// way of its registry.
package localhub

import (
	"context"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Registry is what a hub needs of registry.Service; see there.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
	Create(ctx context.Context, r registry.Record) (registry.Record, error)
	Update(ctx context.Context, r registry.Record, match string) (registry.Record, error)
	UpdateTwin(ctx context.Context, id causeway.Identity, u registry.TwinUpdate, match string) (registry.Record, error)
	Delete(ctx context.Context, id causeway.Identity, match string) error
}

// Hubs finds the hubs of this cloud.
type Hubs struct {
	Registry Registry
	// Name returns the name of the hub that answers to a host name.
	Name func(host string) (name string, ok bool)
}

var _ dps.Targets = Hubs{}

// Target implements [dps.Targets].
func (h Hubs) Target(l dps.Link) (dps.Target, error) {
	name, ok := h.Name(l.Host)
	if !ok {
		return nil, fmt.Errorf("no hub of this cloud answers to %q", l.Host)
	}
	return hub{h.Registry, name}, nil
}

// hub implements [dps.Target].
type hub struct {
	registry Registry
	name     string
}

func (h hub) id(device string) causeway.Identity {
	return causeway.Identity{Hub: h.name, Device: device}
}

// Get implements [dps.Target].
func (h hub) Get(ctx context.Context, id string) (dps.Device, bool, error) {
	r, err := h.registry.Get(ctx, h.id(id))
	if causeway.CodeOf(err) == causeway.DeviceNotFound {
		return dps.Device{}, false, nil
	}
	if err != nil {
		return dps.Device{}, false, fmt.Errorf("read device: %w", err)
	}
	d := dps.Device{ID: id, Edge: r.Edge, Thumbprint: r.Auth.PrimaryThumb, SecondThumbprint: r.Auth.SecondThumb, Tags: r.Twin.Tags, Desired: r.Twin.Desired.Properties, Reported: r.Twin.Reported.Properties}
	d.Keys.Primary, d.Keys.Secondary = r.Auth.Primary, r.Auth.Secondary
	return d, true, nil
}

// Put implements [dps.Target]. A device that exists stays enabled or disabled as
// it is, and where it is among edge devices.
func (h hub) Put(ctx context.Context, d dps.Device, reset bool) error {
	r := registry.Record{
		ID: h.id(d.ID), Enabled: true, Edge: d.Edge,
		Auth: registry.Authentication{Type: auth.SAS, Primary: d.Keys.Primary, Secondary: d.Keys.Secondary},
	}
	if d.Thumbprint != "" {
		r.Auth = registry.Authentication{Type: auth.SelfSigned, PrimaryThumb: d.Thumbprint, SecondThumb: d.SecondThumbprint}
	}
	r.Twin.Tags, r.Twin.Desired.Properties, r.Twin.Reported.Properties = d.Tags, d.Desired, d.Reported
	_, err := h.registry.Create(ctx, r)
	if causeway.CodeOf(err) != causeway.DeviceAlreadyExists {
		return err
	}
	old, err := h.registry.Get(ctx, r.ID)
	if err != nil {
		return err
	}
	r.Enabled, r.StatusReason = old.Enabled, old.StatusReason
	if old.Edge == r.Edge {
		r.DeviceScope, r.ParentScopes = old.DeviceScope, old.ParentScopes
	}
	if r.Auth != old.Auth || r.Edge != old.Edge { // else its connections would end for nothing
		if _, err := h.registry.Update(ctx, r, "*"); err != nil {
			return err
		}
	}
	if !reset {
		return nil
	}
	_, err = h.registry.UpdateTwin(ctx, r.ID, registry.TwinUpdate{Tags: orEmpty(d.Tags), Desired: orEmpty(d.Desired), Replace: true}, "*")
	return err
}

func orEmpty(doc []byte) []byte {
	if doc == nil {
		return []byte("{}")
	}
	return doc
}

// Delete implements [dps.Target].
func (h hub) Delete(ctx context.Context, id string) error {
	err := h.registry.Delete(ctx, h.id(id), "*")
	if causeway.CodeOf(err) == causeway.DeviceNotFound {
		return nil
	}
	return err
}
