package dpstest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/core/attestation"
)

// TargetUnder is a hub that is held to the contract of [dps.Target].
type TargetUnder struct {
	dps.Target
	// Reports says whether a device that is made brings reported properties along.
	Reports bool
	// Version returns something that changes with the identity of a device.
	Version func(t *testing.T, id string) string
	// Disable disables a device, as its operator does.
	Disable func(t *testing.T, id string)
	// Enabled reports whether a device is.
	Enabled func(t *testing.T, id string) bool
}

// RunTarget holds a hub to the contract of [dps.Target].
func RunTarget(t *testing.T, h TargetUnder) {
	ctx := t.Context()
	key := func(s string) causeway.Secret { return causeway.Secret(strings.Repeat(s, 43) + "=") }
	if _, there, err := h.Get(ctx, "d"); there || err != nil {
		t.Errorf("before: %v, %v", there, err)
	}
	ok(t, h.Delete(ctx, "d")) // that there is none is no error
	d := dps.Device{
		ID: "d", Keys: attestation.Keys{Primary: key("A"), Secondary: key("E")},
		Tags: []byte(`{"a":1}`), Desired: []byte(`{"b":{"c":2}}`), Reported: []byte(`{"c":3}`),
	}
	want := func(what string, tags, desired string) {
		t.Helper()
		got, there, err := h.Get(ctx, "d")
		if err != nil || !there || got.ID != "d" || !sameJSON(got.Tags, tags) || !sameJSON(got.Desired, desired) {
			t.Errorf("%s: %+v, %v, %v, want %s %s", what, got, there, err, tags, desired)
		}
	}
	ok(t, h.Put(ctx, d, false))
	want("made", `{"a":1}`, `{"b":{"c":2}}`)
	got, _, err := h.Get(ctx, "d")
	ok(t, err)
	if got.Keys != d.Keys || got.Edge || got.Thumbprint != "" || h.Reports && !sameJSON(got.Reported, `{"c":3}`) {
		t.Errorf("made: %+v", got)
	}

	// Again with the same: nothing changes, or its connections would end.
	before := h.Version(t, "d")
	again := d
	again.Tags, again.Desired = []byte(`{"new":1}`), []byte(`{"new":2}`)
	ok(t, h.Put(ctx, again, false))
	want("put again", `{"a":1}`, `{"b":{"c":2}}`)
	if after := h.Version(t, "d"); after != before {
		t.Errorf("put again, it is of version %s after %s", after, before)
	}
	ok(t, h.Put(ctx, again, true))
	want("reset", `{"new":1}`, `{"new":2}`)
	again.Tags, again.Desired = nil, nil
	ok(t, h.Put(ctx, again, true))
	want("reset to nothing", `{}`, `{}`)

	// Its operator has disabled it: that it registers does not enable it.
	h.Disable(t, "d")
	// A certificate and the one before it, which ends in a while.
	ok(t, h.Put(ctx, dps.Device{ID: "d", Thumbprint: strings.Repeat("AB", 32), SecondThumbprint: strings.Repeat("CD", 32)}, false))
	got, there, err := h.Get(ctx, "d")
	if err != nil || !there || !strings.EqualFold(got.Thumbprint, strings.Repeat("ab", 32)) || !strings.EqualFold(got.SecondThumbprint, strings.Repeat("cd", 32)) {
		t.Errorf("with two certificates: %+v, %v, %v", got, there, err)
	}
	ok(t, h.Put(ctx, dps.Device{ID: "d", Thumbprint: strings.Repeat("AB", 32)}, false))
	got, there, err = h.Get(ctx, "d")
	if err != nil || !there || !strings.EqualFold(got.Thumbprint, strings.Repeat("ab", 32)) || got.SecondThumbprint != "" || got.Keys != (attestation.Keys{}) || h.Enabled(t, "d") {
		t.Errorf("with a certificate: %+v, %v, enabled %v", got, err, h.Enabled(t, "d"))
	}
	ok(t, h.Put(ctx, dps.Device{ID: "edge", Edge: true, Keys: d.Keys}, false))
	if got, there, err := h.Get(ctx, "edge"); err != nil || !there || !got.Edge {
		t.Errorf("an edge device: %+v, %v, %v", got, there, err)
	}
	ok(t, h.Delete(ctx, "d"))
	if _, there, err := h.Get(ctx, "d"); there || err != nil {
		t.Errorf("it is there after its deletion, %v", err)
	}
	if _, there, err := h.Get(ctx, "edge"); !there || err != nil {
		t.Errorf("another is gone with it, %v", err)
	}
}

func sameJSON(got json.RawMessage, want string) bool {
	if len(got) == 0 {
		got = json.RawMessage("{}")
	}
	var a, b any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && reflect.DeepEqual(a, b)
}
