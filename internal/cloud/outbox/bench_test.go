package outbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/c2d"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/outbox/outboxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hub = "plant"

// bench is a service on a store, in a bubble when its Run is started.
type bench struct {
	*testing.T
	*outbox.Service
	store *outboxtest.Memory
	next  int // of the ids of records
}

func newBench(t *testing.T, store *outboxtest.Memory, o outbox.Options) *bench {
	o.Store = store
	return &bench{T: t, Service: outbox.New(o), store: store}
}

// start begins Run, which ends with the test or by stop.
func (b *bench) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Service.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(stop)
	synctest.Wait()
	return stop
}

// bubble runs a test in a bubble with a running service.
func bubble(t *testing.T, o outbox.Options, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, outboxtest.NewMemory(hub, "depot"), o)
		b.start()
		test(b)
	})
}

// after lets time pass, and what happens then.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // simulated time
	synctest.Wait()
}

// record makes n outcomes of a device known, with ids that go on from 0.
func (b *bench) record(hub string, n int) {
	b.Helper()
	for range n {
		b.store.Record(hub, outbox.FeedbackRecord{
			OriginalMessageID: fmt.Sprint(b.next), Time: time.Now().UTC(), Status: c2d.Success, DeviceID: "press-1", GenerationID: "g",
		})
		b.next++
	}
	b.Recorded(hub, n)
	synctest.Wait()
}

func file(name string) outbox.FileNotification {
	return outbox.FileNotification{DeviceID: "press-1", BlobURI: "https://store/x/" + name, BlobName: name, Modified: time.Now(), Size: 7}
}

func (b *bench) notify(names ...string) {
	b.Helper()
	for _, name := range names {
		if err := b.Notify(b.Context(), hub, file(name)); err != nil {
			b.Fatalf("Notify(%s): %v", name, err)
		}
	}
}

// receive returns the next file, which must have the name; "" for none.
func (b *bench) receive(want string) outbox.Delivery {
	b.Helper()
	d, ok, err := b.Receive(b.Context(), hub, outbox.FileNotifications)
	if err != nil || ok != (want != "") || ok && (d.File == nil || d.File.BlobName != want || len(d.Records) != 0) {
		b.Fatalf("Receive = %+v, %v, %v; want %q", d, ok, err, want)
	}
	return d
}

// feedback returns the next message of feedback, which must have the records
// with ids from first to last; a last before first is for none.
func (b *bench) feedback(hub string, first, last int) outbox.Delivery {
	b.Helper()
	d, ok, err := b.Receive(b.Context(), hub, outbox.Feedback)
	if err != nil || ok != (last >= first) {
		b.Fatalf("Receive = %+v, %v, %v", d, ok, err)
	}
	var got, want []string
	for _, r := range d.Records {
		got = append(got, r.OriginalMessageID)
	}
	for i := first; i <= last; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.Fatalf("records (-want +got):\n%s", diff)
	}
	return d
}

func (b *bench) settle(k outbox.Kind, d outbox.Delivery, o causeway.Outcome, want causeway.Code) {
	b.Helper()
	if err := b.Settle(b.Context(), hub, k, d.Lock, o); causeway.CodeOf(err) != want {
		b.Fatalf("Settle(%s, %d) = %v, want code %v", d.ID, o, err, want)
	}
}

func (b *bench) waiting(k outbox.Kind, want int) {
	b.Helper()
	if n, err := b.Waiting(b.Context(), hub, k); n != want || err != nil {
		b.Fatalf("Waiting = %d, %v; want %d", n, err, want)
	}
}

// woken reports whether a subscriber was.
func woken(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	default:
		return false
	}
}
