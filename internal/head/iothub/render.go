package iothub

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// live overlays the facts written down in r with those the hub knows.
func (h *handler) live(ctx context.Context, hub Hub, r *registry.Record) (twinview.Live, error) {
	l := twinview.Overlay(r, hub.State(r.ID))
	n, err := h.commands.Depth(ctx, r.ID)
	if err != nil {
		return l, fmt.Errorf("count the queued commands of %s: %w", r.ID, err)
	}
	l.Queued = n
	return l, nil
}

// identityTime renders a time as identities show it. Their empty time has no
// zone; clients cannot read null here.
func identityTime(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00"
	}
	return twinview.Time(t)
}

// The shapes below have their members in the order the service sends them. All
// are always present, but for those marked omitempty or held by a pointer.

type symmetricKeyJSON struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

type authenticationJSON struct {
	SymmetricKey   symmetricKeyJSON    `json:"symmetricKey"`
	X509Thumbprint twinview.Thumbprint `json:"x509Thumbprint"`
	Type           auth.Type           `json:"type"`
}

type deviceJSON struct {
	DeviceID                   string                `json:"deviceId"`
	GenerationID               string                `json:"generationId"`
	ETag                       string                `json:"etag"`
	ConnectionState            string                `json:"connectionState"`
	Status                     string                `json:"status"`
	StatusReason               *string               `json:"statusReason"`
	ConnectionStateUpdatedTime string                `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string                `json:"statusUpdatedTime"`
	LastActivityTime           string                `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int                   `json:"cloudToDeviceMessageCount"`
	Authentication             authenticationJSON    `json:"authentication"`
	Capabilities               twinview.Capabilities `json:"capabilities"`
	DeviceScope                string                `json:"deviceScope,omitempty"`
	ParentScopes               []string              `json:"parentScopes,omitempty"`
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

// identity returns the JSON shape of a device or module.
func identity(r *registry.Record, l twinview.Live) any {
	if r.ID.IsModule() {
		return moduleJSON{
			ModuleID: r.ID.Module, ManagedBy: orNull(r.ManagedBy), DeviceID: r.ID.Device,
			GenerationID: r.GenerationID, ETag: r.ETag,
			ConnectionState: l.State(), ConnectionStateUpdatedTime: identityTime(l.StateUpdated),
			LastActivityTime: identityTime(l.LastActivity), CloudToDeviceMessageCount: l.Queued,
			Authentication: authentication(r),
		}
	}
	return deviceJSON{
		DeviceID: r.ID.Device, GenerationID: r.GenerationID, ETag: r.ETag,
		ConnectionState: l.State(), Status: twinview.Status(r), StatusReason: orNull(r.StatusReason),
		ConnectionStateUpdatedTime: identityTime(l.StateUpdated), StatusUpdatedTime: identityTime(r.StatusUpdated),
		LastActivityTime: identityTime(l.LastActivity), CloudToDeviceMessageCount: l.Queued,
		Authentication: authentication(r), Capabilities: twinview.Capabilities{IotEdge: r.Edge},
		DeviceScope: r.DeviceScope, ParentScopes: r.ParentScopes,
	}
}

// authentication shows the keys too: whoever may read the registry may.
func authentication(r *registry.Record) authenticationJSON {
	return authenticationJSON{
		SymmetricKey:   symmetricKeyJSON{orNull(string(r.Auth.Primary)), orNull(string(r.Auth.Secondary))},
		X509Thumbprint: twinview.ThumbprintOf(r),
		Type:           r.Auth.Type,
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
