package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/c2d/c2dtest"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
)

// TestDeleteHub deletes a hub with more identities than fit one transaction,
// and another whose deletion a crash interrupts.
func TestDeleteHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	ctx := t.Context()
	for _, name := range []string{"plant", "depot"} {
		if err := db.Directory().PutHub(ctx, directorytest.Hub(name)); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, db.Registry(), 700)
	depot := causeway.Identity{Hub: "depot", Device: device(0).Device}
	if err := db.Registry().Create(ctx, record(depot)); err != nil {
		t.Fatal(err)
	}
	if err := db.Directory().DeleteHub(ctx, "plant"); err != nil {
		t.Fatal(err)
	}
	check := func(db *sqlite.DB, hub string, want int) {
		t.Helper()
		if n, err := db.Registry().Count(ctx, hub); err != nil || n.Total != want {
			t.Errorf("hub %s: %+v, %v; want %d devices", hub, n, err, want)
		}
		if recs, err := db.Registry().List(ctx, hub, "", 2000); err != nil || len(recs) != want {
			t.Errorf("hub %s lists %d devices, %v; want %d", hub, len(recs), err, want)
		}
	}
	check(db, "plant", 0)
	check(db, "depot", 1)
	hubs, err := db.Directory().Hubs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	directorytest.Equal(t, "hubs", hubs, []directory.Hub{directorytest.Hub("depot")})

	// The state that a crash after the first transaction leaves behind.
	leave := func(path string) {
		raw, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		if _, err := raw.ExecContext(ctx, "DELETE FROM hubs WHERE name = 'depot'; INSERT INTO hubs_leaving VALUES ('depot')"); err != nil {
			t.Fatal(err)
		}
	}
	crashed := crash(t, path)
	leave(crashed)
	check(openAt(t, crashed, sqlite.Options{}), "depot", 0)

	// Or: the same name is used again before a restart.
	leave(path)
	if err := db.Directory().PutHub(ctx, directorytest.Hub("depot")); err != nil {
		t.Fatal(err)
	}
	check(db, "depot", 0)
}

func TestSessions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	fill(t, db.Registry(), 2)
	s, ctx := db.Sessions(), t.Context()
	load := func(s *sqlite.SessionStore, id causeway.Identity, want []mqtt.Filter, wantOK bool) {
		t.Helper()
		got, ok, err := s.Load(ctx, id)
		if err != nil || ok != wantOK {
			t.Fatalf("Load(%v): %v, %v; want %v", id, ok, err, wantOK)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("filters (-want +got):\n%s", d)
		}
	}
	load(s, device(0), nil, false)
	filters := []mqtt.Filter{{Topic: "devices/device-00000/messages/devicebound/#", QoS: 1}, {Topic: `$iothub/methods/POST/#`}, {Topic: `é"\<&>/+`, QoS: 1}}
	for _, f := range [][]mqtt.Filter{filters[:1], filters} {
		if err := s.Save(ctx, device(0), f); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(ctx, device(1), nil); err != nil {
		t.Fatal(err)
	}
	after := openAt(t, crash(t, path), sqlite.Options{}).Sessions()
	load(after, device(0), filters, true)
	load(after, device(1), []mqtt.Filter{}, true)

	for range 2 { // dropping nothing is no error
		if err := s.Drop(ctx, device(0)); err != nil {
			t.Fatal(err)
		}
	}
	load(s, device(0), nil, false)
	load(s, device(1), []mqtt.Filter{}, true)

	if got := causeway.CodeOf(s.Save(ctx, device(7), nil)); got != causeway.DeviceNotFound {
		t.Errorf("session of an unregistered device: code %v", got)
	}
	module := device(1)
	module.Module = "vision"
	if got := causeway.CodeOf(s.Save(ctx, module, nil)); got != causeway.ModuleNotFound {
		t.Errorf("session of an unregistered module: code %v", got)
	}
}

// TestDeleteTakesEverything deletes a device that owns rows in every table.
func TestDeleteTakesEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path, sqlite.Options{})
	ctx := t.Context()
	fill(t, db.Registry(), 2)
	owner, module := device(0), device(0)
	module.Module = "vision"
	if err := db.Registry().Create(ctx, record(module)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []causeway.Identity{owner, module, device(1)} {
		if err := db.Sessions().Save(ctx, id, nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := db.Commands().Push(ctx, id, c2d.Item{Message: c2dtest.Message(1), Expires: time.Now()}, 50); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := db.Commands().Index(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		fb := c2d.Feedback{Device: id.Device, Module: id.Module, Status: c2d.Success, Time: time.Now()}
		if _, err := db.Commands().Remove(ctx, id, c2d.End{Seq: entries[0].Seq, Feedback: &fb}); err != nil {
			t.Fatal(err)
		}
	}
	tables := []string{"identities", "twins", "commands", "feedback", "sessions"}
	for id, want := range map[causeway.Identity]int{owner: 2, device(1): 1} {
		for _, table := range tables {
			if n := rows(t, path, table, id.Device); n != want {
				t.Errorf("before: %s has %d rows of %s, want %d", table, n, id, want)
			}
		}
	}
	if err := db.Registry().Delete(ctx, owner, "*"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, path, "SELECT count(*) FROM twins_desired WHERE twin NOT IN (SELECT id FROM twins)"); n != 0 {
		t.Errorf("after: %d halves of twins are left", n)
	}
	for id, want := range map[causeway.Identity]int{owner: 0, device(1): 1} {
		for _, table := range tables {
			if n := rows(t, path, table, id.Device); n != want {
				t.Errorf("after: %s has %d rows of %s, want %d", table, n, id, want)
			}
		}
	}
	if n, err := db.Registry().Count(ctx, owner.Hub); err != nil || n.Total != 1 || n.Enabled != 1 {
		t.Errorf("Count: %+v, %v", n, err)
	}
}

// rows counts the rows of a device in a table.
func rows(t *testing.T, path, table, device string) int {
	t.Helper()
	return count(t, path, "SELECT count(*) FROM "+table+" WHERE device = ?", device)
}

// count returns the number that a query finds, on a connection of its own.
func count(t *testing.T, path, query string, args ...any) (n int) {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHalvesOfTwin changes one part of a twin at a time: it is kept in two rows,
// of which one is only written when it differs.
func TestHalvesOfTwin(t *testing.T) {
	db := open(t)
	s := db.Registry()
	fill(t, s, 2)
	want := twin(1)
	for name, change := range map[string]func(tw *registry.Twin){
		"tags":              func(tw *registry.Twin) { tw.Tags = []byte(`{"a":1}`) },
		"no tags":           func(tw *registry.Twin) { tw.Tags = nil },
		"desired":           func(tw *registry.Twin) { tw.Desired.Properties = []byte(`{"d":1}`) },
		"desired metadata":  func(tw *registry.Twin) { tw.Desired.Metadata = []byte(`{"dm":1}`) },
		"desired version":   func(tw *registry.Twin) { tw.Desired.Version += 3 },
		"reported":          func(tw *registry.Twin) { tw.Reported.Properties = []byte(`{"r":1}`) },
		"reported metadata": func(tw *registry.Twin) { tw.Reported.Metadata = []byte(`{"rm":1}`) },
		"reported version":  func(tw *registry.Twin) { tw.Reported.Version += 5 },
		"etag":              func(tw *registry.Twin) { tw.ETag += 7 },
		"model":             func(tw *registry.Twin) { tw.ModelID = "dtmi:example:press;1" },
		"nothing":           func(*registry.Twin) {},
	} {
		before := want
		change(&want)
		want.Version++
		if err := s.PutTwin(t.Context(), device(0), want, before.Version+1); causeway.CodeOf(err) != causeway.PreconditionFailed {
			t.Errorf("%s: a wrong version: %v", name, err)
		}
		got := func() registry.Twin {
			rec, err := s.Get(t.Context(), device(0))
			if err != nil {
				t.Fatal(err)
			}
			return rec.Twin
		}
		if d := cmp.Diff(before, got()); d != "" {
			t.Fatalf("%s: a refused change left traces (-want +got):\n%s", name, d)
		}
		if err := s.PutTwin(t.Context(), device(0), want, before.Version); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got()); d != "" {
			t.Fatalf("%s (-want +got):\n%s", name, d)
		}
	}
	if rec, err := s.Get(t.Context(), device(1)); err != nil || !cmp.Equal(rec.Twin, twin(1)) {
		t.Errorf("another twin changed: %+v, %v", rec.Twin, err)
	}
}

func TestTooManyDevices(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"), sqlite.Options{MaxIdentities: 3})
	s := db.Registry()
	fill(t, s, 3)
	if got := causeway.CodeOf(s.Create(t.Context(), record(device(3)))); got != causeway.TooManyDevices {
		t.Errorf("code %v", got)
	}
	if err := s.Create(t.Context(), record(causeway.Identity{Hub: "depot", Device: "d"})); err != nil {
		t.Errorf("another hub is full too: %v", err)
	}
	if err := s.Delete(t.Context(), device(1), "*"); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), record(device(3))); err != nil {
		t.Errorf("no room after a deletion: %v", err)
	}
}
