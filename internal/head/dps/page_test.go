package dps_test

import (
	"fmt"
	"testing"
)

// TestLastPage: the last page says that there are no more, however many it has, and what
// comes or goes between two pages disturbs nothing.
func TestLastPage(t *testing.T) {
	w := newWorld(t)
	owner := w.token("provisioningserviceowner")
	put := func(path, id, member string) {
		t.Helper()
		a := w.do("PUT", path+"/"+id, owner, `{"`+member+`":"`+id+`","attestation":{"type":"symmetricKey"}}`)
		w.want("put "+id, a, 200, id)
	}
	for k := range 4 {
		put("/enrollments", fmt.Sprint("d", k), "registrationId")
		put("/enrollmentGroups", fmt.Sprint("g", k), "enrollmentGroupId")
	}
	ask := func(path, token, ids string) (next string) {
		t.Helper()
		a := w.do("POST", path+"/query", owner, `{"query":"SELECT * FROM x"}`, "x-ms-max-item-count: 2", "x-ms-continuation: "+token)
		w.want("query "+path, a, 200, ids)
		return a.header.Get("x-ms-continuation")
	}
	for path, name := range map[string]string{"/enrollments": "d", "/enrollmentGroups": "g"} {
		next := ask(path, "", name+"1")
		if next == "" || ask(path, next, name+"3") != "" {
			t.Errorf("%s: after 2 of 4 %q; 4 of 4 are not the last", path, next)
		}
		// The one that the first page ended with goes, and one after it.
		for _, k := range []string{"1", "3"} {
			w.want("delete", w.do("DELETE", path+"/"+name+k, owner, ""), 204, "")
		}
		if ask(path, next, name+"2") != "" {
			t.Errorf("%s: of 3 the last two say that there are more", path)
		}
	}
	// None has come by this group.
	if a := w.do("POST", "/registrations/g0/query", owner, "", "x-ms-max-item-count: 1"); a.status != 200 || a.header.Get("x-ms-continuation") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
}
