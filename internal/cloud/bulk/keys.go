package bulk

import (
	"context"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// PolicyKey says which keys of an identity are rotated.
type PolicyKey uint8

// The ways to rotate keys.
const (
	Primary PolicyKey = iota + 1
	Secondary
	Both
	Swap // the primary becomes the secondary, and the other way round
)

// ParsePolicyKey reads primary, secondary, both or swap, without regard to
// case. Code: InvalidPolicyKey.
func ParsePolicyKey(s string) (PolicyKey, error) {
	for k, name := range map[PolicyKey]string{Primary: "primary", Secondary: "secondary", Both: "both", Swap: "swap"} {
		if strings.EqualFold(s, name) {
			return k, nil
		}
	}
	return 0, causeway.Errorf(causeway.InvalidPolicyKey, "bulk.ParsePolicyKey", "policyKey is %q, it must be primary, secondary, both or swap", clip(s))
}

// Rotated is an identity with its new keys. Err is why they were not rotated:
// DeviceNotFound, ModuleNotFound, or ArgumentInvalid for one without keys.
type Rotated struct {
	ID                 causeway.Identity
	Primary, Secondary causeway.Secret
	Err                error
}

// RotateKeys rotates the keys of identities, each by itself, and returns one
// outcome for each, in their order. Their live connections end as they do after
// any change of credentials.
func (s *Service) RotateKeys(ctx context.Context, which PolicyKey, ids []causeway.Identity) []Rotated {
	out := make([]Rotated, len(ids))
	groups := map[causeway.Identity][]int{}
	var order []causeway.Identity
	for i, id := range ids {
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], i)
	}
	var mu sync.Mutex
	each(order, func(id causeway.Identity) {
		r := s.rotate(ctx, which, id)
		mu.Lock()
		defer mu.Unlock()
		for n, i := range groups[id] {
			if n > 0 {
				r.Err = causeway.Errorf(causeway.DeviceDefinedMultipleTimes, "bulk.RotateKeys", "%s is named more than once, its keys were rotated once", id)
			}
			out[i] = r
		}
	})
	return out
}

func (s *Service) rotate(ctx context.Context, which PolicyKey, id causeway.Identity) Rotated {
	out := Rotated{ID: id}
	for range updateAttempts {
		var rec registry.Record
		if rec, out.Err = s.Registry.Get(ctx, id); out.Err != nil {
			return out
		}
		if rec.Auth.Type != auth.SAS {
			out.Err = causeway.Errorf(causeway.ArgumentInvalid, "bulk.RotateKeys", "%s proves itself by %s, it has no keys to rotate", id, rec.Auth.Type)
			return out
		}
		switch a := &rec.Auth; which {
		case Primary:
			a.Primary = registry.NewKey
		case Secondary:
			a.Secondary = registry.NewKey
		case Both:
			a.Primary, a.Secondary = registry.NewKey, registry.NewKey
		case Swap:
			a.Primary, a.Secondary = a.Secondary, a.Primary
		}
		rec, out.Err = s.Registry.Update(ctx, rec, rec.ETag)
		if causeway.CodeOf(out.Err) != causeway.PreconditionFailed {
			out.Primary, out.Secondary = rec.Auth.Primary, rec.Auth.Secondary
			return out
		}
	}
	return out
}
