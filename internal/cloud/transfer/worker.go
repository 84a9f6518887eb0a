package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// worker does one job.
type worker struct {
	*Service
	job   Job
	log   *slog.Logger
	saved time.Time // when the state was written last
}

// errGone says that the job is no longer ours to do: cancelled, or deleted.
var errGone = errors.New("the job has ended meanwhile")

// run does the job from where it is to its end, unless ctx ends first.
func (w *worker) run(ctx context.Context) {
	resumed := w.job.Status == Running
	err := w.start(ctx)
	if err == nil && w.job.Damaged != nil {
		err = &causeway.Error{
			Code: causeway.ServerError, Op: "transfer.run", Err: w.job.Damaged,
			Msg: "what is stored of the job cannot be read; see the server's log, and begin it anew",
		}
	}
	if err == nil {
		if w.job.Type == Export {
			err = w.export(ctx)
		} else {
			err = w.importAll(ctx, resumed)
		}
	}
	if ctx.Err() != nil || errors.Is(err, errGone) {
		return // cancelled, or to be gone on with after a restart
	}
	to := w.job.State
	to.Status, to.Finished, to.Progress = Completed, now(), 100
	if err != nil {
		to.Status, to.Reason, to.Progress = Failed, causeway.MessageOf(err), w.job.Progress
		w.log.WarnContext(ctx, "an import or export failed", "type", w.job.Type, obs.KeyError, err)
	}
	if err := w.save(ctx, to); err != nil && ctx.Err() == nil && !errors.Is(err, errGone) {
		// It stays unfinished in the store, and is begun again.
		w.log.ErrorContext(ctx, "the end of an import or export could not be written", obs.KeyError, err)
		return
	}
	w.log.InfoContext(ctx, "import or export ended", "type", w.job.Type, "status", w.job.Status,
		"applied", w.job.Position.Applied, "failed", w.job.Position.Failed)
}

func (w *worker) start(ctx context.Context) error {
	if w.job.Status == Running {
		return nil
	}
	to := w.job.State
	to.Status, to.Began = Running, now()
	return w.save(ctx, to)
}

// save writes the state down. A store that fails is tried again as long as ctx
// lasts: it is our own.
func (w *worker) save(ctx context.Context, to State) error {
	wait := retryFirst
	for n := 0; ; n++ {
		ok, err := w.store.Save(ctx, w.job.Hub, w.job.ID, w.job.Status, to)
		switch {
		case err == nil && ok:
			w.job.State, w.saved = to, time.Now()
			return nil
		case err == nil, causeway.CodeOf(err) == causeway.JobNotFound:
			return errGone
		case n == 0 && ctx.Err() == nil:
			w.log.WarnContext(ctx, "the state of an import or export cannot be written, trying again", obs.KeyError, err)
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, retryMost)
	}
}

// progress notes how far the job is, now and then durably.
func (w *worker) progress(ctx context.Context, percent int) error {
	to := w.job.State
	to.Progress = min(max(percent, w.job.Progress), 99)
	w.job.Progress = to.Progress
	if time.Since(w.saved) < saveInterval {
		return nil
	}
	return w.save(ctx, to)
}

// try calls f, which uses somebody's container, some times: networks fail. An
// error with a code of the client's is final.
func (w *worker) try(ctx context.Context, doing string, f func() error) error {
	wait := retryFirst
	for n := 1; ; n++ {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n == attempts || causeway.CodeOf(err) < causeway.GenericServerError {
			return fmt.Errorf("%s: %w", doing, err)
		}
		w.log.DebugContext(ctx, "a container did not answer as it should, trying again", "doing", doing, obs.KeyError, err)
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
		wait = min(2*wait, retryMost)
	}
}

// sleep waits and reports whether the time has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
