package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Query implements [registry.Store]. It takes the way that finds the fewest
// records, reads of them what Keep needs, and of those that are kept the rest.
// A few queries run at once and others wait, so that there always is a
// connection for those who read one record; and of those few not all may be ones
// that look at everything, so that quick ones do not wait for long ones.
func (s registryStore) Query(ctx context.Context, sel registry.Selection, each func(r *registry.Record) error) error {
	slots := []chan struct{}{s.db.queries}
	if sel.Long && !indexed(&sel) {
		slots = []chan struct{}{s.db.scans, s.db.queries} // who waits for the first holds none of the second
	}
	for _, slot := range slots {
		select {
		case slot <- struct{}{}:
			defer func() { <-slot }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var stopped error // what Keep or each said: not an error of the database
	_, err := read(ctx, s.db, "Query", func(c *conn) (struct{}, error) {
		err := queryRecords(ctx, c, &sel, func(r *registry.Record) error {
			stopped = each(r)
			return stopped
		})
		if stopped != nil {
			err = nil
		}
		return struct{}{}, err
	})
	return errors.Join(stopped, err)
}

func queryRecords(ctx context.Context, c *conn, sel *registry.Selection, each func(r *registry.Record) error) error {
	a, err := bestAccess(c, sel)
	if err != nil {
		return err
	}
	parts, whole := sel.Need, false
	if sel.Whole {
		// Read all at once where most of what is found is likely to be kept.
		if whole = sel.Keep != nil && a.rank == byOrder && sel.Need != registry.AllParts; !whole {
			parts = registry.AllParts
		}
	}
	n := 0
	return a.each(c, sel, parts, func(rec *registry.Record) error {
		if n++; n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if sel.Keep != nil && !sel.Keep(rec) {
			return nil
		}
		if whole {
			// The same moment: the statement that is open keeps it.
			recs, err := records(ctx, c, selectRecord+"WHERE i.hub = ? AND i.device = ? AND i.module = ?", rec.ID.Hub, rec.ID.Device, rec.ID.Module)
			if err != nil {
				return err
			}
			if len(recs) != 1 {
				return fmt.Errorf("identity %s has no twin", rec.ID)
			}
			*rec = recs[0]
			rec.Auth.Primary, rec.Auth.Secondary = "", ""
		}
		return each(rec)
	})
}

// layout is the columns of a query: which there are, and where.
type layout struct {
	columns                 []string
	modules                 bool // there is a column of the module
	fields                  []field
	identity, twin, desired bool // which tables are needed
}

// field is columns that are read together.
type field struct {
	part    registry.Parts
	columns []string
	read    func(r row, rec *registry.Record) error // r begins with the columns
}

// identityParts are those that identityFields read.
const identityParts = registry.PartIdentity | registry.PartAuthentication | registry.PartThumbprints | registry.PartStatus | registry.PartEdge | registry.PartActivity

// The fields of records, in the order of their columns.
var (
	identityFields = []field{
		{registry.PartIdentity, []string{
			"i.generation", "i.etag", "i.created", "i.managed_by", "i.configurations",
		}, func(r row, rec *registry.Record) error {
			rec.GenerationID, rec.ETag, rec.Created, rec.ManagedBy = r.text(0), r.text(1), instant(r.int(2)), r.text(3)
			return readConfigurations(rec, r.text(4))
		}},
		{registry.PartAuthentication, []string{"i.auth_type"}, func(r row, rec *registry.Record) error {
			rec.Auth.Type = auth.Type(r.text(0))
			return nil
		}},
		{registry.PartThumbprints, []string{"i.thumb_primary", "i.thumb_secondary"}, func(r row, rec *registry.Record) error {
			rec.Auth.PrimaryThumb, rec.Auth.SecondThumb = r.text(0), r.text(1)
			return nil
		}},
		{registry.PartStatus, []string{"i.enabled", "i.status_reason", "i.status_updated"}, func(r row, rec *registry.Record) error {
			rec.Enabled, rec.StatusReason, rec.StatusUpdated = r.bool(0), r.text(1), instant(r.int(2))
			return nil
		}},
		{registry.PartEdge, []string{"i.edge", "i.device_scope", "i.parent_scopes"}, func(r row, rec *registry.Record) error {
			rec.Edge, rec.DeviceScope = r.bool(0), r.text(1)
			return readScopes(rec, r.text(2))
		}},
		{registry.PartActivity, []string{"i.connected", "i.connection_updated", "i.last_activity"}, func(r row, rec *registry.Record) error {
			rec.Connected, rec.ConnectionStateUpdated, rec.LastActivity = r.bool(0), instant(r.int(1)), instant(r.int(2))
			return nil
		}},
	}
	twinFields = []field{
		{registry.PartTwin, []string{"t.version", "t.etag", "t.model"}, func(r row, rec *registry.Record) error {
			rec.Twin.Version, rec.Twin.ETag, rec.Twin.ModelID = r.int(0), r.int(1), r.text(2)
			return nil
		}},
		{registry.PartVersions, []string{"t.desired_version", "t.reported_version"}, func(r row, rec *registry.Record) error {
			rec.Twin.Desired.Version, rec.Twin.Reported.Version = r.int(0), r.int(1)
			return nil
		}},
		{registry.PartReported, []string{"CAST(t.reported AS BLOB)"}, func(r row, rec *registry.Record) error {
			rec.Twin.Reported.Properties = r.blob(0)
			return nil
		}},
		{registry.PartReportedMetadata, []string{"CAST(t.reported_metadata AS BLOB)"}, func(r row, rec *registry.Record) error {
			rec.Twin.Reported.Metadata = r.blob(0)
			return nil
		}},
	}
	desiredFields = []field{
		{registry.PartTags, []string{"CAST(d.tags AS BLOB)"}, func(r row, rec *registry.Record) error {
			rec.Twin.Tags = r.blob(0)
			return nil
		}},
		{registry.PartDesired, []string{"CAST(d.desired AS BLOB)"}, func(r row, rec *registry.Record) error {
			rec.Twin.Desired.Properties = r.blob(0)
			return nil
		}},
		{registry.PartDesiredMetadata, []string{"CAST(d.desired_metadata AS BLOB)"}, func(r row, rec *registry.Record) error {
			rec.Twin.Desired.Metadata = r.blob(0)
			return nil
		}},
	}
)

func newLayout(modules bool, parts registry.Parts) layout {
	l := layout{columns: []string{"KEY.device"}, modules: modules}
	if modules {
		l.columns = append(l.columns, "KEY.module")
	}
	add := func(fields []field) (any bool) {
		for _, f := range fields {
			if parts&f.part != 0 {
				l.columns, l.fields, any = append(l.columns, f.columns...), append(l.fields, f), true
			}
		}
		return any
	}
	l.identity, l.twin, l.desired = add(identityFields), add(twinFields), add(desiredFields)
	l.twin = l.twin || l.desired
	return l
}

// scan reads a row into a record in which its fields are empty. With an error it
// is without what the error is about.
func (l *layout) scan(r row, hub string, rec *registry.Record) (err error) {
	rec.ID = causeway.Identity{Hub: hub, Device: r.text(0)}
	r = r[1:]
	if l.modules {
		rec.ID.Module, r = r.text(0), r[1:]
	}
	for i := range l.fields {
		if e := l.fields[i].read(r, rec); e != nil {
			err = errors.Join(err, e)
		}
		r = r[len(l.fields[i].columns):]
	}
	return err
}

func readScopes(rec *registry.Record, text string) error {
	if text == noScopes {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &rec.ParentScopes); err != nil {
		rec.ParentScopes = nil
		return fmt.Errorf("parent scopes of %s: %w", rec.ID, err)
	}
	return nil
}

func readConfigurations(rec *registry.Record, text string) error {
	if text == noConfigurations {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &rec.Configurations); err != nil {
		rec.Configurations = nil
		return fmt.Errorf("configurations of %s: %w", rec.ID, err)
	}
	return nil
}

// Disconnect implements [registry.Store].
func (s registryStore) Disconnect(ctx context.Context, hub string) error {
	return exec(ctx, s.db, "Disconnect", 0, func(c *conn) error {
		_, err := c.exec("UPDATE identities SET connected = 0 WHERE hub = ? AND connected = 1", hub)
		return err
	})
}
