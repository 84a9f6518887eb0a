package transfer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// deployments keeps configurations in memory.
type deployments map[string]deploy.Configuration

func (d deployments) List(string, int) []deploy.Configuration {
	var all []deploy.Configuration
	for _, c := range d {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b deploy.Configuration) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (d deployments) match(id, match string) error {
	old, ok := d[id]
	switch {
	case !ok:
		return causeway.Errorf(causeway.ConfigurationNotFound, "test", "none")
	case match != "*" && match != old.ETag:
		return causeway.Errorf(causeway.PreconditionFailed, "test", "another")
	}
	return nil
}

func (d deployments) Put(_ context.Context, _ string, c deploy.Configuration, match string) (deploy.Configuration, error) {
	if _, ok := d[c.ID]; match == "" && ok {
		return c, causeway.Errorf(causeway.ConfigurationAlreadyExists, "test", "there is one")
	}
	if match != "" {
		if err := d.match(c.ID, match); err != nil {
			return c, err
		}
	}
	c.ETag = fmt.Sprint(len(d))
	d[c.ID] = c
	return c, nil
}

func (d deployments) Delete(_ context.Context, _, id, match string) error {
	if err := d.match(id, match); err != nil {
		return err
	}
	delete(d, id)
	return nil
}

func TestConfigurations(t *testing.T) {
	ctx, from, to := t.Context(), deployments{}, deployments{}
	for _, c := range []deploy.Configuration{
		{ID: "a", SchemaVersion: "1.0", Labels: map[string]string{"k": "v"}, Content: []byte(`{"deviceContent":{"properties.desired.x":1}}`), TargetCondition: "*", Priority: 3, Metrics: map[string]string{"m": "SELECT COUNT() FROM devices"}, ETag: "e"},
		{ID: "b", Content: []byte(`{"moduleContent":{}}`), ETag: "f"},
	} {
		from[c.ID] = c
	}
	var lines []string
	if err := (transfer.Deployed{Deployments: from}).Export(ctx, hubName, func(line []byte) error { lines = append(lines, string(line)); return nil }); err != nil {
		t.Fatal(err)
	}
	d := transfer.Deployed{Deployments: to}
	for range 2 { // the second time they are there
		for _, line := range lines {
			if err := d.Import(ctx, hubName, []byte(line)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	for id, want := range from {
		got := to[id]
		got.ETag = want.ETag
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, x := range []struct {
		line string
		code causeway.Code
	}{
		{`{"id":"a","importMode":"create"}`, causeway.ConfigurationAlreadyExists},
		{`{"id":"c","importMode":"Update"}`, causeway.ConfigurationNotFound},
		{`{"id":"a","importMode":"updateIfMatchETag","etag":"stale"}`, causeway.PreconditionFailed},
		{`{"id":"a","importMode":"createOrUpdateIfMatchETag","etag":"stale"}`, causeway.PreconditionFailed},
		{`{"id":"a","importMode":"deleteIfMatchETag","etag":"stale"}`, causeway.PreconditionFailed},
		{`{"id":"a","importMode":"updateTwin"}`, causeway.ArgumentInvalid},
		{`{"id":"a","contentType":"x"}`, causeway.ArgumentInvalid},
		{`{"id":1}`, causeway.DeserializationError},
		{"\xff", causeway.DeserializationError},
		{`{"id":"a","importMode":"delete"}`, 0},
	} {
		if err := d.Import(ctx, hubName, []byte(x.line)); causeway.CodeOf(err) != x.code {
			t.Errorf("%s: %v, want %v", x.line, err, x.code)
		}
	}
	if _, ok := to["a"]; ok {
		t.Error("a is still there")
	}
}
