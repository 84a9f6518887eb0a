package dirblob_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
)

// TestReserve leaves the reserve of the file system alone.
func TestReserve(t *testing.T) {
	w := newWorld(t, t.TempDir(), dirblob.Options{})
	w.put("x", "old", blob.Options{})
	w.put("log", "old", blob.Options{Kind: blob.Append})
	s := open(t, w.dir, dirblob.Options{ReserveBytes: math.MaxInt64})
	full(t, s.Container("first"))
	if err := s.Create(t.Context(), "second"); !errors.Is(err, blob.ErrFull) {
		t.Errorf("Create: %v", err)
	}
	w.holds("x", "old")
	w.holds("log", "old")
	// Room can be made.
	if err := s.Container("first").Delete(t.Context(), "x", nil); err != nil {
		t.Errorf("Delete: %v", err)
	}
}

// full checks that everything that writes is refused.
func full(t *testing.T, b blob.Bucket) {
	t.Helper()
	ctx := t.Context()
	content := strings.Repeat("much ", 100_000)
	_, err := b.Put(ctx, "x", strings.NewReader(content), blob.Options{})
	refused(t, "Put", err)
	_, err = b.Append(ctx, "log", []byte(content), -1, nil)
	refused(t, "Append", err)
	refused(t, "Stage", b.Stage(ctx, "x", "AAAA", strings.NewReader(content), nil))
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, blob.ErrFull) {
		t.Errorf("%s: %v, want %v", what, err, blob.ErrFull)
	}
}
