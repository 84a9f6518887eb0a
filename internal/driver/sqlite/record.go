package sqlite

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
)

// Documents are read as bytes: the driver would otherwise make a string of
// them first.
const selectRecord = `SELECT i.hub, i.device, i.module, i.generation, i.etag, i.enabled, i.status_reason,
	i.status_updated, i.created, i.auth_type, i.key_primary, i.key_secondary, i.thumb_primary,
	i.thumb_secondary, i.edge, i.device_scope, i.parent_scopes, i.managed_by, i.connected,
	i.connection_updated, i.last_activity,
	t.version, t.etag, t.model, CAST(d.tags AS BLOB),
	CAST(d.desired AS BLOB), CAST(d.desired_metadata AS BLOB), t.desired_version,
	CAST(t.reported AS BLOB), CAST(t.reported_metadata AS BLOB), t.reported_version, i.configurations
	FROM identities i
	JOIN twins t ON t.hub = i.hub AND t.device = i.device AND t.module = i.module
	JOIN twins_desired d ON d.twin = t.id `

// scanRecord reads a row of selectRecord. With an error it is without what the
// error is about.
func scanRecord(r row) (registry.Record, error) {
	rec := registry.Record{
		ID:            causeway.Identity{Hub: r.text(0), Device: r.text(1), Module: r.text(2)},
		GenerationID:  r.text(3),
		ETag:          r.text(4),
		Enabled:       r.bool(5),
		StatusReason:  r.text(6),
		StatusUpdated: instant(r.int(7)),
		Created:       instant(r.int(8)),
		Auth: registry.Authentication{
			Type:         auth.Type(r.text(9)),
			Primary:      causeway.Secret(r.text(10)),
			Secondary:    causeway.Secret(r.text(11)),
			PrimaryThumb: r.text(12),
			SecondThumb:  r.text(13),
		},
		Edge:                   r.bool(14),
		DeviceScope:            r.text(15),
		ManagedBy:              r.text(17),
		Connected:              r.bool(18),
		ConnectionStateUpdated: instant(r.int(19)),
		LastActivity:           instant(r.int(20)),
		Twin: registry.Twin{
			Version:  r.int(21),
			ETag:     r.int(22),
			ModelID:  r.text(23),
			Tags:     r.blob(24),
			Desired:  registry.Section{Properties: r.blob(25), Metadata: r.blob(26), Version: r.int(27)},
			Reported: registry.Section{Properties: r.blob(28), Metadata: r.blob(29), Version: r.int(30)},
		},
	}
	return rec, errors.Join(readScopes(&rec, r.text(16)), readConfigurations(&rec, r.text(31)))
}

// How an empty list of parent scopes and no configurations are stored.
const (
	noScopes         = "[]"
	noConfigurations = "{}"
)

func scopesText(scopes []string) string {
	if len(scopes) == 0 {
		return noScopes
	}
	b, err := json.Marshal(scopes)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// instant returns the time of a stored number, 0 being the zero time.
func instant(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// The range of what stamp can store: the years 1678 to 2262.
var (
	firstInstant = time.Unix(0, -1<<63)
	lastInstant  = time.Unix(0, 1<<63-1)
)

// stamp is the inverse of instant. Times beyond its range become its ends.
func stamp(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(firstInstant):
		return -1 << 63
	case t.After(lastInstant):
		return 1<<63 - 1
	}
	return t.UnixNano()
}

// flag is how a bool is stored.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// missing returns the error for an identity that is not there: DeviceNotFound,
// or ModuleNotFound when its device is.
func missing(c *conn, op string, id causeway.Identity) error {
	if id.IsModule() {
		_, ok, err := c.number("SELECT 1 FROM identities WHERE hub = ? AND device = ? AND module = ''", id.Hub, id.Device)
		if err != nil {
			return err
		}
		if ok {
			return causeway.Errorf(causeway.ModuleNotFound, op, "module %q does not exist on device %q of hub %q", id.Module, id.Device, id.Hub)
		}
	}
	return causeway.Errorf(causeway.DeviceNotFound, op, "device %q does not exist on hub %q", id.Device, id.Hub)
}

// exists reports whether id is registered.
func exists(c *conn, id causeway.Identity) (bool, error) {
	_, ok, err := c.number("SELECT 1 FROM identities WHERE hub = ? AND device = ? AND module = ?", id.Hub, id.Device, id.Module)
	return ok, err
}
