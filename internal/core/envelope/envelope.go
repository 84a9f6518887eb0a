// Package envelope is the binary form of a [causeway.Message] in logs and
// queues.
//
// It knows which parts of a message are kept and how they are laid out, and
// nothing of where the bytes are stored. What it does not keep: From.Hub (every
// log and queue belongs to one hub), and Sequence, DeliveryCount and Lock, which
// are facts of the place that holds the message.
//
// # Format, version 1
//
//	byte     version, 1
//	uvarint  presence, one bit per field, see below
//	varint   Expiry    in µs since 1970, when present
//	varint   Enqueued  in µs since 1970, when present
//	uvarint  length of each text that is present, in the order of its bit
//	uvarint  number of application properties, when present
//	uvarint  length of key, length of value; for each property
//	uvarint  length of the body, when present
//	bytes    the texts, then keys and values, one after another
//	bytes    the body
//
// A length n of a text is written n<<1; for a text of the dictionary
// (dictionary.go) i<<1|1 is written instead, i being its index, and no bytes
// follow. Times keep the microsecond. Nothing may follow the body. Every
// message has exactly one form: lengths are minimal, empty texts are absent,
// and dictionary texts are always written as such where the dictionary applies.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
	"unsafe"

	"github.com/causeway-iot/causeway"
)

// Version is the version of the format that Append writes.
const Version = 1

// MaxProperties bounds the application properties of one message; Decode
// refuses more. A message of the largest legal size cannot reach it with
// properties that have a name.
const MaxProperties = 1 << 18

// noTime is the zero time in µs since 1970; it is written as absent.
const noTime = -62135596800_000000

// The errors of Decode, wrapped with what was being read.
var (
	// ErrVersion says that the bytes were written by a newer program.
	ErrVersion = errors.New("envelope: unknown format version")
	// ErrMalformed says that the bytes are not an envelope.
	ErrMalformed = errors.New("envelope: malformed")
)

// The presence bits that are not texts. Bits [0, numTexts) are the texts in the
// order of texts.
const (
	hasExpiry = 1 << (numTexts + iota)
	hasEnqueued
	hasProperties
	hasBody

	allBits = 1<<(numTexts+4) - 1
)

// The texts of a message by bit. The order is the format: append only, and
// raise the version when a reader of version 1 could not skip it.
const (
	textDevice = iota
	textModule
	textAuth
	textGenerationID
	textSource
	textModelID
	textID
	textCorrelationID
	textUserID
	textTo
	textContentType
	textContentEncoding
	textCreationTime
	textAck
	textSchema
	textInterfaceID
	textComponent
	textOperation
	textOutput
	textInput
	textDiagnosticID
	textDiagnosticCtx
	numTexts
)

// texts returns the texts of m by bit.
func texts(m *causeway.Message) [numTexts]string {
	return [numTexts]string{
		textDevice:          m.From.Device,
		textModule:          m.From.Module,
		textAuth:            m.Auth,
		textGenerationID:    m.GenerationID,
		textSource:          m.Source,
		textModelID:         m.ModelID,
		textID:              m.ID,
		textCorrelationID:   m.CorrelationID,
		textUserID:          m.UserID,
		textTo:              m.To,
		textContentType:     m.ContentType,
		textContentEncoding: m.ContentEncoding,
		textCreationTime:    m.CreationTime,
		textAck:             string(m.Ack),
		textSchema:          m.Schema,
		textInterfaceID:     m.InterfaceID,
		textComponent:       m.Component,
		textOperation:       m.Operation,
		textOutput:          m.Output,
		textInput:           m.Input,
		textDiagnosticID:    m.DiagnosticID,
		textDiagnosticCtx:   m.DiagnosticCtx,
	}
}

// setTexts is the inverse of texts.
func setTexts(m *causeway.Message, t *[numTexts]string) {
	m.From.Device = t[textDevice]
	m.From.Module = t[textModule]
	m.Auth = t[textAuth]
	m.GenerationID = t[textGenerationID]
	m.Source = t[textSource]
	m.ModelID = t[textModelID]
	m.ID = t[textID]
	m.CorrelationID = t[textCorrelationID]
	m.UserID = t[textUserID]
	m.To = t[textTo]
	m.ContentType = t[textContentType]
	m.ContentEncoding = t[textContentEncoding]
	m.CreationTime = t[textCreationTime]
	m.Ack = causeway.Ack(t[textAck])
	m.Schema = t[textSchema]
	m.InterfaceID = t[textInterfaceID]
	m.Component = t[textComponent]
	m.Operation = t[textOperation]
	m.Output = t[textOutput]
	m.Input = t[textInput]
	m.DiagnosticID = t[textDiagnosticID]
	m.DiagnosticCtx = t[textDiagnosticCtx]
}

// Append appends the binary form of m to dst and returns the extended slice. It
// does not allocate when dst has room for it.
func Append(dst []byte, m *causeway.Message) []byte {
	t := texts(m)
	var present uint64
	for i := range t {
		if t[i] != "" {
			present |= 1 << i
		}
	}
	if m.Expiry.UnixMicro() != noTime {
		present |= hasExpiry
	}
	if m.Enqueued.UnixMicro() != noTime {
		present |= hasEnqueued
	}
	if len(m.Properties) > 0 {
		present |= hasProperties
	}
	if len(m.Body) > 0 {
		present |= hasBody
	}

	dst = append(dst, Version)
	dst = binary.AppendUvarint(dst, present)
	if present&hasExpiry != 0 {
		dst = binary.AppendVarint(dst, m.Expiry.UnixMicro())
	}
	if present&hasEnqueued != 0 {
		dst = binary.AppendVarint(dst, m.Enqueued.UnixMicro())
	}
	var known uint64 // texts that are written as an index
	for rest := present & (1<<numTexts - 1); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		n := uint64(len(t[i])) << 1
		if dictionaryApplies&(1<<i) != 0 {
			if word, ok := lookup(t[i]); ok {
				known |= 1 << i
				n = word<<1 | 1
			}
		}
		dst = binary.AppendUvarint(dst, n)
	}
	if present&hasProperties != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.Properties)))
		for i := range m.Properties {
			dst = binary.AppendUvarint(dst, uint64(len(m.Properties[i].Key)))
			dst = binary.AppendUvarint(dst, uint64(len(m.Properties[i].Value)))
		}
	}
	if present&hasBody != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(m.Body)))
	}
	for rest := present & (1<<numTexts - 1) &^ known; rest != 0; rest &= rest - 1 {
		dst = append(dst, t[bits.TrailingZeros64(rest)]...)
	}
	for i := range m.Properties {
		dst = append(dst, m.Properties[i].Key...)
		dst = append(dst, m.Properties[i].Value...)
	}
	return append(dst, m.Body...)
}

// Decode reads one message from the whole of b. The Body of the message is a
// part of b; its texts share one new string, and its properties one new slice.
// What it allocates is bounded by a small multiple of len(b). Errors: ErrVersion,
// ErrMalformed.
func Decode(b []byte) (causeway.Message, error) {
	var m causeway.Message
	err := decode(&m, b, func(b []byte) string { return string(b) })
	if err != nil {
		return causeway.Message{}, err
	}
	return m, nil
}

// View reads one message from the whole of b, as Decode does, without a copy: it
// replaces everything in m, whose texts and Body are then parts of b, which must
// not change while m is in use. The Properties that m had are overwritten, so
// that reading many messages into one m does not allocate. After an error there
// is nothing in m. Errors: ErrVersion, ErrMalformed.
func View(m *causeway.Message, b []byte) error {
	properties := m.Properties[:0]
	*m = causeway.Message{Properties: properties}
	err := decode(m, b, func(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) })
	if err != nil {
		*m = causeway.Message{Properties: properties}
	}
	return err
}

// decode reads b into m, which is empty but for the capacity of its properties.
func decode(m *causeway.Message, b []byte, text func([]byte) string) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: no bytes", ErrMalformed)
	}
	if b[0] != Version {
		return fmt.Errorf("%w %d: this program reads version %d; the data was written by another release", ErrVersion, b[0], Version)
	}
	r := reader{rest: b[1:]}
	present := r.uvarint()
	if present&^allBits != 0 {
		return fmt.Errorf("%w: unknown fields %#x", ErrMalformed, present&^allBits)
	}
	if present&hasExpiry != 0 {
		m.Expiry = r.time()
	}
	if present&hasEnqueued != 0 {
		m.Enqueued = r.time()
	}

	var t [numTexts]string
	var lengths [numTexts]int
	total := uint64(0) // bytes of texts, keys and values
	for rest := present & (1<<numTexts - 1); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		n := r.uvarint()
		if n&1 != 0 {
			if n>>1 >= uint64(len(dictionary)) || dictionaryApplies&(1<<i) == 0 {
				return fmt.Errorf("%w: text %d is word %d of the dictionary", ErrMalformed, i, n>>1)
			}
			t[i] = dictionary[n>>1]
			continue
		}
		lengths[i] = r.length(n >> 1)
		total += uint64(lengths[i])
	}

	var lens reader // the lengths of keys and values, read again below
	if present&hasProperties != 0 {
		n := r.uvarint()
		// Two bytes of lengths each: what the input cannot hold is not allocated.
		if n == 0 || n > MaxProperties || n > uint64(len(r.rest)/2) {
			return fmt.Errorf("%w: %d application properties in %d bytes", ErrMalformed, n, len(r.rest))
		}
		if m.Properties = m.Properties[:0]; n > uint64(cap(m.Properties)) {
			m.Properties = make([]causeway.Property, n)
		}
		m.Properties = m.Properties[:n]
		lens = r
		for range m.Properties {
			total += uint64(r.length(r.uvarint()))
			total += uint64(r.length(r.uvarint()))
		}
	}
	body := uint64(0)
	if present&hasBody != 0 {
		body = uint64(r.length(r.uvarint()))
		if body == 0 {
			r.bad = true
		}
	}
	if r.bad || total+body != uint64(len(r.rest)) {
		return fmt.Errorf("%w: the lengths do not add up: %d bytes of text and %d of body in %d", ErrMalformed, total, body, len(r.rest))
	}

	all := text(r.rest[:total])
	for rest := present & (1<<numTexts - 1); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if t[i] != "" {
			continue
		}
		if lengths[i] == 0 {
			return fmt.Errorf("%w: text %d is present and empty", ErrMalformed, i)
		}
		t[i], all = all[:lengths[i]], all[lengths[i]:]
		if dictionaryApplies&(1<<i) != 0 {
			if _, ok := lookup(t[i]); ok {
				return fmt.Errorf("%w: text %d spells out a word of the dictionary", ErrMalformed, i)
			}
		}
	}
	for i := range m.Properties {
		k, v := int(lens.uvarint()), int(lens.uvarint())
		m.Properties[i] = causeway.Property{Key: all[:k], Value: all[k : k+v]}
		all = all[k+v:]
	}
	if body > 0 {
		m.Body = r.rest[total : total+body : total+body]
	}
	setTexts(m, &t)
	return nil
}

// reader reads numbers from the front of rest. After a failure bad is set and
// everything it returns is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 { // short, too long, or not minimal
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// length checks a length against the bytes that are left, so that sums of
// lengths in 64 bits cannot overflow: each is at most the size of the input,
// and there are fewer of them than input bytes.
func (r *reader) length(n uint64) int {
	if n > uint64(len(r.rest)) {
		r.rest, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) time() time.Time {
	u := r.uvarint()
	us := int64(u>>1) ^ -int64(u&1) // zigzag, as binary.AppendVarint
	if us == noTime {
		r.rest, r.bad = nil, true
	}
	return time.UnixMicro(us).UTC()
}
