package client_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
)

// marks are checkpoints in memory.
type marks struct {
	mu   sync.Mutex
	at   map[client.Place]int64
	fail error
}

func (m *marks) Load(_ context.Context, p client.Place) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.at[p]
	return n, ok, nil
}

func (m *marks) Save(_ context.Context, p client.Place, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at[p] = n
	return m.fail
}

func TestConsume(t *testing.T) {
	inHub(t, func(t *testing.T, h *amqpHub) {
		l := newEventLog(h)
		e := h.events(eventsString)
		defer e.Close()
		zero := client.Place{Host: "events.example", EventHub: "eh", Group: "$Default", Partition: "0"}
		one := zero
		one.Partition = "1"
		m := &marks{at: map[client.Place]int64{zero: 41}}
		enough := errors.New("enough")
		var mu sync.Mutex
		got := map[string][]int64{}
		done := make(chan error, 1)
		go func() {
			done <- e.Consume(t.Context(), client.ConsumeOptions{
				Checkpoints: m, Starts: map[string]client.Start{"0": client.FromSequence(1), "1": client.FromSequence(2)},
			}, func(_ context.Context, list []client.PartitionEvent) error {
				mu.Lock()
				defer mu.Unlock()
				for _, x := range list {
					if got[x.Partition] = append(got[x.Partition], x.Sequence); x.Sequence == 44 {
						return enough
					}
				}
				return nil
			})
		}()
		var first reading
		for range 2 {
			g := l.next()
			want := hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: 41} // the checkpoint goes before the start
			if g.address.Partition == "1" {
				want = hubamqp.Start{Kind: hubamqp.StartSequence, Sequence: 2, Inclusive: true}
				g.send(2, 1, nil)
			} else {
				g.send(42, 1, nil)
				first = g
			}
			if g.start != want {
				t.Errorf("partition %s starts at %+v", g.address.Partition, g.start)
			}
		}
		synctest.Wait()
		first.send(43, 2, nil)
		if err := <-done; !errors.Is(err, enough) {
			t.Error(err)
		}
		if d := cmp.Diff(map[string][]int64{"0": {42, 43, 44}, "1": {2}}, got); d != "" {
			t.Error(d)
		}
		if n := m.at[zero]; n < 42 || n > 43 || m.at[one] != 2 { // 44 was not dealt with
			t.Errorf("checkpoints %v", m.at)
		}

		m.fail = errors.New("the disk is full")
		go func() {
			done <- e.Consume(t.Context(), client.ConsumeOptions{Checkpoints: m, Partitions: []string{"1"}},
				func(context.Context, []client.PartitionEvent) error { return nil })
		}()
		l.next().send(3, 1, nil)
		if err := <-done; !errors.Is(err, m.fail) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			done <- e.Consume(ctx, client.ConsumeOptions{}, func(context.Context, []client.PartitionEvent) error { return nil })
		}()
		l.next()
		l.next()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
