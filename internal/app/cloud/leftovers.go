package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway/internal/app/state"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/durable"
	"github.com/causeway-iot/causeway/internal/obs"
)

// The database says which hubs and endpoints there are; their directories follow
// it. A process may die in between, and what it left must not be found by a hub
// or an endpoint that is made later under the same name.

const (
	// deletedFile marks the directory of a hub that is about to be deleted from
	// the database.
	deletedFile = "deleted"
	// kindFile says what the log in the directory of an endpoint holds.
	kindFile = "kind"
)

// What a log of an endpoint holds.
const (
	queueLog  = "queue"
	eventsLog = "events"
)

func (h *hubs) home(hub string) string { return filepath.Join(h.dir, hub) }

// condemn marks the directory of a hub as one to be removed once the hub is not
// in the database any more.
func (h *hubs) condemn(hub string) error {
	if !state.Exists(h.home(hub)) {
		return nil
	}
	return state.WriteFile(filepath.Join(h.home(hub), deletedFile), nil, 0o600)
}

// pardon takes the mark back: the hub is in the database.
func (h *hubs) pardon(hub string) error {
	return state.Remove(filepath.Join(h.home(hub), deletedFile))
}

// condemned reports whether the directory of a hub has the mark.
func (h *hubs) condemned(hub string) bool {
	return state.Exists(filepath.Join(h.home(hub), deletedFile))
}

// sweep ends what deletions have begun, at the start, when it is known which hubs
// there are. A directory of an unknown hub that nobody has deleted stays: the
// database may be an older one that was restored.
func (h *hubs) sweep(known []directory.Hub) error {
	names, err := durable.Sweep(h.dir)
	if err != nil {
		return fmt.Errorf("clean %s: %w", h.dir, err)
	}
	for _, name := range names {
		if !h.condemned(name) || slices.ContainsFunc(known, func(d directory.Hub) bool { return d.Name == name }) {
			continue
		}
		if err := durable.Discard(h.home(name)); err != nil {
			return fmt.Errorf("remove what is left of hub %s: %w", name, err)
		}
		h.log.Info("removed what was left of a deleted hub", obs.KeyHub, name)
	}
	return nil
}

// sweepEndpoints removes the directories of endpoints that a hub does not have.
func (h *hubs) sweepEndpoints(d directory.Hub) error {
	dir := filepath.Join(h.home(d.Name), EndpointsDir)
	names, err := durable.Sweep(dir)
	if err != nil {
		return fmt.Errorf("clean %s: %w", dir, err)
	}
	wanted := map[string]bool{}
	if r := d.Settings.Routing; r != nil {
		for _, e := range r.Endpoints {
			wanted[strings.ToLower(e.Name)] = true
		}
	}
	for _, name := range names {
		if wanted[name] {
			continue
		}
		if err := durable.Discard(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove what is left of endpoint %s of hub %s: %w", name, d.Name, err)
		}
		h.log.Warn("removed what waited for an endpoint that was removed", obs.KeyHub, d.Name, obs.KeyEndpoint, name)
	}
	return nil
}

// claim makes the directory of an endpoint one for a log of a kind. What a log of
// another kind has left there is removed: it belongs to an endpoint that had the
// name before.
func (h *hubs) claim(dir, kind string) error {
	path := filepath.Join(dir, kindFile)
	mark := func() error { return state.WriteFile(path, []byte(kind+"\n"), 0o600) }
	if state.Exists(dir) {
		b, err := state.ReadFile(path, 64)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// It is of an earlier release, and of the right kind. That it cannot
			// be marked, on a full disk for instance, does not hold it up.
			if err := mark(); err != nil {
				h.log.Warn("could not write down what an endpoint holds", obs.KeyPath, path, obs.KeyError, err)
			}
			return nil
		case err != nil:
			return fmt.Errorf("find out what an endpoint holds: %w", err)
		case strings.TrimSpace(string(b)) == kind:
			return nil
		}
		h.log.Warn("removed what was left of an endpoint of another kind", obs.KeyPath, dir)
		if err := durable.Discard(dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
	}
	if err := state.MakeDir(dir); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	return mark()
}
