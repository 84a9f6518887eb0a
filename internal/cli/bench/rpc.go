package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// serve reads what the hub sends to d until the connection is closed, and
// hands every PUBLISH to f.
func (d *device) serve(f func(p topic.Publish, pub *mqtt.Publish) error) error {
	var pub mqtt.Publish
	var m causeway.Message
	for {
		fr, err := d.r.Next()
		if err != nil {
			return err
		}
		if fr.Type != mqtt.PUBLISH {
			continue
		}
		if err := pub.Decode(fr, mqtt.V311); err != nil {
			return err
		}
		p, _, err := topic.ParseDelivery([]byte(pub.Topic), d.id, &m, nil)
		if err != nil {
			return err
		}
		if err := f(p, &pub); err != nil {
			return err
		}
	}
}

// callers runs l.Depth goroutines that call f again and again, and counts and
// times the calls.
func callers(ctx context.Context, l Load, f func(ctx context.Context, caller, call int) error) (Run, error) {
	var p phase
	p.begin(l)
	var wg sync.WaitGroup
	var failed atomic.Int64
	var firstErr atomic.Pointer[error]
	hs := make([]histogram, l.Depth)
	for c := range l.Depth {
		wg.Go(func() {
			for call := 0; !p.is(over) && ctx.Err() == nil; call++ {
				began := time.Now()
				err := f(ctx, c, call)
				took := time.Since(began)
				switch {
				case !p.is(counting):
				case err != nil:
					failed.Add(1)
					firstErr.CompareAndSwap(nil, &err)
				default:
					hs[c].add(took)
				}
			}
		})
	}
	took := p.clock(ctx, l)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Run{}, err
	}
	var h histogram
	for i := range hs {
		h.merge(&hs[i])
	}
	if e := firstErr.Load(); e != nil && h.n == 0 {
		return Run{}, *e
	}
	n := int64(h.n)
	return Run{Count: n, Seconds: took.Seconds(), Rate: rate(n, took), Latency: h.latency(), Errors: failed.Load()}, nil
}

// Methods measures direct methods from the service API to the device and back.
func Methods(ctx context.Context, t *Target, l Load) (Run, error) {
	f, err := t.assemble(ctx, l, func(d *device) error { return d.subscribe(topic.MethodFilter) })
	if err != nil {
		return Run{}, err
	}
	var wg sync.WaitGroup
	defer func() { f.close(); wg.Wait() }()
	for _, d := range f {
		wg.Go(func() {
			_ = d.serve(func(p topic.Publish, _ *mqtt.Publish) error { //nolint:errcheck // it ends when the fleet is closed
				if p.Kind != topic.MethodRequest {
					return nil
				}
				answer := mqtt.Publish{Topic: string(topic.AppendMethodResponse(nil, 200, p.RID)), Payload: []byte(`{"ok":true}`)}
				b, err := answer.Append(d.out[:0], mqtt.V311)
				if err != nil {
					return err
				}
				d.out = b
				_, err = d.conn.Write(b)
				return err
			})
		})
	}
	return callers(ctx, l, func(ctx context.Context, caller, call int) error {
		d := f[(caller+call*l.Depth)%len(f)]
		_, err := t.Service.Invoke(ctx, d.id.Device, "", client.MethodCall{Name: "ping", Payload: []byte(`{"n":1}`)})
		return err
	})
}

// Commands measures cloud-to-device messages: each is sent by REST, delivered
// by MQTT and acknowledged; the time is from the request to the delivery.
func Commands(ctx context.Context, t *Target, l Load) (Run, error) {
	f, err := t.assemble(ctx, l, func(d *device) error { return d.subscribe(topic.CommandFilter(d.id)) })
	if err != nil {
		return Run{}, err
	}
	var wg sync.WaitGroup
	defer func() { f.close(); wg.Wait() }()
	arrived := make([]chan struct{}, l.Depth) // by caller, whose number is in the body
	for i := range arrived {
		arrived[i] = make(chan struct{}, 1)
	}
	for _, d := range f {
		wg.Go(func() {
			_ = d.serve(func(p topic.Publish, pub *mqtt.Publish) error { //nolint:errcheck // it ends when the fleet is closed
				if p.Kind != topic.Command {
					return nil
				}
				b, err := (&mqtt.Ack{Kind: mqtt.PUBACK, ID: pub.ID}).Append(d.out[:0], mqtt.V311)
				if err != nil {
					return err
				}
				d.out = b
				if _, err := d.conn.Write(b); err != nil {
					return err
				}
				if len(pub.Payload) >= 4 {
					if c := int(binary.BigEndian.Uint32(pub.Payload)); c < len(arrived) {
						select {
						case arrived[c] <- struct{}{}:
						default: // of a call that was given up
						}
					}
				}
				return nil
			})
		})
	}
	return callers(ctx, l, func(ctx context.Context, caller, call int) error {
		d := f[(caller+call*l.Depth)%len(f)]
		body := binary.BigEndian.AppendUint32(make([]byte, 0, max(4, l.Size)), uint32(caller))
		body = append(body, payload(max(0, l.Size-4))...)
		if err := t.Service.SendCommand(ctx, d.id.Device, "", &causeway.Message{Body: body}); err != nil {
			return err
		}
		select {
		case <-arrived[caller]:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(replyTimeout):
			return fmt.Errorf("command for %s: %w", d.id.Device, errStuck)
		}
	})
}

// Twins measures reported properties: patches in flight at the depth of the
// load, each answered once it is on stable storage.
func Twins(ctx context.Context, t *Target, l Load) (Run, error) {
	f, err := t.assemble(ctx, l, func(d *device) error { return d.subscribe(topic.TwinResponseFilter) })
	if err != nil {
		return Run{}, err
	}
	defer f.close()
	stop := context.AfterFunc(ctx, func() {
		for _, d := range f {
			d.conn.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // it only wakes the connection
		}
	})
	defer stop()
	var p phase
	p.begin(l)
	var wg sync.WaitGroup
	type outcome struct {
		h        histogram
		failures int64
		err      error
	}
	out := make([]outcome, len(f))
	for i, d := range f {
		wg.Go(func() {
			o := &out[i]
			o.err = d.patch(&p, l.Depth, func(took time.Duration, status int) {
				if status == 204 {
					o.h.add(took)
				} else {
					o.failures++
				}
			})
		})
	}
	took := p.clock(ctx, l)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Run{}, err
	}
	var h histogram
	var errs []error
	r := Run{}
	for i := range out {
		h.merge(&out[i].h)
		r.Errors += out[i].failures
		if out[i].err != nil {
			r.Errors++
			errs = append(errs, out[i].err)
		}
	}
	if len(errs) == len(f) {
		return Run{}, errs[0]
	}
	r.Count, r.Seconds, r.Rate, r.Latency = int64(h.n), took.Seconds(), rate(int64(h.n), took), h.latency()
	return r, nil
}

// patch keeps depth patches in flight until the time is over.
func (d *device) patch(p *phase, depth int, done func(took time.Duration, status int)) error {
	sent := map[string]time.Time{}
	var n int
	send := func(count int) error {
		d.out = d.out[:0]
		now := time.Now()
		for range count {
			n++
			rid := strconv.Itoa(n)
			pub := mqtt.Publish{
				Topic:   string(topic.AppendTwinPatch(nil, rid, 0)),
				Payload: fmt.Appendf(nil, `{"counter":%d,"state":{"mode":"run","level":%d}}`, n, n%100),
			}
			b, err := pub.Append(d.out, mqtt.V311)
			if err != nil {
				return err
			}
			d.out, sent[rid] = b, now
		}
		_, err := d.conn.Write(d.out)
		return err
	}
	if err := send(depth); err != nil {
		return err
	}
	errDone := errors.New("done")
	answered := 0
	err := d.serve(func(tp topic.Publish, _ *mqtt.Publish) error {
		at, ok := sent[tp.RID]
		if tp.Kind != topic.TwinResponse || !ok {
			return nil
		}
		delete(sent, tp.RID)
		if p.is(counting) {
			done(time.Since(at), tp.Status)
		}
		answered++
		switch {
		case p.is(over) && len(sent) == 0:
			return errDone
		case p.is(over) || d.r.Buffered():
			return nil // collect what has come before sending again
		}
		k := answered
		answered = 0
		return send(k)
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}
