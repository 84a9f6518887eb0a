package registry_test

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/twin"
)

func TestCreateDevice(t *testing.T) {
	w := newWorld(t)
	before := time.Now().Add(-time.Second)
	got := w.create(registry.Record{
		ID: dev("d"), Enabled: true, StatusReason: "new",
		// What callers may not choose.
		GenerationID: "1", ETag: "mine", Created: time.Unix(0, 0), Connected: true, LastActivity: time.Now(), ManagedBy: "me",
		Twin: registry.Twin{Version: 77, ETag: 77},
	})
	if n, err := strconv.ParseInt(got.GenerationID, 10, 64); err != nil || n < 638_000_000_000_000_000 {
		t.Errorf("generation id %q is not in ticks", got.GenerationID)
	}
	if text, err := base64.StdEncoding.DecodeString(got.ETag); err != nil || strings.Trim(string(text), "0123456789") != "" {
		t.Errorf("etag %q is not base64 of a number", got.ETag)
	}
	if got.Created.Before(before) || !got.StatusUpdated.Equal(got.Created) || got.Connected || !got.LastActivity.IsZero() || got.ManagedBy != "" || got.Edge || got.DeviceScope != "" {
		t.Errorf("created %+v", got)
	}
	for _, k := range []causeway.Secret{got.Auth.Primary, got.Auth.Secondary} {
		if b, err := base64.StdEncoding.DecodeString(string(k)); err != nil || len(b) != 32 {
			t.Errorf("generated key has %d bytes (%v)", len(b), err)
		}
	}
	if got.Auth.Type != auth.SAS || got.Auth.Primary == got.Auth.Secondary {
		t.Errorf("authentication %+v", got.Auth)
	}
	if tw := got.Twin; tw.Version != 2 || tw.ETag != 1 || string(tw.Tags) != "{}" ||
		tw.Desired.Version != 1 || string(tw.Desired.Properties) != "{}" || tw.Reported.Version != 1 || string(tw.Reported.Properties) != "{}" ||
		!strings.HasPrefix(string(tw.Desired.Metadata), `{"$lastUpdated":"20`) || strings.Contains(string(tw.Desired.Metadata), "Version") {
		t.Errorf("twin %+v", tw)
	}
	if again := w.get(dev("d")); again.GenerationID != got.GenerationID || again.Auth != got.Auth {
		t.Errorf("get returned %+v", again)
	}
	stored, err := w.store.Store.Get(t.Context(), dev("d"))
	if err != nil || !strings.HasPrefix(string(stored.Auth.Primary), "sealed(registry/hub/d//primary)") || !strings.HasPrefix(string(stored.Auth.Secondary), "sealed(registry/hub/d//secondary)") {
		t.Errorf("stored keys %s %s, %v", string(stored.Auth.Primary), string(stored.Auth.Secondary), err)
	}

	_, err = w.Create(t.Context(), registry.Record{ID: dev("d")})
	w.wantCode(err, causeway.DeviceAlreadyExists, "exists")
	if err := w.Delete(t.Context(), dev("d"), ""); err != nil {
		t.Fatal(err)
	}
	if again := w.device("d"); again.GenerationID <= got.GenerationID || again.ETag == got.ETag {
		t.Errorf("second life has generation %s after %s", again.GenerationID, got.GenerationID)
	}
}

func TestCreateWithDocuments(t *testing.T) {
	w := newWorld(t)
	got := w.create(registry.Record{ID: dev("d"), Twin: registry.Twin{
		ModelID: "dtmi:x;1", Tags: []byte(` {"site": "a"}`),
		Desired:  registry.Section{Properties: []byte(`{"i":1.0,"$version":9}`)},
		Reported: registry.Section{Properties: []byte(`{"r":null}`)},
	}})
	tw := got.Twin
	if tw.ModelID != "dtmi:x;1" || string(tw.Tags) != `{"site":"a"}` || string(tw.Desired.Properties) != `{"i":1.0}` || tw.Desired.Version != 1 || string(tw.Reported.Properties) != "{}" {
		t.Errorf("twin %s %s %s", tw.Tags, tw.Desired.Properties, tw.Reported.Properties)
	}
	if !strings.Contains(string(tw.Desired.Metadata), `"i":{"$lastUpdated"`) {
		t.Errorf("metadata %s", tw.Desired.Metadata)
	}
	_, err := w.Create(t.Context(), registry.Record{ID: dev("e"), Twin: registry.Twin{Tags: []byte(`{"a.b":1}`)}})
	w.wantCode(err, causeway.ArgumentInvalid, `tags: key "a.b"`)
	_, err = w.Create(t.Context(), registry.Record{ID: dev("e"), Twin: registry.Twin{ModelID: strings.Repeat("x", 3000)}})
	w.wantCode(err, causeway.ArgumentInvalid, "model id")
}

func TestIDs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "A9-.%_*?!(),:=@$'#+", strings.Repeat("x", 128), "$odd"} {
		w.device(id)
		if w.get(dev(id)).ID.Device != id {
			t.Errorf("device %q", id)
		}
	}
	for id, msg := range map[string]string{
		"": "deviceId", "a b": "deviceId", "a/b": "deviceId", "é": "deviceId", "a\x00": "deviceId", "a\"": "deviceId", "a;b": "deviceId",
		strings.Repeat("x", 129): "129 characters",
	} {
		_, err := w.Create(t.Context(), registry.Record{ID: dev(id)})
		w.wantCode(err, causeway.ArgumentInvalid, msg)
		_, err = w.Update(t.Context(), registry.Record{ID: dev(id)}, "*")
		w.wantCode(err, causeway.ArgumentInvalid, msg)
	}
	_, err := w.Create(t.Context(), registry.Record{ID: mod("a", "m m")})
	w.wantCode(err, causeway.ArgumentInvalid, "moduleId")
	_, err = w.Create(t.Context(), registry.Record{ID: causeway.Identity{Device: "a"}})
	w.wantCode(err, causeway.ArgumentInvalid, "hub")
	_, err = w.Create(t.Context(), registry.Record{ID: mod("a", "$mine")})
	w.wantCode(err, causeway.SystemModuleModifyUnauthorizedAccess, "reserved")
	_, err = w.Create(t.Context(), registry.Record{ID: mod("nobody", "m")})
	w.wantCode(err, causeway.DeviceNotFound, "nobody")
	_, err = w.Create(t.Context(), registry.Record{ID: dev("z"), StatusReason: strings.Repeat("é", 129)})
	w.wantCode(err, causeway.ArgumentInvalid, "statusReason has 129")
	_, err = w.Create(t.Context(), registry.Record{ID: mod("a", "m"), ManagedBy: strings.Repeat("é", 129)})
	w.wantCode(err, causeway.ArgumentInvalid, "managedBy")
	w.create(registry.Record{ID: dev("z"), StatusReason: strings.Repeat("é", 128)})
}

func TestAuthentication(t *testing.T) {
	sha1, sha256 := strings.Repeat("aB", 20), strings.Repeat("0f", 32)
	b64 := func(n int) causeway.Secret {
		return causeway.Secret(base64.StdEncoding.EncodeToString(make([]byte, n)))
	}
	type authn = registry.Authentication
	for name, c := range map[string]struct {
		in, want authn  // want zero: refused
		msg      string // of the refusal
	}{
		"keys given":            {authn{Type: auth.SAS, Primary: key("p"), Secondary: key("s")}, authn{Type: auth.SAS, Primary: key("p"), Secondary: key("s")}, ""},
		"type inferred sas":     {authn{Primary: key("p"), Secondary: key("s")}, authn{Type: auth.SAS, Primary: key("p"), Secondary: key("s")}, ""},
		"type in other letters": {authn{Type: "SAS", Primary: key("p"), Secondary: key("s")}, authn{Type: auth.SAS, Primary: key("p"), Secondary: key("s")}, ""},
		"shortest keys":         {authn{Primary: b64(16), Secondary: b64(64)}, authn{Type: auth.SAS, Primary: b64(16), Secondary: b64(64)}, ""},
		"key too short":         {authn{Primary: b64(15), Secondary: b64(16)}, authn{}, "primaryKey has 15 bytes"},
		"key too long":          {authn{Primary: b64(16), Secondary: b64(65)}, authn{}, "secondaryKey has 65 bytes"},
		"key not base64":        {authn{Primary: "not base64!", Secondary: key("s")}, authn{}, "primaryKey is not base64"},
		"one key":               {authn{Type: auth.SAS, Primary: key("p")}, authn{}, "both keys"},
		"other key":             {authn{Secondary: key("p")}, authn{}, "both keys"},
		"type inferred x509":    {authn{PrimaryThumb: sha1}, authn{Type: auth.SelfSigned, PrimaryThumb: sha1}, ""},
		"two thumbprints":       {authn{Type: "selfsigned", PrimaryThumb: sha1, SecondThumb: sha256}, authn{Type: auth.SelfSigned, PrimaryThumb: sha1, SecondThumb: sha256}, ""},
		"second only":           {authn{Type: auth.SelfSigned, SecondThumb: sha256}, authn{Type: auth.SelfSigned, SecondThumb: sha256}, ""},
		"no thumbprint":         {authn{Type: auth.SelfSigned}, authn{}, "one or two thumbprints"},
		"thumbprint length":     {authn{Type: auth.SelfSigned, PrimaryThumb: sha1 + "00"}, authn{}, "primaryThumbprint must be 40"},
		"thumbprint not hex":    {authn{Type: auth.SelfSigned, SecondThumb: strings.Repeat("g", 40)}, authn{}, "secondaryThumbprint"},
		"keys of another type":  {authn{Type: auth.SelfSigned, PrimaryThumb: sha1, Primary: key("p")}, authn{Type: auth.SelfSigned, PrimaryThumb: sha1}, ""},
		"authority":             {authn{Type: "CertificateAuthority", Primary: key("p"), PrimaryThumb: sha1}, authn{Type: auth.CA}, ""},
		"none":                  {authn{Type: auth.None}, authn{Type: auth.None}, ""},
		"unknown":               {authn{Type: "password"}, authn{}, `"password"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.device("existing")
			for how, f := range map[string]func() (registry.Record, error){
				"create": func() (registry.Record, error) {
					return w.Create(t.Context(), registry.Record{ID: dev("d"), Auth: c.in})
				},
				"update": func() (registry.Record, error) {
					return w.Update(t.Context(), registry.Record{ID: dev("existing"), Auth: c.in}, "*")
				},
			} {
				got, err := f()
				if c.want == (authn{}) {
					w.wantCode(err, causeway.ArgumentInvalid, c.msg)
					if strings.Contains(causeway.MessageOf(err), string(key("p"))) {
						t.Errorf("%s: the message shows a key: %v", how, err)
					}
					continue
				}
				if err != nil || got.Auth != c.want {
					t.Errorf("%s: %+v, %v; want %+v", how, got.Auth, err, c.want)
				}
				if again := w.get(got.ID); again.Auth != c.want {
					t.Errorf("%s: then get: %+v", how, again.Auth)
				}
			}
		})
	}
}

func TestModules(t *testing.T) {
	w := newWorld(t)
	w.device("d")
	got := w.create(registry.Record{ID: mod("d", "m"), ManagedBy: "iotEdge", StatusReason: "x", Edge: true, DeviceScope: "y"})
	if !got.Enabled || got.ManagedBy != "iotEdge" || got.StatusReason != "" || got.Edge || got.DeviceScope != "" || got.Auth.Primary == "" {
		t.Errorf("module %+v", got)
	}
	if up := w.update(registry.Record{ID: mod("d", "m")}); !up.Enabled || up.ManagedBy != "iotEdge" || up.Auth != got.Auth || up.GenerationID != got.GenerationID || up.ETag == got.ETag {
		t.Errorf("updated module %+v", up)
	}
	_, err := w.Create(t.Context(), registry.Record{ID: mod("d", "m")})
	w.wantCode(err, causeway.ModuleAlreadyExistsOnDevice, "")
	_, err = w.Get(t.Context(), mod("d", "n"))
	w.wantCode(err, causeway.ModuleNotFound, "")
	for i := range causeway.MaxModulesPerDevice - 1 {
		w.create(registry.Record{ID: mod("d", fmt.Sprint("m", i))})
	}
	_, err = w.Create(t.Context(), registry.Record{ID: mod("d", "more")})
	w.wantCode(err, causeway.TooManyModulesOnDevice, "50")
	if n := len(w.modules(dev("d"))); n != causeway.MaxModulesPerDevice {
		t.Errorf("%d modules", n)
	}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	first := w.device("d")
	up := w.update(registry.Record{ID: dev("d"), Enabled: true, StatusReason: "because"})
	if up.ETag == first.ETag || up.StatusReason != "because" || up.Auth != first.Auth || up.GenerationID != first.GenerationID ||
		up.Created != first.Created || up.StatusUpdated.Before(first.StatusUpdated) || up.Twin.Version != first.Twin.Version {
		t.Errorf("updated %+v", up)
	}
	if again := w.update(registry.Record{ID: dev("d"), Enabled: true, StatusReason: "because"}); again.StatusUpdated != up.StatusUpdated || again.ETag == up.ETag {
		t.Errorf("status time moved without a change of status, or the etag did not: %+v", again)
	}
	_, err := w.Update(t.Context(), up, first.ETag)
	w.wantCode(err, causeway.PreconditionFailed, "read it again")
	up, err = w.Update(t.Context(), w.get(dev("d")), w.get(dev("d")).ETag)
	if err != nil {
		t.Errorf("update with the right etag: %v", err)
	}
	if stored, err := w.store.Store.Get(t.Context(), dev("d")); err != nil || stored.ETag != up.ETag {
		t.Errorf("stored etag %s, %v; want %s", stored.ETag, err, up.ETag)
	}
	_, err = w.Update(t.Context(), registry.Record{ID: dev("nobody")}, "")
	w.wantCode(err, causeway.DeviceNotFound, "")
	_, err = w.Update(t.Context(), registry.Record{ID: mod("d", "nobody")}, "")
	w.wantCode(err, causeway.ModuleNotFound, "")
}

func TestUpdateKeys(t *testing.T) {
	w := newWorld(t)
	first := w.create(registry.Record{ID: dev("d"), Enabled: true, Auth: registry.Authentication{Primary: key("p"), Secondary: key("s")}})
	set := func(a registry.Authentication) registry.Authentication {
		t.Helper()
		return w.update(registry.Record{ID: dev("d"), Enabled: true, Auth: a}).Auth
	}
	if got := set(registry.Authentication{Type: auth.SAS}); got != first.Auth {
		t.Errorf("keys not given became %+v", got)
	}
	w.same("nothing to tell", w.ear.heard(), nil)
	if got := set(registry.Authentication{Primary: registry.NewKey, Secondary: key("s")}); got.Primary == key("p") || got.Primary == registry.NewKey || got.Secondary != key("s") {
		t.Errorf("one new key: %+v", got)
	}
	w.same("new key", w.ear.heard(), []string{"d: credentials changed"})
	if got := set(registry.Authentication{Type: auth.SAS, Primary: registry.NewKey, Secondary: registry.NewKey}); got.Secondary == key("s") || got.Primary == got.Secondary {
		t.Errorf("two new keys: %+v", got)
	}
	set(registry.Authentication{Type: auth.CA})
	if got := set(registry.Authentication{}); got != (registry.Authentication{Type: auth.CA}) {
		t.Errorf("nothing given became %+v", got)
	}
	if got := set(registry.Authentication{Type: auth.SAS}); got.Primary == "" || got.Primary == first.Auth.Primary {
		t.Errorf("back to sas: %+v", got)
	}
	w.same("types", w.ear.heard(), []string{"d: credentials changed", "d: credentials changed", "d: credentials changed"})
}

func TestWatchers(t *testing.T) {
	w := newWorld(t)
	second := new(ear)
	w.Watch(second)
	w.device("d")
	w.create(registry.Record{ID: mod("d", "m")})
	w.create(registry.Record{ID: mod("d", "n")})
	w.device("other")
	w.same("creation", w.ear.heard(), nil)

	w.update(registry.Record{ID: dev("d"), Enabled: false, StatusReason: "stolen"})
	w.same("disabled", w.ear.heard(), []string{"d/m: identity disabled", "d/n: identity disabled", "d: identity disabled"})
	w.same("everybody hears", second.heard(), []string{"d/m: identity disabled", "d/n: identity disabled", "d: identity disabled"})
	w.update(registry.Record{ID: dev("d"), Enabled: false, StatusReason: "still"})
	w.update(registry.Record{ID: dev("d"), Enabled: true})
	w.same("enabled", w.ear.heard(), nil)
	w.update(registry.Record{ID: mod("d", "m"), Auth: registry.Authentication{Type: auth.None}})
	w.same("module credentials", w.ear.heard(), []string{"d/m: credentials changed"})
	if err := w.Delete(t.Context(), mod("d", "m"), "*"); err != nil {
		t.Fatal(err)
	}
	w.same("module deleted", w.ear.heard(), []string{"d/m: identity deleted"})
	if err := w.Delete(t.Context(), dev("d"), "*"); err != nil {
		t.Fatal(err)
	}
	w.same("deleted", w.ear.heard(), []string{"d/n: identity deleted", "d: identity deleted"})
	_, err := w.Update(t.Context(), registry.Record{ID: dev("other"), Auth: registry.Authentication{Type: "x"}}, "*")
	w.wantCode(err, causeway.ArgumentInvalid, "")
	w.same("refused", w.ear.heard(), nil)
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	d := w.device("d")
	w.create(registry.Record{ID: mod("d", "m")})
	w.get(mod("d", "m"))
	w.wantCode(w.Delete(t.Context(), dev("d"), "stale"), causeway.PreconditionFailed, "")
	w.wantCode(w.Delete(t.Context(), mod("d", "x"), ""), causeway.ModuleNotFound, "")
	if err := w.Delete(t.Context(), dev("d"), d.ETag); err != nil {
		t.Fatal(err)
	}
	for _, id := range []causeway.Identity{dev("d"), mod("d", "m")} {
		_, err := w.Get(t.Context(), id)
		w.wantCode(err, causeway.DeviceNotFound, "")
		_, err = w.Report(t.Context(), id, causeway.Patch{Properties: []byte("{}")})
		w.wantCode(err, causeway.DeviceNotFound, "")
		_, err = w.DeviceTwin(t.Context(), id)
		w.wantCode(err, causeway.DeviceNotFound, "")
	}
	w.wantCode(w.Delete(t.Context(), dev("d"), ""), causeway.DeviceNotFound, "")
}

func TestListAndCount(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.create(registry.Record{ID: dev(fmt.Sprint("d", i)), Enabled: i%2 == 0})
	}
	recs, err := w.List(t.Context(), hub, "d1", 3)
	if err != nil || len(recs) != 3 || recs[0].ID.Device != "d2" || recs[0].Auth != w.get(dev("d2")).Auth {
		t.Errorf("list %+v, %v", recs, err)
	}
	for _, limit := range []int{0, -1, 5000} {
		if recs, err = w.List(t.Context(), hub, "", limit); err != nil || len(recs) != 7 {
			t.Errorf("list of %d: %d, %v", limit, len(recs), err)
		}
	}
	if c, err := w.Count(t.Context(), hub); err != nil || c != (registry.Counts{Total: 7, Enabled: 4, Disabled: 3}) {
		t.Errorf("count %+v, %v", c, err)
	}
}

func TestTouch(t *testing.T) {
	w := newWorld(t)
	w.device("cached")
	other := w.start(registry.Options{})
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	fact := registry.Activity{ID: dev("cached"), Connected: true, StateUpdated: at, LastActivity: at.Add(time.Minute)}
	if err := w.Touch(t.Context(), fact, registry.Activity{ID: dev("nobody"), Connected: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Touch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*world{w, other} {
		if r := node.get(dev("cached")); !r.Connected || r.ConnectionStateUpdated != at || r.LastActivity != at.Add(time.Minute) {
			t.Errorf("touched %+v", r)
		}
	}
	// A write keeps the facts in memory.
	if r := w.update(registry.Record{ID: dev("cached"), Enabled: true}); !r.Connected {
		t.Error("update disconnected the device")
	}
	if r := w.get(dev("cached")); !r.Connected || r.LastActivity != at.Add(time.Minute) {
		t.Errorf("after update %+v", r)
	}
}

func TestTooManyDevices(t *testing.T) {
	w := newWorld(t).start(registry.Options{MaxDevices: 3})
	for i := range 3 {
		w.device(fmt.Sprint("d", i))
	}
	_, err := w.Create(t.Context(), registry.Record{ID: dev("more")})
	w.wantCode(err, causeway.TooManyDevices, "at most 3")
	w.create(registry.Record{ID: mod("d0", "m")}) // modules have a limit of their own
	if err := w.Delete(t.Context(), dev("d1"), ""); err != nil {
		t.Fatal(err)
	}
	before := w.store.count("Count")
	w.device("more")
	if n := w.store.count("Count") - before; n > 1 {
		t.Errorf("one creation counted %d times", n)
	}
	// Another node made room: a refusal is never from memory.
	if err := w.start(registry.Options{}).Delete(t.Context(), dev("d0"), ""); err != nil {
		t.Fatal(err)
	}
	w.device("again")
}

func TestTwinETagIsTextOfCounter(t *testing.T) {
	w := newWorld(t)
	if got := twin.ETagText(w.device("d").Twin.ETag); got != "AAAAAAAAAAE=" {
		t.Errorf("first etag %s", got)
	}
}
