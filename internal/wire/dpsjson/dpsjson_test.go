package dpsjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
)

// withCSR is a version of the API that knows certificate requests.
const withCSR = "2025-07-01-preview"

func TestParse(t *testing.T) {
	for text, want := range map[string]dpsjson.Request{
		"": {}, " ": {}, "{}": {}, `{"registrationId":"a","x":1}`: {ID: "a"},
		`{"payload":{"a": 1}}`: {Payload: []byte(`{"a": 1}`)}, `{"payload":"text"}`: {Payload: []byte(`"text"`)},
		`{"tpm":{"endorsementKey":"AAE=","storageRootKey":"Ag=="},"csr":"Aw=="}`: {EndorsementKey: []byte{0, 1}, StorageRootKey: []byte{2}, CSR: []byte{3}},
	} {
		got, err := dpsjson.Parse([]byte(text), withCSR)
		if err != nil || got.ID != want.ID || !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.EndorsementKey, want.EndorsementKey) ||
			!bytes.Equal(got.StorageRootKey, want.StorageRootKey) || !bytes.Equal(got.CSR, want.CSR) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"[]": "JSON object", "null": "JSON object", "7": "JSON object", "{": "JSON object", `{"registrationId":7}`: "JSON object", "\xff{}": "UTF-8",
		`{"tpm":{"endorsementKey":"?"}}`: "tpm.endorsementKey", `{"csr":"?"}`: "csr", `{"csr":7}`: "csr must be a text", strings.Repeat(" ", dpsjson.MaxRequest+1): "at most",
	} {
		if _, err := dpsjson.Parse([]byte(text), withCSR); causeway.CodeOf(err) != causeway.GenericBadRequest || !strings.Contains(causeway.MessageOf(err), want) {
			t.Errorf("%.40q: %v, want it to speak of %q", text, err, want)
		}
	}
	for _, text := range []string{`{"csr":"Aw=="}`, `{"csr":"?"}`, `{"csr":7}`, `{"csr":{"a":[]}}`, `{"csr":null}`} {
		for _, version := range []string{"2019-03-31", "2021-06-01", ""} {
			if got, err := dpsjson.Parse([]byte(text), version); err != nil || got.CSR != nil {
				t.Errorf("%s in version %q: %q, %v", text, version, got.CSR, err)
			}
		}
	}
	r := dpsjson.Request{ID: "Dev"}
	if err := errors.Join(r.Check("dev"), (&dpsjson.Request{}).Check("x")); err != nil {
		t.Error(err)
	}
	if err := r.Check("other"); causeway.CodeOf(err) != causeway.GenericBadRequest {
		t.Error(err)
	}
}

func TestOperation(t *testing.T) {
	at := time.Date(2024, 5, 1, 8, 0, 0, 123456700, time.UTC)
	op := causeway.Operation{
		ID: "5.ab.c", Registration: "r1", Status: "assigned", Substatus: "initialAssignment", Hub: "h", Device: "d", Attestation: "symmetricKey",
		Group: "g", ETag: "e", Created: at, Updated: at, Payload: []byte(`{"p":1}`),
	}
	const final = `"registrationId":"r1","createdDateTimeUtc":"2024-05-01T08:00:00.1234567Z","assignedHub":"h","deviceId":"d","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2024-05-01T08:00:00.1234567Z","etag":"e","payload":{"p":1}}`
	for name, c := range map[string]struct {
		change func(*causeway.Operation)
		status int
		want   string
	}{
		"key of a group":      {func(*causeway.Operation) {}, 200, `{"operationId":"5.ab.c","status":"assigned","registrationState":{"symmetricKey":{"enrollmentGroupId":"g"},` + final + `}`},
		"certificate":         {func(o *causeway.Operation) { o.Attestation, o.Group = "x509", "" }, 200, `{"operationId":"5.ab.c","status":"assigned","registrationState":{"x509":{},` + final + `}`},
		"TPM":                 {func(o *causeway.Operation) { o.Attestation, o.AuthenticationKey = "tpm", []byte{1} }, 200, `{"operationId":"5.ab.c","status":"assigned","registrationState":{"tpm":{"authenticationKey":"AQ=="},` + final + `}`},
		"issued certificates": {func(o *causeway.Operation) { o.Certificates = [][]byte{{1}, {2}} }, 200, `{"operationId":"5.ab.c","status":"assigned","registrationState":{"symmetricKey":{"enrollmentGroupId":"g"},` + strings.TrimSuffix(final, "}") + `,"issuedCertificateChain":["AQ==","Ag=="]}}`},
		"under way":           {func(o *causeway.Operation) { o.Status = "assigning" }, 202, `{"operationId":"5.ab.c","status":"assigning","registrationState":{"registrationId":"r1","status":"assigning"}}`},
		"failed": {func(o *causeway.Operation) {
			*o = causeway.Operation{ID: "5", Registration: "r", Status: "failed", Code: 400207, Message: "why", Updated: at}
		}, 200, `{"operationId":"5","status":"failed","registrationState":{"registrationId":"r","status":"failed","errorCode":400207,"errorMessage":"why","lastUpdatedDateTimeUtc":"2024-05-01T08:00:00.1234567Z"}}`},
		"disabled": {func(o *causeway.Operation) { *o = causeway.Operation{ID: "5", Registration: "r", Status: "disabled"} }, 200, `{"operationId":"5","status":"disabled","registrationState":{"registrationId":"r","status":"disabled","errorCode":403000,"errorMessage":"the registration is disabled"}}`},
	} {
		o := op
		c.change(&o)
		b, err := dpsjson.Operation(&o)
		if err != nil || string(b) != c.want || dpsjson.Status(&o) != c.status {
			t.Errorf("%s: %d, %v\n got %s\nwant %s", name, dpsjson.Status(&o), err, b, c.want)
		}
		s, err := dpsjson.State(&o)
		if err != nil || !strings.Contains(string(b), `"registrationState":`+string(s)) {
			t.Errorf("%s: state %s, %v", name, s, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		want   string
	}{
		{causeway.Errorf(401002, "x", "Unauthorized"), 401, `{"errorCode":401002,"trackingId":"t","message":"Unauthorized","info":{},"timestampUtc":"`},
		{errors.New("secret"), 500, `{"errorCode":500001,"trackingId":"t","message":"internal error","info":{},`},
	} {
		status, b := dpsjson.Error(c.err, "t")
		if status != c.status || !strings.HasPrefix(string(b), c.want) || !json.Valid(b) {
			t.Errorf("%v: %d %s", c.err, status, b)
		}
	}
	if _, b := dpsjson.Error(errors.New("x"), ""); strings.Contains(string(b), `"trackingId":""`) {
		t.Errorf("%s", b)
	}
	b := dpsjson.Challenge(causeway.TPMChallenge{AuthenticationKey: []byte{1, 2}, KeyName: "registration"})
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil || got["authenticationKey"] != "AQI=" || got["keyName"] != "registration" || got["status"] != nil {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"registrationId":"a","payload":{},"tpm":{"endorsementKey":"AAE=","storageRootKey":"Ag=="},"csr":"Aw=="}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dpsjson.Parse(b, withCSR)
		if err == nil && len(r.Payload) > 0 && !json.Valid(r.Payload) {
			t.Errorf("%q has the payload %q", b, r.Payload)
		}
	})
}

func TestCheckVersion(t *testing.T) {
	for v, want := range map[string]string{
		"2019-03-31": "", "2017-08-31": "", "2025-07-01-preview": "",
		"": "is missing", "latest": "latest", "2017-08-30": "from 2017-08-31 on", "2019-02-30": "2019-02-30",
		"2019-03-31-preview" + strings.Repeat("x", 20): "no", "2019-03-31-beta": "beta",
	} {
		err := dpsjson.CheckVersion(v)
		if (err == nil) != (want == "") || err != nil && want != "no" && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", v, err)
		}
	}
}
