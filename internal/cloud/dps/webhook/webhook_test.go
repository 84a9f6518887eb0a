package webhook_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/cloud/dps/webhook"
	"github.com/causeway-iot/causeway/plugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPost(t *testing.T) {
	stall := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte(r.Method + " " + r.Header.Get("Content-Type") + " " + string(b)))
		case "/elsewhere":
			http.Redirect(w, r, "/echo", http.StatusFound)
		case "/huge":
			for range 1000 {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
			}
		case "/slow":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}
	}))
	defer s.Close()
	defer close(stall)
	c := webhook.New(plugin.Dialer{})
	defer c.Close()
	status, b, err := c.Post(t.Context(), s.URL+"/echo?code=x", []byte(`{}`), 100)
	if err != nil || status != http.StatusTeapot || string(b) != "POST application/json {}" {
		t.Errorf("%d %q, %v", status, b, err)
	}
	if status, _, err := c.Post(t.Context(), s.URL+"/elsewhere", nil, 100); err != nil || status != http.StatusFound {
		t.Errorf("a redirect: %d, %v", status, err)
	}
	if _, _, err := c.Post(t.Context(), s.URL+"/huge", nil, 100); err == nil || !strings.Contains(err.Error(), "more than 100 bytes") {
		t.Errorf("a huge answer: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Post(ctx, s.URL+"/slow", nil, 100); err == nil {
		t.Error("a slow answer is waited for")
	}
	public := webhook.New(plugin.Dialer{PublicOnly: true})
	defer public.Close()
	if _, _, err := public.Post(t.Context(), s.URL+"/echo", nil, 100); err == nil || !strings.Contains(err.Error(), "private") {
		t.Errorf("an address of this machine: %v", err)
	}
	if _, _, err := public.Post(t.Context(), "http://169.254.169.254/", nil, 100); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("the metadata service of a cloud: %v", err)
	}
}
