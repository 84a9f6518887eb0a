package codec

import "encoding/binary"

// Most frames are transfers, and most transfers say nothing unusual. What is
// here writes and reads these by hand, with the bytes and the fields that the
// table of [Transfer] gives, in a fraction of the time. Everything else about
// transfers, errors above all, is left to the table.

// AppendTransfer appends the frame that [AppendFrame] appends. It does not make t
// escape to the heap.
func AppendTransfer(dst []byte, channel uint16, t *Transfer, payload []byte) []byte {
	if !t.usual() {
		c := *t
		return AppendFrame(dst, channel, &c, payload)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, FrameHeaderSize/4, byte(FrameAMQP), byte(channel>>8), byte(channel),
		cDescribed, cUlong8, byte(CodeTransfer), cList8, 0, 0)
	list := len(dst)
	dst = appendUint(dst, t.Handle)
	if t.DeliveryID.OK {
		dst = appendUint(dst, t.DeliveryID.V)
	} else {
		dst = append(dst, cNull)
	}
	if len(t.DeliveryTag) > 0 {
		dst = append(dst, cBinary8, byte(len(t.DeliveryTag)))
		dst = append(dst, t.DeliveryTag...)
	} else {
		dst = append(dst, cNull)
	}
	if t.MessageFormat.OK {
		dst = appendUint(dst, t.MessageFormat.V)
	} else {
		dst = append(dst, cNull)
	}
	switch {
	case !t.Settled.OK:
		dst = append(dst, cNull)
	case t.Settled.V:
		dst = append(dst, cTrue)
	default:
		dst = append(dst, cFalse)
	}
	if t.More {
		dst = append(dst, cTrue)
	} else {
		dst = append(dst, cNull)
	}
	dst = append(dst, cNull, cNull, cNull, cNull, cNull) // the unusual fields
	dst[list-2], dst[list-1] = byte(len(dst)-list+1), 11
	dst = append(dst, payload...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// usual reports whether AppendTransfer writes t by hand.
func (p *Transfer) usual() bool {
	return !p.RcvSettleMode.OK && p.State.Kind == 0 && p.State.Extension.kind == KindNull &&
		!p.Resume && !p.Aborted && !p.Batchable &&
		(p.DeliveryTag == nil || len(p.DeliveryTag) > 0 && len(p.DeliveryTag) <= MaxDeliveryTag)
}

func appendUint(dst []byte, n uint32) []byte {
	switch {
	case n == 0:
		return append(dst, cUint0)
	case n < 1<<8:
		return append(dst, cUint8, byte(n))
	}
	return append(dst, cUint, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// read reads the body of a frame by hand, and reports whether it could; what is
// in p otherwise does not count.
func (p *Transfer) read(body []byte) (payload []byte, ok bool) {
	const head = 6 // the descriptor, then constructor, size and count of the list
	if len(body) < head || body[0] != cDescribed || body[1] != cUlong8 || body[2] != byte(CodeTransfer) || body[3] != cList8 {
		return nil, false
	}
	end, count := head-1+int(body[4]), body[5]
	if end > len(body) || end < head || count == 0 || count > 11 {
		return nil, false
	}
	*p = Transfer{}
	r := plainList{b: body[head:end]}
	for i := range count {
		switch i {
		case 0:
			handle := r.uint()
			p.Handle, r.bad = handle.V, r.bad || !handle.OK
		case 1:
			p.DeliveryID = r.uint()
		case 2:
			p.DeliveryTag = r.tag()
		case 3:
			p.MessageFormat = r.uint()
		case 4:
			p.Settled = r.bool()
		case 5:
			p.More = r.bool().V
		case 8:
			p.Resume = r.bool().V
		case 9:
			p.Aborted = r.bool().V
		case 10:
			p.Batchable = r.bool().V
		default: // a settle mode or a state, which is unusual
			r.null()
		}
	}
	return body[end:], !r.bad && len(r.b) == 0
}

// plainList reads the elements of a list. Once something is not as expected, bad
// is set.
type plainList struct {
	b   []byte
	bad bool
}

// next cuts n bytes off.
func (r *plainList) next(n int) []byte {
	if len(r.b) < n {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// code cuts a constructor off; it is 0, which is none, when there is nothing.
func (r *plainList) code() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *plainList) null() {
	if r.code() != cNull {
		r.bad = true
	}
}

func (r *plainList) uint() Optional[uint32] {
	switch r.code() {
	case cNull:
		return Optional[uint32]{}
	case cUint0:
		return Some(uint32(0))
	case cUint8:
		if b := r.next(1); b != nil {
			return Some(uint32(b[0]))
		}
	case cUint:
		if b := r.next(4); b != nil {
			return Some(binary.BigEndian.Uint32(b))
		}
	}
	r.bad = true
	return Optional[uint32]{}
}

func (r *plainList) bool() Optional[bool] {
	switch r.code() {
	case cNull:
		return Optional[bool]{}
	case cTrue:
		return Some(true)
	case cFalse:
		return Some(false)
	}
	r.bad = true
	return Optional[bool]{}
}

func (r *plainList) tag() []byte {
	switch r.code() {
	case cNull:
		return nil
	case cBinary8:
		if n := r.next(1); n != nil && n[0] > 0 && n[0] <= MaxDeliveryTag {
			if b := r.next(int(n[0])); b != nil {
				return b
			}
		}
	}
	r.bad = true
	return nil
}
