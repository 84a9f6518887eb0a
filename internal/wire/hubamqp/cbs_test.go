package hubamqp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const token = "SharedAccessSignature sr=hub&sig=x&se=1"

func putToken(change func(m *codec.Message)) codec.Message {
	m := codec.Message{
		Properties:            codec.Properties{MessageID: codec.UUID(uuid), To: "$cbs", ReplyTo: "cbs"},
		ApplicationProperties: text("operation", "put-token", "type", "servicebus.windows.net:sastoken", "name", "hub/devices/dev1"),
		Body:                  codec.ValueBody(codec.String(token)),
	}
	change(&m)
	return m
}

func TestDecodePutToken(t *testing.T) {
	want := hubamqp.PutToken{MessageID: codec.UUID(uuid), ReplyTo: "cbs", Type: hubamqp.TokenSAS, Name: "hub/devices/dev1", Token: token}
	for name, c := range map[string]struct {
		in     codec.Message
		change func(r *hubamqp.PutToken)
	}{
		"Java": {putToken(func(*codec.Message) {}), func(*hubamqp.PutToken) {}},
		"C": {
			putToken(func(m *codec.Message) { m.Properties.MessageID = codec.Ulong(1) }),
			func(r *hubamqp.PutToken) { r.MessageID = codec.Ulong(1) },
		},
		"C#, expiration": {
			putToken(func(m *codec.Message) {
				m.ApplicationProperties = codec.NewMap(
					codec.String("operation"), codec.String("put-token"), codec.String("type"), codec.String("servicebus.windows.net:sastoken"),
					codec.String("name"), codec.String("hub/devices/dev1"), codec.String("expiration"), codec.TimestampOf(at).Value())
			}),
			func(r *hubamqp.PutToken) { r.Expiration = at },
		},
		"no message id, no reply": {
			putToken(func(m *codec.Message) { m.Properties = codec.Properties{} }),
			func(r *hubamqp.PutToken) { r.MessageID, r.ReplyTo = codec.Value{}, "" },
		},
		"token in data": {
			putToken(func(m *codec.Message) { m.Body = codec.Data([]byte(token)) }), func(*hubamqp.PutToken) {},
		},
		"jwt": {
			putToken(func(m *codec.Message) {
				m.ApplicationProperties = text("operation", "put-token", "type", "JWT", "name", "n")
			}),
			func(r *hubamqp.PutToken) { r.Type, r.Name = hubamqp.TokenJWT, "n" },
		},
		"bearer": {
			putToken(func(m *codec.Message) {
				m.ApplicationProperties = text("operation", "PUT-TOKEN", "type", "Bearer", "name", "n")
			}),
			func(r *hubamqp.PutToken) { r.Type, r.Name = hubamqp.TokenJWT, "n" },
		},
	} {
		w := want
		c.change(&w)
		got, err := hubamqp.DecodePutToken(wire(t, c.in))
		if d := cmp.Diff(w, got, values); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
		again, err := hubamqp.DecodePutToken(hubamqp.AppendPutToken(nil, w))
		if d := cmp.Diff(w, again, values); d != "" || err != nil {
			t.Errorf("%s, round trip: %v (-sent +got):\n%s", name, err, d)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", want, want, want); strings.Contains(s, "sig=") {
		t.Errorf("the token is shown: %s", s)
	}
}

func TestRefusePutToken(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *codec.Message)
		part   string
	}{
		"no operation":    {func(m *codec.Message) { m.ApplicationProperties = codec.Map{} }, `operation ""`},
		"other operation": {func(m *codec.Message) { m.ApplicationProperties = text("operation", "delete-token") }, `operation "delete-token"`},
		"no type":         {func(m *codec.Message) { m.ApplicationProperties = text("operation", "put-token") }, `token type ""`},
		"other type":      {func(m *codec.Message) { m.ApplicationProperties = text("operation", "put-token", "type", "x") }, `token type "x"`},
		"no name": {func(m *codec.Message) {
			m.ApplicationProperties = text("operation", "put-token", "type", "jwt")
		}, "has no name"},
		"no token":    {func(m *codec.Message) { m.Body = codec.Body{} }, "no token"},
		"null token":  {func(m *codec.Message) { m.Body = codec.ValueBody(codec.Value{}) }, "no token"},
		"token a map": {func(m *codec.Message) { m.Body = codec.ValueBody(text("a", "b").Value()) }, "the body is of type map"},
		"long token": {func(m *codec.Message) {
			m.Body = codec.ValueBody(codec.String(strings.Repeat("x", hubamqp.MaxToken+1)))
		}, "16385 bytes"},
	} {
		r, err := hubamqp.DecodePutToken(wire(t, putToken(c.change)))
		if err == nil || !r.MessageID.Equal(codec.UUID(uuid)) || r.ReplyTo != "cbs" {
			t.Errorf("%s: %v, %v: it cannot be answered", name, r, err)
		}
		wantErr(t, err, causeway.ArgumentInvalid, c.part)
	}
	long, err := hubamqp.DecodePutToken(wire(t, putToken(func(m *codec.Message) {
		m.Properties.MessageID = codec.String(strings.Repeat("x", hubamqp.MaxEcho+1))
	})))
	wantErr(t, err, causeway.ArgumentInvalid, "message-id has 1025 bytes")
	if !long.MessageID.IsNull() {
		t.Error("an id without bound goes back")
	}
	_, err = hubamqp.DecodePutToken([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}

func TestPutTokenResponse(t *testing.T) {
	for _, id := range []codec.Value{codec.String("m"), codec.UUID(uuid), codec.Ulong(7)} {
		b := hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(id, nil))
		x := parse(t, b)
		if !x.Properties.CorrelationID.Equal(id) {
			t.Errorf("%v is answered with %v", id, x.Properties.CorrelationID)
		}
		if d := cmp.Diff([]string{`string status-code: int 200`, `string status-description: string "OK"`}, entries(x.ApplicationProperties)); d != "" {
			t.Errorf("application properties (-want +got):\n%s", d)
		}
		if v, ok := x.Body.Value(); !ok || !v.IsNull() {
			t.Errorf("body %v", v)
		}
		r, err := hubamqp.DecodePutTokenResponse(b)
		if err != nil || !r.OK() || !r.Correlation.Equal(id) || r.Description != "OK" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	for code, want := range map[causeway.Code]int{
		causeway.ArgumentInvalid: 400, causeway.IotHubUnauthorized: 401, causeway.IotHubMaxCbsTokenExceeded: 403, causeway.DeviceNotFound: 404,
		causeway.ServerError: 500, causeway.Code(42): 500,
	} {
		r, err := hubamqp.DecodePutTokenResponse(hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(codec.String("m"), causeway.Errorf(code, "x", "why"))))
		if err != nil || r.OK() || r.Status != want || r.Description != "why" {
			t.Errorf("%v: %+v, %v", code, r, err)
		}
	}
	_, err := hubamqp.DecodePutTokenResponse(nil)
	wantErr(t, err, causeway.IotHubFormatError, "status-code")
	_, err = hubamqp.DecodePutTokenResponse([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}
