package delivery

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/envelope"
)

// A record of a queue is
//
//	byte     version, 1
//	uvarint  bytes of all messages appended to the partition so far, this one
//	         included: how many wait is a difference of two
//	bytes    the envelope
//
// A record of the dead letters is
//
//	byte     version, 1
//	uvarint  attempts
//	text     endpoint, reason and detail, each a uvarint of its length before it
//	bytes    the envelope
const recordVersion = 1

var errRecord = errors.New("record is damaged, or was written by a newer release")

func appendQueued(dst []byte, total uint64, m *causeway.Message) []byte {
	dst = binary.AppendUvarint(append(dst, recordVersion), total)
	return envelope.Append(dst, m)
}

// queued cuts the head off a record of a queue.
func queued(b []byte) (total uint64, body []byte, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return 0, nil, errRecord
	}
	total, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return 0, nil, errRecord
	}
	return total, b[1+n:], nil
}

func decodeMessage(hub string, b []byte) (causeway.Message, error) {
	m, err := envelope.Decode(b)
	if err != nil {
		return m, fmt.Errorf("%w: %w", errRecord, err)
	}
	m.From.Hub = hub
	return m, nil
}

// obituary is what is known of a dead letter besides its message.
type obituary struct {
	endpoint, reason, detail string
	attempts                 int
}

func appendDead(dst []byte, o obituary, m *causeway.Message) []byte {
	dst = binary.AppendUvarint(append(dst, recordVersion), uint64(max(o.attempts, 0)))
	for _, s := range []string{o.endpoint, o.reason, o.detail} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return envelope.Append(dst, m)
}

func decodeDead(hub string, b []byte) (o obituary, m causeway.Message, err error) {
	o, body, err := decodeObituary(b)
	if err != nil {
		return o, m, err
	}
	m, err = decodeMessage(hub, body)
	return o, m, err
}

func decodeObituary(b []byte) (o obituary, rest []byte, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return o, nil, errRecord
	}
	attempts, n := binary.Uvarint(b[1:])
	if n <= 0 || attempts > 1<<31 {
		return o, nil, errRecord
	}
	o.attempts = int(attempts)
	rest = b[1+n:]
	for _, s := range []*string{&o.endpoint, &o.reason, &o.detail} {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return o, nil, errRecord
		}
		*s = string(rest[n : n+int(size)]) //nolint:gosec // at most len(rest)
		rest = rest[n+int(size):]          //nolint:gosec // the same
	}
	return o, rest, nil
}
