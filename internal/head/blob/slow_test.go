package blob_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

// slow is a client that sends a byte now and then, and the connection it does it
// on, whose deadlines count in simulated time.
type slow struct {
	*httptest.ResponseRecorder
	every time.Duration

	mu       sync.Mutex
	deadline time.Time
}

func (s *slow) SetReadDeadline(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = at
	return nil
}

func (s *slow) Read(p []byte) (int, error) {
	s.mu.Lock()
	at := s.deadline
	s.mu.Unlock()
	if !at.IsZero() && time.Now().Add(s.every).After(at) {
		time.Sleep(time.Until(at)) //nolint:forbidigo // simulated time
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.every) //nolint:forbidigo // simulated time
	p[0] = ' '
	return 1, nil
}

// slowly makes a request with a slow body of a length and returns the answer.
func (w *world) slowly(method, path, query string, length int64) *slow {
	s := &slow{ResponseRecorder: httptest.NewRecorder(), every: 20 * time.Second}
	token := sign(blobsas.Grant{Container: "files", Permissions: "racwdl"})
	r := httptest.NewRequestWithContext(w.Context(), method, path+"?"+strings.Trim(query+"&"+token, "&"), io.NopCloser(s))
	r.Host, r.ContentLength = hubHost, length
	r.Header.Set("x-ms-version", "2021-12-02")
	r.Header.Set("x-ms-blob-type", "BlockBlob")
	w.handler.ServeHTTP(s, r)
	return s
}

// TestSlowBody: a client that sends byte by byte is given up in the end, and does
// not hold up others, however many there are of it.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put("log", "", "x-ms-blob-type", "AppendBlob").is(201, "")
		began := time.Now()
		late := func(what string, s *slow, after time.Duration) {
			code := ""
			for name, values := range s.Header() { // not spelled as net/http would
				if strings.EqualFold(name, "x-ms-error-code") {
					code = values[0]
				}
			}
			if took := time.Since(began); s.Code != http.StatusInternalServerError || code != "OperationTimedOut" || took != after {
				t.Errorf("%s: %d %s after %v, want OperationTimedOut after %v", what, s.Code, code, took, after)
			}
		}
		var all sync.WaitGroup
		for range 40 { // more than may be held in memory at once
			all.Go(func() {
				if s := w.slowly("PUT", "/files/slow", "comp=blocklist", 1<<20); s.Code != http.StatusInternalServerError {
					t.Errorf("a slow list: %d", s.Code)
				}
			})
		}
		all.Go(func() { late("a blob", w.slowly("PUT", "/files/blob", "", 3<<20), 40*time.Minute) })
		all.Go(func() { late("a small blob", w.slowly("PUT", "/files/small", "", 1000), 10*time.Minute) })
		synctest.Wait()

		// What is small needs no room.
		w.do(request{method: "PUT", path: "/files/log", query: "comp=appendblock", body: "x"}).is(201, "")
		w.do(request{method: "PUT", path: "/files/x", query: "comp=blocklist", body: "<BlockList></BlockList>"}).is(201, "")
		w.do(request{method: "GET", path: "/files", query: "restype=container&comp=list&maxresults=10"}).is(200, "")
		if took := time.Since(began); took != 0 {
			t.Errorf("small requests waited for %v", took)
		}
		// What is large waits for those that have it, who have not for ever.
		w.do(request{method: "PUT", path: "/files/log", query: "comp=appendblock", body: strings.Repeat("x", 1<<20)}).is(201, "")
		if took := time.Since(began); took == 0 || took > 4*time.Minute {
			t.Errorf("a large append waited for %v", took)
		}
		all.Wait()
		w.get("blob").is(404, "BlobNotFound")
	})
}
