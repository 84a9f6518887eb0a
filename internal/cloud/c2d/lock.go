package c2d

import (
	"container/heap"
	"crypto/rand"
	"time"

	"github.com/causeway-iot/causeway"
)

// lock is one delivery that is not settled yet.
type lock struct {
	token    causeway.LockToken
	queue    *queue
	deadline time.Time
	index    int // in its heap, -1 when it is in none
}

// newToken returns a random UUID, version 4 (RFC 9562 §5.4).
func newToken() (t causeway.LockToken) {
	_, _ = rand.Read(t[:]) // never fails, see crypto/rand
	t[6] = t[6]&0x0f | 0x40
	t[8] = t[8]&0x3f | 0x80
	return t
}

// lockHeap orders locks by deadline; it implements [heap.Interface].
type lockHeap []*lock

func (h lockHeap) Len() int           { return len(h) }
func (h lockHeap) Less(i, j int) bool { return h[i].deadline.Before(h[j].deadline) }
func (h lockHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *lockHeap) Push(x any) {
	l := x.(*lock)
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop implements [heap.Interface].
func (h *lockHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.index = -1
	return l
}

// add and remove are the heap's, in the types of here.
func (h *lockHeap) add(l *lock) { heap.Push(h, l) }

func (h *lockHeap) remove(l *lock) {
	if l.index >= 0 {
		heap.Remove(h, l.index)
	}
}

// due removes and returns a lock whose deadline is not after now, nil when
// there is none.
func (h *lockHeap) due(now time.Time) *lock {
	if len(*h) == 0 || (*h)[0].deadline.After(now) {
		return nil
	}
	return heap.Pop(h).(*lock)
}
