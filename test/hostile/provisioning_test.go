package hostile

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
)

// factory is who registers devices, and may manage enrollments: it has the group's
// key and the owner's.
type factory struct {
	*world
	scope string
	group causeway.Secret // key of the group "devices"
	back  string          // token of the owner
}

func newFactory(t *testing.T, w *world) *factory {
	t.Helper()
	conn := w.Connection()
	cs, err := sas.ParseConnectionString(conn.DPSServiceConnectionString)
	if err != nil {
		t.Fatal(err)
	}
	return &factory{
		world: w, scope: conn.DPSIDScope, group: causeway.Secret(conn.DPSGroupKey),
		back: sas.Sign(cs.HostName, decode(t, cs.SharedAccessKey), cs.SharedAccessKeyName, time.Now().Add(time.Hour)),
	}
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// derived returns the key of a device of the group.
func (f *factory) derived(id string) []byte {
	f.t.Helper()
	k, err := attestation.DeriveKey(f.group, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return decode(f.t, string(k))
}

// token returns what a device of the group proves itself by.
func (f *factory) token(id string) string {
	f.t.Helper()
	return sas.Sign(f.scope+"/registrations/"+id, f.derived(id), "registration", time.Now().Add(time.Hour))
}

// web returns a client that shows a chain of certificates, or none.
func (f *factory) web(certs ...tls.Certificate) *http.Client {
	cfg := f.tls.Clone()
	cfg.Certificates = certs
	tr := &http.Transport{TLSClientConfig: cfg, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", f.https)
	}}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// said is an answer.
type said struct {
	status int
	header http.Header
	body   string
}

// field returns a member of the answer, as text.
func (s said) field(path ...string) string {
	var v any
	_ = json.Unmarshal([]byte(s.body), &v) // what is no JSON has no members
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	if v == nil {
		return ""
	}
	if n, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprint(v)
}

func (f *factory) call(c *http.Client, method, path, token, body string) (said, error) {
	if !strings.Contains(path, "?") {
		path += "?api-version=2021-06-01"
	}
	r, err := http.NewRequestWithContext(f.t.Context(), method, "https://localhost"+path, strings.NewReader(body))
	if err != nil {
		return said{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	res, err := c.Do(r)
	if err != nil {
		return said{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return said{res.StatusCode, res.Header, string(b)}, err
}

func (f *factory) must(c *http.Client, method, path, token, body string) said {
	f.t.Helper()
	s, err := f.call(c, method, path, token, body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return s
}

// enroll makes an enrollment, or a group.
func (f *factory) enroll(c *http.Client, path, doc string) {
	f.t.Helper()
	if s := f.must(c, "PUT", path, f.back, doc); s.status != 200 {
		f.t.Fatalf("enroll %s: %d %s", path, s.status, s.body)
	}
}

func (f *factory) path(id string) string { return "/" + f.scope + "/registrations/" + id }

// register registers a device and returns how that ends.
func (f *factory) register(c *http.Client, id, token, body string) said {
	f.t.Helper()
	s := f.must(c, "PUT", f.path(id)+"/register", token, body)
	for end := time.Now().Add(patience); s.status == http.StatusAccepted && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // polls with a deadline
		s = f.must(c, "GET", f.path(id)+"/operations/"+s.field("operationId"), token, "")
	}
	return s
}

// provisions checks that a device that means well is let in.
func (f *factory) provisions(c *http.Client, id string) {
	f.t.Helper()
	if s := f.register(c, id, f.token(id), "{}"); s.status != 200 || s.field("status") != "assigned" {
		f.t.Errorf("a device of the group: %d %s", s.status, s.body)
	}
}

// TestProvisioning sends a provisioning service what devices should not send.
func TestProvisioning(t *testing.T) {
	w := newWorld(t)
	f := newFactory(t, w)
	c := f.web()
	at := func(id string, from time.Time) string {
		return sas.Sign(f.scope+"/registrations/"+id, f.derived(id), "registration", from)
	}
	good, later := f.token("d"), time.Now().Add(time.Hour)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	type row struct {
		name   string
		method string
		path   string
		token  string
		body   string
		status int
		text   string
	}
	register := f.path("d") + "/register"
	for _, r := range []row{
		{"foreign scope", "PUT", "/0neFFFFFFFF/registrations/d/register", good, "{}", 404, `"errorCode":404203`},
		{"scope that is none", "PUT", "/" + strings.Repeat("x", 1000) + "/registrations/d/register", good, "{}", 404, `"errorCode":404203`},
		{"token of another scope", "PUT", register, sas.Sign("0neFFFFFFFF/registrations/d", f.derived("d"), "registration", later), "{}", 401, `"message":"Unauthorized"`},
		{"token of another registration", "PUT", register, f.token("e"), "{}", 401, `"message":"Unauthorized"`},
		{"token of the hub", "PUT", register, sas.Sign("localhost/devices/d", f.derived("d"), "", later), "{}", 401, `"message":"Unauthorized"`},
		{"token of a back end", "PUT", register, f.back, "{}", 401, `"message":"Unauthorized"`},
		{"token signed with the group's own key", "PUT", register, sas.Sign(f.scope+"/registrations/d", decode(t, string(f.group)), "registration", later), "{}", 401, `"message":"Unauthorized"`},
		{"token of hours ago", "PUT", register, at("d", time.Now().Add(-2*time.Hour)), "{}", 401, `"message":"Unauthorized"`},
		{"token of the year 1970", "PUT", register, at("d", time.Unix(0, 0)), "{}", 401, `"message":"Unauthorized"`},
		{"no token", "PUT", register, "", "{}", 401, `"message":"Unauthorized"`},
		{"token that is none", "PUT", register, "SharedAccessSignature " + strings.Repeat("sr=&", 2000), "{}", 401, `"message":"Unauthorized"`},
		{"registration id that is none", "PUT", f.path("%00") + "/register", good, "{}", 400, "registration id"},
		{"registration id with a slash", "PUT", f.path("a%2Fb") + "/register", good, "{}", 400, "registration id"},
		{"registration id that is too long", "PUT", f.path(strings.Repeat("d", 129)) + "/register", good, "{}", 400, "registration id"},
		{"another id in the body", "PUT", register, good, `{"registrationId":"e"}`, 400, "registrationId"},
		{"body that is no JSON", "PUT", register, good, `{"payload":`, 400, "JSON object"},
		{"body that is not UTF-8", "PUT", register, good, "{\"payload\":\"\xff\"}", 400, "UTF-8"},
		{"payload that is too large", "PUT", register, good, `{"payload":"` + strings.Repeat("x", 64<<10) + `"}`, 400, "payload has"},
		{"body that is too large for a registration", "PUT", register, good, `{"x":"` + strings.Repeat("x", 128<<10) + `"}`, 400, "at most 131072"},
		{"body that is too large for anything", "PUT", register, good, strings.Repeat(" ", 2<<20), 413, "larger than"},
		{"payload nested too deeply", "PUT", register, good, `{"payload":` + deep(20_000) + `}`, 400, "JSON object"},
		{"keys of a TPM that are none", "PUT", register, "", `{"tpm":{"endorsementKey":"AAAA","storageRootKey":"AAAA"}}`, 400, "tpm.endorsementKey"},
		{"keys of a TPM that are huge", "PUT", register, "", `{"tpm":{"endorsementKey":"` + strings.Repeat("A", 80_000) + `","storageRootKey":""}}`, 400, "more than 1024"},
		{"operation of nobody", "GET", f.path("d") + "/operations/5.0.x", good, "", 404, `"errorCode":404202`},
		{"operation of another device", "GET", f.path("d") + "/operations/" + operationOf(f, c, "other"), good, "", 404, `"errorCode":404202`},
		{"enrollment by a device", "GET", "/enrollments/d", good, "", 401, `"errorCode":401002`},
	} {
		t.Run(r.name, func(t *testing.T) {
			s, err := f.call(c, r.method, r.path, r.token, r.body)
			if err != nil || s.status != r.status || !strings.Contains(s.body, r.text) {
				t.Errorf("%d %.500s, %v; want %d with %s", s.status, s.body, err, r.status, r.text)
			}
		})
	}
	f.provisions(c, "d")
	// As deep as is taken: what comes out is what went in.
	if s := f.register(c, "d", good, `{"payload":`+deep(9_000)+`}`); s.field("status") != "assigned" {
		t.Errorf("a payload nested deeply: %d %.500s", s.status, s.body)
	}
	c.CloseIdleConnections()
	w.unharmed(16 << 20)
}

// operationOf registers a device and returns its operation.
func operationOf(f *factory, c *http.Client, id string) string {
	f.t.Helper()
	return f.must(c, "PUT", f.path(id)+"/register", f.token(id), "{}").field("operationId")
}

// TestProvisioningTellsNobody checks that whoever is refused learns nothing of who
// is enrolled: neither by what is said, nor by how long that takes.
func TestProvisioningTellsNobody(t *testing.T) {
	w := newWorld(t)
	f := newFactory(t, w)
	c := f.web()
	for i := range 40 { // so that it takes a while to try all groups
		f.enroll(c, fmt.Sprint("/enrollmentGroups/g", i), fmt.Sprintf(`{"enrollmentGroupId":"g%d","attestation":{"type":"symmetricKey"}}`, i))
	}
	f.enroll(c, "/enrollments/known", `{"registrationId":"known","attestation":{"type":"symmetricKey"}}`)
	f.enroll(c, "/enrollments/blocked", `{"registrationId":"blocked","attestation":{"type":"symmetricKey"},"provisioningStatus":"disabled"}`)
	b64 := base64.StdEncoding.EncodeToString
	f.enroll(c, "/enrollments/tpm", `{"registrationId":"tpm","attestation":{"type":"tpm","tpm":{"endorsementKey":"`+b64(tpm2test.New(t).EndorsementKey())+`"}}}`)
	stranger := tpm2test.New(t)
	guess := func(id string) (said, time.Duration) {
		token := sas.Sign(f.scope+"/registrations/"+id, []byte("a guess"), "registration", time.Now().Add(time.Hour))
		began := time.Now()
		s := f.must(c, "PUT", f.path(id)+"/register", token, "{}")
		return s, time.Since(began)
	}
	ids := []string{"known", "unknown", "blocked", "tpm"}
	same := func(id string, a, b said) {
		t.Helper()
		for _, volatile := range []string{"trackingId", "timestampUtc"} {
			a.body = strings.ReplaceAll(a.body, a.field(volatile), "")
			b.body = strings.ReplaceAll(b.body, b.field(volatile), "")
		}
		for _, h := range []http.Header{a.header, b.header} {
			h.Del("x-ms-request-id")
			h.Del("Date")
		}
		if a.status != b.status || a.body != b.body || fmt.Sprint(a.header) != fmt.Sprint(b.header) {
			t.Errorf("%s: %d %s %v; another: %d %s %v", id, a.status, a.body, a.header, b.status, b.body, b.header)
		}
	}
	unknown, _ := guess("nobody")
	if unknown.status != 401 {
		t.Fatalf("a guess: %d %s", unknown.status, unknown.body)
	}
	for _, id := range ids {
		s, _ := guess(id)
		same(id, s, unknown)
	}
	challenge := func(id string) said {
		return f.must(c, "PUT", f.path(id)+"/register", "", `{"tpm":{"endorsementKey":"`+b64(stranger.EndorsementKey())+`","storageRootKey":"`+b64(stranger.StorageRootKey())+`"}}`)
	}
	nobody := challenge("nobody")
	for _, id := range ids { // with another key than the one enrolled
		same(id+", asked for a challenge", challenge(id), nobody)
	}

	// The least of many times is what the work takes, whatever else the machine does.
	for round := 0; ; round++ {
		least := map[string]time.Duration{}
		for range 100 {
			for _, id := range ids {
				if _, took := guess(id); least[id] == 0 || took < least[id] {
					least[id] = took
				}
			}
		}
		fastest, slowest := least["known"], least["known"]
		for _, took := range least {
			fastest, slowest = min(fastest, took), max(slowest, took)
		}
		t.Logf("it takes %v", least)
		if slowest-fastest < fastest/4+50*time.Microsecond {
			break
		}
		if round == 5 {
			t.Errorf("how long a refusal takes tells who is enrolled: %v", least)
			break
		}
	}
	c.CloseIdleConnections()
}

// TestProvisioningChallenges asks for the challenge of one TPM again and again. The
// last few count, and nothing piles up.
func TestProvisioningChallenges(t *testing.T) {
	w := newWorld(t)
	f := newFactory(t, w)
	c := f.web()
	tpm := tpm2test.New(t)
	b64 := base64.StdEncoding.EncodeToString
	f.enroll(c, "/enrollments/tpm", `{"registrationId":"tpm","attestation":{"type":"tpm","tpm":{"endorsementKey":"`+b64(tpm.EndorsementKey())+`"}}}`)
	body := `{"tpm":{"endorsementKey":"` + b64(tpm.EndorsementKey()) + `","storageRootKey":"` + b64(tpm.StorageRootKey()) + `"}}`
	challenge := func(web *http.Client) string {
		s, err := f.call(web, "PUT", f.path("tpm")+"/register", "", body)
		if err != nil || s.status != 401 || s.field("authenticationKey") == "" {
			t.Errorf("challenge: %d %s, %v", s.status, s.body, err)
		}
		return s.field("authenticationKey")
	}
	sign := func(blob string) string {
		t.Helper()
		key, err := tpm.Activate(decode(t, blob))
		if err != nil {
			t.Fatal(err)
		}
		return sas.Sign(f.scope+"/registrations/tpm", key, "registration", time.Now().Add(time.Hour))
	}
	first := challenge(c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			web := f.web()
			defer web.CloseIdleConnections()
			for range 250 {
				challenge(web)
			}
		})
	}
	wg.Wait()
	if s := f.must(c, "PUT", f.path("tpm")+"/register", sign(first), body); s.status != 401 {
		t.Errorf("a challenge of %d ago: %d %s", 2000, s.status, s.body)
	}
	token := sign(challenge(c))
	if s := f.register(c, "tpm", token, body); s.field("status") != "assigned" {
		t.Errorf("the last challenge: %d %s", s.status, s.body)
	}
	if s := f.must(c, "PUT", f.path("tpm")+"/register", token, body); s.status != 401 || s.field("errorCode") != "401002" {
		t.Errorf("a token again: %d %s", s.status, s.body)
	}
	c.CloseIdleConnections()
	w.unharmed(16 << 20)
}
