package deploy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// TestDeviceConfiguration follows devices into and out of the targets of
// configurations.
func TestDeviceConfiguration(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		for i := range 3 {
			w.create(dev(fmt.Sprint("d", i)), false, fmt.Sprintf(`{"site":%d}`, i%2))
		}
		w.desire(dev("d1"), `{"mine":1,"wifi":{"ssid":"old","hidden":true}}`)
		w.put("wifi", 10, "tags.site = 1", `{"deviceContent":{"properties.desired.wifi":{"ssid":"plant","n":1.50,"gone":null},"properties.desired.fan.speed":3}}`)
		w.settle()
		w.check(dev("d0"), `{}`, nil)
		w.check(dev("d1"), `{"mine":1,"wifi":{"ssid":"plant","n":1.50},"fan":{"speed":3}}`, on{"wifi": applied})

		// A device that comes, and one that becomes one.
		w.create(dev("d3"), false, `{"site":1}`)
		w.tag(dev("d0"), `{"site":1}`)
		w.settle()
		for _, d := range []string{"d0", "d3"} {
			w.check(dev(d), `{"wifi":{"ssid":"plant","n":1.50},"fan":{"speed":3}}`, on{"wifi": applied})
		}
		// What somebody changes there comes back, what is beside it is theirs.
		w.desire(dev("d0"), `{"wifi":{"ssid":"x","also":1},"fan":{"light":true}}`)
		w.settle()
		w.check(dev("d0"), `{"wifi":{"ssid":"plant","n":1.50},"fan":{"speed":3,"light":true}}`, on{"wifi": applied})

		// Out of the target: what the configuration set goes, nothing else.
		w.tag(dev("d0"), `{"site":null}`)
		w.tag(dev("d1"), `{"site":2}`)
		w.settle()
		w.check(dev("d0"), `{"fan":{"light":true}}`, nil)
		w.check(dev("d1"), `{"mine":1}`, nil)

		// Another condition, then none at all.
		w.change("wifi", func(c *deploy.Configuration) { c.TargetCondition = "deviceId IN ['d0','d2']" })
		w.settle()
		w.check(dev("d0"), `{"wifi":{"ssid":"plant","n":1.50},"fan":{"speed":3,"light":true}}`, on{"wifi": applied})
		w.check(dev("d3"), `{}`, nil)
		w.change("wifi", func(c *deploy.Configuration) { c.TargetCondition = "" })
		w.settle()
		w.check(dev("d2"), `{}`, nil)
		w.check(dev("d0"), `{"fan":{"light":true}}`, nil)

		w.change("wifi", func(c *deploy.Configuration) { c.TargetCondition = "*" })
		w.settle()
		w.check(dev("d3"), `{"wifi":{"ssid":"plant","n":1.50},"fan":{"speed":3}}`, on{"wifi": applied})
		w.remove("wifi")
		w.settle()
		for _, d := range []string{"d2", "d3"} {
			w.check(dev(d), `{}`, nil)
		}
	})
}

// TestPriority lets configurations of one setting meet.
func TestPriority(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, `{"a":1}`)
		content := func(v int) string {
			return fmt.Sprintf(`{"deviceContent":{"properties.desired.x":{"v":%d},"properties.desired.only%d":true}}`, v, v)
		}
		w.put("one", 5, "*", `{"deviceContent":{"properties.desired.x":{"v":1}}}`)
		w.put("two", 5, "tags.a = 1", content(2)) // the younger of a priority wins
		w.put("low", 1, "*", content(3))          // has a say in what others leave
		w.put("inner", 9, "*", `{"deviceContent":{"properties.desired.x.deep":"d"}}`)
		w.settle()
		w.check(dev("d"), `{"x":{"v":2,"deep":"d"},"only2":true,"only3":true}`, on{"one": targeted, "two": applied, "low": applied, "inner": applied})

		w.tag(dev("d"), `{"a":2}`)
		w.settle()
		w.check(dev("d"), `{"x":{"v":1,"deep":"d"},"only3":true}`, on{"one": applied, "low": applied, "inner": applied})

		w.change("low", func(c *deploy.Configuration) { c.Priority = 20 })
		w.settle()
		w.check(dev("d"), `{"x":{"v":3},"only3":true}`, on{"one": targeted, "low": applied, "inner": targeted})

		w.remove("low")
		w.remove("inner")
		w.settle()
		w.check(dev("d"), `{"x":{"v":1}}`, on{"one": applied})

		// The same id again, with something else in it.
		w.remove("one")
		w.put("one", 1, "*", `{"deviceContent":{"properties.desired.y":[1,[],{"z":{"n":null}}]}}`)
		w.settle()
		w.check(dev("d"), `{"y":[1,[],{"z":{}}]}`, on{"one": applied})
		// Looked at again it is as it should be.
		before := w.get(dev("d")).Twin.Version
		w.tag(dev("d"), `{"a":7}`)
		w.desire(dev("d"), `{"other":1}`)
		w.settle()
		if after := w.get(dev("d")).Twin.Version; after != before+2 {
			t.Errorf("version %d after two changes of %d", after, before)
		}
	})
}

// TestModuleConfiguration has conditions on modules.
func TestModuleConfiguration(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.create(mod("d", "m1"), false, "")
		w.create(mod("d", "m2"), false, "")
		w.put("c", 1, "from devices.modules where moduleId='m1' and tags.building=9", `{"moduleContent":{"properties.desired.v":1}}`)
		w.put("all", 1, "FROM devices.modules", `{"moduleContent":{"properties.desired.w":1}}`)
		w.settle()
		w.check(mod("d", "m1"), `{"w":1}`, on{"all": applied})
		w.tag(mod("d", "m1"), `{"building":9}`)
		w.create(mod("d", "m3"), false, "")
		w.settle()
		w.check(mod("d", "m1"), `{"v":1,"w":1}`, on{"c": applied, "all": applied})
		w.check(mod("d", "m3"), `{"w":1}`, on{"all": applied})
		w.check(dev("d"), `{}`, nil)
		w.remove("all")
		w.tag(mod("d", "m1"), `{"building":8}`)
		w.settle()
		for _, m := range []string{"m1", "m2", "m3"} {
			w.check(mod("d", m), `{}`, nil)
		}
	})
}

// TestReported has a condition on what devices report, and on the status of
// another configuration.
func TestReported(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.put("new", 1, "properties.reported.fw.version = 2", `{"deviceContent":{"properties.desired.n":1}}`)
		w.put("after", 1, "configurations.[[new]].status = 'Applied'", `{"deviceContent":{"properties.desired.a":1}}`)
		w.put("own", 1, "properties.desired.a = 1", `{"deviceContent":{"properties.desired.o":1}}`)
		w.settle()
		w.check(dev("d"), `{}`, nil)
		report := func(text string) {
			if _, err := w.registry.Report(t.Context(), dev("d"), causeway.Patch{Properties: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		report(`{"f\u0077":{"version":2}}`)
		w.settle()
		w.check(dev("d"), `{"n":1,"a":1,"o":1}`, on{"new": applied, "after": applied, "own": applied})
		report(`{"fw":null}`)
		w.settle()
		w.check(dev("d"), `{}`, nil)
	})
}

// TestOnlyWhatChanged counts how often conditions are asked: a change that none
// of them reads costs nothing, and none costs a pass over all devices.
func TestOnlyWhatChanged(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		for i := range 50 {
			w.create(dev(fmt.Sprint("d", i)), false, "")
		}
		for i := range 20 {
			w.put(fmt.Sprint("c", i), i, fmt.Sprintf("tags.t%d = 1", i), fmt.Sprintf(`{"deviceContent":{"properties.desired.p%d":1}}`, i))
		}
		w.settle()
		rows, passes := w.query.rows.Load(), w.query.passes.Load()
		w.tag(dev("d7"), `{"other":1}`)
		w.desire(dev("d7"), `{"free":1}`)
		if _, err := w.registry.Report(t.Context(), dev("d7"), causeway.Patch{Properties: []byte(`{"t1":1}`)}); err != nil {
			t.Fatal(err)
		}
		w.settle()
		if n := w.query.rows.Load() - rows; n != 0 {
			t.Errorf("%d looks at a device whose changes no condition reads", n)
		}
		w.tag(dev("d7"), `{"t3":1}`)
		w.settle()
		if n := w.query.rows.Load() - rows; n != 1 {
			t.Errorf("%d looks for one change, want 1", n)
		}
		if n := w.query.passes.Load() - passes; n != 0 {
			t.Errorf("%d passes over devices for changes of twins", n)
		}
		w.check(dev("d7"), `{"free":1,"p3":1}`, on{"c3": applied})
	})
}

// TestFlapping has a configuration whose condition it makes false itself.
func TestFlapping(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.create(dev("e"), false, `{"x":1}`)
		w.put("flap", 1, "NOT IS_DEFINED(properties.desired.x)", `{"deviceContent":{"properties.desired.x":1}}`)
		w.put("other", 1, "tags.x = 1", `{"deviceContent":{"properties.desired.y":1}}`)
		w.start()
		pass(time.Hour)
		if v := w.get(dev("d")).Twin.Desired.Version; v < 10 || v > 50 {
			t.Errorf("%d changes in an hour", v)
		}
		if w.get(dev("e")).Configurations["other"] != applied {
			t.Error("another configuration was kept from its device")
		}
		w.remove("flap")
		pass(10 * time.Minute)
		w.settle()
		w.check(dev("d"), `{}`, nil)
	})
}

// TestVolatile has a condition on connections, of which nobody tells.
func TestVolatile(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.put("c", 1, "connectionState = 'Connected'", `{"deviceContent":{"properties.desired.x":1}}`)
		w.settle()
		w.check(dev("d"), `{}`, nil)
		for _, connected := range []bool{true, false} {
			w.must(w.registry.Touch(t.Context(), registry.Activity{ID: dev("d"), Connected: connected, StateUpdated: time.Now()}))
			pass(6 * time.Minute)
			if connected {
				w.check(dev("d"), `{"x":1}`, on{"c": applied})
			} else {
				w.check(dev("d"), `{}`, nil)
			}
		}
	})
}

// TestTooLarge has a content that is too large beside what is there.
func TestTooLarge(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.create(dev("e"), false, "")
		text := func(name string) string {
			s := `{"fill":{`
			for i := range 5 {
				s += fmt.Sprintf(`"%s%d":"%04000d",`, name, i, 0)
			}
			return s[:len(s)-1] + "}}"
		}
		w.desire(dev("d"), text("a"))
		mine := string(w.get(dev("d")).Twin.Desired.Properties)
		big := text("b")
		w.put("small", 1, "*", `{"deviceContent":{"properties.desired.s":1}}`)
		w.settle()
		w.put("big", 2, "*", `{"deviceContent":{"properties.desired.big":`+big+`}}`)
		w.settle()
		w.check(dev("d"), mine[:len(mine)-1]+`,"s":1}`, on{"small": applied, "big": targeted})
		w.check(dev("e"), `{"s":1,"big":`+big+`}`, on{"small": applied, "big": applied})
		w.desire(dev("d"), `{"fill":null}`) // makes room
		w.settle()
		w.check(dev("d"), `{"s":1,"big":`+big+`}`, on{"small": applied, "big": applied})
	})
}
