package localhub_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/cloud/dps/dpstest"
	"github.com/causeway-iot/causeway/internal/cloud/dps/localhub"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/registry/storetest"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPut(t *testing.T) {
	reg := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: storetest.Sealer{}})
	hubs := localhub.Hubs{Registry: reg, Name: func(host string) (string, bool) { return "hub", host == "hub.example" }}
	if _, err := hubs.Target(dps.Link{Host: "elsewhere"}); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("another hub: %v", err)
	}
	h, err := hubs.Target(dps.Link{Host: "hub.example"})
	ok(t, err)
	ctx := t.Context()
	if _, there, err := h.Get(ctx, "d"); there || err != nil {
		t.Errorf("before: %v, %v", there, err)
	}
	ok(t, h.Delete(ctx, "d"))
	key := func(s string) causeway.Secret { return causeway.Secret(strings.Repeat(s, 43) + "=") }
	d := dps.Device{ID: "d", Edge: true, Keys: attestation.Keys{Primary: key("A"), Secondary: key("E")}, Tags: []byte(`{"a":1}`), Desired: []byte(`{"b":2}`), Reported: []byte(`{"c":3}`)}
	ok(t, h.Put(ctx, d, false))
	got, there, err := h.Get(ctx, "d")
	if err != nil || !there || got.Keys != d.Keys || !got.Edge || string(got.Tags) != `{"a":1}` || string(got.Desired) != `{"b":2}` || string(got.Reported) != `{"c":3}` {
		t.Fatalf("%+v, %v, %v", got, there, err)
	}
	id := causeway.Identity{Hub: "hub", Device: "d"}
	before, err := reg.Get(ctx, id)
	ok(t, err)

	// Again with the same: nothing changes, or its connections would end.
	again := d
	again.Tags = []byte(`{"new":1}`)
	ok(t, h.Put(ctx, again, false))
	after, err := reg.Get(ctx, id)
	ok(t, err)
	if after.ETag != before.ETag || string(after.Twin.Tags) != `{"a":1}` {
		t.Errorf("put again: etag %s after %s, tags %s", after.ETag, before.ETag, after.Twin.Tags)
	}
	ok(t, h.Put(ctx, again, true))
	if after, err = reg.Get(ctx, id); err != nil || string(after.Twin.Tags) != `{"new":1}` {
		t.Errorf("reset: %s, %v", after.Twin.Tags, err)
	}
	// Its operator has disabled it: that it registers does not enable it.
	disabled := after
	disabled.Enabled, disabled.StatusReason = false, "lost"
	_, err = reg.Update(ctx, disabled, "*")
	ok(t, err)
	ok(t, h.Put(ctx, dps.Device{ID: "d", Edge: true, Thumbprint: strings.Repeat("ab", 32)}, false))
	after, err = reg.Get(ctx, id)
	ok(t, err)
	if after.Auth.Type != auth.SelfSigned || after.Enabled || after.StatusReason != "lost" || after.DeviceScope != before.DeviceScope || after.GenerationID != before.GenerationID {
		t.Errorf("with a certificate: %+v", after)
	}
	ok(t, h.Delete(ctx, "d"))
	if _, there, _ := h.Get(ctx, "d"); there {
		t.Error("it is there after its deletion")
	}
}

// TestContract runs the contract of targets against a hub of the same cloud.
func TestContract(t *testing.T) {
	reg := registry.New(registry.Options{Store: storetest.NewMemory(), Sealer: storetest.Sealer{}})
	h, err := localhub.Hubs{Registry: reg, Name: func(string) (string, bool) { return "hub", true }}.Target(dps.Link{Host: "hub.example"})
	ok(t, err)
	record := func(t *testing.T, id string) registry.Record {
		t.Helper()
		r, err := reg.Get(t.Context(), causeway.Identity{Hub: "hub", Device: id})
		ok(t, err)
		return r
	}
	dpstest.RunTarget(t, dpstest.TargetUnder{
		Target: h, Reports: true,
		Version: func(t *testing.T, id string) string { return record(t, id).ETag },
		Enabled: func(t *testing.T, id string) bool { return record(t, id).Enabled },
		Disable: func(t *testing.T, id string) {
			r := record(t, id)
			r.Enabled, r.StatusReason = false, "lost"
			_, err := reg.Update(t.Context(), r, "*")
			ok(t, err)
		},
	})
}
