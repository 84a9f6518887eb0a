package deploy_test

import (
	"fmt"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// TestEdgeDeployment lays layers over bases.
func TestEdgeDeployment(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("e"), true, `{"env":"test"}`)
		w.create(dev("leaf"), false, `{"env":"test"}`)
		w.create(mod("e", "byhand"), false, "")
		agentID, hubID := mod("e", registry.EdgeAgent), mod("e", registry.EdgeHub)

		w.put("base", 5, "*", base(`"temp":`+module("temp:1"), `,"temp":{"properties.desired":{"rate":5}}`))
		w.settle()
		w.checkModules("e", "byhand", "temp")
		w.check(agentID, agent(`"temp":`+module("temp:1")), on{"base": applied})
		w.check(hubID, hubDesired(`"up":"FROM /* INTO $upstream"`), nil)
		w.check(mod("e", "temp"), `{"rate":5}`, nil)
		w.check(dev("e"), `{}`, nil)
		w.check(dev("leaf"), `{}`, nil)
		if m := w.get(mod("e", "temp")).ManagedBy; m != registry.ManagedByEdge {
			t.Errorf("the module is managed by %q", m)
		}

		// Two layers, one of them below the base.
		layer := func(image string, more string) string {
			return `{"modulesContent":{"$edgeAgent":{"properties.desired.modules.cam":` + module(image) + `},
				"$edgeHub":{"properties.desired.routes.cam":{"route":"FROM /messages/modules/cam/* INTO $upstream","priority":1}},
				"temp":{` + more + `}}}`
		}
		w.put("below", 5, "tags.env = 'test'", layer("cam:0", `"properties.desired.low":1`))
		w.put("layer", 6, "tags.env = 'test'", layer("cam:1", `"properties.desired.extra":{"n":1}`))
		w.put("higher", 7, "tags.env = 'test'", layer("cam:2", `"properties.desired.extra.m":2`))
		w.settle()
		w.checkModules("e", "byhand", "temp", "cam")
		w.check(agentID, agent(`"temp":`+module("temp:1")+`,"cam":`+module("cam:2")), on{"base": applied, "below": targeted, "layer": applied, "higher": applied})
		w.check(hubID, hubDesired(`"up":"FROM /* INTO $upstream","cam":{"route":"FROM /messages/modules/cam/* INTO $upstream","priority":1}`), nil)
		w.check(mod("e", "temp"), `{"rate":5,"extra":{"n":1,"m":2}}`, nil)
		w.check(mod("e", "cam"), `{}`, nil)

		// A module twin is kept as deployed, and a module that somebody removes
		// comes back.
		w.desire(mod("e", "temp"), `{"rate":9}`)
		w.desire(agentID, `{"modules":{"cam":null}}`)
		w.must(w.registry.Delete(t.Context(), mod("e", "cam"), "*"))
		w.settle()
		w.checkModules("e", "byhand", "temp", "cam")
		w.check(mod("e", "temp"), `{"rate":5,"extra":{"n":1,"m":2}}`, nil)
		w.check(agentID, agent(`"temp":`+module("temp:1")+`,"cam":`+module("cam:2")), on{"base": applied, "below": targeted, "layer": applied, "higher": applied})

		// The layers go: so does the module they brought.
		w.tag(dev("e"), `{"env":"prod"}`)
		w.settle()
		w.checkModules("e", "byhand", "temp")
		w.check(agentID, agent(`"temp":`+module("temp:1")), on{"base": applied})
		w.check(mod("e", "temp"), `{"rate":5}`, nil)

		// Another base wins, and falls back.
		w.put("other", 8, "tags.env = 'prod'", base(`"pump":`+module("pump:1"), `,"pump":{"properties.desired":{"on":true}}`))
		w.settle()
		w.checkModules("e", "byhand", "pump")
		w.check(agentID, agent(`"pump":`+module("pump:1")), on{"base": targeted, "other": applied})
		w.remove("other")
		w.settle()
		w.checkModules("e", "byhand", "temp")
		w.check(agentID, agent(`"temp":`+module("temp:1")), on{"base": applied})

		// Without any base the device is left as it is.
		w.remove("base")
		w.settle()
		w.checkModules("e", "byhand", "temp")
		w.check(agentID, agent(`"temp":`+module("temp:1")), nil)
		w.check(mod("e", "temp"), `{"rate":5}`, nil)
		w.desire(mod("e", "temp"), `{"rate":1}`)
		w.tag(dev("e"), `{"env":"test"}`)
		w.settle()
		w.check(mod("e", "temp"), `{"rate":1}`, nil)
		w.check(agentID, agent(`"temp":`+module("temp:1")), on{"below": targeted, "layer": targeted, "higher": targeted})
	})
}

// TestEdgeComesAndGoes makes an edge device of one, and no longer.
func TestEdgeComesAndGoes(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.put("base", 1, "*", base(`"m":`+module("m:1"), ""))
		w.settle()
		r := w.get(dev("d"))
		r.Edge = true
		_, err := w.registry.Update(t.Context(), r, "*")
		w.must(err)
		w.settle()
		w.checkModules("d", "m")
		w.check(mod("d", registry.EdgeAgent), agent(`"m":`+module("m:1")), on{"base": applied})
		r = w.get(dev("d"))
		r.Edge, r.DeviceScope = false, ""
		_, err = w.registry.Update(t.Context(), r, "*")
		w.must(err)
		w.remove("base")
		w.settle()
		w.must(w.registry.Delete(t.Context(), dev("d"), "*"))
		w.settle()
	})
}

// TestModuleConfigurationOnEdge lets a configuration of modules meet a
// deployment.
func TestModuleConfigurationOnEdge(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("e"), true, "")
		w.put("base", 1, "*", base(`"m":`+module("m:1"), `,"m":{"properties.desired":{"a":1,"b":1}}`))
		w.put("c", 1, "FROM devices.modules WHERE moduleId = 'm'", `{"moduleContent":{"properties.desired.b":2}}`)
		w.put("agents", 1, "FROM devices.modules WHERE moduleId = '$edgeAgent'", `{"moduleContent":{"properties.desired.note":"x"}}`)
		w.settle()
		w.check(mod("e", "m"), `{"a":1,"b":2}`, on{"c": applied})
		want := agent(`"m":` + module("m:1"))
		w.check(mod("e", registry.EdgeAgent), want[:len(want)-1]+`,"note":"x"}`, on{"base": applied, "agents": applied})
		before := w.get(mod("e", "m")).Twin.Version
		w.settle()
		if after := w.get(mod("e", "m")).Twin.Version; after != before {
			t.Error("the two do not come to rest")
		}
		w.remove("c")
		w.settle()
		w.check(mod("e", "m"), `{"a":1,"b":1}`, nil)
	})
}

// TestApplyContent deploys by hand, until the deployments change.
func TestApplyContent(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("e"), true, "")
		w.create(dev("d"), false, "")
		apply := func(device, content string) error {
			return w.service.ApplyContent(t.Context(), dev(device), []byte(content))
		}
		agentID := mod("e", registry.EdgeAgent)
		w.must(apply("e", base(`"x":`+module("x:1"), `,"x":{"properties.desired":{"v":1}}`)))
		w.checkModules("e", "x")
		w.check(agentID, agent(`"x":`+module("x:1")), nil)
		w.check(mod("e", "x"), `{"v":1}`, nil)

		// A deployment takes over; what was there by hand goes.
		w.put("base", 1, "*", base(`"m":`+module("m:1"), ""))
		w.settle()
		w.checkModules("e", "m")
		w.check(agentID, agent(`"m":`+module("m:1")), on{"base": applied})

		// By hand again: the deployment that is in force stays away.
		w.must(apply("e", base(`"x":`+module("x:2"), `,"x":{"properties.desired":{"v":2}}`)))
		w.settle()
		w.checkModules("e", "x")
		w.check(agentID, agent(`"x":`+module("x:2")), on{"base": targeted})
		w.desire(mod("e", "x"), `{"v":3}`)
		w.put("low", 0, "*", base(`"l":`+module("l:1"), "")) // changes nothing for the device
		w.settle()
		w.check(mod("e", "x"), `{"v":3}`, nil)
		w.check(agentID, agent(`"x":`+module("x:2")), on{"base": targeted, "low": targeted})

		// More by hand, then a restart.
		w.must(apply("e", `{"modulesContent":{"x":{"properties.desired.w":1}}}`))
		w.halt()
		w.open()
		w.settle()
		w.check(mod("e", "x"), `{"v":3,"w":1}`, nil)

		// Until the deployments say something else.
		w.put("layer", 2, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired.modules.x":`+module("x:9")+`}}}`)
		w.settle()
		w.checkModules("e", "m", "x")
		w.check(agentID, agent(`"m":`+module("m:1")+`,"x":`+module("x:9")), on{"base": applied, "low": targeted, "layer": applied})
		w.check(mod("e", "x"), `{}`, nil)

		w.must(apply("d", `{"deviceContent":{"properties.desired.a":{"b":1}}}`))
		w.must(apply("d", `{"deviceContent":{"properties.desired.a":{"c":1}}}`))
		w.check(dev("d"), `{"a":{"c":1}}`, nil)

		for name, x := range map[string]struct {
			device, content string
			code            causeway.Code
		}{
			"nobody":      {"nobody", base("", ""), causeway.DeviceNotFound},
			"no edge":     {"d", base("", ""), causeway.InvalidConfigurationContent},
			"of modules":  {"d", `{"moduleContent":{"properties.desired.a":1}}`, causeway.InvalidConfigurationContent},
			"no content":  {"d", ``, causeway.InvalidConfigurationContent},
			"nothing":     {"d", `{"deviceContent":null}`, causeway.InvalidConfigurationContent},
			"many things": {"e", base(many(51), ""), causeway.InvalidConfigurationContent},
		} {
			if err := apply(x.device, x.content); causeway.CodeOf(err) != x.code {
				t.Errorf("%s: %v, want %s", name, err, x.code)
			}
		}
		for i := range 48 {
			w.create(mod("e", fmt.Sprint("own", i)), false, "")
		}
		if err := apply("e", base(many(3), "")); causeway.CodeOf(err) != causeway.TooManyModulesOnDevice {
			t.Errorf("more modules than a device may have: %v", err)
		}
	})
}

// many is so many modules of a manifest.
func many(n int) (s string) {
	for i := range n {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf(`"many%d":%s`, i, module("i:1"))
	}
	return s
}
