package admin_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/testkit/memnet"
)

const eventsPath = "/api/v1/hubs/myhub/events"

// TestEventLine holds an event to its exact form.
func TestEventLine(t *testing.T) {
	w := newWorld(t)
	at := time.Date(2024, 1, 31, 12, 30, 15, 123_000_000, time.UTC)
	w.send(2, causeway.Message{
		From: causeway.Identity{Device: "d", Module: "m"}, Body: []byte("{ \"t\":\t1.50,\n\"s\": \"<é>\" }"),
		ID: "id1", CorrelationID: "c1", UserID: "u1", To: "/devices/d", ContentType: "application/json; charset=utf-8", ContentEncoding: "utf-8",
		Properties: []causeway.Property{{Key: "a", Value: "1"}, {Key: "b", Value: "ü"}}, CreationTime: "2024-01-31", Expiry: at.Add(time.Hour),
		Auth: causeway.AuthMethod{Scope: causeway.ScopeModule, Type: "sas"}.JSON(), GenerationID: "638", Enqueued: at, Source: causeway.SourceTelemetry,
		ModelID: "dtmi:x;1", Component: "thermostat",
	})
	got := w.do("GET", eventsPath+"?from=earliest&max=1", "", "admin").want(200)
	if ct := got.header.Get("Content-Type"); ct != "application/x-ndjson" {
		t.Errorf("content type %q", ct)
	}
	want := `{"type":"event","partition":2,"offset":0,"deviceId":"d","moduleId":"m","sequenceNumber":0,"enqueuedTime":"2024-01-31T12:30:15.123Z",` +
		`"systemProperties":{"absolute-expiry-time":"2024-01-31T13:30:15.123Z","content-encoding":"utf-8","content-type":"application/json; charset=utf-8","correlation-id":"c1","message-id":"id1","to":"/devices/d","user-id":"u1"},` +
		`"annotations":{"dt-dataschema":"dtmi:x;1","dt-subject":"thermostat","iothub-connection-auth-generation-id":"638",` +
		`"iothub-connection-auth-method":"{\"scope\":\"module\",\"type\":\"sas\",\"issuer\":\"iothub\",\"acceptingIpFilterRule\":null}",` +
		`"iothub-connection-device-id":"d","iothub-connection-module-id":"m","iothub-creation-time-utc":"2024-01-31","iothub-enqueuedtime":"2024-01-31T12:30:15.123Z","iothub-message-source":"Telemetry"},` +
		`"properties":{"a":"1","b":"ü"},"bodyEncoding":"json","body":{"t":1.50,"s":"<é>"}}` + "\n" +
		`{"type":"end","message":"the wanted number of events was shown"}` + "\n"
	if diff := cmp.Diff(want, string(got.body)); diff != "" {
		t.Error(diff)
	}
}

func TestShowBody(t *testing.T) {
	for _, tc := range []struct{ body, contentType, encoding, text string }{
		{`{"a":1}`, "application/json", "json", `{"a":1}`},
		{`{"a":1}`, "application/json;charset=utf-8", "json", `{"a":1}`},
		{`[1]`, "application/problem+json", "json", `[1]`},
		{`{"a":1}`, "", "text", `"{\"a\":1}"`},
		{`{"a":`, "application/json", "text", `"{\"a\":"`},
		{``, "application/json", "text", `""`},
		{"line\nline", "text/plain", "text", `"line\nline"`},
		{"\xff\x00", "application/json", "base64", `"/wA="`},
		{"x", "not a; media type;;", "text", `"x"`},
	} {
		encoding, text := admin.ShowBody([]byte(tc.body), tc.contentType)
		if encoding != tc.encoding || string(text) != tc.text {
			t.Errorf("%q as %q: %s %s, want %s %s", tc.body, tc.contentType, encoding, text, tc.encoding, tc.text)
		}
	}
}

func TestStart(t *testing.T) {
	log := newWorld(t).log
	base := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 20 {
		if _, err := log.Append(t.Context(), 1, eventlog.Record{Time: base.Add(time.Duration(i) * time.Second), Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Trim(t.Context(), 1, 5); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]eventlog.Offset{
		"": 20, "latest": 20, "LATEST": 20, "earliest": 5, "1:7": 7, "0:0,1:19": 19, "1:20": 20, "1:99": 20, "0:3": 20,
		"1:2":                  2, // trimmed: the stream reports the gap
		"2024-01-01T00:00:10Z": 10, "2024-01-01T01:00:10.5+01:00": 11, "2030-01-01T00:00:00Z": 20,
	} {
		if got, err := admin.Resolve(t.Context(), from, log, 1); err != nil || got != want {
			t.Errorf("from=%s: %d %v, want %d", from, got, err, want)
		}
	}
	for _, from := range []string{"sometime", "1", "1:", ":1", "1:x", "-1:0", "1:-1", "4:0", "1:1,1:2", "1:1,", "99999999999:0", "1:99999999999999999999", "2024-01-01"} {
		if _, _, _, err := admin.ParseStart(from, 4); causeway.CodeOf(err) != causeway.ArgumentInvalid {
			t.Errorf("from=%s: %v", from, err)
		}
	}
}

func FuzzStart(f *testing.F) {
	for _, s := range []string{"latest", "earliest", "0:1,1:2", "2024-01-01T00:00:00Z", "1:18446744073709551615"} {
		f.Add(s, 4)
	}
	f.Fuzz(func(t *testing.T, s string, partitions int) {
		partitions = max(0, min(partitions, 32))
		_, _, offsets, err := admin.ParseStart(s, partitions)
		if err != nil && causeway.CodeOf(err) != causeway.ArgumentInvalid {
			t.Fatal(err)
		}
		for p, o := range offsets {
			if int(p) >= partitions || p < 0 || o < 0 {
				t.Fatalf("%q with %d partitions: %d:%d", s, partitions, p, o)
			}
		}
	})
}

// bodies returns the bodies of the events among lines.
func bodies(ls []map[string]any) []string {
	var out []string
	for _, l := range ls {
		if l["type"] == "event" {
			out = append(out, l["body"].(string))
		}
	}
	slices.Sort(out)
	return out
}

func TestFilters(t *testing.T) {
	w := newWorld(t)
	w.send(0, from("a", "a0"), from("b", "b0"))
	w.send(1, from("a", "a1"))
	w.send(3, causeway.Message{From: causeway.Identity{Device: "a", Module: "m"}, Body: []byte("am")})
	for query, want := range map[string][]string{
		"max=4": {"a0", "a1", "am", "b0"}, "device=a&max=3": {"a0", "a1", "am"}, "device=b&max=1": {"b0"}, "device=a&module=m&max=1": {"am"},
		"partition=0&max=2": {"a0", "b0"}, "partition=0&device=a&max=1": {"a0"},
	} {
		got := bodies(lines(t, bytes.NewReader(w.do("GET", eventsPath+"?from=earliest&"+query, "", "admin").want(200).body)))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	for query, status := range map[string]int{
		"partition=4": 400, "partition=99": 422, "partition=x": 422, "from=never": 400, "from=9:0": 400, "max=-1": 422, "heartbeat=0": 422, "device=" + strings.Repeat("d", 200): 422,
	} {
		w.do("GET", eventsPath+"?"+query, "", "admin").want(status)
	}
	w.do("GET", "/api/v1/hubs/ghost/events", "", "admin").want(404)
}

// TestGapAndDamage shows what a stream says of events it cannot show.
func TestGapAndDamage(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.send(0, from("d", fmt.Sprint(i)))
	}
	if err := w.log.Trim(t.Context(), 0, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := w.log.Append(t.Context(), 0, eventlog.Record{Time: time.Now(), Payload: []byte("\xffnot an envelope")}); err != nil {
		t.Fatal(err)
	}
	w.send(0, from("d", "last"))
	ls := lines(t, bytes.NewReader(w.do("GET", eventsPath+"?partition=0&from=0:1&max=2", "", "admin").want(200).body))
	var got []string
	for _, l := range ls {
		got = append(got, fmt.Sprint(l["type"], " ", l["offset"]))
	}
	if diff := cmp.Diff([]string{"gap 3", "event 3", "error 4", "event 5", "end <nil>"}, got); diff != "" {
		t.Error(diff)
	}
}

// live is a stream on a connection in memory.
type live struct {
	t    *testing.T
	conn *memnet.Conn
	r    *bufio.Reader
	res  *http.Response
	srv  *http.Server
	done chan error
}

// open starts a server with the handler and asks it for a stream.
func (w *world) open(t *testing.T, query, authorization string, header ...string) *live {
	t.Helper()
	l := memnet.Listen("admin")
	lv := &live{t: t, srv: &http.Server{Handler: w.handler}, done: make(chan error, 1)}
	lv.srv.RegisterOnShutdown(w.server.Stop)
	go func() { lv.done <- lv.srv.Serve(l) }()
	conn, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lv.conn = conn
	if authorization == "admin" {
		authorization = "Bearer " + adminToken
	}
	if _, err := io.WriteString(conn, "GET "+eventsPath+query+" HTTP/1.1\r\nHost: x\r\nAuthorization: "+authorization+"\r\n"+strings.Join(header, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	lv.r = bufio.NewReader(conn)
	if lv.res, err = http.ReadResponse(lv.r, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lv.close)
	return lv
}

func (lv *live) close() {
	lv.conn.Close()
	lv.srv.Close()
	if err := <-lv.done; !errors.Is(err, http.ErrServerClosed) {
		lv.t.Error(err)
	}
}

// line reads the next line.
func (lv *live) line(r *bufio.Reader) map[string]any {
	lv.t.Helper()
	text, err := r.ReadBytes('\n')
	if err != nil {
		lv.t.Fatalf("%v after %q", err, text)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		lv.t.Fatalf("%v: %s", err, text)
	}
	return m
}

// TestLive shows that what is sent after the headers arrive is shown at once,
// and that silence is broken by heartbeats.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.send(0, from("d", "before"))
		lv := w.open(t, "?heartbeat=10", "admin")
		body := bufio.NewReader(lv.res.Body)
		began := time.Now()
		w.send(3, from("d", "now"))
		if l := lv.line(body); l["body"] != "now" || time.Since(began) != 0 {
			t.Errorf("%v after %v", l, time.Since(began))
		}
		for range 3 {
			if l := lv.line(body); l["type"] != "heartbeat" || l["time"] == "" {
				t.Errorf("line %v", l)
			}
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("three heartbeats took %v", took)
		}
	})
}

// TestStop shows that shutting the server down ends a stream with a word.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		lv := w.open(t, "", "admin")
		done := make(chan error, 1)
		go func() { done <- lv.srv.Shutdown(t.Context()) }()
		if ls := lines(t, lv.res.Body); len(ls) != 1 || ls[0]["type"] != "end" || !strings.Contains(ls[0]["message"].(string), "shutting down") {
			t.Errorf("lines %v", ls)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.do("GET", eventsPath, "", "admin").want(503)
	})
}

// TestExpiry shows that a stream ends when the token that opened it does.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		lv := w.open(t, "?heartbeat=300", w.policyToken("service", "myhub.example.com", 10*time.Minute))
		ls := lines(t, lv.res.Body)
		if last := ls[len(ls)-1]; last["type"] != "end" || !strings.Contains(last["message"].(string), "expired") {
			t.Errorf("last line %v", last)
		}
		if took := time.Since(began); took < 10*time.Minute || took > 10*time.Minute+causeway.TokenSkew {
			t.Errorf("ended after %v", took)
		}
	})
}

// TestClientLeaves shows that a stream whose client went away ends, and that a
// client that takes nothing is given up and holds up nobody.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		lv := w.open(t, "", "admin")
		lv.conn.Close()
		if err := lv.srv.Shutdown(t.Context()); err != nil { // waits for the stream
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		lv := w.open(t, "?from=earliest", "admin")
		began := time.Now()
		for range 50 {
			w.send(0, from("d", strings.Repeat("x", 100<<10)))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the log was held up for %v", took)
		}
		<-time.After(time.Minute) // and the client takes nothing
		if n, err := io.Copy(io.Discard, lv.r); err != nil || n > 1<<20 {
			t.Errorf("%d bytes were waiting, then %v", n, err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the connection was closed after %v", took)
		}
	})
}

// TestTooManyStreams shows the bound on streams.
func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range admin.MaxStreams {
			w.open(t, "", "admin")
		}
		if a := w.do("GET", eventsPath, "", "admin").want(503); !strings.Contains(string(a.body), "64") {
			t.Errorf("%s", a.body)
		}
	})
}

// TestServerSentEvents shows the other form, and that a client that comes back
// misses nothing.
func TestServerSentEvents(t *testing.T) {
	w := newWorld(t)
	w.send(0, from("d", "0"), from("d", "1"))
	w.send(1, from("d", "2"))
	ask := func(last string) string {
		r, err := http.NewRequestWithContext(t.Context(), "GET", eventsPath+"?partition=0&from=earliest&max=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Authorization", "Bearer "+adminToken)
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		rec := newRecorder()
		w.handler.ServeHTTP(rec, r)
		if ct := rec.Header().Get("Content-Type"); ct != "text/event-stream" {
			t.Errorf("content type %q", ct)
		}
		return rec.Body.String()
	}
	first := ask("")
	if !strings.HasPrefix(first, "id: 0:1\nevent: event\ndata: {\"type\":\"event\",\"partition\":0,\"offset\":0,") || !strings.Contains(first, "\n\nevent: end\ndata: {") {
		t.Errorf("first: %s", first)
	}
	if second := ask("0:1"); !strings.HasPrefix(second, "id: 0:2\n") || !strings.Contains(second, `"body":"1"`) {
		t.Errorf("second: %s", second)
	}
}

// TestNextBatch shows that a batch stays near its bytes.
func TestNextBatch(t *testing.T) {
	for size, want := range map[int]int{0: admin.MaxBatch, 100: admin.MaxBatch, 256 << 10: 4, admin.BatchBytes: 1, 10 * admin.BatchBytes: 1} {
		if got := admin.NextBatch([]eventlog.Record{{Payload: make([]byte, size)}, {}}); got != want {
			t.Errorf("records of %d bytes: %d, want %d", size, got, want)
		}
	}
}

// TestBrokenLog shows that a stream says when the log fails.
func TestBrokenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		lv := w.open(t, "", "admin")
		if err := w.log.Close(); err != nil {
			t.Fatal(err)
		}
		if ls := lines(t, lv.res.Body); len(ls) != 1 || ls[0]["message"] != "the event log cannot be read" {
			t.Errorf("lines %v", ls)
		}
	})
}
