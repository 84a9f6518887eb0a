package hubtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

func testSendStamps(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	cred.ModelID = "dtmi:com:example:Thermostat;1"
	s := w.connect(t, cred, NewRecorder())
	before := time.Now().Add(-time.Second)
	sent := causeway.Message{
		Body: []byte(`{"t":21}`), ID: "m-1", CorrelationID: "c-1", UserID: "u", To: "somewhere",
		ContentType: "application/json", ContentEncoding: "utf-8", CreationTime: "2024-01-01T00:00:00Z",
		Schema: "s", InterfaceID: "urn:if", Component: "thermostat1", DiagnosticID: "0123", DiagnosticCtx: "creationtimeutc=1",
		Properties: []causeway.Property{
			{Key: "level", Value: "high"},
			{Key: "empty", Value: ""},
			{Key: "level", Value: "again"},
			{Key: "iothub-connection-device-id", Value: "forged"},
			{Key: "iothub-enqueuedtime", Value: "forged"},
			{Key: "iothub-message-source", Value: "forged"},
		},
		From: causeway.Identity{Hub: "forged", Device: "forged"}, Auth: "forged", GenerationID: "forged",
		Enqueued: time.Unix(0, 0), Source: "forged", ModelID: "forged", DeliveryCount: 7, Lock: causeway.LockToken{7},
	}
	if err := s.Send(t.Context(), sent); err != nil {
		t.Fatalf("send: %v", err)
	}
	all := w.Telemetry(t, "d1")
	if len(all) != 1 {
		t.Fatalf("%d messages are stored, want 1", len(all))
	}
	got := all[0]
	wantAuth := causeway.AuthMethod{Scope: causeway.ScopeDevice, Type: "sas"}.JSON()
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"body", string(got.Body), string(sent.Body)},
		{"id", got.ID, sent.ID},
		{"correlation id", got.CorrelationID, sent.CorrelationID},
		{"user id", got.UserID, sent.UserID},
		{"to", got.To, sent.To},
		{"content type", got.ContentType, sent.ContentType},
		{"content encoding", got.ContentEncoding, sent.ContentEncoding},
		{"creation time", got.CreationTime, sent.CreationTime},
		{"schema", got.Schema, sent.Schema},
		{"interface", got.InterfaceID, sent.InterfaceID},
		{"component", got.Component, sent.Component},
		{"diagnostic id", got.DiagnosticID, sent.DiagnosticID},
		{"diagnostic context", got.DiagnosticCtx, sent.DiagnosticCtx},
		{"sender", got.From, s.Identity()},
		{"auth method", got.Auth, wantAuth},
		{"source", got.Source, causeway.SourceTelemetry},
		{"model", got.ModelID, cred.ModelID},
		{"delivery count", got.DeliveryCount, 0},
		{"lock", got.Lock, causeway.LockToken{}},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	if !slices.Equal(got.Properties, sent.Properties[:3]) {
		t.Errorf("application properties are %v, want the first three of %v", got.Properties, sent.Properties)
	}
	if got.GenerationID == "" || got.GenerationID == "forged" {
		t.Errorf("generation id is %q", got.GenerationID)
	}
	if got.Enqueued.Before(before) || got.Enqueued.After(time.Now().Add(time.Second)) {
		t.Errorf("enqueued at %v, sent after %v", got.Enqueued, before)
	}
}

func testSendBorrows(t *testing.T, w *world) {
	s, _, _ := w.device(t, "d1", 0)
	body := []byte("first")
	props := []causeway.Property{{Key: "k", Value: "v1"}}
	if err := s.Send(t.Context(), causeway.Message{Body: body, Properties: props}); err != nil {
		t.Fatalf("send: %v", err)
	}
	copy(body, "XXXXX")
	props[0].Value = "v2"
	got := w.Telemetry(t, "d1")
	if len(got) != 1 || string(got[0].Body) != "first" || got[0].Properties[0].Value != "v1" {
		t.Errorf("what was sent changed with the caller's buffer: %+v", got)
	}
}

func testSendTooLarge(t *testing.T, w *world) {
	s, r, _ := w.device(t, "d1", 0)
	small := causeway.Message{Body: []byte("small")}
	exact := causeway.Message{
		Body:       make([]byte, causeway.MaxMessageSize-10),
		Properties: []causeway.Property{{Key: "12345", Value: "67890"}},
	}
	over := exact
	over.ID = "1"
	WantCode(t, s.Send(t.Context(), small, over), causeway.MessageTooLarge)
	if got := w.Telemetry(t, "d1"); len(got) != 0 {
		t.Errorf("%d messages of a refused batch are stored", len(got))
	}
	if err := s.Send(t.Context(), exact); err != nil {
		t.Errorf("a message of exactly the limit: %v", err)
	}
	long := causeway.Message{ID: strings.Repeat("i", causeway.MaxMessageID+1)}
	WantCode(t, s.Send(t.Context(), long), causeway.ArgumentInvalid)
	WantCode(t, s.Send(t.Context()), 0)
	r.Alive(t)
}

func testSendOrder(t *testing.T, w *world) {
	s, _, _ := w.device(t, "d1", 0)
	const batches, size = 20, 7
	for b := range batches {
		var bodies []string
		for i := range size {
			bodies = append(bodies, fmt.Sprint(b*size+i))
		}
		send(t, s, bodies...)
	}
	got := w.Telemetry(t, "d1")
	if len(got) != batches*size {
		t.Fatalf("%d messages are stored, want %d", len(got), batches*size)
	}
	for i, m := range got {
		if string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
}
