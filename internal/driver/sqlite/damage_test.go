package sqlite_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
	"github.com/causeway-iot/causeway/internal/testkit/output"
	"github.com/causeway-iot/causeway/internal/testkit/suitetest"
)

// TestDamagedRows: of every list one row cannot be read. It is left out, or shown
// as damaged, and told of once; pages are full all the same, and what is damaged
// can be replaced or deleted.
func TestDamagedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	ctx, now := t.Context(), time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	db := openAt(t, path, sqlite.Options{})
	must := func(err error) { t.Helper(); suitetest.Must(t, err) }
	ids := []string{"a", "b", "c", "d"} // b is damaged
	for _, name := range ids {
		must(db.Directory().PutHub(ctx, directorytest.Hub(name)))
		must(db.Provisioning().PutInstance(ctx, dps.Instance{Name: name, IDScope: "0ne" + name}))
	}
	const hub = "a"
	dev := func(id string) causeway.Identity { return causeway.Identity{Hub: hub, Device: id} }
	for i, id := range ids {
		r := record(dev(id))
		r.ParentScopes = []string{"scope-" + id}
		must(db.Registry().Create(ctx, r))
		must(db.Registry().SetConfigurations(ctx, registry.ConfigurationChange{ID: dev(id), Configuration: "conf", Status: "Applied"}))
		must(db.Deployments().PutConfiguration(ctx, deploy.Stored{Hub: hub, Configuration: deploy.Configuration{
			ID: id, Created: now, Updated: now, ETag: "etag", Priority: 7, TargetCondition: "*", Content: []byte(`{"deviceContent":{"properties.desired.a":1}}`),
		}}))
		must(db.Deployments().PutTrace(ctx, deploy.Trace{ID: dev(id), Own: []string{"a"}}))
		must(db.Jobs().Create(ctx, job.Job{
			Hub: hub, ID: id, Type: job.UpdateTwin, Condition: "*", Created: now.Add(time.Duration(i) * time.Second), Start: now,
			Twin: job.Twin{Tags: []byte(`{"a":1}`)}, State: job.State{Status: job.Queued},
		}))
		must(db.Transfers().Create(ctx, transfer.Job{Hub: id, ID: id, Type: transfer.Export, Created: now, State: transfer.State{Status: transfer.Enqueued}}))
		must(db.Sessions().Save(ctx, dev(id), []mqtt.Filter{{Topic: "t", QoS: 1}}))
		for _, group := range []bool{false, true} {
			must(db.Provisioning().PutEnrollment(ctx, "a", dpstest.Enrollment(id, group), ""))
		}
		must(db.Provisioning().PutRegistration(ctx, "a", dps.Registration{ID: id, Group: "g", Status: dps.Assigning, ETag: "etag", Created: now, Updated: now}, "",
			dps.Decision{Registration: id, At: now}))
		must(db.Provisioning().PutIssued(ctx, "a", dps.Issued{Serial: id, Registration: "r", NotAfter: now}))
		must(db.Provisioning().PutRevocations(ctx, "a", "", []dps.Revocation{{ID: id, At: now}}))
	}
	must(db.Deployments().End(ctx, deploy.Ending{Clean: true, Waiting: []causeway.Identity{dev("a")}}))
	must(db.Close())

	raw, err := sql.Open("sqlite", path)
	must(err)
	for _, text := range []string{
		`UPDATE hubs SET document = '[1]' WHERE name = 'b'`,
		`UPDATE dps_services SET document = '[1]' WHERE name = 'b'`,
		`UPDATE identities SET parent_scopes = '{"a":1}', configurations = '[1]' WHERE device = 'b'`,
		`UPDATE deployments SET document = '{"priority":"high"}' WHERE id = 'b'`,
		`UPDATE deployment_traces SET own = '{}' WHERE device = 'b'`,
		`UPDATE deployment_work SET waiting = '['`,
		`UPDATE jobs SET document = '[1]' WHERE id = 'b'`,
		`UPDATE transfers SET document = '[1]' WHERE id = 'b'`,
		`UPDATE sessions SET filters = '[[1]]' WHERE device = 'b'`,
		`UPDATE dps_enrollments SET document = '[1]' WHERE id = 'b'`,
		`UPDATE dps_registrations SET document = '{' WHERE id = 'b'`,
		`UPDATE dps_issued SET document = '[1]' WHERE serial = 'b'`,
		`UPDATE dps_revocations SET document = '[1]' WHERE id = 'b'`,
		`UPDATE dps_decisions SET document = '[1]' WHERE registration = 'b'`,
	} {
		res, err := raw.ExecContext(ctx, text)
		must(err)
		if n, err := res.RowsAffected(); n < 1 || err != nil {
			t.Fatalf("%s: %d rows, %v", text, n, err)
		}
	}
	must(raw.Close())

	log := &output.Buffer{}
	db = openAt(t, path, sqlite.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	same := func(what string, err error, got []string, want ...string) {
		t.Helper()
		must(err)
		suitetest.Same(t, what, got, want)
	}
	for range 2 { // told of once
		hubs, err := db.Directory().Hubs(ctx)
		same("hubs", err, names(hubs, func(i int) string { return fmt.Sprint(hubs[i].Name, hubs[i].Damaged != nil) }), "afalse", "btrue", "cfalse", "dfalse")
		services, err := db.Provisioning().Instances(ctx)
		same("services", err, names(services, func(i int) string { return fmt.Sprint(services[i].Name, services[i].Damaged != nil) }), "afalse", "btrue", "cfalse", "dfalse")
		recs, err := db.Registry().List(ctx, hub, "", 10)
		same("devices", err, names(recs, func(i int) string {
			return fmt.Sprint(recs[i].ID.Device, len(recs[i].ParentScopes), len(recs[i].Configurations))
		}), "a1 1", "b0 0", "c1 1", "d1 1")
		var found []string
		err = db.Registry().Query(ctx, registry.Selection{Hub: hub, Need: registry.AllParts}, func(r *registry.Record) error {
			found = append(found, fmt.Sprint(r.ID.Device, len(r.ParentScopes), len(r.Configurations), len(r.Twin.Tags) > 0))
			return nil
		})
		same("found devices", err, found, "a1 1 true", "b0 0 true", "c1 1 true", "d1 1 true")
		configs, err := db.Deployments().Configurations(ctx)
		same("configurations", err, names(configs, func(i int) string {
			return fmt.Sprint(configs[i].ID, configs[i].Priority, configs[i].Damaged != nil, configs[i].ETag)
		}), "a7 falseetag", "b0 trueetag", "c7 falseetag", "d7 falseetag")
		trace, err := db.Deployments().Trace(ctx, dev("b"))
		same("trace", err, trace.Own)
		for what, list := range map[string]func() ([]job.Job, error){
			"unsettled jobs": func() ([]job.Job, error) { return db.Jobs().Unsettled(ctx) },
			"jobs":           func() ([]job.Job, error) { return db.Jobs().List(ctx, hub, job.Filter{}, job.Cursor{}, 10) },
		} {
			jobs, err := list()
			must(err)
			for _, j := range jobs {
				if (j.Damaged != nil) != (j.ID == "b") || j.Type != job.UpdateTwin || (j.Twin.Tags == nil) != (j.ID == "b") {
					t.Errorf("%s: %+v", what, j)
				}
			}
			if len(jobs) != 4 {
				t.Errorf("%d %s", len(jobs), what)
			}
		}
		transfers, err := db.Transfers().Unfinished(ctx)
		same("transfers", err, names(transfers, func(i int) string { return fmt.Sprint(transfers[i].ID, transfers[i].Type, transfers[i].Damaged != nil) }),
			"aexportfalse", "bunknowntrue", "cexportfalse", "dexportfalse")
		for _, id := range ids {
			_, ok, err := db.Sessions().Load(ctx, dev(id))
			if must(err); ok == (id == "b") {
				t.Errorf("session of %s: %v", id, ok)
			}
		}
		p := db.Provisioning()
		for _, group := range []bool{false, true} {
			list, err := p.Enrollments(ctx, "a", group, "", 2)
			same("enrollments", err, names(list, func(i int) string { return list[i].ID }), "a", "c")
			list, err = p.Enrollments(ctx, "a", group, "c", 2)
			same("the next enrollments", err, names(list, func(i int) string { return list[i].ID }), "d")
		}
		for what, list := range map[string]func() ([]dps.Registration, error){
			"registrations": func() ([]dps.Registration, error) { return p.Registrations(ctx, "a", "g", "", 2) },
			"pending ones":  func() ([]dps.Registration, error) { return p.Pending(ctx, "a", "", 2) },
		} {
			regs, err := list()
			same(what, err, names(regs, func(i int) string { return regs[i].ID }), "a", "c")
		}
		for _, of := range []string{"", "r"} {
			certs, err := p.IssuedTo(ctx, "a", of, "", 2)
			same("certificates", err, names(certs, func(i int) string { return certs[i].Serial }), "a", "c")
		}
		revoked, err := p.Revocations(ctx, "a", "", 10)
		same("revocations", err, names(revoked, func(i int) string { return revoked[i].ID }), ids...)
		decisions, err := p.Decisions(ctx, "a", dps.DecisionQuery{Ascending: true, Limit: 2})
		same("decisions", err, names(decisions, func(i int) string { return decisions[i].Registration }), "a", "c")
	}
	if n := strings.Count(log.String(), "registration b of a"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log)
	}
	end, err := db.Deployments().Begin(ctx)
	if must(err); end.Clean || len(end.Waiting) != 0 {
		t.Errorf("how work ended: %+v", end)
	}

	// Replaced, or deleted.
	must(db.Provisioning().PutEnrollment(ctx, "a", dpstest.Enrollment("b", true), "*"))
	must(db.Provisioning().DeleteEnrollment(ctx, "a", false, "b", "*"))
	must(db.Provisioning().PutRegistration(ctx, "a", dps.Registration{ID: "b", Group: "g", ETag: "next", Created: now, Updated: now}, "*"))
	groups, err := db.Provisioning().Enrollments(ctx, "a", true, "", 10)
	same("groups", err, names(groups, func(i int) string { return groups[i].ID }), ids...)
	regs, err := db.Provisioning().Registrations(ctx, "a", "g", "", 10)
	same("registrations", err, names(regs, func(i int) string { return regs[i].ID }), ids...)
	must(db.Provisioning().DeleteInstance(ctx, "b"))
	must(db.Directory().DeleteHub(ctx, "b"))
}

func names[T any](list []T, name func(i int) string) []string {
	var all []string
	for i := range list {
		all = append(all, name(i))
	}
	return all
}
