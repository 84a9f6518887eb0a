package hubamqp

import (
	"math"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// DeliveryTag returns the tag of the delivery that a lock token settles: the
// bytes of a GUID in the order of .NET, of which clients read it.
func DeliveryTag(lock causeway.LockToken) (tag [16]byte) { return swap(lock) }

// LockOf returns the lock token of a delivery tag; ok is false when it is the
// tag of something else.
func LockOf(tag []byte) (lock causeway.LockToken, ok bool) {
	if len(tag) != len(lock) {
		return lock, false
	}
	return swap([16]byte(tag)), true
}

// swap turns a GUID from one byte order into the other.
func swap(u [16]byte) [16]byte {
	u[0], u[1], u[2], u[3] = u[3], u[2], u[1], u[0]
	u[4], u[5] = u[5], u[4]
	u[6], u[7] = u[7], u[6]
	return u
}

// AppendCommand appends the cloud-to-device message m as it is delivered to id.
// Its "to" is the address of id unless m.To says otherwise.
func AppendCommand(dst []byte, id causeway.Identity, m *causeway.Message) []byte {
	var to [512]byte
	if m.To != "" {
		return appendDelivery(dst, m, m.To)
	}
	return appendDelivery(dst, m, view(append(appendIdentity(to[:0], id.Device, id.Module), KindCommands.path()...)))
}

// AppendInput appends m as it is delivered to the input m.Input of a module. The
// sender is m.From.
func AppendInput(dst []byte, m *causeway.Message) []byte { return appendDelivery(dst, m, m.To) }

// appendDelivery appends a message on its way to a client.
func appendDelivery(dst []byte, m *causeway.Message, to string) []byte {
	w := codec.NewWriter(dst)
	count := max(m.DeliveryCount, 0)
	if count > 0 {
		w.List(codec.CodeHeader)
		w.Null() // durable
		w.Null() // priority
		w.Null() // ttl
		w.Null() // first-acquirer
		w.Uint(uint32(min(count, math.MaxInt32)))
		w.End()
	}
	w.Map(codec.CodeMessageAnnotations)
	w.Symbol(annSequence)
	w.Ulong(uint64(max(m.Sequence, 0)))
	if !m.Enqueued.IsZero() {
		w.Symbol(annEnqueued)
		w.Timestamp(codec.TimestampOf(m.Enqueued))
	}
	w.Symbol(annDeliveryCount)
	w.Ubyte(uint8(min(count, math.MaxUint8)))
	if m.Lock != (causeway.LockToken{}) {
		w.Symbol(annLockToken)
		w.UUID(m.Lock)
	}
	text(&w, annDevice, m.From.Device)
	text(&w, annModule, m.From.Module)
	text(&w, annInputName, m.Input)
	writeSent(&w, m)
	w.End()
	writeProperties(&w, m, to)
	writeApplication(&w, m)
	w.Data(m.Body)
	return w.Bytes()
}

// DecodeCommand reads a message that a hub delivers: a command, or a message to
// an input of a module, then m.Input is set. It replaces everything in m. The
// hub in m.From is left empty. Errors: IotHubFormatError, ArgumentInvalid.
func DecodeCommand(m *causeway.Message, s *Scratch, payload []byte) error {
	var x codec.Message
	if err := decode("amqp.command", &x, m, s, payload); err != nil {
		return err
	}
	m.DeliveryCount = int(min(x.Header.DeliveryCount, math.MaxInt32))
	for k, v := range x.MessageAnnotations.All() {
		switch name, _ := k.Text(); name {
		case annSequence:
			m.Sequence, _ = v.Int64()
		case annEnqueued:
			if t, ok := v.Timestamp(); ok {
				m.Enqueued = timeOf(t)
			}
		case annDeliveryCount:
			if n, ok := v.Uint64(); ok && n <= math.MaxInt32 {
				m.DeliveryCount = max(m.DeliveryCount, int(n))
			}
		case annLockToken:
			m.Lock, _ = v.UUID()
		case annDevice:
			m.From.Device, _ = v.Text()
		case annModule:
			m.From.Module, _ = v.Text()
		case annInputName:
			m.Input, _ = v.Text()
		}
	}
	return nil
}

// AppendServiceCommand appends m as a service sends it to the device or module
// id.
func AppendServiceCommand(dst []byte, id causeway.Identity, m *causeway.Message) []byte {
	var to [512]byte
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	writeSent(&w, m)
	w.End()
	writeProperties(&w, m, view(appendCommandTo(to[:0], id)))
	writeApplication(&w, m)
	w.Data(m.Body)
	return w.Bytes()
}

// DecodeServiceCommand reads a message that a service sends, and to which device
// or module, of no hub. It replaces everything in m. Errors: IotHubFormatError,
// ArgumentInvalid.
func DecodeServiceCommand(m *causeway.Message, s *Scratch, payload []byte) (causeway.Identity, error) {
	var x codec.Message
	if err := decode("amqp.send", &x, m, s, payload); err != nil {
		return causeway.Identity{}, err
	}
	device, module, err := ParseCommandTarget(m.To)
	if err != nil {
		return causeway.Identity{}, err
	}
	if v, ok := x.ApplicationProperties.Lookup(keyAck); ok && m.Ack == causeway.AckNone {
		// A typing error must not lose feedback in silence.
		if word, _ := v.Text(); word != "none" && word != "" {
			return causeway.Identity{}, causeway.Errorf(causeway.ArgumentInvalid, "amqp.send", "iothub-ack is %q; use none, positive, negative or full", cut(word))
		}
	}
	return causeway.Identity{Device: device, Module: module}, nil
}
