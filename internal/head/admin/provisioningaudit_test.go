package admin_test

import (
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
)

func TestProvisioningAudit(t *testing.T) {
	w, s := provisioned(t)
	// Nobody runs the service: what is refused waits, what is disabled is on record.
	e, err := s.PutEnrollment(t.Context(), "dps", dps.Enrollment{ID: "d", Disabled: true, Attestation: dps.Attestation{Kind: dps.SymmetricKey}}, "")
	if err != nil {
		t.Fatal(err)
	}
	i, _ := s.Instance("dps")
	before := time.Now().UTC().Add(-time.Minute)
	for range 3 {
		r := causeway.Registration{Scope: i.IDScope, ID: "d", Credential: causeway.Credential{
			Token: registrationToken(t, i.IDScope, "d", e.Attestation.Keys.Primary), Transport: causeway.HTTPS, RemoteAddr: "10.0.0.7:1",
		}}
		if _, err := s.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	type decision struct {
		Seq                                                             int64
		RegistrationID, Outcome, Remote, Transport, Enrollment, Message string
	}
	get := func(query string) []decision {
		t.Helper()
		var out struct{ Decisions []decision }
		w.do("GET", "/api/v1/provisioning/dps/audit"+query, "", "admin").want(200).into(&out)
		return out.Decisions
	}
	all := get("")
	if len(all) != 3 || all[0].Seq <= all[2].Seq || all[0].RegistrationID != "d" || all[0].Outcome != "disabled" || all[0].Enrollment != "d" ||
		all[0].Remote != "10.0.0.7:1" || all[0].Transport != "https" {
		t.Fatalf("decisions %+v", all)
	}
	since := before.Format(time.RFC3339)
	for query, want := range map[string]int{
		"?limit=2": 2, "?registration=D": 3, "?registration=x": 0, "?since=" + since: 3, "?since=2999-01-01T00:00:00Z": 0, "?after=0": 3, "?after=-1": 3,
	} {
		if got := get(query); len(got) != want {
			t.Errorf("%s: %d decisions, want %d", query, len(got), want)
		}
	}
	if got := get("?after=0"); got[0].Seq >= got[1].Seq {
		t.Errorf("after: %+v", got)
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?since=yesterday", "?after=-2"} {
		w.do("GET", "/api/v1/provisioning/dps/audit"+query, "", "admin").want(422)
	}
	w.do("GET", "/api/v1/provisioning/none/audit", "", "admin").want(404)
}

func TestProvisioningRegions(t *testing.T) {
	w, _ := provisioned(t)
	const path = "/api/v1/provisioning/dps/regions"
	type regions struct {
		Networks  []struct{ Network, Region string }
		Latencies []struct {
			From, To     string
			Milliseconds int
		}
	}
	var r regions
	w.do("GET", path, "", "admin").want(200).into(&r)
	if r.Networks == nil || len(r.Networks)+len(r.Latencies) != 0 {
		t.Errorf("at first %+v", r)
	}
	w.do("PUT", path, `{"networks":[{"network":"10.1.2.3/8","region":"eu"}],"latencies":[{"from":"eu","to":"us","milliseconds":80}]}`, "admin").want(200)
	w.do("GET", path, "", "admin").want(200).into(&r)
	if len(r.Networks) != 1 || r.Networks[0].Network != "10.0.0.0/8" || len(r.Latencies) != 1 || r.Latencies[0].Milliseconds != 80 {
		t.Errorf("set to %+v", r)
	}
	w.do("PUT", path, `{"networks":[{"network":"here","region":"eu"}]}`, "admin").want(400)
	w.do("PUT", path, `{"networks":[{"network":"::ffff:10.0.0.0/100","region":"eu"}]}`, "admin").want(400)
	w.do("PUT", path, `{"latencies":[{"from":"eu","to":"us","milliseconds":-1}]}`, "admin").want(422)
	w.do("PUT", "/api/v1/provisioning/none/regions", `{}`, "admin").want(404)
	w.do("GET", "/api/v1/provisioning/none/regions", "", "admin").want(404)
	w.do("PUT", path, `{}`, "admin").want(200)
}
