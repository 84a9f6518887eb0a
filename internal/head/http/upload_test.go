package http_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
	devicehttp "github.com/causeway-iot/causeway/internal/head/http"
)

// uploads records what it is asked.
type uploads struct {
	device  causeway.Identity
	name    string
	host    string
	reports []upload.Report
	refuse  error
}

func (u *uploads) Begin(_ context.Context, device causeway.Identity, name, host string) (upload.Permit, error) {
	u.device, u.name, u.host = device, name, host
	return upload.Permit{Ticket: upload.Ticket{
		Device: device, Correlation: "abc", Host: host, Container: "uploads", Blob: device.Device + "/" + name, Expires: time.Now(),
	}, Query: "sv=1&sig=a%2Bb"}, u.refuse
}

func (u *uploads) Complete(_ context.Context, device causeway.Identity, r upload.Report) error {
	u.device, u.reports = device, append(u.reports, r)
	return u.refuse
}

func TestUploadTicket(t *testing.T) {
	w := newWorld(t)
	d := w.create("press-1", "")
	for _, q := range []request{
		{method: "POST", path: "/devices/press-1/files", body: `{"blobName":"dir/x.txt"}`},
		{method: "POST", path: "/devices/press-1/files/", body: ` {"blobName":"dir/x.txt","other":1}`},
		{method: "GET", path: "/devices/press-1/files/dir%2Fx.txt"},
	} {
		q.token = tokenOf(d)
		a := w.do(q).want(200)
		var got map[string]string
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"correlationId": "abc", "hostName": hubHost, "containerName": "uploads", "blobName": "press-1/dir/x.txt", "sasToken": "?sv=1&sig=a%2Bb",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", q.method, q.path, diff)
		}
		if w.uploads.device != (causeway.Identity{Hub: "plant", Device: "press-1"}) {
			t.Errorf("asked for %v", w.uploads.device)
		}
	}
	// The storage is called what the hub is.
	for host, want := range map[string]string{"localhost:8443": "localhost:8443", "LOCALHOST:443": "localhost"} {
		w.do(request{method: "POST", path: "/devices/press-1/files", body: `{"blobName":"x"}`, token: policyToken("device"), host: host}).want(200)
		if w.uploads.host != want {
			t.Errorf("a device that calls the hub %s gets the host %s", host, w.uploads.host)
		}
	}
	w.uploads.refuse = causeway.Errorf(causeway.DeviceMaximumActiveFileUploadLimitExceeded, "test", "too many")
	w.do(request{method: "POST", path: "/devices/press-1/files", body: `{"blobName":"x"}`, token: tokenOf(d)}).refused(causeway.DeviceMaximumActiveFileUploadLimitExceeded)
}

func TestUploadReport(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	for _, q := range []request{
		{path: "/devices/d/files/notifications", body: `{"correlationId":"a+b/c","isSuccess":true,"statusCode":200,"statusDescription":"ok"}`},
		{path: "/devices/d/files/notifications/a%2Bb%2Fc", body: `{"isSuccess":true,"statusCode":"200","statusDescription":"ok"}`},
		{path: "/devices/d/files/notifications/", body: `{"correlationId":"a+b/c","isSuccess":true,"statusCode":200,"statusDescription":"ok"}`},
	} {
		q.method, q.token = "POST", tokenOf(d)
		w.do(q).want(204)
	}
	w.do(request{method: "POST", path: "/devices/d/files/notifications", body: `{"correlationId":"x","isSuccess":false,"statusDescription":null}`, token: tokenOf(d)}).want(204)
	same := upload.Report{Correlation: "a+b/c", Success: true, Status: 200, Description: "ok"}
	if diff := cmp.Diff([]upload.Report{same, same, same, {Correlation: "x"}}, w.uploads.reports); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// TestUploadBadInput: what is wrong, and with which code.
func TestUploadBadInput(t *testing.T) {
	w := newWorld(t)
	d, other := w.create("d", ""), w.create("other", "")
	const files, report = "/devices/d/files", "/devices/d/files/notifications"
	for _, c := range []struct {
		name string
		q    request
		code causeway.Code
	}{
		{"no token", request{path: files, body: `{"blobName":"x"}`}, causeway.IotHubUnauthorized},
		{"token of another device", request{path: files, body: `{"blobName":"x"}`, token: tokenOf(other)}, causeway.IotHubUnauthorized},
		{"policy without the right", request{path: files, body: `{"blobName":"x"}`, token: policyToken("service")}, causeway.IotHubUnauthorized},
		{"no version", request{path: files, body: `{"blobName":"x"}`, token: tokenOf(d), raw: true}, causeway.InvalidProtocolVersion},
		{"empty body", request{path: files, token: tokenOf(d)}, causeway.DeserializationError},
		{"null", request{path: files, body: "null", token: tokenOf(d)}, causeway.DeserializationError},
		{"array", request{path: files, body: "[]", token: tokenOf(d)}, causeway.DeserializationError},
		{"cut short", request{path: files, body: `{"blobName":`, token: tokenOf(d)}, causeway.DeserializationError},
		{"name that is no text", request{path: files, body: `{"blobName":7}`, token: tokenOf(d)}, causeway.DeserializationError},
		{"not UTF-8", request{path: files, body: "{\"blobName\":\"\xff\"}", token: tokenOf(d)}, causeway.DeserializationError},
		{"body of 17 KB", request{path: files, body: `{"blobName":"` + strings.Repeat("x", 17<<10) + `"}`, token: tokenOf(d)}, causeway.GenericRequestEntityTooLarge},
		{"port that is none", request{path: files, body: `{"blobName":"x"}`, token: policyToken("device"), host: "localhost:x"}, causeway.ArgumentInvalid},
		{"report without isSuccess", request{path: report, body: `{"correlationId":"x"}`, token: tokenOf(d)}, causeway.InvalidFileUploadCompletionStatus},
		{"report of a word", request{path: report, body: `{"correlationId":"x","isSuccess":"yes"}`, token: tokenOf(d)}, causeway.DeserializationError},
		{"report of another device", request{path: report, body: `{"correlationId":"x","isSuccess":true}`, token: tokenOf(other)}, causeway.IotHubUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.q.method, w.t = http.MethodPost, t
			w.do(c.q).refused(c.code)
		})
	}
	w.t = t
	if w.uploads.name != "" || len(w.uploads.reports) != 0 {
		t.Errorf("a refused request got through: %+v", w.uploads)
	}
	// A hub without storage.
	none := *w
	none.handler = (&devicehttp.Server{Hub: w.counter, Commands: w.commands}).Handler()
	none.do(request{method: "POST", path: files, body: `{"blobName":"x"}`, token: tokenOf(d)}).refused(causeway.DefaultStorageEndpointNotConfigured)
	none.do(request{method: "POST", path: report, body: `{"isSuccess":true}`, token: tokenOf(d)}).refused(causeway.DefaultStorageEndpointNotConfigured)
}
