package hubtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

// Fake is a hub in memory that follows the contract. It is its own [Admin].
// Its tokens are opaque texts that it hands out in credentials; with Accept it
// judges others. Hooks are set before use.
type Fake struct {
	// Hosts are the names it answers to; the first names the hub.
	Hosts []string
	// Accept, when not nil, decides about credentials in place of the tokens
	// that Add handed out, and returns when the proof expires (zero: never).
	Accept func(cred causeway.Credential) (expires time.Time, err error)
	// OnSend, when not nil, is called with every batch; its error is returned
	// and nothing is stored. It may block to delay an acknowledgement.
	OnSend func(ctx context.Context, id causeway.Identity, msgs []causeway.Message) error
	// OnReport does the same for reported patches.
	OnReport func(ctx context.Context, id causeway.Identity, p causeway.Patch) error
	// OnTwin does the same for reads of a twin.
	OnTwin func(ctx context.Context, id causeway.Identity) error
	// OnSettle hears of every settlement that succeeded.
	OnSettle func(id causeway.Identity, m causeway.Message, o causeway.Outcome)

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every Listen and end
	ids     map[causeway.Identity]*fakeIdentity
	stored  []causeway.Message
	tokens  int
	locks   uint64
	gens    int
	workers sync.WaitGroup
}

// fakeIdentity is a device or module of a Fake.
type fakeIdentity struct {
	generation        string
	disabled          bool
	tokens            map[causeway.Secret]time.Time // with their expiry
	desired, reported map[string]any
	desiredVersion    int64
	reportedVersion   int64
	model             string
	queue             []*fakeCommand
	sequence          int64
	session           *fakeSession // connected, not just sending
	sendOnly          map[*fakeSession]bool
}

type fakeCommand struct {
	message causeway.Message
	holder  *fakeSession // nil: free
}

var (
	_ causeway.Hub = (*Fake)(nil)
	_ Admin        = (*Fake)(nil)
)

// NewFake returns an empty hub that answers to host.
func NewFake(host string, aliases ...string) *Fake {
	return &Fake{
		Hosts:   append([]string{host}, aliases...),
		changed: make(chan struct{}),
		ids:     make(map[causeway.Identity]*fakeIdentity),
	}
}

// Name returns the name of the hub.
func (f *Fake) Name() string {
	name, _, _ := strings.Cut(strings.ToLower(f.Hosts[0]), ".")
	return name
}

func (f *Fake) canonical(id causeway.Identity) causeway.Identity {
	id.Hub = f.Name()
	return id
}

// signal lets everybody who waits look again; f.mu is held.
func (f *Fake) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Connect opens a session.
func (f *Fake) Connect(_ context.Context, cred causeway.Credential, dev causeway.Device) (causeway.Session, error) {
	const op = "hubtest.Connect"
	if cred.Host != "" && !slices.ContainsFunc(f.Hosts, func(h string) bool { return strings.EqualFold(h, cred.Host) }) {
		return nil, causeway.Errorf(causeway.IotHubNotFound, op, "no hub answers to %q", cred.Host)
	}
	id := f.canonical(cred.Identity)
	f.mu.Lock()
	expires, err := f.admit(id, cred)
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	d := f.ids[id]
	if cred.ModelID != "" {
		d.model = cred.ModelID
	}
	s := &fakeSession{hub: f, id: id, dev: dev, generation: d.generation, model: cred.ModelID, kick: make(chan struct{}, 1)}
	s.life, s.cancel = context.WithCancel(context.Background())
	var old *fakeSession
	if dev == nil {
		d.sendOnly[s] = true
	} else {
		old, d.session = d.session, s
		f.workers.Go(s.work)
	}
	f.setExpiry(s, expires)
	f.mu.Unlock()
	if old != nil {
		old.end(causeway.Errorf(causeway.ConnectionForcefullyClosedOnNewConnection, op, "%s connected again", id), true)
	}
	return s, nil
}

// admit decides about a credential; f.mu is held.
func (f *Fake) admit(id causeway.Identity, cred causeway.Credential) (time.Time, error) {
	refused := causeway.Errorf(causeway.IotHubUnauthorized, "hubtest.Connect", "not authorized")
	d := f.ids[id]
	if d == nil || d.disabled || f.ids[id.Parent()].disabled {
		return time.Time{}, refused
	}
	if f.Accept != nil {
		cred.Identity = id
		return f.Accept(cred)
	}
	expires, ok := d.tokens[cred.Token]
	if now := time.Now(); ok && !expires.After(now) { // the clock of a client may be slow
		expires = expires.Add(causeway.TokenSkew)
		ok = expires.After(now)
	}
	if !ok {
		return time.Time{}, refused
	}
	return expires, nil
}

// setExpiry arms the timer that ends s; f.mu is held.
func (f *Fake) setExpiry(s *fakeSession, at time.Time) {
	if s.expiry != nil {
		s.expiry.Stop()
		s.expiry = nil
	}
	if !at.IsZero() {
		s.expiry = time.AfterFunc(time.Until(at), func() {
			s.end(causeway.Errorf(causeway.IotHubUnauthorized, "hubtest", "the token has expired"), true)
		})
	}
}

// Close hangs up everybody with code ServiceUnavailable and waits until the
// fake has no goroutine left.
func (f *Fake) Close() {
	f.hangup(causeway.Errorf(causeway.ServiceUnavailable, "hubtest", "the hub is shutting down"), func(causeway.Identity) bool { return true })
	f.workers.Wait()
}

// hangup ends the sessions of the identities that match.
func (f *Fake) hangup(reason error, match func(causeway.Identity) bool) {
	f.mu.Lock()
	var over []*fakeSession
	for id, d := range f.ids {
		if match(id) {
			if d.session != nil {
				over = append(over, d.session)
			}
			over = slices.AppendSeq(over, maps.Keys(d.sendOnly))
		}
	}
	f.mu.Unlock()
	for _, s := range over {
		s.end(reason, true)
	}
}

// Hangup ends the session of id for a reason of the test's choice.
func (f *Fake) Hangup(id causeway.Identity, reason error) {
	id = f.canonical(id)
	f.hangup(reason, func(x causeway.Identity) bool { return x == id })
}

// Add creates an identity.
func (f *Fake) Add(t testing.TB, device, module string) causeway.Credential {
	t.Helper()
	id := causeway.Identity{Hub: f.Name(), Device: device, Module: module}
	f.mu.Lock()
	if _, ok := f.ids[id.Parent()]; !ok && module != "" || f.ids[id] != nil {
		f.mu.Unlock()
		t.Fatalf("cannot add %s: it exists, or its device does not", id)
	}
	f.gens++
	f.ids[id] = &fakeIdentity{
		generation: fmt.Sprint(f.gens), tokens: make(map[causeway.Secret]time.Time),
		desired: make(map[string]any), reported: make(map[string]any),
		desiredVersion: 1, reportedVersion: 1, sendOnly: make(map[*fakeSession]bool),
	}
	f.mu.Unlock()
	return f.Expiring(t, id, time.Now().Add(24*time.Hour))
}

// must returns an identity that exists; f.mu is held.
func (f *Fake) must(t testing.TB, id causeway.Identity) *fakeIdentity {
	t.Helper()
	d := f.ids[f.canonical(id)]
	if d == nil {
		f.mu.Unlock()
		t.Fatalf("%s does not exist", id)
	}
	return d
}

// Expiring returns a credential that expires.
func (f *Fake) Expiring(t testing.TB, id causeway.Identity, at time.Time) causeway.Credential {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.must(t, id)
	f.tokens++
	token := causeway.Secret(fmt.Sprintf("fake-token-%d-%s", f.tokens, id))
	d.tokens[token] = at.Truncate(time.Second)
	return causeway.Credential{Host: f.Hosts[0], Identity: f.canonical(id), Token: token, Transport: causeway.MQTT}
}

// Rekey makes all credentials of id invalid and returns another.
func (f *Fake) Rekey(t testing.TB, id causeway.Identity) causeway.Credential {
	t.Helper()
	f.mu.Lock()
	clear(f.must(t, id).tokens)
	f.mu.Unlock()
	f.Hangup(id, causeway.Errorf(causeway.IotHubUnauthorized, "hubtest", "the credentials were changed"))
	return f.Expiring(t, id, time.Now().Add(24*time.Hour))
}

// Disable refuses id, and with a device its modules.
func (f *Fake) Disable(t testing.TB, id causeway.Identity) {
	t.Helper()
	f.mu.Lock()
	f.must(t, id).disabled = true
	f.mu.Unlock()
	f.hangup(causeway.Errorf(causeway.IotHubUnauthorized, "hubtest", "%s was disabled", id), f.family(id))
}

// Delete removes id, and with a device its modules.
func (f *Fake) Delete(t testing.TB, id causeway.Identity) {
	t.Helper()
	match := f.family(id)
	f.mu.Lock()
	f.must(t, id)
	f.mu.Unlock()
	f.mu.Lock()
	var holders []*fakeSession
	for x, d := range f.ids {
		if match(x) && d.session != nil {
			holders = append(holders, d.session)
		}
	}
	f.mu.Unlock()
	for _, s := range holders {
		code := causeway.DeviceNotFound
		if s.id.IsModule() {
			code = causeway.ModuleNotFound
		}
		s.end(causeway.Errorf(code, "hubtest", "%s was deleted", id), true)
	}
	// Those that only send are told no more than who connects anew.
	f.hangup(causeway.Errorf(causeway.IotHubUnauthorized, "hubtest", "%s was deleted", id), match)
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.ids, func(x causeway.Identity, _ *fakeIdentity) bool { return match(x) })
	f.signal()
}

func (f *Fake) family(id causeway.Identity) func(causeway.Identity) bool {
	id = f.canonical(id)
	return func(x causeway.Identity) bool { return x == id || x.Parent() == id }
}

// Telemetry returns what was sent by a device and its modules.
func (f *Fake) Telemetry(_ testing.TB, device string) []causeway.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ms []causeway.Message
	for _, m := range f.stored {
		if m.From.Device == device {
			ms = append(ms, m)
		}
	}
	return ms
}

// Connected reports whether id has a session that does more than send.
func (f *Fake) Connected(_ testing.TB, id causeway.Identity) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.ids[f.canonical(id)]
	return d != nil && d.session != nil
}

// Model returns the model id that id last announced.
func (f *Fake) Model(t testing.TB, id causeway.Identity) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.must(t, id).model
}

// Lanes returns what the session of id listens to.
func (f *Fake) Lanes(t testing.TB, id causeway.Identity) causeway.Lane {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.must(t, id).session; s != nil {
		return s.lanes
	}
	return 0
}

// Depth returns how many commands of id are not settled.
func (f *Fake) Depth(t testing.TB, id causeway.Identity) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.must(t, id).queue)
}

// Enqueue queues a command.
func (f *Fake) Enqueue(t testing.TB, id causeway.Identity, m causeway.Message) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.must(t, id)
	d.sequence++
	c := &fakeCommand{message: m.Clone()}
	c.message.Sequence, c.message.Enqueued = d.sequence, time.Now().UTC()
	d.queue = append(d.queue, c)
	if d.session != nil {
		d.session.wake()
	}
}

// SetDesired merges into the desired section.
func (f *Fake) SetDesired(t testing.TB, id causeway.Identity, patch string) int64 {
	t.Helper()
	p, err := object([]byte(patch))
	if err != nil {
		t.Errorf("desired patch %s: %v", patch, err)
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.must(t, id)
	merge(d.desired, p)
	d.desiredVersion++
	if s := d.session; s != nil && s.lanes.Has(causeway.LaneDesired) {
		s.patches = append(s.patches, causeway.Patch{Properties: section(p, d.desiredVersion), Version: d.desiredVersion})
		s.wake()
	}
	return d.desiredVersion
}

// Reported returns the reported section.
func (f *Fake) Reported(t testing.TB, id causeway.Identity) ([]byte, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.must(t, id)
	return encode(d.reported), d.reportedVersion
}

// AwaitListen waits until the session of id listens to all of lanes.
func (f *Fake) AwaitListen(t testing.TB, id causeway.Identity, lanes causeway.Lane) {
	t.Helper()
	Eventually(t, fmt.Sprintf("that %s listens to lanes %b", id, lanes), func() bool { return f.Lanes(t, id).Has(lanes) })
}
