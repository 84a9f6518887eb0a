package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
)

// outboxStore implements [outbox.Store].
type outboxStore struct{ db *DB }

var _ outbox.Store = outboxStore{}

// fileDocument is the stored form of a file notification. Its own type: the
// stored names must not change when a field of the domain is renamed.
type fileDocument struct {
	Device   string    `json:"device"`
	URI      string    `json:"uri"`
	Name     string    `json:"name"`
	Modified time.Time `json:"modified"`
	Size     int64     `json:"size"`
}

const (
	// insertMessage adds a message to a queue of a hub that exists, or whose
	// feedback does.
	insertMessage = `INSERT INTO outbox (hub, kind, message_id, enqueued, expires, deliveries, content)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE ?7 = '' OR EXISTS (SELECT 1 FROM hubs WHERE name = ?1)`

	// oldestPending are the records of a hub that the next message is made of.
	oldestPending = `SELECT position, time FROM feedback WHERE hub = ? AND message IS NULL ORDER BY position LIMIT ?`

	ofMessage = ` WHERE position = ? AND hub = ? AND kind = ?`
)

// kindName is the stored form of a kind.
func kindName(k outbox.Kind) string {
	switch k {
	case outbox.Feedback:
		return "feedback"
	case outbox.FileNotifications:
		return "file"
	}
	return ""
}

func messageArgs(hub string, k outbox.Kind, it outbox.Item, content string) []any {
	return []any{hub, kindName(k), it.ID, stamp(it.Enqueued), stamp(it.Expires), int64(it.DeliveryCount), content}
}

// Gather implements [outbox.Store].
func (s outboxStore) Gather(ctx context.Context, hub string, it outbox.Item, most int, cutoff time.Time) (int64, outbox.Pending, error) {
	type result struct {
		seq  int64
		left outbox.Pending
	}
	args := messageArgs(hub, outbox.Feedback, it, "")
	r, err := write(ctx, s.db, "Gather", 0, func(c *conn) (r result, err error) {
		err = c.atomic(func() error {
			p, err := pendingOf(c, hub, most)
			if err != nil || p.Count == 0 || p.Count < most && p.Oldest.After(cutoff) {
				r.left = p
				return err
			}
			if _, r.seq, err = c.insert(insertMessage, args...); err != nil {
				return err
			}
			if _, err = c.exec(`UPDATE feedback SET message = ? WHERE position IN (SELECT position FROM (`+oldestPending+`))`, r.seq, hub, int64(most)); err != nil {
				return err
			}
			r.left, err = pendingOf(c, hub, most)
			return err
		})
		return r, err
	})
	return r.seq, r.left, err
}

// pendingOf returns what a hub has in no message.
func pendingOf(c *conn, hub string, most int) (p outbox.Pending, err error) {
	p.Hub = hub
	err = c.query(`SELECT count(*), min(time) FROM (`+oldestPending+`)`, func(r row) error {
		if p.Count = int(r.int(0)); p.Count > 0 {
			p.Oldest = instant(r.int(1))
		}
		return nil
	}, hub, int64(most))
	return p, err
}

// Pending implements [outbox.Store].
func (s outboxStore) Pending(ctx context.Context, most int) ([]outbox.Pending, error) {
	return read(ctx, s.db, "Pending", func(c *conn) (all []outbox.Pending, err error) {
		err = c.query(`SELECT hub, count(*), min(time) FROM feedback WHERE message IS NULL GROUP BY hub ORDER BY hub`, func(r row) error {
			all = append(all, outbox.Pending{Hub: r.text(0), Count: min(int(r.int(1)), most), Oldest: instant(r.int(2))})
			return nil
		})
		return all, err
	})
}

// Add implements [outbox.Store].
func (s outboxStore) Add(ctx context.Context, hub string, it outbox.Item, n outbox.FileNotification) (int64, error) {
	doc, err := json.Marshal(fileDocument{Device: n.DeviceID, URI: n.BlobURI, Name: n.BlobName, Modified: n.Modified.UTC(), Size: n.Size})
	if err != nil {
		return 0, border("Add", fmt.Errorf("file notification of hub %s: %w", hub, err))
	}
	args := messageArgs(hub, outbox.FileNotifications, it, string(doc))
	return write(ctx, s.db, "Add", len(doc), func(c *conn) (int64, error) {
		added, seq, err := c.insert(insertMessage, args...)
		if err == nil && added == 0 {
			err = causeway.Errorf(causeway.GenericNotFound, "sqlite.Add", "hub %q does not exist", hub)
		}
		return seq, err
	})
}

// Index implements [outbox.Store].
func (s outboxStore) Index(ctx context.Context, hub string, k outbox.Kind, after int64, now time.Time, limit int) ([]outbox.Item, error) {
	return read(ctx, s.db, "Index", func(c *conn) (items []outbox.Item, err error) {
		err = c.query(`SELECT position, message_id, enqueued, expires, deliveries FROM outbox
			WHERE hub = ? AND kind = ? AND position > ? AND expires > ? ORDER BY position LIMIT ?`, func(r row) error {
			items = append(items, outbox.Item{
				Seq: r.int(0), ID: r.text(1), Enqueued: instant(r.int(2)), Expires: instant(r.int(3)), DeliveryCount: int(r.int(4)),
			})
			return nil
		}, hub, kindName(k), after, stamp(now), int64(limit))
		return items, err
	})
}

// Records implements [outbox.Store].
func (s outboxStore) Records(ctx context.Context, hub string, seq int64) ([]outbox.FeedbackRecord, error) {
	return read(ctx, s.db, "Records", func(c *conn) (all []outbox.FeedbackRecord, err error) {
		err = c.query(`SELECT message_id, time, status, device, module, generation
			FROM feedback WHERE message = ? AND hub = ? ORDER BY position`, func(r row) error {
			all = append(all, outbox.FeedbackRecord{
				OriginalMessageID: r.text(0), Time: instant(r.int(1)), Status: c2d.Status(r.text(2)),
				DeviceID: r.text(3), ModuleID: r.text(4), GenerationID: r.text(5),
			})
			return nil
		}, seq, hub)
		return all, err
	})
}

// File implements [outbox.Store].
func (s outboxStore) File(ctx context.Context, hub string, seq int64) (outbox.FileNotification, bool, error) {
	type found struct {
		file outbox.FileNotification
		ok   bool
	}
	f, err := read(ctx, s.db, "File", func(c *conn) (f found, err error) {
		err = c.query("SELECT content, enqueued FROM outbox"+ofMessage, func(r row) error {
			var d fileDocument
			if err := json.Unmarshal([]byte(r.text(0)), &d); err != nil {
				c.damage.tell(fmt.Errorf("file notification %d of hub %s: %w", seq, hub, err))
				return nil
			}
			f = found{outbox.FileNotification{
				DeviceID: d.Device, BlobURI: d.URI, BlobName: d.Name, Modified: d.Modified, Size: d.Size, Enqueued: instant(r.int(1)),
			}, true}
			return nil
		}, seq, hub, kindName(outbox.FileNotifications))
		return f, err
	})
	return f.file, f.ok, err
}

// Remove implements [outbox.Store].
func (s outboxStore) Remove(ctx context.Context, hub string, k outbox.Kind, seq int64) (bool, error) {
	return write(ctx, s.db, "Remove", 0, func(c *conn) (bool, error) {
		n, err := c.exec("DELETE FROM outbox"+ofMessage, seq, hub, kindName(k))
		return n > 0, err
	})
}

// SetDeliveryCount implements [outbox.Store].
func (s outboxStore) SetDeliveryCount(ctx context.Context, hub string, k outbox.Kind, seq int64, n int) error {
	return exec(ctx, s.db, "SetDeliveryCount", 0, func(c *conn) error {
		_, err := c.exec("UPDATE outbox SET deliveries = ?"+ofMessage, int64(n), seq, hub, kindName(k))
		return err
	})
}

// Waiting implements [outbox.Store].
func (s outboxStore) Waiting(ctx context.Context, hub string, k outbox.Kind, now time.Time, most int) (int, error) {
	return read(ctx, s.db, "Waiting", func(c *conn) (int, error) {
		n, _, err := c.number("SELECT count(*) FROM (SELECT 1 FROM outbox WHERE hub = ? AND kind = ? AND expires > ? LIMIT ?)", hub, kindName(k), stamp(now), int64(most))
		return int(n), err
	})
}

// Expire implements [outbox.Store].
func (s outboxStore) Expire(ctx context.Context, now time.Time, limit int) (int, error) {
	// The common answer is that there is none, which needs no transaction.
	some, err := read(ctx, s.db, "Expire", func(c *conn) (bool, error) {
		_, ok, err := c.number("SELECT 1 FROM outbox WHERE expires <= ? LIMIT 1", stamp(now))
		return ok, err
	})
	if err != nil || !some {
		return 0, err
	}
	return write(ctx, s.db, "Expire", 0, func(c *conn) (int, error) {
		n, err := c.exec("DELETE FROM outbox WHERE position IN (SELECT position FROM outbox WHERE expires <= ? ORDER BY expires LIMIT ?)", stamp(now), int64(limit))
		return int(n), err
	})
}
