package dps_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
)

func TestDevice(t *testing.T) {
	w := newWorld(t)
	owner := w.token("provisioningserviceowner")
	a := w.do("PUT", "/enrollments/Dev-1", owner, `{"registrationId":"Dev-1","attestation":{"type":"symmetricKey"}}`)
	w.want("create", a, 200, `"primaryKey"`)
	key := a.json(t)["attestation"].(map[string]any)["symmetricKey"].(map[string]any)["primaryKey"].(string)
	token := w.deviceToken("dev-1", key)
	base := "/" + strings.ToLower(w.instance.IDScope) + "/registrations/dev-1"

	w.want("before it registered", w.do("POST", base, token, "{}"), 404, "404202")
	a = w.do("PUT", base+"/register?api-version=2019-03-31&forceRegistration=true", token, `{"registrationId":"DEV-1","payload":{"a":1}}`)
	w.want("register", a, 202, `"registrationState":{"registrationId":"Dev-1","status":"assigning"}`)
	if a.header.Get("Retry-After") != "2" || !strings.HasPrefix(a.header.Get("Location"), "https://127.0.0.1:") || a.header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("headers %v", a.header)
	}
	id := a.json(t)["operationId"].(string)
	a = w.eventually(base+"/operations/"+id, token)
	w.want("outcome", a, 200, `"assignedHub":"hub","deviceId":"Dev-1","status":"assigned","substatus":"initialAssignment"`)
	if a.header.Get("Retry-After") != "" {
		t.Errorf("headers %v", a.header)
	}
	w.want("status", w.do("POST", base, token, "{}"), 200, `{"symmetricKey":{},"registrationId":"Dev-1"`)

	for what, c := range map[string]struct {
		a      answer
		status int
		text   string
	}{
		"another operation":        {w.do("GET", base+"/operations/5.x.y", token, ""), 404, "404202"},
		"a wrong key":              {w.do("PUT", base+"/register", w.deviceToken("dev-1", "AAAA"), "{}"), 401, `"errorCode":401002`},
		"no token":                 {w.do("PUT", base+"/register", "", "{}"), 401, `"message":"Unauthorized"`},
		"a bearer token":           {w.do("PUT", base+"/register", "Bearer x", "{}"), 401, "401002"},
		"an unknown device":        {w.do("PUT", "/"+w.instance.IDScope+"/registrations/dev-2/register", token, "{}"), 401, "401002"},
		"a CSR at the wrong place": {w.do("POST", base+"?api-version=2025-07-01-preview", token, `{"csr":"AAAA"}`), 400, "csr"},
		"a CSR that is no text":    {w.do("PUT", base+"/register?api-version=2025-07-01-preview", token, `{"csr":7}`), 400, "csr must be a text"},
		"a CSR that it ignores":    {w.do("POST", base, token, `{"csr":"no base64"}`), 200, `"status":"assigned"`},
		"a foreign scope":          {w.do("PUT", "/0ne1/registrations/dev-1/register", token, "{}"), 404, "0ne1"},
		"no version":               {w.do("PUT", base+"/register?x=y", token, "{}"), 400, "api-version is missing"},
		"a bad version":            {w.do("PUT", base+"/register?api-version=latest", token, "{}"), 400, "latest"},
		"another id":               {w.do("PUT", base+"/register", token, `{"registrationId":"x"}`), 400, "registrationId"},
		"not JSON":                 {w.do("PUT", base+"/register", token, `{`), 400, "JSON object"},
		"a huge body":              {w.do("PUT", base+"/register", token, strings.Repeat(" ", 2<<20)), 413, "larger than"},
		"another method":           {w.do("DELETE", base+"/register", token, ""), 405, "allowed: PUT"},
		"somewhere else":           {w.do("GET", "/nothing", token, ""), 404, "no such operation"},
		"an escape too many":       {w.do("GET", "/enrollments/%252e", token, ""), 401, "401002"},
	} {
		w.want(what, c.a, c.status, c.text)
	}
}

// TestThrottled: who comes too often is told when to come again.
func TestThrottled(t *testing.T) {
	w := newWorld(t)
	owner := w.token("provisioningserviceowner")
	a := w.do("PUT", "/enrollments/d", owner, `{"registrationId":"d","attestation":{"type":"symmetricKey"}}`)
	key := a.json(t)["attestation"].(map[string]any)["symmetricKey"].(map[string]any)["primaryKey"].(string)
	w.throttle(map[string]int{"registrations": 2, "operations": 1})
	path := "/" + w.instance.IDScope + "/registrations/d/register"
	w.want("first", w.do("PUT", path, w.deviceToken("d", key), "{}"), 202, "assigning")
	w.want("second", w.do("PUT", path, w.deviceToken("d", key), "{}"), 202, "assigning")
	w.want("operation", w.do("GET", "/enrollments/d", owner, ""), 200, `"registrationId":"d"`)
	for what, a := range map[string]answer{"third": w.do("PUT", path, w.deviceToken("d", key), "{}"), "second operation": w.do("GET", "/enrollments/d", owner, "")} {
		w.want(what, a, 429, `"errorCode":429001`)
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 3 || n > 60 {
			t.Errorf("%s: Retry-After %q", what, a.header.Get("Retry-After"))
		}
	}
	w.want("without the right", w.do("GET", "/enrollments/d", "", ""), 401, "401002")
}

func TestTPM(t *testing.T) {
	w := newWorld(t)
	p := tpm2test.New(t)
	b64 := base64.StdEncoding.EncodeToString
	a := w.do("PUT", "/enrollments/d", w.token("provisioningserviceowner"), `{"registrationId":"d","attestation":{"type":"tpm","tpm":{"endorsementKey":"`+b64(p.EndorsementKey())+`"}}}`)
	w.want("create", a, 200, `"endorsementKey"`)
	path := "/" + w.instance.IDScope + "/registrations/d/"
	body := `{"registrationId":"d","tpm":{"endorsementKey":"` + b64(p.EndorsementKey()) + `","storageRootKey":"` + b64(p.StorageRootKey()) + `"}}`
	a = w.do("PUT", path+"register", "", body)
	w.want("challenge", a, 401, `"keyName":"registration"`)
	v := a.json(t)
	if v["status"] != nil {
		t.Errorf("a challenge has the status %v", v["status"])
	}
	blob, err := base64.StdEncoding.DecodeString(v["authenticationKey"].(string))
	ok(t, err)
	nonce, err := p.Activate(blob)
	ok(t, err)
	token := w.deviceToken("d", b64(nonce))
	a = w.do("PUT", path+"register", token, body)
	w.want("register", a, 202, "assigning")
	a = w.eventually(path+"operations/"+a.json(t)["operationId"].(string), token)
	w.want("outcome", a, 200, `"tpm":{"authenticationKey":"`)
	other := tpm2test.New(t)
	w.want("another TPM", w.do("PUT", path+"register", "", strings.ReplaceAll(body, b64(p.EndorsementKey()), b64(other.EndorsementKey()))), 401, "401002")
}

func TestEnrollments(t *testing.T) {
	w := newWorld(t)
	owner, reader := w.token("provisioningserviceowner"), w.token("reader")
	for _, kind := range []struct{ path, id, query, item string }{
		{"/enrollments", "registrationId", "/enrollments/query", "Enrollment"},
		{"/enrollmentGroups", "enrollmentGroupId", "/ENROLLMENTGROUPS/query/", "EnrollmentGroup"},
	} {
		doc := func(id, more string) string {
			return `{"` + kind.id + `":"` + id + `","attestation":{"type":"symmetricKey"}` + more + `}`
		}
		a := w.do("PUT", kind.path+"/e0", owner, doc("e0", ""))
		w.want("create", a, 200, `"provisioningStatus":"enabled"`)
		etag, first := a.header.Get("ETag"), a.json(t)
		if etag == "" || first["etag"] != etag {
			t.Errorf("etag %s in the header, %v in the body", etag, first["etag"])
		}
		w.want("get", w.do("GET", kind.path+"/E0", reader, ""), 200, `"symmetricKey":{}`)
		w.want("keys", w.do("POST", kind.path+"/e0/attestationmechanism", owner, ""), 200, `{"type":"symmetricKey","symmetricKey":{"primaryKey":"`)
		w.want("keys for a reader", w.do("POST", kind.path+"/e0/attestationmechanism", reader, ""), 403, "EnrollmentWrite")
		for _, match := range []string{etag, strings.Trim(etag, `"`), `"` + strings.ReplaceAll(etag, `"`, `\"`) + `"`, "*"} {
			a = w.do("PUT", kind.path+"/e0", owner, doc("e0", `,"capabilities":{"iotEdge":true}`), "If-Match: "+match)
			w.want("update with "+match, a, 200, `"iotEdge":true`)
			etag, match = a.header.Get("ETag"), etag
			w.want("an old etag", w.do("DELETE", kind.path+"/e0", owner, "", "If-Match: "+match), 412, "412000")
			if match != "*" {
				break // the others are of the enrollment before
			}
		}
		w.want("another id", w.do("PUT", kind.path+"/e1", owner, doc("e2", "")), 400, "e2")
		w.want("a reader", w.do("PUT", kind.path+"/e1", reader, doc("e1", "")), 403, "reader")
		w.want("nobody", w.do("GET", kind.path+"/e0", "", ""), 401, "401002")
		w.want("none", w.do("GET", kind.path+"/none", owner, ""), 404, "404201")
		w.want("bad", w.do("PUT", kind.path+"/bad", owner, doc("bad", `,"allocationPolicy":"best"`)), 400, "allocationPolicy")
		w.want("an array", w.do("PUT", kind.path+"/bad", owner, `[]`), 400, "JSON object")

		var items []string
		for i := 1; i < 8; i++ {
			items = append(items, doc(fmt.Sprint("e", i), ""))
		}
		list := "enrollments"
		if kind.item == "EnrollmentGroup" {
			list = "enrollmentGroups"
		}
		bulk := func(mode string, items ...string) answer {
			return w.do("POST", kind.path+"/", owner, `{"mode":"`+mode+`","`+list+`":[`+strings.Join(items, ",")+`]}`)
		}
		w.want("bulk create", bulk("create", items...), 200, `{"isSuccessful":true,"errors":[]}`)
		w.want("bulk create again", bulk("create", items[0], doc("e8", "")), 200, `"isSuccessful":false,"errors":[{"`+kind.id+`":"e1","errorCode":409203`)
		w.want("bulk update", bulk("update", items[0], doc("none", "")), 200, `"`+kind.id+`":"none","errorCode":412000`)
		w.want("bulk, no etag", bulk("updateIfMatchEtag", items[0]), 200, "needs the etag")
		w.want("bulk, odd", bulk("merge", items[0]), 200, "merge")
		w.want("bulk, many", bulk("create", append(items, items...)...), 400, "at most 10")

		var got []string
		token, pages := "", 0
		for {
			headers := []string{"x-ms-max-item-count: 3"}
			if token != "" {
				headers = append(headers, "x-ms-continuation: "+token)
			}
			a := w.do("POST", kind.query, reader, `{"query":"SELECT * FROM enrollments"}`, headers...)
			w.want("query", a, 200, "[")
			var list []map[string]any
			ok(t, json.Unmarshal([]byte(a.body), &list))
			for _, e := range list {
				got = append(got, e[kind.id].(string))
			}
			if a.header.Get("x-ms-item-type") != kind.item || strings.Contains(a.body, "primaryKey") {
				t.Errorf("page %v %s", a.header, a.body)
			}
			pages++
			if token = a.header.Get("x-ms-continuation"); token == "" || pages > 10 {
				break
			}
		}
		if strings.Join(got, " ") != "e0 e1 e2 e3 e4 e5 e6 e7 e8" {
			t.Errorf("pages have %v", got)
		}
		w.want("a bad page", w.do("POST", kind.query, reader, "", "x-ms-max-item-count: many"), 400, "many")
		w.want("a bad token", w.do("POST", kind.query, reader, "", "x-ms-continuation: AAAA"), 400, "x-ms-continuation")
		w.want("a condition", w.do("POST", kind.query, reader, `{"query":"SELECT * FROM x WHERE a=1"}`), 400, "only SELECT")
		w.want("bulk delete", bulk("delete", items...), 200, `"isSuccessful":true`)
		w.want("delete", w.do("DELETE", kind.path+"/e0", owner, "", "If-Match: *"), 204, "")
	}
}

func TestRegistrations(t *testing.T) {
	w := newWorld(t)
	owner, reader := w.token("provisioningserviceowner"), w.token("reader")
	a := w.do("PUT", "/enrollments/d", owner, `{"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"AAAAAAAAAAAAAAAAAAAAAA==","secondaryKey":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`)
	w.want("create", a, 200, `"registrationState":{"registrationId":"d","status":"unassigned"}`)
	w.want("before", w.do("GET", "/registrations/d", reader, ""), 404, "404202")
	token := w.deviceToken("d", "AAAAAAAAAAAAAAAAAAAAAA==")
	path := "/" + w.instance.IDScope + "/registrations/d/"
	a = w.do("PUT", path+"register", token, "")
	w.eventually(path+"operations/"+a.json(t)["operationId"].(string), token)
	a = w.do("GET", "/registrations/d", reader, "")
	w.want("after", a, 200, `"status":"assigned"`)
	w.want("in the enrollment", w.do("GET", "/enrollments/d", reader, ""), 200, `"assignedHub":"hub"`)
	w.want("of a group that is not there", w.do("POST", "/registrations/g/query", reader, ""), 404, "404201")
	w.do("PUT", "/enrollmentGroups/g", owner, `{"attestation":{"type":"symmetricKey"}}`)
	a = w.do("POST", "/registrations/g/query", reader, "{}")
	if w.want("of a group", a, 200, "[]"); a.header.Get("x-ms-item-type") != "DeviceRegistration" {
		t.Errorf("headers %v", a.header)
	}
	w.want("a reader deletes", w.do("DELETE", "/registrations/d", reader, ""), 403, "RegistrationStatusWrite")
	w.want("delete", w.do("DELETE", "/registrations/d", owner, "", `If-Match: "x"`), 412, "")
	w.want("delete", w.do("DELETE", "/registrations/d", owner, ""), 204, "")
}
