package topic_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

var (
	device = causeway.Identity{Hub: "hub", Device: "dev1"}
	module = causeway.Identity{Hub: "hub", Device: "dev1", Module: "mod1"}
	expiry = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

// same compares messages: no properties are no properties, nil or empty.
var same = cmpopts.EquateEmpty()

func props(kv ...string) []causeway.Property {
	var ps []causeway.Property
	for i := 0; i < len(kv); i += 2 {
		ps = append(ps, causeway.Property{Key: kv[i], Value: kv[i+1]})
	}
	return ps
}

func TestTelemetry(t *testing.T) {
	tests := []struct {
		name string
		bag  string // after messages/events
		want causeway.Message
	}{
		{"no slash and no bag", "", causeway.Message{}},
		{"no bag", "/", causeway.Message{}},
		{"only a question mark", "/?", causeway.Message{}},
		{
			"Node", "/%24.mid=m1&%24.cid=c1&%24.uid=u1&%24.to=%2Fx&%24.exp=2030-01-01T00%3A00%3A00.000Z&%24.ct=application%2Fjson&%24.ce=utf-8&temperatureAlert=true",
			causeway.Message{
				ID: "m1", CorrelationID: "c1", UserID: "u1", To: "/x", Expiry: expiry,
				ContentType: "application/json", ContentEncoding: "utf-8", Properties: props("temperatureAlert", "true"),
			},
		},
		{"Java, raw keys", "/$.mid=m1&$.cid=c1&k=v", causeway.Message{ID: "m1", CorrelationID: "c1", Properties: props("k", "v")}},
		{"C, raw values with slashes", "/%24.ct=application/json&path=a/b/c", causeway.Message{ContentType: "application/json", Properties: props("path", "a/b/c")}},
		{"C, diagnostics", "/%24.diagid=abc&%24.diagctx=creationtimeutc%3D1506054516.100", causeway.Message{DiagnosticID: "abc", DiagnosticCtx: "creationtimeutc=1506054516.100"}},
		{"C#, trailing slash", "/k=v/", causeway.Message{Properties: props("k", "v")}},
		{"one trailing slash only", "/k=v//", causeway.Message{Properties: props("k", "v/")}},
		{"leading question mark", "/?k=v", causeway.Message{Properties: props("k", "v")}},
		{"one leading question mark only", "/??k=v", causeway.Message{Properties: props("?k", "v")}},
		{
			"all other system keys", "/%24.on=out&%24.schema=s&%24.ctime=t&%24.ifid=urn:azureiot:Security:SecurityAgent:1&%24.sub=thermostat1",
			causeway.Message{Output: "out", Schema: "s", CreationTime: "t", InterfaceID: "urn:azureiot:Security:SecurityAgent:1", Component: "thermostat1"},
		},
		{
			"system keys without a prefix", "/iothub-ack=full&iothub-operation=o&iothub-creation-time-utc=t",
			causeway.Message{Ack: causeway.AckFull, Operation: "o", CreationTime: "t"},
		},
		{"ack none", "/iothub-ack=none", causeway.Message{}},
		{"ack unknown", "/iothub-ack=perhaps", causeway.Message{}},
		{"prefix escaped throughout", "/%24%2Emid=m1", causeway.Message{ID: "m1"}},
		{"system name escaped", "/%24.m%69d=m1", causeway.Message{ID: "m1"}},
		{"unknown system keys", "/%24.nope=1&$.neither=2&k=v", causeway.Message{Properties: props("k", "v")}},
		{"claimed sender", "/%24.cdid=other&%24.cmid=other&k=v", causeway.Message{Properties: props("k", "v")}},
		{"key without a value", "/k&l=&m=v", causeway.Message{Properties: props("k", "", "l", "", "m", "v")}},
		{"empty items and keys", "/&&k=v&&=x&", causeway.Message{Properties: props("k", "v")}},
		{"duplicates keep the last, in place", "/a=1&b=2&a=3&%24.mid=x&%24.mid=y", causeway.Message{ID: "y", Properties: props("a", "3", "b", "2")}},
		{"duplicate by decoding", "/a=1&%61=2", causeway.Message{Properties: props("a", "2")}},
		{"plus is a plus", "/k+k=a+b", causeway.Message{Properties: props("k+k", "a+b")}},
		{"equals in the value", "/k=a=b", causeway.Message{Properties: props("k", "a=b")}},
		{"not an escape", "/k=100%&l=%zz&m=%4", causeway.Message{Properties: props("k", "100%", "l", "%zz", "m", "%4")}},
		{"lower case escapes", "/k=%c3%a9", causeway.Message{Properties: props("k", "é")}},
		{"decoded once only", "/k=%2541", causeway.Message{Properties: props("k", "%41")}},
		{"time without zone", "/%24.exp=2030-01-01T00:00:00", causeway.Message{Expiry: expiry}},
		{"time with zone", "/%24.exp=2030-01-01T01:00:00.0000000%2B01:00", causeway.Message{Expiry: expiry}},
		{"not a time", "/%24.exp=tomorrow&k=v", causeway.Message{Properties: props("k", "v")}},
	}
	for _, tt := range tests {
		for _, id := range []causeway.Identity{device, module} {
			prefix := "devices/dev1"
			if id.IsModule() {
				prefix += "/modules/mod1"
			}
			t.Run(tt.name+"/"+id.String(), func(t *testing.T) {
				got := causeway.Message{Body: []byte("body"), ID: "stale", Properties: props("stale", "stale"), Enqueued: expiry}
				p, _, err := topic.ParsePublish([]byte(prefix+"/messages/events"+tt.bag), id, &got, nil)
				if err != nil {
					t.Fatal(err)
				}
				if p != (topic.Publish{Kind: topic.Telemetry}) {
					t.Errorf("got %+v", p)
				}
				want := tt.want
				want.Body = []byte("body")
				if d := cmp.Diff(want, got, same); d != "" {
					t.Errorf("message (-want +got):\n%s", d)
				}
			})
		}
	}
}

func TestParsePublish(t *testing.T) {
	tests := []struct {
		topic string
		id    causeway.Identity
		want  topic.Publish
		err   error
	}{
		{"$iothub/twin/GET/?$rid=1", device, topic.Publish{Kind: topic.TwinGet, RID: "1"}, nil},
		{"$iothub/twin/GET/?$rid=4b6c-11", module, topic.Publish{Kind: topic.TwinGet, RID: "4b6c-11"}, nil},
		{"$iothub/twin/GET/?%24rid=a%20b", device, topic.Publish{Kind: topic.TwinGet, RID: "a%20b"}, nil},
		{"$iothub/twin/PATCH/properties/reported/?$rid=7", device, topic.Publish{Kind: topic.TwinPatch, RID: "7"}, nil},
		{"$iothub/twin/PATCH/properties/reported/?$rid=7&$version=12", device, topic.Publish{Kind: topic.TwinPatch, RID: "7", Version: 12}, nil},
		{"$iothub/twin/PATCH/properties/reported/?x=y&$version=12&$rid=7", device, topic.Publish{Kind: topic.TwinPatch, RID: "7", Version: 12}, nil},
		{"$iothub/methods/res/200/?$rid=f", device, topic.Publish{Kind: topic.MethodResponse, RID: "f", Status: 200}, nil},
		{"$iothub/methods/res/-7/?$rid=f", device, topic.Publish{Kind: topic.MethodResponse, RID: "f", Status: -7}, nil},
		{"$iothub/methods/res/2147483647/?$rid=f", device, topic.Publish{Kind: topic.MethodResponse, RID: "f", Status: 1<<31 - 1}, nil},

		{"$iothub/methods/res/2147483648/?$rid=f", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res/+200/?$rid=f", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res//?$rid=f", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res/ok/?$rid=f", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res/200", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res/200/", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/methods/res/200/?rid=f", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/GET/", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/GET/?$rid=", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/GET/?$rid=" + strings.Repeat("1", topic.MaxRequestID+1), device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/PATCH/properties/reported/", device, topic.Publish{Kind: topic.TwinPatch}, nil},
		{"$iothub/twin/PATCH/properties/reported/?$version=3", device, topic.Publish{Kind: topic.TwinPatch, Version: 3}, nil},
		{"$iothub/twin/PATCH/properties/reported/x", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/PATCH/properties/reported/?$rid=7&$version=x", device, topic.Publish{}, topic.ErrMalformed},
		{"$iothub/twin/PATCH/properties/reported/?$rid=7&$version=-1", device, topic.Publish{}, topic.ErrMalformed},
		{"devices/dev1/messages/events/k=%ff", device, topic.Publish{}, topic.ErrMalformed},
		{"devices/dev1/messages/events/%ff=v", device, topic.Publish{}, topic.ErrMalformed},

		{"devices/dev2/messages/events/", device, topic.Publish{}, topic.ErrForeign},
		{"devices/dev2/messages/events", device, topic.Publish{}, topic.ErrForeign},
		{"devices/dev1/messages/events/", module, topic.Publish{}, topic.ErrForeign},
		{"devices/dev1/modules/mod2/messages/events/", module, topic.Publish{}, topic.ErrForeign},
		{"devices/dev1/modules/mod1/messages/events/", device, topic.Publish{}, topic.ErrForeign},
		{"devices/dev/messages/events/", device, topic.Publish{}, topic.ErrForeign},
		{"devices/dev11/messages/events/", device, topic.Publish{}, topic.ErrForeign},
		{"devices/DEV1/messages/events/", device, topic.Publish{}, topic.ErrForeign},

		{"", device, topic.Publish{}, topic.ErrUnknown},
		{"free/topic", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/messages/eventsandmore", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/messages/events?k=v", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/Messages/Events/", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/messages/devicebound/x=y", device, topic.Publish{}, topic.ErrUnknown},
		{"devices/dev1/modules/mod1/inputs/in/", module, topic.Publish{}, topic.ErrUnknown},
		{"/devices/dev1/messages/events/", device, topic.Publish{}, topic.ErrUnknown},
		{"$iothub/methods/POST/m/?$rid=1", device, topic.Publish{}, topic.ErrUnknown},
		{"$iothub/twin/PATCH/properties/desired/?$version=1", device, topic.Publish{}, topic.ErrUnknown},
		{"$iothub/twin/res/200/?$rid=1", device, topic.Publish{}, topic.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.topic+" by "+tt.id.String(), func(t *testing.T) {
			var m causeway.Message
			got, _, err := topic.ParsePublish([]byte(tt.topic), tt.id, &m, nil)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestErrorsQuoteLittle(t *testing.T) {
	var m causeway.Message
	_, _, err := topic.ParsePublish([]byte("x"+strings.Repeat("\x01", 60_000)), device, &m, nil)
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes quotes a topic of a client", len(fmt.Sprint(err)))
	}
}

func TestTooManyProperties(t *testing.T) {
	bag := func(n int) []byte {
		b := []byte("devices/dev1/messages/events/")
		for i := range n {
			b = fmt.Appendf(b, "k%d=v&", i)
		}
		return b
	}
	var m causeway.Message
	if _, _, err := topic.ParsePublish(bag(topic.MaxProperties), device, &m, nil); err != nil || len(m.Properties) != topic.MaxProperties {
		t.Errorf("%d properties: got %d, %v", topic.MaxProperties, len(m.Properties), err)
	}
	if _, _, err := topic.ParsePublish(bag(topic.MaxProperties+1), device, &m, nil); !errors.Is(err, topic.ErrMalformed) {
		t.Errorf("%d properties: error %v, want ErrMalformed", topic.MaxProperties+1, err)
	}
}

// A batch is parsed message by message into one scratch buffer and sent at the
// end; earlier results must survive the growth of the buffer.
func TestScratchIsShared(t *testing.T) {
	msgs := make([]causeway.Message, 50)
	scratch := make([]byte, 0, 8)
	for i := range msgs {
		var err error
		tp := fmt.Appendf(nil, "devices/dev1/messages/events/%%24.mid=m%%3D%d&k%%20=v%%20%d", i, i)
		if _, scratch, err = topic.ParsePublish(tp, device, &msgs[i], scratch); err != nil {
			t.Fatal(err)
		}
	}
	for i := range msgs {
		want := causeway.Message{ID: fmt.Sprintf("m=%d", i), Properties: props("k ", fmt.Sprintf("v %d", i))}
		if d := cmp.Diff(want, msgs[i], same); d != "" {
			t.Fatalf("message %d (-want +got):\n%s", i, d)
		}
	}
}

func TestParsePublishDoesNotAllocate(t *testing.T) {
	var m causeway.Message
	scratch := make([]byte, 0, 256)
	for _, tp := range []string{
		"devices/dev1/messages/events/%24.mid=m1&%24.ct=application/json&%24.ce=utf-8&k=v&l=w",
		"devices/dev1/messages/events/%24.ct=application%2Fjson&k%20=v&%24.exp=2030-01-01T00:00:00.0000000Z",
		"$iothub/twin/PATCH/properties/reported/?$rid=7&$version=12",
		"$iothub/methods/res/200/?$rid=f",
	} {
		b := []byte(tp)
		n := testing.AllocsPerRun(100, func() {
			if _, _, err := topic.ParsePublish(b, device, &m, scratch[:0]); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations, want none", tp, n)
		}
	}
}

func BenchmarkParsePublish(b *testing.B) {
	for _, bb := range []struct{ name, topic string }{
		{"bare", "devices/dev1/messages/events/"},
		{"plain", "devices/dev1/messages/events/%24.mid=0123456789&%24.ct=application/json&%24.ce=utf-8&alert=true"},
		{"escaped", "devices/dev1/messages/events/%24.mid=0123456789&%24.ct=application%2Fjson&%24.ce=utf-8&alert=true"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			var m causeway.Message
			tp, scratch := []byte(bb.topic), make([]byte, 0, 256)
			for b.Loop() {
				if _, _, err := topic.ParsePublish(tp, device, &m, scratch[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
