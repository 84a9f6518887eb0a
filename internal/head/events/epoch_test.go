package events_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/core/claims/claimstest"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// TestEpochs plays who may read beside whom.
func TestEpochs(t *testing.T) {
	type step struct {
		epoch int64
		want  string // condition of the refusal; "" when it may read
		ends  []int  // which earlier steps end
	}
	for name, steps := range map[string][]step{
		"higher wins":                         {{epoch: 1}, {epoch: 2, ends: []int{0}}},
		"the same wins":                       {{epoch: 2}, {epoch: 2, ends: []int{0}}},
		"lower is refused":                    {{epoch: 2}, {epoch: 1, want: amqp.LinkStolen}},
		"without is refused":                  {{epoch: 1}, {want: amqp.LinkStolen}},
		"disconnects those without":           {{}, {}, {epoch: 1, ends: []int{0, 1}}},
		"disconnects those without, then one": {{}, {epoch: 3, ends: []int{0}}, {want: amqp.LinkStolen}, {epoch: 4, ends: []int{1}}},
		"refused ones change nothing":         {{epoch: 5}, {want: amqp.LinkStolen}, {epoch: 4, want: amqp.LinkStolen}, {epoch: 6, ends: []int{0}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, nil)
			boxes := make([]*in, len(steps))
			gone := map[int]bool{}
			for i, st := range steps {
				r, box, err := tryRead(t.Context(), w.client(), how{epoch: st.epoch})
				if st.want != "" {
					if claimstest.Condition(err) != st.want {
						t.Fatalf("step %d: %v, want %s", i, err, st.want)
					}
					continue
				}
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				box.r, box.t, boxes[i] = r, t, box
				for _, e := range st.ends {
					gone[e] = true
					if got := boxes[e].ended(); got != amqp.LinkStolen {
						t.Fatalf("step %d ended %d with %s", i, e, got)
					}
				}
			}
			// Those that are left get what comes.
			w.fill(0, 1, event(1))
			for i, box := range boxes {
				if box != nil && !gone[i] {
					box.want(0, 1)
				}
			}
		})
	}
}

// TestEpochsApart has readers of other partitions and groups not disturbed.
func TestEpochsApart(t *testing.T) {
	w := open(t, nil)
	s := w.client()
	mine := w.read(s, how{epoch: 1})
	w.read(s, how{partition: "1"})
	w.read(s, how{group: "analytics"})
	w.read(s, how{group: "Analytics", epoch: 1, partition: "1"})
	if _, _, err := tryRead(t.Context(), s, how{group: "ANALYTICS", partition: "1"}); claimstest.Condition(err) != amqp.LinkStolen {
		t.Errorf("in a group in other case: %v", err)
	}
	// Who is gone is no hindrance.
	mine.r.Close(nil)
	w.settles(s, how{})
}

// settles attaches a reader as soon as the one before is gone: a detach is not
// waited for.
func (w *world) settles(s *amqp.Session, h how) *in {
	w.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; {
		r, box, err := tryRead(w.t.Context(), s, h)
		if err == nil {
			box.r, box.t = r, w.t
			return box
		}
		if time.Now().After(until) {
			w.t.Fatal(err)
		}
	}
}

// TestFiveReaders bounds the readers of one partition in one group.
func TestFiveReaders(t *testing.T) {
	w := open(t, nil)
	var boxes []*in
	for range 5 {
		boxes = append(boxes, w.read(w.client(), how{}))
	}
	if _, _, err := tryRead(t.Context(), w.client(), how{}); claimstest.Condition(err) != hubamqp.ResourceLimit {
		t.Fatalf("a sixth reader: %v", err)
	}
	w.read(w.client(), how{partition: "1"})
	w.read(w.client(), how{group: "analytics"})
	w.fill(0, 1, event(1))
	for _, box := range boxes {
		box.want(0, 1)
	}
	// A place becomes free with the detach: the next attach on the same
	// connection finds it.
	s := boxes[0].r.Session()
	boxes[0].r.Close(nil)
	w.read(s, how{})
	// And with a connection that is gone without a word.
	boxes[1].r.Conn().Abort(nil)
	w.settles(w.client(), how{})
	// One with an epoch takes the places of all.
	w.read(w.client(), how{epoch: 1})
	if got := boxes[2].ended(); got != amqp.LinkStolen {
		t.Errorf("ended with %s", got)
	}
}

// TestReadersModel attaches and ends readers at random and looks for what must
// always hold.
func TestReadersModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	w := open(t, nil)
	type one struct {
		*in
		epoch int64
	}
	var alive []one
	for range 300 {
		if len(alive) > 0 && rnd.IntN(3) == 0 {
			i := rnd.IntN(len(alive))
			s := alive[i].r.Session()
			alive[i].r.Close(nil)
			if alive[i].epoch == 0 {
				w.settles(s, how{partition: "1", none: true}).r.Close(nil) // the detach was dealt with
			} else {
				w.settles(s, how{partition: "1", epoch: 9, none: true}).r.Close(nil)
			}
			alive = append(alive[:i], alive[i+1:]...)
			continue
		}
		epoch := int64(rnd.IntN(4))
		highest := int64(0)
		for _, o := range alive {
			highest = max(highest, o.epoch)
		}
		want := ""
		switch {
		case epoch < highest:
			want = amqp.LinkStolen
		case epoch == 0 && len(alive) == 5:
			want = hubamqp.ResourceLimit
		}
		r, box, err := tryRead(t.Context(), w.client(), how{epoch: epoch})
		if want != "" {
			if claimstest.Condition(err) != want {
				t.Fatalf("epoch %d beside %d readers, the highest %d: %v, want %s", epoch, len(alive), highest, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("epoch %d beside %d readers, the highest %d: %v", epoch, len(alive), highest, err)
		}
		box.r, box.t = r, t
		if epoch > 0 {
			for _, o := range alive {
				if got := o.ended(); got != amqp.LinkStolen {
					t.Fatalf("ended with %s", got)
				}
			}
			alive = nil
		}
		alive = append(alive, one{box, epoch})
	}
}

// fewer is a directory from which consumer groups go. It has those of hubs.
type fewer struct {
	hubs
	mu    sync.Mutex
	gone  string
	asked func() // before each answer
}

func (f *fewer) HasConsumerGroup(name, group string) bool {
	f.mu.Lock()
	asked, gone := f.asked, f.gone
	f.mu.Unlock()
	if asked != nil {
		asked()
	}
	return !strings.EqualFold(group, gone) && f.hubs.HasConsumerGroup(name, group)
}

// set takes a consumer group away, and has others wait.
func (f *fewer) set(gone string, asked func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone, f.asked = gone, asked
}

// TestDeletedGroup ends the readers of a consumer group that is deleted, and of no
// other.
func TestDeletedGroup(t *testing.T) {
	groups := &fewer{}
	w := open(t, func(w *world) { w.plane.Directory = groups })
	s := w.client()
	one, two := w.read(s, how{group: "analytics", epoch: 1}), w.read(w.client(), how{group: "Analytics", partition: "1"})
	stays := w.read(s, how{})
	w.plane.Recheck(hub) // nothing has changed
	groups.set("ANALYTICS", nil)
	w.plane.Recheck("another")
	w.fill(0, 1, event(1))
	one.want(0, 1)
	w.plane.Recheck(hub)
	if a, b := one.ended(), two.ended(); a != amqp.NotFound || b != amqp.NotFound {
		t.Errorf("ended with %s, %s", a, b)
	}
	if _, _, err := tryRead(t.Context(), s, how{group: "analytics"}); claimstest.Condition(err) != amqp.NotFound {
		t.Errorf("a new reader: %v", err)
	}
	w.fill(0, 1, event(1))
	stays.want(0, 2)
}

// TestGroupDeletedMeanwhile: who attaches while its consumer group is deleted does
// not stay.
func TestGroupDeletedMeanwhile(t *testing.T) {
	groups := &fewer{}
	w := open(t, func(w *world) { w.plane.Directory = groups })
	n := 0
	groups.set("", func() {
		if n++; n == 1 { // after the first look, with its answer
			groups.set("analytics", nil)
			w.plane.Recheck(hub)
		}
	})
	if _, _, err := tryRead(t.Context(), w.client(), how{group: "analytics"}); claimstest.Condition(err) != amqp.NotFound {
		t.Errorf("attached: %v", err)
	}
	groups.set("", nil)
	w.read(w.client(), how{group: "analytics", epoch: 0})
}
