package dpsamqp

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway"
)

// MechanismTPM is the name of the SASL mechanism.
const MechanismTPM = "TPM"

// Bounds of the mechanism.
const (
	// maxSegment is what one challenge carries of a blob: a SASL frame has at most
	// 512 bytes (AMQP 1.0 part 2 §2.8.19). The SDK for C cuts at 470, too.
	maxSegment = 470
	// MaxResponse bounds what a client says in one step, in all its segments: ids
	// and an endorsement key, a storage root key, or a token.
	MaxResponse = 4 << 10
)

// The control byte in front of a segment. A message that is not cut has 0 there.
const (
	controlSegment  = 0x80 // this is a segment
	controlLast     = 0x40 // the last one
	controlSequence = 0x03 // its number, from 0
)

// ErrTPM is wrapped by every error about what a client says in the dialogue.
var ErrTPM = errors.New("dialogue of the SASL mechanism TPM")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrTPM, fmt.Sprintf(format, args...))
}

// Step is what the server does next in a dialogue.
type Step uint8

// The steps.
const (
	Answer   Step = iota // send the challenge
	Activate             // call Blob with the activation blob for the keys
	Verify               // the token is there
)

// TPM is the server's part of the dialogue by which a device with a TPM proves
// who it is. The zero value awaits the initial response:
//
//	client  0 idScope 0 registrationId 0 endorsementKey
//	server  0
//	client  0 storageRootKey
//	server  0x80 first half of the activation blob
//	client  0
//	server  0xC1 second half
//	client  0 token
//
// The two halves are fixed: the SDK for Java takes neither one segment nor three.
// Of what the client says each message may come in segments, for the next of which
// the server sends 0.
type TPM struct {
	// Address and the keys (TPM2B_PUBLIC) are set when Activate is due, Token when
	// Verify is.
	Address        Address
	EndorsementKey []byte
	StorageRootKey []byte
	Token          causeway.Secret

	stage    stage
	response []byte // segments so far
	segments byte
	rest     []byte // of the blob
}

// stage is what the server waits for.
type stage uint8

const (
	awaitKey stage = iota
	awaitRoot
	awaitBlob // of Blob
	awaitNext // the client's wish for the second half
	awaitToken
	over
)

// Next takes a response of the client, which it does not keep; nil is none at
// all. The error ends the dialogue; what it says is not for the client.
func (t *TPM) Next(response []byte) (challenge []byte, step Step, err error) {
	if t.stage == over || t.stage == awaitBlob {
		return nil, 0, wrong("a response that nobody asked for")
	}
	if response == nil && t.stage == awaitKey && t.segments == 0 {
		return []byte{0}, Answer, nil // a client without an initial response
	}
	whole, err := t.gather(response)
	if err != nil {
		t.stage = over
		return nil, 0, err
	}
	if whole == nil {
		return []byte{0}, Answer, nil
	}
	challenge, step, err = t.take(whole)
	if err != nil {
		t.stage = over
	}
	return challenge, step, err
}

// gather joins the segments of a message. It returns nil while there are more to
// come; a whole one is never nil.
func (t *TPM) gather(response []byte) ([]byte, error) {
	if len(response) == 0 {
		return nil, wrong("a response without a control byte")
	}
	control, content := response[0], response[1:]
	if len(t.response)+len(content) > MaxResponse {
		return nil, wrong("a message of more than %d bytes", MaxResponse)
	}
	if control == 0 && t.segments == 0 {
		return append([]byte{}, content...), nil
	}
	if control&controlSegment == 0 || control&controlSequence != t.segments&controlSequence {
		return nil, wrong("control byte %#02x for segment %d", control, t.segments)
	}
	t.response = append(t.response, content...)
	if control&controlLast == 0 {
		if len(content) == 0 {
			return nil, wrong("an empty segment")
		}
		t.segments++
		return nil, nil
	}
	whole := append([]byte{}, t.response...)
	t.response, t.segments = nil, 0
	return whole, nil
}

// take deals with a whole message.
func (t *TPM) take(m []byte) (challenge []byte, step Step, err error) {
	switch t.stage {
	case awaitKey:
		scope, rest, ok := bytes.Cut(m, []byte{0})
		id, key, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(scope) == 0 || len(id) == 0 || len(key) == 0 {
			return nil, 0, wrong("the initial response is not of an id scope, a registration id and an endorsement key")
		}
		if len(scope)+len(id) > MaxAddress {
			return nil, 0, wrong("ids of %d bytes", len(scope)+len(id))
		}
		t.Address, t.EndorsementKey = Address{Scope: string(scope), ID: string(id)}, key
		t.stage = awaitRoot
		return []byte{0}, Answer, nil
	case awaitRoot:
		if len(m) == 0 {
			return nil, 0, wrong("the storage root key is empty")
		}
		t.StorageRootKey = m
		t.stage = awaitBlob
		return nil, Activate, nil
	case awaitNext:
		if len(m) != 0 {
			return nil, 0, wrong("%d bytes in place of the wish for the second half", len(m))
		}
		challenge = append([]byte{controlSegment | controlLast | 1}, t.rest...)
		t.rest, t.stage = nil, awaitToken
		return challenge, Answer, nil
	}
	if len(m) == 0 {
		return nil, 0, wrong("the token is empty")
	}
	t.Token, t.stage = causeway.Secret(m), over
	return nil, Verify, nil
}

// Blob takes the activation blob when Activate is due, and returns the challenge
// with its first half.
func (t *TPM) Blob(blob []byte) (challenge []byte, err error) {
	half := (len(blob) + 1) / 2
	if t.stage != awaitBlob || len(blob) < 2 || half > maxSegment {
		t.stage = over
		return nil, fmt.Errorf("an activation blob of %d bytes cannot be sent in two segments of %d", len(blob), maxSegment)
	}
	t.rest, t.stage = blob[half:], awaitNext
	return append([]byte{controlSegment}, blob[:half]...), nil
}
