package c2d

import (
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// validate reports why m cannot be queued at now.
func validate(m *causeway.Message, now time.Time) error {
	const op = "c2d.Enqueue"
	if n := m.Size(); n > causeway.MaxCommandSize {
		return causeway.Errorf(causeway.MessageTooLarge, op, "the message has %d bytes, body and properties together; at most %d are allowed", n, causeway.MaxCommandSize)
	}
	if len(m.ID) > causeway.MaxMessageID {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "the message id has %d characters; at most %d are allowed", len(m.ID), causeway.MaxMessageID)
	}
	if i := strings.IndexFunc(m.ID, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("-:.+%_#*?!(),=@;$'", r) }); i >= 0 {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "the message id %q has a character that is not allowed at %d; use ASCII letters, digits and - : . + %% _ # * ? ! ( ) , = @ ; $ '", m.ID, i)
	}
	switch m.Ack {
	case causeway.AckNone, causeway.AckPositive, causeway.AckNegative, causeway.AckFull:
	default:
		return causeway.Errorf(causeway.ArgumentInvalid, op, "iothub-ack is %q; use none, positive, negative or full", string(m.Ack))
	}
	if len(m.Properties) > MaxProperties {
		return causeway.Errorf(causeway.ArgumentInvalid, op, "the message has %d application properties; at most %d are allowed", len(m.Properties), MaxProperties)
	}
	for _, p := range m.Properties {
		if !propertyName(p.Key) {
			return causeway.Errorf(causeway.ArgumentInvalid, op, "the application property name %q is not allowed; use ASCII letters, digits and ! # $ %% & ' * + - . ^ _ ` | ~", p.Key)
		}
	}
	if latest := now.Add(causeway.MaxCommandTTL); m.Expiry.After(latest) {
		return causeway.Errorf(causeway.InvalidMessageExpiryTime, op, "the message expires at %s; the latest time allowed is %s, %s from now",
			m.Expiry.UTC().Format(time.RFC3339), latest.UTC().Format(time.RFC3339), causeway.MaxCommandTTL)
	}
	return nil
}

// propertyName reports whether s may name an application property of a
// cloud-to-device message: such names must fit an HTTP header.
func propertyName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !alphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
