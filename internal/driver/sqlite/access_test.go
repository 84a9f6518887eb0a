package sqlite

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// TestAccess: conditions on the hot paths are answered from an index, in the
// order of ids without sorting, whatever else the query reads.
func TestAccess(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "state.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	var recs []registry.Record
	for i := range 10 { // one of them disabled
		recs = append(recs, registry.Record{ID: causeway.Identity{Hub: "plant", Device: fmt.Sprint("d", i)}, Enabled: i > 0, Twin: registry.Twin{Tags: []byte(`{"a":1}`)}})
	}
	if err := db.Registry().Create(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	const devices, modules = "", "FROM devices.modules WHERE "
	for _, x := range []struct {
		from, where string
		want        string // of the plan's first table
	}{
		{devices, "deviceId = 'd1'", "PRIMARY KEY (hub=? AND device=? AND module=?)"},
		{devices, "deviceId IN ['d1', 'd2'] AND tags.a = 1", "PRIMARY KEY (hub=? AND device=? AND module=?)"},
		{devices, "STARTSWITH(deviceId, 'd')", "PRIMARY KEY (hub=? AND device>? AND device<?)"},
		{devices, "tags.a = 1 AND status = 'disabled'", "SEARCH h USING PRIMARY KEY (hash=?)"},
		{devices, "tags.b.c = 'x' AND properties.reported.a > 1", "SEARCH h USING PRIMARY KEY (hash=?)"},
		{devices, "status = 'disabled'", "INDEX identities_status (hub=? AND enabled=?)"},
		{devices, "status = 'enabled'", "PRIMARY KEY (hub=?)"}, // nearly all of them
		{devices, "capabilities.iotEdge = true", "INDEX identities_edge (hub=?)"},
		{devices, "configurations.[[c]].status = 'Applied'", "COVERING INDEX configured_status (hub=? AND configuration=? AND status=?)"},
		{devices, "configurations.[[c]].status IN ['Applied', 'Targeted']", "INDEX configured_identities (hub=? AND configuration=?)"},
		{devices, "IS_DEFINED(configurations.[[c]])", "INDEX configured_identities (hub=? AND configuration=?)"},
		{devices, "properties.reported.a = 1", "PRIMARY KEY (hub=?)"},
		{modules, "moduleId = 'm'", "INDEX identities_module (hub=? AND module=?)"},
		{modules, "moduleId = '$edgeAgent' AND configurations.[[c]].status = 'Applied'", "COVERING INDEX configured_status (hub=? AND configuration=? AND status=?)"},
		{modules, "deviceId = 'd1'", "INDEX identities_modules (hub=? AND device=?)"},
		{modules, "tags.a = 1", "SEARCH h USING PRIMARY KEY (hash=?)"},
		{modules, "properties.reported.a = 1", "INDEX identities_modules (hub=?)"},
	} {
		cond, err := hubquery.ParseCondition(x.from + x.where)
		if err != nil {
			t.Fatal(err)
		}
		for _, parts := range []registry.Parts{0, registry.PartIdentity, registry.PartReported, registry.PartIdentity | registry.PartTags, registry.AllParts} {
			for _, after := range []causeway.Identity{{}, {Device: "d3", Module: "m"}} {
				sel := registry.Selection{Hub: "plant", Modules: x.from == modules, Where: cond.Conjuncts(), After: after}
				if !sel.Modules {
					sel.After.Module = ""
				}
				var plan []string
				_, err := read(t.Context(), db, "test", func(c *conn) (int, error) {
					a, err := bestAccess(c, &sel)
					if err != nil {
						return 0, err
					}
					text, args, _ := a.statement(&sel, parts)
					return 0, c.once("EXPLAIN QUERY PLAN "+text, func(r row) error {
						plan = append(plan, r.text(3))
						return nil
					}, args...)
				})
				if err != nil {
					t.Fatalf("%s: %v", x.where, err)
				}
				all := strings.Join(plan, "; ")
				want := x.want
				if after.Device != "" || parts == registry.PartReported { // the key goes on, or the table is another
					want = strings.TrimSuffix(want, ")")
					if strings.HasPrefix(want, "PRIMARY KEY") {
						want = "(hub=?"
					}
				}
				if !strings.Contains(plan[0], want) || strings.Contains(all, "TEMP B-TREE") || strings.Contains(all, "SCAN t") || strings.Contains(all, "SCAN i") {
					t.Errorf("%s%s, parts %b, after %q: %s; want %s", x.from, x.where, parts, after.Device, all, want)
				}
			}
		}
	}
}

// TestHashing: twins from before there were hashes get them when the database
// is opened, also when that was begun and not ended.
func TestHashing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var recs []registry.Record
	for i := range 3*hashChunk + 1 {
		recs = append(recs, registry.Record{ID: causeway.Identity{Hub: "plant", Device: fmt.Sprint("d", i)}, Twin: registry.Twin{Tags: fmt.Appendf(nil, `{"n":%d,"o":{"p":"x","q":[1]}}`, i)}})
	}
	if err := db.Registry().Create(t.Context(), recs...); err != nil {
		t.Fatal(err)
	}
	hashes := func() (n, sum int64) {
		t.Helper()
		_, err := read(t.Context(), db, "test", func(c *conn) (int, error) {
			return 0, c.query("SELECT count(*), total(hash % 1000003) FROM tag_hashes", func(r row) error {
				f, _ := r[1].(float64)
				n, sum = r.int(0), int64(f)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, sum
	}
	wantN, wantSum := hashes()
	if wantN != int64(2*len(recs)) {
		t.Fatalf("%d hashes of %d twins with two values each", wantN, len(recs))
	}
	err = exec(t.Context(), db, "test", 0, func(c *conn) error {
		for _, text := range []string{
			"DELETE FROM tag_hashes WHERE twin > 100",
			"INSERT INTO tags_unhashed SELECT 50, max(id) FROM twins",
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
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if db, err = Open(t.Context(), path, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); strings.Count(s, "are being indexed") != 1 || strings.Count(s, "tags are indexed") != 1 {
		t.Errorf("the log says %s", s)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n, sum := hashes(); n != wantN || sum != wantSum {
		t.Errorf("%d hashes with the sum %d, want %d and %d", n, sum, wantN, wantSum)
	}
	left, err := read(t.Context(), db, "test", func(c *conn) (int64, error) {
		n, _, err := c.number("SELECT count(*) FROM tags_unhashed")
		return n, err
	})
	if err != nil || left != 0 {
		t.Errorf("%d still to do, %v", left, err)
	}
}

// TestTagHash: hashes are written down, so they must stay what they are.
func TestTagHash(t *testing.T) {
	for _, x := range []struct {
		modules bool
		names   []string
		v       hubquery.Value
		want    int64
	}{
		{false, []string{"a"}, hubquery.Number(1), 1932958685255615760},
		{false, []string{"a"}, hubquery.Number(0), -5120671157054038433},
		{false, []string{"a"}, hubquery.Number(math.Copysign(0, -1)), -5120671157054038433},
		{true, []string{"a"}, hubquery.Text("1"), -8880101922243865352},
		{false, []string{"a", "b"}, hubquery.Bool(true), 8998724531607810489},
	} {
		if got := tagHash("plant", x.modules, x.names, x.v); got != x.want {
			t.Errorf("%v %v %s: %d, want %d", x.modules, x.names, x.v, got, x.want)
		}
	}
}

// TestUpgrade: a database from before there were queries answers them after it
// is opened.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := create(path); err != nil {
		t.Fatal(err)
	}
	c, err := dial(t.Context(), path, nil, "journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	if err := apply(c, []string{"migrations/0001_state.sql", "migrations/0002_outbox.sql", "migrations/0003_configurations.sql"}); err != nil {
		t.Fatal(err)
	}
	id := causeway.Identity{Hub: "plant", Device: "old"}
	r := registry.Record{ID: id, Enabled: true, Edge: true, Twin: registry.Twin{Tags: []byte(`{"site":{"name":"x"}}`)}}
	if _, err := c.exec(insertIdentity, append(append([]any{id.Hub, id.Device, id.Module}, identityArgs(&r)...), int64(0), int64(0), int64(0))...); err != nil {
		t.Fatal(err)
	}
	rows := newTwinRows(id, &r.Twin)
	if _, err := c.exec(insertTwin, rows.key()...); err != nil {
		t.Fatal(err)
	}
	if _, err := c.exec(insertDesired, rows.desired[:]...); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}

	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	for where, want := range map[string]int{
		"tags.site.name = 'x'": 1, "tags.site.name = 'y'": 0, "capabilities.iotEdge": 1, "deviceId = 'old'": 1, "IS_DEFINED(configurations.[[c]])": 0,
	} {
		cond, err := hubquery.ParseCondition(where)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if err := db.Registry().Query(t.Context(), registry.Selection{Hub: "plant", Where: cond.Conjuncts()}, func(*registry.Record) error { n++; return nil }); err != nil || n != want {
			t.Errorf("%s finds %d (%v), want %d", where, n, err, want)
		}
	}
}
