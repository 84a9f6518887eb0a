package query

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/twinview"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
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
			return err
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

// jobPage returns a page of rows of jobs.
func (s *Service) jobPage(ctx context.Context, plan *hubquery.Plan, p *pager) (Page, error) {
	page := Page{ItemType: TypeDeviceJob, Items: []json.RawMessage{}}
	room, last := p.room()
	if room == 0 {
		return page, nil
	}
	end := position{}
	bytes := 0
	err := s.eachJob(ctx, p.hub, plan.Condition(), p.at.after.Device, func(j Job) error {
		if len(page.Items) == room || bytes >= pageBytes {
			return errEnough
		}
		item := j.Item()
		page.Items = append(page.Items, item)
		bytes += len(item)
		end.after = causeway.Identity{Device: j.Key}
		if last && len(page.Items) == room {
			return errDone
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
