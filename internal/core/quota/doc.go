// Package quota holds a hub to rates and to a number of messages a day, as an
// IoT hub of some edition is held: traffic above a rate is delayed for a while
// and refused beyond that.
//
// It knows editions and counts. What an operation is, and how a client is told
// that it comes too often, is known to those who ask a [Limiter].
package quota

import (
	"fmt"
	"time"

	"github.com/causeway-iot/causeway"
)

// Kind is a kind of operations that have a rate of their own.
type Kind uint8

// The kinds. What one operation is stands beside each.
const (
	Registry        Kind = iota // request about identities
	Connections                 // connection of a device or module
	Telemetry                   // message from a device
	CommandSends                // message to a device
	CommandReceives             // poll for a message over HTTPS
	Uploads                     // start or end of a file upload
	Methods                     // 4 KB, or part of that, of the argument of a method
	Queries                     // page of a query
	TwinReads                   // twin read, by device or back end
	TwinUpdates                 // change of a twin, by device or back end
	Jobs                        // request about jobs
	JobDevices                  // device a job comes to
	Configurations              // request about configurations
	NumKinds
)

var names = [NumKinds]string{
	"registry", "connections", "telemetry", "commandSends", "commandReceives", "uploads", "methods",
	"queries", "twinReads", "twinUpdates", "jobs", "jobDevices", "configurations",
}

// String returns the name of the kind in settings and metrics.
func (k Kind) String() string {
	if k >= NumKinds {
		return "unknown"
	}
	return names[k]
}

// ParseKind returns the kind of that name.
func ParseKind(name string) (Kind, bool) {
	for k, n := range names {
		if n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// Bounds.
const (
	// MethodUnit is what a method call is counted in.
	MethodUnit = 4 << 10
	// Shaping is how long an operation above its rate is delayed before it is
	// refused instead. Clients wait longer than this for an answer.
	Shaping = 5 * time.Second
	// MaxWaiting is how many operations of one kind of a hub are delayed at a
	// time; more are refused at once.
	MaxWaiting = 10_000
)

// Error is a refusal that passes.
type Error struct {
	err   *causeway.Error
	after time.Duration
}

// Error returns the text for logs.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the error with its code.
func (e *Error) Unwrap() error { return e.err }

// RetryAfter returns when it is worth while to try again.
func (e *Error) RetryAfter() time.Duration { return e.after }

func throttled(k Kind, r Rate, after time.Duration) error {
	return &Error{
		causeway.Errorf(causeway.ThrottlingException, "quota",
			"the hub takes %s of the kind %q, and this is more; try again in %s", r, k, after.Round(time.Millisecond)),
		max(after, time.Millisecond),
	}
}

// Rate is so many operations in a time. The zero value is no limit.
type Rate struct {
	Count float64
	Per   time.Duration
}

// String returns the rate as people say it: "100/min", "2.5/s".
func (r Rate) String() string {
	switch r.Per {
	case time.Second:
		return fmt.Sprintf("%g/s", r.Count)
	case time.Minute:
		return fmt.Sprintf("%g/min", r.Count)
	}
	return fmt.Sprintf("%g per %s", r.Count, r.Per)
}
