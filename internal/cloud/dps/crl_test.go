package dps_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// crl makes a revocation list as template says.
func (p *plant) crl(t *testing.T, template x509.RevocationList) []byte {
	t.Helper()
	if template.Number == nil {
		template.Number = big.NewInt(1)
	}
	template.NextUpdate = template.ThisUpdate.Add(time.Hour)
	der, err := x509.CreateRevocationList(rand.Reader, &template, p.cert, p.key)
	ok(t, err)
	return der
}

// TestIncompleteList: a list that does not name all that is revoked would give back what
// it does not name.
func TestIncompleteList(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := newPlant(t, "plant", 1000*time.Hour)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "plant", ""))
		a := p.client(t, "a")
		revoked := []x509.RevocationListEntry{{SerialNumber: a[0].SerialNumber, RevocationTime: time.Now(), ReasonCode: 1}}
		_, err = w.PutRevocationList(ctx, "dps", "plant", p.crl(t, x509.RevocationList{ThisUpdate: time.Now(), RevokedCertificateEntries: revoked}))
		ok(t, err)
		extension := func(value []byte, id ...int) pkix.Extension {
			return pkix.Extension{Id: append(asn1.ObjectIdentifier{2, 5, 29}, id...), Critical: true, Value: value}
		}
		next := time.Now().Add(time.Minute)
		for name, c := range map[string]struct {
			list pkix.Extension
			one  pkix.Extension // of an entry
			want string         // "" when it is taken
		}{
			"delta":                  {list: extension([]byte{2, 1, 1}, 27), want: "delta"},
			"of users":               {list: extension([]byte{0x30, 3, 0x81, 1, 0xff}, 28), want: "issuingDistributionPoint"},
			"of authorities":         {list: extension([]byte{0x30, 3, 0x82, 1, 0xff}, 28), want: "issuingDistributionPoint"},
			"for some reasons":       {list: extension([]byte{0x30, 4, 0x83, 2, 6, 0x40}, 28), want: "issuingDistributionPoint"},
			"indirect":               {list: extension([]byte{0x30, 3, 0x84, 1, 0xff}, 28), want: "issuingDistributionPoint"},
			"nonsense for a scope":   {list: extension([]byte{0x30, 3, 0x81}, 28), want: "issuingDistributionPoint"},
			"something unknown":      {list: extension([]byte{5, 0}, 99), want: "2.5.29.99"},
			"entry of another":       {one: extension([]byte{0x30, 0}, 29), want: "2.5.29.29"},
			"entry with the unknown": {one: extension([]byte{5, 0}, 98), want: "2.5.29.98"},
			"only where it is had":   {list: extension([]byte{0x30, 9, 0xa0, 7, 0xa0, 5, 0x86, 3, 'h', ':', '/'}, 28)},
		} {
			l := x509.RevocationList{Number: big.NewInt(2), ThisUpdate: next, RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: a[0].SerialNumber, RevocationTime: next}}}
			if c.list.Id != nil {
				l.ExtraExtensions = []pkix.Extension{c.list}
			}
			if c.one.Id != nil {
				l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{c.one}
			}
			_, err := w.PutRevocationList(ctx, "dps", "plant", p.crl(t, l))
			if c.want == "" {
				ok(t, err)
			} else {
				w.refused(name, err, dps.CodeInvalid, c.want)
			}
		}
		_, err = w.Register(ctx, shows(a, w, "a"))
		w.refused("after all of them", err, dps.CodeUnauthorized, "")
	})
}

// TestListNumbers: numbers of lists only go up, whatever the clock of who issues them does.
func TestListNumbers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := newPlant(t, "plant", 1000*time.Hour)
		_, err := w.PutAuthority(t.Context(), "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		put := func(number int64, after time.Duration) error {
			_, err := w.PutRevocationList(t.Context(), "dps", "plant", p.crl(t, x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(after)}))
			return err
		}
		ok(t, put(7, time.Hour)) // its clock is fast
		w.refused("a lower number of later", put(6, 2*time.Hour), dps.CodeConflict, "number 7")
		ok(t, put(8, 0)) // and is set
		w.stop()
		w.start()
		w.refused("the one before", put(7, time.Hour), dps.CodeConflict, "number 8")
		ok(t, put(8, 0)) // the same again
		w.refused("the same number of earlier", put(8, -time.Hour), dps.CodeConflict, "older")
	})
}

// TestRevokedTwice: what was revoked by hand stays so when a list that had it too has it no
// more.
func TestRevokedTwice(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := newPlant(t, "plant", 1000*time.Hour)
		_, err := w.PutAuthority(ctx, "dps", "plant", p.cert.Raw, true, "")
		ok(t, err)
		w.put(referring("g", "plant", ""))
		a := p.client(t, "a")
		_, err = w.Revoke(ctx, "dps", dps.Revocation{Authority: "plant", Serial: a[0].SerialNumber.Text(16), Reason: "by hand"})
		ok(t, err)
		for n, entries := range [][]x509.RevocationListEntry{{{SerialNumber: a[0].SerialNumber, RevocationTime: time.Now(), ReasonCode: 6}}, nil} {
			_, err = w.PutRevocationList(ctx, "dps", "plant", p.crl(t, x509.RevocationList{Number: big.NewInt(int64(n)), ThisUpdate: time.Now(), RevokedCertificateEntries: entries}))
			ok(t, err)
			_, err = w.Register(ctx, shows(a, w, "a"))
			w.refused("revoked by hand", err, dps.CodeUnauthorized, "")
		}
		if list, err := w.Revocations(ctx, "dps", "", 10); err != nil || len(list) != 1 || list[0].Listed || list[0].Reason != "by hand" {
			t.Errorf("%+v, %v", list, err)
		}
	})
}
