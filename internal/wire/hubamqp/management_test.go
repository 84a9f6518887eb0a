package hubamqp_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestManagementRequest(t *testing.T) {
	hub := hubamqp.ManagementRequest{MessageID: codec.String("1"), ReplyTo: "r", Type: hubamqp.TypeEventHub, Name: "eh", Token: "secret"}
	partition := hubamqp.ManagementRequest{MessageID: codec.UUID(uuid), ReplyTo: "r", Type: hubamqp.TypePartition, Name: "eh", Partition: "0"}
	for _, r := range []hubamqp.ManagementRequest{hub, partition} {
		got, err := hubamqp.DecodeManagementRequest(hubamqp.AppendManagementRequest(nil, r))
		if d := cmp.Diff(r, got, values); d != "" || err != nil {
			t.Errorf("%v (-sent +got):\n%s", err, d)
		}
	}
	if s := fmt.Sprintf("%+v %#v", hub, hub); strings.Contains(s, "secret") {
		t.Errorf("the token is shown: %s", s)
	}
	x := parse(t, hubamqp.AppendManagementRequest(nil, partition))
	if d := cmp.Diff([]string{
		`string operation: string "READ"`, `string type: string "com.microsoft:partition"`, `string name: string "eh"`, `string partition: string "0"`,
	}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}

	// A body does not matter, and a partition may be a number.
	m := codec.Message{
		Properties: codec.Properties{MessageID: codec.String("1")},
		ApplicationProperties: codec.NewMap(codec.String("operation"), codec.String("read"), codec.String("type"), codec.String("com.microsoft:Partition"),
			codec.String("name"), codec.String("eh"), codec.String("partition"), codec.Int(3)),
		Body: codec.ValueBody(codec.Int(1)),
	}
	if r, err := hubamqp.DecodeManagementRequest(wire(t, m)); err != nil || r.Type != hubamqp.TypePartition || r.Partition != "3" {
		t.Errorf("%+v, %v", r, err)
	}

	for part, p := range map[string]codec.Map{
		`operation ""`:      {},
		`operation "WRITE"`: text("operation", "WRITE"),
		`type ""`:           text("operation", "READ"),
		`type "x"`:          text("operation", "READ", "type", "x"),
		"16385 bytes":       text("operation", "READ", "type", "com.microsoft:eventhub", "security_token", strings.Repeat("x", hubamqp.MaxToken+1)),
	} {
		r, err := hubamqp.DecodeManagementRequest(wire(t, codec.Message{Properties: codec.Properties{MessageID: codec.String("1"), ReplyTo: "r"}, ApplicationProperties: p}))
		if !r.MessageID.Equal(codec.String("1")) || r.ReplyTo != "r" {
			t.Errorf("%v cannot be answered", r)
		}
		wantErr(t, err, causeway.ArgumentInvalid, part)
	}
	_, err := hubamqp.DecodeManagementRequest([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}

// body returns the map in the body of a reply.
func body(t *testing.T, b []byte) codec.Map {
	t.Helper()
	v, _ := parse(t, b).Body.Value()
	m, ok := v.Map()
	if !ok {
		t.Fatalf("body is %v", v)
	}
	return m
}

func TestEventHubInfo(t *testing.T) {
	e := hubamqp.EventHubInfo{Name: "eh", Created: at, Partitions: []string{"0", "1"}}
	b := hubamqp.AppendEventHubInfo(nil, codec.UUID(uuid), e)
	x := parse(t, b)
	if !x.Properties.CorrelationID.Equal(codec.UUID(uuid)) {
		t.Errorf("correlation %v", x.Properties.CorrelationID)
	}
	if d := cmp.Diff([]string{`string status-code: int 200`, `string status-description: string "OK"`}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{
		`string name: string "eh"`,
		`string type: string "com.microsoft:eventhub"`,
		`string created_at: timestamp 2026-05-06T07:08:09.01Z`,
		`string partition_count: int 2`,
		`string partition_ids: array array of 2`,
		`string georeplication_factor: int 1`,
	}, entries(body(t, b))); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	ids, _ := body(t, b).Lookup("partition_ids")
	for id := range ids.Elements() {
		if id.Kind() != codec.KindString {
			t.Errorf("partition id is a %v", id.Kind())
		}
	}
	r, got, err := hubamqp.DecodeEventHubInfo(b)
	if d := cmp.Diff(e, got); d != "" || err != nil || !r.OK() || !r.Correlation.Equal(codec.UUID(uuid)) {
		t.Errorf("%+v, %v (-sent +got):\n%s", r, err, d)
	}
}

func TestPartitionInfo(t *testing.T) {
	p := hubamqp.PartitionInfo{Name: "eh", Partition: "3", First: 10, Next: 20, LastEnqueued: at}
	b := hubamqp.AppendPartitionInfo(nil, codec.String("m"), p)
	if d := cmp.Diff([]string{
		`string name: string "eh"`,
		`string type: string "com.microsoft:partition"`,
		`string partition: string "3"`,
		`string begin_sequence_number: long 10`,
		`string last_enqueued_sequence_number: long 19`,
		`string last_enqueued_offset: string "19"`,
		`string last_enqueued_time_utc: timestamp 2026-05-06T07:08:09.01Z`,
		`string is_partition_empty: boolean false`,
	}, entries(body(t, b))); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	empty := hubamqp.AppendPartitionInfo(nil, codec.String("m"), hubamqp.PartitionInfo{Name: "eh", Partition: "0"})
	if d := cmp.Diff([]string{
		`string begin_sequence_number: long 0`,
		`string last_enqueued_sequence_number: long -1`,
		`string last_enqueued_offset: string "-1"`,
		`string last_enqueued_time_utc: timestamp 1970-01-01T00:00:00Z`,
		`string is_partition_empty: boolean true`,
	}, entries(body(t, empty))[3:]); d != "" {
		t.Errorf("body of an empty partition (-want +got):\n%s", d)
	}
	trimmed := hubamqp.PartitionInfo{Name: "eh", Partition: "0", First: 7, Next: 7, LastEnqueued: at}
	for _, p := range []hubamqp.PartitionInfo{p, trimmed} {
		r, got, err := hubamqp.DecodePartitionInfo(hubamqp.AppendPartitionInfo(nil, codec.String("m"), p))
		if d := cmp.Diff(p, got); d != "" || err != nil || !r.OK() {
			t.Errorf("%+v, %v (-sent +got):\n%s", r, err, d)
		}
	}
	if !trimmed.Empty() || p.Empty() {
		t.Error("which of them is empty?")
	}
	_, got, _ := hubamqp.DecodePartitionInfo(empty)
	if want := (hubamqp.PartitionInfo{Name: "eh", Partition: "0", LastEnqueued: time.Unix(0, 0).UTC()}); got != want {
		t.Errorf("empty partition is %+v", got)
	}
}

func TestManagementError(t *testing.T) {
	b := hubamqp.AppendManagementError(nil, codec.Ulong(7), causeway.Errorf(causeway.PartitionNotFound, "x", "no partition 9"))
	x := parse(t, b)
	if d := cmp.Diff([]string{
		`string status-code: int 404`, `string status-description: string "no partition 9"`, `string error-condition: string "amqp:not-found"`,
	}, entries(x.ApplicationProperties)); d != "" {
		t.Errorf("application properties (-want +got):\n%s", d)
	}
	if r, e, err := hubamqp.DecodeEventHubInfo(b); err != nil || r.OK() || r.Status != 404 || e.Name != "" || !r.Correlation.Equal(codec.Ulong(7)) {
		t.Errorf("%+v, %+v, %v", r, e, err)
	}
	if r, p, err := hubamqp.DecodePartitionInfo(hubamqp.AppendManagementError(nil, codec.Value{}, causeway.Errorf(causeway.IotHubUnauthorized, "x", "no"))); err != nil || r.Status != 401 || p.Name != "" {
		t.Errorf("%+v, %+v, %v", r, p, err)
	}
	_, _, err := hubamqp.DecodePartitionInfo(hubamqp.AppendPutTokenResponse(nil, hubamqp.ReplyFor(codec.Value{}, nil)))
	wantErr(t, err, causeway.IotHubFormatError, "not a map")
	_, _, err = hubamqp.DecodeEventHubInfo([]byte("x"))
	wantErr(t, err, causeway.IotHubFormatError, "cannot be read")
}
