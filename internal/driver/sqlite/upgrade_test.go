package sqlite

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/envelope"
)

// TestUpgradeFromEach: a database of every schema there has been, with what a hub
// had in it then, is opened and has all of it.
func TestUpgradeFromEach(t *testing.T) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(files)
	for version := 1; version <= len(files); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			old, err := dial(t.Context(), path, nil, "journal_mode=WAL", "foreign_keys=ON")
			if err != nil {
				t.Fatal(err)
			}
			if err := apply(old, files[:version]); err != nil {
				t.Fatal(err)
			}
			exec := func(text string, args ...any) {
				t.Helper()
				if _, err := old.exec(text, args...); err != nil {
					t.Fatal(err)
				}
			}
			created := time.Unix(1e9, 0).UTC()
			exec("INSERT INTO hubs (name, created, partitions, document) VALUES ('plant', ?, 4, '{}')", stamp(created))
			ids := []causeway.Identity{{Hub: "plant", Device: "press"}, {Hub: "plant", Device: "press", Module: "vision"}}
			for i, id := range ids {
				r := registry.Record{
					ID: id, Enabled: true, GenerationID: "g", Created: created, StatusReason: "ready",
					Twin: registry.Twin{Version: 7, ETag: 3, Tags: []byte(`{"site":"x"}`), Reported: registry.Section{Properties: []byte(`{"n":1}`), Version: 5}, Desired: registry.Section{Properties: []byte(`{"n":2}`), Version: 6}},
				}
				exec(insertIdentity, append(append([]any{id.Hub, id.Device, id.Module}, identityArgs(&r)...), int64(0), int64(0), int64(0))...)
				rows := newTwinRows(id, &r.Twin)
				exec(insertTwin, rows.key()...)
				exec(insertDesired, rows.desired[:]...)
				m := causeway.Message{ID: fmt.Sprint("m", i), Body: []byte("do it")}
				exec(pushCommand, id.Hub, id.Device, id.Module, stamp(time.Unix(1e10, 0)), int64(1), "full", m.ID, "g", envelope.Append(nil, &m), int64(50))
				exec("INSERT INTO sessions (hub, device, module, filters) VALUES (?, ?, ?, '[]')", id.Hub, id.Device, id.Module)
			}
			if err := old.close(); err != nil {
				t.Fatal(err)
			}

			for range 2 { // the second time there is nothing left to do
				db, err := Open(t.Context(), path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if hubs, err := db.Directory().Hubs(t.Context()); err != nil || len(hubs) != 1 || hubs[0].Name != "plant" || !hubs[0].Created.Equal(created) {
					t.Errorf("hubs %+v, %v", hubs, err)
				}
				for i, id := range ids {
					r, err := db.Registry().Get(t.Context(), id)
					if err != nil || !r.Enabled || r.StatusReason != "ready" || !r.Created.Equal(created) || r.Twin.Version != 7 ||
						string(r.Twin.Tags) != `{"site":"x"}` || string(r.Twin.Reported.Properties) != `{"n":1}` || r.Twin.Reported.Version != 5 || string(r.Twin.Desired.Properties) != `{"n":2}` || r.Twin.Desired.Version != 6 {
						t.Errorf("%s: %+v, %v", id, r, err)
					}
					queue, err := db.Commands().Index(t.Context(), id)
					if err != nil || len(queue) != 1 || queue[0].DeliveryCount != 1 || queue[0].MessageID != fmt.Sprint("m", i) {
						t.Fatalf("queue of %s: %+v, %v", id, queue, err)
					}
					it, ok, err := db.Commands().Item(t.Context(), id, queue[0].Seq)
					if err != nil || !ok || string(it.Message.Body) != "do it" {
						t.Errorf("message of %s: %+v, %v, %v", id, it, ok, err)
					}
				}
				if n, err := db.Registry().Count(t.Context(), "plant"); err != nil || n.Total != 1 || n.Enabled != 1 {
					t.Errorf("counts %+v, %v", n, err)
				}
				checkWhole(t, db)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// checkWhole has SQLite check a database, references included.
func checkWhole(t *testing.T, db *DB) {
	t.Helper()
	c, err := db.readers.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close() //nolint:errcheck // only read
	err = c.query("PRAGMA integrity_check", func(r row) error {
		if s := r.text(0); s != "ok" {
			t.Errorf("integrity: %s", s)
		}
		return nil
	})
	if err == nil {
		err = c.query("PRAGMA foreign_key_check", func(r row) error {
			t.Errorf("a row of %s refers to nothing in %s", r.text(0), r.text(2))
			return nil
		})
	}
	if err != nil {
		t.Error(err)
	}
}
