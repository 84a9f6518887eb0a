package hubamqp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestMethodRequest(t *testing.T) {
	r := hubamqp.MethodRequest{Correlation: uuid, Call: causeway.Call{Method: "reboot", Payload: []byte(`{"in":1}`)}}
	b := hubamqp.AppendMethodRequest(nil, r)
	x := parse(t, b)
	if !x.Properties.CorrelationID.Equal(codec.UUID(uuid)) {
		t.Errorf("correlation %v is not the uuid", x.Properties.CorrelationID)
	}
	if d := cmp.Diff([]string{`string IoThub-methodname: string "reboot"`}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	if body, ok := x.Body.Bytes(); !ok || string(body) != `{"in":1}` {
		t.Errorf("body %q", body)
	}
	got, err := hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), b)
	if d := cmp.Diff(r, got); d != "" || err != nil {
		t.Errorf("%v (-sent +got):\n%s", err, d)
	}
	x = parse(t, hubamqp.AppendMethodRequest(nil, hubamqp.MethodRequest{Call: causeway.Call{Method: "m"}}))
	if body, _ := x.Body.Bytes(); string(body) != "null" {
		t.Errorf("no payload is %q", body)
	}

	_, err = hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), wire(t, codec.Message{Properties: codec.Properties{CorrelationID: codec.UUID(uuid)}}))
	wantErr(t, err, causeway.ArgumentInvalid, "IoThub-methodname")
	_, err = hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), nil)
	wantErr(t, err, causeway.ArgumentInvalid, "correlation-id")
	_, err = hubamqp.DecodeMethodRequest(new(hubamqp.Scratch), []byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}

func TestMethodResponse(t *testing.T) {
	r := hubamqp.MethodResponse{Correlation: uuid, Result: causeway.Result{Status: 200, Payload: []byte(`{"out":1}`)}}
	b := hubamqp.AppendMethodResponse(nil, r)
	if d := cmp.Diff([]string{`string IoThub-status: int 200`}, entries(parse(t, b).ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	got, err := hubamqp.DecodeMethodResponse(new(hubamqp.Scratch), b)
	if d := cmp.Diff(r, got); d != "" || err != nil {
		t.Errorf("%v (-sent +got):\n%s", err, d)
	}

	answer := func(correlation, status codec.Value) codec.Message {
		return codec.Message{
			Properties:            codec.Properties{CorrelationID: correlation},
			ApplicationProperties: codec.NewMap(codec.String("IoThub-status"), status),
			Body:                  codec.Data([]byte(`{"out":1}`)),
		}
	}
	for name, m := range map[string]codec.Message{
		"text":            answer(codec.String(uuidText), codec.Int(200)),
		"text, upper":     answer(codec.String(strings.ToUpper(uuidText)), codec.Int(200)),
		"sixteen bytes":   answer(codec.Binary(uuid[:]), codec.Int(200)),
		"text in binary":  answer(codec.Binary([]byte(uuidText)), codec.Int(200)),
		"status is ubyte": answer(codec.UUID(uuid), codec.Ubyte(200)),
		"status is long":  answer(codec.UUID(uuid), codec.Long(200)),
		"status is ulong": answer(codec.UUID(uuid), codec.Ulong(200)),
		"other case": {
			Properties:            codec.Properties{CorrelationID: codec.UUID(uuid)},
			ApplicationProperties: codec.NewMap(codec.String("iothub-STATUS"), codec.Int(200)), Body: codec.Data([]byte(`{"out":1}`)),
		},
	} {
		if got, err := hubamqp.DecodeMethodResponse(new(hubamqp.Scratch), wire(t, m)); err != nil || cmp.Diff(r, got) != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct {
		m    codec.Message
		code causeway.Code
		part string
	}{
		"no correlation":  {answer(codec.Value{}, codec.Int(200)), causeway.ArgumentInvalid, "correlation-id is of type null"},
		"a number":        {answer(codec.Ulong(1), codec.Int(200)), causeway.ArgumentInvalid, "correlation-id is of type ulong"},
		"other text":      {answer(codec.String("00112233x4455-6677-8899-aabbccddeeff"), codec.Int(200)), causeway.ArgumentInvalid, "correlation-id is of type string"},
		"not hexadecimal": {answer(codec.String("0011223g-4455-6677-8899-aabbccddeeff"), codec.Int(200)), causeway.ArgumentInvalid, "correlation-id is of type string"},
		"dashes":          {answer(codec.String("00112233-4455-6677-8899--aabbccddeef"), codec.Int(200)), causeway.ArgumentInvalid, "correlation-id is of type string"},
		"no status":       {answer(codec.UUID(uuid), codec.Value{}), causeway.ArgumentInvalid, "IoThub-status"},
		"status is text":  {answer(codec.UUID(uuid), codec.String("200")), causeway.ArgumentInvalid, "IoThub-status"},
		"status too big":  {answer(codec.UUID(uuid), codec.Long(1<<40)), causeway.ArgumentInvalid, "IoThub-status"},
		"payload too big": {
			codec.Message{
				Properties: codec.Properties{CorrelationID: codec.UUID(uuid)}, ApplicationProperties: codec.NewMap(codec.String("IoThub-status"), codec.Int(1)),
				Body: codec.Data(make([]byte, causeway.MaxMethodPayload+1)),
			}, causeway.MessageTooLarge, "131073",
		},
	} {
		_, err := hubamqp.DecodeMethodResponse(new(hubamqp.Scratch), wire(t, c.m))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		wantErr(t, err, c.code, c.part)
	}
}
