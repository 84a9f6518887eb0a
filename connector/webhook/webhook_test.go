package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/connector/webhook"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/plugin/plugintest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections() // before goroutines are counted
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// request is a request that a receiver got.
type request struct {
	method string
	header http.Header
	body   []byte
}

// receiver is a server that keeps what it gets.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []request
}

func (r *receiver) all() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r.handler(answer))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) handler(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, request{req.Method, req.Header.Clone(), body})
		r.mu.Unlock()
		if answer != nil {
			req.Body = io.NopCloser(strings.NewReader(string(body)))
			answer(w, req)
		}
	})
}

func open(t *testing.T, settings string, secrets ...string) plugin.Sink {
	t.Helper()
	kept := map[string]causeway.Secret{}
	for i := 0; i < len(secrets); i += 2 {
		kept[secrets[i]] = causeway.Secret(secrets[i+1])
	}
	return plugintest.Open(t, webhook.New, json.RawMessage(settings), kept, plugin.Env{Hub: "plant", Host: "plant.example.com", Endpoint: "web"})
}

func settings(t *testing.T, kv map[string]any) string {
	t.Helper()
	b, err := json.Marshal(kv)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func batch(n int) []causeway.Message {
	var all []causeway.Message
	for i := range n {
		all = append(all, causeway.Message{
			From: causeway.Identity{Hub: "plant", Device: "d"}, Body: fmt.Appendf(nil, `{"n":%d}`, i), Sequence: int64(i),
			ContentType: "application/json", ContentEncoding: "utf-8", Source: causeway.SourceTelemetry, Enqueued: time.Unix(1e9, 0),
		})
	}
	return all
}

func TestJSON(t *testing.T) {
	r := receive(t, nil)
	s := open(t, settings(t, map[string]any{"url": r.URL, "user": "u", "headers": map[string]string{"X-Plant": "7"}, "keyHeader": "x-functions-key"}), "password", "p", "key", "k")
	if err := s.Send(t.Context(), batch(3)); err != nil {
		t.Fatal(err)
	}
	got := r.all()
	if len(got) != 1 || got[0].method != http.MethodPost {
		t.Fatalf("%+v", got)
	}
	var records []struct {
		Body             struct{ N int }
		SystemProperties map[string]string
	}
	if err := json.Unmarshal(got[0].body, &records); err != nil || len(records) != 3 || records[2].Body.N != 2 || records[0].SystemProperties["connectionDeviceId"] != "d" {
		t.Errorf("%s: %v", got[0].body, err)
	}
	h := got[0].header
	if h.Get("X-Plant") != "7" || h.Get("X-Functions-Key") != "k" || h.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("u:p")) ||
		h.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("headers %v", h)
	}
}

func TestSigned(t *testing.T) {
	for name, key := range map[string]string{"text": "hunter2", "Standard Webhooks": "whsec_" + base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
		r := receive(t, nil)
		s := open(t, settings(t, map[string]any{"url": r.URL}), "signingKey", key, "token", "tok")
		if err := s.Send(t.Context(), batch(1)); err != nil {
			t.Fatal(err)
		}
		got := r.all()[0]
		mac := hmac.New(sha256.New, []byte("hunter2"))
		fmt.Fprintf(mac, "%s.%s.%s", got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.header.Get("Webhook-Signature") != want || got.header.Get("Authorization") != "Bearer tok" {
			t.Errorf("%s: headers %v, want signature %s", name, got.header, want)
		}
	}
}

// The id of a signed request is the same when it is sent again, as it is after an
// answer that came too late, and that of no other request.
func TestSignedAgain(t *testing.T) {
	var refuse atomic.Bool
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	})
	s := open(t, settings(t, map[string]any{"url": r.URL}), "signingKey", "hunter2")
	refuse.Store(true)
	if err := s.Send(t.Context(), batch(3)); err == nil {
		t.Fatal("no error")
	}
	refuse.Store(false)
	others := batch(3)
	for i := range others { // what devices send may be the same twice
		others[i].Sequence += 3
	}
	for _, b := range [][]causeway.Message{batch(3), others, batch(2)} {
		if err := s.Send(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, got := range r.all() {
		ids = append(ids, got.header.Get("Webhook-Id"))
	}
	if len(ids) != 4 || ids[0] != ids[1] || ids[1] == ids[2] || ids[0] == ids[3] || !strings.HasPrefix(ids[0], "msg_") {
		t.Errorf("ids %q, want the first two alike and no others", ids)
	}
}

// gridReceiver answers the handshake of Event Grid.
func gridReceiver(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Aeg-Event-Type") != "SubscriptionValidation" {
		return
	}
	var events []struct {
		EventType string
		Data      struct{ ValidationCode string }
	}
	if json.NewDecoder(r.Body).Decode(&events) == nil && len(events) == 1 && events[0].EventType == "Microsoft.EventGrid.SubscriptionValidationEvent" {
		fmt.Fprintf(w, `{"validationResponse":%q}`, events[0].Data.ValidationCode)
	}
}

func TestEventGrid(t *testing.T) {
	r := receive(t, gridReceiver)
	s := open(t, settings(t, map[string]any{"url": r.URL, "format": "eventGrid"}))
	for range 2 {
		if err := s.Send(t.Context(), batch(2)); err != nil {
			t.Fatal(err)
		}
	}
	got := r.all()
	if len(got) != 3 {
		t.Fatalf("%d requests, want a handshake and two", len(got))
	}
	var events []map[string]any
	if err := json.Unmarshal(got[1].body, &events); err != nil || len(events) != 2 {
		t.Fatalf("%s: %v", got[1].body, err)
	}
	e := events[1]
	if e["eventType"] != "Microsoft.Devices.DeviceTelemetry" || e["subject"] != "devices/d" || e["metadataVersion"] != "1" ||
		!strings.HasSuffix(e["topic"].(string), "/IOTHUBS/PLANT") || got[1].header.Get("Aeg-Event-Type") != "Notification" || got[1].header.Get("Aeg-Subscription-Name") != "web" {
		t.Errorf("%v %v", e, got[1].header)
	}
}

func TestCloudEvents(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
			w.Header().Set("WebHook-Allowed-Rate", "600")
		}
	}
	r := receive(t, answer)
	s := open(t, settings(t, map[string]any{"url": r.URL, "format": "cloudEvents"}))
	began := time.Now()
	for range 3 {
		if err := s.Send(t.Context(), batch(2)); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("three requests took %v, with 600 a minute", took)
	}
	got := r.all()
	if len(got) != 4 || got[0].method != http.MethodOptions || got[0].header.Get("WebHook-Request-Origin") != "plant.example.com" {
		t.Fatalf("%+v", got)
	}
	var events []map[string]any
	if err := json.Unmarshal(got[1].body, &events); err != nil || events[0]["specversion"] != "1.0" || events[0]["type"] != "Microsoft.Devices.DeviceTelemetry" ||
		got[1].header.Get("Content-Type") != "application/cloudevents-batch+json; charset=utf-8" {
		t.Errorf("%s %v", got[1].body, got[1].header)
	}
	r = receive(t, answer)
	s = open(t, settings(t, map[string]any{"url": r.URL, "format": "cloudEvents", "batch": 1}))
	if err := s.Send(t.Context(), batch(2)); err != nil {
		t.Fatal(err)
	}
	if got := r.all(); len(got) != 3 || got[2].body[0] != '{' || got[2].header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("%+v", got)
	}
}

// Who does not say that it wants messages gets none.
func TestNoHandshake(t *testing.T) {
	for _, row := range []struct{ format, answer, says string }{
		{"eventGrid", `{}`, "validationResponse"},
		{"eventGrid", `{"validationResponse":"guess"}`, "guess"},
		{"eventGrid", `<html>`, "<html>"},
		{"cloudEvents", ``, "WebHook-Allowed-Origin"},
	} {
		r := receive(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, row.answer) })
		s := open(t, settings(t, map[string]any{"url": r.URL, "format": row.format}))
		err := s.Send(t.Context(), batch(1))
		if err == nil || !strings.Contains(err.Error(), row.says) || plugin.FailureOf(err).Permanent {
			t.Errorf("%s %s: %v", row.format, row.answer, err)
		}
		if n := len(r.all()); n != 1 {
			t.Errorf("%s %s: %d requests", row.format, row.answer, n)
		}
		s = open(t, settings(t, map[string]any{"url": r.URL, "format": row.format, "validation": "none"}))
		if err := s.Send(t.Context(), batch(1)); err != nil {
			t.Errorf("%s without handshake: %v", row.format, err)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, row := range []struct {
		status    int
		after     string
		permanent bool
		wait      time.Duration
	}{
		{400, "", true, 0},
		{413, "", true, 0},
		{422, "", true, 0},
		{410, "", true, 0},
		{401, "", false, 0},
		{403, "", false, 0},
		{404, "", false, 0},
		{408, "", false, 0},
		{429, "7", false, 7 * time.Second},
		{503, "120", false, 2 * time.Minute},
		{500, "x", false, 0},
		{301, "", false, 0},
		{504, "-1", false, 0},
	} {
		r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", row.after)
			w.Header().Set("Location", "https://elsewhere.example.com/")
			w.WriteHeader(row.status)
			fmt.Fprint(w, "because\n\x00of this")
		})
		s := open(t, settings(t, map[string]any{"url": r.URL}))
		for _, n := range []int{1, 3} {
			f := plugin.FailureOf(s.Send(t.Context(), batch(n)))
			if f.Permanent != row.permanent || f.After != row.wait || f.Sent != 0 || f.Exact != (row.permanent && n == 1) || !strings.Contains(f.Error(), fmt.Sprint(row.status)) {
				t.Errorf("%d, batch of %d: %+v", row.status, n, f)
			}
			if says := map[bool]string{true: "elsewhere.example.com", false: "because  of this"}[row.status == 301]; !strings.Contains(f.Error(), says) {
				t.Errorf("%d says %q", row.status, f.Error())
			}
		}
		if got := r.all(); len(got) != 2 {
			t.Errorf("%d: %d requests: redirects are not followed", row.status, len(got))
		}
	}
}

// Large batches are several requests; an error says how many messages were taken.
func TestSplits(t *testing.T) {
	n := 0
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	s := open(t, settings(t, map[string]any{"url": r.URL, "maxBytes": 1024}))
	f := plugin.FailureOf(s.Send(t.Context(), batch(20)))
	got := r.all()
	total := 0
	for i, q := range got[:2] {
		var records []json.RawMessage
		if err := json.Unmarshal(q.body, &records); err != nil || len(q.body) > 1100 {
			t.Errorf("request %d of %d bytes: %v", i, len(q.body), err)
		}
		total += len(records)
	}
	if f.Permanent || f.Sent != total || total == 0 {
		t.Errorf("%+v after %d messages", f, total)
	}
}

func TestUnreachable(t *testing.T) {
	r := receive(t, nil)
	url := r.URL
	r.Close()
	s := open(t, settings(t, map[string]any{"url": url + "?code=hidden"}))
	if f := plugin.FailureOf(s.Send(t.Context(), batch(1))); f.Err == nil || f.Permanent || strings.Contains(f.Error(), "hidden") {
		t.Errorf("%+v", f)
	}
	stop := make(chan struct{})
	slow := receive(t, func(http.ResponseWriter, *http.Request) { <-stop })
	defer close(stop)
	s = open(t, settings(t, map[string]any{"url": slow.URL, "timeout": "1s"}))
	if f := plugin.FailureOf(s.Send(t.Context(), batch(1))); f.Err == nil || f.Permanent {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Send(ctx, batch(1)); err == nil {
		t.Error("sent with a context that has ended")
	}
}

func TestTLS(t *testing.T) {
	r := &receiver{}
	srv := httptest.NewUnstartedServer(r.handler(nil))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	defer srv.Close()
	cert := func(c *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, settings(t, map[string]any{"url": srv.URL, "caCertificates": cert(srv.Certificate()), "clientCertificate": cert(srv.Certificate())}),
		"clientKey", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if err := s.Send(t.Context(), batch(1)); err != nil {
		t.Error(err)
	}
	s = open(t, settings(t, map[string]any{"url": srv.URL}))
	if err := s.Send(t.Context(), batch(1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an authority that nobody knows: %v", err)
	}
}

var badInput = []struct {
	name     string
	settings map[string]any
	says     string
}{
	{"webhook without a url", map[string]any{}, `"url" is missing`},
	{"webhook with a url of another scheme", map[string]any{"url": "ftp://example.com"}, "https://"},
	{"webhook with a url that is a path", map[string]any{"url": "/messages"}, "https://"},
	{"webhook with a user in its url", map[string]any{"url": "https://u:p@example.com"}, "user and password"},
	{"webhook with an unknown format", map[string]any{"url": "https://x", "format": "xml"}, "json, cloudEvents or eventGrid"},
	{"webhook with batches of none", map[string]any{"url": "https://x", "batch": 0}, "1 to 1000"},
	{"webhook with requests of a few bytes", map[string]any{"url": "https://x", "maxBytes": 10}, "1024"},
	{"webhook with a short timeout", map[string]any{"url": "https://x", "timeout": "1ms"}, "1s"},
	{"webhook with a user without password", map[string]any{"url": "https://x", "user": "u"}, "go together"},
	{"webhook with a key without its header", map[string]any{"url": "https://x", "key": "k"}, "go together"},
	{"webhook with a header that is none", map[string]any{"url": "https://x", "headers": map[string]string{"a b": "c"}}, "no header"},
	{"webhook with a line break in a header", map[string]any{"url": "https://x", "headers": map[string]string{"a": "c\r\nd: e"}}, "no header"},
	{"webhook with a header of ours", map[string]any{"url": "https://x", "headers": map[string]string{"authorization": "x"}}, "use token"},
	{"webhook with a line break in its token", map[string]any{"url": "https://x", "token": "a\nb"}, "line breaks"},
	{"webhook with a signing key that is no base64", map[string]any{"url": "https://x", "signingKey": "whsec_?"}, "base64"},
	{"webhook with an authority that is none", map[string]any{"url": "https://x", "caCertificates": "x"}, "PEM"},
	{"webhook with a certificate without its key", map[string]any{"url": "https://x", "clientCertificate": "x"}, "go together"},
}

func TestBadInput(t *testing.T) {
	r := &plugin.Registry{}
	plugin.AddSink(r, "webhook", "", webhook.New)
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check("webhook", json.RawMessage(settings(t, row.settings)), nil); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}
