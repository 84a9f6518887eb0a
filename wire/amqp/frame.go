package amqp

import (
	"encoding/binary"

	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// decode deals with all whole frames in w. It returns where the rest begins,
// and how many bytes make a frame of it, 0 for no rest. An error is the end of
// the connection.
func (c *Conn) decode(w *work) (pos, need int, err error) {
	for pos < w.fill {
		b := w.buf.b[pos:w.fill]
		switch c.phase {
		case discard:
			return w.fill, 0, nil
		case expectHeader, expectAMQP:
			n, err := c.header(b)
			if err != nil {
				c.wrongHeader(err)
				continue
			}
			if n == 0 {
				return pos, codec.HeaderSize, nil
			}
			pos += n
			continue
		}
		most := c.cfg.MaxFrameSize
		if c.phase == inSASL {
			most = maxSASLFrame
		}
		f, n, err := codec.Split(b, most)
		if err != nil {
			c.fatal(err, true)
			continue
		}
		if n == 0 {
			if need = codec.FrameHeaderSize; len(b) >= need {
				need = int(binary.BigEndian.Uint32(b))
			}
			return pos, need, nil
		}
		pos += n
		err = c.frame(w, f)
		if err == errOver { //nolint:errorlint // frame returns it as it is
			return pos, 0, err
		}
		if err != nil {
			c.fatal(err, false)
			continue
		}
		if w.handed >= c.cfg.Burst {
			c.burstEnd()
		}
	}
	return pos, 0, nil
}

// fatal tells the peer that the connection cannot go on, and lets it hear so:
// what else it sends is thrown away until it closes. With lost, it cannot be told
// any more where frames begin.
func (c *Conn) fatal(err error, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase < expectOpen {
		c.partLocked(err) // there is no frame to say it with
		return
	}
	if c.cause == nil && !c.closed {
		c.cause = err
	}
	if c.closed {
		lost = true // it goes on with that
	}
	c.closeLocked(conditionOf(err))
	if c.phase = closing; lost {
		c.phase = discard
	}
}

// frame deals with one frame.
func (c *Conn) frame(w *work, f codec.Frame) error {
	if c.phase == inSASL {
		return c.saslFrame(f)
	}
	if f.Type != codec.FrameAMQP {
		return Refuse(FramingError, "a frame of type %d after the SASL dialogue", f.Type)
	}
	if len(f.Body) == 0 {
		return nil // only says that the peer is there
	}
	code, err := f.Code()
	if err != nil {
		return err
	}
	if c.phase == closing && code != codec.CodeClose {
		return nil
	}
	if c.phase == expectOpen && code != codec.CodeOpen && code != codec.CodeClose {
		return Refuse(IllegalState, "%v before the open", code)
	}
	switch code {
	case codec.CodeDetach, codec.CodeEnd, codec.CodeClose:
		if w.handed > 0 {
			c.burstEnd() // after these nothing can be settled any more
		}
	}
	switch code {
	case codec.CodeTransfer:
		payload, err := f.Decode(&w.transfer)
		if err != nil {
			return err
		}
		return c.onTransfer(f.Channel, &w.transfer, payload)
	case codec.CodeDisposition:
		if _, err := f.Decode(&w.disposition); err != nil {
			return err
		}
		return c.onDisposition(f.Channel, &w.disposition)
	case codec.CodeFlow:
		if _, err := f.Decode(&w.flow); err != nil {
			return err
		}
		return c.onFlow(f.Channel, &w.flow)
	case codec.CodeOpen:
		var p codec.Open
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onOpen(&p)
	case codec.CodeBegin:
		var p codec.Begin
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onBegin(f.Channel, &p)
	case codec.CodeAttach:
		var p codec.Attach
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onAttach(f.Channel, &p)
	case codec.CodeDetach:
		var p codec.Detach
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onDetach(f.Channel, &p)
	case codec.CodeEnd:
		var p codec.End
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onEnd(f.Channel, &p)
	case codec.CodeClose:
		var p codec.Close
		if _, err := f.Decode(&p); err != nil {
			return err
		}
		return c.onClose(&p)
	}
	return Refuse(FramingError, "%v is not the performative of a frame", code)
}
