package blob_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// TestAccess tries what tokens do not allow.
func TestAccess(t *testing.T) {
	w := newWorld(t)
	w.put("x", "content").is(201, "")
	good := blobsas.Grant{Container: "files", Blob: "x", Permissions: "r"}
	other := func(change func(*blobsas.Grant)) string {
		g := good
		change(&g)
		return sign(g)
	}
	for _, c := range []struct {
		name   string
		q      request
		status int
		code   string
	}{
		{"good", request{method: "GET", path: "/files/x", token: sign(good)}, 200, ""},
		{"none", request{method: "GET", path: "/files/x", noToken: true}, 401, "NoAuthenticationInformation"},
		{"account key", request{method: "GET", path: "/files/x", noToken: true, header: map[string]string{"Authorization": "SharedKey causeway:AAAA"}}, 403, "AuthenticationFailed"},
		{"other blob", request{method: "GET", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Blob = "y" })}, 403, "AuthenticationFailed"},
		{"other container", request{method: "GET", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Container = "other" })}, 403, "AuthenticationFailed"},
		{"changed permissions", request{method: "DELETE", path: "/files/x", token: strings.Replace(sign(good), "sp=r", "sp=rd", 1)}, 403, "AuthenticationFailed"},
		{"later expiry", request{method: "GET", path: "/files/x", token: strings.Replace(sign(good), "se=20", "se=21", 1)}, 403, "AuthenticationFailed"},
		{"cut signature", request{method: "GET", path: "/files/x", token: strings.Replace(sign(good), "sig=", "sig=AAAA&x=", 1)}, 403, "AuthenticationFailed"},
		{"malformed", request{method: "GET", path: "/files/x", token: "sv=x&sig=y"}, 403, "AuthenticationFailed"},
		{"expired", request{method: "GET", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Expiry = time.Now().Add(-time.Second) })}, 403, "AuthenticationFailed"},
		{"not yet", request{method: "GET", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Start = time.Now().Add(time.Minute) })}, 403, "AuthenticationFailed"},
		{"read only, PUT", request{method: "PUT", path: "/files/x", token: sign(good), header: map[string]string{"x-ms-blob-type": "BlockBlob"}}, 403, "AuthorizationPermissionMismatch"},
		{"read only, DELETE", request{method: "DELETE", path: "/files/x", token: sign(good)}, 403, "AuthorizationPermissionMismatch"},
		{"write only, GET", request{method: "GET", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Permissions = "w" })}, 403, "AuthorizationPermissionMismatch"},
		{"blob token, list", request{method: "GET", path: "/files", query: "restype=container&comp=list", token: other(func(g *blobsas.Grant) { g.Permissions = "rl" })}, 403, "AuthenticationFailed"},
		{"container token without list", request{method: "GET", path: "/files", query: "restype=container&comp=list", token: other(func(g *blobsas.Grant) { g.Blob, g.Permissions = "", "r" })}, 403, "AuthorizationPermissionMismatch"},
		{"container token, delete container", request{method: "DELETE", path: "/files", query: "restype=container"}, 403, "AuthorizationPermissionMismatch"},
		{"create only, replace", request{method: "PUT", path: "/files/x", token: other(func(g *blobsas.Grant) { g.Permissions = "c" }), header: map[string]string{"x-ms-blob-type": "BlockBlob"}, body: "new"}, 403, "AuthorizationPermissionMismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			(&world{t, w.handler, w.store}).do(c.q).is(c.status, c.code)
		})
	}
	if a := w.get("x"); a.body != "content" {
		t.Errorf("the blob became %q", a.body)
	}
	w.do(request{method: "PUT", path: "/files/new", token: sign(blobsas.Grant{Container: "files", Blob: "new", Permissions: "c"}), header: map[string]string{"x-ms-blob-type": "BlockBlob"}, body: "new"}).is(201, "")
}

// TestBadInput sends what no client should.
func TestBadInput(t *testing.T) {
	w := newWorld(t)
	block := map[string]string{"x-ms-blob-type": "BlockBlob"}
	with := func(name, value string) map[string]string {
		return map[string]string{"x-ms-blob-type": "BlockBlob", name: value}
	}
	for _, c := range []struct {
		name   string
		q      request
		status int
		code   string
	}{
		{"name that climbs", request{method: "PUT", path: "/files/a/..%2F..%2Fetc", header: block}, 400, "InvalidResourceName"},
		{"name of a dot", request{method: "PUT", path: "/files/.", header: block}, 400, "InvalidResourceName"},
		{"name with a zero byte", request{method: "PUT", path: "/files/a%00b", header: block}, 400, "InvalidResourceName"},
		{"name that is not UTF-8", request{method: "PUT", path: "/files/%FF", header: block}, 400, "InvalidResourceName"},
		{"name of 1025 bytes", request{method: "PUT", path: "/files/" + strings.Repeat("x", 1025), header: block}, 400, "InvalidResourceName"},
		{"name of a container", request{method: "PUT", path: "/Files/x", header: block}, 400, "InvalidResourceName"},
		{"container that climbs", request{method: "GET", path: "/..%2Ffiles/x"}, 400, "InvalidResourceName"},
		{"container named as the account", request{method: "GET", path: "/causeway/causeway/x"}, 400, "InvalidResourceName"},
		{"no blob type", request{method: "PUT", path: "/files/x"}, 400, "MissingRequiredHeader"},
		{"page blob", request{method: "PUT", path: "/files/x", header: map[string]string{"x-ms-blob-type": "PageBlob"}}, 400, "InvalidHeaderValue"},
		{"copy", request{method: "PUT", path: "/files/x", header: with("x-ms-copy-source", "https://other/x")}, 400, "UnsupportedHeader"},
		{"own encryption key", request{method: "PUT", path: "/files/x", header: with("x-ms-encryption-key", "AAAA")}, 400, "UnsupportedHeader"},
		{"tags", request{method: "PUT", path: "/files/x", header: with("x-ms-tags", "a=b")}, 400, "UnsupportedHeader"},
		{"lease", request{method: "PUT", path: "/files/x", header: with("x-ms-lease-id", "x")}, 412, "LeaseNotPresentWithBlobOperation"},
		{"snapshot", request{method: "GET", path: "/files/x", query: "snapshot=2024-01-31T12:00:00Z"}, 400, "UnsupportedQueryParameter"},
		{"unknown operation", request{method: "PUT", path: "/files/x", query: "comp=lease"}, 400, "UnsupportedQueryParameter"},
		{"method", request{method: "PATCH", path: "/files/x"}, 405, "UnsupportedHttpVerb"},
		{"length not told", request{method: "PUT", path: "/files/x", header: block, body: "x", length: -1}, 411, "MissingContentLengthHeader"},
		{"length of 10 TB", request{method: "PUT", path: "/files/x", header: block, body: "x", length: 10 << 40}, 413, "RequestBodyTooLarge"},
		{"append of 5 MiB", request{method: "PUT", path: "/files/x", query: "comp=appendblock", body: "x", length: 5 << 20}, 413, "RequestBodyTooLarge"},
		{"block list of 9 MiB", request{method: "PUT", path: "/files/x", query: "comp=blocklist", body: "x", length: 9 << 20}, 413, "RequestBodyTooLarge"},
		{"block without id", request{method: "PUT", path: "/files/x", query: "comp=block", body: "x"}, 400, "MissingRequiredQueryParameter"},
		{"block with a bad id", request{method: "PUT", path: "/files/x", query: "comp=block&blockid=%3F", body: "x"}, 400, "InvalidBlockId"},
		{"block without bytes", request{method: "PUT", path: "/files/x", query: "comp=block&blockid=AAAA"}, 400, "InvalidHeaderValue"},
		{"block list that nests", request{method: "PUT", path: "/files/x", query: "comp=blocklist", body: "<BlockList><Latest><a/></Latest></BlockList>"}, 400, "InvalidXmlDocument"},
		{"block list with an entity", request{method: "PUT", path: "/files/x", query: "comp=blocklist", body: `<!DOCTYPE x [<!ENTITY a "b">]><BlockList><Latest>&a;</Latest></BlockList>`}, 400, "InvalidXmlDocument"},
		{"two documents", request{method: "PUT", path: "/files/x", query: "comp=blocklist", body: "<BlockList/><BlockList/>"}, 400, "InvalidXmlDocument"},
		{"metadata of 9 KiB", request{method: "PUT", path: "/files/x", header: with("x-ms-meta-a", strings.Repeat("x", 9<<10))}, 400, "MetadataTooLarge"},
		{"metadata without a name", request{method: "PUT", path: "/files/x", header: with("x-ms-meta-", "x")}, 400, "EmptyMetadataKey"},
		{"metadata that is not ASCII", request{method: "PUT", path: "/files/x", header: with("x-ms-meta-a", "é")}, 400, "InvalidMetadata"},
		{"date", request{method: "PUT", path: "/files/x", header: with("If-Unmodified-Since", "soon")}, 400, "InvalidHeaderValue"},
		{"block list type", request{method: "GET", path: "/files/x", query: "comp=blocklist&blocklisttype=some"}, 400, "InvalidQueryParameterValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.name, "name") || strings.Contains(c.name, "container") {
				c.q.token = sign(blobsas.Grant{Container: "files", Permissions: "rcw"})
			}
			(&world{t, w.handler, w.store}).do(c.q).is(c.status, c.code)
		})
	}
	if all, err := w.store.Container("files").List(t.Context(), "", "", 10); err != nil || len(all) != 0 {
		t.Errorf("blobs were made: %v, %v", all, err)
	}
}

// TestFull tells clients of a full disk.
func TestFull(t *testing.T) {
	w := newWorldWith(t, dirblob.Options{ReserveBytes: math.MaxInt64})
	w.put("x", "content").is(507, "InsufficientStorage")
	w.block("x", 1, "content").is(507, "InsufficientStorage")
}

// TestCutBody keeps nothing of what a client did not send to its end.
func TestCutBody(t *testing.T) {
	w := newWorld(t)
	s := httptest.NewServer(w.handler)
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	token := sign(blobsas.Grant{Container: "files", Blob: "x", Permissions: "w"})
	fmt.Fprintf(conn, "PUT /files/x?%s HTTP/1.1\r\nHost: %s\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 1000\r\n\r\nonly some", token, hubHost)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != 400 {
			t.Errorf("a body cut short is answered %d: %s", res.StatusCode, b)
		}
		res.Body.Close()
	}
	conn.Close()
	w.get("x").is(404, "BlobNotFound")
}
