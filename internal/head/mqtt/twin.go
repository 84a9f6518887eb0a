package mqtt

import (
	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	wire "github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// twinRequest is a request of the client for its twin. It has memory of its own.
type twinRequest struct {
	patch   bool // report body; else get
	mute    bool // nobody hears the answer; a patch counts all the same
	rid     string
	version int64 // expected by the patch, 0 for any
	body    []byte
}

// twinQueue is the requests that wait. A goroutine answers them one by one for
// as long as there are any.
type twinQueue struct {
	waiting []twinRequest
	bytes   int // of their bodies
	running bool
	changed chan struct{} // closed when there is room; nil when nobody waits
}

// signal wakes who waits for room. The connection's mutex is held.
func (q *twinQueue) signal() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// askTwin queues requests. It waits for room, so that a client which asks
// faster than it is answered is not read further.
func (c *conn) askTwin(requests []twinRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := &c.twins
	bytes := 0
	for i := range requests {
		bytes += len(requests[i].body)
	}
	for !c.closed && len(q.waiting) > 0 &&
		(len(q.waiting)+len(requests) > c.v.limits.TwinRequests || q.bytes+bytes > maxTwinBytes) {
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		c.mu.Unlock()
		<-changed
		c.mu.Lock()
	}
	if c.closed {
		return ending(ReasonLost, nil)
	}
	q.waiting = append(q.waiting, requests...)
	q.bytes += bytes
	if !q.running {
		q.running = true
		c.workers.Begin()
		c.v.conns.Go(c.answerTwins)
	}
	return nil
}

// answerTwins answers requests until there are none.
func (c *conn) answerTwins() {
	defer c.leave()
	var out []byte
	for {
		c.mu.Lock()
		q := &c.twins
		if len(q.waiting) == 0 {
			q.waiting, q.running = nil, false
			c.mu.Unlock()
			return
		}
		r := q.waiting[0]
		q.waiting[0] = twinRequest{}
		q.waiting = q.waiting[1:]
		q.bytes -= len(r.body)
		q.signal()
		c.mu.Unlock()
		out = c.answerTwin(out[:0], &r)
		if err := c.reply(out); err != nil {
			// The connection ends; nobody will hear what else there is to say.
			c.mu.Lock()
			c.twins.waiting, c.twins.bytes, c.twins.running = nil, 0, false
			c.twins.signal()
			c.mu.Unlock()
			return
		}
	}
}

// answerTwin appends the answer of one request, if somebody hears it.
func (c *conn) answerTwin(out []byte, r *twinRequest) []byte {
	var (
		p       wire.Publish
		version int64
		status  = 204
		err     error
	)
	if r.patch {
		version, err = c.session.Report(c.v.life, causeway.Patch{Properties: r.body, Version: r.version})
	} else {
		var t causeway.Twin
		if t, err = c.session.Twin(c.v.life); err == nil {
			status, p.Payload = 200, hubjson.DeviceTwin(t)
		}
	}
	if err != nil {
		version = 0
		status, p.Payload = hubjson.TwinError(err)
		if code := causeway.CodeOf(err); code.HTTPStatus() >= 500 {
			c.v.log.Warn("twin request failed", obs.KeyID, c.id, obs.KeyError, err)
		}
	}
	if r.mute {
		if err != nil {
			c.v.log.Debug("twin patch refused, and nobody hears it", obs.KeyID, c.id, obs.KeyError, err)
		}
		return out
	}
	name := topic.AppendTwinResponse(nil, status, r.rid, version)
	p.Topic = view(name)
	b, err := p.Append(out, wire.V311)
	if err != nil {
		// Only a request id that cannot stand in a topic; the client chose it.
		c.v.log.Debug("twin answer cannot be written", obs.KeyID, c.id, obs.KeyError, err)
		return out
	}
	c.v.metrics.MessagesOut.Inc()
	c.v.metrics.BytesOut.Add(float64(len(p.Payload)))
	return b
}
