package blobtest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

func (s *suite) replace() {
	first := s.write("x", "one", blob.Options{Properties: blob.Properties{ContentType: "a/b"}})
	r, _, err := s.bucket.Get(s.Context(), "x", 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	second := s.write("x", "another", blob.Options{})
	if first.ETag == second.ETag {
		s.Error("both versions have the same etag")
	}
	if a := s.holds("x", "another"); a.ContentType != "" {
		s.Errorf("the new version has the old content type: %+v", a)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(b) != "one" {
		s.Errorf("a reader of the old version got %q, %v", b, err)
	}
	// Kinds may change.
	s.write("x", "", blob.Options{Kind: blob.Append})
	if a := s.holds("x", ""); a.Kind != blob.Append {
		s.Errorf("kind: %+v", a)
	}
	s.write("x", "block", blob.Options{})
	if a := s.holds("x", "block"); a.Kind != blob.Block {
		s.Errorf("kind: %+v", a)
	}
}

func (s *suite) ranges() {
	s.write("x", "0123456789", blob.Options{})
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}, {9, 100, "9"}, {4, -1, "456789"}, {4, 0, ""}, {0, 1 << 60, "0123456789"}} {
		if got, a := s.read("x", c.off, c.n); got != c.want || a.Size != 10 {
			s.Errorf("Get(%d, %d) = %q of %d bytes, want %q", c.off, c.n, got, a.Size, c.want)
		}
	}
	for _, off := range []int64{10, 11, -1} {
		_, _, err := s.bucket.Get(s.Context(), "x", off, 1)
		s.refused(fmt.Sprintf("Get at %d", off), err, blob.ErrRange)
	}
	_, _, err := s.bucket.Get(s.Context(), "y", 0, -1)
	s.refused("Get of what is not there", err, blob.ErrNotFound)
}

// oddNames are allowed, and each means another blob.
var oddNames = []string{
	"a", "a/b", "a/b/c", "a/", "a//", "/", "/a", "//", "A", "a b", " a ", "a.", ".a", "...", "a%b", "a%25b", "a%2fb", "%b", "a%b%b", "a%c", "%e",
	`a\b`, "a:b", "a*b", "a?b", "a|b", "a<b>c", `a"b`, "a&b", "a+b", "a=b", "a#b", "a~b", "ä", "日本語/ファイル", "\U0001F600", "con", "nul.txt", "a\u200db",
	strings.Repeat("x", 63), strings.Repeat("x", 64), strings.Repeat("x", 64) + "/y", strings.Repeat("x", 65), strings.Repeat("x", 128), strings.Repeat("x", 1024),
	strings.Repeat("é", 512), strings.Repeat("a/", 253) + "b", strings.Repeat("/", 253), strings.Repeat("x", 63) + "é", strings.Repeat("x", 64) + "!", "tmp", "tree", ".new-1",
}

func (s *suite) names() {
	for i, n := range oddNames {
		s.write(n, fmt.Sprint(i), blob.Options{})
	}
	for i, n := range oddNames {
		s.holds(n, fmt.Sprint(i))
	}
	want := slices.Sorted(slices.Values(oddNames))
	s.listed("", "", 1000, want...)
	for _, n := range oddNames {
		if err := s.bucket.Delete(s.Context(), n, nil); err != nil {
			s.Errorf("Delete(%q): %v", n, err)
		}
	}
	s.listed("", "", 1000)
}

// badNames are no names of blobs.
var badNames = []string{
	"", ".", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "a\x00b", "a\nb", "a\x7fb", "\xff", "a\xc3", "\ufffe",
	strings.Repeat("x", 1025), strings.Repeat("a/", 254) + "b",
}

func (s *suite) badNames() {
	ctx := s.Context()
	for _, n := range badNames {
		_, err := s.bucket.Put(ctx, n, strings.NewReader("x"), blob.Options{})
		s.refused(fmt.Sprintf("Put(%q)", n), err, blob.ErrName)
		_, _, err = s.bucket.Get(ctx, n, 0, -1)
		s.refused(fmt.Sprintf("Get(%q)", n), err, blob.ErrName)
		s.refused(fmt.Sprintf("Delete(%q)", n), s.bucket.Delete(ctx, n, nil), blob.ErrName)
		s.refused(fmt.Sprintf("Stage(%q)", n), s.bucket.Stage(ctx, n, "AAAA", strings.NewReader("x"), nil), blob.ErrName)
		_, err = s.bucket.Append(ctx, n, nil, -1, nil)
		s.refused(fmt.Sprintf("Append(%q)", n), err, blob.ErrName)
	}
	s.listed("", "", 10)
	s.listed("../", "", 10)
	s.listed("", "\xff\xff", 10)
}

func (s *suite) failingReader() {
	s.write("x", "old", blob.Options{})
	lost := errors.New("connection lost")
	_, err := s.bucket.Put(s.Context(), "x", broken("new", lost), blob.Options{})
	s.refused("Put of a reader that fails", err, lost)
	_, err = s.bucket.Put(s.Context(), "y", broken("new", io.ErrUnexpectedEOF), blob.Options{})
	s.refused("Put of a reader that ends early", err, io.ErrUnexpectedEOF)
	s.refused("Stage of a reader that fails", s.bucket.Stage(s.Context(), "x", "AAAA", broken("b", lost), nil), lost)
	s.holds("x", "old")
	s.absent("y")
	_, staged, err := s.bucket.Blocks(s.Context(), "x")
	if err != nil || len(staged) != 0 {
		s.Errorf("Blocks = %v, %v", staged, err)
	}
}

func (s *suite) sums() {
	s.write("x", "old", blob.Options{Sum: sum("old")})
	_, err := s.bucket.Put(s.Context(), "x", strings.NewReader("new"), blob.Options{Sum: sum("other")})
	s.refused("Put with a wrong sum", err, blob.ErrSum)
	s.refused("Stage with a wrong sum", s.bucket.Stage(s.Context(), "x", "AAAA", strings.NewReader("b"), sum("c")), blob.ErrSum)
	s.holds("x", "old")
}

func (s *suite) tooLarge() {
	s.write("x", "12345", blob.Options{Limit: 5})
	_, err := s.bucket.Put(s.Context(), "x", strings.NewReader("123456"), blob.Options{Limit: 5})
	s.refused("Put of too much", err, blob.ErrTooLarge)
	s.holds("x", "12345")
}

func (s *suite) checks() {
	ctx := s.Context()
	put := func(name, content string, check blob.Check) error {
		_, err := s.bucket.Put(ctx, name, strings.NewReader(content), blob.Options{Check: check})
		return err
	}
	if err := put("x", "one", blob.Absent); err != nil {
		s.Fatal(err)
	}
	s.refused("Put of an absent one", put("x", "two", blob.Absent), blob.ErrExists)
	s.refused("Put of another version", put("x", "two", blob.Unchanged("0x0")), blob.ErrCondition)
	s.refused("Put of a version of nothing", put("y", "two", blob.Unchanged("0x0")), blob.ErrCondition)
	s.refused("Delete of another version", s.bucket.Delete(ctx, "x", blob.Unchanged("0x0")), blob.ErrCondition)
	_, err := s.bucket.Set(ctx, "x", func(*blob.Properties) {}, blob.Unchanged("0x0"))
	s.refused("Set of another version", err, blob.ErrCondition)
	_, err = s.bucket.Commit(ctx, "x", nil, blob.Options{Check: blob.Absent})
	s.refused("Commit of an absent one", err, blob.ErrExists)
	a := s.holds("x", "one")
	if err := put("x", "two", blob.Unchanged(a.ETag)); err != nil {
		s.Error(err)
	}
	a = s.holds("x", "two")
	if err := s.bucket.Delete(ctx, "x", blob.Unchanged(a.ETag)); err != nil {
		s.Error(err)
	}
	s.absent("x")
	s.absent("y")
}

// checkRace lets many make the same blob, each only if it is not there.
func (s *suite) checkRace() {
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.bucket.Put(s.Context(), "deep/down/x", strings.NewReader(fmt.Sprint(i)), blob.Options{Check: blob.Absent})
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, blob.ErrExists) {
				s.Errorf("Put: %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		s.Errorf("%d made the blob, want 1", won.Load())
	}
}

func (s *suite) delete() {
	ctx := s.Context()
	s.refused("Delete of what is not there", s.bucket.Delete(ctx, "x", nil), blob.ErrNotFound)
	// Blobs come and go in the same directory.
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				name := fmt.Sprintf("a/b/%d", i)
				if _, err := s.bucket.Put(ctx, name, strings.NewReader("x"), blob.Options{}); err != nil {
					s.Errorf("Put: %v", err)
				}
				if err := s.bucket.Delete(ctx, name, nil); err != nil {
					s.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s.listed("", "", 10)
	s.write("x", "old", blob.Options{})
	if err := s.bucket.Stage(ctx, "x", "AAAA", strings.NewReader("b"), nil); err != nil {
		s.Fatal(err)
	}
	if err := s.bucket.Delete(ctx, "x", nil); err != nil {
		s.Fatal(err)
	}
	_, _, err := s.bucket.Blocks(ctx, "x")
	s.refused("Blocks of what was deleted", err, blob.ErrNotFound)
}

func (s *suite) set() {
	ctx := s.Context()
	change := func(p *blob.Properties) {
		p.ContentType = "text/csv"
		if p.Metadata == nil {
			p.Metadata = map[string]string{}
		}
		p.Metadata["n"] = "1"
	}
	_, err := s.bucket.Set(ctx, "x", change, nil)
	s.refused("Set of what is not there", err, blob.ErrNotFound)
	before := s.write("x", "content", blob.Options{Properties: blob.Properties{CacheControl: "no-cache"}})
	after, err := s.bucket.Set(ctx, "x", change, nil)
	if err != nil {
		s.Fatal(err)
	}
	a := s.holds("x", "content")
	if a.ContentType != "text/csv" || a.CacheControl != "no-cache" || a.Metadata["n"] != "1" || a.ETag == before.ETag || a.ETag != after.ETag {
		s.Errorf("attributes: %+v", a)
	}
	s.write("log", "", blob.Options{Kind: blob.Append})
	s.grow("log", "one")
	if _, err := s.bucket.Set(ctx, "log", change, nil); err != nil {
		s.Fatal(err)
	}
	s.grow("log", "two")
	if a := s.holds("log", "onetwo"); a.ContentType != "text/csv" || a.Parts != 2 {
		s.Errorf("attributes: %+v", a)
	}
}

func (s *suite) list() {
	for _, n := range []string{"a", "a-", "a/1", "a/2", "a/b/3", "a0", "b", "b/", "c/1"} {
		s.write(n, n, blob.Options{Properties: blob.Properties{ContentType: "t/" + n[:1], Metadata: map[string]string{"n": "1"}}})
	}
	s.listed("", "", 100, "a", "a-", "a/1", "a/2", "a/b/3", "a0", "b", "b/", "c/1")
	s.listed("", "", 2, "a", "a-")
	s.listed("", "a-", 2, "a/1", "a/2")
	s.listed("a/", "", 100, "a/1", "a/2", "a/b/3")
	s.listed("a/", "a/1", 1, "a/2")
	s.listed("", "a/\xff", 2, "a0", "b")
	s.listed("a", "", 100, "a", "a-", "a/1", "a/2", "a/b/3", "a0")
	s.listed("a/b/3", "", 100, "a/b/3")
	s.listed("a/b/3/", "", 100)
	s.listed("x", "", 100)
	s.listed("", "c/1", 100)
	s.listed("", "", 0)
	all, err := s.bucket.List(s.Context(), "c", "", 1)
	if err != nil || len(all) != 1 {
		s.Fatalf("List = %v, %v", all, err)
	}
	if diff := cmp.Diff(s.holds("c/1", "c/1"), all[0], cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("List differs from Head (-head +list):\n%s", diff)
	}
}

// listModel compares pages with what a sorted list of names would give.
func (s *suite) listModel() {
	rng := rand.New(rand.NewPCG(3, 5)) //nolint:gosec // a test
	names := map[string]bool{}
	alphabet := []string{"/", "/", "!", "-", ".x", "0", "a", "b", "é", "~", strings.Repeat("y", 32)}
	for len(names) < 60 {
		var b strings.Builder
		for range 1 + rng.IntN(7) {
			b.WriteString(alphabet[rng.IntN(len(alphabet))])
		}
		if blob.CheckName(b.String()) == nil {
			names[b.String()] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	for _, n := range sorted {
		s.write(n, "x", blob.Options{})
	}
	for range 200 {
		after, prefix := "", ""
		if n := sorted[rng.IntN(len(sorted))]; rng.IntN(3) > 0 {
			after = n[:rng.IntN(len(n)+1)]
		}
		if n := sorted[rng.IntN(len(sorted))]; rng.IntN(2) > 0 {
			prefix = n[:rng.IntN(len(n)+1)]
		}
		limit := 1 + rng.IntN(12)
		var want []string
		for _, n := range sorted {
			if n > after && strings.HasPrefix(n, prefix) && len(want) < limit {
				want = append(want, n)
			}
		}
		s.listed(prefix, after, limit, want...)
	}
}
