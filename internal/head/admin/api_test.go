package admin_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/head/admin"
)

var update = flag.Bool("update", false, "rewrite api/openapi/admin.yaml")

// TestOpenAPI keeps api/openapi/admin.yaml the description that the server
// serves.
func TestOpenAPI(t *testing.T) {
	const file = "../../../api/openapi/admin.yaml"
	w := newWorld(t)
	served := w.do("GET", "/api/v1/openapi.yaml", "", "").want(200).body
	if *update {
		if err := os.WriteFile(file, served, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(served, want) {
		t.Errorf("%s is not what the server serves: run go test ./internal/head/admin -update", file)
	}
	// The JSON form is the same document.
	var y, j any
	if err := yaml.Unmarshal(served, &y); err != nil {
		t.Fatal(err)
	}
	w.do("GET", "/api/v1/openapi.json", "", "").want(200).into(&j)
	a, err := json.Marshal(y)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("openapi.json and openapi.yaml differ")
	}
}

type problem struct{ Title, Detail string }

func TestServer(t *testing.T) {
	w := newWorld(t, func(s *admin.Server) {
		s.Addresses = func() []admin.Address { return []admin.Address{{Name: "mqtt", URL: "mqtts://localhost:8883"}} }
	})
	var got struct {
		Version, Commit string
		UptimeSeconds   int64
		Hubs            int
		Addresses       []admin.Address
	}
	w.do("GET", "/api/v1/server", "", "admin").want(200).into(&got)
	if got.Version != "1.2.3" || got.Commit != "abc" || got.UptimeSeconds < 60 || got.UptimeSeconds > 70 || got.Hubs != 1 || len(got.Addresses) != 1 {
		t.Errorf("server: %+v", got)
	}
}

type hub struct {
	Name       string
	Hosts      []string
	Partitions int
	Settings   map[string]int64
	Devices    *struct{ Total, Enabled, Disabled int }
}

func TestHubs(t *testing.T) {
	w := newWorld(t)
	var created hub
	w.do("POST", "/api/v1/hubs", `{"name":"second","hosts":["second.example.com"],"partitions":8,"settings":{"retentionSeconds":3600,"maxDeliveryCount":5}}`, "admin").want(201).into(&created)
	w.do("POST", "/api/v1/hubs", `{"name":"third","settings":{"feedbackTtlSeconds":60,"feedbackLockSeconds":5,"feedbackMaxDeliveryCount":2,"fileNotificationsDisabled":true,"fileNotificationTtlSeconds":61,"fileNotificationLockSeconds":6,"fileNotificationMaxDeliveryCount":3}}`, "admin").want(201)
	third, _ := w.directory.Get("third")
	if want := (directory.Settings{
		FeedbackTTL: time.Minute, FeedbackLock: 5 * time.Second, FeedbackMaxDeliveryCount: 2, FileNotificationsDisabled: true,
		FileNotificationTTL: 61 * time.Second, FileNotificationLock: 6 * time.Second, FileNotificationMaxDeliveryCount: 3,
	}); third.Settings != want {
		t.Errorf("settings %+v, want %+v", third.Settings, want)
	}
	if shown := w.do("GET", "/api/v1/hubs/third", "", "admin").want(200).body; !bytes.Contains(shown, []byte(`"settings":{"feedbackTtlSeconds":60,"feedbackLockSeconds":5,"feedbackMaxDeliveryCount":2,"fileNotificationsDisabled":true,"fileNotificationTtlSeconds":61,"fileNotificationLockSeconds":6,"fileNotificationMaxDeliveryCount":3}`)) {
		t.Errorf("shown: %s", shown)
	}
	// Settings are replaced as a whole; routes and quota have ways of their own.
	w.do("PUT", "/api/v1/hubs/third/quota", `{"preset":"free"}`, "admin").want(200)
	w.do("PUT", "/api/v1/hubs/third/routing/routes/r", `{"endpointNames":["events"]}`, "admin").want(200)
	w.do("PUT", "/api/v1/hubs/third/settings", `{"jobsActive":3,"jobDevicesPerSecond":7}`, "admin").want(200).has(`"settings":{"jobsActive":3,"jobDevicesPerSecond":7}`)
	third, _ = w.directory.Get("third")
	if s := third.Settings; s.JobsActive != 3 || s.JobDevicesPerSecond != 7 || s.FeedbackTTL != 0 || s.Quota == nil || s.Routing == nil {
		t.Errorf("settings %+v", s)
	}
	w.do("PUT", "/api/v1/hubs/third/settings", `{"jobsActive":101}`, "admin").want(422)
	w.do("PUT", "/api/v1/hubs/third/settings", `{"fileUploadContainer":"Not A Container"}`, "admin").want(400)
	w.do("PUT", "/api/v1/hubs/third/settings", `{"routing":{}}`, "admin").want(422)
	w.do("PUT", "/api/v1/hubs/nobody/settings", `{}`, "admin").want(404)
	w.do("DELETE", "/api/v1/hubs/third", "", "admin").want(204)
	if created.Name != "second" || created.Partitions != 8 || created.Settings["retentionSeconds"] != 3600 || created.Settings["maxDeliveryCount"] != 5 {
		t.Errorf("created: %+v", created)
	}
	w.do("POST", "/api/v1/hubs", `{"name":"second"}`, "admin").want(409)
	var p problem
	w.do("POST", "/api/v1/hubs", `{"name":"Not A Label"}`, "admin").want(400).into(&p)
	if p.Title != "ArgumentInvalid" || !strings.Contains(p.Detail, "Not A Label") {
		t.Errorf("problem: %+v", p)
	}
	for _, body := range []string{``, `{`, `[]`, `{"hosts":["x"]}`, `{"name":5}`, `{"name":"x","partitions":33}`, `{"name":"x","unknown":1}`} {
		if a := w.do("POST", "/api/v1/hubs", body, "admin"); a.status != 400 && a.status != 422 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := w.do("POST", "/api/v1/hubs", `{"name":"`+strings.Repeat("x", 300<<10)+`"}`, "admin"); a.status != 413 {
		t.Errorf("too large: %d %s", a.status, a.body)
	}
	var list struct{ Hubs []hub }
	w.do("GET", "/api/v1/hubs", "", "admin").want(200).into(&list)
	if len(list.Hubs) != 2 || list.Hubs[0].Name != "myhub" || list.Hubs[0].Devices != nil {
		t.Errorf("list: %+v", list)
	}
	var one hub
	w.do("GET", "/api/v1/hubs/myhub", "", "admin").want(200).into(&one)
	if one.Devices == nil || one.Devices.Total != 3 || one.Devices.Disabled != 1 || one.Hosts[0] != "myhub.example.com" {
		t.Errorf("hub: %+v", one)
	}
	if body := w.do("GET", "/api/v1/hubs", "", "admin").body; bytes.Contains(body, []byte("ey\":")) {
		t.Errorf("keys in a list of hubs: %s", body)
	}
	w.do("DELETE", "/api/v1/hubs/second", "", "admin").want(204)
	w.do("DELETE", "/api/v1/hubs/second", "", "admin").want(404)
	w.do("GET", "/api/v1/hubs/second", "", "admin").want(404)
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	type policy struct {
		Name, PrimaryKey, SecondaryKey, ConnectionString string
		Rights                                           []string
	}
	var list struct{ Policies []policy }
	w.do("GET", "/api/v1/hubs/myhub/policies", "", "admin").want(200).into(&list)
	if len(list.Policies) != 5 {
		t.Fatalf("policies: %+v", list)
	}
	owner := list.Policies[0]
	if owner.Name != "iothubowner" || len(owner.Rights) != 4 || owner.ConnectionString != "HostName=myhub.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey="+owner.PrimaryKey {
		t.Errorf("owner: %+v", owner)
	}
	before := w.policyToken("iothubowner", "myhub.example.com", time.Hour)
	w.do("GET", "/api/v1/hubs/myhub/policies", "", before).want(200)
	var p policy
	w.do("POST", "/api/v1/hubs/myhub/policies/iothubowner/regenerate", `{"key":"primary"}`, "admin").want(200).into(&p)
	if p.PrimaryKey == owner.PrimaryKey || p.SecondaryKey != owner.SecondaryKey || !strings.HasSuffix(p.ConnectionString, p.PrimaryKey) {
		t.Errorf("regenerated: %+v", p)
	}
	w.do("GET", "/api/v1/hubs/myhub/policies", "", before).want(401)
	w.do("POST", "/api/v1/hubs/myhub/policies/iothubowner/regenerate", `{"key":"third"}`, "admin").want(422)
	w.do("POST", "/api/v1/hubs/myhub/policies/nobody/regenerate", `{"key":"primary"}`, "admin").want(404)
	w.do("POST", "/api/v1/hubs/ghost/policies/iothubowner/regenerate", `{"key":"primary"}`, "admin").want(404)
	w.do("GET", "/api/v1/hubs/ghost/policies", "", "admin").want(404)
}

func TestAuthorities(t *testing.T) {
	w := newWorld(t)
	ca, err := pki.NewCA("Plant CA")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.SelfSigned("leaf", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	body := func(text string) string {
		b, err := json.Marshal(map[string]any{"certificate": text})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	type authority struct {
		Name, Subject, SHA256 string
		Verified              bool
	}
	var list struct{ Authorities []authority }
	const at = "/api/v1/hubs/myhub/authorities"
	w.do("PUT", at+"/plant", body(string(ca.PEM())), "admin").want(200).into(&list)
	if len(list.Authorities) != 1 || list.Authorities[0].Name != "plant" || !list.Authorities[0].Verified || !strings.Contains(list.Authorities[0].Subject, "Plant CA") || len(list.Authorities[0].SHA256) != 64 {
		t.Errorf("authorities: %+v", list)
	}
	if h, _ := w.directory.Get("myhub"); h.Realm().Roots == nil {
		t.Error("the hub does not trust the authority")
	}
	w.do("PUT", at+"/plant", body(string(ca.PEM())), "admin").want(409)
	for name, text := range map[string]string{
		"no PEM": "hello", "empty": "", "two": string(ca.PEM()) + string(ca.PEM()),
		"no authority": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})),
		"a key":        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"garbage":      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		var p problem
		w.do("PUT", at+"/x", body(text), "admin").want(400).into(&p)
		if p.Detail == "" {
			t.Errorf("%s: no detail", name)
		}
	}
	w.do("PUT", at+"/bad%20name", body(string(ca.PEM())), "admin").want(400)
	w.do("GET", at, "", w.policyToken("registryRead", "myhub.example.com", time.Hour)).want(200)
	w.do("DELETE", at+"/plant", "", "admin").want(204)
	w.do("DELETE", at+"/plant", "", "admin").want(404)
}

func TestConsumerGroups(t *testing.T) {
	w := newWorld(t)
	const at = "/api/v1/hubs/myhub/consumer-groups"
	list := func(authorization string) string {
		t.Helper()
		var out struct{ ConsumerGroups []struct{ Name string } }
		w.do("GET", at, "", authorization).want(200).into(&out)
		var names []string
		for _, g := range out.ConsumerGroups {
			names = append(names, g.Name)
		}
		return strings.Join(names, " ")
	}
	sas := func(policy string) string { return w.policyToken(policy, "myhub.example.com", time.Hour) }
	if got := list("admin"); got != "$Default" {
		t.Errorf("at first: %s", got)
	}
	var made struct {
		Name    string
		Created time.Time
	}
	w.do("PUT", at+"/Archive", "", "admin").want(201).into(&made)
	if made.Name != "Archive" || time.Since(made.Created) > time.Minute {
		t.Errorf("made: %+v", made)
	}
	w.do("PUT", at+"/analytics", "", sas("iothubowner")).want(201)
	if got := list(sas("service")); got != "$Default analytics Archive" {
		t.Errorf("groups: %s", got)
	}
	w.do("PUT", at+"/ARCHIVE", "", "admin").want(409)
	w.do("PUT", at+"/$default", "", "admin").want(409)
	w.do("PUT", at+"/a%20b", "", "admin").want(400)
	w.do("PUT", at+"/a%2Fb", "", "admin").want(400)
	w.do("PUT", at+"/"+strings.Repeat("x", 51), "", "admin").want(422)
	w.do("PUT", "/api/v1/hubs/ghost/consumer-groups/x", "", "admin").want(404)
	w.do("GET", "/api/v1/hubs/ghost/consumer-groups", "", "admin").want(404)
	w.do("PUT", at+"/more", "", sas("service")).want(401)
	w.do("DELETE", at+"/archive", "", sas("service")).want(401)
	w.do("GET", at, "", sas("registryRead")).want(401)
	w.do("DELETE", at+"/%24Default", "", "admin").want(400)
	w.do("DELETE", at+"/archive", "", "admin").want(204)
	w.do("DELETE", at+"/archive", "", "admin").want(404)
	if got := list("admin"); got != "$Default analytics" {
		t.Errorf("at last: %s", got)
	}
}

// TestAccess shows who may do what.
func TestAccess(t *testing.T) {
	const hubHost = "myhub.example.com"
	w := newWorld(t)
	sas := func(policy string) string { return w.policyToken(policy, hubHost, time.Hour) }
	const (
		server   = "GET /api/v1/server"
		hubs     = "GET /api/v1/hubs"
		hub      = "GET /api/v1/hubs/myhub"
		policies = "GET /api/v1/hubs/myhub/policies"
		events   = "GET /api/v1/hubs/myhub/events?from=earliest&max=1"
		remove   = "DELETE /api/v1/hubs/ghost"
	)
	w.send(0, from("d", "x"))
	for _, tc := range []struct {
		name, authorization string
		allowed             []string
	}{
		{"nobody", "", nil},
		{"wrong admin token", "Bearer wrong", nil},
		{"empty admin token", "Bearer ", nil},
		{"admin token without scheme", adminToken, nil},
		{"admin token with another scheme", "Basic " + adminToken, nil},
		{"admin token in lower-case scheme", "bearer " + adminToken, []string{server, hubs, hub, policies, events, remove}},
		{"administrator", "admin", []string{server, hubs, hub, policies, events, remove}},
		{"owner of the hub", sas("iothubowner"), []string{hub, policies, events}},
		{"service policy", sas("service"), []string{events}},
		{"registryRead policy", sas("registryRead"), []string{hub}},
		{"registryReadWrite policy", sas("registryReadWrite"), []string{hub}},
		{"device policy", sas("device"), nil},
		{"expired token", w.policyToken("iothubowner", hubHost, -time.Hour), nil},
		{"token for another host", w.policyToken("iothubowner", "other.example.com", time.Hour), nil},
		{"token for the hub's other name", w.policyToken("iothubowner", "localhost", time.Hour), []string{hub, policies, events}},
		{"token for one path", w.policyToken("iothubowner", hubHost+"/api/v1/hubs/myhub/events", time.Hour), []string{events}},
		{"garbage signature", "SharedAccessSignature sr=x", nil},
		{"changed signature", strings.Replace(sas("iothubowner"), "sig=", "sig=A", 1), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, op := range []string{server, hubs, hub, policies, events, remove} {
				method, path, _ := strings.Cut(op, " ")
				a := w.do(method, path, "", tc.authorization)
				allowed := false
				for _, x := range tc.allowed {
					allowed = allowed || x == op
				}
				if allowed == (a.status == http.StatusUnauthorized) {
					t.Errorf("%s: %d %s", op, a.status, a.body)
				}
				if a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%s: no challenge", op)
				}
			}
		})
	}
	t.Run("no admin token set", func(t *testing.T) {
		w := newWorld(t, func(s *admin.Server) { s.Token = "" })
		w.do("GET", "/api/v1/hubs", "", "Bearer ").want(401)
		w.do("GET", "/metrics", "", "Bearer ").want(401)
	})
}

func TestProbes(t *testing.T) {
	w := newWorld(t, func(s *admin.Server) { s.Pprof = true })
	flag := w.health.AddFlag(1, "store", causeway.Errorf(causeway.ServiceUnavailable, "", "starting"))
	w.do("GET", "/healthz", "", "").want(200)
	if a := w.do("GET", "/readyz", "", "").want(503); !strings.Contains(string(a.body), `{"name":"store","status":"failing","error":"starting"`) {
		t.Errorf("readyz: %s", a.body)
	}
	flag.Set(nil)
	if a := w.do("GET", "/readyz", "", "").want(200); !strings.Contains(string(a.body), `"status":"ok"`) || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("readyz: %s", a.body)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
		w.do("GET", path, "", "").want(401)
		w.do("GET", path, "", "Bearer wrong").want(401)
		w.do("GET", path, "", w.policyToken("iothubowner", "myhub.example.com", time.Hour)).want(401)
		w.do("GET", path, "", "admin").want(200)
	}
	closed := newWorld(t, func(s *admin.Server) { s.OpenMetrics = true })
	closed.do("GET", "/metrics", "", "").want(200)
	closed.do("GET", "/debug/pprof/", "", "admin").want(404)
}
