package job

import (
	"context"
	"sync"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// twins updates the twins of all devices that are pending, while window lasts,
// which is part of life. Rows are written after their twins: what a crash
// interrupts is done again, and not lost.
func (w *worker) twins(life, window context.Context) error {
	pace, wait := w.pacer(w.hub), retryFirst
	for !w.cancelled() && window.Err() == nil {
		var rows []Row
		err := w.retry(life, "read devices", func() (err error) {
			rows, err = w.store.Rows(life, w.hub, w.id, RowPending, causeway.Identity{}, w.page())
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		done := w.updateTwins(life, window, pace, rows)
		if len(done) == 0 {
			// Not one could be updated: the registry refuses for now.
			sleep(window, w.stop, wait)
			wait = min(2*wait, retryMost)
			continue
		}
		wait = retryFirst
		if err := w.write(life, done...); err != nil {
			return err
		}
	}
	return life.Err()
}

// updateTwins updates some twins side by side, so that they share a commit, and
// returns the rows of those whose outcome is final.
func (w *worker) updateTwins(life, window context.Context, pace *pacer, rows []Row) []Row {
	u := registry.TwinUpdate{Tags: w.job.Twin.Tags, Desired: w.job.Twin.Desired}
	var mu sync.Mutex
	var done []Row
	var wg sync.WaitGroup
	for _, row := range rows {
		if !pace.turn(window, w.stop, w.rate()) {
			break
		}
		wg.Go(func() {
			row.Started = now()
			_, err := w.registry.UpdateTwin(life, row.ID, u, w.job.Twin.ETag)
			if err != nil && (life.Err() != nil || causeway.CodeOf(err) >= causeway.GenericServerError) {
				return // nobody knows, or not now: it stays pending
			}
			row.Status, row.Ended = RowCompleted, now()
			row.Updated = row.Ended
			if err != nil {
				row.fail(err, row.Ended)
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, row)
		})
	}
	wg.Wait()
	return done
}

// write writes rows of the job down.
func (w *worker) write(life context.Context, rows ...Row) error {
	return w.retry(life, "write devices", func() error {
		_, err := w.store.SetRows(life, w.hub, w.id, rows...)
		return err
	})
}
