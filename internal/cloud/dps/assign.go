package dps

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/causeway-iot/causeway"
)

// failure is why a device is not assigned; it is told to the device.
type failure struct {
	code    int
	msg     string
	err     error // for the log
	blocked bool  // the device must not be assigned
	// untouched is whether the hub certainly did nothing.
	untouched bool
}

func (f *failure) Error() string {
	if f.err != nil {
		return f.msg + ": " + f.err.Error()
	}
	return f.msg
}

func (f *failure) Unwrap() error { return f.err }

// errAsks says that a webhook must be asked, which is not done here.
var errAsks = errors.New("a webhook must be asked")

// attempt is one at assigning a device.
type attempt struct {
	mayAsk bool // a webhook
	// again is whether another one may have been made at the same operation, in this
	// life of the service or before: the device may be where that would have it.
	again bool
}

// assign takes a registration that is being assigned to its end, or to the queue of
// those that a webhook must be asked for. What fails because the service stops stays
// as it is. No lock is held while hubs are called: the etag says whether the
// registration is still the same afterwards.
func (s *Service) assign(ctx context.Context, j job, mayAsk bool) {
	if !s.claims.take(j.key()) {
		return // who has it looks again
	}
	for {
		asks := s.finish(ctx, j, mayAsk)
		if !asks {
			j.operation = "" // it was begun
		}
		if s.claims.release(j.key()) {
			continue
		}
		if asks {
			s.asking.resume(j)
		}
		return
	}
}

// finish reports whether a webhook must be asked, and it may not.
func (s *Service) finish(ctx context.Context, j job, mayAsk bool) (asks bool) {
	which := []any{"service", j.service, "registration", j.id} // not a logger of its own: most say nothing
	r, err := s.registration(ctx, j.service, j.id)
	for pause := 100 * time.Millisecond; err != nil && causeway.CodeOf(err) != CodeNotFound; pause = min(2*pause, 10*time.Second) {
		if ctx.Err() != nil {
			return false // the service stops, and goes on with it at its next start
		}
		// Given up, it would be under way for its device until the next start.
		s.log.Error("a registration cannot be read; it is tried again", append(which, "error", err)...)
		if !sleep(ctx, pause) {
			return false
		}
		r, err = s.registration(ctx, j.service, j.id)
	}
	if err != nil || r.Status != Assigning || r.Pending == nil {
		return false // deleted, or taken to its end already
	}
	match, was := r.ETag, r.Hub
	timed, cancel := context.WithTimeout(ctx, AssignTimeout)
	why, err := s.allocateAndPlace(timed, j.service, &r, &match, attempt{mayAsk: mayAsk, again: j.operation != r.Operation})
	cancel()
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, errAsks) {
		if s.asking.length() < maxAsking {
			return true
		}
		err = &failure{code: FailedAllocation, msg: "Custom allocation failed: too many devices wait for webhooks; register again in a while"}
	}
	if f, ok := errors.AsType[*failure](err); ok {
		if r.Status, r.Code, r.Message = Failed, f.code, f.msg; f.blocked {
			r.Status = Disabled
		}
	} else if err != nil {
		r.Status, r.Code, r.Message = Failed, int(causeway.GenericServerError), "the service cannot assign the device now; register again"
	} else {
		r.Status = Assigned
	}
	if err != nil {
		s.log.Warn("registration failed", append(which, "error", err)...)
	}
	pending := r.Pending
	if r.Pending = nil; r.Status == Assigned { // else it has what it had, where it was
		r.TPMKey, r.Issued = pending.TPMKey, pending.Issued
	}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		d := decision(&r, pending, time.Now().UTC())
		d.From, d.Why = was, why
		err := s.putRegistration(ctx, j.service, &r, match, d)
		if err == nil {
			break
		}
		if code := causeway.CodeOf(err); code == CodePrecondition || code == CodeNotFound || ctx.Err() != nil {
			s.log.Info("a registration was changed while it was assigned", append(which, "hub", r.Hub)...)
			return false
		}
		// The device is on its hub; that this is written down must not fail for
		// want of another attempt.
		s.log.Error("the outcome of a registration cannot be stored; it is tried again", append(which, "error", err)...)
		if !sleep(ctx, pause) {
			return false
		}
	}
	s.metrics.ended(j.service, &r, pending.Began)
	s.log.Info("registration ended", append(which, "status", string(r.Status), "hub", r.Hub, "was", was, "substatus", string(r.Substatus), "code", r.Code)...)
	return false
}

// allocateAndPlace chooses a hub and puts the device there. What it decides is in
// r, and why in what it returns; match is r's etag in the store, which it may move
// on.
func (s *Service) allocateAndPlace(ctx context.Context, service string, r *Registration, match *string, a attempt) (why Why, err error) {
	t := s.current.Load().byName[service]
	if t == nil {
		return why, noService(service)
	}
	if a.again && r.Pending.Chosen.Hub != "" {
		r.doubt(r.Pending.Chosen) // whatever comes of it now
	}
	e, err := s.admittedBy(ctx, t, r, a)
	if err != nil {
		return why, err
	}
	c, err := s.choose(ctx, t, e, r, &why, a)
	if err != nil {
		return why, err
	}
	if c.weighed {
		s.health.chosen(c.link.Host, time.Now())
	}
	if !c.noted && (c.custom || r.Pending.Chosen != c.place()) {
		// After a crash another one might be chosen, and the device would be on both.
		r.Pending.Chosen, r.Payload, r.Twin = c.place(), c.payload, c.twin
		if err := s.putRegistration(ctx, service, r, *match); err != nil {
			return why, err
		}
		*match = r.ETag
	}
	if err := s.place(ctx, t, e, r, c); err != nil {
		return why, err
	}
	s.resolve(ctx, t, r)
	return why, nil
}

// admittedBy returns the enrollment that r came by, if it still admits the device.
func (s *Service) admittedBy(ctx context.Context, t *tenant, r *Registration, a attempt) (*Enrollment, error) {
	e := t.group(r.Group)
	if r.Group == "" || e == nil {
		found, err := s.enrollment(ctx, t.Name, r.Group != "", cmp.Or(r.Group, r.ID))
		if causeway.CodeOf(err) == CodeEnrollmentNotFound {
			return nil, &failure{code: int(CodeEnrollmentNotFound), msg: "the enrollment was deleted while the device registered"}
		}
		if err != nil {
			return nil, err
		}
		e = &found
	}
	blocked := e.Disabled
	if r.Group != "" && a.again { // a while ago, so that it may have one of its own by now
		own, err := s.enrollment(ctx, t.Name, false, r.ID)
		if err != nil && causeway.CodeOf(err) != CodeEnrollmentNotFound {
			return nil, err
		}
		blocked = blocked || err == nil && own.Disabled
	}
	switch {
	case blocked:
		return nil, &failure{msg: blockedText, blocked: true}
	case r.Pending.Attested != "" && r.Pending.Attested != e.Attestation.digest():
		return nil, &failure{code: int(CodeConflict), msg: "the attestation of the enrollment was changed while the device registered; register again"}
	}
	return e, nil
}

// place puts the device on the chosen hub, and takes it from the one it had.
func (s *Service) place(ctx context.Context, t *tenant, e *Enrollment, r *Registration, c choice) error {
	d := Device{
		ID: c.device, Edge: e.Edge, Keys: r.Pending.Keys, Thumbprint: r.Pending.Thumbprint, SecondThumbprint: r.Pending.SecondThumbprint,
		Tags: e.InitialTwin.Tags, Desired: e.InitialTwin.Desired,
	}
	given := c.twin.Tags != nil || c.twin.Desired != nil
	if given {
		d.Tags, d.Desired = c.twin.Tags, c.twin.Desired
	}
	to, err := s.targets.Target(c.link)
	if err != nil {
		return &failure{code: FailedHub, msg: "the hub " + c.link.Host + " cannot be reached by this service", err: err}
	}
	if moved := r.Hub != "" && r.at() != c.place(); !moved {
		if err := s.retry(ctx, c.link.Host, func() error { return to.Put(ctx, d, false) }); err != nil {
			return r.unsure(c.place(), err)
		}
		if r.Substatus == "" {
			r.Substatus, r.FirstHub = InitialAssignment, c.link.Host
		}
		r.Hub, r.DeviceID = c.link.Host, d.ID
		return nil
	}
	return s.move(ctx, t, e, r, c, d, to, given)
}

// move puts the device on another hub than the one it has. Should it be
// interrupted and taken up again when the old one has lost the device already,
// the twin of the new one stays.
func (s *Service) move(ctx context.Context, t *tenant, e *Enrollment, r *Registration, c choice, d Device, to Target, given bool) error {
	var old Device
	var there bool
	from, lost := s.oldTarget(t, r.Hub)
	if lost != nil {
		s.log.Warn("a device moves from a hub that cannot be reached; its identity there stays", "service", t.Name, "registration", r.ID, "hub", r.Hub, "error", lost)
	} else if err := s.retry(ctx, r.Hub, func() (err error) {
		old, there, err = from.Get(ctx, r.DeviceID)
		return err
	}); err != nil {
		return err
	}
	substatus := DataReset
	if e.Migrate && there && !given {
		d.Tags, d.Desired, d.Reported = old.Tags, old.Desired, old.Reported
	}
	switch {
	case e.Migrate && !given && lost == nil:
		substatus = DataMigrated
	case c.link.Host == r.FirstHub:
		substatus = BackToInitial
	}
	// What is on the new hub by chance makes way for what the device is to begin with;
	// its own twin is there when the old one has lost it before an interruption.
	if err := s.retry(ctx, c.link.Host, func() error { return to.Put(ctx, d, there || !e.Migrate) }); err != nil {
		return r.unsure(c.place(), err)
	}
	if there {
		if err := s.retry(ctx, r.Hub, func() error { return from.Delete(ctx, r.DeviceID) }); err != nil {
			r.doubt(c.place())
			return err
		}
	}
	r.Hub, r.DeviceID, r.Substatus = c.link.Host, d.ID, substatus
	return nil
}

func (s *Service) oldTarget(t *tenant, host string) (Target, error) {
	l, ok := t.Link(host)
	if !ok {
		return nil, fmt.Errorf("hub %s is no longer linked", host)
	}
	return s.targets.Target(l)
}

// retry calls a hub until it answers, or ctx ends.
func (s *Service) retry(ctx context.Context, host string, call func() error) error {
	first := true
	for pause := 50 * time.Millisecond; ; pause, first = min(2*pause, 5*time.Second), false {
		err := call()
		if !errors.Is(ctx.Err(), context.Canceled) { // it is not the hub that stops
			s.health.note(host, err, time.Now())
		}
		if err == nil {
			return nil
		}
		if u, ok := errors.AsType[*UnusableError](err); ok {
			return &failure{code: FailedHub, msg: "the hub " + host + " cannot be used: " + u.Msg, err: err, untouched: first}
		}
		var refused *causeway.Error
		if errors.As(err, &refused) {
			if status := refused.Code.HTTPStatus(); status >= 400 && status < 500 && status != 429 {
				return &failure{code: FailedHub, msg: "the hub " + host + " refused the device: " + hubError(refused), err: err}
			}
		}
		if !sleep(ctx, pause) {
			return &failure{code: FailedHub, msg: "the hub " + host + " did not answer in time", err: err}
		}
	}
}

// hubError writes an error of a hub as hubs do.
func hubError(e *causeway.Error) string {
	b, err := json.Marshal(struct {
		Code    int    `json:"errorCode"`
		Message string `json:"message"`
	}{int(e.Code), causeway.MessageOf(e)})
	if err != nil {
		return e.Code.Name()
	}
	return string(b)
}

// sleep waits about so long, and reports false when ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // no secret
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
