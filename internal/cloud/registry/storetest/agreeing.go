package storetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// agreeing: whatever way a store takes, queries find what looking at everything
// finds.
var agreeing = []contractCase{
	{"Query/agrees with looking at everything", func(t *testing.T, s registry.Store) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		w := &queried{t: t, store: s, rnd: rand.New(rand.NewPCG(seed, 1)), connected: map[causeway.Identity]bool{}}
		w.service = query.New(query.Options{Registry: s, Live: func(string) (query.Live, bool) { return w, true }})
		w.fill(hub, 60)
		w.fill(other, 10)
		for range 4 {
			now := w.all(hub)
			for range 60 {
				w.ask(now)
			}
			for range 10 {
				w.group(now)
			}
			w.change()
			w.follow()
		}
		if w.matched < 100 || w.missed < 100 {
			t.Errorf("of the rows asked about %d matched and %d did not: do the queries ask anything?", w.matched, w.missed)
		}
	}},
}

// queried is a store full of twins that are much alike.
type queried struct {
	t               *testing.T
	store           registry.Store
	service         *query.Service
	rnd             *rand.Rand
	connected       map[causeway.Identity]bool
	matched, missed int
}

func (w *queried) State(id causeway.Identity) presence.State {
	return presence.State{Connected: w.connected[id]}
}

func (w *queried) Connected(modules bool, after causeway.Identity, limit int) (ids []causeway.Identity) {
	for id := range w.connected {
		if w.connected[id] && id.Hub == hub && id.IsModule() == modules && less(after, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b causeway.Identity) int {
		if less(a, b) {
			return -1
		}
		return 1
	})
	return ids[:min(len(ids), min(limit, 3))] // so that there are several rounds
}

func less(a, b causeway.Identity) bool {
	return a.Device < b.Device || a.Device == b.Device && a.Module < b.Module
}

func (w *queried) one(of ...string) string { return of[w.rnd.IntN(len(of))] }

func (w *queried) chance(n int) bool { return w.rnd.IntN(n) == 0 }

// twin returns a twin with few values in few places.
func (w *queried) twin(version int64) registry.Twin {
	value := func() string {
		return w.one("1", "1.0", "1e0", `"1"`, "true", "false", `"x"`, `"X"`, "0", "-0", `{"c":1}`, `{"c":"x","d":{}}`, "[1]",
			"4503599627370495", "-4503599627370496", "4503599627370495.0", "1e-7", `"\u0078"`, `"😀"`, `"\ud83d\ude00"`, `""`, `"\ue000"`, `"é"`, `"2024-01-01T00:00:00Z"`,
			`["x",[1,"x"],{"c":1}]`, "[]", "{}", `{"C":1,"c":[1,2]}`)
	}
	object := func() []byte {
		members := []string{}
		for _, name := range []string{"a", "b", "A", `sp ace`, `qu\"ote`, "é", `\u0062b`} {
			if w.chance(2) {
				members = append(members, `"`+name+`":`+value())
			}
		}
		return []byte("{" + strings.Join(members, ",") + "}")
	}
	meta := []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}`)
	return registry.Twin{
		Version: version, ETag: version, ModelID: w.one("", "dtmi:x;1"), Tags: object(),
		Desired:  registry.Section{Properties: object(), Metadata: meta, Version: int64(w.rnd.IntN(3))},
		Reported: registry.Section{Properties: object(), Metadata: meta, Version: int64(w.rnd.IntN(3))},
	}
}

func (w *queried) fill(hub string, n int) {
	for i := range n {
		r := record(causeway.Identity{Hub: hub, Device: w.one("a", "b", "A", "é") + fmt.Sprint(i)})
		r.Enabled, r.Edge, r.StatusReason = !w.chance(4), w.chance(3), w.one("", "x")
		r.Twin = w.twin(1)
		recs := []registry.Record{r}
		for _, name := range []string{"m", "n", "$edgeAgent"} {
			if w.chance(2) {
				m := record(causeway.Identity{Hub: hub, Device: r.ID.Device, Module: name})
				m.Twin = w.twin(1)
				recs = append(recs, m)
			}
		}
		mustCreate(w.t, w.store, recs...)
		for _, r := range recs {
			w.connected[r.ID] = w.chance(3)
			w.configure(r.ID)
		}
	}
}

func (w *queried) configure(id causeway.Identity) {
	for _, c := range []string{"c", "it's"} {
		if w.chance(2) {
			mustConfigure(w.t, w.store, configs(id, c, w.one("", registry.ConfigurationApplied, registry.ConfigurationTargeted))...)
		}
	}
}

// change changes a part of what there is.
func (w *queried) change() {
	var gone []causeway.Identity
	for _, r := range w.all(hub) {
		switch w.rnd.IntN(6) {
		case 0:
			t := w.twin(r.Twin.Version + 1)
			if err := w.store.PutTwin(w.t.Context(), r.ID, t, r.Twin.Version); err != nil {
				w.t.Fatal(err)
			}
		case 1:
			r.Enabled, r.Edge = !r.Enabled, !r.Edge && !r.ID.IsModule()
			if err := w.store.PutIdentity(w.t.Context(), r, "*"); err != nil {
				w.t.Fatal(err)
			}
		case 2:
			w.configure(r.ID)
			w.connected[r.ID] = !w.connected[r.ID]
		case 3:
			if w.chance(4) {
				gone = append(gone, r.ID)
			}
		}
	}
	for _, id := range gone {
		err := w.store.Delete(w.t.Context(), id, "*")
		if code := causeway.CodeOf(err); err != nil && code != causeway.DeviceNotFound && code != causeway.ModuleNotFound {
			w.t.Fatal(err)
		}
		delete(w.connected, id)
	}
}

// all returns the devices and modules of a hub, without a query.
func (w *queried) all(hub string) (recs []registry.Record) {
	devices, err := w.store.List(w.t.Context(), hub, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range devices {
		modules, err := w.store.Modules(w.t.Context(), d.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		recs = append(append(recs, d), modules...)
	}
	return recs
}

// condition returns a random condition.
func (w *queried) condition(depth int) string {
	if depth > 0 && w.chance(2) {
		a, b := w.condition(depth-1), w.condition(depth-1)
		return w.one("("+a+" AND "+b+")", "("+a+" AND "+b+")", "("+a+" OR "+b+")", "NOT ("+a+")")
	}
	constant := func() string {
		return w.one("1", "'1'", "true", "false", "'x'", "0", "null", "undefined", "-1", "0x1", "4503599627370495", "-4503599627370496", "1e-7", `"\u0078"`, "'😀'", `'\uE000'`, "''",
			"'é'", "'2024-01-01T00:00:00Z'", "1e308", "9007199254740993")
	}
	path := w.one("tags.A", "TAGS.a", "Tags.[[é]]", "tags.bb", "tags.a[0]", "tags.b[1][1]", "tags.a.C", "tags", "properties.desired", "parentScopes", "id", "DEVICES.deviceId", "etag", "version", "tags.a", "tags.b", "tags.b.c", "tags.a.c", "tags.[[sp ace]]", `tags.[[qu"ote]]`, "properties.desired.a", "properties.reported.b.c", "properties.desired.$version", "modelId", "nothing")
	switch w.rnd.IntN(17) {
	case 13:
		return w.one("LENGTH", "ABS", "UPPER", "LOWER", "AS_NUMBER", "SIGN", "SQRT") + "(" + path + ")" + w.one(" = ", " != ", " > ") + constant()
	case 14:
		return w.one("CONTAINS", "ENDSWITH", "STARTSWITH", "STARTS_WITH", "ARRAY_CONTAINS", "arrAy_Contains") + "(" + path + ", " + constant() + ")"
	case 15:
		return path + w.one(" + ", " - ", " * ", " / ", " % ") + constant() + w.one(" = ", " <= ") + constant()
	case 16:
		return w.one("IS_NULL", "IS_ARRAY", "IS_OBJECT", "IS_STRING", "IS_PRIMITIVE", "NOT IS_NUMBER", "NOT IS_BOOL") + "(" + path + ")"
	case 0:
		return "deviceId " + w.one("=", "!=", "<") + " '" + w.one("a1", "b2", "A3", "é4", "") + "'"
	case 1:
		return "deviceId IN ['a1', 'a2', 'b3', 5, 'é4', 'A5']"
	case 2:
		return "STARTSWITH(deviceId, '" + w.one("a", "b1", "é", "", "zz") + "')"
	case 3:
		return "status " + w.one("=", "!=") + " '" + w.one("enabled", "disabled", "Enabled") + "'"
	case 4:
		return "connectionState = '" + w.one("Connected", "Disconnected") + "'"
	case 5:
		return w.one("capabilities.iotEdge = true", "capabilities.iotEdge", "capabilities.iotEdge = false")
	case 6:
		return "configurations.[[" + w.one("c", "it's", "none") + "]].status " + w.one("= 'Applied'", "IN ['Applied','Targeted']", "!= 'Applied'", "= 1")
	case 7:
		return "moduleId = '" + w.one("m", "n", "$edgeAgent", "none") + "'"
	case 8:
		return "IS_DEFINED(" + w.one(path, "configurations.[[c]]", "configurations.[[c]].status", "moduleId") + ")"
	case 9:
		return path + w.one(" IN ", " NIN ") + "[" + constant() + "," + constant() + "]"
	case 10:
		return w.one("tags.a", "tags.b.c") + " = " + w.one("properties.desired.a", "properties.reported.b.c")
	case 11:
		return constant() + w.one(" = ", " != ", " >= ") + path
	default:
		return path + w.one(" = ", " = ", " != ", " < ") + constant()
	}
}

// ask asks a random query, page by page, and looks at everything itself.
func (w *queried) ask(all []registry.Record) {
	cond := w.condition(3)
	collection := w.one("devices", "devices", "devices.modules")
	text := w.one("SELECT *", "SELECT deviceId, moduleId, status, tags.a, connectionState", "SELECT TOP 5 deviceId, moduleId") + " FROM " + collection + " WHERE " + cond
	q, err := hubquery.Parse(text)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	plan, err := hubquery.Compile(q)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	var want []string
	for _, r := range all {
		if r.ID.IsModule() != (collection == "devices.modules") {
			continue
		}
		live := twinview.Overlay(&r, w.State(r.ID))
		row := query.RowOf(&r, func() twinview.Live { return live })
		if !plan.Condition().Match(row) {
			w.missed++
			continue
		}
		w.matched++
		for _, c := range plan.Condition().Conjuncts() {
			if !c.Holds(row) {
				w.t.Errorf("%s: matches %s, and %s does not hold", text, r.ID, c.Path)
			}
		}
		if plan.Top() > 0 && len(want) == plan.Top() {
			break
		}
		item := plan.AppendRow(nil, row)
		if plan.Whole() {
			if item, err = twinview.JSON(&r, live); err != nil {
				w.t.Fatal(err)
			}
		}
		want = append(want, string(item))
	}
	var got []string
	size := 1 + w.rnd.IntN(30)
	for token := ""; ; {
		page, err := w.service.Query(w.t.Context(), hub, text, size, token)
		if err != nil {
			w.t.Fatalf("%s: %v", text, err)
		}
		if len(page.Items) > size {
			w.t.Errorf("%s: %d items, asked for %d", text, len(page.Items), size)
		}
		for _, item := range page.Items {
			if !json.Valid(item) {
				w.t.Fatalf("%s: %s is not JSON", text, item)
			}
			got = append(got, string(item))
		}
		if token = page.Token; token == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s:\n got %d %q\nwant %d %q", text, len(got), got, len(want), want)
	}
	if n, err := w.service.Count(w.t.Context(), hub, text); err != nil || n != len(want) {
		w.t.Errorf("%s: counted %d (%v), want %d", text, n, err, len(want))
	}
}

// group asks for groups, and makes them itself.
func (w *queried) group(all []registry.Record) {
	collection := w.one("devices", "devices.modules")
	by := w.one("tags.a", "tags.b.c", "tags.a[0]", "status", "properties.desired", "tags.a, tags.b", "connectionState, tags.a", "configurations.[[c]].status")
	text := "SELECT " + w.one("", "TOP 3 ") + by + ", COUNT() AS n, SUM(tags.a) AS s, AVG(tags.b) AS v, MIN(tags.a) AS least, MAX(properties.desired.a) AS most FROM " + collection +
		w.one("", " WHERE "+w.condition(2)) + " GROUP BY " + by
	q, err := hubquery.Parse(text)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	plan, err := hubquery.Compile(q)
	if err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	groups := plan.NewGroups()
	for _, r := range all {
		live := twinview.Overlay(&r, w.State(r.ID))
		row := query.RowOf(&r, func() twinview.Live { return live })
		if r.ID.IsModule() == (collection == "devices.modules") && plan.Condition().Match(row) {
			if err := groups.Add(row); err != nil {
				w.t.Fatalf("%s: %v", text, err)
			}
		}
	}
	var want []string
	for _, row := range groups.Rows() {
		want = append(want, string(row))
	}
	if got := w.pages(text, 1+w.rnd.IntN(5), func() {}); !slices.Equal(got, want) {
		w.t.Fatalf("%s:\n got %d %q\nwant %d %q", text, len(got), got, len(want), want)
	}
}

// pages returns all items of a query; between pages something happens.
func (w *queried) pages(text string, size int, between func()) (items []string) {
	for token := ""; ; between() {
		page, err := w.service.Query(w.t.Context(), hub, text, size, token)
		if err != nil {
			w.t.Fatalf("%s: %v", text, err)
		}
		for _, item := range page.Items {
			if !json.Valid(item) {
				w.t.Fatalf("%s: %s is not JSON", text, item)
			}
			items = append(items, string(item))
		}
		if token = page.Token; token == "" {
			return items
		}
	}
}

// follow goes through the pages of a query while rows change, come and go: none
// is seen twice, all in order, and those that match all the time are seen.
func (w *queried) follow() {
	cond := w.condition(2)
	c, err := hubquery.ParseCondition(cond)
	if err != nil {
		w.t.Fatalf("%s: %v", cond, err)
	}
	always := map[string]bool{}
	look := func(first bool) {
		now := map[string]bool{}
		for _, r := range w.all(hub) {
			live := twinview.Overlay(&r, w.State(r.ID))
			if !r.ID.IsModule() && c.Match(query.RowOf(&r, func() twinview.Live { return live })) {
				now[r.ID.Device] = true
			}
		}
		for id := range now {
			if first {
				always[id] = true
			}
		}
		for id := range always {
			if !now[id] {
				delete(always, id)
			}
		}
	}
	look(true)
	var seen []string
	rounds := 0
	for _, item := range w.pages("SELECT deviceId FROM devices WHERE "+cond, 4, func() {
		if rounds++; rounds < 5 {
			w.change()
			look(false)
		}
	}) {
		var row struct{ DeviceID string }
		if err := json.Unmarshal([]byte(item), &row); err != nil {
			w.t.Fatal(err)
		}
		seen = append(seen, row.DeviceID)
	}
	if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) {
		w.t.Fatalf("%s: seen in this order, or twice: %q", cond, seen)
	}
	for id := range always {
		if !slices.Contains(seen, id) {
			w.t.Errorf("%s: %s matched all the time and was not seen among %q", cond, id, seen)
		}
	}
}
