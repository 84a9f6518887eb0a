package dps_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plainSealer marks what it seals, so that a test sees what is stored in plain.
type plainSealer struct{}

func (plainSealer) Seal(s causeway.Secret, bind string) (causeway.Secret, error) {
	return causeway.Secret("sealed("+bind+")") + s, nil
}

func (plainSealer) Open(s causeway.Secret, bind string) (causeway.Secret, error) {
	plain, ok := strings.CutPrefix(string(s), "sealed("+bind+")")
	if !ok {
		return "", fmt.Errorf("it was not sealed for %s", bind)
	}
	return causeway.Secret(plain), nil
}

// fakeHub is a linked hub.
type fakeHub struct {
	mu      sync.Mutex
	devices map[string]dps.Device
	puts    map[string]int
	err     error // of every call
	stall   chan struct{}
}

func (h *fakeHub) enter(ctx context.Context) error {
	h.mu.Lock()
	stall := h.stall
	h.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h.mu.Lock()
	return h.err
}

// device returns a device, as a test looks at it.
func (h *fakeHub) device(id string) (dps.Device, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, ok := h.devices[id]
	return d, ok
}

// times returns how often a device was put.
func (h *fakeHub) times(id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.puts[id]
}

// set changes the hub while it may be at work.
func (h *fakeHub) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *fakeHub) Get(ctx context.Context, id string) (dps.Device, bool, error) {
	err := h.enter(ctx)
	if err != nil && ctx.Err() != nil {
		return dps.Device{}, false, err
	}
	defer h.mu.Unlock()
	d, ok := h.devices[id]
	return d, ok, err
}

func (h *fakeHub) Put(ctx context.Context, d dps.Device, reset bool) error {
	err := h.enter(ctx)
	if err != nil && ctx.Err() != nil {
		return err
	}
	defer h.mu.Unlock()
	if err != nil {
		return err
	}
	if old, ok := h.devices[d.ID]; ok && !reset {
		d.Tags, d.Desired, d.Reported = old.Tags, old.Desired, old.Reported
	}
	h.devices[d.ID] = d
	h.puts[d.ID]++
	return nil
}

func (h *fakeHub) Delete(ctx context.Context, id string) error {
	err := h.enter(ctx)
	if err != nil && ctx.Err() != nil {
		return err
	}
	defer h.mu.Unlock()
	delete(h.devices, id)
	return err
}

// questions returns what was asked so far.
func (w *webhook) questions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// say sets what is answered from now on.
func (w *webhook) say(status int, answer string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status, w.answer, w.err = status, answer, err
}

type fakeHubs map[string]*fakeHub

func (f fakeHubs) Target(l dps.Link) (dps.Target, error) {
	if h := f[l.Host]; h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("no such hub")
}

// webhook answers as it is told.
type webhook struct {
	mu     sync.Mutex
	asked  []string
	status int
	answer string
	err    error
	stall  chan struct{} // until it is closed nothing is answered
}

func (w *webhook) Post(ctx context.Context, url string, body []byte, _ int) (int, []byte, error) {
	w.mu.Lock()
	stall := w.stall
	w.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, url+" "+string(body))
	return w.status, []byte(w.answer), w.err
}

// world is a service "dps" with the hubs h1, h2 and h3.
type world struct {
	*dps.Service
	t     *testing.T
	store dps.Store
	hubs  fakeHubs
	hook  *webhook
	scope string
	log   *record
	stop  func()

	metrics prometheus.Registerer
	target  func(host string) dps.Target // in place of some of hubs, unless it is nil
}

// Target implements [dps.Targets].
func (w *world) Target(l dps.Link) (dps.Target, error) {
	if w.target != nil {
		if t := w.target(l.Host); t != nil {
			return t, nil
		}
	}
	return w.hubs.Target(l)
}

// record keeps what is logged.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// count returns how often a text was logged at the level of a warning or above.
func (r *record) count(text string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.text.String()) {
		if strings.Contains(line, text) && !strings.Contains(line, "level=INFO") {
			n++
		}
	}
	return n
}

// inWorld runs f in simulated time.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: dpstest.NewMemory(), hubs: fakeHubs{}, hook: &webhook{status: 200}, log: &record{}}
		for _, h := range []string{"h1", "h2", "h3"} {
			w.hubs[h] = &fakeHub{devices: map[string]dps.Device{}, puts: map[string]int{}}
		}
		w.start()
		wait() // for it to look for what a stop has interrupted: there is nothing yet
		i, err := w.Create(t.Context(), "dps", []string{"DPS.example"})
		ok(t, err)
		_, err = w.Change(t.Context(), "dps", func(i *dps.Instance) error {
			for _, h := range []string{"h1", "h2", "h3"} {
				i.Links = append(i.Links, dps.Link{Host: h})
			}
			return nil
		})
		ok(t, err)
		w.scope = i.IDScope
		f(t, w)
		w.stop()
	})
}

// start starts a service on what is stored.
func (w *world) start() {
	w.t.Helper()
	s, err := dps.New(w.t.Context(), dps.Options{Store: w.store, Sealer: plainSealer{}, Targets: w, Caller: w.hook, Metrics: w.metrics, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	ok(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.Service = s
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) put(e dps.Enrollment) dps.Enrollment {
	w.t.Helper()
	got, err := w.PutEnrollment(w.t.Context(), "dps", e, "")
	ok(w.t, err)
	return got
}

func keyEnrollment(id string) dps.Enrollment {
	return dps.Enrollment{ID: id, Attestation: dps.Attestation{Kind: dps.SymmetricKey}}
}

func (w *world) token(id string, key causeway.Secret) causeway.Secret {
	w.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(string(key))
	ok(w.t, err)
	return causeway.Secret(sas.Sign(w.scope+"/registrations/"+id, raw, "registration", time.Now().Add(time.Hour)))
}

func (w *world) derived(key causeway.Secret, id string) causeway.Secret {
	w.t.Helper()
	k, err := attestation.DeriveKey(key, id)
	ok(w.t, err)
	return k
}

func (w *world) request(id string, key causeway.Secret) causeway.Registration {
	w.t.Helper()
	return causeway.Registration{Scope: w.scope, ID: id, Credential: causeway.Credential{Token: w.token(id, key)}}
}

// register registers and waits for the end, as a client does.
func (w *world) register(r causeway.Registration) causeway.Operation {
	w.t.Helper()
	op, err := w.Register(w.t.Context(), r)
	ok(w.t, err)
	if op.Status != "assigning" || op.ID == "" || op.RetryAfter <= 0 {
		w.t.Fatalf("register: %+v", op)
	}
	return w.wait(r, op.ID)
}

func (w *world) wait(r causeway.Registration, id string) causeway.Operation {
	w.t.Helper()
	for range 100 {
		op, err := w.Lookup(w.t.Context(), r, id)
		ok(w.t, err)
		if op.Status != "assigning" {
			if op.RetryAfter != 0 {
				w.t.Errorf("it is over, and asks to be asked again: %+v", op)
			}
			return op
		}
		time.Sleep(op.RetryAfter) //nolint:forbidigo // simulated time
	}
	w.t.Fatal("the registration does not end")
	return causeway.Operation{}
}

func (w *world) assigned(r causeway.Registration, hub, device, substatus string) causeway.Operation {
	w.t.Helper()
	op := w.register(r)
	if op.Status != "assigned" || hub != "" && op.Hub != hub || op.Device != device || op.Substatus != substatus {
		w.t.Fatalf("outcome %+v, want %s on %s, %s", op, device, hub, substatus)
	}
	if _, there := w.hubs[op.Hub].device(device); !there {
		w.t.Fatalf("hub %s has no device %s", op.Hub, device)
	}
	for host, h := range w.hubs {
		if _, there := h.device(device); there && host != op.Hub {
			w.t.Errorf("hub %s has device %s too", host, device)
		}
	}
	return op
}

func (w *world) refused(what string, err error, code causeway.Code, text string) {
	w.t.Helper()
	if causeway.CodeOf(err) != code || !strings.Contains(causeway.MessageOf(err), text) {
		w.t.Errorf("%s: %v (code %d), want %d with %q", what, err, int(causeway.CodeOf(err)), int(code), text)
	}
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func keysOf(primary, secondary causeway.Secret) attestation.Keys {
	return attestation.Keys{Primary: primary, Secondary: secondary}
}

// later has so much time pass while the service is stopped, which takes nobody's time.
func (w *world) later(d time.Duration) {
	w.t.Helper()
	w.stop()
	time.Sleep(d) //nolint:forbidigo // simulated time
	w.start()
	wait()
}

// wait waits until everybody waits.
func wait() { synctest.Wait() }
