// Package eventlog is the port to a partitioned, durable, append-only log. The
// cloud's event endpoint and a gateway's outbound queue stand on it.
//
// It knows records as opaque bytes with a time; what is in them is the business
// of package envelope. Drivers are held to the contract in logtest.
package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Partition numbers a partition of a log, from 0.
type Partition int

// Offset is the position of a record in its partition: 0, 1, 2, … It is also
// the record's sequence number. No offset is given twice, and none is left out;
// only records that storage lost to damage are missing between others.
type Offset int64

// Record is one entry of a log.
type Record struct {
	Offset  Offset    // assigned by Append
	Time    time.Time // when it was enqueued, UTC; kept to the millisecond or better; zero in Append is now
	Payload []byte
}

// Log is a set of partitions. It is safe for concurrent use.
type Log interface {
	// Partitions returns the number of partitions, fixed when the log was made.
	Partitions() int

	// Append stores recs at the end of p, in order and without others between
	// them, and returns the offset of the first once all are on stable
	// storage. Without recs it returns the next offset. It borrows the payloads
	// until it returns. Times never decrease within a partition: a record that
	// brings an earlier time than the one before it gets that one's.
	//
	// On error none of the records is served, unless the process dies before
	// the log could make sure of that: then they may be found after the
	// restart, as whole batches, and stay. Errors: ErrFull (no space; reads go
	// on and appends work again when space returns), ErrTooLarge, ErrClosed.
	Append(ctx context.Context, p Partition, recs ...Record) (first Offset, err error)

	// Read returns up to max (at least 1) records of p from offset from on, and
	// waits until there is at least one. It may return less than there are. The
	// payloads belong to the caller; those of one call may share memory. It
	// returns a *TrimmedError when from is older than the oldest record, and,
	// with the next offset, when storage lost every record from there on: it
	// waits only for records that are still to come.
	Read(ctx context.Context, p Partition, from Offset, max int) ([]Record, error)

	// Bounds returns the offset of the oldest record held and the offset the
	// next record will get. They are equal when p is empty.
	Bounds(ctx context.Context, p Partition) (oldest, next Offset, err error)

	// Seek returns the offset of the first record of p whose time is not
	// before t, or the next offset when there is none.
	Seek(ctx context.Context, p Partition, t time.Time) (Offset, error)

	// Trim allows the log to forget records of p before an offset. How much it
	// forgets, and when, is its own business.
	Trim(ctx context.Context, p Partition, before Offset) error

	// Close makes waiting calls return ErrClosed and releases the log.
	Close() error
}

// Cursors keeps the positions of consumer groups, durably. A driver's Log
// usually implements it too.
type Cursors interface {
	// Commit stores that group will next want offset next of p, and returns
	// when that is on stable storage. A group may go back. A position outlives
	// the records it stands on.
	Commit(ctx context.Context, group string, p Partition, next Offset) error
	// Committed returns the last committed position; ok is false when the
	// group has none in p.
	Committed(ctx context.Context, group string, p Partition) (next Offset, ok bool, err error)
}

// The errors of a Log.
var (
	ErrFull     = errors.New("event log: no space left on the device")
	ErrTooLarge = errors.New("event log: record too large")
	ErrClosed   = errors.New("event log: closed")
)

// TrimmedError says that a record was asked for that is no longer held, and
// where to go on.
type TrimmedError struct{ Oldest Offset }

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("event log: offset was trimmed, the oldest record is %d", e.Oldest)
}
