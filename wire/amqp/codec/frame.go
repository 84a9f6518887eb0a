package codec

import (
	"encoding/binary"
)

// FrameType says whose frame it is (part 2 §2.3.2, part 5 §5.3.2).
type FrameType uint8

// The types of frames.
const (
	FrameAMQP FrameType = 0
	FrameSASL FrameType = 1
)

// Frame is a frame that was cut from a stream but whose body was not looked at.
type Frame struct {
	Type    FrameType
	Channel uint16 // of AMQP frames
	Body    []byte // performative and payload; empty in a heartbeat
}

// Split cuts the first frame off b; its body points into b. n is the size of
// the frame, or 0 when b does not have all of it yet. A frame that is larger
// than most is refused as soon as its size is known. The error is an *Error.
func Split(b []byte, most uint32) (f Frame, n int, err error) {
	if len(b) < FrameHeaderSize {
		return Frame{}, 0, nil
	}
	size, offset := binary.BigEndian.Uint32(b), uint32(b[4])*4
	switch {
	case size < FrameHeaderSize:
		return Frame{}, 0, framingf("frame of %d bytes is shorter than its header", size)
	case size > most:
		return Frame{}, 0, framingf("frame of %d bytes is larger than the %d that were agreed on", size, most)
	case offset < FrameHeaderSize:
		return Frame{}, 0, framingf("data offset of %d bytes is within the header of the frame", offset)
	case offset > size:
		return Frame{}, 0, framingf("data offset of %d bytes is after the end of the frame", offset)
	case b[5] > uint8(FrameSASL):
		return Frame{}, 0, framingf("unknown frame type %d", b[5])
	}
	if uint64(len(b)) < uint64(size) {
		return Frame{}, 0, nil
	}
	f = Frame{Type: FrameType(b[5]), Body: b[offset:size:size]}
	if f.Type == FrameAMQP {
		f.Channel = binary.BigEndian.Uint16(b[6:])
	}
	return f, int(size), nil
}

// Code returns the descriptor of the frame's performative, for choosing what to
// decode it into. The error is an *Error.
func (f Frame) Code() (Code, error) {
	code, _, err := describedAs(view(f.Body))
	return code, err
}

// Decode overwrites p with the performative of the frame, which must be of p's
// type, and returns the payload after it. All of it points into the frame. The
// error is an *Error.
func (f Frame) Decode(p Performative) (payload []byte, err error) {
	if t, ok := p.(*Transfer); ok {
		if payload, ok := t.read(f.Body); ok {
			return payload, nil
		}
	}
	return f.decode(p)
}

// decode is Decode along the table of the performative.
func (f Frame) decode(p Performative) (payload []byte, err error) {
	code, list, err := describedAs(view(f.Body))
	if err != nil {
		return nil, err
	}
	if code != p.Code() {
		return nil, malformedf("performative is a %v instead of a %v", code, p.Code())
	}
	rest, err := readComposite(list, p, MaxDepth-1)
	if err != nil {
		return nil, err
	}
	if rest != "" && code != CodeTransfer {
		return nil, malformedf("bytes after a %v", code)
	}
	return f.Body[len(f.Body)-len(rest):], nil
}

// Performative decodes the frame into a new performative of its type. The error
// is an *Error.
func (f Frame) Performative() (p Performative, payload []byte, err error) {
	code, err := f.Code()
	if err != nil {
		return nil, nil, err
	}
	if p = newPerformative(f.Type, code); p == nil {
		return nil, nil, malformedf("%v does not belong into a frame of type %d", code, f.Type)
	}
	if payload, err = f.Decode(p); err != nil {
		return nil, nil, err
	}
	return p, payload, nil
}

func newPerformative(t FrameType, code Code) Performative {
	if t == FrameSASL {
		switch code {
		case CodeSASLMechanisms:
			return new(SASLMechanisms)
		case CodeSASLInit:
			return new(SASLInit)
		case CodeSASLChallenge:
			return new(SASLChallenge)
		case CodeSASLResponse:
			return new(SASLResponse)
		case CodeSASLOutcome:
			return new(SASLOutcome)
		}
		return nil
	}
	switch code {
	case CodeOpen:
		return new(Open)
	case CodeBegin:
		return new(Begin)
	case CodeAttach:
		return new(Attach)
	case CodeFlow:
		return new(Flow)
	case CodeTransfer:
		return new(Transfer)
	case CodeDisposition:
		return new(Disposition)
	case CodeDetach:
		return new(Detach)
	case CodeEnd:
		return new(End)
	case CodeClose:
		return new(Close)
	}
	return nil
}

// AppendFrame appends a frame of p and payload to dst; with p nil, the empty
// frame that keeps a connection alive. The channel is that of an AMQP frame.
// The caller sees to it that the peer takes frames of that size.
func AppendFrame(dst []byte, channel uint16, p Performative, payload []byte) []byte {
	start := len(dst)
	t := FrameAMQP
	if p != nil && p.Code() >= CodeSASLMechanisms {
		t, channel = FrameSASL, 0
	}
	dst = append(dst, 0, 0, 0, 0, FrameHeaderSize/4, byte(t), byte(channel>>8), byte(channel))
	if p != nil {
		dst = appendComposite(dst, p)
	}
	dst = append(dst, payload...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// Protocol is the protocol that a connection is to speak (part 2 §2.2).
type Protocol uint8

// The protocols.
const (
	ProtocolAMQP Protocol = 0
	ProtocolTLS  Protocol = 2
	ProtocolSASL Protocol = 3
)

// HeaderSize is the number of bytes of a protocol header.
const HeaderSize = 8

// Append appends the protocol header, for version 1.0.0.
func (p Protocol) Append(dst []byte) []byte {
	return append(dst, 'A', 'M', 'Q', 'P', byte(p), 1, 0, 0)
}

// ParseProtocol reads a protocol header. The error of a header that is not that
// of AMQP 1.0.0 is an *Error; the answer is a header of our own, then the end
// of the connection.
func ParseProtocol(h [HeaderSize]byte) (Protocol, error) {
	switch {
	case string(h[:4]) != "AMQP":
		return 0, framingf("%q is not a protocol header of AMQP", h[:])
	case h[5] != 1 || h[6] != 0 || h[7] != 0:
		return 0, framingf("AMQP %d.%d.%d is not supported, 1.0.0 is", h[5], h[6], h[7])
	}
	switch p := Protocol(h[4]); p {
	case ProtocolAMQP, ProtocolTLS, ProtocolSASL:
		return p, nil
	}
	return 0, framingf("unknown protocol id %d", h[4])
}
