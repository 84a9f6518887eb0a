package sqlite

import (
	"context"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
)

// uploadStore implements [upload.Store].
type uploadStore struct{ db *DB }

var _ upload.Store = uploadStore{}

// Add implements [upload.Store].
func (s uploadStore) Add(ctx context.Context, t upload.Ticket, now time.Time, most int) (bool, error) {
	args := []any{t.Device.Hub, t.Device.Device, t.Correlation, t.Host, t.Container, t.Blob, stamp(t.Expires), stamp(now), int64(most)}
	return write(ctx, s.db, "AddUpload", len(t.Blob)+len(t.Host), func(c *conn) (bool, error) {
		n, err := c.exec(`INSERT INTO uploads (hub, device, correlation, host, container, blob, expires)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
			WHERE (SELECT count(*) FROM uploads WHERE hub = ?1 AND device = ?2 AND expires > ?8) < ?9`, args...)
		if constraint(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY {
			return false, missing(c, "sqlite.AddUpload", t.Device)
		}
		return n > 0, err
	})
}

// Get implements [upload.Store].
func (s uploadStore) Get(ctx context.Context, device causeway.Identity, correlation string) (upload.Ticket, bool, error) {
	type found struct {
		ticket upload.Ticket
		ok     bool
	}
	f, err := read(ctx, s.db, "GetUpload", func(c *conn) (f found, err error) {
		err = c.query("SELECT host, container, blob, expires FROM uploads WHERE hub = ? AND device = ? AND correlation = ?", func(r row) error {
			f = found{upload.Ticket{
				Device: device, Correlation: correlation, Host: r.text(0), Container: r.text(1), Blob: r.text(2), Expires: instant(r.int(3)),
			}, true}
			return nil
		}, device.Hub, device.Device, correlation)
		return f, err
	})
	return f.ticket, f.ok, err
}

// Remove implements [upload.Store].
func (s uploadStore) Remove(ctx context.Context, device causeway.Identity, correlation string) error {
	return exec(ctx, s.db, "RemoveUpload", 0, func(c *conn) error {
		_, err := c.exec("DELETE FROM uploads WHERE hub = ? AND device = ? AND correlation = ?", device.Hub, device.Device, correlation)
		return err
	})
}

// Forget implements [upload.Store].
func (s uploadStore) Forget(ctx context.Context, before time.Time, limit int) (int, error) {
	// The common answer is that there is none, which needs no transaction.
	some, err := read(ctx, s.db, "ForgetUploads", func(c *conn) (bool, error) {
		_, ok, err := c.number("SELECT 1 FROM uploads WHERE expires < ? LIMIT 1", stamp(before))
		return ok, err
	})
	if err != nil || !some {
		return 0, err
	}
	return write(ctx, s.db, "ForgetUploads", 0, func(c *conn) (int, error) {
		n, err := c.exec(`DELETE FROM uploads WHERE (hub, device, correlation) IN
			(SELECT hub, device, correlation FROM uploads WHERE expires < ? ORDER BY expires LIMIT ?)`, stamp(before), int64(limit))
		return int(n), err
	})
}
