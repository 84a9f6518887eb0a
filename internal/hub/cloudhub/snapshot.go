package cloudhub

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/event"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/obs"
)

const (
	// DefaultSnapshot is how often connection events are made. Who came and
	// went between two snapshots is not spoken of.
	DefaultSnapshot = time.Minute
	// MaxPendingConnections bounds the identities whose change waits for the
	// next snapshot; changes of more are not told.
	MaxPendingConnections = 1 << 20

	snapshotBatch = 256 // events stored at once
)

// connections is what changed since the last snapshot.
type connections struct {
	every    time.Duration
	sequence event.Sequencer

	mu      sync.Mutex
	changed map[causeway.Identity]change
	lost    int
}

// change is what is to be told of an identity.
type change struct {
	was bool      // connected at the last snapshot
	at  time.Time // of the last change
}

// connectionChanged notes that id connected or disconnected, if a route wants to
// hear of it.
func (h *Hub) connectionChanged(id causeway.Identity, connected bool, at time.Time) {
	if r := h.current.Load().routes; r == nil || !r.Wants(causeway.SourceConnectionState) {
		return
	}
	c := &h.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.changed[id]; ok {
		c.changed[id] = change{old.was, at}
		return
	}
	if len(c.changed) >= MaxPendingConnections {
		c.lost++
		return
	}
	if c.changed == nil {
		c.changed = map[causeway.Identity]change{}
	}
	c.changed[id] = change{!connected, at}
}

// takeSnapshots tells of connections until ctx ends.
func (h *Hub) takeSnapshots(ctx context.Context) {
	tick := time.NewTicker(h.connections.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.snapshot(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// lastSnapshot tells of those whom the end of the hub disconnected.
func (h *Hub) lastSnapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), emitTimeout)
	defer cancel()
	h.snapshot(ctx)
}

// told is an identity of a snapshot.
type told struct {
	id        causeway.Identity
	partition eventlog.Partition
	connected bool
	change
}

// snapshot makes events of the identities that are not what they were at the
// last one. Those that cannot be stored wait for the next.
func (h *Hub) snapshot(ctx context.Context) {
	c := &h.connections
	c.mu.Lock()
	changed, lost := c.changed, c.lost
	c.changed, c.lost = nil, 0
	c.mu.Unlock()
	if lost > 0 {
		h.log.Warn("connection events were lost: too many devices came and went at once", "count", lost)
	}
	list := make([]told, 0, len(changed))
	for id, ch := range changed {
		if _, now := h.presence.Holder(id); now != ch.was {
			list = append(list, told{id, Partition(id.Device, h.events.Partitions()), now, ch})
		}
	}
	// In the order of what happened, for each partition.
	slices.SortFunc(list, func(a, b told) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), a.at.Compare(b.at), cmp.Compare(a.id.String(), b.id.String()))
	})
	for len(list) > 0 {
		n := 1
		for n < len(list) && n < snapshotBatch && list[n].partition == list[0].partition {
			n++
		}
		if err := h.tell(ctx, list[:n]); err != nil {
			h.log.Warn("connection events could not be stored, trying again at the next snapshot", "count", len(list), obs.KeyError, err)
			h.putBack(list)
			return
		}
		list = list[n:]
	}
}

// tell stores the events of some identities of one partition.
func (h *Hub) tell(ctx context.Context, list []told) error {
	r := h.current.Load().routes
	if r == nil || !r.Wants(causeway.SourceConnectionState) {
		return nil // nobody listens any more
	}
	b := h.newBatch()
	defer h.release(b)
	b.routed.begin(r)
	defer b.end()
	for i := range list {
		t := &list[i]
		b.routed.sender = sender{ctx: ctx, hub: h, id: t.id}
		b.routed.work.From(&b.routed.sender)
		m := event.OfConnection(h.name, t.id, t.connected, t.at, h.connections.sequence.Next(t.at))
		b.route(&m)
		if err := b.routed.sender.err; err != nil {
			return err
		}
	}
	return b.deliver(ctx, h.events, list[0].partition, time.Now())
}

// putBack lets the next snapshot tell of list, unless something newer is known.
func (h *Hub) putBack(list []told) {
	c := &h.connections
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = map[causeway.Identity]change{}
	}
	for i := range list {
		t := &list[i]
		if newer, ok := c.changed[t.id]; ok {
			t.at = newer.at
		}
		c.changed[t.id] = change{t.was, t.at}
	}
}
