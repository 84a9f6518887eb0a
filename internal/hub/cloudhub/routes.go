package cloudhub

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/routing"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
	"github.com/causeway-iot/causeway/internal/obs"
)

// routes is the compiled routing of a hub with the endpoints it leads to. It
// never changes.
type routes struct {
	*routing.Router
	endpoints []routing.Endpoint   // as in Endpoints(); the first is nil: the event log
	counts    []prometheus.Counter //  messages, by endpoint
	metrics   *obs.Hub
}

// bind compiles the routes of d and finds their endpoints; nil for none.
func (h *Hub) bind(d directory.Hub) *routes {
	if d.Settings.Routing.IsDefault() {
		h.metrics.BrokenRoutes.Set(0)
		return nil
	}
	router := routing.Compile(h.name, d.Settings.Routing)
	h.tellBroken(router.Broken())
	r := &routes{Router: router, metrics: h.metrics}
	for i, name := range router.Endpoints() {
		var e routing.Endpoint
		if i > 0 {
			ok := false
			if h.endpoints != nil {
				e, ok = h.endpoints.Endpoint(h.name, name)
			}
			if !ok {
				h.log.Error("an endpoint is not there; what routes send to it is refused", obs.KeyEndpoint, name)
				e = gone(name)
			}
		}
		r.endpoints = append(r.endpoints, e)
		r.counts = append(r.counts, h.metrics.Routed.WithLabelValues(name))
	}
	return r
}

// tellBroken tells of routes and enrichments that do nothing, of each once until
// it changes.
func (h *Hub) tellBroken(broken []routing.Broken) {
	h.metrics.BrokenRoutes.Set(float64(len(broken)))
	told := map[[2]string]string{}
	if now := h.current.Load(); now != nil && now.routes != nil {
		for _, b := range now.routes.Broken() {
			told[[2]string{b.Route, b.Enrichment}] = b.Err.Error()
		}
	}
	for _, b := range broken {
		if text, ok := told[[2]string{b.Route, b.Enrichment}]; ok && text == b.Err.Error() {
			continue
		}
		if b.Route == "" {
			h.log.Error("an enrichment adds nothing until it is mended: it makes no sense to this version of the program", "enrichment", b.Enrichment, obs.KeyError, b.Err)
			continue
		}
		h.log.Error("a route takes nothing until it is mended: it makes no sense to this version of the program", obs.KeyRoute, b.Route, obs.KeyError, b.Err)
	}
}

// gone is an endpoint that could not be found. It keeps nothing, so it must not
// say that it has.
type gone string

func (g gone) Append(context.Context, ...causeway.Message) error {
	return causeway.Errorf(causeway.ServiceUnavailable, "cloudhub.route", "the endpoint %q is not there; see the server's log", string(g))
}

// routed is the part of a batch that routes need.
type routed struct {
	used    bool // something is to be forgotten
	r       *routes
	work    *routing.Work
	out     [][]causeway.Message // by endpoint
	bytes   int                  // of messages to custom endpoints
	sender  sender
	fell    int
	dropped []string // sources of messages that nobody took
}

// sender is whose twin conditions and enrichments may ask for.
type sender struct {
	ctx  context.Context //nolint:containedctx // of the Send that the batch belongs to
	hub  *Hub
	id   causeway.Identity
	twin routecond.Twin // once it was asked for
	have bool
	err  error
}

// Twin returns the twin of the sender.
func (s *sender) Twin() (routecond.Twin, bool) {
	if !s.have && s.hub != nil && s.err == nil {
		rec, err := s.hub.registry.Get(s.ctx, s.id)
		switch causeway.CodeOf(err) {
		case 0:
			t := &rec.Twin
			s.twin, s.have = routecond.Twin{Tags: t.Tags, Desired: t.Desired.Properties, Reported: t.Reported.Properties}, true
		case causeway.DeviceNotFound, causeway.ModuleNotFound: // deleted meanwhile
		default:
			s.err = err // where messages go cannot be told
		}
	}
	return s.twin, s.have
}

// begin prepares b for messages of s that r routes.
func (b *batch) begin(ctx context.Context, s *session, r *routes) {
	b.routed.sender = sender{ctx: ctx, hub: s.hub, id: s.id}
	b.routed.begin(r)
}

func (d *routed) begin(r *routes) {
	d.used, d.r, d.work = true, r, r.Begin(&d.sender)
	for len(d.out) < len(r.endpoints) {
		d.out = append(d.out, nil)
	}
}

// end gives back what begin took; what was routed is no longer valid.
func (b *batch) end() {
	b.routed.work.End()
	b.routed.r, b.routed.work = nil, nil
}

// large reports whether too much would be kept for the next batch.
func (d *routed) large() bool {
	for i := range d.out {
		if cap(d.out[i]) > maxPooledRecords {
			return true
		}
	}
	return false
}

// clear forgets the messages.
func (d *routed) clear() {
	if !d.used {
		return
	}
	d.used = false
	for i := range d.out {
		clear(d.out[i])
		d.out[i] = d.out[i][:0]
	}
	d.sender = sender{}
	d.dropped = d.dropped[:0]
	d.bytes, d.fell = 0, 0
}

// route adds a stamped message to what goes to the endpoints that routes name.
func (b *batch) route(m *causeway.Message) {
	d := &b.routed
	to, fell := d.work.Match(m)
	if fell {
		d.fell++
	}
	if to == 0 {
		d.dropped = append(d.dropped, m.Source)
		return
	}
	if to == routing.ToEvents && !d.work.Enriches(0) {
		b.encode(m)
		return
	}
	for to != 0 {
		var i int
		i, to = to.Next()
		out := d.work.Enrich(*m, i)
		if i == 0 {
			b.encode(&out)
			continue
		}
		d.out[i] = append(d.out[i], out)
		d.bytes += out.Size()
	}
}

// deliver stores what was routed: it returns when all of it is durable, in the
// event log and at every endpoint. After an error some of it may be.
func (b *batch) deliver(ctx context.Context, log eventlog.Log, p eventlog.Partition, now time.Time) error {
	d := &b.routed
	if d.sender.err != nil {
		return d.sender.err
	}
	places := 0
	last := 0
	if len(b.ends) > 0 {
		places++
	}
	for i := range d.r.endpoints {
		if len(d.out[i]) > 0 {
			places++
			last = i
		}
	}
	var err error
	switch {
	case places == 0:
	case places == 1 && last == 0:
		err = b.append(ctx, log, p, now)
	case places == 1:
		err = d.r.endpoints[last].Append(ctx, d.out[last]...)
	default:
		err = b.deliverAll(ctx, log, p, now)
	}
	if err != nil {
		return err
	}
	d.count(len(b.ends))
	return nil
}

// deliverAll waits for several places at once: they need not wait for each
// other's disks.
func (b *batch) deliverAll(ctx context.Context, log eventlog.Log, p eventlog.Partition, now time.Time) error {
	d := &b.routed
	errs := make([]error, len(d.r.endpoints))
	var wg sync.WaitGroup
	for i, e := range d.r.endpoints {
		if len(d.out[i]) > 0 {
			wg.Go(func() { errs[i] = e.Append(ctx, d.out[i]...) })
		}
	}
	if len(b.ends) > 0 {
		errs[0] = b.append(ctx, log, p, now)
	}
	wg.Wait()
	return errors.Join(errs...)
}

// count counts what was delivered.
func (d *routed) count(events int) {
	for i := range d.r.counts {
		n := len(d.out[i])
		if i == 0 {
			n = events
		}
		if n > 0 {
			d.r.counts[i].Add(float64(n))
		}
	}
	if d.fell > 0 {
		d.r.metrics.Fallback.Add(float64(d.fell))
	}
	for _, s := range d.dropped {
		d.r.metrics.Unrouted.WithLabelValues(s).Inc()
	}
}
