package dirblob

import (
	"path"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// FuzzPath takes names to paths and back, and compares the order of two names
// with that in which a tree is walked.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a//", "%2F", "..x", "x.", " ", "é", strings.Repeat("x", 64), strings.Repeat("x", 200) + "/y"} {
		f.Add(s, s+"!")
		f.Add(s, strings.Repeat("x", 65))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if blob.CheckName(a) != nil || blob.CheckName(b) != nil {
			return
		}
		pa, pb := blobPath(a), blobPath(b)
		if back := nameOf(t, pa); back != a {
			t.Fatalf("%q became %q, which is %q", a, pa, back)
		}
		if (pa == pb) != (a == b) || strings.HasPrefix(pa, pb+"/") {
			t.Fatalf("%q and %q became %q and %q", a, b, pa, pb)
		}
		if a != b && (order(t, pa, pb) < 0) != (a < b) {
			t.Fatalf("%q and %q are walked in another order: %q, %q", a, b, pa, pb)
		}
	})
}

// nameOf reads a path, and checks that its parts are fit for a file system.
func nameOf(t *testing.T, p string) (name string) {
	if !path.IsAbs("/"+p) || path.Clean(p) != p || strings.HasPrefix(p, "../") || len(p) > 4000 {
		t.Fatalf("%q is no clean path", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > 200 || strings.HasPrefix(part, ".") {
			t.Fatalf("%q is no file name", part)
		}
		text, kind, ok := unescape(part)
		if !ok {
			t.Fatalf("%q cannot be read", part)
		}
		if name += text; kind == entryDir {
			name += "/"
		}
	}
	return name
}

// order compares two paths as a walk does: by the keys where they part.
func order(t *testing.T, a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return strings.Compare(key(t, as[i]), key(t, bs[i]))
		}
	}
	t.Fatalf("%q is above %q", a, b)
	return 0
}

func key(t *testing.T, part string) string {
	text, kind, ok := unescape(part)
	if !ok {
		t.Fatalf("%q cannot be read", part)
	}
	if kind == entryDir {
		text += "/"
	}
	return text
}

// FuzzUnescape reads whatever somebody put into the directory.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"a%b", "%e", "%", "%2", "%2f", "x%c", "%e%c", "%%b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if text, _, ok := unescape(s); ok && len(text) > len(s) {
			t.Fatalf("%q became %q", s, text)
		}
	})
}
