// Package twinview is a twin as services see it: its JSON, and the words and
// times in it. The same whether the twin was asked for by its id or found by a
// query.
//
// It knows the shape, and nothing of who asks or how a record is found.
package twinview

import (
	"encoding/json"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// Live is what is true of an identity now, beside its record.
type Live struct {
	Connected    bool
	StateUpdated time.Time // when Connected changed
	LastActivity time.Time
	Queued       int // cloud-to-device messages
}

// Overlay returns the facts written down in r with those that a hub knows.
// Queued is left for the caller.
func Overlay(r *registry.Record, s presence.State) Live {
	l := Live{Connected: s.Connected, StateUpdated: s.Updated, LastActivity: s.LastActivity}
	if l.StateUpdated.IsZero() {
		l.StateUpdated = r.ConnectionStateUpdated
	}
	if r.LastActivity.After(l.LastActivity) {
		l.LastActivity = r.LastActivity
	}
	return l
}

// State returns Connected or Disconnected.
func (l Live) State() string {
	if l.Connected {
		return "Connected"
	}
	return "Disconnected"
}

// Time renders a time with seven digits of fraction, as .NET does, and the zero
// time as the first of its times.
func Time(t time.Time) string { return hubhttp.Time(t) }

// Status returns enabled or disabled.
func Status(r *registry.Record) string {
	if r.Enabled {
		return "enabled"
	}
	return "disabled"
}

// Thumbprint is a member of twins and identities.
type Thumbprint struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

// ThumbprintOf returns the thumbprints of an identity; those it does not have
// are null.
func ThumbprintOf(r *registry.Record) Thumbprint {
	return Thumbprint{orNull(r.Auth.PrimaryThumb), orNull(r.Auth.SecondThumb)}
}

// Capabilities is a member of the twins and identities of devices.
type Capabilities struct {
	IotEdge bool `json:"iotEdge"`
}

// Configuration is a member of configurations.
type Configuration struct {
	Status string `json:"status"`
}

// view has its members in the order the service sends them. All are always
// present, but for those marked omitempty or held by a pointer.
type view struct {
	DeviceID                  string          `json:"deviceId"`
	ModuleID                  string          `json:"moduleId,omitempty"`
	ModelID                   string          `json:"modelId"`
	ETag                      string          `json:"etag"`
	DeviceETag                string          `json:"deviceEtag"`
	Status                    string          `json:"status"`
	StatusReason              string          `json:"statusReason,omitempty"`
	StatusUpdateTime          string          `json:"statusUpdateTime"`
	ConnectionState           string          `json:"connectionState"`
	LastActivityTime          string          `json:"lastActivityTime"`
	CloudToDeviceMessageCount int             `json:"cloudToDeviceMessageCount"`
	AuthenticationType        auth.Type       `json:"authenticationType"`
	X509Thumbprint            Thumbprint      `json:"x509Thumbprint"`
	Version                   int64           `json:"version"`
	Tags                      json.RawMessage `json:"tags"`
	Properties                properties      `json:"properties"`
	Capabilities              *Capabilities   `json:"capabilities,omitempty"`
	DeviceScope               string          `json:"deviceScope,omitempty"`
	ParentScopes              []string        `json:"parentScopes,omitempty"`

	Configurations map[string]Configuration `json:"configurations,omitempty"`
}

type properties struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// JSON returns the twin of r.
func JSON(r *registry.Record, l Live) (json.RawMessage, error) {
	t := view{
		DeviceID: r.ID.Device, ModuleID: r.ID.Module, ModelID: r.Twin.ModelID,
		ETag: twin.ETagText(r.Twin.ETag), DeviceETag: r.ETag,
		Status: Status(r), StatusReason: r.StatusReason, StatusUpdateTime: Time(r.StatusUpdated),
		ConnectionState: l.State(), LastActivityTime: Time(l.LastActivity), CloudToDeviceMessageCount: l.Queued,
		AuthenticationType: r.Auth.Type, X509Thumbprint: ThumbprintOf(r),
		Version: r.Twin.Version, Tags: Tags(r),
		Properties:     properties{Desired: Section(&r.Twin.Desired), Reported: Section(&r.Twin.Reported)},
		Configurations: Configurations(r),
	}
	if !r.ID.IsModule() {
		t.Capabilities = &Capabilities{r.Edge}
		t.DeviceScope, t.ParentScopes = r.DeviceScope, r.ParentScopes
	}
	return hubjson.Marshal(t)
}

// Tags returns the tags of a twin; empty text stands for an empty object.
func Tags(r *registry.Record) json.RawMessage {
	if len(r.Twin.Tags) == 0 {
		return json.RawMessage("{}")
	}
	return r.Twin.Tags
}

// Section returns a section with its $metadata and $version.
func Section(s *registry.Section) json.RawMessage {
	return twin.AppendService(nil, twin.Doc{Properties: s.Properties, Metadata: s.Metadata}, s.Version)
}

// Configurations returns the configurations on an identity, nil when there are
// none.
func Configurations(r *registry.Record) map[string]Configuration {
	if len(r.Configurations) == 0 {
		return nil
	}
	m := make(map[string]Configuration, len(r.Configurations))
	for id, status := range r.Configurations {
		m[id] = Configuration{status}
	}
	return m
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
