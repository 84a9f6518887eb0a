package routing

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// TrialMessage is a message to try routes on, as the service's management API
// has it.
type TrialMessage struct {
	Body             string             `json:"body,omitempty" maxLength:"262144"`
	AppProperties    map[string]*string `json:"appProperties,omitempty"`
	SystemProperties map[string]string  `json:"systemProperties,omitempty"`
}

// TrialTwin is the twin of the sender of such a message.
type TrialTwin struct {
	Tags       json.RawMessage `json:"tags,omitempty"`
	Properties struct {
		Desired  json.RawMessage `json:"desired,omitempty"`
		Reported json.RawMessage `json:"reported,omitempty"`
	} `json:"properties,omitzero"`
}

// Trial is a message with its twin.
type Trial struct {
	Message TrialMessage `json:"message,omitzero"`
	Twin    *TrialTwin   `json:"twin,omitempty"`
}

// Try evaluates the condition of a route over a message, whatever its source and
// whether it is enabled. The errors are those of the condition.
func (t *Trial) Try(r Route) (routecond.Bool, routecond.Errors, error) {
	if r.Source != "" {
		if _, ok := sourceOf(r.Source); !ok {
			return routecond.Undefined, nil, fmt.Errorf("the source %q is none of %s", r.Source, sourceList())
		}
	}
	var set routecond.Set
	c, err := compile(&set, r)
	if es, ok := errors.AsType[routecond.Errors](err); ok {
		return routecond.Undefined, es, nil
	}
	if err != nil {
		return routecond.Undefined, nil, err
	}
	e := set.Evaluator()
	e.Reset(trialView{t})
	return c.Eval(e), nil, nil
}

// TryAll returns the enabled routes of a source that take the message: the
// fallback route when it is telemetry that no other takes.
func (t *Trial) TryAll(s *Settings, from Source) ([]Route, error) {
	var taken []Route
	if s == nil {
		s = &Settings{}
	}
	for _, r := range s.Routes {
		if r.Source != from || !r.IsEnabled {
			continue
		}
		b, _, err := t.Try(r)
		if err != nil {
			return nil, err
		}
		if b == routecond.True {
			taken = append(taken, r)
		}
	}
	if f := s.Fallback(); len(taken) == 0 && from == DeviceMessages && f.IsEnabled {
		if b, _, _ := t.Try(f); b == routecond.True {
			taken = append(taken, f)
		}
	}
	return taken, nil
}

// trialView shows a trial to conditions.
type trialView struct{ t *Trial }

var _ routecond.Message = trialView{}

// Property returns an application property.
func (v trialView) Property(name string) (value string, null, ok bool) {
	for k, p := range v.t.Message.AppProperties {
		switch {
		case !strings.EqualFold(k, name):
		case p == nil:
			return "", true, true
		default:
			return *p, false, true
		}
	}
	return "", false, false
}

// Shadows reports whether an application property may stand for another.
func (v trialView) Shadows() bool {
	for k := range v.t.Message.AppProperties {
		if strings.HasPrefix(k, "$") {
			return true
		}
	}
	return false
}

// System returns a system property.
func (v trialView) System(name string) (string, bool) {
	for k, s := range v.t.Message.SystemProperties {
		if strings.EqualFold(strings.TrimPrefix(k, "$"), name) {
			return s, true
		}
	}
	return "", false
}

// Body returns the body.
func (v trialView) Body() []byte { return []byte(v.t.Message.Body) }

// Twin returns the twin of the sender.
func (v trialView) Twin() (routecond.Twin, bool) {
	if v.t.Twin == nil {
		return routecond.Twin{}, false
	}
	p := &v.t.Twin.Properties
	return routecond.Twin{Tags: v.t.Twin.Tags, Desired: p.Desired, Reported: p.Reported}, true
}
