package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/plugin"
)

// shelf is an archiver.
type shelf struct {
	sink
	window plugin.Window
	fail   error
	chunks []string
	follow []time.Time
}

func (s *shelf) Window() plugin.Window { return s.window }

func (s *shelf) Archive(_ context.Context, c plugin.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 { // more than once
		n := 0
		first, last := "", ""
		for m, err := range c.Messages {
			if err != nil {
				return err
			}
			if last = string(m.Body); n == 0 {
				first = last
			}
			n++
		}
		if s.fail != nil {
			return s.fail
		}
		s.chunks = append(s.chunks, fmt.Sprintf("%d from %d: %s to %s", n, c.First, first, last))
	}
	s.chunks = s.chunks[:len(s.chunks)-1]
	s.follow = append(s.follow, c.Follows)
	return nil
}

func (s *shelf) want(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.chunks, want) {
		t.Errorf("chunks %q, want %q", s.chunks, want)
	}
}

func TestChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &shelf{window: plugin.Window{Age: time.Minute, Bytes: 1000 * 40}}
		q := w.set("lake", s, delivery.Policy{})
		send(t, q, 1, 10, "a")
		later(30 * time.Second)
		send(t, q, 11, 20, "a")
		s.want(t)
		if st := q.Status(); st.Waiting != 20 || st.Oldest.IsZero() {
			t.Errorf("status while it gathers: %+v", st)
		}
		later(30 * time.Second)
		s.want(t, "20 from 0: 1 to 20")
		if st := q.Status(); st.Waiting != 0 || st.WaitingBytes != 0 || st.Health != delivery.Healthy || st.Sent != 20 {
			t.Errorf("status: %+v", st)
		}
		s.set(func(*sink) { s.chunks, s.follow = nil, nil })
		// Large ones are cut.
		send(t, q, 1, 2500, "a")
		later(0)
		s.set(func(*sink) {
			if n := len(s.chunks); n < 2 {
				t.Fatalf("%d chunks of 2500 messages: %q", n, s.chunks)
			}
			if s.follow[1].IsZero() {
				t.Error("a chunk does not know what it follows")
			}
		})
		later(time.Minute)
		if st := q.Status(); st.Waiting != 0 || st.WaitingBytes != 0 {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestChunksRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &shelf{window: plugin.Window{Age: time.Minute, Bytes: 1 << 30}, fail: errDown}
		q := w.set("lake", s, delivery.Policy{})
		send(t, q, 1, 1000, "a")
		later(10 * time.Minute)
		if st := q.Status(); st.Health != delivery.Unhealthy || st.Waiting != 1000 {
			t.Errorf("status: %+v", st)
		}
		w.close()
		w.open()
		s.set(func(*sink) { s.fail = nil })
		q = w.set("lake", s, delivery.Policy{})
		later(time.Second)
		s.want(t, "1000 from 0: 1 to 1000") // late, but not in small pieces
		send(t, q, 1001, 1001, "a")
		later(2 * time.Minute)
		s.want(t, "1000 from 0: 1 to 1000", "1 from 1000: 1001 to 1001")
	})
}

func TestChunkExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &shelf{window: plugin.Window{Age: time.Minute, Bytes: 1 << 30}, fail: errDown}
		q := w.set("lake", s, delivery.Policy{TTL: 10 * time.Minute})
		send(t, q, 1, 300, "a")
		later(11 * time.Minute)
		if st := q.Status(); st.Waiting != 0 || st.DeadLettered != 300 {
			t.Errorf("status: %+v", st)
		}
		if letters := dead(t, w.s, "lake"); len(letters) != 300 || letters[0].Reason != delivery.ReasonExpired {
			t.Errorf("%d dead letters", len(letters))
		}
	})
}

// skewed is a log on a machine whose clock is ahead.
type skewed struct {
	kept
	by time.Duration
}

func (l *skewed) Append(ctx context.Context, p eventlog.Partition, recs ...eventlog.Record) (eventlog.Offset, error) {
	for i := range recs {
		recs[i].Time = time.Now().Add(l.by)
	}
	return l.kept.Append(ctx, p, recs...)
}

// A clock that was ahead and has been set back does not hold up chunks: those of
// messages of a time to come are complete as soon as others would be.
func TestChunksOfWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &skewed{kept{logtest.NewMemory(1)}, 5 * 365 * 24 * time.Hour}
		s, err := delivery.New(delivery.Options{
			Hub: "plant", DeadLetters: kept{logtest.NewMemory(1)},
			Queue:  func(string) (delivery.Log, error) { return log, nil },
			Remove: func(string) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		to := &shelf{window: plugin.Window{Age: time.Minute, Bytes: 1 << 20}}
		q, err := s.Set(t.Context(), "lake", to, delivery.Policy{})
		if err != nil {
			t.Fatal(err)
		}
		send(t, q, 1, 3, "a")
		later(30 * time.Second)
		log.by = 0 // the times of records do not go back
		send(t, q, 4, 5, "a")
		later(29 * time.Second)
		to.want(t)
		later(time.Second)
		to.want(t, "5 from 0: 1 to 5")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
