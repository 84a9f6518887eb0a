package guard

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
)

// meterDevice times what the hub asks of a client.
type meterDevice struct {
	causeway.Device
	meters atomic.Pointer[meters]
}

func (d *meterDevice) Deliver(ctx context.Context, m causeway.Message) error {
	start := time.Now()
	err := d.Device.Deliver(ctx, m)
	failure := err
	if errors.Is(err, causeway.ErrNoCredit) {
		failure = nil // as the client wants it
	}
	d.meters.Load().done(opDeliver, start, failure)
	return err
}

func (d *meterDevice) Desired(ctx context.Context, p causeway.Patch) error {
	start := time.Now()
	err := d.Device.Desired(ctx, p)
	d.meters.Load().done(opDesired, start, err)
	return err
}

func (d *meterDevice) Invoke(ctx context.Context, c causeway.Call) (causeway.Result, error) {
	start := time.Now()
	r, err := d.Device.Invoke(ctx, c)
	d.meters.Load().done(opInvoke, start, err)
	return r, err
}
