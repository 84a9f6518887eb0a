package delivery

import (
	"time"

	"github.com/causeway-iot/causeway"
)

// The choices of Policy.WhenFull.
const (
	FullDeadLetter = "deadLetter" // keep what does not fit among the dead letters
	FullDrop       = "drop"       // count it, and forget it
)

// Policy is how patient a queue is, and how large. The zero value of a field
// means its default.
type Policy struct {
	// TTL is how long a message may wait before it becomes a dead letter.
	// Default 24 hours, a minute to 7 days.
	TTL time.Duration
	// MaxAttempts is how often a message is sent that the endpoint refuses for
	// good. Default 3, at most 100.
	MaxAttempts int
	// MaxBackoff bounds the pause between attempts. Default one minute, a
	// second to an hour.
	MaxBackoff time.Duration
	// MaxMessages and MaxBytes bound what waits. Defaults a million and 1 GiB.
	MaxMessages int64
	MaxBytes    int64
	// WhenFull says what becomes of messages that find the queue full:
	// FullDeadLetter, the default, or FullDrop.
	WhenFull string
}

// Bounds and defaults of policies.
const (
	DefaultTTL, MinTTL, MaxTTL = 24 * time.Hour, time.Minute, 7 * 24 * time.Hour

	DefaultMaxAttempts, MaxMaxAttempts                       = 3, 100
	DefaultMaxBackoff, MinMaxBackoff, MaxMaxBackoff          = time.Minute, time.Second, time.Hour
	DefaultMaxMessages, MinMaxMessages, MaxMaxMessages       = 1_000_000, 100, 1_000_000_000
	DefaultMaxBytes, MinMaxBytes, MaxMaxBytes          int64 = 1 << 30, 1 << 20, 1 << 40
)

const (
	// minBackoff is the first pause after a failure.
	minBackoff = 200 * time.Millisecond
	// maxAsked bounds how long an endpoint may ask to be left alone.
	maxAsked = time.Hour
	// sendTimeout bounds one attempt: a sink that hangs counts as failed.
	sendTimeout = 2 * time.Minute
	// archiveTimeout bounds one attempt to write a chunk.
	archiveTimeout = 15 * time.Minute
	// defaultBatch and maxBatch bound the messages of one batch.
	defaultBatch, maxBatch = 100, 1000
	// maxBatchBytes bounds the bytes of one batch, but for a single message.
	maxBatchBytes = 4 << 20
	// trimEvery is after how many sent messages space is given back.
	trimEvery = 1000
	// deadAfter is how long an endpoint fails before it counts as dead.
	deadAfter = time.Hour
	// lagging is how long messages may wait at an endpoint that is well.
	lagging = time.Minute
	// maxErrorText bounds what is kept of an endpoint's words.
	maxErrorText = 1024
)

// withDefaults returns p with the defaults filled in, or what is wrong with it.
func (p Policy) withDefaults() (Policy, error) {
	var err error
	span(&err, "the time to live", &p.TTL, DefaultTTL, MinTTL, MaxTTL)
	span(&err, "the number of attempts", &p.MaxAttempts, DefaultMaxAttempts, 1, MaxMaxAttempts)
	span(&err, "the longest pause between attempts", &p.MaxBackoff, DefaultMaxBackoff, MinMaxBackoff, MaxMaxBackoff)
	span(&err, "the most messages that wait", &p.MaxMessages, DefaultMaxMessages, MinMaxMessages, MaxMaxMessages)
	span(&err, "the most bytes that wait", &p.MaxBytes, DefaultMaxBytes, MinMaxBytes, MaxMaxBytes)
	switch p.WhenFull {
	case "":
		p.WhenFull = FullDeadLetter
	case FullDeadLetter, FullDrop:
	default:
		err = causeway.Errorf(causeway.ArgumentInvalid, "delivery.Policy", "what becomes of messages when the queue is full cannot be %q: use %s or %s", p.WhenFull, FullDeadLetter, FullDrop)
	}
	return p, err
}

// Validate reports what is wrong with a policy. Code: ArgumentInvalid.
func (p Policy) Validate() error {
	_, err := p.withDefaults()
	return err
}

// span sets a zero value to its default and checks any other.
func span[T ~int | ~int64](err *error, what string, v *T, def, least, most T) {
	switch {
	case *v == 0:
		*v = def
	case (*v < least || *v > most) && *err == nil:
		*err = causeway.Errorf(causeway.ArgumentInvalid, "delivery.Policy", "%s is %v: it must be %v to %v", what, *v, least, most)
	}
}
