package hubtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/causeway-iot/causeway"
)

// sameJSON compares two JSON texts by value; "$" members of got are ignored.
func sameJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w map[string]any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	for k := range g {
		if k[0] == '$' {
			delete(g, k)
		}
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// versionIn returns the "$version" member of a section.
func versionIn(t *testing.T, section []byte) int64 {
	t.Helper()
	var v struct {
		Version *int64 `json:"$version"`
	}
	if err := json.Unmarshal(section, &v); err != nil || v.Version == nil {
		t.Fatalf("no $version in %s: %v", section, err)
	}
	return *v.Version
}

func twin(t *testing.T, s causeway.Session) causeway.Twin {
	t.Helper()
	tw, err := s.Twin(ctxWait(t))
	if err != nil {
		t.Fatalf("twin: %v", err)
	}
	if v := versionIn(t, tw.Desired); v != tw.DesiredVersion {
		t.Errorf("the desired section says version %d, the twin %d", v, tw.DesiredVersion)
	}
	if v := versionIn(t, tw.Reported); v != tw.ReportedVersion {
		t.Errorf("the reported section says version %d, the twin %d", v, tw.ReportedVersion)
	}
	return tw
}

func testTwin(t *testing.T, w *world) {
	s, _, cred := w.device(t, "d1", 0)
	fresh := twin(t, s)
	sameJSON(t, fresh.Desired, `{}`)
	sameJSON(t, fresh.Reported, `{}`)
	v := w.SetDesired(t, cred.Identity, `{"a":{"b":1},"c":"x"}`)
	if v != fresh.DesiredVersion+1 {
		t.Errorf("desired version is %d after %d", v, fresh.DesiredVersion)
	}
	Eventually(t, "the new desired version", func() bool { return twin(t, s).DesiredVersion == v })
	sameJSON(t, twin(t, s).Desired, `{"a":{"b":1},"c":"x"}`)
	var full map[string]any
	if err := json.Unmarshal(twin(t, s).Desired, &full); err != nil {
		t.Fatal(err)
	}
	if _, ok := full["$metadata"]; ok {
		t.Error("the device's view of the twin has $metadata")
	}
}

func testReport(t *testing.T, w *world) {
	s, _, cred := w.device(t, "d1", 0)
	ctx := ctxWait(t)
	start := twin(t, s).ReportedVersion
	for i, c := range []struct{ patch, want string }{
		{`{"a":1,"b":{"c":true,"d":"x"}}`, `{"a":1,"b":{"c":true,"d":"x"}}`},
		{`{"b":{"c":null},"e":[1,2]}`, `{"a":1,"b":{"d":"x"},"e":[1,2]}`},
		{`{}`, `{"a":1,"b":{"d":"x"},"e":[1,2]}`},
	} {
		v, err := s.Report(ctx, causeway.Patch{Properties: []byte(c.patch)})
		if err != nil {
			t.Fatalf("report %s: %v", c.patch, err)
		}
		if v != start+int64(i)+1 {
			t.Errorf("version after report %d is %d, want %d", i, v, start+int64(i)+1)
		}
		sameJSON(t, twin(t, s).Reported, c.want)
		Eventually(t, "the report", func() bool { _, at := w.Reported(t, cred.Identity); return at == v })
		props, _ := w.Reported(t, cred.Identity)
		sameJSON(t, props, c.want)
	}
	for _, c := range []struct {
		patch causeway.Patch
		code  causeway.Code
	}{
		{causeway.Patch{Properties: []byte(`{"a":`)}, causeway.DeserializationError},
		{causeway.Patch{Properties: []byte(`[1]`)}, causeway.DeserializationError},
		{causeway.Patch{Properties: []byte(`{"a.b":1}`)}, causeway.ArgumentInvalid},
		{causeway.Patch{Properties: []byte(`{"a":2}`), Version: start}, causeway.PreconditionFailed},
	} {
		_, err := s.Report(ctx, c.patch)
		WantCode(t, err, c.code)
	}
	sameJSON(t, twin(t, s).Reported, `{"a":1,"b":{"d":"x"},"e":[1,2]}`)
}

func testDesired(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneDesired)
	start := twin(t, s).DesiredVersion
	const n = 30
	for i := range n {
		w.SetDesired(t, cred.Identity, fmt.Sprintf(`{"n":%d,"gone":null}`, i))
	}
	for i := range n {
		p := r.Patch(t)
		if p.Version != start+int64(i)+1 {
			t.Fatalf("change %d has version %d, want %d", i, p.Version, start+int64(i)+1)
		}
		if v := versionIn(t, p.Properties); v != p.Version {
			t.Errorf("the change says version %d, the patch %d", v, p.Version)
		}
		sameJSON(t, p.Properties, fmt.Sprintf(`{"n":%d,"gone":null}`, i))
	}
	if _, err := s.Report(ctxWait(t), causeway.Patch{Properties: []byte(`{"r":1}`)}); err != nil {
		t.Fatal(err)
	}
	r.NoPatch(t)
}

func testDesiredNotListening(t *testing.T, w *world) {
	s, r, cred := w.device(t, "d1", causeway.LaneCommands|causeway.LaneMethods)
	w.SetDesired(t, cred.Identity, `{"n":1}`)
	r.NoPatch(t)
	listen(t, s, causeway.LaneDesired)
	r.NoPatch(t)
	v := w.SetDesired(t, cred.Identity, `{"n":2}`)
	if p := r.Patch(t); p.Version != v {
		t.Errorf("version %d, want %d", p.Version, v)
	}
	listen(t, s, 0)
	w.SetDesired(t, cred.Identity, `{"n":3}`)
	r.NoPatch(t)
}

// testDesiredNoneLost follows the reconnect pattern of the SDKs under a
// concurrent writer: listen, read the twin, apply what comes after it. The
// result must be the writer's last value, without a gap.
func testDesiredNoneLost(t *testing.T, w *world) {
	cred := w.Add(t, "d1", "")
	const n = 60
	last := make(chan int64, 1)
	go func() {
		var v int64
		for i := range n {
			v = w.SetDesired(t, cred.Identity, fmt.Sprintf(`{"n":%d}`, i))
		}
		last <- v
	}()
	for {
		r := NewRecorder()
		s := w.connect(t, cred, r)
		listen(t, s, causeway.LaneDesired)
		at := twin(t, s).DesiredVersion
		// Follow a few changes on this connection, then drop it.
		for range 5 {
			select {
			case p := <-r.patches:
				if p.Version > at+1 {
					t.Fatalf("version %d came after %d: a change was lost", p.Version, at)
				}
				at = max(at, p.Version)
			case final := <-last:
				for at < final {
					p := r.Patch(t)
					if p.Version > at+1 {
						t.Fatalf("version %d came after %d: a change was lost", p.Version, at)
					}
					at = max(at, p.Version)
				}
				sameJSON(t, twin(t, s).Desired, fmt.Sprintf(`{"n":%d}`, n-1))
				return
			}
		}
		s.Close(nil)
	}
}
