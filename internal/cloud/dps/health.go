package dps

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// HubHealth is how a linked hub fared when devices were put there, since the start
// of the service.
type HubHealth struct {
	// Used is false when nothing is known yet.
	Used    bool
	Healthy bool
	// Failures in a row, the last of them and what it was.
	Failures    int
	LastFailure time.Time
	LastError   string
	LastSuccess time.Time
	// RetryAt is when an unhealthy hub is tried again, with one device.
	RetryAt time.Time

	rounds int // of pauses since it became unhealthy
}

// pause puts an unhealthy hub off, each time for longer.
func (k *HubHealth) pause(now time.Time) {
	k.RetryAt = now.Add(min(firstHubPause<<min(k.rounds, 10), lastHubPause))
	k.rounds++
}

// health is how linked hubs fare, by host name.
type health struct {
	mu    sync.Mutex
	hubs  map[string]*HubHealth
	noted func(host string, healthy bool)
}

// of returns what is kept of a hub; the mutex is held.
func (h *health) of(host string) *HubHealth {
	if h.hubs == nil {
		h.hubs = map[string]*HubHealth{}
	}
	k := h.hubs[host]
	if k == nil {
		k = &HubHealth{Healthy: true}
		h.hubs[host] = k
	}
	return k
}

// note takes what came of calling a hub.
func (h *health) note(host string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.of(host)
	k.Used = true
	if !unwell(err) {
		k.Failures, k.rounds, k.LastSuccess, k.Healthy = 0, 0, now, true
		h.noted(host, true)
		return
	}
	k.Failures++
	k.LastFailure, k.LastError = now, clipTo(err.Error(), MaxDecisionText)
	if k.Failures < unhealthyAfter {
		return
	}
	k.Healthy = false
	if !now.Before(k.RetryAt) { // else those fail that are under way
		k.pause(now)
	}
	h.noted(host, false)
}

// usable reports whether new devices may be assigned to a hub. An unhealthy one is
// now and then, to see whether it has recovered.
func (h *health) usable(host string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.hubs[host]
	return k == nil || k.Healthy || !now.Before(k.RetryAt)
}

// chosen is told that a device goes to a hub. An unhealthy one gets no other for a
// while.
func (h *health) chosen(host string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := h.hubs[host]; k != nil && !k.Healthy && !now.Before(k.RetryAt) {
		k.pause(now)
	}
}

// HubHealth returns how a linked hub fares.
func (s *Service) HubHealth(host string) HubHealth {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if k := s.health.hubs[fold(host)]; k != nil {
		return *k
	}
	return HubHealth{Healthy: true}
}

// unwell reports whether an error is of the hub, not of the one device: it does
// not answer, refuses whoever calls, or takes no more devices.
func unwell(err error) bool {
	if err == nil {
		return false
	}
	if _, ok := errors.AsType[*UnusableError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*causeway.Error](err); ok {
		switch s := e.Code.HTTPStatus(); {
		case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusTooManyRequests:
			return true
		case s >= 400 && s < 500:
			return false
		}
	}
	return true
}
