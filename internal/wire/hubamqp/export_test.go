package hubamqp

import (
	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Fast reads a message with the fast decoder only.
func Fast(m *causeway.Message, s *Scratch, payload []byte) bool { return fast(m, s, payload) }

// General reads a message without the fast decoder.
func General(m *causeway.Message, s *Scratch, payload []byte) error {
	return decode("test", new(codec.Message), m, s, payload)
}

// FastEvent and GeneralEvent are the two of events.
func FastEvent(e *Event, s *Scratch, payload []byte) bool { return fastEvent(e, s, payload) }

// GeneralEvent reads an event without the fast decoder.
func GeneralEvent(e *Event, s *Scratch, payload []byte) error { return generalEvent(e, s, payload) }

// ConditionName returns the condition for a code.
func ConditionName(code causeway.Code) string { return conditionName(code) }

// CommandTo returns the "to" of a command.
func CommandTo(id causeway.Identity) string { return string(appendCommandTo(nil, id)) }

// ToEvents reports whether to is dropped from telemetry.
func ToEvents(to string) bool { return toEvents(to) }
