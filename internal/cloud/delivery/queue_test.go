package delivery_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/plugin"
)

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{}
		q := w.set("web", s, delivery.Policy{})
		if got := q.Status().Health; got != delivery.Unknown {
			t.Errorf("health before anything was sent: %s", got)
		}
		send(t, q, 1, 500, "a", "b", "c", "d")
		later(time.Second)
		for _, d := range []string{"a", "b", "c", "d"} {
			s.want(t, d, 1, 500)
		}
		st := q.Status()
		if st.Health != delivery.Healthy || st.Waiting != 0 || st.WaitingBytes != 0 || st.Sent != 2000 || !st.Oldest.IsZero() {
			t.Errorf("status: %+v", st)
		}
		if slices.Max(s.sizes) > 100 {
			t.Errorf("a batch of %d", slices.Max(s.sizes))
		}
	})
}

// A dead endpoint does not hold up who appends, and nothing is lost.
func TestDeadEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{MaxBackoff: 10 * time.Second})
		began := time.Now()
		send(t, q, 1, 200, "a", "b")
		if took := time.Since(began); took != 0 {
			t.Errorf("appending waited %v for the endpoint", took)
		}
		later(30 * time.Minute)
		st := q.Status()
		if st.Health != delivery.Unhealthy || st.Waiting != 400 || st.WaitingBytes < 400*30 || st.LastError != errDown.Error() || st.Oldest.IsZero() || !st.LastSuccess.IsZero() {
			t.Errorf("status: %+v", st)
		}
		s.mu.Lock()
		calls := s.calls
		s.mu.Unlock()
		if calls < 2*100 || calls > 2*400 {
			t.Errorf("%d attempts in half an hour with pauses of 5 to 10 s in two partitions", calls)
		}
		later(time.Hour)
		if st := q.Status(); st.Health != delivery.Dead {
			t.Errorf("health after an hour: %+v", st)
		}
		s.set(func(s *sink) { s.on = nil })
		later(time.Minute)
		s.want(t, "a", 1, 200)
		s.want(t, "b", 1, 200)
		if st := q.Status(); st.Health != delivery.Healthy || st.Waiting != 0 || st.WaitingBytes != 0 {
			t.Errorf("status after it came back: %+v", st)
		}
	})
}

// An endpoint that hangs is given up after a while and tried again.
func TestHangingEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{hang: true}
		q := w.set("web", s, delivery.Policy{})
		send(t, q, 1, 10, "a")
		later(10 * time.Minute)
		if st := q.Status(); st.Health != delivery.Unhealthy || st.Failed < 3 {
			t.Errorf("status: %+v", st)
		}
		s.set(func(s *sink) { s.hang = false })
		later(10 * time.Minute)
		s.want(t, "a", 1, 10)
	})
}

// One that flaps gets all, in order.
func TestFlappingEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := &sink{}
		s.on = func(batch []causeway.Message) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			switch n++; n % 4 {
			case 0:
				return nil
			case 1:
				return errDown
			case 2:
				return plugin.Partly(len(batch)/2, errDown)
			default:
				return plugin.Busy(3*time.Second, errDown)
			}
		}
		w := newWorld(t)
		q := w.set("web", s, delivery.Policy{})
		for i := range 20 {
			send(t, q, i*50+1, i*50+50, "a", "b", "c")
			later(time.Second)
		}
		later(time.Hour)
		for _, d := range []string{"a", "b", "c"} {
			s.want(t, d, 1, 1000)
		}
		if len(dead(t, w.s, "")) != 0 {
			t.Error("there are dead letters")
		}
	})
}

// A message that is refused takes no others along.
func TestRefused(t *testing.T) {
	for name, answer := range map[string]func(batch []causeway.Message, i int) error{
		"somewhere in the batch": func(_ []causeway.Message, _ int) error { return plugin.Refused(errors.New("no such field")) },
		"exactly this one":       func(_ []causeway.Message, i int) error { return plugin.RefusedAt(i, errors.New("no such field")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s := &sink{on: func(batch []causeway.Message) error {
					for i, m := range batch {
						if string(m.Body) == "7" {
							return answer(batch, i)
						}
					}
					return nil
				}}
				q := w.set("web", s, delivery.Policy{MaxAttempts: 4})
				send(t, q, 1, 20, "a")
				later(time.Minute)
				s.mu.Lock()
				got := slices.Clone(s.got["a"])
				s.mu.Unlock()
				if want := []int{1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}; !slices.Equal(got, want) {
					t.Errorf("got %v", got)
				}
				letters := dead(t, w.s, "web")
				if len(letters) != 1 || string(letters[0].Message.Body) != "7" || letters[0].Reason != delivery.ReasonRefused ||
					letters[0].Attempts != 4 || letters[0].Message.From.Hub != "plant" || letters[0].Detail == "" {
					t.Errorf("dead letters: %+v", letters)
				}
				if st := q.Status(); st.Health != delivery.Healthy || st.DeadLettered != 1 || st.Waiting != 0 || st.WaitingBytes != 0 {
					t.Errorf("status: %+v", st)
				}
			})
		})
	}
}

func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{TTL: 5 * time.Minute})
		send(t, q, 1, 10, "a")
		later(3 * time.Minute)
		send(t, q, 11, 20, "a")
		later(3 * time.Minute)
		if letters := dead(t, w.s, "web"); len(letters) != 10 || letters[9].Reason != delivery.ReasonExpired || letters[0].Detail != errDown.Error() {
			t.Errorf("%d dead letters: %+v", len(letters), letters)
		}
		s.set(func(s *sink) { s.on = nil })
		later(2 * time.Minute)
		s.want(t, "a", 11, 20)
	})
}

func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{MaxMessages: 100})
		send(t, q, 1, 150, "a")
		if st := q.Status(); st.Waiting != 100 || st.DeadLettered != 50 {
			t.Errorf("status: %+v", st)
		}
		letters := dead(t, w.s, "web")
		if len(letters) != 50 || letters[0].Reason != delivery.ReasonFull || string(letters[0].Message.Body) != "101" {
			t.Fatalf("%d dead letters, the first %+v", len(letters), letters[0])
		}
		// They are put back as long as there is room.
		if n, err := w.s.Replay(t.Context(), "web"); n != 0 || causeway.CodeOf(err) != causeway.ServiceUnavailable {
			t.Errorf("replay into a full queue: %d, %v", n, err)
		}
		s.set(func(s *sink) { s.on = nil })
		later(time.Minute)
		s.want(t, "a", 1, 100)
		if n, err := w.s.Replay(t.Context(), "WEB"); n != 50 || err != nil {
			t.Errorf("replay: %d, %v", n, err)
		}
		later(time.Minute)
		s.want(t, "a", 1, 150)
		if n := len(dead(t, w.s, "")); n != 0 {
			t.Errorf("%d dead letters after the replay", n)
		}
		if n, err := w.s.Replay(t.Context(), "web"); n != 0 || err != nil {
			t.Errorf("second replay: %d, %v", n, err)
		}

		s.set(func(s *sink) { s.on = func([]causeway.Message) error { return errDown } })
		q = w.set("web", s, delivery.Policy{MaxMessages: 100, WhenFull: delivery.FullDrop})
		send(t, q, 151, 300, "a")
		if st := q.Status(); st.Waiting != 100 || st.Dropped != 50 || st.DeadLettered != 50 {
			t.Errorf("status when it drops: %+v", st)
		}
	})
}

// Messages that come together fill a queue like those that come one by one.
func TestFullInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{MaxMessages: 100})
		var batch []causeway.Message
		for n := 1; n <= 120; n++ {
			batch = append(batch, message("a", n))
		}
		for _, part := range [][]causeway.Message{batch[:70], batch[70:]} {
			if err := q.Append(t.Context(), part...); err != nil {
				t.Fatal(err)
			}
		}
		if st := q.Status(); st.Waiting != 100 || st.DeadLettered != 20 {
			t.Errorf("status: %+v", st)
		}
		if letters := dead(t, w.s, "web"); len(letters) != 20 || string(letters[0].Message.Body) != "101" {
			t.Errorf("%d dead letters: %+v", len(letters), letters)
		}
		s.set(func(s *sink) { s.on = nil })
		later(time.Minute)
		s.want(t, "a", 1, 100)
	})
}

func TestFullOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{MaxBytes: 1 << 20})
		m := message("a", 1)
		m.Body = make([]byte, 100<<10)
		for range 12 {
			if err := q.Append(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		if st := q.Status(); st.Waiting != 10 || st.DeadLettered != 2 {
			t.Errorf("status: %+v", st)
		}
		// A restart knows what waits.
		before := q.Status()
		w.close()
		w.open()
		q = w.set("web", s, delivery.Policy{MaxBytes: 1 << 20})
		if st := q.Status(); st.Waiting != 10 || st.WaitingBytes != before.WaitingBytes {
			t.Errorf("after a restart: %+v, want bytes as in %+v", st, before)
		}
	})
}

// A broken queue is no reason to refuse messages, as long as dead letters can be
// kept.
func TestBrokenQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{}
		q := w.set("web", s, delivery.Policy{})
		w.logs["web"].Fail(eventlog.ErrFull)
		send(t, q, 1, 3, "a")
		if letters := dead(t, w.s, "web"); len(letters) != 3 || letters[0].Reason != delivery.ReasonBroken {
			t.Errorf("dead letters: %+v", letters)
		}
		w.dead.Fail(eventlog.ErrFull)
		if err := q.Append(t.Context(), message("a", 4)); causeway.CodeOf(err) != causeway.ServiceUnavailable {
			t.Errorf("append with nowhere to go: %v", err)
		}
		w.logs["web"].Fail(nil)
		w.dead.Fail(nil)
		send(t, q, 5, 6, "a")
		later(time.Second)
		s.want(t, "a", 5, 6)
	})
}

// A queue that cannot store how far it got goes on when it can: what was sent
// meanwhile is sent again.
func TestCheckpointFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		q := w.set("web", s, delivery.Policy{})
		send(t, q, 1, 3, "a", "b")
		w.logs["web"].Fail(eventlog.ErrFull)
		s.set(func(s *sink) { s.on = nil })
		later(10 * time.Minute)
		if st := q.Status(); st.Waiting != 6 {
			t.Errorf("status: %+v", st)
		}
		w.logs["web"].Fail(nil)
		later(10 * time.Minute)
		if st := q.Status(); st.Waiting != 0 || st.WaitingBytes != 0 {
			t.Errorf("status: %+v", st)
		}
		s.set(func(s *sink) {
			for _, d := range []string{"a", "b"} {
				if got := s.got[d]; len(got) < 6 || !slices.Equal(got[len(got)-3:], []int{1, 2, 3}) {
					t.Errorf("%s got %v", d, got)
				}
			}
			s.got = nil
		})
		send(t, q, 4, 5, "a")
		later(time.Second)
		s.want(t, "a", 4, 5)
	})
}

// Messages stay in the queue until they are dead letters.
func TestDeadLettersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return plugin.Refused(errDown) }}
		q := w.set("web", s, delivery.Policy{MaxAttempts: 1})
		w.dead.Fail(eventlog.ErrFull)
		send(t, q, 1, 3, "a")
		later(10 * time.Minute)
		if st := q.Status(); st.Waiting != 3 {
			t.Errorf("status: %+v", st)
		}
		w.dead.Fail(nil)
		later(10 * time.Minute)
		if st := q.Status(); st.Waiting != 0 || st.DeadLettered != 3 {
			t.Errorf("status: %+v", st)
		}
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{}
		q := w.set("web", s, delivery.Policy{})
		send(t, q, 1, 10, "a", "b")
		later(time.Second)
		s.set(func(s *sink) { s.on = func([]causeway.Message) error { return errDown } })
		send(t, q, 11, 20, "a", "b")
		later(time.Second)
		w.close()
		if !s.ends {
			t.Error("the sink was not closed")
		}
		w.open()
		s.set(func(s *sink) { s.on = nil })
		q = w.set("web", s, delivery.Policy{})
		send(t, q, 21, 30, "a", "b")
		later(time.Second)
		s.want(t, "a", 1, 30)
		s.want(t, "b", 1, 30)
		// Another sink takes over where the first one is.
		other := &sink{}
		q = w.set("Web", other, delivery.Policy{})
		send(t, q, 31, 40, "a")
		later(time.Second)
		s.want(t, "a", 1, 30)
		other.want(t, "a", 31, 40)
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &sink{on: func([]causeway.Message) error { return errDown }}
		send(t, w.set("web", s, delivery.Policy{}), 1, 10, "a")
		if err := w.s.Remove("WEB"); err != nil {
			t.Fatal(err)
		}
		if err := w.s.Remove("web"); causeway.CodeOf(err) != causeway.GenericNotFound {
			t.Errorf("second removal: %v", err)
		}
		if _, ok := w.s.Queue("web"); ok || len(w.s.Status()) != 0 || len(w.logs) != 0 || !s.ends {
			t.Error("the endpoint is still there")
		}
		s = &sink{}
		send(t, w.set("web", s, delivery.Policy{}), 1, 3, "a")
		later(time.Second)
		s.want(t, "a", 1, 3)
	})
}

func TestDeadLetterPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		refuse := func([]causeway.Message) error { return plugin.Refused(errDown) }
		one := w.set("one", &sink{on: refuse}, delivery.Policy{MaxAttempts: 1})
		two := w.set("two", &sink{on: refuse}, delivery.Policy{MaxAttempts: 1})
		for i := range 300 {
			send(t, one, i, i, "a")
			send(t, two, i, i, "a")
			later(time.Second)
		}
		var bodies []string
		for at := int64(0); ; {
			page, next, last, err := w.s.DeadLetters(t.Context(), "two", at, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range page {
				bodies = append(bodies, l.Endpoint+string(l.Message.Body))
			}
			if at = next; last {
				break
			}
		}
		if len(bodies) != 300 || bodies[299] != "two299" {
			t.Errorf("%d dead letters", len(bodies))
		}
		if err := w.s.Purge(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		if n := len(dead(t, w.s, "two")); n != 0 {
			t.Errorf("%d of two after the purge", n)
		}
		if n := len(dead(t, w.s, "")); n != 300 {
			t.Errorf("%d in all after the purge", n)
		}
	})
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		endpoint string
		policy   delivery.Policy
	}{
		"no name":           {"", delivery.Policy{}},
		"path":              {"../x", delivery.Policy{}},
		"dot":               {".", delivery.Policy{}},
		"long name":         {string(make([]byte, 65)), delivery.Policy{}},
		"short TTL":         {"web", delivery.Policy{TTL: time.Second}},
		"long TTL":          {"web", delivery.Policy{TTL: 8 * 24 * time.Hour}},
		"attempts":          {"web", delivery.Policy{MaxAttempts: -1}},
		"backoff":           {"web", delivery.Policy{MaxBackoff: time.Millisecond}},
		"messages":          {"web", delivery.Policy{MaxMessages: 1}},
		"bytes":             {"web", delivery.Policy{MaxBytes: 1}},
		"what when full is": {"web", delivery.Policy{WhenFull: "panic"}},
	} {
		s := &sink{}
		if _, err := w.s.Set(t.Context(), row.endpoint, s, row.policy); causeway.CodeOf(err) != causeway.ArgumentInvalid {
			t.Errorf("%s: %v", name, err)
		}
		if !s.ends {
			t.Errorf("%s: the sink was not closed", name)
		}
	}
}
