package seglog

import (
	"errors"
	"io"
	"sync"
)

// chunk reads a file in big pieces and hands out views of them. It is used by
// one goroutine.
type chunk struct {
	f     io.ReaderAt
	buf   []byte
	start int64 // position of buf[0] in the file
	limit int64 // nothing is read at or behind it
	step  int   // bytes to read at once
}

// chunkBuffers holds the buffers of chunks between reads. They begin empty and
// grow to what is asked of them.
var chunkBuffers = sync.Pool{New: func() any { return new([]byte) }}

// newChunk returns a chunk over f up to limit that reads about step bytes at
// once. Its buffer goes back with free.
func newChunk(f io.ReaderAt, limit int64, step int) *chunk {
	b := chunkBuffers.Get().(*[]byte)
	return &chunk{f: f, buf: (*b)[:0], limit: limit, step: min(step, maxChunkBytes)}
}

// free gives the buffer back; views of it are dead.
func (c *chunk) free() {
	b := c.buf[:0]
	c.buf = nil
	chunkBuffers.Put(&b)
}

// at returns the bytes from pos on: at least n, unless the limit or the end of
// the file comes first. They are valid until the next call.
func (c *chunk) at(pos int64, n int) ([]byte, error) {
	if off := pos - c.start; off >= 0 && off+int64(n) <= int64(len(c.buf)) {
		return c.buf[off:], nil
	}
	want := int(min(int64(max(n, c.step)), c.limit-pos))
	if want <= 0 {
		return nil, nil
	}
	if cap(c.buf) < want {
		c.buf = make([]byte, 0, want)
	}
	c.start, c.buf = pos, c.buf[:want]
	got, err := c.f.ReadAt(c.buf, pos)
	c.buf = c.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return c.buf, nil
}

// frame returns the valid frame at pos, or false. The payload is valid until
// the next call.
func (c *chunk) frame(pos int64, partitions int, seed uint32) (frame, bool, error) {
	b, err := c.at(pos, frameHeader)
	if err != nil {
		return frame{}, false, err
	}
	n, ok := frameLength(b, partitions, seed)
	if !ok {
		return frame{}, false, nil
	}
	if n > len(b) {
		if b, err = c.at(pos, n); err != nil {
			return frame{}, false, err
		}
	}
	f, ok := parseFrame(b, partitions, seed)
	return f, ok, nil
}

// buffered reports whether the frame at pos would be read without touching the
// file, so that views handed out before stay valid.
func (c *chunk) buffered(pos int64, partitions int, seed uint32) bool {
	off := pos - c.start
	if off < 0 || off+frameHeader > int64(len(c.buf)) {
		return false
	}
	n, ok := frameLength(c.buf[off:], partitions, seed)
	return ok && off+int64(n) <= int64(len(c.buf))
}
