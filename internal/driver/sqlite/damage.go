package sqlite

import (
	"errors"
	"log/slog"
	"sync"
)

// damage remembers which rows could not be read. Such a row, which a crash of
// the disk or another program leaves, must not keep the others from being read:
// it is left out, or what of it can be read is, and it is told of once.
type damage struct {
	log  *slog.Logger
	mu   sync.Mutex
	told map[string]bool
}

// maxDamage bounds how many rows are told of.
const maxDamage = 1000

// tell tells of a row that could not be read; err says which.
func (d *damage) tell(err error) {
	d.mu.Lock()
	known := d.told[err.Error()]
	if !known && len(d.told) < maxDamage {
		d.told[err.Error()] = true
	} else {
		known = true
	}
	d.mu.Unlock()
	if !known {
		d.log.Error("what is stored in a row of the state database cannot be read; the others are not concerned", "error", err)
	}
}

// errFull ends a query that has as many rows as are wanted.
var errFull = errors.New("as many as are wanted")

// some reads up to limit rows and leaves out those that scan cannot read: text
// has no LIMIT, so that a page is short only when it is the last.
func some[T any](c *conn, limit int, text string, scan func(r row) (T, error), args ...any) (list []T, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = c.query(text, func(r row) error {
		v, err := scan(r)
		if err != nil {
			c.damage.tell(err)
			return nil
		}
		if list = append(list, v); len(list) == limit {
			return errFull
		}
		return nil
	}, args...)
	if errors.Is(err, errFull) {
		err = nil
	}
	return list, err
}
