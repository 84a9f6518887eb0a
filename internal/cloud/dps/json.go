package dps

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// EnrollmentJSON is an enrollment in the words of the service API, that of a
// device or of a group.
type EnrollmentJSON struct {
	RegistrationID   string            `json:"registrationId,omitempty"`
	GroupID          string            `json:"enrollmentGroupId,omitempty"`
	DeviceID         string            `json:"deviceId,omitempty"`
	State            *RegistrationJSON `json:"registrationState,omitempty"`
	Information      json.RawMessage   `json:"optionalDeviceInformation,omitempty"`
	Attestation      AttestationJSON   `json:"attestation"`
	Capabilities     *capabilities     `json:"capabilities,omitempty"`
	HubHostName      string            `json:"iotHubHostName,omitempty"`
	InitialTwin      *initialTwin      `json:"initialTwin,omitempty"`
	ETag             string            `json:"etag,omitempty"`
	Status           string            `json:"provisioningStatus,omitempty"`
	Reprovision      *reprovision      `json:"reprovisionPolicy,omitempty"`
	Created          *Time             `json:"createdDateTimeUtc,omitempty"`
	Updated          *Time             `json:"lastUpdatedDateTimeUtc,omitempty"`
	Allocation       string            `json:"allocationPolicy,omitempty"`
	Hubs             []string          `json:"iotHubs,omitempty"`
	Webhook          *webhook          `json:"customAllocationDefinition,omitempty"`
	CredentialPolicy string            `json:"credentialPolicyName,omitempty"`
}

type capabilities struct {
	Edge bool `json:"iotEdge"`
}

type reprovision struct {
	Update  bool `json:"updateHubAssignment"`
	Migrate bool `json:"migrateDeviceData"`
}

type webhook struct {
	URL        string `json:"webhookUrl"`
	APIVersion string `json:"apiVersion"`
}

type initialTwin struct {
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties struct {
		Desired json.RawMessage `json:"desired,omitempty"`
	} `json:"properties"`
}

// AttestationJSON is an attestation in the words of the service API.
type AttestationJSON struct {
	Type         string    `json:"type"`
	SymmetricKey *keysJSON `json:"symmetricKey,omitempty"`
	X509         *x509JSON `json:"x509,omitempty"`
	TPM          *tpmJSON  `json:"tpm,omitempty"`
}

type keysJSON struct {
	Primary   string `json:"primaryKey,omitempty"`
	Secondary string `json:"secondaryKey,omitempty"`
}

type tpmJSON struct {
	EndorsementKey string `json:"endorsementKey"`
	StorageRootKey string `json:"storageRootKey,omitempty"`
}

type x509JSON struct {
	Client      *pairJSON       `json:"clientCertificates,omitempty"`
	Signing     *pairJSON       `json:"signingCertificates,omitempty"`
	Authorities *referencesJSON `json:"caReferences,omitempty"`
}

type pairJSON struct {
	Primary   *certificateJSON `json:"primary,omitempty"`
	Secondary *certificateJSON `json:"secondary,omitempty"`
}

type referencesJSON struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

type certificateJSON struct {
	Certificate string    `json:"certificate,omitempty"`
	Info        *infoJSON `json:"info,omitempty"`
}

// infoJSON is attestation.Info with times as the service writes them.
type infoJSON struct {
	attestation.Info
	NotBefore Time `json:"notBeforeUtc"`
	NotAfter  Time `json:"notAfterUtc"`
}

// RegistrationJSON is a registration in the words of the service API.
type RegistrationJSON struct {
	RegistrationID string          `json:"registrationId"`
	Created        *Time           `json:"createdDateTimeUtc,omitempty"`
	Hub            string          `json:"assignedHub,omitempty"`
	DeviceID       string          `json:"deviceId,omitempty"`
	Status         string          `json:"status"`
	Substatus      string          `json:"substatus,omitempty"`
	Code           int             `json:"errorCode,omitempty"`
	Message        string          `json:"errorMessage,omitempty"`
	Updated        *Time           `json:"lastUpdatedDateTimeUtc,omitempty"`
	Group          string          `json:"enrollmentGroupId,omitempty"`
	ETag           string          `json:"etag,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"`
}

// Time is a time in the form of the service: UTC with seven digits of a fraction.
type Time time.Time

// TimeLayout is how the service writes times.
const TimeLayout = "2006-01-02T15:04:05.0000000Z"

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, TimeLayout), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. What a client sends back is
// of no consequence, so that anything is taken.
func (t *Time) UnmarshalText(b []byte) error {
	at, err := time.Parse(time.RFC3339, string(b))
	if err == nil {
		*t = Time(at)
	}
	return nil
}

func timeOf(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	at := Time(t)
	return &at
}

// JSONOf returns e in the words of the service API, with its keys if they are
// wanted.
func JSONOf(e *Enrollment, keys bool) EnrollmentJSON {
	j := EnrollmentJSON{
		DeviceID: e.DeviceID, Information: e.Information, Attestation: AttestationOf(e, keys),
		Capabilities: &capabilities{e.Edge}, ETag: e.ETag, Status: "enabled",
		Reprovision: &reprovision{Update: !e.Keep, Migrate: e.Migrate},
		Created:     timeOf(e.Created), Updated: timeOf(e.Updated),
		Allocation: string(e.Allocation), Hubs: e.Hubs, CredentialPolicy: e.CredentialPolicy,
	}
	if j.RegistrationID = e.ID; e.Group {
		j.RegistrationID, j.GroupID = "", e.ID
	}
	if e.Disabled {
		j.Status = "disabled"
	}
	if e.Webhook != (Webhook{}) {
		j.Webhook = &webhook{e.Webhook.URL, e.Webhook.APIVersion}
	}
	if e.InitialTwin.Tags != nil || e.InitialTwin.Desired != nil {
		j.InitialTwin = &initialTwin{Tags: orEmpty(e.InitialTwin.Tags)}
		j.InitialTwin.Properties.Desired = orEmpty(e.InitialTwin.Desired)
	}
	return j
}

func orEmpty(doc json.RawMessage) json.RawMessage {
	if doc == nil {
		return json.RawMessage("{}")
	}
	return doc
}

// AttestationOf returns the attestation of e, with its keys if they are wanted.
// Certificates are described, not shown.
func AttestationOf(e *Enrollment, keys bool) AttestationJSON {
	a := &e.Attestation
	j := AttestationJSON{Type: string(a.Kind)}
	switch a.Kind {
	case SymmetricKey:
		j.SymmetricKey = &keysJSON{}
		if keys {
			*j.SymmetricKey = keysJSON{string(a.Keys.Primary), string(a.Keys.Secondary)}
		}
	case TPM:
		j.TPM = &tpmJSON{EndorsementKey: base64.StdEncoding.EncodeToString(a.EndorsementKey)}
		if len(a.StorageRootKey) > 0 {
			j.TPM.StorageRootKey = base64.StdEncoding.EncodeToString(a.StorageRootKey)
		}
	case X509:
		j.X509 = &x509JSON{}
		pair := &pairJSON{Primary: described(a.Primary), Secondary: described(a.Secondary)}
		switch {
		case a.PrimaryAuthority != "":
			j.X509.Authorities = &referencesJSON{a.PrimaryAuthority, a.SecondaryAuthority}
		case e.Group:
			j.X509.Signing = pair
		default:
			j.X509.Client = pair
		}
	}
	return j
}

// described returns the description of a certificate; nil for none.
func described(der []byte) *certificateJSON {
	c, err := parseDER(der)
	if err != nil {
		return nil
	}
	i := attestation.InfoOf(c)
	return &certificateJSON{Info: &infoJSON{Info: i, NotBefore: Time(i.NotBeforeUTC), NotAfter: Time(i.NotAfterUTC)}}
}

// RegistrationJSONOf returns r in the words of the service API.
func RegistrationJSONOf(r *Registration) RegistrationJSON {
	j := RegistrationJSON{
		RegistrationID: r.ID, Created: timeOf(r.Created), Status: string(r.Status), Code: r.Code, Message: r.Message,
		Updated: timeOf(r.Updated), Group: r.Group, ETag: r.ETag,
	}
	if r.Status == Assigned {
		j.Hub, j.DeviceID, j.Substatus, j.Payload = r.Hub, r.DeviceID, string(r.Substatus), r.Payload
	}
	return j
}

// Enrollment reads what a client sent, the enrollment of a device or of a group.
// The error says which member is wrong.
func (j *EnrollmentJSON) Enrollment(group bool) (Enrollment, error) {
	e := Enrollment{
		ID: j.RegistrationID, Group: group, DeviceID: j.DeviceID, Information: j.Information,
		Allocation: policyOf(j.Allocation), Hubs: j.Hubs, CredentialPolicy: j.CredentialPolicy,
		// The default is to follow the allocation and to take the twin along.
		Reprovision: Reprovision{Migrate: true},
	}
	if group {
		e.ID = j.GroupID
	}
	if isNull(e.Information) {
		e.Information = nil
	}
	if j.Capabilities != nil {
		e.Edge = j.Capabilities.Edge
	}
	switch strings.ToLower(j.Status) {
	case "", "enabled":
	case "disabled":
		e.Disabled = true
	default:
		return e, invalid("provisioningStatus %q is neither enabled nor disabled", clip(j.Status))
	}
	if j.Reprovision != nil {
		e.Reprovision = Reprovision{Keep: !j.Reprovision.Update, Migrate: j.Reprovision.Migrate}
	}
	if j.Webhook != nil {
		e.Webhook = Webhook{URL: j.Webhook.URL, APIVersion: j.Webhook.APIVersion}
	}
	if j.InitialTwin != nil {
		e.InitialTwin = InitialTwin{Tags: j.InitialTwin.Tags, Desired: j.InitialTwin.Properties.Desired}
	}
	if h := j.HubHostName; h != "" && len(e.Hubs) == 0 { // the older way to name one hub
		e.Hubs = []string{h}
		if e.Allocation == "" {
			e.Allocation = Static
		}
	}
	var err error
	e.Attestation, err = j.Attestation.attestation(group)
	return e, err
}

// policyOf returns an allocation policy in the spelling of the service.
func policyOf(text string) Policy {
	for _, p := range []Policy{Hashed, GeoLatency, Static, Custom} {
		if strings.EqualFold(text, string(p)) {
			return p
		}
	}
	return Policy(text)
}

func (j *AttestationJSON) attestation(group bool) (a Attestation, err error) {
	switch {
	case strings.EqualFold(j.Type, string(SymmetricKey)):
		a.Kind = SymmetricKey
		if j.SymmetricKey != nil {
			a.Keys = attestation.Keys{Primary: causeway.Secret(j.SymmetricKey.Primary), Secondary: causeway.Secret(j.SymmetricKey.Secondary)}
		}
	case strings.EqualFold(j.Type, string(TPM)):
		a.Kind = TPM
		if j.TPM == nil {
			return a, nil // the one it has, if it has one
		}
		if a.EndorsementKey, err = base64.StdEncoding.DecodeString(j.TPM.EndorsementKey); err != nil {
			return a, invalid("attestation.tpm.endorsementKey is not base64")
		}
		if a.StorageRootKey, err = base64.StdEncoding.DecodeString(j.TPM.StorageRootKey); err != nil {
			return a, invalid("attestation.tpm.storageRootKey is not base64")
		}
	case strings.EqualFold(j.Type, string(X509)):
		a.Kind = X509
		err = j.X509.read(&a, group)
	default:
		a.Kind = Kind(j.Type)
	}
	return a, err
}

func (j *x509JSON) read(a *Attestation, group bool) (err error) {
	if j == nil {
		return nil
	}
	pair, other, name, wrong := j.Client, j.Signing, "clientCertificates", "signingCertificates"
	if group {
		pair, other, name, wrong = j.Signing, j.Client, wrong, name
	}
	if other != nil {
		return invalid("attestation.x509.%s does not fit here: give %s", wrong, name)
	}
	if pair != nil {
		if a.Primary, err = pair.Primary.der(name + ".primary"); err != nil {
			return err
		}
		if a.Secondary, err = pair.Secondary.der(name + ".secondary"); err != nil {
			return err
		}
		a.KeepPrimary, a.KeepSecondary = pair.Primary.described(), pair.Secondary.described()
	}
	if j.Authorities != nil {
		a.PrimaryAuthority, a.SecondaryAuthority = j.Authorities.Primary, j.Authorities.Secondary
	}
	return nil
}

// described reports whether j only tells what is in a certificate, as an
// enrollment that was read does.
func (j *certificateJSON) described() bool {
	return j != nil && j.Certificate == "" && j.Info != nil
}

// der returns the certificate; nil for none, or for one that is only described as
// in an enrollment that was read.
func (j *certificateJSON) der(name string) ([]byte, error) {
	if j == nil || j.Certificate == "" {
		return nil, nil
	}
	c, err := attestation.ParseCertificate(j.Certificate)
	if err != nil {
		return nil, invalid("attestation.x509.%s: %v", name, err)
	}
	return c.Raw, nil
}

func parseDER(der []byte) (*x509.Certificate, error) {
	if len(der) == 0 {
		return nil, fmt.Errorf("there is no certificate")
	}
	return x509.ParseCertificate(der)
}
