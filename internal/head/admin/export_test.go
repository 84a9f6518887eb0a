package admin

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// ParseStart reads the parameter from and says what each partition of an empty
// log that holds offsets 10 to 20 would begin at.
func ParseStart(s string, partitions int) (earliest bool, at time.Time, offsets map[eventlog.Partition]eventlog.Offset, err error) {
	st, err := parseStart(s, partitions)
	return st.earliest, st.at, st.offsets, err
}

// Resolve is start.resolve.
func Resolve(ctx context.Context, s string, log eventlog.Log, p eventlog.Partition) (eventlog.Offset, error) {
	st, err := parseStart(s, log.Partitions())
	if err != nil {
		return 0, err
	}
	return st.resolve(ctx, log, p)
}

// ShowBody and NextBatch are helpers of the stream.
var (
	ShowBody  = showBody
	NextBatch = nextBatch
)

// Limits of the stream.
const (
	MaxBatch   = maxBatch
	BatchBytes = batchBytes
)
