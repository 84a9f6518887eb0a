package deploy_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// What the model is made of. Conditions read what users write, and contents do
// not meet that, so the outcome is a matter of the last of everything.
var (
	deviceConditions = []string{
		"*", "", "tags.a = 0", "tags.a = 1", "tags.a != 2", "tags.b = 1 OR tags.a = 2", "NOT IS_DEFINED(tags.a)",
		"properties.reported.r = 1", "properties.desired.user > 1", "deviceId IN ['d1','d2','d3']", "tags.a + tags.b = 2",
	}
	moduleConditions = []string{
		"FROM devices.modules", "FROM devices.modules WHERE tags.a = 1", "FROM devices.modules WHERE moduleId = 'own1' AND tags.a != 0", "",
		"from devices.modules where properties.reported.r = 1", "FROM devices.modules WHERE moduleId = 'm1'",
	}
	paths  = []string{"x", "x.y", "x.y.z", "x.w", "v", "v.w"}
	values = []string{`1`, `{"y":2}`, `{"y":{"z":3,"q":4}}`, `"text"`, `[1,2]`, `{"w":true,"n":null}`, `null`}
)

func settings(r *rand.Rand) string {
	all := map[string]json.RawMessage{}
	for range 1 + r.IntN(3) {
		all["properties.desired."+paths[r.IntN(len(paths))]] = json.RawMessage(values[r.IntN(len(values))])
	}
	b, _ := json.Marshal(all)
	return string(b)
}

// randomConfiguration returns a condition and a content of a kind.
func randomConfiguration(r *rand.Rand, kind int) (condition, content string) {
	m := func() string { return fmt.Sprint("m", r.IntN(3)) }
	switch kind {
	case 0:
		return deviceConditions[r.IntN(len(deviceConditions))], `{"deviceContent":` + settings(r) + `}`
	case 1:
		return moduleConditions[r.IntN(len(moduleConditions))], `{"moduleContent":` + settings(r) + `}`
	case 2:
		name := m()
		return deviceConditions[r.IntN(len(deviceConditions))],
			base(fmt.Sprintf("%q:%s", name, module(fmt.Sprint("i:", r.IntN(3)))), fmt.Sprintf(`,%q:{"properties.desired":{"x":%d}}`, m(), r.IntN(3)))
	default:
		name := m()
		return deviceConditions[r.IntN(len(deviceConditions))],
			fmt.Sprintf(`{"modulesContent":{"$edgeAgent":{"properties.desired.modules.%s":%s},"$edgeHub":{"properties.desired.routes.r%d":"FROM /* INTO $upstream"},%q:%s}}`,
				name, module(fmt.Sprint("l:", r.IntN(3))), r.IntN(3), m(), settings(r))
	}
}

// model is what users did last, and random changes of it.
type model struct {
	*world
	r     *rand.Rand
	users map[causeway.Identity]int // the value at the path "user" of a twin
	fail  bool
}

var kindOf = map[string]int{} // of the configuration ids of the model

func init() {
	for i := range 12 {
		kindOf[fmt.Sprint("c", i)] = i % 4
	}
}

// step makes one random change.
func (m *model) step() {
	r, ctx := m.r, m.t.Context()
	id := dev(fmt.Sprint("d", r.IntN(6)))
	own := id
	own.Module = fmt.Sprint("own", r.IntN(2))
	_, err := m.registry.Get(ctx, id)
	there := err == nil
	_, err = m.registry.Get(ctx, own)
	ownThere := err == nil
	if ownThere && r.IntN(3) == 0 {
		id = own
	}
	switch n := r.IntN(100); {
	case !there:
		m.create(id, r.IntN(2) == 0, fmt.Sprintf(`{"a":%d}`, r.IntN(3)))
	case n < 3:
		m.must(m.registry.Delete(ctx, id.Parent(), "*"))
		maps.DeleteFunc(m.users, func(x causeway.Identity, _ int) bool { return x.Parent() == id.Parent() })
	case n < 8:
		if ownThere {
			m.must(m.registry.Delete(ctx, own, "*"))
			delete(m.users, own)
		} else {
			m.create(own, false, fmt.Sprintf(`{"a":%d}`, r.IntN(3)))
		}
	case n < 35:
		m.tag(id, fmt.Sprintf(`{"%c":%s}`, "ab"[r.IntN(2)], []string{"0", "1", "2", "null"}[r.IntN(4)]))
	case n < 45:
		m.users[id] = r.IntN(4)
		m.desire(id, fmt.Sprintf(`{"user":%d}`, m.users[id]))
	case n < 55:
		_, err := m.registry.Report(ctx, id, causeway.Patch{Properties: fmt.Appendf(nil, `{"r":%d}`, r.IntN(2))})
		m.must(err)
	case n < 85:
		m.configure()
	case n < 90:
		pass(time.Duration(r.IntN(2000)) * time.Millisecond)
	case n < 94:
		switch {
		case m.stop == nil:
			m.start()
		case r.IntN(2) == 0:
			m.halt()
			m.open()
		default: // a crash: nothing more is written
			m.crash()
		}
	default:
		m.fail = !m.fail
		m.trip()
	}
}

// trip lets calls of the stores fail now and then, or no longer.
func (m *model) trip() {
	on, dice := m.fail, atomic.Uint64{}
	seed := m.r.Uint64()
	fail := func(call string) error {
		if on && rand.New(rand.NewPCG(seed, dice.Add(1))).IntN(4) == 0 {
			return causeway.Errorf(causeway.ServiceUnavailable, "test", "no luck with %s", call)
		}
		return nil
	}
	m.store.Fail(func(call string) error {
		if call == "Trace" || call == "PutTrace" || call == "Settled" {
			return fail(call)
		}
		return nil
	})
	m.flaky.fail.Store(&fail)
}

// crash stops the service without a word written from some point on.
func (m *model) crash() {
	var left atomic.Int64
	left.Store(m.r.Int64N(5))
	dead := func(string) error {
		if left.Add(-1) < 0 {
			return causeway.Errorf(causeway.ServiceUnavailable, "test", "dead")
		}
		return nil
	}
	m.store.Fail(dead)
	m.flaky.fail.Store(&dead)
	pass(time.Duration(m.r.IntN(3)) * time.Millisecond)
	m.halt()
	m.fail = false
	m.trip()
	m.open()
}

// configure changes a configuration.
func (m *model) configure() {
	r := m.r
	id := fmt.Sprint("c", r.IntN(len(kindOf)))
	condition, content := randomConfiguration(r, kindOf[id])
	switch _, err := m.service.Get(hub, id); {
	case err != nil:
		m.put(id, r.IntN(4), condition, content)
	case r.IntN(3) == 0:
		m.remove(id)
	default:
		m.change(id, func(c *deploy.Configuration) {
			if r.IntN(2) == 0 {
				c.Priority = r.IntN(4)
			} else {
				c.TargetCondition = condition
			}
		})
	}
}

// TestOrderDoesNotMatter makes random changes, with restarts and failures in
// between, and compares what comes of it with what a look at everything says.
func TestOrderDoesNotMatter(t *testing.T) {
	rounds, steps := 100, 150
	if testing.Short() {
		rounds = 10
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 4))
			w := newWorld(t, deploy.Options{Workers: []int{3, 3, 0, 0}[seed%4], Queue: []int{0, 5}[seed%2]})
			defer w.halt()
			m := &model{world: w, r: r, users: map[causeway.Identity]int{}}
			// Without a base a device is left as it is, which is a matter of order.
			w.put("floor", 0, "*", base("", ""))
			for range steps {
				m.step()
			}
			m.fail = false
			m.trip()
			pass(30 * time.Minute) // those that were made to wait
			w.settle()
			m.compare()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

// compare looks at everything anew.
func (m *model) compare() {
	m.t.Helper()
	configs := m.service.List(hub, 0)
	slices.SortFunc(configs, func(a, b deploy.Configuration) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Created.Compare(b.Created))
	})
	devices, err := m.registry.List(m.t.Context(), hub, "", 100)
	m.must(err)
	for _, d := range devices {
		m.compareTwin(d, m.matching(configs, "deviceContent", d), nil, nil)
		recs, err := m.registry.Modules(m.t.Context(), d.ID)
		m.must(err)
		var deployed map[string]map[string]any
		is := map[string]string{}
		if d.Edge {
			deployed = m.layers(m.matching(configs, "modulesContent", d), is)
		}
		want := map[string]bool{}
		for name := range deployed {
			want[name] = true
		}
		for _, rec := range recs {
			if rec.ManagedBy == "" {
				want[rec.ID.Module] = true
			}
			extra := is
			if rec.ID.Module != registry.EdgeAgent {
				extra = nil
			}
			m.compareTwin(rec, m.matching(configs, "moduleContent", rec), deployed[rec.ID.Module], extra)
		}
		if got := m.modules(d.ID.Device); !maps.Equal(got, want) {
			m.t.Errorf("%s has modules %v, want %v", d.ID, got, want)
		}
	}
}

// matching returns the contents of a kind that target a record, the lowest
// precedence first.
func (m *model) matching(configs []deploy.Configuration, kind string, rec registry.Record) (all []deploy.Configuration) {
	for _, c := range configs {
		if !strings.HasPrefix(string(c.Content), `{"`+kind) || c.TargetCondition == "" {
			continue
		}
		condition, err := hubquery.ParseCondition(c.TargetCondition)
		m.must(err)
		if condition.Match(row{&rec}) {
			all = append(all, c)
		}
	}
	return all
}

// compareTwin checks a twin against what deployments and configurations say.
func (m *model) compareTwin(rec registry.Record, configs []deploy.Configuration, deployed map[string]any, extra map[string]string) {
	m.t.Helper()
	want := map[string]any{}
	if user, ok := m.users[rec.ID]; ok {
		want["user"] = json.Number(fmt.Sprint(user))
	}
	if deployed != nil {
		want = deployed
	}
	is := maps.Clone(extra)
	if is == nil {
		is = map[string]string{}
	}
	for i, c := range configs {
		is[c.ID] = targeted
		for path := range contents(c) {
			shadowed := false
			for _, later := range configs[i+1:] {
				for p := range contents(later) {
					shadowed = shadowed || p == path || strings.HasPrefix(path, p+".")
				}
			}
			if !shadowed {
				is[c.ID] = applied
			}
		}
		// In their order: shorter paths before what is in them.
		for _, path := range slices.Sorted(maps.Keys(contents(c))) {
			set(want, path, contents(c)[path])
		}
	}
	got := parse(string(rec.Twin.Desired.Properties))
	if d := gocmp.Diff(strip(want), strip(got)); d != "" {
		m.t.Errorf("%s: -want +got:\n%s", rec.ID, d)
	}
	if d := gocmp.Diff(is, rec.Configurations, cmpopts.EquateEmpty()); d != "" {
		m.t.Errorf("configurations of %s: -want +got:\n%s", rec.ID, d)
	}
}

func contents(c deploy.Configuration) map[string]any {
	for _, settings := range parse(string(c.Content)) {
		return settings.(map[string]any)
	}
	return nil
}

// layers returns the desired properties of the modules of an edge device, and
// writes the states of deployments down.
func (m *model) layers(configs []deploy.Configuration, is map[string]string) map[string]map[string]any {
	at, priority := 0, 0
	for i, c := range configs {
		is[c.ID] = targeted
		if _, whole := contents(c)["$edgeAgent"].(map[string]any)["properties.desired"]; whole {
			at, priority = i, c.Priority
		}
	}
	twins := map[string]map[string]any{}
	for i, c := range configs {
		if i != at && c.Priority <= priority || i < at {
			continue
		}
		is[c.ID] = applied
		for name, paths := range contents(c) {
			if twins[name] == nil {
				twins[name] = map[string]any{}
			}
			for _, path := range slices.Sorted(maps.Keys(paths.(map[string]any))) {
				value := paths.(map[string]any)[path]
				if path == "properties.desired" {
					twins[name] = value.(map[string]any)
				} else {
					set(twins[name], path, value)
				}
			}
		}
	}
	for name := range twins[registry.EdgeAgent]["modules"].(map[string]any) {
		if twins[name] == nil {
			twins[name] = map[string]any{}
		}
	}
	return twins
}

// set puts a value at a path, or nothing when it is null.
func set(o map[string]any, path string, value any) {
	names := strings.Split(strings.TrimPrefix(path, "properties.desired."), ".")
	for _, name := range names[:len(names)-1] {
		next, ok := o[name].(map[string]any)
		if !ok {
			if value == nil {
				return
			}
			next = map[string]any{}
			o[name] = next
		}
		o = next
	}
	if last := names[len(names)-1]; value == nil {
		delete(o, last)
	} else {
		var copied any
		b, err := json.Marshal(value)
		if err := errors.Join(err, json.Unmarshal(b, &copied)); err != nil {
			panic(err)
		}
		o[last] = copied
	}
}

func parse(text string) map[string]any {
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(err)
	}
	return o
}

// strip returns a value without members that are null, all numbers alike, and
// without empty objects: whether a plan leaves those is no matter.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := map[string]any{}
		for name, x := range v {
			if x = strip(x); x != nil {
				c[name] = x
			}
		}
		if len(c) == 0 {
			return nil
		}
		return c
	case json.Number:
		f, _ := v.Float64()
		return f
	}
	return v
}
