package job

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// rowsPage is how many rows of devices.jobs are read at once.
const rowsPage = 500

// Twins finds the records that a condition means; see query.Service.
type Twins interface {
	Each(ctx context.Context, hub string, cond *hubquery.Condition, f func(registry.Record) error) error
}

// Conditions is the [Selector] of conditions in the query language.
type Conditions struct{ Twins Twins }

var _ Selector = Conditions{}

// Check implements [Selector].
func (Conditions) Check(condition string) error {
	_, err := parseCondition(condition)
	return err
}

func parseCondition(text string) (*hubquery.Condition, error) {
	c, err := hubquery.ParseCondition(text)
	if err != nil {
		return nil, causeway.Errorf(causeway.ArgumentInvalid, "job.condition", "queryCondition: %v", err)
	}
	return c, nil
}

// Select implements [Selector].
func (c Conditions) Select(ctx context.Context, hub, condition string, f func(causeway.Identity) error) error {
	cond, err := parseCondition(condition)
	if err != nil {
		return err
	}
	return c.Twins.Each(ctx, hub, cond, func(r registry.Record) error { return f(r.ID) })
}

var _ query.JobRows = (*Service)(nil)

// JobRows implements [query.JobRows]: the rows of devices.jobs.
func (s *Service) JobRows(ctx context.Context, hub string, where []hubquery.Conjunct, after string, each func(query.Job) error) error {
	f, ok := rowFilter(where)
	if !ok {
		return nil // something must be true that cannot be
	}
	at := cursorOf(after)
	for {
		rows, err := s.store.Query(ctx, hub, f, at, rowsPage)
		if err != nil {
			return fmt.Errorf("read what jobs of hub %s did to devices: %w", hub, err)
		}
		for i := range rows {
			d := &rows[i]
			if err := each(query.Job{Key: d.Cursor().key(), Row: lookup{d}, Item: d.item}); err != nil {
				return err
			}
		}
		if len(rows) < rowsPage {
			return nil
		}
		at = rows[len(rows)-1].Cursor()
	}
}

// rowFilter returns what the store can find rows by; ok is false when there are
// none.
func rowFilter(where []hubquery.Conjunct) (f RowFilter, ok bool) {
	for i := range where {
		w := &where[i]
		if !w.Prefix && !w.Defined && len(w.Values) == 0 {
			return f, false
		}
		if w.Prefix || w.Defined || len(w.Values) != 1 || w.Values[0].Kind() != hubquery.StringKind || len(w.Path.Segments) > 0 {
			continue
		}
		switch text := w.Values[0].String(); w.Path.Root { //nolint:exhaustive // the store knows two
		case hubquery.JobID:
			f.Job = text
		case hubquery.DeviceID:
			f.Device = text
		}
	}
	return f, true
}

// key is a cursor as a text that orders as it does: ids have no zeros.
func (c RowCursor) key() string { return c.Job + "\x00" + c.Device + "\x00" + c.Module }

func cursorOf(key string) RowCursor {
	var c RowCursor
	var rest string
	c.Job, rest, _ = strings.Cut(key, "\x00")
	c.Device, c.Module, _ = strings.Cut(rest, "\x00")
	return c
}

func (d *DeviceJob) item() json.RawMessage {
	b, err := d.MarshalJSON()
	if err != nil {
		return json.RawMessage("{}") // an answer that is stored is JSON
	}
	return b
}

// lookup is a row as a query sees it.
type lookup struct{ d *DeviceJob }

// Lookup implements [hubquery.Row]. What is inside something is looked up in the
// JSON of the row, so that what is found is what is shown.
func (l lookup) Lookup(p *hubquery.Path) hubquery.Value {
	d := l.d
	switch p.Root { //nolint:exhaustive // the others are of twins
	case hubquery.Outcome:
		return hubquery.Descend(d.item(), append([]hubquery.Segment{{Name: "outcome"}}, p.Segments...))
	case hubquery.JobError:
		return hubquery.Descend(d.item(), append([]hubquery.Segment{{Name: "error"}}, p.Segments...))
	}
	if len(p.Segments) > 0 {
		return hubquery.Undefined
	}
	switch p.Root { //nolint:exhaustive // the others are of twins
	case hubquery.DeviceID:
		return hubquery.Text(d.ID.Device)
	case hubquery.ModuleID:
		if d.ID.Module == "" {
			return hubquery.Undefined
		}
		return hubquery.Text(d.ID.Module)
	case hubquery.JobID:
		return hubquery.Text(d.Job)
	case hubquery.JobType:
		return hubquery.Text(string(d.Type))
	case hubquery.Status:
		return hubquery.Text(d.Status.String())
	case hubquery.StartTime:
		return hubquery.Text(always(d.Started))
	case hubquery.EndTime:
		return hubquery.Text(always(d.Ended))
	case hubquery.CreatedTime:
		return hubquery.Text(always(d.Created))
	case hubquery.LastUpdatedTime:
		return hubquery.Text(always(d.Updated))
	}
	return hubquery.Undefined
}
