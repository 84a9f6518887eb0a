package iothub_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
)

func TestDeviceLife(t *testing.T) {
	w := newWorld(t)
	w.get("/devices/d1").refused(causeway.DeviceNotFound)

	created := w.put("/devices/d1", `{"deviceId":"d1","status":"enabled","unknown":{"member":1}}`).want(200)
	etag := created.text("etag")
	if created.header.Get("ETag") != `"`+etag+`"` {
		t.Errorf("ETag header %q, body %q", created.header.Get("ETag"), etag)
	}
	if k := created.text("authentication", "symmetricKey", "primaryKey"); len(k) != 44 {
		t.Errorf("generated key %q", k)
	}
	w.put("/devices/d1", `{}`).refused(causeway.DeviceAlreadyExists)

	if got := w.get("/devices/d1").want(200); string(got.body) != string(created.body) {
		t.Errorf("read differs from created:\n%s\n%s", got.body, created.body)
	}
	w.put("/devices/d1", `{"status":"disabled"}`, "If-Match", `"stale"`).refused(causeway.PreconditionFailed)
	updated := w.put("/devices/d1", `{"status":"Disabled","statusReason":"maintenance"}`, "If-Match", etag).want(200)
	if updated.text("status") != "disabled" || updated.text("statusReason") != "maintenance" {
		t.Errorf("updated: %s", updated.body)
	}
	if updated.text("etag") == etag {
		t.Error("etag did not change")
	}
	if got, was := updated.json("authentication"), created.json("authentication"); !equalJSON(got, was) {
		t.Errorf("keys changed though the update did not give any: %v, were %v", got, was)
	}
	// What was read can be sent back, null members included.
	if back := w.put("/devices/d1", string(updated.body), "If-Match", `"*"`).want(200); !equalJSON(back.json("authentication"), created.json("authentication")) {
		t.Errorf("sending back what was read changed the keys: %s", back.body)
	}
	cleared := w.put("/devices/d1", `{"statusReason":null}`, "If-Match", "*").want(200)
	if cleared.json("statusReason") != nil {
		t.Errorf("statusReason was not cleared: %s", cleared.body)
	}

	w.delete("/devices/d1", "If-Match", `"stale"`).refused(causeway.PreconditionFailed)
	if a := w.delete("/devices/d1", "If-Match", cleared.header.Get("ETag")).want(204); len(a.body) != 0 {
		t.Errorf("body of a deletion: %s", a.body)
	}
	w.delete("/devices/d1").refused(causeway.DeviceNotFound)
	w.put("/devices/d1", `{}`, "If-Match", "*").refused(causeway.DeviceNotFound)
}

func TestUpdateKeys(t *testing.T) {
	const k1, k2 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	thumb := strings.Repeat("Ab", 20)
	for _, tc := range []struct {
		name, body              string
		typ, primary, secondary string // "" is null, "new" is other than k1
		thumb                   string
	}{
		{"absent authentication keeps keys", `{}`, "sas", k1, k2, ""},
		{"absent keys are kept", `{"authentication":{"type":"sas"}}`, "sas", k1, k2, ""},
		{"null keys are kept", `{"authentication":{"type":"sas","symmetricKey":{"primaryKey":null,"secondaryKey":null}}}`, "sas", k1, k2, ""},
		{"empty keys are made anew", `{"authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}}`, "sas", "new", "new", ""},
		{"given keys are taken", `{"authentication":{"symmetricKey":{"primaryKey":"` + k2 + `","secondaryKey":"` + k1 + `"}}}`, "sas", k2, k1, ""},
		{"type in any case", `{"authentication":{"type":"SelfSigned","x509Thumbprint":{"primaryThumbprint":"` + thumb + `"}}}`, "selfSigned", "", "", thumb},
		{"type inferred from thumbprint", `{"authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":""},"x509Thumbprint":{"primaryThumbprint":"` + thumb + `"}}}`, "selfSigned", "", "", thumb},
		{"authority has no secrets", `{"authentication":{"type":"certificateAuthority","symmetricKey":{"primaryKey":"` + k1 + `","secondaryKey":"` + k2 + `"}}}`, "certificateAuthority", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.put("/devices/d", `{"authentication":{"symmetricKey":{"primaryKey":"`+k1+`","secondaryKey":"`+k2+`"}}}`).want(200)
			a := w.put("/devices/d", tc.body, "If-Match", "*").want(200)
			if got := a.text("authentication", "type"); got != tc.typ {
				t.Errorf("type %q, want %q", got, tc.typ)
			}
			for _, k := range []struct{ name, want string }{{"primaryKey", tc.primary}, {"secondaryKey", tc.secondary}} {
				got, _ := a.json("authentication", "symmetricKey", k.name).(string)
				if k.want == "new" && (got == k1 || got == k2 || len(got) != 44) || k.want != "new" && got != k.want {
					t.Errorf("%s is %q, want %q", k.name, got, k.want)
				}
			}
			if got, _ := a.json("authentication", "x509Thumbprint", "primaryThumbprint").(string); got != tc.thumb {
				t.Errorf("thumbprint %q, want %q", got, tc.thumb)
			}
		})
	}
}

func TestEdgeAndParents(t *testing.T) {
	w := newWorld(t)
	edge := w.put("/devices/gw", `{"capabilities":{"iotEdge":true}}`).want(200)
	scope := edge.text("deviceScope")
	if !strings.HasPrefix(scope, "ms-azure-iot-edge://gw-") {
		t.Errorf("scope %q", scope)
	}
	mods := w.get("/devices/gw/modules").want(200)
	if n := len(mods.json().([]any)); n != 2 || !strings.Contains(string(mods.body), `"$edgeHub"`) {
		t.Errorf("modules of an edge device: %s", mods.body)
	}
	leaf := w.put("/devices/leaf", `{"deviceScope":"`+scope+`"}`).want(200)
	if leaf.json("parentScopes").([]any)[0] != scope {
		t.Errorf("leaf: %s", leaf.body)
	}
	for _, body := range []string{
		`{"parentScopes":[]}`, `{"deviceScope":""}`, `{"deviceScope":null,"parentScopes":[]}`,
		`{"deviceScope":"","parentScopes":["` + scope + `"]}`, // as az does: the other one as it was read
	} {
		w.put("/devices/leaf", `{"deviceScope":"`+scope+`"}`, "If-Match", "*").want(200)
		free := w.put("/devices/leaf", body, "If-Match", "*").want(200)
		if free.json("deviceScope") != nil || free.json("parentScopes") != nil {
			t.Errorf("%s left a parent: %s", body, free.body)
		}
	}
	w.put("/devices/leaf", `{"parentScopes":["ms-azure-iot-edge://nobody-1"]}`, "If-Match", "*").refused(causeway.InvalidDeviceScope)
}

func TestModuleLife(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d/modules/m", `{}`).refused(causeway.DeviceNotFound)
	w.get("/devices/d/modules").refused(causeway.DeviceNotFound)
	w.put("/devices/d", `{}`).want(200)
	w.get("/devices/d/modules/m").refused(causeway.ModuleNotFound)
	if a := w.get("/devices/d/modules").want(200); string(a.body) != "[]" {
		t.Errorf("no modules: %s", a.body)
	}
	m := w.put("/devices/d/modules/m", `{"deviceId":"d","moduleId":"m","managedBy":"iotEdge"}`).want(200)
	if m.text("managedBy") != "iotEdge" {
		t.Errorf("module: %s", m.body)
	}
	w.put("/devices/d/modules/m", `{}`).refused(causeway.ModuleAlreadyExistsOnDevice)
	w.put("/devices/d/modules/m", `{}`, "If-Match", m.header.Get("ETag")).want(200)
	w.put("/devices/d/modules/m", `{}`, "If-Match", m.header.Get("ETag")).refused(causeway.PreconditionFailed)
	for _, id := range []string{"$user"} {
		w.put("/devices/d/modules/"+id, `{}`).refused(causeway.SystemModuleModifyUnauthorizedAccess)
	}
	w.delete("/devices/d/modules/m", "If-Match", `"*"`).want(204)
	w.get("/devices/d/modules/m").refused(causeway.ModuleNotFound)
}

func TestListAndStatistics(t *testing.T) {
	w := newWorld(t)
	if a := w.get("/devices").want(200); string(a.body) != "[]" {
		t.Errorf("no devices: %s", a.body)
	}
	for _, id := range []string{"a", "b", "c"} {
		w.put("/devices/"+id, `{}`).want(200)
	}
	w.put("/devices/c", `{"status":"disabled"}`, "If-Match", "*").want(200)
	w.hub.setState(causeway.Identity{Hub: "myhub", Device: "b"}, presence.State{Connected: true, Updated: time.Now()})
	for path, want := range map[string]int{"/devices": 3, "/devices/?top=2": 2, "/devices?top=1000": 3} {
		if n := len(w.get(path).want(200).json().([]any)); n != want {
			t.Errorf("GET %s: %d devices, want %d", path, n, want)
		}
	}
	n := w.get("/statistics/devices").want(200)
	if n.text("totalDeviceCount") != "3" || n.text("enabledDeviceCount") != "2" || n.text("disabledDeviceCount") != "1" {
		t.Errorf("statistics: %s", n.body)
	}
	if n := w.get("/statistics/service").want(200); n.text("connectedDeviceCount") != "1" {
		t.Errorf("statistics: %s", n.body)
	}
}

// TestOddIDs shows that ids are decoded exactly once.
func TestOddIDs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a%b", "a%2Fb", "x#y?z", "$me@here,(it)='s:*!_-.+", "%25"} {
		if a := w.put(pathOf("devices", id), `{"deviceId":"`+id+`"}`).want(200); a.text("deviceId") != id {
			t.Errorf("created %q, want %q", a.text("deviceId"), id)
		}
		w.get(pathOf("devices", id)).want(200)
		w.get(pathOf("twins", id)).want(200)
		w.put(pathOf("devices", id, "modules", "m"+id), `{}`).want(200)
		w.get(pathOf("twins", id, "modules", "m"+id)).want(200)
		w.delete(pathOf("devices", id)).want(204)
	}
}

func TestPathForms(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/d", `{}`).want(200)
	w.get("/devices/d/").want(200)
	w.get("/Devices/d").want(200)
	w.get("/devices/D").refused(causeway.DeviceNotFound) // ids have case
	w.do(request{method: "GET", path: "/devices/d", host: hubHost + ":8443"}).want(200)
	w.do(request{method: "GET", path: "/devices/d", host: strings.ToUpper(hubHost)}).want(200)
	w.do(request{method: "GET", path: "/devices/d", host: "localhost", header: http.Header{"Authorization": {tokenFor("iothubowner", "localhost", time.Hour)}}}).want(200)
	if a := w.post("/devices/d", `{}`).refused(causeway.GenericMethodNotAllowed); a.header.Get("Allow") != "GET, PUT, DELETE" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	for _, path := range []string{"/", "/nothing", "/devices/d/files", "/devices//modules", "/devices/a/b/c/d/e/f/g/h/i/j"} {
		w.get(path).refused(causeway.GenericNotFound)
	}
}
