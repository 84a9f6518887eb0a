package bulk

import (
	"encoding/json"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// exported is an identity with its twin as it is exported, and imported again.
type exported struct {
	ID             string                `json:"id"`
	ModuleID       string                `json:"moduleId,omitempty"`
	ETag           string                `json:"eTag"`
	Status         string                `json:"status,omitempty"` // devices only
	StatusReason   string                `json:"statusReason,omitempty"`
	ManagedBy      string                `json:"managedBy,omitempty"`
	Authentication exportedAuth          `json:"authentication"`
	TwinETag       string                `json:"twinETag"`
	Tags           json.RawMessage       `json:"tags"`
	Properties     exportedProperties    `json:"properties"`
	Capabilities   *exportedCapabilities `json:"capabilities,omitempty"`
	DeviceScope    string                `json:"deviceScope,omitempty"`
	ParentScopes   []string              `json:"parentScopes,omitempty"`
}

type exportedAuth struct {
	Type         auth.Type     `json:"type"`
	SymmetricKey *exportedKeys `json:"symmetricKey,omitempty"`
	Thumbprint   *exportedX509 `json:"x509Thumbprint,omitempty"`
}

type exportedKeys struct {
	Primary   *string `json:"primaryKey"`
	Secondary *string `json:"secondaryKey"`
}

type exportedX509 struct {
	Primary   *string `json:"primaryThumbprint"`
	Secondary *string `json:"secondaryThumbprint"`
}

type exportedProperties struct {
	Desired  json.RawMessage `json:"desired"`
	Reported json.RawMessage `json:"reported"`
}

type exportedCapabilities struct {
	IotEdge bool `json:"iotEdge"`
}

// AppendLine appends to dst an identity with its twin as [Parse] reads it, and a
// line feed. Keys are null unless they are to be exported. It fails when a stored
// document is not JSON.
func AppendLine(dst []byte, r *registry.Record, keys bool) ([]byte, error) {
	out := exported{
		ID: r.ID.Device, ModuleID: r.ID.Module, ETag: r.ETag, StatusReason: r.StatusReason, ManagedBy: r.ManagedBy,
		Authentication: exportedAuth{Type: r.Auth.Type}, TwinETag: twin.ETagText(r.Twin.ETag), Tags: orEmpty(r.Twin.Tags),
		Properties:  exportedProperties{Desired: section(&r.Twin.Desired), Reported: section(&r.Twin.Reported)},
		DeviceScope: r.DeviceScope, ParentScopes: r.ParentScopes,
	}
	if !r.ID.IsModule() {
		out.Status = "disabled"
		if r.Enabled {
			out.Status = "enabled"
		}
		out.Capabilities = &exportedCapabilities{r.Edge}
	}
	switch r.Auth.Type {
	case auth.SAS:
		out.Authentication.SymmetricKey = &exportedKeys{}
		if keys {
			out.Authentication.SymmetricKey = &exportedKeys{orNull(string(r.Auth.Primary)), orNull(string(r.Auth.Secondary))}
		}
	case auth.SelfSigned:
		out.Authentication.Thumbprint = &exportedX509{orNull(r.Auth.PrimaryThumb), orNull(r.Auth.SecondThumb)}
	case auth.CA, auth.None:
	}
	b, err := hubjson.Marshal(out)
	if err != nil {
		return dst, err
	}
	return append(append(dst, b...), '\n'), nil
}

func section(s *registry.Section) json.RawMessage {
	return twin.AppendService(nil, twin.Doc{Properties: s.Properties, Metadata: s.Metadata}, s.Version)
}

func orEmpty(b []byte) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("{}")
	}
	return b
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
