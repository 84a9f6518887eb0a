package transfer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// populate makes identities of all kinds.
func (w *world) populate() {
	w.t.Helper()
	ctx, id := context.Background(), func(d, m string) causeway.Identity {
		return causeway.Identity{Hub: hubName, Device: d, Module: m}
	}
	for _, r := range []registry.Record{
		{ID: id("edge", ""), Enabled: true, Edge: true},
		{ID: id("sas", ""), Enabled: true, StatusReason: "é", Twin: registry.Twin{
			Tags: []byte(`{"site":"north"}`), Desired: registry.Section{Properties: []byte(`{"a":{"b":1}}`)}, Reported: registry.Section{Properties: []byte(`{"c":[1]}`)},
		}},
		{ID: id("sas", "m1"), ManagedBy: "me"},
		{ID: id("thumb", ""), Auth: registry.Authentication{Type: auth.SelfSigned, PrimaryThumb: strings.Repeat("ab", 20)}},
		{ID: id("ca", ""), Enabled: true, Auth: registry.Authentication{Type: auth.CA}},
	} {
		if _, err := w.registry.Create(ctx, r); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.populate()
		w.storage.put("configurations", `{"id":"c1"} {"id":"c2"}`)
		w.start()
		j := w.finish("export", func(r *transfer.Request) { r.IncludeConfigurations = ptr(true) })
		if j.Status != transfer.Completed || j.Progress != 100 || j.Began.IsZero() || j.Finished.IsZero() {
			t.Fatalf("export: %+v", j.State)
		}
		text := w.storage.get("out/devices.txt")
		if n := strings.Count(text, "\n"); n != 7 {
			t.Errorf("%d lines, want 7\n%s", n, text)
		}
		if got := w.storage.get("out/configurations.txt"); got != "{\"id\":\"c1\"}\n{\"id\":\"c2\"}\n" {
			t.Errorf("configurations %q", got)
		}
		was, err := w.device("sas")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour) //nolint:forbidigo // simulated time
		w.stop()

		again := newWorld(t)
		again.storage.put("in/devices.txt", text)
		again.storage.put("in/configurations.txt", "{\"id\":\"c1\"}\nnonsense\n")
		again.start()
		defer again.stop()
		j = again.finish("import", func(r *transfer.Request) { r.IncludeConfigurations = ptr(true) })
		if j.Status != transfer.Completed || j.Position.Applied != 8 || j.Position.Failed != 1 {
			t.Fatalf("import: %+v\n%s", j.State, again.storage.get("out/importErrors.log"))
		}
		if errs := again.storage.get("out/importErrors.log"); !strings.Contains(errs, "InvalidConfigurationContent") {
			t.Errorf("errors %q", errs)
		}
		now, err := again.device("sas")
		if err != nil {
			t.Fatal(err)
		}
		if now.Auth != was.Auth || !now.Enabled || now.StatusReason != "é" {
			t.Errorf("identity %+v, was %+v", now.Auth, was.Auth)
		}
		for _, s := range []struct{ name, got, want string }{
			{"tags", string(now.Twin.Tags), string(was.Twin.Tags)},
			{"desired", string(now.Twin.Desired.Properties), string(was.Twin.Desired.Properties)},
			{"desired metadata", string(now.Twin.Desired.Metadata), string(was.Twin.Desired.Metadata)},
			{"reported", string(now.Twin.Reported.Properties), string(was.Twin.Reported.Properties)},
			{"reported metadata", string(now.Twin.Reported.Metadata), string(was.Twin.Reported.Metadata)},
		} {
			if s.got != s.want {
				t.Errorf("%s %s, want %s", s.name, s.got, s.want)
			}
		}
		edge, err := again.device("edge")
		if err != nil || !edge.Edge {
			t.Errorf("edge device: %+v, %v", edge, err)
		}
		if mods, err := again.registry.Modules(context.Background(), edge.ID); err != nil || len(mods) != 2 {
			t.Errorf("%d modules, %v", len(mods), err)
		}
		// Once more: everything is there, and is updated.
		if j := again.finish("import", nil); j.Position.Applied != 7 || j.Position.Failed != 0 {
			t.Errorf("second import: %+v\n%s", j.State, again.storage.get("out/importErrors.log"))
		}
	})
}

func TestExcludeKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.populate()
		w.start()
		defer w.stop()
		r, _ := w.device("sas")
		w.finish("export", func(r *transfer.Request) { r.ExcludeKeysInExport, r.OutputBlobName = ptr(true), ptr("a/b.txt") })
		text := w.storage.get("out/a/b.txt")
		if strings.Contains(text, string(r.Auth.Primary)) || !strings.Contains(text, `"primaryKey":null`) {
			t.Errorf("keys were exported: %s", text)
		}
	})
}

func TestImportErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.populate()
		w.start()
		defer w.stop()
		w.storage.put("in/list.txt", "\xef\xbb\xbf"+`{"id":"new1","importMode":"create"}`+"\r\n\r\n  \n"+
			`{"id":"sas","importMode":"create"}`+"\n"+
			"not json\n"+
			"\xff\n"+
			`{"id":"big","tags":{"a":"`+strings.Repeat("x", 3<<20)+`"}}`+"\n"+
			`{"id":"ghost","importMode":"update"}`+"\n"+
			`{"id":"new2","importMode":"create"}`+"\n"+
			`{"id":"new2","importMode":"updateTwin","tags":{"then":1}}`+"\n"+
			`{"id":"new2","importMode":"create"}`+"\n"+
			`{"id":"thumb","importMode":"delete"}`+"\n"+
			`{"id":"ca","importMode":"deleteIfMatchETag","eTag":"c3RhbGU="}`+"\n"+
			`{"id":"last"}`) // without an end
		j := w.finish("import", func(r *transfer.Request) { r.InputBlobName = ptr("list.txt") })
		if j.Status != transfer.Completed || j.Position.Applied != 5 || j.Position.Failed != 7 {
			t.Errorf("%+v", j.State)
		}
		var got []string
		for line := range strings.Lines(w.storage.get("out/importErrors.log")) {
			for _, name := range []string{"DeviceAlreadyExists", "DeserializationError", "GenericRequestEntityTooLarge", "DeviceNotFound", "PreconditionFailed"} {
				if strings.Contains(line, `"errorCode":"`+name+`"`) {
					got = append(got, name)
				}
			}
		}
		if want := "DeviceAlreadyExists DeserializationError DeserializationError GenericRequestEntityTooLarge DeviceNotFound DeviceAlreadyExists PreconditionFailed"; strings.Join(got, " ") != want {
			t.Errorf("errors %q, want %q\n%s", got, want, w.storage.get("out/importErrors.log"))
		}
		if r, err := w.device("new2"); err != nil || string(r.Twin.Tags) != `{"then":1}` {
			t.Errorf("lines about one device: %s, %v", r.Twin.Tags, err)
		}
		for _, d := range []string{"new1", "last"} {
			if _, err := w.device(d); err != nil {
				t.Errorf("%s: %v", d, err)
			}
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.populate()
		w.start()
		defer w.stop()
		if j := w.finish("import", nil); j.Status != transfer.Failed || !strings.Contains(j.Reason, "no blob devices.txt") {
			t.Errorf("no input: %+v", j.State)
		}
		began := time.Now()
		w.storage.fault = func(string) error { return errDown }
		if j := w.finish("export", nil); j.Status != transfer.Failed || j.Reason == "" || time.Since(began) < time.Second {
			t.Errorf("no storage: %+v after %v", j.State, time.Since(began))
		}
		n := 0
		w.storage.fault = func(string) error {
			if n++; n < 4 {
				return errDown
			}
			return nil
		}
		if j := w.finish("export", nil); j.Status != transfer.Completed {
			t.Errorf("a storage that comes back: %+v", j.State)
		}
	})
}

// TestBrokenConnections: a blob that stops in the middle is read on from there.
func TestBrokenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var text strings.Builder
		for i := range 3000 {
			fmt.Fprintf(&text, "{\"id\":\"d%04d\",\"importMode\":\"create\"}\n", i)
		}
		w.storage.put("in/devices.txt", text.String())
		w.storage.cut = 80_000
		w.start()
		defer w.stop()
		if j := w.finish("import", nil); j.Status != transfer.Completed || j.Position.Applied != 3000 || j.Position.Failed != 0 {
			t.Errorf("%+v\n%s", j.State, w.storage.get("out/importErrors.log"))
		}
	})
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		block := make(chan struct{})
		w.storage.fault = func(string) error { <-block; return errDown }
		w.populate()
		w.start()
		defer w.stop()
		j := w.create("export", nil)
		synctest.Wait()
		if _, err := w.service.Create(t.Context(), w.job("export", nil)); causeway.CodeOf(err) != causeway.JobQuotaExceeded {
			t.Errorf("a second job: %v", err)
		}
		if _, err := w.service.Create(t.Context(), w.job("export", func(r *transfer.Request) { r.OutputBlobContainerURI = ptr("http://x") })); causeway.CodeOf(err) != causeway.BlobContainerValidationError {
			t.Errorf("a bad address: %v", err)
		}
		c, err := w.service.Cancel(t.Context(), hubName, j.ID)
		if err != nil || c.Status != transfer.Cancelled {
			t.Errorf("cancel: %+v, %v", c.State, err)
		}
		close(block)
		synctest.Wait()
		w.storage.mu.Lock()
		w.storage.fault = nil
		w.storage.mu.Unlock()
		if got := w.ended(j.ID); got.Status != transfer.Cancelled {
			t.Errorf("cancelled: %+v", got.State)
		}
		if again, err := w.service.Cancel(t.Context(), hubName, j.ID); err != nil || again.Status != transfer.Cancelled {
			t.Errorf("cancelled again: %+v, %v", again.State, err)
		}
		if _, err := w.service.Cancel(t.Context(), hubName, "ghost"); causeway.CodeOf(err) != causeway.JobNotFound {
			t.Errorf("cancel a ghost: %v", err)
		}
		w.finish("export", nil)
		list, err := w.service.List(t.Context(), hubName)
		if err != nil || len(list) != 2 || list[0].Output != "mem:out" {
			t.Errorf("list %+v, %v", list, err)
		}
		time.Sleep(transfer.History + 2*time.Hour) //nolint:forbidigo // simulated time
		if list, _ := w.service.List(t.Context(), hubName); len(list) != 0 {
			t.Errorf("%d jobs after %v", len(list), transfer.History)
		}
	})
}

// TestSecretsAreSealed: an address is a secret.
func TestSecretsAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		defer w.stop()
		j := w.finish("export", func(r *transfer.Request) { r.OutputBlobContainerURI = ptr("mem:out?sig=verysecret") })
		stored, err := w.store.Get(t.Context(), hubName, j.ID)
		if err != nil || !strings.HasPrefix(string(stored.Output), "transfer/plant/"+j.ID+"/output|") {
			t.Errorf("stored %q, %v", string(stored.Output), err)
		}
		b, err := j.MarshalJSON()
		if err != nil || strings.Contains(string(b), "verysecret") || !strings.Contains(string(b), `"outputBlobContainerUri":"mem:out"`) {
			t.Errorf("shown as %s, %v", b, err)
		}
	})
}
