package dpsjson

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// operation is the answer to a registration and to each question for it.
type operation struct {
	ID     string `json:"operationId"`
	Status string `json:"status"`
	State  state  `json:"registrationState"`
}

// state is a registration as its device sees it.
type state struct {
	X509         *x509State      `json:"x509,omitempty"`
	TPM          *tpmState       `json:"tpm,omitempty"`
	SymmetricKey *symmetric      `json:"symmetricKey,omitempty"`
	ID           string          `json:"registrationId"`
	Created      string          `json:"createdDateTimeUtc,omitempty"`
	Hub          string          `json:"assignedHub,omitempty"`
	Device       string          `json:"deviceId,omitempty"`
	Status       string          `json:"status"`
	Substatus    string          `json:"substatus,omitempty"`
	Code         int             `json:"errorCode,omitempty"`
	Message      string          `json:"errorMessage,omitempty"`
	Updated      string          `json:"lastUpdatedDateTimeUtc,omitempty"`
	ETag         string          `json:"etag,omitempty"`
	Payload      json.RawMessage `json:"payload,omitempty"`
	Issued       [][]byte        `json:"issuedCertificateChain,omitempty"`
}

type x509State struct {
	Group string `json:"enrollmentGroupId,omitempty"`
}

type tpmState struct {
	Key string `json:"authenticationKey"`
}

type symmetric struct {
	Group string `json:"enrollmentGroupId,omitempty"`
}

// Final reports whether an operation is over.
func Final(op *causeway.Operation) bool { return op.Status != "assigning" && op.Status != "unassigned" }

// Status returns the HTTP status of an answer with op: a device asks again as
// long as it is 202.
func Status(op *causeway.Operation) int {
	if Final(op) {
		return http.StatusOK
	}
	return http.StatusAccepted
}

func stateOf(op *causeway.Operation) state {
	s := state{ID: op.Registration, Status: op.Status}
	if !Final(op) {
		return s
	}
	s.Created, s.Updated = instant(op.Created), instant(op.Updated)
	s.Hub, s.Device, s.Substatus, s.ETag = op.Hub, op.Device, op.Substatus, op.ETag
	s.Code, s.Message = op.Code, op.Message
	if len(op.Payload) > 0 {
		s.Payload = op.Payload
	}
	if op.Status == "assigned" {
		s.Issued = op.Certificates
	} else {
		s.Substatus = ""
		if s.Code == 0 {
			s.Code = int(causeway.GenericForbidden) // some clients cannot do without
		}
		if s.Message == "" {
			s.Message = "the registration is " + op.Status
		}
	}
	switch op.Attestation {
	case "x509":
		s.X509 = &x509State{op.Group}
	case "symmetricKey":
		s.SymmetricKey = &symmetric{op.Group}
	case "tpm":
		if op.AuthenticationKey != nil {
			s.TPM = &tpmState{base64.StdEncoding.EncodeToString(op.AuthenticationKey)}
		}
	}
	return s
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(hubjson.Ticks)
}

// Operation writes the answer to a registration, or to a question for it.
func Operation(op *causeway.Operation) ([]byte, error) {
	return hubjson.Marshal(operation{ID: op.ID, Status: op.Status, State: stateOf(op)})
}

// State writes the registration alone.
func State(op *causeway.Operation) ([]byte, error) { return hubjson.Marshal(stateOf(op)) }

// Error writes an error and returns its HTTP status.
func Error(err error, tracking string) (status int, body []byte) {
	code := causeway.CodeOf(err)
	if status = code.HTTPStatus(); status < 400 || status > 599 {
		code, status = causeway.GenericServerError, http.StatusInternalServerError
	}
	if tracking == "" {
		tracking = rand.Text()
	}
	return status, hubjson.Must(struct {
		Code     int      `json:"errorCode"`
		Tracking string   `json:"trackingId"`
		Message  string   `json:"message"`
		Info     struct{} `json:"info"`
		Time     string   `json:"timestampUtc"`
	}{Code: int(code), Tracking: tracking, Message: causeway.MessageOf(err), Time: time.Now().UTC().Format(hubjson.Ticks)})
}

// Challenge writes what a device with a TPM must activate. It has no member
// "status": that is how clients know it from an operation.
func Challenge(c causeway.TPMChallenge) []byte {
	return hubjson.Must(struct {
		Message string `json:"message"`
		Key     string `json:"authenticationKey"`
		Name    string `json:"keyName"`
	}{"Authorization required: sign the token with the key in authenticationKey", base64.StdEncoding.EncodeToString(c.AuthenticationKey), c.KeyName})
}
