package sqlite

import (
	"path/filepath"
	"testing"
)

// TestSettings reads back what durability and integrity stand on: SQLite takes
// a setting it does not know, or cannot make, without a word.
func TestSettings(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	// The writer is idle: nothing was handed to it.
	for pragma, want := range map[string]int64{
		"synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": checkpointPages, "journal_size_limit": walKept,
		"busy_timeout": busyTimeout.Milliseconds(), "application_id": applicationID,
	} {
		if got, ok, err := db.writer.conn.number("PRAGMA " + pragma); got != want || !ok || err != nil {
			t.Errorf("writer: %s is %d (%v, %v), want %d", pragma, got, ok, err, want)
		}
	}
	mode := ""
	if err := db.writer.conn.query("PRAGMA journal_mode", func(r row) error { mode = r.text(0); return nil }); err != nil || mode != "wal" {
		t.Errorf("journal mode is %q, %v", mode, err)
	}
	c, err := db.readers.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.exec("DELETE FROM identities"); err == nil {
		t.Error("a reading connection writes")
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestCountsAgree checks that the counts kept by triggers are those of the
// rows, whatever was done to these.
func TestCountsAgree(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	insert := `INSERT INTO identities VALUES (?, ?, ?, '', '', ?, '', 0, 0, 'sas', '', '', '', '', 0, '', '[]', '', 0, 0, 0, '{}')`
	err = exec(t.Context(), db, "test", 0, func(c *conn) error {
		for i, id := range [][3]string{{"a", "1", ""}, {"a", "1", "m"}, {"a", "2", ""}, {"a", "3", ""}, {"b", "1", ""}} {
			if _, err := c.exec(insert, id[0], id[1], id[2], int64(i%2)); err != nil {
				return err
			}
		}
		for _, text := range []string{
			"UPDATE identities SET enabled = 1 - enabled WHERE device = '1'",
			"UPDATE identities SET enabled = enabled",
			"DELETE FROM identities WHERE device = '3'",
		} {
			if _, err := c.exec(text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	agree, err := read(t.Context(), db, "test", func(c *conn) (int64, error) {
		n, _, err := c.number(`SELECT count(*) FROM registry_counts c JOIN (SELECT hub, count(*) AS n, sum(module = '') AS d, sum(module = '' AND enabled) AS e
			FROM identities GROUP BY hub) i ON i.hub = c.hub WHERE c.identities = i.n AND c.devices = i.d AND c.enabled = i.e`)
		return n, err
	})
	if err != nil || agree != 2 {
		t.Errorf("the counts of %d hubs agree with their rows, want 2 (%v)", agree, err)
	}
}
