package sqlite

import (
	"context"
	"errors"
	"fmt"
)

// readers is a pool of read-only connections. The channel holds one slot per
// connection that may exist: nil means not open.
type readers struct {
	path   string
	damage *damage
	slots  chan *conn
}

func newReaders(path string, d *damage, n int) readers {
	r := readers{path: path, damage: d, slots: make(chan *conn, n)}
	for range n {
		r.slots <- nil
	}
	return r
}

// read lends a connection to f. When f fails because of the storage, the
// connection is replaced. It waits for a free connection as long as ctx lasts;
// f itself is expected to be short.
func read[T any](ctx context.Context, db *DB, op string, f func(c *conn) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	var c *conn
	select {
	case c = <-db.readers.slots:
	default:
		select {
		case c = <-db.readers.slots:
		case <-ctx.Done():
			return zero, ctx.Err()
		}
	}
	defer func() { db.readers.slots <- c }()
	select {
	case <-db.writer.closing:
		return zero, border(op, errClosed)
	default:
	}
	if c == nil {
		var err error
		if c, err = db.readers.open(ctx); err != nil {
			return zero, border(op, err)
		}
	}
	v, err := f(c)
	if fatal(err) {
		err = errors.Join(err, c.close())
		c = nil
	}
	if err != nil {
		return zero, border(op, err)
	}
	return v, nil
}

func (r *readers) open(ctx context.Context) (*conn, error) {
	return dial(ctx, r.path, r.damage,
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
		if c := <-r.slots; c != nil {
			errs = append(errs, c.close())
		}
	}
	// Late callers find a slot, see that the database is closing and give up.
	for range cap(r.slots) {
		r.slots <- nil
	}
	return errors.Join(errs...)
}
