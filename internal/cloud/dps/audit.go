package dps

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Outcomes of decisions, beside Assigned, Failed and Disabled.
const Refused Status = "refused"

// Decision is the record of what a service decided about a device, and why. It
// has no secrets.
type Decision struct {
	Seq          int64 // position in the record; later ones have greater ones
	At           time.Time
	Registration string // id, as the device gave it
	Operation    string // "" for one that was refused
	Enrollment   string // that admitted it; "" for none
	Group        bool   // that is an enrollment group
	Kind         Kind   // of the attestation that was asked for; "" for none
	Transport    string
	Remote       string // address
	Client       string // what it says it is

	Outcome   Status // assigned, failed, disabled, refused
	Hub, From string // host names: where it is now, and where it came from
	DeviceID  string
	Substatus Substatus
	Code      int // why it failed or was refused
	Message   string
	Why       Why
	Took      time.Duration // from its registration to the end of it
	// Skipped is how many that were refused before this one are not on record,
	// because there were too many.
	Skipped int
}

// Why is how a hub was chosen.
type Why struct {
	Policy     Policy
	Reason     string // in words
	Region     string // of the device, "" when it is not known
	Webhook    int    // HTTP status that it answered with; 0 when it was not asked
	Candidates []Candidate
}

// Candidate is a hub that a device might have been assigned to.
type Candidate struct {
	Host      string
	Weight    int
	Region    string
	Latency   int // milliseconds from the device's region, -1 when it is not known
	Unhealthy bool
}

// DecisionQuery asks for decisions. With After, those of greater positions in
// their order; otherwise the latest first, from below Before if that is not 0.
type DecisionQuery struct {
	Registration  string // "" for all, without regard to case
	Since         time.Time
	After, Before int64
	Ascending     bool // from After on
	Limit         int  // 1 to MaxPage
}

// DecisionStore keeps decisions.
type DecisionStore interface {
	// PutDecisions appends decisions, and gives them positions.
	PutDecisions(ctx context.Context, service string, d ...Decision) error
	// Decisions returns what q asks for.
	Decisions(ctx context.Context, service string, q DecisionQuery) ([]Decision, error)
	// PruneDecisions forgets up to limit of the oldest decisions that are older
	// than before, or that are more than keep, and returns how many.
	PruneDecisions(ctx context.Context, service string, before time.Time, keep, limit int) (int, error)
}

// Decisions returns the record of a service. Code: CodeNotFound.
func (s *Service) Decisions(ctx context.Context, service string, q DecisionQuery) ([]Decision, error) {
	if s.current.Load().byName[service] == nil {
		return nil, noService(service)
	}
	q.Limit = page(q.Limit)
	return s.store.Decisions(ctx, service, q)
}

// refusal is one that waits to be put on record.
type refusal struct {
	service string
	Decision
}

// noteRefused counts a device that was refused, and puts it on record unless too many
// are: nobody fills the disk by knocking.
func (s *Service) noteRefused(t *tenant, r *causeway.Registration, err error, now time.Time) {
	s.metrics.refuse(t.Name, err)
	if causeway.CodeOf(err) != CodeUnauthorized {
		return
	}
	if _, ok := s.throttles.take(callsOf{service: t.Name, limit: limitRefusals}, refusalsOnRecord, now); !ok {
		s.skip(t.Name)
		return
	}
	x := refusal{t.Name, Decision{
		At: now, Registration: r.ID, Outcome: Refused, Code: int(CodeUnauthorized), Message: clipTo(err.Error(), MaxDecisionText), Transport: string(r.Credential.Transport),
		Remote: clip(r.Credential.RemoteAddr), Client: clip(r.Credential.ClientType), Skipped: s.unskip(t.Name),
	}}
	select {
	case s.refusals <- x:
	default:
		s.skip(t.Name)
	}
}

func (s *Service) skip(service string) {
	s.metrics.audit.WithLabelValues(service).Inc()
	s.skipping.Lock()
	defer s.skipping.Unlock()
	s.skipped[service]++
}

func (s *Service) unskip(service string) int {
	s.skipping.Lock()
	defer s.skipping.Unlock()
	n := s.skipped[service]
	delete(s.skipped, service)
	return n
}

// record writes down who was refused, many at a time, and forgets what is old,
// until ctx ends.
func (s *Service) record(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case x := <-s.refusals:
			s.writeRefusals(ctx, x)
		case <-tick.C:
			s.prune(ctx)
		}
	}
}

func (s *Service) writeRefusals(ctx context.Context, first refusal) {
	all := map[string][]Decision{first.service: {first.Decision}}
	for range cap(s.refusals) {
		select {
		case x := <-s.refusals:
			all[x.service] = append(all[x.service], x.Decision)
			continue
		default:
		}
		break
	}
	for service, list := range all {
		if err := s.store.PutDecisions(ctx, service, list...); err != nil && ctx.Err() == nil {
			s.metrics.audit.WithLabelValues(service).Add(float64(len(list)))
			s.log.Error("refused registrations cannot be put on record", "service", service, "number", len(list), "error", err)
		}
	}
}

// prune forgets what is too old or too much.
func (s *Service) prune(ctx context.Context) {
	for _, i := range s.Instances() {
		for n := MaxPage; n == MaxPage && ctx.Err() == nil; {
			var err error
			if n, err = s.store.PruneDecisions(ctx, i.Name, time.Now().Add(-DecisionAge), MaxDecisions, MaxPage); err != nil {
				s.log.Error("old decisions cannot be forgotten", "service", i.Name, "error", err)
				break
			}
		}
	}
}

// decision begins the record of a registration that ends.
func decision(r *Registration, p *Pending, now time.Time) Decision {
	d := Decision{
		At: now, Registration: r.ID, Operation: r.Operation, Enrollment: r.Group, Group: r.Group != "", Kind: r.Kind, Outcome: r.Status,
		Hub: r.Hub, DeviceID: r.DeviceID, Substatus: r.Substatus, Code: r.Code, Message: clipTo(r.Message, MaxDecisionText),
	}
	if !d.Group {
		d.Enrollment = r.ID
	}
	if p != nil {
		d.Transport, d.Remote, d.Client = p.Transport, p.Remote, p.Client
		d.Took = now.Sub(p.Began)
	}
	return d
}
