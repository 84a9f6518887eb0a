package admin_test

import (
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/admin"
	"github.com/causeway-iot/causeway/internal/wire/blobsas"
)

func withBlobs(s *admin.Server) {
	s.SignBlob = func(hub string, g blobsas.Grant) (causeway.Secret, bool) {
		return causeway.Secret(blobsas.Sign([]byte("key"), g)), hub == "myhub"
	}
}

func TestSignBlob(t *testing.T) {
	w := newWorld(t, withBlobs)
	const at = "/api/v1/hubs/myhub/blob-signatures"
	for _, c := range []struct{ body, path, scope, permissions, container, blob string }{
		{`{"container":"uploads","blob":"d/é 1","permissions":"wr","seconds":60}`, "/causeway/uploads/d/%C3%A9%201", "b", "rw", "uploads", "d/é 1"},
		{`{"container":"uploads","permissions":"lr","seconds":60}`, "/causeway/uploads", "c", "rl", "uploads", ""},
		{`{"permissions":"racwdl","seconds":60}`, "/causeway", "", "rwdlac", "", ""},
	} {
		var got struct {
			Path, Query string
			Expires     time.Time
		}
		w.do("POST", at, c.body, "admin").want(200).into(&got)
		tok, ok, err := blobsas.Parse(got.Query)
		if !ok || err != nil || !tok.Verify([]byte("key"), blobsas.AccountName, c.container, c.blob) {
			t.Fatalf("%s: %+v, %v, %v", c.body, got, ok, err)
		}
		if got.Path != c.path || tok.Scope != c.scope || tok.Permissions != c.permissions || !tok.Expiry.Equal(got.Expires) || time.Until(got.Expires) > time.Minute {
			t.Errorf("%s: %+v, %+v", c.body, got, tok)
		}
	}
	w.do("POST", at, `{"container":"uploads","permissions":"r","seconds":60}`, w.policyToken("iothubowner", "localhost", time.Hour)).want(200)
	for _, c := range []struct {
		name, path, body, token string
		status                  int
	}{
		{"policy that is not the owner", at, `{"container":"uploads","permissions":"r","seconds":60}`, w.policyToken("service", "localhost", time.Hour), 401},
		{"nobody", at, `{"container":"uploads","permissions":"r","seconds":60}`, "", 401},
		{"hub that does not exist", "/api/v1/hubs/other/blob-signatures", `{"container":"uploads","permissions":"r","seconds":60}`, "admin", 404},
		{"blob without container", at, `{"blob":"x","permissions":"r","seconds":60}`, "admin", 400},
		{"name of a container", at, `{"container":"Up","permissions":"r","seconds":60}`, "admin", 400},
		{"container named as the account", at, `{"container":"causeway","permissions":"r","seconds":60}`, "admin", 400},
		{"name that climbs", at, `{"container":"uploads","blob":"../x","permissions":"r","seconds":60}`, "admin", 400},
		{"permission that is none", at, `{"container":"uploads","permissions":"x","seconds":60}`, "admin", 422},
		{"for ever", at, `{"container":"uploads","permissions":"r","seconds":99999999}`, "admin", 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *w
			w.t = t
			w.do("POST", c.path, c.body, c.token).want(c.status)
		})
	}
	newWorld(t).do("POST", at, `{"container":"uploads","permissions":"r","seconds":60}`, "admin").want(404)
}
