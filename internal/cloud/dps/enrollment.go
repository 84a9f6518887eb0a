package dps

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// Kind is how the devices of an enrollment prove who they are.
type Kind string

// The kinds of attestation.
const (
	SymmetricKey Kind = "symmetricKey"
	X509         Kind = "x509"
	TPM          Kind = "tpm"
)

// Policy says how a hub is chosen.
type Policy string

// The allocation policies. The zero value is that of the service.
const (
	Hashed     Policy = "hashed"
	GeoLatency Policy = "geoLatency"
	Static     Policy = "static"
	Custom     Policy = "custom"
)

// Enrollment admits one device, or with Group every device that has a key or a
// certificate of the group. One that a service handed out shares memory with
// others and is only read.
type Enrollment struct {
	// ID is the registration id of the device, or the id of the group, as it was
	// spelled when it was made. Case does not tell two apart.
	ID       string
	Group    bool
	DeviceID string // of the device on its hub; "" is the registration id

	Attestation Attestation
	Edge        bool // capabilities.iotEdge
	Disabled    bool

	Allocation Policy
	Hubs       []string // host names to choose from; none means all that are linked
	Webhook    Webhook  // of a custom allocation
	Reprovision
	InitialTwin InitialTwin

	Information      json.RawMessage // optionalDeviceInformation, an object, or nil
	CredentialPolicy string          // names who issues certificates at registration

	ETag             string
	Created, Updated time.Time
}

// Attestation is the proof that is asked for. Only the fields of its kind are set.
type Attestation struct {
	Kind Kind
	// Keys of SymmetricKey: of the device itself, or those that the keys of a
	// group's devices are derived from. They are sealed inside a Store.
	Keys attestation.Keys
	// Primary and Secondary certificates of X509, DER: of the device itself, or
	// those that have signed the certificates of a group's devices.
	Primary, Secondary []byte
	// KeepPrimary and KeepSecondary, of an enrollment that a client gave, leave the
	// certificate as it is: the client has only a description of it.
	KeepPrimary, KeepSecondary bool
	// Authorities of X509: names of verified certificates of the service that
	// count instead.
	PrimaryAuthority, SecondaryAuthority string
	// Public parts of the TPM's keys, TPM2B_PUBLIC. The storage root key may be
	// missing and may change.
	EndorsementKey, StorageRootKey []byte
}

// digest is a short digest of a: another one is of another proof. It is too short to
// tell a key by.
func (a *Attestation) digest() string {
	h := sha256.New()
	for _, part := range [...][]byte{
		[]byte(a.Kind), []byte(a.Keys.Primary), []byte(a.Keys.Secondary), a.Primary, a.Secondary, []byte(fold(a.PrimaryAuthority)),
		[]byte(fold(a.SecondaryAuthority)), a.EndorsementKey,
	} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// Webhook chooses a hub for a custom allocation.
type Webhook struct {
	URL        string
	APIVersion string
}

// Reprovision says what happens to a device that registers again.
type Reprovision struct {
	// Keep leaves it on the hub it has, whatever the allocation would say.
	Keep bool
	// Migrate takes its twin along to another hub; else it begins anew there.
	Migrate bool
}

// InitialTwin is what the twin of a new device begins with: JSON objects, or nil.
type InitialTwin struct {
	Tags    json.RawMessage `json:"tags,omitempty"`
	Desired json.RawMessage `json:"desired,omitempty"`
}

// Status is the state of a registration.
type Status string

// The states of a registration.
const (
	Unassigned Status = "unassigned"
	Assigning  Status = "assigning"
	Assigned   Status = "assigned"
	Failed     Status = "failed"
	Disabled   Status = "disabled"
)

// Substatus says how an assigned device came to its hub.
type Substatus string

// How a device came to its hub.
const (
	InitialAssignment Substatus = "initialAssignment"
	DataMigrated      Substatus = "deviceDataMigrated"
	DataReset         Substatus = "deviceDataReset"
	BackToInitial     Substatus = "reprovisionedToInitialAssignment"
)

// Registration is what the service remembers of a device.
type Registration struct {
	ID        string // as the device spelled it first
	Group     string // id of the enrollment group it came by, "" for its own enrollment
	Kind      Kind
	Status    Status
	Substatus Substatus
	Hub       string // host name; also while it is assigned anew
	DeviceID  string
	FirstHub  string // that it was assigned to first
	// Doubts are places where the device may be too: a hub did not answer when it was
	// put there, or something else came between. At most MaxHubs, the latest last.
	Doubts    []Place
	Code      int // why it failed
	Message   string
	Payload   json.RawMessage // of a custom allocation
	Operation string          // the last one
	TPMKey    []byte          // activation blob of the key that it has on its hub
	Issued    [][]byte        // DER: the certificate that was issued to it last, and those above it
	Twin      InitialTwin     // given at the last allocation by a webhook

	// What an operation that is under way goes on from after a restart.
	Pending *Pending

	ETag             string
	Created, Updated time.Time
}

// Place is where a device is: a hub, by its host name, and its id there.
type Place struct{ Hub, DeviceID string }

// Pending is what a device brought along when it registered.
type Pending struct {
	Payload    json.RawMessage
	Thumbprint string // SHA-256 of the certificate that its hub will know it by, hexadecimal
	// SecondThumbprint is of the certificate that it had before.
	SecondThumbprint string
	Issued           [][]byte // that it gets, with those above it
	Certificate      []byte   // DER
	Keys             attestation.Keys
	// TPMKey is the activation blob of the key that the device will have on its
	// hub, which is in Keys.
	TPMKey []byte
	Began  time.Time
	// Chosen is where the device goes, if that is decided: it is stored before a hub
	// is asked. The payload and the twin that came with it are in the registration.
	Chosen Place
	// Attested tells whether the enrollment still asks for the proof that was given.
	Attested string
	// Where it came from.
	Transport, Remote, Client string
}
