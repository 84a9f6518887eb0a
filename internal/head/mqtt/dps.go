package mqtt

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/dpsjson"
	"github.com/causeway-iot/causeway/internal/wire/dpstopic"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// provisioning is what a connection of the provisioning service has instead of a
// session. Everybody may open one: a device proves who it is with each request,
// and hears there what is wrong with its proof, for which CONNACK has no words.
type provisioning struct {
	causeway.Registration // who asks: all but what a request says
	proved                atomic.Bool
	asked                 atomic.Int64 // when it last proved who it is; before that, when it connected
	hears                 bool         // subscribes to the answers; the reader's own
}

// idles reports whether the client has asked for nothing for too long, or has not
// proved who it is in time, which bounds what strangers can hold open. It may be
// called on nil.
func (d *provisioning) idles(now int64) bool {
	if d == nil {
		return false
	}
	most := causeway.ConnectDeadline
	if d.proved.Load() {
		most = provisioningIdle
	}
	return now-d.asked.Load() >= int64(most)
}

// answered notes a request that was answered with status. Who is told to come
// again had proved who it is, as far as that could be looked at.
func (d *provisioning) answered(status int, now int64) {
	if status < 300 || status == http.StatusTooManyRequests || status >= 500 {
		d.asked.Store(now)
		d.proved.Store(true)
	}
}

// openProvisioning judges the CONNECT packet of a device that wants to be
// provisioned. Sessions are always clean here, and there are no wills.
func (c *conn) openProvisioning(p *wire.Connect) error {
	u, err := dpstopic.ParseUsername(strings.Clone(p.UserName))
	if err == nil {
		err = dpsjson.CheckVersion(u.APIVersion)
	}
	if err != nil {
		return c.refuse(wire.RefusedUnauthorized, ReasonUserName, err)
	}
	if !strings.EqualFold(u.ID, p.ClientID) {
		return c.refuse(wire.RefusedClientID, ReasonClientID,
			fmt.Errorf("the client id is not %q, which the user name says", u.ID))
	}
	if n := c.v.asking.Add(1); n > int64(c.v.limits.Provisioning) {
		c.v.asking.Add(-1)
		return c.refuse(wire.RefusedUnavailable, ReasonProvisioning, fmt.Errorf("%d connections of the provisioning service are open", n-1))
	}
	c.silence = silence(p.KeepAlive)
	c.dps = &provisioning{Registration: causeway.Registration{Scope: u.Scope, ID: u.ID, Credential: c.proof(p)}}
	c.dps.Credential.APIVersion, c.dps.Credential.ClientType = u.APIVersion, u.ClientVersion
	c.dps.asked.Store(c.v.clock.now())
	if !c.state.CompareAndSwap(opening, busy) {
		return ending(ReasonStop, nil)
	}
	b, err := (&wire.Connack{}).Append(make([]byte, 0, 4), wire.V311)
	if err != nil {
		return ending(ReasonHubFailed, err)
	}
	c.v.metrics.Connects.Inc()
	return c.reply(b)
}

// subscribeAnswers grants the filter of the answers and no other.
func (c *conn) subscribeAnswers(p *wire.Subscribe) error {
	answer := wire.Suback{ID: p.ID, Codes: make([]wire.Reason, 0, len(p.Subscriptions))}
	for _, s := range p.Subscriptions {
		code := wire.UnspecifiedError // 0x80, the failure of MQTT 3.1.1
		if s.Filter == dpstopic.Filter {
			c.dps.hears, code = true, wire.Reason(min(s.QoS, topic.MaxQoS))
		} else {
			c.refuseFilter(ReasonUnknownFilter, s.Filter)
		}
		answer.Codes = append(answer.Codes, code)
	}
	b, err := answer.Append(nil, wire.V311)
	if err != nil {
		return err
	}
	return c.reply(b)
}

func (c *conn) unsubscribeAnswers(p *wire.Unsubscribe) error {
	if slices.Contains(p.Filters, dpstopic.Filter) {
		c.dps.hears = false
	}
	b, err := (&wire.Unsuback{ID: p.ID}).Append(nil, wire.V311)
	if err != nil {
		return err
	}
	return c.reply(b)
}
