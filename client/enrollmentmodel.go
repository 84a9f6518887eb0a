package client

import "encoding/json"

// EnrollmentKind says whether an enrollment is of one device or of a group.
type EnrollmentKind string

// The kinds of enrollments.
const (
	IndividualEnrollment EnrollmentKind = "enrollments"
	EnrollmentGroup      EnrollmentKind = "enrollmentGroups"
)

// Enrollment admits one device to a provisioning service, or every device that has
// a key or a certificate of a group. One of RegistrationID and GroupID is set.
type Enrollment struct {
	RegistrationID string `json:"registrationId,omitempty"`
	GroupID        string `json:"enrollmentGroupId,omitempty"`
	DeviceID       string `json:"deviceId,omitempty"` // on its hub; "" is the registration id

	Attestation      EnrollmentAttestation `json:"attestation"`
	Capabilities     *Capabilities         `json:"capabilities,omitempty"`
	Status           string                `json:"provisioningStatus,omitempty"` // enabled, disabled; "" is enabled
	AllocationPolicy string                `json:"allocationPolicy,omitempty"`   // hashed, geoLatency, static, custom; "" is that of the service
	Hubs             []string              `json:"iotHubs,omitempty"`            // host names to choose from; none means all that are linked
	Webhook          *AllocationWebhook    `json:"customAllocationDefinition,omitempty"`
	Reprovision      *ReprovisionPolicy    `json:"reprovisionPolicy,omitempty"`
	InitialTwin      *InitialTwin          `json:"initialTwin,omitempty"`
	Information      json.RawMessage       `json:"optionalDeviceInformation,omitempty"` // an object
	CredentialPolicy string                `json:"credentialPolicyName,omitempty"`      // names who issues certificates at registration

	// Set by the service.
	State   *RegistrationState `json:"registrationState,omitempty"` // of the device of an individual enrollment
	ETag    string             `json:"etag,omitempty"`
	Created Time               `json:"createdDateTimeUtc,omitzero"`
	Updated Time               `json:"lastUpdatedDateTimeUtc,omitzero"`
}

// Kind says what e is.
func (e *Enrollment) Kind() EnrollmentKind {
	if e.GroupID != "" {
		return EnrollmentGroup
	}
	return IndividualEnrollment
}

// ID returns the registration id, or that of the group.
func (e *Enrollment) ID() string {
	if e.GroupID != "" {
		return e.GroupID
	}
	return e.RegistrationID
}

// EnrollmentAttestation is how devices prove who they are: the member that Type
// names.
type EnrollmentAttestation struct {
	Type         string           `json:"type"` // symmetricKey, x509, tpm
	SymmetricKey *SymmetricKey    `json:"symmetricKey,omitempty"`
	X509         *X509Attestation `json:"x509,omitempty"`
	TPM          *TPMAttestation  `json:"tpm,omitempty"`
}

// X509Attestation is the certificates of a device, those that have signed the
// certificates of a group's devices, or names of certificates that the service has.
type X509Attestation struct {
	Client      *CertificatePair     `json:"clientCertificates,omitempty"`
	Signing     *CertificatePair     `json:"signingCertificates,omitempty"`
	Authorities *AuthorityReferences `json:"caReferences,omitempty"`
}

// CertificatePair is two certificates, so that one can replace the other.
type CertificatePair struct {
	Primary   *EnrollmentCertificate `json:"primary,omitempty"`
	Secondary *EnrollmentCertificate `json:"secondary,omitempty"`
}

// EnrollmentCertificate is a certificate: given as PEM text, or as the base64 of
// DER; answered with what is in it. One that is sent back as it was answered
// stays.
type EnrollmentCertificate struct {
	Certificate string           `json:"certificate,omitempty"`
	Info        *CertificateInfo `json:"info,omitempty"`
}

// CertificateInfo is what a service says of a certificate.
type CertificateInfo struct {
	Subject      string `json:"subjectName"`
	SHA1         string `json:"sha1Thumbprint"`
	SHA256       string `json:"sha256Thumbprint"`
	Issuer       string `json:"issuerName"`
	NotBefore    Time   `json:"notBeforeUtc"`
	NotAfter     Time   `json:"notAfterUtc"`
	SerialNumber string `json:"serialNumber"`
	Version      int    `json:"version"`
}

// AuthorityReferences name verified certificates of the service.
type AuthorityReferences struct {
	Primary   string `json:"primary,omitempty"`
	Secondary string `json:"secondary,omitempty"`
}

// TPMAttestation is the public parts of a TPM's keys, base64 of TPM2B_PUBLIC.
type TPMAttestation struct {
	EndorsementKey string `json:"endorsementKey"`
	StorageRootKey string `json:"storageRootKey,omitempty"` // it may change
}

// AllocationWebhook chooses a hub for the allocation policy custom.
type AllocationWebhook struct {
	URL        string `json:"webhookUrl"`
	APIVersion string `json:"apiVersion"`
}

// ReprovisionPolicy says what happens to a device that registers again: whether the
// allocation may move it to another hub, and whether its twin comes along.
type ReprovisionPolicy struct {
	UpdateHubAssignment bool `json:"updateHubAssignment"`
	MigrateDeviceData   bool `json:"migrateDeviceData"`
}

// InitialTwin is what the twin of a new device begins with: JSON objects, or nil.
type InitialTwin struct {
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties struct {
		Desired json.RawMessage `json:"desired,omitempty"`
	} `json:"properties"`
}

// RegistrationState is what a service remembers of a device.
type RegistrationState struct {
	RegistrationID string          `json:"registrationId"`
	Status         string          `json:"status"` // unassigned, assigning, assigned, failed, disabled
	Substatus      string          `json:"substatus,omitempty"`
	Hub            string          `json:"assignedHub,omitempty"` // host name
	DeviceID       string          `json:"deviceId,omitempty"`
	Group          string          `json:"enrollmentGroupId,omitempty"`
	ErrorCode      int             `json:"errorCode,omitempty"` // why it failed
	ErrorMessage   string          `json:"errorMessage,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"` // of a custom allocation
	ETag           string          `json:"etag,omitempty"`
	Created        Time            `json:"createdDateTimeUtc,omitzero"`
	Updated        Time            `json:"lastUpdatedDateTimeUtc,omitzero"`
}

// BulkMode is what a bulk operation does with each enrollment.
type BulkMode string

// The modes of bulk operations.
const (
	BulkCreate        BulkMode = "create"
	BulkUpdate        BulkMode = "update"            // of any version
	BulkUpdateIfMatch BulkMode = "updateIfMatchETag" // of the version that the enrollment's etag names
	BulkDelete        BulkMode = "delete"
)

// MaxBulkEnrollments is how many enrollments one bulk operation takes.
const MaxBulkEnrollments = 10

// BulkError is why one enrollment of a bulk operation was refused.
type BulkError struct {
	RegistrationID string `json:"registrationId,omitempty"`
	GroupID        string `json:"enrollmentGroupId,omitempty"`
	Code           int    `json:"errorCode"`
	Status         string `json:"errorStatus"`
}
