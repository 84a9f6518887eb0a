package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// twinReply is the hub's answer to a twin request.
type twinReply struct {
	status  int
	version int64
	body    []byte
}

// Twin returns the device's twin.
func (d *Device) Twin(ctx context.Context) (causeway.Twin, error) {
	r, err := d.twinRequest(ctx, "get twin", func(rid string) []byte { return topic.AppendTwinGet(nil, rid) }, nil)
	if err != nil {
		return causeway.Twin{}, err
	}
	var t struct{ Desired, Reported json.RawMessage }
	if err := json.Unmarshal(r.body, &t); err != nil {
		return causeway.Twin{}, fmt.Errorf("get twin: read reply: %w", err)
	}
	out := causeway.Twin{Desired: t.Desired, Reported: t.Reported}
	for _, s := range []struct {
		section []byte
		version *int64
	}{{t.Desired, &out.DesiredVersion}, {t.Reported, &out.ReportedVersion}} {
		var v struct {
			Version int64 `json:"$version"`
		}
		if err := json.Unmarshal(s.section, &v); err != nil {
			return causeway.Twin{}, fmt.Errorf("get twin: read reply: %w", err)
		}
		*s.version = v.Version
	}
	return out, nil
}

// Report merges a JSON object into the reported properties, null deletes, and
// returns the section's new version once the hub has it on stable storage.
// Codes: DeserializationError, ArgumentInvalid (keys, depth, size),
// ThrottlingException.
func (d *Device) Report(ctx context.Context, properties []byte) (version int64, err error) {
	r, err := d.twinRequest(ctx, "report", func(rid string) []byte { return topic.AppendTwinPatch(nil, rid, 0) }, properties)
	return r.version, err
}

// twinRequest publishes a request and waits for the answer. It is not repeated
// when the connection is lost, since a patch is not always idempotent: the
// error is ErrOffline then.
func (d *Device) twinRequest(ctx context.Context, op string, topicFor func(rid string) []byte, body []byte) (twinReply, error) {
	if err := d.wantTwin(ctx); err != nil {
		return twinReply{}, fmt.Errorf("%s: %w", op, err)
	}
	answer := make(chan twinReply, 1)
	d.mu.Lock()
	l := d.cur
	if l == nil {
		d.mu.Unlock()
		return twinReply{}, fmt.Errorf("%s: %w", op, ErrOffline)
	}
	d.rid++
	rid := strconv.FormatUint(d.rid, 10) // numbers: some hubs and gateways take nothing else
	d.replies[rid] = answer
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.replies, rid)
		d.mu.Unlock()
	}()
	pub := mqtt.Publish{Topic: string(topicFor(rid)), Payload: body}
	b, err := pub.Append(nil, mqtt.V311)
	if err != nil {
		return twinReply{}, fmt.Errorf("%s: %w", op, err)
	}
	if err := l.writeWait(ctx, b); err != nil {
		return twinReply{}, fmt.Errorf("%s: %w", op, err)
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return twinReply{}, fmt.Errorf("%s: connection lost before the answer: %w", op, ErrOffline)
		}
		if r.status >= 300 {
			return twinReply{}, twinError(op, r)
		}
		return r, nil
	case <-ctx.Done():
		return twinReply{}, fmt.Errorf("%s: %w", op, ctx.Err())
	case <-d.ctx.Done():
		return twinReply{}, ErrClosed
	}
}

func twinError(op string, r twinReply) error {
	e := &causeway.Error{Code: causeway.Code(r.status * 1000), Op: op}
	var body struct {
		ErrorCode causeway.Code
		Message   string
	}
	if json.Unmarshal(r.body, &body) == nil {
		e.Msg = body.Message
		if body.ErrorCode.HTTPStatus() == r.status {
			e.Code = body.ErrorCode
		}
	}
	if e.Msg == "" {
		e.Msg = fmt.Sprintf("the hub answered %d", r.status)
	}
	return e
}

func (d *Device) replied(rid string, r twinReply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.replies[rid]; c != nil {
		delete(d.replies, rid)
		c <- r
	}
}

var errNoTwin = errors.New("the hub refused the subscription to twin answers")

// wantTwin subscribes to the answers of twin requests the first time. Devices
// that never ask for their twin do not pay for it.
func (d *Device) wantTwin(ctx context.Context) error {
	d.mu.Lock()
	if d.twinWanted || d.cur == nil {
		// If it is not connected now, the next connect subscribes.
		d.twinWanted = true
		d.mu.Unlock()
		return nil
	}
	granted := make(chan bool, 1)
	s := mqtt.Subscribe{ID: d.newID(), Subscriptions: []mqtt.Subscription{{Filter: topic.TwinResponseFilter}}}
	b, err := s.Append(nil, mqtt.V311)
	if err != nil {
		d.mu.Unlock()
		return err
	}
	d.subacks[s.ID] = granted
	d.cur.write(b)
	d.mu.Unlock()
	select {
	case ok, open := <-granted:
		if !open {
			return ErrOffline
		}
		if !ok {
			return errNoTwin
		}
		d.mu.Lock()
		d.twinWanted = true
		d.mu.Unlock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ctx.Done():
		return ErrClosed
	}
}
