package seglog

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/obs"
)

// Options say how a log is opened. The zero value opens an existing log as it
// is, or makes one with [causeway.DefaultPartitions] and no retention.
type Options struct {
	// Partitions is the number of partitions. It is fixed when the log is
	// made; opening with another number is refused. 0 takes what the log has.
	Partitions int
	// SegmentBytes is the size at which a segment is finished, default
	// DefaultSegmentBytes. With RetentionBytes it is at most an eighth of that,
	// so that retention is not coarse.
	SegmentBytes int64
	// RetentionTime and RetentionBytes bound how long and how much is kept;
	// whole segments are dropped, the oldest first. 0 is no bound.
	RetentionTime  time.Duration
	RetentionBytes int64
	// ReserveBytes of the file system are left free by appends. 0 is the
	// default, DefaultReserveBytes; negative reserves nothing.
	ReserveBytes int64

	Log     *slog.Logger // nil discards
	Metrics *obs.Log     // nil makes metrics that nobody sees
}

// withDefaults returns o with the defaults filled in, or what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	if o.Partitions < 0 || o.Partitions > MaxPartitions {
		return o, fmt.Errorf("seglog: %d partitions, want 1 to %d", o.Partitions, MaxPartitions)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return o, fmt.Errorf("seglog: segments of %d bytes, want %d to %d", o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.RetentionTime < 0 || o.RetentionBytes < 0 {
		return o, fmt.Errorf("seglog: negative retention (%v, %d bytes); 0 means no bound", o.RetentionTime, o.RetentionBytes)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = obs.NewLog(nil, "")
	}
	return o, nil
}

// partitions returns the number of partitions of a new log.
func (o Options) partitions() int {
	if o.Partitions == 0 {
		return causeway.DefaultPartitions
	}
	return o.Partitions
}

// segmentBytes returns the size at which a segment is finished under a
// retention of so many bytes.
func (o Options) segmentBytes(retention int64) int64 {
	if retention > 0 {
		return min(o.SegmentBytes, max(retention/8, MinSegmentBytes))
	}
	return o.SegmentBytes
}

// reserve returns the bytes to leave free on a file system of that total size.
func (o Options) reserve(total int64) int64 {
	switch {
	case o.ReserveBytes < 0:
		return 0
	case o.ReserveBytes > 0:
		return o.ReserveBytes
	}
	return min(DefaultReserveBytes, total/50)
}
