package sqlite

import (
	"context"
	"maps"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

const (
	insertIdentity = `INSERT INTO identities (hub, device, module, generation, etag, enabled, status_reason,
		status_updated, created, auth_type, key_primary, key_secondary, thumb_primary, thumb_secondary, edge,
		device_scope, parent_scopes, managed_by, connected, connection_updated, last_activity)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertTwin = `INSERT INTO twins (version, etag, model, desired_version, reported_version, reported, reported_metadata, hub, device, module)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertDesired = `INSERT INTO twins_desired (tags, desired, desired_metadata, twin) VALUES (?, ?, ?, last_insert_rowid())`

	updateIdentity = `UPDATE identities SET generation = ?, etag = ?, enabled = ?, status_reason = ?,
		status_updated = ?, created = ?, auth_type = ?, key_primary = ?, key_secondary = ?, thumb_primary = ?,
		thumb_secondary = ?, edge = ?, device_scope = ?, parent_scopes = ?, managed_by = ?
		WHERE hub = ? AND device = ? AND module = ? AND (? = '*' OR etag = ?)`

	updateTwin = `UPDATE twins SET version = ?, etag = ?, model = ?, desired_version = ?, reported_version = ?, reported = ?, reported_metadata = ?
		WHERE hub = ? AND device = ? AND module = ? AND version = ?`

	// What services write is compared, which needs no page to be written.
	updateReported = updateTwin + ` AND EXISTS (SELECT 1 FROM twins_desired WHERE twin = twins.id AND tags = ? AND desired = ? AND desired_metadata = ?)`

	updateDesired = `UPDATE twins_desired SET tags = ?, desired = ?, desired_metadata = ?
		WHERE twin = (SELECT id FROM twins WHERE hub = ? AND device = ? AND module = ?)`

	touchIdentity = `UPDATE identities SET connected = ?,
		connection_updated = CASE ? WHEN 0 THEN connection_updated ELSE ? END,
		last_activity = CASE ? WHEN 0 THEN last_activity ELSE ? END
		WHERE hub = ? AND device = ? AND module = ?`
)

// identityArgs are the values of the identity part after its key, as in
// insertIdentity and updateIdentity. They share no memory with r that its owner
// may change.
func identityArgs(r *registry.Record) []any {
	return []any{
		r.GenerationID, r.ETag, flag(r.Enabled), r.StatusReason, stamp(r.StatusUpdated), stamp(r.Created),
		string(r.Auth.Type), string(r.Auth.Primary), string(r.Auth.Secondary), r.Auth.PrimaryThumb, r.Auth.SecondThumb,
		flag(r.Edge), r.DeviceScope, scopesText(r.ParentScopes), r.ManagedBy,
	}
}

// twinRows are the values of a twin as in the statements above: those of its
// row in twins, and those of its row in twins_desired. The documents are copied:
// the writer may read them after the caller gave up.
type twinRows struct {
	id      causeway.Identity
	twin    [7]any
	desired [3]any
	size    int
}

func newTwinRows(id causeway.Identity, t *registry.Twin) twinRows {
	return twinRows{
		id: id,
		twin: [7]any{
			t.Version, t.ETag, t.ModelID, t.Desired.Version, t.Reported.Version,
			string(t.Reported.Properties), string(t.Reported.Metadata),
		},
		desired: [3]any{string(t.Tags), string(t.Desired.Properties), string(t.Desired.Metadata)},
		size:    len(t.Tags) + len(t.Desired.Properties) + len(t.Desired.Metadata) + len(t.Reported.Properties) + len(t.Reported.Metadata),
	}
}

// key appends the key of the twin, and more, to the values of twins.
func (t *twinRows) key(more ...any) []any {
	args := append(make([]any, 0, 14), t.twin[:]...)
	args = append(args, t.id.Hub, t.id.Device, t.id.Module)
	return append(args, more...)
}

func (t *twinRows) insert(c *conn) error {
	if _, err := c.exec(insertTwin, t.key()...); err != nil {
		return err
	}
	_, twin, err := c.insert(insertDesired, t.desired[:]...)
	if err != nil {
		return err
	}
	return hashTags(c, twin, t.id, []byte(t.tags()))
}

func (t *twinRows) tags() string { s, _ := t.desired[0].(string); return s }

// update replaces a twin at a version and reports whether it was there.
func (t *twinRows) update(c *conn, match int64) (bool, error) {
	n, err := c.exec(updateReported, t.key(match, t.desired[0], t.desired[1], t.desired[2])...)
	if err != nil || n == 1 {
		return n == 1, err
	}
	if n, err = c.exec(updateTwin, t.key(match)...); err != nil || n == 0 {
		return false, err
	}
	if err := rehashTags(c, t.id, t.tags()); err != nil {
		return false, err
	}
	_, err = c.exec(updateDesired, t.desired[0], t.desired[1], t.desired[2], t.id.Hub, t.id.Device, t.id.Module)
	return true, err
}

// Create implements [registry.Store].
func (s registryStore) Create(ctx context.Context, recs ...registry.Record) error {
	type rows struct {
		identity []any
		twin     twinRows
		configs  map[string]string
	}
	// Devices first, so that a module finds its device whatever their order.
	ordered := make([]rows, 0, len(recs))
	total := 0
	for _, modules := range []bool{false, true} {
		for i := range recs {
			r := &recs[i]
			if r.ID.IsModule() != modules {
				continue
			}
			identity := append([]any{r.ID.Hub, r.ID.Device, r.ID.Module}, identityArgs(r)...)
			identity = append(identity, flag(r.Connected), stamp(r.ConnectionStateUpdated), stamp(r.LastActivity))
			twin := newTwinRows(r.ID, &r.Twin)
			ordered = append(ordered, rows{identity, twin, maps.Clone(r.Configurations)})
			total += twin.size
		}
	}
	return exec(ctx, s.db, "Create", total, func(c *conn) error {
		return c.atomic(func() error {
			for i := range ordered {
				r := &ordered[i]
				if err := s.admit(c, r.twin.id); err != nil {
					return err
				}
				if _, err := c.exec(insertIdentity, r.identity...); err != nil {
					if constraint(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
						return already(r.twin.id)
					}
					return err
				}
				if err := r.twin.insert(c); err != nil {
					return err
				}
				for id, status := range r.configs {
					if _, err := c.exec(insertConfigured, id, status, r.twin.id.Hub, r.twin.id.Device, r.twin.id.Module); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
}

func already(id causeway.Identity) error {
	if id.IsModule() {
		return causeway.Errorf(causeway.ModuleAlreadyExistsOnDevice, "sqlite.Create", "module %q exists already on device %q of hub %q", id.Module, id.Device, id.Hub)
	}
	return causeway.Errorf(causeway.DeviceAlreadyExists, "sqlite.Create", "device %q exists already on hub %q", id.Device, id.Hub)
}

// admit reports why id cannot be created, other than that it exists.
func (s registryStore) admit(c *conn, id causeway.Identity) error {
	const op = "sqlite.Create"
	n, _, err := c.number("SELECT identities FROM registry_counts WHERE hub = ?", id.Hub)
	if err != nil {
		return err
	}
	if n >= int64(s.db.maxIdentities) {
		return causeway.Errorf(causeway.TooManyDevices, op, "hub %q has %d devices and modules, the most it may have: delete some, or use another hub", id.Hub, n)
	}
	if !id.IsModule() {
		return nil
	}
	if ok, err := exists(c, id.Parent()); err != nil {
		return err
	} else if !ok {
		return missing(c, op, id.Parent())
	}
	if strings.HasPrefix(id.Module, "$") {
		return nil // the system's own do not count
	}
	if ok, err := exists(c, id); err != nil || ok {
		return err // says so itself, which is the better answer
	}
	n, _, err = c.number("SELECT count(*) FROM identities WHERE hub = ? AND device = ? AND module <> '' AND substr(module, 1, 1) <> '$'", id.Hub, id.Device)
	if err != nil {
		return err
	}
	if n >= causeway.MaxModulesPerDevice {
		return causeway.Errorf(causeway.TooManyModulesOnDevice, op, "device %q of hub %q has %d modules, the most it may have: delete one first", id.Device, id.Hub, n)
	}
	return nil
}

// PutIdentity implements [registry.Store].
func (s registryStore) PutIdentity(ctx context.Context, r registry.Record, match string) error {
	id := r.ID
	args := append(identityArgs(&r), id.Hub, id.Device, id.Module, match, match)
	return exec(ctx, s.db, "PutIdentity", 0, func(c *conn) error {
		n, err := c.exec(updateIdentity, args...)
		if err != nil || n == 1 {
			return err
		}
		return stale(c, "sqlite.PutIdentity", id, "the identity of %q was changed in the meantime: its etag is no longer %q; read it again", id.String(), match)
	})
}

// PutTwin implements [registry.Store].
func (s registryStore) PutTwin(ctx context.Context, id causeway.Identity, t registry.Twin, match int64) error {
	rows := newTwinRows(id, &t)
	return exec(ctx, s.db, "PutTwin", rows.size, func(c *conn) error {
		done, err := rows.update(c, match)
		if err != nil || done {
			return err
		}
		return stale(c, "sqlite.PutTwin", id, "the twin of %q was changed in the meantime: its version is no longer %d; read it again", id.String(), match)
	})
}

// Delete implements [registry.Store]. Twins, queues, feedback and sessions go
// with their identities, by foreign keys.
func (s registryStore) Delete(ctx context.Context, id causeway.Identity, match string) error {
	return exec(ctx, s.db, "Delete", 0, func(c *conn) error {
		n, err := c.exec("DELETE FROM identities WHERE hub = ? AND device = ? AND module = ? AND (? = '*' OR etag = ?)",
			id.Hub, id.Device, id.Module, match, match)
		if err != nil {
			return err
		}
		if n == 0 {
			return stale(c, "sqlite.Delete", id, "%q was changed in the meantime: its etag is no longer %q; read it again", id.String(), match)
		}
		if !id.IsModule() {
			_, err = c.exec("DELETE FROM identities WHERE hub = ? AND device = ?", id.Hub, id.Device)
		}
		return err
	})
}

// stale explains why a conditional change of id did nothing.
func stale(c *conn, op string, id causeway.Identity, format string, args ...any) error {
	if ok, err := exists(c, id); err != nil {
		return err
	} else if !ok {
		return missing(c, op, id)
	}
	return causeway.Errorf(causeway.PreconditionFailed, op, format, args...)
}

// Touch implements [registry.Store].
func (s registryStore) Touch(ctx context.Context, facts ...registry.Activity) error {
	if len(facts) == 0 {
		return nil
	}
	all := make([][]any, len(facts))
	for i, f := range facts {
		changed, active := stamp(f.StateUpdated), stamp(f.LastActivity)
		all[i] = []any{flag(f.Connected), changed, changed, active, active, f.ID.Hub, f.ID.Device, f.ID.Module}
	}
	return exec(ctx, s.db, "Touch", 0, func(c *conn) error {
		for _, args := range all {
			if _, err := c.exec(touchIdentity, args...); err != nil {
				return err
			}
		}
		return nil
	})
}
