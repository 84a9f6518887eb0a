package directory_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func open(t testing.TB, store directory.Store) *directory.Service {
	t.Helper()
	s, err := directory.New(store, directorytest.PlainSealer{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t testing.TB, s *directory.Service, name string, hosts ...string) directory.Hub {
	t.Helper()
	h, err := s.Create(t.Context(), name, hosts, directory.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func wantCode(t *testing.T, err error, code causeway.Code) {
	t.Helper()
	if got := causeway.CodeOf(err); got != code {
		t.Errorf("error is %v (code %v), want code %v", err, got, code)
	}
}

func TestCreate(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	h, err := s.Create(t.Context(), "plant", []string{"Plant.Example.COM.", "10.0.0.7"}, directory.CreateOptions{Settings: directory.Settings{MaxDeliveryCount: 3}})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"plant.example.com", "10.0.0.7"}, h.Hosts); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	if h.Partitions != causeway.DefaultPartitions || h.Settings.MaxDeliveryCount != 3 || time.Since(h.Created) > time.Minute {
		t.Errorf("hub: %+v", h)
	}
	rights := map[string]auth.Rights{}
	keys := map[causeway.Secret]bool{}
	for _, p := range h.Policies {
		rights[p.Name] = p.Rights
		for _, k := range []causeway.Secret{p.Primary, p.Secondary} {
			if b, err := base64.StdEncoding.DecodeString(string(k)); err != nil || len(b) != 32 {
				t.Errorf("key of %s has %d bytes: %v", p.Name, len(b), err)
			}
			keys[k] = true
		}
	}
	if d := cmp.Diff(map[string]auth.Rights{
		"iothubowner": auth.AllRights, "service": auth.ServiceConnect, "device": auth.DeviceConnect,
		"registryRead": auth.RegistryRead, "registryReadWrite": auth.RegistryRead | auth.RegistryWrite,
	}, rights); d != "" {
		t.Errorf("policies (-want +got):\n%s", d)
	}
	if len(keys) != 10 {
		t.Errorf("%d different keys, want 10", len(keys))
	}
	text, ok := h.ConnectionString("service")
	p, _ := h.Policy("service")
	if want := "HostName=plant.example.com;SharedAccessKeyName=service;SharedAccessKey=" + string(p.Primary); !ok || text != want {
		t.Errorf("connection string %q, want %q", text, want)
	}
	if _, ok := h.ConnectionString("nobody"); ok {
		t.Error("connection string of a policy that does not exist")
	}

	// What is stored is sealed, and a restart finds it all.
	stored, err := store.Hubs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range stored[0].Policies {
		if keys[p.Primary] || keys[p.Secondary] || !strings.HasPrefix(string(p.Primary), "sealed:") {
			t.Errorf("key of %s is stored open", p.Name)
		}
	}
	again, ok := open(t, store).Get("plant")
	if !ok {
		t.Fatal("hub is gone after a restart")
	}
	directorytest.Equal(t, "after a restart", []directory.Hub{again}, []directory.Hub{h})
}

func TestCreateRefuses(t *testing.T) {
	s := open(t, directorytest.NewMemory())
	create(t, s, "plant", "plant.example.com", "10.0.0.7")
	long := strings.Repeat("x", 64)
	for _, tc := range []struct {
		name, hub string
		hosts     []string
		o         directory.CreateOptions
		code      causeway.Code
	}{
		{"no name", "", []string{"h"}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"upper case", "Plant2", nil, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"dot", "a.b", nil, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"slash", "a/b", nil, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"hyphen first", "-a", nil, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"long name", long, nil, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"name taken", "plant", []string{"other"}, directory.CreateOptions{}, causeway.GenericConflict},
		{"host taken", "two", []string{"PLANT.example.com:443"}, directory.CreateOptions{}, causeway.GenericConflict},
		{"address taken", "two", []string{"10.0.0.7"}, directory.CreateOptions{}, causeway.GenericConflict},
		{"host twice", "two", []string{"h", "H"}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"host with space", "two", []string{"a b"}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"empty host", "two", []string{""}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"host with empty label", "two", []string{"a..b"}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"long host", "two", []string{strings.Repeat("a.", 127) + "a"}, directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"too many hosts", "two", strings.Fields(strings.Repeat("h ", 65)), directory.CreateOptions{}, causeway.ArgumentInvalid},
		{"too many partitions", "two", nil, directory.CreateOptions{Partitions: 33}, causeway.ArgumentInvalid},
		{"negative partitions", "two", nil, directory.CreateOptions{Partitions: -1}, causeway.ArgumentInvalid},
		{"short TTL", "two", nil, directory.CreateOptions{Settings: directory.Settings{CommandTTL: time.Second}}, causeway.ArgumentInvalid},
		{"long TTL", "two", nil, directory.CreateOptions{Settings: directory.Settings{CommandTTL: 49 * time.Hour}}, causeway.ArgumentInvalid},
		{"long feedback", "two", nil, directory.CreateOptions{Settings: directory.Settings{FeedbackTTL: 49 * time.Hour}}, causeway.ArgumentInvalid},
		{"short feedback", "two", nil, directory.CreateOptions{Settings: directory.Settings{FeedbackTTL: time.Second}}, causeway.ArgumentInvalid},
		{"short lock", "two", nil, directory.CreateOptions{Settings: directory.Settings{FeedbackLock: 4 * time.Second}}, causeway.ArgumentInvalid},
		{"long lock", "two", nil, directory.CreateOptions{Settings: directory.Settings{FileNotificationLock: 301 * time.Second}}, causeway.ArgumentInvalid},
		{"feedback deliveries", "two", nil, directory.CreateOptions{Settings: directory.Settings{FeedbackMaxDeliveryCount: -1}}, causeway.ArgumentInvalid},
		{"long notification", "two", nil, directory.CreateOptions{Settings: directory.Settings{FileNotificationTTL: 49 * time.Hour}}, causeway.ArgumentInvalid},
		{"notification deliveries", "two", nil, directory.CreateOptions{Settings: directory.Settings{FileNotificationMaxDeliveryCount: 101}}, causeway.ArgumentInvalid},
		{"deliveries", "two", nil, directory.CreateOptions{Settings: directory.Settings{MaxDeliveryCount: 101}}, causeway.ArgumentInvalid},
		{"retention", "two", nil, directory.CreateOptions{Settings: directory.Settings{RetentionTime: -1}}, causeway.ArgumentInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, err := s.Create(t.Context(), tc.hub, tc.hosts, tc.o)
			wantCode(t, err, tc.code)
			if err == nil {
				t.Errorf("created: %+v", h)
			}
		})
	}
	if n := len(s.List()); n != 1 {
		t.Errorf("%d hubs, want 1", n)
	}
}

func TestByHost(t *testing.T) {
	s := open(t, directorytest.NewMemory())
	create(t, s, "plant", "plant.example.com", "10.0.0.7", "fd00::7")
	create(t, s, "localhost")
	for host, want := range map[string]string{
		"plant.example.com": "plant", "PLANT.Example.com": "plant", "plant.example.com:8883": "plant", "plant.example.com.": "plant",
		"plant.example.com.:443": "plant", "10.0.0.7": "plant", "10.0.0.7:443": "plant", "fd00::7": "plant", "[fd00::7]": "plant",
		"[FD00::7]:8883": "plant", "localhost": "localhost", "LOCALHOST:1": "localhost",
		"": "", "plant": "", "example.com": "", "xplant.example.com": "", "10.0.0.8": "", "[": "", ":": "", "fd00::": "",
	} {
		h, ok := s.ByHost(host)
		if ok != (want != "") || h.Name != want {
			t.Errorf("ByHost(%q) = %q, %v; want %q", host, h.Name, ok, want)
		}
	}
}

func TestUpdate(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	before := create(t, s, "plant", "plant.example.com")
	create(t, s, "depot", "depot.example.com")
	var kept *directory.Hub
	h, err := s.Update(t.Context(), "plant", func(h *directory.Hub) error {
		kept = h
		h.Hosts = append(h.Hosts, "Alias")
		h.Policies = h.Policies[:1]
		h.Name, h.Partitions, h.Created = "x", 9, time.Time{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kept.Hosts[0] = "spoiled"
	if h.Name != "plant" || h.Partitions != before.Partitions || !h.Created.Equal(before.Created) || len(h.Policies) != 1 {
		t.Errorf("hub: %+v", h)
	}
	if _, ok := s.ByHost("alias"); !ok {
		t.Error("the new host is not found")
	}
	if len(before.Policies) != 5 || before.Hosts[0] != "plant.example.com" {
		t.Error("the update changed a hub handed out earlier")
	}
	boom := errors.New("boom")
	if _, err := s.Update(t.Context(), "plant", func(*directory.Hub) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("error of the change: %v", err)
	}
	_, err = s.Update(t.Context(), "plant", func(h *directory.Hub) error { h.Hosts = []string{"depot.example.com"}; return nil })
	wantCode(t, err, causeway.GenericConflict)
	_, err = s.Update(t.Context(), "nobody", func(*directory.Hub) error { return nil })
	wantCode(t, err, causeway.GenericNotFound)
	for name, change := range map[string]func(*directory.Hub){
		"policy twice":   func(h *directory.Hub) { h.Policies = append(h.Policies, h.Policies[0]) },
		"policy name":    func(h *directory.Hub) { h.Policies[0].Name = "a b" },
		"no rights":      func(h *directory.Hub) { h.Policies[0].Rights = 0 },
		"unknown rights": func(h *directory.Hub) { h.Policies[0].Rights = 0x80 },
		"short key":      func(h *directory.Hub) { h.Policies[0].Primary = "c2hvcnQ=" },
		"no base64":      func(h *directory.Hub) { h.Policies[0].Secondary = "?" },
		"no hosts":       func(h *directory.Hub) { h.Hosts = nil },
	} {
		_, err := s.Update(t.Context(), "plant", func(h *directory.Hub) error { change(h); return nil })
		if causeway.CodeOf(err) != causeway.ArgumentInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, _ := s.Get("plant")
	directorytest.Equal(t, "after refused updates", []directory.Hub{got}, []directory.Hub{h})
	again, _ := open(t, store).Get("plant")
	directorytest.Equal(t, "after a restart", []directory.Hub{again}, []directory.Hub{h})
}

func TestRegenerateKey(t *testing.T) {
	s := open(t, directorytest.NewMemory())
	was, _ := create(t, s, "plant").Policy("device")
	regenerate := func(which string) auth.Policy {
		h, err := s.RegenerateKey(t.Context(), "plant", "device", which)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := h.Policy("device")
		return p
	}
	p := regenerate("primary")
	if p.Primary == was.Primary || p.Secondary != was.Secondary {
		t.Error("primary: the wrong key changed")
	}
	q := regenerate("secondary")
	if q.Primary != p.Primary || q.Secondary == p.Secondary {
		t.Error("secondary: the wrong key changed")
	}
	if r := regenerate("swap"); r.Primary != q.Secondary || r.Secondary != q.Primary {
		t.Error("swap: keys were not exchanged")
	}
	_, err := s.RegenerateKey(t.Context(), "plant", "device", "tertiary")
	wantCode(t, err, causeway.ArgumentInvalid)
	_, err = s.RegenerateKey(t.Context(), "plant", "nobody", "primary")
	wantCode(t, err, causeway.GenericNotFound)
}

// certificate returns a self-signed certificate.
func certificate(t *testing.T, ca bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "factory"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestAuthorities(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	if r := create(t, s, "plant").Realm(); r.Roots != nil {
		t.Error("a hub without authorities has roots")
	}
	der := certificate(t, true)
	h, err := s.AddAuthority(t.Context(), "plant", directory.Authority{Name: "factory", DER: der})
	if err != nil {
		t.Fatal(err)
	}
	if h.Realm().Roots != nil {
		t.Error("an authority that is not verified is trusted")
	}
	h, err = s.Update(t.Context(), "plant", func(h *directory.Hub) error { h.Authority[0].Verified = true; return nil })
	if err != nil {
		t.Fatal(err)
	}
	cert, err := h.Authority[0].Certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]directory.Hub{
		"now": h, "restarted": func() directory.Hub { h, _ := open(t, store).Get("plant"); return h }(),
		"by hand": {Hosts: h.Hosts, Authority: h.Authority},
	} {
		r := h.Realm()
		if r.Roots == nil {
			t.Errorf("%s: no roots", name)
			continue
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: r.Roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a, b := h.Realm().Roots, h.Realm().Roots; a != b {
		t.Error("the pool of roots is made again for every use")
	}
	_, err = s.AddAuthority(t.Context(), "plant", directory.Authority{Name: "factory", DER: der})
	wantCode(t, err, causeway.GenericConflict)
	for name, bad := range map[string][]byte{"leaf": certificate(t, false), "noise": []byte("x"), "large": make([]byte, 1<<20)} {
		_, err = s.AddAuthority(t.Context(), "plant", directory.Authority{Name: name, DER: bad})
		wantCode(t, err, causeway.ArgumentInvalid)
	}
	h, err = s.RemoveAuthority(t.Context(), "plant", "factory")
	if err != nil || h.Realm().Roots != nil || len(h.Authority) != 0 {
		t.Errorf("removed: %+v, %v", h.Authority, err)
	}
	_, err = s.RemoveAuthority(t.Context(), "plant", "factory")
	wantCode(t, err, causeway.GenericNotFound)
}

func TestWatchAndDelete(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	var heard []string
	s.Watch(func(h directory.Hub, deleted bool) {
		heard = append(heard, fmt.Sprint(h.Name, " ", len(h.Hosts), " ", deleted))
	})
	create(t, s, "plant", "a")
	if _, err := s.Update(t.Context(), "plant", func(h *directory.Hub) error { h.Hosts = append(h.Hosts, "b"); return nil }); err != nil {
		t.Fatal(err)
	}
	full := causeway.Errorf(causeway.ServiceUnavailable, "test", "no space")
	store.Fail(full)
	wantCode(t, s.Delete(t.Context(), "plant"), causeway.ServiceUnavailable)
	if _, ok := s.ByHost("b"); !ok {
		t.Error("a hub that could not be deleted is not found")
	}
	_, err := s.Update(t.Context(), "plant", func(h *directory.Hub) error { h.Hosts = h.Hosts[:1]; return nil })
	wantCode(t, err, causeway.ServiceUnavailable)
	if _, ok := s.ByHost("b"); !ok {
		t.Error("an update that was not stored is served")
	}
	store.Fail(nil)
	if err := s.Delete(t.Context(), "plant"); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.ByHost("a"); ok || len(s.List()) != 0 {
		t.Error("a deleted hub is found")
	}
	wantCode(t, s.Delete(t.Context(), "plant"), causeway.GenericNotFound)
	want := []string{"plant 1 false", "plant 2 false", "plant 2 true", "plant 2 false", "plant 2 true"}
	if d := cmp.Diff(want, heard); d != "" {
		t.Errorf("watcher (-want +got):\n%s", d)
	}
	create(t, s, "plant", "a") // host and name are free again
}

func TestWrongKey(t *testing.T) {
	store := directorytest.NewMemory()
	if err := store.PutHub(t.Context(), directorytest.Hub("plant")); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.New(store, directorytest.PlainSealer{}, nil); err == nil || !strings.Contains(err.Error(), "plant") {
		t.Errorf("a store with keys that do not open: %v", err)
	}
}

// TestNothingLogged checks that keys do not reach a log by way of a hub.
func TestNothingLogged(t *testing.T) {
	h := create(t, open(t, directorytest.NewMemory()), "plant")
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("hub", "hub", h)
	fmt.Fprintf(&out, "%v %+v %#v", h, h, h)
	for _, p := range h.Policies {
		if strings.Contains(out.String(), string(p.Primary)) || strings.Contains(out.String(), string(p.Secondary)) {
			t.Fatalf("the keys of %s are logged", p.Name)
		}
	}
}

// TestConcurrent reads while hubs come and go.
func TestConcurrent(t *testing.T) {
	s := open(t, directorytest.NewMemory())
	create(t, s, "stable", "stable.example.com")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				h, ok := s.ByHost("STABLE.example.com")
				if !ok || len(h.Realm().Policies) != 5 {
					t.Error("the stable hub is not found")
					return
				}
				_ = s.List()
			}
		})
	}
	for i := range 50 {
		name := fmt.Sprintf("hub-%d", i)
		create(t, s, name)
		if i%2 == 0 {
			if err := s.Delete(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
	}
	cancel()
	wg.Wait()
	if n := len(s.List()); n != 26 {
		t.Errorf("%d hubs, want 26", n)
	}
}

func BenchmarkByHost(b *testing.B) {
	s := open(b, directorytest.NewMemory())
	create(b, s, "plant", "plant.example.com")
	b.ReportAllocs()
	for b.Loop() {
		h, _ := s.ByHost("plant.example.com")
		if r := h.Realm(); len(r.Hosts) != 1 {
			b.Fatal("wrong hub")
		}
	}
}

// spoiled is a store of which one hub cannot be read.
type spoiled struct {
	directory.Store
	name string
}

func (s spoiled) Hubs(ctx context.Context) ([]directory.Hub, error) {
	all, err := s.Store.Hubs(ctx)
	for i := range all {
		if all[i].Name == s.name {
			all[i] = directory.Hub{Name: s.name, Damaged: errors.New("unexpected end of JSON")}
		}
	}
	return all, err
}

// TestDamaged: a hub that cannot be read, or of which a key does not open, is not
// served, and not overwritten; the others are served, and it can be deleted.
func TestDamaged(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	for _, name := range []string{"a", "b", "c"} {
		create(t, s, name)
	}
	all, err := store.Hubs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all[2].Policies[0].Primary = "of another key"
	if err := store.PutHub(t.Context(), all[2]); err != nil {
		t.Fatal(err)
	}
	s = open(t, spoiled{store, "b"})
	if list := s.List(); len(list) != 1 || list[0].Name != "a" {
		t.Errorf("served: %+v", list)
	}
	if got := strings.Join(s.Damaged(), " "); got != "b c" {
		t.Errorf("damaged: %s", got)
	}
	_, err = s.Create(t.Context(), "b", nil, directory.CreateOptions{})
	wantCode(t, err, causeway.GenericConflict)
	_, err = s.Update(t.Context(), "b", func(*directory.Hub) error { return nil })
	wantCode(t, err, causeway.GenericNotFound)
	if _, err := s.Update(t.Context(), "a", func(h *directory.Hub) error { h.Settings.MaxDeliveryCount = 3; return nil }); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(s.Damaged(), " "); got != "c" {
		t.Errorf("damaged after one was deleted: %s", got)
	}
	create(t, s, "b")
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	// None opens: the key is another, which is no matter of one hub.
	if _, err := directory.New(store, directorytest.PlainSealer{}, nil); err == nil {
		t.Error("a service without any hub that opens")
	}
}
