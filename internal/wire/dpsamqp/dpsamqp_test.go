package dpsamqp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsamqp"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]dpsamqp.Address{
		"0ne1/registrations/r1":                                  {Scope: "0ne1", ID: "r1"},
		"/0ne1/registrations/r1":                                 {Scope: "0ne1", ID: "r1"},
		"/0ne1/Registrations/r%3A1":                              {Scope: "0ne1", ID: "r:1"},
		"amqps://Global.Example:5671/0ne1/registrations/Press.1": {Host: "global.example", Scope: "0ne1", ID: "Press.1"},
	} {
		a, ok := dpsamqp.ParseAddress(text)
		if !ok || a != want {
			t.Errorf("%s: %+v %v", text, a, ok)
		}
	}
	for _, text := range []string{
		"", "/", "$cbs", "/devices/d/messages/events", "a/registrations", "a/registrations/", "/registrations/r", "a/registrations/r/s",
		"a/registration/r", "amqps:///a/registrations/r", "events/ConsumerGroups/g/Partitions/0", "device@sas.hub", "policy",
		"a/registrations/" + strings.Repeat("x", dpsamqp.MaxAddress),
	} {
		if a, ok := dpsamqp.ParseAddress(text); ok {
			t.Errorf("%.40q is taken for %+v", text, a)
		}
	}
	if a := (&dpsamqp.Address{Scope: "s", ID: "r"}).String(); a != "s/registrations/r" {
		t.Error(a)
	}
}

// message writes a message with application properties, pairs of texts, and a
// body.
func message(properties []string, body func(*codec.Writer)) []byte {
	w := codec.NewWriter(nil)
	if len(properties) > 0 {
		w.Map(codec.CodeApplicationProperties)
		for _, p := range properties {
			w.String(p)
		}
		w.End()
	}
	if body != nil {
		body(&w)
	}
	return w.Bytes()
}

func TestRequest(t *testing.T) {
	data := func(s string) func(*codec.Writer) { return func(w *codec.Writer) { w.Data([]byte(s)) } }
	const op, id = "iotdps-operation-type", "iotdps-operation-id"
	for name, c := range map[string]struct {
		payload []byte
		want    dpsamqp.Request
	}{
		"register":                 {message([]string{op, "iotdps-register"}, data("{}")), dpsamqp.Request{Op: dpsamqp.Register, Body: []byte("{}")}},
		"register, two sections":   {message([]string{op, "iotdps-register"}, func(w *codec.Writer) { w.Data([]byte("{")); w.Data([]byte("}")) }), dpsamqp.Request{Op: dpsamqp.Register, Body: []byte("{}")}},
		"register, text":           {message([]string{op, "iotdps-register"}, func(w *codec.Writer) { w.ValueSection(codec.String("{}")) }), dpsamqp.Request{Op: dpsamqp.Register, Body: []byte("{}")}},
		"register, no body":        {message([]string{op, "iotdps-register"}, nil), dpsamqp.Request{Op: dpsamqp.Register}},
		"question":                 {message([]string{op, "iotdps-get-operationstatus", id, "5.a"}, nil), dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.a"}},
		"question of Node":         {message([]string{op, "iotdps-get-operationstatus", id, "5.a"}, func(w *codec.Writer) { w.ValueSection(codec.String("")) }), dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.a"}},
		"question with a sequence": {message([]string{op, "iotdps-get-operationstatus", id, "5.a"}, func(w *codec.Writer) { w.List(codec.CodeSequence); w.End() }), dpsamqp.Request{Op: dpsamqp.Lookup, Operation: "5.a"}},
	} {
		r, err := dpsamqp.DecodeRequest(c.payload)
		if err != nil || r.Op != c.want.Op || r.Operation != c.want.Operation || !bytes.Equal(r.Body, c.want.Body) || !r.Correlation.IsNull() {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
	for want, payload := range map[string][]byte{
		"cannot be read":      {1, 2, 3},
		keyMissing:            message(nil, data("{}")),
		`"other"`:             message([]string{op, "other"}, data("{}")),
		"which operation":     message([]string{op, "iotdps-get-operationstatus"}, nil),
		"in a data section":   message([]string{op, "iotdps-register"}, func(w *codec.Writer) { w.List(codec.CodeSequence); w.Int(1); w.End() }),
		"JSON of a registrat": message([]string{op, "iotdps-register"}, func(w *codec.Writer) { w.ValueSection(codec.Uint(7)) }),
	} {
		if _, err := dpsamqp.DecodeRequest(payload); causeway.CodeOf(err).HTTPStatus() != 400 || !strings.Contains(causeway.MessageOf(err), want) {
			t.Errorf("%v, want it to speak of %s", err, want)
		}
	}
	for _, r := range []dpsamqp.Request{
		{Op: dpsamqp.Register, Correlation: codec.String("a"), Body: []byte("{}")}, {Op: dpsamqp.Lookup, Operation: "5.a", Correlation: codec.UUID([16]byte{1})},
	} {
		got, err := dpsamqp.DecodeRequest(dpsamqp.AppendRequest(nil, r))
		if err != nil || got.Op != r.Op || got.Operation != r.Operation || !got.Correlation.Equal(r.Correlation) || !bytes.Equal(got.Body, r.Body) {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
	}
}

const keyMissing = `iotdps-operation-type is ""`

func TestReply(t *testing.T) {
	for _, r := range []dpsamqp.Reply{
		{Body: []byte("{}")}, {Correlation: codec.UUID([16]byte{7}), RetryAfter: 3, Body: []byte(`{"a":1}`)}, {Correlation: codec.Ulong(1), Body: []byte("x")},
	} {
		b := dpsamqp.AppendReply(nil, r)
		got, err := dpsamqp.DecodeReply(b)
		if err != nil || !got.Correlation.Equal(r.Correlation) || got.RetryAfter != r.RetryAfter || !bytes.Equal(got.Body, r.Body) {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
		var x codec.Message
		if err := x.Decode(b); err != nil || x.Body.Kind() != codec.CodeData {
			t.Errorf("%+v has the body %v, %v", r, x.Body.Kind(), err)
		}
		for _, key := range []string{"retry-after", "Retry-After"} {
			v, ok := x.ApplicationProperties.Lookup(key)
			if ok != (r.RetryAfter > 0) || ok && v.Kind() != codec.KindInt {
				t.Errorf("%+v: %s is %v", r, key, v)
			}
		}
	}
	if r, err := dpsamqp.DecodeReply(dpsamqp.AppendReply(nil, dpsamqp.Reply{RetryAfter: 1 << 40})); err != nil || r.RetryAfter != 300 {
		t.Errorf("%+v %v", r, err)
	}
}

type busy struct{ error }

func (busy) RetryAfter() time.Duration { return 2500 * time.Millisecond }
func (b busy) Unwrap() error           { return b.error }

func TestCondition(t *testing.T) {
	for _, c := range []struct {
		err   error
		name  string
		code  float64
		retry time.Duration
	}{
		{causeway.Errorf(401002, "x", "Unauthorized"), hubamqp.Unauthorized, 401002, 0},
		{causeway.Errorf(404203, "x", "no scope"), hubamqp.NotFound, 404203, 0},
		{causeway.Errorf(400000, "x", "bad"), hubamqp.ArgumentError, 400000, 0},
		{causeway.Errorf(429001, "x", "slow"), hubamqp.Throttled, 429001, 5 * time.Second},
		{busy{causeway.Errorf(429001, "x", "slow")}, hubamqp.Throttled, 429001, 3 * time.Second},
		{causeway.Errorf(causeway.ServiceUnavailable, "x", "later"), hubamqp.InternalError, 503001, 5 * time.Second},
		{errors.New("secret"), hubamqp.InternalError, 500001, 5 * time.Second},
	} {
		got := dpsamqp.ConditionOf(c.err)
		var v map[string]any
		err := json.Unmarshal([]byte(got.Description), &v)
		if err != nil || got.Name != c.name || v["errorCode"] != c.code || v["trackingId"] != hubamqp.TrackingID(got) || dpsamqp.RetryAfter(got) != c.retry || strings.Contains(got.Description, "secret") {
			t.Errorf("%v: %+v, again after %v, %v", c.err, got, dpsamqp.RetryAfter(got), err)
		}
	}
}
