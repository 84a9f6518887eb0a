package hubamqp

import (
	"strconv"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Position is where in its partition an event stands.
type Position struct {
	Sequence int64
	Offset   int64
	Enqueued time.Time // when it got there
}

// Runtime is what a reader is told of the partition with every event when it
// has asked for it: what the last event is that stands there by now.
type Runtime struct {
	Last      Position
	Retrieved time.Time // when this was found out
}

// Delivery annotations of a Runtime.
const (
	annLastSequence  = "last_enqueued_sequence_number"
	annLastOffset    = "last_enqueued_offset"
	annLastEnqueued  = "last_enqueued_time_utc"
	annLastRetrieved = "runtime_info_retrieval_time_utc"
)

// AppendEvent appends m as the Event Hubs-compatible endpoint delivers it to a
// reader. Its partition key is the device. The runtime may be nil.
func AppendEvent(dst []byte, m *causeway.Message, at Position, runtime *Runtime) []byte {
	w := codec.NewWriter(dst)
	if runtime != nil {
		writeRuntime(&w, runtime)
	}
	w.Map(codec.CodeMessageAnnotations)
	w.Symbol(annSequence)
	w.Long(at.Sequence)
	w.Symbol(annOffset)
	number(&w, at.Offset)
	w.Symbol(annEnqueuedTime)
	w.Timestamp(codec.TimestampOf(at.Enqueued))
	writeStamped(&w, m, m.To, false)
	return w.Bytes()
}

// AppendRouted appends m as it is sent to a broker outside that is an endpoint
// of routes. Its partition key is the device. With stamps, what the hub stamped
// on it stands among the application properties too: receivers of queues and
// topics look for it there.
func AppendRouted(dst []byte, m *causeway.Message, stamps bool) []byte {
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	writeStamped(&w, m, "", stamps) // To is where the device sent it, which brokers may take for theirs
	return w.Bytes()
}

// writeStamped writes the rest of a message after its place: what the hub
// stamped on it, and what was sent. The message annotations are begun.
func writeStamped(w *codec.Writer, m *causeway.Message, to string, stamps bool) {
	text(w, annPartitionKey, m.From.Device)
	text(w, annDevice, m.From.Device)
	text(w, annModule, m.From.Module)
	text(w, annAuth, m.Auth)
	text(w, annGeneration, m.GenerationID)
	if !m.Enqueued.IsZero() {
		w.Symbol(annEnqueued)
		w.Timestamp(codec.TimestampOf(m.Enqueued))
	}
	text(w, annSource, m.Source)
	text(w, annModelID, m.ModelID)
	writeSent(w, m)
	w.End()
	writeProperties(w, m, to)

	w.Map(codec.CodeApplicationProperties)
	pair(w, keySchema, m.Schema)
	pair(w, keyCreationTime, m.CreationTime)
	pair(w, keyOperation, m.Operation)
	if stamps {
		pair(w, annDevice, m.From.Device)
		pair(w, annModule, m.From.Module)
		pair(w, annAuth, m.Auth)
		pair(w, annGeneration, m.GenerationID)
		pair(w, annSource, m.Source)
		pair(w, annModelID, m.ModelID)
		pair(w, annComponent, m.Component)
		if !m.Enqueued.IsZero() {
			pair(w, annEnqueued, m.Enqueued.UTC().Format(time.RFC3339Nano))
		}
	}
	for i := range m.Properties {
		p := &m.Properties[i]
		if p.Key == "" || m.Schema != "" && p.Key == keySchema || m.CreationTime != "" && p.Key == keyCreationTime ||
			m.Operation != "" && p.Key == keyOperation || again(m.Properties, i) || stamps && isStamp(p.Key) {
			continue
		}
		w.String(p.Key)
		w.String(p.Value)
	}
	w.End()
	w.Data(m.Body)
}

// isStamp reports whether an application property has the name of a stamp, which
// only the hub may put there.
func isStamp(key string) bool {
	switch key {
	case annDevice, annModule, annAuth, annGeneration, annSource, annModelID, annComponent, annEnqueued:
		return true
	}
	return false
}

func writeRuntime(w *codec.Writer, r *Runtime) {
	w.Map(codec.CodeDeliveryAnnotations)
	w.Symbol(annLastSequence)
	w.Long(r.Last.Sequence)
	w.Symbol(annLastOffset)
	number(w, r.Last.Offset)
	w.Symbol(annLastEnqueued)
	w.Timestamp(codec.TimestampOf(r.Last.Enqueued))
	w.Symbol(annLastRetrieved)
	w.Timestamp(codec.TimestampOf(r.Retrieved))
	w.End()
}

// number writes n as a string.
func number(w *codec.Writer, n int64) {
	var digits [20]byte
	w.String(view(strconv.AppendInt(digits[:0], n, 10)))
}

// Event is an event as a reader gets it.
type Event struct {
	Message      causeway.Message // with the stamps of the hub; From.Hub is empty
	Sequence     int64
	Offset       string
	Enqueued     time.Time // in its partition
	PartitionKey string
	// Runtime is what was told of the partition; its zero value is nothing.
	Runtime    Runtime
	LastOffset string // of Runtime, as it came
}

// DecodeEvent reads an event that the endpoint delivers, replacing everything in
// e. Errors: IotHubFormatError, ArgumentInvalid.
func DecodeEvent(e *Event, s *Scratch, payload []byte) error {
	if fastEvent(e, s, payload) {
		return nil
	}
	return generalEvent(e, s, payload)
}

func generalEvent(e *Event, s *Scratch, payload []byte) error {
	var x codec.Message
	*e = Event{Message: causeway.Message{Properties: e.Message.Properties[:0]}}
	m := &e.Message
	if err := decode("amqp.event", &x, m, s, payload); err != nil {
		return err
	}
	for k, v := range x.MessageAnnotations.All() {
		name, _ := k.Text()
		switch name {
		case annSequence:
			e.Sequence, _ = v.Int64()
			m.Sequence = e.Sequence
		case annOffset:
			e.Offset, _ = s.text(v)
		case annEnqueuedTime:
			e.Enqueued = stamp(v)
		case annPartitionKey:
			e.PartitionKey, _ = v.Text()
		case annEnqueued:
			m.Enqueued = stamp(v)
		case annDevice:
			m.From.Device, _ = v.Text()
		case annModule:
			m.From.Module, _ = v.Text()
		case annAuth:
			m.Auth, _ = v.Text()
		case annGeneration:
			m.GenerationID, _ = v.Text()
		case annSource:
			m.Source, _ = v.Text()
		case annModelID:
			m.ModelID, _ = v.Text()
		}
	}
	for k, v := range x.DeliveryAnnotations.All() {
		name, _ := k.Text()
		switch name {
		case annLastSequence:
			e.Runtime.Last.Sequence, _ = v.Int64()
		case annLastOffset:
			e.LastOffset, _ = s.text(v)
			e.Runtime.Last.Offset, _ = strconv.ParseInt(e.LastOffset, 10, 64)
		case annLastEnqueued:
			e.Runtime.Last.Enqueued = stamp(v)
		case annLastRetrieved:
			e.Runtime.Retrieved = stamp(v)
		}
	}
	return nil
}

// stamp returns a timestamp as a time, the zero time for what is none.
func stamp(v codec.Value) time.Time {
	t, ok := v.Timestamp()
	if !ok {
		return time.Time{}
	}
	return timeOf(t)
}
