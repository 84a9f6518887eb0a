package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/deploy"
)

// deploymentStore implements [deploy.Store].
type deploymentStore struct{ db *DB }

var _ deploy.Store = deploymentStore{}

// deploymentDocument is the stored form of a configuration. Its own type: the
// stored names must not change when a field of the domain is renamed.
type deploymentDocument struct {
	SchemaVersion   string            `json:"schemaVersion"`
	Labels          map[string]string `json:"labels,omitempty"`
	Content         json.RawMessage   `json:"content"`
	TargetCondition string            `json:"targetCondition"`
	Priority        int               `json:"priority"`
	Metrics         map[string]string `json:"metrics,omitempty"`
}

// Configurations implements [deploy.Store].
func (s deploymentStore) Configurations(ctx context.Context) ([]deploy.Stored, error) {
	return read(ctx, s.db, "Configurations", func(c *conn) (all []deploy.Stored, err error) {
		err = c.query("SELECT hub, id, created, updated, etag, pending, leaving, document FROM deployments ORDER BY hub, id", func(r row) error {
			var d deploymentDocument
			damaged := json.Unmarshal([]byte(r.text(7)), &d)
			if damaged != nil {
				d = deploymentDocument{} // half of one is worse than none
			}
			all = append(all, deploy.Stored{
				Hub: r.text(0), Pending: r.bool(5), Leaving: r.bool(6), Damaged: damaged,
				Configuration: deploy.Configuration{
					ID: r.text(1), Created: instant(r.int(2)), Updated: instant(r.int(3)), ETag: r.text(4),
					SchemaVersion: d.SchemaVersion, Labels: d.Labels, Content: d.Content,
					TargetCondition: d.TargetCondition, Priority: d.Priority, Metrics: d.Metrics,
				},
			})
			return nil
		})
		return all, err
	})
}

// PutConfiguration implements [deploy.Store].
func (s deploymentStore) PutConfiguration(ctx context.Context, c deploy.Stored) error {
	doc, err := json.Marshal(deploymentDocument{
		SchemaVersion: c.SchemaVersion, Labels: c.Labels, Content: c.Content,
		TargetCondition: c.TargetCondition, Priority: c.Priority, Metrics: c.Metrics,
	})
	if err != nil {
		return border("PutConfiguration", fmt.Errorf("configuration %s of hub %s: %w", c.ID, c.Hub, err))
	}
	args := []any{c.Hub, c.ID, stamp(c.Created), stamp(c.Updated), c.ETag, flag(c.Pending), flag(c.Leaving), string(doc)}
	return exec(ctx, s.db, "PutConfiguration", len(doc), func(conn *conn) error {
		n, err := conn.exec(`INSERT INTO deployments (hub, id, created, updated, etag, pending, leaving, document)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE EXISTS (SELECT 1 FROM hubs WHERE name = ?1)
			ON CONFLICT (hub, id) DO UPDATE SET created = excluded.created, updated = excluded.updated, etag = excluded.etag,
				pending = excluded.pending, leaving = excluded.leaving, document = excluded.document`, args...)
		if err == nil && n == 0 {
			return causeway.Errorf(causeway.GenericNotFound, "sqlite.PutConfiguration", "hub %q does not exist", c.Hub)
		}
		return err
	})
}

// Settled implements [deploy.Store].
func (s deploymentStore) Settled(ctx context.Context, hub, id, etag string) error {
	return exec(ctx, s.db, "Settled", 0, func(c *conn) error {
		return c.atomic(func() error {
			if _, err := c.exec("DELETE FROM deployments WHERE hub = ? AND id = ? AND etag = ? AND leaving <> 0", hub, id, etag); err != nil {
				return err
			}
			_, err := c.exec("UPDATE deployments SET pending = 0 WHERE hub = ? AND id = ? AND etag = ?", hub, id, etag)
			return err
		})
	})
}

// Trace implements [deploy.Store].
func (s deploymentStore) Trace(ctx context.Context, id causeway.Identity) (deploy.Trace, error) {
	return read(ctx, s.db, "Trace", func(c *conn) (deploy.Trace, error) {
		t := deploy.Trace{ID: id}
		err := c.query("SELECT edge, own, manual FROM deployment_traces WHERE hub = ? AND device = ? AND module = ?", func(r row) error {
			t.Manual = r.text(2)
			for i, paths := range map[int]*[]string{0: &t.Edge, 1: &t.Own} {
				if text := r.text(i); text != noPaths {
					if err := json.Unmarshal([]byte(text), paths); err != nil {
						c.damage.tell(fmt.Errorf("what configurations set on %s: %w", id, err))
						*paths = nil
					}
				}
			}
			return nil
		}, id.Hub, id.Device, id.Module)
		return t, err
	})
}

// noPaths is how an empty list of paths is stored.
const noPaths = "[]"

func pathsText(paths []string) string {
	if len(paths) == 0 {
		return noPaths
	}
	b, err := json.Marshal(paths)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// PutTrace implements [deploy.Store].
func (s deploymentStore) PutTrace(ctx context.Context, t deploy.Trace) error {
	id := t.ID
	if t.Empty() {
		return exec(ctx, s.db, "PutTrace", 0, func(c *conn) error {
			_, err := c.exec("DELETE FROM deployment_traces WHERE hub = ? AND device = ? AND module = ?", id.Hub, id.Device, id.Module)
			return err
		})
	}
	args := []any{id.Hub, id.Device, id.Module, pathsText(t.Edge), pathsText(t.Own), t.Manual}
	return exec(ctx, s.db, "PutTrace", 0, func(c *conn) error {
		_, err := c.exec(`INSERT INTO deployment_traces (hub, device, module, edge, own, manual)
			SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS (SELECT 1 FROM identities WHERE hub = ?1 AND device = ?2 AND module = ?3)
			ON CONFLICT (hub, device, module) DO UPDATE SET edge = excluded.edge, own = excluded.own, manual = excluded.manual`, args...)
		return err
	})
}

// Traced implements [deploy.Store].
func (s deploymentStore) Traced(ctx context.Context, hub string, after causeway.Identity, limit int) ([]causeway.Identity, error) {
	return read(ctx, s.db, "Traced", func(c *conn) (ids []causeway.Identity, err error) {
		err = c.query(`SELECT device, module FROM deployment_traces WHERE hub = ? AND (device, module) > (?, ?)
			ORDER BY device, module LIMIT ?`, func(r row) error {
			ids = append(ids, causeway.Identity{Hub: hub, Device: r.text(0), Module: r.text(1)})
			return nil
		}, hub, after.Device, after.Module, int64(limit))
		return ids, err
	})
}

// Begin implements [deploy.Store].
func (s deploymentStore) Begin(ctx context.Context) (deploy.Ending, error) {
	return write(ctx, s.db, "Begin", 0, func(c *conn) (e deploy.Ending, err error) {
		err = c.query("SELECT clean, waiting FROM deployment_work", func(r row) error {
			e.Clean = r.bool(0)
			var waiting [][2]string
			if err := json.Unmarshal([]byte(r.text(1)), &waiting); err != nil {
				c.damage.tell(fmt.Errorf("which devices wait for configurations, so all are looked at: %w", err))
				e, waiting = deploy.Ending{}, nil
			}
			for _, w := range waiting {
				e.Waiting = append(e.Waiting, causeway.Identity{Hub: w[0], Device: w[1]})
			}
			return nil
		})
		if err != nil {
			return deploy.Ending{}, err
		}
		_, err = c.exec("UPDATE deployment_work SET clean = 0, waiting = '[]'")
		return e, err
	})
}

// End implements [deploy.Store].
func (s deploymentStore) End(ctx context.Context, e deploy.Ending) error {
	waiting := make([][2]string, len(e.Waiting))
	for i, id := range e.Waiting {
		waiting[i] = [2]string{id.Hub, id.Device}
	}
	text, err := json.Marshal(waiting)
	if err != nil {
		return border("End", err)
	}
	return exec(ctx, s.db, "End", len(text), func(c *conn) error {
		_, err := c.exec("UPDATE deployment_work SET clean = ?, waiting = ?", flag(e.Clean), string(text))
		return err
	})
}
