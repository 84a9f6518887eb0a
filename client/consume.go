package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Place is a partition as a consumer group reads it.
type Place struct {
	Host      string // of the endpoint
	EventHub  string
	Group     string
	Partition string
}

// Checkpoints remembers how far places were read. It is called by several
// goroutines.
type Checkpoints interface {
	// Load returns the sequence number of the last event that was dealt with; ok
	// is false when there is none.
	Load(ctx context.Context, p Place) (sequence int64, ok bool, err error)
	// Save replaces it.
	Save(ctx context.Context, p Place, sequence int64) error
}

// ConsumeOptions are the settings of Events.Consume.
type ConsumeOptions struct {
	// Reader are the settings of all readers; its From is where partitions begin
	// that have neither a checkpoint nor a Start.
	Reader ReaderOptions
	// Partitions are those to read, nil for all.
	Partitions []string
	// Starts are where partitions begin, by their ids.
	Starts map[string]Start
	// Checkpoints says where partitions go on, and hears how far they were read
	// after each call of the handler. They go before Starts. Nil remembers
	// nothing.
	Checkpoints Checkpoints
}

// Consume reads partitions side by side and calls f with what comes: one call at
// a time for each partition, with events in their order, which are borrowed until
// f returns. It ends when f or a reader fails, with that error, or when ctx ends.
// Events are handed over again that f had before it failed, or that were not
// saved as dealt with. An event that cannot be read is skipped and logged.
func (e *Events) Consume(ctx context.Context, o ConsumeOptions, f func(ctx context.Context, events []PartitionEvent) error) error {
	partitions := o.Partitions
	if partitions == nil {
		h, err := e.Hub(ctx)
		if err != nil {
			return err
		}
		partitions = h.Partitions
	}
	at, err := e.find(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, p := range partitions {
		place := Place{Host: at.endpoint.host, EventHub: at.entity, Group: e.o.ConsumerGroup, Partition: p}
		all.Go(func() {
			if err := e.consume(ctx, place, o, f); err != nil {
				cancel(err) // the first one counts
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// consume reads one partition until an error.
func (e *Events) consume(ctx context.Context, p Place, o ConsumeOptions, f func(ctx context.Context, events []PartitionEvent) error) error {
	ro := o.Reader
	if s, ok := o.Starts[p.Partition]; ok {
		ro.From = s
	}
	if o.Checkpoints != nil {
		n, ok, err := o.Checkpoints.Load(ctx, p)
		if err != nil {
			return fmt.Errorf("load checkpoint of partition %s: %w", p.Partition, err)
		}
		if ok {
			ro.From = AfterSequence(n)
		}
	}
	r, err := e.Reader(ctx, p.Partition, ro)
	if err != nil {
		return err
	}
	defer r.Close()
	for err == nil {
		var list []PartitionEvent
		if list, err = r.Receive(ctx); errors.Is(err, ErrUnreadable) {
			e.o.log().Warn("event skipped", "partition", p.Partition, "error", err)
			err = nil
			continue
		}
		if err != nil {
			break
		}
		if err = f(ctx, list); err == nil && o.Checkpoints != nil {
			if err = o.Checkpoints.Save(ctx, p, list[len(list)-1].Sequence); err != nil {
				err = fmt.Errorf("save checkpoint of partition %s: %w", p.Partition, err)
			}
		}
	}
	return err
}
