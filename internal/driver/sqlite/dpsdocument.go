package sqlite

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// The stored forms of what provisioning keeps. Their own types: the stored names
// must not change when a field of the domain is renamed, and secrets (sealed) are
// spelled out on purpose. Documents of clients are texts, so that they come back
// byte for byte.
type (
	dpsServiceDocument struct {
		IDScope     string                  `json:"idScope"`
		Hosts       []string                `json:"hosts,omitempty"`
		Allocation  dps.Policy              `json:"allocation"`
		Policies    []dpsPolicyDocument     `json:"policies,omitempty"`
		Links       []dpsLinkDocument       `json:"links,omitempty"`
		Authorities []dpsAuthorityDocument  `json:"authorities,omitempty"`
		Issuers     []dpsIssuerDocument     `json:"issuers,omitempty"`
		Credentials []dpsCredentialDocument `json:"credentialPolicies,omitempty"`
		Throttle    *dpsThrottleDocument    `json:"throttle,omitempty"`
		Networks    []dpsNetworkDocument    `json:"networks,omitempty"`
		Latencies   []dpsLatencyDocument    `json:"latencies,omitempty"`
		Created     time.Time               `json:"created"`
	}
	dpsNetworkDocument struct {
		Prefix netip.Prefix `json:"prefix"`
		Region string       `json:"region"`
	}
	dpsLatencyDocument struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Millis int    `json:"millis"`
	}
	dpsThrottleDocument struct {
		Preset string         `json:"preset,omitempty"`
		Limits map[string]int `json:"limits,omitempty"`
	}
	dpsPolicyDocument struct {
		Name      string     `json:"name"`
		Primary   string     `json:"primary"`
		Secondary string     `json:"secondary"`
		Rights    dps.Rights `json:"rights"`
	}
	dpsLinkDocument struct {
		Host       string `json:"host"`
		Excluded   bool   `json:"excluded,omitempty"`
		Weight     int    `json:"weight"`
		Region     string `json:"region,omitempty"`
		Connection string `json:"connection,omitempty"`
	}
	dpsAuthorityDocument struct {
		Name     string          `json:"name"`
		DER      []byte          `json:"der"`
		Verified bool            `json:"verified,omitempty"`
		Code     string          `json:"code,omitempty"`
		List     dpsListDocument `json:"list,omitzero"`
		ETag     string          `json:"etag"`
		Created  time.Time       `json:"created"`
		Updated  time.Time       `json:"updated"`
	}
	dpsListDocument struct {
		Issued  time.Time `json:"issued,omitzero"`
		Next    time.Time `json:"next,omitzero"`
		Number  string    `json:"number,omitempty"`
		Entries int       `json:"entries"`
	}
	dpsIssuerDocument struct {
		Chain   [][]byte  `json:"chain"`
		Key     string    `json:"key"`
		RootKey string    `json:"rootKey"`
		Created time.Time `json:"created"`
	}
	dpsCredentialDocument struct {
		Name        string        `json:"name"`
		Lifetime    time.Duration `json:"lifetime"`
		RenewBefore time.Duration `json:"renewBefore,omitempty"`
		KeyTypes    []string      `json:"keyTypes,omitempty"`
		ETag        string        `json:"etag"`
		Created     time.Time     `json:"created"`
		Updated     time.Time     `json:"updated"`
	}
	dpsKeysDocument struct {
		Primary   string `json:"primary,omitempty"`
		Secondary string `json:"secondary,omitempty"`
	}
	dpsTwinDocument struct {
		Tags    string `json:"tags,omitempty"`
		Desired string `json:"desired,omitempty"`
	}
	dpsEnrollmentDocument struct {
		ID               string          `json:"id"`
		DeviceID         string          `json:"deviceId,omitempty"`
		Kind             dps.Kind        `json:"kind"`
		Keys             dpsKeysDocument `json:"keys"`
		Primary          []byte          `json:"certificate,omitempty"`
		Secondary        []byte          `json:"secondCertificate,omitempty"`
		PrimaryCA        string          `json:"authority,omitempty"`
		SecondaryCA      string          `json:"secondAuthority,omitempty"`
		EndorsementKey   []byte          `json:"endorsementKey,omitempty"`
		StorageRootKey   []byte          `json:"storageRootKey,omitempty"`
		Edge             bool            `json:"edge,omitempty"`
		Disabled         bool            `json:"disabled,omitempty"`
		Allocation       dps.Policy      `json:"allocation,omitempty"`
		Hubs             []string        `json:"hubs,omitempty"`
		WebhookURL       string          `json:"webhook,omitempty"`
		WebhookVersion   string          `json:"webhookVersion,omitempty"`
		Keep             bool            `json:"keep,omitempty"`
		Migrate          bool            `json:"migrate,omitempty"`
		Twin             dpsTwinDocument `json:"twin"`
		Information      string          `json:"information,omitempty"`
		CredentialPolicy string          `json:"credentialPolicy,omitempty"`
		Created          time.Time       `json:"created"`
		Updated          time.Time       `json:"updated"`
	}
	dpsRegistrationDocument struct {
		ID        string              `json:"id"`
		Group     string              `json:"group,omitempty"`
		Kind      dps.Kind            `json:"kind"`
		Status    dps.Status          `json:"status"`
		Substatus dps.Substatus       `json:"substatus,omitempty"`
		Hub       string              `json:"hub,omitempty"`
		DeviceID  string              `json:"deviceId,omitempty"`
		FirstHub  string              `json:"firstHub,omitempty"`
		Doubts    []dpsPlaceDocument  `json:"doubts,omitempty"`
		Code      int                 `json:"code,omitempty"`
		Message   string              `json:"message,omitempty"`
		Payload   string              `json:"payload,omitempty"`
		Operation string              `json:"operation"`
		TPMKey    []byte              `json:"tpmKey,omitempty"`
		Issued    [][]byte            `json:"issued,omitempty"`
		Twin      dpsTwinDocument     `json:"twin"`
		Pending   *dpsPendingDocument `json:"pending,omitempty"`
		Created   time.Time           `json:"created"`
		Updated   time.Time           `json:"updated"`
	}
	dpsPlaceDocument struct {
		Hub      string `json:"hub"`
		DeviceID string `json:"deviceId"`
	}
	dpsPendingDocument struct {
		Payload     string          `json:"payload,omitempty"`
		Thumbprint  string          `json:"thumbprint,omitempty"`
		Second      string          `json:"secondThumbprint,omitempty"`
		Issued      [][]byte        `json:"issued,omitempty"`
		Certificate []byte          `json:"certificate,omitempty"`
		Keys        dpsKeysDocument `json:"keys"`
		TPMKey      []byte          `json:"tpmKey,omitempty"`
		Began       time.Time       `json:"began"`
		Chosen      string          `json:"chosen,omitempty"`
		ChosenID    string          `json:"chosenId,omitempty"` // without it the id of the registration
		Attested    string          `json:"attested,omitempty"`
		Transport   string          `json:"transport,omitempty"`
		Remote      string          `json:"remote,omitempty"`
		Client      string          `json:"client,omitempty"`
	}
)

func dpsKeysOf(k attestation.Keys) dpsKeysDocument {
	return dpsKeysDocument{string(k.Primary), string(k.Secondary)}
}

func (d dpsKeysDocument) keys() attestation.Keys {
	return attestation.Keys{Primary: causeway.Secret(d.Primary), Secondary: causeway.Secret(d.Secondary)}
}

func dpsTwinOf(t dps.InitialTwin) dpsTwinDocument {
	return dpsTwinDocument{string(t.Tags), string(t.Desired)}
}

func (d dpsTwinDocument) twin() dps.InitialTwin {
	return dps.InitialTwin{Tags: rawText(d.Tags), Desired: rawText(d.Desired)}
}

// rawText returns a stored document, nil for none.
func rawText(s string) json.RawMessage {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}

func writeInstance(i *dps.Instance) ([]byte, error) {
	d := dpsServiceDocument{IDScope: i.IDScope, Hosts: i.Hosts, Allocation: i.Allocation, Created: i.Created}
	for _, n := range i.Geo.Networks {
		d.Networks = append(d.Networks, dpsNetworkDocument(n))
	}
	for _, l := range i.Geo.Latencies {
		d.Latencies = append(d.Latencies, dpsLatencyDocument(l))
	}
	if t := i.Throttle; t.Preset != "" || len(t.Limits) > 0 {
		d.Throttle = &dpsThrottleDocument{t.Preset, t.Limits}
	}
	for _, p := range i.Policies {
		d.Policies = append(d.Policies, dpsPolicyDocument{p.Name, string(p.Primary), string(p.Secondary), p.Rights})
	}
	for _, l := range i.Links {
		d.Links = append(d.Links, dpsLinkDocument{l.Host, l.Excluded, l.Weight, l.Region, string(l.ConnectionString)})
	}
	for _, a := range i.Authorities {
		d.Authorities = append(d.Authorities, dpsAuthorityDocument{
			Name: a.Name, DER: a.DER, Verified: a.Verified, Code: a.Code, List: dpsListDocument(a.List), ETag: a.ETag, Created: a.Created, Updated: a.Updated,
		})
	}
	for _, x := range i.Issuers {
		d.Issuers = append(d.Issuers, dpsIssuerDocument{x.Chain, string(x.Key), string(x.RootKey), x.Created})
	}
	for _, p := range i.Credentials {
		d.Credentials = append(d.Credentials, dpsCredentialDocument(p))
	}
	return json.Marshal(d)
}

func readInstance(name string, text []byte) (dps.Instance, error) {
	var d dpsServiceDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return dps.Instance{}, fmt.Errorf("provisioning service %s: %w", name, err)
	}
	i := dps.Instance{Name: name, IDScope: d.IDScope, Hosts: d.Hosts, Allocation: d.Allocation, Created: d.Created}
	for _, n := range d.Networks {
		i.Geo.Networks = append(i.Geo.Networks, dps.Network(n))
	}
	for _, l := range d.Latencies {
		i.Geo.Latencies = append(i.Geo.Latencies, dps.Latency(l))
	}
	if d.Throttle != nil {
		i.Throttle = dps.Throttle{Preset: d.Throttle.Preset, Limits: d.Throttle.Limits}
	}
	for _, p := range d.Policies {
		i.Policies = append(i.Policies, dps.AccessPolicy{Name: p.Name, Primary: causeway.Secret(p.Primary), Secondary: causeway.Secret(p.Secondary), Rights: p.Rights})
	}
	for _, l := range d.Links {
		i.Links = append(i.Links, dps.Link{Host: l.Host, Excluded: l.Excluded, Weight: l.Weight, Region: l.Region, ConnectionString: causeway.Secret(l.Connection)})
	}
	for _, a := range d.Authorities {
		i.Authorities = append(i.Authorities, dps.Authority{
			Name: a.Name, DER: a.DER, Verified: a.Verified, Code: a.Code, List: dps.RevocationList(a.List), ETag: a.ETag, Created: a.Created, Updated: a.Updated,
		})
	}
	for _, x := range d.Issuers {
		i.Issuers = append(i.Issuers, dps.Issuer{Chain: x.Chain, Key: causeway.Secret(x.Key), RootKey: causeway.Secret(x.RootKey), Created: x.Created})
	}
	for _, p := range d.Credentials {
		i.Credentials = append(i.Credentials, dps.CredentialPolicy(p))
	}
	return i, nil
}

func writeEnrollment(e *dps.Enrollment) ([]byte, error) {
	a := &e.Attestation
	return json.Marshal(dpsEnrollmentDocument{
		ID: e.ID, DeviceID: e.DeviceID, Kind: a.Kind, Keys: dpsKeysOf(a.Keys), Primary: a.Primary, Secondary: a.Secondary,
		PrimaryCA: a.PrimaryAuthority, SecondaryCA: a.SecondaryAuthority, EndorsementKey: a.EndorsementKey, StorageRootKey: a.StorageRootKey,
		Edge: e.Edge, Disabled: e.Disabled, Allocation: e.Allocation, Hubs: e.Hubs, WebhookURL: e.Webhook.URL, WebhookVersion: e.Webhook.APIVersion,
		Keep: e.Keep, Migrate: e.Migrate, Twin: dpsTwinOf(e.InitialTwin), Information: string(e.Information), CredentialPolicy: e.CredentialPolicy,
		Created: e.Created, Updated: e.Updated,
	})
}

func readEnrollment(grouped bool, etag string, text []byte) (dps.Enrollment, error) {
	var d dpsEnrollmentDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return dps.Enrollment{}, fmt.Errorf("document of an enrollment: %w", err)
	}
	return dps.Enrollment{
		ID: d.ID, Group: grouped, DeviceID: d.DeviceID, ETag: etag,
		Attestation: dps.Attestation{
			Kind: d.Kind, Keys: d.Keys.keys(), Primary: d.Primary, Secondary: d.Secondary, PrimaryAuthority: d.PrimaryCA,
			SecondaryAuthority: d.SecondaryCA, EndorsementKey: d.EndorsementKey, StorageRootKey: d.StorageRootKey,
		},
		Edge: d.Edge, Disabled: d.Disabled, Allocation: d.Allocation, Hubs: d.Hubs, Webhook: dps.Webhook{URL: d.WebhookURL, APIVersion: d.WebhookVersion},
		Reprovision: dps.Reprovision{Keep: d.Keep, Migrate: d.Migrate}, InitialTwin: d.Twin.twin(), Information: rawText(d.Information),
		CredentialPolicy: d.CredentialPolicy, Created: d.Created, Updated: d.Updated,
	}, nil
}

func writeRegistration(r *dps.Registration) ([]byte, error) {
	d := dpsRegistrationDocument{
		ID: r.ID, Group: r.Group, Kind: r.Kind, Status: r.Status, Substatus: r.Substatus, Hub: r.Hub, DeviceID: r.DeviceID, FirstHub: r.FirstHub,
		Code: r.Code, Message: r.Message, Payload: string(r.Payload), Operation: r.Operation, TPMKey: r.TPMKey, Issued: r.Issued, Twin: dpsTwinOf(r.Twin),
		Created: r.Created, Updated: r.Updated,
	}
	for _, p := range r.Doubts {
		d.Doubts = append(d.Doubts, dpsPlaceDocument(p))
	}
	if p := r.Pending; p != nil {
		d.Pending = &dpsPendingDocument{
			Payload: string(p.Payload), Thumbprint: p.Thumbprint, Certificate: p.Certificate, Keys: dpsKeysOf(p.Keys), TPMKey: p.TPMKey,
			Began: p.Began, Chosen: p.Chosen.Hub, Attested: p.Attested, Transport: p.Transport, Remote: p.Remote, Client: p.Client, Second: p.SecondThumbprint, Issued: p.Issued,
		}
		if p.Chosen.DeviceID != r.ID {
			d.Pending.ChosenID = p.Chosen.DeviceID
		}
	}
	return json.Marshal(d)
}

func readRegistration(etag string, text []byte) (dps.Registration, error) {
	var d dpsRegistrationDocument
	if err := json.Unmarshal(text, &d); err != nil {
		return dps.Registration{}, fmt.Errorf("document of a registration: %w", err)
	}
	r := dps.Registration{
		ID: d.ID, Group: d.Group, Kind: d.Kind, Status: d.Status, Substatus: d.Substatus, Hub: d.Hub, DeviceID: d.DeviceID, FirstHub: d.FirstHub,
		Code: d.Code, Message: d.Message, Payload: rawText(d.Payload), Operation: d.Operation, TPMKey: d.TPMKey, Issued: d.Issued, Twin: d.Twin.twin(),
		ETag: etag, Created: d.Created, Updated: d.Updated,
	}
	for _, p := range d.Doubts {
		r.Doubts = append(r.Doubts, dps.Place(p))
	}
	if p := d.Pending; p != nil {
		r.Pending = &dps.Pending{
			Payload: rawText(p.Payload), Thumbprint: p.Thumbprint, Certificate: p.Certificate, Keys: p.Keys.keys(), TPMKey: p.TPMKey,
			Began: p.Began, Attested: p.Attested, Transport: p.Transport, Remote: p.Remote, Client: p.Client, SecondThumbprint: p.Second, Issued: p.Issued,
		}
		if p.Chosen != "" {
			r.Pending.Chosen = dps.Place{Hub: p.Chosen, DeviceID: cmp.Or(p.ChosenID, d.ID)}
		}
	}
	return r, nil
}
