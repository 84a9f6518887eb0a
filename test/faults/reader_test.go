package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// record is an event that was read.
type record struct {
	sequence int64
	device   string
	body     string
}

// reader reads a partition from the beginning on, and after a broken connection
// from its checkpoint: behind the last event that it has dealt with. It stands
// for a consumer that keeps its checkpoints with what it makes of the events.
type reader struct {
	w         *world
	partition int
	own       bool // over our engine, not over go-amqp
	take      func(record) error

	mu   sync.Mutex
	next int64 // sequence number
	all  []record
	err  error // what must not be
}

// count returns how many events there were.
func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// fault returns what was wrong with the events.
func (r *reader) fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *reader) run(ctx context.Context, owner string) {
	for ctx.Err() == nil && r.fault() == nil {
		var err error
		if r.own {
			err = r.overEngine(ctx, owner)
		} else {
			err = r.overAzure(ctx, owner)
		}
		// A position is refused only when the log has lost what it gave out.
		if e, ok := errors.AsType[*goamqp.LinkError](err); ok && e.RemoteErr != nil && e.RemoteErr.Condition == hubamqp.ArgumentError {
			r.fail(err)
		}
		if c := conditionIn(err); c == hubamqp.ArgumentError {
			r.fail(err)
		}
		pause(ctx)
	}
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf("partition %d: %w", r.partition, err)
	}
}

func (r *reader) address() string {
	return fmt.Sprintf("localhost/ConsumerGroups/$Default/Partitions/%d", r.partition)
}

func (r *reader) start() hubamqp.Start {
	r.mu.Lock()
	defer r.mu.Unlock()
	return hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: r.next - 1}
}

func (r *reader) overAzure(ctx context.Context, owner string) error {
	a, err := r.w.azure(ctx, "localhost", owner)
	if err != nil {
		return err
	}
	defer a.Close()
	in, err := a.session.NewReceiver(ctx, r.address(), &goamqp.ReceiverOptions{
		Credit: 500, Filters: []goamqp.LinkFilter{goamqp.NewSelectorFilter(r.start().Selector())},
	})
	if err != nil {
		return err
	}
	for {
		m, err := in.Receive(ctx, nil)
		if err != nil {
			return err
		}
		seq, _ := m.Annotations["x-opt-sequence-number"].(int64)
		device, _ := m.Annotations["iothub-connection-device-id"].(string)
		if err := r.got(record{seq, device, string(m.GetData())}); err != nil {
			return err
		}
		if err := in.AcceptMessage(ctx, m); err != nil {
			return err
		}
	}
}

func (r *reader) overEngine(ctx context.Context, owner string) error {
	p, err := r.w.engine(ctx, owner)
	if err != nil {
		return err
	}
	defer p.Cut()
	in, err := p.Receiver(ctx, amqp.LinkConfig{Source: r.address(), Filter: r.start().Filter()}, 500)
	if err != nil {
		return err
	}
	var s hubamqp.Scratch
	for {
		d, err := in.Next(ctx)
		if err != nil {
			return err
		}
		var e hubamqp.Event
		if err := hubamqp.DecodeEvent(&e, &s, d.Payload); err != nil {
			r.fail(err)
			return err
		}
		if err := r.got(record{e.Sequence, string([]byte(e.Message.From.Device)), string(bytes.Clone(e.Message.Body))}); err != nil {
			return err
		}
		s.Reset()
		in.Accept(d)
	}
}

// got deals with an event: sequence numbers have no gaps, whatever happened.
func (r *reader) got(e record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.sequence != r.next {
		if r.err == nil {
			r.err = fmt.Errorf("partition %d: event %d comes in the place of event %d", r.partition, e.sequence, r.next)
		}
		return r.err
	}
	if err := r.take(e); err != nil {
		r.err = fmt.Errorf("partition %d, event %d: %w", r.partition, e.sequence, err)
		return r.err
	}
	r.all = append(r.all, e)
	r.next++
	return nil
}
