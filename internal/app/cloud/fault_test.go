package cloud_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/core/fault"
)

// TestFaults: a client of ours survives every fault over every transport that
// has it, and nothing of what it asked with is stored.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	cfg := configFor(dir)
	cfg.FaultInjection = true
	r := start(t, cfg, cloud.Options{})
	for _, tr := range []causeway.Transport{causeway.AMQP, causeway.AMQPWS, causeway.MQTT, causeway.MQTTWS} {
		for _, k := range fault.Kinds() {
			if !k.Fits(tr) || k.Lasts() {
				continue
			}
			t.Run(string(tr)+" "+string(k), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				name := string(tr) + "-" + string(k)
				d, err := r.service().CreateDevice(ctx, client.DeviceIdentity{DeviceID: name})
				if err != nil {
					t.Fatal(err)
				}
				o := r.options()
				o.AMQPPort = r.Connection().AMQPPort
				echo := func(_ context.Context, c causeway.Call) (causeway.Result, error) {
					return causeway.Result{Status: 200, Payload: c.Payload}, nil
				}
				dev, err := client.Connect(ctx, client.DeviceOptions{
					Options: o, ConnectionString: client.ConnectionString("localhost", name, "", d.Authentication), Transport: tr, Methods: echo,
					Commands: func(context.Context, *causeway.Message) error { return nil }, Desired: func(context.Context, causeway.Patch) {},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer dev.Close()
				if err := dev.Send(ctx, &causeway.Message{Body: []byte("before")}); err != nil {
					t.Fatal(err)
				}
				ask := &causeway.Message{Body: []byte("fault"), Properties: []causeway.Property{
					{Key: "AzIoTHub_FaultOperationType", Value: string(k)},
					{Key: "AzIoTHub_FaultOperationCloseReason", Value: "boom"},
					{Key: "AzIoTHub_FaultOperationDelayInSecs", Value: "0"},
				}}
				// Its acknowledgement may be what is cut off.
				once, stop := context.WithTimeout(ctx, 2*time.Second)
				_ = dev.Send(once, ask)
				stop()
				for _, body := range []string{"1", "2", "3"} {
					if err := dev.Send(ctx, &causeway.Message{Body: []byte(body)}); err != nil {
						t.Fatalf("after the fault: %v", err)
					}
				}
				_, err = dev.Report(ctx, []byte(`{"alive":true}`))
				if errors.Is(err, client.ErrOffline) { // what broke the connection has come only now
					_, err = dev.Report(ctx, []byte(`{"alive":true}`))
				}
				if err != nil {
					t.Errorf("a twin after the fault: %v", err)
				}
				res, err := r.service().Invoke(ctx, name, "", client.MethodCall{Name: "echo", ConnectTimeout: 10 * time.Second})
				if err != nil || res.Status != 200 {
					t.Errorf("a method after the fault: %+v %v", res, err)
				}
				got := r.bodies(name, 4)
				if slices.Contains(got, "fault") || !slices.Contains(got, "3") && !slices.Contains(r.bodies(name, 5), "3") {
					t.Errorf("stored %q", got)
				}
			})
		}
	}
}

// TestFaultsAreOff: unless the configuration says otherwise such a message is like
// any other.
func TestFaultsAreOff(t *testing.T) {
	r := start(t, configFor(t.TempDir()), cloud.Options{Devices: []string{"d"}})
	d := r.device(r.Connection().DeviceConnectionString, client.DeviceOptions{})
	m := &causeway.Message{Body: []byte("fault"), Properties: []causeway.Property{{Key: "AzIoTHub_FaultOperationType", Value: "KillTcp"}}}
	if err := d.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := r.bodies("d", 1); len(got) != 1 || got[0] != "fault" {
		t.Errorf("stored %q", got)
	}
}

// TestFaultOverHTTPS: the request that asks for a refusal gets it.
func TestFaultOverHTTPS(t *testing.T) {
	cfg := configFor(t.TempDir())
	cfg.FaultInjection = true
	r := start(t, cfg, cloud.Options{Devices: []string{"d"}})
	device := r.Connection().DeviceConnectionString
	for kind, want := range map[string]int{"InvokeThrottling": 429, "InvokeMaxMessageQuota": 403, "InvokeAuthError": 401, "KillTcp": 400} {
		if res := r.post(device, "iothub-app-AzIoTHub_FaultOperationType", kind); res.StatusCode != want {
			t.Errorf("%s: %s", kind, res.Status)
		}
		if res := r.post(device); res.StatusCode != http.StatusNoContent {
			t.Errorf("after %s: %s", kind, res.Status)
		}
	}
	if got := r.bodies("d", 4); strings.Join(got, "") != "xxxx" {
		t.Errorf("stored %q", got)
	}
}
