package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	moderncsqlite "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It is used by one
// goroutine at a time. It speaks to the driver directly: database/sql's pool,
// locks and conversions cost more than the statements of the hot paths.
type conn struct {
	raw    driver.Conn
	stmts  map[string]*statement // by SQL text; the texts are constants, so it is bounded
	damage *damage
}

// statement is a prepared statement and the space for its arguments.
type statement struct {
	stmt interface {
		driver.StmtExecContext
		driver.StmtQueryContext
	}
	close func() error
	args  []driver.NamedValue
	row   []driver.Value
}

// row is one row of a result: int64, string, []byte or nil each. The values
// belong to who reads them; the slice is valid until the next row.
type row []driver.Value

func (r row) int(i int) int64 { n, _ := r[i].(int64); return n }

func (r row) text(i int) string { s, _ := r[i].(string); return s }

func (r row) bool(i int) bool { return r.int(i) != 0 }

// blob returns the bytes of a column, nil when it is empty.
func (r row) blob(i int) []byte {
	b, _ := r[i].([]byte)
	if len(b) == 0 {
		return nil
	}
	return b
}

// dial opens a connection to the database file at path (absolute) and runs
// pragmas on it.
func dial(ctx context.Context, path string, d *damage, pragmas ...string) (*conn, error) {
	u := url.URL{Scheme: "file", Path: path}
	connector, err := moderncsqlite.NewConnector(u.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	raw, err := connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	c := &conn{raw: raw, stmts: map[string]*statement{}, damage: d}
	for _, p := range pragmas {
		if err := c.script("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: set %s: %w", path, p, err), c.close())
		}
	}
	return c, nil
}

// script runs statements that are not worth keeping prepared.
func (c *conn) script(text string) error {
	st, err := c.prepare(text)
	if err != nil {
		return err
	}
	_, err = st.stmt.ExecContext(context.Background(), nil)
	return errors.Join(err, st.close())
}

func (c *conn) prepare(text string) (*statement, error) {
	s, err := c.raw.Prepare(text)
	if err != nil {
		return nil, err
	}
	st, ok := s.(interface {
		driver.StmtExecContext
		driver.StmtQueryContext
	})
	if !ok {
		return nil, errors.Join(errors.New("driver's statements take no context"), s.Close())
	}
	return &statement{stmt: st, close: s.Close}, nil
}

// bind returns the prepared statement of text with its arguments in place.
func (c *conn) bind(text string, args []any) (*statement, error) {
	st := c.stmts[text]
	if st == nil {
		var err error
		if st, err = c.prepare(text); err != nil {
			return nil, err
		}
		st.args = make([]driver.NamedValue, len(args))
		for i := range st.args {
			st.args[i].Ordinal = i + 1
		}
		c.stmts[text] = st
	}
	for i, a := range args {
		st.args[i].Value = a
	}
	return st, nil
}

// release lets go of the arguments, which may be large.
func (st *statement) release() {
	for i := range st.args {
		st.args[i].Value = nil
	}
}

// exec runs a statement that changes rows and returns how many it changed. The
// arguments are int64, string, []byte, bool or nil. It takes no context: the
// statements are short, and watching one would cost a goroutine each.
func (c *conn) exec(text string, args ...any) (changed int64, err error) {
	res, err := c.run(text, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insert is exec for a row with an assigned position, which it returns too.
func (c *conn) insert(text string, args ...any) (changed, position int64, err error) {
	res, err := c.run(text, args)
	if err != nil {
		return 0, 0, err
	}
	if changed, err = res.RowsAffected(); err != nil {
		return 0, 0, err
	}
	position, err = res.LastInsertId()
	return changed, position, err
}

func (c *conn) run(text string, args []any) (driver.Result, error) {
	st, err := c.bind(text, args)
	if err != nil {
		return nil, err
	}
	defer st.release()
	return st.stmt.ExecContext(context.Background(), st.args)
}

// query calls each for every row of a result until it returns an error.
func (c *conn) query(text string, each func(r row) error, args ...any) (err error) {
	st, err := c.bind(text, args)
	if err != nil {
		return err
	}
	defer st.release()
	return st.rows(each)
}

// rows runs a statement that has its arguments.
func (st *statement) rows(each func(r row) error) (err error) {
	cur, err := st.open()
	if err != nil {
		return err
	}
	defer func() {
		if e := cur.close(); err == nil {
			err = e
		}
	}()
	for {
		r, err := cur.next()
		if err != nil || r == nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
	}
}

// cursor goes through the result of a statement.
type cursor struct {
	st   *statement
	rows driver.Rows
}

// open runs a statement that has its arguments. The cursor must be closed.
func (st *statement) open() (cursor, error) {
	rows, err := st.stmt.QueryContext(context.Background(), st.args)
	if err != nil {
		return cursor{}, err
	}
	if st.row == nil {
		st.row = make([]driver.Value, len(rows.Columns()))
	}
	return cursor{st, rows}, nil
}

// next returns the next row, nil when there is none.
func (cur cursor) next() (row, error) {
	switch err := cur.rows.Next(cur.st.row); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return cur.st.row, nil
}

func (cur cursor) close() error {
	clear(cur.st.row)
	return cur.rows.Close()
}

// once is query for a text that is not worth keeping prepared.
func (c *conn) once(text string, each func(r row) error, args ...any) (err error) {
	st, err := c.single(text, args)
	if err != nil {
		return err
	}
	defer func() {
		if e := st.close(); err == nil {
			err = e
		}
	}()
	return st.rows(each)
}

// single returns a statement with its arguments in place that is not kept. It
// must be closed.
func (c *conn) single(text string, args []any) (*statement, error) {
	st, err := c.prepare(text)
	if err != nil {
		return nil, err
	}
	st.args = make([]driver.NamedValue, len(args))
	for i, a := range args {
		st.args[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return st, nil
}

// number returns the single integer of a query, and whether there was a row.
func (c *conn) number(text string, args ...any) (n int64, ok bool, err error) {
	err = c.query(text, func(r row) error {
		n, ok = r.int(0), true
		return nil
	}, args...)
	return n, ok, err
}

// atomic runs f under a savepoint: when f fails, what it did is undone and the
// transaction around it goes on.
func (c *conn) atomic(f func() error) error {
	if _, err := c.exec("SAVEPOINT change"); err != nil {
		return err
	}
	err := f()
	if fatal(err) {
		return err // the whole transaction is rolled back
	}
	if err != nil {
		if _, e := c.exec("ROLLBACK TO change"); e != nil {
			return e
		}
	}
	if _, e := c.exec("RELEASE change"); e != nil {
		return e
	}
	return err
}

func (c *conn) close() error {
	var errs []error
	for _, st := range c.stmts {
		errs = append(errs, st.close())
	}
	clear(c.stmts)
	return errors.Join(append(errs, c.raw.Close())...)
}
