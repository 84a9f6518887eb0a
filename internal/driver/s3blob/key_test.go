package s3blob

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// FuzzKey keeps names apart, in order, and fit for a key.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a.b", "a b", " ", "~", "é", "a~", strings.Repeat("x", 198), strings.Repeat("x", 200), strings.Repeat("é/", 300)} {
		f.Add(s, s+"!")
		f.Add(s, s+" ")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if blob.CheckName(a) != nil || blob.CheckName(b) != nil {
			return
		}
		ka, kb := keyOf(a), keyOf(b)
		if (ka == kb) != (a == b) || strings.HasPrefix(ka, kb+"/") {
			t.Fatalf("%q and %q became %q and %q", a, b, ka, kb)
		}
		if long := max(len(escape(a)), len(escape(b))) > maxEscaped; !long && (ka < kb) != (a < b) {
			t.Fatalf("%q and %q are in another order: %q, %q", a, b, ka, kb)
		}
		if len(ka) > 900 {
			t.Fatalf("%q became %d bytes", a, len(ka))
		}
		for part := range strings.SplitSeq(ka, "/") {
			if len(part) > 255 || part == "" || part == "." || part == ".." {
				t.Fatalf("%q became %q", a, ka)
			}
		}
		if strings.HasPrefix(b, a) && !strings.HasPrefix(kb, keyPrefix(a)) {
			t.Fatalf("%q begins with %q, its key %q not with %q", b, a, kb, keyPrefix(a))
		}
	})
}
