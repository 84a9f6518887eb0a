package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Reader cuts frames from a stream. Its buffer grows with the bytes that have
// arrived, up to the largest frame.
type Reader struct {
	r          io.Reader
	most       uint32
	buf        []byte
	start, end int // of the bytes in buf that were not returned yet
}

// minBuffer is the number of bytes that a Reader has room for at least.
const minBuffer = 4 << 10

// NewReader returns a Reader of frames up to most bytes.
func NewReader(r io.Reader, most uint32) *Reader {
	return &Reader{r: r, most: max(most, MinMaxFrameSize)}
}

// SetLimit changes the size of frames that are accepted from now on.
func (r *Reader) SetLimit(most uint32) { r.most = max(most, MinMaxFrameSize) }

// Buffered returns the number of bytes that were read but not returned yet.
func (r *Reader) Buffered() int { return r.end - r.start }

// Protocol reads a protocol header. The errors are those of Next and
// ParseProtocol.
func (r *Reader) Protocol() (Protocol, error) {
	for r.Buffered() < HeaderSize {
		if err := r.fill(HeaderSize); err != nil {
			return 0, err
		}
	}
	h := [HeaderSize]byte(r.buf[r.start:])
	r.start += HeaderSize
	return ParseProtocol(h)
}

// Next reads a frame. Its body is valid until the next call. At the end of the
// stream the error is io.EOF, or io.ErrUnexpectedEOF within a frame; it is an
// *Error when the bytes are no frame.
func (r *Reader) Next() (Frame, error) {
	for {
		f, n, err := Split(r.buf[r.start:r.end], r.most)
		if err != nil {
			return Frame{}, err
		}
		if n > 0 {
			r.start += n
			return f, nil
		}
		want := FrameHeaderSize
		if r.Buffered() >= want {
			want = int(min(binary.BigEndian.Uint32(r.buf[r.start:]), math.MaxInt32))
		}
		if err := r.fill(want); err != nil {
			return Frame{}, err
		}
	}
}

// fill reads once, towards having want bytes. A peer that announces much and
// sends little gets a buffer of at most twice what it has sent.
func (r *Reader) fill(want int) error {
	have := r.Buffered()
	if r.start > 0 && (have == 0 || len(r.buf)-r.start < want) {
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, have
	}
	if r.end == len(r.buf) {
		// A frame of want bytes does not fit, or else start was not 0.
		larger := make([]byte, max(minBuffer, min(want, 2*have)))
		copy(larger, r.buf)
		r.buf = larger
	}
	n, err := r.r.Read(r.buf[r.end:])
	r.end += n
	switch {
	case n > 0 || err == nil:
		return nil // an error comes again; nothing at all may come, too
	case errors.Is(err, io.EOF) && have > 0:
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return fmt.Errorf("read a frame: %w", err)
}
