package client

import (
	"time"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// Start is where in a partition a reader begins. The zero Start is the oldest
// event that is held.
type Start struct{ s hubamqp.Start }

// Earliest begins with the oldest event that is held.
func Earliest() Start { return Start{} }

// Latest begins with the next event that comes.
func Latest() Start { return Start{hubamqp.Start{Kind: hubamqp.StartLatest}} }

// FromSequence begins with the event of a sequence number.
func FromSequence(n int64) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: n, Inclusive: true}}
}

// AfterSequence begins with the event after that of a sequence number.
func AfterSequence(n int64) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: n}}
}

// FromOffset begins with the event at an offset.
func FromOffset(n int64) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartOffset, Offset: n, Inclusive: true}}
}

// AfterOffset begins with the event after the one at an offset.
func AfterOffset(n int64) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartOffset, Offset: n}}
}

// FromTime begins with the first event that came at t or later.
func FromTime(t time.Time) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartTime, Time: t, Inclusive: true}}
}

// AfterTime begins with the first event that came after t.
func AfterTime(t time.Time) Start {
	return Start{hubamqp.Start{Kind: hubamqp.StartTime, Time: t}}
}
