package bulk_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/bulk"
)

func TestParseMode(t *testing.T) {
	for m := bulk.CreateOrUpdate; m <= bulk.UpdateTwinIfMatchETag; m++ {
		for _, s := range []string{m.String(), strings.ToUpper(m.String()), strings.ToLower(m.String())} {
			if got, ok := bulk.ParseMode(s); !ok || got != m {
				t.Errorf("%q is %v, %v, want %v", s, got, ok, m)
			}
		}
	}
	if m, ok := bulk.ParseMode(""); !ok || m != bulk.CreateOrUpdate {
		t.Errorf("no mode is %v, %v", m, ok)
	}
	if m, ok := bulk.ParseMode("create "); ok {
		t.Errorf("a mode with a blank is %v", m)
	}
}

func TestParseTooLarge(t *testing.T) {
	it := bulk.Parse([]byte(`{"id":"a","tags":{"a":"` + strings.Repeat("x", bulk.MaxItem) + `"}}`))
	if causeway.CodeOf(it.Err) != causeway.GenericRequestEntityTooLarge {
		t.Errorf("error %v", it.Err)
	}
}

// FuzzParse: whatever an item holds, it either has a valid id or an error with a
// code that is the client's fault.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"id":"a","moduleId":"m","eTag":"W/\"MQ==\"","importMode":"updateTwinIfMatchETag","twinETag":"AAAAAAAAAAE="}`,
		`{"id":"a","status":"enabled","authentication":{"type":"sas","symmetricKey":{"primaryKey":null}},"tags":null,"properties":{"desired":{"$metadata":{}},"reported":null}}`,
		`[]`, `null`, `{"id":null}`, `{"ID":"x","Etag":1}`, "{\"id\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		it := bulk.Parse(data)
		if it.Err != nil {
			if s := causeway.CodeOf(it.Err).HTTPStatus(); s < 400 || s > 499 || causeway.MessageOf(it.Err) == "" {
				t.Fatalf("%q: %v", data, it.Err)
			}
			return
		}
		if it.Device == "" || len(it.Device) > causeway.MaxIDLength || len(it.Module) > causeway.MaxIDLength {
			t.Fatalf("%q has the ids %q and %q", data, it.Device, it.Module)
		}
	})
}
