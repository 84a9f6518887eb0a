package hubamqp

import (
	"iter"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// BatchFormat is the message format of a transfer that carries several messages:
// each of its data sections is a message of its own.
const BatchFormat = 0x80013700

// DecodeTelemetry reads a message that a device sent, replacing everything in m
// and reusing the capacity of m.Properties. What a device has no say in (From,
// Auth, Enqueued, …) is left zero, and so is To when it is the address of a
// telemetry link. Errors: IotHubFormatError, ArgumentInvalid,
// MessageTooLarge.
func DecodeTelemetry(m *causeway.Message, s *Scratch, payload []byte) error {
	const op = "amqp.telemetry"
	if !fast(m, s, payload) {
		if err := decode(op, new(codec.Message), m, s, payload); err != nil {
			return err
		}
	}
	if toEvents(m.To) {
		m.To = ""
	}
	if n := m.Size(); n > causeway.MaxMessageSize {
		return causeway.Errorf(causeway.MessageTooLarge, op, "the message has %d bytes with its properties, the limit is %d", n, causeway.MaxMessageSize)
	}
	return nil
}

// toEvents reports whether to is the address of a telemetry link, which some
// clients write into each of their messages. It says nothing about a message, and
// like the topic of a message over MQTT it is no part of its size.
func toEvents(to string) bool {
	const end = "/messages/events"
	if len(to) < len(end) || !strings.EqualFold(to[len(to)-len(end):], end) {
		return false
	}
	a, err := ParseAddress(to)
	return err == nil && a.Kind == KindTelemetry
}

// AppendTelemetry appends m as a device sends it.
func AppendTelemetry(dst []byte, m *causeway.Message) []byte {
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	writeSent(&w, m)
	w.End()
	writeProperties(&w, m, m.To)
	writeApplication(&w, m)
	w.Data(m.Body)
	return w.Bytes()
}

// Batch returns the messages in a transfer of [BatchFormat], each as
// [DecodeTelemetry] takes it. Everything outside of them is ignored. It ends
// after an error: IotHubFormatError, ArgumentInvalid for a body that is not data,
// MessageTooLarge for a single message or for too many of them.
func Batch(payload []byte) iter.Seq2[[]byte, error] {
	const op = "amqp.batch"
	return func(yield func([]byte, error) bool) {
		var x codec.Message
		if err := x.Decode(payload); err != nil {
			yield(nil, malformed(op, err))
			return
		}
		switch n := x.Body.Len(); {
		case x.Body.Kind() != codec.CodeData:
			yield(nil, causeway.Errorf(causeway.ArgumentInvalid, op, "the body of a batch must be data sections, one for each message"))
			return
		case n > MaxBatch:
			yield(nil, causeway.Errorf(causeway.MessageTooLarge, op, "the batch has %d messages, the limit is %d", n, MaxBatch))
			return
		}
		for v := range x.Body.Sections() {
			b, _ := v.Bytes()
			if len(b) > maxEncoded {
				yield(nil, causeway.Errorf(causeway.MessageTooLarge, op, "a message of the batch has %d bytes, the limit is %d", len(b), maxEncoded))
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// AppendBatch appends messages as a device sends them in one transfer of
// [BatchFormat].
func AppendBatch(dst []byte, messages []causeway.Message) []byte {
	w := codec.NewWriter(dst)
	var one []byte
	for i := range messages {
		one = AppendTelemetry(one[:0], &messages[i])
		w.Data(one)
	}
	return w.Bytes()
}
