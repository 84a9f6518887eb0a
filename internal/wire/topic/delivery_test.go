package topic_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

func TestAppendCommand(t *testing.T) {
	tests := []struct {
		name string
		id   causeway.Identity
		m    causeway.Message
		want string
	}{
		{
			"nothing set", device,
			causeway.Message{},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound",
		},
		{
			"module", module,
			causeway.Message{},
			"devices/dev1/modules/mod1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmodules%2Fmod1%2Fmessages%2FdeviceBound",
		},
		{
			"the documented sample", device,
			causeway.Message{ID: "a1", ContentType: "application/json", ContentEncoding: "utf-8", Ack: causeway.AckFull, Properties: props("prop", "val")},
			"devices/dev1/messages/devicebound/%24.mid=a1&%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&%24.ct=application%2Fjson&%24.ce=utf-8&iothub-ack=full&prop=val",
		},
		{
			"to as the sender wrote it", device,
			causeway.Message{To: "/devices/dev1/messages/devicebound"},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2Fdevicebound",
		},
		{
			"expiry has seven digits", device,
			causeway.Message{Expiry: expiry.Add(1500 * time.Millisecond).In(time.FixedZone("", 3600))},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&%24.exp=2030-01-01T00%3A00%3A01.5000000Z",
		},
		{
			"everything that could corrupt is escaped", device,
			causeway.Message{Properties: props("a/b", "=&%+#? é", "empty", "")},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&a%2Fb=%3D%26%25%2B%23%3F%20%C3%A9&empty=",
		},
		{
			"properties that would be taken for others are left out", device,
			causeway.Message{Properties: props("$.mid", "spoof", "iothub-ack", "full", "", "x", "$ok", "y")},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound&%24ok=y",
		},
		{
			"no such feedback", device,
			causeway.Message{Ack: "none"},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound",
		},
		{
			"the sender stays inside", device,
			causeway.Message{From: causeway.Identity{Device: "x"}},
			"devices/dev1/messages/devicebound/%24.to=%2Fdevices%2Fdev1%2Fmessages%2FdeviceBound",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(topic.AppendCommand(nil, tt.id, &tt.m)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The expressions are those of strict clients, restated.
func TestBuilders(t *testing.T) {
	sent := causeway.Message{From: causeway.Identity{Device: "dev1", Module: "sender"}, ID: "m1", Properties: props("k", "v")}
	tests := []struct {
		name, got, want string
		client          *regexp.Regexp
	}{
		{"method", string(topic.AppendMethodRequest(nil, "reboot", "1f")), "$iothub/methods/POST/reboot/?$rid=1f", nil},
		{"method with a special name", string(topic.AppendMethodRequest(nil, "re/boot now", "1f")), "$iothub/methods/POST/re%2Fboot now/?$rid=1f", nil},
		{"method that is a component's command", string(topic.AppendMethodRequest(nil, "thermostat1*getMaxMinReport", "1f")), "$iothub/methods/POST/thermostat1*getMaxMinReport/?$rid=1f", nil},
		{"method whose name is no level of a topic", string(topic.AppendMethodRequest(nil, "ä:(@)$'&=\"!,;\\#+?%\x00\n", "1f")), "$iothub/methods/POST/ä:(@)$'&=\"!,;%5C%23%2B%3F%25%00%0A/?$rid=1f", nil},
		{"twin", string(topic.AppendTwinResponse(nil, 200, "1f", 0)), "$iothub/twin/res/200/?$rid=1f", regexp.MustCompile(`^\$iothub/twin/res/(\d{3})/(\?\$rid=.+)$`)},
		{"twin patched", string(topic.AppendTwinResponse(nil, 204, "1f", 5)), "$iothub/twin/res/204/?$rid=1f&$version=5", nil},
		{"twin patched without a version", string(topic.AppendTwinResponse(nil, 204, "1f", 0)), "$iothub/twin/res/204/?$rid=1f&$version=0", nil},
		{"twin with an impossible status", string(topic.AppendTwinResponse(nil, 7, "1f", 0)), "$iothub/twin/res/500/?$rid=1f", nil},
		{"desired", string(topic.AppendDesired(nil, 8)), "$iothub/twin/PATCH/properties/desired/?$version=8", nil},
		{"input", string(topic.AppendInput(nil, module, "in 1", &sent)), "devices/dev1/modules/mod1/inputs/in 1/%24.cdid=dev1&%24.cmid=sender&%24.mid=m1&k=v", nil},
		{"input from nobody", string(topic.AppendInput(nil, module, "in", &causeway.Message{})), "devices/dev1/modules/mod1/inputs/in/%24.cdid=dev1", nil},
		{"method response", string(topic.AppendMethodResponse(nil, -1, "1f")), "$iothub/methods/res/-1/?$rid=1f", nil},
		{"twin get", string(topic.AppendTwinGet(nil, "1f")), "$iothub/twin/GET/?$rid=1f", nil},
		{"twin patch", string(topic.AppendTwinPatch(nil, "1f", 0)), "$iothub/twin/PATCH/properties/reported/?$rid=1f", nil},
		{"twin patch with a version", string(topic.AppendTwinPatch(nil, "1f", 3)), "$iothub/twin/PATCH/properties/reported/?$rid=1f&$version=3", nil},
		{"telemetry", string(topic.AppendTelemetry(nil, device, &causeway.Message{ContentType: "a/b"})), "devices/dev1/messages/events/%24.ct=a%2Fb", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
			if tt.client != nil && !tt.client.MatchString(tt.got) {
				t.Errorf("%s does not match %s", tt.got, tt.client)
			}
		})
	}
}

func TestParseDelivery(t *testing.T) {
	tests := []struct {
		topic string
		id    causeway.Identity
		want  topic.Publish
		m     causeway.Message
		err   error
	}{
		{
			"devices/dev1/messages/devicebound/%24.mid=m1&%24.to=%2Fx&k=v", device,
			topic.Publish{Kind: topic.Command},
			causeway.Message{ID: "m1", To: "/x", Properties: props("k", "v")},
			nil,
		},
		{
			"devices/dev1/modules/mod1/messages/devicebound/k=v", module,
			topic.Publish{Kind: topic.Command},
			causeway.Message{Properties: props("k", "v")},
			nil,
		},
		{
			"devices/dev1/modules/mod1/inputs/in 1/%24.cdid=dev1&%24.cmid=sender&k=v", module,
			topic.Publish{Kind: topic.Input, Name: "in 1"},
			causeway.Message{From: causeway.Identity{Device: "dev1", Module: "sender"}, Input: "in 1", Properties: props("k", "v")},
			nil,
		},
		{"devices/dev1/modules/mod1/inputs/in", module, topic.Publish{Kind: topic.Input, Name: "in"}, causeway.Message{Input: "in"}, nil},
		{"$iothub/methods/POST/re%20boot/?$rid=1f", device, topic.Publish{Kind: topic.MethodRequest, Name: "re boot", RID: "1f"}, causeway.Message{}, nil},
		{"$iothub/twin/res/204/?$rid=1f&$version=5", device, topic.Publish{Kind: topic.TwinResponse, Status: 204, RID: "1f", Version: 5}, causeway.Message{}, nil},
		{"$iothub/twin/PATCH/properties/desired/?$version=5", device, topic.Publish{Kind: topic.Desired, Version: 5}, causeway.Message{}, nil},

		{"$iothub/twin/PATCH/properties/desired/?x=5", device, topic.Publish{}, causeway.Message{}, topic.ErrMalformed},
		{"$iothub/methods/POST/reboot", device, topic.Publish{}, causeway.Message{}, topic.ErrMalformed},
		{"$iothub/methods/POST//?$rid=1", device, topic.Publish{}, causeway.Message{}, topic.ErrMalformed},
		{"devices/dev2/messages/devicebound/k=v", device, topic.Publish{}, causeway.Message{}, topic.ErrForeign},
		{"devices/dev1/modules/mod2/inputs/in/", module, topic.Publish{}, causeway.Message{}, topic.ErrForeign},
		{"devices/dev1/messages/events/", device, topic.Publish{}, causeway.Message{}, topic.ErrUnknown},
		{"devices/dev1/inputs/in/", device, topic.Publish{}, causeway.Message{}, topic.ErrUnknown},
		{"$iothub/twin/GET/?$rid=1", device, topic.Publish{}, causeway.Message{}, topic.ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.topic, func(t *testing.T) {
			var m causeway.Message
			got, _, err := topic.ParseDelivery([]byte(tt.topic), tt.id, &m, nil)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if d := cmp.Diff(tt.m, m, same); d != "" {
				t.Errorf("message (-want +got):\n%s", d)
			}
		})
	}
}

func TestAppendCommandDoesNotAllocate(t *testing.T) {
	m := causeway.Message{ID: "m1", To: "/devices/dev1/messages/deviceBound", Expiry: expiry, Ack: causeway.AckFull, Properties: props("k", "v")}
	dst := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { dst = topic.AppendCommand(dst[:0], device, &m) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkAppendCommand(b *testing.B) {
	b.ReportAllocs()
	m := causeway.Message{ID: "m1", To: "/devices/dev1/messages/deviceBound", ContentType: "application/json", Properties: props("k", "v")}
	dst := make([]byte, 0, 512)
	for b.Loop() {
		dst = topic.AppendCommand(dst[:0], device, &m)
	}
}

// The first character of a bag must be neither '=' nor '&', the topic must not
// end in a slash, and it must hold no wildcard.
func checkDeliverable(t *testing.T, tp []byte) {
	t.Helper()
	_, bag, _ := strings.Cut(string(tp), "/messages/devicebound/")
	if bag == "" || strings.HasPrefix(bag, "=") || strings.HasPrefix(bag, "&") || strings.ContainsAny(bag, "/+# ") {
		t.Errorf("bag of %s breaks the rules of clients", tp)
	}
}
