package http_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

const eventsOf = "/devices/d/messages/events"

func TestEvent(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	a := w.do(request{method: "POST", path: eventsOf, token: tokenOf(d), body: "\x00body\xff", header: http.Header{
		"iothub-to": {"/devices/d/messages/events"}, "iothub-messageid": {"m1"}, "iothub-correlationid": {"c1"}, "iothub-userid": {"u1"},
		"iothub-contenttype": {"application/json"}, "iothub-contentencoding": {"utf-8"}, "iothub-creationtimeutc": {"2024-01-01T00:00:00Z"},
		"iothub-messageschema": {"s"}, "iothub-interface-id": {"urn:if"}, "iothub-operation": {"d2c"}, "dt-subject": {"thermostat1"},
		"traceparent":     {"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
		"iothub-app-Prop": {"v 1"}, "iothub-app-other": {"2"}, "iothub-app-iothub-connection-device-id": {"forged"},
		"Content-Type": {"application/octet-stream"}, "iothub-unknown": {"x"}, "iothub-connection-device-id": {"forged"},
	}}).want(204)
	if len(a.body) != 0 || a.header.Get("Content-Length") != "" {
		t.Errorf("an answer without content has %q", a.body)
	}
	got := w.stored("d")
	if len(got) != 1 {
		t.Fatalf("%d messages stored", len(got))
	}
	m := got[0]
	if time.Since(m.Enqueued) > time.Minute {
		t.Errorf("enqueued %v", m.Enqueued)
	}
	m.Enqueued = time.Time{}
	want := causeway.Message{
		Body: []byte("\x00body\xff"), To: "/devices/d/messages/events", ID: "m1", CorrelationID: "c1", UserID: "u1",
		ContentType: "application/json", ContentEncoding: "utf-8", CreationTime: "2024-01-01T00:00:00Z", Schema: "s",
		InterfaceID: "urn:if", Operation: "d2c", Component: "thermostat1", DiagnosticID: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
		Properties: []causeway.Property{{Key: "other", Value: "2"}, {Key: "prop", Value: "v 1"}},
		From:       causeway.Identity{Hub: m.From.Hub, Device: "d"}, GenerationID: d.GenerationID, Source: causeway.SourceTelemetry,
		Auth: `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("stored %+v\nwant   %+v", m, want)
	}
	if st := w.hub.State(d.ID); st.Connected || st.LastActivity.IsZero() {
		t.Errorf("a client over HTTPS is never connected, only seen: %+v", st)
	}
}

func TestModuleEvent(t *testing.T) {
	w := newWorld(t)
	w.create("d", "")
	m := w.create("d", "m$1")
	w.do(request{method: "POST", path: "/devices/d/modules/m%241/messages/events/", token: tokenOf(m), body: "x"}).want(204)
	got := w.stored("d")
	if len(got) != 1 || got[0].From.Module != "m$1" || !strings.Contains(got[0].Auth, `"scope":"module"`) {
		t.Errorf("stored %+v", got)
	}
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	body := `[ {"body":"` + base64.StdEncoding.EncodeToString([]byte("one")) + `","properties":{"iothub-messageid":"1","iothub-app-CamelCase":"a","iothub-app-n":3}},
	  {"base64Encoded":false,"properties":null,"body":"two é"},
	  {"properties":{"IOTHUB-CorrelationId":"c","dt-subject":"x"},"body":"dGhyZWU=","base64Encoded":true,"more":[1]} ]`
	w.do(request{method: "POST", path: eventsOf, token: tokenOf(d), body: body, header: http.Header{"Content-Type": {hubhttp.BatchType + "; charset=utf-8"}}}).want(204)
	got := w.stored("d")
	if len(got) != 3 {
		t.Fatalf("%d messages stored", len(got))
	}
	if string(got[0].Body) != "one" || got[0].ID != "1" || !reflect.DeepEqual(got[0].Properties, []causeway.Property{{Key: "CamelCase", Value: "a"}, {Key: "n", Value: "3"}}) {
		t.Errorf("first %+v", got[0])
	}
	if string(got[1].Body) != "two é" || string(got[2].Body) != "three" || got[2].CorrelationID != "c" || got[2].Component != "x" {
		t.Errorf("second %+v third %+v", got[1], got[2])
	}
}

// TestSizes walks along the limit: a batch may have what one message may have.
func TestSizes(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	batch := http.Header{"Content-Type": {hubhttp.BatchType}}
	full := strings.Repeat("x", causeway.MaxMessageSize)
	half := base64.StdEncoding.EncodeToString([]byte(full[:len(full)/2]))
	for _, tc := range []struct {
		name   string
		header http.Header
		body   string
		code   causeway.Code
	}{
		{"the largest message", nil, full, 0},
		{"one byte more", nil, full + "x", causeway.MessageTooLarge},
		{"one byte more in a property", http.Header{"iothub-app-a": {""}}, full, causeway.MessageTooLarge},
		{"the largest batch", batch, fmt.Sprintf(`[{"body":%q},{"body":%q}]`, half, half), 0},
		{"a property more", batch, fmt.Sprintf(`[{"body":%q},{"body":%q,"properties":{"iothub-messageid":"1"}}]`, half, half), causeway.MessageTooLarge},
		{"too many messages", batch, "[" + strings.Repeat(`{"body":""},`, hubhttp.MaxBatch) + `{"body":""}]`, causeway.MessageTooLarge},
		{"the most messages", batch, "[" + strings.Repeat(`{"body":""},`, hubhttp.MaxBatch-1) + `{"body":""}]`, 0},
		{"a batch above what is read", batch, `[{"body":"` + strings.Repeat("A", 1<<20) + `"}]`, causeway.MessageTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := w.do(request{method: "POST", path: eventsOf, token: tokenOf(d), body: tc.body, header: tc.header})
			if tc.code == 0 {
				a.want(204)
			} else {
				a.refused(tc.code)
			}
		})
	}
}

// TestKeptSession shows that a client is verified once for many requests, and
// again when its identity was changed.
func TestKeptSession(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	send := request{method: "POST", path: eventsOf, token: tokenOf(d), body: "x"}
	for range 3 {
		w.do(send).want(204)
	}
	if w.counter.connects != 1 {
		t.Errorf("verified %d times", w.counter.connects)
	}
	// Another proof of the same client, and the same proof for another client.
	other := send
	other.token = tokenFor(d, "", 2*time.Hour)
	w.do(other).want(204)
	w.create("d2", "")
	stranger := send
	stranger.path = "/devices/d2/messages/events"
	w.do(stranger).refused(causeway.IotHubUnauthorized)
	if w.counter.connects != 3 {
		t.Errorf("verified %d times", w.counter.connects)
	}
	// A change that the proof outlives, and one that it does not.
	d.StatusReason = "tested"
	d, err := w.registry.Update(t.Context(), d, "*")
	if err != nil {
		t.Fatal(err)
	}
	w.do(send).want(204)
	d.Enabled = false
	if _, err = w.registry.Update(t.Context(), d, "*"); err != nil {
		t.Fatal(err)
	}
	w.do(send).refused(causeway.IotHubUnauthorized)
	w.do(send).refused(causeway.IotHubUnauthorized)
	if err := w.registry.Delete(t.Context(), d.ID, "*"); err != nil {
		t.Fatal(err)
	}
	w.do(send).refused(causeway.IotHubUnauthorized)
	if n := len(w.stored("d")); n != 5 {
		t.Errorf("%d messages stored, want 5", n)
	}
}

// TestManyClients: more clients than are remembered are served all the same.
func TestManyClients(t *testing.T) {
	w := newWorld(t)
	d := w.create("d", "")
	const clients, again = 9000, 500
	send := func(i int) {
		w.handler.ServeHTTP(discard{}, request{method: "POST", path: eventsOf, token: tokenFor(d, "", time.Hour+time.Duration(i)*time.Second)}.build())
	}
	for i := range clients {
		send(i)
	}
	for i := range again {
		send(i)
	}
	var stored int
	for p := range w.log.Partitions() {
		_, next, err := w.log.Bounds(t.Context(), eventlog.Partition(p))
		if err != nil {
			t.Fatal(err)
		}
		stored += int(next)
	}
	if stored != clients+again {
		t.Fatalf("%d messages stored, want %d", stored, clients+again)
	}
	if w.counter.connects <= clients || w.counter.connects >= clients+again {
		t.Errorf("verified %d times for %d clients and %d more requests of theirs", w.counter.connects, clients, again)
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
func withSASType(r *registry.Record)        { r.Auth.Type = "sas" }

func BenchmarkEvent(b *testing.B) {
	w := newWorld(b)
	d := w.create("d", "", withSASType)
	body := strings.Repeat("x", 256)
	r := request{method: "POST", path: eventsOf, token: tokenOf(d)}.build()
	b.ReportAllocs()
	for b.Loop() {
		r.Body = readCloser{strings.NewReader(body)}
		r.ContentLength = int64(len(body))
		w.handler.ServeHTTP(discard{}, r)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
