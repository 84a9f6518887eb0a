package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

// Provisioning returns the store of provisioning services.
func (db *DB) Provisioning() dps.Store { return dpsStore{db} }

// dpsStore implements [dps.Store].
type dpsStore struct{ db *DB }

var _ dps.Store = dpsStore{}

// Instances implements [dps.Store].
func (s dpsStore) Instances(ctx context.Context) ([]dps.Instance, error) {
	return read(ctx, s.db, "Instances", func(c *conn) (list []dps.Instance, err error) {
		err = c.query("SELECT name, CAST(document AS BLOB) FROM dps_services ORDER BY name", func(r row) error {
			i, err := readInstance(r.text(0), r.blob(1))
			if err != nil {
				i = dps.Instance{Name: r.text(0), Damaged: err}
			}
			list = append(list, i)
			return nil
		})
		return list, err
	})
}

// PutInstance implements [dps.Store].
func (s dpsStore) PutInstance(ctx context.Context, i dps.Instance) error {
	text, err := writeInstance(&i)
	if err != nil {
		return fmt.Errorf("write provisioning service %s: %w", i.Name, err)
	}
	return exec(ctx, s.db, "PutInstance", len(text), func(c *conn) error {
		_, err := c.exec("INSERT INTO dps_services (name, document) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET document = excluded.document", i.Name, string(text))
		return err
	})
}

// DeleteInstance implements [dps.Store].
func (s dpsStore) DeleteInstance(ctx context.Context, name string) error {
	return exec(ctx, s.db, "DeleteInstance", 0, func(c *conn) error {
		for _, table := range []string{"dps_enrollments", "dps_registrations", "dps_counts", "dps_revocations", "dps_issued", "dps_decisions"} {
			if _, err := c.exec("DELETE FROM "+table+" WHERE service = ?", name); err != nil {
				return err
			}
		}
		_, err := c.exec("DELETE FROM dps_services WHERE name = ?", name)
		return err
	})
}

// Enrollment implements [dps.Store].
func (s dpsStore) Enrollment(ctx context.Context, service string, group bool, id string) (dps.Enrollment, error) {
	return read(ctx, s.db, "Enrollment", func(c *conn) (e dps.Enrollment, err error) {
		found := false
		err = c.query("SELECT etag, CAST(document AS BLOB) FROM dps_enrollments WHERE service = ? AND grouped = ? AND id = ?", func(r row) (err error) {
			found = true
			e, err = readEnrollment(group, r.text(0), r.blob(1))
			return err
		}, service, flag(group), strings.ToLower(id))
		if err == nil && !found {
			err = noEnrollment(group, id)
		}
		return e, err
	})
}

func noEnrollment(group bool, id string) error {
	what := "enrollment"
	if group {
		what = "enrollment group"
	}
	return causeway.Errorf(dps.CodeEnrollmentNotFound, "sqlite", "the %s %q does not exist", what, id)
}

// PutEnrollment implements [dps.Store].
func (s dpsStore) PutEnrollment(ctx context.Context, service string, e dps.Enrollment, match string) error {
	return exec(ctx, s.db, "PutEnrollment", len(e.Attestation.Primary)+len(e.InitialTwin.Tags)+len(e.InitialTwin.Desired), func(c *conn) error {
		old := ""
		key := []any{service, flag(e.Group), strings.ToLower(e.ID)}
		if err := c.query("SELECT etag, CAST(document AS BLOB) FROM dps_enrollments WHERE service = ? AND grouped = ? AND id = ?", func(r row) error {
			old = r.text(0)
			was, err := readEnrollment(e.Group, old, r.blob(1))
			if err != nil {
				c.damage.tell(fmt.Errorf("enrollment %s of %s, which is replaced: %w", e.ID, service, err))
				return nil
			}
			e.ID = was.ID
			return nil
		}, key...); err != nil {
			return err
		}
		if err := mayReplace("enrollment", e.ID, old, match); err != nil {
			return err
		}
		text, err := writeEnrollment(&e)
		if err != nil {
			return err
		}
		_, err = c.exec(`INSERT INTO dps_enrollments (service, grouped, id, etag, document) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (service, grouped, id) DO UPDATE SET etag = excluded.etag, document = excluded.document`, append(key, e.ETag, string(text))...)
		return err
	})
}

// mayReplace checks what a record is to take the place of: old is its etag, ""
// when there is none.
func mayReplace(what, id, old, match string) error {
	switch match {
	case "*", old:
		return nil
	case "":
		return causeway.Errorf(dps.CodeConflict, "sqlite", "the %s %q exists already", what, id)
	}
	return causeway.Errorf(dps.CodePrecondition, "sqlite", "the %s %q has changed since it was read, or is gone; read it again", what, id)
}

// DeleteEnrollment implements [dps.Store].
func (s dpsStore) DeleteEnrollment(ctx context.Context, service string, group bool, id, match string) error {
	return exec(ctx, s.db, "DeleteEnrollment", 0, func(c *conn) error {
		key := []any{service, flag(group), strings.ToLower(id)}
		return remove(c, "dps_enrollments", "service = ? AND grouped = ? AND id = ?", "enrollment", id, match, noEnrollment(group, id), key...)
	})
}

// remove deletes a row that has an etag.
func remove(c *conn, table, where, what, id, match string, none error, key ...any) error {
	etag, found := "", false
	if err := c.query("SELECT etag FROM "+table+" WHERE "+where, func(r row) error {
		etag, found = r.text(0), true
		return nil
	}, key...); err != nil {
		return err
	}
	if !found {
		return none
	}
	if err := mayReplace(what, id, etag, match); err != nil {
		return err
	}
	_, err := c.exec("DELETE FROM "+table+" WHERE "+where, key...)
	return err
}

// Enrollments implements [dps.Store].
func (s dpsStore) Enrollments(ctx context.Context, service string, group bool, after string, limit int) ([]dps.Enrollment, error) {
	return read(ctx, s.db, "Enrollments", func(c *conn) ([]dps.Enrollment, error) {
		return some(c, limit, "SELECT etag, CAST(document AS BLOB), id FROM dps_enrollments WHERE service = ? AND grouped = ? AND id > ? ORDER BY id", func(r row) (dps.Enrollment, error) {
			e, err := readEnrollment(group, r.text(0), r.blob(1))
			if err != nil {
				err = fmt.Errorf("enrollment %s of %s: %w", r.text(2), service, err)
			}
			return e, err
		}, service, flag(group), after)
	})
}

// CountEnrollments implements [dps.Store].
func (s dpsStore) CountEnrollments(ctx context.Context, service string, group bool) (int, error) {
	return read(ctx, s.db, "CountEnrollments", func(c *conn) (int, error) {
		n, _, err := c.number("SELECT number FROM dps_counts WHERE service = ? AND grouped = ?", service, flag(group))
		return int(n), err
	})
}

// Registration implements [dps.Store].
func (s dpsStore) Registration(ctx context.Context, service, id string) (dps.Registration, error) {
	return read(ctx, s.db, "Registration", func(c *conn) (reg dps.Registration, err error) {
		found := false
		err = c.query("SELECT etag, CAST(document AS BLOB) FROM dps_registrations WHERE service = ? AND id = ?", func(r row) (err error) {
			found = true
			reg, err = readRegistration(r.text(0), r.blob(1))
			return err
		}, service, strings.ToLower(id))
		if err == nil && !found {
			err = noRegistration(id)
		}
		return reg, err
	})
}

func noRegistration(id string) error {
	return causeway.Errorf(dps.CodeNotFound, "sqlite", "the registration %q does not exist", id)
}

func registrations(c *conn, limit int, where string, args ...any) ([]dps.Registration, error) {
	return some(c, limit, "SELECT etag, CAST(document AS BLOB), service, id FROM dps_registrations WHERE "+where, func(r row) (dps.Registration, error) {
		reg, err := readRegistration(r.text(0), r.blob(1))
		if err != nil {
			err = fmt.Errorf("registration %s of %s: %w", r.text(3), r.text(2), err)
		}
		return reg, err
	}, args...)
}

// PutRegistration implements [dps.Store].
func (s dpsStore) PutRegistration(ctx context.Context, service string, r dps.Registration, match string, d ...dps.Decision) error {
	decisions, size, err := decisionRows(service, d)
	if err != nil {
		return err
	}
	return exec(ctx, s.db, "PutRegistration", size+len(r.Payload)+len(r.Twin.Tags)+len(r.Twin.Desired), func(c *conn) error {
		id, etag := strings.ToLower(r.ID), ""
		err := c.query("SELECT etag, CASE WHEN json_valid(document) THEN document ->> '$.id' END FROM dps_registrations WHERE service = ? AND id = ?", func(row row) error {
			etag = row.text(0)
			if was := row.text(1); was != "" { // as it was written first
				r.ID = was
			}
			return nil
		}, service, id)
		if err != nil {
			return err
		}
		if err := mayReplace("registration", r.ID, etag, match); err != nil {
			return err
		}
		text, err := writeRegistration(&r)
		if err != nil {
			return err
		}
		_, err = c.exec(`INSERT INTO dps_registrations (service, id, groupid, assigning, etag, document) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (service, id) DO UPDATE SET groupid = excluded.groupid, assigning = excluded.assigning, etag = excluded.etag, document = excluded.document`,
			service, id, strings.ToLower(r.Group), flag(r.Status == dps.Assigning), r.ETag, string(text))
		if err != nil {
			return err
		}
		return insertDecisions(c, decisions)
	})
}

// DeleteRegistration implements [dps.Store].
func (s dpsStore) DeleteRegistration(ctx context.Context, service, id, match string) error {
	return exec(ctx, s.db, "DeleteRegistration", 0, func(c *conn) error {
		return remove(c, "dps_registrations", "service = ? AND id = ?", "registration", id, match, noRegistration(id), service, strings.ToLower(id))
	})
}

// Registrations implements [dps.Store].
func (s dpsStore) Registrations(ctx context.Context, service, group, after string, limit int) ([]dps.Registration, error) {
	return read(ctx, s.db, "Registrations", func(c *conn) ([]dps.Registration, error) {
		return registrations(c, limit, "service = ? AND groupid = ? AND groupid <> '' AND id > ? ORDER BY id", service, strings.ToLower(group), after)
	})
}

// Pending implements [dps.Store].
func (s dpsStore) Pending(ctx context.Context, service, after string, limit int) ([]dps.Registration, error) {
	return read(ctx, s.db, "Pending", func(c *conn) ([]dps.Registration, error) {
		return registrations(c, limit, "service = ? AND assigning AND id > ? ORDER BY id", service, after)
	})
}
