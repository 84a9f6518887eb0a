package blobtest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway/internal/core/blob"
)

func (s *suite) grow(name, content string) blob.Attrs {
	s.Helper()
	a, err := s.bucket.Append(s.Context(), name, []byte(content), -1, nil)
	if err != nil {
		s.Fatalf("Append(%q): %v", name, err)
	}
	return a
}

func (s *suite) append() {
	ctx := s.Context()
	_, err := s.bucket.Append(ctx, "log", []byte("x"), -1, nil)
	s.refused("Append to what is not there", err, blob.ErrNotFound)
	s.write("block", "x", blob.Options{})
	_, err = s.bucket.Append(ctx, "block", []byte("x"), -1, nil)
	s.refused("Append to a block blob", err, blob.ErrKind)

	first := s.write("log", "", blob.Options{Kind: blob.Append, Properties: blob.Properties{ContentType: "text/plain"}})
	a := s.grow("log", "one")
	if a.Size != 3 || a.Parts != 1 || a.ETag == first.ETag || a.Kind != blob.Append {
		s.Errorf("attributes: %+v", a)
	}
	r, _, err := s.bucket.Get(ctx, "log", 0, -1)
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	if _, err := s.bucket.Append(ctx, "log", []byte("two"), 3, nil); err != nil {
		s.Error(err)
	}
	_, err = s.bucket.Append(ctx, "log", []byte("three"), 3, nil)
	s.refused("Append at another position", err, blob.ErrPosition)
	_, err = s.bucket.Append(ctx, "log", []byte("three"), -1, blob.Unchanged("0x0"))
	s.refused("Append to another version", err, blob.ErrCondition)
	large := strings.Repeat("large", 300_000)
	s.grow("log", large)
	if a := s.holds("log", "onetwo"+large); a.ContentType != "text/plain" || a.Parts != 3 || !a.Created.Equal(first.Created) {
		s.Errorf("attributes: %+v", a)
	}
	if got, _ := s.read("log", 2, 3); got != "etw" {
		s.Errorf("range = %q", got)
	}
	b := make([]byte, 10)
	if n, _ := r.Read(b); string(b[:n]) != "one" {
		s.Errorf("a reader of the old version got %q", b[:n])
	}
	s.write("log", "fresh", blob.Options{Kind: blob.Append})
	s.grow("log", "!")
	s.holds("log", "fresh!")
}

func (s *suite) appendConcurrent() {
	s.write("log", "", blob.Options{Kind: blob.Append})
	const writers, each = 4, 5
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range each {
				if _, err := s.bucket.Append(s.Context(), "log", []byte(strings.Repeat(fmt.Sprint(i), 8)), -1, nil); err != nil {
					s.Errorf("Append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got, a := s.read("log", 0, -1)
	if len(got) != writers*each*8 || a.Parts != writers*each {
		s.Fatalf("%d bytes in %d parts", len(got), a.Parts)
	}
	for i := 0; i < len(got); i += 8 {
		if got[i:i+8] != strings.Repeat(got[i:i+1], 8) {
			s.Fatalf("appends are mixed: %q", got)
		}
	}
}

// id returns the id of block n, as clients make them.
func id(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "block-%06d", n)) }

func (s *suite) stage(name string, n int, content string) {
	s.Helper()
	if err := s.bucket.Stage(s.Context(), name, id(n), strings.NewReader(content), sum(content)); err != nil {
		s.Fatalf("Stage(%q, %d): %v", name, n, err)
	}
}

// haveBlocks checks what Blocks returns, as numbers.
func (s *suite) haveBlocks(name string, committed, staged []blob.Part) {
	s.Helper()
	c, u, err := s.bucket.Blocks(s.Context(), name)
	if err != nil {
		s.Fatalf("Blocks(%q): %v", name, err)
	}
	if diff := cmp.Diff([][]blob.Part{committed, staged}, [][]blob.Part{c, u}, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("Blocks(%q) (-want +got):\n%s", name, diff)
	}
}

func (s *suite) commit(name string, o blob.Options, list ...blob.Ref) blob.Attrs {
	s.Helper()
	a, err := s.bucket.Commit(s.Context(), name, list, o)
	if err != nil {
		s.Fatalf("Commit(%q): %v", name, err)
	}
	return a
}

func (s *suite) blocks() {
	_, _, err := s.bucket.Blocks(s.Context(), "x")
	s.refused("Blocks of nothing", err, blob.ErrNotFound)
	s.stage("x", 2, "two")
	s.stage("x", 1, "1")
	s.stage("x", 1, "one")
	s.stage("x", 3, "unused")
	s.stage("y", 1, "of another blob")
	s.absent("x")
	s.listed("", "", 10)
	s.haveBlocks("x", nil, []blob.Part{{ID: id(1), Size: 3}, {ID: id(2), Size: 3}, {ID: id(3), Size: 6}})
	p := blob.Properties{ContentType: "text/plain", Metadata: map[string]string{"a": "b"}}
	a := s.commit("x", blob.Options{Properties: p}, blob.Ref{ID: id(1)}, blob.Ref{ID: id(2), From: blob.Staged}, blob.Ref{ID: id(1)})
	if a.Parts != 3 || a.ContentType != "text/plain" || a.MD5 != nil {
		s.Errorf("attributes: %+v", a)
	}
	if got := s.holds("x", "onetwoone"); got.ETag != a.ETag || got.Metadata["a"] != "b" {
		s.Errorf("attributes: %+v", got)
	}
	s.haveBlocks("x", []blob.Part{{ID: id(1), Size: 3}, {ID: id(2), Size: 3}, {ID: id(1), Size: 3}}, nil)
	s.haveBlocks("y", nil, []blob.Part{{ID: id(1), Size: 15}})
	s.listed("", "", 10, "x")
	s.commit("empty", blob.Options{})
	s.holds("empty", "")
	s.write("x", "whole", blob.Options{})
	s.haveBlocks("x", nil, nil)
}

func (s *suite) blocksMixed() {
	for i := range 4 {
		s.stage("x", i, fmt.Sprint(i, ";"))
	}
	s.commit("x", blob.Options{}, blob.Ref{ID: id(0)}, blob.Ref{ID: id(1)}, blob.Ref{ID: id(2)}, blob.Ref{ID: id(3)})
	s.holds("x", "0;1;2;3;")
	s.stage("x", 1, "new;")
	s.stage("x", 9, "last;")
	s.commit("x", blob.Options{}, blob.Ref{ID: id(3)}, blob.Ref{ID: id(1), From: blob.Committed}, blob.Ref{ID: id(1)}, blob.Ref{ID: id(9)})
	s.holds("x", "3;1;new;last;")
	s.stage("x", 1, "newer;")
	if _, err := s.bucket.Set(s.Context(), "x", func(p *blob.Properties) { p.ContentType = "a/b" }, nil); err != nil {
		s.Fatal(err)
	}
	s.commit("x", blob.Options{}, blob.Ref{ID: id(9), From: blob.Committed}, blob.Ref{ID: id(1)})
	s.holds("x", "last;newer;")
}

func (s *suite) blocksRefused() {
	ctx := s.Context()
	for _, bad := range []string{"", "not base64!", "AAA", "AA==\n", base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		s.refused("Stage("+bad+")", s.bucket.Stage(ctx, "x", bad, strings.NewReader("x"), nil), blob.ErrBlock)
		_, err := s.bucket.Commit(ctx, "x", []blob.Ref{{ID: bad}}, blob.Options{})
		s.refused("Commit("+bad+")", err, blob.ErrBlock)
	}
	if err := s.bucket.Stage(ctx, "x", base64.StdEncoding.EncodeToString(make([]byte, 64)), strings.NewReader("x"), nil); err != nil {
		s.Errorf("Stage of a long id: %v", err)
	}
	s.stage("x", 1, "one")
	s.commit("x", blob.Options{}, blob.Ref{ID: id(1)})
	s.stage("x", 2, "two")
	for _, list := range [][]blob.Ref{
		{{ID: id(7)}},
		{{ID: id(1), From: blob.Staged}},
		{{ID: id(2), From: blob.Committed}},
		{{ID: id(2)}, {ID: id(8)}},
	} {
		_, err := s.bucket.Commit(ctx, "x", list, blob.Options{})
		s.refused(fmt.Sprint("Commit of ", list), err, blob.ErrBlock)
	}
	_, err := s.bucket.Commit(ctx, "x", make([]blob.Ref, blob.MaxBlocks+1), blob.Options{})
	s.refused("Commit of many", err, blob.ErrTooMany)
	_, err = s.bucket.Commit(ctx, "x", []blob.Ref{{ID: id(2)}, {ID: id(2)}}, blob.Options{Limit: 5})
	s.refused("Commit of too much", err, blob.ErrTooLarge)
	s.holds("x", "one")
	s.haveBlocks("x", []blob.Part{{ID: id(1), Size: 3}}, []blob.Part{{ID: id(2), Size: 3}})

	s.write("log", "", blob.Options{Kind: blob.Append})
	s.grow("log", "kept")
	s.stage("log", 1, "one")
	_, err = s.bucket.Commit(ctx, "log", []blob.Ref{{ID: id(1)}}, blob.Options{})
	s.refused("Commit over an append blob", err, blob.ErrKind)
	_, err = s.bucket.Commit(ctx, "log", nil, blob.Options{})
	s.refused("Commit of nothing over an append blob", err, blob.ErrKind)
	s.holds("log", "kept")
	s.grow("log", " on")
	s.holds("log", "kept on")
}

func (s *suite) reopen() {
	a := s.write("dir/x", "kept", blob.Options{Properties: blob.Properties{ContentType: "a/b"}})
	s.write("log", "", blob.Options{Kind: blob.Append})
	s.grow("log", "one")
	s.stage("blocks", 1, "one")
	s.stage("made", 1, "one")
	s.commit("made", blob.Options{}, blob.Ref{ID: id(1)})
	s.store = s.open(s.T, s.dir)
	s.bucket = s.store.Container("first")
	if got := s.holds("dir/x", "kept"); got.ETag != a.ETag || got.ContentType != "a/b" {
		s.Errorf("attributes: %+v, were %+v", got, a)
	}
	s.grow("log", "two")
	s.holds("log", "onetwo")
	s.stage("blocks", 2, "two")
	s.haveBlocks("blocks", nil, []blob.Part{{ID: id(1), Size: 3}, {ID: id(2), Size: 3}})
	s.commit("blocks", blob.Options{}, blob.Ref{ID: id(2)}, blob.Ref{ID: id(1)})
	s.holds("blocks", "twoone")
	s.haveBlocks("made", []blob.Part{{ID: id(1), Size: 3}}, nil)
	s.listed("", "", 10, "blocks", "dir/x", "log", "made")
}
