package cloudhub

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/event"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// emitTimeout bounds how long a change waits for its event to be durable.
const emitTimeout = 10 * time.Second

// Observe makes an event of what happened in the registry, and routes it if
// some route wants it. It returns when the event is durable.
func (h *Hub) Observe(ctx context.Context, e registry.Event) error {
	r := h.current.Load().routes
	if r == nil {
		return nil
	}
	source := event.Source(&e)
	if source == "" || !r.Wants(source) {
		return nil
	}
	m, err := event.OfRegistry(h.name, &e)
	if err != nil {
		return err
	}
	// The change is made: that its caller leaves is no reason to lose its event.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitTimeout)
	defer cancel()
	t := &e.Record().Twin
	return h.emit(ctx, r, sender{
		have: true, twin: routecond.Twin{Tags: t.Tags, Desired: t.Desired.Properties, Reported: t.Reported.Properties},
	}, &m)
}

// Publish routes an event that the hub makes; see [routing.Publisher].
func (h *Hub) Publish(ctx context.Context, m causeway.Message) error {
	r := h.current.Load().routes
	if r == nil || !r.Wants(m.Source) {
		return nil
	}
	m.From.Hub = h.name
	m.UserID = cmp.Or(m.UserID, h.name)
	if m.CorrelationID == "" {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails, see crypto/rand
		m.CorrelationID = hex.EncodeToString(id[:])
	}
	if m.Enqueued.IsZero() {
		m.Enqueued = time.Now().UTC()
	}
	return h.emit(ctx, r, sender{ctx: ctx, hub: h, id: m.From}, &m)
}

// emit routes one event and returns when it is durable.
func (h *Hub) emit(ctx context.Context, r *routes, from sender, m *causeway.Message) error {
	b := h.newBatch()
	defer h.release(b)
	b.routed.sender = from
	b.routed.begin(r)
	defer b.end()
	b.route(m)
	if err := b.deliver(ctx, h.events, Partition(m.From.Device, h.events.Partitions()), m.Enqueued); err != nil {
		return logError(ctx, err)
	}
	return nil
}
