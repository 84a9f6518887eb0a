package hubamqp

import (
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// The types of what $management tells about.
const (
	TypeEventHub  = "com.microsoft:eventhub"
	TypePartition = "com.microsoft:partition"
)

const operationRead = "READ"

// ManagementRequest asks the Event Hubs-compatible endpoint about itself.
type ManagementRequest struct {
	MessageID codec.Value // goes back as the correlation id of the reply, with its type
	ReplyTo   string
	Type      string // TypeEventHub or TypePartition
	Name      string // of the event hub
	Partition string // of a TypePartition
	Token     causeway.Secret
}

// DecodeManagementRequest reads a request. When the message is understood but the
// request is not, MessageID and ReplyTo are set all the same, so that it can be
// answered. Errors: IotHubFormatError, ArgumentInvalid.
func DecodeManagementRequest(payload []byte) (ManagementRequest, error) {
	const op = "amqp.management"
	var x codec.Message
	var r ManagementRequest
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	var err error
	if r.MessageID, err = echoed(op, "message-id", x.Properties.MessageID); err != nil {
		return r, err
	}
	r.ReplyTo = x.Properties.ReplyTo
	operation, token := "", ""
	var s Scratch
	for k, v := range x.ApplicationProperties.All() {
		key, _ := k.Text()
		switch key {
		case "operation":
			operation, _ = v.Text()
		case "type":
			r.Type, _ = v.Text()
		case "name":
			r.Name, _ = v.Text()
		case "partition":
			r.Partition, _ = s.text(v)
		case "security_token":
			token, _ = v.Text()
		}
	}
	r.Token = causeway.Secret(token)
	switch {
	case !strings.EqualFold(operation, operationRead):
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "operation %q is not known; the operation of $management is %s", cut(operation), operationRead)
	case strings.EqualFold(r.Type, TypeEventHub):
		r.Type = TypeEventHub
	case strings.EqualFold(r.Type, TypePartition):
		r.Type = TypePartition
	default:
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "type %q is not known; the types are %s and %s", cut(r.Type), TypeEventHub, TypePartition)
	}
	if len(token) > MaxToken {
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the token has %d bytes, the limit is %d", len(token), MaxToken)
	}
	return r, nil
}

// AppendManagementRequest appends a request.
func AppendManagementRequest(dst []byte, r ManagementRequest) []byte {
	w := codec.NewWriter(dst)
	writeRequest(&w, r.MessageID, "", r.ReplyTo)
	w.Map(codec.CodeApplicationProperties)
	pair(&w, "operation", operationRead)
	pair(&w, "type", r.Type)
	pair(&w, "name", r.Name)
	pair(&w, "partition", r.Partition)
	pair(&w, "security_token", string(r.Token))
	w.End()
	return w.Bytes()
}

// EventHubInfo is what $management says of an event hub.
type EventHubInfo struct {
	Name       string
	Created    time.Time
	Partitions []string
}

// PartitionInfo is what $management says of a partition.
type PartitionInfo struct {
	Name      string // of the event hub
	Partition string
	// First is the sequence number of the oldest event that is held, Next that
	// of the event to come: they are equal when the partition is empty. Offsets
	// are sequence numbers.
	First, Next  int64
	LastEnqueued time.Time // of the last event; zero when there was none
}

// Empty reports whether no events are held.
func (p *PartitionInfo) Empty() bool { return p.First >= p.Next }

// AppendEventHubInfo appends the reply to a request about an event hub. It
// allocates.
func AppendEventHubInfo(dst []byte, correlation codec.Value, e EventHubInfo) []byte {
	return appendInfo(dst, correlation, codec.NewMap(
		codec.String("name"), codec.String(e.Name),
		codec.String("type"), codec.String(TypeEventHub),
		codec.String("created_at"), codec.TimestampOf(e.Created).Value(),
		codec.String("partition_count"), codec.Int(int32(len(e.Partitions))),
		codec.String("partition_ids"), codec.Strings(e.Partitions...),
		codec.String("georeplication_factor"), codec.Int(1),
	))
}

// AppendPartitionInfo appends the reply to a request about a partition. It
// allocates. The last event of a partition that never had one is -1.
func AppendPartitionInfo(dst []byte, correlation codec.Value, p PartitionInfo) []byte {
	last := codec.Timestamp(0)
	if !p.LastEnqueued.IsZero() {
		last = codec.TimestampOf(p.LastEnqueued)
	}
	return appendInfo(dst, correlation, codec.NewMap(
		codec.String("name"), codec.String(p.Name),
		codec.String("type"), codec.String(TypePartition),
		codec.String("partition"), codec.String(p.Partition),
		codec.String("begin_sequence_number"), codec.Long(p.First),
		codec.String("last_enqueued_sequence_number"), codec.Long(p.Next-1),
		codec.String("last_enqueued_offset"), codec.String(strconv.FormatInt(p.Next-1, 10)),
		codec.String("last_enqueued_time_utc"), last.Value(),
		codec.String("is_partition_empty"), codec.Bool(p.Empty()),
	))
}

func appendInfo(dst []byte, correlation codec.Value, m codec.Map) []byte {
	w := codec.NewWriter(dst)
	writeReply(&w, ReplyFor(correlation, nil), "")
	w.ValueSection(m.Value())
	return w.Bytes()
}

// AppendManagementError appends the reply to a request that failed.
func AppendManagementError(dst []byte, correlation codec.Value, err error) []byte {
	w := codec.NewWriter(dst)
	writeReply(&w, ReplyFor(correlation, err), conditionName(causeway.CodeOf(err)))
	w.ValueSection(codec.Value{})
	return w.Bytes()
}

// DecodeEventHubInfo reads a reply about an event hub. The info is empty unless
// the reply is OK. Errors: IotHubFormatError.
func DecodeEventHubInfo(payload []byte) (Reply, EventHubInfo, error) {
	var e EventHubInfo
	r, m, err := decodeInfo(payload)
	for k, v := range m.All() {
		switch key, _ := k.Text(); key {
		case "name":
			e.Name = owned(v)
		case "created_at":
			e.Created = stamp(v)
		case "partition_ids":
			for id := range v.Elements() {
				e.Partitions = append(e.Partitions, owned(id))
			}
		}
	}
	return r, e, err
}

// DecodePartitionInfo reads a reply about a partition. The info is empty unless
// the reply is OK. Errors: IotHubFormatError.
func DecodePartitionInfo(payload []byte) (Reply, PartitionInfo, error) {
	var p PartitionInfo
	empty := false
	r, m, err := decodeInfo(payload)
	for k, v := range m.All() {
		switch key, _ := k.Text(); key {
		case "name":
			p.Name = owned(v)
		case "partition":
			p.Partition = owned(v)
		case "begin_sequence_number":
			p.First, _ = v.Int64()
		case "last_enqueued_sequence_number":
			n, _ := v.Int64()
			p.Next = n + 1
		case "last_enqueued_time_utc":
			p.LastEnqueued = stamp(v)
		case "is_partition_empty":
			empty, _ = v.Bool()
		}
	}
	if empty {
		p.First = p.Next
	}
	return r, p, err
}

func decodeInfo(payload []byte) (Reply, codec.Map, error) {
	const op = "amqp.management"
	r, x, err := decodeReply(op, payload)
	if err != nil || !r.OK() {
		return r, codec.Map{}, err
	}
	v, _ := x.Body.Value()
	m, ok := v.Map()
	if !ok || m.IsZero() {
		return r, codec.Map{}, causeway.Errorf(causeway.IotHubFormatError, op, "the body of the reply is not a map")
	}
	return r, m, nil
}

// owned returns text in memory of its own, "" for what is none.
func owned(v codec.Value) string {
	t, _ := v.Text()
	return strings.Clone(t)
}
