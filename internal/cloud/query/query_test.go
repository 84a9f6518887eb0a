package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

const hub = "hub"

func dev(id string) causeway.Identity { return causeway.Identity{Hub: hub, Device: id} }

func mod(device, id string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: id}
}

// world is a service on a store in memory.
type world struct {
	*query.Service
	t      *testing.T
	store  *storetest.Memory
	states map[causeway.Identity]presence.State
	depths map[causeway.Identity]int
	failed error // of Depth
	asked  int   // depths
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: storetest.NewMemory(), states: map[causeway.Identity]presence.State{}, depths: map[causeway.Identity]int{}}
	w.Service = query.New(query.Options{
		Registry: w.store,
		Live:     func(h string) (query.Live, bool) { return w, h == hub },
		Depth: func(_ context.Context, id causeway.Identity) (int, error) {
			w.asked++
			return w.depths[id], w.failed
		},
	})
	return w
}

func (w *world) State(id causeway.Identity) presence.State { return w.states[id] }

func (w *world) Connected(modules bool, after causeway.Identity, limit int) (ids []causeway.Identity) {
	table := presence.New[*holder]()
	for id, s := range w.states {
		if s.Connected {
			table.Claim(&holder{id}, true)
		}
	}
	return table.Connected(modules, after, min(limit, 2))
}

type holder struct{ id causeway.Identity }

func (h *holder) Identity() causeway.Identity { return h.id }
func (*holder) Generation() string            { return "" }
func (*holder) Since() time.Time              { return time.Time{} }
func (*holder) LastActivity() time.Time       { return time.Time{} }

// add stores a record with tags.
func (w *world) add(id causeway.Identity, tags string, change ...func(r *registry.Record)) {
	w.t.Helper()
	r := registry.Record{
		ID: id, GenerationID: "1", ETag: "MQ==", Enabled: true, Auth: registry.Authentication{Type: auth.SAS, Primary: "secret"},
		Twin: registry.Twin{
			Version: 2, ETag: 1, Tags: []byte(tags),
			Desired:  registry.Section{Properties: []byte(`{"v":1}`), Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","v":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z"}}`), Version: 3},
			Reported: registry.Section{Properties: []byte(`{"temp":21.5}`), Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}`), Version: 4},
		},
	}
	for _, f := range change {
		f(&r)
	}
	if err := w.store.Create(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

// page returns a page of a query that must succeed.
func (w *world) page(text string, size int, token string) query.Page {
	w.t.Helper()
	p, err := w.Query(w.t.Context(), hub, text, size, token)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	if p.Items == nil {
		w.t.Errorf("%s: the items are nil", text)
	}
	return p
}

func text(p query.Page) string {
	b, err := json.Marshal(p.Items)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// one returns all items of a query that fits one page.
func (w *world) one(q string) string {
	w.t.Helper()
	p := w.page(q, 0, "")
	if p.Token != "" {
		w.t.Errorf("%s: there is a token", q)
	}
	return text(p)
}

func (w *world) wantCode(err error, want causeway.Code, msg string) {
	w.t.Helper()
	if got := causeway.CodeOf(err); got != want || !strings.Contains(causeway.MessageOf(err), msg) {
		w.t.Errorf("error %v has code %s, want %s with %q", err, got, want, msg)
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.add(dev(fmt.Sprint("d", i)), fmt.Sprintf(`{"n":%d}`, i))
	}
	const q = "SELECT deviceId FROM devices WHERE tags.n >= 3"
	first := w.page(q, 3, "")
	if got := text(first); got != `[{"deviceId":"d3"},{"deviceId":"d4"},{"deviceId":"d5"}]` || first.ItemType != "Raw" || first.Token == "" {
		t.Fatalf("%s %s %q", first.ItemType, got, first.Token)
	}
	for range 2 { // a token can be used again
		second := w.page(q, 3, first.Token)
		if got := text(second); got != `[{"deviceId":"d6"},{"deviceId":"d7"},{"deviceId":"d8"}]` {
			t.Errorf("second page %s", got)
		}
		third := w.page("  "+q+"\n", 3, second.Token)
		if got := text(third); got != `[{"deviceId":"d9"}]` || third.Token != "" {
			t.Errorf("third page %s, token %q", got, third.Token)
		}
	}
	// A page that is full at the end has no token; nor has one of nothing.
	if p := w.page(q, 7, ""); len(p.Items) != 7 || p.Token != "" {
		t.Errorf("%d items, token %q", len(p.Items), p.Token)
	}
	if p := w.page("SELECT * FROM devices WHERE tags.n = 99", 3, ""); text(p) != "[]" || p.Token != "" || p.ItemType != "Twin" {
		t.Errorf("of nothing: %+v", p)
	}
	// What changes between pages does not shift them.
	if err := w.store.Delete(t.Context(), dev("d5"), "*"); err != nil {
		t.Fatal(err)
	}
	w.add(dev("d55"), `{"n":55}`)
	if got := text(w.page(q, 2, first.Token)); got != `[{"deviceId":"d55"},{"deviceId":"d6"}]` {
		t.Errorf("after a change: %s", got)
	}
	// Sizes.
	if p := w.page("SELECT * FROM devices", 5000, ""); len(p.Items) != 10 {
		t.Errorf("%d items", len(p.Items))
	}
	for i := range 1100 {
		w.add(dev(fmt.Sprintf("e%04d", i)), `{}`)
	}
	for size, want := range map[int]int{0: query.DefaultPage, -1: query.DefaultPage, 999: 999, 5000: query.MaxPage} {
		if p := w.page("SELECT * FROM devices", size, ""); len(p.Items) != want || p.Token == "" {
			t.Errorf("asked for %d: %d items", size, len(p.Items))
		}
	}
	// A page that is full, far from the next row: it is not looked for at length.
	p := w.page("SELECT deviceId FROM devices WHERE deviceId < 'd1' OR deviceId = 'e1099'", 1, "")
	if text(p) != `[{"deviceId":"d0"}]` || p.Token == "" {
		t.Errorf("%+v", p)
	}
	if p = w.page("SELECT deviceId FROM devices WHERE deviceId < 'd1' OR deviceId = 'e1099'", 1, p.Token); text(p) != `[{"deviceId":"e1099"}]` {
		t.Errorf("%+v", p)
	}
}

func TestTop(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		w.add(dev(fmt.Sprint("d", i)), fmt.Sprintf(`{"n":%d}`, i%4))
	}
	const q = "SELECT TOP 5 deviceId FROM devices WHERE tags.n > 0"
	p := w.page(q, 3, "")
	if len(p.Items) != 3 || p.Token == "" {
		t.Fatalf("%+v", p)
	}
	if p = w.page(q, 3, p.Token); text(p) != `[{"deviceId":"d5"},{"deviceId":"d6"}]` || p.Token != "" {
		t.Errorf("%s %q", text(p), p.Token)
	}
	if got := w.one("SELECT TOP 3 deviceId FROM devices"); got != `[{"deviceId":"d0"},{"deviceId":"d1"},{"deviceId":"d2"}]` {
		t.Error(got)
	}
	if got := w.one("SELECT TOP 100 deviceId FROM devices WHERE deviceId = 'd9'"); got != `[{"deviceId":"d9"}]` {
		t.Error(got)
	}
	if got := w.one("SELECT TOP 2 tags.n, COUNT() AS c FROM devices GROUP BY tags.n"); got != `[{"n":0,"c":3},{"n":1,"c":3}]` {
		t.Error(got)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.add(dev(fmt.Sprint("d", i)), `{}`)
	}
	const q = "SELECT * FROM devices"
	token := w.page(q, 2, "").Token
	for name, x := range map[string]struct{ text, token, want string }{
		"of another query":     {"SELECT deviceId FROM devices", token, "is of another query"},
		"no token":             {q, "hello", "is not one of this service"},
		"no base64":            {q, "§$%&", "is not one of this service"},
		"cut short":            {q, token[:18], "is damaged"},
		"cut to what binds it": {q, token[:16], "is damaged"},
		"changed":              {q, "A" + token[1:], "is of another query"},
		"too long":             {q, token + strings.Repeat("A", 4000), "is damaged"},
	} {
		_, err := w.Query(t.Context(), hub, x.text, 2, x.token)
		w.wantCode(err, causeway.ArgumentInvalid, x.want)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if _, err := w.Query(t.Context(), "other", q, 2, token); causeway.CodeOf(err) != causeway.ArgumentInvalid {
		t.Errorf("of another hub: %v", err)
	}
}

func TestBadQueries(t *testing.T) {
	w := newWorld(t)
	for text, x := range map[string]struct {
		code causeway.Code
		want string
	}{
		"":    {causeway.ArgumentNull, "there is no query"},
		" \n": {causeway.ArgumentNull, "there is no query"},
		"SELECT * FROM devices WHERE tags.n == 5": {causeway.ArgumentInvalid, "The query is invalid. Line 1, column 36: "},
		"SELECT deviceId, COUNT() FROM devices":   {causeway.ArgumentInvalid, "The query is invalid. Line 1, column 8: "},
	} {
		_, err := w.Query(t.Context(), hub, text, 0, "")
		w.wantCode(err, x.code, x.want)
		_, err = w.Count(t.Context(), hub, text)
		w.wantCode(err, x.code, x.want)
	}
	for i := range hubquery.MaxGroups + 1 {
		w.add(dev(fmt.Sprint("d", i)), `{}`)
	}
	_, err := w.Query(t.Context(), hub, "SELECT COUNT() AS n FROM devices GROUP BY deviceId", 0, "")
	w.wantCode(err, causeway.ArgumentInvalid, "GROUP BY has more than 10000 different values, ask for fewer with WHERE")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Query(ctx, hub, "SELECT * FROM devices", 0, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestRow: every attribute of a twin that can be asked for.
func TestRow(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2024, 2, 3, 4, 5, 6, 700, time.UTC)
	w.add(dev("edge"), `{"a":1}`, func(r *registry.Record) {
		r.StatusReason, r.Enabled, r.StatusUpdated, r.Edge = "broken", false, at, true
		r.DeviceScope, r.ParentScopes = "ms-azure-iot-edge://edge-1", []string{"ms-azure-iot-edge://top-1"}
		r.Twin.ModelID, r.LastActivity = "dtmi:a;1", at.Add(-time.Hour)
		r.Auth = registry.Authentication{Type: auth.SelfSigned, PrimaryThumb: "AA"}
		r.Configurations = map[string]string{"c": "Applied"}
	})
	w.add(mod("edge", "m"), `{}`)
	w.states[dev("edge")] = presence.State{Connected: true, Updated: at, LastActivity: at.Add(time.Hour)}
	w.depths[dev("edge")] = 7
	for q, want := range map[string]string{
		"deviceId, id, moduleId":                                                                                            `{"deviceId":"edge","id":"edge"}`,
		"etag, deviceEtag, generationId, version, modelId":                                                                  `{"etag":"AAAAAAAAAAE=","deviceEtag":"MQ==","generationId":"1","version":2,"modelId":"dtmi:a;1"}`,
		"status, statusReason, statusUpdateTime, statusUpdatedTime":                                                         `{"status":"disabled","statusReason":"broken","statusUpdateTime":"2024-02-03T04:05:06.0000007Z","statusUpdatedTime":"2024-02-03T04:05:06.0000007Z"}`,
		"connectionState, connectionStateUpdatedTime, lastActivityTime":                                                     `{"connectionState":"Connected","connectionStateUpdatedTime":"2024-02-03T04:05:06.0000007Z","lastActivityTime":"2024-02-03T05:05:06.0000007Z"}`,
		"authenticationType, x509Thumbprint, x509Thumbprint.primaryThumbprint AS p":                                         `{"authenticationType":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":null},"p":"AA"}`,
		"cloudToDeviceMessageCount":                                                                                         `{"cloudToDeviceMessageCount":7}`,
		"capabilities, capabilities.iotEdge, capabilities.other AS none":                                                    `{"capabilities":{"iotEdge":true},"iotEdge":true}`,
		"deviceScope, parentScopes, parentScopes[0] AS first":                                                               `{"deviceScope":"ms-azure-iot-edge://edge-1","parentScopes":["ms-azure-iot-edge://top-1"],"first":"ms-azure-iot-edge://top-1"}`,
		"configurations, configurations.c.status, configurations.[[c]] AS c, configurations.d AS d, configurations[0] AS e": `{"configurations":{"c":{"status":"Applied"}},"status":"Applied","c":{"status":"Applied"}}`,
		"tags, tags.a":       `{"tags":{"a":1},"a":1}`,
		"properties.desired": `{"desired":{"v":1,"$metadata":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","v":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z"}},"$version":3}}`,
		"properties.desired.v, properties.desired.$version, properties.reported.$version AS r": `{"v":1,"$version":3,"r":4}`,
		"properties.desired.$metadata.v.$lastUpdated, properties.reported.$metadata AS m":      `{"$lastUpdated":"2024-01-02T00:00:00.0000000Z","m":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}}`,
		"properties, properties.other": `{"properties":{"desired":{"v":1,"$metadata":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","v":{"$lastUpdated":"2024-01-02T00:00:00.0000000Z"}},"$version":3},"reported":{"temp":21.5,"$metadata":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"},"$version":4}}}`,
		"deviceId.x, status[0], properties.desired.$version.x, nothing, devices.deviceId": `{"deviceId":"edge"}`,
	} {
		if got := w.one("SELECT " + q + " FROM devices"); got != "["+want+"]" {
			t.Errorf("%s:\n got %s\nwant %s", q, got, want)
		}
	}
	if got, want := w.one("SELECT deviceId, moduleId, capabilities, status, statusReason, lastActivityTime, deviceScope, parentScopes, configurations, connectionState FROM devices.modules"),
		`[{"deviceId":"edge","moduleId":"m","status":"enabled","lastActivityTime":"0001-01-01T00:00:00Z","connectionState":"Disconnected"}]`; got != want {
		t.Errorf("module:\n got %s\nwant %s", got, want)
	}
	// The item of SELECT * is the twin, live facts and all.
	got := w.one("SELECT * FROM devices")
	for _, part := range []string{`"deviceId":"edge","modelId":"dtmi:a;1","etag":"AAAAAAAAAAE=","deviceEtag":"MQ=="`, `"connectionState":"Connected","lastActivityTime":"2024-02-03T05:05:06.0000007Z","cloudToDeviceMessageCount":7`, `"configurations":{"c":{"status":"Applied"}}`, `"parentScopes":["ms-azure-iot-edge://top-1"]`} {
		if !strings.Contains(got, part) {
			t.Errorf("%s\nlacks %s", got, part)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("a key is in %s", got)
	}
	// A hub that does not run has nobody connected.
	r := registry.Record{ID: dev("x"), Connected: true}
	if v := query.RowOf(&r, nil).Lookup(&hubquery.Path{Root: hubquery.ConnectionState}); v.String() != "Connected" {
		t.Errorf("as written down: %s", v)
	}
}

// TestLive: connection states and queues are those of now, and queues are
// looked at only when they are asked for.
func TestLive(t *testing.T) {
	w := newWorld(t)
	for i := range 9 {
		id := dev(fmt.Sprint("d", i))
		w.add(id, fmt.Sprintf(`{"n":%d}`, i), func(r *registry.Record) { r.Connected = true }) // stale
		w.states[id] = presence.State{Connected: i%2 == 0}
		w.depths[id] = i
	}
	w.states[dev("ghost")] = presence.State{Connected: true}
	for q, want := range map[string]string{
		"SELECT deviceId FROM devices WHERE connectionState = 'Connected'":                                         `[{"deviceId":"d0"},{"deviceId":"d2"},{"deviceId":"d4"},{"deviceId":"d6"},{"deviceId":"d8"}]`,
		"SELECT deviceId FROM devices WHERE connectionState = 'Connected' AND tags.n > 3":                          `[{"deviceId":"d4"},{"deviceId":"d6"},{"deviceId":"d8"}]`,
		"SELECT deviceId FROM devices WHERE connectionState = 'Disconnected' AND tags.n > 3":                       `[{"deviceId":"d5"},{"deviceId":"d7"}]`,
		"SELECT connectionState, COUNT() AS n FROM devices GROUP BY connectionState":                               `[{"connectionState":"Connected","n":5},{"connectionState":"Disconnected","n":4}]`,
		"SELECT COUNT() AS n FROM devices WHERE connectionState = 'Connected'":                                     `[{"n":5}]`,
		"SELECT deviceId FROM devices WHERE connectionState = 'Connected' AND deviceId IN ['d1', 'd2']":            `[{"deviceId":"d2"}]`,
		"SELECT COUNT() AS n FROM devices.modules WHERE connectionState = 'Connected'":                             `[{"n":0}]`,
		"SELECT TOP 2 deviceId FROM devices WHERE connectionState IN ['Connected']":                                `[{"deviceId":"d0"},{"deviceId":"d2"}]`,
		"SELECT deviceId FROM devices WHERE NOT connectionState = 'Connected' AND NOT connectionState = 'Unknown'": `[{"deviceId":"d1"},{"deviceId":"d3"},{"deviceId":"d5"},{"deviceId":"d7"}]`,
	} {
		if got := w.one(q); got != want {
			t.Errorf("%s:\n got %s\nwant %s", q, got, want)
		}
	}
	var got []string
	for token := ""; ; {
		p := w.page("SELECT deviceId FROM devices WHERE connectionState = 'Connected'", 2, token)
		got = append(got, text(p))
		if token = p.Token; token == "" {
			break
		}
	}
	if s := strings.Join(got, ""); s != `[{"deviceId":"d0"},{"deviceId":"d2"}][{"deviceId":"d4"},{"deviceId":"d6"}][{"deviceId":"d8"}]` {
		t.Errorf("pages of the connected: %s", s)
	}
	if w.asked != 0 {
		t.Errorf("%d queues were looked at", w.asked)
	}
	if got := w.one("SELECT deviceId, cloudToDeviceMessageCount AS n FROM devices WHERE cloudToDeviceMessageCount >= 7"); got != `[{"deviceId":"d7","n":7},{"deviceId":"d8","n":8}]` {
		t.Error(got)
	}
	w.failed = errors.New("disk on fire")
	for _, q := range []string{"SELECT * FROM devices", "SELECT COUNT() AS n FROM devices WHERE cloudToDeviceMessageCount = 1", "SELECT cloudToDeviceMessageCount FROM devices"} {
		if _, err := w.Query(t.Context(), hub, q, 0, ""); err == nil || !strings.Contains(err.Error(), "disk on fire") {
			t.Errorf("%s: %v", q, err)
		}
	}
}

func TestAggregatesAndCount(t *testing.T) {
	w := newWorld(t)
	for i := range 250 {
		w.add(dev(fmt.Sprintf("d%03d", i)), fmt.Sprintf(`{"n":%d,"even":%t}`, i, i%2 == 0))
	}
	w.add(mod("d000", "m"), `{}`)
	for q, want := range map[string]string{
		"SELECT COUNT() AS n FROM devices":                                                 `[{"n":250}]`,
		"SELECT COUNT() AS n FROM devices.modules":                                         `[{"n":1}]`,
		"SELECT COUNT() AS n FROM devices WHERE tags.n < 10":                               `[{"n":10}]`,
		"SELECT COUNT() AS n FROM devices WHERE tags.n < 0":                                `[{"n":0}]`,
		"SELECT tags.even, COUNT() AS n, MAX(tags.n) AS m FROM devices GROUP BY tags.even": `[{"even":false,"n":125,"m":249},{"even":true,"n":125,"m":248}]`,
	} {
		p := w.page(q, 0, "")
		if got := text(p); got != want || p.ItemType != "Raw" {
			t.Errorf("%s: %s %s, want %s", q, p.ItemType, got, want)
		}
	}
	n := 0
	const q = "SELECT tags.n, COUNT() AS c FROM devices GROUP BY tags.n"
	seen := map[string]bool{}
	for token := ""; ; n++ {
		p := w.page(q, 100, token)
		for _, item := range p.Items {
			seen[string(item)] = true
		}
		if token = p.Token; token == "" {
			break
		}
	}
	if n != 2 || len(seen) != 250 {
		t.Errorf("%d pages more with %d groups", n, len(seen))
	}
	for q, want := range map[string]int{
		"SELECT * FROM devices": 250, "select deviceId from devices where tags.n < 10": 10, "select deviceId, moduleId from devices.modules": 1,
		"SELECT TOP 20 * FROM devices": 20, "SELECT TOP 20 * FROM devices WHERE tags.n < 10": 10, "SELECT COUNT() AS n FROM devices": 1,
		q: 250, "SELECT * FROM devices.jobs": 0,
	} {
		if n, err := w.Count(t.Context(), hub, q); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", q, n, err, want)
		}
	}
}

func TestEach(t *testing.T) {
	w := newWorld(t)
	for i := range 600 { // more than are held at once
		w.add(dev(fmt.Sprintf("d%03d", i)), fmt.Sprintf(`{"n":%d}`, i))
	}
	cond, err := hubquery.ParseCondition("tags.n >= 20")
	if err != nil {
		t.Fatal(err)
	}
	n := 20
	err = w.Each(t.Context(), hub, cond, func(r registry.Record) error {
		if want := dev(fmt.Sprintf("d%03d", n)); r.ID != want || r.Twin.Reported.Version != 4 || r.ETag != "MQ==" || r.Auth.Primary != "" {
			t.Errorf("record %+v, want %s, whole and without keys", r, want)
		}
		if n++; n == 25 { // f may change what there is
			return w.store.Delete(t.Context(), dev("d599"), "*")
		}
		return nil
	})
	if err != nil || n != 599 {
		t.Errorf("%d records, %v", n-20, err)
	}
	end := errors.New("end")
	if err := w.Each(t.Context(), hub, cond, func(registry.Record) error { return end }); !errors.Is(err, end) || !strings.Contains(err.Error(), "d020") {
		t.Errorf("ended: %v", err)
	}
}

// jobs are rows of jobs in memory.
type jobs []string

type jobRow string

func (r jobRow) Lookup(p *hubquery.Path) hubquery.Value {
	names := map[hubquery.Root]string{hubquery.JobID: "jobId", hubquery.DeviceID: "deviceId", hubquery.Status: "status"}
	return hubquery.Descend([]byte(r), append([]hubquery.Segment{{Name: names[p.Root]}}, p.Segments...))
}

func (j jobs) JobRows(_ context.Context, _ string, _ []hubquery.Conjunct, after string, each func(query.Job) error) error {
	for i, text := range j {
		if key := fmt.Sprintf("%04d", i); key > after {
			if err := each(query.Job{Key: key, Row: jobRow(text), Item: func() json.RawMessage { return json.RawMessage(text) }}); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestJobs(t *testing.T) {
	w := newWorld(t)
	const q = "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'j' AND devices.jobs.status = 'failed'"
	if p := w.page(q, 0, ""); text(p) != "[]" || p.ItemType != "DeviceJob" {
		t.Errorf("without jobs: %+v", p)
	}
	var all jobs
	for i := range 10 {
		all = append(all, fmt.Sprintf(`{"jobId":"%s","deviceId":"d%d","status":"%s"}`, []string{"j", "k"}[i/8], i, []string{"failed", "completed"}[i%2]))
	}
	w.SetJobs(all)
	p := w.page(q, 3, "")
	if text(p) != "["+all[0]+","+all[2]+","+all[4]+"]" || p.Token == "" || p.ItemType != "DeviceJob" {
		t.Errorf("%+v", p)
	}
	if p = w.page(q, 3, p.Token); text(p) != "["+all[6]+"]" || p.Token != "" {
		t.Errorf("%+v", p)
	}
	if p := w.page("SELECT TOP 2 * FROM devices.jobs", 0, ""); len(p.Items) != 2 || p.Token != "" {
		t.Errorf("%+v", p)
	}
	if n, err := w.Count(t.Context(), hub, q); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// slow is a registry whose rows take 100 ms each.
type slow struct{ query.Registry }

func (s slow) Query(ctx context.Context, sel registry.Selection, each func(r *registry.Record) error) error {
	keep := sel.Keep
	sel.Keep = func(r *registry.Record) bool {
		<-time.After(100 * time.Millisecond)
		return keep == nil || keep(r)
	}
	return s.Registry.Query(ctx, sel, each)
}

// TestSlow: looking for rows ends a page in time, and the next goes on where it
// ended.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 300 {
			w.add(dev(fmt.Sprintf("d%03d", i)), `{}`)
		}
		w.Service = query.New(query.Options{Registry: slow{w.store}})
		began := time.Now()
		pages, found := 0, 0
		for token := ""; ; {
			p := w.page("SELECT * FROM devices WHERE deviceId = 'd299' OR deviceId > 'd298'", 0, token)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("a page took %v", took)
			}
			began = time.Now()
			pages, found = pages+1, found+len(p.Items)
			if token = p.Token; token == "" {
				break
			}
		}
		if pages < 3 || found != 1 {
			t.Errorf("%d pages with %d items", pages, found)
		}
		_, err := w.Query(t.Context(), hub, "SELECT COUNT() AS n FROM devices WHERE tags.a = 1", 0, "")
		if err != nil {
			t.Errorf("a count takes its time: %v", err)
		}
		for i := range 700 {
			w.add(dev(fmt.Sprintf("e%03d", i)), `{}`)
		}
		_, err = w.Query(t.Context(), hub, "SELECT COUNT() AS n FROM devices WHERE tags.a = 1", 0, "")
		w.wantCode(err, causeway.RequestTimedOut, "was not answered within 1m0s")
	})
}

// slowJobs are rows of jobs that take 100 ms each.
type slowJobs struct{ jobs }

func (s slowJobs) JobRows(ctx context.Context, hub string, where []hubquery.Conjunct, after string, each func(query.Job) error) error {
	return s.jobs.JobRows(ctx, hub, where, after, func(j query.Job) error {
		<-time.After(100 * time.Millisecond)
		return each(j)
	})
}

// TestSlowJobs: looking for rows of jobs ends a page in time, with and without
// items, and the next goes on where it ended.
func TestSlowJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var all jobs
		for i := range 3000 {
			status := "completed"
			if i == 5 || i == 2999 {
				status = "failed"
			}
			all = append(all, fmt.Sprintf(`{"jobId":"j","deviceId":"d%d","status":"%s"}`, i, status))
		}
		w.SetJobs(slowJobs{all})
		for _, size := range []int{1, 100} {
			began, pages := time.Now(), 0
			var found []string
			for token := ""; ; began = time.Now() {
				p := w.page("SELECT * FROM devices.jobs WHERE status = 'failed'", size, token)
				// Some rows more are looked at for another after the last of a full page.
				if took := time.Since(began); took > 10*time.Second && len(p.Items) < size || took > 2*time.Minute {
					t.Errorf("a page of %d items took %v", len(p.Items), took)
				}
				for _, item := range p.Items {
					found = append(found, string(item))
				}
				pages++
				if token = p.Token; token == "" {
					break
				}
			}
			if pages < 20 || strings.Join(found, " ") != all[5]+" "+all[2999] {
				t.Errorf("%d pages with %q", pages, found)
			}
		}
	})
}
