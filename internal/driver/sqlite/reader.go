package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// readers is a pool of read-only connections. The channel holds one slot per
// connection that may exist.
type readers struct {
	path  string
	slots chan *reader
}

// reader is a slot. What is read is read by a goroutine of its own: SQLite takes a
// deep stack, and those of the callers, of which there may be ten thousands with a
// network connection each, would grow to it one by one.
type reader struct {
	conn *conn // nil when it is not open
	work chan func()
	done chan any // how each work has ended: nil, or what it panicked with
}

func newReaders(path string, n int) readers {
	r := readers{path: path, slots: make(chan *reader, n)}
	for range n {
		r.slots <- &reader{}
	}
	return r
}

// do has f done by the goroutine, and waits for it. Only who holds the slot calls
// it.
func (r *reader) do(f func()) {
	if r.work == nil {
		r.work, r.done = make(chan func()), make(chan any)
		go r.run()
	}
	r.work <- f
	if p := <-r.done; p != nil {
		panic(p)
	}
}

func (r *reader) run() {
	for f := range r.work {
		r.done <- outcome(f)
	}
}

// outcome returns what f panics with, and where that was.
func outcome(f func()) (p any) {
	defer func() {
		if p = recover(); p != nil {
			p = fmt.Sprintf("%v\n\n%s", p, debug.Stack())
		}
	}()
	f()
	return nil
}

// read lends a connection to f. When f fails because of the storage, the
// connection is replaced. It waits for a free connection as long as ctx lasts;
// f itself is expected to be short.
func read[T any](ctx context.Context, db *DB, op string, f func(c *conn) (T, error)) (v T, err error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	var r *reader
	select {
	case r = <-db.readers.slots:
	default:
		select {
		case r = <-db.readers.slots:
		case <-ctx.Done():
			return zero, ctx.Err()
		}
	}
	defer func() { db.readers.slots <- r }()
	select {
	case <-db.writer.closing:
		return zero, border(op, errClosed)
	default:
	}
	r.do(func() {
		if r.conn == nil {
			if r.conn, err = db.readers.open(ctx); err != nil {
				r.conn = nil
				return
			}
		}
		if v, err = f(r.conn); fatal(err) {
			err = errors.Join(err, r.conn.close())
			r.conn = nil
		}
	})
	if err != nil {
		return zero, border(op, err)
	}
	return v, nil
}

func (r *readers) open(ctx context.Context) (*conn, error) {
	return dial(ctx, r.path,
		fmt.Sprintf("busy_timeout=%d", busyTimeout.Milliseconds()),
		"query_only=ON",
		fmt.Sprintf("cache_size=-%d", readerCacheKiB),
		"temp_store=MEMORY",
	)
}

// close waits for connections that are lent and closes all.
func (r *readers) close() error {
	var errs []error
	for range cap(r.slots) {
		slot := <-r.slots
		if slot.conn != nil {
			errs = append(errs, slot.conn.close())
		}
		if slot.work != nil {
			close(slot.work)
		}
	}
	// Late callers find a slot, see that the database is closing and give up.
	for range cap(r.slots) {
		r.slots <- &reader{}
	}
	return errors.Join(errs...)
}
