package client

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/causeway-iot/causeway"
)

// stay keeps the device connected, beginning with l, until Close.
func (d *Device) stay(l link) {
	backOff := minBackOff
	again := false // this is not the first connection
	for {
		began := time.Now()
		err := d.serve(l, again)
		if d.ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		if !errors.Is(err, errRenew) {
			d.log.Warn("connection lost", "device", d.id.String(), "error", err)
			d.online(err)
		}
		if time.Since(began) > steady || errors.Is(err, errRenew) {
			backOff = minBackOff
		}
		for l = nil; l == nil; {
			// Jitter keeps a fleet that lost the same server from coming back
			// in step. Two clients of one identity take each other's place in
			// turn; the back-off keeps even them calm.
			select {
			case <-d.ctx.Done():
				return
			case <-time.After(backOff/2 + rand.N(backOff)):
			}
			backOff = min(2*backOff, d.o.MaxBackOff)
			if l, err = d.transport.open(d.ctx); err != nil {
				l = nil
				d.mu.Lock()
				d.why = err
				d.mu.Unlock()
				d.log.Warn("cannot reconnect", "device", d.id.String(), "error", err, "again", backOff)
			}
		}
		again = true
	}
}

// catchUp reads the desired properties in the background.
func (d *Device) catchUp() {
	d.all.Go(func() {
		if err := d.syncDesired(d.ctx); err != nil && d.ctx.Err() == nil {
			d.log.Warn("cannot read desired properties", "device", d.id.String(), "error", err)
			d.behind.Store(true) // the next change, or the next connection, tries again
		}
	})
}

func (d *Device) online(err error) {
	if d.o.Online != nil {
		d.o.Online(err)
	}
}

// serve runs a link until it ends and returns why. again says that there was
// one before it.
func (d *Device) serve(l link, again bool) error {
	stop := context.AfterFunc(d.ctx, func() { l.end(ErrClosed) })
	defer stop()
	d.mu.Lock()
	l.start()
	d.cur = l
	d.mu.Unlock()
	d.online(nil)
	if again && d.o.Desired != nil {
		d.catchUp() // hubs do not queue changes of the twin
	}
	err := l.run()

	d.mu.Lock()
	if d.cur == l {
		d.cur, d.why = nil, err
	}
	for rid, c := range d.replies {
		delete(d.replies, rid)
		close(c)
	}
	d.mu.Unlock()
	return err
}

// delivery is something for the goroutine that calls handlers in order.
type delivery struct {
	command *causeway.Message
	desired *causeway.Patch
	settle  func(causeway.Outcome) // nil when there is nothing to settle
}

// deliver hands a delivery over and reports whether there was room for it. It
// never waits: the handler may itself be waiting for an answer that only the
// caller can read.
func (d *Device) deliver(j delivery) bool {
	select {
	case d.work <- j:
		return true
	default:
		if j.desired != nil {
			d.behind.Store(true)
		}
		return false
	}
}

// handle calls the handlers that want order.
func (d *Device) handle() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case j := <-d.work:
			outcome := causeway.Accepted
			switch {
			case j.desired != nil:
				d.desired(*j.desired)
			case d.o.Commands == nil:
				// Nobody asked for it: a filter of an earlier session.
			default:
				outcome = d.command(j.command)
			}
			if j.settle != nil {
				j.settle(outcome)
			}
			if len(d.work) == 0 && d.behind.Swap(false) {
				d.catchUp()
			}
		}
	}
}

// command has a command handled.
func (d *Device) command(m *causeway.Message) causeway.Outcome {
	err := d.o.Commands(d.ctx, m)
	switch {
	case err == nil:
		return causeway.Accepted
	case errors.Is(err, ErrReject):
		d.log.Warn("command rejected", "device", d.id.String(), "error", err)
		return causeway.Rejected
	}
	d.log.Warn("command not handled; the hub will deliver it again", "device", d.id.String(), "error", err)
	return causeway.Released
}

// desired hands a change over unless it is older than what the handler has seen.
func (d *Device) desired(p causeway.Patch) {
	d.mu.Lock()
	old := p.Version <= d.lastDesired
	if !old {
		d.lastDesired = p.Version
	}
	d.mu.Unlock()
	if !old && d.o.Desired != nil {
		d.o.Desired(d.ctx, p)
	}
}

// syncDesired reads the twin and hands the desired section over if it has
// changed since the handler last saw it. Notifications are not queued by hubs.
func (d *Device) syncDesired(ctx context.Context) error {
	t, err := d.Twin(ctx)
	if err != nil {
		return err
	}
	select {
	case d.work <- delivery{desired: &causeway.Patch{Properties: t.Desired, Version: t.DesiredVersion}}:
		return nil
	case <-d.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// invoke runs a direct method in a goroutine of its own. answer sends the
// result: without waiting when there is no goroutine to wait in.
func (d *Device) invoke(call causeway.Call, answer func(ctx context.Context, r causeway.Result, wait bool) error) {
	if d.o.Methods == nil {
		return
	}
	tell := func(r causeway.Result, wait bool) {
		if err := answer(d.ctx, r, wait); err != nil && d.ctx.Err() == nil {
			d.log.Warn("cannot answer method", "device", d.id.String(), "method", call.Method, "error", err)
		}
	}
	select {
	case d.calls <- struct{}{}:
	default:
		tell(causeway.Result{Status: 429, Payload: []byte(`{"message":"too many calls at once"}`)}, false)
		return
	}
	d.all.Go(func() {
		defer func() { <-d.calls }()
		res, err := d.o.Methods(d.ctx, call)
		if err != nil {
			text, _ := json.Marshal(map[string]string{"message": err.Error()}) // strings always marshal
			res = causeway.Result{Status: 500, Payload: text}
		}
		tell(res, true)
	})
}
