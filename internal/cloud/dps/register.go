package dps

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/tpm2"
	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

var _ causeway.Provisioner = (*Service)(nil)

// blockedText is what the device of a disabled enrollment is told.
const blockedText = "the enrollment is disabled"

// Register implements [causeway.Provisioner].
func (s *Service) Register(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
	t, err := s.find(&r)
	if err != nil {
		return causeway.Operation{}, err
	}
	if err := checkPayload(r.Payload); err != nil {
		return causeway.Operation{}, err
	}
	now := time.Now().UTC()
	p, err := s.prove(ctx, t, &r, now)
	if err != nil {
		s.noteRefused(t, &r, err, now)
		return causeway.Operation{}, err
	}
	// After the proof: nobody uses up the limit in the name of others.
	if err := s.enter(t, LimitRegistrations, "", now); err != nil {
		return causeway.Operation{}, err
	}
	pending, err := s.pending(&p, &r, now)
	if err != nil {
		return causeway.Operation{}, err
	}
	defer s.locks.Lock(t.Name + "/" + fold(r.ID))()
	reg, err := s.registration(ctx, t.Name, r.ID)
	match := reg.ETag
	switch {
	case causeway.CodeOf(err) == CodeNotFound:
		reg, match = Registration{ID: r.ID, Created: now}, ""
		if !p.Group {
			reg.ID = p.Enrollment.ID // as the enrollment spells it
		}
	case err != nil:
		return causeway.Operation{}, err
	case reg.Status == Assigning:
		return reg.operation(), nil // it joins the one under way
	}
	if p.nonce != nil && s.nonces.used(t.Name+"/"+fold(r.ID), p.nonce) {
		return causeway.Operation{}, unauthorized(fmt.Errorf("%s: %w", r.ID, errUsedNonce)) // replayed
	}
	if !p.blocked {
		if !s.queue.reserve(s.asking.length()) {
			return causeway.Operation{}, busy(busyPause, "%d registrations are waiting; try again in a while", MaxPending)
		}
		defer func() {
			if err != nil {
				s.queue.unreserve()
			}
		}()
	}
	if len(r.CSR) > 0 && dpsjson.KnowsCSR(r.Credential.APIVersion) && !p.blocked {
		if err = s.issueFor(ctx, t, &p, &r, &reg, pending, now); err != nil {
			return causeway.Operation{}, err
		}
	}
	reg.Kind, reg.Group = p.Attestation.Kind, ""
	if p.Group {
		reg.Group = p.Enrollment.ID
	}
	reg.Operation = "5." + hex.EncodeToString(random(8)) + "." + uuid.Text(uuid.New())
	reg.Code, reg.Message = 0, ""
	reg.Status, reg.Pending = Assigning, pending
	if p.blocked {
		reg.Status, reg.Pending, reg.Message = Disabled, nil, blockedText
	} else {
		s.foresee(ctx, t, p.Enrollment, &reg)
	}
	var decided []Decision
	if p.blocked {
		decided = append(decided, decision(&reg, pending, now))
	}
	// A device that goes away now may leave a registration that is stored and that
	// nobody works at: whoever stores it must hear whether it was.
	if err = s.putRegistration(context.WithoutCancel(ctx), t.Name, &reg, match, decided...); err != nil {
		return causeway.Operation{}, err
	}
	s.nonces.use(t.Name+"/"+fold(r.ID), p.nonce)
	if p.blocked {
		s.metrics.ended(t.Name, &reg, now)
	} else {
		s.queue.add(job{service: t.Name, id: fold(reg.ID), operation: reg.Operation})
	}
	s.log.Info("registration", "service", t.Name, "registration", reg.ID, "enrollment", p.Enrollment.ID, "attestation", string(reg.Kind),
		"status", string(reg.Status), "remote", r.Credential.RemoteAddr)
	op := reg.operation()
	// How it ends is said to who asks, even when it has: some clients want to ask.
	op.Status, op.RetryAfter = string(Assigning), RetryAfter
	return op, nil
}

// proveAgain checks who asks for a registration, and that it asks not too often.
func (s *Service) proveAgain(ctx context.Context, t *tenant, r *causeway.Registration) error {
	now := time.Now()
	if _, err := s.prove(ctx, t, r, now); err != nil {
		s.noteRefused(t, r, err, now)
		return err
	}
	return s.enter(t, LimitPolls, fold(r.ID), now)
}

// Lookup implements [causeway.Provisioner].
func (s *Service) Lookup(ctx context.Context, r causeway.Registration, operation string) (causeway.Operation, error) {
	t, err := s.find(&r)
	if err != nil {
		return causeway.Operation{}, err
	}
	if err := s.proveAgain(ctx, t, &r); err != nil {
		return causeway.Operation{}, err
	}
	reg, err := s.registration(ctx, t.Name, r.ID)
	if err != nil {
		return causeway.Operation{}, err
	}
	if operation == "" || reg.Operation != operation {
		return causeway.Operation{}, causeway.Errorf(CodeNotFound, "dps", "the registration %q has no operation %q; register again", r.ID, clip(operation))
	}
	return reg.operation(), nil
}

// Status returns the registration of a device that proves who it is. Code:
// CodeNotFound (it never registered).
func (s *Service) Status(ctx context.Context, r causeway.Registration) (causeway.Operation, error) {
	t, err := s.find(&r)
	if err != nil {
		return causeway.Operation{}, err
	}
	if err := s.proveAgain(ctx, t, &r); err != nil {
		return causeway.Operation{}, err
	}
	reg, err := s.registration(ctx, t.Name, r.ID)
	if err != nil {
		return causeway.Operation{}, err
	}
	return reg.operation(), nil
}

// operation returns r in the words of the contract.
func (r *Registration) operation() causeway.Operation {
	op := causeway.Operation{
		ID: r.Operation, Registration: r.ID, Status: string(r.Status), Substatus: string(r.Substatus),
		Attestation: string(r.Kind), Group: r.Group, Payload: r.Payload, Code: r.Code, Message: r.Message,
		ETag: r.ETag, Created: r.Created, Updated: r.Updated,
	}
	switch r.Status {
	case Assigning:
		op.RetryAfter = RetryAfter
	case Assigned:
		op.Hub, op.Device, op.AuthenticationKey, op.Certificates = r.Hub, r.DeviceID, r.TPMKey, r.Issued
	}
	return op
}

// pending notes what an operation needs of what a device gave.
func (s *Service) pending(p *proof, r *causeway.Registration, now time.Time) (*Pending, error) {
	n := &Pending{
		Payload: r.Payload, Keys: p.keys, Began: now, Attested: p.Attestation.digest(),
		Transport: string(r.Credential.Transport), Remote: clip(r.Credential.RemoteAddr), Client: clip(r.Credential.ClientType),
	}
	if p.leaf != nil {
		sum := sha256.Sum256(p.leaf.Raw)
		n.Thumbprint, n.Certificate = hex.EncodeToString(sum[:]), p.leaf.Raw
	}
	if p.Attestation.Kind != TPM || p.blocked || p.issued {
		return n, nil
	}
	ek, srk, err := tpmKeys(p, r)
	if err != nil {
		return nil, err
	}
	key := random(nonceBytes)
	n.Keys = attestation.Keys{Primary: causeway.Secret(base64.StdEncoding.EncodeToString(key)), Secondary: newKey()}
	if n.TPMKey, err = tpm2.Activation(ek, srk, key, []byte(r.ID)); err != nil {
		return nil, invalid("tpm: %v", err)
	}
	return n, nil
}

// putRegistration stores a registration with a new etag, and decisions about it.
func (s *Service) putRegistration(ctx context.Context, service string, r *Registration, match string, d ...Decision) error {
	r.ETag, r.Updated = newETag(), time.Now().UTC()
	sealed, err := s.sealRegistration(service, *r)
	if err != nil {
		return err
	}
	if err := s.store.PutRegistration(ctx, service, sealed, match, d...); err != nil {
		return fmt.Errorf("store registration %s: %w", r.ID, err)
	}
	return nil
}

func checkPayload(b []byte) error {
	switch {
	case len(b) > MaxPayload:
		return invalid("payload has %d bytes, at most %d are accepted", len(b), MaxPayload)
	case len(b) > 0 && !json.Valid(b):
		return invalid("payload is not JSON")
	}
	return nil
}
