package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// recordFeedback makes outcomes of messages as they come to be: with the end of
// the message they are of.
func recordFeedback(t *testing.T, db *sqlite.DB, hub string, records ...outbox.FeedbackRecord) {
	t.Helper()
	for _, r := range records {
		id := causeway.Identity{Hub: hub, Device: r.DeviceID, Module: r.ModuleID}
		for _, id := range []causeway.Identity{id.Parent(), id} {
			if err := db.Registry().Create(t.Context(), record(id)); err != nil && causeway.CodeOf(err) != causeway.DeviceAlreadyExists && causeway.CodeOf(err) != causeway.ModuleAlreadyExistsOnDevice {
				t.Fatal(err)
			}
		}
		seq, err := db.Commands().Push(t.Context(), id, c2d.Item{Message: c2dtest.Message(1), Expires: r.Time}, 50)
		if err != nil {
			t.Fatal(err)
		}
		f := c2d.Feedback{
			OriginalMessageID: r.OriginalMessageID, Device: r.DeviceID, Module: r.ModuleID, GenerationID: r.GenerationID, Status: r.Status, Time: r.Time,
		}
		if n, err := db.Commands().Remove(t.Context(), id, c2d.End{Seq: seq, Feedback: &f}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
}

func openWithHubs(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db := openAt(t, path, sqlite.Options{})
	for _, name := range []string{"plant", "depot"} {
		if err := db.Directory().PutHub(t.Context(), directorytest.Hub(name)); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func TestOutboxContract(t *testing.T) {
	outboxtest.Run(t, func(t *testing.T) outboxtest.Fixture {
		db := openWithHubs(t, filepath.Join(t.TempDir(), "state.db"))
		return outboxtest.Fixture{
			Store:  db.Outbox(),
			Record: func(hub string, records ...outbox.FeedbackRecord) { recordFeedback(t, db, hub, records...) },
			Delete: func(id causeway.Identity) {
				if err := db.Registry().Delete(t.Context(), id, "*"); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// state is what a store holds of the hub plant.
func state(t *testing.T, s outbox.Store) (items [2][]outbox.Item, records []outbox.FeedbackRecord, files []outbox.FileNotification, pending []outbox.Pending) {
	t.Helper()
	for _, k := range []outbox.Kind{outbox.Feedback, outbox.FileNotifications} {
		all, err := s.Index(t.Context(), "plant", k, 0, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		items[k] = all
		for _, it := range all {
			if k == outbox.Feedback {
				some, err := s.Records(t.Context(), "plant", it.Seq)
				if err != nil {
					t.Fatal(err)
				}
				records = append(records, some...)
			} else {
				n, ok, err := s.File(t.Context(), "plant", it.Seq)
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				files = append(files, n)
			}
		}
	}
	pending, err := s.Pending(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	return items, records, files, pending
}

// TestOutboxDurable looks at what is left after a crash.
func TestOutboxDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openWithHubs(t, path)
	s, now := db.Outbox(), time.Now().UTC().Truncate(time.Microsecond)
	it := outbox.Item{ID: "m", Enqueued: now, Expires: now.Add(time.Hour)}
	recordFeedback(t, db, "plant", outboxtest.Records(7)...)
	for range 2 {
		if seq, _, err := s.Gather(t.Context(), "plant", it, 3, time.Time{}); seq == 0 || err != nil {
			t.Fatal(seq, err)
		}
	}
	for i := range 3 {
		if _, err := s.Add(t.Context(), "plant", it, outboxtest.File(i)); err != nil {
			t.Fatal(err)
		}
	}
	items, _, _, _ := state(t, s)
	if err := s.SetDeliveryCount(t.Context(), "plant", outbox.Feedback, items[outbox.Feedback][1].Seq, 3); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Remove(t.Context(), "plant", outbox.Feedback, items[outbox.Feedback][0].Seq); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := s.Remove(t.Context(), "plant", outbox.FileNotifications, items[outbox.FileNotifications][1].Seq); !ok || err != nil {
		t.Fatal(ok, err)
	}
	type whole struct {
		Items   [2][]outbox.Item
		Records []outbox.FeedbackRecord
		Files   []outbox.FileNotification
		Pending []outbox.Pending
	}
	var before, after whole
	before.Items, before.Records, before.Files, before.Pending = state(t, s)
	if len(before.Records) != 3 || len(before.Files) != 2 || len(before.Pending) != 1 || before.Items[outbox.Feedback][0].DeliveryCount != 3 {
		t.Fatalf("before: %+v", before)
	}
	after.Items, after.Records, after.Files, after.Pending = state(t, openAt(t, crash(t, path), sqlite.Options{}).Outbox())
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("after a crash (-want +got):\n%s", d)
	}
}

// TestDeleteHubTakesOutbox deletes a hub with messages, more than fit one
// transaction; those of another stay.
func TestDeleteHubTakesOutbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openWithHubs(t, path)
	s, now := db.Outbox(), time.Now()
	it := outbox.Item{ID: "m", Enqueued: now, Expires: now.Add(time.Hour)}
	for _, hub := range []string{"plant", "depot"} {
		recordFeedback(t, db, hub, outboxtest.Records(5)...)
		if seq, _, err := s.Gather(t.Context(), hub, it, 3, time.Time{}); seq == 0 || err != nil {
			t.Fatal(seq, err)
		}
		if _, err := s.Add(t.Context(), hub, it, outboxtest.File(1)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
		INSERT INTO outbox (hub, kind, message_id, enqueued, expires, deliveries, content) SELECT 'plant', 'file', i, 1, 2, 0, '{}' FROM n`); err != nil {
		t.Fatal(err)
	}
	if err := db.Directory().DeleteHub(t.Context(), "plant"); err != nil {
		t.Fatal(err)
	}
	for hub, want := range map[string][2]int{"plant": {0, 0}, "depot": {2, 5}} {
		if n := count(t, path, "SELECT count(*) FROM outbox WHERE hub = ?", hub); n != want[0] {
			t.Errorf("hub %s has %d messages, want %d", hub, n, want[0])
		}
		if n := count(t, path, "SELECT count(*) FROM feedback WHERE hub = ?", hub); n != want[1] {
			t.Errorf("hub %s has %d records of feedback, want %d", hub, n, want[1])
		}
	}
	if _, err := s.Add(t.Context(), "plant", it, outboxtest.File(1)); causeway.CodeOf(err) != causeway.GenericNotFound {
		t.Errorf("a notification of a deleted hub: %v", err)
	}
}

// TestFirstSchema opens a database of the first schema with feedback in it.
func TestFirstSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile("migrations/0001_state.sql")
	if err != nil {
		t.Fatal(err)
	}
	identity := `INSERT INTO identities VALUES ('plant', 'press-1', '', '', '', 1, '', 0, 0, '', '', '', '', '', 0, '', '[]', '', 0, 0, 0);`
	feedback := `INSERT INTO feedback (hub, device, module, message_id, generation, status, time, expires) VALUES ('plant', 'press-1', '', 'id-0', 'g', 'Success', 1000000000, 2000000000);`
	for _, text := range []string{string(schema), identity, strings.Repeat(feedback, 3), "PRAGMA application_id=1129791833; PRAGMA user_version=1"} {
		if _, err := raw.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path, sqlite.Options{}).Outbox()
	seq, left, err := s.Gather(t.Context(), "plant", outbox.Item{ID: "m", Expires: time.Now().Add(time.Hour)}, 64, time.Now())
	if err != nil || left.Count != 0 {
		t.Fatal(left, err)
	}
	got, err := s.Records(t.Context(), "plant", seq)
	if err != nil {
		t.Fatal(err)
	}
	want := outbox.FeedbackRecord{OriginalMessageID: "id-0", Time: time.Unix(1, 0).UTC(), Status: c2d.Success, DeviceID: "press-1", GenerationID: "g"}
	if d := cmp.Diff([]outbox.FeedbackRecord{want, want, want}, got); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
}

// feedbackOf reads the feedback of a hub on a connection of its own.
func feedbackOf(t *testing.T, path, hub string) (all []c2d.Feedback) {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	rows, err := raw.QueryContext(t.Context(), "SELECT message_id, device, module, generation, status, time FROM feedback WHERE hub = ? ORDER BY position", hub)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var f c2d.Feedback
		var nanos int64
		if err := rows.Scan(&f.OriginalMessageID, &f.Device, &f.Module, &f.GenerationID, &f.Status, &nanos); err != nil {
			t.Fatal(err)
		}
		f.Time = time.Unix(0, nanos).UTC()
		all = append(all, f)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
