package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// change is one caller's change on its way through the writer.
type change struct {
	run  func(c *conn) error // runs inside the transaction of its group
	size int                 // payload in bytes, roughly
	err  error
	done chan struct{} // closed once err is final
}

// writer owns the writing connection.
type writer struct {
	conn    *conn
	queue   chan *change
	closing chan struct{} // closed by Close: take no more
	stopped chan struct{} // closed when run has returned
	observe func(changes int, took time.Duration, err error)
	log     *slog.Logger
	failing bool // the last commit failed; to log changes of state, not every group
}

// write runs a change in the writer's next transaction and returns when it is
// on stable storage. When ctx ends first, write returns its error and the
// change may still be committed; run may go on after that, so it must not touch
// what its caller owns. size is about how many bytes it carries.
func write[T any](ctx context.Context, db *DB, op string, size int, run func(c *conn) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	var result T // belongs to the writer until done is closed
	c := &change{
		size: size,
		done: make(chan struct{}),
		run: func(c *conn) (err error) {
			result, err = run(c)
			return err
		},
	}
	w := &db.writer
	select {
	case <-w.closing:
		return zero, border(op, errClosed)
	default:
	}
	select {
	case w.queue <- c:
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-w.closing:
		return zero, border(op, errClosed)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-w.stopped:
		// The writer empties the queue before it stops; this change came too
		// late for that, unless it was the last.
		select {
		case <-c.done:
		default:
			return zero, border(op, errClosed)
		}
	}
	if c.err != nil {
		return zero, border(op, c.err)
	}
	return result, nil
}

// exec is write for a change without a result.
func exec(ctx context.Context, db *DB, op string, size int, run func(c *conn) error) error {
	_, err := write(ctx, db, op, size, func(c *conn) (struct{}, error) { return struct{}{}, run(c) })
	return err
}

// run serves the queue until closing is closed and the queue is empty.
func (w *writer) run() {
	defer close(w.stopped)
	group := make([]*change, 0, maxGroup)
	for {
		select {
		case c := <-w.queue:
			group = w.commit(append(group[:0], c))
		case <-w.closing:
			for {
				select {
				case c := <-w.queue:
					group = w.commit(append(group[:0], c))
				default:
					return
				}
			}
		}
		clear(group)
	}
}

// commit runs the first change of a group, and those that wait when their turn
// comes, in one transaction, and answers them all.
func (w *writer) commit(group []*change) []*change {
	start := time.Now()
	group, err := w.transact(group)
	if err != nil {
		// Whether or not SQLite has rolled back by itself, no transaction is
		// open after this; "no transaction is active" is not an error here.
		_, _ = w.conn.exec("ROLLBACK")
		for _, c := range group {
			c.err = err
		}
	}
	w.report(len(group), time.Since(start), err)
	for _, c := range group {
		close(c.done)
	}
	return group
}

// transact returns the group it has taken, and the error that ended all of it.
func (w *writer) transact(group []*change) ([]*change, error) {
	if _, err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return group, fmt.Errorf("begin: %w", err)
	}
	size := 0
	for next := group[0]; next != nil; {
		next.err = next.run(w.conn)
		if fatal(next.err) {
			return group, next.err
		}
		if size += next.size; size >= maxGroupBytes || len(group) == maxGroup {
			break
		}
		select {
		case next = <-w.queue:
			group = append(group, next)
		default:
			next = nil
		}
	}
	if _, err := w.conn.exec("COMMIT"); err != nil {
		return group, fmt.Errorf("commit: %w", err)
	}
	return group, nil
}

// report tells the observer of a group, and the log when writing begins or
// ceases to fail.
func (w *writer) report(changes int, took time.Duration, err error) {
	w.observe(changes, took, err)
	switch {
	case err != nil && !w.failing:
		w.log.Error("the state database refuses changes until its storage is usable again", "error", err)
	case err == nil && w.failing:
		w.log.Info("the state database takes changes again")
	}
	w.failing = err != nil
}
