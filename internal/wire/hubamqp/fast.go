package hubamqp

import (
	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// fastKeys is the number of keys in a map up to which comparing every key with
// every other is fast.
const fastKeys = 16

// fast reads a message of the form that device clients write: it does what decode
// does, several times as fast, or reports false and has done nothing that counts.
// A test holds the two to be the same.
func fast(m *causeway.Message, s *Scratch, payload []byte) bool {
	*m = causeway.Message{Properties: m.Properties[:0]}
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
		case codec.CodeMessageAnnotations:
			fastAnnotations(&r, m)
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

// keySet notices a key that comes twice.
type keySet struct {
	keys [fastKeys]string
	n    int
}

// add reports whether key is new and there was room for it.
func (k *keySet) add(key string) bool {
	for i := range k.n {
		if len(k.keys[i]) == len(key) && k.keys[i] == key {
			return false
		}
	}
	if k.n == fastKeys {
		return false
	}
	k.keys[k.n] = key
	k.n++
	return true
}

func fastAnnotations(r *codec.Scanner, m *causeway.Message) {
	var keys keySet
	n := r.Map()
	for ; n > 0 && !r.Failed(); n -= 2 {
		key := r.Symbol()
		value := r.String()
		if !keys.add(key) {
			r.Fail()
		}
		if to := annotation(m, key); to != nil {
			*to = value
		}
	}
	r.End()
}

func fastApplication(r *codec.Scanner, m *causeway.Message) {
	var keys keySet
	n := r.Map()
	for ; n > 0 && !r.Failed(); n -= 2 {
		key := r.String()
		value := r.String()
		if !keys.add(key) || !setApplication(m, key, value) {
			r.Fail()
		}
	}
	r.End()
}

// The fields of the properties section by their place.
const (
	fieldMessageID = iota
	fieldUserID
	fieldTo
	fieldSubject
	fieldReplyTo
	fieldCorrelationID
	fieldContentType
	fieldContentEncoding
	fieldExpiry
	// those after it are rare
)

func fastProperties(r *codec.Scanner, m *causeway.Message, s *Scratch) {
	n := r.List()
	for i := 0; i < n && !r.Failed(); i++ {
		if r.Null() {
			continue
		}
		switch i {
		case fieldMessageID:
			m.ID = fastID(r, s)
		case fieldCorrelationID:
			m.CorrelationID = fastID(r, s)
		case fieldUserID:
			m.UserID = s.bytes(r.Binary())
		case fieldTo:
			m.To = r.String()
		case fieldSubject, fieldReplyTo:
			_ = r.String()
		case fieldContentType:
			m.ContentType = r.Symbol()
		case fieldContentEncoding:
			m.ContentEncoding = r.Symbol()
		case fieldExpiry:
			m.Expiry = timeOf(r.Timestamp())
		default:
			r.Fail()
		}
	}
	r.End()
}

func fastID(r *codec.Scanner, s *Scratch) string {
	if !r.IsUUID() {
		return r.String()
	}
	from := len(s.b)
	s.b = appendUUID(s.b, r.UUID())
	return view(s.b[from:])
}
