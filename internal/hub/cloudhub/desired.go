package cloudhub

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Bounds of the desired changes that wait for a slow device. Beyond them the
// session is hung up, and the device reads its whole twin when it is back.
const (
	MaxPendingDesired      = 64
	MaxPendingDesiredBytes = 256 << 10
)

// desiredState is the hand-over of desired changes; guarded by session.mu.
type desiredState struct {
	queue   []causeway.Patch
	bytes   int
	version int64 // of the last change queued
	running bool  // a goroutine hands changes over
}

func (d *desiredState) clear() { d.queue, d.bytes = nil, 0 }

// desiredChanged queues a change for the device and keeps it. It is called by
// writers of the twin and never waits.
func (s *session) desiredChanged(p causeway.Patch) {
	s.mu.Lock()
	d := &s.desired
	if !s.lanes.Has(causeway.LaneDesired) || p.Version == d.version {
		s.mu.Unlock()
		return
	}
	slow := len(d.queue) >= MaxPendingDesired || len(d.queue) > 0 && d.bytes+len(p.Properties) > MaxPendingDesiredBytes
	if slow || p.Version < d.version {
		s.mu.Unlock()
		s.end(causeway.Errorf(causeway.ServiceUnavailable, "cloudhub",
			"desired property changes were not taken in time; connect again and read the twin"), true)
		return
	}
	d.version = p.Version
	d.bytes += len(p.Properties)
	d.queue = append(d.queue, p)
	start := !d.running
	d.running = true
	s.mu.Unlock()
	if start {
		// When the hub is closed the session is about to end anyway.
		s.hub.spawn(s.handDesiredOver)
	}
}

// handDesiredOver hands queued changes to the device, in order, until none is
// left.
func (s *session) handDesiredOver() {
	for {
		p, ctx, ok := s.nextDesired()
		if !ok {
			return
		}
		if err := s.dev.Desired(ctx, p); err != nil {
			s.mu.Lock()
			s.desired.running = false
			wanted := s.lanes.Has(causeway.LaneDesired)
			s.desired.clear()
			s.mu.Unlock()
			if wanted {
				s.end(&causeway.Error{
					Code: causeway.ServiceUnavailable, Op: "cloudhub", Err: err,
					Msg: "a desired property change could not be handed over; connect again and read the twin",
				}, true)
			}
			return
		}
	}
}

func (s *session) nextDesired() (causeway.Patch, context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &s.desired
	if len(d.queue) == 0 {
		d.queue, d.running = nil, false
		return causeway.Patch{}, nil, false
	}
	p := d.queue[0]
	d.queue[0] = causeway.Patch{}
	d.queue = d.queue[1:]
	d.bytes -= len(p.Properties)
	return p, s.lifeLocked(), true
}
