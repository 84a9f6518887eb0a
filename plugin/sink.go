package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"time"

	"github.com/causeway-iot/causeway"
)

// Sink takes messages to somewhere outside. It is safe for concurrent use, and
// connects when it is first needed: making one does no input or output.
type Sink interface {
	// Send takes a batch, in order, and returns when the other side has
	// confirmed it. It borrows the batch. It ends soon after ctx does.
	//
	// An error that is no *[SendError] means that nothing of the batch is known
	// to have been taken, and that it may be tried again.
	Send(ctx context.Context, batch []causeway.Message) error
	// Close gives up what the sink holds. Nothing is sent after it.
	Close() error
}

// Batcher is a Sink that says how many messages it likes to be sent at once.
type Batcher interface {
	Sink
	// Batch returns the largest batch it wants, at least 1.
	Batch() int
}

// Archiver is a Sink that writes messages down in large pieces: it is not sent
// batches but chunks, each of which becomes one object.
type Archiver interface {
	Sink
	// Window says when a chunk is complete.
	Window() Window
	// Archive writes a chunk and returns when it is durable. A chunk that is
	// archived again, after an error or a crash, replaces what was written
	// before.
	Archive(ctx context.Context, c Chunk) error
}

// Window says when a chunk is complete: with so many bytes, or so long after its
// first message, whatever comes first.
type Window struct {
	Age   time.Duration
	Bytes int64
}

// Chunk is messages of one partition, in order.
type Chunk struct {
	Partition int
	First     int64     // position of the first message in its partition: no other chunk has it
	Time      time.Time // when the first message arrived
	Follows   time.Time // when the message before it did; zero when that is not known
	// Messages may be ranged over more than once. A message is borrowed until
	// the next one. An error ends it.
	Messages iter.Seq2[*causeway.Message, error]
}

// SendError says what became of a batch that was not taken as a whole.
type SendError struct {
	// Sent is how many messages, from the front, were taken.
	Sent int
	// Permanent says that trying again is no use: the other side does not want
	// the message at Sent if Exact, else one of those from Sent on.
	Permanent, Exact bool
	// After is how long the other side wants to be left alone; 0 when it did
	// not say.
	After time.Duration
	Err   error
}

// Error returns the text of the cause.
func (e *SendError) Error() string {
	if e.Sent > 0 {
		return fmt.Sprintf("after %d messages: %v", e.Sent, e.Err)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Refused says that one of the messages of a batch will never be taken.
func Refused(err error) error { return &SendError{Permanent: true, Err: err} }

// RefusedAt says that the first i messages were taken, and the one at i never
// will be.
func RefusedAt(i int, err error) error {
	return &SendError{Sent: i, Permanent: true, Exact: true, Err: err}
}

// Partly says that the first i messages were taken; the others may be tried
// again.
func Partly(i int, err error) error { return &SendError{Sent: i, Err: err} }

// Busy says that the other side wants to be left alone for a while.
func Busy(after time.Duration, err error) error { return &SendError{After: after, Err: err} }

// FailureOf returns what err says about a batch.
func FailureOf(err error) SendError {
	if e, ok := errors.AsType[*SendError](err); ok {
		return *e
	}
	return SendError{Err: err}
}

// Container is where an Archiver puts objects. It is one container of a blob
// store.
type Container interface {
	// Put makes an object and returns when it is durable. Of says in a few
	// letters what it is an object of; it replaces one of the same, and is
	// ErrTaken when there is one of something else.
	Put(ctx context.Context, name, contentType, of string, body io.Reader) error
}

// ErrTaken says that a name is that of an object which must not be replaced.
var ErrTaken = errors.New("there is another object of that name")

// Env is what a sink is given besides its settings.
type Env struct {
	Hub      string // whose messages they are
	Endpoint string // the sink's name in the hub
	// Host is the hub's host name, by which it calls itself to others.
	Host string
	// Dial opens network connections under the operator's rules of where they
	// may lead. Nil is net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Container opens a container of the blob store; nil when there is none.
	Container func(name string) (Container, error)
	Log       *slog.Logger // nil discards
}

// WithDefaults fills in what is nil.
func (e Env) WithDefaults() Env {
	if e.Dial == nil {
		e.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	return e
}

// dialTimeout bounds how long a connection may take to be made.
const dialTimeout = 15 * time.Second
