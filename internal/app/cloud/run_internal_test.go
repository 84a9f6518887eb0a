package cloud

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
)

// TestAnswered: a check that takes long is tried again, one that fails is not.
func TestAnswered(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	wrong := errors.New("somebody else answers")
	for _, last := range []error{nil, wrong} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			err := answered(t.Context(), log, func(ctx context.Context) error {
				if n++; n <= 3 {
					<-ctx.Done()
					return ctx.Err()
				}
				return last
			})
			if !errors.Is(err, last) || n != 4 {
				t.Errorf("%v after %d checks", err, n)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // until the cloud is stopped
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		err := answered(ctx, log, func(ctx context.Context) error {
			if n++; n == 3 {
				cancel()
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) || n != 3 {
			t.Errorf("%v after %d checks", err, n)
		}
	})
}
