package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

// gathering is what is believed of a hub's feedback that is in no message. It
// is a hint when to look: the store knows.
type gathering struct {
	count    int       // records, MaxRecords when there are more
	due      time.Time // when a message is made of them even if they are few; zero without any
	recorded int       // records ever heard of
}

// Recorded tells that n records of feedback of a hub have become durable. It
// does not block.
func (s *Service) Recorded(hub string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gather[hub]
	if g == nil {
		g = &gathering{}
		s.gather[hub] = g
	}
	g.recorded += n
	before := g.count
	g.count = min(g.count+n, MaxRecords)
	if g.due.IsZero() {
		g.due = time.Now().Add(s.delay)
	}
	if before == 0 || before < MaxRecords && g.count == MaxRecords {
		s.rouse()
	}
}

// rouse makes Run look what is due.
func (s *Service) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// recall learns of feedback that an earlier run of the program left.
func (s *Service) recall(ctx context.Context) error {
	all, err := s.store.Pending(ctx, MaxRecords)
	if err != nil {
		return fmt.Errorf("find feedback that is in no message: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range all {
		g := s.gather[p.Hub]
		if g == nil {
			g = &gathering{}
			s.gather[p.Hub] = g
		}
		g.count, g.due = min(g.count+p.Count, MaxRecords), p.Oldest.Add(s.delay)
	}
	return nil
}

// gatherDue makes messages of the feedback that is due at now and returns when
// the next is; the zero time when there is none.
func (s *Service) gatherDue(ctx context.Context, now time.Time) (next time.Time, err error) {
	type candidate struct {
		hub      string
		recorded int
	}
	var due []candidate
	s.mu.Lock()
	for hub, g := range s.gather {
		switch {
		case g.due.IsZero():
		case g.count >= MaxRecords || !now.Before(g.due):
			due = append(due, candidate{hub, g.recorded})
		default:
			next = earliest(next, g.due)
		}
	}
	s.mu.Unlock()
	for _, c := range due {
		left, err := s.gatherHub(ctx, c.hub, now)
		if err != nil {
			return next, err
		}
		s.mu.Lock()
		if g := s.gather[c.hub]; g != nil {
			// Records heard of meanwhile may be counted twice; that only makes
			// the next look early.
			newer := g.recorded - c.recorded
			g.count, g.due = min(left.Count+newer, MaxRecords), time.Time{}
			switch {
			case left.Count > 0:
				g.due = left.Oldest.Add(s.delay)
			case newer > 0:
				g.due = now.Add(s.delay)
			}
			if g.count >= MaxRecords {
				s.rouse()
			}
			if g.due.IsZero() {
				delete(s.gather, c.hub)
			} else {
				next = earliest(next, g.due)
			}
		}
		s.mu.Unlock()
	}
	return next, nil
}

// gatherHub makes messages of the feedback of one hub, as long as it fills them
// or has waited long enough, and returns what is left.
func (s *Service) gatherHub(ctx context.Context, hub string, now time.Time) (Pending, error) {
	for {
		at := time.Now().UTC()
		it := Item{ID: uuid.Text(uuid.New()), Enqueued: at, Expires: at.Add(s.policy(hub, Feedback).TTL)}
		seq, left, err := s.store.Gather(context.WithoutCancel(ctx), hub, it, MaxRecords, now.Add(-s.delay))
		if err != nil {
			return Pending{}, fmt.Errorf("make a feedback message of hub %s: %w", hub, err)
		}
		if seq == 0 {
			return left, nil
		}
		s.queue(hub, Feedback).grew()
		if ctx.Err() != nil {
			return left, ctx.Err()
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
