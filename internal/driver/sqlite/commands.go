package sqlite

import (
	"context"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/core/envelope"
)

// commandStore implements [c2d.Store].
type commandStore struct{ db *DB }

var _ c2d.Store = commandStore{}

const (
	pushCommand = `INSERT INTO commands (hub, device, module, expires, deliveries, ack, message_id, generation, message)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
		WHERE (SELECT count(*) FROM commands WHERE hub = ?1 AND device = ?2 AND module = ?3) < ?10`

	insertFeedback = `INSERT INTO feedback (hub, device, module, message_id, generation, status, time)
		VALUES (?, ?, ?, ?, ?, ?, ?)`

	ofQueue = ` WHERE hub = ? AND device = ? AND module = ?`
)

// Push implements [c2d.Store].
func (s commandStore) Push(ctx context.Context, id causeway.Identity, it c2d.Item, limit int) (int64, error) {
	m := envelope.Append(nil, &it.Message)
	args := []any{
		id.Hub, id.Device, id.Module, stamp(it.Expires), int64(it.DeliveryCount),
		string(it.Message.Ack), it.Message.ID, it.Message.GenerationID, m, int64(limit),
	}
	return write(ctx, s.db, "Push", len(m), func(c *conn) (int64, error) {
		n, seq, err := c.insert(pushCommand, args...)
		switch {
		case constraint(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return 0, missing(c, "sqlite.Push", id)
		case err != nil:
			return 0, err
		case n == 0:
			return 0, causeway.Errorf(causeway.DeviceMaximumQueueDepthExceeded, "sqlite.Push",
				"the queue of %q holds %d messages, the most it may: wait until the device has taken some, or purge it", id.String(), limit)
		}
		return seq, nil
	})
}

// Index implements [c2d.Store].
func (s commandStore) Index(ctx context.Context, id causeway.Identity) ([]c2d.Entry, error) {
	return read(ctx, s.db, "Index", func(c *conn) (entries []c2d.Entry, err error) {
		err = c.query("SELECT position, expires, deliveries, ack, message_id, generation FROM commands"+ofQueue+" ORDER BY position", func(r row) error {
			entries = append(entries, scanEntry(r))
			return nil
		}, id.Hub, id.Device, id.Module)
		return entries, err
	})
}

func scanEntry(r row) c2d.Entry {
	return c2d.Entry{
		Seq: r.int(0), Expires: instant(r.int(1)), DeliveryCount: int(r.int(2)),
		Ack: causeway.Ack(r.text(3)), MessageID: r.text(4), GenerationID: r.text(5),
	}
}

// Item implements [c2d.Store].
func (s commandStore) Item(ctx context.Context, id causeway.Identity, seq int64) (c2d.Item, bool, error) {
	type found struct {
		item c2d.Item
		ok   bool
	}
	f, err := read(ctx, s.db, "Item", func(c *conn) (f found, err error) {
		err = c.query("SELECT expires, deliveries, message FROM commands"+ofQueue+" AND position = ?", func(r row) error {
			m, err := envelope.Decode(r.blob(2))
			if err != nil {
				c.damage.tell(fmt.Errorf("message %d to %s: %w", seq, id, err))
				return nil
			}
			m.Sequence = seq
			m.From.Hub = ""
			f = found{c2d.Item{Message: m, Expires: instant(r.int(0)), DeliveryCount: int(r.int(1))}, true}
			return nil
		}, id.Hub, id.Device, id.Module, seq)
		return f, err
	})
	return f.item, f.ok, err
}

// Remove implements [c2d.Store].
func (s commandStore) Remove(ctx context.Context, id causeway.Identity, ends ...c2d.End) (int, error) {
	type end struct {
		seq      int64
		feedback []any
	}
	// A copy: what is handed in belongs to the caller.
	copied := make([]end, len(ends))
	for i, e := range ends {
		copied[i].seq = e.Seq
		if f := e.Feedback; f != nil {
			copied[i].feedback = []any{
				id.Hub, f.Device, f.Module, f.OriginalMessageID, f.GenerationID, string(f.Status), stamp(f.Time),
			}
		}
	}
	return write(ctx, s.db, "Remove", 0, func(c *conn) (n int, err error) {
		remove := func() error {
			for _, e := range copied {
				gone, err := c.exec("DELETE FROM commands"+ofQueue+" AND position = ?", id.Hub, id.Device, id.Module, e.seq)
				if err != nil {
					return err
				}
				n += int(gone)
				if gone == 0 || e.feedback == nil {
					continue
				}
				if _, err := c.exec(insertFeedback, e.feedback...); err != nil {
					return err
				}
			}
			return nil
		}
		// Settling one message is the common case and needs no savepoint unless
		// there are two statements.
		if len(copied) == 1 && copied[0].feedback == nil {
			err = remove()
		} else {
			err = c.atomic(remove)
		}
		return n, err
	})
}

// SetDeliveryCount implements [c2d.Store].
func (s commandStore) SetDeliveryCount(ctx context.Context, id causeway.Identity, seq int64, n int) error {
	return exec(ctx, s.db, "SetDeliveryCount", 0, func(c *conn) error {
		_, err := c.exec("UPDATE commands SET deliveries = ?"+ofQueue+" AND position = ?", int64(n), id.Hub, id.Device, id.Module, seq)
		return err
	})
}

// Queues implements [c2d.Store].
func (s commandStore) Queues(ctx context.Context, after causeway.Identity, limit int) ([]causeway.Identity, error) {
	return read(ctx, s.db, "Queues", func(c *conn) (ids []causeway.Identity, err error) {
		err = c.query(`SELECT DISTINCT hub, device, module FROM commands WHERE (hub, device, module) > (?, ?, ?)
			ORDER BY hub, device, module LIMIT ?`, func(r row) error {
			ids = append(ids, causeway.Identity{Hub: r.text(0), Device: r.text(1), Module: r.text(2)})
			return nil
		}, after.Hub, after.Device, after.Module, int64(limit))
		return ids, err
	})
}

// Waiting implements [c2d.Store].
func (s commandStore) Waiting(ctx context.Context, hub string, most int) (int, error) {
	return read(ctx, s.db, "Waiting", func(c *conn) (n int, err error) {
		err = c.query(`SELECT COUNT(*) FROM (SELECT 1 FROM commands WHERE hub = ? LIMIT ?)`, func(r row) error {
			n = int(r.int(0))
			return nil
		}, hub, int64(most))
		return n, err
	})
}

// Expired implements [c2d.Store].
func (s commandStore) Expired(ctx context.Context, now time.Time, limit int) ([]c2d.Due, error) {
	return read(ctx, s.db, "Expired", func(c *conn) (due []c2d.Due, err error) {
		err = c.query(`SELECT position, expires, deliveries, ack, message_id, generation, hub, device, module
			FROM commands WHERE expires <= ? ORDER BY expires, position LIMIT ?`, func(r row) error {
			due = append(due, c2d.Due{
				ID:    causeway.Identity{Hub: r.text(6), Device: r.text(7), Module: r.text(8)},
				Entry: scanEntry(r),
			})
			return nil
		}, stamp(now), int64(limit))
		return due, err
	})
}
