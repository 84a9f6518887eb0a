package bulk

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Identity is what a client sends to create or update an identity. Members
// that are absent stay nil, and so do those that are null but for Opt.
type Identity struct {
	DeviceID       *string `json:"deviceId"`
	ModuleID       *string `json:"moduleId"`
	Status         *string `json:"status"`
	StatusReason   Opt     `json:"statusReason"`
	ManagedBy      Opt     `json:"managedBy"`
	Authentication *struct {
		Type         *string `json:"type"`
		SymmetricKey *struct {
			PrimaryKey   *string `json:"primaryKey"`
			SecondaryKey *string `json:"secondaryKey"`
		} `json:"symmetricKey"`
		X509Thumbprint *struct {
			PrimaryThumbprint   *string `json:"primaryThumbprint"`
			SecondaryThumbprint *string `json:"secondaryThumbprint"`
		} `json:"x509Thumbprint"`
	} `json:"authentication"`
	Capabilities *struct {
		IotEdge *bool `json:"iotEdge"`
	} `json:"capabilities"`
	DeviceScope  Opt       `json:"deviceScope"`
	ParentScopes *[]string `json:"parentScopes"`
}

// Opt is a string member that tells absent from null. Null is "": a client that
// read it as null sends it back to clear it.
type Opt struct {
	set   bool
	value string
}

// UnmarshalJSON is called only when the member is present.
func (o *Opt) UnmarshalJSON(b []byte) error {
	o.set = true
	return json.Unmarshal(b, &o.value) // leaves "" for null
}

// or returns the member, or old when it was absent.
func (o Opt) or(old string) string {
	if o.set {
		return o.value
	}
	return old
}

// Record returns old with what the body gives put in.
func (b *Identity) Record(old registry.Record) (registry.Record, error) {
	r := old
	if b.Status != nil {
		switch {
		case strings.EqualFold(*b.Status, "enabled"):
			r.Enabled = true
		case strings.EqualFold(*b.Status, "disabled"):
			r.Enabled = false
		default:
			return r, causeway.Errorf(causeway.ArgumentInvalid, "bulk.Identity", "status is %q, it must be enabled or disabled", clip(*b.Status))
		}
	}
	r.StatusReason = b.StatusReason.or(old.StatusReason)
	if r.ID.IsModule() {
		r.ManagedBy = b.ManagedBy.or(old.ManagedBy)
	} else {
		if b.Capabilities != nil && b.Capabilities.IotEdge != nil {
			r.Edge = *b.Capabilities.IotEdge
		}
		b.scopes(&r)
	}
	var err error
	r.Auth, err = b.authentication()
	return r, err
}

// scopes sets the scopes of a device. A leaf has its parent under two names:
// one that is cleared takes the other along, unless that is given too and is
// not what it was.
func (b *Identity) scopes(r *registry.Record) {
	read := r.ParentScopes
	cleared := b.DeviceScope.set && b.DeviceScope.value == "" && !r.Edge
	if b.DeviceScope.set {
		r.DeviceScope = b.DeviceScope.value
	}
	if cleared {
		r.ParentScopes = nil
		if b.ParentScopes != nil && slices.Equal(*b.ParentScopes, read) {
			return // az clears the one and sends the other back as it was read
		}
	}
	if b.ParentScopes != nil {
		r.ParentScopes = *b.ParentScopes
		if len(r.ParentScopes) == 0 && !b.DeviceScope.set && !r.Edge {
			r.DeviceScope = ""
		}
	}
}

// authentication returns the authentication the body asks for; the registry
// holds it to its rules. Keys that are absent are kept, keys that are empty text
// are asked to be made anew: clients send empty text when they want that.
func (b *Identity) authentication() (a registry.Authentication, err error) {
	in := b.Authentication
	if in == nil {
		return a, nil
	}
	a.Type = auth.Type(clip(text(in.Type)))
	if k := in.SymmetricKey; k != nil {
		a.Primary, a.Secondary = causeway.Secret(text(k.PrimaryKey)), causeway.Secret(text(k.SecondaryKey))
		if a.Primary == registry.NewKey || a.Secondary == registry.NewKey {
			return a, causeway.Errorf(causeway.ArgumentInvalid, "bulk.Identity", "authentication.symmetricKey: a key must be base64 text of %d to %d bytes",
				causeway.MinKeyBytes, causeway.MaxKeyBytes)
		}
		if a.Primary == "" && a.Secondary == "" && (k.PrimaryKey != nil || k.SecondaryKey != nil) {
			a.Primary, a.Secondary = registry.NewKey, registry.NewKey
		}
	}
	if x := in.X509Thumbprint; x != nil {
		a.PrimaryThumb, a.SecondThumb = text(x.PrimaryThumbprint), text(x.SecondaryThumbprint)
	}
	return a, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// clip shortens text of a client that is repeated in a message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
