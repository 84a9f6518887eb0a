package dps

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// Limit is a kind of calls that a service can have a limit for.
type Limit uint8

// The limits. What is counted, and in which time, stands beside each.
const (
	LimitRegistrations Limit = iota // of all devices, a minute
	LimitOperations                 // of back ends, a minute
	LimitPolls                      // questions of one device, in ten seconds
	NumLimits

	limitRefusals = NumLimits // refused devices on record, a minute
)

var limitNames = [NumLimits]string{"registrations", "operations", "polls"}

var limitTimes = [NumLimits + 1]time.Duration{time.Minute, time.Minute, 10 * time.Second, time.Minute}

// String returns the name of the limit in settings.
func (l Limit) String() string {
	if l >= NumLimits {
		return "unknown"
	}
	return limitNames[l]
}

// Per returns the time that a limit is for.
func (l Limit) Per() time.Duration { return limitTimes[l] }

// Throttle is how many calls a service takes. The zero value takes what comes.
type Throttle struct {
	// Preset is "standard-s1", with the published limits of the service that is
	// copied, or "" for none but those below.
	Preset string
	// Limits replace those of the preset, by their names. 0 is no limit.
	Limits map[string]int
}

// throttlePresets are the published limits, by name.
var throttlePresets = map[string][NumLimits]int{"standard-s1": {LimitRegistrations: 1000, LimitOperations: 1000, LimitPolls: 5}}

// ThrottlePresets returns the names of the presets.
func ThrottlePresets() []string { return slices.Sorted(maps.Keys(throttlePresets)) }

// LimitNames returns the names of the limits.
func LimitNames() []string { return limitNames[:] }

// Resolve returns what a throttle comes to: 0 is no limit. Code: CodeInvalid.
func (t *Throttle) Resolve() (limits [NumLimits]int, err error) {
	if t.Preset != "" {
		var ok bool
		if limits, ok = throttlePresets[t.Preset]; !ok {
			return limits, invalid("the preset %q is none of %s", clip(t.Preset), strings.Join(ThrottlePresets(), ", "))
		}
	}
	for name, n := range t.Limits {
		l := slices.Index(limitNames[:], name)
		if l < 0 {
			return limits, invalid("there is no limit %q, use %s", clip(name), strings.Join(limitNames[:], ", "))
		}
		if n < 0 || n > MaxLimit {
			return limits, invalid("the limit %s is %d, it must be from 1 to %d, or 0 for none", name, n, MaxLimit)
		}
		limits[l] = n
	}
	return limits, nil
}

// throttled is a refusal that passes.
type throttled struct {
	err   *causeway.Error
	after time.Duration
}

// Error returns the text for logs.
func (e throttled) Error() string { return e.err.Error() }

// Unwrap returns the error with its code.
func (e throttled) Unwrap() error { return e.err }

// RetryAfter returns when it is worth while to try again.
func (e throttled) RetryAfter() time.Duration { return e.after }

// busy refuses for a while.
func busy(after time.Duration, format string, args ...any) error {
	return throttled{causeway.Errorf(CodeThrottled, "dps", format, args...), after}
}

// throttles are the calls that services have taken lately. They outlive changes
// of other settings.
type throttles struct {
	mu    sync.Mutex
	calls map[callsOf]time.Time // when the last of them is forgotten
	swept time.Time
}

// callsOf names what is counted together.
type callsOf struct {
	service string
	limit   Limit
	device  string // of LimitPolls
}

// take counts a call, or says how long to wait when there were too many. Calls
// come back evenly, so that the whole limit is there after its time.
func (h *throttles) take(c callsOf, most int, now time.Time) (wait time.Duration, ok bool) {
	if most == 0 {
		return 0, true
	}
	per := c.limit.Per()
	step := per / time.Duration(most)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls == nil {
		h.calls = map[callsOf]time.Time{}
	}
	full := h.calls[c]
	if full.Before(now) || full.Sub(now) > per { // more than per ahead it is only when the clock was set back
		full = now
	}
	if full = full.Add(step); full.Sub(now) > per {
		return full.Sub(now) - per, false
	}
	if _, known := h.calls[c]; !known && len(h.calls) >= maxThrottled {
		h.sweep(now)
		if len(h.calls) >= maxThrottled {
			return per, false // better than to let all pass
		}
	}
	h.calls[c] = full
	return 0, true
}

// sweep forgets those that have nothing to remember; the mutex is held. It looks
// no more often than every second: it may be asked at every call.
func (h *throttles) sweep(now time.Time) {
	if now.Sub(h.swept) < time.Second {
		return
	}
	h.swept = now
	maps.DeleteFunc(h.calls, func(_ callsOf, full time.Time) bool { return !now.Before(full) })
}

// enter counts a call of a service, of a device for polls. Code: CodeThrottled,
// with when to come again.
func (s *Service) enter(t *tenant, l Limit, device string, now time.Time) error {
	wait, ok := s.throttles.take(callsOf{t.Name, l, device}, t.limits[l], now)
	if ok {
		return nil
	}
	s.metrics.throttled(t.Name, l)
	return busy(cmp.Or(wait, time.Second), "the service takes %d %s in %s, and this is more; try again in %s", t.limits[l], l, l.Per(), wait.Round(time.Millisecond))
}

// Operate counts an operation of a back end that may call the service. Codes:
// CodeNotFound, CodeThrottled with when to come again.
func (s *Service) Operate(service string) error {
	t := s.current.Load().byName[service]
	if t == nil {
		return noService(service)
	}
	return s.enter(t, LimitOperations, "", time.Now())
}

// checkThrottle checks the settings of a service.
func (i *Instance) checkThrottle() error {
	if _, err := i.Throttle.Resolve(); err != nil {
		return fmt.Errorf("throttle: %w", err)
	}
	return nil
}
