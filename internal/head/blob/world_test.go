package blob_test

import (
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	port "github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
	"github.com/causeway-iot/causeway/internal/head/blob"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hubHost = "plant.example.com"

var key = []byte("a key of tests")

// world is the head on a directory with the container files.
type world struct {
	*testing.T
	handler http.Handler
	store   port.Store
}

func newWorld(t *testing.T) *world { return newWorldWith(t, dirblob.Options{}) }

func newWorldWith(t *testing.T, o dirblob.Options) *world {
	t.Helper()
	dir := t.TempDir()
	s, err := dirblob.Open(dir, dirblob.Options{})
	if err == nil {
		err = s.Create(t.Context(), "files")
	}
	if err == nil && o != (dirblob.Options{}) {
		_ = s.Close()
		s, err = dirblob.Open(dir, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	server := &blob.Server{Accounts: func(host string) (blob.Account, bool) {
		return blob.Account{Key: key, Store: s}, host == hubHost || host == "localhost"
	}}
	return &world{T: t, handler: server.Handler(), store: s}
}

// request is what a test asks. A token for everything in the container files is
// added unless there is another.
type request struct {
	method, path string
	query        string // beside the token
	token        string
	noToken      bool
	header       map[string]string
	body         string
	host         string
	length       int64 // of the body; 0 is its own
}

// answer is what came back.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   string
}

func (w *world) do(q request) answer {
	w.Helper()
	if q.token == "" && !q.noToken {
		q.token = sign(blobsas.Grant{Container: "files", Permissions: "racwdl"})
	}
	query := q.query
	if q.token != "" {
		query = strings.Trim(query+"&"+q.token, "&")
	}
	r := httptest.NewRequestWithContext(w.Context(), q.method, q.path+"?"+query, strings.NewReader(q.body))
	if q.host == "" {
		q.host = hubHost
	}
	r.Host = q.host
	r.Header.Set("x-ms-version", "2021-12-02")
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	if q.length != 0 {
		r.ContentLength = q.length
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	res := rec.Result()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	a := answer{T: w.T, status: res.StatusCode, header: http.Header{}, body: string(b)}
	for k, v := range res.Header {
		a.header[http.CanonicalHeaderKey(k)] = v
	}
	if a.header.Get("x-ms-request-id") == "" || a.header.Get("x-ms-version") == "" || a.header.Get("Content-Security-Policy") != "sandbox" {
		w.Errorf("%s %s: headers that every answer has are missing: %v", q.method, q.path, a.header)
	}
	return a
}

// sign returns a token for an hour.
func sign(g blobsas.Grant) string {
	if g.Expiry.IsZero() {
		g.Expiry = time.Now().Add(time.Hour)
	}
	return blobsas.Sign(key, g)
}

// is checks the status, and of an error the code in header and body.
func (a answer) is(status int, code string) answer {
	a.Helper()
	if a.status != status || a.header.Get("x-ms-error-code") != code {
		a.Fatalf("status %d, code %q, want %d, %q: %s", a.status, a.header.Get("x-ms-error-code"), status, code, a.body)
	}
	if code == "" || a.body == "" {
		return a
	}
	var e struct{ Code, Message string }
	if err := xml.Unmarshal([]byte(a.body), &e); err != nil || e.Code != code || !strings.Contains(e.Message, "RequestId:"+a.header.Get("x-ms-request-id")) {
		a.Errorf("error body %s: %v", a.body, err)
	}
	return a
}

func (w *world) put(name, content string, header ...string) answer {
	w.Helper()
	h := map[string]string{"x-ms-blob-type": "BlockBlob"}
	for i := 0; i+1 < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return w.do(request{method: "PUT", path: "/files/" + escape(name), header: h, body: content})
}

func (w *world) get(name string, header ...string) answer {
	w.Helper()
	h := map[string]string{}
	for i := 0; i+1 < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return w.do(request{method: "GET", path: "/files/" + escape(name), header: h})
}

func escape(name string) string { return (&url.URL{Path: name}).EscapedPath() }
