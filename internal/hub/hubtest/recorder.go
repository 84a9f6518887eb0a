package hubtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

// Patience is how long tests wait for what must come, and quiet how long for
// what must not.
const (
	Patience = 10 * time.Second
	quiet    = 50 * time.Millisecond
)

// Recorder is a Device that records what the hub asks of it. Its fields are
// set before it is used. The zero value is ready; use [NewRecorder].
type Recorder struct {
	// Answer answers direct methods; nil echoes the payload with status 200.
	Answer func(ctx context.Context, c causeway.Call) (causeway.Result, error)
	// Refuse, when it returns an error, fails a delivery.
	Refuse func(m causeway.Message) error
	// Slow is called before a desired change is taken.
	Slow func(ctx context.Context, p causeway.Patch) error

	messages chan causeway.Message
	patches  chan causeway.Patch
	hangups  chan error
	once     sync.Once
}

var _ causeway.Device = (*Recorder)(nil)

// recorderDepth bounds what a Recorder remembers of each kind.
const recorderDepth = 4096

// NewRecorder returns a device that takes everything.
func NewRecorder() *Recorder {
	return &Recorder{
		messages: make(chan causeway.Message, recorderDepth),
		patches:  make(chan causeway.Patch, recorderDepth),
		hangups:  make(chan error, 1),
	}
}

// Deliver records a copy of m.
func (r *Recorder) Deliver(ctx context.Context, m causeway.Message) error {
	if r.Refuse != nil {
		if err := r.Refuse(m); err != nil {
			return err
		}
	}
	select {
	case r.messages <- m.Clone():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Desired records p.
func (r *Recorder) Desired(ctx context.Context, p causeway.Patch) error {
	if r.Slow != nil {
		if err := r.Slow(ctx, p); err != nil {
			return err
		}
	}
	p.Properties = append([]byte(nil), p.Properties...)
	select {
	case r.patches <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Invoke answers a direct method.
func (r *Recorder) Invoke(ctx context.Context, c causeway.Call) (causeway.Result, error) {
	if r.Answer != nil {
		return r.Answer(ctx, c)
	}
	return causeway.Result{Status: 200, Payload: append([]byte(nil), c.Payload...)}, nil
}

// Hangup records the first reason.
func (r *Recorder) Hangup(reason error) { r.once.Do(func() { r.hangups <- reason }) }

// Message waits for the next delivery.
func (r *Recorder) Message(t testing.TB) causeway.Message {
	t.Helper()
	return receive(t, r.messages, "a command")
}

// MessageWithin waits for the next delivery for some time.
func (r *Recorder) MessageWithin(t testing.TB, d time.Duration) causeway.Message {
	t.Helper()
	return receiveWithin(t, r.messages, "a command", d)
}

// NoMessage fails the test when something is delivered.
func (r *Recorder) NoMessage(t testing.TB) {
	t.Helper()
	select {
	case m := <-r.messages:
		t.Fatalf("a command was delivered that should not be: %q", m.Body)
	case <-time.After(quiet):
	}
}

// Patch waits for the next desired change.
func (r *Recorder) Patch(t testing.TB) causeway.Patch {
	t.Helper()
	return receive(t, r.patches, "a desired change")
}

// NoPatch fails the test when a desired change comes.
func (r *Recorder) NoPatch(t testing.TB) {
	t.Helper()
	select {
	case p := <-r.patches:
		t.Fatalf("a desired change came that should not: version %d %s", p.Version, p.Properties)
	case <-time.After(quiet):
	}
}

// HungUp waits until the hub hangs up and returns its reason.
func (r *Recorder) HungUp(t testing.TB) error {
	t.Helper()
	return r.HungUpWithin(t, Patience)
}

// HungUpWithin does so for some time.
func (r *Recorder) HungUpWithin(t testing.TB, d time.Duration) error {
	t.Helper()
	return receiveWithin(t, r.hangups, "a hang-up", d)
}

// Alive fails the test when the hub has hung up.
func (r *Recorder) Alive(t testing.TB) {
	t.Helper()
	select {
	case reason := <-r.hangups:
		t.Fatalf("the hub hung up: %v", reason)
	case <-time.After(quiet):
	}
}

func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	return receiveWithin(t, from, what, Patience)
}

func receiveWithin[T any](t testing.TB, from <-chan T, what string, d time.Duration) T {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		t.Fatalf("%s did not come within %v", what, d)
		panic("unreachable")
	}
}

// Eventually fails the test unless ok becomes true within [Patience].
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not happen within %v", what, Patience)
		}
	}
}

// WantCode fails the test unless err carries one of the codes.
func WantCode(t testing.TB, err error, codes ...causeway.Code) {
	t.Helper()
	got := causeway.CodeOf(err)
	for _, c := range codes {
		if got == c {
			return
		}
	}
	t.Fatalf("error %v has code %v, want one of %v", err, got, codes)
}
