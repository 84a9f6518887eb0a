package amqp

import "sync"

// readBuffer is the size of the buffer that a burst begins with. For frames
// that do not fit it is exchanged for a larger one.
const readBuffer = 32 << 10

// The capacities of the smallest and of the largest buffer that is kept for
// reuse.
const (
	leastKept = 2 << 10
	mostKept  = 512 << 10
)

// buffer is bytes that come from a pool and go back to it.
type buffer struct{ b []byte }

// pools holds idle buffers whose capacity is at least leastKept << i.
var pools [9]sync.Pool

// class returns the pool for buffers of n bytes.
func class(n int) int {
	i := 0
	for size := leastKept; size < n; size <<= 1 {
		i++
	}
	return i
}

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) *buffer {
	i := class(n)
	if i >= len(pools) {
		return &buffer{make([]byte, 0, n)}
	}
	if b, ok := pools[i].Get().(*buffer); ok {
		return b
	}
	return &buffer{make([]byte, 0, leastKept<<i)}
}

// free gives back a buffer, which may have grown; nil is none.
func (b *buffer) free() {
	if b == nil {
		return
	}
	if c := cap(b.b); c >= leastKept && c <= mostKept {
		i := class(c)
		if c < leastKept<<i {
			i-- // between two classes: it is good for the lower one
		}
		b.b = b.b[:0]
		pools[i].Put(b)
	}
}

// reserve makes room for n bytes more. The buffer that it returns takes the
// place of b, and holds at most as many bytes as most, or as are needed.
func (b *buffer) reserve(n, most int) *buffer {
	need := n
	if b != nil {
		if cap(b.b)-len(b.b) >= n {
			return b
		}
		// Twice as much, so that many small steps copy each byte once or so.
		need = max(len(b.b)+n, min(2*cap(b.b), most))
	}
	grown := getBuffer(need)
	if b != nil {
		grown.b = append(grown.b, b.b...)
		b.free()
	}
	return grown
}
