package c2d

import (
	"container/heap"
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
