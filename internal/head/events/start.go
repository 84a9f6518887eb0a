package events

import (
	"context"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// resolve returns the offset of the first event that a reader wants.
func resolve(ctx context.Context, log eventlog.Log, p eventlog.Partition, start hubamqp.Start) (eventlog.Offset, error) {
	oldest, next, err := log.Bounds(ctx, p)
	if err != nil {
		return 0, err
	}
	switch start.Kind {
	case hubamqp.StartEarliest:
	case hubamqp.StartLatest:
		return next, nil
	case hubamqp.StartOffset:
		return after(start.Offset, start.Inclusive, oldest, next)
	case hubamqp.StartSequence:
		return after(start.Sequence, start.Inclusive, oldest, next)
	case hubamqp.StartTime:
		t := start.Time
		if !start.Inclusive {
			// Readers see times in milliseconds: all of this one are not after it.
			t = t.Add(time.Millisecond)
		}
		return log.Seek(ctx, p, t)
	}
	return oldest, nil
}

// after returns the offset of the first event at or after a position.
func after(position int64, inclusive bool, oldest, next eventlog.Offset) (eventlog.Offset, error) {
	at := eventlog.Offset(position)
	// Compared before one is added, which may be one too many.
	if at > next || at == next && !inclusive {
		return 0, causeway.Errorf(causeway.ArgumentInvalid, opAttach,
			"there is no event %d yet, the last one is %d: the position is of another hub, or of an earlier one of this name", position, next-1)
	}
	if !inclusive {
		at++
	}
	return max(at, oldest), nil
}
