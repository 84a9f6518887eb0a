package dpstest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// Revocations implements [dps.CertificateStore].
func (m *Memory) Revocations(_ context.Context, service, after string, limit int) ([]dps.Revocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.service(service).revocations, after, limit, func(*dps.Revocation) bool { return true }), nil
}

// PutRevocations implements [dps.CertificateStore].
func (m *Memory) PutRevocations(_ context.Context, service, list string, r []dps.Revocation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.service(service).revocations
	for id, old := range all {
		if list != "" && old.Listed && strings.EqualFold(old.Authority, list) {
			delete(all, id)
		}
	}
	for _, x := range r {
		if old, there := all[x.ID]; !there || old.Listed || !x.Listed {
			all[x.ID] = x
		}
	}
	return nil
}

// DeleteRevocation implements [dps.CertificateStore].
func (m *Memory) DeleteRevocation(_ context.Context, service, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.service(service).revocations
	if _, ok := all[id]; !ok {
		return causeway.Errorf(dps.CodeNotFound, "memory", "there is no revocation %q", id)
	}
	delete(all, id)
	return nil
}

// PutIssued implements [dps.CertificateStore].
func (m *Memory) PutIssued(_ context.Context, service string, i dps.Issued) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.service(service).issued[i.Serial] = i
	return nil
}

// Issued implements [dps.CertificateStore].
func (m *Memory) Issued(_ context.Context, service, serial string) (dps.Issued, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.service(service).issued[serial]
	if !ok {
		return i, causeway.Errorf(dps.CodeNotFound, "memory", "there is no issued certificate %q", serial)
	}
	return i, nil
}

// IssuedTo implements [dps.CertificateStore].
func (m *Memory) IssuedTo(_ context.Context, service, registration, after string, limit int) ([]dps.Issued, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pageOf(m.service(service).issued, after, limit, func(i *dps.Issued) bool {
		return registration == "" || strings.EqualFold(i.Registration, registration)
	}), nil
}

// EndedIssued implements [dps.CertificateStore].
func (m *Memory) EndedIssued(_ context.Context, service string, from, before time.Time, limit int) ([]dps.Issued, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.service(service).issued
	list := pageOf(all, "", len(all), func(i *dps.Issued) bool { return !i.NotAfter.Before(from) && i.NotAfter.Before(before) })
	slices.SortStableFunc(list, func(a, b dps.Issued) int { return a.NotAfter.Compare(b.NotAfter) })
	return list[:min(limit, len(list))], nil
}

// DeleteIssued implements [dps.CertificateStore].
func (m *Memory) DeleteIssued(_ context.Context, service string, serials ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range serials {
		delete(m.service(service).issued, s)
	}
	return nil
}

// UsersOf implements [dps.CertificateStore].
func (m *Memory) UsersOf(_ context.Context, service string, what dps.Reference, name string, limit int) (list []dps.User, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, all := range m.service(service).enrollments {
		for _, e := range all {
			if name == "" {
				continue
			}
			uses := strings.EqualFold(e.CredentialPolicy, name)
			if what == dps.ToAuthority {
				uses = strings.EqualFold(e.Attestation.PrimaryAuthority, name) || strings.EqualFold(e.Attestation.SecondaryAuthority, name)
			}
			if uses && len(list) < limit {
				list = append(list, dps.User{Group: e.Group, ID: e.ID})
			}
		}
	}
	return list, nil
}

func revocations(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	code(t, "delete none", s.DeleteRevocation(ctx, "s", "a"), dps.CodeNotFound)
	one := dps.Revocation{ID: "b", Authority: "Plant", Issuer: "i", Serial: "01", Reason: "keyCompromise", At: stamp(1)}
	thumb := dps.Revocation{ID: "a", Thumbprint: "ab", At: stamp(2)}
	ok(t, s.PutRevocations(ctx, "s", "", []dps.Revocation{one}))
	ok(t, s.PutRevocations(ctx, "s", "", []dps.Revocation{thumb}))
	listed := func(authority string, ids ...string) (list []dps.Revocation) {
		for _, id := range ids {
			list = append(list, dps.Revocation{ID: id, Authority: authority, Issuer: "i", Serial: id, Listed: true, At: stamp(3)})
		}
		return list
	}
	ok(t, s.PutRevocations(ctx, "s", "Plant", listed("Plant", "c", "d")))
	ok(t, s.PutRevocations(ctx, "s", "other", listed("other", "e")))
	got, err := s.Revocations(ctx, "s", "", 10)
	ok(t, err)
	same(t, "revocations", got, slices.Concat([]dps.Revocation{thumb, one}, listed("Plant", "c", "d"), listed("other", "e")))
	got, err = s.Revocations(ctx, "s", "b", 2)
	ok(t, err)
	same(t, "a page", got, listed("Plant", "c", "d"))
	ok(t, s.PutRevocations(ctx, "s", "pLANT", listed("Plant", "d", "f"))) // the next list of it
	got, err = s.Revocations(ctx, "s", "", 10)
	ok(t, err)
	same(t, "after the next list", got, slices.Concat([]dps.Revocation{thumb, one}, listed("Plant", "d"), listed("other", "e"), listed("Plant", "f")))
	ok(t, s.PutRevocations(ctx, "s", "Plant", listed("Plant", "a"))) // which was revoked by hand
	got, err = s.Revocations(ctx, "s", "", 1)
	ok(t, err)
	same(t, "by hand and on a list", got, []dps.Revocation{thumb})
	ok(t, s.PutRevocations(ctx, "s", "Plant", nil))
	ok(t, s.DeleteRevocation(ctx, "s", "a"))
	one.Reason = "superseded"
	ok(t, s.PutRevocations(ctx, "s", "", []dps.Revocation{one}))
	got, err = s.Revocations(ctx, "s", "", 10)
	ok(t, err)
	same(t, "what is left", got, slices.Concat([]dps.Revocation{one}, listed("other", "e")))
	if got, err := s.Revocations(ctx, "another", "", 10); err != nil || len(got) != 0 {
		t.Errorf("of another service: %v, %v", got, err)
	}
	ok(t, s.DeleteInstance(ctx, "s"))
	if got, err := s.Revocations(ctx, "s", "", 10); err != nil || len(got) != 0 {
		t.Errorf("of a deleted service: %v, %v", got, err)
	}
}

func issuedCertificates(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	_, err := s.Issued(ctx, "s", "01")
	code(t, "none", err, dps.CodeNotFound)
	ok(t, s.DeleteIssued(ctx, "s", "01", "02"))
	var all []dps.Issued
	for n := range 5 {
		i := dps.Issued{
			Serial: fmt.Sprintf("%02X", 10+n), Issuer: "i", Thumbprint: fmt.Sprint("t", n), Registration: []string{"Dev-1", "dev-2"}[n%2], Group: "g", Policy: "p",
			Created: stamp(n), NotAfter: stamp(100 - n),
		}
		ok(t, s.PutIssued(ctx, "s", i))
		all = append(all, i)
	}
	got, err := s.Issued(ctx, "s", "0B")
	ok(t, err)
	same(t, "one", got, all[1])
	list, err := s.IssuedTo(ctx, "s", "", "0A", 3)
	ok(t, err)
	same(t, "a page of all", list, all[1:4])
	list, err = s.IssuedTo(ctx, "s", "DEV-1", "", 10)
	ok(t, err)
	same(t, "of one device", list, []dps.Issued{all[0], all[2], all[4]})
	list, err = s.EndedIssued(ctx, "s", time.Time{}, stamp(98), 10)
	ok(t, err)
	same(t, "those that have ended", list, []dps.Issued{all[4], all[3]})
	list, err = s.EndedIssued(ctx, "s", time.Time{}, stamp(98), 1)
	ok(t, err)
	same(t, "the first of them", list, all[4:])
	list, err = s.EndedIssued(ctx, "s", stamp(97), stamp(98), 10)
	ok(t, err)
	same(t, "from there on", list, all[3:4])
	ok(t, s.DeleteIssued(ctx, "s", all[3].Serial, all[4].Serial, "none"))
	if list, err = s.EndedIssued(ctx, "s", time.Time{}, stamp(98), 10); err != nil || len(list) != 0 {
		t.Errorf("they are forgotten: %v, %v", list, err)
	}
	again := all[0]
	again.Policy = "q"
	ok(t, s.PutIssued(ctx, "s", again))
	got, err = s.Issued(ctx, "s", again.Serial)
	ok(t, err)
	same(t, "replaced", got, again)
	ok(t, s.DeleteInstance(ctx, "s"))
	_, err = s.Issued(ctx, "s", again.Serial)
	code(t, "of a deleted service", err, dps.CodeNotFound)
}

func users(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	for n, e := range []dps.Enrollment{
		{ID: "One", Attestation: dps.Attestation{PrimaryAuthority: "Plant"}},
		{ID: "two", Group: true, Attestation: dps.Attestation{SecondaryAuthority: "plant"}},
		{ID: "both", Attestation: dps.Attestation{PrimaryAuthority: "PLANT", SecondaryAuthority: "plant"}},
		{ID: "policy", CredentialPolicy: "Plant"},
		{ID: "none"},
	} {
		e.ETag = fmt.Sprint(n)
		ok(t, s.PutEnrollment(ctx, "s", e, ""))
	}
	sorted := func(what dps.Reference, name string, limit int) []dps.User {
		list, err := s.UsersOf(ctx, "s", what, name, limit)
		ok(t, err)
		slices.SortFunc(list, func(a, b dps.User) int { return cmp.Compare(a.ID, b.ID) })
		return list
	}
	same(t, "of an authority", sorted(dps.ToAuthority, "pLANT", 10), []dps.User{{ID: "One"}, {ID: "both"}, {ID: "two", Group: true}})
	same(t, "of a policy", sorted(dps.ToCredentialPolicy, "plant", 10), []dps.User{{ID: "policy"}})
	if n := len(sorted(dps.ToAuthority, "plant", 2)); n != 2 {
		t.Errorf("%d users, asked for 2", n)
	}
	if n := len(sorted(dps.ToAuthority, "", 2)); n != 0 {
		t.Errorf("%d refer to nothing", n)
	}
}
