package directory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// DefaultConsumerGroup is the consumer group that every hub has.
const DefaultConsumerGroup = "$Default"

// ConsumerGroup is one way to read the events of a hub: readers of one do not
// disturb those of another. Names are compared without case.
type ConsumerGroup struct {
	Name    string
	Created time.Time
}

// groups returns the consumer groups of h by name, the default one first.
func (h Hub) groups() []ConsumerGroup {
	all := slices.Clone(h.Groups)
	slices.SortFunc(all, func(a, b ConsumerGroup) int { return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
	return slices.Insert(all, 0, ConsumerGroup{Name: DefaultConsumerGroup, Created: h.Created})
}

// group returns the index of a consumer group in h.Groups, or -1.
func (h Hub) group(name string) int {
	return slices.IndexFunc(h.Groups, func(g ConsumerGroup) bool { return sameGroup(g.Name, name) })
}

// sameGroup compares names without case. Only ASCII has case here: otherwise
// the Kelvin sign would do for a k.
func sameGroup(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// ConsumerGroups returns the consumer groups of a hub by name, the default one
// first. Code: GenericNotFound.
func (s *Service) ConsumerGroups(hub string) ([]ConsumerGroup, error) {
	h, ok := s.Get(hub)
	if !ok {
		return nil, unknown("directory.ConsumerGroups", hub)
	}
	return h.groups(), nil
}

// HasConsumerGroup reports whether a hub has a consumer group. It takes no lock
// and does not ask the store.
func (s *Service) HasConsumerGroup(hub, name string) bool {
	h, ok := s.Get(hub)
	return ok && (sameGroup(name, DefaultConsumerGroup) || h.group(name) >= 0)
}

// CreateConsumerGroup adds a consumer group to a hub. Codes: GenericNotFound,
// ArgumentInvalid, GenericConflict (the name is taken, or there are too many).
func (s *Service) CreateConsumerGroup(ctx context.Context, hub, name string) (ConsumerGroup, error) {
	const op = "directory.CreateConsumerGroup"
	g := ConsumerGroup{Name: name, Created: time.Now().UTC().Truncate(time.Microsecond)}
	_, err := s.update(ctx, op, hub, func(h *Hub) error {
		if sameGroup(name, DefaultConsumerGroup) || h.group(name) >= 0 {
			return causeway.Errorf(causeway.GenericConflict, op, "hub %q has a consumer group %q already", hub, name)
		}
		if len(h.Groups) >= MaxConsumerGroups-1 {
			return causeway.Errorf(causeway.GenericConflict, op, "hub %q has %d consumer groups, the most there may be: delete one first", hub, MaxConsumerGroups)
		}
		h.Groups = append(h.Groups, g)
		return nil
	})
	if err != nil {
		return ConsumerGroup{}, err
	}
	return g, nil
}

// DeleteConsumerGroup removes a consumer group from a hub. Codes:
// GenericNotFound, ArgumentInvalid (the default one stays).
func (s *Service) DeleteConsumerGroup(ctx context.Context, hub, name string) error {
	const op = "directory.DeleteConsumerGroup"
	_, err := s.update(ctx, op, hub, func(h *Hub) error {
		if sameGroup(name, DefaultConsumerGroup) {
			return invalid(op, "the consumer group %s of hub %q cannot be deleted: every hub has it", DefaultConsumerGroup, hub)
		}
		i := h.group(name)
		if i < 0 {
			return causeway.Errorf(causeway.GenericNotFound, op, "hub %q has no consumer group %q", hub, name)
		}
		h.Groups = slices.Delete(h.Groups, i, i+1)
		return nil
	})
	return err
}

// validateGroups reports what is wrong with the consumer groups of a hub.
func (h *Hub) validateGroups(op string) error {
	if len(h.Groups) >= MaxConsumerGroups {
		return invalid(op, "hub %q has %d consumer groups besides %s; at most %d are allowed", h.Name, len(h.Groups), DefaultConsumerGroup, MaxConsumerGroups-1)
	}
	seen := map[string]bool{}
	for _, g := range h.Groups {
		if !groupName(g.Name) {
			return invalid(op, "the consumer group name %q of hub %q is not allowed: use up to %d letters, digits, dots, underscores and hyphens, the first and the last one a letter or digit", g.Name, h.Name, maxGroupName)
		}
		name := strings.ToLower(g.Name)
		if seen[name] {
			return invalid(op, "hub %q has two consumer groups named %q", h.Name, g.Name)
		}
		seen[name] = true
	}
	return nil
}

// groupName reports whether s may name a consumer group.
func groupName(s string) bool {
	return len(s) <= maxGroupName && word(s) && !strings.ContainsRune("-_.", rune(s[0])) && !strings.ContainsRune("-_.", rune(s[len(s)-1]))
}
