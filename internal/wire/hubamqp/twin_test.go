package hubamqp_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func symbols(kv ...codec.Value) codec.Map {
	var b codec.MapBuilder
	for i := 0; i < len(kv); i += 2 {
		name, _ := kv[i].Text()
		b.Add(codec.Symbol(name), kv[i+1])
	}
	return b.Map()
}

func TestDecodeTwinRequest(t *testing.T) {
	s := codec.String
	for name, c := range map[string]struct {
		annotations codec.Map
		body        codec.Body
		want        hubamqp.TwinRequest
	}{
		"get (Node)":      {symbols(s("operation"), s("GET")), codec.Data([]byte(" ")), hubamqp.TwinRequest{Op: hubamqp.TwinGet, Body: []byte(" ")}},
		"get, resource /": {symbols(s("operation"), s("GET"), s("resource"), s("/")), codec.Data(nil), hubamqp.TwinRequest{Op: hubamqp.TwinGet}},
		"get, no body":    {symbols(s("operation"), codec.Symbol("GET")), codec.Body{}, hubamqp.TwinRequest{Op: hubamqp.TwinGet}},
		"patch": {
			symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/reported")), codec.Data([]byte(`{"a":1}`)),
			hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Body: []byte(`{"a":1}`)},
		},
		"patch, version": {
			symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/reported/"), s("version"), codec.Long(3)), codec.Data([]byte("{}")),
			hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Version: 3, Body: []byte("{}")},
		},
		"patch, version null (Java)": {
			symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/reported"), s("version"), codec.Value{}), codec.Data([]byte("{}")),
			hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Body: []byte("{}")},
		},
		"subscribe": {
			symbols(s("operation"), s("PUT"), s("resource"), s("/notifications/twin/properties/desired")), codec.Data([]byte(" ")),
			hubamqp.TwinRequest{Op: hubamqp.TwinSubscribe, Body: []byte(" ")},
		},
		"unsubscribe": {
			symbols(s("operation"), s("DELETE"), s("resource"), s("/notifications/twin/properties/desired")), codec.Data(nil),
			hubamqp.TwinRequest{Op: hubamqp.TwinUnsubscribe},
		},
	} {
		// The correlation id goes back with the type and value it has.
		for _, id := range []codec.Value{s("Get" + uuidText), codec.UUID(uuid), codec.Ulong(7), codec.Binary([]byte{1})} {
			b := wire(t, codec.Message{MessageAnnotations: c.annotations, Properties: codec.Properties{CorrelationID: id}, Body: c.body})
			got, err := hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), b)
			if err != nil || !got.Correlation.Equal(id) {
				t.Errorf("%s: correlation %v, %v", name, got.Correlation, err)
			}
			answer := parse(t, hubamqp.AppendTwinResponse(nil, hubamqp.TwinResponse{Correlation: got.Correlation, Status: 200}))
			if !answer.Properties.CorrelationID.Equal(id) {
				t.Errorf("%s: %v is answered with %v", name, id, answer.Properties.CorrelationID)
			}
			got.Correlation = codec.Value{}
			if d := cmp.Diff(c.want, got, same, values); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
}

// values compares values.
var values = cmp.Comparer(func(a, b codec.Value) bool { return a.Equal(b) })

func TestRefuseTwinRequest(t *testing.T) {
	s := codec.String
	for name, c := range map[string]struct {
		annotations codec.Map
		part        string
	}{
		"no operation":      {codec.Map{}, `twin operation "" on resource ""`},
		"unknown operation": {symbols(s("operation"), s("POST")), `twin operation "POST"`},
		"patch of desired":  {symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/desired")), `on resource "/properties/desired"`},
		"patch of all":      {symbols(s("operation"), s("PATCH")), `on resource ""`},
		"put of reported":   {symbols(s("operation"), s("PUT"), s("resource"), s("/properties/reported")), `twin operation "PUT"`},
		"operation is int":  {symbols(s("operation"), codec.Int(1)), `twin operation ""`},
		"version is text":   {symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/reported"), s("version"), s("x")), "version"},
		"version negative":  {symbols(s("operation"), s("PATCH"), s("resource"), s("/properties/reported"), s("version"), codec.Long(-1)), "version"},
	} {
		r, err := hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), wire(t, codec.Message{MessageAnnotations: c.annotations, Properties: codec.Properties{CorrelationID: s("c")}}))
		if err == nil || !r.Correlation.Equal(s("c")) {
			t.Errorf("%s: %v, %v: it cannot be answered", name, r, err)
		}
		wantErr(t, err, causeway.ArgumentInvalid, c.part)
	}
	_, err := hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), wire(t, codec.Message{MessageAnnotations: symbols(s("operation"), s("GET"))}))
	wantErr(t, err, causeway.ArgumentInvalid, "correlation-id")
	long, err := hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), wire(t, codec.Message{
		MessageAnnotations: symbols(s("operation"), s("GET")),
		Properties:         codec.Properties{CorrelationID: codec.Binary(make([]byte, hubamqp.MaxEcho+1))},
	}))
	wantErr(t, err, causeway.ArgumentInvalid, "correlation-id has 1025 bytes")
	if !long.Correlation.IsNull() {
		t.Error("an id without bound goes back")
	}
	_, err = hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), []byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
	_, err = hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), wire(t, codec.Message{
		MessageAnnotations: symbols(s("operation"), s("GET")), Properties: codec.Properties{CorrelationID: s("c")}, Body: codec.ValueBody(codec.Int(1)),
	}))
	wantErr(t, err, causeway.ArgumentInvalid, "the body is of type int")
}

func TestTwinRequestRoundTrip(t *testing.T) {
	for _, r := range []hubamqp.TwinRequest{
		{Op: hubamqp.TwinGet, Correlation: codec.String("1")},
		{Op: hubamqp.TwinPatch, Correlation: codec.UUID(uuid), Body: []byte("{}")},
		{Op: hubamqp.TwinPatch, Correlation: codec.UUID(uuid), Version: 3, Body: []byte("{}")},
		{Op: hubamqp.TwinSubscribe, Correlation: codec.String("3")},
		{Op: hubamqp.TwinUnsubscribe, Correlation: codec.String("4")},
	} {
		got, err := hubamqp.DecodeTwinRequest(new(hubamqp.Scratch), hubamqp.AppendTwinRequest(nil, r))
		if d := cmp.Diff(r, got, same, values); d != "" || err != nil {
			t.Errorf("%v (-sent +got):\n%s", err, d)
		}
	}
	x := parse(t, hubamqp.AppendTwinRequest(nil, hubamqp.TwinRequest{Op: hubamqp.TwinPatch, Correlation: codec.String("1"), Version: 3}))
	if d := cmp.Diff([]string{
		`symbol operation: string "PATCH"`, `symbol resource: string "/properties/reported"`, `symbol version: long 3`,
	}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
}

func TestTwinResponse(t *testing.T) {
	r := hubamqp.TwinResponse{Correlation: codec.String("c"), Status: 204, Version: 12, Body: nil}
	x := parse(t, hubamqp.AppendTwinResponse(nil, r))
	if d := cmp.Diff([]string{`symbol status: int 204`, `symbol version: long 12`}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	if x.Body.Kind() != codec.CodeData {
		t.Error("no data section")
	}
	x = parse(t, hubamqp.AppendTwinResponse(nil, hubamqp.TwinResponse{Correlation: codec.String("c"), Status: 400}))
	if d := cmp.Diff([]string{`symbol status: int 400`}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}

	x = parse(t, hubamqp.AppendDesired(nil, 7, []byte(`{"a":1,"$version":7}`)))
	if d := cmp.Diff([]string{`symbol resource: string "/properties/desired"`, `symbol version: long 7`}, entries(x.MessageAnnotations)); d != "" {
		t.Errorf("annotations (-want +got):\n%s", d)
	}
	if !x.Properties.CorrelationID.IsNull() {
		t.Error("a change has a correlation id")
	}

	for _, r := range []hubamqp.TwinResponse{
		r, {Correlation: codec.UUID(uuid), Status: 200, Body: []byte(`{"desired":{},"reported":{}}`)}, {Correlation: codec.String("c"), Status: 503},
	} {
		got, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), hubamqp.AppendTwinResponse(nil, r))
		if d := cmp.Diff(r, got, same, values); d != "" || err != nil || got.Desired() {
			t.Errorf("%v (-sent +got):\n%s", err, d)
		}
	}
	got, err := hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), hubamqp.AppendDesired(nil, 7, []byte("{}")))
	if err != nil || !got.Desired() || got.Version != 7 || string(got.Body) != "{}" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), wire(t, codec.Message{Properties: codec.Properties{CorrelationID: codec.String("c")}}))
	wantErr(t, err, causeway.ArgumentInvalid, "status")
	_, err = hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), nil)
	wantErr(t, err, causeway.ArgumentInvalid, "neither an answer nor a change")
	_, err = hubamqp.DecodeTwinResponse(new(hubamqp.Scratch), []byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}
