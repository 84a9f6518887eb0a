// Package service is the plane of back ends on AMQP connections: it takes
// cloud-to-device messages, and sends feedback and file notifications.
//
// It knows the addresses /messages/devicebound, /messages/serviceBound/feedback
// and /messages/serviceBound/filenotifications, and what their messages mean. It
// does not know how connections are accepted, nor how a peer proves who it is:
// both are of the head that the plane hangs on.
//
// Messages to devices that have arrived together are queued together, those of
// different devices at the same time, so that they share the commits of the
// store, and are settled once they are durable:
//
//	Transfer, Transfer, … ──▶ Flush: queue all ──▶ accepted, rejected, …
//
// A message that could not be queued is always rejected, for whatever reason:
// there are clients that take "released" for success.
package service

import (
	"context"
	"log/slog"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/outbox"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Registry is what this plane asks of registry.Service; see there.
type Registry interface {
	Get(ctx context.Context, id causeway.Identity) (registry.Record, error)
}

// Commands is what this plane asks of c2d.Service; see there.
type Commands interface {
	Enqueue(ctx context.Context, id causeway.Identity, m causeway.Message, generationID string) error
}

// Outbox is what this plane asks of outbox.Service; see there.
type Outbox interface {
	Receive(ctx context.Context, hub string, k outbox.Kind) (d outbox.Delivery, ok bool, err error)
	Settle(ctx context.Context, hub string, k outbox.Kind, lock causeway.LockToken, o causeway.Outcome) error
	Unlock(hub string, k outbox.Kind, locks ...causeway.LockToken)
	Subscribe(hub string, k outbox.Kind) (ready <-chan struct{}, cancel func())
}

// Plane serves the links of back ends. Its fields are not changed after the
// first Attach. A nil Log or Metrics is replaced by one that nobody sees.
type Plane struct {
	Registry Registry
	Commands Commands
	Outbox   Outbox
	Log      *slog.Logger
	Metrics  *obs.Head
	Limits   Limits

	once  sync.Once
	peers claims.Peers[peer]
}

var _ claims.Plane = (*Plane)(nil)

func (p *Plane) setup() {
	p.Limits = p.Limits.withDefaults()
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	if p.Metrics == nil {
		p.Metrics = obs.NewHead(nil, "service")
	}
}

// Attach decides about a link. An error is for [hubamqp.ConditionOf] to tell.
func (p *Plane) Attach(cp claims.Peer, addr hubamqp.Address, a *amqp.Attach) error {
	p.once.Do(p.setup)
	pe := p.peer(cp)
	switch addr.Kind {
	case hubamqp.KindServiceCommands:
		return pe.attachCommands(a)
	case hubamqp.KindFeedback:
		return pe.attachNotices(a, outbox.Feedback)
	case hubamqp.KindFileNotifications:
		return pe.attachNotices(a, outbox.FileNotifications)
	}
	return causeway.Errorf(causeway.AmqpAddressNotFound, opAttach, "there is no node %q for back ends", addr.String())
}

// Flush queues the messages of a burst and settles them.
func (p *Plane) Flush(cp claims.Peer) {
	if pe := p.peers.Get(cp); pe != nil {
		pe.flush()
	}
}

// Closed gives back what the peer had. It waits until its goroutines have ended.
func (p *Plane) Closed(cp claims.Peer) {
	if pe := p.peers.Take(cp); pe != nil {
		pe.EndAll()
	}
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

const opAttach = "service.attach"

// peer is one connection. Its methods are called by the connection's reader, but
// for those of its links.
type peer struct {
	claims.Peer
	claims.Links
	plane   *Plane
	burst   []command
	scratch hubamqp.Scratch
}

// authorize reports whether the peer may use path.
func (pe *peer) authorize(path string) error {
	_, err := pe.Authorize(path, auth.ServiceConnect)
	return err
}

// wrongWay returns the refusal of a link that runs the other way than messages
// of its node do.
func wrongWay(path, does string) error {
	return causeway.Errorf(causeway.InvalidOperation, opAttach, "clients %s %s", does, path)
}

// role is what the peer of a link is.
const (
	peerSends    = codec.Sender
	peerReceives = codec.Receiver
)
