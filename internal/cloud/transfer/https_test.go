package transfer_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// azure answers as the Blob service does, as far as it is used.
type azure struct {
	mu     sync.Mutex
	blocks map[string]string
	blobs  map[string]string
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := r.URL.Query()
	if q.Get("sig") != "s/i+g=" || q.Get("sv") != "2020-10-02" || r.Header.Get("x-ms-version") == "" {
		w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code><Message>no</Message></Error>`)
		return
	}
	path, body := r.URL.Path, ""
	if b, err := io.ReadAll(r.Body); err == nil {
		body = string(b)
	}
	switch {
	case path == "/c/slow.txt":
		w.WriteHeader(http.StatusServiceUnavailable)
	case path == "/c/away.txt":
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		a.blocks[path+" "+q.Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal([]byte(body), &list); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		text := ""
		for _, id := range list.Latest {
			text += a.blocks[path+" "+id]
		}
		a.blobs[path] = text
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodGet:
		text, ok := a.blobs[path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>BlobNotFound</Code></Error>`)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(text)))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func TestHTTPS(t *testing.T) {
	a := &azure{blocks: map[string]string{}, blobs: map[string]string{}}
	srv := httptest.NewTLSServer(a)
	defer srv.Close()
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	h := transfer.HTTPS{Client: client}
	open := func(query string) transfer.Container {
		c, err := h.Open(causeway.Secret(srv.URL + "/c/" + query))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open("?sv=2020-10-02&sig=s%2Fi%2Bg%3D")
	ctx := t.Context()
	for i, part := range []string{"one ", "two ", "three"} {
		if err := c.Stage(ctx, "a b/ü.txt", fmt.Sprintf("id-%d", i), []byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Commit(ctx, "a b/ü.txt", []string{"id-0", "id-2"}); err != nil {
		t.Fatal(err)
	}
	read := func(off int64, etag string) (string, transfer.Object, error) {
		o, err := c.Read(ctx, "a b/ü.txt", off, etag)
		if err != nil {
			return "", o, err
		}
		defer o.Close()
		b, err := io.ReadAll(o)
		return string(b), o, err
	}
	text, o, err := read(0, "")
	if text != "one three" || o.Size != 9 || o.ETag != `"9"` || err != nil {
		t.Errorf("%q, %+v, %v", text, o, err)
	}
	for off, want := range map[int64]string{4: "three", 9: ""} {
		if text, o, err = read(off, `"9"`); text != want || o.Size != 9 || err != nil {
			t.Errorf("from %d: %q, %+v, %v", off, text, o, err)
		}
	}
	if _, _, err = read(4, `"8"`); causeway.CodeOf(err) != causeway.PreconditionFailed {
		t.Errorf("another etag: %v", err)
	}
	for _, x := range []struct {
		c    transfer.Container
		name string
		code causeway.Code
		says string
	}{
		{c, "none.txt", causeway.InvalidStorageEndpointOrBlob, "BlobNotFound"},
		{c, "slow.txt", causeway.ServiceUnavailable, "503"},
		{c, "away.txt", causeway.InvalidStorageEndpoint, "302"},
		{open("?sv=2020-10-02&sig=bad"), "x", causeway.InvalidStorageEndpoint, "AuthenticationFailed"},
	} {
		_, err := x.c.Read(ctx, x.name, 0, "")
		if causeway.CodeOf(err) != x.code || !strings.Contains(causeway.MessageOf(err), x.says) {
			t.Errorf("%s: %v, want %v", x.name, err, x.code)
		}
	}
	srv.CloseClientConnections()
	srv.Close()
	err = c.Commit(ctx, "x", nil)
	if causeway.CodeOf(err) != causeway.ServiceUnavailable || strings.Contains(err.Error(), "sig") {
		t.Errorf("nobody there: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Read(canceled, "x", 0, ""); err == nil {
		t.Error("a context that ended")
	}
}

func TestHTTPSAddresses(t *testing.T) {
	for uri, ok := range map[string]bool{
		"https://a.blob.core.windows.net/c?sv=1&sig=x": true, "https://localhost:8443/causeway/c/?sig=x": true,
		"": false, "http://a/c?sig=x": false, "https:///c?sig=x": false, "https://a/?sig=x": false, "https://a/c": false,
		"https://u:p@a/c?sig=x": false, "https://a/c?sig=x#f": false, "file:///etc/passwd?sig=x": false, "https://a/c?sig=%zz": false, "://": false,
	} {
		_, err := transfer.HTTPS{}.Open(causeway.Secret(uri))
		if (err == nil) != ok || err != nil && causeway.CodeOf(err) != causeway.BlobContainerValidationError {
			t.Errorf("%q: %v", uri, err)
		}
		if err != nil && len(uri) > 5 && strings.Contains(err.Error(), uri) {
			t.Errorf("%q is repeated: %v", uri, err)
		}
	}
}
