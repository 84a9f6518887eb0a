package hubamqp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

func TestLinkProperties(t *testing.T) {
	full := hubamqp.LinkProperties{
		ClientVersion: "py/1.0", APIVersion: "2020-09-30", ChannelCorrelationID: "twin:" + uuidText, ModelID: "dtmi:x;1", AuthChain: "a;b",
		Epoch: codec.Some(int64(3)), ReceiverName: "r1",
	}
	m := full.Map()
	if d := cmp.Diff([]string{
		`symbol com.microsoft:client-version: string "py/1.0"`,
		`symbol com.microsoft:api-version: string "2020-09-30"`,
		`symbol com.microsoft:channel-correlation-id: string "twin:` + uuidText + `"`,
		`symbol com.microsoft:model-id: string "dtmi:x;1"`,
		`symbol com.microsoft:auth-chain: string "a;b"`,
		`symbol com.microsoft:epoch: long 3`,
		`symbol com.microsoft:receiver-name: string "r1"`,
	}, entries(m)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := hubamqp.ParseLinkProperties(m); got != full {
		t.Errorf("%+v, want %+v", got, full)
	}
	var none hubamqp.LinkProperties
	if got := hubamqp.ParseLinkProperties(none.Map()); got != none || none.Map().Len() != 0 {
		t.Errorf("%+v", got)
	}
	odd := codec.NewMap(
		codec.Symbol("com.microsoft:timeout"), codec.Double(60000), codec.Symbol("com.microsoft:entity-type"), codec.Int(7),
		codec.Symbol("com.microsoft:api-version"), codec.Int(2020), codec.Symbol("com.microsoft:model-id"), codec.String(strings.Repeat("x", 2000)),
		codec.Symbol("com.microsoft:epoch"), codec.String("3"), codec.Symbol("com.microsoft:client-version"), codec.Symbol("symbol"),
		codec.Ulong(3), codec.String("reserved"))
	if got := hubamqp.ParseLinkProperties(odd); got != (hubamqp.LinkProperties{ClientVersion: "symbol"}) {
		t.Errorf("%+v", got)
	}
	if got := hubamqp.ParseLinkProperties(codec.NewMap(codec.Symbol("com.microsoft:epoch"), codec.Ulong(0))); got.Epoch != codec.Some(int64(0)) {
		t.Errorf("epoch %+v", got.Epoch)
	}
}

func TestWantsRuntime(t *testing.T) {
	for want, s := range map[bool]codec.Symbols{
		true:  codec.NewSymbols(hubamqp.CapabilityReplication, hubamqp.CapabilityRuntimeMetric),
		false: codec.NewSymbols(hubamqp.CapabilityReplication),
	} {
		if hubamqp.WantsRuntime(s) != want {
			t.Errorf("%v", s)
		}
	}
	if hubamqp.WantsRuntime(codec.Symbols{}) || !hubamqp.WantsRuntime(codec.NewSymbols(hubamqp.CapabilityRuntimeMetric)) {
		t.Error("none and one")
	}
}
