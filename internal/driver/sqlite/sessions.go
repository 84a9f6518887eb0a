package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/head/mqtt"
)

// SessionStore implements [mqtt.SessionStore].
type SessionStore struct{ db *DB }

var _ mqtt.SessionStore = (*SessionStore)(nil)

// Load implements [mqtt.SessionStore].
func (s *SessionStore) Load(ctx context.Context, id causeway.Identity) (filters []mqtt.Filter, ok bool, err error) {
	text, err := read(ctx, s.db, "LoadSession", func(c *conn) (text string, err error) {
		err = c.query("SELECT filters FROM sessions WHERE hub = ? AND device = ? AND module = ?", func(r row) error {
			text = r.text(0)
			return nil
		}, id.Hub, id.Device, id.Module)
		return text, err
	})
	if err != nil || text == "" {
		return nil, false, err
	}
	filters, err = parseFilters(text)
	if err != nil {
		// One that subscribes anew; the device could not connect otherwise.
		s.db.damage.tell(fmt.Errorf("MQTT session of %s: %w", id, err))
		return nil, false, nil
	}
	return filters, true, nil
}

// Save implements [mqtt.SessionStore]. Codes: DeviceNotFound, ModuleNotFound.
func (s *SessionStore) Save(ctx context.Context, id causeway.Identity, filters []mqtt.Filter) error {
	text := filtersText(filters)
	return exec(ctx, s.db, "SaveSession", len(text), func(c *conn) error {
		_, err := c.exec(`INSERT INTO sessions (hub, device, module, filters) VALUES (?, ?, ?, ?)
			ON CONFLICT (hub, device, module) DO UPDATE SET filters = excluded.filters`, id.Hub, id.Device, id.Module, text)
		if constraint(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY {
			return missing(c, "sqlite.SaveSession", id)
		}
		return err
	})
}

// Drop implements [mqtt.SessionStore].
func (s *SessionStore) Drop(ctx context.Context, id causeway.Identity) error {
	// Most sessions are clean and drop nothing: that needs no transaction.
	ok, err := read(ctx, s.db, "DropSession", func(c *conn) (bool, error) {
		_, ok, err := c.number("SELECT 1 FROM sessions WHERE hub = ? AND device = ? AND module = ?", id.Hub, id.Device, id.Module)
		return ok, err
	})
	if err != nil || !ok {
		return err
	}
	return exec(ctx, s.db, "DropSession", 0, func(c *conn) error {
		_, err := c.exec("DELETE FROM sessions WHERE hub = ? AND device = ? AND module = ?", id.Hub, id.Device, id.Module)
		return err
	})
}

// filtersText writes filters as a JSON array of [topic, qos].
func filtersText(filters []mqtt.Filter) string {
	pairs := make([][2]any, len(filters))
	for i, f := range filters {
		pairs[i] = [2]any{f.Topic, f.QoS}
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		panic(err) // strings and bytes always marshal
	}
	return string(b)
}

// parseFilters reads what filtersText wrote.
func parseFilters(text string) ([]mqtt.Filter, error) {
	var pairs [][2]json.RawMessage
	if err := json.Unmarshal([]byte(text), &pairs); err != nil {
		return nil, fmt.Errorf("filters: %w", err)
	}
	filters := make([]mqtt.Filter, len(pairs))
	for i, p := range pairs {
		if err := json.Unmarshal(p[0], &filters[i].Topic); err != nil {
			return nil, fmt.Errorf("filter %d: topic: %w", i, err)
		}
		if err := json.Unmarshal(p[1], &filters[i].QoS); err != nil {
			return nil, fmt.Errorf("filter %d: QoS: %w", i, err)
		}
	}
	return filters, nil
}
