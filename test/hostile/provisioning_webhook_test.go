package hostile

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/causeway-iot/causeway/internal/app/config"
)

// custom makes an enrollment whose hub a webhook chooses. The device has the key
// that it has in the group.
func (f *factory) custom(c *http.Client, id, webhook string) {
	f.t.Helper()
	key := base64.StdEncoding.EncodeToString(f.derived(id))
	f.enroll(c, "/enrollments/"+id, fmt.Sprintf(`{"registrationId":%q,"attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":%q,"secondaryKey":%q}},
		"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":%q,"apiVersion":"2021-10-01"}}`, id, key, key, webhook))
}

// TestProvisioningWebhook has webhooks answer what they should not. The device is
// told that the allocation failed, others are served, and nothing is left.
func TestProvisioningWebhook(t *testing.T) {
	var elsewhere atomic.Int32
	end := make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	bomb := zipped(64 << 20)
	hostile := map[string]http.HandlerFunc{
		"webhook that never answers": func(_ http.ResponseWriter, r *http.Request) { wait(r, end) },
		"webhook that never ends its answer": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"iotHubHostName":`))
			w.(http.Flusher).Flush()
			wait(r, end)
		},
		"webhook with an endless answer": func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil || r.Context().Err() != nil {
					return
				}
			}
		},
		"webhook with a huge header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
			w.WriteHeader(http.StatusOK)
		},
		"webhook with an answer that unpacks to much": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
		"webhook that redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"webhook that refuses":                   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) },
		"webhook that hangs up":                  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"webhook that answers with no JSON":      text(`<html>`),
		"webhook that answers with nothing":      text(``),
		"webhook that answers with null":         text(`null`),
		"webhook that answers with a list":       text(`["localhost"]`),
		"webhook that answers with a number":     text(`{"iotHubHostName":7}`),
		"webhook with an answer nested deeply":   text(`{"iotHubHostName":"localhost","payload":` + strings.Repeat("[", 50_000) + `}`),
		"webhook that chooses another's hub":     text(`{"iotHubHostName":"evil.example"}`),
		"webhook with a payload that is too big": text(`{"iotHubHostName":"localhost","payload":"` + strings.Repeat("x", 65<<10) + `"}`),
		"webhook with a twin that is none":       text(`{"iotHubHostName":"localhost","initialTwin":{"tags":[1]}}`),
		"webhook with a twin that is too big":    text(`{"iotHubHostName":"localhost","initialTwin":{"tags":{"a":"` + strings.Repeat("x", 65<<10) + `"}}}`),
	}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hostile[r.URL.Query().Get("as")](w, r)
	}))
	t.Cleanup(hook.Close)
	t.Cleanup(sync.OnceFunc(func() { close(end) }))

	w := newWorld(t)
	f := newFactory(t, w)
	c := f.web()
	ids := map[string]string{}
	for name := range hostile {
		id := fmt.Sprint("d", len(ids))
		ids[name] = id
		f.custom(c, id, hook.URL+"/?as="+url.QueryEscape(name))
	}
	var wg sync.WaitGroup
	for name, id := range ids {
		wg.Go(func() {
			s := f.register(f.web(), id, f.token(id), "{}")
			if s.status != 200 || s.field("status") != "failed" || s.field("registrationState", "errorCode") != "400207" ||
				!strings.HasPrefix(s.field("registrationState", "errorMessage"), "Custom allocation failed") {
				t.Errorf("%s: %d %.500s", name, s.status, s.body)
			}
		})
	}
	f.provisions(c, "meanwhile")
	wg.Wait()
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
	c.CloseIdleConnections()
	hook.CloseClientConnections()
}

// wait waits until a client is gone, or the test ends.
func wait(r *http.Request, end <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-end:
	}
}

// zipped returns n zeros, compressed.
func zipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range n >> 16 {
		_, _ = z.Write(make([]byte, 1<<16)) // into memory
	}
	_ = z.Close()
	return b.Bytes()
}

// TestProvisioningWebhookAddresses names webhooks at addresses that a service on the
// internet must not be led to, by number, by name, and in forms of IPv6.
func TestProvisioningWebhookAddresses(t *testing.T) {
	var hits atomic.Int32
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte(`{"iotHubHostName":"localhost"}`))
	}))
	t.Cleanup(hook.Close)
	_, port, err := net.SplitHostPort(hook.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	register := func(f *factory, c *http.Client, hosts map[string]string) map[string]said {
		var wg sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]said{}
		n := 0
		for name, host := range hosts {
			id := fmt.Sprint("d", n)
			n++
			f.custom(c, id, "http://"+host+":"+port+"/")
			wg.Go(func() {
				s := f.register(f.web(), id, f.token(id), "{}")
				mu.Lock()
				defer mu.Unlock()
				answers[name] = s
			})
		}
		wg.Wait()
		return answers
	}
	failed := func(answers map[string]said) {
		t.Helper()
		for name, s := range answers {
			if s.field("status") != "failed" || s.field("registrationState", "errorMessage") != "Custom allocation failed: the webhook cannot be called" {
				t.Errorf("%s: %d %.500s", name, s.status, s.body)
			}
		}
	}
	always := map[string]string{
		"the metadata service":               "169.254.169.254",
		"the metadata service, IPv4 in IPv6": "[::ffff:169.254.169.254]",
		"the metadata service by NAT64":      "[64:ff9b::a9fe:a9fe]",
		"the metadata service by IPv6":       "[fd00:ec2::254]",
		"the wire server":                    "168.63.129.16",
		"no host":                            "0.0.0.0",
		"no host, IPv6":                      "[::]",
		"many hosts":                         "224.0.0.1",
	}
	private := map[string]string{
		"this machine":               "127.0.0.1",
		"this machine, by name":      "localhost", // looked up when it is called, whatever it was before
		"this machine, another":      "127.8.8.8",
		"this machine, IPv6":         "[::1]",
		"this machine, IPv4 in IPv6": "[::ffff:127.0.0.1]",
		"this machine, hexadecimal":  "[::ffff:7f00:1]",
		"this machine by NAT64":      "[64:ff9b::7f00:1]",
		"a private network":          "10.0.0.1",
		"a private network, IPv6":    "[fd00::1]",
	}
	t.Run("from the internet", func(t *testing.T) {
		w := newWorld(t, func(c *config.Config) { c.Endpoints.Private = false })
		f := newFactory(t, w)
		c := f.web()
		failed(register(f, c, always))
		failed(register(f, c, private))
		c.CloseIdleConnections()
	})
	if n := hits.Load(); n > 0 {
		t.Errorf("the webhook on this machine was called %d times", n)
	}
	t.Run("within a network", func(t *testing.T) {
		w := newWorld(t)
		f := newFactory(t, w)
		c := f.web()
		failed(register(f, c, always))
		// That the test can tell: allowed, the same webhook is called.
		for name, s := range register(f, c, map[string]string{"this machine": "127.0.0.1"}) {
			if s.field("status") != "assigned" || hits.Load() == 0 {
				t.Errorf("%s: %d %.500s", name, s.status, s.body)
			}
		}
		c.CloseIdleConnections()
	})
}
