package blob_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/internal/head/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

func sum(s string) string {
	h := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(h[:])
}

func TestPutGet(t *testing.T) {
	w := newWorld(t)
	a := w.put("dir/é b+c.txt", "hello", "Content-Type", "text/plain", "x-ms-meta-Device", "press-1", "x-ms-blob-cache-control", "no-cache", "x-ms-client-request-id", "mine").is(201, "")
	if a.header.Get("ETag") == "" || a.header.Get("Last-Modified") == "" || a.header.Get("Content-MD5") != sum("hello") || a.header.Get("x-ms-client-request-id") != "mine" {
		t.Errorf("headers: %v", a.header)
	}
	for _, path := range []string{"/files/dir/%C3%A9%20b+c.txt", "/files/dir%2F%C3%A9%20b%2Bc.txt", "/causeway/files/dir/%C3%A9%20b%2Bc.txt", "/files%2Fdir%2F%C3%A9%20b%2Bc.txt"} {
		for _, method := range []string{"GET", "HEAD"} {
			g := w.do(request{method: method, path: path}).is(200, "")
			want := "hello"
			if method == "HEAD" {
				want = ""
			}
			if g.body != want {
				t.Errorf("%s %s: %q", method, path, g.body)
			}
			for name, want := range map[string]string{
				"ETag": a.header.Get("ETag"), "Content-Type": "text/plain", "Content-Length": "5", "Content-MD5": sum("hello"), "Cache-Control": "no-cache",
				"x-ms-meta-device": "press-1", "x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff",
			} {
				if got := g.header.Get(name); got != want {
					t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, want)
				}
			}
		}
	}
	w.do(request{method: "DELETE", path: "/files/dir/%C3%A9%20b+c.txt"}).is(202, "")
	w.get("dir/é b+c.txt").is(404, "BlobNotFound")
	if a := w.do(request{method: "HEAD", path: "/files/x"}).is(404, "BlobNotFound"); a.body != "" {
		t.Errorf("HEAD has a body: %s", a.body)
	}
	w.do(request{method: "GET", path: "/missing/x", token: sign(blobsas.Grant{Container: "missing", Permissions: "r"})}).is(404, "ContainerNotFound")
	w.do(request{method: "GET", path: "/files/x", host: "other.example.com"}).is(404, "ResourceNotFound")
}

func TestRanges(t *testing.T) {
	w := newWorld(t)
	w.put("x", "0123456789").is(201, "")
	w.put("empty", "").is(201, "")
	for _, c := range []struct {
		header string
		status int
		body   string
		rng    string
	}{
		{"bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{"bytes=4-", 206, "456789", "bytes 4-9/10"},
		{"bytes=8-100", 206, "89", "bytes 8-9/10"},
		{"bytes=-3", 200, "0123456789", ""},
		{"bytes=5-2", 200, "0123456789", ""},
		{"lines=1-2", 200, "0123456789", ""},
		{"bytes=0-9223372036854775807", 200, "0123456789", ""},
		{"bytes=10-12", 416, "", "bytes */10"},
	} {
		a := w.get("x", "Range", c.header)
		if a.status != c.status || a.status < 300 && a.body != c.body {
			t.Errorf("%s: %d, %q", c.header, a.status, a.body)
		}
		if got := a.header.Get("Content-Range"); a.status < 300 && got != c.rng {
			t.Errorf("%s: Content-Range %q, want %q", c.header, got, c.rng)
		}
	}
	w.get("x", "Range", "bytes=10-").is(416, "InvalidRange")
	w.get("empty", "x-ms-range", "bytes=0-9").is(416, "InvalidRange")
	if a := w.get("empty").is(200, ""); a.body != "" {
		t.Errorf("empty blob: %q", a.body)
	}
	a := w.get("x", "Range", "bytes=0-0", "x-ms-range", "bytes=2-4", "x-ms-range-get-content-md5", "true").is(206, "")
	if a.body != "234" || a.header.Get("Content-MD5") != sum("234") || a.header.Get("x-ms-blob-content-md5") != sum("0123456789") {
		t.Errorf("range with MD5: %q, %v", a.body, a.header)
	}
	w.get("x", "x-ms-range-get-content-md5", "true").is(400, "OutOfRangeQueryParameterValue")
}

func TestConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.put("x", "one").is(201, "").header.Get("ETag")
	past, future := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		header, value string
		read, write   int
	}{
		{"If-Match", "{etag}", 200, 201},
		{"If-Match", "*", 200, 201},
		{"If-Match", `"0x1"`, 412, 412},
		{"If-Match", `"0x1", {etag}`, 200, 201},
		{"If-None-Match", "{etag}", 304, 412},
		{"If-None-Match", "*", 304, 409},
		{"If-None-Match", `"0x1"`, 200, 201},
		{"If-Modified-Since", past, 200, 201},
		{"If-Modified-Since", future, 304, 412},
		{"If-Unmodified-Since", future, 200, 201},
		{"If-Unmodified-Since", past, 412, 412},
		{"If-Modified-Since", "yesterday", 400, 400},
	} {
		value := strings.ReplaceAll(c.value, "{etag}", etag)
		if a := w.get("x", c.header, value); a.status != c.read {
			t.Errorf("GET with %s: %s is %d, want %d: %s", c.header, c.value, a.status, c.read, a.body)
		}
		a := w.put("x", "two", c.header, value)
		if a.status != c.write {
			t.Errorf("PUT with %s: %s is %d, want %d: %s", c.header, c.value, a.status, c.write, a.body)
		}
		if a.status == 201 {
			if a.header.Get("ETag") == etag {
				t.Error("the etag did not change")
			}
			etag = a.header.Get("ETag")
		}
	}
	w.do(request{method: "DELETE", path: "/files/x", header: map[string]string{"If-Match": `"0x1"`}}).is(412, "ConditionNotMet")
	w.do(request{method: "DELETE", path: "/files/x", header: map[string]string{"If-Match": etag}}).is(202, "")
	w.put("y", "new", "If-Match", "*").is(412, "ConditionNotMet")
	w.put("y", "new", "If-None-Match", "*").is(201, "")
	w.put("y", "new", "If-None-Match", "*").is(409, "BlobAlreadyExists")
	w.do(request{method: "DELETE", path: "/files/y", header: map[string]string{"If-Match": `"0x1"`}}).is(412, "ConditionNotMet")
}

func id(n int) string { return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%06d", n)) }

func (w *world) block(name string, n int, content string) answer {
	w.Helper()
	return w.do(request{method: "PUT", path: "/files/" + escape(name), query: "comp=block&blockid=" + strings.ReplaceAll(id(n), "=", "%3D"), body: content})
}

func TestBlocks(t *testing.T) {
	w := newWorld(t)
	for i, c := range []string{"one", "two", "three"} {
		w.block("d/x", i, c).is(201, "")
	}
	w.get("d/x").is(404, "BlobNotFound")
	list := `<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>` + id(0) + `</Latest><Uncommitted> ` + id(2) + "\n</Uncommitted></BlockList>"
	w.do(request{
		method: "PUT", path: "/files/d/x", query: "comp=blocklist", body: list,
		header: map[string]string{"Content-Type": "application/xml", "x-ms-blob-content-type": "text/plain", "Content-MD5": sum(list), "x-ms-meta-a": "b"},
	}).is(201, "")
	a := w.get("d/x").is(200, "")
	if a.body != "onethree" || a.header.Get("Content-Type") != "text/plain" || a.header.Get("x-ms-meta-a") != "b" {
		t.Errorf("blob: %q, %v", a.body, a.header)
	}
	w.block("d/x", 7, "staged").is(201, "")
	got := w.do(request{method: "GET", path: "/files/d/x", query: "comp=blocklist&blocklisttype=all"}).is(200, "")
	var blocks struct {
		Committed   []struct{ Name, Size string } `xml:"CommittedBlocks>Block"`
		Uncommitted []struct{ Name, Size string } `xml:"UncommittedBlocks>Block"`
	}
	if err := xml.Unmarshal([]byte(got.body), &blocks); err != nil || len(blocks.Committed) != 2 || len(blocks.Uncommitted) != 1 || blocks.Committed[1].Size != "5" || blocks.Uncommitted[0].Name != id(7) {
		t.Errorf("blocks %s: %+v, %v", got.body, blocks, err)
	}
	if got.header.Get("x-ms-blob-content-length") != "8" {
		t.Errorf("headers: %v", got.header)
	}
	w.do(request{method: "GET", path: "/files/none", query: "comp=blocklist"}).is(404, "BlobNotFound")
	commit := func(body string) answer {
		return w.do(request{method: "PUT", path: "/files/d/x", query: "comp=blocklist", body: body})
	}
	commit("<BlockList><Latest>"+id(99)+"</Latest></BlockList>").is(400, "InvalidBlockList")
	commit("<BlockList><Latest>?</Latest></BlockList>").is(400, "InvalidBlockId")
	commit("<BlockList><Other>"+id(1)+"</Other></BlockList>").is(400, "InvalidXmlDocument")
	commit("<BlockList><Latest>").is(400, "InvalidXmlDocument")
	commit("").is(400, "InvalidXmlDocument")
	if a := w.get("d/x"); a.body != "onethree" {
		t.Errorf("a refused list changed the blob: %q", a.body)
	}
	commit("<BlockList/>").is(201, "")
	if a := w.get("d/x").is(200, ""); a.body != "" || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("blob of no blocks: %q, %v", a.body, a.header)
	}
}

func TestAppend(t *testing.T) {
	w := newWorld(t)
	add := func(content string, header map[string]string) answer {
		return w.do(request{method: "PUT", path: "/files/log", query: "comp=appendblock", body: content, header: header})
	}
	add("one", nil).is(404, "BlobNotFound")
	w.put("log", "", "x-ms-blob-type", "AppendBlob").is(201, "")
	if a := add("one", map[string]string{"Content-MD5": sum("one")}).is(201, ""); a.header.Get("x-ms-blob-append-offset") != "0" || a.header.Get("x-ms-blob-committed-block-count") != "1" {
		t.Errorf("headers: %v", a.header)
	}
	add("two", map[string]string{"x-ms-blob-condition-appendpos": "3"}).is(201, "")
	add("x", map[string]string{"x-ms-blob-condition-appendpos": "3"}).is(412, "AppendPositionConditionNotMet")
	add("x", map[string]string{"x-ms-blob-condition-maxsize": "6"}).is(412, "MaxBlobSizeConditionNotMet")
	add("x", map[string]string{"x-ms-blob-condition-appendpos": "here"}).is(400, "InvalidHeaderValue")
	add("x", map[string]string{"Content-MD5": sum("y")}).is(400, "Md5Mismatch")
	add("x", map[string]string{"If-Match": `"0x1"`}).is(412, "ConditionNotMet")
	add("", nil).is(400, "InvalidHeaderValue")
	a := w.get("log").is(200, "")
	if a.body != "onetwo" || a.header.Get("x-ms-blob-type") != "AppendBlob" || a.header.Get("x-ms-blob-committed-block-count") != "2" {
		t.Errorf("blob: %q, %v", a.body, a.header)
	}
	w.do(request{method: "GET", path: "/files/log", query: "comp=blocklist"}).is(409, "InvalidBlobType")
	w.do(request{method: "PUT", path: "/files/log", query: "comp=blocklist", body: "<BlockList></BlockList>"}).is(409, "InvalidBlobType")
	w.put("block", "x").is(201, "")
	w.do(request{method: "PUT", path: "/files/block", query: "comp=appendblock", body: "x"}).is(409, "InvalidBlobType")
	w.put("log", "bytes", "x-ms-blob-type", "AppendBlob").is(413, "RequestBodyTooLarge")
}

func TestSums(t *testing.T) {
	w := newWorld(t)
	w.put("x", "hello", "Content-MD5", sum("hello"), "x-ms-content-crc64", "ZumTJMDfgvM=").is(400, "Crc64Mismatch")
	w.put("x", "hello", "Content-MD5", sum("other")).is(400, "Md5Mismatch")
	w.put("x", "hello", "Content-MD5", "AAAA").is(400, "InvalidMd5")
	w.put("x", "hello", "Content-MD5", sum("hello"), "x-ms-blob-content-md5", sum("other")).is(400, "Md5Mismatch")
	w.put("x", "hello", "x-ms-content-crc64", "!").is(400, "InvalidHeaderValue")
	w.get("x").is(404, "BlobNotFound")
	w.put("x", "hello", "Content-MD5", sum("hello")).is(201, "")
	// The check value of CRC-64/NVME, whose polynomial the Blob service has.
	w.put("x", "123456789", "x-ms-content-crc64", "iJh5CoYUi64=").is(201, "")
}

func TestSet(t *testing.T) {
	w := newWorld(t)
	w.put("x", "hello", "Content-Type", "text/plain", "x-ms-meta-a", "1").is(201, "")
	w.do(request{method: "PUT", path: "/files/x", query: "comp=metadata", header: map[string]string{"x-ms-meta-b": "2"}}).is(200, "")
	w.do(request{method: "PUT", path: "/files/x", query: "comp=properties", header: map[string]string{"x-ms-blob-content-type": "text/csv"}}).is(200, "")
	a := w.get("x").is(200, "")
	if a.body != "hello" || a.header.Get("Content-Type") != "text/csv" || a.header.Get("x-ms-meta-a") != "" || a.header.Get("x-ms-meta-b") != "2" {
		t.Errorf("blob: %q, %v", a.body, a.header)
	}
	if a := w.do(request{method: "GET", path: "/files/x", query: "comp=metadata"}).is(200, ""); a.body != "" || a.header.Get("x-ms-meta-b") != "2" {
		t.Errorf("metadata: %q, %v", a.body, a.header)
	}
	w.do(request{method: "PUT", path: "/files/y", query: "comp=metadata"}).is(404, "BlobNotFound")
}

// listed is an answer to listBlobs.
type listed struct {
	Container  string `xml:"ContainerName,attr"`
	Endpoint   string `xml:"ServiceEndpoint,attr"`
	NextMarker string
	Blobs      struct {
		Blob []struct {
			Name       string
			Properties struct {
				Length int `xml:"Content-Length"`
				Etag   string
				MD5    string `xml:"Content-MD5"`
			}
			Metadata struct {
				A string `xml:"a"`
			}
		}
		BlobPrefix []struct{ Name string }
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a", "b/1", "b/2", "b/c/3", "b0", "d/<&>\"'", "é"} {
		w.put(n, n, "x-ms-meta-a", "<"+fmt.Sprint(len(n))+">").is(201, "")
	}
	pages := func(query string) (got []string) {
		t.Helper()
		for marker := ""; ; {
			a := w.do(request{method: "GET", path: "/files", query: "restype=container&comp=list&" + query + "&marker=" + marker}).is(200, "")
			var l listed
			if err := xml.Unmarshal([]byte(a.body), &l); err != nil {
				t.Fatalf("%s: %v", a.body, err)
			}
			if l.Container != "files" || l.Endpoint != "https://"+hubHost+"/" {
				t.Errorf("list: %s", a.body)
			}
			for _, b := range l.Blobs.Blob {
				got = append(got, b.Name)
				if b.Properties.Length != len(b.Name) || b.Properties.Etag == "" || b.Properties.MD5 != sum(b.Name) {
					t.Errorf("blob: %+v", b)
				}
				if want := "<" + fmt.Sprint(len(b.Name)) + ">"; strings.Contains(query, "metadata") && b.Metadata.A != want {
					t.Errorf("metadata: %+v, want %q", b, want)
				}
			}
			for _, p := range l.Blobs.BlobPrefix {
				got = append(got, p.Name+"…")
			}
			if marker = l.NextMarker; marker == "" {
				return got
			}
			got = append(got, "|")
		}
	}
	for _, c := range []struct{ query, want string }{
		{"", `a b/1 b/2 b/c/3 b0 d/<&>"' é`},
		{"maxresults=3&include=metadata", `a b/1 b/2 | b/c/3 b0 d/<&>"' | é`},
		{"prefix=b", "b/1 b/2 b/c/3 b0"},
		{"prefix=b%2F&delimiter=%2F", "b/1 b/2 b/c/…"},
		{"delimiter=%2F", "a b0 é b/… d/…"},
		{"delimiter=%2F&maxresults=1", "a | b/… | b0 | d/… | é"},
		{"delimiter=%2F&maxresults=2", "a b/… | b0 d/… | é"},
		{"prefix=x", ""},
		{"maxresults=7", `a b/1 b/2 b/c/3 b0 d/<&>"' é`},
	} {
		if diff := cmp.Diff(c.want, strings.Join(pages(c.query), " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.query, diff)
		}
	}
	for query, code := range map[string]string{
		"maxresults=0": "OutOfRangeQueryParameterValue", "maxresults=x": "OutOfRangeQueryParameterValue", "marker=%21": "InvalidQueryParameterValue",
		"prefix=" + strings.Repeat("x", 1025): "InvalidQueryParameterValue",
	} {
		w.do(request{method: "GET", path: "/files", query: "restype=container&comp=list&" + query}).is(400, code)
	}
}

func TestMatch(t *testing.T) {
	for target, want := range map[string]bool{
		"/files/x?sv=2021-12-02&sr=b&sp=r&se=x&sig=y":  true,
		"/files/x?sig=y&sv=1":                          true,
		"/devices/d?api-version=2021-04-12":            false,
		"/devices/d?api-version=2021-04-12&sig=x&sv=y": false,
		"/devices/d":    false,
		"/files/x?sv=1": false,
	} {
		if got := blob.Match(httptest.NewRequest("GET", target, nil)); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
	r := httptest.NewRequest("GET", "/files/x", nil)
	r.Header.Set("x-ms-version", "2021-12-02")
	if !blob.Match(r) {
		t.Error("a request without a signature is not matched")
	}
}

// account signs a token for the account, as storage clients do.
func account(permissions, types string) string {
	se := time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\nb\n%s\n\n%s\n\nhttps\n2021-12-02\n\n", blobsas.AccountName, permissions, types, se)
	return "sv=2021-12-02&ss=b&srt=" + types + "&sp=" + permissions + "&spr=https&se=" + url.QueryEscape(se) +
		"&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func TestContainers(t *testing.T) {
	w := newWorld(t)
	all := account("rwdlac", "sco")
	do := func(method, path, query string, token string) answer {
		return w.do(request{method: method, path: path, query: query, token: token})
	}
	if a := do("PUT", "/causeway/reports", "restype=container", all).is(201, ""); a.header.Get("ETag") == "" || a.header.Get("Last-Modified") == "" {
		t.Errorf("headers: %v", a.header)
	}
	do("PUT", "/reports", "restype=container", all).is(409, "ContainerAlreadyExists")
	do("PUT", "/Bad", "restype=container", all).is(400, "InvalidResourceName")
	do("PUT", "/causeway/causeway", "restype=container", all).is(400, "InvalidResourceName")
	do("GET", "/reports", "restype=container", all).is(200, "")
	do("HEAD", "/reports", "restype=container", all).is(200, "")
	do("HEAD", "/other", "restype=container", all).is(404, "ContainerNotFound")
	do("PUT", "/other", "restype=container", account("r", "sco")).is(403, "AuthorizationPermissionMismatch")
	do("PUT", "/other", "restype=container", account("rwc", "o")).is(403, "AuthorizationResourceTypeMismatch")
	do("PUT", "/reports", "restype=container", sign(blobsas.Grant{Container: "reports", Permissions: "racwdl"})).is(403, "AuthorizationPermissionMismatch")
	var l struct {
		NextMarker string
		Containers struct{ Container []struct{ Name string } }
	}
	a := do("GET", "/causeway/", "comp=list&maxresults=1", all).is(200, "")
	if err := xml.Unmarshal([]byte(a.body), &l); err != nil || len(l.Containers.Container) != 1 || l.Containers.Container[0].Name != "files" || l.NextMarker == "" {
		t.Fatalf("list %s: %+v, %v", a.body, l, err)
	}
	a = do("GET", "/", "comp=list&marker="+l.NextMarker, all).is(200, "")
	l.Containers.Container, l.NextMarker = nil, ""
	if err := xml.Unmarshal([]byte(a.body), &l); err != nil || len(l.Containers.Container) != 1 || l.Containers.Container[0].Name != "reports" || l.NextMarker != "" {
		t.Fatalf("list %s: %+v, %v", a.body, l, err)
	}
	w.do(request{method: "PUT", path: "/reports/x", token: all, header: map[string]string{"x-ms-blob-type": "BlockBlob"}, body: "x"}).is(201, "")
	do("DELETE", "/reports", "restype=container", all).is(202, "")
	do("DELETE", "/reports", "restype=container", all).is(404, "ContainerNotFound")
	do("GET", "/reports/x", "", all).is(404, "ContainerNotFound")
}
