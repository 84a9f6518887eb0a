package query_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
)

// FuzzToken: whatever token a client sends is refused or goes on somewhere.
func FuzzToken(f *testing.F) {
	s := query.New(query.Options{Registry: storetest.NewMemory()})
	f.Add("SELECT * FROM devices", "")
	f.Add("SELECT * FROM devices", "AAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text, token string) {
		_, err := s.Query(t.Context(), "hub", text, 1, token)
		if code := causeway.CodeOf(err); err != nil && code != causeway.ArgumentInvalid && code != causeway.ArgumentNull {
			t.Fatalf("%q with %q: %v", text, token, err)
		}
	})
}
