package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cli/dpssim"
)

// fleetConfig is a cloud with two hubs that devices are spread over.
const fleetConfig = `
hubs:
  - name: localhost
  - name: hub-b
    hosts: [hub-b.localhost]
provisioning:
  - name: dps
    hosts: [localhost]
`

// hubService returns a back end of one of the hubs.
func (w *world) hubService(t *testing.T, data, hub string) *client.Service {
	t.Helper()
	o := client.Options{RootCAs: w.tls.RootCAs, Address: "127.0.0.1", HTTPSPort: w.Ready().HTTPSPort}
	token, err := state.ReadSecret(filepath.Join(data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.NewAdmin(w.Ready().AdminURL, token, o)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	cs, err := a.ConnectionString(t.Context(), hub, "iothubowner")
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.NewService(cs, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestKillWithRegistrations kills the server while a thousand devices register.
// Each must end on exactly one hub, with one identity, and know which.
func TestKillWithRegistrations(t *testing.T) {
	t.Parallel()
	const devices, kills = 1000, 5
	data := t.TempDir()
	config := filepath.Join(t.TempDir(), "causeway.yaml")
	if err := os.WriteFile(config, []byte(fleetConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, data, "--config", config)
	ready := w.Ready()

	var mu sync.Mutex
	told := map[string]client.Assignment{} // by device
	progress := make(chan int, devices)
	var running sync.WaitGroup
	running.Go(func() {
		defer close(progress)
		r, err := dpssim.Run(t.Context(), dpssim.Options{
			Devices: devices, AtOnce: 300,
			Device: func(i int) (client.ProvisioningOptions, error) {
				return client.ProvisioningOptions{
					Options:  client.Options{RootCAs: w.tls.RootCAs, Address: "127.0.0.1", HTTPSPort: ready.HTTPSPort, MQTTPort: ready.MQTTPort},
					Endpoint: ready.DPSGlobalEndpoint, IDScope: ready.DPSIDScope, RegistrationID: fmt.Sprintf("fault-%d", i),
					GroupKey: causeway.Secret(ready.DPSGroupKey),
				}, nil
			},
			Assigned: func(a client.Assignment) {
				mu.Lock()
				defer mu.Unlock()
				if before, twice := told[a.DeviceID]; twice {
					t.Errorf("%s was assigned to %s and to %s", a.DeviceID, before.Hub, a.Hub)
				}
				told[a.DeviceID] = a
				progress <- len(told)
			},
		})
		if err != nil || r.Assigned != devices || r.Failed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})

	// Devices are at every stage at any moment; a random one is picked.
	done := 0
	for n := range progress {
		if done < kills && n > (2*done+1)*devices/(2*kills) {
			<-time.After(rand.N(200 * time.Millisecond))
			w.kill(t)
			done++
		}
	}
	running.Wait()
	if done != kills {
		t.Errorf("killed %d times, want %d", done, kills)
	}

	// What hubs have is what devices were told, and no more.
	hosts := map[string]string{"localhost": "localhost", "hub-b": "hub-b.localhost"}
	found := 0
	for hub, host := range hosts {
		s := w.hubService(t, data, hub)
		here := 0
		for item, err := range s.Query(t.Context(), "SELECT deviceId FROM devices WHERE STARTSWITH(deviceId, 'fault-')") {
			var d struct{ DeviceID string }
			if err != nil || json.Unmarshal(item, &d) != nil {
				t.Fatalf("query %s: %s %v", hub, item, err)
			}
			if a := told[d.DeviceID]; a.Hub != host {
				t.Errorf("%s is on %s, and was told %q", d.DeviceID, host, a.Hub)
			}
			here++
		}
		t.Logf("%d devices on %s", here, host)
		if here < devices/3 {
			t.Errorf("%d devices are on %s: that is no fair share", here, host)
		}
		found += here
	}
	if found != devices || len(told) != devices {
		t.Errorf("%d identities and %d assignments of %d devices", found, len(told), devices)
	}
	// They are good for something.
	for _, id := range []string{"fault-0", "fault-999"} {
		o := told[id].Device
		o.Address = "127.0.0.1"
		d, err := client.Connect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Send(t.Context(), &causeway.Message{Body: []byte("hello")}); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
