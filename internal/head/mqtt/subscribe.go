package mqtt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// subscription is a granted filter and what it means.
type subscription struct {
	Filter
	wants topic.Filter
}

// newSubscription reads a filter. The error is one of package topic.
func newSubscription(filter string, qos byte, id causeway.Identity) (subscription, error) {
	wants, err := topic.ParseFilter(filter, id)
	if err != nil {
		return subscription{}, err
	}
	return subscription{Filter{Topic: filter, QoS: min(qos, topic.MaxQoS)}, wants}, nil
}

// lanesOf is what the session must listen to for subs.
func lanesOf(subs []subscription) causeway.Lane {
	var lanes causeway.Lane
	for i := range subs {
		lanes |= subs[i].wants.Lanes
	}
	return lanes
}

// subscriptions returns the filters in force. The slice is not changed.
func (c *conn) subscriptions() []subscription {
	if p := c.subs.Load(); p != nil {
		return *p
	}
	return nil
}

// wants returns the QoS at which the client subscribes to lane, for the method
// or input called name.
func (c *conn) wants(lane causeway.Lane, name string) (qos byte, ok bool) {
	for _, s := range c.subscriptions() {
		if s.wants.Wants(lane, name) {
			qos, ok = max(qos, s.QoS), true
		}
	}
	return qos, ok
}

// hears reports whether the client subscribes to the answers of twin requests.
// Without that, none are written, and to read the twin is pointless.
func (c *conn) hears() bool {
	for _, s := range c.subscriptions() {
		if s.wants.TwinResponses {
			return true
		}
	}
	return false
}

// subscribe grants what it can and answers filter by filter.
func (c *conn) subscribe(p *wire.Subscribe) error {
	subs := slices.Clone(c.subscriptions())
	answer := wire.Suback{ID: p.ID, Codes: make([]wire.Reason, 0, len(p.Subscriptions))}
	for _, s := range p.Subscriptions {
		code := wire.UnspecifiedError // 0x80, the failure of MQTT 3.1.1
		granted, err := newSubscription(strings.Clone(s.Filter), s.QoS, c.id)
		at := slices.IndexFunc(subs, func(x subscription) bool { return x.Topic == s.Filter })
		switch {
		case errors.Is(err, topic.ErrForeign):
			c.refuseFilter(ReasonForeignFilter, s.Filter)
		case err != nil:
			c.refuseFilter(ReasonUnknownFilter, s.Filter)
		case at >= 0:
			subs[at], code = granted, wire.Reason(granted.QoS)
		case len(subs) == causeway.MaxSubscriptions:
			c.refuseFilter(ReasonFilters, s.Filter)
		default:
			subs, code = append(subs, granted), wire.Reason(granted.QoS)
		}
		answer.Codes = append(answer.Codes, code)
	}
	b, err := answer.Append(nil, wire.V311)
	if err != nil {
		return err
	}
	return c.resubscribe(subs, b)
}

func (c *conn) refuseFilter(r Reason, filter string) {
	c.v.metrics.Refused.WithLabelValues(string(r)).Inc()
	if len(filter) > 128 {
		filter = filter[:128]
	}
	c.v.log.Debug("mqtt filter refused", obs.KeyReason, string(r), obs.KeyID, c.id, "filter", strings.Clone(filter))
}

// unsubscribe forgets filters; those the client never had are no error.
func (c *conn) unsubscribe(p *wire.Unsubscribe) error {
	subs := slices.DeleteFunc(slices.Clone(c.subscriptions()), func(s subscription) bool {
		return slices.Contains(p.Filters, s.Topic)
	})
	b, err := (&wire.Unsuback{ID: p.ID}).Append(nil, wire.V311)
	if err != nil {
		return err
	}
	return c.resubscribe(subs, b)
}

// resubscribe puts subs in force and sends the answer. A persistent session has
// them stored first. The hub may send from then on, but what it sends is
// written behind the answer, so that a client that has seen the answer is
// reachable and one that has not is not surprised.
func (c *conn) resubscribe(subs []subscription, answer []byte) error {
	before := c.subscriptions()
	if !slices.EqualFunc(before, subs, func(a, b subscription) bool { return a.Filter == b.Filter }) {
		if err := c.saveSession(subs); err != nil {
			return err
		}
	}
	if err := c.out.hold(); err != nil {
		return err
	}
	c.subs.Store(&subs)
	if lanes := lanesOf(subs); lanes != lanesOf(before) {
		if err := c.session.Listen(c.v.life, lanes); err != nil {
			c.out.close()
			e := endOfHub(err)
			e.err = fmt.Errorf("listen: %w", e.err)
			return e
		}
	}
	return c.drain(answer)
}

func (c *conn) saveSession(subs []subscription) error {
	if !c.persistent {
		return nil
	}
	filters := make([]Filter, len(subs))
	for i := range subs {
		filters[i] = subs[i].Filter
	}
	ctx, cancel := context.WithTimeout(c.v.life, causeway.ConnectDeadline)
	defer cancel()
	if err := c.v.sessions.Save(ctx, c.id, filters); err != nil {
		return ending(ReasonHubFailed, fmt.Errorf("save session: %w", err))
	}
	return nil
}
