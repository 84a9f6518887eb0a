package query

import (
	"encoding/json"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/core/twin"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

// The members of a section beside its values.
const (
	versionMember  = "$version"
	metadataMember = "$metadata"
)

// Row is a record as a query sees it.
type Row struct {
	rec   *registry.Record
	live  func() twinview.Live
	facts twinview.Live
	asked bool // facts are there
}

var _ hubquery.Row = (*Row)(nil)

// RowOf returns rec as a query sees it. Live is asked, at most once, for what is
// not in the record; nil means the facts written down.
func RowOf(rec *registry.Record, live func() twinview.Live) *Row {
	if live == nil {
		live = func() twinview.Live {
			return twinview.Live{Connected: rec.Connected, StateUpdated: rec.ConnectionStateUpdated, LastActivity: rec.LastActivity}
		}
	}
	return &Row{rec: rec, live: live}
}

// set makes r another row, or the same with more parts.
func (r *Row) set(rec *registry.Record) { r.rec, r.asked = rec, false }

func (r *Row) now() *twinview.Live {
	if !r.asked {
		r.facts, r.asked = r.live(), true
	}
	return &r.facts
}

// Lookup implements [hubquery.Row].
func (r *Row) Lookup(p *hubquery.Path) hubquery.Value {
	rec, steps := r.rec, p.Segments
	switch p.Root {
	case hubquery.Tags:
		if len(steps) > 0 {
			return hubquery.Descend(rec.Twin.Tags, steps)
		}
		return hubquery.FromJSON(twinview.Tags(rec))
	case hubquery.Desired:
		return section(&rec.Twin.Desired, steps)
	case hubquery.Reported:
		return section(&rec.Twin.Reported, steps)
	case hubquery.Configurations:
		return configuration(rec, steps)
	case hubquery.Capabilities:
		if rec.ID.IsModule() {
			return hubquery.Undefined
		}
		if len(steps) == 1 && steps[0].Name == "iotEdge" && !steps[0].Element { // as often as it is asked
			return hubquery.Bool(rec.Edge)
		}
		return encoded(twinview.Capabilities{IotEdge: rec.Edge}, steps)
	case hubquery.ParentScopes:
		if rec.ID.IsModule() || len(rec.ParentScopes) == 0 {
			return hubquery.Undefined
		}
		return encoded(rec.ParentScopes, steps)
	case hubquery.X509Thumbprint:
		return encoded(twinview.ThumbprintOf(rec), steps)
	case hubquery.Properties:
		if len(steps) > 0 {
			return hubquery.Undefined
		}
		return encoded(map[string]json.RawMessage{"desired": twinview.Section(&rec.Twin.Desired), "reported": twinview.Section(&rec.Twin.Reported)}, nil)
	}
	if len(steps) > 0 {
		return hubquery.Undefined // the rest has nothing inside
	}
	return r.attribute(p.Root)
}

// attribute returns a value that stands at the root of a twin by itself.
func (r *Row) attribute(root hubquery.Root) hubquery.Value {
	rec := r.rec
	switch root {
	case hubquery.DeviceID:
		return hubquery.Text(rec.ID.Device)
	case hubquery.ModuleID:
		return some(rec.ID.Module)
	case hubquery.ETag:
		return hubquery.Text(twin.ETagText(rec.Twin.ETag))
	case hubquery.DeviceETag:
		return hubquery.Text(rec.ETag)
	case hubquery.GenerationID:
		return hubquery.Text(rec.GenerationID)
	case hubquery.ModelID:
		return hubquery.Text(rec.Twin.ModelID)
	case hubquery.Status:
		return hubquery.Text(twinview.Status(rec))
	case hubquery.StatusReason:
		return some(rec.StatusReason)
	case hubquery.StatusUpdateTime:
		return instant(rec.StatusUpdated)
	case hubquery.ConnectionState:
		return hubquery.Text(r.now().State())
	case hubquery.ConnectionStateUpdatedTime:
		return instant(r.now().StateUpdated)
	case hubquery.LastActivityTime:
		return instant(r.now().LastActivity)
	case hubquery.AuthenticationType:
		return hubquery.Text(string(rec.Auth.Type))
	case hubquery.CloudToDeviceMessageCount:
		return hubquery.Int(int64(r.now().Queued))
	case hubquery.Version:
		return hubquery.Int(rec.Twin.Version)
	case hubquery.DeviceScope:
		return some(rec.DeviceScope)
	default:
		return hubquery.Undefined
	}
}

// some is a text that a twin does not have when it is empty.
func some(s string) hubquery.Value {
	if s == "" {
		return hubquery.Undefined
	}
	return hubquery.Text(s)
}

func instant(t time.Time) hubquery.Value { return hubquery.Text(twinview.Time(t)) }

// section looks into desired or reported properties.
func section(s *registry.Section, steps []hubquery.Segment) hubquery.Value {
	if len(steps) == 0 {
		return hubquery.FromJSON(twinview.Section(s))
	}
	if first := steps[0]; !first.Element {
		switch first.Name {
		case versionMember:
			if len(steps) > 1 {
				return hubquery.Undefined
			}
			return hubquery.Int(s.Version)
		case metadataMember:
			if len(s.Metadata) == 0 && len(steps) == 1 {
				return hubquery.FromJSON([]byte("{}"))
			}
			return hubquery.Descend(s.Metadata, steps[1:])
		}
	}
	return hubquery.Descend(s.Properties, steps)
}

// configuration looks into configurations without making JSON of them all.
func configuration(rec *registry.Record, steps []hubquery.Segment) hubquery.Value {
	switch {
	case len(rec.Configurations) == 0:
		return hubquery.Undefined
	case len(steps) == 0:
		return encoded(twinview.Configurations(rec), nil)
	}
	status, ok := rec.Configurations[steps[0].Name]
	if !ok || steps[0].Element {
		return hubquery.Undefined
	}
	if len(steps) == 2 && steps[1].Name == "status" && !steps[1].Element {
		return hubquery.Text(status)
	}
	return encoded(twinview.Configuration{Status: status}, steps[1:])
}

// encoded looks into what is made for the purpose.
func encoded(v any, steps []hubquery.Segment) hubquery.Value {
	return hubquery.Descend(hubjson.Must(v), steps)
}
