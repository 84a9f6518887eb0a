package blob

import (
	"net/http/httptest"
	"strings"
	"testing"

	port "github.com/causeway-iot/causeway/internal/core/blob"
)

// FuzzBlockList reads lists of blocks.
func FuzzBlockList(f *testing.F) {
	for _, s := range []string{
		"<BlockList/>", "<BlockList><Latest>AAAA</Latest><Committed>BBBB</Committed><Uncommitted>CCCC</Uncommitted></BlockList>",
		"<?xml version='1.0'?><BlockList>\n<Latest> AAAA </Latest></BlockList>", "<BlockList><Latest><Latest/></Latest></BlockList>", "<a/>", "<BlockList>", "&",
		"<BlockList><Latest><![CDATA[AAAA]]></Latest></BlockList>", "<BlockList><Latest>AA<!-- x -->AA</Latest></BlockList>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := readBlockList([]byte(s))
		if err != nil {
			if failureOf(err).status != 400 {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if len(list)*4 > len(s) {
			t.Fatalf("%q became %d blocks", s, len(list))
		}
		for _, r := range list {
			if port.CheckBlockID(r.ID) != nil {
				t.Fatalf("%q has the block %q", s, r.ID)
			}
		}
	})
}

// FuzzRequest reads paths, queries and headers.
func FuzzRequest(f *testing.F) {
	f.Add("/files/a/b", "restype=container&comp=list&marker=AA&maxresults=3", "bytes=1-2", `"0x1"`)
	f.Add("/causeway/files/%2e%2e/x", "comp=block&blockid=AAAA", "bytes=-1", "*")
	f.Add("//", "sv=1&sig=2", "bytes=9223372036854775807-", "W/\"x\",y")
	f.Fuzz(func(t *testing.T, path, query, rng, match string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path+query, " \r\n\x00#?") {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		u, err := r.URL.Parse(path + "?" + query)
		if err != nil {
			return
		}
		r.URL = u
		r.Header["Range"], r.Header["If-Match"] = []string{rng}, []string{match}
		c := &call{r: r, w: httptest.NewRecorder()}
		if c.locate() == nil && c.container != "" {
			if port.CheckContainer(c.container) != nil || c.blob != "" && port.CheckName(c.blob) != nil {
				t.Fatalf("%q names %q in %q", path, c.blob, c.container)
			}
		}
		_ = c.route()
		if off, n, ok := readRange(r.Header); ok && (off < 0 || n == 0 || n < -1) {
			t.Fatalf("%q is the range %d, %d", rng, off, n)
		}
		if p, err := readPage(u.Query()); err == nil && (p.limit < 1 || p.limit > MaxPage) {
			t.Fatalf("%q is a page of %d", query, p.limit)
		}
		k, err := readConditions(r.Header)
		if err == nil {
			_ = k.check(&port.Attrs{ETag: "0x1"})
			_ = k.check(nil)
		}
		Match(r)
	})
}
