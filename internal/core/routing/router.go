package routing

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// Router is the compiled routing of a hub. It never changes; changed settings
// make another one. It is safe for concurrent use.
type Router struct {
	hub       string
	set       routecond.Set
	rules     [sources]*routecond.Group // nil for a source that no route takes
	fallback  rule                      // takes telemetry that no rule took; without targets it is off
	endpoints []string
	broken    []Broken
	enrich    [][]enrichment // by endpoint; nil when there are none at all
	work      sync.Pool      // of *Work
}

// rule is a route that is enabled.
type rule struct {
	condition *routecond.Condition
	to        Targets
}

// Targets is a set of endpoints of a router: bit i is [Router.Endpoints][i].
// Bit 0 is [Events].
type Targets uint32

// ToEvents is the built-in endpoint alone.
const ToEvents Targets = 1

// Has reports whether endpoint i is in t.
func (t Targets) Has(i int) bool { return t>>i&1 != 0 }

// Next returns the first endpoint in t, and the rest; t is not empty.
func (t Targets) Next() (i int, rest Targets) {
	return bits.TrailingZeros32(uint32(t)), t & (t - 1)
}

// Broken is a route that takes nothing, or an enrichment that adds nothing,
// because it makes no sense, and why.
type Broken struct {
	Route      string // "" for an enrichment
	Enrichment string // its key; "" for a route
	Err        error
}

// Compile makes the router of a hub. The settings were valid when they were set
// ([Settings.Validate]), maybe by another version of the program: what no longer
// makes sense does nothing, and leaves the rest alone.
func Compile(hub string, s *Settings) *Router {
	if s == nil {
		s = &Settings{}
	}
	r := &Router{hub: hub, endpoints: []string{Events}}
	for _, e := range s.Endpoints {
		r.endpoints = append(r.endpoints, e.Name)
	}
	var conditions [sources][]*routecond.Condition
	var to [sources][]uint32
	for _, route := range s.Routes {
		if !route.IsEnabled {
			continue
		}
		from, rule, ok, err := r.rule(route)
		if err != nil {
			r.broken = append(r.broken, Broken{Route: route.Name, Err: err})
			continue
		}
		if ok {
			conditions[from] = append(conditions[from], rule.condition)
			to[from] = append(to[from], uint32(rule.to))
		}
	}
	for from, list := range conditions {
		if len(list) > 0 {
			r.rules[from] = r.set.Group(list, to[from])
		}
	}
	if f := s.Fallback(); f.IsEnabled {
		f.EndpointNames = []string{Events}
		var err error
		if _, r.fallback, _, err = r.rule(f); err != nil {
			r.broken = append(r.broken, Broken{Route: FallbackName, Err: err})
		}
	}
	r.addEnrichments(s.Enrichments)
	return r
}

// rule compiles a route; ok is false for one that never takes anything.
func (r *Router) rule(route Route) (from source, _ rule, ok bool, err error) {
	if from, err = sourceIn(route); err != nil {
		return from, rule{}, false, err
	}
	c, err := compile(&r.set, route)
	if err != nil {
		return from, rule{}, false, err
	}
	if b, fixed := c.Constant(); fixed && b != routecond.True {
		return from, rule{}, false, nil
	}
	to, err := r.targets(route.EndpointNames)
	if err != nil {
		return from, rule{}, false, err
	}
	return from, rule{c, to}, true, nil
}

func sourceIn(r Route) (source, error) {
	s, ok := sourceOf(r.Source)
	if fallback := r.Source == "" && (r.Name == "" || r.Name == FallbackName); !ok && !fallback {
		return s, fmt.Errorf("the source %q is none of %s", r.Source, sourceList())
	}
	return s, nil
}

// Problem returns why a route takes nothing though it is enabled, nil for a
// sound one. Endpoints are not looked at.
func (r Route) Problem() error {
	if _, err := sourceIn(r); err != nil {
		return err
	}
	_, err := compile(new(routecond.Set), r)
	return err
}

// Broken returns the enabled routes and the enrichments that do nothing because
// they make no sense.
func (r *Router) Broken() []Broken { return r.broken }

func compile(set *routecond.Set, r Route) (*routecond.Condition, error) {
	text := r.Condition
	if text == "" {
		text = "true"
	}
	return set.Compile(text, routecond.Options{TwinChanges: r.Source == TwinChanges})
}

func (r *Router) targets(list []string) (t Targets, err error) {
next:
	for _, n := range list {
		for i, e := range r.endpoints {
			if e == n {
				t |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("there is no endpoint %q", n)
	}
	return t, nil
}

// Endpoints returns the names of all endpoints, [Events] first.
func (r *Router) Endpoints() []string { return r.endpoints }

// Wants reports whether a route takes messages of a source (see
// causeway.SourceTelemetry and the others).
func (r *Router) Wants(messageSource string) bool {
	s, ok := sourceOfMessage(messageSource)
	return ok && (r.rules[s] != nil || s == telemetry && r.fallback.to != 0)
}

// Sender is who sent the messages of a batch.
type Sender interface {
	// Twin returns the documents of its twin. It is asked at most once per
	// message that a condition or an enrichment needs it for.
	Twin() (routecond.Twin, bool)
}

// Work is what one goroutine routes messages with, from [Router.Begin] to End.
type Work struct {
	r      *Router
	eval   *routecond.Evaluator
	msg    message
	props  []causeway.Property // of enriched messages
	values []resolved          // of enrichments, for the present sender
}

// maxKeptProperties bounds what a Work keeps for the next batch.
const maxKeptProperties = 4096

// Begin returns the means to route messages of a sender.
func (r *Router) Begin(from Sender) *Work {
	w, ok := r.work.Get().(*Work)
	if !ok {
		w = &Work{r: r, eval: r.set.Evaluator()}
	}
	w.msg.from = from
	return w
}

// From turns to another sender. What w made of messages stays valid.
func (w *Work) From(s Sender) {
	w.msg.from = s
	clear(w.values)
	w.values = w.values[:0]
}

// End gives w back. What it made of messages is no longer valid.
func (w *Work) End() {
	w.eval.Reset(nil)
	w.msg = message{time: w.msg.time[:0]}
	if cap(w.props) > maxKeptProperties {
		w.props = nil
	}
	clear(w.props)
	clear(w.values)
	w.props, w.values = w.props[:0], w.values[:0]
	w.r.work.Put(w)
}

// Match returns the endpoints that a stamped message goes to. Fell reports that
// no route took it but the fallback route.
func (w *Work) Match(m *causeway.Message) (to Targets, fell bool) {
	from, ok := sourceOfMessage(m.Source)
	if !ok {
		return 0, false
	}
	w.msg.turn(m)
	w.eval.Reset(&w.msg)
	if g := w.r.rules[from]; g != nil {
		to = Targets(g.True(w.eval))
	}
	if f := &w.r.fallback; to == 0 && from == telemetry && f.to != 0 && f.condition.Eval(w.eval) == routecond.True {
		return f.to, true
	}
	return to, false
}
