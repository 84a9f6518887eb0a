package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
)

func groupNames(t *testing.T, s *directory.Service, hub string) (names []string) {
	t.Helper()
	all, err := s.ConsumerGroups(hub)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if since := time.Since(g.Created); since < 0 || since > time.Minute {
			t.Errorf("group %s was created %s ago", g.Name, since)
		}
		names = append(names, g.Name)
	}
	return names
}

func TestConsumerGroups(t *testing.T) {
	store := directorytest.NewMemory()
	s := open(t, store)
	create(t, s, "plant")
	create(t, s, "depot")
	want := func(s *directory.Service, hub string, names ...string) {
		t.Helper()
		if d := cmp.Diff(append([]string{"$Default"}, names...), groupNames(t, s, hub)); d != "" {
			t.Errorf("groups of %s (-want +got):\n%s", hub, d)
		}
	}
	want(s, "plant")
	for _, name := range []string{"archive", "Analytics", "b.2_x-3", strings.Repeat("x", 50)} {
		g, err := s.CreateConsumerGroup(t.Context(), "plant", name)
		if err != nil || g.Name != name || g.Created.IsZero() {
			t.Errorf("create %s: %+v, %v", name, g, err)
		}
	}
	all := []string{"Analytics", "archive", "b.2_x-3", strings.Repeat("x", 50)}
	want(s, "plant", all...)
	want(s, "depot")
	want(open(t, store), "plant", all...)
	for name, want := range map[string]bool{
		"$Default": true, "$default": true, "$DEFAULT": true, "analytics": true, "ANALYTICS": true, "archive": true,
		"": false, "default": false, "nobody": false, "b.2_x-": false, "b.2_x\u20103": false, "b.2_X-3": true,
	} {
		if s.HasConsumerGroup("plant", name) != want {
			t.Errorf("HasConsumerGroup(%q) is %v", name, !want)
		}
	}
	if s.HasConsumerGroup("depot", "archive") || s.HasConsumerGroup("nowhere", "$Default") || !s.HasConsumerGroup("depot", "$Default") {
		t.Error("hubs share consumer groups")
	}

	for _, tc := range []struct {
		hub, name string
		code      causeway.Code
	}{
		{"plant", "ARCHIVE", causeway.GenericConflict},
		{"plant", "$default", causeway.GenericConflict},
		{"plant", "", causeway.ArgumentInvalid},
		{"plant", "$other", causeway.ArgumentInvalid},
		{"plant", "a b", causeway.ArgumentInvalid},
		{"plant", "a/b", causeway.ArgumentInvalid},
		{"plant", ".", causeway.ArgumentInvalid},
		{"plant", "..", causeway.ArgumentInvalid},
		{"plant", "-a", causeway.ArgumentInvalid},
		{"plant", "a_", causeway.ArgumentInvalid},
		{"plant", "größe", causeway.ArgumentInvalid},
		{"plant", strings.Repeat("y", 51), causeway.ArgumentInvalid},
		{"nowhere", "a", causeway.GenericNotFound},
	} {
		_, err := s.CreateConsumerGroup(t.Context(), tc.hub, tc.name)
		wantCode(t, err, tc.code)
	}
	want(s, "plant", all...)

	wantCode(t, s.DeleteConsumerGroup(t.Context(), "plant", "$DEFAULT"), causeway.ArgumentInvalid)
	wantCode(t, s.DeleteConsumerGroup(t.Context(), "plant", "nobody"), causeway.GenericNotFound)
	wantCode(t, s.DeleteConsumerGroup(t.Context(), "nowhere", "archive"), causeway.GenericNotFound)
	if err := s.DeleteConsumerGroup(t.Context(), "plant", "Archive"); err != nil {
		t.Fatal(err)
	}
	want(s, "plant", "Analytics", "b.2_x-3", strings.Repeat("x", 50))

	store.Fail(errors.New("disk"))
	if _, err := s.CreateConsumerGroup(t.Context(), "plant", "lost"); err == nil {
		t.Error("created without a store")
	}
	if s.HasConsumerGroup("plant", "lost") {
		t.Error("a group that was not stored is there")
	}
	store.Fail(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CreateConsumerGroup(ctx, "plant", "late"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}

	if err := s.Delete(t.Context(), "plant"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ConsumerGroups("plant"); causeway.CodeOf(err) != causeway.GenericNotFound {
		t.Errorf("groups of a deleted hub: %v", err)
	}
	create(t, s, "plant")
	want(s, "plant")
}

func TestTooManyConsumerGroups(t *testing.T) {
	s := open(t, directorytest.NewMemory())
	create(t, s, "plant")
	for i := range directory.MaxConsumerGroups - 1 {
		if _, err := s.CreateConsumerGroup(t.Context(), "plant", fmt.Sprint("g", i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.CreateConsumerGroup(t.Context(), "plant", "more")
	wantCode(t, err, causeway.GenericConflict)
	if n := len(groupNames(t, s, "plant")); n != directory.MaxConsumerGroups {
		t.Errorf("%d groups", n)
	}
	if err := s.DeleteConsumerGroup(t.Context(), "plant", "g3"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateConsumerGroup(t.Context(), "plant", "more"); err != nil {
		t.Errorf("no room after one was deleted: %v", err)
	}
	_, err = s.Update(t.Context(), "plant", func(h *directory.Hub) error {
		h.Groups = append(h.Groups, directory.ConsumerGroup{Name: "over"})
		return nil
	})
	wantCode(t, err, causeway.ArgumentInvalid)
	_, err = s.Update(t.Context(), "plant", func(h *directory.Hub) error {
		h.Groups = []directory.ConsumerGroup{{Name: "a"}, {Name: "A"}}
		return nil
	})
	wantCode(t, err, causeway.ArgumentInvalid)
}
