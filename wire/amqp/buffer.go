package amqp

import "sync"

// readBuffer is the size of the buffer that a burst begins with. For frames
// that do not fit it is exchanged for a larger one.
const readBuffer = 32 << 10

// maxKept is the largest buffer that is kept for reuse.
const maxKept = 512 << 10

// pools holds idle buffers whose capacity is at least 2 KiB << i.
var pools [9]sync.Pool

// class returns the pool for buffers of n bytes.
func class(n int) int {
	i := 0
	for size := 2 << 10; size < n; size <<= 1 {
		i++
	}
	return i
}

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	i := class(n)
	if i >= len(pools) {
		return make([]byte, 0, n)
	}
	if b, ok := pools[i].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 2<<10<<i)
}

// putBuffer keeps a buffer of getBuffer, which may have grown.
func putBuffer(b []byte) {
	if c := cap(b); c >= 2<<10 && c <= maxKept {
		i := class(c)
		if c < 2<<10<<i {
			i-- // between two classes: it is good for the lower one
		}
		kept := b[:0] // only this escapes, and only here
		pools[i].Put(&kept)
	}
}
