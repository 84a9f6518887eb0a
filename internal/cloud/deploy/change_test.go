package deploy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
)

const plain = `{"deviceContent":{"properties.desired.a":1}}`

// TestBadInput puts configurations that cannot be, and says where the fault is.
func TestBadInput(t *testing.T) {
	edge := func(agent, hub string) string {
		return fmt.Sprintf(`{"modulesContent":{"$edgeAgent":{"properties.desired":%s},"$edgeHub":{"properties.desired":%s}}}`, agent, hub)
	}
	good := hubDesired("")
	swap := func(old, new string) string { return strings.Replace(agent(`"m":`+module("i:1")), old, new, 1) }
	const (
		content   = causeway.InvalidConfigurationContent
		condition = causeway.InvalidConfigurationTargetCondition
		argument  = causeway.ArgumentInvalid
	)
	for _, x := range []struct {
		name string
		c    deploy.Configuration
		code causeway.Code
		says string
	}{
		{"no id", deploy.Configuration{Content: raw(plain)}, argument, "1 to 128 characters"},
		{"long id", deploy.Configuration{ID: strings.Repeat("x", 129), Content: raw(plain)}, argument, "this has 129"},
		{"capital in the id", deploy.Configuration{ID: "aB", Content: raw(plain)}, argument, "'B' at character 2"},
		{"bracket in the id", deploy.Configuration{ID: "a]", Content: raw(plain)}, argument, "']' at character 2"},
		{"id beyond ASCII", deploy.Configuration{ID: "ü", Content: raw(plain)}, argument, "at character 1"},
		{"negative priority", deploy.Configuration{ID: "c", Priority: -1, Content: raw(plain)}, argument, "priority is -1"},
		{"long label", deploy.Configuration{ID: "c", Labels: on{"l": strings.Repeat("x", 1025)}, Content: raw(plain)}, argument, `label "l"`},
		{"no content", deploy.Configuration{ID: "c"}, content, "content: it is missing"},
		{"empty content", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{},"moduleContent":null}`)}, content, "content: it is empty"},
		{"content is a list", deploy.Configuration{ID: "c", Content: raw(`[]`)}, content, "an object was expected"},
		{"unknown member", deploy.Configuration{ID: "c", Content: raw(`{"devicesContent":{"a":1}}`)}, content, "content.devicesContent: no such member"},
		{"two contents", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired.a":1},"moduleContent":{"properties.desired.a":1}}`)}, content, "this has several"},
		{"too large", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired.a":"` + strings.Repeat("x", 300_000) + `"}}`)}, content, "at most 262144"},
		{"not desired", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"tags.a":1}}`)}, content, `content.deviceContent["tags.a"]: the path must begin with properties.desired`},
		{"all desired", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired":{}}}`)}, content, `name a property below properties.desired`},
		{"empty segment", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired.a..b":1}}`)}, content, "segment 3 of the path is empty"},
		{"system property", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired.$version":1}}`)}, content, `"$version" cannot be set`},
		{"too deep", deploy.Configuration{ID: "c", Content: raw(`{"deviceContent":{"properties.desired.a.b.c.d.e.f.g.h.i.j.k.l":1}}`)}, content, `content.deviceContent["properties.desired.a.b.c.d.e.f.g.h.i.j.k.l"]`},
		{"null in a list", deploy.Configuration{ID: "c", Content: raw(`{"moduleContent":{"properties.desired.a":{"b":[null]}}}`), TargetCondition: "FROM devices.modules"}, content, `content.moduleContent["properties.desired.a"]: desired.a.b[0]`},

		{"module id", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"a b":{}}}`)}, content, `content.modulesContent["a b"]: that is no module id`},
		{"unknown system module", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"$x":{}}}`)}, content, `content.modulesContent["$x"]`},
		{"agent alone", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"$edgeAgent":{"properties.desired":{}}}}`)}, content, "$edgeAgent has properties.desired and $edgeHub has not"},
		{"layer of a system module", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"$edgeAgent":{"properties.desired.systemModules.edgeHub":{}}}}`)}, content, `["properties.desired.systemModules.edgeHub"]: a layer can only set`},
		{"layer with a bad module", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"$edgeAgent":{"properties.desired.modules.m":{"type":"docker"}}}}`)}, content, `["properties.desired.modules.m"].settings: an object was expected`},
		{"layer with a bad route", deploy.Configuration{ID: "c", Content: raw(`{"modulesContent":{"$edgeHub":{"properties.desired.routes.r":{"priority":1}}}}`)}, content, `["properties.desired.routes.r"].route: the text of a route`},
		{"agent schema", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"1.1"`, `"2.0"`), good))}, content, `["$edgeAgent"]["properties.desired"].schemaVersion`},
		{"no runtime", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"runtime"`, `"run"`), good))}, content, `.runtime: an object was expected`},
		{"runtime", deploy.Configuration{ID: "c", Content: raw(edge(swap(`{"type":"docker","settings":{"min`, `{"type":"podman","settings":{"min`), good))}, content, `.runtime.type: it must be docker`},
		{"no system module", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"edgeAgent":`, `"agent":`), good))}, content, `.systemModules.edgeAgent: an object`},
		{"no image", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"i:1"`, `" "`), good))}, content, `.modules.m.settings.image: the reference of an image`},
		{"status", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"type":"docker","status":"running","restartPolicy":"always","settings":{"image":"i:1"`, `"type":"docker","status":"on","settings":{"image":"i:1"`), good))}, content, `.modules.m.status: it must be running, stopped`},
		{"restart policy", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"restartPolicy":"always","settings":{"image":"i:1"`, `"restartPolicy":"often","settings":{"image":"i:1"`), good))}, content, `.modules.m.restartPolicy`},
		{"environment", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"settings":{"image":"i:1"`, `"env":{"A":"b"},"settings":{"image":"i:1"`), good))}, content, `.modules.m.env.A: an object {"value"`},
		{"environment value", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"settings":{"image":"i:1"`, `"env":{"A":{"value":{}}},"settings":{"image":"i:1"`), good))}, content, `.modules.m.env.A.value`},
		{"startup order", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"settings":{"image":"i:1"`, `"startupOrder":-1,"settings":{"image":"i:1"`), good))}, content, `.modules.m.startupOrder`},
		{"pull policy", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"settings":{"image":"i:1"`, `"imagePullPolicy":"always","settings":{"image":"i:1"`), good))}, content, `.modules.m.imagePullPolicy`},
		{"create options", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"i:1","createOptions":""`, `"i:1","createOptions":"{\"a\":","createOptions01":"oops}"`), good))}, content, `.modules.m.settings.createOptions`},
		{"module name", deploy.Configuration{ID: "c", Content: raw(edge(swap(`"m":`, `"m|":`), good))}, content, `.modules.m|: "m|" cannot name`},
		{"hub schema", deploy.Configuration{ID: "c", Content: raw(edge(agent(""), `{"schemaVersion":2}`))}, content, `["$edgeHub"]["properties.desired"].schemaVersion`},
		{"route name", deploy.Configuration{ID: "c", Content: raw(edge(agent(""), hubDesired(`"a#":"FROM /* INTO $upstream"`)))}, content, `.routes.a#`},
		{"route object in an old schema", deploy.Configuration{ID: "c", Content: raw(edge(agent(""), strings.Replace(hubDesired(`"a":{"route":"x"}`), "1.1", "1.0", 1)))}, content, `.routes.a: the text of a route was expected; objects need`},
		{"route priority", deploy.Configuration{ID: "c", Content: raw(edge(agent(""), hubDesired(`"a":{"route":"x","priority":10}`)))}, content, `.routes.a.priority`},
		{"time to live", deploy.Configuration{ID: "c", Content: raw(edge(agent(""), strings.Replace(good, "7200", `"x"`, 1)))}, content, `.storeAndForwardConfiguration.timeToLiveSecs`},

		{"condition", deploy.Configuration{ID: "c", Content: raw(plain), TargetCondition: "tags.a == 1"}, condition, "column 8"},
		{"condition on modules", deploy.Configuration{ID: "c", Content: raw(plain), TargetCondition: "FROM devices.modules"}, condition, "needs moduleContent"},
		{"condition on devices", deploy.Configuration{ID: "c", Content: raw(`{"moduleContent":{"properties.desired.a":1}}`), TargetCondition: "*"}, condition, "needs a condition on modules"},
		{"long condition", deploy.Configuration{ID: "c", Content: raw(plain), TargetCondition: strings.Repeat("x", 9000)}, condition, "9000 characters"},
		{"six metrics", deploy.Configuration{ID: "c", Content: raw(plain), Metrics: on{"a": "select *", "b": "select *", "c": "select *", "d": "select *", "e": "select *", "f": "select *"}}, causeway.InvalidConfigurationCustomMetricsQuery, "at most 5"},
		{"metric", deploy.Configuration{ID: "c", Content: raw(plain), Metrics: on{"m": "select deviceId from"}}, causeway.InvalidConfigurationCustomMetricsQuery, `metric "m"`},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, deploy.Options{})
			_, err := w.service.Put(t.Context(), hub, x.c, "")
			if causeway.CodeOf(err) != x.code || !strings.Contains(causeway.MessageOf(err), x.says) {
				t.Errorf("%s: %v, want %s and %q", causeway.CodeOf(err), err, x.code, x.says)
			}
			if list := w.service.List(hub, 0); len(list) != 0 {
				t.Errorf("there is %v", list)
			}
		})
	}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// TestChange creates, changes and deletes configurations.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deploy.Options{})
		put := func(c deploy.Configuration, match string) (deploy.Configuration, error) {
			return w.service.Put(t.Context(), hub, c, match)
		}
		fails := func(what string, err error, code causeway.Code) {
			t.Helper()
			if causeway.CodeOf(err) != code {
				t.Errorf("%s: %v, want %s", what, err, code)
			}
		}
		full := deploy.Configuration{
			ID: "a-b+c%d_e*f!g'h", SchemaVersion: "2.0", Labels: on{"App": "Pump"}, Content: raw(` { "moduleContent":null, "deviceContent":{"properties.desired.a": 1.50 } } `),
			TargetCondition: "tags.a = 1", Priority: 7, Metrics: on{"m": "select deviceId from devices where tags.a = 1"},
		}
		_, err := put(full, "*")
		fails("change of what is not there", err, causeway.ConfigurationNotFound)
		c, err := put(full, "")
		w.must(err)
		if c.Created.IsZero() || !c.Created.Equal(c.Updated) || c.ETag == "" || string(c.Content) != `{"deviceContent":{"properties.desired.a":1.50}}` {
			t.Errorf("created %+v", c)
		}
		_, err = put(full, "")
		fails("once more", err, causeway.ConfigurationAlreadyExists)

		next := c
		next.Priority, next.Labels, next.Content = 8, nil, raw(`{"modulesContent":null,"deviceContent":{"properties.desired.a":1.5e0}}`)
		_, err = put(next, "other")
		fails("another etag", err, causeway.PreconditionFailed)
		changed, err := put(next, c.ETag)
		w.must(err)
		if changed.ETag == c.ETag || changed.Priority != 8 || changed.Labels != nil || !changed.Created.Equal(c.Created) || changed.SchemaVersion != "2.0" {
			t.Errorf("changed %+v", changed)
		}
		next.Content = raw(`{"deviceContent":{"properties.desired.a":2}}`)
		_, err = put(next, "*")
		fails("another content", err, causeway.CannotModifyImmutableConfigurationContent)
		next.Content = nil
		_, err = put(next, "*")
		w.must(err)
		next.TargetCondition = "tags."
		_, err = put(next, "*")
		fails("bad condition", err, causeway.InvalidConfigurationTargetCondition)

		got, err := w.service.Get(hub, c.ID)
		w.must(err)
		if d := cmp.Diff([]deploy.Configuration{got}, w.service.List(hub, 10)); d != "" {
			t.Error(d)
		}
		w.open() // as after a restart
		again, err := w.service.Get(hub, c.ID)
		w.must(err)
		if d := cmp.Diff(got, again); d != "" {
			t.Error(d)
		}
		fails("delete with another etag", w.service.Delete(t.Context(), hub, c.ID, c.ETag), causeway.PreconditionFailed)
		w.must(w.service.Delete(t.Context(), hub, c.ID, got.ETag))
		fails("delete again", w.service.Delete(t.Context(), hub, c.ID, ""), causeway.ConfigurationNotFound)
		_, err = w.service.Get(hub, c.ID)
		fails("get", err, causeway.ConfigurationNotFound)
		_, err = w.service.Get("elsewhere", c.ID)
		fails("get elsewhere", err, causeway.ConfigurationNotFound)
		_, err = w.service.Put(t.Context(), "elsewhere", full, "")
		fails("a hub that does not exist", err, causeway.GenericNotFound)

		w.store.Fail(func(call string) error { return fmt.Errorf("no %s", call) })
		if _, err := put(full, ""); err == nil {
			t.Error("stored nowhere")
		}
		if list := w.service.List(hub, 0); len(list) != 0 {
			t.Errorf("there is what was not stored: %v", list)
		}
	})
}

// TestLimit has more configurations than a hub may have.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, deploy.Options{MaxConfigurations: 2, MaxDeployments: 1})
		w.put("b", 1, "", plain)
		w.put("a", 1, "", plain)
		w.put("e", 1, "", base("", ""))
		for _, content := range []string{plain, base("", "")} {
			_, err := w.service.Put(t.Context(), hub, deploy.Configuration{ID: "more", Content: raw(content)}, "")
			if causeway.CodeOf(err) != causeway.ConfigurationCountLimitExceeded {
				t.Errorf("one too many: %v", err)
			}
		}
		if list := w.service.List(hub, 2); len(list) != 2 || list[0].ID != "a" || list[1].ID != "b" {
			t.Errorf("the first two are %v", list)
		}
		w.remove("a")
		w.put("c", 1, "", plain)
	})
}

func TestTest(t *testing.T) {
	wrong, queries := deploy.Test("tags.a = 1", on{"m": "select deviceId from devices"})
	if wrong != "" || len(queries) != 0 {
		t.Errorf("%q %v", wrong, queries)
	}
	wrong, queries = deploy.Test("tags.a == 1", on{"good": "select *", "bad": "selec", "": "select *", "empty": " "})
	if wrong == "" || len(queries) != 3 || queries["bad"] == "" || queries[""] == "" || queries["empty"] == "" {
		t.Errorf("%q %v", wrong, queries)
	}
	if wrong, _ := deploy.Test("", nil); wrong != "" {
		t.Errorf("an empty condition: %s", wrong)
	}
	if wrong, _ := deploy.Test(strings.Repeat("x", 9000), nil); wrong == "" {
		t.Error("a long condition passes")
	}
}

// FuzzContent reads contents: a good one can be written down and read again.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{
		plain, base(`"m":`+module("i"), `,"m":{"properties.desired.a":1}`),
		`{"modulesContent":{"$edgeHub":{"properties.desired.routes.r":""},"m":{"properties.desired":{"a":[{}]}}}}`,
		`{"moduleContent":{"properties.desired.a.b":{"c":null}},"deviceContent":null}`, `[`, `{"deviceContent":{"properties.desired.a":null}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		kept, err := deploy.CheckContent([]byte(text))
		if err != nil {
			if c := causeway.CodeOf(err); c != causeway.InvalidConfigurationContent {
				t.Fatalf("%s: %v", c, err)
			}
			return
		}
		again, err := deploy.CheckContent(kept)
		if err != nil || string(again) != string(kept) {
			t.Fatalf("%s became %s, then %s, %v", text, kept, again, err)
		}
	})
}
