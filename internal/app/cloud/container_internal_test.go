package cloud

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/plugin"
)

// What an endpoint writes replaces what it wrote of the same, and nothing else.
func TestContainer(t *testing.T) {
	s, err := dirblob.Open(t.TempDir(), dirblob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	c := container{s, "telemetry"} // which is not there yet
	holds := func(name, want string) {
		t.Helper()
		r, a, err := s.Container("telemetry").Get(ctx, name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if b, err := io.ReadAll(r); err != nil || string(b) != want || a.ContentType != "avro/binary" {
			t.Errorf("%s holds %q of type %q (%v), want %q", name, b, a.ContentType, err, want)
		}
	}
	put := func(name, of, text string) error {
		return c.Put(ctx, name, "avro/binary", of, strings.NewReader(text))
	}
	for _, text := range []string{"one", "one and more"} {
		if err := put("a", "1", text); err != nil {
			t.Fatal(err)
		}
		holds("a", text)
	}
	if err := put("a", "2", "other"); !errors.Is(err, plugin.ErrTaken) {
		t.Errorf("a name that is taken: %v", err)
	}
	holds("a", "one and more")
	own := blob.Options{Properties: blob.Properties{ContentType: "avro/binary"}}
	if _, err := s.Container("telemetry").Put(ctx, "b", strings.NewReader("of an operator"), own); err != nil {
		t.Fatal(err)
	}
	if err := put("b", "1", "one"); !errors.Is(err, plugin.ErrTaken) {
		t.Errorf("a blob of somebody else: %v", err)
	}
	holds("b", "of an operator")
}
