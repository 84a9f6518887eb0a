// Package blobtest is the contract of a blob store, as tests that every driver
// passes.
//
// It knows the port of package blob and no driver.
package blobtest

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum of the Blob service
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

// Open returns a store. One opened again with the same dir, a directory of the
// test's own, is the same store. The test closes none: Open does, by t.Cleanup
// or before it opens the dir again.
type Open func(t *testing.T, dir string) blob.Store

// Run holds the stores that open returns to the contract of blob.Store.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Containers", (*suite).containers},
		{"NoContainer", (*suite).noContainer},
		{"Put", (*suite).put},
		{"Properties", (*suite).properties},
		{"Replace", (*suite).replace},
		{"Ranges", (*suite).ranges},
		{"Names", (*suite).names},
		{"BadNames", (*suite).badNames},
		{"FailingReader", (*suite).failingReader},
		{"Sums", (*suite).sums},
		{"TooLarge", (*suite).tooLarge},
		{"Checks", (*suite).checks},
		{"CheckRace", (*suite).checkRace},
		{"Delete", (*suite).delete},
		{"Set", (*suite).set},
		{"List", (*suite).list},
		{"ListModel", (*suite).listModel},
		{"Append", (*suite).append},
		{"AppendConcurrent", (*suite).appendConcurrent},
		{"Blocks", (*suite).blocks},
		{"BlocksMixed", (*suite).blocksMixed},
		{"BlocksRefused", (*suite).blocksRefused},
		{"Reopen", (*suite).reopen},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := &suite{T: t, open: open, dir: dir, store: open(t, dir)}
			if err := s.store.Create(t.Context(), "first"); err != nil {
				t.Fatalf("Create: %v", err)
			}
			s.bucket = s.store.Container("first")
			c.test(s)
		})
	}
}

// suite is one test on a store with a container.
type suite struct {
	*testing.T
	open   Open
	dir    string
	store  blob.Store
	bucket blob.Bucket
}

func (s *suite) write(name, content string, o blob.Options) blob.Attrs {
	s.Helper()
	a, err := s.bucket.Put(s.Context(), name, strings.NewReader(content), o)
	if err != nil {
		s.Fatalf("Put(%q): %v", name, err)
	}
	return a
}

// holds checks the content of a blob and what Get and Head say of it.
func (s *suite) holds(name, want string) blob.Attrs {
	s.Helper()
	got, a := s.read(name, 0, -1)
	if got != want {
		s.Fatalf("blob %q holds %s, want %s", name, short(got), short(want))
	}
	head, err := s.bucket.Head(s.Context(), name)
	if err != nil {
		s.Fatalf("Head(%q): %v", name, err)
	}
	if diff := cmp.Diff(a, head, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("Head differs from Get (-get +head):\n%s", diff)
	}
	if a.Name != name || a.Size != int64(len(want)) || a.ETag == "" || a.Modified.IsZero() || a.Created.After(a.Modified) {
		s.Errorf("attributes of %q: %+v", name, a)
	}
	return a
}

func (s *suite) read(name string, off, n int64) (string, blob.Attrs) {
	s.Helper()
	r, a, err := s.bucket.Get(s.Context(), name, off, n)
	if err != nil {
		s.Fatalf("Get(%q, %d, %d): %v", name, off, n, err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		s.Fatalf("read %q: %v", name, err)
	}
	return string(b), a
}

// refused checks that an error is the one that is wanted.
func (s *suite) refused(what string, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (s *suite) absent(name string) {
	s.Helper()
	_, err := s.bucket.Head(s.Context(), name)
	s.refused("Head of what is not there", err, blob.ErrNotFound)
}

// list returns the names of a page.
func (s *suite) page(prefix, after string, limit int) []string {
	s.Helper()
	all, err := s.bucket.List(s.Context(), prefix, after, limit)
	if err != nil {
		s.Fatalf("List(%q, %q, %d): %v", prefix, after, limit, err)
	}
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	return names
}

func (s *suite) listed(prefix, after string, limit int, want ...string) {
	s.Helper()
	if diff := cmp.Diff(want, s.page(prefix, after, limit), cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("List(%q, %q, %d) (-want +got):\n%s", prefix, after, limit, diff)
	}
}

func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

func sum(s string) []byte {
	h := md5.Sum([]byte(s)) //nolint:gosec // see the import
	return h[:]
}

// broken fails after some bytes.
func broken(content string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(content), &failing{err})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func (s *suite) containers() {
	ctx := s.Context()
	s.refused("Create of one that is there", s.store.Create(ctx, "first"), blob.ErrExists)
	for _, bad := range []string{"", "ab", "Upper", "a_b", "-ab", "ab-", "a--b", "..", "../x", "a/b", strings.Repeat("a", 64), "$root"} {
		s.refused("Create("+bad+")", s.store.Create(ctx, bad), blob.ErrName)
	}
	for _, name := range []string{"second", "sec", "other", strings.Repeat("z", 63), "0-0"} {
		if err := s.store.Create(ctx, name); err != nil {
			s.Fatalf("Create(%s): %v", name, err)
		}
	}
	names := func(prefix, after string, limit int) (got []string) {
		all, err := s.store.Containers(ctx, prefix, after, limit)
		if err != nil {
			s.Fatalf("Containers: %v", err)
		}
		for _, c := range all {
			got = append(got, c.Name)
		}
		return got
	}
	if diff := cmp.Diff([]string{"0-0", "first", "other", "sec", "second", strings.Repeat("z", 63)}, names("", "", 100)); diff != "" {
		s.Errorf("Containers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"second"}, names("sec", "sec", 1)); diff != "" {
		s.Errorf("Containers (-want +got):\n%s", diff)
	}
	info, err := s.store.Stat(ctx, "first")
	if err != nil || info.Name != "first" || info.ETag == "" || info.Created.IsZero() {
		s.Errorf("Stat = %+v, %v", info, err)
	}
	s.write("a/b", "x", blob.Options{})
	if again, err := s.store.Stat(ctx, "first"); err != nil || again != info {
		s.Errorf("Stat changed with a blob: %+v, %v", again, err)
	}
	if err := s.store.Remove(ctx, "first"); err != nil {
		s.Fatalf("Remove: %v", err)
	}
	s.refused("Remove again", s.store.Remove(ctx, "first"), blob.ErrNoContainer)
	if err := s.store.Create(ctx, "first"); err != nil {
		s.Fatalf("Create again: %v", err)
	}
	s.listed("", "", 10)
}

func (s *suite) noContainer() {
	ctx := s.Context()
	for _, name := range []string{"missing", "", "..", "../x", "Bad"} {
		b := s.store.Container(name)
		_, err := b.Put(ctx, "x", strings.NewReader(""), blob.Options{})
		s.refused("Put", err, blob.ErrNoContainer)
		_, _, err = b.Get(ctx, "x", 0, -1)
		s.refused("Get", err, blob.ErrNoContainer)
		_, err = b.Head(ctx, "x")
		s.refused("Head", err, blob.ErrNoContainer)
		s.refused("Delete", b.Delete(ctx, "x", nil), blob.ErrNoContainer)
		_, err = b.List(ctx, "", "", 1)
		s.refused("List", err, blob.ErrNoContainer)
		_, err = b.Append(ctx, "x", nil, -1, nil)
		s.refused("Append", err, blob.ErrNoContainer)
		s.refused("Stage", b.Stage(ctx, "x", "AAAA", strings.NewReader("x"), nil), blob.ErrNoContainer)
		_, err = b.Commit(ctx, "x", nil, blob.Options{})
		s.refused("Commit", err, blob.ErrNoContainer)
		_, _, err = b.Blocks(ctx, "x")
		s.refused("Blocks", err, blob.ErrNoContainer)
		_, err = s.store.Stat(ctx, name)
		s.refused("Stat", err, blob.ErrNoContainer)
	}
}

func (s *suite) put() {
	s.absent("x")
	for _, content := range []string{"", "hello", strings.Repeat("0123456789", 100_000)} {
		a := s.write("dir/x", content, blob.Options{})
		got := s.holds("dir/x", content)
		if diff := cmp.Diff(a, got, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(1e9)); diff != "" {
			s.Errorf("Put and Get differ (-put +get):\n%s", diff)
		}
		if !bytes.Equal(a.MD5, sum(content)) || a.Kind != blob.Block {
			s.Errorf("attributes: %+v", a)
		}
	}
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if _, err := s.bucket.Put(ctx, "y", strings.NewReader("x"), blob.Options{}); err == nil {
		s.Error("Put with an ended context did not fail")
	}
	s.absent("y")
}

func (s *suite) properties() {
	p := blob.Properties{
		ContentType: "text/plain; charset=utf-8", ContentEncoding: "gzip", ContentLanguage: "de", ContentDisposition: `attachment; filename="x.txt"`,
		CacheControl: "no-cache", MD5: sum("claimed"), Metadata: map[string]string{"device": "press-1", "empty": ""},
	}
	s.write("x", "hello", blob.Options{Properties: p})
	a := s.holds("x", "hello")
	if diff := cmp.Diff(p, a.Properties); diff != "" {
		s.Errorf("properties (-want +got):\n%s", diff)
	}
	p.Metadata["device"] = "changed"
	if a := s.holds("x", "hello"); a.Metadata["device"] != "press-1" {
		s.Error("the store shares memory with its caller")
	}
	large := blob.Options{Properties: blob.Properties{Metadata: map[string]string{"x": strings.Repeat("x", blob.MaxProperties)}}}
	_, err := s.bucket.Put(s.Context(), "x", strings.NewReader("new"), large)
	s.refused("Put with large properties", err, blob.ErrProperties)
	s.holds("x", "hello")
}
