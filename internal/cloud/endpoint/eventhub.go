package endpoint

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/envelope"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// eventHub is an endpoint that is a log.
type eventHub struct {
	name string
	log  EventLog

	mu     sync.Mutex
	fared  delivery.Status
	failed bool // the last attempt
}

var _ routing.Endpoint = (*eventHub)(nil)

// Append stores messages, each in the partition of its device, and returns when
// they are durable. Code: ServiceUnavailable.
func (h *eventHub) Append(ctx context.Context, msgs ...causeway.Message) error {
	type placed struct {
		partition int
		msg       *causeway.Message
	}
	all := make([]placed, len(msgs))
	for i := range msgs {
		all[i] = placed{delivery.Partition(msgs[i].From.Device, h.log.Partitions()), &msgs[i]}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.partition, b.partition) })
	var g errgroup.Group
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].partition == all[0].partition {
			n++
		}
		p, recs := all[0].partition, make([]eventlog.Record, n)
		var buf []byte
		for i, m := range all[:n] {
			at := len(buf)
			buf = envelope.Append(buf, m.msg)
			recs[i].Payload = buf[at:len(buf):len(buf)]
		}
		g.Go(func() error {
			_, err := h.log.Append(ctx, eventlog.Partition(p), recs...)
			return err
		})
		all = all[n:]
	}
	err := g.Wait()
	h.note(len(msgs), err)
	if err != nil {
		return &causeway.Error{Code: causeway.ServiceUnavailable, Op: "endpoint.Append", Msg: "messages for event hub " + h.name + " cannot be stored", Err: err}
	}
	return nil
}

// note keeps how storing messages went.
func (h *eventHub) note(n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now().UTC()
	h.fared.LastAttempt = now
	if h.failed = err != nil; h.failed {
		h.fared.Failed++
		h.fared.LastFailure, h.fared.LastError = now, err.Error()
		return
	}
	h.fared.LastSuccess = now
	h.fared.Sent += uint64(n) //nolint:gosec // a count
}

func (h *eventHub) status() delivery.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.fared
	s.Name = h.name
	switch {
	case s.LastAttempt.IsZero():
		s.Health = delivery.Unknown
	case h.failed:
		s.Health = delivery.Unhealthy
	default:
		s.Health = delivery.Healthy
	}
	return s
}
