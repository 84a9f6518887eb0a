package transfer_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

// mortal counts what is written anywhere and dies, as a process does, at one of
// the writes: it happens or not, and nothing after it does.
type mortal struct {
	left  atomic.Int64
	after bool
	die   func()
	dead  atomic.Bool
}

func (m *mortal) write(do func() error) error {
	if m.dead.Load() {
		return errDown
	}
	if m.left.Add(-1) == -1 {
		m.dead.Store(true)
		m.die()
		if m.after {
			_ = do()
		}
		return errDown
	}
	return do()
}

type mortalStore struct {
	transfer.Store
	m *mortal
}

func (s mortalStore) Save(ctx context.Context, hub, id string, from transfer.Status, to transfer.State) (ok bool, err error) {
	err = s.m.write(func() (err error) { ok, err = s.Store.Save(ctx, hub, id, from, to); return err })
	return ok, err
}

type mortalRecords struct {
	registry.Store
	m *mortal
}

func (s mortalRecords) Create(ctx context.Context, recs ...registry.Record) error {
	return s.m.write(func() error { return s.Store.Create(ctx, recs...) })
}

func (s mortalRecords) Delete(ctx context.Context, id causeway.Identity, match string) error {
	return s.m.write(func() error { return s.Store.Delete(ctx, id, match) })
}

// TestRestarts kills the service at writes all over an import and an export,
// before and after them, and starts it again: each identity is there once, what
// had been applied is not taken for a failure, and what did fail is listed once.
func TestRestarts(t *testing.T) {
	for _, kind := range []string{"import", "export"} {
		t.Run(kind, func(t *testing.T) {
			for at := int64(0); at < 1300; at += 1 + at/6 {
				for _, after := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) { killAt(t, kind, at, after) })
				}
			}
		})
	}
}

func killAt(t *testing.T, kind string, at int64, after bool) {
	const lines = 1200
	w := newWorld(t)
	w.populate()
	time.Sleep(time.Second) //nolint:forbidigo // simulated time
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, "{\"id\":\"d%04d\",\"importMode\":\"create\"}\n", i)
	}
	// "sas" is there already, "ca" goes, "ghost" is not.
	text.WriteString("{\"id\":\"sas\",\"importMode\":\"create\"}\n{\"id\":\"ca\",\"importMode\":\"delete\"}\n{\"id\":\"ghost\",\"importMode\":\"update\"}\n")
	w.storage.put("in/devices.txt", text.String())
	if kind == "export" {
		w.start()
		w.finish("import", nil)
		w.stop()
		w.storage.blobs["out/importErrors.log"] = ""
	}

	m := &mortal{after: after}
	m.left.Store(at)
	store, records := w.store, w.records
	w.store = mortalStore{store, m}
	w.registry = registry.New(registry.Options{Store: mortalRecords{records, m}, Sealer: plain{}})
	w.storage.fault = func(what string) error {
		if what == "read" {
			return nil
		}
		return m.write(func() error { return nil })
	}
	w.start()
	died := make(chan struct{})
	stop := w.stop
	m.die = func() { go func() { stop(); close(died) }() }
	j := w.create(kind, nil)
	for i := 0; i < 3600 && !m.dead.Load(); i++ {
		synctest.Wait()
		if got, err := store.Get(t.Context(), hubName, j.ID); err == nil && got.Status.Ended() {
			break
		}
	}
	if m.dead.Load() {
		<-died
	} else {
		stop()
	}
	w.store, w.records = store, records
	w.registry = registry.New(registry.Options{Store: records, Sealer: plain{}}) // with nothing in memory
	w.storage.fault = nil
	w.start()
	defer w.stop()
	got := w.ended(j.ID)
	if got.Status != transfer.Completed {
		t.Fatalf("%s killed at %d (after: %v): %+v", kind, at, after, got.State)
	}
	if kind == "export" {
		if n := strings.Count(w.storage.get("out/devices.txt"), "\n"); n != lines+6 {
			t.Fatalf("killed at %d: %d lines exported, want %d", at, n, lines+6)
		}
		return
	}
	n, err := w.registry.Count(t.Context(), hubName)
	if err != nil || n.Total != lines+3 {
		t.Fatalf("killed at %d (after: %v): %d devices, %v, want %d", at, after, n.Total, err, lines+3)
	}
	errs := w.storage.get("out/importErrors.log")
	if strings.Count(errs, "\n") != 2 || !strings.Contains(errs, `"sas"`) || !strings.Contains(errs, `"ghost"`) {
		t.Fatalf("killed at %d (after: %v): errors\n%s", at, after, errs)
	}
}
