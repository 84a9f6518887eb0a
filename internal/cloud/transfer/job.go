package transfer

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
)

// Type is what a job does.
type Type string

// The types, as IoT Hub names them.
const (
	Export Type = "export"
	Import Type = "import"

	Unknown Type = "unknown" // of a damaged one
)

// Status is where a job is.
type Status string

// The states, as IoT Hub names them.
const (
	Enqueued  Status = "enqueued"
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Ended reports whether a job of this status does nothing any more.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// Job is an import or export.
type Job struct {
	Hub, ID string
	Type    Type
	Created time.Time

	// Containers are named by addresses that hold the right to use them; they
	// are sealed inside a Store.
	Input, Output         causeway.Secret
	InputName, OutputName string
	ExcludeKeys           bool
	Configurations        bool // too
	ConfigurationsName    string
	StorageAuth           string // as the caller gave it; keyBased is all there is

	State

	// Damaged says why what is stored of it cannot be read, nil when it can. Of
	// a damaged one there are the hub, the id, the times and the status, and its
	// type is Unknown.
	Damaged error
}

// State is the part of a job that changes as it goes on.
type State struct {
	Status   Status
	Began    time.Time // zero before
	Finished time.Time // zero before
	Progress int       // percent
	Reason   string    // of a failure
	Position Position
}

// Position is how far an import is.
type Position struct {
	ETag        string // of the blob that is read
	Offset      int64  // everything before is applied
	ErrorBlocks int    // staged parts of the list of errors
	Applied     int    // identities
	Failed      int
	DevicesDone bool // configurations come next
}

// Store keeps jobs durably: a writing method that returns nil is on stable
// storage. It is safe for concurrent use. Jobs go with their hub. Times keep at
// least microseconds. Drivers are held to the contract in transfertest.
type Store interface {
	// Create stores a new job. Codes: JobQuotaExceeded (the hub has one that
	// has not ended), JobAlreadyExists, GenericNotFound (no such hub).
	Create(ctx context.Context, j Job) error
	// Get returns a job. Code: JobNotFound.
	Get(ctx context.Context, hub, id string) (Job, error)
	// List returns up to limit (> 0) jobs of a hub, the newest first.
	List(ctx context.Context, hub string, limit int) ([]Job, error)
	// Save replaces the state of a job if its status still is from; ok is false
	// when it is not. Code: JobNotFound.
	Save(ctx context.Context, hub, id string, from Status, to State) (ok bool, err error)
	// Unfinished returns the jobs of all hubs that have not ended, by hub.
	Unfinished(ctx context.Context) ([]Job, error)
	// Expire forgets up to limit jobs that finished before a time and returns
	// how many.
	Expire(ctx context.Context, before time.Time, limit int) (n int, err error)
}
