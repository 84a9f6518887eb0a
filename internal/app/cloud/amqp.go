package cloud

import (
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/head/amqp"
	"github.com/causeway-iot/causeway/internal/head/events"
	"github.com/causeway-iot/causeway/internal/head/service"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// amqpHeads returns the heads of the AMQP port and of AMQP over WebSocket. They
// share their planes: who reads which partition is known once, by readers.
func (c *Cloud) amqpHeads(hub causeway.Hub) (port, ws *amqp.Server, readers *events.Plane) {
	back := &service.Plane{
		Registry: c.registry, Commands: limitedSends{c.commands, c.set}, Outbox: c.outbox,
		Log: c.log, Metrics: obs.NewHead(c.reg, "service"),
	}
	readers = &events.Plane{
		Directory: c.directory, HubLog: c.hubLog, EventHub: c.hubs.eventHub, Endpoint: c.eventsEndpoint,
		Log: c.log, Metrics: obs.NewHead(c.reg, "events"),
	}
	planes := map[hubamqp.Kind]claims.Plane{
		hubamqp.KindServiceCommands:   back,
		hubamqp.KindFeedback:          back,
		hubamqp.KindFileNotifications: back,
		hubamqp.KindRedirect:          readers,
		hubamqp.KindEvents:            readers,
		hubamqp.KindEventsManagement:  readers,
		hubamqp.KindEventsSend:        readers,
	}
	head := func(name string) *amqp.Server {
		return &amqp.Server{
			Hub: hub, Realms: c.set, Planes: planes, Log: c.log, Metrics: obs.NewHead(c.reg, name),
			Provisioner: c.provisioning, Provisioning: c.provisions,
			Limits: amqp.Limits{StopGrace: time.Duration(c.cfg.Stop.Drain)},
		}
	}
	return head("amqp"), head("amqp-ws"), readers
}

// provisions reports whether a host name is one of a provisioning service.
func (c *Cloud) provisions(host string) bool {
	_, ok := c.provisioning.ByHost(host)
	return ok
}

// hubLog finds the event log of a hub.
func (c *Cloud) hubLog(hub string) (eventlog.Log, bool) {
	h, ok := c.set.ByName(hub)
	if !ok {
		return nil, false
	}
	return h.Events(), true
}

// eventsEndpoint is where readers of a hub's events are sent to that came to
// the hub's own address: to the host that looks like a namespace, if there is
// one, else to the host they came to.
func (c *Cloud) eventsEndpoint(hub, host string) (string, uint16) {
	if h, ok := c.directory.Get(hub); ok && h.EventsHost() != h.Hosts[0] {
		host = h.EventsHost()
	}
	return host, uint16(portOf(c.listeners.amqp)) //nolint:gosec // a port
}
