package iothub

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// live is what is true of an identity now, beside its record.
type live struct {
	connected    bool
	stateUpdated time.Time
	lastActivity time.Time
	queued       int // cloud-to-device messages
}

// live overlays the facts written down in r with those the hub knows.
func (h *handler) live(ctx context.Context, hub Hub, r *registry.Record) (live, error) {
	st := hub.State(r.ID)
	l := live{connected: st.Connected, stateUpdated: st.Updated, lastActivity: st.LastActivity}
	if l.stateUpdated.IsZero() {
		l.stateUpdated = r.ConnectionStateUpdated
	}
	if r.LastActivity.After(l.lastActivity) {
		l.lastActivity = r.LastActivity
	}
	n, err := h.commands.Depth(ctx, r.ID)
	if err != nil {
		return live{}, fmt.Errorf("count the queued commands of %s: %w", r.ID, err)
	}
	l.queued = n
	return l, nil
}

func (l live) state() string {
	if l.connected {
		return "Connected"
	}
	return "Disconnected"
}

// identityTime renders a time as identities show it. Their empty time has no
// zone; clients cannot read null here.
func identityTime(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00"
	}
	return timeZ(t)
}

// timeZ renders a time with seven digits of fraction, as .NET does.
func timeZ(t time.Time) string { return hubhttp.Time(t) }

// The shapes below have their members in the order the service sends them. All
// are always present, but for those marked omitempty or held by a pointer.

type symmetricKeyJSON struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

type thumbprintJSON struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

type authenticationJSON struct {
	SymmetricKey   symmetricKeyJSON `json:"symmetricKey"`
	X509Thumbprint thumbprintJSON   `json:"x509Thumbprint"`
	Type           auth.Type        `json:"type"`
}

type capabilitiesJSON struct {
	IotEdge bool `json:"iotEdge"`
}

type deviceJSON struct {
	DeviceID                   string             `json:"deviceId"`
	GenerationID               string             `json:"generationId"`
	ETag                       string             `json:"etag"`
	ConnectionState            string             `json:"connectionState"`
	Status                     string             `json:"status"`
	StatusReason               *string            `json:"statusReason"`
	ConnectionStateUpdatedTime string             `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string             `json:"statusUpdatedTime"`
	LastActivityTime           string             `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int                `json:"cloudToDeviceMessageCount"`
	Authentication             authenticationJSON `json:"authentication"`
	Capabilities               capabilitiesJSON   `json:"capabilities"`
	DeviceScope                string             `json:"deviceScope,omitempty"`
	ParentScopes               []string           `json:"parentScopes,omitempty"`
}

type moduleJSON struct {
	ModuleID                   string             `json:"moduleId"`
	ManagedBy                  *string            `json:"managedBy"`
	DeviceID                   string             `json:"deviceId"`
	GenerationID               string             `json:"generationId"`
	ETag                       string             `json:"etag"`
	ConnectionState            string             `json:"connectionState"`
	ConnectionStateUpdatedTime string             `json:"connectionStateUpdatedTime"`
	LastActivityTime           string             `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int                `json:"cloudToDeviceMessageCount"`
	Authentication             authenticationJSON `json:"authentication"`
}

type twinJSON struct {
	DeviceID                  string            `json:"deviceId"`
	ModuleID                  string            `json:"moduleId,omitempty"`
	ModelID                   string            `json:"modelId"`
	ETag                      string            `json:"etag"`
	DeviceETag                string            `json:"deviceEtag"`
	Status                    string            `json:"status"`
	StatusReason              string            `json:"statusReason,omitempty"`
	StatusUpdateTime          string            `json:"statusUpdateTime"`
	ConnectionState           string            `json:"connectionState"`
	LastActivityTime          string            `json:"lastActivityTime"`
	CloudToDeviceMessageCount int               `json:"cloudToDeviceMessageCount"`
	AuthenticationType        auth.Type         `json:"authenticationType"`
	X509Thumbprint            thumbprintJSON    `json:"x509Thumbprint"`
	Version                   int64             `json:"version"`
	Tags                      json.RawMessage   `json:"tags"`
	Properties                propertiesJSON    `json:"properties"`
	Capabilities              *capabilitiesJSON `json:"capabilities,omitempty"`
	DeviceScope               string            `json:"deviceScope,omitempty"`
	ParentScopes              []string          `json:"parentScopes,omitempty"`

	Configurations map[string]configurationJSON `json:"configurations,omitempty"`
}

type configurationJSON struct {
	Status string `json:"status"`
}

type propertiesJSON struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

// identity returns the JSON shape of a device or module.
func identity(r *registry.Record, l live) any {
	if r.ID.IsModule() {
		return moduleJSON{
			ModuleID: r.ID.Module, ManagedBy: orNull(r.ManagedBy), DeviceID: r.ID.Device,
			GenerationID: r.GenerationID, ETag: r.ETag,
			ConnectionState: l.state(), ConnectionStateUpdatedTime: identityTime(l.stateUpdated),
			LastActivityTime: identityTime(l.lastActivity), CloudToDeviceMessageCount: l.queued,
			Authentication: authentication(r),
		}
	}
	return deviceJSON{
		DeviceID: r.ID.Device, GenerationID: r.GenerationID, ETag: r.ETag,
		ConnectionState: l.state(), Status: status(r), StatusReason: orNull(r.StatusReason),
		ConnectionStateUpdatedTime: identityTime(l.stateUpdated), StatusUpdatedTime: identityTime(r.StatusUpdated),
		LastActivityTime: identityTime(l.lastActivity), CloudToDeviceMessageCount: l.queued,
		Authentication: authentication(r), Capabilities: capabilitiesJSON{r.Edge},
		DeviceScope: r.DeviceScope, ParentScopes: r.ParentScopes,
	}
}

// twinView returns the JSON shape of a twin.
func twinView(r *registry.Record, l live) twinJSON {
	t := twinJSON{
		DeviceID: r.ID.Device, ModuleID: r.ID.Module, ModelID: r.Twin.ModelID,
		ETag: twin.ETagText(r.Twin.ETag), DeviceETag: r.ETag,
		Status: status(r), StatusReason: r.StatusReason, StatusUpdateTime: timeZ(r.StatusUpdated),
		ConnectionState: l.state(), LastActivityTime: timeZ(l.lastActivity), CloudToDeviceMessageCount: l.queued,
		AuthenticationType: r.Auth.Type, X509Thumbprint: thumbprint(r),
		Version: r.Twin.Version, Tags: object(r.Twin.Tags),
		Properties: propertiesJSON{Desired: section(r.Twin.Desired), Reported: section(r.Twin.Reported)},
	}
	for id, status := range r.Configurations {
		if t.Configurations == nil {
			t.Configurations = make(map[string]configurationJSON, len(r.Configurations))
		}
		t.Configurations[id] = configurationJSON{status}
	}
	if !r.ID.IsModule() {
		t.Capabilities = &capabilitiesJSON{r.Edge}
		t.DeviceScope, t.ParentScopes = r.DeviceScope, r.ParentScopes
	}
	return t
}

func section(s registry.Section) json.RawMessage {
	return twin.AppendService(nil, twin.Doc{Properties: s.Properties, Metadata: s.Metadata}, s.Version)
}

// object is stored JSON text; empty text stands for an empty object.
func object(b []byte) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("{}")
	}
	return b
}

func status(r *registry.Record) string {
	if r.Enabled {
		return "enabled"
	}
	return "disabled"
}

// authentication shows the keys too: whoever may read the registry may.
func authentication(r *registry.Record) authenticationJSON {
	return authenticationJSON{
		SymmetricKey:   symmetricKeyJSON{orNull(string(r.Auth.Primary)), orNull(string(r.Auth.Secondary))},
		X509Thumbprint: thumbprint(r),
		Type:           r.Auth.Type,
	}
}

func thumbprint(r *registry.Record) thumbprintJSON {
	return thumbprintJSON{orNull(r.Auth.PrimaryThumb), orNull(r.Auth.SecondThumb)}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
