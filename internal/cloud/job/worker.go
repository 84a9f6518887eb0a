package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// worker does one job.
type worker struct {
	*Service
	key
	job  Job
	stop <-chan struct{} // closed when the job was cancelled
	log  *slog.Logger
}

// errTooMany ends a selection.
var errTooMany = errors.New("too many targets")

// run does the job from where it is. It returns an error of ctx when that ended,
// and another when the job cannot go on at all.
func (w *worker) run(ctx context.Context) error {
	err := w.retry(ctx, "read job", func() (err error) {
		w.job, err = w.store.Get(ctx, w.hub, w.id)
		return err
	})
	if err != nil {
		return err
	}
	if w.job.Damaged != nil && !w.job.Status.Ended() {
		w.log.Error("a job fails: what is stored of it cannot be read", obs.KeyError, w.job.Damaged)
		to := w.job.State
		to.Status, to.Finished, to.Reason = Failed, now(), "what is stored of the job cannot be read; see the server's log, and make another one"
		if err := w.advance(ctx, to); err != nil {
			return err
		}
	}
	if w.job.Status == Queued || w.job.Status == Scheduled {
		to := w.job.State
		to.Status, to.Began = Running, now()
		if err := w.advance(ctx, to); err != nil {
			return err
		}
	}
	if w.job.Status == Running && !w.job.Selected {
		if err := w.choose(ctx); err != nil {
			return err
		}
	}
	if err := w.recover(ctx); err != nil {
		return err
	}
	wait := func() error { return nil }
	if w.job.Status == Running {
		end := w.job.Began.Add(w.job.Window)
		window, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		if w.job.Type == UpdateTwin {
			err = w.twins(ctx, window)
		} else {
			wait, err = w.methods(ctx, window, end)
		}
	}
	if err == nil {
		err = w.settle(ctx, wait)
	}
	return errors.Join(err, wait())
}

// advance moves the job on and tells of it. When it was cancelled meanwhile it
// takes note of that instead.
func (w *worker) advance(ctx context.Context, to State) error {
	var ok bool
	from := w.job.Status
	err := w.retry(ctx, "write job", func() (err error) {
		ok, err = w.store.Advance(ctx, w.hub, w.id, from, to)
		return err
	})
	if err != nil {
		return err
	}
	j, err := w.store.Get(ctx, w.hub, w.id)
	if err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	w.job = j
	if ok && to.Status != from {
		w.publish(ctx, j)
	}
	return nil
}

// choose writes down whom the job is for. Until that is complete no device is
// touched, so that an attempt that a restart has interrupted is made anew.
func (w *worker) choose(ctx context.Context) error {
	var refused error
	err := w.retry(ctx, "choose devices", func() error {
		refused = nil
		if err := w.drop(ctx, w.hub, w.id); err != nil {
			return err
		}
		n, batch := 0, make([]causeway.Identity, 0, selectBatch)
		flush := func() error {
			if len(batch) == 0 {
				return nil
			}
			err := w.store.AddRows(ctx, w.hub, w.id, now(), batch...)
			batch = batch[:0]
			return err
		}
		err := w.selector.Select(ctx, w.hub, w.job.Condition, func(id causeway.Identity) error {
			if n++; n > maxTargets {
				return errTooMany
			}
			select {
			case <-w.stop:
				return context.Canceled
			default:
			}
			if batch = append(batch, id); len(batch) == cap(batch) {
				return flush()
			}
			return nil
		})
		if err == nil {
			err = flush()
		}
		select {
		case <-w.stop:
			return nil // cancelled: advance sees it
		default:
		}
		switch {
		case errors.Is(err, errTooMany):
			if err := w.drop(ctx, w.hub, w.id); err != nil {
				return err
			}
			refused = invalid("job.choose", "more than %d devices fit the condition, a job has at most so many: narrow it", maxTargets)
			return nil
		case err != nil && causeway.CodeOf(err) < causeway.GenericServerError && causeway.CodeOf(err) != causeway.JobNotFound && ctx.Err() == nil:
			refused = err // of a condition that was understood when the job was made
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	to := w.job.State
	to.Selected = true
	if refused != nil {
		to.Status, to.Finished, to.Reason = Failed, now(), causeway.MessageOf(refused)
	}
	return w.advance(ctx, to)
}

// recover decides what becomes of devices that were being worked on when the
// process ended: a twin may be updated again, a method not called again.
func (w *worker) recover(ctx context.Context) error {
	at := now()
	end := Row{Status: RowPending, Updated: at}
	if w.job.Type == DeviceMethod {
		end.fail(causeway.Errorf(causeway.ServiceUnavailable, "job.recover",
			"the hub was restarted while the device was being called: whether it has run the method is not known"), at)
	}
	return w.closeRows(ctx, RowRunning, end)
}

// settle closes what is pending, waits for what is in flight and ends the job.
func (w *worker) settle(ctx context.Context, wait func() error) error {
	at := now()
	end := Row{Status: RowCanceled, Ended: at, Updated: at}
	if w.job.Status == Running && !w.cancelled() {
		code, why := causeway.DeviceNotOnline, "the device was not online, or did not listen to methods, in the time that the job had for it"
		if w.job.Type == UpdateTwin {
			code, why = causeway.GatewayTimeout, "the time of the job was over before it was the device's turn"
		}
		end.fail(causeway.Errorf(code, "job.settle", "%s", why), at)
	}
	if err := w.closeRows(ctx, RowPending, end); err != nil {
		return err
	}
	if err := wait(); err != nil {
		return err
	}
	// Some of what was in flight may be pending again.
	if err := w.closeRows(ctx, RowPending, end); err != nil {
		return err
	}
	for !w.job.Settled { // once more when it was cancelled meanwhile
		to := w.job.State
		to.Settled = true
		if to.Status == Running {
			to.Status, to.Finished = Completed, now()
		}
		if err := w.advance(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// closeRows gives all rows of one status another.
func (w *worker) closeRows(ctx context.Context, from RowStatus, end Row) error {
	for {
		n := 0
		err := w.retry(ctx, "close devices", func() (err error) {
			n, err = w.store.CloseRows(ctx, w.hub, w.id, from, end, closeBatch)
			return err
		})
		if err != nil || n < closeBatch {
			return err
		}
	}
}

// cancelled reports whether the job was cancelled.
func (w *worker) cancelled() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// rate returns how many devices the hub lets its jobs work on in a second.
func (w *worker) rate() float64 { return w.policy(w.hub).Rate }

// page returns how many devices to take at once: no more than a second's worth,
// so that a job that is cancelled stops soon.
func (w *worker) page() int {
	if r := w.rate(); r > 0 {
		return max(1, min(devicePage, int(r)))
	}
	return devicePage
}
