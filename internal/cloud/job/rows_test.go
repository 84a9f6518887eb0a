package job_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/job"
	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

type unsealed struct{}

func (unsealed) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (unsealed) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// TestQueries asks for devices.jobs in the query language.
func TestQueries(t *testing.T) {
	store := jobtest.NewMemory("plant")
	reg := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: unsealed{}})
	q := query.New(query.Options{Registry: reg})
	s := job.New(job.Options{Store: store, Selector: job.Conditions{Twins: q}, Registry: reg, Hubs: func(string) (job.Hub, bool) { return nil, false }})
	q.SetJobs(s)
	ctx := t.Context()
	for n, id := range []string{"twins", "methods"} {
		j := jobtest.Job("plant", id, n)
		if err := store.Create(ctx, j); err != nil {
			t.Fatal(err)
		}
		var ids []causeway.Identity
		for i := range 700 {
			ids = append(ids, dev(fmt.Sprintf("d%03d", i)))
		}
		if err := store.AddRows(ctx, "plant", id, j.Created, ids...); err != nil {
			t.Fatal(err)
		}
	}
	at := jobtest.Job("plant", "", 1).Created
	_, err := store.SetRows(ctx, "plant", "methods",
		job.Row{ID: dev("d001"), Status: job.RowCompleted, Started: at, Ended: at, Updated: at, Answered: true, Answer: causeway.Result{Status: 404, Payload: []byte(`{"x":["y"]}`)}},
		job.Row{ID: dev("d002"), Status: job.RowFailed, Started: at, Ended: at, Updated: at, Code: "DeviceNotOnline", Text: "away"})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"SELECT * FROM devices.jobs":                                                                                                   1400,
		"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'methods'":                                                              700,
		"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'methods' AND devices.jobs.status = 'failed'":                           1,
		"SELECT * FROM devices.jobs WHERE jobId = 'methods' AND jobId = 'twins'":                                                       0,
		"SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = 'd699' AND devices.jobs.jobType = 'scheduleUpdateTwin'":              1,
		"SELECT * FROM devices.jobs WHERE deviceId IN ['d001','d002']":                                                                 4,
		"SELECT * FROM devices.jobs WHERE devices.jobs.createdTimeUtc > '2016-09-01' AND createdDateTimeUtc < '2027'":                  1400,
		"SELECT * FROM devices.jobs WHERE outcome.deviceMethodResponse.status = 404 AND outcome.deviceMethodResponse.payload.x[0]='y'": 1,
		"SELECT * FROM devices.jobs WHERE error.code = 'DeviceNotOnline'":                                                              1,
		"SELECT * FROM devices.jobs WHERE is_defined(error)":                                                                           1,
		"SELECT * FROM devices.jobs WHERE jobId = 1":                                                                                   0,
		"SELECT * FROM devices.jobs WHERE status = 'pending'":                                                                          1398,
	} {
		n, token := 0, ""
		var last string
		for {
			page, err := q.Query(ctx, "plant", text, 300, token)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				break
			}
			for _, item := range page.Items {
				if string(item) == last {
					t.Errorf("%s: %s twice", text, item)
				}
				last = string(item)
			}
			n += len(page.Items)
			if page.ItemType != "DeviceJob" {
				t.Errorf("%s: items of type %s", text, page.ItemType)
			}
			if token = page.Token; token == "" {
				break
			}
		}
		if n != want {
			t.Errorf("%s: %d rows, want %d", text, n, want)
		}
	}
}

// TestConditions selects by the query language.
func TestConditions(t *testing.T) {
	reg := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: unsealed{}})
	for i, id := range []causeway.Identity{dev("b"), dev("a"), dev("c"), {Hub: hubName, Device: "a", Module: "m"}} {
		r := registry.Record{ID: id, Enabled: true, Twin: registry.Twin{Tags: fmt.Appendf(nil, `{"n":%d}`, i)}}
		if _, err := reg.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	s := job.Conditions{Twins: query.New(query.Options{Registry: reg})}
	for text, want := range map[string]string{
		"*": "a b c", "tags.n >= 1": "a c", "deviceId IN ['c','x']": "c", "FROM devices.modules WHERE moduleId = 'm'": "a/m", "from devices.modules": "a/m", "false = true": "",
	} {
		var got []string
		err := s.Select(t.Context(), hubName, text, func(id causeway.Identity) error { got = append(got, id.String()); return nil })
		if err != nil || strings.Join(got, " ") != want || !slices.IsSorted(got) {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
		if err := s.Check(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{"tags.n >=", "SELECT * FROM devices", "FROM devices.jobs", "WHERE a = 1"} {
		if err := s.Check(bad); causeway.CodeOf(err) != causeway.ArgumentInvalid || !strings.Contains(causeway.MessageOf(err), "queryCondition") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
