// Package query answers queries over the twins of a hub, and over the rows of
// its jobs: it finds rows through the registry, evaluates what lang/hubquery
// compiled, shapes items and hands them out in pages.
//
// It keeps nothing between calls. A page ends with a token that names the last
// row, so a token can be used any number of times, also by another process; it
// belongs to the text of its query. What a page shows is of one moment; the
// next page is of another.
//
// Connection states and the depths of queues are those of now, not those last
// written down.
package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Bounds of queries.
const (
	DefaultPage = 100     // items, when a caller does not say
	MaxPage     = 1000    // items, whatever a caller says
	pageBytes   = 8 << 20 // of items, after which a page ends

	pageTime  = 3 * time.Second // of looking for rows, after which a page ends
	totalTime = time.Minute     // of a query with aggregates, which has no next page to go on in

	lookahead = 1000 // rows looked at after the last of a page, to tell whether another follows
	batch     = 256  // records that Each holds
	liveBatch = 1000 // connected identities looked up at once
)

// The types of items, as clients know them.
const (
	TypeTwin      = "Twin"
	TypeDeviceJob = "DeviceJob"
	TypeRaw       = "Raw"
)

// Registry is what this package asks of registry.Service; see there.
type Registry interface {
	Query(ctx context.Context, sel registry.Selection, each func(r *registry.Record) error) error
	Count(ctx context.Context, hub string) (registry.Counts, error)
}

// Live is what a running hub knows of connections.
type Live interface {
	State(id causeway.Identity) presence.State
	// Connected returns up to limit connected devices, or modules, in the order
	// of their ids, from the first beyond after.
	Connected(modules bool, after causeway.Identity, limit int) []causeway.Identity
}

// Job is a row of devices.jobs.
type Job struct {
	Key  string // orders the rows; at most 512 bytes
	Row  hubquery.Row
	Item func() json.RawMessage
}

// JobRows has the rows of devices.jobs.
type JobRows interface {
	// JobRows calls each with the rows of a hub in the byte order of their keys,
	// from the first beyond after, until it returns an error, which JobRows
	// returns as it is. It may leave out rows of which a part of where is not
	// true.
	JobRows(ctx context.Context, hub string, where []hubquery.Conjunct, after string, each func(j Job) error) error
}

// Options are what a [Service] needs. Registry is required.
type Options struct {
	Registry Registry
	Live     func(hub string) (Live, bool) // nil: nobody is connected
	Depth    func(ctx context.Context, id causeway.Identity) (int, error)
	Metrics  *obs.Query   // nil for none
	Log      *slog.Logger // nil discards
}

// Service answers queries. It is safe for concurrent use.
type Service struct {
	registry Registry
	liveOf   func(hub string) (Live, bool)
	depth    func(ctx context.Context, id causeway.Identity) (int, error)
	metrics  *obs.Query
	log      *slog.Logger
	jobs     JobRows
	damaged  damaged
}

// New returns a service.
func New(o Options) *Service {
	if o.Registry == nil {
		panic("query.New: Registry is required")
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewQuery(nil)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{registry: o.Registry, liveOf: o.Live, depth: o.Depth, metrics: o.Metrics, log: o.Log}
}

// SetJobs says where the rows of jobs are. Without it there are none. It must be
// called before the service is used.
func (s *Service) SetJobs(j JobRows) { s.jobs = j }

// Page is some items of the outcome of a query.
type Page struct {
	ItemType string
	Items    []json.RawMessage // never nil
	Token    string            // for the next page; "" when there is none
}

// Query returns a page of at most size items, 0 meaning [DefaultPage]. Token is
// that of the page before, "" for the first. A page may be short, even empty,
// and have a token all the same.
//
// Codes: ArgumentNull (no text), ArgumentInvalid (not a query, or a token of
// another one; the message says where and how to mend it), RequestTimedOut.
func (s *Service) Query(ctx context.Context, hub, text string, size int, token string) (Page, error) {
	began := time.Now()
	page, err := s.query(ctx, hub, text, size, token)
	s.metrics.Latency.Observe(time.Since(began).Seconds())
	s.metrics.Queries.WithLabelValues(outcome(err)).Inc()
	s.metrics.Items.Add(float64(len(page.Items)))
	return page, err
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case causeway.CodeOf(err).HTTPStatus() == 400:
		return "invalid"
	default:
		return "failed"
	}
}

func (s *Service) query(ctx context.Context, hub, text string, size int, token string) (Page, error) {
	const op = "query.Query"
	plan, err := compile(op, text)
	if err != nil {
		return Page{}, err
	}
	at, err := parseToken(op, hub, text, token)
	if err != nil {
		return Page{}, err
	}
	if size <= 0 {
		size = DefaultPage
	}
	size = min(size, MaxPage)
	p := &pager{hub: hub, text: text, size: size, top: plan.Top(), at: at}
	switch {
	case plan.Collection() == hubquery.Jobs:
		return s.jobPage(ctx, plan, p)
	case plan.Aggregated():
		return s.aggregatePage(ctx, plan, p)
	default:
		return s.rowPage(ctx, plan, p)
	}
}

// compile reads and checks a query.
func compile(op, text string) (*hubquery.Plan, error) {
	if strings.TrimSpace(text) == "" {
		return nil, causeway.Errorf(causeway.ArgumentNull, op, "there is no query; send one, such as SELECT * FROM devices")
	}
	q, err := hubquery.Parse(text)
	if err != nil {
		return nil, invalid(op, err)
	}
	p, err := hubquery.Compile(q)
	if err != nil {
		return nil, invalid(op, err)
	}
	return p, nil
}

func invalid(op string, err error) error {
	return &causeway.Error{Code: causeway.ArgumentInvalid, Op: op, Msg: "The query is invalid. " + err.Error(), Err: err}
}

// aggregatePage returns groups, or the one row of a query without them. It goes
// through all rows for every page; there seldom is a second.
func (s *Service) aggregatePage(ctx context.Context, plan *hubquery.Plan, p *pager) (Page, error) {
	rows, err := s.aggregate(ctx, p.hub, plan)
	if err != nil {
		return Page{}, err
	}
	page := Page{ItemType: TypeRaw, Items: []json.RawMessage{}}
	from := min(p.at.sent, len(rows))
	for i := from; i < len(rows); i++ {
		if i-from == p.size {
			page.Token = p.token(position{sent: i})
			break
		}
		page.Items = append(page.Items, rows[i])
	}
	return page, nil
}

// aggregate returns all rows of a query with aggregates.
func (s *Service) aggregate(ctx context.Context, hub string, plan *hubquery.Plan) ([][]byte, error) {
	const op = "query.Query"
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	groups := plan.NewGroups()
	if plan.OnlyCounts() && plan.Condition().All() && plan.Collection() == hubquery.Devices {
		n, err := s.registry.Count(ctx, hub)
		if err != nil {
			return nil, err
		}
		groups.AddCount(int64(n.Total))
		return groups.Rows(), nil
	}
	scan := s.newScan(hub, plan.Condition(), plan.References())
	scan.long = true
	err := scan.run(ctx, causeway.Identity{}, func(r *Row) error { return groups.Add(r) })
	switch {
	case errors.Is(err, hubquery.ErrTooManyGroups):
		return nil, causeway.Errorf(causeway.ArgumentInvalid, op, "The query is invalid. %s, ask for fewer with WHERE", hubquery.ErrTooManyGroups)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, causeway.Errorf(causeway.RequestTimedOut, op, "the query was not answered within %s, ask for fewer rows with WHERE", totalTime)
	case err != nil:
		return nil, err
	}
	return groups.Rows(), nil
}

// Count returns how many items a query has in all. Codes are those of
// [Service.Query].
func (s *Service) Count(ctx context.Context, hub, text string) (int, error) {
	const op = "query.Count"
	plan, err := compile(op, text)
	if err != nil {
		return 0, err
	}
	if plan.Aggregated() {
		rows, err := s.aggregate(ctx, hub, plan)
		return len(rows), err
	}
	n := 0
	one := func() error {
		if n++; n == plan.Top() {
			return errEnough
		}
		return nil
	}
	switch {
	case plan.Collection() == hubquery.Jobs:
		err = s.eachJob(ctx, hub, plan.Condition(), "", func(Job) error { return one() })
	case plan.Condition().All() && plan.Collection() == hubquery.Devices && plan.Top() == 0:
		c, err := s.registry.Count(ctx, hub)
		return c.Total, err
	default:
		err = s.newScan(hub, plan.Condition(), nil).run(ctx, causeway.Identity{}, func(*Row) error { return one() })
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// Each calls f with every record of a hub that a condition means, in the order
// of ids, until f returns an error. Records are whole but for their keys, and
// f's to keep. f may take its time and change the registry: nothing is held
// while it runs, and what it does may be seen by what follows.
func (s *Service) Each(ctx context.Context, hub string, cond *hubquery.Condition, f func(r registry.Record) error) error {
	after := causeway.Identity{}
	for {
		var recs []registry.Record
		bytes := 0
		scan := s.newScan(hub, cond, nil)
		scan.whole = true
		err := scan.run(ctx, after, func(r *Row) error {
			recs = append(recs, *r.rec)
			bytes += size(r.rec)
			if len(recs) == batch || bytes > pageBytes {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		for i := range recs {
			if err := f(recs[i]); err != nil {
				return fmt.Errorf("for %s: %w", recs[i].ID, err)
			}
		}
		if err == nil {
			return nil
		}
		after = recs[len(recs)-1].ID
	}
}

// size is about how many bytes the documents of a record have.
func size(r *registry.Record) int {
	t := &r.Twin
	return len(t.Tags) + len(t.Desired.Properties) + len(t.Desired.Metadata) + len(t.Reported.Properties) + len(t.Reported.Metadata)
}

// errEnough ends a scan that has what it was for.
var errEnough = errors.New("enough")
