package client

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
)

// Time is a time of the service API. The year 1 means never.
type Time struct{ time.Time }

// UnmarshalJSON accepts the forms the API has: RFC 3339, and the same without a
// zone, which means UTC.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		return err
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if v, err := time.Parse(layout, s); err == nil {
			t.Time = v.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is not a time", s)
}

// MarshalJSON writes RFC 3339.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.9999999Z07:00"))
}

// DeviceIdentity is a device of the registry.
type DeviceIdentity struct {
	DeviceID                   string          `json:"deviceId"`
	GenerationID               string          `json:"generationId,omitempty"`
	ETag                       string          `json:"etag,omitempty"`
	ConnectionState            string          `json:"connectionState,omitempty"`
	Status                     string          `json:"status,omitempty"` // enabled, disabled
	StatusReason               string          `json:"statusReason"`     // "" removes it
	ConnectionStateUpdatedTime Time            `json:"connectionStateUpdatedTime,omitzero"`
	StatusUpdatedTime          Time            `json:"statusUpdatedTime,omitzero"`
	LastActivityTime           Time            `json:"lastActivityTime,omitzero"`
	CloudToDeviceMessageCount  int             `json:"cloudToDeviceMessageCount"`
	Authentication             *Authentication `json:"authentication,omitempty"`
	Capabilities               *Capabilities   `json:"capabilities,omitempty"`
	DeviceScope                string          `json:"deviceScope,omitempty"`
	ParentScopes               []string        `json:"parentScopes,omitempty"`
}

// ModuleIdentity is a module of the registry.
type ModuleIdentity struct {
	ModuleID                   string          `json:"moduleId"`
	ManagedBy                  string          `json:"managedBy,omitempty"`
	DeviceID                   string          `json:"deviceId"`
	GenerationID               string          `json:"generationId,omitempty"`
	ETag                       string          `json:"etag,omitempty"`
	ConnectionState            string          `json:"connectionState,omitempty"`
	ConnectionStateUpdatedTime Time            `json:"connectionStateUpdatedTime,omitzero"`
	LastActivityTime           Time            `json:"lastActivityTime,omitzero"`
	CloudToDeviceMessageCount  int             `json:"cloudToDeviceMessageCount"`
	Authentication             *Authentication `json:"authentication,omitempty"`
}

func (m *ModuleIdentity) identity() causeway.Identity {
	return causeway.Identity{Device: m.DeviceID, Module: m.ModuleID}
}

// Authentication is how a device or module proves itself.
type Authentication struct {
	Type           string          `json:"type,omitempty"` // sas, selfSigned, certificateAuthority, none
	SymmetricKey   *SymmetricKey   `json:"symmetricKey,omitempty"`
	X509Thumbprint *X509Thumbprint `json:"x509Thumbprint,omitempty"`
}

// SymmetricKey is a pair of keys, base64 text.
type SymmetricKey struct {
	PrimaryKey   string `json:"primaryKey"`
	SecondaryKey string `json:"secondaryKey"`
}

// X509Thumbprint is a pair of certificate hashes, hex text.
type X509Thumbprint struct {
	PrimaryThumbprint   string `json:"primaryThumbprint,omitempty"`
	SecondaryThumbprint string `json:"secondaryThumbprint,omitempty"`
}

// Capabilities are what a device can be besides a device.
type Capabilities struct {
	IoTEdge bool `json:"iotEdge"`
}

// ConnectionString returns what a device or module connects with, "" when it
// has no keys. The host is the hub's.
func ConnectionString(host, device, module string, a *Authentication) string {
	s := "HostName=" + host + ";DeviceId=" + device
	if module != "" {
		s += ";ModuleId=" + module
	}
	switch {
	case a == nil:
		return ""
	case a.Type == "selfSigned" || a.Type == "certificateAuthority":
		return s + ";x509=true"
	case a.SymmetricKey == nil || a.SymmetricKey.PrimaryKey == "":
		return ""
	}
	return s + ";SharedAccessKey=" + a.SymmetricKey.PrimaryKey
}

// Twin is a twin as a back end sees it. Raw holds all of it.
type Twin struct {
	DeviceID        string          `json:"deviceId"`
	ModuleID        string          `json:"moduleId"`
	ETag            string          `json:"etag"`
	Version         int64           `json:"version"`
	Status          string          `json:"status"`
	ConnectionState string          `json:"connectionState"`
	ModelID         string          `json:"modelId"`
	Tags            json.RawMessage `json:"tags"`
	Properties      struct {
		Desired  json.RawMessage `json:"desired"`
		Reported json.RawMessage `json:"reported"`
	} `json:"properties"`

	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the whole text in Raw.
func (t *Twin) UnmarshalJSON(b []byte) error {
	type plain Twin
	if err := json.Unmarshal(b, (*plain)(t)); err != nil {
		return err
	}
	t.Raw = append(json.RawMessage(nil), b...)
	return nil
}

// MarshalJSON writes what the server sent.
func (t Twin) MarshalJSON() ([]byte, error) {
	if t.Raw != nil {
		return t.Raw, nil
	}
	type plain Twin
	return json.Marshal(plain(t))
}

// TwinPatch is a change of a twin by a back end: JSON objects, nil for a
// section that stays as it is.
type TwinPatch struct{ Tags, Desired json.RawMessage }

func (p TwinPatch) body() any {
	body := map[string]any{}
	if p.Tags != nil {
		body["tags"] = p.Tags
	}
	if p.Desired != nil {
		body["properties"] = map[string]json.RawMessage{"desired": p.Desired}
	}
	return body
}

// MethodCall is a direct method to be called. Payload is JSON, nil for null.
// Times of zero mean the hub's defaults: 30 s for an answer, and no waiting for
// a device that is not connected.
type MethodCall struct {
	Name                            string
	Payload                         json.RawMessage
	ResponseTimeout, ConnectTimeout time.Duration
}

// MethodResult is a device's answer.
type MethodResult struct {
	Status  int             `json:"status"`
	Payload json.RawMessage `json:"payload"`
}

// Statistics are the counts of a hub.
type Statistics struct {
	TotalDeviceCount     int `json:"totalDeviceCount"`
	EnabledDeviceCount   int `json:"enabledDeviceCount"`
	DisabledDeviceCount  int `json:"disabledDeviceCount"`
	ConnectedDeviceCount int `json:"connectedDeviceCount"`
}
