package client_test

import (
	"context"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

func TestDigitalTwin(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole cloud")
	}
	w := newWorld(t)
	o := w.device("pnp")
	o.ModelID = "dtmi:com:example:Thermostat;1"
	o.Methods = func(_ context.Context, c causeway.Call) (causeway.Result, error) {
		return causeway.Result{Status: 202, Payload: []byte(`"` + c.Method + `"`)}, nil
	}
	d := w.connect(o)
	if _, err := d.Report(w.ctx, []byte(`{"th1":{"__t":"c","max":38.7}}`)); err != nil {
		t.Fatal(err)
	}
	etag, err := w.s.UpdateDigitalTwin(w.ctx, "pnp", []byte(`[{"op":"add","path":"/th1/target","value":21}]`), "")
	if err != nil {
		t.Fatal(err)
	}
	dt, err := w.s.DigitalTwin(w.ctx, "pnp")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"$model":"dtmi:com:example:Thermostat;1"`, `"max":38.7`, `"desiredValue":21`} {
		if !strings.Contains(string(dt.Document), want) {
			t.Errorf("no %s in %s", want, dt.Document)
		}
	}
	if dt.ETag != etag {
		t.Errorf("etag %q, the change returned %q", dt.ETag, etag)
	}
	_, err = w.s.UpdateDigitalTwin(w.ctx, "pnp", []byte(`[{"op":"remove","path":"/th1/target"}]`), "AAAAAAAAAAE=")
	if causeway.CodeOf(err) != causeway.PreconditionFailed {
		t.Errorf("with an old etag: %v", err)
	}
	_, err = w.s.UpdateDigitalTwin(w.ctx, "pnp", []byte(`[{"op":"move","path":"/a"}]`), "")
	if causeway.CodeOf(err) != causeway.InvalidDigitalTwinJsonPatch {
		t.Errorf("an operation there is not: %v", err)
	}
	for component, want := range map[string]string{"": `"reboot"`, "th1": `"th1*reboot"`} {
		r, err := w.s.InvokeCommand(w.ctx, "pnp", component, client.MethodCall{Name: "reboot", Payload: []byte(`{"delay":1}`)})
		if err != nil || r.Status != 202 || string(r.Payload) != want {
			t.Errorf("command of %q: %+v %v", component, r, err)
		}
	}
}
