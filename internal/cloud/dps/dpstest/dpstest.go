// Package dpstest holds drivers to the contract of [dps.Store], and has a store in
// memory that keeps it.
package dpstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// Run runs the contract. Open returns a store on what is in dir, empty at first;
// the suite opens it again to see what is durable.
func Run(t *testing.T, open func(t *testing.T, dir string) dps.Store) {
	for name, f := range map[string]func(*testing.T, func(*testing.T) dps.Store){
		"Instances": instances, "Enrollments": enrollments, "Etags": etags, "Spelling": spelling,
		"Registrations": registrations, "Apart": apart, "Contended": contended, "Pages": pages,
		"Revocations": revocations, "Issued": issuedCertificates, "Users": users, "Decisions": decisions,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f(t, func(t *testing.T) dps.Store { return open(t, dir) })
		})
	}
}

func instance(name string) dps.Instance {
	return dps.Instance{
		Name: name, IDScope: "0ne" + strings.ToUpper(name), Hosts: []string{name, name + ".example"}, Allocation: dps.Hashed,
		Policies:    []dps.AccessPolicy{{Name: dps.OwnerPolicy, Primary: "sealed-p", Secondary: "sealed-s", Rights: dps.AllRights}},
		Links:       []dps.Link{{Host: "h1", Weight: 2, Region: "eu"}, {Host: "h2", Excluded: true, Weight: 1, ConnectionString: "sealed-c"}},
		Authorities: []dps.Authority{{Name: "ca", DER: []byte{0, 1, 2}, Verified: true, Code: "code", ETag: "e", Created: stamp(1), Updated: stamp(2), List: dps.RevocationList{Issued: stamp(3), Next: stamp(4), Number: "12", Entries: 5}}},
		Issuers:     []dps.Issuer{{Chain: [][]byte{{1}, {2, 0}}, Key: "sealed-k", RootKey: "sealed-r", Created: stamp(5)}},
		Credentials: []dps.CredentialPolicy{{Name: "p", Lifetime: 3 * time.Hour, RenewBefore: time.Hour, KeyTypes: []string{"ec-p256"}, ETag: "e", Created: stamp(6), Updated: stamp(7)}},
		Geo:         dps.Geo{Networks: []dps.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Region: "eu"}}, Latencies: []dps.Latency{{From: "eu", To: "us", Millis: 80}}},
		Throttle:    dps.Throttle{Preset: "standard-s1", Limits: map[string]int{"polls": 7}},
		Created:     stamp(0),
	}
}

func stamp(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 123_000).UTC() }

// Enrollment returns one with every field set.
func Enrollment(id string, group bool) dps.Enrollment {
	e := dps.Enrollment{
		ID: id, Group: group, DeviceID: "device-" + id, Edge: true, Disabled: true,
		Attestation: dps.Attestation{
			Kind: dps.SymmetricKey, Keys: attestation.Keys{Primary: "sealed 1", Secondary: "sealed 2"},
			Primary: []byte{1, 0, 255}, Secondary: []byte{2}, PrimaryAuthority: "a", SecondaryAuthority: "b",
			EndorsementKey: []byte{3}, StorageRootKey: []byte{4},
		},
		Allocation: dps.Custom, Hubs: []string{"h1", "h2"}, Webhook: dps.Webhook{URL: "https://x/y", APIVersion: "1"},
		Reprovision: dps.Reprovision{Keep: true, Migrate: true},
		InitialTwin: dps.InitialTwin{Tags: json.RawMessage(`{"a": 1}`), Desired: json.RawMessage(`{"b":"é"}`)},
		Information: json.RawMessage(`{"i":[1]}`), CredentialPolicy: "p", ETag: "1", Created: stamp(1), Updated: stamp(2),
	}
	return e
}

func registration(id, group string) dps.Registration {
	return dps.Registration{
		ID: id, Group: group, Kind: dps.TPM, Status: dps.Assigning, Substatus: dps.DataReset, Hub: "h1", DeviceID: "d", FirstHub: "h0", Doubts: []dps.Place{{Hub: "h9", DeviceID: "d"}, {Hub: "h8", DeviceID: "e"}},
		Code: 400207, Message: "why", Payload: json.RawMessage(`{"p":null}`), Operation: "5.x", TPMKey: []byte{9, 0}, Issued: [][]byte{{5}, {6, 0}},
		Twin: dps.InitialTwin{Tags: json.RawMessage(`{}`)},
		Pending: &dps.Pending{
			Payload: json.RawMessage(`[1]`), Thumbprint: "ab", SecondThumbprint: "cd", Issued: [][]byte{{7}}, Certificate: []byte{7}, Keys: attestation.Keys{Primary: "sealed", Secondary: "sealed 2"},
			TPMKey: []byte{8}, Began: stamp(3), Chosen: dps.Place{Hub: "h2", DeviceID: "d"}, Attested: "0a", Transport: "mqtt", Remote: "r", Client: "c",
		},
		ETag: "1", Created: stamp(1), Updated: stamp(2),
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(t *testing.T, what string, err error, want causeway.Code) {
	t.Helper()
	if causeway.CodeOf(err) != want {
		t.Errorf("%s: %v, want code %d", what, err, int(want))
	}
}

func instances(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	list, err := s.Instances(ctx)
	if err != nil || len(list) != 0 {
		t.Fatalf("a new store has %v, %v", list, err)
	}
	b, a := instance("b"), instance("a")
	ok(t, s.PutInstance(ctx, b))
	ok(t, s.PutInstance(ctx, a))
	b.Hosts, b.Authorities = []string{"other"}, nil
	ok(t, s.PutInstance(ctx, b))
	list, err = s.Instances(ctx)
	ok(t, err)
	same(t, "services", list, []dps.Instance{a, b})
	ok(t, s.PutEnrollment(ctx, "a", Enrollment("e", false), ""))
	ok(t, s.PutRegistration(ctx, "a", registration("r", "g"), ""))
	ok(t, s.DeleteInstance(ctx, "a"))
	ok(t, s.DeleteInstance(ctx, "nobody"))
	list, err = s.Instances(ctx)
	ok(t, err)
	same(t, "services after a deletion", list, []dps.Instance{b})
	ok(t, s.PutInstance(ctx, a)) // a namesake has nothing of it
	_, err = s.Enrollment(ctx, "a", false, "e")
	code(t, "an enrollment of the deleted service", err, dps.CodeEnrollmentNotFound)
	_, err = s.Registration(ctx, "a", "r")
	code(t, "a registration of the deleted service", err, dps.CodeNotFound)
}

func enrollments(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	for _, group := range []bool{false, true} {
		_, err := s.Enrollment(ctx, "s", group, "e")
		code(t, "none", err, dps.CodeEnrollmentNotFound)
		code(t, "delete none", s.DeleteEnrollment(ctx, "s", group, "e", "*"), dps.CodeEnrollmentNotFound)
		full, bare := Enrollment("e", group), dps.Enrollment{ID: "bare", Group: group, Attestation: dps.Attestation{Kind: dps.TPM}, ETag: "1"}
		ok(t, s.PutEnrollment(ctx, "s", full, ""))
		ok(t, s.PutEnrollment(ctx, "s", bare, ""))
		for _, want := range []dps.Enrollment{full, bare} {
			got, err := s.Enrollment(ctx, "s", group, want.ID)
			ok(t, err)
			same(t, "enrollment "+want.ID, got, want)
			got.Hubs = append(got.Hubs, "mine") // memory of the caller's own
			if len(got.InitialTwin.Tags) > 0 {
				got.InitialTwin.Tags[0] = '['
			}
			again, err := s.Enrollment(ctx, "s", group, want.ID)
			ok(t, err)
			same(t, "enrollment "+want.ID+" again", again, want)
		}
		n, err := s.CountEnrollments(ctx, "s", group)
		if err != nil || n != 2 {
			t.Errorf("count %d, %v", n, err)
		}
		ok(t, s.DeleteEnrollment(ctx, "s", group, "bare", "*"))
		_, err = s.Enrollment(ctx, "s", group, "bare")
		code(t, "deleted", err, dps.CodeEnrollmentNotFound)
	}
}

func etags(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	e, r := Enrollment("e", false), registration("r", "")
	code(t, "put what must exist", s.PutEnrollment(ctx, "s", e, "1"), dps.CodePrecondition)
	code(t, "put what must exist", s.PutRegistration(ctx, "s", r, "1"), dps.CodePrecondition)
	ok(t, s.PutEnrollment(ctx, "s", e, "*"))
	ok(t, s.PutRegistration(ctx, "s", r, "*"))
	code(t, "put what must not exist", s.PutEnrollment(ctx, "s", e, ""), dps.CodeConflict)
	code(t, "put what must not exist", s.PutRegistration(ctx, "s", r, ""), dps.CodeConflict)
	e.ETag, r.ETag, e.Edge, r.Message = "2", "2", false, "changed"
	code(t, "put over another", s.PutEnrollment(ctx, "s", e, "x"), dps.CodePrecondition)
	code(t, "put over another", s.PutRegistration(ctx, "s", r, "x"), dps.CodePrecondition)
	ok(t, s.PutEnrollment(ctx, "s", e, "1"))
	ok(t, s.PutRegistration(ctx, "s", r, "1"))
	got, err := s.Enrollment(ctx, "s", false, "e")
	ok(t, err)
	same(t, "enrollment", got, e)
	reg, err := s.Registration(ctx, "s", "r")
	ok(t, err)
	same(t, "registration", reg, r)
	code(t, "delete another", s.DeleteEnrollment(ctx, "s", false, "e", "1"), dps.CodePrecondition)
	code(t, "delete another", s.DeleteRegistration(ctx, "s", "r", "1"), dps.CodePrecondition)
	ok(t, s.DeleteEnrollment(ctx, "s", false, "e", "2"))
	ok(t, s.DeleteRegistration(ctx, "s", "r", "2"))
}

func spelling(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	ok(t, s.PutEnrollment(ctx, "s", Enrollment("Dev-1", false), ""))
	code(t, "another spelling", s.PutEnrollment(ctx, "s", Enrollment("DEV-1", false), ""), dps.CodeConflict)
	e := Enrollment("dev-1", false)
	e.ETag = "2"
	ok(t, s.PutEnrollment(ctx, "s", e, "1"))
	got, err := s.Enrollment(ctx, "s", false, "dEV-1")
	ok(t, err)
	if got.ID != "Dev-1" || got.ETag != "2" {
		t.Errorf("enrollment %q with etag %q", got.ID, got.ETag)
	}
	ok(t, s.PutRegistration(ctx, "s", registration("Dev-1", "Group"), ""))
	reg, err := s.Registration(ctx, "s", "DEV-1")
	if err != nil || reg.ID != "Dev-1" {
		t.Errorf("registration %q, %v", reg.ID, err)
	}
	list, err := s.Registrations(ctx, "s", "gROUP", "", 10)
	if err != nil || len(list) != 1 {
		t.Errorf("registrations of the group: %v, %v", list, err)
	}
	ok(t, s.DeleteRegistration(ctx, "s", "dev-1", "*"))
	ok(t, s.DeleteEnrollment(ctx, "s", false, "DEV-1", "*"))
}

func registrations(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	_, err := s.Registration(ctx, "s", "r")
	code(t, "none", err, dps.CodeNotFound)
	code(t, "delete none", s.DeleteRegistration(ctx, "s", "r", "*"), dps.CodeNotFound)
	full, bare := registration("full", "g"), dps.Registration{ID: "bare", Status: dps.Assigned, Kind: dps.X509, ETag: "1"}
	for _, r := range []dps.Registration{full, bare} {
		ok(t, s.PutRegistration(ctx, "s", r, ""))
		got, err := s.Registration(ctx, "s", r.ID)
		ok(t, err)
		same(t, "registration "+r.ID, got, r)
	}
	list, err := s.Registrations(ctx, "s", "g", "", 10)
	ok(t, err)
	same(t, "of the group", list, []dps.Registration{full})
	list, err = s.Pending(ctx, "s", "", 10)
	ok(t, err)
	same(t, "pending", list, []dps.Registration{full})
	full.Status, full.Pending, full.ETag = dps.Assigned, nil, "2"
	ok(t, s.PutRegistration(ctx, "s", full, "1"))
	if list, err = s.Pending(ctx, "s", "", 10); err != nil || len(list) != 0 {
		t.Errorf("pending after the end: %v, %v", list, err)
	}
	got, err := s.Registration(ctx, "s", "full")
	ok(t, err)
	same(t, "registration after the end", got, full)
	// A registration outlives its enrollment.
	ok(t, s.PutEnrollment(ctx, "s", Enrollment("g", true), ""))
	ok(t, s.DeleteEnrollment(ctx, "s", true, "g", "*"))
	_, err = s.Registration(ctx, "s", "full")
	ok(t, err)
}

func apart(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("one")))
	ok(t, s.PutInstance(ctx, instance("two")))
	ok(t, s.PutEnrollment(ctx, "one", Enrollment("x", false), ""))
	ok(t, s.PutEnrollment(ctx, "one", Enrollment("x", true), "")) // another thing than the one of a device
	ok(t, s.PutRegistration(ctx, "one", registration("x", "g"), ""))
	_, err := s.Enrollment(ctx, "two", false, "x")
	code(t, "of another service", err, dps.CodeEnrollmentNotFound)
	_, err = s.Registration(ctx, "two", "x")
	code(t, "of another service", err, dps.CodeNotFound)
	if list, err := s.Registrations(ctx, "two", "g", "", 10); err != nil || len(list) != 0 {
		t.Errorf("of another service: %v, %v", list, err)
	}
	if list, err := s.Pending(ctx, "two", "", 10); err != nil || len(list) != 0 {
		t.Errorf("of another service: %v, %v", list, err)
	}
	ok(t, s.DeleteEnrollment(ctx, "one", false, "x", "*"))
	_, err = s.Enrollment(ctx, "one", true, "x")
	ok(t, err)
}

// contended has many change one registration at a time: each etag is replaced by
// one of them.
func contended(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	ok(t, s.PutRegistration(ctx, "s", registration("r", ""), ""))
	const workers, rounds = 8, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				r, err := s.Registration(ctx, "s", "r")
				if err != nil {
					t.Error(err)
					return
				}
				match := r.ETag
				r.Code++
				r.ETag = fmt.Sprint(w, "-", done, "-", r.Code)
				switch err := s.PutRegistration(ctx, "s", r, match); causeway.CodeOf(err) {
				case 0:
					done++
				case dps.CodePrecondition:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	r, err := s.Registration(context.WithoutCancel(ctx), "s", "r")
	if want := registration("r", "").Code + workers*rounds; err != nil || r.Code != want {
		t.Errorf("%d changes, want %d (%v)", r.Code, want, err)
	}
}

func pages(t *testing.T, open func(*testing.T) dps.Store) {
	s, ctx := open(t), t.Context()
	ok(t, s.PutInstance(ctx, instance("s")))
	var want []string
	for i := range 25 {
		id := fmt.Sprintf("d%02d", i)
		if i%2 == 0 {
			id = strings.ToUpper(id)
		}
		want = append(want, id)
	}
	for _, i := range []int{7, 3} { // not in their order
		for k := i; k < len(want)+i; k++ {
			id := want[k%len(want)]
			if i == 7 {
				ok(t, s.PutEnrollment(ctx, "s", Enrollment(id, false), ""))
			} else {
				ok(t, s.PutRegistration(ctx, "s", registration(id, "g"), ""))
			}
		}
	}
	for _, limit := range []int{1, 7, 25, 100} {
		var got, regs, pending []string
		for after := ""; ; {
			list, err := s.Enrollments(ctx, "s", false, after, limit)
			ok(t, err)
			for _, e := range list {
				got = append(got, e.ID)
				after = strings.ToLower(e.ID)
			}
			if len(list) < limit {
				break
			}
		}
		for after := ""; ; {
			list, err := s.Registrations(ctx, "s", "g", after, limit)
			ok(t, err)
			for _, r := range list {
				regs = append(regs, r.ID)
				after = strings.ToLower(r.ID)
			}
			if len(list) < limit {
				break
			}
		}
		for after := ""; ; {
			list, err := s.Pending(ctx, "s", after, limit)
			ok(t, err)
			for _, r := range list {
				pending = append(pending, r.ID)
				after = strings.ToLower(r.ID)
			}
			if len(list) < limit {
				break
			}
		}
		same(t, fmt.Sprint("enrollments by ", limit), got, want)
		same(t, fmt.Sprint("registrations by ", limit), regs, want)
		same(t, fmt.Sprint("pending by ", limit), pending, want)
	}
}
