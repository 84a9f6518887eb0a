package admin_test

import (
	"maps"
	"testing"
)

func TestProvisioningThrottle(t *testing.T) {
	w, s := provisioned(t)
	const path = "/api/v1/provisioning/dps/throttle"
	type throttle struct {
		Preset            string
		Limits, Effective map[string]int
	}
	get := func() (v throttle) {
		t.Helper()
		w.do("GET", path, "", "admin").want(200).into(&v)
		return v
	}
	if v := get(); v.Preset != "" || len(v.Limits) != 0 || len(v.Effective) != 0 {
		t.Errorf("at first %+v", v)
	}
	w.do("PUT", path, `{"preset":"standard-s1","limits":{"polls":0,"operations":7}}`, "admin").want(200)
	if v := get(); v.Preset != "standard-s1" || !maps.Equal(v.Effective, map[string]int{"registrations": 1000, "operations": 7}) || len(v.Limits) != 2 {
		t.Errorf("set to %+v", v)
	}
	w.do("PUT", path, `{"preset":"gold"}`, "admin").want(400)
	w.do("PUT", path, `{"limits":{"polls":-1}}`, "admin").want(400)
	w.do("PUT", path, `{"limits":{"bits":1}}`, "admin").want(400)
	w.do("PUT", "/api/v1/provisioning/none/throttle", `{}`, "admin").want(404)
	w.do("GET", "/api/v1/provisioning/none/throttle", "", "admin").want(404)
	w.do("PUT", path, `{}`, "admin").want(200)
	if v := get(); len(v.Effective) != 0 {
		t.Errorf("cleared to %+v", v)
	}
	if i, _ := s.Instance("dps"); i.Throttle.Preset != "" || len(i.Throttle.Limits) != 0 {
		t.Errorf("service %+v", i.Throttle)
	}
}
