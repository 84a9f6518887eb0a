package hubamqp

import (
	"strconv"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// fastEvent reads an event of the form that endpoints write, see fast.
func fastEvent(e *Event, s *Scratch, payload []byte) bool {
	*e = Event{Message: causeway.Message{Properties: e.Message.Properties[:0]}}
	m := &e.Message
	mark := len(s.b)
	r := codec.NewScanner(payload)
	last := codec.Code(0)
	for r.More() {
		code := r.Section()
		if code <= last {
			r.Fail()
		}
		last = code
		switch code {
		case codec.CodeDeliveryAnnotations:
			fastRuntime(&r, e)
		case codec.CodeMessageAnnotations:
			fastStamps(&r, e)
		case codec.CodeProperties:
			fastProperties(&r, m, s)
		case codec.CodeApplicationProperties:
			fastApplication(&r, m)
		case codec.CodeData:
			if m.Body = r.Binary(); r.More() {
				r.Fail() // several sections, or a footer
			}
		default:
			r.Fail()
		}
	}
	if r.Failed() {
		s.b = s.b[:mark]
		return false
	}
	return true
}

// fastStamps reads the message annotations of an event.
func fastStamps(r *codec.Scanner, e *Event) {
	m := &e.Message
	var keys keySet
	n := r.Map()
	for ; n > 0 && !r.Failed(); n -= 2 {
		key := r.Symbol()
		if !keys.add(key) {
			r.Fail()
		}
		switch key {
		case annSequence:
			e.Sequence = r.Long()
			m.Sequence = e.Sequence
		case annEnqueuedTime:
			e.Enqueued = timeOf(r.Timestamp())
		case annEnqueued:
			m.Enqueued = timeOf(r.Timestamp())
		default:
			value := r.String()
			if to := stamped(e, key); to != nil {
				*to = value
			}
		}
	}
	r.End()
}

// stamped returns the field for an annotation that is text, or nil.
func stamped(e *Event, name string) *string {
	m := &e.Message
	switch name {
	case annOffset:
		return &e.Offset
	case annPartitionKey:
		return &e.PartitionKey
	case annDevice:
		return &m.From.Device
	case annModule:
		return &m.From.Module
	case annAuth:
		return &m.Auth
	case annGeneration:
		return &m.GenerationID
	case annSource:
		return &m.Source
	case annModelID:
		return &m.ModelID
	}
	return annotation(m, name)
}

// fastRuntime reads the delivery annotations of an event.
func fastRuntime(r *codec.Scanner, e *Event) {
	var keys keySet
	n := r.Map()
	for ; n > 0 && !r.Failed(); n -= 2 {
		key := r.Symbol()
		if !keys.add(key) {
			r.Fail()
		}
		switch key {
		case annLastSequence:
			e.Runtime.Last.Sequence = r.Long()
		case annLastOffset:
			e.LastOffset = r.String()
			e.Runtime.Last.Offset, _ = strconv.ParseInt(e.LastOffset, 10, 64)
		case annLastEnqueued:
			e.Runtime.Last.Enqueued = timeOf(r.Timestamp())
		case annLastRetrieved:
			e.Runtime.Retrieved = timeOf(r.Timestamp())
		default:
			r.Fail()
		}
	}
	r.End()
}
