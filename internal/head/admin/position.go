package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
)

// The words of the parameter from.
const (
	fromLatest   = "latest"
	fromEarliest = "earliest"
)

// start is where a stream begins to read: a word, a time, or offsets.
type start struct {
	earliest bool
	at       time.Time // when not zero
	offsets  map[eventlog.Partition]eventlog.Offset
}

// parseStart reads the parameter from: latest (also ""), earliest, a time of
// RFC 3339, or offsets such as 0:17,1:4 of a log with that many partitions.
// Partitions that are not named begin at the latest.
func parseStart(s string, partitions int) (start, error) {
	const op = "admin.events"
	switch strings.ToLower(s) {
	case "", fromLatest:
		return start{}, nil
	case fromEarliest:
		return start{earliest: true}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return start{at: t}, nil
	}
	st := start{offsets: map[eventlog.Partition]eventlog.Offset{}}
	for pair := range strings.SplitSeq(s, ",") {
		left, right, ok := strings.Cut(pair, ":")
		p, perr := strconv.ParseUint(left, 10, 16)
		o, oerr := strconv.ParseUint(right, 10, 63)
		if !ok || perr != nil || oerr != nil {
			return start{}, causeway.Errorf(causeway.ArgumentInvalid, op,
				"from is none of latest, earliest, a time such as 2024-01-31T12:00:00Z, and offsets such as 0:17,1:4")
		}
		if p >= uint64(partitions) {
			return start{}, causeway.Errorf(causeway.ArgumentInvalid, op, "from names partition %d, the hub has %d, the first is 0", p, partitions)
		}
		if _, twice := st.offsets[eventlog.Partition(p)]; twice {
			return start{}, causeway.Errorf(causeway.ArgumentInvalid, op, "from names partition %d twice", p)
		}
		st.offsets[eventlog.Partition(p)] = eventlog.Offset(o)
	}
	return st, nil
}

// resolve returns the offset to begin at in one partition. An offset that is
// not written yet begins at the next one: waiting for it would show nothing of
// what comes before.
func (st start) resolve(ctx context.Context, log eventlog.Log, p eventlog.Partition) (eventlog.Offset, error) {
	if !st.at.IsZero() {
		o, err := log.Seek(ctx, p, st.at)
		if err != nil {
			return 0, fmt.Errorf("seek in partition %d: %w", p, err)
		}
		return o, nil
	}
	oldest, next, err := log.Bounds(ctx, p)
	if err != nil {
		return 0, fmt.Errorf("read the bounds of partition %d: %w", p, err)
	}
	if o, ok := st.offsets[p]; ok {
		return min(o, next), nil // one that was trimmed is reported as a gap
	}
	if st.earliest {
		return oldest, nil
	}
	return next, nil
}
