package directory_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// TestRouting: the routing of a hub is checked, its secrets are sealed, and a
// restart finds it.
func TestRouting(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	s.SetEndpointKinds(routing.Kinds{"webhook": nil})
	create(t, s, "plant")
	set := func(r *routing.Settings) (directory.Hub, error) {
		return s.Update(t.Context(), "plant", func(h *directory.Hub) error {
			h.Settings.Routing = r
			return nil
		})
	}
	good := &routing.Settings{
		Endpoints: []routing.EndpointSettings{{Name: "hook", Kind: "webhook", Secrets: map[string]causeway.Secret{"token": "hush"}}},
		Routes:    []routing.Route{{Name: "r", Source: routing.DeviceMessages, EndpointNames: []string{"hook"}, IsEnabled: true}},
	}
	h, err := set(good)
	if err != nil {
		t.Fatal(err)
	}
	if h.Settings.Routing.Endpoints[0].Secrets["token"] != "hush" {
		t.Errorf("the secret is %s", string(h.Settings.Routing.Endpoints[0].Secrets["token"]))
	}
	good.Routes[0].Name = "changed" // the caller's memory is the caller's
	stored, err := store.Hubs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if k := string(stored[0].Settings.Routing.Endpoints[0].Secrets["token"]); !strings.HasPrefix(k, "sealed:") {
		t.Errorf("the secret is stored as %q", k)
	}
	again, _ := open(t, store).Get("plant")
	directorytest.Equal(t, "after a restart", []directory.Hub{again}, []directory.Hub{h})
	if again.Settings.Routing.Routes[0].Name != "r" {
		t.Error("settings share memory with their caller")
	}

	_, err = set(&routing.Settings{Routes: []routing.Route{{Name: "r", Source: routing.DeviceMessages, Condition: "a == 1", EndpointNames: []string{"events"}}}})
	wantCode(t, err, causeway.ArgumentInvalid)
	_, err = set(&routing.Settings{Endpoints: []routing.EndpointSettings{{Name: "x", Kind: "pigeon"}}})
	wantCode(t, err, causeway.ArgumentInvalid)
	if h, _ := s.Get("plant"); len(h.Settings.Routing.Routes) != 1 {
		t.Error("refused settings were taken")
	}
	if h, err = set(&routing.Settings{}); err != nil || h.Settings.Routing != nil {
		t.Errorf("settings that say nothing: %+v, %v", h.Settings.Routing, err)
	}
}
