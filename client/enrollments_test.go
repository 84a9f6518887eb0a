package client_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// enrollments returns a client of the provisioning service of a whole cloud.
func (w *world) enrollments() *client.Enrollments {
	w.t.Helper()
	c, err := client.NewEnrollments(w.conn.DPSServiceConnectionString, w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// TestEnrollments manages enrollments of a service, and sees what became of their
// devices.
func TestEnrollments(t *testing.T) {
	w := newWorld(t)
	c := w.enrollments()
	want := func(what string, err error, code causeway.Code) {
		t.Helper()
		if causeway.CodeOf(err) != code {
			t.Errorf("%s: %v, want code %d", what, err, int(code))
		}
	}
	e := client.Enrollment{
		RegistrationID: "Press-1", DeviceID: "press", Attestation: client.EnrollmentAttestation{Type: "symmetricKey"},
		Capabilities: &client.Capabilities{IoTEdge: true}, AllocationPolicy: "static", Hubs: []string{"localhost"},
		Reprovision: &client.ReprovisionPolicy{UpdateHubAssignment: true}, Information: json.RawMessage(`{"line":7}`),
		InitialTwin: &client.InitialTwin{Tags: json.RawMessage(`{"site":"north"}`)},
	}
	e.InitialTwin.Properties.Desired = json.RawMessage(`{"interval":5}`)
	made, err := c.Create(w.ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	if made.Attestation.SymmetricKey.PrimaryKey == "" || made.DeviceID != "press" || made.State.Status != "unassigned" || made.ETag == "" ||
		made.Created.IsZero() || made.Status != "enabled" || made.Kind() != client.IndividualEnrollment || made.ID() != "Press-1" {
		t.Errorf("made %+v", made)
	}
	_, err = c.Create(w.ctx, e)
	want("made twice", err, 409203)
	_, err = c.Create(w.ctx, client.Enrollment{RegistrationID: "x"})
	want("without attestation", err, 400000)
	got, err := c.Get(w.ctx, client.IndividualEnrollment, "press-1")
	if err != nil || got.RegistrationID != "Press-1" || got.Attestation.SymmetricKey.PrimaryKey != "" || string(got.Information) != `{"line":7}` ||
		string(got.InitialTwin.Properties.Desired) != `{"interval":5}` || !got.Reprovision.UpdateHubAssignment || got.Reprovision.MigrateDeviceData {
		t.Errorf("got %+v, %v", got, err)
	}
	a, err := client.Provision(w.ctx, client.ProvisioningOptions{
		Options: w.o, Endpoint: c.Host(), IDScope: w.conn.DPSIDScope, RegistrationID: "Press-1", Key: causeway.Secret(made.Attestation.SymmetricKey.PrimaryKey), Attempts: 1,
	})
	if err != nil || a.DeviceID != "press" {
		t.Fatalf("%+v, %v", a, err)
	}
	r, err := c.Registration(w.ctx, "press-1")
	if err != nil || r.Status != "assigned" || r.Hub != "localhost" || r.DeviceID != "press" || r.Group != "" {
		t.Errorf("registration %+v, %v", r, err)
	}
	d, err := w.s.Twin(w.ctx, "press", "")
	if err != nil || !strings.Contains(string(d.Tags), `"north"`) {
		t.Errorf("twin %+v, %v", d, err)
	}
	got.Status = "disabled"
	changed, err := c.Put(w.ctx, got, got.ETag)
	if err != nil || changed.Status != "disabled" || changed.Attestation.SymmetricKey.PrimaryKey != made.Attestation.SymmetricKey.PrimaryKey {
		t.Errorf("changed %+v, %v", changed, err)
	}
	_, err = c.Put(w.ctx, got, got.ETag)
	want("changed from what it was", err, 412000)
	want("deleted as it was", c.Delete(w.ctx, client.IndividualEnrollment, "press-1", got.ETag), 412000)
	want("another registration", c.DeleteRegistration(w.ctx, "press-1", "stale"), 412000)
	want("a registration", c.DeleteRegistration(w.ctx, "press-1", r.ETag), 0)
	_, err = c.Registration(w.ctx, "press-1")
	want("a registration that was deleted", err, 404202)
	want("deleted", c.Delete(w.ctx, client.IndividualEnrollment, "press-1", ""), 0)
	_, err = c.Get(w.ctx, client.IndividualEnrollment, "press-1")
	want("what was deleted", err, 404201)
}

// TestEnrollmentPages lists more than a page, and changes many at once.
func TestEnrollmentPages(t *testing.T) {
	w := newWorld(t)
	c := w.enrollments()
	for n := 0; n < 150; n += client.MaxBulkEnrollments {
		var list []client.Enrollment
		for i := range client.MaxBulkEnrollments {
			list = append(list, client.Enrollment{RegistrationID: fmt.Sprintf("d-%03d", n+i), Attestation: client.EnrollmentAttestation{Type: "symmetricKey"}})
		}
		if failed, err := c.Bulk(w.ctx, client.BulkCreate, list); err != nil || len(failed) > 0 {
			t.Fatalf("%v, %v", failed, err)
		}
	}
	p, err := c.Page(w.ctx, client.IndividualEnrollment, 100, "")
	if err != nil || len(p.Items) != 100 || p.Continuation == "" {
		t.Fatalf("%d, %q, %v", len(p.Items), p.Continuation, err)
	}
	rest, err := c.Page(w.ctx, client.IndividualEnrollment, 100, p.Continuation)
	if err != nil || len(rest.Items) != 50 || rest.Continuation != "" || rest.Items[0].RegistrationID != "d-100" {
		t.Errorf("%d, %q, %v", len(rest.Items), rest.Continuation, err)
	}
	n := 0
	for e, err := range c.All(w.ctx, client.IndividualEnrollment) {
		if err != nil || e.RegistrationID != fmt.Sprintf("d-%03d", n) {
			t.Fatalf("%d: %+v, %v", n, e, err)
		}
		n++
	}
	if n != 150 {
		t.Errorf("%d enrollments", n)
	}
	failed, err := c.Bulk(w.ctx, client.BulkDelete, []client.Enrollment{{RegistrationID: "d-000"}, {RegistrationID: "nobody"}})
	if err != nil || len(failed) != 1 || failed[0].RegistrationID != "nobody" || failed[0].Code != 404201 {
		t.Errorf("%+v, %v", failed, err)
	}
	if _, err := c.Bulk(w.ctx, client.BulkDelete, []client.Enrollment{{RegistrationID: "d"}, {GroupID: "g"}}); err == nil {
		t.Error("two kinds at once")
	}
	for g, err := range c.All(w.ctx, client.EnrollmentGroup) {
		if err != nil || g.ID() != "devices" || g.Kind() != client.EnrollmentGroup {
			t.Errorf("%+v, %v", g, err)
		}
	}
	o := client.ProvisioningOptions{Options: w.o, Endpoint: c.Host(), IDScope: w.conn.DPSIDScope, GroupKey: causeway.Secret(w.conn.DPSGroupKey), Attempts: 1}
	for _, o.RegistrationID = range []string{"g-1", "g-2"} {
		if _, err := client.Provision(w.ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	n = 0
	for r, err := range c.Registrations(w.ctx, "devices") {
		if n++; err != nil || r.Group != "devices" || r.RegistrationID != fmt.Sprintf("g-%d", n) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	for _, err := range c.Registrations(w.ctx, "nobody") {
		if causeway.CodeOf(err) != 404201 {
			t.Error(err)
		}
	}
	a, err := c.Attestation(w.ctx, client.EnrollmentGroup, "devices")
	if err != nil || a.SymmetricKey.PrimaryKey != w.conn.DPSGroupKey {
		t.Errorf("%+v, %v", a, err)
	}
}

// What is sent is what the service's own clients send.
func TestEnrollmentRequests(t *testing.T) {
	var asked string
	h, o := newHub(t, func(w http.ResponseWriter, r *http.Request) {
		asked = strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("If-Match"), r.Header.Get("x-ms-max-item-count"), r.Header.Get("x-ms-continuation")}, " ")
		switch {
		case r.Method == http.MethodDelete:
			w.WriteHeader(204)
		case strings.HasSuffix(r.URL.Path, "/query"):
			w.Header().Set("x-ms-continuation", "next")
			fmt.Fprint(w, `[{"registrationId":"a:b","etag":"\"e\""}]`)
		default:
			fmt.Fprint(w, `{"registrationId":"a:b","etag":"\"e\"","attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"info":{"subjectName":"CN=a","notAfterUtc":"2030-01-02T03:04:05.0000000Z"}}}}}}`)
		}
	})
	c, err := client.NewEnrollments("HostName=example.com;SharedAccessKeyName=p;SharedAccessKey="+serviceKey, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(want, body string, err error) {
		t.Helper()
		if err != nil || asked != want || body != "" && h.body != body {
			t.Errorf("asked %q with %s, %v; want %q with %s", asked, h.body, err, want, body)
		}
		if token := h.last.Header.Get("Authorization"); !strings.HasPrefix(token, "SharedAccessSignature sr=example.com&") || !strings.HasSuffix(token, "&skn=p") {
			t.Errorf("token %q", token)
		}
	}
	e, err := c.Get(t.Context(), client.IndividualEnrollment, "a:b")
	check("GET /enrollments/a:b api-version=2021-10-01   ", "", err)
	if i := e.Attestation.X509.Client.Primary.Info; i.Subject != "CN=a" || i.NotAfter.Year() != 2030 {
		t.Errorf("%+v", i)
	}
	_, err = c.Put(t.Context(), client.Enrollment{GroupID: "g", Attestation: client.EnrollmentAttestation{Type: "symmetricKey"}}, e.ETag)
	check(`PUT /enrollmentGroups/g api-version=2021-10-01 "e"  `, `{"enrollmentGroupId":"g","attestation":{"type":"symmetricKey"}}`, err)
	check("DELETE /enrollmentGroups/g api-version=2021-10-01 *  ", "", c.Delete(t.Context(), client.EnrollmentGroup, "g", ""))
	check(`DELETE /registrations/r api-version=2021-10-01 "x"  `, "", c.DeleteRegistration(t.Context(), "r", "x"))
	_, err = c.Attestation(t.Context(), client.EnrollmentGroup, "g")
	check("POST /enrollmentGroups/g/attestationmechanism api-version=2021-10-01   ", "", err)
	p, err := c.Page(t.Context(), client.IndividualEnrollment, 7, "before")
	check("POST /enrollments/query api-version=2021-10-01  7 before", `{"query":"SELECT *"}`, err)
	if p.Continuation != "next" || len(p.Items) != 1 {
		t.Errorf("%+v", p)
	}
	_, err = c.Bulk(t.Context(), client.BulkUpdateIfMatch, []client.Enrollment{e})
	check("POST /enrollments api-version=2021-10-01   ", "", err)
	if _, err := client.NewEnrollments("HostName=example.com;DeviceId=d;SharedAccessKey="+serviceKey, o); err == nil {
		t.Error("the connection string of a device")
	}
}
