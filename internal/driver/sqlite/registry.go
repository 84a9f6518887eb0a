package sqlite

import (
	"context"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// registryStore implements [registry.Store].
type registryStore struct{ db *DB }

var _ registry.Store = registryStore{}

// Get implements [registry.Store].
func (s registryStore) Get(ctx context.Context, id causeway.Identity) (registry.Record, error) {
	return read(ctx, s.db, "Get", func(c *conn) (registry.Record, error) {
		recs, err := records(ctx, c, selectRecord+"WHERE i.hub = ? AND i.device = ? AND i.module = ?", id.Hub, id.Device, id.Module)
		if err != nil {
			return registry.Record{}, err
		}
		if len(recs) == 0 {
			return registry.Record{}, missing(c, "sqlite.Get", id)
		}
		return recs[0], nil
	})
}

// List implements [registry.Store].
func (s registryStore) List(ctx context.Context, hub, after string, limit int) ([]registry.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	return read(ctx, s.db, "List", func(c *conn) ([]registry.Record, error) {
		return records(ctx, c, selectRecord+"WHERE i.hub = ? AND i.device > ? AND i.module = '' ORDER BY i.device LIMIT ?", hub, after, int64(limit))
	})
}

// Modules implements [registry.Store].
func (s registryStore) Modules(ctx context.Context, device causeway.Identity) ([]registry.Record, error) {
	return read(ctx, s.db, "Modules", func(c *conn) ([]registry.Record, error) {
		recs, err := records(ctx, c, selectRecord+"WHERE i.hub = ? AND i.device = ? ORDER BY i.module", device.Hub, device.Device)
		if err != nil {
			return nil, err
		}
		if len(recs) == 0 {
			return nil, missing(c, "sqlite.Modules", device.Parent())
		}
		return recs[1:], nil // the first is the device itself
	})
}

// records runs a query of selectRecord.
func records(ctx context.Context, c *conn, text string, args ...any) ([]registry.Record, error) {
	var recs []registry.Record
	err := c.query(text, func(r row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		rec, err := scanRecord(r)
		if err != nil {
			c.damage.tell(err)
		}
		recs = append(recs, rec)
		return nil
	}, args...)
	return recs, err
}

// Count implements [registry.Store].
func (s registryStore) Count(ctx context.Context, hub string) (registry.Counts, error) {
	return read(ctx, s.db, "Count", func(c *conn) (n registry.Counts, err error) {
		err = c.query("SELECT devices, enabled FROM registry_counts WHERE hub = ?", func(r row) error {
			n = registry.Counts{Total: int(r.int(0)), Enabled: int(r.int(1)), Disabled: int(r.int(0) - r.int(1))}
			return nil
		}, hub)
		return n, err
	})
}
