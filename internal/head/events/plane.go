// Package events is the plane of readers of events on AMQP connections: the
// Event Hubs-compatible endpoint of a hub. It reads partitions of the hub's event
// log, answers $management, and tells readers that come to the hub's own host
// where to go.
//
// It knows the addresses of the endpoint and what its messages mean. It does not
// know how connections are accepted, nor how a peer proves who it is: both are
// of the head that the plane hangs on.
//
// # A reader
//
// Each link has one goroutine, which waits for credit, then for the log, and
// sends what it read in one go:
//
//	credit ──▶ Log.Read, up to a batch ──▶ envelope ──▶ AMQP message ──▶ Sender.Send ──┐
//	  ▲                                                                               │
//	  └───────────────────────────────────────────────────────────────────────────────┘
//
// The log wakes who waits for its next record, so that an event is on its way as
// soon as it is durable. What a reader was sent is not remembered: it says where
// to go on when it comes back. Settling has no effect.
//
// # Positions
//
// The offset of an event is its sequence number. A reader that wants to start at
// an offset that is no longer held starts with the oldest event that is: that is
// what happens to one that was away for longer than events are kept, and it must
// go on. A reader that wants to start behind the next event is refused: it was
// given this position by another hub, or by one of the same name that is no
// more, and would wait for a long time and then miss events.
package events

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Directory is what this plane asks of directory.Service; see there.
type Directory interface {
	Get(hub string) (directory.Hub, bool)
	HasConsumerGroup(hub, name string) bool
}

// Plane serves the links of readers. Its fields are not changed after the first
// Attach. A nil Log or Metrics is replaced by one that nobody sees. One Plane
// serves all connections: it knows who reads what.
type Plane struct {
	Directory Directory
	// HubLog finds the event log of a hub.
	HubLog func(hub string) (eventlog.Log, bool)
	// EventHub finds the log of another event hub of a hub: a custom endpoint of
	// its routes. Its readers are in the consumer groups of the hub. Nil is none.
	EventHub func(hub, name string) (eventlog.Log, bool)
	// Endpoint returns the host and the port that readers of a hub who came to
	// another of its hosts are sent to. Nil, or no host, is the host they came
	// to, and no port is 5671.
	Endpoint func(hub, host string) (string, uint16)
	Log      *slog.Logger
	Metrics  *obs.Head
	Limits   Limits

	once    sync.Once
	readers readers
	peers   claims.Peers[peer]
}

var _ claims.Plane = (*Plane)(nil)

func (p *Plane) setup() {
	p.Limits = p.Limits.withDefaults()
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	if p.Metrics == nil {
		p.Metrics = obs.NewHead(nil, "events")
	}
}

const opAttach = "events.attach"

// Attach decides about a link. An error is for [hubamqp.ConditionOf] to tell.
func (p *Plane) Attach(cp claims.Peer, addr hubamqp.Address, a *amqp.Attach) error {
	p.once.Do(p.setup)
	pe := p.peer(cp)
	switch addr.Kind {
	case hubamqp.KindRedirect:
		return pe.redirect(addr)
	case hubamqp.KindEventsManagement:
		return pe.attachManagement(addr, a)
	case hubamqp.KindEvents:
		return pe.attachReader(addr, a)
	case hubamqp.KindEventsSend:
		return pe.refuseSender(addr, a)
	}
	return causeway.Errorf(causeway.AmqpAddressNotFound, opAttach, "there is no node %q for readers of events", addr.String())
}

// Flush has nothing to do: what a peer asks is answered at once.
func (p *Plane) Flush(claims.Peer) {}

// Closed ends the peer's readers and waits until they have ended.
func (p *Plane) Closed(cp claims.Peer) {
	if pe := p.peers.Take(cp); pe != nil {
		pe.EndAll()
	}
}

// Recheck closes the readers of consumer groups that a hub does not have any more.
// It is to be called when the consumer groups of the hub were changed, and does not
// wait.
func (p *Plane) Recheck(hub string) {
	for _, r := range p.readers.of(hub) {
		if !p.Directory.HasConsumerGroup(hub, r.place.group) {
			r.Close(hubamqp.ConditionOf(noGroup(r.place.group)))
		}
	}
}

func noGroup(name string) error {
	return missing(causeway.GenericNotFound, name, "the hub has no such consumer group")
}

// peer returns what is known of a connection.
func (p *Plane) peer(cp claims.Peer) *peer {
	pe := p.peers.Get(cp)
	if pe == nil {
		pe = &peer{Peer: cp, plane: p}
		p.peers.Put(cp, pe)
	}
	return pe
}

// peer is one connection. Its methods are called by the connection's reader, but
// for those of its links.
type peer struct {
	claims.Peer
	claims.Links
	plane   *Plane
	replies []*replies // links for the replies of $management
}

// authorize reports whether the peer may use path.
func (pe *peer) authorize(path string) error {
	_, err := pe.Authorize(path, auth.ServiceConnect)
	return err
}

// redirect tells a reader where events are. Parsers of clients depend on how the
// address is written, see [hubamqp.Redirect].
func (pe *peer) redirect(addr hubamqp.Address) error {
	if err := pe.authorize("/messages/events"); err != nil {
		return err
	}
	host, port := "", uint16(0)
	if pe.plane.Endpoint != nil {
		host, port = pe.plane.Endpoint(pe.Hub(), pe.Host())
	}
	if host == "" {
		host = pe.Host()
	}
	if port == 0 {
		port = 5671
	}
	return hubamqp.Redirect(host, port, pe.Hub(), addr.Tail)
}

// refuseSender tells who wants to write events that nobody but devices does.
func (pe *peer) refuseSender(addr hubamqp.Address, a *amqp.Attach) error {
	if err := pe.authorize("/" + addr.Entity); err != nil {
		return err
	}
	if err := pe.entity(addr.Entity); err != nil {
		return err
	}
	if a.Role != codec.Sender {
		return causeway.Errorf(causeway.AmqpAddressNotFound, opAttach, "events are read from {event hub}/ConsumerGroups/{group}/Partitions/{partition}, not from %q", addr.String())
	}
	return cannotWrite()
}

func cannotWrite() error {
	return causeway.Errorf(causeway.InvalidOperation, opAttach, "events of a hub come from its devices: nothing can be sent to its event hub")
}

// own reports whether name is one of the names of the event hub of the hub's
// events: the hub's own, or one as the service gives,
// iothub-ehub-{hub}-{number}-{digits}.
func (pe *peer) own(name string) bool {
	hub := pe.Hub()
	prefix := "iothub-ehub-" + hub + "-"
	return strings.EqualFold(name, hub) || len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// entity reports whether there is an event hub of that name.
func (pe *peer) entity(name string) error {
	if pe.own(name) {
		return nil
	}
	_, err := pe.log(name)
	return err
}

// log returns the log of an event hub: that of the hub's events, or of a custom
// endpoint.
func (pe *peer) log(name string) (eventlog.Log, error) {
	hub := pe.Hub()
	if pe.own(name) {
		if log, ok := pe.plane.HubLog(hub); ok {
			return log, nil
		}
		return nil, causeway.Errorf(causeway.GenericNotFound, opAttach, "hub %q is not here", hub)
	}
	if pe.plane.EventHub != nil {
		if log, ok := pe.plane.EventHub(hub, name); ok {
			return log, nil
		}
	}
	return nil, missing(causeway.GenericNotFound, name, "the event hub of the hub is "+strconv.Quote(hub))
}

// missing is the error about a part of an address that does not exist. Clients
// know it by the first words, and try again for minutes without them.
func missing(code causeway.Code, name, hint string) error {
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	return causeway.Errorf(code, opAttach, "the messaging entity %q could not be found: %s", name, hint)
}

// partition returns the partition of that name.
func partition(log eventlog.Log, name string) (eventlog.Partition, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n >= log.Partitions() || strconv.Itoa(n) != name {
		return 0, missing(causeway.PartitionNotFound, name, "the partitions are 0 to "+strconv.Itoa(log.Partitions()-1))
	}
	return eventlog.Partition(n), nil
}
