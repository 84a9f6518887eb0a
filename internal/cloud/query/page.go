package query

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
	"github.com/causeway-iot/causeway/internal/obs"
)

// pager is where a page begins and how long it may be.
type pager struct {
	hub, text string
	size, top int
	at        position
}

func (p *pager) token(at position) string { return formatToken(p.hub, p.text, at) }

// room returns how many items the page may have, which TOP may make fewer, and
// whether it then is the last.
func (p *pager) room() (n int, last bool) {
	if p.top == 0 || p.top-p.at.sent > p.size {
		return p.size, false
	}
	return max(p.top-p.at.sent, 0), true
}

// rowPage returns a page of whole twins or of projections.
func (s *Service) rowPage(ctx context.Context, plan *hubquery.Plan, p *pager) (Page, error) {
	page := Page{ItemType: TypeRaw, Items: []json.RawMessage{}}
	room, last := p.room()
	if plan.Whole() {
		page.ItemType = TypeTwin
	}
	if room == 0 {
		return page, nil
	}
	scan := s.newScan(p.hub, plan.Condition(), plan.References())
	if plan.Whole() {
		scan.whole, scan.queued = true, true
	}
	began := time.Now()
	end := position{after: p.at.after} // of the page
	fullAt := 0                        // how many rows had been looked at when it was full
	full := false
	bytes := 0
	scan.stop = func() bool {
		if full {
			return scan.looked-fullAt >= lookahead
		}
		return scan.looked%64 == 63 && time.Since(began) > pageTime
	}
	err := scan.run(ctx, p.at.after, func(r *Row) error {
		if full {
			return errEnough // there is another
		}
		item, err := itemOf(plan, r)
		if err != nil {
			s.tellDamaged(r.rec.ID, err)
			return nil // one bad twin is not to keep the others from being seen
		}
		page.Items = append(page.Items, item)
		bytes += len(item)
		if len(page.Items) == room || bytes >= pageBytes {
			if full, fullAt = true, scan.looked; last && len(page.Items) == room {
				return errDone
			}
			end.after = r.rec.ID
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errDone):
		return page, nil
	case !errors.Is(err, errEnough):
		return Page{}, err
	}
	if !full {
		end.after = scan.reached
	}
	end.sent = p.at.sent + len(page.Items)
	page.Token = p.token(end)
	return page, nil
}

// errDone ends a scan after the last item that there is.
var errDone = errors.New("done")

func itemOf(plan *hubquery.Plan, r *Row) (json.RawMessage, error) {
	if plan.Whole() {
		return twinview.JSON(r.rec, *r.now())
	}
	return plan.AppendRow(nil, r), nil
}

// damaged are the identities whose twins were told of as damaged.
type damaged struct {
	mu   sync.Mutex
	told map[causeway.Identity]bool
}

// maxDamaged bounds how many twins are told of.
const maxDamaged = 1000

// tellDamaged tells, once, of a twin that is left out of what queries show.
func (s *Service) tellDamaged(id causeway.Identity, err error) {
	d := &s.damaged
	d.mu.Lock()
	known := d.told[id] || len(d.told) >= maxDamaged
	if d.told == nil {
		d.told = map[causeway.Identity]bool{}
	}
	d.told[id] = d.told[id] || !known
	d.mu.Unlock()
	if !known {
		s.log.Error("a twin is left out of what queries show: what is stored of it is not JSON; restore it from a backup, or delete the identity and make it again", "identity", id, obs.KeyError, err)
	}
}

// jobPage returns a page of rows of jobs.
func (s *Service) jobPage(ctx context.Context, plan *hubquery.Plan, p *pager) (Page, error) {
	page := Page{ItemType: TypeDeviceJob, Items: []json.RawMessage{}}
	room, last := p.room()
	if room == 0 {
		return page, nil
	}
	if s.jobs == nil {
		return page, nil
	}
	cond, began := plan.Condition(), time.Now()
	end := position{after: p.at.after} // of the page
	looked, fullAt := 0, 0             // rows, and how many of them when the page was full
	full := false
	bytes := 0
	err := s.jobs.JobRows(ctx, p.hub, cond.Conjuncts(), p.at.after.Device, func(j Job) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if full && looked-fullAt >= lookahead || !full && looked%64 == 63 && time.Since(began) > pageTime {
			return errEnough
		}
		looked++
		match := cond.Match(j.Row)
		if full {
			if match {
				return errEnough // there is another
			}
			return nil
		}
		end.after = causeway.Identity{Device: j.Key}
		if !match {
			return nil
		}
		item := j.Item()
		page.Items = append(page.Items, item)
		bytes += len(item)
		if len(page.Items) == room || bytes >= pageBytes {
			if full, fullAt = true, looked; last && len(page.Items) == room {
				return errDone
			}
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errDone):
		return page, nil
	case !errors.Is(err, errEnough):
		return Page{}, err
	}
	end.sent = p.at.sent + len(page.Items)
	page.Token = p.token(end)
	return page, nil
}

// eachJob calls f with the rows of jobs that a condition means.
func (s *Service) eachJob(ctx context.Context, hub string, cond *hubquery.Condition, after string, f func(j Job) error) error {
	if s.jobs == nil {
		return nil
	}
	return s.jobs.JobRows(ctx, hub, cond.Conjuncts(), after, func(j Job) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !cond.Match(j.Row) {
			return nil
		}
		return f(j)
	})
}
