package job

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Store keeps jobs and what they did to each device durably: a writing method
// that returns nil is on stable storage. It is safe for concurrent use and shares
// no memory with its callers. Times keep at least microseconds and come back in
// UTC, the zero time as the zero time. What belongs to a hub goes with it.
// Drivers are held to the contract in jobtest.
type Store interface {
	// Create stores a new job. Codes: JobAlreadyExists, GenericNotFound (the
	// hub does not exist).
	Create(ctx context.Context, j Job) error

	// Get returns a job with its statistics. Code: JobNotFound.
	Get(ctx context.Context, hub, id string) (Job, error)

	// List returns up to limit (> 0) jobs that fit f, newest first and among
	// those of one instant by id, from the first one after the cursor.
	List(ctx context.Context, hub string, f Filter, after Cursor, limit int) ([]Job, error)

	// Advance replaces the state of a job that is not settled, if its status
	// still is from. ok is false when it is not. Code: JobNotFound.
	Advance(ctx context.Context, hub, id string, from Status, to State) (ok bool, err error)

	// Unsettled returns all jobs of all hubs that are not settled, in the order
	// of hub and id.
	Unsettled(ctx context.Context) ([]Job, error)

	// Delete forgets a settled job that has no rows; ok is false when it is
	// neither. To delete what is not there is no error.
	Delete(ctx context.Context, hub, id string) (ok bool, err error)

	// Old returns up to limit settled jobs that finished before a time.
	Old(ctx context.Context, before time.Time, limit int) ([]Job, error)

	// AddRows adds pending rows for targets; those that are there stay as they
	// are. Code: JobNotFound.
	AddRows(ctx context.Context, hub, job string, at time.Time, targets ...causeway.Identity) error

	// DropRows forgets up to limit rows of a job and returns how many.
	DropRows(ctx context.Context, hub, job string, limit int) (n int, err error)

	// Rows returns up to limit rows of a job with a status in the order of
	// device and module, from the first one greater than after.
	Rows(ctx context.Context, hub, job string, status RowStatus, after causeway.Identity, limit int) ([]Row, error)

	// SetRows replaces rows of one job, all or none, but for Created. Rows that
	// are final stay as they are, those that are not there are skipped. It
	// returns how many were replaced.
	SetRows(ctx context.Context, hub, job string, rows ...Row) (n int, err error)

	// CloseRows gives up to limit rows that have the status from what end has,
	// but for its identity, job, Created and Started, and returns how many.
	CloseRows(ctx context.Context, hub, job string, from RowStatus, end Row, limit int) (n int, err error)

	// Query returns up to limit rows of a hub that fit f in the order of job,
	// device and module, from the first one greater than after, with the type
	// and times of their jobs.
	Query(ctx context.Context, hub string, f RowFilter, after RowCursor, limit int) ([]DeviceJob, error)
}

// Filter says which jobs are wanted; zero fields mean any.
type Filter struct {
	Type   Type
	Status Status
}

// Cursor is a place in a list of jobs; the zero value is before the newest.
type Cursor struct {
	Created time.Time
	ID      string
}

// RowFilter says which rows are wanted; zero fields mean any.
type RowFilter struct{ Job, Device string }

// RowCursor is a place in the rows of a hub; the zero value is its beginning.
type RowCursor struct{ Job, Device, Module string }

// DeviceJob is a row together with what it has of its job: an item of
// devices.jobs.
type DeviceJob struct {
	Row
	Type Type
}

// Cursor returns the place of a row.
func (d *DeviceJob) Cursor() RowCursor {
	return RowCursor{Job: d.Job, Device: d.ID.Device, Module: d.ID.Module}
}
