// Package storetest is the contract of [registry.Store] as tests: every driver
// is held to it. It also has a store in memory for the tests of others, which is
// held to it as well.
//
// It knows nothing of any driver; a driver hands in how to open one.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Run holds the stores that open returns to the contract. Each call of open
// returns an empty store of its own, closed by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) registry.Store) {
	t.Helper()
	for _, c := range slices.Concat(reading, writing, configuring, querying, agreeing, racing) {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// RunDurable holds a durable driver to the contract that what a writing method
// acknowledged survives. Open returns an empty store and a function that closes
// it, or better: abandons it as a crash would, and opens its data again.
func RunDurable(t *testing.T, open func(t *testing.T) (s registry.Store, reopen func(t *testing.T) registry.Store)) {
	t.Helper()
	for _, c := range durable {
		t.Run(c.name, func(t *testing.T) {
			s, reopen := open(t)
			c.test(t, s, reopen)
		})
	}
}

type contractCase struct {
	name string
	test func(t *testing.T, s registry.Store)
}

type durableCase struct {
	name string
	test func(t *testing.T, s registry.Store, reopen func(t *testing.T) registry.Store)
}

// The hubs of the tests.
const (
	hub   = "hub-a"
	other = "hub-b"
)

func dev(id string) causeway.Identity { return causeway.Identity{Hub: hub, Device: id} }

func mod(device, id string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: device, Module: id}
}

// at is a time with microseconds, the least that stores keep.
var at = time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)

// record returns a record with something in every field that id may have.
func record(id causeway.Identity) registry.Record {
	r := registry.Record{
		ID: id, GenerationID: "638400000000000001", ETag: "NzY0MQ==",
		Enabled: true, StatusReason: "fresh — новый \" ' \\ %", StatusUpdated: at, Created: at.Add(-time.Hour),
		Auth: registry.Authentication{
			Type: auth.SAS, Primary: "v1:sealed/primary+=", Secondary: "v1:sealed/secondary+=",
			PrimaryThumb: "0123456789abcdef0123456789ABCDEF01234567", SecondThumb: "",
		},
		Twin: registry.Twin{
			Version: 2, ETag: 1, ModelID: "dtmi:com:example:Thing;1",
			Tags: []byte(`{"site":"Köln","n":1.0}`),
			Desired: registry.Section{
				Properties: []byte(`{"interval":1e3}`), Version: 1,
				Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":1,"interval":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":1}}`),
			},
			Reported: registry.Section{
				Properties: []byte(`{}`), Version: 1,
				Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}`),
			},
		},
	}
	if id.IsModule() {
		r.ManagedBy = registry.ManagedByEdge
	} else {
		r.Edge = true
		r.DeviceScope = "ms-azure-iot-edge://" + id.Device + "-638400000000000001"
		r.ParentScopes = []string{"ms-azure-iot-edge://parent-638400000000000000"}
	}
	return r
}

// equal compares records as the contract does: times by their instant, nothing
// and an empty list or text as the same.
func equal(t *testing.T, got, want registry.Record) {
	t.Helper()
	differ(t, want.ID.String(), reflect.ValueOf(got), reflect.ValueOf(want))
	for _, at := range []time.Time{got.StatusUpdated, got.Created, got.ConnectionStateUpdated, got.LastActivity} {
		if at.Location() != time.UTC {
			t.Errorf("a time of %s is in %s, want UTC", want.ID, at.Location())
		}
	}
}

// differ reports every field in which two values differ.
func differ(t *testing.T, path string, got, want reflect.Value) {
	t.Helper()
	if at, ok := want.Interface().(time.Time); ok {
		if now := got.Interface().(time.Time); !now.Equal(at) {
			t.Errorf("%s is %v, want %v", path, now, at)
		}
		return
	}
	switch want.Kind() {
	case reflect.Struct:
		for i := range want.NumField() {
			differ(t, path+"."+want.Type().Field(i).Name, got.Field(i), want.Field(i))
		}
	case reflect.Map:
		if got.Len()+want.Len() > 0 && !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	case reflect.Slice:
		if got.Len()+want.Len() > 0 && !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Errorf("%s is %s, want %s", path, shorten(got.Interface()), shorten(want.Interface()))
		}
	case reflect.String: // not by its String method, which hides secrets
		if got.String() != want.String() {
			t.Errorf("%s is %q, want %q", path, got.String(), want.String())
		}
	default:
		if !got.Equal(want) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

// shorten prints a list or a document, the beginning of a long one.
func shorten(v any) string {
	s := fmt.Sprintf("%q", v)
	if len(s) > 500 {
		return fmt.Sprintf("%s… (%d bytes)", s[:500], len(s))
	}
	return s
}

func wantCode(t *testing.T, err error, want causeway.Code) {
	t.Helper()
	if got := causeway.CodeOf(err); got != want {
		t.Errorf("error %v has code %s, want %s", err, got, want)
	}
}

func mustCreate(t *testing.T, s registry.Store, recs ...registry.Record) {
	t.Helper()
	if err := s.Create(t.Context(), recs...); err != nil {
		t.Fatalf("create: %v", err)
	}
}

func mustGet(t *testing.T, s registry.Store, id causeway.Identity) registry.Record {
	t.Helper()
	r, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("get %s: %v", id, err)
	}
	return r
}

func mustModules(t *testing.T, s registry.Store, id causeway.Identity) []string {
	t.Helper()
	recs, err := s.Modules(t.Context(), id)
	if err != nil {
		t.Fatalf("modules of %s: %v", id, err)
	}
	var names []string
	for _, r := range recs {
		if r.ID.Parent() != id {
			t.Errorf("module %s listed under %s", r.ID, id)
		}
		names = append(names, r.ID.Module)
	}
	return names
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// walk lists all devices of a hub in pages.
func walk(t *testing.T, s registry.Store, hub string, page int) (ids []string) {
	t.Helper()
	for after := ""; ; {
		recs, err := s.List(t.Context(), hub, after, page)
		if err != nil {
			t.Fatalf("list after %q: %v", after, err)
		}
		if len(recs) > page {
			t.Fatalf("list returned %d records, asked for %d", len(recs), page)
		}
		for _, r := range recs {
			if r.ID.Device <= after {
				t.Fatalf("list after %q returned %q", after, r.ID.Device)
			}
			if r.ID.Hub != hub || r.ID.IsModule() {
				t.Fatalf("list of devices of %s returned %+v", hub, r.ID)
			}
			ids = append(ids, r.ID.Device)
			after = r.ID.Device
		}
		if len(recs) < page {
			return ids
		}
	}
}

// oddIDs are every character an id may have, in places where a store that is
// careless about case, wildcards, quoting or order goes wrong.
func oddIDs() []string {
	long := string(bytes.Repeat([]byte("x"), causeway.MaxIDLength))
	return []string{
		"a", "A", "aa", "aA", "Aa", "ab", "a-b", "a.b", "a_b", "a%b", "a%25b", "a*b", "a?b", "a!b",
		"a(b)", "a,b", "a:b", "a=b", "a@b", "a$b", "a'b", "a''b", "'; DROP TABLE devices; --",
		"$a", "%", "_", "*", "#", "+", "0", "00", "10", "2", "-1", "1e3", "null", "true", long, long[:127],
	}
}

// insist returns once cond holds of the store's answer or reports that it does
// not before the deadline; for effects that a contract lets come late.
func insist(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// Sealer is a registry.Sealer for tests: it hides nothing, but a key that was
// sealed for one place does not open in another, and plain text does not open.
type Sealer struct{}

var _ registry.Sealer = Sealer{}

// Seal implements [registry.Sealer].
func (Sealer) Seal(plain causeway.Secret, bind string) (causeway.Secret, error) {
	return causeway.Secret(fmt.Sprintf("sealed(%s)%s", bind, string(plain))), nil
}

// Open implements [registry.Sealer].
func (Sealer) Open(sealed causeway.Secret, bind string) (causeway.Secret, error) {
	prefix := fmt.Sprintf("sealed(%s)", bind)
	if len(sealed) < len(prefix) || string(sealed[:len(prefix)]) != prefix {
		return "", errors.New("the text was not sealed for this place")
	}
	return sealed[len(prefix):], nil
}
