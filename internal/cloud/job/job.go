package job

import (
	"encoding/json"
	"time"

	"github.com/causeway-iot/causeway"
)

// Type is what a job does to each device.
type Type string

// The types, as IoT Hub names them.
const (
	UpdateTwin   Type = "scheduleUpdateTwin"
	DeviceMethod Type = "scheduleDeviceMethod"
)

// Status is where a job is.
type Status string

// The states, as IoT Hub names them.
const (
	Queued    Status = "queued"
	Scheduled Status = "scheduled"
	Running   Status = "running"
	Completed Status = "completed"
	Failed    Status = "failed"
	Cancelled Status = "cancelled"
)

// Ended reports whether nothing more happens to a job of this status than that
// what is left of it is closed.
func (s Status) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// Job is a scheduled job.
type Job struct {
	Hub, ID   string
	Type      Type
	Condition string // whom it is for
	Twin      Twin   // of UpdateTwin
	Method    Method // of DeviceMethod
	Created   time.Time
	Start     time.Time     // not before
	Window    time.Duration // from when it began

	// What changes.
	State
	Statistics Statistics // kept by the Store

	// Damaged says why what is stored of it cannot be read, nil when it can. A
	// damaged one has everything but what it does.
	Damaged error
}

// State is the part of a job that changes as it goes on.
type State struct {
	Status   Status
	Began    time.Time // when it was first running; zero before
	Finished time.Time // zero before
	Selected bool      // all targets are written down
	Settled  bool      // ended, and so has every device of it
	Reason   string    // of a failure
	Message  string    // more about the status
}

// Twin is the change of an [UpdateTwin] job. Absent sections are nil.
type Twin struct {
	ETag          string // "" and "*" are any
	Tags, Desired json.RawMessage
}

// Method is the call of a [DeviceMethod] job.
type Method struct {
	Name                   string
	Payload                json.RawMessage // nil is null
	ResponseWait, PickWait time.Duration   // PickWait is how long devices are awaited that are not there; 0 is until the window is over
}

// Statistics count the devices of a job. Those that were canceled are in Devices
// only.
type Statistics struct{ Devices, Pending, Running, Succeeded, Failed int }

// RowStatus is where a device of a job is.
type RowStatus uint8

// The states of a device.
const (
	RowPending RowStatus = iota
	RowRunning
	RowCompleted
	RowFailed
	RowCanceled
)

var rowNames = [...]string{"pending", "running", "completed", "failed", "canceled"}

// String returns the name that IoT Hub has for it.
func (s RowStatus) String() string { return rowNames[s] }

// Final reports whether a device is done with.
func (s RowStatus) Final() bool { return s >= RowCompleted }

// Row is what a job did to one device or module.
type Row struct {
	ID      causeway.Identity
	Job     string
	Status  RowStatus
	Created time.Time
	Started time.Time // zero before
	Ended   time.Time // zero before
	Updated time.Time

	Answered bool            // the device answered a method
	Answer   causeway.Result // what it answered
	Code     string          // of a failure, from the catalogue
	Text     string          // of a failure
}

// fail puts a failure into a row.
func (r *Row) fail(err error, at time.Time) {
	r.Status, r.Ended, r.Updated = RowFailed, at, at
	r.Code, r.Text = causeway.CodeOf(err).Name(), causeway.MessageOf(err)
}
