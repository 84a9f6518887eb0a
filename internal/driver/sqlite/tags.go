package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

const (
	insertTagHash  = `INSERT OR IGNORE INTO tag_hashes (hash, device, module, twin) VALUES (?, ?, ?, ?)`
	deleteTagHash  = `DELETE FROM tag_hashes WHERE twin = ?`
	selectTags     = `SELECT d.twin, d.tags = ? FROM twins t JOIN twins_desired d ON d.twin = t.id WHERE t.hub = ? AND t.device = ? AND t.module = ?`
	selectUnhashed = `SELECT t.id, t.hub, t.device, t.module, CAST(d.tags AS BLOB) FROM twins t JOIN twins_desired d ON d.twin = t.id
		WHERE t.id > ? AND t.id <= ? ORDER BY t.id LIMIT ?`
)

// tagHash is the hash of a value in the tags of twins, as it is stored: FNV-1a
// of 64 bits, the same for ever. Names and values end with a byte that is in no
// UTF-8. Of numbers it is the value that counts, not how it is written.
func tagHash(hub string, modules bool, names []string, v hubquery.Value) int64 {
	h := fnv.New64a()
	put := func(s string) {
		_, _ = h.Write([]byte(s)) // never fails
		_, _ = h.Write([]byte{0xff})
	}
	put(hub)
	put(string(rune('0' + flag(modules))))
	for _, n := range names {
		put(n)
	}
	putValue(h, v)
	return int64(h.Sum64()) //nolint:gosec // the bits are what counts
}

func putValue(h hash.Hash64, v hubquery.Value) {
	var b [9]byte
	b[0] = byte(v.Kind())
	if v.Kind() == hubquery.NumberKind {
		f := v.Float()
		if f == 0 {
			f = 0 // and not -0
		}
		binary.BigEndian.PutUint64(b[1:], math.Float64bits(f))
		_, _ = h.Write(b[:])
		return
	}
	_, _ = h.Write(b[:1])
	_, _ = h.Write([]byte(v.String()))
}

// hashTags makes the hashes of a twin. Their number is bounded by that of the
// values that fit the tags of a twin.
func hashTags(c *conn, twin int64, id causeway.Identity, tags []byte) (err error) {
	hubquery.Leaves(tags, func(names []string, v hubquery.Value) bool {
		_, err = c.exec(insertTagHash, tagHash(id.Hub, id.IsModule(), names, v), id.Device, id.Module, twin)
		return err == nil
	})
	return err
}

// rehashTags makes the hashes of a twin anew when its tags are about to change.
func rehashTags(c *conn, id causeway.Identity, tags string) error {
	var twin int64
	same := true // of a twin that is not there
	err := c.query(selectTags, func(r row) error {
		twin, same = r.int(0), r.bool(1)
		return nil
	}, tags, id.Hub, id.Device, id.Module)
	if err != nil || same {
		return err
	}
	if _, err := c.exec(deleteTagHash, twin); err != nil {
		return err
	}
	return hashTags(c, twin, id, []byte(tags))
}

// finishHashing makes the hashes of twins that are older than hashes, in
// transactions of their own, and goes on where a run before has ended.
func (db *DB) finishHashing(ctx context.Context) error {
	for began := (time.Time{}); ; {
		left, err := write(ctx, db, "finishHashing", maxGroupBytes, hashSome)
		switch {
		case err != nil:
			return fmt.Errorf("index tags: %w", err)
		case !left && !began.IsZero():
			db.writer.log.Info("tags are indexed", "took", time.Since(began))
			return nil
		case !left:
			return nil
		case began.IsZero():
			began = time.Now()
			db.writer.log.Info("tags of twins from an earlier release are being indexed; a million take about a minute")
		}
	}
}

// hashSome makes the hashes of some twins and reports whether any are left.
func hashSome(c *conn) (left bool, err error) {
	var done, last int64
	err = c.query("SELECT done, last FROM tags_unhashed", func(r row) error {
		done, last, left = r.int(0), r.int(1), true
		return nil
	})
	if err != nil || !left {
		return false, err
	}
	type unhashed struct {
		twin int64
		id   causeway.Identity
		tags []byte
	}
	var twins []unhashed
	err = c.query(selectUnhashed, func(r row) error {
		twins = append(twins, unhashed{r.int(0), causeway.Identity{Hub: r.text(1), Device: r.text(2), Module: r.text(3)}, r.blob(4)})
		return nil
	}, done, last, int64(hashChunk))
	if err != nil {
		return false, err
	}
	if len(twins) == 0 {
		_, err := c.exec("DELETE FROM tags_unhashed")
		return false, err
	}
	for _, t := range twins {
		if err := hashTags(c, t.twin, t.id, t.tags); err != nil {
			return false, err
		}
	}
	_, err = c.exec("UPDATE tags_unhashed SET done = ?", twins[len(twins)-1].twin)
	return true, err
}
