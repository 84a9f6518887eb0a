package dps

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/causeway-iot/causeway"
)

// turn is Seal or Open of a sealer.
type turn func(text causeway.Secret, bind string) (causeway.Secret, error)

// all turns every secret of a record; those that are empty stay so.
func all(t turn, prefix string, secrets map[string]*causeway.Secret) error {
	for which, text := range secrets {
		if *text == "" {
			continue
		}
		turned, err := t(*text, prefix+"/"+which)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", which, prefix, err)
		}
		*text = turned
	}
	return nil
}

func (i *Instance) turn(t turn) error {
	for k := range i.Policies {
		p := &i.Policies[k]
		if err := all(t, "dps/"+i.Name+"/policy/"+p.Name, map[string]*causeway.Secret{"primary": &p.Primary, "secondary": &p.Secondary}); err != nil {
			return err
		}
	}
	for k := range i.Links {
		l := &i.Links[k]
		if err := all(t, "dps/"+i.Name+"/hub/"+l.Host, map[string]*causeway.Secret{"connection string": &l.ConnectionString}); err != nil {
			return err
		}
	}
	for k := range i.Issuers {
		x := &i.Issuers[k]
		if len(x.Chain) == 0 {
			continue
		}
		// By the certificate: a key opens in the place of its own alone.
		sum := sha256.Sum256(x.Chain[0])
		bind := "dps/" + i.Name + "/issuer/" + hex.EncodeToString(sum[:])
		if err := all(t, bind, map[string]*causeway.Secret{"key": &x.Key, "root key": &x.RootKey}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) openInstance(i *Instance) error { return i.turn(s.sealer.Open) }

// sealInstance returns a copy of i that a store may keep.
func (s *Service) sealInstance(i Instance) (Instance, error) {
	i.Policies, i.Links, i.Issuers = slices.Clone(i.Policies), slices.Clone(i.Links), slices.Clone(i.Issuers)
	return i, i.turn(s.sealer.Seal)
}

func (e *Enrollment) turn(t turn, service string) error {
	kind := "enrollment"
	if e.Group {
		kind = "group"
	}
	k := &e.Attestation.Keys
	return all(t, "dps/"+service+"/"+kind+"/"+fold(e.ID), map[string]*causeway.Secret{"primary": &k.Primary, "secondary": &k.Secondary})
}

func (s *Service) openEnrollment(service string, e *Enrollment) error {
	return e.turn(s.sealer.Open, service)
}

func (s *Service) sealEnrollment(service string, e Enrollment) (Enrollment, error) {
	return e, e.turn(s.sealer.Seal, service)
}

// sealRegistration returns a copy of r that a store may keep.
func (s *Service) sealRegistration(service string, r Registration) (Registration, error) {
	if r.Pending == nil {
		return r, nil
	}
	p := *r.Pending
	r.Pending = &p
	return r, r.turn(s.sealer.Seal, service)
}

func (r *Registration) turn(t turn, service string) error {
	if r.Pending == nil {
		return nil
	}
	k := &r.Pending.Keys
	return all(t, "dps/"+service+"/registration/"+fold(r.ID), map[string]*causeway.Secret{"primary": &k.Primary, "secondary": &k.Secondary})
}
