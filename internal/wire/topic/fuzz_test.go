package topic_test

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// Whatever is accepted survives being built and parsed again.
func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{
		"devices/dev1/modules/mod1/messages/events/%24.mid=m&$.ct=a/b&k=v&k2&%24.exp=2030-01-01T00:00:00.1234567Z/",
		"devices/dev1/modules/mod1/messages/events",
		"devices/dev1/modules/mod1/messages/events/?a=%zz&%24.x=1&&=&iothub-ack=full",
		"$iothub/methods/res/-1/?$rid=1",
		"$iothub/twin/GET/?$rid=1",
		"$iothub/twin/PATCH/properties/reported/?$rid=1&$version=2",
		"devices/other/messages/events/",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		given := bytes.Clone(in)
		var m causeway.Message
		p, scratch, err := topic.ParsePublish(in, module, &m, nil)
		if !bytes.Equal(in, given) {
			t.Fatal("the topic was changed")
		}
		if len(scratch) > len(in) {
			t.Fatalf("%d bytes decoded from %d", len(scratch), len(in))
		}
		if err != nil {
			return
		}
		var built []byte
		switch p.Kind {
		case topic.Telemetry:
			built = topic.AppendTelemetry(nil, module, &m)
		case topic.MethodResponse:
			built = topic.AppendMethodResponse(nil, p.Status, p.RID)
		case topic.TwinGet:
			built = topic.AppendTwinGet(nil, p.RID)
		case topic.TwinPatch:
			built = topic.AppendTwinPatch(nil, p.RID, p.Version)
		default:
			t.Fatalf("a client cannot publish kind %d", p.Kind)
		}
		m.Expiry = written(m.Expiry)
		var again causeway.Message
		p2, _, err := topic.ParsePublish(built, module, &again, nil)
		if err != nil || p2 != p {
			t.Fatalf("%s\nfirst  %+v\nsecond %+v, %v", built, p, p2, err)
		}
		if d := cmp.Diff(m, again, same); d != "" {
			t.Fatalf("%s (-first +second):\n%s", built, d)
		}
	})
}

// The same for what hubs send.
func FuzzParseDelivery(f *testing.F) {
	for _, s := range []string{
		"devices/dev1/modules/mod1/messages/devicebound/%24.mid=m&%24.to=%2Fx&k=v",
		"devices/dev1/modules/mod1/inputs/in%20/%24.cdid=d&%24.cmid=m&k=v",
		"$iothub/methods/POST/re%20boot/?$rid=1",
		"$iothub/twin/res/204/?$rid=1&$version=2",
		"$iothub/twin/PATCH/properties/desired/?$version=2",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var m causeway.Message
		p, _, err := topic.ParseDelivery(in, module, &m, nil)
		if err != nil {
			return
		}
		var built []byte
		switch p.Kind {
		case topic.Command:
			m.From = causeway.Identity{} // not told to the receiver of a command
			if m.To == "" {
				m.To = topic.CommandAddress(module)
			}
			built = topic.AppendCommand(nil, module, &m)
		case topic.Input:
			if m.From.Device == "" {
				m.From.Device = module.Device
			}
			built = topic.AppendInput(nil, module, p.Name, &m)
		case topic.MethodRequest:
			built = topic.AppendMethodRequest(nil, p.Name, p.RID)
		case topic.TwinResponse:
			if p.Status < 100 || p.Status > 999 {
				p.Status = 500
			}
			built = topic.AppendTwinResponse(nil, p.Status, p.RID, p.Version)
		case topic.Desired:
			built = topic.AppendDesired(nil, p.Version)
			p.RID = ""
		default:
			t.Fatalf("a hub cannot send kind %d", p.Kind)
		}
		m.Expiry = written(m.Expiry)
		var again causeway.Message
		p2, _, err := topic.ParseDelivery(built, module, &again, nil)
		if err != nil || p2 != p {
			t.Fatalf("%s\nfirst  %+v\nsecond %+v, %v", built, p, p2, err)
		}
		if d := cmp.Diff(m, again, same); d != "" {
			t.Fatalf("%s (-first +second):\n%s", built, d)
		}
	})
}

func FuzzParseFilter(f *testing.F) {
	f.Add("devices/dev1/modules/mod1/#")
	f.Add("devices/dev1/modules/mod1/inputs/in/#")
	f.Add("$iothub/methods/POST/x/#")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := topic.ParseFilter(s, module)
		if (err == nil) != (got != topic.Filter{}) {
			t.Fatalf("%q: %+v with error %v", s, got, err)
		}
	})
}

// written returns what is left of a time after it was written into a bag.
func written(t time.Time) time.Time {
	if t.IsZero() || t.Year() > 9999 {
		return time.Time{}
	}
	return t.Truncate(100 * time.Nanosecond)
}

// Any message arrives at the other end as it was sent.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringN(0, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		m := causeway.Message{
			ID: text.Draw(t, "id"), CorrelationID: text.Draw(t, "cid"), UserID: text.Draw(t, "uid"),
			To: "/" + text.Draw(t, "to"), ContentType: text.Draw(t, "ct"), ContentEncoding: text.Draw(t, "ce"),
			CreationTime: text.Draw(t, "ctime"), Schema: text.Draw(t, "schema"), InterfaceID: text.Draw(t, "ifid"),
			Component: text.Draw(t, "sub"), Operation: text.Draw(t, "op"), Output: text.Draw(t, "on"),
			DiagnosticID: text.Draw(t, "diagid"), DiagnosticCtx: text.Draw(t, "diagctx"),
			Ack: rapid.SampledFrom([]causeway.Ack{causeway.AckNone, causeway.AckFull, causeway.AckNegative, causeway.AckPositive}).Draw(t, "ack"),
		}
		if rapid.Bool().Draw(t, "expires") {
			m.Expiry = time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "sec"), 100*rapid.Int64Range(0, 9_999_999).Draw(t, "ticks")).UTC()
		}
		for key, value := range rapid.MapOfN(rapid.StringMatching(`[^$i].{0,10}`), text, 0, 5).Draw(t, "props") {
			if utf8.ValidString(key) {
				m.Properties = append(m.Properties, causeway.Property{Key: key, Value: value})
			}
		}
		for _, id := range []causeway.Identity{device, module} {
			var got causeway.Message
			if _, _, err := topic.ParsePublish(topic.AppendTelemetry(nil, id, &m), id, &got, nil); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(m, got, same); d != "" {
				t.Fatalf("telemetry (-sent +got):\n%s", d)
			}
			built := topic.AppendCommand(nil, id, &m)
			if _, _, err := topic.ParseDelivery(built, id, &got, nil); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(m, got, same); d != "" {
				t.Fatalf("command (-sent +got):\n%s", d)
			}
		}
	})
}

func TestCommandsAreDeliverable(t *testing.T) {
	text := rapid.StringN(0, 20, -1)
	rapid.Check(t, func(rt *rapid.T) {
		m := causeway.Message{
			ID: text.Draw(rt, "id"), To: text.Draw(rt, "to"),
			Properties: []causeway.Property{{Key: text.Draw(rt, "key"), Value: text.Draw(rt, "value")}},
		}
		checkDeliverable(t, topic.AppendCommand(nil, device, &m))
	})
}
