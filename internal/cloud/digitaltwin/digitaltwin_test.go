package digitaltwin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/digitaltwin"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

// plain is a sealer that seals nothing.
type plain struct{}

func (plain) Seal(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }
func (plain) Open(s causeway.Secret, _ string) (causeway.Secret, error) { return s, nil }

// published keeps what is published, as long as it is wanted.
type published struct {
	unwanted bool
	fail     error
	got      []causeway.Message
}

func (p *published) Publish(_ context.Context, hub string, m causeway.Message) error {
	if p.fail != nil {
		return p.fail
	}
	m.Properties = append([]causeway.Property{{Key: "hub", Value: hub}}, m.Properties...)
	p.got = append(p.got, m)
	return nil
}

func (p *published) Wants(string, string) bool { return !p.unwanted }

func TestEvents(t *testing.T) {
	ctx := t.Context()
	p := &published{}
	s := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: plain{}})
	s.Observe(&digitaltwin.Events{Publisher: p})
	id := causeway.Identity{Hub: "plant", Device: "d"}
	if _, err := s.Create(ctx, registry.Record{ID: id, Enabled: true}); err != nil {
		t.Fatal(err)
	}
	report := func(text string) {
		t.Helper()
		if _, err := s.Report(ctx, id, causeway.Patch{Properties: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	report(`{"a":1}`)
	if len(p.got) != 0 {
		t.Fatalf("a device without a model made %d events", len(p.got))
	}
	if err := s.SetModel(ctx, id, "dtmi:a;1"); err != nil {
		t.Fatal(err)
	}
	report(`{"a":2}`)
	if _, err := s.UpdateTwin(ctx, id, registry.TwinUpdate{Desired: []byte(`{"th":{"__t":"c","t":21}}`)}, "*"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateTwin(ctx, id, registry.TwinUpdate{Tags: []byte(`{"x":1}`)}, "*"); err != nil {
		t.Fatal(err)
	}
	if len(p.got) != 2 {
		t.Fatalf("%d events: %+v", len(p.got), p.got)
	}
	m := p.got[1]
	if string(m.Body) != `[{"op":"add","path":"/th/$metadata/t","value":{"desiredValue":21,"desiredVersion":2}}]` {
		t.Errorf("body %s", m.Body)
	}
	if !strings.Contains(string(p.got[0].Body), `{"op":"add","path":"/a","value":2}`) {
		t.Errorf("body %s", p.got[0].Body)
	}
	if m.Source != causeway.SourceDigitalTwin || m.From != id || m.ModelID != "dtmi:a;1" || m.ContentType != "application/json-patch+json" {
		t.Errorf("event %+v", m)
	}
	for key, want := range map[string]string{"hub": "plant", "hubName": "plant", "deviceId": "d", "opType": "updateDigitalTwin"} {
		if v, _ := m.Property(key); v != want {
			t.Errorf("%s is %q, want %q", key, v, want)
		}
	}
	p.unwanted = true
	report(`{"a":3}`)
	if len(p.got) != 2 {
		t.Errorf("an event that nobody wants was made")
	}
	p.unwanted, p.fail = false, errors.New("log full")
	if _, err := s.Report(ctx, id, causeway.Patch{Properties: []byte(`{"a":4}`)}); !errors.Is(err, p.fail) {
		t.Errorf("a change whose event was lost: %v", err)
	}
}
