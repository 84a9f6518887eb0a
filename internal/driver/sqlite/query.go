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
// A few queries run at once; others wait, so that there always is a connection
// for those who read one record.
func (s registryStore) Query(ctx context.Context, sel registry.Selection, each func(r *registry.Record) error) error {
	select {
	case s.db.queries <- struct{}{}:
		defer func() { <-s.db.queries }()
	case <-ctx.Done():
		return ctx.Err()
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
		// Read all at once where most of what is found is kept.
		if whole = sel.Keep != nil && a.rank >= byPrefix && sel.Need != registry.AllParts; !whole {
			parts = registry.AllParts
		}
	}
	text, args, l := a.statement(sel, parts)
	var rec registry.Record
	n := 0
	return c.once(text, func(r row) error {
		if n++; n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		rec = registry.Record{}
		if err := l.scan(r, sel.Hub, &rec); err != nil {
			return err
		}
		if sel.Keep != nil && !sel.Keep(&rec) {
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
			rec = recs[0]
			rec.Auth.Primary, rec.Auth.Secondary = "", ""
		}
		return each(&rec)
	}, args...)
}

// layout is the columns of a query: which there are, and where.
type layout struct {
	columns                 []string
	identity, twin, desired bool // which tables are needed
	parts                   registry.Parts
}

func newLayout(parts registry.Parts) layout {
	l := layout{columns: []string{"KEY.device", "KEY.module"}, parts: parts}
	if parts&registry.PartIdentity != 0 {
		l.identity = true
		l.columns = append(l.columns, "i.generation", "i.etag", "i.enabled", "i.status_reason", "i.status_updated", "i.created",
			"i.auth_type", "i.thumb_primary", "i.thumb_secondary", "i.edge", "i.device_scope", "i.parent_scopes", "i.managed_by",
			"i.connected", "i.connection_updated", "i.last_activity", "i.configurations")
	}
	if parts&^registry.PartIdentity != 0 {
		l.twin = true
		l.columns = append(l.columns, "t.version", "t.etag", "t.model", "t.desired_version", "t.reported_version")
	}
	for _, d := range []struct {
		part   registry.Parts
		column string
	}{
		{registry.PartTags, "d.tags"},
		{registry.PartDesired, "d.desired"},
		{registry.PartDesiredMetadata, "d.desired_metadata"},
		{registry.PartReported, "t.reported"},
		{registry.PartReportedMetadata, "t.reported_metadata"},
	} {
		if parts&d.part != 0 {
			l.columns = append(l.columns, "CAST("+d.column+" AS BLOB)")
		}
	}
	l.desired = parts&(registry.PartTags|registry.PartDesired|registry.PartDesiredMetadata) != 0
	return l
}

// scan reads a row into a record that is empty.
func (l *layout) scan(r row, hub string, rec *registry.Record) error {
	rec.ID = causeway.Identity{Hub: hub, Device: r.text(0), Module: r.text(1)}
	at := 2
	if l.identity {
		rec.GenerationID, rec.ETag, rec.Enabled, rec.StatusReason = r.text(at), r.text(at+1), r.bool(at+2), r.text(at+3)
		rec.StatusUpdated, rec.Created = instant(r.int(at+4)), instant(r.int(at+5))
		rec.Auth = registry.Authentication{Type: auth.Type(r.text(at + 6)), PrimaryThumb: r.text(at + 7), SecondThumb: r.text(at + 8)}
		rec.Edge, rec.DeviceScope, rec.ManagedBy = r.bool(at+9), r.text(at+10), r.text(at+12)
		rec.Connected, rec.ConnectionStateUpdated, rec.LastActivity = r.bool(at+13), instant(r.int(at+14)), instant(r.int(at+15))
		if err := lists(rec, r.text(at+11), r.text(at+16)); err != nil {
			return err
		}
		at += 17
	}
	if !l.twin {
		return nil
	}
	t := &rec.Twin
	t.Version, t.ETag, t.ModelID, t.Desired.Version, t.Reported.Version = r.int(at), r.int(at+1), r.text(at+2), r.int(at+3), r.int(at+4)
	at += 5
	for _, d := range []struct {
		part registry.Parts
		to   *[]byte
	}{
		{registry.PartTags, &t.Tags},
		{registry.PartDesired, &t.Desired.Properties},
		{registry.PartDesiredMetadata, &t.Desired.Metadata},
		{registry.PartReported, &t.Reported.Properties},
		{registry.PartReportedMetadata, &t.Reported.Metadata},
	} {
		if l.parts&d.part != 0 {
			*d.to = r.blob(at)
			at++
		}
	}
	return nil
}

// lists reads the two columns that are JSON.
func lists(rec *registry.Record, scopes, configurations string) error {
	if scopes != noScopes {
		if err := json.Unmarshal([]byte(scopes), &rec.ParentScopes); err != nil {
			return fmt.Errorf("parent scopes of %s: %w", rec.ID, err)
		}
	}
	if configurations != noConfigurations {
		if err := json.Unmarshal([]byte(configurations), &rec.Configurations); err != nil {
			return fmt.Errorf("configurations of %s: %w", rec.ID, err)
		}
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
