package registry

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/causeway-iot/causeway"
)

// The states of a configuration on an identity, as queries see them in
// configurations.[[id]].status.
const (
	ConfigurationTargeted = "Targeted" // its condition holds
	ConfigurationApplied  = "Applied"  // and its content is in the twin
)

// Bounds of the configurations of an identity.
const (
	MaxConfigurationID  = 128 // characters
	configurationsBatch = 256 // identities changed under one another's locks
)

// ConfigurationChange says what becomes of a configuration on an identity.
type ConfigurationChange struct {
	ID            causeway.Identity
	Configuration string
	Status        string // ConfigurationTargeted, ConfigurationApplied, or "" when it is there no more
}

// SetConfigurations writes down which configurations are on which identities.
// When it returns nil, that is on stable storage. Of several changes of one
// configuration on one identity the last wins; identities that are gone are
// skipped. Etags and versions stay as they are, and nobody is told: it is not
// the identity that changes. After an error some of the changes may have
// happened.
//
// Codes: ArgumentInvalid.
func (s *Service) SetConfigurations(ctx context.Context, changes ...ConfigurationChange) error {
	const op = "registry.SetConfigurations"
	for _, c := range changes {
		if c.Configuration == "" || len(c.Configuration) > MaxConfigurationID {
			return invalid(op, "a configuration id has 1 to %d characters, %q has %d", MaxConfigurationID, c.Configuration, len(c.Configuration))
		}
		if c.Status != "" && c.Status != ConfigurationTargeted && c.Status != ConfigurationApplied {
			return invalid(op, "the status of configuration %q is %q, it must be %s, %s or empty", c.Configuration, c.Status, ConfigurationTargeted, ConfigurationApplied)
		}
	}
	// In the order in which locks are taken; the order of an identity's own
	// changes stays.
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b ConfigurationChange) int {
		return cmp.Or(cmp.Compare(a.ID.Hub, b.ID.Hub), cmp.Compare(a.ID.Device, b.ID.Device), cmp.Compare(a.ID.Module, b.ID.Module))
	})
	for len(changes) > 0 {
		var ids []causeway.Identity
		n := 0
		for ; n < len(changes); n++ {
			id := changes[n].ID
			if len(ids) > 0 && ids[len(ids)-1] == id {
				continue
			}
			if len(ids) == configurationsBatch {
				break
			}
			ids = append(ids, id)
		}
		if err := s.setConfigurations(ctx, ids, changes[:n]); err != nil {
			return fmt.Errorf("write the configurations of %d identities down: %w", len(ids), err)
		}
		changes = changes[n:]
	}
	return nil
}

// setConfigurations makes the changes of some identities, sorted, under their
// locks: what is in memory follows the store.
func (s *Service) setConfigurations(ctx context.Context, ids []causeway.Identity, changes []ConfigurationChange) error {
	locks, err := s.lockAll(ctx, ids...)
	if err != nil {
		return err
	}
	defer locks.unlock()
	if err := s.store.SetConfigurations(ctx, changes...); err != nil {
		locks.forget()
		return err
	}
	i := 0
	for _, l := range locks.locks {
		first := i
		for i < len(changes) && changes[i].ID == l.id {
			i++
		}
		s.cache.configure(l.entry, changes[first:i])
	}
	return nil
}

// Configure makes changes of r's configurations. It does not change the map
// that r had.
func (r *Record) Configure(changes ...ConfigurationChange) {
	m := maps.Clone(r.Configurations)
	if m == nil {
		m = map[string]string{}
	}
	for _, c := range changes {
		if c.Status == "" {
			delete(m, c.Configuration)
		} else {
			m[c.Configuration] = c.Status
		}
	}
	if len(m) == 0 {
		m = nil
	}
	r.Configurations = m
}
