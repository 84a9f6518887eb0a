package job

import (
	"context"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
)

// caller calls the method of a job on devices as they are there.
type caller struct {
	*worker
	life, window context.Context // the first is that of Run, the second ends when the time of the job is over
	end          time.Time       // of the window
	pace         *pacer
	slots        chan struct{} // calls in flight
	calls        sync.WaitGroup

	waiting []causeway.Identity // pending and not there, in order, up to tail
	tail    causeway.Identity   // pending ones after it are read from the store

	mu    sync.Mutex
	again []causeway.Identity // went away before they were called
	err   error               // of an outcome that could not be written
}

// methods calls the method on every device that is pending, and waits for those
// that are not there, while window lasts, or, when the job says how long to wait
// for them, for so long once all were looked at. It may return while calls are in
// flight; wait returns when they have ended and are written down, which is not
// long after the window is over.
func (w *worker) methods(life, window context.Context, end time.Time) (wait func() error, err error) {
	c := &caller{worker: w, life: life, window: window, end: end, pace: w.pacer(w.hub), slots: make(chan struct{}, maxCalls)}
	wait = func() error { c.calls.Wait(); return c.failure() }
	var until time.Time // of waiting for those that are not there; zero for the window
	for first := true; !c.over(); first = false {
		began := time.Now()
		pending, err := c.look(first)
		if err == nil {
			err = c.failure()
		}
		if err != nil {
			return wait, err
		}
		if pending == 0 && c.idle() {
			return wait, nil
		}
		pause := max(lookInterval, lookShare*time.Since(began))
		switch patience := w.job.Method.PickWait; {
		case patience <= 0:
		case until.IsZero():
			until = time.Now().Add(patience)
			pause = min(pause, patience)
		case !began.Before(until): // that was the last look
			return wait, nil
		default:
			pause = min(pause, max(time.Until(until), 0))
		}
		sleep(window, w.stop, pause)
	}
	return wait, nil
}

// over reports whether no more calls may begin.
func (c *caller) over() bool { return c.window.Err() != nil || c.cancelled() }

func (c *caller) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// idle waits for the calls in flight, unless the job is cancelled, and reports
// whether none of them has to be made again.
func (c *caller) idle() bool {
	ended := make(chan struct{})
	go func() { c.calls.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-c.stop:
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.again) == 0
}

// look calls those that are there and returns how many are pending still.
func (c *caller) look(first bool) (pending int, err error) {
	hub, ok := c.hubs(c.hub)
	if !ok {
		return 1, nil // it is being started, or about to go with all its jobs
	}
	c.mu.Lock()
	c.waiting = append(c.waiting, c.again...)
	c.again = nil
	c.mu.Unlock()
	if !first {
		if err := c.lookAtWaiting(hub); err != nil {
			return 1, err
		}
	}
	after, beyond := c.tail, 0
	for !c.over() {
		var rows []Row
		err := c.retry(c.life, "read devices", func() (err error) {
			rows, err = c.store.Rows(c.life, c.key.hub, c.id, RowPending, after, devicePage)
			return err
		})
		if err != nil || len(rows) == 0 {
			return len(c.waiting) + beyond, err
		}
		ids := make([]causeway.Identity, len(rows))
		for i := range rows {
			ids[i] = rows[i].ID
		}
		absent, err := c.callPresent(hub, ids)
		if err != nil {
			return 1, err
		}
		after = ids[len(ids)-1]
		if beyond == 0 && len(c.waiting)+len(absent) <= maxWaiting {
			c.waiting, c.tail = append(c.waiting, absent...), after
		} else {
			beyond += len(absent)
		}
	}
	return len(c.waiting) + beyond, nil
}

// lookAtWaiting calls those of the absent that have come.
func (c *caller) lookAtWaiting(hub Hub) error {
	var left []causeway.Identity
	for start := 0; start < len(c.waiting); start += devicePage {
		part := c.waiting[start:min(start+devicePage, len(c.waiting))]
		absent, err := c.callPresent(hub, part)
		if err != nil {
			return err
		}
		left = append(left, absent...)
	}
	c.waiting = left
	return nil
}

// callPresent begins calls to those of ids that are there and returns the others,
// and those whose turn has not come before the end. That a device is being called
// is written down before it is.
func (c *caller) callPresent(hub Hub, ids []causeway.Identity) (absent []causeway.Identity, err error) {
	var present []causeway.Identity
	for _, id := range ids {
		if hub.TakesMethods(id) {
			present = append(present, id)
		} else {
			absent = append(absent, id)
		}
	}
	for size := c.page(); len(present) > 0 && !c.over(); {
		part := present[:min(size, len(present))]
		present = present[len(part):]
		rows := make([]Row, len(part))
		at := now()
		for i, id := range part {
			rows[i] = Row{ID: id, Job: c.id, Status: RowRunning, Started: at, Updated: at}
		}
		if err := c.write(c.life, rows...); err != nil {
			return nil, err
		}
		for i := range rows {
			if !c.begin(hub, rows[i]) {
				return append(absent, part[i:]...), c.putBack(rows[i:]...)
			}
		}
	}
	return append(absent, present...), nil
}

// begin calls one device in a goroutine of its own, when it is its turn and there
// is room.
func (c *caller) begin(hub Hub, row Row) bool {
	if !c.pace.turn(c.window, c.stop, c.rate()) {
		return false
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.stop:
		return false
	case <-c.window.Done():
		return false
	}
	c.calls.Go(func() {
		defer func() { <-c.slots }()
		if err := c.call(hub, row); err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.err = err
		}
	})
	return true
}

// call calls one device and writes the outcome down. When life ends first it
// stays what it is, running: whether the device did it nobody knows.
func (c *caller) call(hub Hub, row Row) error {
	m := &c.job.Method
	payload := m.Payload
	if len(payload) == 0 {
		payload = []byte("null")
	}
	wait := max(shortestResponse, min(m.ResponseWait, time.Until(c.end)))
	answer, err := hub.Invoke(c.life, row.ID, causeway.Call{Method: m.Name, Payload: payload}, 0, wait)
	if c.life.Err() != nil {
		return c.life.Err()
	}
	row.Updated = now()
	switch {
	case causeway.CodeOf(err) == causeway.DeviceNotOnline:
		if err := c.putBack(row); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.again = append(c.again, row.ID)
		return nil
	case err != nil:
		row.fail(err, row.Updated)
	default:
		row.Status, row.Ended = RowCompleted, row.Updated
		row.Answered, row.Answer = true, answer
	}
	return c.write(c.life, row)
}

// putBack makes devices pending that were not called after all.
func (c *caller) putBack(rows ...Row) error {
	for i := range rows {
		rows[i].Status, rows[i].Started, rows[i].Updated = RowPending, time.Time{}, now()
	}
	return c.write(c.life, rows...)
}
