package sqlite

import (
	"context"
	"errors"

	moderncsqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/causeway-iot/causeway"
)

// errClosed is what calls get after Close.
var errClosed = errors.New("state database is closed")

// primary returns the primary result code of an SQLite error, 0 for others.
func primary(err error) int {
	if e, ok := errors.AsType[*moderncsqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// constraint returns the extended code of a violated constraint, or 0.
func constraint(err error) int {
	if e, ok := errors.AsType[*moderncsqlite.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT {
		return e.Code()
	}
	return 0
}

// fatal reports whether err ends the transaction it happened in, rather than
// the one statement.
func fatal(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CORRUPT,
		sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM:
		return true
	}
	return false
}

// border turns err into what may cross the store's border: errors of the
// contract and of contexts pass, errors of the database get a code and a text
// that says what to do.
func border(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*causeway.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	code, msg := causeway.ServerError, "the state database refused the operation; see the server's log"
	switch {
	case errors.Is(err, errClosed):
		code, msg = causeway.ServiceUnavailable, "the state database is closed: the server is shutting down"
	default:
		switch primary(err) {
		case sqlite3.SQLITE_FULL:
			code, msg = causeway.ServiceUnavailable, "no space left on the disk of the state database: nothing was changed; free space there and repeat the request"
		case sqlite3.SQLITE_IOERR:
			code, msg = causeway.ServiceUnavailable, "the disk of the state database cannot be read or written: nothing was changed; check the disk and its free space, then repeat the request"
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			code, msg = causeway.ServiceUnavailable, "the state database is locked by another process: nothing was changed; repeat the request"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
			code, msg = causeway.ServiceUnavailable, "the state database cannot be opened for writing: nothing was changed; check the permissions of the data directory"
		case sqlite3.SQLITE_NOMEM:
			code, msg = causeway.ServiceUnavailable, "the server is short of memory: nothing was changed; repeat the request"
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			code, msg = causeway.ServerError, "the state database is damaged: restore it from a backup"
		case sqlite3.SQLITE_TOOBIG:
			code, msg = causeway.GenericRequestEntityTooLarge, "the document is too large for the state database"
		}
	}
	return &causeway.Error{Code: code, Op: "sqlite." + op, Msg: msg, Err: err}
}
