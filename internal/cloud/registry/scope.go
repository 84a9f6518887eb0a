package registry

import (
	"context"
	"strings"

	"github.com/causeway-iot/causeway"
)

const scopePrefix = "ms-azure-iot-edge://"

// ownScope returns the scope of an edge device: its id and its generation.
func ownScope(r *Record) string { return scopePrefix + r.ID.Device + "-" + r.GenerationID }

// scopeDevice returns the device that a scope names.
func scopeDevice(scope string) (device string, ok bool) {
	rest, ok := strings.CutPrefix(scope, scopePrefix)
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(rest, '-')
	if i <= 0 || i == len(rest)-1 || strings.Trim(rest[i+1:], "0123456789") != "" {
		return "", false
	}
	return rest[:i], true
}

func invalidScope(op, format string, args ...any) error {
	return causeway.Errorf(causeway.InvalidDeviceScope, op, format, args...)
}

// scopes sets the scopes of r from what a caller gave in r. Old is the record
// being replaced, nil at creation.
//
// An edge device has a scope of its own, which nobody chooses, and at most one
// parent. Any other device has its parent's scope, under both names; older
// clients set one of them and send the other back as they read it.
func (s *Service) scopes(ctx context.Context, op string, r *Record, old *Record) error {
	if r.ID.IsModule() {
		r.DeviceScope, r.ParentScopes = "", nil
		return nil
	}
	if len(r.ParentScopes) > 1 {
		return invalidScope(op, "parentScopes has %d scopes, a device has at most one parent", len(r.ParentScopes))
	}
	parent := ""
	if len(r.ParentScopes) == 1 {
		parent = r.ParentScopes[0]
	}
	if r.Edge {
		own := ownScope(r)
		wasLeaf := old != nil && !old.Edge
		switch {
		case r.DeviceScope == "" || r.DeviceScope == own:
		case wasLeaf && r.DeviceScope == old.DeviceScope:
			if parent == "" {
				parent = r.DeviceScope // its parent's, sent back as read
			}
		default:
			return invalidScope(op, "deviceScope of an edge device is given by the hub and cannot be set; name a parent in parentScopes")
		}
		r.DeviceScope = own
	} else {
		given := r.DeviceScope
		if old != nil && old.Edge && given == old.DeviceScope {
			given = "" // its own, from the time when it was an edge device
		}
		switch {
		case parent == "" || given == parent:
			parent = given
		case given == "":
		case old != nil && parent == old.DeviceScope:
			parent = given // the other one is as it was read
		case old != nil && given == old.DeviceScope:
		default:
			return invalidScope(op, "deviceScope and parentScopes name different parents")
		}
		r.DeviceScope = parent
	}
	r.ParentScopes = nil
	if parent == "" {
		return nil
	}
	r.ParentScopes = []string{parent}
	if old != nil && len(old.ParentScopes) == 1 && old.ParentScopes[0] == parent {
		return nil // held when it was set
	}
	return s.checkParent(ctx, op, r, parent)
}

// checkParent reports why the edge device with scope parent cannot be the parent
// of r.
func (s *Service) checkParent(ctx context.Context, op string, r *Record, parent string) error {
	levels := MaxNesting // edge devices above a leaf
	if r.Edge {
		levels--
	}
	for level := 1; parent != ""; level++ {
		if level > levels {
			return invalidScope(op, "edge devices nest at most %d levels deep", MaxNesting)
		}
		device, ok := scopeDevice(parent)
		if !ok {
			return invalidScope(op, "%q is not a scope; take the deviceScope of an edge device, %s{device}-{number}", parent, scopePrefix)
		}
		if device == r.ID.Device {
			return invalidScope(op, "device %q would be above itself", device)
		}
		above, err := s.peek(ctx, causeway.Identity{Hub: r.ID.Hub, Device: device})
		if causeway.CodeOf(err) == causeway.DeviceNotFound || err == nil && (!above.Edge || above.DeviceScope != parent) {
			if level > 1 {
				return nil // a parent that went away: not this device's fault
			}
			return invalidScope(op, "%q is not the scope of an edge device of this hub", parent)
		}
		if err != nil {
			return err
		}
		parent = ""
		if len(above.ParentScopes) > 0 {
			parent = above.ParentScopes[0]
		}
	}
	return nil
}

// release takes a scope that is no more from the devices below it. A failure
// leaves them with the name of a scope that does not exist, which is harmless,
// so it is not one of the caller's.
func (s *Service) release(ctx context.Context, hub, scope string) {
	for after := ""; ; {
		page, err := s.store.List(ctx, hub, after, sweepPage)
		if err != nil {
			s.log.WarnContext(ctx, "devices keep the scope of an edge device that is gone", "hub", hub, "scope", scope, "error", err)
			return
		}
		for i := range page {
			r := &page[i]
			after = r.ID.Device
			if len(r.ParentScopes) == 0 || r.ParentScopes[0] != scope {
				continue
			}
			if err := s.orphan(ctx, r.ID, scope); err != nil {
				s.log.WarnContext(ctx, "device keeps the scope of an edge device that is gone", "device", r.ID, "scope", scope, "error", err)
			}
		}
		if len(page) < sweepPage {
			return
		}
	}
}

// orphan takes the parent with the given scope from a device.
func (s *Service) orphan(ctx context.Context, id causeway.Identity, scope string) error {
	const op = "registry.Delete"
	err := s.modify(ctx, op, id, func(l held, old *Record, _ bool) error {
		if len(old.ParentScopes) == 0 || old.ParentScopes[0] != scope {
			return nil
		}
		r := *old
		r.ParentScopes = nil
		if !r.Edge {
			r.DeviceScope = ""
		}
		r.ETag = newETag()
		return s.putIdentity(ctx, l, &r, old.ETag)
	})
	if causeway.CodeOf(err) == causeway.DeviceNotFound {
		return nil
	}
	return err
}
