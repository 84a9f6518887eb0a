package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// The stored forms of revocations and of issued certificates; see
// dpsServiceDocument.
type (
	dpsRevocationDocument struct {
		Authority  string    `json:"authority,omitempty"`
		Issuer     string    `json:"issuer,omitempty"`
		Serial     string    `json:"serial,omitempty"`
		Thumbprint string    `json:"thumbprint,omitempty"`
		Reason     string    `json:"reason,omitempty"`
		At         time.Time `json:"at"`
	}
	dpsIssuedDocument struct {
		Issuer       string    `json:"issuer"`
		Thumbprint   string    `json:"thumbprint"`
		Registration string    `json:"registration"`
		Group        string    `json:"group,omitempty"`
		Policy       string    `json:"policy"`
		Created      time.Time `json:"created"`
		NotAfter     time.Time `json:"notAfter"`
	}
)

// Revocations implements [dps.CertificateStore].
func (s dpsStore) Revocations(ctx context.Context, service, after string, limit int) ([]dps.Revocation, error) {
	return read(ctx, s.db, "Revocations", func(c *conn) (list []dps.Revocation, err error) {
		err = c.query("SELECT id, listed, CAST(document AS BLOB) FROM dps_revocations WHERE service = ? AND id > ? ORDER BY id LIMIT ?", func(r row) error {
			var d dpsRevocationDocument
			if err := json.Unmarshal(r.blob(2), &d); err != nil {
				// What is revoked stays so: that its id says.
				c.damage.tell(fmt.Errorf("revocation %s of %s: %w", r.text(0), service, err))
				d = dpsRevocationDocument{}
			}
			list = append(list, dps.Revocation{
				ID: r.text(0), Authority: d.Authority, Issuer: d.Issuer, Serial: d.Serial, Thumbprint: d.Thumbprint, Reason: d.Reason,
				Listed: r.bool(1), At: d.At,
			})
			return nil
		}, service, after, int64(limit))
		return list, err
	})
}

// PutRevocations implements [dps.CertificateStore].
func (s dpsStore) PutRevocations(ctx context.Context, service, list string, revocations []dps.Revocation) error {
	texts, size := make([]string, len(revocations)), 0
	for i := range revocations {
		r := &revocations[i]
		text, err := json.Marshal(dpsRevocationDocument{r.Authority, r.Issuer, r.Serial, r.Thumbprint, r.Reason, r.At})
		if err != nil {
			return fmt.Errorf("write revocation %s: %w", r.ID, err)
		}
		texts[i] = string(text)
		size += len(text)
	}
	return exec(ctx, s.db, "PutRevocations", size, func(c *conn) error {
		if list != "" {
			if _, err := c.exec("DELETE FROM dps_revocations WHERE service = ? AND authority = ? AND listed", service, strings.ToLower(list)); err != nil {
				return err
			}
		}
		for i := range revocations {
			r := &revocations[i]
			if _, err := c.exec(`INSERT INTO dps_revocations (service, id, authority, listed, document) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (service, id) DO UPDATE SET authority = excluded.authority, listed = excluded.listed, document = excluded.document
				WHERE dps_revocations.listed OR NOT excluded.listed`, service, r.ID, strings.ToLower(r.Authority), flag(r.Listed), texts[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRevocation implements [dps.CertificateStore].
func (s dpsStore) DeleteRevocation(ctx context.Context, service, id string) error {
	return exec(ctx, s.db, "DeleteRevocation", 0, func(c *conn) error {
		n, err := c.exec("DELETE FROM dps_revocations WHERE service = ? AND id = ?", service, id)
		if err == nil && n == 0 {
			err = causeway.Errorf(dps.CodeNotFound, "sqlite", "there is no revocation %q", id)
		}
		return err
	})
}

// PutIssued implements [dps.CertificateStore].
func (s dpsStore) PutIssued(ctx context.Context, service string, i dps.Issued) error {
	text, err := json.Marshal(dpsIssuedDocument{i.Issuer, i.Thumbprint, i.Registration, i.Group, i.Policy, i.Created, i.NotAfter})
	if err != nil {
		return fmt.Errorf("write issued certificate %s: %w", i.Serial, err)
	}
	return exec(ctx, s.db, "PutIssued", len(text), func(c *conn) error {
		_, err := c.exec(`INSERT INTO dps_issued (service, serial, registration, ends, document) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (service, serial) DO UPDATE SET registration = excluded.registration, ends = excluded.ends, document = excluded.document`,
			service, i.Serial, strings.ToLower(i.Registration), i.NotAfter.UnixMicro(), string(text))
		return err
	})
}

// Issued implements [dps.CertificateStore].
func (s dpsStore) Issued(ctx context.Context, service, serial string) (dps.Issued, error) {
	return read(ctx, s.db, "Issued", func(c *conn) (dps.Issued, error) {
		list, err := issued(c, 1, "service = ? AND serial = ?", service, serial)
		if err == nil && len(list) == 0 {
			err = causeway.Errorf(dps.CodeNotFound, "sqlite", "there is no issued certificate %q", serial)
		}
		if err != nil {
			return dps.Issued{}, err
		}
		return list[0], nil
	})
}

func issued(c *conn, limit int, where string, args ...any) ([]dps.Issued, error) {
	return some(c, limit, "SELECT serial, CAST(document AS BLOB) FROM dps_issued WHERE "+where, func(r row) (dps.Issued, error) {
		var d dpsIssuedDocument
		if err := json.Unmarshal(r.blob(1), &d); err != nil {
			return dps.Issued{}, fmt.Errorf("issued certificate %s: %w", r.text(0), err)
		}
		return dps.Issued{
			Serial: r.text(0), Issuer: d.Issuer, Thumbprint: d.Thumbprint, Registration: d.Registration, Group: d.Group, Policy: d.Policy,
			Created: d.Created, NotAfter: d.NotAfter,
		}, nil
	}, args...)
}

// IssuedTo implements [dps.CertificateStore].
func (s dpsStore) IssuedTo(ctx context.Context, service, registration, after string, limit int) ([]dps.Issued, error) {
	return read(ctx, s.db, "IssuedTo", func(c *conn) ([]dps.Issued, error) {
		if registration == "" {
			return issued(c, limit, "service = ? AND serial > ? ORDER BY serial", service, after)
		}
		return issued(c, limit, "service = ? AND registration = ? AND serial > ? ORDER BY serial", service, strings.ToLower(registration), after)
	})
}

// EndedIssued implements [dps.CertificateStore].
func (s dpsStore) EndedIssued(ctx context.Context, service string, from, before time.Time, limit int) ([]dps.Issued, error) {
	return read(ctx, s.db, "EndedIssued", func(c *conn) ([]dps.Issued, error) {
		return issued(c, limit, "service = ? AND ends >= ? AND ends < ? ORDER BY ends", service, from.UnixMicro(), before.UnixMicro())
	})
}

// DeleteIssued implements [dps.CertificateStore].
func (s dpsStore) DeleteIssued(ctx context.Context, service string, serials ...string) error {
	return exec(ctx, s.db, "DeleteIssued", 0, func(c *conn) error {
		for _, serial := range serials {
			if _, err := c.exec("DELETE FROM dps_issued WHERE service = ? AND serial = ?", service, serial); err != nil {
				return err
			}
		}
		return nil
	})
}

// members are where documents of enrollments have what they refer to.
var members = map[dps.Reference][]string{
	dps.ToAuthority:        {"authority", "secondAuthority"},
	dps.ToCredentialPolicy: {"credentialPolicy"},
}

// UsersOf implements [dps.CertificateStore].
func (s dpsStore) UsersOf(ctx context.Context, service string, what dps.Reference, name string, limit int) ([]dps.User, error) {
	return read(ctx, s.db, "UsersOf", func(c *conn) (list []dps.User, err error) {
		seen := map[dps.User]bool{}
		for _, m := range members[what] {
			// As the indexes have it, each member by itself.
			at := "document ->> '" + m + "'"
			err := c.query("SELECT grouped, document ->> 'id' FROM dps_enrollments WHERE service = ? AND lower("+at+") = ? AND "+at+" IS NOT NULL LIMIT ?", func(r row) error {
				if u := (dps.User{Group: r.bool(0), ID: r.text(1)}); !seen[u] && len(list) < limit {
					seen[u] = true
					list = append(list, u)
				}
				return nil
			}, service, strings.ToLower(name), int64(limit))
			if err != nil {
				return nil, err
			}
		}
		return list, nil
	})
}
