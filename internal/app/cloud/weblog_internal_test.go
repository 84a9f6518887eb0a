package cloud

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// lines is a writer of lines of a log.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func TestPanicsAreErrors(t *testing.T) {
	out := make(lines, 8)
	w := newWebLog(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, major := range []int{1, 2} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
		s.EnableHTTP2 = major == 2
		s.Config.ErrorLog = w
		s.StartTLS()
		res, err := s.Client().Get(s.URL)
		if err == nil {
			res.Body.Close()
			t.Errorf("HTTP/%d: %s", major, res.Status)
		}
		select {
		case line := <-out:
			if !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "oops") {
				t.Errorf("HTTP/%d: the log is %s", major, line)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("HTTP/%d: nothing is logged", major)
		}
		s.Close()
	}
	w.Print("http: TLS handshake error from 192.0.2.1: EOF")
	if line := <-out; !strings.Contains(line, "level=DEBUG") {
		t.Errorf("a handshake that failed: the log is %s", line)
	}
}
