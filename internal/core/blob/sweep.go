package blob

import (
	"context"
	"time"
)

// Sweep has a store forget what was staged more than StagedFor ago and not
// committed, at once and then every so often, until ctx ends. What cannot be
// forgotten now is tried again.
func Sweep(ctx context.Context, every time.Duration, forget func(ctx context.Context, before time.Time) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		_ = forget(ctx, time.Now().Add(-StagedFor))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
