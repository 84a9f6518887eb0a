package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// directoryStore implements [directory.Store].
type directoryStore struct{ db *DB }

var _ directory.Store = directoryStore{}

// The stored form of a hub. Its own types: the stored names must not change
// when a field of the domain is renamed, and secrets are spelled out on purpose.
type (
	hubDocument struct {
		Hosts       []string            `json:"hosts"`
		Policies    []policyDocument    `json:"policies"`
		Authorities []authorityDocument `json:"authorities,omitempty"`
		Groups      []groupDocument     `json:"groups,omitempty"`
		Settings    directory.Settings  `json:"settings"`
	}
	policyDocument struct {
		Name      string      `json:"name"`
		Primary   string      `json:"primary"`   // sealed
		Secondary string      `json:"secondary"` // sealed
		Rights    auth.Rights `json:"rights"`
	}
	authorityDocument struct {
		Name     string    `json:"name"`
		DER      []byte    `json:"der"`
		Verified bool      `json:"verified"`
		Created  time.Time `json:"created"`
	}
	groupDocument struct {
		Name    string    `json:"name"`
		Created time.Time `json:"created"`
	}
)

// Hubs implements [directory.Store].
func (s directoryStore) Hubs(ctx context.Context) ([]directory.Hub, error) {
	return read(ctx, s.db, "Hubs", func(c *conn) (hubs []directory.Hub, err error) {
		err = c.query("SELECT name, created, partitions, document FROM hubs ORDER BY name", func(r row) error {
			h, err := scanHub(r)
			if err != nil {
				h = directory.Hub{Name: r.text(0), Created: instant(r.int(1)), Damaged: err}
			}
			hubs = append(hubs, h)
			return nil
		})
		return hubs, err
	})
}

func scanHub(r row) (directory.Hub, error) {
	var d hubDocument
	if err := json.Unmarshal([]byte(r.text(3)), &d); err != nil {
		return directory.Hub{}, fmt.Errorf("document: %w", err)
	}
	h := directory.Hub{Name: r.text(0), Created: instant(r.int(1)), Partitions: int(r.int(2)), Hosts: d.Hosts, Settings: d.Settings}
	for _, p := range d.Policies {
		h.Policies = append(h.Policies, auth.Policy{
			Name: p.Name, Primary: causeway.Secret(p.Primary), Secondary: causeway.Secret(p.Secondary), Rights: p.Rights,
		})
	}
	for _, a := range d.Authorities {
		h.Authority = append(h.Authority, directory.Authority(a))
	}
	for _, g := range d.Groups {
		h.Groups = append(h.Groups, directory.ConsumerGroup(g))
	}
	return h, nil
}

// PutHub implements [directory.Store].
func (s directoryStore) PutHub(ctx context.Context, h directory.Hub) error {
	d := hubDocument{Hosts: h.Hosts, Policies: []policyDocument{}, Settings: h.Settings}
	for _, p := range h.Policies {
		d.Policies = append(d.Policies, policyDocument{
			Name: p.Name, Primary: string(p.Primary), Secondary: string(p.Secondary), Rights: p.Rights,
		})
	}
	for _, a := range h.Authority {
		d.Authorities = append(d.Authorities, authorityDocument(a))
	}
	for _, g := range h.Groups {
		d.Groups = append(d.Groups, groupDocument(g))
	}
	doc, err := json.Marshal(d)
	if err != nil {
		return border("PutHub", fmt.Errorf("hub %s: %w", h.Name, err))
	}
	args := []any{h.Name, stamp(h.Created), int64(h.Partitions), string(doc)}
	// What an earlier hub of that name held must not show up in this one.
	leaving, err := read(ctx, s.db, "PutHub", func(c *conn) (bool, error) {
		_, ok, err := c.number("SELECT 1 FROM hubs_leaving WHERE name = ?", h.Name)
		return ok, err
	})
	if err == nil && leaving {
		err = s.db.forgetHub(ctx, h.Name)
	}
	if err != nil {
		return err
	}
	return exec(ctx, s.db, "PutHub", len(doc), func(c *conn) error {
		_, err := c.exec(`INSERT INTO hubs (name, created, partitions, document) VALUES (?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET created = excluded.created, partitions = excluded.partitions, document = excluded.document`, args...)
		return err
	})
}

// DeleteHub implements [directory.Store]. The hub is gone with the first
// transaction; what it held is forgotten in more of them, so that a large hub
// does not stop other writers. Should that be interrupted, the rest is forgotten
// when the database is opened again, or before a hub of that name is made.
func (s directoryStore) DeleteHub(ctx context.Context, name string) error {
	err := exec(ctx, s.db, "DeleteHub", 0, func(c *conn) error {
		return c.atomic(func() error {
			if _, err := c.exec("INSERT INTO hubs_leaving (name) VALUES (?) ON CONFLICT DO NOTHING", name); err != nil {
				return err
			}
			_, err := c.exec("DELETE FROM hubs WHERE name = ?", name)
			return err
		})
	})
	if err != nil {
		return err
	}
	if err := s.db.forgetHub(ctx, name); err != nil {
		s.db.writer.log.Warn("what a deleted hub held is not all forgotten yet; the rest will be at the next start", "hub", name, "error", err)
	}
	return nil
}

// forgetHub deletes the identities of a hub that leaves, all they own, and then
// what is left for its back ends: without identities there is no new feedback,
// and without a hub no new file notification.
func (db *DB) forgetHub(ctx context.Context, name string) error {
	for done := false; !done; {
		var err error
		done, err = write(ctx, db, "DeleteHub", 0, func(c *conn) (bool, error) {
			n, err := c.exec(`DELETE FROM identities WHERE hub = ?1 AND (device, module) IN
				(SELECT device, module FROM identities WHERE hub = ?1 LIMIT ?2)`, name, int64(hubDeleteChunk))
			if err != nil || n == hubDeleteChunk {
				return false, err
			}
			n, err = c.exec("DELETE FROM outbox WHERE position IN (SELECT position FROM outbox WHERE hub = ? LIMIT ?)", name, int64(hubDeleteChunk))
			if err != nil || n == hubDeleteChunk {
				return false, err
			}
			for _, text := range forgetJobs {
				if n, err = c.exec(text, name, int64(hubDeleteChunk)); err != nil || n == hubDeleteChunk {
					return false, err
				}
			}
			return true, c.atomic(func() error {
				if _, err := c.exec("DELETE FROM registry_counts WHERE hub = ?", name); err != nil {
					return err
				}
				if _, err := c.exec("DELETE FROM deployments WHERE hub = ?", name); err != nil {
					return err
				}
				_, err := c.exec("DELETE FROM hubs_leaving WHERE name = ?", name)
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finishLeaving ends deletions of hubs that were interrupted.
func (db *DB) finishLeaving(ctx context.Context) error {
	names, err := write(ctx, db, "DeleteHub", 0, func(c *conn) (names []string, err error) {
		err = c.query("SELECT name FROM hubs_leaving", func(r row) error {
			names = append(names, r.text(0))
			return nil
		})
		return names, err
	})
	if err != nil {
		return fmt.Errorf("find hubs being deleted: %w", err)
	}
	for _, name := range names {
		if err := db.forgetHub(ctx, name); err != nil {
			return fmt.Errorf("finish deleting hub %s: %w", name, err)
		}
	}
	return nil
}
