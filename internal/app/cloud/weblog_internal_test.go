package cloud

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/testkit/output"
)

func TestPanicsAreErrors(t *testing.T) {
	for _, major := range []int{1, 2} {
		out := &output.Buffer{}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
		s.EnableHTTP2 = major == 2
		s.Config.ErrorLog = newWebLog(slog.New(slog.NewTextHandler(out, nil)))
		s.StartTLS()
		res, err := s.Client().Get(s.URL)
		if err == nil {
			res.Body.Close()
			t.Errorf("HTTP/%d: %s", major, res.Status)
		}
		if _, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{ServerName: "stranger"}); err == nil {
			t.Error("a stranger trusts the server")
		}
		s.Close()
		if text := out.String(); strings.Count(text, "level=") != 1 || !strings.Contains(text, "level=ERROR") || !strings.Contains(text, "oops") {
			t.Errorf("HTTP/%d: the log is\n%s", major, text)
		}
	}
	var b bytes.Buffer
	newWebLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))).Print("http: TLS handshake error from 192.0.2.1: EOF")
	if !strings.Contains(b.String(), "level=DEBUG") {
		t.Errorf("the log is %s", b.String())
	}
}
