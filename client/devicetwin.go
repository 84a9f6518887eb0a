package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/causeway-iot/causeway"
)

// twinReply is the hub's answer to a twin request.
type twinReply struct {
	status  int
	version int64
	body    []byte
}

// Twin returns the device's twin.
func (d *Device) Twin(ctx context.Context) (causeway.Twin, error) {
	r, err := d.twinRequest(ctx, "get twin", nil)
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
	if properties == nil {
		properties = []byte{} // the hub says what is wrong with it
	}
	r, err := d.twinRequest(ctx, "report", properties)
	return r.version, err
}

// twinRequest sends a request, a patch unless that is nil, and waits for the
// answer. It is not repeated when the connection is lost, since a patch is not
// always idempotent: the error is ErrOffline then.
func (d *Device) twinRequest(ctx context.Context, op string, patch []byte) (twinReply, error) {
	if err := d.wantTwin(ctx); err != nil {
		return twinReply{}, fmt.Errorf("%s: %w", op, err)
	}
	d.mu.Lock()
	l := d.cur
	d.mu.Unlock()
	if l == nil {
		return twinReply{}, fmt.Errorf("%s: %w", op, ErrOffline)
	}
	return d.ask(ctx, op, func(rid string) error { return l.twin(ctx, rid, patch) })
}

// ask sends a request with an id of its own and waits for what replied is given.
func (d *Device) ask(ctx context.Context, op string, send func(rid string) error) (twinReply, error) {
	answer := make(chan twinReply, 1)
	d.mu.Lock()
	d.rid++
	rid := strconv.FormatUint(d.rid, 10) // numbers: some hubs and gateways take nothing else
	d.replies[rid] = answer
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.replies, rid)
		d.mu.Unlock()
	}()
	if err := send(rid); err != nil {
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
		return twinReply{}, fmt.Errorf("%s: %w", op, context.Cause(ctx))
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

// wantTwin has the answers of twin requests arrive the first time. Devices that
// never ask for their twin do not pay for it.
func (d *Device) wantTwin(ctx context.Context) error {
	d.mu.Lock()
	l := d.cur
	if l == nil {
		d.twinWanted = true // for the next connection
	}
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.wantTwin(ctx)
}
