package sqlite

import (
	"context"
	"slices"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

const (
	// Only on an identity that exists, which is no error of a constraint.
	insertConfigured = `INSERT INTO configured (configuration, status, hub, device, module)
		SELECT ?, ?, hub, device, module FROM identities WHERE hub = ? AND device = ? AND module = ?
		ON CONFLICT DO UPDATE SET status = excluded.status WHERE status <> excluded.status`

	deleteConfigured = `DELETE FROM configured WHERE configuration = ? AND hub = ? AND device = ? AND module = ?`
)

// SetConfigurations implements [registry.Store].
func (s registryStore) SetConfigurations(ctx context.Context, changes ...registry.ConfigurationChange) error {
	for part := range slices.Chunk(slices.Clone(changes), maxGroup) {
		size := 0
		for _, ch := range part {
			size += len(ch.ID.Device) + len(ch.ID.Module) + len(ch.Configuration)
		}
		err := exec(ctx, s.db, "SetConfigurations", size, func(c *conn) error {
			for _, ch := range part {
				var err error
				if ch.Status == "" {
					_, err = c.exec(deleteConfigured, ch.Configuration, ch.ID.Hub, ch.ID.Device, ch.ID.Module)
				} else {
					_, err = c.exec(insertConfigured, ch.Configuration, ch.Status, ch.ID.Hub, ch.ID.Device, ch.ID.Module)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
