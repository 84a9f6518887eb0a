// Package uploadtest is the contract of a store of upload tickets, as tests that
// every driver passes, and a store in memory for the tests of those who use one.
package uploadtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/upload"
)

// Fixture is a store and what a test may do to it otherwise.
type Fixture struct {
	upload.Store
	// AddDevice makes a device whose tickets may be kept, and RemoveDevice ends
	// it.
	AddDevice, RemoveDevice func(t *testing.T, id causeway.Identity)
}

// Run holds the stores that open returns to the contract of upload.Store.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	device := causeway.Identity{Hub: "plant", Device: "press-1"}
	other := causeway.Identity{Hub: "plant", Device: "press-2"}
	now := time.Date(2024, 1, 31, 12, 0, 0, 123456000, time.UTC)
	ticket := func(id causeway.Identity, n int, expires time.Duration) upload.Ticket {
		return upload.Ticket{
			Device: id, Correlation: fmt.Sprintf("%s-%d", id.Device, n), Host: "plant:8443", Container: "uploads",
			Blob: fmt.Sprintf("%s/é %d.txt", id.Device, n), Expires: now.Add(expires),
		}
	}
	world := func(t *testing.T) Fixture {
		f := open(t)
		f.AddDevice(t, device)
		f.AddDevice(t, other)
		return f
	}
	add := func(t *testing.T, f Fixture, k upload.Ticket, most int, want bool) {
		t.Helper()
		if ok, err := f.Add(t.Context(), k, now, most); err != nil || ok != want {
			t.Fatalf("Add(%s) = %v, %v; want %v", k.Correlation, ok, err, want)
		}
	}
	has := func(t *testing.T, f Fixture, k upload.Ticket, want bool) {
		t.Helper()
		got, ok, err := f.Get(t.Context(), k.Device, k.Correlation)
		if err != nil || ok != want {
			t.Fatalf("Get(%s) = %v, %v; want %v", k.Correlation, ok, err, want)
		}
		if diff := cmp.Diff(k, got); want && diff != "" {
			t.Errorf("Get(%s) (-want +got):\n%s", k.Correlation, diff)
		}
	}
	t.Run("Keep", func(t *testing.T) {
		f := world(t)
		k := ticket(device, 1, time.Hour)
		has(t, f, k, false)
		add(t, f, k, 10, true)
		has(t, f, k, true)
		stolen := k
		stolen.Device = other
		has(t, f, stolen, false)
		if err := f.Remove(t.Context(), other, k.Correlation); err != nil {
			t.Error(err)
		}
		has(t, f, k, true)
		for range 2 {
			if err := f.Remove(t.Context(), device, k.Correlation); err != nil {
				t.Error(err)
			}
		}
		has(t, f, k, false)
	})
	t.Run("Most", func(t *testing.T) {
		f := world(t)
		add(t, f, ticket(device, 0, 0), 2, true) // has expired
		add(t, f, ticket(device, 1, time.Hour), 2, true)
		add(t, f, ticket(device, 2, time.Hour), 2, true)
		add(t, f, ticket(device, 3, time.Hour), 2, false)
		has(t, f, ticket(device, 3, time.Hour), false)
		add(t, f, ticket(other, 1, time.Hour), 2, true)
		if err := f.Remove(t.Context(), device, "press-1-1"); err != nil {
			t.Fatal(err)
		}
		add(t, f, ticket(device, 3, time.Hour), 2, true)
	})
	t.Run("Forget", func(t *testing.T) {
		f := world(t)
		for i := range 5 {
			add(t, f, ticket(device, i, time.Duration(i)*time.Minute), 10, true)
		}
		for _, want := range []int{2, 1, 0} {
			if n, err := f.Forget(t.Context(), now.Add(3*time.Minute), 2); err != nil || n != want {
				t.Errorf("Forget = %d, %v; want %d", n, err, want)
			}
		}
		has(t, f, ticket(device, 2, 2*time.Minute), false)
		has(t, f, ticket(device, 3, 3*time.Minute), true)
	})
	t.Run("Devices", func(t *testing.T) {
		f := world(t)
		k := ticket(device, 1, time.Hour)
		add(t, f, k, 10, true)
		f.RemoveDevice(t, device)
		has(t, f, k, false)
		if _, err := f.Add(t.Context(), k, now, 10); causeway.CodeOf(err) != causeway.DeviceNotFound {
			t.Errorf("Add without a device: %v", err)
		}
		f.AddDevice(t, device)
		has(t, f, k, false)
	})
}
