// Package chunk lends buffers to messages on their way to a client.
package chunk

import "sync"

// Max is the capacity of the largest buffer that is kept for reuse.
const Max = 64 << 10

var pool = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// Get returns an empty buffer, to be appended to.
func Get() []byte { return (*pool.Get().(*[]byte))[:0] }

// Put gives a buffer back that nobody looks at any more, whether it grew or not.
func Put(b []byte) {
	if cap(b) > 0 && cap(b) <= Max {
		kept := b[:0] // only this escapes, and only here
		pool.Put(&kept)
	}
}
