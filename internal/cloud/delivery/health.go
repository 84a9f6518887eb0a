package delivery

import (
	"sync"
	"time"
)

// Health is the state of an endpoint, in the words of IoT Hub.
type Health string

// The states of health.
const (
	Unknown   Health = "unknown"   // nothing was sent yet
	Healthy   Health = "healthy"   // it takes what it is sent
	Degraded  Health = "degraded"  // it takes some, or messages wait for long
	Unhealthy Health = "unhealthy" // it does not take what it is sent, which is tried again
	Dead      Health = "dead"      // it has not for an hour; it is still tried
)

// Status is what is known of an endpoint. Counts are since the start.
type Status struct {
	Name         string
	Health       Health
	Waiting      int64     // messages
	WaitingBytes int64     // of their envelopes
	Oldest       time.Time // when the oldest of them arrived; zero when none waits
	LastAttempt  time.Time // to send something; zero for never
	LastSuccess  time.Time
	LastFailure  time.Time
	LastError    string
	Sent         uint64
	Failed       uint64 // attempts
	DeadLettered uint64
	Dropped      uint64
}

// pulse is how the partitions of an endpoint fare.
type pulse struct {
	mu     sync.Mutex
	status Status
	parts  []partPulse
	lag    time.Duration // how long messages may wait at an endpoint that is well
}

// partPulse is how one partition fares.
type partPulse struct {
	failing time.Time // since when; zero when the last attempt went well
	head    time.Time // when the message arrived that is next; zero when none waits
}

func (p *pulse) succeeded(part, sent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UTC()
	p.parts[part].failing = time.Time{}
	p.status.LastAttempt, p.status.LastSuccess = now, now
	p.status.Sent += uint64(sent) //nolint:gosec // a count
}

func (p *pulse) failed(part, sent int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UTC()
	if sent > 0 || p.parts[part].failing.IsZero() {
		p.parts[part].failing = now
	}
	p.status.LastAttempt, p.status.LastFailure = now, now
	p.status.LastError = clip(err.Error())
	p.status.Failed++
	p.status.Sent += uint64(sent) //nolint:gosec // a count
}

// settled notes that a refused message is out of the way: the endpoint answers.
func (p *pulse) settled(part int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts[part].failing = time.Time{}
}

func (p *pulse) headed(part int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.parts[part].head = at.UTC()
}

func (p *pulse) lost(deadLettered, dropped int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.DeadLettered += uint64(deadLettered) //nolint:gosec // a count
	p.status.Dropped += uint64(dropped)           //nolint:gosec // a count
}

// read returns the status at a time.
func (p *pulse) read(now time.Time) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	var failing, busy int
	var since time.Time
	for _, part := range p.parts {
		if !part.failing.IsZero() {
			failing++
			if since.IsZero() || part.failing.Before(since) {
				since = part.failing
			}
		}
		if !part.head.IsZero() {
			busy++
			if s.Oldest.IsZero() || part.head.Before(s.Oldest) {
				s.Oldest = part.head
			}
		}
	}
	switch {
	case s.LastAttempt.IsZero():
		s.Health = Unknown
	case failing > 0 && failing >= busy && now.Sub(since) >= deadAfter && s.LastSuccess.Before(since):
		s.Health = Dead
	case failing > 0 && failing >= busy:
		s.Health = Unhealthy
	case failing > 0 || !s.Oldest.IsZero() && now.Sub(s.Oldest) > p.lag:
		s.Health = Degraded
	default:
		s.Health = Healthy
	}
	return s
}

// clip bounds a text.
func clip(s string) string {
	if len(s) > maxErrorText {
		return s[:maxErrorText] + "…"
	}
	return s
}

// lastError returns what the endpoint said last.
func (p *pulse) lastError() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status.LastError
}

// patience sets how long messages may wait at an endpoint that is well.
func (p *pulse) patience(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lag = d
	for i := range p.parts {
		p.parts[i].failing = time.Time{} // it starts anew
	}
}
