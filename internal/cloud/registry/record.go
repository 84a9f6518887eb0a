// Package registry keeps the identities of devices and modules and their twins:
// creation, update with etags, deletion, twin merges, and who must hear of a
// change.
//
// It validates and decides; a [Store] keeps. It does not know protocols, live
// connections, or queries over many twins.
package registry

import (
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Record is an identity together with its twin.
type Record struct {
	ID            causeway.Identity
	GenerationID  string // new at each creation, decimal text
	ETag          string // of the identity; opaque text without quotes
	Enabled       bool
	StatusReason  string
	StatusUpdated time.Time
	Created       time.Time
	Auth          Authentication
	Edge          bool     // capabilities.iotEdge
	DeviceScope   string   // edge: own scope; leaf: scope of its parent
	ParentScopes  []string // edge: scope of its parent; leaf: same as DeviceScope
	ManagedBy     string   // modules: "iotEdge" or ""

	// Configurations are those that are on it, by id: ConfigurationTargeted or
	// ConfigurationApplied. Only SetConfigurations changes them. The map is
	// never written to.
	Configurations map[string]string

	// Connection facts as last written down. Live ones are known to presence.
	Connected              bool
	ConnectionStateUpdated time.Time
	LastActivity           time.Time

	Twin Twin
}

// Authentication is how an identity proves itself.
type Authentication struct {
	Type         auth.Type
	Primary      causeway.Secret // base64 keys; sealed inside a Store
	Secondary    causeway.Secret
	PrimaryThumb string // hex
	SecondThumb  string
}

// Subject returns what package auth needs of r. For a module, device is the
// record of its device, whose status counts too; nil for a device.
func (r *Record) Subject(device *Record) auth.Subject {
	s := auth.Subject{
		ID: r.ID, Type: r.Auth.Type,
		Primary: r.Auth.Primary, Secondary: r.Auth.Secondary,
		PrimaryThumb: r.Auth.PrimaryThumb, SecondThumb: r.Auth.SecondThumb,
		Disabled: !r.Enabled, DisabledCause: r.StatusReason,
	}
	if device != nil && !device.Enabled {
		s.Disabled, s.DisabledCause = true, device.StatusReason
	}
	return s
}

// Twin is the stored form of a twin. JSON members hold objects, "{}" when empty.
type Twin struct {
	Version  int64 // +1 on any change
	ETag     int64 // +1 when tags or desired change; see ETagText
	ModelID  string
	Tags     []byte
	Desired  Section
	Reported Section
}

// Section is desired or reported: the values without "$" members, and beside
// them the "$metadata" tree.
type Section struct {
	Properties []byte
	Metadata   []byte
	Version    int64 // $version
}

// Counts are the statistics of a hub's registry.
type Counts struct{ Total, Enabled, Disabled int }

// Touch writes the facts of f into r. Zero times leave r's as they are.
func (r *Record) Touch(f Activity) {
	r.Connected = f.Connected
	if !f.StateUpdated.IsZero() {
		r.ConnectionStateUpdated = f.StateUpdated
	}
	if !f.LastActivity.IsZero() {
		r.LastActivity = f.LastActivity
	}
}

// Activity is a connection fact to write down.
type Activity struct {
	ID           causeway.Identity
	Connected    bool
	StateUpdated time.Time
	LastActivity time.Time
}
