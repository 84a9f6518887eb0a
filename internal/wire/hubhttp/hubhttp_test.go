package hubhttp_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

func TestSplit(t *testing.T) {
	for path, want := range map[string]string{
		"/devices/d": "devices|d", "/devices/a%2Fb/": "devices|a/b", "/devices/%24x": "devices|$x",
		"//devices": "", "/devices//x": "", "/": "", "/a/b/c/d/e/f/g/h/i/j/k": "a|b|c|d|e|f|g|h|i|j/k",
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := hubhttp.Split(u)
		if ok != (want != "") || strings.Join(got, "|") != want {
			t.Errorf("%s: %q %v, want %q", path, got, ok, want)
		}
	}
}

func TestPattern(t *testing.T) {
	p := hubhttp.ParsePattern("/devices/{deviceId}/messages/deviceBound/{lockToken}")
	got := map[string]string{}
	set := func(n, v string) { got[n] = v }
	if !p.Match([]string{"Devices", "d", "messages", "devicebound", "l"}, set) || got["deviceId"] != "d" || got["lockToken"] != "l" {
		t.Errorf("matched %v", got)
	}
	got = map[string]string{}
	if p.Match([]string{"devices", "d", "messages", "events", "l"}, set) || p.Match([]string{"devices", "d"}, set) || len(got) != 0 {
		t.Errorf("matched another path: %v", got)
	}
}

// later is an error that says when to try again.
type later struct{ error }

func (later) RetryAfter() time.Duration { return 1500 * time.Millisecond }
func (l later) Unwrap() error           { return l.error }

func TestErrors(t *testing.T) {
	now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	err := causeway.Errorf(causeway.ThrottlingException, "x", "too; often")
	a := hubhttp.ErrorOf(err, hubhttp.FormA, "r1", now)
	if a.Status != 429 || string(a.Body) != `{"Message":"ErrorCode:ThrottlingException;too, often","ExceptionMessage":"Tracking ID:r1-G:0-TimeStamp:01/02/2024 03:04:05"}` {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	b := hubhttp.ErrorOf(err, hubhttp.FormB, "r1", now)
	var outer struct{ Message string }
	var inner struct {
		ErrorCode int
		Message   string
	}
	if json.Unmarshal(b.Body, &outer) != nil || json.Unmarshal([]byte(outer.Message), &inner) != nil || inner.ErrorCode != 429001 || inner.Message != "too, often" {
		t.Errorf("%s", b.Body)
	}
	h := http.Header{}
	a.SetHeader(h, later{err})
	if h.Get("Retry-After") != "2" || h.Get("iothub-errorcode") != "ThrottlingException" {
		t.Errorf("%v", h)
	}
	if e := hubhttp.ErrorOf(errors.New("secret cause"), hubhttp.FormA, "r", now); e.Status != 500 || bytes.Contains(e.Body, []byte("secret")) {
		t.Errorf("%d %s", e.Status, e.Body)
	}
}

// FuzzLock: what is read as a lock token is written as the same.
func FuzzLock(f *testing.F) {
	f.Add("01234567-89ab-cdef-0123-456789abcdef")
	f.Add(`"01234567-89AB-cdef-0123-456789abcdef"`)
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := hubhttp.ParseLock(s)
		if ok && !strings.EqualFold(hubhttp.LockText(l), strings.Trim(s, `"`)) {
			t.Fatalf("%q became %q", s, hubhttp.LockText(l))
		}
	})
}

// FuzzMessageHeader: a message has no more properties than there were headers.
func FuzzMessageHeader(f *testing.F) {
	f.Add("iothub-app-Name", "v", "2024-01-01T00:00:00Z", "full")
	f.Add("iothub-app-", "v", "1", "NONE")
	f.Add("dt-subject", "v", "", "")
	f.Fuzz(func(t *testing.T, name, value, expiry, ack string) {
		h := http.Header{}
		h.Set(name, value)
		h.Set("iothub-expiry", expiry)
		h.Set("iothub-ack", ack)
		m, err := hubhttp.ReadMessage(h)
		if err == nil && len(m.Properties) > 1 {
			t.Fatalf("%d properties of one header", len(m.Properties))
		}
		hubhttp.CommandHeader(causeway.Identity{Device: "d"}, &m)
	})
}

// FuzzBatch: a batch that is read has messages that, written again, are read as
// the same, and none weighs more than its text.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(`[{"body":"aGVsbG8=","properties":{"iothub-messageid":"1","iothub-app-X":"y"}}]`))
	f.Add([]byte(`[{"body":"text","base64Encoded":false},{"body":"","properties":null}]`))
	f.Add([]byte(`[{"body":"","properties":{"iothub-app-a":[]}}]`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		msgs, err := hubhttp.ReadBatch(text)
		if err != nil {
			if c := causeway.CodeOf(err); c.HTTPStatus() != 400 && c.HTTPStatus() != 413 {
				t.Fatalf("%v", err)
			}
			return
		}
		var again []map[string]any
		total := 0
		for i := range msgs {
			p := map[string]any{"iothub-messageid": msgs[i].ID}
			for _, x := range msgs[i].Properties {
				p["iothub-app-"+x.Key] = x.Value
			}
			again = append(again, map[string]any{"body": base64.StdEncoding.EncodeToString(msgs[i].Body), "properties": p})
			total += msgs[i].Size()
		}
		// Text that is not UTF-8 becomes U+FFFD, of three bytes, and an ack is kept
		// in lower case, which may be longer.
		if total > 3*len(text)+16 {
			t.Fatalf("%d bytes became %d", len(text), total)
		}
		b, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		back, err := hubhttp.ReadBatch(b)
		if err != nil || len(back) != len(msgs) {
			t.Fatalf("%s: %v", b, err)
		}
		for i := range back {
			if !bytes.Equal(back[i].Body, msgs[i].Body) || back[i].ID != msgs[i].ID {
				t.Fatalf("message %d of %s became %+v", i, text, back[i])
			}
		}
	})
}
