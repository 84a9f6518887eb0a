package mqtt

import (
	"bytes"
	"errors"
	"io"
)

// Frame is one packet as it stands on the wire: the parts of its fixed header
// and what follows.
type Frame struct {
	Type  Type
	Flags byte // low four bits of the first byte
	Body  []byte
}

// Split cuts the first packet off b. It returns the packet and the number of
// bytes it takes; a count of zero without an error means that b does not hold
// a whole packet yet, and need is how many bytes are known to be needed then.
//
// max bounds the remaining length (the body); a packet that claims more is
// refused as soon as its header is there. The version matters for one rule: in
// MQTT 5 a length must be written in as few bytes as possible [MQTT-1.5.5-1].
// It is 0 before a CONNECT told it. The error is an *Error.
func Split(b []byte, v Version, max int) (f Frame, n, need int, err error) {
	if len(b) < 2 {
		return Frame{}, 0, 2, nil
	}
	f.Type, f.Flags = Type(b[0]>>4), b[0]&0x0F
	if f.Type < CONNECT || f.Type == AUTH && v == V311 {
		return f, 0, 0, malformed(f.Type, "reserved packet type")
	}
	length, i := int(b[1]), 2
	if length >= 0x80 {
		length &= 0x7F
		for shift := 7; ; shift += 7 {
			if i == MaxHeader {
				return f, 0, 0, malformed(f.Type, "remaining length has more than four bytes")
			}
			if i == len(b) {
				return Frame{}, 0, i + 1, nil
			}
			c := b[i]
			i++
			length |= int(c&0x7F) << shift
			if c < 0x80 {
				if c == 0 && v == V5 {
					return f, 0, 0, malformed(f.Type, "remaining length is not in its shortest form")
				}
				break
			}
		}
	}
	if length > max {
		return f, 0, 0, &Error{Type: f.Type, Reason: PacketTooLarge, Msg: "packet is larger than allowed here"}
	}
	if len(b)-i < length {
		return Frame{}, 0, i + length, nil
	}
	f.Body = b[i : i+length : i+length]
	return f, i + length, 0, nil
}

// Reader cuts packets out of a stream. It is for whoever reads one connection
// in a goroutine of its own; it is not safe for concurrent use.
type Reader struct {
	// Version is the version to cut and decode for, 0 until it is known.
	Version Version

	src  io.Reader
	max  int
	buf  []byte
	r, w int
}

// minBuffer is the size a Reader's buffer begins with.
const minBuffer = 4 << 10

// NewReader returns a reader of src that refuses packets whose remaining
// length is above max.
func NewReader(src io.Reader, v Version, max int) *Reader {
	return &Reader{Version: v, src: src, max: max}
}

// Next returns the next packet of the stream; its body is valid until the next
// call. Errors are an *Error, io.EOF between packets, io.ErrUnexpectedEOF
// within one, or the source's.
func (r *Reader) Next() (Frame, error) {
	for {
		f, n, need, err := Split(r.buf[r.r:r.w], r.Version, r.max)
		if err != nil {
			return Frame{}, err
		}
		if n > 0 {
			r.r += n
			return f, nil
		}
		if err := r.fill(need); err != nil {
			if errors.Is(err, io.EOF) && r.w > r.r {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
	}
}

// Buffered reports whether a whole packet has already been read, so that Next
// would return without waiting.
func (r *Reader) Buffered() bool {
	_, n, _, err := Split(r.buf[r.r:r.w], r.Version, r.max)
	return n > 0 || err != nil
}

// Packet returns the next packet of the stream, decoded into memory of its
// own. Errors are those of Next and Decode.
func (r *Reader) Packet() (Packet, error) {
	f, err := r.Next()
	if err != nil {
		return nil, err
	}
	f.Body = bytes.Clone(f.Body)
	return Decode(f, r.Version)
}

// fill reads once. It makes room for need bytes step by step, so that a claim
// alone costs at most as much again as has arrived.
func (r *Reader) fill(need int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.r > 0 && r.r+need > len(r.buf) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		size := min(max(minBuffer, 2*len(r.buf)), max(minBuffer, r.max+MaxHeader))
		grown := make([]byte, size)
		r.w = copy(grown, r.buf[r.r:r.w])
		r.r, r.buf = 0, grown
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}
