package admin_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

type noSealer struct{}

func (noSealer) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (noSealer) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

type noTargets struct{}

func (noTargets) Target(dps.Link) (dps.Target, error) { panic("no device registers here") }

// provisioned is a world with a provisioning service "dps" that myhub is linked to.
func provisioned(t *testing.T) (*world, *dps.Service) {
	t.Helper()
	s, err := dps.New(t.Context(), dps.Options{Store: dpstest.NewMemory(), Sealer: noSealer{}, Targets: noTargets{}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(a *admin.Server) { a.Provisioning = s })
	w.do("POST", "/api/v1/provisioning", `{"name":"dps","hosts":["dps.example.com"],"hubs":["myhub"]}`, "admin").want(201)
	return w, s
}

// registrationToken returns what a device proves itself with.
func registrationToken(t *testing.T, scope, id string, key causeway.Secret) causeway.Secret {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(key))
	if err != nil {
		t.Fatal(err)
	}
	return causeway.Secret(sas.Sign(scope+"/registrations/"+id, raw, "registration", time.Now().Add(time.Hour)))
}

type service struct {
	Name, IDScope, AllocationPolicy, ETag string
	Hosts                                 []string
	Hubs                                  []link
	Policies                              []provisioningPolicy
}

type link struct {
	Host, Hub, Region string
	Weight            int
	Excluded          bool
}

type provisioningPolicy struct {
	Name                                       string
	Rights                                     []string
	PrimaryKey, SecondaryKey, ConnectionString string
}

func (w *world) service() (s service) {
	w.t.Helper()
	a := w.do("GET", "/api/v1/provisioning/DPS", "", "admin").want(200).into(&s)
	if got := a.header.Get("ETag"); got != `"`+s.ETag+`"` {
		w.t.Errorf("the header has the etag %s, the body %s", got, s.ETag)
	}
	return s
}

func TestProvisioningServices(t *testing.T) {
	w, _ := provisioned(t)
	s := w.service()
	if s.Name != "dps" || !strings.HasPrefix(s.IDScope, "0ne") || s.AllocationPolicy != "hashed" || strings.Join(s.Hosts, " ") != "dps.example.com" ||
		len(s.Hubs) != 1 || s.Hubs[0] != (link{Host: "myhub.example.com", Hub: "myhub", Weight: 1}) ||
		len(s.Policies) != 1 || s.Policies[0].Name != dps.OwnerPolicy || len(s.Policies[0].Rights) != 5 || s.Policies[0].PrimaryKey != "" {
		t.Errorf("service %+v", s)
	}
	var list struct{ Services []service }
	w.do("GET", "/api/v1/provisioning", "", "admin").want(200).into(&list)
	if len(list.Services) != 1 || list.Services[0].ETag != s.ETag {
		t.Errorf("list %+v", list)
	}
	w.do("POST", "/api/v1/provisioning", `{"name":"dps"}`, "admin").want(409)
	w.do("POST", "/api/v1/provisioning", `{"name":"two","hosts":["dps.example.com"]}`, "admin").want(409)
	w.do("POST", "/api/v1/provisioning", `{"name":"two","hubs":["nowhere"]}`, "admin").want(404)
	w.do("POST", "/api/v1/provisioning", `{"name":"two","allocationPolicy":"custom"}`, "admin").want(422)
	for _, host := range []string{"", "a b", "dps:443", "under_score", strings.Repeat("a", 300)} {
		w.do("POST", "/api/v1/provisioning", `{"name":"two","hosts":["`+host+`"]}`, "admin").want(400)
	}
	w.do("PATCH", "/api/v1/provisioning/dps", `{"hosts":["dps.example.com","other.example.com"],"allocationPolicy":"static"}`, "admin").want(200)
	if now := w.service(); len(now.Hosts) != 2 || now.AllocationPolicy != "static" || now.IDScope != s.IDScope || len(now.Hubs) != 1 {
		t.Errorf("changed: %+v", now)
	}
	w.do("PATCH", "/api/v1/provisioning/dps", `{}`, "admin").want(200)
	w.do("PATCH", "/api/v1/provisioning/none", `{}`, "admin").want(404)
	w.do("DELETE", "/api/v1/provisioning/none", "", "admin").want(404)
	w.do("DELETE", "/api/v1/provisioning/dps", "", "admin").want(204)
	w.do("GET", "/api/v1/provisioning/dps", "", "admin").want(404)
}

// Nobody but the administrator manages provisioning: a policy of a hub has no say.
func TestProvisioningIsForTheAdministrator(t *testing.T) {
	w, s := provisioned(t)
	i, _ := s.Instance("dps")
	token := w.policyToken("iothubowner", "myhub.example.com", 1<<40)
	for _, r := range [][2]string{
		{"GET", ""},
		{"POST", ""},
		{"GET", "/dps"},
		{"PATCH", "/dps"},
		{"DELETE", "/dps"},
		{"GET", "/dps/policies"},
		{"POST", "/dps/policies/provisioningserviceowner/keys"},
		{"PUT", "/dps/policies/p"},
		{"DELETE", "/dps/policies/p"},
		{"POST", "/dps/policies/p/regenerate"},
		{"GET", "/dps/hubs"},
		{"PUT", "/dps/hubs/myhub"},
		{"DELETE", "/dps/hubs/myhub"},
		{"GET", "/dps/certificates"},
		{"GET", "/dps/certificates/c"},
		{"PUT", "/dps/certificates/c"},
		{"DELETE", "/dps/certificates/c"},
		{"POST", "/dps/certificates/c/generateVerificationCode"},
		{"POST", "/dps/certificates/c/verify"},
		{"PUT", "/dps/certificates/c/revocationList"},
		{"GET", "/dps/revocations"},
		{"POST", "/dps/revocations"},
		{"DELETE", "/dps/revocations/r"},
		{"GET", "/dps/credentialPolicies"},
		{"PUT", "/dps/credentialPolicies/p"},
		{"DELETE", "/dps/credentialPolicies/p"},
		{"GET", "/dps/issuedCertificates"},
		{"GET", "/dps/issuer"},
		{"GET", "/dps/throttle"},
		{"PUT", "/dps/throttle"},
		{"GET", "/dps/regions"},
		{"PUT", "/dps/regions"},
		{"GET", "/dps/audit"},
	} {
		for _, who := range []string{"", "Bearer wrong", token} {
			if a := w.do(r[0], "/api/v1/provisioning"+r[1], "", who); a.status != 401 || strings.Contains(string(a.body), i.IDScope) {
				t.Errorf("%s %s as %q: %d %s", r[0], r[1], who, a.status, a.body)
			}
		}
	}
}

func TestProvisioningPolicies(t *testing.T) {
	w, s := provisioned(t)
	const path = "/api/v1/provisioning/dps/policies"
	var p provisioningPolicy
	w.do("PUT", path+"/reader", `{"rights":["enrollmentread","RegistrationStatusRead"]}`, "admin").want(200).into(&p)
	if p.PrimaryKey == "" || p.PrimaryKey == p.SecondaryKey || strings.Join(p.Rights, " ") != "EnrollmentRead RegistrationStatusRead" ||
		p.ConnectionString != "HostName=dps.example.com;SharedAccessKeyName=reader;SharedAccessKey="+p.PrimaryKey {
		t.Errorf("made: %+v", p)
	}
	var changed provisioningPolicy
	w.do("PUT", path+"/reader", `{"rights":["EnrollmentRead"]}`, "admin").want(200).into(&changed)
	if changed.PrimaryKey != "" || len(changed.Rights) != 1 {
		t.Errorf("changed: %+v", changed)
	}
	var keys provisioningPolicy
	w.do("POST", path+"/reader/keys", "", "admin").want(200).into(&keys)
	if keys.PrimaryKey != p.PrimaryKey || keys.SecondaryKey != p.SecondaryKey {
		t.Errorf("keys changed with the rights")
	}
	for which, want := range map[string]func(was, is provisioningPolicy) bool{
		"primary": func(was, is provisioningPolicy) bool {
			return is.PrimaryKey != was.PrimaryKey && is.SecondaryKey == was.SecondaryKey
		},
		"secondary": func(was, is provisioningPolicy) bool {
			return is.PrimaryKey == was.PrimaryKey && is.SecondaryKey != was.SecondaryKey
		},
		"swap": func(was, is provisioningPolicy) bool {
			return is.PrimaryKey == was.SecondaryKey && is.SecondaryKey == was.PrimaryKey
		},
	} {
		was, is := keys, provisioningPolicy{}
		w.do("POST", path+"/reader/regenerate", `{"key":"`+which+`"}`, "admin").want(200).into(&is)
		if !want(was, is) {
			t.Errorf("%s: before %+v, after %+v", which, was, is)
		}
		keys = is
	}
	w.do("POST", path+"/reader/regenerate", `{"key":"both"}`, "admin").want(422)
	w.do("POST", path+"/none/regenerate", `{"key":"swap"}`, "admin").want(404)
	w.do("POST", path+"/none/keys", "", "admin").want(404)
	w.do("PUT", path+"/bad%20name", `{"rights":["EnrollmentRead"]}`, "admin").want(400)
	w.do("PUT", path+"/p", `{"rights":["King"]}`, "admin").want(400)
	w.do("PUT", path+"/p", `{"rights":[]}`, "admin").want(422)
	var list struct{ Policies []provisioningPolicy }
	a := w.do("GET", path, "", "admin").want(200).into(&list)
	if len(list.Policies) != 2 || strings.Contains(string(a.body), "rimaryKey") {
		t.Errorf("list %s", a.body)
	}
	w.do("DELETE", path+"/reader", "", "admin").want(204)
	w.do("DELETE", path+"/reader", "", "admin").want(404)
	i, _ := s.Instance("dps")
	for n := range dps.MaxPolicies - 1 {
		_, err := s.Change(context.Background(), "dps", func(i *dps.Instance) error {
			i.PutPolicy("p"+strings.Repeat("x", n), dps.ServiceConfig)
			return nil
		})
		if err != nil {
			t.Fatalf("policy %d of %s: %v", n, i.Name, err)
		}
	}
	w.do("PUT", path+"/one-more", `{"rights":["EnrollmentRead"]}`, "admin").want(400)
}

func TestLinkedHubs(t *testing.T) {
	w, s := provisioned(t)
	const path = "/api/v1/provisioning/dps/hubs"
	var l link
	w.do("PUT", path+"/MyHub", `{"weight":7,"region":"north"}`, "admin").want(200).into(&l)
	if l != (link{Host: "myhub.example.com", Hub: "myhub", Weight: 7, Region: "north"}) {
		t.Errorf("changed by name: %+v", l)
	}
	w.do("PUT", path+"/myhub.example.com", `{"excluded":true}`, "admin").want(200).into(&l)
	if l != (link{Host: "myhub.example.com", Hub: "myhub", Weight: 7, Region: "north", Excluded: true}) {
		t.Errorf("what is left out stays: %+v", l)
	}
	// By another of its names it is another link: devices get the name.
	w.do("PUT", path+"/localhost", `{}`, "admin").want(200).into(&l)
	w.do("DELETE", path+"/localhost", "", "admin").want(204)

	const far = `HostName=far.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey=c2VjcmV0`
	w.do("PUT", path+"/far.example.com", `{}`, "admin").want(404)
	for _, bad := range []string{
		"x", "HostName=other.example.com;SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0", "HostName=far.example.com;DeviceId=d;SharedAccessKey=c2VjcmV0",
	} {
		if a := w.do("PUT", path+"/far.example.com", `{"connectionString":"`+bad+`"}`, "admin").want(400); strings.Contains(string(a.body), "c2VjcmV0") {
			t.Errorf("the key is repeated: %s", a.body)
		}
	}
	w.do("PUT", path+"/myhub", `{"connectionString":"`+far+`"}`, "admin").want(400)
	a := w.do("PUT", path+"/far.example.com", `{"connectionString":"`+far+`","weight":3}`, "admin").want(200)
	if strings.Contains(string(a.body), "c2VjcmV0") {
		t.Errorf("the connection string is shown: %s", a.body)
	}
	w.do("PUT", path+"/far.example.com", `{"weight":4}`, "admin").want(200)
	i, _ := s.Instance("dps")
	if l, _ := i.Link("far.example.com"); l.ConnectionString != far || l.Weight != 4 {
		t.Errorf("link %+v", l)
	}
	w.do("PUT", path+"/far.example.com", `{"weight":0}`, "admin").want(422)
	w.do("PUT", path+"/far.example.com", `{"weight":1001}`, "admin").want(422)
	w.do("PUT", path+"/far.example.com", `{"region":"a\u0000b"}`, "admin").want(400)
	var list struct{ Hubs []link }
	w.do("GET", path, "", "admin").want(200).into(&list)
	if len(list.Hubs) != 2 || list.Hubs[1] != (link{Host: "far.example.com", Weight: 4}) {
		t.Errorf("list %+v", list)
	}
	w.do("DELETE", path+"/far.example.com", "", "admin").want(204)
	w.do("DELETE", path+"/far.example.com", "", "admin").want(404)
}

// A change that was decided on something that is no more is refused.
func TestProvisioningEtags(t *testing.T) {
	w, s := provisioned(t)
	stale := w.service().ETag
	if _, err := s.Change(t.Context(), "dps", func(i *dps.Instance) error { i.Allocation = dps.Static; return nil }); err != nil {
		t.Fatal(err)
	}
	if again := w.service().ETag; again == stale {
		t.Fatal("the etag did not change")
	}
	for _, r := range [][3]string{
		{"PATCH", "", `{"allocationPolicy":"geoLatency"}`},
		{"PUT", "/policies/p", `{"rights":["EnrollmentRead"]}`},
		{"POST", "/policies/provisioningserviceowner/regenerate", `{"key":"swap"}`},
		{"PUT", "/hubs/myhub", `{"weight":2}`},
		{"DELETE", "/hubs/myhub", ""},
		{"DELETE", "/policies/p", ""},
		{"PUT", "/throttle", `{"limits":{"polls":5}}`},
		{"PUT", "/regions", `{"networks":[{"network":"10.0.0.0/8","region":"eu"}]}`},
	} {
		ask := func(etag string) int {
			return w.doIf(r[0], "/api/v1/provisioning/dps"+r[1], r[2], etag).status
		}
		if got := ask(`"` + stale + `"`); got != 412 {
			t.Errorf("%s %s with a stale etag: %d", r[0], r[1], got)
		}
		if got := ask(`"` + w.service().ETag + `"`); got >= 300 {
			t.Errorf("%s %s with the etag: %d", r[0], r[1], got)
		}
	}
	// What is a part of the service shows the etag that it has with it.
	for path, change := range map[string]string{"/throttle": `{"limits":{"polls":6}}`, "/regions": `{}`} {
		before := w.service().ETag
		got := w.do("GET", "/api/v1/provisioning/dps"+path, "", "admin").want(200).header.Get("ETag")
		after := w.doIf("PUT", "/api/v1/provisioning/dps"+path, change, got).want(200).header.Get("ETag")
		if got != `"`+before+`"` || after == got || after != `"`+w.service().ETag+`"` {
			t.Errorf("%s: the etag %s, then %s; of the service %s, then %s", path, got, after, before, w.service().ETag)
		}
	}
	for _, any := range []string{"*", w.service().ETag, `W/"` + w.service().ETag + `"`} {
		if got := w.doIf("PATCH", "/api/v1/provisioning/dps", `{}`, any).status; got != 200 {
			t.Errorf("If-Match %s: %d", any, got)
		}
	}
}
