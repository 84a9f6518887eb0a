package iothub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
)

// failedItems fails the test unless an answer is a result with failures, and
// returns them as "id/module code operation".
func (a answer) failedItems() []string {
	a.t.Helper()
	a.want(400)
	for _, h := range []string{"IotHubErrorCode", "iothub-errorcode"} {
		if got := a.header.Get(h); got != "BulkRegistryOperationFailure" {
			a.t.Errorf("header %s is %q", h, got)
		}
	}
	if a.json("isSuccessful") != false {
		a.t.Errorf("isSuccessful: %s", a.body)
	}
	var out []string
	for _, e := range a.json("errors").([]any) {
		m := e.(map[string]any)
		if m["errorStatus"] == "" {
			a.t.Errorf("an error without text: %v", m)
		}
		out = append(out, fmt.Sprintf("%s/%s %s %s", m["deviceId"], m["moduleId"], m["errorCode"], m["operation"]))
	}
	return out
}

func (a answer) allWell() {
	a.t.Helper()
	a.want(200)
	if a.json("isSuccessful") != true || len(a.json("errors").([]any)) != 0 || len(a.json("warnings").([]any)) != 0 {
		a.t.Errorf("not all well: %s", a.body)
	}
}

func TestBulkModes(t *testing.T) {
	w := newWorld(t)
	w.post("/devices", `[]`).allWell()
	w.post("/devices", `[
		{"id":"a","importMode":"create","status":"disabled","statusReason":"new","tags":{"x":1},"properties":{"desired":{"d":2},"reported":{"r":3}}},
		{"id":"b","importMode":"CREATE","authentication":{"type":"sas","symmetricKey":{"primaryKey":"","secondaryKey":""}}},
		{"id":"e","capabilities":{"iotEdge":true}},
		{"id":"a","moduleId":"m","importMode":null,"managedBy":"me","unknown":{}}
	]`).allWell()
	a := w.get("/devices/a").want(200)
	if a.text("status") != "disabled" || a.text("statusReason") != "new" || len(a.text("authentication", "symmetricKey", "primaryKey")) != 44 {
		t.Errorf("created: %s", a.body)
	}
	if tw := w.get("/twins/a"); tw.json("tags", "x") != "1" || tw.json("properties", "desired", "d") != "2" || tw.json("properties", "reported", "r") != "3" {
		t.Errorf("twin of what was created: %s", tw.body)
	}
	if m := w.get("/devices/a/modules/m").want(200); m.text("managedBy") != "me" {
		t.Errorf("module: %s", m.body)
	}
	if got := len(w.get("/devices/e/modules").json().([]any)); got != 2 {
		t.Errorf("%d modules of the edge device, want its two", got)
	}

	// Updates keep what they do not name.
	keys := a.json("authentication")
	w.post("/devices", `[{"id":"a","importMode":"Update","status":"enabled","tags":{"y":1}}]`).allWell()
	if got := w.get("/devices/a"); got.text("status") != "enabled" || got.text("statusReason") != "new" || !equalJSON(got.json("authentication"), keys) {
		t.Errorf("updated: %s", got.body)
	}
	if tw := w.get("/twins/a"); tw.json("tags", "x") != nil || tw.json("tags", "y") != "1" || tw.json("properties", "desired", "d") != "2" {
		t.Errorf("an update replaces the sections it gives and no others: %s", tw.body)
	}
	// A patch of the twin is merged.
	w.post("/devices", `[{"id":"a","importMode":"updateTwin","tags":{"z":2},"properties":{"desired":{"d":null,"e":1},"reported":{"r":9}}}]`).allWell()
	tw := w.get("/twins/a")
	if tw.json("tags", "y") != "1" || tw.json("tags", "z") != "2" || tw.json("properties", "desired", "d") != nil || tw.json("properties", "desired", "e") != "1" {
		t.Errorf("patched: %s", tw.body)
	}
	if tw.json("properties", "reported", "r") != "3" {
		t.Errorf("what a device reports was overwritten: %s", tw.body)
	}
	// Etags of identity and twin are compared each on its own.
	etag, twinETag := w.get("/devices/a").text("etag"), tw.text("etag")
	got := w.post("/devices", `[
		{"id":"a","importMode":"updateIfMatchETag","eTag":"c3RhbGU="},
		{"id":"b","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAk=","tags":{"q":1}},
		{"id":"e","importMode":"deleteIfMatchETag","eTag":"c3RhbGU="},
		{"id":"c","importMode":"update"},
		{"id":"d","importMode":"delete"},
		{"id":"f","moduleId":"m","importMode":"create"},
		{"id":"g","importMode":"updateTwin","tags":{}}
	]`).failedItems()
	want := []string{
		"a/ PreconditionFailed update", "b/ PreconditionFailed updateTwin", "e/ PreconditionFailed delete",
		"c/ DeviceNotFound update", "d/ DeviceNotFound delete", "f/m DeviceNotFound register", "g/ DeviceNotFound updateTwin",
	}
	if !slices.Equal(got, want) {
		t.Errorf("failures %q, want %q", got, want)
	}
	w.post("/devices", `[
		{"id":"a","importMode":"updateTwinIfMatchETag","twinETag":"`+twinETag+`","tags":{"q":1}},
		{"id":"b","importMode":"createOrUpdateIfMatchETag","etag":"\"`+w.get("/devices/b").text("etag")+`\"","status":"disabled"},
		{"id":"n","importMode":"createOrUpdateIfMatchETag","eTag":"bmV3"}
	]`).allWell()
	w.post("/devices", `[{"id":"a","importMode":"deleteIfMatchETag","eTag":"`+etag+`"},{"id":"b","importMode":"Delete"},{"id":"e","importMode":"delete"}]`).allWell()
	for _, d := range []string{"a", "b", "e"} {
		w.get("/devices/" + d).refused(causeway.DeviceNotFound)
	}
	w.get("/devices/n").want(200)
}

// TestBulkFailures: what is wrong with one item is said of it, and the others
// are applied.
func TestBulkFailures(t *testing.T) {
	w := newWorld(t)
	w.put("/devices/old", `{}`).want(200)
	long := strings.Repeat("x", 129)
	got := w.post("/devices", `[
		{"id":"good"}, 7, null, "text", {"importMode":"create"}, {"id":5}, {"id":"a b"}, {"id":"`+long+`"},
		{"id":"m","moduleId":"x y"}, {"id":"mode","importMode":"upsert"}, {"id":"status","status":"on"},
		{"id":"old","importMode":"create"}, {"id":"twice"}, {"id":"twice","importMode":"delete"},
		{"id":"key","authentication":{"symmetricKey":{"primaryKey":"a","secondaryKey":"b"}}},
		{"id":"tags","tags":[]}, {"id":"desired","properties":{"desired":4}}, {"id":"deep","tags":{"a.b":1}},
		{"id":"meta","properties":{"desired":{"a":1,"$metadata":{"a":{"$lastUpdated":"yesterday"}}}}},
		{"id":"noetag","importMode":"deleteIfMatchETag"}, {"id":"notwinetag","importMode":"updateTwinIfMatchETag"},
		{"id":"good2","moduleId":""}
	]`).failedItems()
	want := []string{
		"/ DeserializationError register", "/ DeserializationError register", "/ DeserializationError register", "/ ArgumentNull register",
		"/ DeserializationError register", "a b/ ArgumentInvalid register", long + "/ ArgumentInvalid register",
		"m/x y ArgumentInvalid register", "mode/ ArgumentInvalid register", "status/ ArgumentInvalid register",
		"old/ DeviceAlreadyExists register", "twice/ DeviceDefinedMultipleTimes register", "twice/ DeviceDefinedMultipleTimes delete",
		"key/ ArgumentInvalid register", "tags/ DeserializationError register", "desired/ DeserializationError register",
		"deep/ ArgumentInvalid register", "meta/ DeserializationError register", "noetag/ ArgumentNull delete", "notwinetag/ ArgumentNull updateTwin",
	}
	if !slices.Equal(got, want) {
		t.Errorf("failures\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := len(w.get("/devices").json().([]any)); n != 3 {
		t.Errorf("%d devices, want old, good and good2", n)
	}
}

// TestBulkMetadata: metadata that comes along takes the place of what the hub
// would stamp.
func TestBulkMetadata(t *testing.T) {
	w := newWorld(t)
	w.post("/devices", `[{"id":"a","properties":{"desired":{"x":{"y":1},"z":2,"$version":7,"$metadata":{
		"$lastUpdated":"2020-01-02T03:04:05Z","$lastUpdatedVersion":4,"x":{"$lastUpdated":"2019-01-01T00:00:00.5Z","y":{"$lastUpdated":"2018-01-01T00:00:00+01:00","$lastUpdatedVersion":2}},"gone":{"$lastUpdated":"2018-01-01T00:00:00Z"}}}}}]`).allWell()
	check := func(at string, path ...string) {
		t.Helper()
		if got := w.get("/twins/a").json(append([]string{"properties", "desired", "$metadata"}, path...)...); got != at {
			t.Errorf("%v is %v, want %s", path, got, at)
		}
	}
	check("2020-01-02T03:04:05.0000000Z", "$lastUpdated")
	check("4", "$lastUpdatedVersion")
	check("2019-01-01T00:00:00.5000000Z", "x", "$lastUpdated")
	check("2017-12-31T23:00:00.0000000Z", "x", "y", "$lastUpdated")
	check("2", "x", "y", "$lastUpdatedVersion")
	w.post("/devices", `[{"id":"a","importMode":"updateTwin","properties":{"desired":{"z":3,"$metadata":{"z":{"$lastUpdated":"2010-01-01T00:00:00Z"}}}}}]`).allWell()
	check("2010-01-01T00:00:00.0000000Z", "z", "$lastUpdated")
}

func TestRotateKeys(t *testing.T) {
	w := newWorld(t)
	w.post("/devices", `[{"id":"a"},{"id":"b"},{"id":"a","moduleId":"m"},{"id":"ca","authentication":{"type":"certificateAuthority"}}]`).allWell()
	keys := func(path string) (string, string) {
		a := w.get(path).want(200)
		return a.text("authentication", "symmetricKey", "primaryKey"), a.text("authentication", "symmetricKey", "secondaryKey")
	}
	for _, tc := range []struct {
		policy string
		fits   func(p, s, wasP, wasS string) bool
	}{
		{"primary", func(p, s, wasP, wasS string) bool { return p != wasP && p != wasS && s == wasS }},
		{"Secondary", func(p, s, wasP, wasS string) bool { return p == wasP && s != wasS && s != wasP }},
		{"both", func(p, s, wasP, wasS string) bool { return p != wasP && s != wasS && p != s }},
		{"swap", func(p, s, wasP, wasS string) bool { return p == wasS && s == wasP }},
	} {
		for _, id := range []string{`{"id":"a","moduleId":null}`, `{"id":"a","moduleId":"m"}`} {
			path := "/devices/a"
			if strings.Contains(id, `"m"`) {
				path += "/modules/m"
			}
			wasP, wasS := keys(path)
			a := w.post("/devices/keys/regenerate", `{"policyKey":"`+tc.policy+`","devices":[`+id+`]}`).want(200)
			p, s := keys(path)
			got := a.json("rotatedKeys").([]any)[0].(map[string]any)
			if !tc.fits(p, s, wasP, wasS) || got["primaryKey"] != p || got["secondaryKey"] != s || a.text("policyKey") != tc.policy {
				t.Errorf("%s of %s: %s %s, were %s %s; answer %s", tc.policy, path, p, s, wasP, wasS, a.body)
			}
		}
	}
	a := w.post("/devices/keys/regenerate", `{"policyKey":"both","devices":[{"id":"ghost"},{"id":"b"},{"id":"a","moduleId":"ghost"},{"id":"ca"},{"id":"b"}]}`).want(200)
	var codes []string
	for _, e := range a.json("errors").([]any) {
		codes = append(codes, e.(map[string]any)["errorCode"].(string))
	}
	if want := []string{"DeviceNotFound", "ModuleNotFound", "ArgumentInvalid", "DeviceDefinedMultipleTimes"}; !slices.Equal(codes, want) {
		t.Errorf("errors %q, want %q\n%s", codes, want, a.body)
	}
	if n := len(a.json("rotatedKeys").([]any)); n != 1 {
		t.Errorf("%d rotated, want one", n)
	}
}
