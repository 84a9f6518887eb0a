package deploy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// TestRestartInARollout stops, and crashes, while a configuration is on its way
// to many devices.
func TestRestartInARollout(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			bubble(t, deploy.Options{Rate: 10}, func(t *testing.T, w *world) {
				const devices = 200
				for i := range devices {
					w.create(dev(fmt.Sprintf("d%03d", i)), false, "")
				}
				count := func() (n int) {
					for i := range devices {
						if w.get(dev(fmt.Sprintf("d%03d", i))).Configurations["c"] == applied {
							n++
						}
					}
					return n
				}
				w.put("c", 1, "*", plain)
				for round, last := 1, 0; round <= 2; round++ {
					w.start()
					pass(4 * time.Second)
					if crash {
						w.store.Fail(func(string) error { return causeway.Errorf(causeway.ServiceUnavailable, "test", "dead") })
					}
					w.halt()
					w.store.Fail(nil)
					if n := count(); n <= last || n > devices*9/10 {
						t.Fatalf("round %d: %d devices have it, %d before", round, n, last)
					} else {
						last = n
					}
					w.open()
				}
				w.start()
				pass(time.Minute)
				if n := count(); n != devices {
					t.Errorf("%d of %d devices have it", n, devices)
				}
				if all, err := w.store.Configurations(t.Context()); err != nil || len(all) != 1 || all[0].Pending {
					t.Errorf("stored: %+v, %v", all, err)
				}
				// The same with its deletion.
				w.remove("c")
				pass(4 * time.Second)
				w.halt()
				w.open()
				w.start()
				pass(time.Minute)
				if n := count(); n != 0 {
					t.Errorf("%d devices have it still", n)
				}
				if all, err := w.store.Configurations(t.Context()); err != nil || len(all) != 0 {
					t.Errorf("stored: %+v, %v", all, err)
				}
			})
		})
	}
}

// TestChangesOverARestart changes devices when nobody is at work.
func TestChangesOverARestart(t *testing.T) {
	bubble(t, deploy.Options{Queue: 3}, func(t *testing.T, w *world) {
		w.put("c", 1, "tags.a = 1", plain)
		w.settle()
		w.halt()
		w.open() // hears, but does nothing yet
		for i := range 10 {
			w.create(dev(fmt.Sprint("d", i)), false, `{"a":1}`)
		}
		w.open() // as after a crash
		w.settle()
		for i := range 10 {
			w.check(dev(fmt.Sprint("d", i)), `{"a":1}`, on{"c": applied})
		}
	})
}

// TestForget deletes a hub and makes it again.
func TestForget(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("d"), false, "")
		w.put("c", 1, "*", plain)
		w.settle()
		w.must(w.registry.Delete(t.Context(), dev("d"), "*"))
		w.store.DeleteHub(hub)
		w.service.Forget(hub)
		if list := w.service.List(hub, 0); len(list) != 0 {
			t.Errorf("a hub that is gone has %v", list)
		}
		w.create(dev("d"), false, "")
		w.settle()
		w.check(dev("d"), `{}`, nil)
		w.put("c", 1, "*", plain)
		w.settle()
		w.check(dev("d"), `{"a":1}`, on{"c": applied})
	})
}

// TestMetrics has the generated queries, which tools send as they are, and their
// results.
func TestMetrics(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		edgeApplied := "select deviceId from devices.modules where moduleId = '$edgeAgent' and configurations.[[%s]].status = 'Applied'"
		version := " and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code "
		layer := `{"modulesContent":{"m":{"properties.desired.a":1}}}`
		of := func(targetedText, appliedText string) on {
			return on{"targetedCount": targetedText, "appliedCount": appliedText}
		}
		edge := func(id, targetedText string) on {
			a := fmt.Sprintf(edgeApplied, id)
			m := of(targetedText, a)
			m["reportedSuccessfulCount"], m["reportedFailedCount"] = a+version+"= 200", a+version+"!= 200"
			return m
		}
		device := func(id string) string {
			return "select deviceId from devices where configurations.[[" + id + "]].status = 'Applied'"
		}
		modules := func(id string) string {
			return "select deviceId, moduleId from devices.modules where configurations.[[" + id + "]].status = 'Applied'"
		}
		n := 0
		for id, x := range map[string]struct {
			condition, content string
			want               on
		}{
			"d-1": {"tags.a='b' or 1 = 1", plain, of("select deviceId from devices where tags.a='b' or 1 = 1", device("d-1"))},
			"d-2": {"*", plain, of("select deviceId from devices", device("d-2"))},
			"d-3": {"", plain, of("select deviceId from devices where false", device("d-3"))},
			"m-1": {"FROM devices.modules WHERE moduleId='m'", `{"moduleContent":{"properties.desired.a":1}}`, of("select deviceId, moduleId FROM devices.modules WHERE moduleId='m'", modules("m-1"))},
			"e-1": {"tags.a='b'", layer, edge("e-1", "select deviceId from devices where capabilities.iotEdge = true and tags.a='b'")},
			"e-2": {"*", layer, edge("e-2", "select deviceId from devices where capabilities.iotEdge = true")},
			"e-3": {"tags.a='b' or tags.a='c'", layer, edge("e-3", "select deviceId from devices where capabilities.iotEdge = true and (tags.a='b' or tags.a='c')")},
		} {
			w.put(id, 1, x.condition, x.content)
			w.change(id, func(c *deploy.Configuration) {
				c.Metrics = on{"mine": "select deviceId from devices where tags.n = '" + id + "'"}
			})
			for _, text := range x.want {
				if q, err := hubquery.Parse(text); err != nil {
					t.Errorf("%s: %v", text, err)
				} else if _, err := hubquery.Compile(q); err != nil {
					t.Errorf("%s: %v", text, err)
				}
				n++
				w.query.counts[text] = n
			}
			w.query.counts["select deviceId from devices where tags.n = '"+id+"'"] = 1000
			m, err := w.service.Metrics(t.Context(), hub, id, true)
			w.must(err)
			if d := cmp.Diff(x.want, m.SystemQueries); d != "" {
				t.Errorf("%s: -want +got\n%s", id, d)
			}
			for name, text := range x.want {
				if m.System[name] != w.query.counts[text] {
					t.Errorf("%s of %s is %d, want %d", name, id, m.System[name], w.query.counts[text])
				}
			}
			if m.Custom["mine"] != 1000 || !strings.Contains(m.CustomQueries["mine"], id) {
				t.Errorf("custom metrics of %s: %v of %v", id, m.Custom, m.CustomQueries)
			}
		}
		// Kept a while, then counted again by itself.
		w.query.counts["select deviceId from devices"] = 7777
		read := func(fresh bool) int {
			m, err := w.service.Metrics(t.Context(), hub, "d-2", fresh)
			w.must(err)
			return m.System["targetedCount"]
		}
		if n := read(false); n == 7777 {
			t.Error("counted for a list")
		}
		w.start()
		pass(11 * time.Minute)
		if n := read(false); n != 7777 {
			t.Errorf("targeted %d after a while", n)
		}
		w.query.counts["select deviceId from devices"] = 8888
		pass(time.Minute)
		if n := read(true); n != 8888 {
			t.Errorf("targeted %d when counted", n)
		}
		if _, err := w.service.Metrics(t.Context(), hub, "nobody", true); causeway.CodeOf(err) != causeway.ConfigurationNotFound {
			t.Error(err)
		}
	})
}

// TestBrokenContent: a stored content that this version of the program does not
// take, or that cannot be read at all, keeps nobody from working. What it set
// stays, also where the device has others, until it is mended or deleted; those
// of a higher precedence go on.
func TestBrokenContent(t *testing.T) {
	for name, spoil := range map[string]func(*deploy.Stored){
		"content": func(c *deploy.Stored) { c.Content = json.RawMessage(`{"deviceContent":{"of.old.a":1}}`) },
		"layers":  func(c *deploy.Stored) { c.Content = json.RawMessage(`{"bygone":1}`) },
		"nothing": func(c *deploy.Stored) {
			*c = deploy.Stored{Hub: c.Hub, Damaged: errors.New("unexpected end of JSON"), Configuration: deploy.Configuration{
				ID: c.ID, Created: c.Created, Updated: c.Updated, ETag: c.ETag,
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, deploy.Options{}, func(t *testing.T, w *world) { testBrokenContent(t, w, name, spoil) })
		})
	}
}

func testBrokenContent(t *testing.T, w *world, name string, spoil func(*deploy.Stored)) {
	w.create(dev("has"), false, `{"a":1}`)
	w.create(dev("edge"), true, "")
	w.create(dev("by-hand"), true, "")
	w.put("low", 1, "tags.a = 1", `{"deviceContent":{"properties.desired.low":1,"properties.desired.a":0}}`)
	w.put("old", 5, "tags.a = 1", plain)
	w.put("base", 1, "deviceId IN ['edge', 'by-hand']", base("", ""))
	w.settle()
	manual := base(`"mine":`+module("mine:1"), "")
	w.must(w.service.ApplyContent(t.Context(), dev("by-hand"), []byte(manual)))
	w.settle()
	agent, byHand := w.get(mod("edge", "$edgeAgent")).Twin.Desired.Properties, w.get(mod("by-hand", "$edgeAgent")).Twin.Desired.Properties
	w.store.Fail(func(string) error { return causeway.Errorf(causeway.ServiceUnavailable, "test", "dead") })
	w.halt() // a crash: everything is looked at again
	w.store.Fail(nil)
	all, err := w.store.Configurations(t.Context())
	w.must(err)
	for _, c := range all {
		if c.ID != "low" {
			spoil(&c)
			w.must(w.store.PutConfiguration(t.Context(), c))
		}
	}
	w.open()
	if n := w.service.Broken(hub); n != 2 {
		t.Errorf("%d are broken", n)
	}
	list := w.service.List(hub, 0)
	if len(list) != 3 || list[0].Problem == "" || list[1].Problem != "" || list[2].Problem == "" {
		t.Errorf("listed: %+v", list)
	}
	w.create(dev("new"), false, `{"a":1}`)
	w.create(dev("newer"), true, "")
	w.put("high", 9, "tags.a = 1", `{"deviceContent":{"properties.desired.b":2,"properties.desired.low":7}}`)
	w.put("lower", 0, "tags.a = 1", `{"deviceContent":{"properties.desired.c":3}}`)
	w.put("edge-low", 0, "*", base(`"low":`+module("low:1"), ""))
	w.settle()
	held := on{"old": applied, "low": applied, "high": applied, "lower": targeted}
	have := `{"a":1,"b":2,"low":7}`
	if name == "nothing" { // nobody knows whether it wins
		held["high"], have = targeted, `{"a":1,"low":1}`
	}
	w.check(dev("has"), have, held)
	w.check(dev("new"), `{"a":0,"b":2,"c":3,"low":7}`, on{"low": applied, "high": applied, "lower": applied})
	w.check(mod("edge", "$edgeAgent"), string(agent), on{"base": applied, "edge-low": targeted})
	w.check(mod("by-hand", "$edgeAgent"), string(byHand), on{"base": targeted, "edge-low": targeted})
	w.checkModules("edge")
	w.checkModules("by-hand", "mine")
	w.checkModules("newer", "low")
	// Something is changed by others: nothing of it is undone, nothing is lost.
	w.desire(dev("has"), `{"own":1}`)
	w.tag(dev("has"), `{"other":1}`)
	w.settle()
	w.halt()
	w.open()
	w.settle()
	r := w.get(dev("has"))
	if r.Configurations["old"] != applied || !strings.Contains(string(r.Twin.Desired.Properties), `"a":1`) {
		t.Errorf("after changes: %s %v", r.Twin.Desired.Properties, r.Configurations)
	}

	// Another content is taken for one that makes no sense, none is not.
	c, err := w.service.Get(hub, "old")
	w.must(err)
	c.Content = nil
	if _, err := w.service.Put(t.Context(), hub, c, c.ETag); causeway.CodeOf(err) != causeway.InvalidConfigurationContent {
		t.Errorf("mended with nothing: %v", err)
	}
	w.change("old", func(c *deploy.Configuration) {
		c.Content, c.TargetCondition, c.Priority = json.RawMessage(`{"deviceContent":{"properties.desired.n":4}}`), "tags.a = 1", 5
	})
	w.remove("base")
	w.settle()
	w.check(dev("has"), `{"b":2,"low":7,"n":4,"own":1,"a":0,"c":3}`, on{"old": applied, "low": applied, "high": applied, "lower": applied})
	w.check(dev("new"), `{"b":2,"low":7,"n":4,"a":0,"c":3}`, on{"old": applied, "low": applied, "high": applied, "lower": applied})
	w.checkModules("edge", "low")
	if n := w.service.Broken(hub); n != 0 {
		t.Errorf("%d are broken", n)
	}
	if _, err := w.service.Put(t.Context(), hub, deploy.Configuration{ID: "old", Content: json.RawMessage(plain)}, "*"); causeway.CodeOf(err) != causeway.CannotModifyImmutableConfigurationContent {
		t.Errorf("another content for a sound one: %v", err)
	}
}

// TestBrokenCondition: a stored condition that this version of the program does
// not take keeps nobody from working. Devices that have the configuration keep
// it, also when all are looked at; no other gets it; the others go on, and so
// does it once it is mended.
func TestBrokenCondition(t *testing.T) {
	bubble(t, deploy.Options{}, func(t *testing.T, w *world) {
		w.create(dev("has"), false, `{"a":1}`)
		w.create(dev("edge"), true, "")
		w.put("old", 1, "tags.a = 1", plain)
		w.put("layer", 1, "deviceId = 'edge'", base("", ""))
		w.settle()
		agent := w.get(mod("edge", "$edgeAgent")).Twin.Desired.Properties
		w.store.Fail(func(string) error { return causeway.Errorf(causeway.ServiceUnavailable, "test", "dead") })
		w.halt() // a crash: everything is looked at again
		w.store.Fail(nil)
		all, err := w.store.Configurations(t.Context())
		w.must(err)
		for _, c := range all {
			c.TargetCondition = "EVERY device"
			w.must(w.store.PutConfiguration(t.Context(), c))
		}
		w.open()
		if n := w.service.Broken(hub); n != 2 {
			t.Errorf("%d are broken", n)
		}
		w.create(dev("new"), false, `{"a":1}`)
		w.put("sound", 2, "tags.a = 1", `{"deviceContent":{"properties.desired.b":2}}`)
		w.settle()
		w.check(dev("has"), `{"a":1,"b":2}`, on{"old": applied, "sound": applied})
		w.check(dev("new"), `{"b":2}`, on{"sound": applied})
		w.check(mod("edge", "$edgeAgent"), string(agent), on{"layer": applied})
		w.change("old", func(c *deploy.Configuration) { c.TargetCondition = "tags.a = 1" })
		w.change("layer", func(c *deploy.Configuration) { c.TargetCondition = "deviceId = 'edge'" })
		w.settle()
		w.check(dev("new"), `{"a":1,"b":2}`, on{"old": applied, "sound": applied})
		w.check(mod("edge", "$edgeAgent"), string(agent), on{"layer": applied})
		if n := w.service.Broken(hub); n != 0 {
			t.Errorf("%d are broken", n)
		}
	})
}
